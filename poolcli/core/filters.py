"""How windows of weights are summed: a kernel over float64, in plain Python, under the constraints of `kernels`.

Each sum is made tap by tap in scan order from 0 on, as NumPy's form makes it; what lies outside counts nothing.
"""

from __future__ import annotations

import numpy as np

from poolcli.core.kernels import Pointer

# What *geometry* holds, in elements and output positions; `taps` fills it. At ROWS_AT begin the offsets of each
# output's rows (-1: there is none).
(
    X_PLANE, OUT_PLANE, OUT_ROW, OUTS, ROW_TAPS, CHANNELS,
    COLUMNS, COL_TAPS, COL_STRIDE, COL_STEP, COL_BEFORE, OUT_COLUMNS, ROWS_AT, FIELDS,
) = range(14)  # fmt: skip


def blank(out, to, n):
    for j in range(n):
        out[to + j] = 0.0


def add_tap(out, to, x, at, weight, stride, channels, n):
    """Add the weighted values of every stride-th pixel, *n* in all."""
    if stride == 1:
        for j in range(n * channels):
            out[to + j] += weight * x[at + j]
    else:
        for j in range(n):
            for e in range(channels):
                out[to + channels * j + e] += weight * x[at + stride * channels * j + e]


def add_row(out, put, x, row, weights, first, geometry):
    """Add a row's taps, each to the outputs at which it lies inside; *first* numbers their weights."""
    channels, stride, before = geometry[CHANNELS], geometry[COL_STRIDE], geometry[COL_BEFORE]
    for tap in range(geometry[COL_TAPS]):
        column = tap * geometry[COL_STEP] - before  # of output 0
        begin = (stride - 1 - column) // stride if column < 0 else 0
        end = (geometry[COLUMNS] - 1 - column) // stride + 1 if column < geometry[COLUMNS] else 0
        end = min(geometry[OUT_COLUMNS], end)
        at = row + (column + begin * stride) * channels
        add_tap(out, put + begin * channels, x, at, weights[first + tap], stride, channels, end - begin)


LOOPS = (blank, add_tap)
PARTS = (add_row,)


def arguments():
    """Return what the kernel's arguments are, before its units."""
    real, whole = np.dtype(np.float64), np.dtype(np.int64)
    return (*[Pointer(real)] * 3, Pointer(whole))


def template(given):
    """Return the kernel; *given* returns its arguments, of a row in memory."""

    def kernel(row, first, last):
        """Sum the units [first, last): outputs of all pooled axes but the last, of planes, counted through."""
        x, out, weights, geometry = given(row)
        outs, taps = geometry[OUTS], geometry[ROW_TAPS]
        for unit in range(first, last):
            plane = unit // outs
            o = unit - plane * outs
            put = plane * geometry[OUT_PLANE] + o * geometry[OUT_ROW]
            blank(out, put, geometry[OUT_COLUMNS] * geometry[CHANNELS])
            for r in range(taps):
                row = geometry[geometry[ROWS_AT] + o * taps + r]
                if row >= 0:
                    at = plane * geometry[X_PLANE] + row
                    add_row(out, put, x, at, weights, r * geometry[COL_TAPS], geometry)

    return kernel
