"""Where the largest and the smallest values of windows stand: in NumPy, or by a kernel and what it is told."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import argmax, units
from poolcli.core.kernels import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.axes import Axis, Plan
    from poolcli.core.slabs import Slab

    Array = NDArray[Any]

CACHE = 2**15  # bytes of the rows of a strip


def kernel(dtype: np.dtype[Any], plan: Plan) -> Kernel | None:
    """Return the kernel that finds extremes of a *dtype*, if one can."""
    if not plan.regular or prod(axis.length for axis in plan.axes) >= 2**31:
        return None
    if dtype == np.uint8 and plan.taps <= 2**8:
        return Kernel("argmax", (), (dtype, dtype))
    value = exact(dtype)
    return Kernel("argmax", (), (value, np.dtype(f"i{value.itemsize}")))  # marks as wide as values fill vectors alike


def exact(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that holds values of *dtype* exactly: a kernel takes seconds to compile, and there are few."""
    if dtype.kind in "iu" and dtype.itemsize == 8:
        return np.dtype(np.int64)
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64)


def winners(slab: Slab, *, largest: bool) -> Array:
    """Return where each window's extreme stands in its plane, counted in scan order.

    The first of equals wins, and the last NaN over everything; a window without an element that counts has -1.
    """
    found = np.empty((len(slab.x), *slab.outs, slab.x.shape[-1]), np.int64)
    return found if find(slab, found, largest=largest) else _compared(slab, largest=largest)


def find(slab: Slab, found: Array, values: Array | None = None, *, largest: bool) -> bool:
    """Write the same, and the values themselves if given, into contiguous arrays; return whether a kernel could."""
    chosen = kernel(slab.x.dtype, slab.plan) if slab.weights is None else None
    call = slab.ready.kernel(chosen)
    if call is None or chosen is None:
        return False
    if values is not None and (values.dtype != chosen.types[0] or any((each == 0).any() for each in slab.elements)):
        return False
    _find(slab, call, chosen, (found, values), largest=largest)
    return True


def _compared(slab: Slab, *, largest: bool) -> Array:
    lengths = slab.x.shape[1:-1]
    at = np.arange(prod(lengths)).reshape(1, *lengths, 1) + slab.low * prod(lengths[1:])
    if slab.weights is not None:
        at = np.where(slab.weights > 0, at, -1)
    shape = len(slab.x), *slab.outs, slab.x.shape[-1]
    best, found = np.zeros(shape, slab.x.dtype), np.full(shape, -1)
    beats = np.greater if largest else np.less
    for value, place in zip(slab.taps(slab.x, 0), slab.taps(at, -1), strict=True):
        better = (place >= 0) & ((found < 0) | beats(value, best) | (value != value))  # noqa: PLR0124 -- NaN alone
        np.copyto(best, value, where=better)
        np.copyto(found, place, where=better)
    return found


def _find(slab: Slab, call: Any, chosen: Kernel, into: tuple[Array, Array | None], *, largest: bool) -> None:
    k, axis, (value, mark), (found, values) = argmax, slab.plan.axes[-1], chosen.types, into
    x = (slab.x ^ np.uint64(2**63)).view(np.int64) if slab.x.dtype == np.uint64 else slab.x
    x = np.require(x, value, ["C", "A"])
    rows, channels = units.rows(slab), x.shape[-1]
    size, width, fields = _strip(axis, channels, value.itemsize)
    row = axis.out * channels
    fields = fields | {
        k.X_PLANE: x[0].size, k.OUT_PLANE: len(rows) * row, k.OUT_ROW: row, k.OUTS: len(rows), k.ROWS_AT: rows,
        k.ROW_TAPS: rows.shape[1], k.LARGEST: largest, k.VALUES: values is not None,
        k.FIRST: slab.low * prod(x.shape[2:-1]) if len(slab.outs) > 1 else 0, k.NUMBERED: mark == np.uint8,
    }  # fmt: skip
    geometry = units.vector(fields, k.FIELDS)

    def arrays() -> tuple[Array, ...]:
        marks, ramp, places = np.empty(width, mark), np.empty(width, np.int32), np.empty(slab.plan.taps, np.int64)
        return x, found, x if values is None else values, np.empty(size, value), marks, ramp, places, geometry

    seconds = 3e-10 * found.size * slab.plan.taps
    units.share(call, arrays, len(x) * len(rows), seconds, slab.ready.threads)


@lru_cache(maxsize=64)
def _strip(axis: Axis, channels: int, itemsize: int) -> tuple[int, int, dict[int, Any]]:
    """Return the elements of a strip's rows and of one row, and the fields that hold for every row of the input."""
    k, steps = argmax, [tap * axis.dilation for tap in range(axis.kernel)]
    phases = sorted({step % axis.stride for step in steps})
    past, grain = steps[-1] // axis.stride, 128 // itemsize  # four vectors of 32 bytes
    held = (len(phases) + 2) * itemsize + 4  # bytes: phases, the best, its mark, and the ramp
    tile = max(256 // channels, CACHE // (held * channels) - past, 1)
    tile = min(tile, axis.out)
    width = ((tile + past) * channels // grain + 2) * grain
    taken = [(p, max(s for s in steps if s % axis.stride == p) // axis.stride, i * width) for i, p in enumerate(phases)]
    taps = [phases.index(step % axis.stride) * width + step // axis.stride * channels for step in steps]
    inner = min(-(-axis.before // axis.stride), axis.out)
    inner_end = min(max(inner, (axis.length + axis.before - axis.reach) // axis.stride + 1), axis.out)
    return (len(phases) + 1) * width, width, {
        k.CHANNELS: channels, k.COLUMNS: axis.length, k.COL_TAPS: axis.kernel, k.COL_STRIDE: axis.stride,
        k.COL_STEP: axis.dilation, k.COL_BEFORE: axis.before, k.OUT_COLUMNS: axis.out, k.INNER: inner,
        k.INNER_END: inner_end, k.TILE: tile, k.GRAIN: grain, k.BEST: len(phases) * width,
        k.PHASES: len(phases), k.PHASES_AT: np.array(taken), k.TAPS_AT: np.array(taps),
    }  # fmt: skip
