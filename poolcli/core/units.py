"""Units of work of the kernels that gather windows: outputs of all pooled axes but the last, of planes."""

from __future__ import annotations

from array import array as ints
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import threads
from poolcli.core.memory import LINE, address

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolcli.core.slabs import Slab
    from poolcli.core.threads import Entry

    Array = NDArray[Any]


def rows(slab: Slab) -> Array:
    """Return the offsets, in elements, of the rows that each unit of a plane reads; -1 where there is none."""
    lengths, width = slab.x.shape[1:-1], slab.x.shape[-2] * slab.x.shape[-1]
    offsets, there = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
    for number in range(len(lengths) - 1):
        at, inside = slab.places(number)
        size = len(offsets) * len(at)
        offsets = (offsets[:, None, :, None] * lengths[number] + at[:, None]).reshape(size, -1)
        there = (there[:, None, :, None] & inside[:, None]).reshape(size, -1)
    return np.where(there, offsets * width, -1)


def share(entry: Entry, arrays: Callable[[], tuple[Array, ...]], units: int, seconds: float, most: int) -> None:
    """Share *units*, which take so many *seconds*, among *most* threads: each has *arrays* of its own."""
    seats, parts = parted(units, seconds, most)
    held = [arrays() for _ in range(seats)]
    deal(entry, [[address(array) for array in each] for each in held], units, parts, seconds)


def deal(entry: Entry, rows: list[list[int]], units: int, parts: int, seconds: float) -> None:
    """Share *units* in *parts* among as many threads as there are *rows*, each the arguments of one."""
    words = np.array(rows)
    edges = ints("q", [units * part // parts for part in range(parts + 1)])
    threads.run(entry, address(words), words.strides[0], len(rows), edges, seconds)


def parted(units: int, seconds: float, most: int) -> tuple[int, int]:
    """Return among how many threads, and in how many parts, *units* are shared that take so many *seconds*."""
    seats = 1 if seconds < threads.ALONE else min(most, units)
    parts = max(seats * threads.PARTS if seats > 1 else 1, int(seconds / threads.SLICE) + 1)
    return seats, min(units, parts)


def vector(fields: dict[int, Any], size: int) -> Array:
    """Return a geometry: numbers, and lists, which follow and whose begin stands in their place."""
    lists = {field: np.ravel(value) for field, value in fields.items() if isinstance(value, np.ndarray)}
    ends = size + np.cumsum([0, *map(len, lists.values())])
    begins = dict(zip(lists, ends.tolist(), strict=False))
    return np.concatenate([[(fields | begins)[field] for field in range(size)], *lists.values()]).astype(np.int64)


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Return an array that begins where a line of the cache does: stores across two lines cost a tenth of exchanges."""
    held = np.empty(size + LINE // dtype.itemsize, dtype)
    begin = -address(held) % LINE // dtype.itemsize
    return held[begin : begin + size]
