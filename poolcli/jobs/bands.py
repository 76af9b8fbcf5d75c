"""Inputs that are larger than memory: read, pooled and written band by band, with the values of the whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import pooling, regions
from poolcli.jobs import light, memory, weights
from poolcli.jobs import page as pages
from poolcli.media import contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from poolcli.core.methods import Method
    from poolcli.core.pooling import Pooling
    from poolcli.core.regions import Box
    from poolcli.jobs.page import Page
    from poolcli.media.files import Product

    Array = NDArray[Any]
    Writing = Callable[[Iterable[Array]], Product]

BAND = 2**24  # bytes of a band's input where there is no reason for more: its memory is used again for the next
WORK = 2**26  # bytes that kernels, steps and their slabs of a band hold at the most


@dataclass(frozen=True, slots=True)
class Bands:
    """Boxes of the outputs, in the order in which a file holds them.

    Attributes
    ----------
    lengths
        Outputs of a box along each axis.
    memory
        Bytes that pooling them one by one holds.
    writing
        What makes a file of the arrays as they come, where the result is not held.
    """

    shape: tuple[int, ...]
    lengths: tuple[int, ...]
    fortran: bool
    memory: int
    writing: Writing | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return prod(-(-whole // length) for whole, length in zip(self.shape, self.lengths, strict=True))

    def product(self, page: Page, threads: int | None, done: list[Pooling]) -> Product:
        """Return the file of what is pooled as it is written; *done* gets the last of it."""

        def arrays() -> Iterator[Array]:
            for _, last in pooled(page, self, threads):
                done[:] = [last]
                yield last.array

        return [] if self.writing is None else self.writing(arrays())

    def __iter__(self) -> Iterator[Box]:
        order = slice(None, None, -1 if self.fortran else 1)
        starts = [range(0, whole, length) for whole, length in zip(self.shape, self.lengths, strict=True)][order]
        for corner in product(*starts):
            each = zip(corner[order], self.lengths, self.shape, strict=True)
            yield tuple(slice(start, min(start + length, whole)) for start, length, whole in each)


def dealt(page: Page, room: int, writing: Writing | None = None) -> Bands | None:
    """Return bands that are pooled within *room* bytes, or None if the smallest are not."""
    outline, fortran = page.outline, page.found.source.fortran
    axes = range(len(outline.shape))[:: -1 if fortran else 1]
    beside = 8 * prod(outline.given.shape) * page.request.weighs  # weights are held whole
    for most in (min(BAND, room), room):
        # Axes before it are taken one by one, those after it whole; of a picture all columns are decoded
        for number, axis in enumerate(axes[:1] if page.found.header.picture else axes):
            lengths = [whole if i in axes[number + 1 :] else 1 for i, whole in enumerate(outline.shape)]
            longest = outline.shape[axis]
            while longest >= 1:
                lengths[axis] = longest
                read, need = _need(page, tuple(lengths), axes[number + 1 :])
                if read <= most and need + beside <= room:
                    return Bands(outline.shape, tuple(lengths), fortran, need + beside, writing)
                longest = min(longest // 2, max(1, longest * most // max(read, 1))) if longest > 1 else 0
    return None


def _need(page: Page, lengths: tuple[int, ...], whole: range) -> tuple[int, int]:
    """Return the bytes that a box of outputs reads at the most, the axes *whole* wholly, and those that it takes."""
    outline, most = page.outline, 0
    for share in (0, 1, 2):  # windows are as long at the begin, in the middle and at the end, but for an element or two
        starts = [(n - length) * share // 2 for n, length in zip(outline.shape, lengths, strict=True)]
        box = tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))
        read = regions.reach(outline, box)
        sizes = [
            n if axis in whole else min(n, at.stop - at.start + (2 * page.found.source.grain if axis == 0 else 2))
            for axis, (n, at) in enumerate(zip(outline.given.shape, read, strict=True))
        ]
        most = max(most, prod(sizes) * outline.given.dtype.itemsize)
    made = prod(lengths) * outline.dtype.itemsize
    return most, 2 * most + page.light.copies * (most + made) + 2 * made + WORK


def pooled(page: Page, bands: Bands, threads: int | None) -> Iterator[tuple[Box, Pooling]]:
    """Pool band by band; while one is pooled the next is read."""
    memory.keep()
    weighing: dict[tuple[int, ...], Array | None] = {}
    read = page.found.part
    with ThreadPoolExecutor(1, "poolcli-read") as reader:
        boxes = iter(bands)
        box = next(boxes, None)
        ahead = None if box is None else reader.submit(read, regions.reach(page.outline, box))
        while box is not None and ahead is not None:
            part, following = ahead.result(), next(boxes, None)
            ahead = None if following is None else reader.submit(read, regions.reach(page.outline, following))
            yield box, _pooled(page, box, part, threads, weighing)
            box = following


def _pooled(
    page: Page, box: Box, part: Array, threads: int | None, weighing: dict[tuple[int, ...], Array | None]
) -> Pooling:
    request, outline = page.request, page.outline
    place = outline.given.shape

    def run(pixels: Array, method: Method, *, dtype: np.dtype[Any] | None, alpha: bool = False) -> Pooling:
        shape = (*place[:2], *pixels.shape[2:]) if page.found.header.picture else place
        if shape not in weighing:
            weighing[shape] = weights.weights(request, shape, page.layout)
        factors = weighing[shape]
        whole = pooling.outline(
            shape, pixels.dtype.newbyteorder("="), method, page.windows[-1],
            layout=page.layout, asked=dtype, rounding=request.rounding, missing=outline.missing,
            weighed=factors is not None, alpha=alpha,
        )  # fmt: skip
        here = (*box[:2], *(slice(0, n) for n in whole.shape[2:])) if page.found.header.picture else box
        if factors is not None:
            factors = np.broadcast_to(factors, shape)[regions.reach(whole, here)]
        return regions.run(whole, pixels, here, engine=request.engine, threads=threads, weights=factors)

    return light.pool(page.light, part, request.method, outline, run, direct=True)


def assembled(page: Page, bands: Bands, threads: int | None) -> Pooling:
    """Pool band by band into one array."""
    result = np.empty(page.outline.shape, page.outline.dtype)
    for box, done in pooled(page, bands, threads):
        result[box] = done.array
    return done._replace(array=result)


def writing(page: Page) -> Writing | None:
    """Return what writes the result as it comes, if its format can be written so."""
    outline, fortran = page.outline, page.found.source.fortran
    meta = pages.carried(page)
    return contents.writing(page.target, outline.shape, outline.dtype.name, meta, coding=page.coding, fortran=fortran)
