"""An outline executed: views are dealt into slabs of planes and outermost outputs, each folded axis by axis."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import arrays, dtypes, steps
from poolcli.core.recipes import ONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from poolcli.core.arrays import Folder
    from poolcli.core.engines import Ready
    from poolcli.core.geometry import Plan
    from poolcli.core.pooling import Outline
    from poolcli.core.recipes import Task

    Array = NDArray[Any]

SLAB = 2**21  # elements taken at a time where an input or a result must be converted: 16 MB as float64


class Slab(NamedTuple):
    """Some planes and the outputs [first, last) of the outermost pooled axis, which read its inputs [low, high)."""

    planes: slice
    first: int
    last: int
    low: int
    high: int


def execute(outline: Outline, ready: Ready, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Pool *inputs* into *outputs*, arrays by name in the layout of *outline*: "values" in both."""
    order, lead, (outermost, *_) = outline.layout.order, outline.layout.lead, outline.plan.axes
    x, y = inputs["values"].transpose(order), outputs["values"].transpose(order)
    if lead == 0 or (x.flags.c_contiguous and y.flags.c_contiguous):
        x, y, lead = x.reshape(-1, *x.shape[lead:]), y.reshape(-1, *y.shape[lead:]), 1
    if lead == 1 and len(outline.plan.axes) <= 2 and _direct(outline, x, y):
        _pool(outline, ready, x, y, Slab(slice(None), 0, outermost.out, 0, outermost.length))
        return
    for index in np.ndindex(x.shape[: lead - 1]):
        for slab in _slabs(x.shape[lead - 1], outline):
            planes, read, written = slab.planes, slice(slab.low, slab.high), slice(slab.first, slab.last)
            _pool(outline, ready, x[index][planes, read], y[index][planes, written], slab)


def _direct(outline: Outline, x: Array, y: Array) -> bool:
    """Whether kernels can read *x* and write *y* where they lie."""
    parts = outline.recipe.parts
    return len(parts) == 1 and _plain(x, parts[0][0].types.source) and _plain(y, parts[0][-1].types.result)


def _plain(array: Array, dtype: np.dtype[Any]) -> bool:
    return array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned


def _slabs(planes: int, outline: Outline) -> Iterator[Slab]:
    """Part the work so that copies and accumulators of a slab stay small."""
    outermost, *inner = outline.plan.axes
    width = prod(axis.length for axis in inner) * outline.recipe.parts[0][-1].channels
    height = max(1, (SLAB // width - outermost.reach) // outermost.stride) if inner else outermost.out
    together = max(1, SLAB // (width * outermost.length))
    for p in range(0, planes, together):
        for first in range(0, outermost.out, height):
            last = min(first + height, outermost.out)
            read = outermost.inputs(first, last) if inner else (0, outermost.length)
            yield Slab(slice(p, p + together), first, last, *read)


def _pool(outline: Outline, ready: Ready, x: Array, y: Array, slab: Slab) -> None:
    """Pool (planes, pooled axes, channels) of one slab."""
    recipe, target = outline.recipe, y if _direct(outline, x, y) else None
    results = [
        _fold(outline.plan, tasks, folders, x, slab, y.shape, target)
        for tasks, folders in zip(recipe.parts, ready.parts, strict=True)
    ]
    if target is None:
        joined = results[0] if recipe.join is None else getattr(steps, recipe.join)(*results)
        y[...] = dtypes.convert(joined, y.dtype)


def _fold(
    plan: Plan,
    tasks: tuple[Task, ...],
    folders: tuple[Folder, ...],
    x: Array,
    slab: Slab,
    shape: tuple[int, ...],
    target: Array | None,
) -> Array:
    """Return the fold of one slab, of *shape*: its outer axes one by one, then its last two; into *target* if given."""
    planes, low, first, stop, outer = len(x), slab.low, slab.first, slab.last, (1,)
    if target is None:
        x = np.require(x, tasks[0].types.source, ["C", "A"])
    for axis, inner, task, fold in zip(plan.axes, plan.axes[1:], tasks[:-1], folders[:-1], strict=False):
        folded = np.empty((planes, stop - first, task.columns.out), task.types.result)
        fold(x.reshape(planes, -1, task.columns.length), folded, low, first)
        counts = arrays.divisors(axis, include_pad=plan.count_include_pad)[first:stop]
        outer = tuple(np.multiply.outer(outer, counts).ravel().tolist())
        x, planes, low, first, stop = folded, planes * (stop - first), 0, 0, inner.out
    last = tasks[-1]
    if last.rows is ONE:
        low = first = 0
    result = np.empty(shape, last.types.result) if target is None else target
    width, out_width = (n * last.channels for n in (last.columns.length, last.columns.out))
    folders[-1](x.reshape(planes, -1, width), result.reshape(planes, -1, out_width), low, first, outer)
    return result
