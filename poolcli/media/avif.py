"""AVIF, by Pillow, and by libavif in imagecodecs' build where samples have more than 8 bits."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import boxes, pillow
from poolcli.media.pictures import limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Later, Meta, Source


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture."""
    list(boxes.walk(data))  # whole ones only
    size = re.search(rb"ispe\0{4}(.{4})(.{4})", data, re.DOTALL)
    if size is None:
        raise InputError("damaged or truncated avif: it has no size")
    limit(int.from_bytes(size[2], "big"), int.from_bytes(size[1], "big"), max_pixels)
    source = pillow.look(data, max_pixels, format="avif", module="Avif")
    config = re.search(rb"av1C\x81.(.)", data, re.DOTALL)
    if config is None or not config[1][0] & 0x40:
        return source
    header = replace(source.header, dtype="uint16", bits=12 if config[1][0] & 0x20 else 10)
    return replace(source, header=header, decode=partial(_decode, data, source.header.shape), page=None)


def _decode(data: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
    import imagecodecs

    pixels = np.asarray(imagecodecs.avif_decode(data, 0))
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], shape[2], 2)


def encode(pixels: NDArray[Any], meta: Meta, quality: int, later: Later = (), speed: str = "6") -> list[Buffer]:
    """Return the file of uint8 pixels; grey becomes RGB."""
    return pillow.encode(
        pixels,
        ".avif",
        meta,
        later,
        quality=quality,
        icc_profile=meta.icc,
        exif=meta.exif,
        xmp=meta.xmp,
        speed=int(speed),
    )
