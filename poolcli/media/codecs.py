"""The fast codecs: PNG and JPEG through imagecodecs, as a plugin of imageio's, and the frames of both formats.

Figures are of ``tests/perf/codecs.py``, at 1 and 6 Mpix of a photograph with grain; all of it runs outside the GIL.

JPEG is libjpeg-turbo's in imagecodecs' build, with its defaults (accurate integer DCT, smooth chroma upsampling), which
are Pillow's too: the same pixels to the bit, and the same bytes when written. It is read 1.5 to 1.9 times as fast as by
Pillow, which copies each row into a picture of its own, and written 1.3 to 1.6 times as fast.

A PNG's filters are undone by libpng, after libdeflate has inflated them (see `_stored`): 1.5 times as fast as Pillow,
and 2.5 where grain is missing. PNGs are written by the filters below and libdeflate at level 6: every library at hand
gives its rows to a zlib that takes far longer for the same size. Time and size of a written 8-bit RGB picture,
1 Mpix / 6 Mpix:

=================== ============= =============
here                1    / 1      1     / 1
Pillow, level 6     5.2  / 5.5    0.984 / 0.995
libpng, level 6     3.6  / 4.2    1.062 / 1.060
libpng, level 3     1.7  / 1.6    1.088 / 1.090
libspng, level 3    1.8  / 1.6    1.088 / 1.090
=================== ============= =============

At 16 bit libpng's level 6 takes 2.4 times as long for the same size, and Pillow's (grey alone) 2.7 times.

Importing imageio costs a process 25 to 33 ms. With it `poolcli pool` takes 1.1 to 1.2 times as long on a photograph of
1 Mpix as a bare script with NumPy and Pillow, and 0.6 times on 6 Mpix, so it stays; without it the first would be 1.0
to 1.1. Flat colours are decoded and encoded in no time: there it is 2.0, and would be 1.7.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, warn_once
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imageio.core.request import Request
    from numpy.typing import NDArray
    from typing_extensions import Buffer

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


# --- imagecodecs, or not ---


@cache
def codec(name: str) -> Any:
    """Return a module of imagecodecs, or None, with one warning, where it cannot load."""
    try:
        import_module("imagecodecs")  # first, so that the error is the same whichever module is asked for
        return import_module(f"imagecodecs._{name}")
    except (ImportError, OSError, SystemError, ValueError) as error:  # not there, or built for another NumPy
        warn_once(f"imagecodecs cannot load ({error}); using Pillow and zlib, which are slower")
        return None


@cache
def plugin(name: str) -> Any:
    """Return the class that imageio is told to use for a format, which keeps bytes and leaves errors to `read`."""
    from imageio.core.v3_plugin_api import PluginV3

    readers: dict[str, Callable[[bytes], NDArray[Any]]] = {"png": _read_png, "jpeg": _read_jpeg}
    writers: dict[str, Callable[..., bytes]] = {"png": _write_png, "jpeg": _write_jpeg}

    class Codec(PluginV3):
        """One picture, read from bytes or written to bytes."""

        def __init__(self, request: Request) -> None:
            super().__init__(request)
            self._data = request.get_file().read() if request.mode.io_mode == "r" else b""

        def read(self) -> NDArray[Any]:  # type: ignore[override]  # one file, one picture
            return readers[name](self._data)

        def write(self, ndimage: NDArray[Any], **options: Any) -> bytes:  # type: ignore[override]  # one picture
            return writers[name](ndimage, **options)

    return Codec


# --- PNG ---


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each kind of a PNG, without pixels, after checking all checksums: Pillow does not.

    Raises
    ------
    InputError
        The file ends too early, a checksum is wrong, or there are no pixels.
    """
    found: dict[bytes, bytes] = {}
    view = memoryview(data)
    for kind, start, end in _walk(data):
        if zlib.crc32(view[start - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise InputError(f"damaged png: checksum of {shown(kind.decode('latin-1'))}")
        found.setdefault(kind, b"" if kind == b"IDAT" else data[start:end])
    if b"IDAT" not in found:
        raise InputError("damaged or truncated png: it holds no pixels")
    return found


def _walk(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk, and where its data starts and ends."""
    kind, end = b"", len(_SIGNATURE) - 4
    while kind != b"IEND":
        start = end + 12
        length, kind = struct.unpack(">I4s", data[start - 8 : start].ljust(8, b"\xff"))
        end = start + length
        if end + 4 > len(data):
            raise InputError("truncated png: its last part is missing")
        yield kind, start, end


def reads_png(header: bytes) -> bool:
    """Tell whether libpng, as it is called here, gives the samples as they are; Pillow expands palettes and bits."""
    columns, rows, depth, colour, *rest = struct.unpack(">IIBBBBB", header)
    usual = depth in {8, 16} and colour in CHANNELS and rest[:2] == [0, 0]
    return usual and 0 < min(rows, columns) <= max(rows, columns) <= _PNG_SIDE and codec("png") is not None


CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of each colour type but palettes
_PNG_SIDE = 10**6  # the most that libpng takes unless told


def _read_png(data: bytes) -> NDArray[Any]:
    """Decode the pixels alone: what other chunks ask for, or are damaged in, is no concern of libpng's."""
    found: dict[bytes, list[memoryview]] = {}
    for kind, start, end in _walk(data):
        found.setdefault(kind, []).append(memoryview(data)[start:end])
    header, pieces = bytes(found[b"IHDR"][0]), found[b"IDAT"]
    stored = _stored(header, pieces)
    pixels = _chunk(b"IDAT", *stored) if stored else [part for piece in pieces for part in _chunk(b"IDAT", piece)]
    parts = [_SIGNATURE, *_chunk(b"IHDR", header), *pixels, *_chunk(b"IEND")]
    return np.asarray(codec("png").png_decode(b"".join(parts)))


def _stored(header: bytes, pieces: list[memoryview]) -> list[Buffer]:
    """Return the same stream of pixels, not compressed, or nothing: libpng is left to say what is wrong with it.

    libdeflate and two more copies take less time than the zlib in libpng: it is 1.2 to 1.4 times as fast.
    """
    columns, rows, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", header)
    size = rows * (1 + columns * CHANNELS[colour] * depth // 8)
    deflate = codec("deflate")
    if deflate is None or interlaced or size > _COPIED:
        return []
    try:
        lines = memoryview(deflate.deflate_decode(b"".join(pieces), out=size))
    except deflate.DeflateError:
        return []
    if len(lines) != size:
        return []
    blocks: list[Buffer] = []
    for start in range(0, size, _STORED):
        block = lines[start : start + _STORED]
        blocks += [struct.pack("<BHH", start + _STORED >= size, len(block), len(block) ^ 0xFFFF), block]
    return [b"\x78\x01", *blocks, struct.pack(">I", deflate.deflate_adler32(lines))]


_STORED = 65535  # the most bytes of a block that is not compressed
_COPIED = 2**27  # the most bytes that copies are made of


def _write_png(
    pixels: NDArray[Any], *, icc: bytes | None, exif: bytes | None, dpi: tuple[float, float] | None
) -> bytes:
    """Encode bool, uint8 or uint16 pixels, with what `images.Meta` carries, at the size of zlib's level 6."""
    rows, columns = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    depth = 1 if pixels.dtype == bool else 8 * pixels.itemsize
    colour = next(colour for colour, count in CHANNELS.items() if count == channels)
    stream = memoryview(_deflated(_lines(pixels, depth, channels)))
    parts = [_SIGNATURE, *_chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0))]
    if icc:
        parts += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if dpi and max(dpi) < 2**31 * _METRES:
        parts += _chunk(b"pHYs", struct.pack(">IIB", *(int(value / _METRES + 0.5) for value in dpi), 1))
    if exif:
        parts += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    for start in range(0, len(stream), _LONGEST):
        parts += _chunk(b"IDAT", stream[start : start + _LONGEST])
    return b"".join([*parts, *_chunk(b"IEND")])


_METRES = 0.0254  # an inch
_LONGEST = 2**30  # a chunk's length has 31 bits


def resolution(chunk: bytes | None) -> tuple[float, float] | None:
    """Return the pixels per inch that a pHYs chunk gives."""
    if chunk is None or len(chunk) != 9 or chunk[8] != 1:
        return None
    across, down, _ = struct.unpack(">IIB", chunk)
    return across * _METRES, down * _METRES


def _chunk(kind: bytes, *pieces: Buffer) -> list[Buffer]:
    size, checksum = sum(len(memoryview(piece)) for piece in pieces), zlib.crc32(kind)
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return [struct.pack(">I", size), kind, *pieces, struct.pack(">I", checksum)]


def _deflated(lines: NDArray[np.uint8]) -> bytes:
    deflate = codec("deflate")
    return zlib.compress(lines.data, 6) if deflate is None else bytes(deflate.deflate_encode(lines, 6))


# --- The filters of PNG: each row behind the number of what was subtracted from it ---

_BLOCK = 2**16  # bytes of rows that are filtered at a time: they and their candidates stay in the cache


def _lines(pixels: NDArray[Any], depth: int, channels: int) -> NDArray[np.uint8]:
    rows = pixels.shape[0]
    if depth == 1:
        return np.pad(np.packbits(pixels, axis=1), ((0, 0), (1, 0)))  # bits are best left alone
    samples = pixels.astype(">u2") if depth == 16 else pixels
    plain = samples.reshape(rows, -1).view(np.uint8)
    width, step = plain.shape[1], channels * depth // 8
    lines = np.empty((rows, width + 1), np.uint8)
    count = max(1, _BLOCK // width)
    for first in range(0, rows, count):
        block = np.zeros((len(plain[first : first + count]) + 1, step + width), np.uint8)
        block[1:, step:] = plain[first : first + count]
        if first:
            block[0, step:] = plain[first - 1]
        _filter(block, step, lines[first : first + count])
    return lines


def _filter(block: NDArray[np.uint8], step: int, lines: NDArray[np.uint8]) -> None:
    """Filter each row of a block, below a row and behind a pixel that are there only to be subtracted.

    The filter of a row is the one with the least sum of absolute differences, as in libpng.
    """
    plain, left, above, corner = block[1:, step:], block[1:, :-step], block[:-1, step:], block[:-1, :-step]
    nothing, mean = np.zeros_like(left), (left & above) + ((left ^ above) >> 1)
    predictions = (nothing, left, above, mean, _paeth(left, above, corner))
    least = np.full(len(plain), 2**63, np.uint64)
    for number, prediction in enumerate(predictions):
        differences = plain - prediction
        sums = np.abs(differences.view(np.int8)).view(np.uint8).sum(axis=1, dtype=np.uint64)
        better = sums < least
        least[better] = sums[better]
        lines[better, 0] = number
        lines[better, 1:] = differences[better]


def _paeth(left: NDArray[np.uint8], above: NDArray[np.uint8], corner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the neighbour nearest to left + above - corner, in bytes: three times as fast as in wider integers."""
    to_left = _distance(above, corner)
    to_above = _distance(left, corner)
    # The corner is nearest only where it lies between the others; elsewhere its distance is their sum.
    between = (above < corner) != (left < corner)
    to_corner = _distance(to_left, to_above) | ~_mask(between)
    nearest: NDArray[np.uint8] = corner ^ ((corner ^ above) & _mask(to_above <= to_corner))
    nearest ^= (nearest ^ left) & _mask((to_left <= to_above) & (to_left <= to_corner))
    return nearest


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.maximum(one, other) - np.minimum(one, other)


def _mask(where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 255 where it is true."""
    return -where.view(np.uint8)


# --- JPEG ---


def reads_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG is baseline, extended or progressive, in Huffman's code; Pillow reads what is rare."""
    return _frame(data)[0] in {0xC0, 0xC1, 0xC2} and codec("jpeg8") is not None


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


def _read_jpeg(data: bytes) -> NDArray[Any]:
    if data.find(b"\xff\xd9", _frame(data)[1]) < 0:  # no end: the decoder would make up the rest
        raise InputError("damaged or truncated jpeg: image file is truncated")
    return np.asarray(codec("jpeg8").jpeg8_decode(data))


def _write_jpeg(
    pixels: NDArray[Any],
    *,
    quality: int | None,
    subsampling: int,
    icc: bytes | None,
    exif: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    """Encode grey or RGB bytes, with what `images.Meta` carries: the same file as Pillow's."""
    stream = codec("jpeg8").jpeg8_encode(pixels, quality, subsampling=("444", "422", "420")[subsampling])
    parts = [stream[:2], _segment(0xE0, struct.pack(">5s2sBHHBB", b"JFIF", b"\1\1", *_density(dpi), 0, 0))]
    if exif:
        parts.append(_segment(0xE1, exif))
    pieces = [icc[start : start + _PIECE] for start in range(0, len(icc), _PIECE)] if icc else []
    for number, piece in enumerate(pieces, 1):
        parts.append(_segment(0xE2, b"ICC_PROFILE\0" + bytes((number, len(pieces))) + piece))
    return b"".join([*parts, memoryview(stream)[20:]])  # behind its own first segment


_PIECE = 65519  # bytes of a profile in one segment


def _density(dpi: tuple[float, float] | None) -> tuple[int, int, int]:
    """Return the unit, where 1 is an inch, and the pixels in it, across and down."""
    across, down = (round(value) for value in dpi or (0, 0))
    return (1, across, down) if 0 < min(across, down) <= max(across, down) < 2**16 else (0, 1, 1)


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
