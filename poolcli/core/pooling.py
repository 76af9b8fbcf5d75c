"""`pool`: the library's door. Arrays in, arrays out; types, layouts and memory are settled here, once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import dtypes, engines, execution, guests, layouts, methods, places, recipes, steps
from poolcli.core import rules as rule_sets
from poolcli.core.geometry import Window, one_of
from poolcli.core.methods import Composed
from poolcli.core.missing import PLAIN, Missing, combined
from poolcli.errors import UsageError, heard

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.layouts import Layout
    from poolcli.core.methods import Method
    from poolcli.core.recipes import Recipe

    Array = NDArray[Any]


class Pooling(NamedTuple):  # made sooner than a dataclass
    """What pooling one array gave, and how.

    *seconds* holds load_engine, compile and pool.
    """

    array: Array
    layout: Layout
    plan: Plan
    choice: engines.Choice
    threads: int
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    also: dict[str, Array]


def pool(
    array: ArrayLike,
    method: str | tuple[str, ArrayLike] = "max",
    kernel: Any = None,
    stride: Any = None,
    padding: Any = None,
    dilation: Any = 1,
    *,
    ceil: bool = False,
    count_include_pad: bool | None = None,
    divisor: Any = None,
    edge: str | None = None,
    pad_mode: str | None = None,
    to: Any = None,
    to_rule: str = "adaptive",
    seed: Any = 0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    nodata: Any = None,
    nan: str = "propagate",
    min_valid: Any = None,
    empty: Any = None,
    layout: str | None = None,
    dtype: DTypeLike | None = None,
    rounding: str | None = None,
    rules: str | None = None,
    out: Array | None = None,
    indices: bool = False,
    index_layout: str | None = None,
    engine: str = "auto",
    threads: int | None = None,
) -> Any:
    """Pool the windows of *array*.

    Parameters
    ----------
    array
        Anything `numpy.asarray` accepts, of bool, integers of 8 to 64 bits or float16/32/64; any strides and byte
        order; never modified. A masked array counts where its mask is not, and gives a masked array. Arrays of other
        libraries (DLPack) are taken without a copy, and give their own kind.
    method
        One of ``poolcli.core.methods.METHODS``, with a value as ``"lp:3"``; for those that take weights
        ``("weighted", array)``.
    kernel, stride, padding, dilation, ceil, count_include_pad, divisor, edge, pad_mode, to, to_rule, seed
        As in `poolcli.core.geometry.Window`.
    weights, mask
        What each element weighs, and where it counts (not zero); they broadcast to *array*. Means, deviations and
        quantiles are weighed; elsewhere an element of weight 0 is left out.
    nodata, nan, min_valid, empty
        As in `poolcli.core.missing.Missing`.
    layout
        Letters of the axes, for example ``"NHWC"``; told from the shape when not given: HW, CHW or NCHW.
    dtype
        Of the result. Methods that choose values keep the input's; sum gives uint64 or int64 for integers; means give
        float64 for integers; floats keep theirs. To an integer: rounded once, and saturating.
    rounding
        To integers: half to "even", the default, half "up", or "floor".
    rules
        Whose rules hold where nothing is given: "torch", "onnx", "tf" or "pillow", of `poolcli.core.rules`.
    out
        Where the result goes, of its shape and dtype, sharing no memory with *array*; returned.
    indices, index_layout
        Whether to return ``(values, indices)``, for max and min: where each value stands, the first of equals, the
        last NaN, -1 of no value. "torch" counts through its plane in scan order; "onnx" through the whole tensor,
        plane after plane; "tf" through one picture whose channels come last.
    engine
        ``numba``, ``numpy`` or ``auto``; the values are the same.
    threads
        How many bands are pooled at once; the usable processors when not given. The values are the same.

    Returns
    -------
    numpy.ndarray
        In the layout of *array*, the pooled axes shortened; native byte order. With *indices* a pair, int64 the second.

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
    window = _settings(
        Window, kernel, stride, padding, dilation, ceil, count_include_pad, divisor, edge, pad_mode, to, to_rule, seed
    )  # fmt: skip
    one_of("index_layout", index_layout, layouts.INDEX_LAYOUTS)
    guest = guests.taken(array)
    source = guest.array
    window, method_, rounding = rule_sets.applied(rules, window, method_of(method), rounding)
    counting = index_layout or rule_sets.index_layout(rules)
    if guest.mask is not None:
        mask = guest.mask if mask is None else guest.mask & (np.asarray(mask) != 0)
        empty = 0 if empty is None else empty
    missing = _settings(Missing, nan, nodata, min_valid, empty)
    pooled = run(
        source,
        method_,
        window,
        layout=guest.layout if layout is None else layout,
        dtype=None if dtype is None else dtypes.named(dtype),
        rounding=rounding,
        out=out,
        weights=_weights(weights, mask, source.shape, guest.layout if layout is None else layout),
        missing=missing,
        also=("lacking",) * (guest.mask is not None) + ("indices",) * indices,
        engine=engine,
        threads=threads,
    )
    masked = guest.mask is not None
    result = np.ma.array(pooled.array, mask=pooled.also["lacking"]) if masked else guest.back(pooled.array)
    if not indices:
        return result
    return result, guest.back(places.counted(pooled.also["indices"], counting, pooled.layout, source.shape))


def _weights(
    weights: ArrayLike | None, mask: ArrayLike | None, shape: tuple[int, ...], layout: str | None
) -> Array | None:
    if weights is None and mask is None:
        return None
    return combined(weights, mask, shape, layouts.resolve(layout, shape).pooled)


def method_of(given: str | tuple[str, ArrayLike]) -> Method:
    """Return the method that a token spells, or a pair of a name and weights."""
    if isinstance(given, tuple) and len(given) == 2:
        return methods.weighed(given[0], np.asarray(given[1]))
    return methods.lookup(str(given))


_kept = lru_cache(maxsize=64, typed=True)(lambda kind, *values: kind(*values))


def _settings(kind: Any, *values: Any) -> Any:
    """Return a window, or what else is parsed of values; parsing takes longer than pooling something small."""
    try:
        return _kept(kind, *values)
    except TypeError:  # a list is as good a value as a tuple, but has no hash
        return kind(*values)


class Given(NamedTuple):
    """What an outline is of: an array of *shape* and *dtype*, *weighed* or not, the method and the window."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    method: Method
    window: Window
    weighed: bool


@dataclass(frozen=True, slots=True)
class Outline:
    """What pooling would give: the result's shape and dtype, and how the array and the window were understood.

    *channels* are interleaved; *seed* is what random choices follow from; *taps* are the weights of a window, or those
    of each axis whose products they are. Of a region, *planes* are the numbers of its planes in the whole, *numbers*
    how many channels that has, and the numbers of these.
    """

    given: Given
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Layout
    plan: Plan
    recipe: Recipe
    channels: int
    rounding: str
    seed: int
    taps: Any = None
    missing: Missing = field(default_factory=Missing)
    planes: Array | None = None
    numbers: tuple[int, Array] | None = None
    alpha: bool = False


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
    missing: Missing = PLAIN,
    weighed: bool = False,
    indexed: bool = False,
    alpha: bool = False,
) -> Outline:
    """Return what pooling an array of *shape* and *dtype* would give; *asked* is the dtype wanted for the result.

    *weighed*: there are weights. *indexed*: told is where results stand. *alpha*: the last channel weighs the others.
    """
    one_of("rounding", rounding, tuple(dtypes.ROUNDINGS))
    resolved = layouts.resolve(layout, shape)
    lengths = tuple(shape[axis] for axis in resolved.pooled)
    fitted = window.fitted(method.weights, reflects=method.reflects)
    plan = fitted.plan(lengths, single=dtype == np.float32)
    target = dtypes.target(method, dtype, asked)
    ordered = [shape[axis] for axis in resolved.order]
    planes, channels = prod(ordered[: resolved.lead]), prod(ordered[resolved.lead + len(resolved.pooled) :])
    given = Given(shape, dtype, method, window, weighed or missing.asked)
    recipe = recipes.resolve(
        method, dtype, target, plan, (planes, channels), rounding,
        weighed=given.weighed or alpha, indexed=indexed,
    )  # fmt: skip
    pooled = resolved.replaced(shape, plan.out)
    if method.parts:
        pooled = resolved.stacked(pooled, len(method.parts))
    seed = fitted.seed if isinstance(fitted.seed, int) else 0
    taps = steps.weights(method, plan)
    options: dict[str, Any] = {"missing": missing, "alpha": alpha}
    return Outline(given, pooled, target, resolved, plan, recipe, channels, rounding, seed, taps, **options)


def run(
    source: Array,
    method: Method,
    window: Window,
    *,
    layout: str | None = None,
    dtype: np.dtype[Any] | None = None,
    rounding: str = "even",
    out: Array | None = None,
    weights: Array | None = None,
    missing: Missing = PLAIN,
    also: tuple[str, ...] = (),
    alpha: bool = False,
    engine: str = "auto",
    threads: int | None = None,
    ahead: int = 1,
) -> Pooling:
    """Pool *source* and say how.

    *weights* are of `missing.combined`; *alpha* is as in `outline`, for avg alone; *also* names what is told of each
    window, of `execution.ALSO`; *ahead* is as in `engines.prepare`.
    """
    native = dtypes.supported(source.dtype)
    outlined = outline(
        source.shape, native, method, window,
        layout=layout, asked=dtype, rounding=rounding, missing=missing, weighed=weights is not None,
        indexed="indices" in also, alpha=alpha,
    )  # fmt: skip
    resolved, plan = outlined.layout, outlined.plan
    if "indices" in also:
        places.check(method, window)
    if method.result == "sum":
        dtypes.check_sum(source, plan.count)
    result = checked(out, source, outlined.shape, outlined.dtype)
    told = {name: np.empty(outlined.shape, execution.ALSO[name]) for name in also}
    if method.joins:
        how: dict[str, Any] = {"engine": engine, "threads": threads, "ahead": ahead, "rounding": rounding}
        how |= {"layout": resolved.letters, "weights": weights, "missing": missing}
        return _joined(source, method, window, outlined, result, also, how)._replace(array=result, plan=plan)
    with heard() as warnings:
        ready = engines.prepare(engine if result.size else "numpy", outlined.recipe, threads=threads, ahead=ahead)
    begin = time.perf_counter()
    if result.size:
        inputs = {"values": source} if weights is None else {"values": source, "weights": weights}
        execution.execute(outlined, ready, inputs, {"values": result, **told})
    seconds = {
        "load_engine": ready.load_engine,
        "compile": ready.compile,
        "pool": time.perf_counter() - begin,
    }
    return Pooling(result, resolved, plan, ready.choice, ready.threads, seconds, tuple(warnings), told)


def _joined(
    source: Array,
    method: Method,
    window: Window,
    outlined: Outline,
    result: Array,
    also: tuple[str, ...],
    how: dict[str, Any],
) -> Pooling:
    """Pool by the methods that *method* joins."""
    if also:
        raise UsageError(f"method {method.token!r} must be pooled without counts, and not of a masked array")
    if isinstance(method.recipe, Composed):
        return _in_turn(source, method.recipe, window, result, how)
    return _beside(source, method, window, outlined.layout.stack(result, len(method.parts)), how)


def _in_turn(source: Array, composed: Composed, window: Window, result: Array, how: dict[str, Any]) -> Pooling:
    """Pool by one method at stride 1, keeping the size, then by another what the windows of the first gave."""
    first, then = map(methods.lookup, (composed.first, composed.then))
    lacking = how["weights"] is not None or how["missing"].asked
    same, blank, left = turns(window, how["missing"], weighed=lacking)
    between = run(source, first, same, also=("lacking",) * lacking, **how | {"missing": blank})
    how |= {"weights": ~between.also["lacking"] if lacking else None, "missing": left}
    done = run(between.array, then, window, dtype=result.dtype, out=result, **how)
    return done._replace(seconds=added(between.seconds, done.seconds))


def turns(window: Window, missing: Missing, *, weighed: bool) -> tuple[Window, Missing, Missing]:
    """Return the window of the first of two methods in turn, and what is missing to the first and to the second."""
    same = Window(window.kernel, 1, "same", window.dilation)
    return same, replace(missing, empty=0) if weighed else missing, replace(PLAIN, empty=missing.empty)


def _beside(source: Array, method: Method, window: Window, targets: list[Array], how: dict[str, Any]) -> Pooling:
    """Pool by several methods into the channels of the result, one after another."""
    seconds: dict[str, float] = {}
    for part, target in zip(method.parts, targets, strict=True):
        done = run(source, part, window, dtype=target.dtype, out=target, **how)
        seconds = added(seconds, done.seconds)
    return done._replace(seconds=seconds)


def added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return the sums of the seconds of each stage."""
    return {name: one.get(name, 0.0) + value for name, value in other.items()}


def checked(out: Array | None, source: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return *out*, or a new array, for a result of *shape* and *dtype*; raise `UsageError` where it is no such."""
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
