"""An outline executed: an array is dealt into slabs of planes and outermost outputs, each folded or given to a step."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, steps, threads
from poolcli.core.axes import ONE
from poolcli.core.slabs import Slab, fold_axes
from poolcli.core.winners import find, winners

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.engines import Ready
    from poolcli.core.pooling import Outline
    from poolcli.core.recipes import Recipe

    Array = NDArray[Any]

# What is told of each window: its elements that count, whether they are too few, and where its extreme stands
ALSO = {"valid": np.int64, "lacking": bool, "indices": np.int64}

# Bytes taken at a time where an input or a result must be converted: with four times as many most sums take 1.3 times
# as long. Up to FEW times as many where slabs would read more than they give, for windows that reach far.
SLAB, FEW = 2**22, 4
LEAST = 2**16  # elements that are worth a slab of their own, for another thread


def execute(outline: Outline, ready: Ready, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Pool *inputs* into *outputs*, arrays by name in the layout of *outline*.

    "values" are in both; "weights" may be an input, which broadcasts to the values; what else is told of windows are
    outputs of `ALSO`.
    """
    plan, order, lead, recipe = outline.plan, outline.layout.order, outline.layout.lead, outline.recipe
    x, y = inputs["values"].transpose(order), outputs["values"].transpose(order)
    whole = recipe.fused and plan.frame is None and len(plan.axes) <= 2 and _direct(recipe, x, y)
    if whole and len(outputs) == 1:
        planes, rows = recipe.tasks[0].planes, plan.axes[0] if len(plan.axes) == 2 else ONE
        source, target = x.reshape(planes, rows.length, -1), y.reshape(planes, rows.out, -1)
        ready.folders(recipe)[0](source, target, rows.low, rows.start)
        return
    told = {name: array.transpose(order) for name, array in outputs.items() if name in ALSO}
    if recipe.fused and (lead == 0 or all(each.flags.c_contiguous for each in (x, y, *told.values()))):
        x, y = x.reshape(-1, *x.shape[lead:]), y.reshape(-1, *y.shape[lead:])
        told, lead = {name: array.reshape(y.shape) for name, array in told.items()}, 1
        if whole and told.keys() == {"indices"}:
            slab = Slab(x.reshape(*x.shape[: 1 + len(plan.axes)], -1), plan, ready, 0, plan.axes[0].out, 0)
            if find(slab, told["indices"], y, largest=recipe.step == "largest"):
                return
    shape = inputs["values"].shape
    weights = np.broadcast_to(inputs["weights"], shape).transpose(order) if "weights" in inputs else None
    if lead == 0:
        x, y, lead, told = x[None], y[None], 1, {name: array[None] for name, array in told.items()}
        weights = None if weights is None else weights[None]
    frames, planes = _frames(plan), x.shape[lead - 1]
    slabs = [
        (number * planes, index, slab)
        for number, index in enumerate(np.ndindex(x.shape[: lead - 1]))
        for slab in _slabs(planes, prod(x.shape[: lead - 1]), outline, ready)
    ]
    alone = ready._replace(threads=1) if len(slabs) > 1 else ready

    def work(number: int) -> None:
        before, index, where = slabs[number]
        into = (*index, where[0], slice(*where[1:]))
        part = x[index], None if weights is None else weights[index]
        target = y[into][..., None] if y.ndim == lead + len(plan.axes) else y[into]
        single = target.ndim == 2 + len(plan.axes)  # channels on one axis, as a slab has them
        slab = _slab(outline, alone, part, frames, where, before + where[0].start, target if single else None)
        _pool(outline, slab, y[into], {name: array[into] for name, array in told.items()})

    threads.share(work, len(slabs), ready.threads)


def _pool(outline: Outline, slab: Slab, target: Array, told: Mapping[str, Array]) -> None:
    """Pool a slab into *target*, and write what is *told* of its windows."""
    pooled, lacking = _pooled(outline, slab, target.dtype)
    if pooled is not slab.into:
        target[...] = pooled.reshape(target.shape)
    for name, array in told.items():
        array[...] = _told(outline, slab, name, lacking).reshape(target.shape)


def _slab(
    outline: Outline,
    ready: Ready,
    part: tuple[Array, Array | None],
    frames: list[Array] | None,
    where: tuple[slice, int, int],
    plane: int,
    into: Array | None,
) -> Slab:
    """Return a slab of the values and weights of planes: its planes and outputs are *where*, its first is *plane*."""
    plan, (these, first, last), (x, weights) = outline.plan, where, part
    low, high = plan.axes[0].inputs(first, last) if len(plan.axes) > 1 else (0, plan.axes[0].length)
    kept = 1 + len(plan.axes)
    if weights is not None:
        alike, once = not weights.strides[0], not any(weights.strides[kept:])  # those of all planes, of all channels
        channels = [slice(1 if once else None)] * (x.ndim - kept)
        narrow = (slice(1) if alike else these, *[slice(None)] * (kept - 1), *channels)
        weights = _framed(weights[narrow], kept, frames, low, high, 1)
    values = _framed(x[these], kept, frames, low, high, 0)
    weights = outline.missing.weigh(values, weights)
    values = values.astype(dtypes.canonical(values.dtype), copy=False)
    plane = plane if outline.planes is None else int(outline.planes[plane])
    how = (outline.seed, weights, into, outline.rounding, outline.numbers, outline.alpha)
    return Slab(values, plan, ready, first, last, low, plane, *how)


def _told(outline: Outline, slab: Slab, name: str, lacking: Any) -> Array:
    """Return what is told of the windows of a slab, some of which are *lacking* elements."""
    found = slab.valid if name == "valid" else lacking
    if name == "indices":
        places = winners(slab, largest=outline.recipe.step == "largest")
        found = places if lacking is False else np.where(lacking, -1, places)
    return np.broadcast_to(found, (len(slab.x), *slab.outs, slab.x.shape[-1]))


def _direct(recipe: Recipe, x: Array, y: Array) -> bool:
    """Whether kernels can read *x* and write *y* where they lie."""
    return _plain(x, recipe.tasks[0].types.source) and _plain(y, recipe.tasks[-1].types.result)


def _plain(array: Array, dtype: np.dtype[Any]) -> bool:
    return array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned


def _slabs(planes: int, times: int, outline: Outline, ready: Ready) -> Iterator[tuple[slice, int, int]]:
    """Part the work, which is done *times* over, into planes and outputs [first, last) of the outermost axis.

    Copies stay small, and all threads have some.
    """
    outermost, *inner = outline.plan.axes
    compiled = ready.choice.engine == "numba" and outline.recipe.gathered
    held = outline.recipe.gathered[0].held if compiled else 8 * outline.recipe.spread  # of each element
    width = prod(axis.length for axis in inner) * outline.channels
    elements = times * planes * width * outermost.length
    each = max(LEAST, -(-elements // (threads.PARTS * ready.threads))) if ready.threads > 1 else elements
    most = max(1, min(SLAB // held, each))
    rows = max(most, min(FEW * most, FEW * outermost.reach * width)) // width
    height = max(1, (rows - outermost.reach) // outermost.stride) if inner else outermost.out
    together = max(1, most // (width * outermost.length))
    for p in range(0, planes, together):
        for first in range(0, outermost.out, height):
            yield slice(p, p + together), first, min(first + height, outermost.out)


def _pooled(outline: Outline, slab: Slab, dtype: np.dtype[Any]) -> tuple[Array, Any]:
    """Return what the windows of a slab give, as *dtype*, and which of them lack elements."""
    recipe, missing = outline.recipe, outline.missing
    lacking: Any = False
    with np.errstate(all="ignore"):
        if recipe.fused:
            pooled = fold_axes(slab, recipe.tasks, slab.ready.folders(recipe), slab.x, None)
        else:
            pooled = getattr(steps, recipe.step)(slab, recipe.value)
            if slab.weights is not None or missing.asked:
                any_will_do = missing.min_valid in {0, 1}
                lacking = ~slab.there if any_will_do else missing.lacking(slab.valid, slab.touched)
                if isinstance(pooled, np.ma.MaskedArray):
                    lacking, pooled = lacking | np.ma.getmaskarray(pooled), np.ma.getdata(pooled)
                pooled = missing.fill(pooled, lacking, dtype.kind)
    return dtypes.convert(pooled, dtype, outline.rounding), lacking


def reads(plan: Plan) -> list[tuple[int, int]]:
    """Return ``[low, high)`` of the input's elements that the windows of a plan read, along each pooled axis."""
    if plan.frame is None:
        return [(axis.low, axis.low + axis.length) for axis in plan.axes]
    there = [places[places >= 0] for places in _places(plan, plan.frame)]
    return [(int(each.min()), 1 + int(each.max())) if len(each) else (0, 1) for each in there]


def _frames(plan: Plan) -> list[Array] | None:
    """Return the element read that stands at each place of the framed input, along each pooled axis; -1 for zero."""
    if plan.frame is None:
        return None
    return [
        np.where(places < 0, -1, places - low)
        for places, (low, _) in zip(_places(plan, plan.frame), reads(plan), strict=True)
    ]


def _places(plan: Plan, frame: tuple[tuple[int, int], ...]) -> list[Array]:
    mode: Any = {"zero": "constant"}.get(plan.pad_mode, plan.pad_mode)
    options = {"constant_values": -1} if mode == "constant" else {}
    return [
        np.pad(np.arange(axis.whole.length - sum(pair)), pair, mode, **options)[axis.low : axis.low + axis.length]
        for axis, pair in zip(plan.axes, frame, strict=True)
    ]


def _framed(x: Array, kept: int, frames: list[Array] | None, low: int, high: int, fill: int) -> Array:
    """Return inputs [low, high) of the outermost axis with what is put around them, *fill* where that is zero.

    The axes after those *kept* become one.
    """
    x = x.reshape(*x.shape[:kept], -1)
    if frames is None:
        return x[:, low:high]
    for number, places in enumerate(frames):
        these = places[low:high] if number == 0 else places
        x = x.take(np.maximum(these, 0), axis=1 + number)
        if (these < 0).any():
            x[(slice(None),) * (1 + number) + (these < 0,)] = fill
    return x
