"""JPEG: libjpeg-turbo's in imagecodecs' build, and Pillow for what is rare (inks, arithmetic codes).

Its defaults (accurate integer DCT, smooth chroma upsampling) are Pillow's too: the same pixels to the bit, and the same
bytes when written. It is read 1.5 to 1.9 times as fast as by Pillow, which copies each row into a picture of its own,
and written 1.3 to 1.6 times as fast (``tests/perf/codecs.py``); all outside the GIL.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import pillow
from poolcli.media.pictures import fill, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Meta, Source

_HUFFMAN, _ARITHMETIC = {0xC0, 0xC1, 0xC2}, {0xC9, 0xCA, 0xCB}  # markers of frames: baseline, extended, progressive


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture."""
    from PIL import JpegImagePlugin

    image = pillow.open(data, "Jpeg")
    limit(image.height, image.width, max_pixels)
    frame, scan = _frame(data)
    if frame not in _ARITHMETIC:  # a Huffman-coded block of 8 x 8 takes a bit at least
        fill("jpeg", len(data), image.height, image.width, 512)
    source = pillow.source(image, data, "jpeg")
    sampling = JpegImagePlugin.get_sampling(image)  # -1 where there are no colours to sample
    meta = replace(source.meta, subsampling=sampling if sampling >= 0 else None)  # type: ignore[type-var]  # it has one
    if frame not in _HUFFMAN or image.mode not in {"L", "RGB"}:
        return replace(source, meta=meta)
    return replace(source, meta=meta, decode=partial(_decode, data, scan), judge=partial(_judge, data, scan))


def _frame(data: bytes) -> tuple[int, int]:
    """Return the marker of the frame, or 0, and where the first scan begins."""
    frame, at = 0, 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            return frame, at
        if marker in range(0xC0, 0xD0) and marker not in {0xC4, 0xC8, 0xCC}:  # tables, and one that is reserved
            frame = marker
        at += 1 if marker == 0xFF else 2 + length  # bytes may be filled in before a marker
    return 0, at


def _decode(data: bytes, scan: int) -> NDArray[Any]:
    import imagecodecs

    if data.find(b"\xff\xd9", scan) < 0:  # no end: the decoder would make up the rest
        raise InputError("damaged or truncated jpeg: image file is truncated")
    return np.asarray(imagecodecs.jpeg8_decode(data))


def _judge(data: bytes, scan: int, pixels: NDArray[Any]) -> tuple[str, ...]:
    """Return a warning where more data would change the picture: what is missing gets the last colour, without a word.

    Only a picture whose last corner is plain is decoded again.
    """
    import imagecodecs

    if (pixels[-8:, -8:] != pixels[-1, -1]).any():
        return ()
    end = data.find(b"\xff\xd9", scan)
    more = imagecodecs.jpeg8_decode(data[:end] + bytes(range(1, 255)) + data[end:])
    return () if np.array_equal(more, pixels) else ("its data ends early; the rest is made up",)


def encode(pixels: NDArray[Any], meta: Meta, quality: int, subsampling: str | None = None) -> list[Buffer]:
    """Return the buffers of a file of grey, RGB or CMYK bytes, the same as Pillow's."""
    exif = meta.exif if len(meta.exif or b"") < 65534 else None  # the most that a segment holds
    xmp = meta.xmp if len(meta.xmp or b"") < 65502 else None
    comment = (meta.comment or "").encode()[:65533] or None
    if pixels.shape[2:] == (4,):  # ink has no chroma, and the codec would thin out three of four inks
        return pillow.encode(
            pixels, ".jpg", mode="CMYK", quality=quality, icc_profile=meta.icc, exif=exif, dpi=meta.dpi, xmp=xmp,
            comment=comment,
        )  # fmt: skip
    import imagecodecs

    chroma = subsampling or ("444", "422", "420")[2 if meta.subsampling is None else meta.subsampling]
    stream = imagecodecs.jpeg8_encode(pixels, quality, subsampling=chroma)
    parts: list[Buffer] = [
        stream[:2],
        _segment(0xE0, struct.pack(">5s2sBHHBB", b"JFIF", b"\1\1", *_density(meta.dpi), 0, 0)),
    ]
    if exif:
        parts.append(_segment(0xE1, exif))
    if xmp:
        parts.append(_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
    pieces = [meta.icc[start : start + _PIECE] for start in range(0, len(meta.icc), _PIECE)] if meta.icc else []
    for number, piece in enumerate(pieces, 1):
        parts.append(_segment(0xE2, b"ICC_PROFILE\0" + bytes((number, len(pieces))) + piece))
    if comment:
        parts.append(_segment(0xFE, comment))
    return [*parts, memoryview(stream)[20:]]  # behind its own first segment


_PIECE = 65519  # bytes of a profile in one segment


def _density(dpi: tuple[float, float] | None) -> tuple[int, int, int]:
    """Return the unit, where 1 is an inch, and the pixels in it, across and down."""
    across, down = (round(value) for value in dpi or (0, 0))
    return (1, across, down) if 0 < min(across, down) <= max(across, down) < 2**16 else (0, 1, 1)


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
