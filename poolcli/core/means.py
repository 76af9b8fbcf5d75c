"""Weighted means by a kernel: what it is told of a slab."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import kernels, masking, units, weighing
from poolcli.core.axes import ONE
from poolcli.core.dtypes import Arithmetic
from poolcli.core.kernels import Kernel
from poolcli.core.memory import address
from poolcli.core.methods import Fold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.axes import Axis, Phase, Plan
    from poolcli.core.slabs import Slab

    Array = NDArray[Any]

LIFTED = 2**14  # bytes of lifted values, so that they stay in the nearest cache: 2**17 takes 1.2 times as long
MASKING = Kernel("masking", (), ())
BYTES = 2**32 // 255**2  # products of two bytes whose sum 32 bits hold


class Part(NamedTuple):
    """Of a phase of rows: output rows that are lifted for together, and the geometries of values and of weights."""

    phase: Phase
    height: int
    geometry: Array
    aside: Array


class Strips(NamedTuple):
    """What holds for all slabs: bytes of the buffers, where each begins, and the phases of rows."""

    size: int
    offsets: tuple[int, ...]
    parts: tuple[Part, ...]


class Ends(NamedTuple):
    """Arrays of (planes, rows, columns, channels) that a kernel reads and writes."""

    values: Array
    weights: Array
    out: Array
    there: Array


def mean(slab: Slab, values: Array, *, stored: bool = False) -> tuple[Array, Array] | None:
    """Return the weighted mean of *values* over each window, and whether anything weighs there; None if no kernel can.

    It is 0 where nothing does; float64, or *stored* where results go, if they are rounded once so.
    """
    chosen = None if slab.weights is None else kernel(values.dtype, slab.weights.dtype, slab.plan)
    call = slab.ready.kernel(chosen)
    if call is None or chosen is None or slab.weights is None:
        return None
    values, weights = _typed(values, weighing.TYPES), _typed(slab.weights, weighing.WEIGHT_TYPES)
    channels = values.shape[-1]
    beside = channels if channels < kernels.MANY else weights.shape[-1]  # the few of a pixel have weights each
    result = slab.into if stored and _storable(slab) else None
    result = np.empty((len(values), *slab.outs, channels)) if result is None else result
    there = np.empty((len(weights), *slab.outs, beside), bool)
    numbers = weighing.WEIGHT_TYPES.index(weights.dtype), weighing.TYPES.index(result.dtype)
    _run(slab, call, chosen.types, Ends(values, weights, result, there), (*numbers, 0, _narrow(slab, chosen), 0))
    return result, there


def seen(slab: Slab) -> Array | None:
    """Return the mean of colours weighed by alpha, and of alpha, stored where it goes; None if no kernel can.

    Where a window has no alpha colours have the plain mean.
    """
    x, inside = slab.x, all(axis.before == 0 and axis.span(axis.out - 1)[1] <= axis.length for axis in slab.plan.axes)
    chosen = kernel(x.dtype, np.dtype(np.uint8), slab.plan) if inside and slab.weights is None else None
    fits = x.dtype in weighing.TYPES[2:] and x.ndim == 4 and x.shape[-1] == 4 and _storable(slab)
    call = slab.ready.kernel(chosen) if fits else None
    if call is None or chosen is None or slab.into is None or slab.into.dtype != x.dtype:
        return None
    x, number = _typed(x, weighing.TYPES), weighing.TYPES.index(x.dtype)
    ends = Ends(x, x[..., -1:], slab.into, np.empty((1, 1, 1, 1), bool))
    _run(slab, call, chosen.types, ends, (0, number, 1, _narrow(slab, chosen), slab.plan.count))
    return slab.into


def _narrow(slab: Slab, chosen: Kernel) -> bool:
    """Whether float32 rounds a quotient of sums to a byte as the exact one is: none is so near to a half."""
    return chosen.types[0] == np.uint16 and slab.plan.count * 255 < 2**16


def _run(slab: Slab, call: Any, types: tuple[np.dtype[Any], ...], ends: Ends, numbers: tuple[int, ...]) -> None:
    """Have a slab folded on its threads; *numbers* are the last of the kernel's places."""
    from poolcli.core import compiled  # loads llvmlite

    if len(slab.plan.axes) == 1:
        ends, rows, first, last, low = Ends(*(array[:, None] for array in ends)), ONE, 0, 1, 0
    else:  # of a part of an axis rows are those of the whole
        rows = slab.plan.axes[0]
        first, last, low = rows.start + slab.first, rows.start + slab.last, rows.low + slab.low
    values, weights, out, there = ends
    beside = there.shape[-1] if not numbers[2] else values.shape[-1]
    strips = _strips(rows.whole, slab.plan.axes[-1], values.shape[-1], beside, types)
    scalars = [compiled.word(value, types[1]) for value in (0, 1)]

    for phase, height, geometry, aside in strips.parts:
        begin, end = (-(-(o - phase.first) // phase.step) for o in (first, last))
        if begin >= end:
            continue
        x, w = (_places(array, rows.dilation, phase.offset - low) for array in (values, weights))
        to, held = (_places(array, phase.step, phase.first + begin * phase.step - first) for array in (out, there))
        kind = weighing.TYPES.index(values.dtype)
        places = np.array([
            *x[1:3], *w[1:], weights.shape[-1], *to[1:3], *held[1:3], len(values), begin, end, height, kind, *numbers
        ])  # fmt: skip
        before = (*[x[0]] * 4, *[w[0]] * 3, *[to[0]] * 4, held[0])
        vectors = [address(array) for array in (geometry, aside, places)]
        many, seconds, most = len(values) * -(-(end - begin) // height), 1e-9 * values.size, slab.ready.threads
        seats, parts = units.parted(many, seconds, most)
        own = [(np.empty(strips.size, np.uint8), *np.empty((2, kernels.STATES), np.int64)) for _ in range(seats)]
        arguments = [
            [
                *before,
                *(address(buffer) + offset for offset in strips.offsets),
                *vectors,
                *map(address, states),
                *scalars,
            ]
            for buffer, *states in own
        ]
        units.deal(call, arguments, many, parts, seconds)


def chosen(slab: Slab, values: Array, blank: Any) -> Array:
    """Return *values*, *blank* in place of those that weigh nothing."""
    call = slab.ready.kernel(MASKING)
    if call is None:
        return np.where(slab.weighs, values, blank)
    values, mask = np.ascontiguousarray(values), np.ascontiguousarray(slab.weighs)
    out, other, channels = np.empty_like(values), np.full(1, blank, values.dtype), values.shape[-1]
    pixels, beside = prod(values.shape[1:-1]), mask.shape[-1]
    step = pixels * beside if len(mask) > 1 else 0
    places = [place for array in (values, out, other) for place in [address(array)] * len(masking.WIDTHS)]
    row = np.array([*places, address(mask), values.itemsize, pixels, channels, beside, step])
    call.call(address(row), 0, len(values))
    return out


def kernel(values: np.dtype[Any], weights: np.dtype[Any], plan: Plan) -> Kernel | None:
    """Return the kernel that folds *values* and *weights*, if one can."""
    if not plan.regular or plan.divisor != "valid" or len(plan.axes) > 2:
        return None
    exact = values == np.uint8 and weights.itemsize == 1 and plan.count < BYTES
    types = (np.uint16, np.uint32) if exact else (np.float64, np.float64)  # of products, and of their sums
    return Kernel("weighing", (), tuple(map(np.dtype, types)))


def held(dtype: np.dtype[Any]) -> int:
    """Return the bytes of each value as a kernel reads it."""
    return dtype.itemsize if dtype in weighing.TYPES else 8


def _typed(array: Array, types: tuple[np.dtype[Any], ...]) -> Array:
    """Return an array as one of *types*, the pixels of a row side by side; of one channel, anyhow for weights."""
    array = array.view(np.uint8) if array.dtype == np.bool_ else array
    if array.dtype not in types:
        array = array.astype(np.float64)
    alone = array.shape[-1] == 1 and types is weighing.WEIGHT_TYPES and array.flags.aligned
    return array if alone or _beside(array) else np.ascontiguousarray(array)


def _beside(array: Array) -> bool:
    """Whether the elements of a row lie side by side."""
    channels, size = array.shape[-1], array.itemsize
    steps = array.strides[-2:] if channels > 1 else (array.strides[-2], size)
    return array.flags.aligned and steps == (channels * size, size)


def _storable(slab: Slab) -> bool:
    """Whether results near the values may be stored where they go, rounded once."""
    into = slab.into
    if into is None or slab.rounding != "even" or into.dtype not in weighing.TYPES or not _beside(into):
        return False
    return into.dtype.kind == "f" or into.dtype == slab.x.dtype


def _places(array: Array, dilation: int, offset: int) -> tuple[int, ...]:
    """Return the address of row *offset*, and the steps from plane to plane, row to row and pixel to pixel."""
    plane, row, pixel = (step // array.itemsize for step in array.strides[:3])
    return address(array) + offset * array.strides[1], plane if len(array) > 1 else 0, row * dilation, pixel


@lru_cache(maxsize=64)
def _strips(rows: Axis, columns: Axis, channels: int, beside: int, kinds: tuple[np.dtype[Any], ...]) -> Strips:
    from poolcli.core import bands, recipes  # the first loads llvmlite

    product, dtype = kinds
    types, fold = Arithmetic(product, dtype, dtype, dtype, "keep"), Fold("same", "add", "keep", "")
    whole, across = rows.trimmed(), columns.trimmed()
    phases = list(whole.phases())
    suffixes = max((phase.axis.kernel + 1 for phase in phases if bands.block(phase.axis)), default=0)
    task, other = (recipes.Task(rows, columns, False, fold, types, 1, n) for n in (channels, beside))  # noqa: FBT003
    tile, width = bands.strip(task, suffixes, across)
    own, aside = (bands.column_fields(each, across, tile, width) for each in (task, other))
    parts, most = [], 0
    for phase in phases:
        axis, grain = phase.axis, bands.block(phase.axis) or 1
        fitting = (LIFTED // (width * product.itemsize) - axis.kernel) // axis.stride
        height = min(axis.out, max(grain, fitting // grain * grain))
        most = max(most, height, (height - 1) * axis.stride + axis.kernel)
        place = ((0, width * product.itemsize, 0, 0), 0, axis.out, (1,))
        told = (
            bands.row_part(of, phase, 1, fields).told(*place, (1, 1)).geometry
            for of, fields in ((task, own), (other, aside))
        )
        parts.append(Part(phase, height, *told))
    rows_of = (most, most, kernels.SUFFIXES + suffixes, most, most)  # lifted, shares, work, sums, totals
    begins = np.cumsum([0, *rows_of]) * width * dtype.itemsize
    lifted, shares, work, sums, totals, size = begins.tolist()
    evens, odds = (work + row * width * dtype.itemsize for row in (kernels.EVENS, kernels.ODDS))
    return Strips(size, (lifted, shares, work, evens, odds, sums, totals), tuple(parts))
