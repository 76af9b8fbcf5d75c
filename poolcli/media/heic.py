"""HEIC, read by pillow-heif where that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import exif
from poolcli.media.formats import Header
from poolcli.media.pictures import Meta, Source, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of the primary picture, which its decoder turns upright."""
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError("HEIC needs pillow-heif", "pip install 'poolcli[heif]'") from error
    image = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
    limit(image.size[1], image.size[0], max_pixels)
    bits, mode = image.info["bit_depth"], image.mode.partition(";")[0]
    _, block, notes = exif.read(lambda: _tags(image.info.get("exif")))
    meta = Meta(image.info.get("icc_profile"), block, exif.packet(image.info.get("xmp")))
    channels = () if mode == "L" else (len(mode),)
    header = Header("heic", (*image.size[::-1], *channels), "uint8" if bits == 8 else "uint16", mode, max(bits, 8))
    return Source(header, lambda: _decode(image, bits), meta, notes)


def _tags(block: bytes | None) -> Image.Exif:
    from PIL import Image

    tags = Image.Exif()
    if block:
        tags.load(block)
    return tags


def _decode(image: Any, bits: int) -> NDArray[Any]:
    pixels = np.asarray(image)
    return pixels if bits == 8 else pixels >> (16 - bits)  # it spreads them over 16
