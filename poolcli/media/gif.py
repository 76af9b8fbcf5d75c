"""GIF, by Pillow, which chooses the colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolcli.media import pillow
from poolcli.media.pictures import fill, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Later, Meta, Source

_MOST = 2731  # pixels of a byte: a code of 12 bits stands for at most 4096


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of the first frame on its canvas."""
    image = pillow.open(data, "Gif")
    limit(image.height, image.width, max_pixels)
    fill("gif", data, image.height, image.width, _MOST)
    return pillow.source(image, data, "gif")


def encode(pixels: NDArray[Any], meta: Meta, later: Later = ()) -> list[Buffer]:
    """Return the buffers of a file of uint8 pixels."""
    disposal = 2 if pixels.shape[2:] == (4,) else None  # what is not there must not show the frame before
    return pillow.encode(pixels, ".gif", meta, later, comment=meta.comment, disposal=disposal)
