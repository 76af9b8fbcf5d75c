"""Units of work of the kernels that gather windows: outputs of all pooled axes but the last, of planes."""

from __future__ import annotations

from ctypes import addressof, c_char
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from poolcli.core.slabs import Slab

    Array = NDArray[Any]

LINE = 64  # bytes of a line of the cache
_ITS_FIRST = c_char.from_buffer

ALONE = 3e-4  # seconds of work below which waking a thread costs more than it saves


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


def share(
    call: Callable[..., None], arrays: Callable[[], tuple[Array, ...]], units: int, seconds: float, most: int
) -> None:
    """Share *units*, which take so many *seconds*, among *most* threads: each calls with *arrays* of its own."""

    def work(bands: Iterable[tuple[int, int]]) -> None:
        held = arrays()
        places = [address(array) for array in held]
        for first, last in bands:
            call(*places, first, last)

    parts = 1 if most == 1 or seconds < ALONE else min(units, most * threads.PARTS)
    edges = [units * part // parts for part in range(parts + 1)]
    threads.share(work, pairwise(edges), min(most, parts))


def vector(fields: dict[int, Any], size: int) -> Array:
    """Return a geometry: numbers, and lists, which follow and whose begin stands in their place."""
    lists = {field: np.ravel(value) for field, value in fields.items() if isinstance(value, np.ndarray)}
    ends = size + np.cumsum([0, *map(len, lists.values())])
    begins = dict(zip(lists, ends.tolist(), strict=False))
    return np.concatenate([[(fields | begins)[field] for field in range(size)], *lists.values()]).astype(np.int64)


def address(array: Array) -> int:
    """Return where an array begins."""
    try:
        return addressof(_ITS_FIRST(array))  # a fifth of the time of the array's own interface
    except (TypeError, ValueError):  # it must not be written, lies in parts, or is empty
        found: int = array.__array_interface__["data"][0]
        return found


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Return an array that begins where a line of the cache does: stores across two lines cost a tenth of exchanges."""
    held = np.empty(size + LINE // dtype.itemsize, dtype)
    begin = -address(held) % LINE // dtype.itemsize
    return held[begin : begin + size]
