"""Windows of weights by a kernel: what it is told."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import filters, units
from poolcli.core.axes import Axis, Spans
from poolcli.core.kernels import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.slabs import Slab

    Array = NDArray[Any]

KERNEL = Kernel("filters", (), ())


def filtered(slab: Slab, values: Array, window: Array) -> Array | None:
    """Return the sum of *values* times the *window* of weights; None where there is no kernel for it."""
    last = slab.plan.axes[-1]
    if isinstance(last, Spans):
        return None
    planes, *outer, width, channels = slab.x.shape
    found = _summed(slab, values.reshape(planes, prod(outer), width, channels), units.rows(slab), last, window)
    return None if found is None else found.reshape(planes, *slab.outs, channels)


def along(slab: Slab, values: Array, number: int, weights: Array) -> Array | None:
    """Return the sum of *values* times *weights* along one axis; None where there is no kernel for it."""
    axis, shape = slab.plan.axes[number], values.shape
    if isinstance(axis, Spans):
        return None
    before, after = shape[: 1 + number], shape[2 + number :]
    if number == len(slab.outs) - 1:
        lined, rows = values.reshape(prod(before), 1, shape[-2], shape[-1]), np.zeros((1, 1), np.int64)
    else:
        width = prod(after)
        lined = values.reshape(prod(before), shape[1 + number], width, 1)
        at, there = slab.places(number)
        rows, axis = np.where(there, at * width, -1), Axis(width, 1, 1, 1, 0, 0, width)
    found = _summed(slab, lined, rows, axis, weights)
    return None if found is None else found.reshape(*before, slab.outs[number], *after)


def _summed(slab: Slab, x: Array, rows: Array, axis: Axis, weights: Array) -> Array | None:
    """Return sums over *rows* and the columns of *axis* of (planes, rows, columns, channels)."""
    call = slab.ready.kernel(KERNEL)
    if call is None:
        return None
    k, channels = filters, x.shape[-1]
    x, weights = np.ascontiguousarray(x), np.ascontiguousarray(weights)
    out = np.empty((len(x), len(rows), axis.out, channels))
    fields = {
        k.X_PLANE: x[0].size, k.OUT_PLANE: out[0].size, k.OUT_ROW: axis.out * channels, k.OUTS: len(rows),
        k.ROW_TAPS: rows.shape[1], k.CHANNELS: channels, k.COLUMNS: axis.length, k.COL_TAPS: axis.kernel,
        k.COL_STRIDE: axis.stride, k.COL_STEP: axis.dilation, k.COL_BEFORE: axis.before, k.OUT_COLUMNS: axis.out,
        k.ROWS_AT: rows,
    }  # fmt: skip
    geometry = units.vector(fields, k.FIELDS)
    units.share(
        call,
        lambda: (x, out, weights, geometry),
        len(x) * len(rows),
        3e-10 * out.size * weights.size,
        slab.ready.threads,
    )
    return out
