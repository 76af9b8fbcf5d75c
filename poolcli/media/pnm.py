"""PBM, PGM and PPM, by Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolcli.errors import InputError
from poolcli.media import pillow
from poolcli.media.pictures import limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Meta, Source


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture, unless Pillow would quietly narrow it."""
    image = pillow.open(data, "Ppm")
    limit(image.height, image.width, max_pixels)
    maxval = getattr(image, "tile")[0].args  # noqa: B009 - its type knows no tiles
    if image.mode == "RGB" and isinstance(maxval, tuple) and int(maxval[1]) > 255:
        raise InputError("16-bit colour is not supported in this format", "convert it to TIFF")
    return pillow.source(image, data, "pnm")


def encode(pixels: NDArray[Any], _meta: Meta) -> list[Buffer]:
    """Return the buffers of a file of bool, uint8 or grey uint16 pixels."""
    return pillow.encode(pixels, ".ppm")
