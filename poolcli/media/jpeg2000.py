"""JPEG 2000, by OpenJPEG in imagecodecs' build."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from poolcli.errors import InputError
from poolcli.media import boxes
from poolcli.media.pictures import Meta, Source, header, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

_START = b"\xff\x4f\xff\x51"  # of the code, and of its sizes
_INK = 12


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture of samples of one depth."""
    import imagecodecs

    jp2 = None if data.startswith(_START) else boxes.found(data, b"jp2h")
    code = data if data.startswith(_START) else boxes.found(data, b"jp2c") or b""
    right, bottom, left, top = struct.unpack_from(">4I", code, 8)
    (count,) = struct.unpack_from(">H", code, 40)
    rows, columns = bottom - top, right - left
    limit(rows, columns, max_pixels, count)
    kinds = set(struct.iter_unpack(">3B", code[42 : 42 + 3 * count]))
    depth, *steps = kinds.pop() if len(kinds) == 1 else (0, 0)
    bits = 1 + (depth & 127)
    if steps != [1, 1] or depth > 127 or not 8 <= bits <= 16 or (jp2 and boxes.found(jp2, b"pclr")):
        raise InputError("jpeg2000 must have samples of one size, unsigned, of 8 to 16 bits")
    if b"\xff\xd9" not in code[-16:]:
        raise InputError("damaged or truncated jpeg2000: its end is missing")
    ink, icc = _colours(jp2 or b"")
    found = header("jpeg2000", rows, columns, count, "uint8" if bits == 8 else "uint16", bits)
    found = replace(found, mode="CMYK") if ink and count == 4 else found
    return Source(found, partial(imagecodecs.jpeg2k_decode, data), Meta(icc))


def _colours(jp2: bytes) -> tuple[bool, bytes | None]:
    """Return whether the samples are ink, and the colour profile."""
    colour = boxes.found(jp2, b"colr") or bytes(3)
    return colour[:1] == b"\1" and colour[3:7] == struct.pack(">I", _INK), colour[3:] if colour[0] == 2 else None


def encode(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:
    """Return the file of bytes or 16-bit samples, lossless without a quality; its profile goes into its header."""
    import imagecodecs

    decibels = None if quality is None else 20 + quality * 2 // 5
    data = bytes(imagecodecs.jpeg2k_encode(pixels, decibels, reversible=quality is None))
    return [_with_profile(data, meta.icc) if meta.icc else data]


def _with_profile(data: bytes, icc: bytes) -> bytes:
    """Return a file with a box of colours of its own instead of the first."""
    jp2 = boxes.found(data, b"jp2h") or b""
    inner = [boxes.box(kind, jp2[first:last]) for kind, first, last in boxes.walk(jp2) if kind != b"colr"]
    inner.insert(1, boxes.box(b"colr", b"\2\0\0" + icc))
    parts = [(kind, data[first:last]) for kind, first, last in boxes.walk(data)]
    return b"".join(boxes.box(kind, b"".join(inner) if kind == b"jp2h" else part) for kind, part in parts)
