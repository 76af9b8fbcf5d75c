"""How values are folded: steps and the separable fold kernel, in plain Python that `compiled` turns into machine code.

A fold is `lift`, an associative `combine` with an identity, and `finish`. The kernel folds the rows of a window into
one contiguous buffer, folds that buffer along the columns by doubling, keeps every stride-th element and finishes it.
The order of additions follows from the plan alone (never from threads, bands or tiles), so equal plans give equal sums.

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

import numpy as np

# Rows of the work buffer; the suffixes of a block follow.
FOLDED, PREFIX, TAIL, SPARE, EVENS, ODDS, SUFFIXES = 0, 1, 2, 3, 6, 7, 8

PAIRED = 1024  # elements of a row from which several are read at once; shorter ones outrun the prefetcher
DIRECT_ROWS = 2  # row windows of up to 2 * stride + this many rows are folded directly, longer ones in blocks
MANY = 16  # interleaved channels from which the loop over them fills vectors


# --- steps: lift(x), combine(a, b), finish(acc, n, inverse, quick); NumPy's engine calls them with arrays ----------


def same(x):
    return x


def square(x):
    return x * x


def add(a, b):
    return a + b


def larger(a, b):
    """A NaN wins; the second choice is one instruction."""
    return a if a != a else (a if a > b else b)  # noqa: PLR0124, FURB136 -- only a NaN differs from itself; no `max`


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


# When a finish may multiply by 1 / n (a division costs most of a pass)
QUICK = {
    "keep": "never",
    "mean": "power_of_two",
    "root_mean": "power_of_two",
    "nearest_mean": "tieless",
    "nearest_root_mean": "never",
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


def begin(lift, combine, work, to, x, at, pitch, taps, identity, n):
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


def proceed(lift, combine, work, to, x, at, pitch, taps, identity, n):
    """Fold one or two more rows."""
    acc = type(identity)
    if taps == 1:
        for j in range(n):
            work[to + j] = combine(work[to + j], lift(acc(x[at + j])))
    else:
        also = at + pitch
        for j in range(n):
            work[to + j] = combine(combine(work[to + j], lift(acc(x[at + j]))), lift(acc(x[also + j])))


def stack(lift, combine, work, to, below, x, at, identity, n):
    acc = type(identity)
    for j in range(n):
        work[to + j] = combine(lift(acc(x[at + j])), work[below + j])


def append(combine, work, to, a, b, n):
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


HELPERS = (
    *(fill, begin, proceed, stack, append, split, pick, close, close_halves, close_quads),
    *(spare, larger, smaller, quotient),
)


# --- the template ----------------------------------------------------------------------------------------------


def fold(lift, combine, finish, applies, *, idempotent):
    """Return the kernel of a fold.

    *applies* is as in `QUICK`; *idempotent* (combine(a, a) == a) lets partial windows overlap.
    """

    def kernel(
        x, x_plane, x_row, x_at,
        out, out_plane, out_row, out_at,
        work, evens, odds, width, identity, one,
        rows, row_kernel, row_stride, row_before, row_counts,
        columns, col_kernel, col_stride, col_dilation, col_before, runs, run_stops, run_counts,
        channels, out_columns, tile, first_out, outs, first, last,
    ):  # fmt: skip
        closing = type(one)
        step = col_dilation * channels
        few = channels == 1 or channels == 3 or channels == 4  # pixels that split parts  # noqa: PLR1714 -- no `in`
        blocks = row_kernel > DIRECT_ROWS + 2 * row_stride
        reach = -(-row_kernel // row_stride)  # output rows of a block: they share one table of suffixes
        square = (
            row_kernel == 2 and col_kernel == 2 and col_stride == 2 and col_dilation == 1 and runs == 1
            and (channels == 1 or channels == 3 or channels >= MANY)  # noqa: PLR1714 -- as above
        )  # fmt: skip
        # The last pass combines *terms* partial windows of *widest*: the first begins at 0, others at *second*, *third*
        top = 1  # the highest binary digit of the kernel
        while 2 * top <= col_kernel:
            top *= 2
        if col_kernel == 1:
            widest, terms = 1, 1
        elif col_kernel == top:
            widest, terms = top // 2, 2
        elif idempotent and 2 * col_kernel > 3 * top:
            widest, terms = top, 2
        else:
            widest, terms = top // 2, 3
        third = col_kernel - widest
        second = third if terms < 3 else (widest if idempotent else col_kernel - top)
        digits = terms == 3 and not idempotent  # the first is then the sum of the digits below the highest
        left = right = 0
        while right < out_columns:  # a range whose step is not known may raise
            # One strip of output columns, and the input columns [low, high) that it reads
            left = right
            right = smaller(left + tile, out_columns)
            start = left * col_stride - col_before
            many = (right - left - 1) * col_stride + 1  # windows of stride 1
            span = many * channels + (col_kernel - 1) * step
            low = larger(start, 0)
            high = larger(low, smaller(start + span // channels, columns))
            n = (high - low) * channels
            into = (low - start) * channels
            paired = n >= PAIRED
            quads = square and paired and start >= 0 and start + span // channels <= columns
            fill(work, 0, identity, span)
            fresh, held, block, reached, inner, end = False, 0, 0, 0, 0, 0  # the suffixes are *block*'s of plane *held*
            for unit in range(first, last):
                plane = unit // outs
                o = first_out + unit - plane * outs
                origin = x_at + plane * x_plane + low * channels
                put = out_at + plane * out_plane + o * out_row
                y = o * row_stride - row_before
                count = closing(larger(row_counts[o] * run_counts[0], 1))
                if quads and y >= 0 and y + 1 < rows:
                    at, to = origin + y * x_row, put + left * channels
                    close_quads(
                        lift, combine, finish, out, to, x, at, x_row, channels, right - left,
                        identity, count, closing(one / count), applies(count),
                    )  # fmt: skip
                    continue
                if blocks:
                    # Two stacks: suffix folds of the block's first k rows, and a running prefix of the rows after
                    head = o // reach * reach
                    offset = (o - head) * row_stride
                    base = head * row_stride - row_before
                    if not fresh or plane != held or head != block:
                        fresh, held, block, reached = True, plane, head, 0
                        inner = larger(-base, 0)  # rows [inner, end) of the k lie in the input
                        end = larger(inner, smaller(rows - base, row_kernel))
                        fill(work, PREFIX * width, identity, n)
                        fill(work, (SUFFIXES + end) * width, identity, n)
                        for i in range(end - 1, larger(offset, inner) - 1, -1):
                            row = (SUFFIXES + i) * width
                            stack(lift, combine, work, row, row + width, x, origin + (base + i) * x_row, identity, n)
                    while reached < offset:
                        y = base + row_kernel + reached
                        if 0 <= y < rows:
                            at = origin + y * x_row
                            proceed(lift, combine, work, PREFIX * width, x, at, x_row, 1, identity, n)
                        reached += 1
                    suffix = SUFFIXES + smaller(larger(offset, inner), end)
                    append(combine, work, into, suffix * width, PREFIX * width, n)
                else:
                    stop = smaller(y + row_kernel, rows)
                    y = larger(y, 0)
                    at = origin + y * x_row
                    left_rows = stop - y
                    taps = smaller(left_rows, (3 if left_rows == 3 else 2) if paired else 1)
                    if taps > 0:
                        begin(lift, combine, work, into, x, at, x_row, taps, identity, n)
                        y, at = y + taps, at + taps * x_row
                    else:
                        fill(work, into, identity, n)
                    while y < stop:
                        taps = smaller(stop - y, 2 if paired else 1)
                        proceed(lift, combine, work, into, x, at, x_row, taps, identity, n)
                        y, at = y + taps, at + taps * x_row
                # Columns: partial windows of 1, 2, 4 ... by doubling; *lower* holds the lower binary digits of k
                source, lower, taken, wide = FOLDED, FOLDED, 0, 1
                while True:
                    if digits and col_kernel & wide:
                        if taken == 0:
                            lower = source
                        else:
                            size = span - (taken + wide - 1) * step
                            append(combine, work, TAIL * width, lower * width, source * width + taken * step, size)
                            lower = TAIL
                        taken += wide
                    if wide == widest:
                        break
                    target = spare(source, lower)
                    size = span - (2 * wide - 1) * step
                    append(combine, work, target * width, source * width, source * width + wide * step, size)
                    source, wide = target, 2 * wide
                if not digits:
                    lower = source
                # What is left: combine the partial windows, keep every stride-th pixel, finish
                near, left_over, pitch = work, terms, col_stride * channels
                a, b, c = lower * width, source * width + second * step, source * width + third * step
                halves = few and terms == 2 and col_stride == 2 and third * col_dilation == 1
                if few and terms == 3 and col_stride == 2 and widest == 1 and col_dilation == 1:
                    split(evens, 0, odds, work, a, channels, right - left + 1)
                    near, pitch = evens, channels
                    a, b, c = 0, (ODDS - EVENS) * width, channels
                elif few and col_stride > 1 and not halves:
                    if terms == 3:
                        target = spare(source, lower)
                        append(combine, work, target * width, b, c, many * channels)
                        source, b = target, target * width
                    if terms > 1:
                        target = spare(source, lower)
                        append(combine, work, target * width, a, b, many * channels)
                        a = target * width
                    stride, kept, other, to = col_stride, many, evens, 0
                    while stride % 2 == 0:
                        kept = (kept + 1) // 2
                        split(other, to, odds, near, a, channels, kept)
                        near, a, other, to = other, to, near, a
                        stride = stride // 2
                    if stride > 1:
                        pick(other, to, near, a, stride, channels, right - left)
                        near, a = other, to
                    left_over, pitch = 1, channels
                begun = left
                for run in range(runs):  # columns of equal counts
                    stop = smaller(run_stops[run], right)
                    if begun < stop:
                        count = closing(larger(row_counts[o] * run_counts[run], 1))
                        inverse, quick = closing(one / count), applies(count)
                        to, size, skip = put + begun * channels, stop - begun, (begun - left) * pitch
                        if halves:
                            close_halves(
                                combine, finish, out, to, near, a + skip, channels, size,
                                identity, count, inverse, quick,
                            )  # fmt: skip
                        else:
                            once = pitch == channels  # then all is one run
                            close(
                                combine, finish, out, to, near, a + skip, b + skip, c + skip, left_over,
                                pitch, size * channels if once else channels, 1 if once else size,
                                identity, count, inverse, quick,
                            )  # fmt: skip
                        begun = stop

    return kernel
