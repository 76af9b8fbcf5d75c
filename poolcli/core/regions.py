"""Regions: a box of the outputs pooled from the inputs that it reads, with the values of the whole."""

from __future__ import annotations

from dataclasses import fields, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, engines, execution, guests, methods, pooling, recipes
from poolcli.core import rules as rule_sets
from poolcli.core.geometry import Window
from poolcli.core.methods import Composed
from poolcli.core.missing import Missing, combined
from poolcli.core.pooling import Pooling
from poolcli.errors import InputError, UsageError, heard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.pooling import Outline

    Array = NDArray[Any]
    Arrays = dict[str, Array]
    Box = tuple[slice, ...]


def region(
    source: Any,
    box: Box,
    method: str | tuple[str, ArrayLike] = "max",
    kernel: Any = None,
    stride: Any = None,
    padding: Any = None,
    dilation: Any = 1,
    *,
    weights: Any = None,
    mask: Any = None,
    layout: str | None = None,
    dtype: DTypeLike | None = None,
    rounding: str | None = None,
    rules: str | None = None,
    out: Array | None = None,
    engine: str = "auto",
    threads: int | None = None,
    **others: Any,
) -> Any:
    """Return ``pool(source, ...)[box]``, bit for bit, and read of *source* only what that needs.

    Parameters
    ----------
    source
        Anything with a shape, a dtype and slices like NumPy's: an array of zarr, h5py, xarray or Dask, a memmap.
    box
        A slice of step 1 for each axis of the result, as ``numpy.s_[0:512, 512:1024]``.
    weights, mask
        As in `pool`; of the shape of *source* they are sliced like it.
    method, kernel, stride, padding, dilation, layout, dtype, rounding, rules, out, engine, threads, others
        As in `pool`, but for its indices.

    Returns
    -------
    numpy.ndarray
        Of the shape of *box*; masked where *source* gives masked arrays.

    Raises
    ------
    poolcli.PoolError
        A value breaks a rule, *box* is none of the result, or *source* cannot be pooled so.

    Examples
    --------
    >>> import numpy
    >>> region(numpy.arange(64).reshape(8, 8), numpy.s_[1:3, 2:4], "max", kernel=2)
    array([[29, 31],
           [45, 47]])
    """
    shape, kind, letters = _told(source)
    settings = {each.name: others.pop(each.name) for each in fields(Missing) if each.name in others}
    asked = Window(kernel, stride, padding, dilation, **others)
    window, chosen, rounding = rule_sets.applied(rules, asked, pooling.method_of(method), rounding)
    missing, layout = Missing(**settings), letters if layout is None else layout

    def outlined(*, weighed: bool) -> Outline:
        target = None if dtype is None else dtypes.named(dtype)
        options: dict[str, Any] = {"layout": layout, "asked": target, "rounding": rounding, "missing": missing}
        return pooling.outline(shape, kind, chosen, window, weighed=weighed, **options)

    whole = outlined(weighed=weights is not None or mask is not None)
    read = reach(whole, box)
    part = guests.taken(source[read])
    weigh, counts = (_cut(given, shape, whole.layout.pooled, read) for given in (weights, mask))
    masked = part.mask is not None
    if part.mask is not None:
        counts = part.mask if mask is None else part.mask & (np.asarray(counts) != 0)
        missing = replace(missing, empty=0 if missing.empty is None else missing.empty)
        whole = outlined(weighed=True)
    weighing, also = combined(weigh, counts, part.array.shape), ("lacking",) * masked
    done = run(whole, part.array, box, engine=engine, threads=threads, out=out, weights=weighing, also=also)
    return np.ma.array(done.array, mask=done.also["lacking"]) if masked else part.back(done.array)


def _told(source: Any) -> tuple[tuple[int, ...], np.dtype[Any], str | None]:
    """Return the shape and dtype of *source*, and the layout that it spells."""
    try:
        return tuple(map(int, source.shape)), dtypes.supported(np.dtype(source.dtype)), guests.spelled(source)
    except (AttributeError, TypeError) as error:
        raise InputError(f"source must have a shape, a dtype and slices as NumPy's arrays, got {error}") from error


def _cut(given: Any, shape: tuple[int, ...], pooled: tuple[int, ...], box: Box) -> Any:
    """Return what of weights or a mask lies in a box of the input."""
    if given is None:
        return None
    if tuple(np.shape(given)) == shape:
        return given[box] if hasattr(given, "shape") else np.asarray(given)[box]
    whole = np.asarray(given)
    combined(None, whole, shape, pooled)
    if whole.shape == tuple(shape[axis] for axis in pooled):
        whole = whole.reshape([length if axis in pooled else 1 for axis, length in enumerate(shape)])
    return np.broadcast_to(whole, shape)[box]


def reach(outlined: Outline, box: Box) -> Box:
    """Return the box of the input, one slice for each of its axes, that the outputs *box* read.

    *box* has a slice of step 1 for each axis of the result, which may be open or count from the end.

    Raises
    ------
    UsageError
        *box* is none of the result, or empty.
    """
    return _reach(outlined, checked(outlined, box))


def run(
    outlined: Outline,
    part: Array,
    box: Box,
    *,
    engine: str = "auto",
    threads: int | None = None,
    out: Array | None = None,
    weights: Array | None = None,
    also: tuple[str, ...] = (),
) -> Pooling:
    """Pool the outputs *box* of the whole that *outlined* tells of, and say how.

    *part* is the box of the input that `reach` names, and *weights* those of it, of `missing.combined`; *outlined* must
    be weighed then. *also* names what is told of each window, of `execution.ALSO` but for indices. The other keywords
    are those of `pooling.pool`.

    Raises
    ------
    PoolError
        *box* is none of the result, *part* is another box, *out* does not fit, or *part* cannot be pooled so.
    """
    whole = checked(outlined, box)
    read = _reach(outlined, whole)
    if part.shape != lengths(read):
        raise UsageError(f"part must be the box {read} of the input, got shape {part.shape}")
    if weights is not None and not outlined.given.weighed:
        raise UsageError("weights must be given for an outline that is weighed")
    result = pooling.checked(out, part, lengths(whole), outlined.dtype)
    told = {name: np.empty(result.shape, execution.ALSO[name]) for name in also}
    inputs = {"values": part} if weights is None else {"values": part, "weights": np.broadcast_to(weights, part.shape)}
    done = _run(outlined, whole, inputs, {"values": result, **told}, engine, threads)
    return done._replace(array=result, also=told)


def checked(outlined: Outline, box: Any) -> Box:
    """Return *box* with its ends as numbers."""
    shape = outlined.shape
    if not isinstance(box, tuple) or len(box) != len(shape) or not all(isinstance(each, slice) for each in box):
        raise UsageError(f"box must have a slice for each axis of the result {shape}, got {box!r}")
    ends = [each.indices(length) for each, length in zip(box, shape, strict=True)]
    if any(step != 1 or start >= stop for start, stop, step in ends):
        raise UsageError(f"box must hold outputs of the result {shape}, side by side, got {box!r}")
    return tuple(slice(start, stop) for start, stop, _ in ends)


def lengths(box: Box) -> tuple[int, ...]:
    """Return the shape of what lies in a box."""
    return tuple(each.stop - each.start for each in box)


def _reach(outlined: Outline, box: Box) -> Box:
    method = outlined.given.method
    if isinstance(method.recipe, Composed):
        first, then = _in_turn(outlined, method.recipe)
        return _reach(first, _reach(then, box))
    if method.parts:
        each = zip(*(_reach(one, these) for one, these, _ in _beside(outlined, box)), strict=True)
        return tuple(slice(min(at.start for at in axis), max(at.stop for at in axis)) for axis in each)
    ends = dict(zip(outlined.layout.pooled, execution.reads(_plan(outlined, box)), strict=True))
    return tuple(slice(*ends.get(axis, (at.start, at.stop))) for axis, at in enumerate(box))


def _plan(outlined: Outline, box: Box) -> Plan:
    """Return the windows of a region: parts of the axes of the whole."""
    each = zip(outlined.plan.axes, outlined.layout.pooled, strict=True)
    return replace(outlined.plan, axes=tuple(axis.part(box[i].start, box[i].stop) for axis, i in each))


def _local(outlined: Outline, box: Box) -> Outline:
    """Return the outline of a region."""
    given, layout, plan = outlined.given, outlined.layout, _plan(outlined, box)
    lead, last = layout.order[: layout.lead], layout.order[layout.lead + len(plan.axes) :]
    planes, channels = (_numbers(outlined.shape, box, axes) for axes in (lead, last))
    recipe = recipes.resolve(
        given.method, given.dtype, outlined.dtype, plan, (len(planes), len(channels)), outlined.rounding,
        weighed=given.weighed or outlined.alpha,
    )  # fmt: skip
    numbers = prod(outlined.shape[axis] for axis in last), channels
    how: dict[str, Any] = {"recipe": recipe, "channels": len(channels), "planes": planes, "numbers": numbers}
    return replace(outlined, shape=lengths(box), plan=plan, **how)


def _numbers(shape: tuple[int, ...], box: Box, axes: tuple[int, ...]) -> Array:
    """Return the numbers that the elements of a box have along *axes* of the whole, counted through."""
    numbers = np.zeros(1, np.int64)
    for axis in axes:
        numbers = np.add.outer(numbers * shape[axis], np.arange(box[axis].start, box[axis].stop)).ravel()
    return numbers


def _run(outlined: Outline, box: Box, inputs: Arrays, outputs: Arrays, engine: str, threads: int | None) -> Pooling:
    """Pool *inputs*, of the box that *box* reads, into *outputs*."""
    method = outlined.given.method
    if isinstance(method.recipe, Composed):
        first, then = _in_turn(outlined, method.recipe)
        middle, weighed = _reach(then, box), outlined.given.weighed
        between, lacking = {"values": np.empty(lengths(middle), first.dtype)}, np.empty(lengths(middle), bool)
        _run(first, middle, inputs, between | ({"lacking": lacking} if weighed else {}), engine, threads)
        return _run(then, box, between | ({"weights": ~lacking} if weighed else {}), outputs, engine, threads)
    if method.parts:
        begin = _reach(outlined, box)
        for one, these, into in _beside(outlined, box):
            each = zip(_reach(one, these), begin, strict=True)
            read = tuple(slice(at.start - outer.start, at.stop - outer.start) for at, outer in each)
            parts = {name: array[read] for name, array in inputs.items()}
            done = _run(one, these, parts, {name: array[into] for name, array in outputs.items()}, engine, threads)
        return done
    if method.result == "sum":
        dtypes.check_sum(inputs["values"], outlined.plan.count)
    local = _local(outlined, box)
    with heard() as warnings:
        ready = engines.prepare(engine, local.recipe, threads=threads)
    execution.execute(local, ready, inputs, outputs)
    layout, choice = outlined.layout, ready.choice
    return Pooling(outputs["values"], layout, outlined.plan, choice, ready.threads, {}, tuple(warnings), {})


def _in_turn(outlined: Outline, composed: Composed) -> tuple[Outline, Outline]:
    """Return the outlines of the two methods that one is composed of."""
    given = outlined.given
    same, blank, left = pooling.turns(given.window, outlined.missing, weighed=given.weighed)
    how: dict[str, Any] = {"layout": outlined.layout.letters, "rounding": outlined.rounding, "weighed": given.weighed}
    first = pooling.outline(given.shape, given.dtype, methods.lookup(composed.first), same, missing=blank, **how)
    how |= {"missing": left, "asked": outlined.dtype}
    return first, pooling.outline(first.shape, first.dtype, methods.lookup(composed.then), given.window, **how)


def _beside(outlined: Outline, box: Box) -> Iterator[tuple[Outline, Box, Box]]:
    """Yield the outlines of methods whose channels stand side by side, which box of each, and where in *box* it is."""
    given, letters = outlined.given, outlined.layout.letters
    axis = letters.index("C")
    each, before = given.shape[axis], (slice(None),) * axis
    how: dict[str, Any] = {"layout": letters, "asked": outlined.dtype, "rounding": outlined.rounding}
    how |= {"missing": outlined.missing, "weighed": given.weighed}
    for number, method in enumerate(given.method.parts):
        begin = number * each
        start, stop = max(box[axis].start, begin), min(box[axis].stop, begin + each)
        if start < stop:
            one = pooling.outline(given.shape, given.dtype, method, given.window, **how)
            these = (*box[:axis], slice(start - begin, stop - begin), *box[axis + 1 :])
            yield one, these, (*before, slice(start - box[axis].start, stop - box[axis].start))
