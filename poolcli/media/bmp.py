"""BMP, by Pillow; samples in fields of bits of any place are taken apart here."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import pillow
from poolcli.media.pictures import Meta, Source, header, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

_FIELDS = {3, 6}  # kinds of compression: masks of red, green and blue, and of alpha


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture."""
    size, columns, rows, _, bits, kind = struct.unpack_from("<IiiHHI", data, 14)
    if size >= 40 and kind in _FIELDS and bits in {16, 32}:
        limit(abs(rows), columns, max_pixels)
        masks = struct.unpack_from("<4I", data, 54)
        if (size, kind) == (40, 3):
            masks = (*masks[:3], 0)
        return _fields(data, (rows, columns), bits, masks)
    return pillow.look(data, max_pixels, format="bmp", module="Bmp")


def _fields(data: bytes, size: tuple[int, int], bits: int, masks: tuple[int, ...]) -> Source:
    """Return the source of pixels of *bits* bits, where each mask is a row of ones."""
    (start,), (per_metre, down) = struct.unpack_from("<I", data, 10), struct.unpack_from("<ii", data, 38)
    rows, columns = abs(size[0]), size[1]
    stride = math.ceil(columns * bits / 32) * 4
    widths = [mask.bit_count() for mask in masks]
    whole = all((mask >> _shift(mask)) == 2**width - 1 for mask, width in zip(masks, widths, strict=True))
    if not whole or not all(widths[:3]) or max(widths) > 16 or min(rows, columns) < 1:
        raise InputError("damaged bmp: its masks are none")
    if start + stride * rows > len(data):
        raise InputError("truncated bmp: its pixels end beyond the end of the file")
    kept = masks if widths[3] else masks[:3]
    depth = 16 if max(widths) > 8 else 8
    found = header("bmp", rows, columns, len(kept), f"uint{depth}", depth)

    def decode() -> NDArray[Any]:
        lines = np.frombuffer(data, np.uint8, stride * rows, start).reshape(rows, stride)
        pixels = lines[:, : columns * bits // 8].copy().view(f"<u{bits // 8}")[:: -1 if size[0] > 0 else 1]
        fields = [_spread((pixels & mask) >> _shift(mask), mask.bit_count(), depth) for mask in kept]
        return np.stack(fields, axis=2).astype(f"uint{depth}")

    dpi = (per_metre * 0.0254, down * 0.0254) if min(per_metre, down) > 0 else None
    return Source(found, decode, Meta(dpi=dpi))


def _shift(mask: int) -> int:
    return (mask & -mask).bit_length() - 1 if mask else 0


def _spread(samples: NDArray[Any], bits: int, depth: int) -> NDArray[Any]:
    """Return samples of *depth* bits, where the largest stays the largest."""
    return np.asarray(np.rint(samples * ((2**depth - 1) / (2**bits - 1))))


def encode(pixels: NDArray[Any], meta: Meta) -> list[Buffer]:
    """Return the buffers of a file of bool or uint8 pixels."""
    return pillow.encode(pixels, ".bmp", dpi=meta.dpi)
