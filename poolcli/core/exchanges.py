"""How small windows are ordered: a kernel that runs a `networks.Program` over rows of pixels, in plain Python.

Windows that lie inside the input are
ordered a strip at a time, one exchange of two rows after another; those at its edge one by one. The constraints of
`kernels` hold here too.
"""

from __future__ import annotations

import numpy as np

from poolcli.core.kernels import Pointer

# What *geometry* holds, in elements and output positions; `select` fills it. Where a name ends in AT stands where a
# list begins: the offsets of each output's rows (-1: there is none), what rank is wanted for each count of elements,
# phases, exchanges, and the rows of wanted ranks.
(
    X_PLANE, OUT_PLANE, OUT_ROW, ALSO, OUTS, ROW_TAPS, CHANNELS,
    COLUMNS, COL_TAPS, COL_STRIDE, COL_STEP, COL_BEFORE, OUT_COLUMNS, INNER, INNER_END, TILE,
    MODE, ZERO, PHASES, EXCHANGES, RANKS, BEST, MOST, LONG, GRAIN,
    ROWS_AT, COUNTS_AT, PHASES_AT, EXCHANGES_AT, RANKS_AT, FIELDS,
) = range(31)  # fmt: skip

RANKED, COMMON, SPARSE = range(3)  # MODE: wanted ranks, the most frequent value, or one that is not ZERO if there is
PHASE, PIXELS, TO, PHASE_FIELDS = range(4)
ONE, OTHER, LOW, HIGHER, SPAN, EXCHANGE_FIELDS = range(6)


def take(work, to, x, at, stride, channels, n):
    """Take every stride-th of some pixels, *n* in all."""
    if stride == 1:
        for j in range(n * channels):
            work[to + j] = x[at + j]
    elif channels == 1:
        for j in range(n):
            work[to + j] = x[at + stride * j]
    else:
        for j in range(n):
            for e in range(channels):
                work[to + channels * j + e] = x[at + stride * channels * j + e]


def take_pairs(work, evens, odds, x, at, n):
    """Part *n* pairs of pixels of one channel."""
    for j in range(n):
        work[evens + j] = x[at + 2 * j]
        work[odds + j] = x[at + 2 * j + 1]


def exchange(work, one, other, low, high, n):
    """Write the smaller of two, or the larger, or both."""
    if high < 0:
        for j in range(n):
            a, b = work[one + j], work[other + j]
            work[low + j] = a if a < b else b  # noqa: FURB136 -- no `min`
    elif low < 0:
        for j in range(n):
            a, b = work[one + j], work[other + j]
            work[high + j] = a if a > b else b  # noqa: FURB136 -- no `max`
    else:
        for j in range(n):
            a, b = work[one + j], work[other + j]
            work[low + j] = a if a < b else b  # noqa: FURB136 -- as above
            work[high + j] = a if a > b else b  # noqa: FURB136 -- as above


def put_row(out, to, work, row, n):
    for j in range(n):
        out[to + j] = work[row + j]


def begin_runs(work, row, best, most, run, zero, sparse, n):
    """Start with the smallest values: each of them is a run of one."""
    for j in range(n):
        value = work[row + j]
        work[best + j] = value
        work[run + j] = type(value)(1)
        work[most + j] = type(value)(0 if sparse and value == zero else 1)


def count_runs(work, row, before, best, most, run, zero, sparse, n):
    """Go on with the next larger values: keep those of the longest runs so far.

    LLVM compares where rows lie for up to eight pairs of them: in one loop there would be nine.
    """
    spared = type(work[row])(zero)
    for j in range(n):
        value, last, length = work[row + j], work[before + j], work[run + j]
        work[run + j] = type(value)(length + 1 if value == last else 1)
    for j in range(n):
        value, length, kept, longest = work[row + j], work[run + j], work[best + j], work[most + j]
        better = (length > longest) & ((value != spared) | (not sparse))
        work[best + j] = value if better else kept
        work[most + j] = length if better else longest


def sort(work, n):
    """Sort the first *n* values (Shell 1959, with the gaps of Knuth)."""
    gap = 1
    while 3 * gap + 1 < n:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            value, to = work[i], i
            while to >= gap and work[to - gap] > value:
                work[to] = work[to - gap]
                to -= gap
            work[to] = value
        gap = gap // 3


def place(work, n, rank):
    """Put the value of a rank of the first *n* values where it would stand if they were sorted (Hoare 1961, FIND)."""
    left, right = 0, n - 1
    while left < right:
        pivot, i, j = work[rank], left, right
        while i <= j:
            while work[i] < pivot:
                i += 1
            while pivot < work[j]:
                j -= 1
            if i <= j:
                work[i], work[j] = work[j], work[i]
                i, j = i + 1, j - 1
        left = i if j < rank else left
        right = j if rank < i else right


def place_next(work, n, rank):
    """Put the next higher rank in its place, too: what follows is no smaller."""
    for i in range(rank + 2, n):
        if work[i] < work[rank + 1]:
            work[i], work[rank + 1] = work[rank + 1], work[i]


# --- parts -------------------------------------------------------------------------------------------------------


def gather(work, x, geometry, row_at, origin, start, channel):
    """Return how many values of a window are there, and take them."""
    n, channels = 0, geometry[CHANNELS]
    for r in range(geometry[ROW_TAPS]):
        row = geometry[row_at + r]
        if row >= 0:
            for c in range(geometry[COL_TAPS]):
                column = start + c * geometry[COL_STEP]
                if 0 <= column and column < geometry[COLUMNS]:  # noqa: PLR1716, SIM300 -- a chain costs Numba more
                    work[n] = x[origin + row + column * channels + channel]
                    n += 1
    return n


def common(work, n, zero, sparse):
    """Return where the first of the longest runs of sorted values stands."""
    best, most, run = 0, 0, 0
    for i in range(n):
        run = run + 1 if i > 0 and work[i] == work[i - 1] else 1
        if run > most and not (sparse and work[i] == zero):
            best, most = i, run
    return best


def choose_singly(x, out, high, work, geometry, row_at, origin, put, also_put, begin, end):
    """Choose from each of the windows [begin, end) of a row."""
    channels, mode, also = geometry[CHANNELS], geometry[MODE], geometry[ALSO] != 0
    for j in range(begin, end):
        for e in range(channels):
            start = j * geometry[COL_STRIDE] - geometry[COL_BEFORE]
            n = gather(work, x, geometry, row_at, origin, start, e)
            to, ranks = put + j * channels + e, geometry[COUNTS_AT] + 2 * n
            if mode != RANKED:
                sort(work, n)
                out[to] = work[common(work, n, geometry[ZERO], mode == SPARSE)]
            else:
                place(work, n, geometry[ranks])
                out[to] = work[geometry[ranks]]
                if also and geometry[ranks + 1] != geometry[ranks]:
                    place_next(work, n, geometry[ranks])
                    high[also_put + j * channels + e] = work[geometry[ranks + 1]]


def take_window(x, work, geometry, row_at, at, n):
    """Take the pixels of *n* windows side by side, row by row and phase by phase."""
    channels, stride, phases = geometry[CHANNELS], geometry[COL_STRIDE], geometry[PHASES]
    for r in range(geometry[ROW_TAPS]):
        row = at + geometry[row_at + r]
        paired = 0
        if stride == 2 and channels == 1 and phases == 2:
            phase = geometry[PHASES_AT] + 2 * r * PHASE_FIELDS
            paired = n + geometry[phase + PHASE_FIELDS + PIXELS]
            take_pairs(work, geometry[phase + TO], geometry[phase + PHASE_FIELDS + TO], x, row, paired)
        for p in range(phases):
            phase = geometry[PHASES_AT] + (r * phases + p) * PHASE_FIELDS
            first = row + (geometry[phase + PHASE] + paired * stride) * channels
            many = n + geometry[phase + PIXELS] - paired
            take(work, geometry[phase + TO] + paired * channels, x, first, stride, channels, many)


def choose_together(x, out, high, work, geometry, row_at, at, to, also, n):
    """Choose from *n* whole windows side by side."""
    channels, size, grain = geometry[CHANNELS], n * geometry[CHANNELS], geometry[GRAIN]
    take_window(x, work, geometry, row_at, at, n)
    for number in range(geometry[EXCHANGES]):
        i = geometry[EXCHANGES_AT] + number * EXCHANGE_FIELDS
        span = (size + geometry[i + SPAN] * channels + grain - 1) // grain * grain  # past it nothing is used
        exchange(work, geometry[i + ONE], geometry[i + OTHER], geometry[i + LOW], geometry[i + HIGHER], span)
    rank, mode, zero = geometry[RANKS_AT], geometry[MODE], geometry[ZERO]
    if mode == RANKED:
        put_row(out, to, work, geometry[rank], size)
        if geometry[RANKS] > 1:
            put_row(high, also, work, geometry[rank + 1], size)
    else:
        best, most, run, sparse = geometry[BEST], geometry[MOST], geometry[LONG], mode == SPARSE
        begin_runs(work, geometry[rank], best, most, run, zero, sparse, size)
        for i in range(1, geometry[RANKS]):
            row, before = geometry[rank + i], geometry[rank + i - 1]
            count_runs(work, row, before, best, most, run, zero, sparse, size)
        put_row(out, to, work, best, size)


LOOPS = (take, take_pairs, exchange, put_row, begin_runs, count_runs, sort, place, place_next)
PARTS = (gather, common, choose_singly, take_window, choose_together)


def arguments(value):
    """Return what the kernel's arguments are, before its units."""
    whole = np.dtype(np.int64)
    return (*[Pointer(value)] * 4, Pointer(whole))


def template(given):
    """Return the kernel; *given* returns its arguments, of a row in memory."""

    def kernel(row, first, last):
        """Choose for the units [first, last): outputs of all pooled axes but the last, of planes, counted through."""
        x, out, high, work, geometry = given(row)
        outs, taps = geometry[OUTS], geometry[ROW_TAPS]
        for unit in range(first, last):
            plane = unit // outs
            o = unit - plane * outs
            row_at = geometry[ROWS_AT] + o * taps
            origin, put = plane * geometry[X_PLANE], plane * geometry[OUT_PLANE] + o * geometry[OUT_ROW]
            also = unit * geometry[OUT_ROW]
            begin, end = geometry[INNER], geometry[INNER_END]
            for r in range(taps):
                if geometry[row_at + r] < 0:
                    begin = end
            choose_singly(x, out, high, work, geometry, row_at, origin, put, also, 0, begin)
            while begin < end:
                n = min(end - begin, geometry[TILE])
                start = begin * geometry[COL_STRIDE] - geometry[COL_BEFORE]
                at = origin + start * geometry[CHANNELS]
                done = begin * geometry[CHANNELS]
                choose_together(x, out, high, work, geometry, row_at, at, put + done, also + done, n)
                begin += n
            choose_singly(x, out, high, work, geometry, row_at, origin, put, also, end, geometry[OUT_COLUMNS])

    return kernel
