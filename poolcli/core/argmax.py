"""Where extremes stand: a kernel that compares rows of pixels tap by tap, under the constraints of `kernels`.

Windows whose columns lie inside the input are compared a strip at a time, those at its edge one by one.
"""

from __future__ import annotations

import numpy as np

from poolcli.core.kernels import Pointer

# What *geometry* holds, in elements and output positions; `winners` fills it. VALUES: they are wanted, too; FIRST: the
# index of the first element of x in its plane; NUMBERED: marks are numbers of taps, too narrow for places. Where a name
# ends in AT begins a list: the offsets of each output's rows (-1: there is none), phases, and where the pixels of each
# column of a window are taken to.
(
    X_PLANE, OUT_PLANE, OUT_ROW, OUTS, ROW_TAPS, CHANNELS, COLUMNS, COL_TAPS, COL_STRIDE, COL_STEP, COL_BEFORE,
    OUT_COLUMNS, INNER, INNER_END, TILE, GRAIN, BEST, LARGEST, VALUES, FIRST, NUMBERED, PHASES,
    ROWS_AT, PHASES_AT, TAPS_AT, FIELDS,
) = range(26)  # fmt: skip

PHASE, PIXELS, TO, PHASE_FIELDS = range(4)


def count_pixels(ramp, stride, channels, n):
    for j in range(n):
        for e in range(channels):
            ramp[j * channels + e] = j * stride


def take(work, to, x, at, stride, channels, n):
    """Take every stride-th of some pixels, *n* in all."""
    if stride == 1:
        for j in range(n * channels):
            work[to + j] = x[at + j]
    else:
        for j in range(n):
            for e in range(channels):
                work[to + channels * j + e] = x[at + stride * channels * j + e]


def take_pairs(work, evens, odds, x, at, channels, n):
    """Part *n* pairs of pixels of one or three channels."""
    if channels == 1:
        for j in range(n):
            work[evens + j] = x[at + 2 * j]
            work[odds + j] = x[at + 2 * j + 1]
    else:
        for j in range(n):
            for e in range(3):
                work[evens + 3 * j + e] = x[at + 6 * j + e]
                work[odds + 3 * j + e] = x[at + 6 * j + 3 + e]


def start_row(work, best, marks, first, mark, n):
    for j in range(n):
        work[best + j] = work[first + j]
        marks[j] = mark


def keep(work, best, marks, tap, mark, largest, n):
    """Keep what is better than the best so far, or NaN."""
    if largest:
        for j in range(n):
            value, held, kept = work[tap + j], work[best + j], marks[j]
            better = (value > held) | (value != value)  # noqa: PLR0124 -- NaN alone
            work[best + j] = value if better else held
            marks[j] = mark if better else kept
    else:
        for j in range(n):
            value, held, kept = work[tap + j], work[best + j], marks[j]
            better = (value < held) | (value != value)  # noqa: PLR0124 -- NaN alone
            work[best + j] = value if better else held
            marks[j] = mark if better else kept


def put_row(values, to, work, best, n):
    for j in range(n):
        values[to + j] = work[best + j]


def put_marks(out, to, marks, ramp, index, n):
    for j in range(n):
        out[to + j] = index + marks[j] + ramp[j]


def put_places(out, to, marks, ramp, places, index, n):
    for j in range(n):
        out[to + j] = index + places[marks[j]] + ramp[j]


# --- parts -------------------------------------------------------------------------------------------------------


def find_singly(x, out, values, geometry, row_at, origin, put, left, right):
    """Compare the elements of each of the windows [left, right) of a row."""
    channels = geometry[CHANNELS]
    for i in range(left * channels, right * channels):
        start, channel = i // channels * geometry[COL_STRIDE] - geometry[COL_BEFORE], i % channels
        best, found = x[origin], -1
        for r in range(geometry[ROW_TAPS]):
            row = geometry[row_at + r]
            for c in range(geometry[COL_TAPS]):
                column = start + c * geometry[COL_STEP]
                if row >= 0 and column >= 0 and column < geometry[COLUMNS]:
                    value = x[origin + row + column * channels + channel]
                    better = value > best if geometry[LARGEST] != 0 else value < best
                    if found < 0 or better or value != value:  # noqa: PLR0124 -- NaN alone
                        best, found = value, geometry[FIRST] + row // channels + column
        out[put + i] = found
        if geometry[VALUES] != 0:
            values[put + i] = best


def take_row(x, work, geometry, at, n):
    """Take the pixels of a row that *n* windows side by side read, phase by phase."""
    channels, stride, phases, paired = geometry[CHANNELS], geometry[COL_STRIDE], geometry[PHASES], 0
    first = geometry[PHASES_AT]
    if stride == 2 and phases == 2 and (channels == 1 or channels == 3):  # noqa: PLR1714 -- no `in`
        paired = n
        evens, odds = geometry[first + TO], geometry[first + PHASE_FIELDS + TO]
        take_pairs(work, evens, odds, x, at, channels, n)
    for p in range(phases):
        phase = first + p * PHASE_FIELDS
        begins = at + (geometry[phase + PHASE] + paired * stride) * channels
        many = n + geometry[phase + PIXELS] - paired
        take(work, geometry[phase + TO] + paired * channels, x, begins, stride, channels, many)


def find_together(x, out, values, work, marks, ramp, places, geometry, row_at, at, put, index, n):
    """Compare the elements of *n* windows side by side, whose first columns begin at *at* and count from *index*."""
    channels, grain, top, numbered = geometry[CHANNELS], geometry[GRAIN], -1, geometry[NUMBERED] != 0
    size = (n * channels + grain - 1) // grain * grain  # past it nothing is used
    for r in range(geometry[ROW_TAPS]):
        row = geometry[row_at + r]
        if row >= 0:
            take_row(x, work, geometry, at + row, n)
            for c in range(geometry[COL_TAPS]):
                tap, number = geometry[geometry[TAPS_AT] + c], r * geometry[COL_TAPS] + c
                first = top < 0
                top = row if first else top
                place = (row - top) // channels + c * geometry[COL_STEP]
                places[number] = place
                mark = type(marks[0])(number if numbered else place)
                if first:
                    start_row(work, geometry[BEST], marks, tap, mark, size)
                else:
                    keep(work, geometry[BEST], marks, tap, mark, geometry[LARGEST] != 0, size)
    if numbered:
        put_places(out, put, marks, ramp, places, index + top // channels, n * channels)
    else:
        put_marks(out, put, marks, ramp, index + top // channels, n * channels)
    if geometry[VALUES] != 0:
        put_row(values, put, work, geometry[BEST], n * channels)


LOOPS = (count_pixels, take, take_pairs, start_row, keep, put_marks, put_places, put_row)
PARTS = (find_singly, take_row, find_together)


def arguments(value, mark):
    """Return what the kernel's arguments are, before its units."""
    whole, values = np.dtype(np.int64), Pointer(value)
    places = Pointer(np.dtype(np.int32)), Pointer(whole), Pointer(whole)
    return (values, Pointer(whole), values, values, Pointer(mark), *places)


def template(given):
    """Return the kernel; *given* returns its arguments, of a row in memory."""

    def kernel(row, first, last):
        """Go through the units [first, last): outputs of all pooled axes but the last, of planes, counted through."""
        x, out, values, work, marks, ramp, places, geometry = given(row)
        outs, taps, channels, stride = geometry[OUTS], geometry[ROW_TAPS], geometry[CHANNELS], geometry[COL_STRIDE]
        count_pixels(ramp, stride, channels, geometry[TILE])
        for unit in range(first, last):
            plane = unit // outs
            o = unit - plane * outs
            row_at = geometry[ROWS_AT] + o * taps
            origin, put = plane * geometry[X_PLANE], plane * geometry[OUT_PLANE] + o * geometry[OUT_ROW]
            left, right = geometry[INNER], geometry[INNER_END]
            rows = 0
            for r in range(taps):
                rows += geometry[row_at + r] >= 0
            if rows == 0:
                left = right
            find_singly(x, out, values, geometry, row_at, origin, put, 0, left)
            while left < right:
                n = min(right - left, geometry[TILE])
                column = left * stride - geometry[COL_BEFORE]
                at, to, index = origin + column * channels, put + left * channels, geometry[FIRST] + column
                find_together(x, out, values, work, marks, ramp, places, geometry, row_at, at, to, index, n)
                left += n
            find_singly(x, out, values, geometry, row_at, origin, put, right, geometry[OUT_COLUMNS])

    return kernel
