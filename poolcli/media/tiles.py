"""TIFF in parts: rows of tiles, strips or plain rows are read as they are asked for, and tiles written as rows come."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import npy, tiff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    import tifffile
    from numpy.typing import NDArray

    from poolcli.media.files import Product
    from poolcli.media.parts import Parts
    from poolcli.media.pictures import Meta, Source

TILE = 256


# --- Reading ---


def stream(file: Parts, max_pixels: int) -> Source | None:
    """Return the source of the only page, which is read by rows of tiles or by strips; None where it cannot be."""
    with file.opened() as raw:
        found, page = tiff.looked(raw, file.size, max_pixels, 0)
        mixed = {5: bool(page.subsampling), 6: page.compression not in tiff.JPEGS}  # of colours and brightness
        if found.header.frames > 1 or mixed.get(page.photometric, False):
            return None
        rows = _Plain(file, page) if page.is_memmappable and page.planarconfig == 1 else _Rows(file, page)
    whole = tuple(slice(0, length) for length in found.header.shape)
    return replace(found, decode=partial(rows.part, whole), part=rows.part, grain=rows.height)


class _Plain:
    """The rows of a page whose samples lie in the file as they are."""

    height = 1

    def __init__(self, file: Parts, page: tifffile.TiffPage) -> None:
        samples = (page.samplesperpixel,) if page.samplesperpixel > 1 else ()
        shape, dtype = (
            (page.imagelength, page.imagewidth, *samples),
            np.dtype(page.dtype).newbyteorder(page.parent.byteorder),
        )
        layout = npy.Layout(shape, dtype, fortran=False, offset=0)
        self._page, self._read = page, partial(npy.part, file, layout, page.dataoffsets[0])
        self._inner = tuple(slice(0, length) for length in shape[1:])

    def part(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """Return a box of the pixels."""
        return tiff.understood(self._read((box[0], *self._inner)), self._page)[(slice(None), *box[1:])]


class _Rows:
    """The rows of tiles, or the strips, of a page, each decoded when it is asked for; the last is kept."""

    def __init__(self, file: Parts, page: tifffile.TiffPage) -> None:
        self._file, self._page, self._decode = file, page, page.decode
        self._options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        self._options = self._options if page.compression in tiff.JPEGS else {}
        self._segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        self._kept: tuple[int, NDArray[Any]] | None = None
        self.height = min(page.tilelength if page.is_tiled else page.rowsperstrip, page.imagelength)

    def part(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """Return a box of the pixels."""
        rows, columns, *_ = box
        each = []
        for number in range(rows.start // self.height, -(-rows.stop // self.height)):
            if self._kept is None or self._kept[0] != number:
                self._kept = number, self._row(number)
            top = number * self.height
            each.append(self._kept[1][max(rows.start - top, 0) : rows.stop - top, columns])
        samples = np.concatenate(each)
        pixels = samples[:, :, 0] if self._page.samplesperpixel == 1 else samples
        pixels = tiff.understood(pixels.view(np.uint8) if pixels.dtype == bool else pixels, self._page)
        return pixels[(slice(None), slice(None), *box[2:])]

    def _row(self, number: int) -> NDArray[Any]:
        """Return the samples of a row of tiles, (rows, columns, samples)."""
        page = self._page
        top, planes = number * self.height, page.samplesperpixel if page.planarconfig == 2 else 1
        across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
        down = -(-page.imagelength // self.height)
        indices = [(plane * down + number) * across + tile for plane in range(planes) for tile in range(across)]
        held = np.zeros((min(self.height, page.imagelength - top), page.imagewidth, page.samplesperpixel), page.dtype)
        views = {index: bytearray(self._segments[index][1]) for index in indices}
        self._file.fill((self._segments[index][0], memoryview(view)) for index, view in views.items())

        def place(index: int) -> None:
            tile, (plane, _, row, left, _), _ = self._decode(bytes(views[index]), index, **self._options)
            if tile is None:
                raise InputError("damaged or truncated tiff: strips or tiles are missing")
            into = held[row - top :, left:, plane : plane + 1] if planes > 1 else held[row - top :, left:]
            tile = tile[0, : len(into), : into.shape[1]]
            into[: len(tile), : tile.shape[1]] = tile

        with ThreadPoolExecutor() as decoders:
            list(decoders.map(place, indices))
        return held


# --- Writing ---


def writing(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    meta: Meta,
    bands: Iterable[NDArray[Any]],
    compression: str | None = None,
) -> Product:
    """Return what writes a picture of tiles as *bands* of its rows come."""

    def write(file: BinaryIO) -> int:
        import tifffile

        like = np.broadcast_to(np.zeros((), dtype), shape)
        with tifffile.TiffWriter(file, bigtiff=like.nbytes > tiff.CLASSIC) as writer:
            writer.write(
                _tiles(bands, shape, dtype), shape=shape, dtype=dtype, tile=(TILE, TILE),
                metadata=None, software=False, **tiff.compressed(like, meta, compression),
            )  # fmt: skip
        if meta.exif and like.nbytes <= tiff.CLASSIC:
            _append(file, meta.exif)
        return file.seek(0, 2)

    return write


def _append(file: BinaryIO, block: bytes) -> None:
    """Give a TIFF that was written the tags of an EXIF block, as `_with_exif` does."""
    size = file.seek(0, 2)
    file.seek(4)
    file.seek(struct.unpack("<I", file.read(4))[0])
    begin, *pieces = tiff.folder(size, file.read(tiff.FOLDER), block)
    file.seek(0, 2)
    file.writelines(pieces)
    file.seek(4)
    file.write(begin)


def _tiles(bands: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the tiles of an array that comes in bands of rows."""
    width = -(-shape[1] // TILE) * TILE
    held, filled, left = np.zeros((TILE, width, *shape[2:]), dtype), 0, shape[0]
    for band in bands:
        done = 0
        while done < len(band):
            count = min(TILE - filled, len(band) - done)
            held[filled : filled + count, : shape[1]] = band[done : done + count]
            filled, done, left = filled + count, done + count, left - count
            if filled == TILE or left == 0:
                held[filled:] = 0
                for start in range(0, width, TILE):
                    yield np.ascontiguousarray(held[:, start : start + TILE])
                filled = 0
