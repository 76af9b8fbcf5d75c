"""HEIC, read by pillow-heif where that is installed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import exif
from poolcli.media.pictures import Meta, Source, header, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of the primary picture, which its decoder turns upright."""
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError("HEIC needs pillow-heif", "pip install 'poolcli[heif]'") from error
    image = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
    columns, rows = image.size
    limit(rows, columns, max_pixels)
    bits, channels = image.info["bit_depth"], len(image.mode.partition(";")[0])
    _, block, notes = exif.read(partial(exif.parsed, image.info.get("exif")))
    meta = Meta(image.info.get("icc_profile"), block, exif.packet(image.info.get("xmp")))
    found = header("heic", rows, columns, channels, "uint8" if bits == 8 else "uint16", max(bits, 8))
    return Source(found, partial(_decode, image, bits), meta, notes)


def _decode(image: Any, bits: int) -> NDArray[Any]:
    pixels = np.asarray(image)
    return pixels if bits == 8 else pixels >> (16 - bits)  # it spreads them over 16
