"""BMP, by Pillow."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from poolcli.media import pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Meta

look = partial(pillow.look, format="bmp", module="Bmp")


def encode(pixels: NDArray[Any], meta: Meta) -> list[Buffer]:
    """Return the buffers of a file of bool or uint8 pixels."""
    return pillow.encode(pixels, ".bmp", dpi=meta.dpi)
