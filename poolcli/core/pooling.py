"""`pool`: the library's door. Arrays in, arrays out; types, layouts and memory are settled here, once."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, engines, execution, layouts, methods, recipes, steps
from poolcli.core.geometry import Window, one_of
from poolcli.core.methods import Chain
from poolcli.errors import InputError, UsageError, heard

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.layouts import Layout
    from poolcli.core.methods import Method
    from poolcli.core.recipes import Recipe

    Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Pooling:
    """What pooling one array gave, and how.

    *seconds* holds load_engine, compile and pool.
    """

    array: Array
    layout: Layout
    plan: Plan
    choice: engines.Choice
    threads: int
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()


def pool(
    array: ArrayLike,
    method: str | tuple[str, ArrayLike] = "max",
    kernel: Any = None,
    stride: Any = None,
    padding: Any = None,
    dilation: Any = 1,
    *,
    ceil: bool = False,
    count_include_pad: bool = False,
    divisor: Any = None,
    edge: str | None = None,
    pad_mode: str | None = None,
    to: Any = None,
    to_rule: str = "adaptive",
    seed: Any = 0,
    layout: str | None = None,
    dtype: DTypeLike | None = None,
    rounding: str = "even",
    out: Array | None = None,
    engine: str = "auto",
    threads: int | None = None,
) -> Array:
    """Pool the windows of *array*.

    Parameters
    ----------
    array
        Anything `numpy.asarray` accepts, of bool, integers of 8 to 64 bits or float16/32/64; any strides and byte
        order; never modified. One with a mask is refused.
    method
        One of ``poolcli.core.methods.METHODS``, with a value as ``"lp:3"``; for those that take weights
        ``("weighted", array)``.
    kernel, stride, padding, dilation, ceil, count_include_pad, divisor, edge, pad_mode, to, to_rule, seed
        As in `poolcli.core.geometry.Window`.
    layout
        Letters of the axes, for example ``"NHWC"``; told from the shape when not given: HW, CHW or NCHW.
    dtype
        Of the result. Methods that choose values keep the input's; sum gives uint64 or int64 for integers; means give
        float64 for integers; floats keep theirs. To an integer: rounded once, and saturating.
    rounding
        To integers: half to "even", half "up", or "floor".
    out
        Where the result goes, of its shape and dtype, sharing no memory with *array*; returned.
    engine
        ``numba``, ``numpy`` or ``auto``; the values are the same.
    threads
        How many bands are pooled at once; the usable processors when not given. The values are the same.

    Returns
    -------
    numpy.ndarray
        In the layout of *array*, the pooled axes shortened; native byte order.

    Raises
    ------
    poolcli.PoolError
        A value breaks a rule, or *array* cannot be pooled so.

    Examples
    --------
    >>> pool([[1, 2, 3], [4, 5, 6], [7, 8, 9]], "max", kernel=2, stride=1)
    array([[5, 6],
           [8, 9]])
    """
    window = _window(
        kernel, stride, padding, dilation, ceil, count_include_pad, divisor, edge, pad_mode, to, to_rule, seed
    )  # fmt: skip
    target = None if dtype is None else dtypes.named(dtype)
    return run(
        _array(array),
        _method(method),
        window,
        layout=layout,
        dtype=target,
        rounding=rounding,
        out=out,
        engine=engine,
        threads=threads,
    ).array


def _method(given: str | tuple[str, ArrayLike]) -> Method:
    if isinstance(given, tuple) and len(given) == 2:
        return methods.weighed(given[0], np.asarray(given[1]))
    return methods.lookup(str(given))


def _array(given: ArrayLike) -> Array:
    if isinstance(given, str | bytes | os.PathLike):
        raise InputError(f"array must hold numbers, got {given!r}", f"poolcli.read({os.fsdecode(given)!r})")
    if isinstance(given, np.ndarray) and hasattr(given, "mask"):
        got = type(given).__name__
        raise InputError(f"array must have no mask, got a {got}", "array.filled(value) puts a value where the mask is")
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise InputError(f"array must be what numpy.asarray accepts, got {error}") from error


_kept = lru_cache(maxsize=64, typed=True)(Window)


def _window(*values: Any) -> Window:
    try:
        return _kept(*values)
    except TypeError:  # a list is as good a value as a tuple, but has no hash
        return Window(*values)


@dataclass(frozen=True, slots=True)
class Outline:
    """What pooling would give: the result's shape and dtype, and how the array and the window were understood.

    *channels* are interleaved; *seed* is what random choices follow from; *taps* are the weights of a window, or those
    of each axis whose products they are.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Layout
    plan: Plan
    recipe: Recipe
    channels: int
    rounding: str
    seed: int
    taps: Any = None


@lru_cache(maxsize=64)  # parsing and planning take ten times as long as pooling something small
def outline(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    method: Method,
    window: Window,
    *,
    layout: str | None = None,
    asked: np.dtype[Any] | None = None,
    rounding: str = "even",
) -> Outline:
    """Return what pooling an array of *shape* and *dtype* would give; *asked* is the dtype wanted for the result."""
    one_of("rounding", rounding, tuple(dtypes.ROUNDINGS))
    resolved = layouts.resolve(layout, shape)
    lengths = tuple(shape[axis] for axis in resolved.pooled)
    fitted = window.fitted(method.weights, reflects=method.reflects)
    plan = fitted.plan(lengths, single=dtype == np.float32)
    target = dtypes.target(method, dtype, asked)
    ordered = [shape[axis] for axis in resolved.order]
    planes, channels = prod(ordered[: resolved.lead]), prod(ordered[resolved.lead + len(resolved.pooled) :])
    recipe = recipes.resolve(method, dtype, target, plan, (planes, channels), rounding)
    pooled = resolved.replaced(shape, plan.out)
    if method.parts:
        pooled = resolved.stacked(pooled, len(method.parts))
    seed = fitted.seed if isinstance(fitted.seed, int) else 0
    return Outline(pooled, target, resolved, plan, recipe, channels, rounding, seed, steps.weights(method, plan))


def run(
    source: Array,
    method: Method,
    window: Window,
    *,
    layout: str | None = None,
    dtype: np.dtype[Any] | None = None,
    rounding: str = "even",
    out: Array | None = None,
    engine: str = "auto",
    threads: int | None = None,
    ahead: int = 1,
) -> Pooling:
    """Pool *source* and say how; *ahead* is as in `engines.prepare`."""
    native = dtypes.supported(source.dtype)
    outlined = outline(source.shape, native, method, window, layout=layout, asked=dtype, rounding=rounding)
    resolved, plan = outlined.layout, outlined.plan
    if method.result == "sum":
        dtypes.check_sum(source, plan.count)
    result = _checked(out, source, outlined.shape, outlined.dtype)
    if method.joins:
        options = {"layout": resolved.letters, "engine": engine, "threads": threads, "ahead": ahead}
        pooled = _chained if isinstance(method.recipe, Chain) else _beside
        targets = resolved.stack(result, len(method.parts)) if method.parts else [result]
        done = pooled(source, method, window, targets, {**options, "rounding": rounding})
        return replace(done, array=result, plan=plan)
    with heard() as warnings:
        ready = engines.prepare(engine if result.size else "numpy", outlined.recipe, threads=threads, ahead=ahead)
    begin = time.perf_counter()
    if result.size:
        execution.execute(outlined, ready, {"values": source}, {"values": result})
    seconds = {
        "load_engine": ready.load_engine,
        "compile": ready.compile,
        "pool": time.perf_counter() - begin,
    }
    return Pooling(result, resolved, plan, ready.choice, ready.threads, seconds, tuple(warnings))


def _chained(source: Array, method: Method, window: Window, targets: list[Array], options: dict[str, Any]) -> Pooling:
    """Pool by one method at stride 1, keeping the size, then by another."""
    first, then = map(methods.lookup, (method.recipe.first, method.recipe.then))  # type: ignore[union-attr]  # a Chain
    between = run(source, first, Window(window.kernel, 1, "same", window.dilation), **options)
    (result,) = targets
    done = run(between.array, then, window, dtype=result.dtype, out=result, **options)
    return replace(done, seconds=added(between.seconds, done.seconds))


def _beside(source: Array, method: Method, window: Window, targets: list[Array], options: dict[str, Any]) -> Pooling:
    """Pool by several methods into the channels of the result, one after another."""
    seconds: dict[str, float] = {}
    for part, target in zip(method.parts, targets, strict=True):
        done = run(source, part, window, dtype=target.dtype, out=target, **options)
        seconds = added(seconds, done.seconds)
    return replace(done, seconds=seconds)


def added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return the sums of the seconds of each stage."""
    return {name: one.get(name, 0.0) + value for name, value in other.items()}


def _checked(out: Array | None, source: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if out is None:
        return np.empty(shape, dtype)
    if getattr(out, "shape", None) != shape or out.dtype != dtype:
        got = f"{out.dtype.name} {out.shape}" if hasattr(out, "dtype") else type(out).__name__
        raise UsageError(f"out must be a {dtype.name} array of shape {shape}, got {got}")
    if not out.flags.writeable:
        raise UsageError("out must be writeable")
    if np.may_share_memory(out, source) and np.shares_memory(out, source):
        raise UsageError("out must not share memory with the input")
    return out
