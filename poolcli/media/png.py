"""PNG: libpng and libdeflate in imagecodecs' build, filters of our own, and Pillow for palettes, bits and metadata.

Figures are of ``tests/perf/codecs.py``, at 1 and 6 Mpix of a photograph with grain; all of it runs outside the GIL.

Filters are undone by libpng, after libdeflate has inflated them (see `_stored`): 1.5 times as fast as Pillow, and 2.5
where grain is missing. They are made by `pngfilters`, and deflated by libdeflate at level 6: every library at hand
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
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media.files import shown
from poolcli.media.formats import Header
from poolcli.media.pictures import FRAME, Meta, Source, fill, limit
from poolcli.media.pngfilters import filtered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Later

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of each colour type but palettes
_MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}
_SIDE = 10**6  # the most that libpng takes unless told
_EXPANSION = 1100  # the most bytes that a byte of deflate stands for
_METRES = 0.0254  # an inch


# --- Looking ---

# Chunks that only Pillow understands: metadata, text that may be metadata, and frames.
_PILLOWS = frozenset({b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"acTL"})


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture; one that has no metadata but its resolution needs no Pillow."""
    return looked(data, len(data), max_pixels)


def looked(data: bytes, size: int, max_pixels: int) -> Source:
    """Return the source of a picture of *size* bytes; of the pixels *data* may have an empty chunk."""
    chunks = _chunks(data)
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise InputError("damaged or truncated png: its header is not valid")
    columns, rows, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    limit(rows, columns, max_pixels)
    fill("png", size, rows, columns, 8 * _EXPANSION / max(1, depth * CHANNELS.get(colour, 1)))
    key = _colour_key(chunks)
    source = _ours(data, chunks)
    if source is None or not _PILLOWS.isdisjoint(chunks):
        source = _pillows(data, chunks, source)
    if sum(kind == b"IDAT" for kind, _ in groupby(kind for kind, *_ in _walk(data))) > 1:
        source = replace(source, warnings=(*source.warnings, "other parts stand between those of its pixels"))
    return source if key is None else _keyed(source, key)


def _ours(data: bytes, chunks: Mapping[bytes, bytes]) -> Source | None:
    """Return the source where libpng gives the samples as they are; Pillow expands palettes and bits."""
    columns, rows, depth, colour, *methods = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth not in {8, 16} or colour not in CHANNELS:
        return None
    if methods[:2] != [0, 0] or not 0 < min(rows, columns) <= max(rows, columns) <= _SIDE:
        if depth == 16 and colour:  # Pillow would quietly narrow it
            raise InputError(f"16-bit colour must have a sound header and sides of at most {_SIDE} pixels")
        return None
    shape = (rows, columns, CHANNELS[colour])[: 3 if colour else 2]
    header = Header("png", shape, f"uint{depth}", _MODES[colour], depth)
    return Source(header, partial(_decode, data), Meta(dpi=_resolution(chunks.get(b"pHYs"))))


def _pillows(data: bytes, chunks: Mapping[bytes, bytes], ours: Source | None) -> Source:
    """Return the source with the metadata that Pillow finds, and with its pixels unless they are ours."""
    from poolcli.media import pillow

    image = pillow.open(data, "Png")
    if b"eXIf" in chunks:  # it may stand behind the pixels
        image.info["exif"] = b"Exif\0\0" + chunks[b"eXIf"]
    if chunks[b"IHDR"][9] != 3:  # a palette's transparency is Pillow's concern, a colour's is ours
        image.info.pop("transparency", None)
    theirs = pillow.source(image, data, "png")
    if ours is None:
        return replace(theirs, header=replace(theirs.header, bits=chunks[b"IHDR"][8]))
    depth = chunks[b"IHDR"][8]
    header = replace(ours.header, frames=theirs.header.frames, orientation=theirs.header.orientation)
    page = None if depth == 16 else theirs.page  # Pillow would quietly narrow it
    return replace(theirs, header=header, decode=ours.decode, page=page)


def _resolution(chunk: bytes | None) -> tuple[float, float] | None:
    """Return the pixels per inch that a pHYs chunk gives."""
    if chunk is None or len(chunk) != 9 or chunk[8] != 1:
        return None
    across, down, _ = struct.unpack(">IIB", chunk)
    return across * _METRES, down * _METRES


def _colour_key(chunks: Mapping[bytes, bytes]) -> NDArray[Any] | None:
    """Return the grey or colour that is declared transparent, as the decoded pixels have it."""
    if b"tRNS" not in chunks or chunks[b"IHDR"][9] not in {0, 2}:
        return None
    depth, colour = chunks[b"IHDR"][8:10]
    if len(chunks[b"tRNS"]) != 2 * CHANNELS[colour]:
        raise InputError("damaged png: its transparent colour is not a colour")
    key = np.frombuffer(chunks[b"tRNS"], ">u2") & (2**depth - 1)
    scale = 255 // (2**depth - 1) if depth < 8 else 1
    return np.asarray(key * scale)


def _keyed(source: Source, key: NDArray[Any]) -> Source:
    """Return the source with an alpha channel that is 0 where a pixel is the colour key."""

    def decode() -> NDArray[Any]:
        colours = source.decode().reshape(*shape, key.size)
        alpha = np.where((colours == key).all(axis=2, keepdims=True), 0, np.iinfo(colours.dtype).max)
        return np.concatenate([colours, alpha.astype(colours.dtype)], axis=2)

    shape = source.header.shape[:2]
    header = replace(source.header, shape=(*shape, key.size + 1), mode=f"{source.header.mode}A")
    return replace(source, header=header, decode=decode)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each kind of a PNG, without pixels, after checking all checksums: Pillow does not."""
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
    kind, end = b"", len(SIGNATURE) - 4
    while kind != b"IEND":
        start = end + 12
        length, kind = struct.unpack(">I4s", data[start - 8 : start].ljust(8, b"\xff"))
        end = start + length
        if end + 4 > len(data):
            raise InputError("truncated png: its last part is missing")
        yield kind, start, end


# --- Reading ---


def _decode(data: bytes) -> NDArray[Any]:
    """Decode the pixels alone: what other chunks ask for, or are damaged in, is no concern of libpng's."""
    import imagecodecs

    found: dict[bytes, list[memoryview]] = {}
    for kind, start, end in _walk(data):
        found.setdefault(kind, []).append(memoryview(data)[start:end])
    header, pieces = bytes(found[b"IHDR"][0]), found[b"IDAT"]
    stored = _stored(header, pieces)
    pixels = _chunk(b"IDAT", *stored) if stored else [part for piece in pieces for part in _chunk(b"IDAT", piece)]
    parts = [SIGNATURE, *_chunk(b"IHDR", header), *pixels, *_chunk(b"IEND")]
    return np.asarray(imagecodecs.png_decode(b"".join(parts)))


def _stored(header: bytes, pieces: list[memoryview]) -> list[Buffer]:
    """Return the same stream of pixels, not compressed, or nothing: libpng is left to say what is wrong with it.

    libdeflate and two more copies take less time than the zlib in libpng: it is 1.2 to 1.4 times as fast.
    """
    columns, rows, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", header)
    size = rows * (1 + columns * CHANNELS[colour] * depth // 8)
    if interlaced or size > _COPIED:
        return []
    import imagecodecs

    try:
        lines = memoryview(imagecodecs.deflate_decode(b"".join(pieces), out=size))
    except imagecodecs.DeflateError:
        return []
    if len(lines) != size:
        return []
    return _blocks(lines)


def _blocks(lines: memoryview) -> list[Buffer]:
    """Return a stream that is not compressed."""
    import imagecodecs

    blocks: list[Buffer] = []
    for start in range(0, len(lines), _STORED):
        block = lines[start : start + _STORED]
        blocks += [struct.pack("<BHH", start + _STORED >= len(lines), len(block), len(block) ^ 0xFFFF), block]
    return [b"\x78\x01", *blocks, struct.pack(">I", imagecodecs.deflate_adler32(lines))]  # type: ignore[arg-type]  # any buffer


def unfiltered(header: bytes, lines: bytearray, count: int) -> NDArray[Any]:
    """Return the pixels of *count* filtered *lines* of a picture with this IHDR."""
    import imagecodecs

    header = header[:4] + struct.pack(">I", count) + header[8:]
    pixels = _chunk(b"IDAT", *_blocks(memoryview(lines)))
    return np.asarray(
        imagecodecs.png_decode(b"".join([SIGNATURE, *_chunk(b"IHDR", header), *pixels, *_chunk(b"IEND")]))
    )


_STORED = 65535  # the most bytes of a block that is not compressed
_COPIED = 2**27  # the most bytes that copies are made of


# --- Writing ---


def encode(pixels: NDArray[Any], meta: Meta, later: Later = (), level: str = "6") -> list[Buffer]:
    """Return the buffers of a file of bool, uint8 or uint16 pixels, at the size of zlib's level 6."""
    rows, columns = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    depth = 1 if pixels.dtype == bool else 8 * pixels.itemsize
    colour = 3 if meta.palette else next(colour for colour, count in CHANNELS.items() if count == channels)
    parts = [SIGNATURE, *_chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0))]
    parts += _carried(meta)
    if later:
        loops = 1 if meta.loop is None else meta.loop
        parts += _chunk(b"acTL", struct.pack(">II", 1 + len(later), loops)) + _shown(0, 0, 0, columns, rows, meta)
    for piece in _streams(pixels, depth, channels, int(level)):
        parts += _chunk(b"IDAT", piece)
    order, last = 1, pixels  # of the chunks of frames
    for frame, one in later:
        left, top, part = _changed(last, frame)
        parts += _shown(order, left, top, part.shape[1], part.shape[0], one)
        for order, piece in enumerate(_streams(part, depth, channels, int(level)), order + 1):  # noqa: B020 - it goes on
            parts += _chunk(b"fdAT", struct.pack(">I", order), piece)
        order, last = order + 1, frame
    return [*parts, *_chunk(b"IEND")]


def _carried(meta: Meta) -> list[Buffer]:
    """Return the chunks of what a picture carries beside its pixels, in their order."""
    parts: list[Buffer] = []
    if meta.icc:
        parts += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(meta.icc))
    if meta.dpi and max(meta.dpi) < 2**31 * _METRES:
        parts += _chunk(b"pHYs", struct.pack(">IIB", *(int(value / _METRES + 0.5) for value in meta.dpi), 1))
    if meta.exif:
        parts += _chunk(b"eXIf", meta.exif.removeprefix(b"Exif\0\0"))
    if meta.xmp:
        parts += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0", meta.xmp)
    if meta.comment:
        parts += _chunk(b"iTXt", b"Comment\0\0\0\0\0", meta.comment.encode())
    if meta.palette:
        colours = np.frombuffer(meta.palette, np.uint8).reshape(-1, 4)
        parts += _chunk(b"PLTE", colours[:, :3].tobytes())
        parts += _chunk(b"tRNS", colours[:, 3].tobytes()) if (colours[:, 3] < 255).any() else []
    return parts


def _streams(pixels: NDArray[Any], depth: int, channels: int, level: int) -> Iterator[memoryview]:
    """Yield the deflated rows, in pieces as long as a chunk may be."""
    import imagecodecs

    stream = memoryview(imagecodecs.deflate_encode(filtered(pixels, depth, channels), level))  # type: ignore[arg-type]  # any buffer
    for start in range(0, len(stream), _LONGEST):
        yield stream[start : start + _LONGEST]


def _changed(last: NDArray[Any], frame: NDArray[Any]) -> tuple[int, int, NDArray[Any]]:
    """Return the left column and the top row of the part of a frame that is not as in the last one, and that part."""
    other = (last != frame).reshape(*frame.shape[:2], -1).any(axis=2)
    rows, columns = (np.flatnonzero(other.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return 0, 0, frame[:1, :1]
    top, left = int(rows[0]), int(columns[0])
    return left, top, np.ascontiguousarray(frame[top : rows[-1] + 1, left : columns[-1] + 1])


def _shown(order: int, left: int, top: int, columns: int, rows: int, meta: Meta) -> list[Buffer]:
    """Return the chunk that says where, and how long, a frame replaces what was there before."""
    milliseconds = min(round(FRAME if meta.duration is None else meta.duration), 65535)
    return _chunk(b"fcTL", struct.pack(">IIIIIHHBB", order, columns, rows, left, top, milliseconds, 1000, 0, 0))


_LONGEST = 2**30  # a chunk's length has 31 bits


def _chunk(kind: bytes, *pieces: Buffer) -> list[Buffer]:
    size, checksum = sum(len(memoryview(piece)) for piece in pieces), zlib.crc32(kind)
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return [struct.pack(">I", size), kind, *pieces, struct.pack(">I", checksum)]


# --- Notes ---

_NOTE = b"poolcli\0"
_END = 12  # bytes of the last chunk


def noted(data: bytes, text: str) -> bytes:
    """Return a PNG with a note."""
    return b"".join([data[:-_END], *_chunk(b"tEXt", _NOTE + text.encode("ascii")), data[-_END:]])


def note(data: bytes) -> str | None:
    """Return the note in a PNG."""
    texts = (data[start:end] for kind, start, end in _walk(data) if kind == b"tEXt")
    return next((text.removeprefix(_NOTE).decode("latin-1") for text in texts if text.startswith(_NOTE)), None)
