"""Order of windows by kernels: which, what it is told, and in which type."""

from __future__ import annotations

from functools import lru_cache, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, exchanges, histograms, networks, units
from poolcli.core.axes import Axis, Spans
from poolcli.core.kernels import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.slabs import Slab

    Array = NDArray[Any]

SMALL = 121  # elements of 8-bit windows up to which exchanges are faster than histograms
MOST = 255  # elements up to which exchanges are counted in 8 bits
FIELD = 2**16  # elements up to which histograms are
CACHE = 2**15  # bytes of the rows of a strip
PIECE = 2**16  # elements that are mixed at a time: their temporaries stay in the cache
COLUMNS = 256  # columns of a strip of histograms: they stay in the second-level cache

TYPES = {"int8": "uint8", "uint16": "int16", "uint32": "int32", "uint64": "int64"}


def kernel(dtype: np.dtype[Any], plan: Plan) -> Kernel | None:
    """Return the kernel that orders windows of a *dtype*, if one can."""
    last, narrow = plan.axes[-1], dtype.itemsize == 1
    if any(isinstance(axis, Spans) and axis.shares for axis in plan.axes):
        return None
    if plan.taps <= (SMALL if narrow else MOST) and not isinstance(last, Spans):
        return Kernel("exchanges", (), (key_type(dtype),))
    return Kernel("histograms", (), ()) if narrow and plan.taps < FIELD else None


def key_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which kernels order values of *dtype*."""
    return np.dtype(TYPES.get(dtype.name, dtype.name))


def keys(x: Array) -> Array:
    """Return values, contiguous, in the type of a kernel: integers of the other sign with their first bit turned."""
    x, kind = np.ascontiguousarray(x), key_type(x.dtype)
    return x if x.dtype == kind else _turned(x.view(kind))


def values(held: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values of *dtype* that stand in the type of a kernel."""
    return held if held.dtype == dtype else _turned(held).view(dtype)


def _turned(bits: Array) -> Array:
    first = np.array(1 << (8 * bits.dtype.itemsize - 1), np.uint64).astype(bits.dtype)
    turned: Array = bits ^ first
    return turned


def quantile(slab: Slab, share: float, rule: str) -> Array | None:
    """Return the quantile of each window, as `steps.quantile` says it; None where there is no kernel.

    The place of a quantile follows from the count of a window alone: kernels are told the ranks of each count.
    """
    place = share * np.maximum(np.arange(slab.plan.taps + 1) - 1, 0)
    rules = {"lower": (np.floor,), "higher": (np.ceil,), "nearest": (np.rint,), "linear": (np.floor, np.ceil)}
    ranks = np.stack([step(place) for step in rules[rule]]).astype(np.int64)
    found = _run(slab, exchanges.RANKED, ranks)
    if found is None:
        return None
    return between(slab, found[0], found[1], place - np.floor(place)) if rule == "linear" else found[0]


def mode(slab: Slab, *, sparse: bool) -> Array | None:
    """Return the most frequent values, the smallest of equals; None where there is no kernel."""
    found = _run(slab, exchanges.SPARSE if sparse else exchanges.COMMON, np.zeros((1, slab.plan.taps + 1), np.int64))
    return None if found is None else found[0]


def between(slab: Slab, low: Array, high: Array, part: Array) -> Array:
    """Return values a *part* of the way from *low* to *high*, by the count of a window; in *low* where that can be."""
    *outer, columns = slab.elements
    rows = reduce(np.multiply.outer, outer, np.ones((), np.int64)).ravel()
    real = low.dtype.kind == "f"
    whole = slab.into is not None and slab.into.dtype == low.dtype and (real or low.itemsize < 8)
    if not whole:  # as float64, in which integers of 64 bits are rounded
        low = low.astype(np.float64)
    shape = len(low), len(rows), len(columns), low.shape[-1]
    lows, highs = low.reshape(shape), high.reshape(shape)
    for first, last in pairwise([0, *(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]):  # of one count each
        share = part[rows[first] * columns]
        these: Any = slice(None) if share.all() else np.flatnonzero(share)
        share = share[these][:, None]
        height = max(1, PIECE // max(1, shape[0] * share.size * shape[3]))
        for top in range(first, last if share.size else first, height):
            here = slice(None), slice(top, min(top + height, last)), these
            a, b = lows[here].astype(np.float64), highs[here].astype(np.float64)
            mixed = np.where(a == b, a, a * (1 - share) + b * share)
            # Rounded to integers it is of their type, for it lies between two such
            lows[here] = dtypes.ROUNDINGS[slab.rounding](mixed) if whole and not real else mixed
    return low


def _run(slab: Slab, mode: int, ranks: Array) -> list[Array] | None:
    """Return what is chosen: the most frequent values, or those of one or two rows of ranks by counts.

    Of two, the higher values are there only where the ranks of a count differ.
    """
    chosen = kernel(slab.x.dtype, slab.plan)
    call = slab.ready.kernel(chosen)
    if chosen is None or call is None:
        return None
    x = keys(slab.x)
    out = slab.into
    plain = out is not None and out[0].flags.c_contiguous and out.flags.aligned
    if out is None or not plain or not out.dtype == slab.x.dtype == x.dtype:
        out = np.empty((len(x), *slab.outs, x.shape[-1]), x.dtype)
    high = np.empty(out.shape if len(ranks) > 1 else 0, x.dtype)
    told = _exchanging if chosen.template == "exchanges" else _sliding
    arrays, count = told(slab, x, out, mode, ranks)
    seconds = 1e-10 * out.size * slab.plan.taps
    units.share(call, lambda: (x, out, high, *arrays()), count, seconds, slab.ready.threads)
    return [each if out is slab.into else values(each, slab.x.dtype) for each in (out, high)][: len(ranks)]


def _exchanging(slab: Slab, x: Array, out: Array, mode: int, ranks: Array) -> tuple[Callable[[], Any], int]:
    """Return what makes a thread's arrays for exchanges, and how many units there are."""
    k, axis, rows, channels = exchanges, slab.plan.axes[-1], units.rows(slab), x.shape[-1]
    most = slab.plan.taps
    wanted = tuple(range(most)) if mode != k.RANKED else tuple(sorted({*ranks[:, most].tolist()}))
    inner = -(-axis.before // axis.stride)
    inner_end = max(inner, (axis.length + axis.before - axis.reach) // axis.stride + 1)
    tile, size, program = _program(rows.shape[1], axis, wanted, channels, x.dtype.itemsize)
    fields = program | {
        k.X_PLANE: x[0].size, k.OUT_PLANE: out.strides[0] // out.itemsize, k.OUT_ROW: axis.out * channels,
        k.ALSO: len(ranks) > 1, k.OUTS: len(rows), k.ROW_TAPS: rows.shape[1], k.CHANNELS: channels,
        k.COLUMNS: axis.length, k.COL_TAPS: axis.kernel, k.COL_STRIDE: axis.stride, k.COL_STEP: axis.dilation,
        k.COL_BEFORE: axis.before, k.OUT_COLUMNS: axis.out, k.INNER: min(inner, axis.out),
        k.INNER_END: min(inner_end, axis.out), k.TILE: tile, k.MODE: mode,
        k.ZERO: int(keys(np.zeros(1, slab.x.dtype))[0]), k.ROWS_AT: rows, k.COUNTS_AT: _pairs(ranks),
    }  # fmt: skip
    geometry = units.vector(fields, k.FIELDS)
    return lambda: (units.aligned(size, x.dtype), geometry), len(x) * len(rows)


def _pairs(ranks: Array) -> Array:
    """Return the low and the high rank of each count."""
    return np.stack([ranks[0], ranks[-1]], axis=1)


@lru_cache(maxsize=64)
def _program(
    rows: int, axis: Axis, wanted: tuple[int, ...], channels: int, itemsize: int
) -> tuple[int, int, dict[int, Any]]:
    """Return the windows of a strip, the elements of its rows, and the fields that hold the exchanges."""
    k, made = exchanges, networks.program(rows, axis.kernel, axis.stride, axis.dilation, wanted)
    lines, past = made.rows + 3, max((axis.kernel - 1) * axis.dilation // axis.stride, 0)
    tile = max(256 // channels, CACHE // (lines * itemsize * channels) - past, 1)
    tile = min(tile, axis.out)
    grain = 128 // itemsize  # four vectors of 32 bytes
    width = ((tile + 2 * past) * channels // grain + 2) * grain

    def at(wire: tuple[int, int]) -> int:
        return wire[0] * width + wire[1] * channels

    steps = [
        (at(step.one), at(step.other), *(row * width if row >= 0 else -1 for row in (step.low, step.high)), step.reach)
        for step in made.exchanges
    ]
    phases = [(made.phases[i % len(made.phases)], reach, i * width) for i, reach in enumerate(made.reaches)]
    best = {field: (made.rows + i) * width for i, field in enumerate((k.BEST, k.MOST, k.LONG))}
    return tile, max(lines * width, rows * axis.kernel), best | {
        k.PHASES: len(made.phases), k.EXCHANGES: len(steps), k.RANKS: len(wanted), k.GRAIN: grain,
        k.PHASES_AT: np.array(phases), k.EXCHANGES_AT: np.array(steps, np.int64),
        k.RANKS_AT: np.array([at(wire) for wire in made.ranks]),
    }  # fmt: skip


def _sliding(slab: Slab, x: Array, out: Array, mode: int, ranks: Array) -> tuple[Callable[[], Any], int]:
    """Return what makes a thread's arrays for histograms, and how many units there are."""
    k, axis, rows, channels = histograms, slab.plan.axes[-1], units.rows(slab), x.shape[-1]
    at, inside = slab.places(len(slab.outs) - 1)
    there = inside.sum(1)
    begin = np.where(inside, at, axis.length).min(1) * (there > 0)
    columns = np.stack([begin, begin + there * axis.dilation, there], axis=1)
    strips = _strips(columns, axis)
    apart = axis.dilation // np.gcd(axis.dilation, axis.stride)
    fields = {
        k.X_PLANE: x[0].size, k.OUT_PLANE: out.strides[0] // out.itemsize, k.OUT_ROW: axis.out * channels,
        k.ALSO: len(ranks) > 1, k.OUTS: len(rows), k.ROW_TAPS: rows.shape[1], k.CHANNELS: channels,
        k.COL_STEP: axis.dilation, k.APART: apart, k.STRIPS: len(strips), k.MODE: mode, k.ROWS_AT: rows,
        k.THERE_AT: (rows >= 0).sum(1), k.COLUMNS_AT: columns, k.STRIPS_AT: strips, k.COUNTS_AT: _pairs(ranks),
    }  # fmt: skip
    geometry, widest = units.vector(fields, k.FIELDS), int(strips[:, 2].max())
    value = np.arange(k.BINS)
    table = (np.equal if mode else np.less_equal).outer(value, value).astype(np.uint16)  # of values by bins

    def arrays() -> tuple[Array, ...]:
        words = np.zeros(k.HISTOGRAMS + widest * k.COLUMN, np.uint64)
        bins = words.view(np.uint16)
        bins[: table.size] = table.ravel()
        return words, bins, geometry, np.zeros(k.STATES, np.int64)

    return arrays, len(x) * channels * len(rows)


def _strips(columns: Array, axis: Axis) -> Array:
    """Return where strips of outputs end, where their columns begin, and how many those are."""
    most = max(1, (max(COLUMNS, 4 * axis.reach) - axis.reach) // axis.stride)
    strips = []
    for left in range(0, axis.out, most):
        right = min(left + most, axis.out)
        held = columns[left:right][columns[left:right, 2] > 0]
        base = int(held[:, 0].min()) if len(held) else 0
        end = int((held[:, 1] - axis.dilation + 1).max()) if len(held) else base
        strips.append((right, base, end - base))
    return np.array(strips)
