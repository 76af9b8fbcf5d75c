"""An outline executed: an array is dealt into slabs of planes and outermost outputs, each folded or given to a step."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, steps
from poolcli.core.slabs import Slab, fold_axes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from poolcli.core.engines import Ready
    from poolcli.core.pooling import Outline
    from poolcli.core.recipes import Recipe

    Array = NDArray[Any]

SLAB = 2**21  # elements taken at a time where an input or a result must be converted: 16 MB as float64


def execute(outline: Outline, ready: Ready, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Pool *inputs* into *outputs*, arrays by name in the layout of *outline*: "values" in both."""
    plan, order, lead, recipe = outline.plan, outline.layout.order, outline.layout.lead, outline.recipe
    x, y = inputs["values"].transpose(order), outputs["values"].transpose(order)
    if lead == 0 or (x.flags.c_contiguous and y.flags.c_contiguous):
        x, y, lead = x.reshape(-1, *x.shape[lead:]), y.reshape(-1, *y.shape[lead:]), 1
    if recipe.fused and lead == 1 and plan.frame is None and len(plan.axes) <= 2 and _direct(recipe, x, y):
        slab = Slab(x, plan, ready, 0, plan.axes[0].out, 0)
        fold_axes(slab, recipe.tasks, ready.folders(recipe), x, y)
        return
    framed = _frames(outline)
    channels = lead + len(plan.axes)
    x, y = (array.reshape(*array.shape[:channels], -1) for array in (x, y))
    for number, index in enumerate(np.ndindex(x.shape[: lead - 1])):
        planes = x.shape[lead - 1]
        for these, first, last in _slabs(planes, outline):
            low, high = plan.axes[0].inputs(first, last) if len(plan.axes) > 1 else (0, plan.axes[0].length)
            taken = _framed(x[index][these], framed, low, high)
            slab = Slab(taken, plan, ready, first, last, low, number * planes + these.start, outline.seed)
            target = y[index][these, first:last]
            target[...] = dtypes.convert(_pooled(outline, slab), y.dtype, outline.rounding)


def _direct(recipe: Recipe, x: Array, y: Array) -> bool:
    """Whether kernels can read *x* and write *y* where they lie."""
    return _plain(x, recipe.tasks[0].types.source) and _plain(y, recipe.tasks[-1].types.result)


def _plain(array: Array, dtype: np.dtype[Any]) -> bool:
    return array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned


def _slabs(planes: int, outline: Outline) -> Iterator[tuple[slice, int, int]]:
    """Part the work into planes and outputs [first, last) of the outermost axis, so that copies stay small."""
    outermost, *inner = outline.plan.axes
    most = max(1, SLAB // outline.recipe.spread)
    width = prod(axis.length for axis in inner) * outline.channels
    height = max(1, (most // width - outermost.reach) // outermost.stride) if inner else outermost.out
    together = max(1, most // (width * outermost.length))
    for p in range(0, planes, together):
        for first in range(0, outermost.out, height):
            yield slice(p, p + together), first, min(first + height, outermost.out)


def _pooled(outline: Outline, slab: Slab) -> Array:
    recipe = outline.recipe
    with np.errstate(all="ignore"):
        if recipe.fused:
            return fold_axes(slab, recipe.tasks, slab.ready.folders(recipe), slab.x, None)
        pooled: Array = getattr(steps, recipe.step)(slab, recipe.value)
        return pooled


def _frames(outline: Outline) -> list[Array] | None:
    """Return the element that stands at each place of the framed input, along each pooled axis; -1 where zero does."""
    plan = outline.plan
    if plan.frame is None:
        return None
    mode: Any = {"zero": "constant"}.get(plan.pad_mode, plan.pad_mode)
    options = {"constant_values": -1} if mode == "constant" else {}
    return [
        np.pad(np.arange(axis.length - sum(pair)), pair, mode, **options)
        for axis, pair in zip(plan.axes, plan.frame, strict=True)
    ]


def _framed(x: Array, frames: list[Array] | None, low: int, high: int) -> Array:
    """Return inputs [low, high) of the outermost axis, with what is put around them, as a type that NumPy folds."""
    if frames is None:
        x = x[:, low:high]
    for number, places in enumerate(frames or ()):
        these = places[low:high] if number == 0 else places
        x = x.take(np.maximum(these, 0), axis=1 + number)
        if (these < 0).any():
            x[(slice(None),) * (1 + number) + (these < 0,)] = 0
    return x.astype(dtypes.canonical(x.dtype), copy=False)
