"""Tiled TIFFs with smaller levels in SubIFDs, written tile by tile through tifffile."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import OutputError, PoolError
from poolcli.media import files, tiff
from poolcli.media.tiles import TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Read = Callable[[tuple[slice, ...]], Array]

_AXES = {"D": "Z", "H": "Y", "W": "X", "C": "C", "N": "T", "B": "Q"}


def write(
    path: str,
    levels: Sequence[tuple[tuple[int, ...], Read]],
    dtype: np.dtype[Any],
    letters: str,
    *,
    compression: str | None = None,
) -> None:
    """Write a file of levels, each a shape and what reads a box of it, in a layout.

    Axes before rows and columns are pages, but for a depth that shrinks from level to level: then tiles are boxes.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    import tifffile

    shape = levels[0][0]
    big = sum(prod(one) for one, _ in levels) * dtype.itemsize > tiff.CLASSIC
    how: dict[str, Any] = _how(shape, letters, dtype, compression)
    depth = letters.find("D")
    how["volumetric"] = depth >= 0 and any(one[depth] != shape[depth] for one, _ in levels)
    tile = (min(16, TILE), *how["tile"]) if how["volumetric"] else how["tile"]
    axes = "".join(_AXES[letter] for letter in letters)
    said = {"axes": axes[:-1] + "S" if letters.endswith("C") else axes}
    try:
        with tifffile.TiffWriter(path, bigtiff=big) as file:
            for number, (one, read) in enumerate(levels):
                nested: dict[str, Any] = {"subfiletype": 1} if number else {"subifds": len(levels) - 1}
                how |= {"tile": tile, "metadata": said, "software": False}
                file.write(_tiles(one, read, tile, letters), shape=one, dtype=dtype, **how, **nested)
    except (PoolError, MemoryError):
        raise
    except OSError as error:
        raise OutputError(files.fact(error)) from error


def _how(shape: tuple[int, ...], letters: str, dtype: np.dtype[Any], compression: str | None) -> dict[str, Any]:
    """Return what tifffile is told of pixels."""
    coloured = letters.endswith("C") and shape[-1] in {3, 4} and dtype.kind == "u"
    how: dict[str, Any] = {"photometric": "rgb" if coloured else "minisblack", "tile": (TILE, TILE)}
    if letters.endswith("C"):
        how["planarconfig"] = "contig"
        more = shape[-1] - (3 if coloured else 1)
        how |= {"extrasamples": ["unassalpha" if coloured else "unspecified"] * more} if more else {}
    packed = compression or ("zlib" if dtype.kind in "ui" else "none")
    if packed != "none":
        how |= {"compression": packed, "predictor": dtype.kind in "ui"}
    return how


def _tiles(shape: tuple[int, ...], read: Read, tile: Sequence[int], letters: str) -> Iterator[Array]:
    """Yield the tiles of a level in the order of the file; those that hang over its end are filled up."""
    samples = letters.endswith("C")
    last = len(shape) - samples
    first = last - len(tile)
    sides = [(slice(at, at + 1) for at in range(length)) for length in shape[:first]]
    for lead in product(*sides):
        yield from _of_page(shape, read, tile, lead, first, last)


def _of_page(
    shape: tuple[int, ...], read: Read, tile: Sequence[int], lead: tuple[slice, ...], first: int, last: int
) -> Iterator[Array]:
    grid = [
        [slice(at, min(at + step, length)) for at in range(0, length, step)]
        for step, length in zip(tile, shape[first:last], strict=True)
    ]
    rest = tuple(slice(0, length) for length in shape[last:])
    for *outer, columns in product(*grid[:-1], [slice(0, shape[last - 1])]):  # a row of tiles at a time
        strip = read((*lead, *outer, columns, *rest)).reshape(
            *(s.stop - s.start for s in outer), columns.stop, *shape[last:]
        )
        for side in grid[-1]:
            part = strip[(slice(None),) * len(outer) + (side,)]
            short = [(0, step - length) for step, length in zip(tile, part.shape, strict=False)]
            yield np.pad(part, [*short, *[(0, 0)] * len(rest)])
