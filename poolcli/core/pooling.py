"""`pool`: the library's door. Arrays in, arrays out; types, layouts and memory are settled here, once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, engines, layouts, methods
from poolcli.core.geometry import Window
from poolcli.core.tasks import Task
from poolcli.errors import InputError, UsageError, heard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from poolcli.core.geometry import Plan
    from poolcli.core.layouts import Layout
    from poolcli.core.methods import Method

    Array = NDArray[Any]

SLAB = 2**21  # elements copied at a time where an input or a result must be converted: 16 MB as float64


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
    method: str = "max",
    kernel: Any = 2,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    ceil: bool = False,
    count_include_pad: bool = False,
    layout: str | None = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    engine: str = "auto",
    threads: int | None = None,
) -> Array:
    """Pool the windows of *array*.

    Parameters
    ----------
    array
        Anything `numpy.asarray` accepts, of bool, integers of 8 to 64 bits or float16/32/64; any strides and byte
        order; never modified.
    method
        One of ``poolcli.core.methods.METHODS``.
    kernel, stride, padding, dilation, ceil, count_include_pad
        As in `poolcli.core.geometry.Window`.
    layout
        Letters of the axes, for example ``"NHWC"``; told from the shape when not given: HW, CHW or NCHW.
    dtype
        Of the result. max and min keep the input's; sum gives uint64 or int64 for integers; avg and l2 give float64
        for integers; floats keep theirs. To an integer: half to even and saturating.
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
    values = (kernel, stride, padding, dilation, ceil, count_include_pad)
    try:
        window = _window(*values)
    except TypeError:  # a list is as good a value as a tuple, but has no hash
        window = Window(*values)
    try:
        source = np.asarray(array)
    except (ValueError, TypeError) as error:
        raise InputError(f"array must be what numpy.asarray accepts, got {error}") from error
    target = None if dtype is None else dtypes.named(dtype)
    return run(
        source,
        methods.lookup(method),
        window,
        layout=layout,
        dtype=target,
        out=out,
        engine=engine,
        threads=threads,
    ).array


_window = lru_cache(maxsize=64, typed=True)(Window)


@dataclass(frozen=True, slots=True)
class Outline:
    """What pooling would give: the result's shape and dtype, and how the array and the window were understood."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Layout
    plan: Plan
    task: Task


@lru_cache(maxsize=64)  # parsing and planning take ten times as long as pooling something small
def outline(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    method: Method,
    window: Window,
    *,
    layout: str | None = None,
    asked: np.dtype[Any] | None = None,
) -> Outline:
    """Return what pooling an array of *shape* and *dtype* would give; *asked* is the dtype wanted for the result."""
    resolved = layouts.resolve(layout, shape)
    plan = window.plan(tuple(shape[axis] for axis in resolved.pooled))
    target = dtypes.target(method, dtype, asked)
    types = dtypes.arithmetic(method, dtype, target, plan.count)
    ordered = [shape[axis] for axis in resolved.order]
    task = Task(plan, method.steps, types, prod(ordered[: resolved.lead]), prod(ordered[resolved.lead + 2 :]))
    return Outline(resolved.replaced(shape, plan.out), target, resolved, plan, task)


def run(
    source: Array,
    method: Method,
    window: Window,
    *,
    layout: str | None = None,
    dtype: np.dtype[Any] | None = None,
    out: Array | None = None,
    engine: str = "auto",
    threads: int | None = None,
    ahead: int = 1,
) -> Pooling:
    """Pool *source* and say how; *ahead* is as in `engines.prepare`."""
    native = dtypes.supported(source.dtype)
    outlined = outline(source.shape, native, method, window, layout=layout, asked=dtype)
    resolved, plan = outlined.layout, outlined.plan
    if method.result == "sum":
        dtypes.check_sum(source, plan.count)
    result = _checked(out, source, outlined.shape, outlined.dtype)
    with heard() as warnings:
        ready = engines.prepare(engine if result.size else "numpy", outlined.task, threads=threads, ahead=ahead)
    begin = time.perf_counter()
    if result.size:
        x, y = source.transpose(resolved.order), result.transpose(resolved.order)
        _pool_axes(ready.pool, outlined.task, x, y, resolved.lead)
    seconds = {
        "load_engine": ready.load_engine,
        "compile": ready.compile,
        "pool": time.perf_counter() - begin,
    }
    return Pooling(result, resolved, plan, ready.choice, ready.threads, seconds, tuple(warnings))


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


def _pool_axes(pool_: engines.Pool, task: Task, x: Array, y: Array, lead: int) -> None:
    """Pool *x* into *y*, both as planes, rows, columns, channels: whole if they can be used in place, else by slabs."""
    rows, columns = task.plan.axes
    types, width, out_width = task.types, columns.length * task.channels, columns.out * task.channels
    if _plain(x, types.source) and _plain(y, types.result):
        pool_(x.reshape(task.planes, rows.length, width), y.reshape(task.planes, rows.out, out_width), 0, 0)
        return
    if lead == 0:
        x, y, lead = x[None], y[None], 1
    for index in np.ndindex(x.shape[: lead - 1]):
        for planes, first, last in _slabs(x.shape[lead - 1], task):
            low, high = rows.inputs(first, last)
            source = np.ascontiguousarray(x[index][planes, low:high], types.source)
            target = y[index][planes, first:last]
            pooled = np.empty((len(source), last - first, out_width), types.result)
            pool_(source.reshape(len(source), high - low, width), pooled, low, first)
            target[...] = dtypes.convert(pooled, y.dtype).reshape(target.shape)


def _plain(array: Array, dtype: np.dtype[Any]) -> bool:
    """Whether a kernel can use *array* in place."""
    return array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned


def _slabs(planes: int, task: Task) -> Iterator[tuple[slice, int, int]]:
    """Part the work into planes and output rows ``[first, last)`` whose copies stay small."""
    rows, columns = task.plan.axes
    width = columns.length * task.channels
    height = max(1, (SLAB // width - rows.reach) // rows.stride)
    together = max(1, SLAB // (width * rows.length))
    for p in range(0, planes, together):
        for first in range(0, rows.out, height):
            yield slice(p, p + together), first, min(first + height, rows.out)
