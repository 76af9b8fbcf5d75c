"""How large windows of 8-bit values are ordered: a kernel of sliding histograms, in plain Python.

Perreault and Hebert, Median Filtering in Constant Time (2007): each column of the input has a histogram of the rows of
the window, a window's is the sum of its columns', both are kept up by what enters and leaves. Bins are counts of 16
bits, in groups of 16 that are added as four words. Of *coarse* bins there is one for 16 values; the *fine* ones are
brought up to date where they are asked for. For ranks each bin counts the smaller ones of its group too, so that four
comparisons find one; for the most frequent value it does not. Which it is, the TABLE of groups by value says: what is
here only adds them. The constraints of `kernels` hold here too.
"""

from __future__ import annotations

import numpy as np

from poolcli.core.kernels import Pointer

# What *geometry* holds, in elements and positions; `select` fills it. Where a name ends in AT stands where a list
# begins: the offsets of each output's rows (-1: there is none) and how many there are, where columns of each output
# begin, end, and how many there are, and what rank is wanted for each count of elements.
(
    X_PLANE, OUT_PLANE, OUT_ROW, ALSO, OUTS, ROW_TAPS, CHANNELS, COL_STEP, APART, STRIPS, MODE,
    ROWS_AT, THERE_AT, COLUMNS_AT, STRIPS_AT, COUNTS_AT, FIELDS,
) = range(17)  # fmt: skip

RANKED, COMMON, SPARSE = range(3)  # MODE, as in `exchanges`
GROUP, BINS = 4, 16  # words and bins of a group
TABLE, NONE, COARSE, FINE, HISTOGRAMS = 0, 64, 68, 72, 136  # words: groups by value, one of zeros, the window's
COLUMN = 68  # words of a column's histogram: coarse bins, then fine ones

# What *state* holds: the columns that each group of the window counts, the coarse one last
SINCE, UNTIL, STATES = 0, 17, 34


def add_group(words, to, entering, leaving):
    """Add the counts of one group and take off those of another; compiled, it is four instructions."""
    for i in range(GROUP):
        words[to + i] = words[to + i] + words[entering + i] - words[leaving + i]


def count_row(words, x, at, channels, n, entering):
    """Count a row into the histograms of *n* columns, or out of them."""
    for i in range(n):
        value = x[at + i * channels]
        column = HISTOGRAMS + i * COLUMN
        fine = column + GROUP + (value >> 4) * GROUP
        many, few = TABLE + (value >> 4) * GROUP, TABLE + (value & 15) * GROUP
        if entering:
            add_group(words, column, many, NONE)
            add_group(words, fine, few, NONE)
        else:
            add_group(words, column, NONE, many)
            add_group(words, fine, NONE, few)


def clear(words, at, n):
    for i in range(n):
        words[at + i] = 0


def move_rows(words, x, geometry, origin, before_at, row_at, n):
    """Let the histograms of *n* columns count the rows listed at *row_at* instead of those at *before_at*, if any."""
    taps, channels = geometry[ROW_TAPS], geometry[CHANNELS]
    if before_at < 0 or geometry[row_at] > geometry[before_at + taps - 1]:
        clear(words, HISTOGRAMS, n * COLUMN)
        i = taps
    else:
        i = 0
    j = 0
    while i < taps or j < taps:  # both lists ascend
        old = geometry[before_at + i] if i < taps else -1
        new = geometry[row_at + j] if j < taps else -1
        if j == taps or (i < taps and old < new):
            i += 1
            if old >= 0:
                count_row(words, x, origin + old, channels, n, entering=0)
        elif i == taps or new < old:
            j += 1
            if new >= 0:
                count_row(words, x, origin + new, channels, n, entering=1)
        else:
            i, j = i + 1, j + 1


def move_columns(words, state, group, begin, end, step):
    """Let a group of the window count the columns begin, begin + step ... below *end*."""
    since, until = state[SINCE + group], state[UNTIL + group]
    to = FINE + group * GROUP if group < BINS else COARSE
    part = HISTOGRAMS + (GROUP + group * GROUP if group < BINS else 0)
    if since == until or begin >= until or begin - since + end - until > end - begin:
        clear(words, to, GROUP)
        since = until = begin
    elif end == until + step and begin == since + step:  # as nearly always at stride 1
        add_group(words, to, part + until * COLUMN, part + since * COLUMN)
        since, until = begin, end
    while until < end or since < begin:
        entering = part + until * COLUMN if until < end else NONE
        leaving = part + since * COLUMN if since < begin else NONE
        add_group(words, to, entering, leaving)
        since, until = since + step if since < begin else since, until + step if until < end else until
    state[SINCE + group], state[UNTIL + group] = begin, end


def find(bins, at, rank):
    """Return the bin of a group that holds a rank, where each counts the smaller ones too."""
    i = 8 * (bins[at + 7] <= rank)
    i += 4 * (bins[at + i + 3] <= rank)
    i += 2 * (bins[at + i + 1] <= rank)
    return i + (bins[at + i] <= rank)


def at_rank(words, bins, state, rank, begin, end, step):
    """Return the value of a rank among those of a window."""
    move_columns(words, state, BINS, begin, end, step)
    group = find(bins, COARSE * 4, rank)
    rank -= bins[COARSE * 4 + group - 1]  # before the first stands a zero
    move_columns(words, state, group, begin, end, step)
    return BINS * group + find(bins, FINE * 4 + BINS * group, rank)


def common(words, bins, state, sparse, begin, end, step):
    """Return the most frequent value, the smallest of equals; with *sparse* not 0 if any other is there."""
    move_columns(words, state, BINS, begin, end, step)
    best, most = 0, 0
    for group in range(BINS):
        if bins[COARSE * 4 + group] > most:
            move_columns(words, state, group, begin, end, step)
            for i in range(BINS):
                count = bins[FINE * 4 + BINS * group + i]
                if count > most and not (sparse and group == 0 and i == 0):
                    best, most = BINS * group + i, count
    return best


def choose(out, high, words, bins, geometry, state, put, also, base, begin, end, there):
    """Choose from the windows [begin, end) of a row, every APART-th in turn: those share columns."""
    columns, apart, step, mode = geometry[COLUMNS_AT], geometry[APART], geometry[COL_STEP], geometry[MODE]
    for first in range(begin, begin + apart):
        for group in range(BINS + 1):
            state[SINCE + group] = state[UNTIL + group] = 0
        for j in range(first, end, apart):
            since, until = geometry[columns + 3 * j] - base, geometry[columns + 3 * j + 1] - base
            to, ranks = put + j * geometry[CHANNELS], geometry[COUNTS_AT] + 2 * there * geometry[columns + 3 * j + 2]
            if there == 0 or since == until:
                out[to] = 0
            elif mode != RANKED:
                out[to] = common(words, bins, state, mode == SPARSE, since, until, step)
            else:
                out[to] = at_rank(words, bins, state, geometry[ranks], since, until, step)
                if geometry[ALSO] != 0:
                    high[also + j * geometry[CHANNELS]] = at_rank(
                        words, bins, state, geometry[ranks + 1], since, until, step
                    )


LOOPS = (clear, count_row)
PARTS = (move_rows, move_columns, find, at_rank, common, choose)


def arguments():
    """Return what the kernel's arguments are, before its units."""
    byte, word, bins, whole = map(np.dtype, (np.uint8, np.uint64, np.uint16, np.int64))
    return (*[Pointer(byte)] * 3, Pointer(word), Pointer(bins), Pointer(whole), Pointer(whole))


def template(given):
    """Return the kernel; *given* returns its arguments, of a row in memory."""

    def kernel(row, first, last):
        """Choose for the units [first, last): outputs of all pooled axes but the last, of channels, of planes."""
        x, out, high, words, bins, geometry, state = given(row)
        outs, channels, left = geometry[OUTS], geometry[CHANNELS], 0
        for strip in range(geometry[STRIPS_AT], geometry[STRIPS_AT] + 3 * geometry[STRIPS], 3):
            right, base, columns, before_at = geometry[strip], geometry[strip + 1], geometry[strip + 2], -1
            for unit in range(first, last):
                part = unit // outs
                o, plane = unit - part * outs, part // channels
                channel = part - plane * channels
                if o == 0:
                    before_at = -1
                row_at = geometry[ROWS_AT] + o * geometry[ROW_TAPS]
                origin = plane * geometry[X_PLANE] + base * channels + channel
                move_rows(words, x, geometry, origin, before_at, row_at, columns)
                put = plane * geometry[OUT_PLANE] + o * geometry[OUT_ROW] + channel
                also = (plane * outs + o) * geometry[OUT_ROW] + channel
                there = geometry[geometry[THERE_AT] + o]
                choose(out, high, words, bins, geometry, state, put, also, base, left, right, there)
                before_at = row_at
            left = right

    return kernel
