"""PNG in parts: lines are inflated one after the other, and unfiltered by libpng as pictures of some of them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from poolcli.media.parts import Parts
    from poolcli.media.pictures import Source

PIECE, STEP = 2**18, 2**20  # bytes that are read at a time, and of lines that are decoded


def stream(file: Parts, max_pixels: int) -> Source | None:
    """Return the source of a picture whose lines follow each other as they are; None of others."""
    chunks = list(_chunks(file))
    rest = [file.read(start - 8, length + 12) for kind, start, length in chunks if kind != b"IDAT"]
    empty = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
    found = png.looked(b"".join([png.SIGNATURE, *rest[:-1], empty, rest[-1]]), file.size, max_pixels)
    header = file.read(chunks[0][1], chunks[0][2])
    kinds, (depth, colour, *_, interlaced) = {kind for kind, _, _ in chunks}, header[8:]
    if (
        found.header.frames > 1
        or interlaced
        or depth < 8
        or colour not in png.CHANNELS
        or b"tRNS" in kinds
        or b"IDAT" not in kinds
    ):
        return None
    lines = _Lines(file, header, [(start, length) for kind, start, length in chunks if kind == b"IDAT"])
    whole = tuple(slice(0, length) for length in found.header.shape)
    return replace(found, decode=partial(lines.part, whole), part=lines.part)


def _chunks(file: Parts) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk, where its data starts, and its length."""
    kind, end = b"", len(png.SIGNATURE)
    while kind != b"IEND":
        head = file.read(end, 8)
        length, kind = struct.unpack(">I4s", head.ljust(8, b"\xff"))
        yield kind, end + 8, length
        end += 12 + length
        if end > file.size:
            raise InputError("truncated png: its last part is missing")


class _Lines:
    """The lines of a picture, inflated as they are asked for; those of the last part are kept for the next."""

    def __init__(self, file: Parts, header: bytes, pieces: list[tuple[int, int]]) -> None:
        columns, self._rows, depth, colour = struct.unpack(">IIBB", header[:10])
        channels = png.CHANNELS[colour]
        self._file, self._header, self._pieces = file, header, pieces
        self._line = columns * channels * depth // 8
        self._none = np.zeros((0, columns, channels)[: 3 if colour else 2], f"u{depth // 8}")
        self._restart()

    def _restart(self) -> None:
        self._kept, self._next, self._last = self._none, 0, bytes(self._line)  # rows before the next, the last as it is
        self._inflate, self._data, self._left = zlib.decompressobj(), self._stream(), b""

    def part(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """Return a box of the pixels."""
        rows, *rest = box
        if rows.start < self._next - len(self._kept):
            self._restart()
        if rows.start > self._next:
            self._kept = self._none
            while self._next < rows.start:
                self._decoded(rows.start)
        parts = [self._kept[len(self._kept) - (self._next - rows.start) :]]
        while self._next < rows.stop:
            parts.append(self._decoded(rows.stop))
        self._kept = np.concatenate(parts)
        return self._kept[(slice(0, rows.stop - rows.start), *rest)]

    def _decoded(self, until: int) -> NDArray[Any]:
        """Return some of the next rows, behind the last one as a line without a filter."""
        count = min(until - self._next, max(1, STEP // self._line))
        lines = bytearray(1) + self._last + self._lines(count * (1 + self._line))
        pixels = png.unfiltered(self._header, lines, count + 1)[1:]
        self._next += count
        self._last = pixels[-1].astype(pixels.dtype.newbyteorder(">")).tobytes()
        if self._next == self._rows:
            self._end()
        return pixels

    def _lines(self, size: int) -> bytearray:
        lines = bytearray()
        while len(lines) < size:
            piece = self._left or next(self._data, b"")
            more = self._inflate.decompress(piece, size - len(lines))
            if not (piece or more):
                break
            lines += more
            self._left = self._inflate.unconsumed_tail
        if len(lines) < size:
            raise InputError("truncated png: its pixels end early")
        return lines

    def _end(self) -> None:
        """Read what follows the last line, for the checksums."""
        for piece in (self._left, *self._data):
            if not self._inflate.eof:
                self._inflate.decompress(piece)

    def _stream(self) -> Iterator[bytes]:
        """Yield the data of pixels, chunk by chunk, each refused if its checksum is wrong."""
        for start, length in self._pieces:
            checksum = zlib.crc32(b"IDAT")
            for at in range(start, start + length, PIECE):
                piece = self._file.read(at, min(PIECE, start + length - at))
                checksum = zlib.crc32(piece, checksum)
                yield piece
            if self._file.read(start + length, 4) != struct.pack(">I", checksum):
                raise InputError("damaged png: checksum of IDAT")
