"""Weighted means: a kernel that folds values times weights, and the weights, and divides, under `kernels`' constraints.

A run of input rows at a time is lifted into a buffer that stays in the cache, products and weights each, both are
folded as values alone are, and their sums are divided. Planes that share their weights share the sums of these.
"""

from __future__ import annotations

import numpy as np

from poolcli.core import kernels
from poolcli.core.kernels import (
    CHANNELS,
    COL_KERNEL,
    COL_STEP,
    COL_STRIDE,
    LEFT,
    LOW,
    OUT_COLUMNS,
    RIGHT,
    ROW_BEFORE,
    ROW_KERNEL,
    ROW_STRIDE,
    ROWS,
    SIZE,
    WIDTH,
    Pointer,
    add,
    enter_strip,
    fold_unit,
    keep,
    larger,
    never,
    same,
    smaller,
)  # fmt: skip

# What *places* holds, in elements and output positions; `means` fills it. W_STEP leads from pixel to pixel; HEIGHT: the
# output rows that are lifted for together; VALUES, WEIGHTS and RESULT: the numbers of types below
(
    X_PLANE, X_ROW, W_PLANE, W_ROW, W_STEP, W_CHANNELS, OUT_PLANE, OUT_ROW, THERE_PLANE, THERE_ROW,
    PLANES, FIRST, STOP, HEIGHT, VALUES, WEIGHTS, RESULT, ALPHA, NARROW, COUNT, FIELDS,
) = range(21)  # fmt: skip

TYPES = tuple(map(np.dtype, ("float32", "float64", "uint8", "uint16")))  # of values and results
WEIGHT_TYPES = TYPES[:3]
SINGLE, DOUBLE, BYTE, WORD = range(4)


def take_weights(shares, to, w, at, step, channels, n, identity):
    """Take the weights of *n* pixels, *step* apart; where they have *channels*, one weight is that of each."""
    acc = type(identity)
    if channels == 3:
        for j in range(n):
            share = acc(w[at + step * j])
            for e in range(3):
                shares[to + 3 * j + e] = share
    elif channels == 4:
        for j in range(n):
            share = acc(w[at + step * j])
            for e in range(4):
                shares[to + 4 * j + e] = share
    elif step == 1 and channels == 1:
        for j in range(n):
            shares[to + j] = acc(w[at + j])
    else:
        for j in range(n):
            for e in range(channels):
                shares[to + channels * j + e] = acc(w[at + step * j])


def weigh(lifted, to, x, at, shares, begin, channels, beside, n, identity):
    """Lift *n* pixels, with *beside* weights each from *begin* on; what weighs nothing is zero, even if NaN."""
    acc = type(identity)
    if beside == channels:
        for j in range(n * channels):
            share = shares[begin + j]
            lifted[to + j] = share * acc(x[at + j]) if share != 0 else identity
    else:
        for j in range(n):
            i, k, share = to + channels * j, at + channels * j, shares[begin + j]
            for e in range(channels):
                lifted[i + e] = share * acc(x[k + e]) if share != 0 else identity


def tell(there, to, totals, a, n):
    for j in range(n):
        there[to + j] = totals[a + j] != 0


def divide(out, to, sums, totals, a, channels, beside, n, whole, one):
    """Divide the sums of *n* pixels, which have *beside* totals each, in the type of *one*; no weight gives 0."""
    real = type(one)
    if beside == channels:
        for j in range(n * channels):
            total = real(totals[a + j])
            mean = real(sums[a + j]) / (total if total != 0 else one)
            out[to + j] = np.rint(mean) if whole != 0 else mean
    else:
        for j in range(n):
            i, o, total = a + channels * j, to + channels * j, real(totals[a // channels + j])
            for e in range(channels):
                mean = real(sums[i + e]) / (total if total != 0 else one)
                out[o + e] = np.rint(mean) if whole != 0 else mean


def weigh_by_alpha(lifted, to, x, at, n, identity):
    """Lift *n* pixels of four channels, the last of which weighs the others."""
    acc = type(identity)
    for j in range(n):
        alpha = acc(x[at + 4 * j + 3])
        for e in range(4):
            lifted[to + 4 * j + e] = alpha * acc(x[at + 4 * j + e] if e < 3 else 1)


def divide_by_alpha(out, to, sums, a, n, count):
    """Divide the sums of *n* such pixels, and those of alpha by the *count* of a window; its type is that of both."""
    real = type(count)
    for j in range(n):
        alpha = real(sums[a + 4 * j + 3])
        total = alpha if alpha != 0 else count
        for e in range(4):
            out[to + 4 * j + e] = np.rint(real(sums[a + 4 * j + e]) / (total if e < 3 else count))


def show(out, to, x, at, sums, a, n, geometry, pitch, count):
    """Give pixels without any alpha the plain mean of their colours."""
    for j in range(n):
        if sums[a + 4 * j + 3] == 0:
            begin = at + 4 * j * geometry[COL_STRIDE]
            for e in range(3):
                total = 0.0
                for r in range(geometry[ROW_KERNEL]):
                    for c in range(geometry[COL_KERNEL]):
                        total += np.float64(x[begin + r * pitch + c * geometry[COL_STEP] + e])
                out[to + 4 * j + e] = np.rint(total / count)


# --- parts -------------------------------------------------------------------------------------------------------


def fold_lifted(x, out, work, evens, odds, geometry, state, o, stop, y, identity, one):
    """Fold the windows of output rows [o, stop) of lifted rows, of which the first is *y*."""
    enter_strip(work, geometry, state, state[LEFT], 0, identity)  # the other's rows lie where it has blanks
    begin, pitch, length = o, geometry[WIDTH], geometry[CHANNELS] * (state[RIGHT] - state[LEFT])
    while o < stop:
        put = (o - begin) * length - state[LEFT] * geometry[CHANNELS]
        fold_unit(
            same, add, keep, never, x, out, work, evens, odds, geometry, state, 0, o, -y * pitch, put, identity, one
        )  # fmt: skip
        o += 1


def blend(x, out, lifted, work, evens, odds, sums, geometry, places, state, plane, o, stop, y, end, identity, one):
    """Fold output rows [o, stop) of pixels whose last channel weighs the others, from input rows [y, end)."""
    for r in range(y, end):
        at = plane * places[X_PLANE] + r * places[X_ROW] + state[LOW] * 4
        weigh_by_alpha(lifted, (r - y) * geometry[WIDTH], x, at, state[SIZE] // 4, identity)
    fold_lifted(lifted, sums, work, evens, odds, geometry, state, o, stop, y, identity, one)
    n, left = state[RIGHT] - state[LEFT], state[LEFT]
    for row in range(o, stop):
        to, a = plane * places[OUT_PLANE] + (row - places[FIRST]) * places[OUT_ROW] + left * 4, (row - o) * n * 4
        if places[NARROW] != 0:
            divide_by_alpha(out, to, sums, a, n, np.float32(places[COUNT]))
        else:
            divide_by_alpha(out, to, sums, a, n, np.float64(places[COUNT]))
        at = row * geometry[ROW_STRIDE] * places[X_ROW] + left * geometry[COL_STRIDE] * 4  # all windows lie inside
        show(out, to, x, plane * places[X_PLANE] + at, sums, a, n, geometry, places[X_ROW], places[COUNT])


def lift_weights(shares, w, aside, places, inside, plane, y, end, identity):
    """Take the weights of input rows [y, end)."""
    pixels, step, each = inside[SIZE] // aside[CHANNELS], places[W_STEP], places[W_CHANNELS]
    n, spread = pixels, aside[CHANNELS]
    if each > 1:  # each element has its own
        n, step, spread = pixels * each, 1, 1
    for r in range(y, end):
        at = plane * places[W_PLANE] + r * places[W_ROW] + inside[LOW] * places[W_STEP]
        take_weights(shares, (r - y) * aside[WIDTH], w, at, step, spread, n, identity)


def lift_values(lifted, x, shares, geometry, aside, places, state, plane, y, end, identity):
    """Lift input rows [y, end)."""
    channels = geometry[CHANNELS]
    for r in range(y, end):
        at = plane * places[X_PLANE] + r * places[X_ROW] + state[LOW] * channels
        to, begin, n = (r - y) * geometry[WIDTH], (r - y) * aside[WIDTH], state[SIZE] // channels
        weigh(lifted, to, x, at, shares, begin, channels, aside[CHANNELS], n, identity)


def tell_rows(there, totals, aside, places, inside, plane, o, stop):
    """Tell in which windows of output rows [o, stop) there is any weight."""
    beside, left = aside[CHANNELS], inside[LEFT]
    n = (inside[RIGHT] - left) * beside
    for row in range(stop - o):
        to = plane * places[THERE_PLANE] + (o + row - places[FIRST]) * places[THERE_ROW]
        tell(there, to + left * beside, totals, row * n, n)


def divide_rows(out, sums, totals, geometry, aside, places, state, plane, o, stop, whole, one):
    """Divide the sums of output rows [o, stop)."""
    channels, n = geometry[CHANNELS], state[RIGHT] - state[LEFT]
    for row in range(stop - o):
        to = plane * places[OUT_PLANE] + (o + row - places[FIRST]) * places[OUT_ROW] + state[LEFT] * channels
        divide(out, to, sums, totals, row * n * channels, channels, aside[CHANNELS], n, whole, one)


def lift_and_fold(
    x_single, x_double, x_byte, x_word, w_single, w_double, w_byte, there, lifted, shares, work, evens, odds,
    sums, totals, geometry, aside, places, state, inside, plane, o, stop, y, end, anew, identity, one,
):  # fmt: skip
    """Sum up output rows [o, stop) from input rows [y, end); weights *anew*, if they are not those before."""
    if anew:
        if places[WEIGHTS] == SINGLE:
            lift_weights(shares, w_single, aside, places, inside, plane, y, end, identity)
        elif places[WEIGHTS] == DOUBLE:
            lift_weights(shares, w_double, aside, places, inside, plane, y, end, identity)
        else:
            lift_weights(shares, w_byte, aside, places, inside, plane, y, end, identity)
        fold_lifted(shares, totals, work, evens, odds, aside, inside, o, stop, y, identity, one)
        tell_rows(there, totals, aside, places, inside, plane, o, stop)
    if places[VALUES] == SINGLE:
        lift_values(lifted, x_single, shares, geometry, aside, places, state, plane, y, end, identity)
    elif places[VALUES] == DOUBLE:
        lift_values(lifted, x_double, shares, geometry, aside, places, state, plane, y, end, identity)
    elif places[VALUES] == BYTE:
        lift_values(lifted, x_byte, shares, geometry, aside, places, state, plane, y, end, identity)
    else:
        lift_values(lifted, x_word, shares, geometry, aside, places, state, plane, y, end, identity)
    fold_lifted(lifted, sums, work, evens, odds, geometry, state, o, stop, y, identity, one)


def finish(single, double, byte, word, sums, totals, geometry, aside, places, state, plane, o, stop):
    """Divide and store; *byte* as float32 where that rounds as exact quotients do."""
    float64, float32 = np.float64(1), np.float32(1)
    if places[RESULT] == SINGLE:
        divide_rows(single, sums, totals, geometry, aside, places, state, plane, o, stop, 0, float64)
    elif places[RESULT] == DOUBLE:
        divide_rows(double, sums, totals, geometry, aside, places, state, plane, o, stop, 0, float64)
    elif places[RESULT] == WORD:
        divide_rows(word, sums, totals, geometry, aside, places, state, plane, o, stop, 1, float64)
    elif places[NARROW] != 0:
        divide_rows(byte, sums, totals, geometry, aside, places, state, plane, o, stop, 1, float32)
    else:
        divide_rows(byte, sums, totals, geometry, aside, places, state, plane, o, stop, 1, float64)


LOOPS = (
    *(*kernels.LOOPS, same, add, keep, never, take_weights, weigh, tell, divide, fold_lifted),
    *(lift_weights, lift_values, tell_rows, divide_rows, weigh_by_alpha, divide_by_alpha, show, blend),
)
PARTS = (*kernels.PARTS, lift_and_fold, finish)


def arguments(product, accumulator):
    """Return what the kernel's arguments are, before the units."""
    vector, buffer = Pointer(np.dtype(np.int64)), Pointer(accumulator)
    values, weights = map(Pointer, TYPES), map(Pointer, WEIGHT_TYPES)
    return (
        *values,
        *weights,
        *map(Pointer, TYPES),
        Pointer(TYPES[BYTE]),
        *[Pointer(product)] * 2,
        *[buffer] * 5,
        *[vector] * 5,
        accumulator,
        accumulator,
    )


def template(given):
    """Return the kernel; *given* returns its arguments, of a row in memory."""

    def kernel(row, first, last):
        """Fold the parts [first, last): runs of output rows of planes, counted through, planes fastest."""
        (
            x_single, x_double, x_byte, x_word, w_single, w_double, w_byte, single, double, byte, word, there, lifted,
            shares, work, evens, odds, sums, totals, geometry, aside, places, state, inside, identity, one,
        ) = given(row)  # fmt: skip
        left, planes = 0, places[PLANES]
        while left < geometry[OUT_COLUMNS]:
            enter_strip(work, geometry, state, left, 0, identity)
            enter_strip(work, aside, inside, left, 0, identity)
            held = -1
            for part in range(first, last):
                run, plane = part // planes, part % planes
                o = places[FIRST] + run * places[HEIGHT]
                stop = smaller(o + places[HEIGHT], places[STOP])
                y = o * geometry[ROW_STRIDE] - geometry[ROW_BEFORE]
                end = smaller((stop - 1 - o) * geometry[ROW_STRIDE] + geometry[ROW_KERNEL] + y, geometry[ROWS])
                y = larger(y, 0)
                if places[ALPHA] != 0 and places[VALUES] == BYTE:
                    blend(
                        x_byte, byte, lifted, work, evens, odds, sums, geometry, places, state,
                        plane, o, stop, y, end, identity, one,
                    )  # fmt: skip
                elif places[ALPHA] != 0:
                    blend(
                        x_word, word, lifted, work, evens, odds, sums, geometry, places, state,
                        plane, o, stop, y, end, identity, one,
                    )  # fmt: skip
                else:
                    lift_and_fold(
                        x_single, x_double, x_byte, x_word, w_single, w_double, w_byte, there, lifted, shares,
                        work, evens, odds, sums, totals, geometry, aside, places, state, inside,
                        plane, o, stop, y, end, run != held, identity, one,
                    )  # fmt: skip
                    finish(single, double, byte, word, sums, totals, geometry, aside, places, state, plane, o, stop)
                    held = -1 if places[W_PLANE] != 0 else run
            left = state[RIGHT]

    return kernel
