"""How values are folded: steps and the separable fold kernel, in plain Python that `compiled` turns into machine code.

A fold is `lift`, an associative `combine` with an identity, and `finish`. The *row pass* folds the rows of a window
into one contiguous buffer, the *column pass* folds that buffer by doubling, *close* keeps every stride-th pixel and
finishes it. The order of additions follows from the plan alone (never from threads, bands or tiles).

Constraints that a maintainer must know:

* Arrays are flat and bare: compiled, they are pointers; uncompiled, anything that takes an index.
* Each function costs Numba 0.07 s or more, a loop in a function that is there anyway far less: loops that differ in
  how many terms they combine share one.
* LLVM shuffles instead of gathering only where steps are literal, all parts of a pixel are used, and what is read and
  what is written are different arguments.
* Loops take the steps as arguments, so that one loop serves every method. No `min`, `max` or `in`: each is a library of
  its own to Numba, with exceptions that want its runtime.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Pointer(NamedTuple):
    """An argument of a kernel that is where an array begins."""

    to: np.dtype[Any]


class Kernel(NamedTuple):
    """What a kernel is told by: the module of its template, the names of its steps, and its types."""

    template: str
    steps: tuple[str, ...]
    types: tuple[np.dtype[Any], ...]

    @property
    def name(self) -> str:
        """The name under which it is kept."""
        return "-".join((self.template, *self.steps, *(dtype.name for dtype in self.types)))


# Rows of the work buffer; the suffixes of a block follow.
FOLDED, PREFIX, TAIL, SPARE, EVENS, ODDS, SUFFIXES = 0, 1, 2, 3, 6, 7, 8

# What *geometry* holds, in elements and output positions; `compiled.geometry` fills it. At RUN_STOPS, RUN_COUNTS and
# ROW_COUNTS stands where these lists begin.
(
    X_PLANE, X_ROW, OUT_PLANE, OUT_ROW, WIDTH, CHANNELS,
    ROWS, ROW_KERNEL, ROW_STRIDE, ROW_BEFORE, BLOCK,  # BLOCK: output rows that share suffixes; 0: none do
    COLUMNS, COL_KERNEL, COL_STRIDE, COL_STEP, COL_BEFORE, OUT_COLUMNS, TILE,
    WIDEST, TERMS, SECOND, THIRD, DIGITS, CLOSING, QUADS,
    FIRST_OUT, OUTS, OUTER, ALL_OUTS, RUNS, RUN_STOPS, RUN_COUNTS, ROW_COUNTS, FIELDS,
) = range(34)  # fmt: skip

# What *state* holds: the strip of columns, the block of rows that is open, and where the column pass left off.
(
    LEFT, RIGHT, LOW, INTO, SIZE, SPAN, WINDOWS, PAIRS, INSIDE,
    OPEN, PLANE, HEAD, REACHED, INNER, END, SOURCE, LOWER, STATES,
) = range(18)  # fmt: skip

WHOLE, HALVES, SPLIT, PICKED = range(4)  # ways to CLOSE: as it is, in pairs, parted in two, or every stride-th pixel

PAIRED = 1024  # elements of a row from which several are read at once; shorter ones outrun the prefetcher
DIRECT_ROWS = 2  # row windows of up to 2 * stride + this many rows are folded directly, longer ones in blocks
LEAST = 2.0**-14  # more than a root of up to 255.5 in float32 is off
MANY = 16  # interleaved channels from which the loop over them fills vectors


# --- steps: lift(x), combine(a, b), finish(acc, n, inverse, quick); NumPy's engine calls them with arrays ----------


def same(x):
    return x


def square(x):
    return x * x


def combining(
    ufunc: Any,
    identity: float | str,
    accumulator: str,
    *,
    idempotent: bool = False,
    additive: bool = False,
    compiled: bool = True,
) -> Any:
    """Declare a combine.

    Parameters
    ----------
    ufunc
        NumPy's form of it.
    identity
        What combines with any value to that value: a number, or "lowest" or "highest" of the accumulator.
    accumulator
        What holds it: "source", the type of the values; "sum", the narrowest that holds as many; or "float64".
    idempotent
        Whether combining a value with itself changes nothing, so that partial windows may overlap.
    additive
        Whether an element may count by a share.
    compiled
        Whether it is worth a kernel.
    """
    declared = locals()

    def declare(step: Any) -> Any:
        vars(step).update(declared)
        return step

    return declare


@combining(np.add, 0, "sum", additive=True)
def add(a, b):
    return a + b


@combining(np.multiply, 1, "source", compiled=False)
def multiply(a, b):
    return a * b


def merged(a, b, out=None, **_):
    """Return the moments (count, sum in two parts, squares about the mean) of two parts together.

    Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance (1983), formula 2.1.
    """
    (n, s, r, q), (m, t, u, p) = ([x[..., part::4] for part in range(4)] for x in (a, b))
    apart, within = n * t - m * s + (n * u - m * r), n * m * (n + m)
    between = np.divide(apart * apart, within, out=np.zeros_like(apart), where=within > 0)
    result = np.empty_like(a) if out is None else out
    result[..., 0::4], result[..., 1::4], result[..., 2::4], result[..., 3::4] = n + m, s + t, r + u, q + p + between
    return result


moments = combining(merged, 0, "source", additive=True, compiled=False)(merged)


@combining(np.maximum, "lowest", "source", idempotent=True)
def larger(a, b):
    """A NaN wins; the second choice is one instruction."""
    return a if a != a else (a if a > b else b)  # noqa: PLR0124, FURB136 -- only a NaN differs from itself; no `max`


@combining(np.minimum, "highest", "source", idempotent=True)
def smaller(a, b):
    """As `larger`."""
    return a if a != a else (a if a < b else b)  # noqa: PLR0124, FURB136 -- as above


# finish(acc, n, inverse, quick): *quick* says that multiplying by *inverse*, 1 / n, gives what dividing by n does


def keep(acc, n, inverse, quick):  # noqa: ARG001 -- every finish has the same signature
    return acc


def mean(acc, n, inverse, quick):
    return acc * inverse if quick else acc / n


def root_mean(acc, n, inverse, quick):
    return np.sqrt(acc * inverse if quick else acc / n)


def fused(a, b, c):
    """Return a * b + c, rounded once; compiled, it is an instruction."""
    from fractions import Fraction

    return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


def quotient(acc, n, inverse):
    """Return acc / n, rounded once, for a third of a division's time where its remainder is no subnormal number.

    Brisebarre, Muller and Raina, Accelerating Correctly Rounded Floating-Point Division when the Divisor Is Known in
    Advance (2004): *inverse* is the rounded 1 / n.
    """
    near = acc * inverse
    exact = fused(fused(-near, n, acc), inverse, near)
    return exact if exact == exact else near  # noqa: PLR0124 -- infinities, and NaN, are near already


def narrow_mean(acc, n, inverse, quick):
    return acc * inverse if quick else quotient(acc, n, inverse)


def narrow_root_mean(acc, n, inverse, quick):
    return np.sqrt(acc * inverse if quick else quotient(acc, n, inverse))


def nearest_mean(acc, n, inverse, quick):
    """Round half to even; exact while acc and n are exact in their type."""
    return np.rint(acc * inverse if quick else acc / n)


def nearest_root_mean(acc, n, inverse, quick):  # noqa: ARG001 -- as above
    """Round half to even; the floating-point root of two integers is at most one off, which integers put right."""
    guess = np.int64(np.rint(np.sqrt(acc / n)))
    above = (2 * guess + 1) * (2 * guess + 1) * n
    below = (2 * guess - 1) * (2 * guess - 1) * n
    return guess + np.int64(4 * acc > above) - np.int64((4 * acc < below) & (guess > 0))


def byte_root_mean(acc, n, inverse, quick):  # noqa: ARG001 -- as above
    """Round half to even, of up to 65,535 squares of 8 bits, whose sum is uint32: in 32 bits, which vectors hold twice.

    A root in float32 is off by less than LEAST before it is cut, so that what is left is right or one too low. It is
    too low where acc / n > (low + 1/2)^2, or equal and low odd.
    """
    root = np.sqrt(np.float32(acc) * (np.float32(1) / np.float32(n)))
    if quick:
        return np.int32(np.rint(root))
    low = np.int32(root + np.float32(0.5 - LEAST))
    past = np.int32(np.int32(acc) - np.int32(n) * low * (low + 1))  # of acc - n (low^2 + low), far below 2^31
    return np.int32(low + np.int32(np.int32(4 * past + (low & 1)) > np.int32(n)))


def never(n):  # noqa: ARG001 -- every condition has the same signature
    return False


def power_of_two(n):
    """Whether multiplying by 1 / n is dividing by n: both are exact up to one and the same rounding."""
    whole = np.int64(n)
    return whole & (whole - 1) == 0


def tieless(n):
    """Whether rounding acc * (1 / n) is rounding acc / n: no tie, and an error below the 1 / (2 n) to the next one."""
    whole = np.int64(n)
    return whole & (whole - 1) == 0 or (whole & 1 == 1 and whole < 2**13)


def few(n):
    """Whether no root of a mean of n squares of 8 bits comes nearer to a half than float32 tells apart, but for ties.

    Ties are of multiples of 4, and multiplying by 1 / 4 and 1 / 8 is exact.
    """
    return np.int64(n) < 12  # tested for every sum


# When a finish may multiply by 1 / n (a division costs most of a pass), or do with less
QUICK = {
    "keep": "never",
    "mean": "power_of_two",
    "root_mean": "power_of_two",
    "nearest_mean": "tieless",
    "nearest_root_mean": "never",
    "byte_root_mean": "few",
}


# The form of a finish for values that are not float64, whose sums in float64 stay clear of subnormal numbers
NARROW = {"mean": "narrow_mean", "root_mean": "narrow_root_mean"}


# --- loops: each is one pass over contiguous elements, *to* and other offsets in elements ---------------------------


def spare(one, other):
    """Return a row of the buffer that is neither of two."""
    row = SPARE
    while row == one or row == other:  # noqa: PLR1714, SIM109 -- no `in`
        row += 1
    return row


def fill(work, to, value, n):
    for j in range(n):
        work[to + j] = value


def lift_rows(lift, combine, work, to, x, at, pitch, taps, identity, n):
    """Fold one to three rows, *pitch* apart."""
    acc = type(identity)
    if taps == 1:
        for j in range(n):
            work[to + j] = lift(acc(x[at + j]))
    elif taps == 2:
        also = at + pitch
        for j in range(n):
            work[to + j] = combine(lift(acc(x[at + j])), lift(acc(x[also + j])))
    else:
        also, last = at + pitch, at + 2 * pitch
        for j in range(n):
            two = combine(lift(acc(x[at + j])), lift(acc(x[also + j])))
            work[to + j] = combine(two, lift(acc(x[last + j])))


def merge_rows(lift, combine, work, to, x, at, pitch, taps, identity, n):
    """Fold one or two more rows."""
    acc = type(identity)
    if taps == 1:
        for j in range(n):
            work[to + j] = combine(work[to + j], lift(acc(x[at + j])))
    else:
        also = at + pitch
        for j in range(n):
            work[to + j] = combine(combine(work[to + j], lift(acc(x[at + j]))), lift(acc(x[also + j])))


def suffix_row(lift, combine, work, to, below, x, at, identity, n):
    acc = type(identity)
    for j in range(n):
        work[to + j] = combine(lift(acc(x[at + j])), work[below + j])


def merge(combine, work, to, a, b, n):
    if to == a:
        for j in range(n):
            work[to + j] = combine(work[to + j], work[b + j])
    else:
        for j in range(n):
            work[to + j] = combine(work[a + j], work[b + j])


def split(evens, to, odds, source, a, channels, n):
    """Part *n* pairs of pixels into the even and the odd ones."""
    if channels == 1:
        for j in range(n):
            evens[to + j] = source[a + 2 * j]
            odds[j] = source[a + 2 * j + 1]
    elif channels == 3:
        for j in range(n):
            for e in range(3):
                evens[to + 3 * j + e] = source[a + 6 * j + e]
                odds[3 * j + e] = source[a + 6 * j + 3 + e]
    else:
        for j in range(n):
            for e in range(4):
                evens[to + 4 * j + e] = source[a + 8 * j + e]
                odds[4 * j + e] = source[a + 8 * j + 4 + e]


def pick(target, to, source, a, stride, channels, n):
    """Keep every stride-th pixel."""
    for j in range(n):
        for e in range(channels):
            target[to + channels * j + e] = source[a + stride * channels * j + e]


def close(combine, finish, out, to, work, a, b, c, terms, pitch, length, n, identity, count, inverse, quick):
    """Combine up to three partial windows and finish them: *n* runs of *length* elements, *pitch* apart."""
    acc, closing = type(identity), type(count)
    for j in range(n):
        i, o = pitch * j, to + length * j
        if terms == 1:
            for e in range(length):
                out[o + e] = finish(closing(work[a + i + e]), count, inverse, quick)
        elif terms == 2:
            for e in range(length):
                both = acc(combine(work[a + i + e], work[b + i + e]))
                out[o + e] = finish(closing(both), count, inverse, quick)
        else:
            for e in range(length):
                both = acc(combine(work[b + i + e], work[c + i + e]))
                out[o + e] = finish(closing(acc(combine(work[a + i + e], both))), count, inverse, quick)


def close_halves(combine, finish, out, to, work, a, channels, n, identity, count, inverse, quick):
    """Combine neighbouring pixels, one pair for each pixel of the result, and finish them."""
    acc, closing = type(identity), type(count)
    if channels == 1:
        for j in range(n):
            both = acc(combine(work[a + 2 * j], work[a + 2 * j + 1]))
            out[to + j] = finish(closing(both), count, inverse, quick)
    elif channels == 3:
        for j in range(n):
            for e in range(3):
                both = acc(combine(work[a + 6 * j + e], work[a + 6 * j + 3 + e]))
                out[to + 3 * j + e] = finish(closing(both), count, inverse, quick)
    else:
        for j in range(n):
            for e in range(4):
                both = acc(combine(work[a + 8 * j + e], work[a + 8 * j + 4 + e]))
                out[to + 4 * j + e] = finish(closing(both), count, inverse, quick)


def close_quads(lift, combine, finish, out, to, x, at, pitch, channels, n, identity, count, inverse, quick):
    """Pool 2 x 2 windows straight from two rows: 1.4 times as fast as through a buffer for 8-bit pictures."""
    acc, closing = type(identity), type(count)
    if channels == 1:
        for j in range(n):
            i = at + 2 * j
            k = i + pitch
            a = acc(combine(lift(acc(x[i])), lift(acc(x[k]))))
            b = acc(combine(lift(acc(x[i + 1])), lift(acc(x[k + 1]))))
            out[to + j] = finish(closing(acc(combine(a, b))), count, inverse, quick)
    elif channels == 3:
        for j in range(n):
            for e in range(3):
                i = at + 6 * j + e
                k = i + pitch
                a = acc(combine(lift(acc(x[i])), lift(acc(x[k]))))
                b = acc(combine(lift(acc(x[i + 3])), lift(acc(x[k + 3]))))
                out[to + 3 * j + e] = finish(closing(acc(combine(a, b))), count, inverse, quick)
    else:
        for j in range(n):
            i, o = at + 2 * channels * j, to + channels * j
            k = i + pitch
            for e in range(channels):
                a = acc(combine(lift(acc(x[i + e])), lift(acc(x[k + e]))))
                b = acc(combine(lift(acc(x[i + channels + e])), lift(acc(x[k + channels + e]))))
                out[o + e] = finish(closing(acc(combine(a, b))), count, inverse, quick)


# --- row pass ----------------------------------------------------------------------------------------------------


def fold_rows(lift, combine, work, x, origin, geometry, state, o, identity):
    """Fold the rows of the window of output row *o* into the buffer, one after another."""
    into, n, pitch = state[INTO], state[SIZE], geometry[X_ROW]
    y = o * geometry[ROW_STRIDE] - geometry[ROW_BEFORE]
    stop = smaller(y + geometry[ROW_KERNEL], geometry[ROWS])
    y = larger(y, 0)
    at, left = origin + y * pitch, stop - y
    if left <= 0:
        fill(work, into, identity, n)
        return
    paired = state[PAIRS] != 0
    taps = smaller(left, (3 if left == 3 else 2) if paired else 1)
    lift_rows(lift, combine, work, into, x, at, pitch, taps, identity, n)
    y, at = y + taps, at + taps * pitch
    while y < stop:
        taps = smaller(stop - y, 2 if paired else 1)
        merge_rows(lift, combine, work, into, x, at, pitch, taps, identity, n)
        y, at = y + taps, at + taps * pitch


def fold_block(lift, combine, work, x, origin, geometry, state, plane, o, identity):
    """Fold overlapping windows: a suffix of the first k rows of their block, and a running prefix of the rows after."""
    n, width, rows = state[SIZE], geometry[WIDTH], geometry[ROWS]
    head = o // geometry[BLOCK] * geometry[BLOCK]
    offset = (o - head) * geometry[ROW_STRIDE]
    base = head * geometry[ROW_STRIDE] - geometry[ROW_BEFORE]
    if state[OPEN] == 0 or state[PLANE] != plane or state[HEAD] != head:
        state[OPEN], state[PLANE], state[HEAD] = 1, plane, head
        open_block(lift, combine, work, x, origin, geometry, state, base, offset, identity)
    reached = state[REACHED]
    while reached < offset:
        y = base + geometry[ROW_KERNEL] + reached
        if 0 <= y < rows:
            at = origin + y * geometry[X_ROW]
            merge_rows(lift, combine, work, PREFIX * width, x, at, geometry[X_ROW], 1, identity, n)
        reached += 1
    state[REACHED] = reached
    suffix = SUFFIXES + smaller(larger(offset, state[INNER]), state[END])
    merge(combine, work, state[INTO], suffix * width, PREFIX * width, n)


def open_block(lift, combine, work, x, origin, geometry, state, base, offset, identity):
    """Fold the suffixes, from row *offset* on, of the block whose windows' first row is *base*."""
    n, width, pitch = state[SIZE], geometry[WIDTH], geometry[X_ROW]
    inner = larger(-base, 0)  # rows [inner, end) of the k lie in the input
    end = larger(inner, smaller(geometry[ROWS] - base, geometry[ROW_KERNEL]))
    state[INNER], state[END], state[REACHED] = inner, end, 0
    fill(work, PREFIX * width, identity, n)
    fill(work, (SUFFIXES + end) * width, identity, n)
    for i in range(end - 1, larger(offset, inner) - 1, -1):
        row = (SUFFIXES + i) * width
        suffix_row(lift, combine, work, row, row + width, x, origin + (base + i) * pitch, identity, n)


# --- column pass -------------------------------------------------------------------------------------------------


def fold_columns(combine, work, geometry, state):
    """Fold partial windows of 1, 2, 4 ... columns by doubling; *lower* holds the lower binary digits of the kernel."""
    width, step, span = geometry[WIDTH], geometry[COL_STEP], state[SPAN]
    digits = geometry[DIGITS] != 0
    source, lower, taken, wide = FOLDED, FOLDED, 0, 1
    while True:
        if digits and geometry[COL_KERNEL] & wide:
            if taken == 0:
                lower = source
            else:
                size = span - (taken + wide - 1) * step
                merge(combine, work, TAIL * width, lower * width, source * width + taken * step, size)
                lower = TAIL
            taken += wide
        if wide == geometry[WIDEST]:
            break
        target = spare(source, lower)
        size = span - (2 * wide - 1) * step
        merge(combine, work, target * width, source * width, source * width + wide * step, size)
        source, wide = target, 2 * wide
    state[SOURCE] = source
    state[LOWER] = lower if digits else source


# --- close -------------------------------------------------------------------------------------------------------


def close_row(combine, finish, applies, out, put, work, evens, odds, geometry, state, row_count, identity, one):
    """Combine the partial windows that are left, keep every stride-th pixel, and finish it."""
    closing = type(one)
    channels, right, begun = geometry[CHANNELS], state[RIGHT], state[LEFT]
    near, a, b, c, terms, pitch = pick_columns(combine, work, evens, odds, geometry, state)
    once = pitch == channels  # then all is one run
    for run in range(geometry[RUNS]):  # columns of equal counts
        stop = smaller(geometry[geometry[RUN_STOPS] + run], right)
        if begun < stop:
            count = closing(larger(row_count * geometry[geometry[RUN_COUNTS] + run], 1))
            inverse, quick = closing(one / count), applies(count)
            to, n, skip = put + begun * channels, stop - begun, (begun - state[LEFT]) * pitch
            if geometry[CLOSING] == HALVES:
                close_halves(
                    combine, finish, out, to, near, a + skip, channels, n, identity, count, inverse, quick
                )  # fmt: skip
            else:
                close(
                    combine, finish, out, to, near, a + skip, b + skip, c + skip, terms,
                    pitch, n * channels if once else channels, 1 if once else n, identity, count, inverse, quick,
                )  # fmt: skip
            begun = stop


def pick_columns(combine, work, evens, odds, geometry, state):
    """Return where up to three partial windows begin: buffer, offsets, how many, and the step from pixel to pixel."""
    width, channels, stride, many = geometry[WIDTH], geometry[CHANNELS], geometry[COL_STRIDE], state[WINDOWS]
    terms, source, lower = geometry[TERMS], state[SOURCE], state[LOWER]
    a = lower * width
    b = source * width + geometry[SECOND] * geometry[COL_STEP]
    c = source * width + geometry[THIRD] * geometry[COL_STEP]
    if geometry[CLOSING] == SPLIT:
        split(evens, 0, odds, work, a, channels, state[RIGHT] - state[LEFT] + 1)
        return evens, 0, (ODDS - EVENS) * width, channels, terms, channels
    if geometry[CLOSING] != PICKED:
        return work, a, b, c, terms, stride * channels
    if terms == 3:
        target = spare(source, lower)
        merge(combine, work, target * width, b, c, many * channels)
        source, b = target, target * width
    if terms > 1:
        target = spare(source, lower)
        merge(combine, work, target * width, a, b, many * channels)
        a = target * width
    near, at = every(work, a, evens, odds, stride, channels, many, state[RIGHT] - state[LEFT])
    return near, at, 0, 0, 1, channels


def every(source, a, evens, odds, stride, channels, many, n):
    """Return where every stride-th of *many* pixels stand in a row, *n* in all: halved while the stride is even."""
    near, other, to = source, evens, 0
    while stride % 2 == 0:
        many = (many + 1) // 2
        split(other, to, odds, near, a, channels, many)
        near, a, other, to = other, to, near, a
        stride = stride // 2
    if stride > 1:
        pick(other, to, near, a, stride, channels, n)
        near, a = other, to
    return near, a


# --- the template ------------------------------------------------------------------------------------------------


def enter_strip(work, geometry, state, left, paired, identity):
    """Set *state* to the strip of output columns from *left* on and the input columns it reads; blank its buffer.

    Rows of at least *paired* elements are read several at once.
    """
    channels, stride, columns = geometry[CHANNELS], geometry[COL_STRIDE], geometry[COLUMNS]
    right = smaller(left + geometry[TILE], geometry[OUT_COLUMNS])
    start = left * stride - geometry[COL_BEFORE]
    many = (right - left - 1) * stride + 1  # windows of stride 1
    span = many * channels + (geometry[COL_KERNEL] - 1) * geometry[COL_STEP]
    low = larger(start, 0)
    high = larger(low, smaller(start + span // channels, columns))
    state[LEFT], state[RIGHT], state[LOW], state[WINDOWS], state[SPAN] = left, right, low, many, span
    state[INTO], state[SIZE] = (low - start) * channels, (high - low) * channels
    state[PAIRS] = state[SIZE] >= paired
    state[INSIDE] = start >= 0 and start + span // channels <= columns and state[SIZE] >= paired
    state[OPEN] = 0
    fill(work, 0, identity, span)


def fold_unit(
    lift, combine, finish, applies, x, out, work, evens, odds, geometry, state, plane, o, origin, put, identity, one
):  # fmt: skip
    """Fold the windows of output row *o* of a *plane* in the strip: from rows counted from *origin*, to row *put*."""
    closing, channels, left = type(one), geometry[CHANNELS], state[LEFT]
    row_count = geometry[geometry[ROW_COUNTS] + plane % geometry[OUTER] * geometry[ALL_OUTS] + o]
    y = o * geometry[ROW_STRIDE] - geometry[ROW_BEFORE]
    if geometry[QUADS] and state[INSIDE] and y >= 0 and y + 1 < geometry[ROWS]:
        count = closing(larger(row_count * geometry[geometry[RUN_COUNTS]], 1))
        at, to, n = origin + y * geometry[X_ROW], put + left * channels, state[RIGHT] - left
        close_quads(
            lift, combine, finish, out, to, x, at, geometry[X_ROW], channels, n,
            identity, count, closing(one / count), applies(count),
        )  # fmt: skip
        return
    if geometry[BLOCK]:
        fold_block(lift, combine, work, x, origin, geometry, state, plane, o, identity)
    else:
        fold_rows(lift, combine, work, x, origin, geometry, state, o, identity)
    fold_columns(combine, work, geometry, state)
    close_row(combine, finish, applies, out, put, work, evens, odds, geometry, state, row_count, identity, one)


LOOPS = (
    *(fill, lift_rows, merge_rows, suffix_row, merge, split, pick, close, close_halves, close_quads),
    *(spare, larger, smaller, quotient),
)
PARTS = (enter_strip, fold_rows, open_block, fold_block, fold_columns, every, pick_columns, close_row, fold_unit)


def arguments(source, accumulator, closing, result):
    """Return what the kernel's arguments are, before its units."""
    whole, buffer = np.dtype(np.int64), Pointer(accumulator)
    vectors = Pointer(whole), Pointer(whole)
    return (Pointer(source), Pointer(result), buffer, buffer, buffer, *vectors, accumulator, closing)


def template(given, lift, combine, finish, applies):
    """Return the kernel of a fold; *given* returns its arguments, of a row in memory; *applies* is as in `QUICK`."""

    def kernel(row, first, last):
        """Fold the units [first, last): output rows of planes, counted through."""
        x, out, work, evens, odds, geometry, state, identity, one = given(row)
        outs, left = geometry[OUTS], 0
        while left < geometry[OUT_COLUMNS]:
            enter_strip(work, geometry, state, left, PAIRED, identity)
            for unit in range(first, last):
                plane = unit // outs
                o = unit - plane * outs
                origin = plane * geometry[X_PLANE] + state[LOW] * geometry[CHANNELS]
                put = plane * geometry[OUT_PLANE] + o * geometry[OUT_ROW]
                fold_unit(
                    lift, combine, finish, applies, x, out, work, evens, odds, geometry, state,
                    plane, geometry[FIRST_OUT] + o, origin, put, identity, one,
                )  # fmt: skip
            left = state[RIGHT]

    return kernel
