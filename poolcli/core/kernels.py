"""How values are folded: steps and the separable fold kernel, in plain Python that `engines` compiles.

A fold is `lift`, an associative `combine` with an identity, and `finish`. The kernel folds the rows of a window into
one contiguous buffer, folds that buffer along the columns by doubling, keeps every stride-th element and finishes it.
The order of additions follows from the plan alone (never from threads, bands or tiles), so equal plans give equal sums.

Constraints that a maintainer must know:

* Steps, loops and the template live in this one file: Numba's disk cache does not see edits elsewhere.
* Offsets are unsigned and buffers distinct or the very same: a negative-index check or a possible overlap
  stops LLVM from vectorising (uint8 k15 became seven times slower).
* Loops take the steps as arguments, so that one loop serves every method.
"""

from __future__ import annotations

import numpy as np

UNSIGNED = np.uint64

# Rows of the work buffer; the suffixes of a block follow.
FOLDED, PREFIX, PICKED, TAIL, SPARE = 0, 1, 2, 3, 4
SUFFIXES = 7

DONE, PAIRS, HALVES = 0, 1, 2  # what is left to do when a row is finished: nothing, combine, combine neighbours

PAIRED = 1024  # elements of a row from which two are read at once; shorter ones outrun the prefetcher (0.8 -> 2.0 ms)
DIRECT_ROWS = 2  # row windows of up to 2 * stride + this many rows are folded directly, longer ones in blocks


# --- steps: lift(x), combine(a, b), finish(acc, n); the numpy engine calls lift and finish with arrays -------------


def same(x):
    return x


def square(x):
    return x * x


def add(a, b):
    return a + b


def larger(a, b):
    return a if (a >= b or a != a) else b  # noqa: PLR0124 -- a NaN wins


def smaller(a, b):
    return a if (a <= b or a != a) else b  # noqa: PLR0124 -- a NaN wins


def keep(acc, n):  # noqa: ARG001 -- every finish has the same signature
    return acc


def mean(acc, n):
    return acc / n


def scaled(acc, inverse):
    return acc * inverse


def root_mean(acc, n):
    return np.sqrt(acc / n)


def root_scaled(acc, inverse):
    return np.sqrt(acc * inverse)


def nearest_mean(acc, n):
    """Round half to even; exact while acc and n are exact in their type."""
    return np.rint(acc / n)


def nearest_scaled(acc, inverse):
    return np.rint(acc * inverse)


def nearest_root_mean(acc, n):
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
    return power_of_two(n) or (whole & 1 == 1 and whole < 2**13)


# A finish, its form with 1 / n instead of n (a division costs most of a pass), and when the two give the same value
QUICK = {
    "keep": ("keep", "never"),
    "mean": ("scaled", "power_of_two"),
    "root_mean": ("root_scaled", "power_of_two"),
    "nearest_mean": ("nearest_scaled", "tieless"),
    "nearest_root_mean": ("nearest_root_mean", "never"),
}


# --- loops: each is one pass over a contiguous buffer ----------------------------------------------------------


def fill(target, value, start, stop):
    for j in range(UNSIGNED(start), UNSIGNED(stop)):
        target[j] = value


def copy(target, source, n):
    for j in range(n):
        target[j] = source[j]


def start_row(lift, target, to, x, at, n):
    acc = target.dtype.type
    for j in range(n):
        target[to + j] = lift(acc(x[at + j]))


def start_pair(lift, combine, target, to, x, at, also, n):
    acc = target.dtype.type
    for j in range(n):
        target[to + j] = combine(lift(acc(x[at + j])), lift(acc(x[also + j])))


def add_row(lift, combine, target, to, x, at, n):
    acc = target.dtype.type
    for j in range(n):
        target[to + j] = combine(target[to + j], lift(acc(x[at + j])))


def add_pair(lift, combine, target, to, x, at, also, n):
    acc = target.dtype.type
    for j in range(n):
        target[to + j] = combine(combine(target[to + j], lift(acc(x[at + j]))), lift(acc(x[also + j])))


def stack_row(lift, combine, target, below, x, at, n):
    acc = target.dtype.type
    for j in range(n):
        target[j] = combine(lift(acc(x[at + j])), below[j])


def join(combine, target, to, a, b, n):
    for j in range(n):
        target[to + j] = combine(a[j], b[j])


def append(combine, target, a, b, shift, n):
    for j in range(n):
        target[j] = combine(a[j], b[shift + j])


def append_own(combine, target, b, shift, n):
    for j in range(n):
        target[j] = combine(target[j], b[shift + j])


def split(target, rest, a, channels, n):
    """Part even from odd pixels; LLVM shuffles only where both parts are used and the steps are literal."""
    one, two, three = UNSIGNED(1), UNSIGNED(2), UNSIGNED(3)
    four, six, eight = UNSIGNED(4), UNSIGNED(6), UNSIGNED(8)
    if channels == one:
        for j in range(n):
            target[j] = a[two * j]
            rest[j] = a[two * j + one]
    elif channels == three:
        for j in range(n):
            for e in range(three):
                target[three * j + e] = a[six * j + e]
                rest[three * j + e] = a[six * j + three + e]
    else:
        for j in range(n):
            for e in range(four):
                target[four * j + e] = a[eight * j + e]
                rest[four * j + e] = a[eight * j + four + e]


def pick(target, a, stride, channels, n):
    """Keep every stride-th pixel."""
    if channels == UNSIGNED(1):
        for j in range(n):
            target[j] = a[stride * j]
    else:
        for j in range(n):
            for e in range(channels):
                target[channels * j + e] = a[stride * channels * j + e]


def close(finish, out, to, acc, at, n, count):
    """Finish a contiguous run."""
    closing = type(count)
    for j in range(n):
        out[to + j] = finish(closing(acc[at + j]), count)


def close_pairs(combine, finish, out, to, a, b, at, shift, pitch, length, n, count):
    """Combine two partial windows and finish them: *n* runs of contiguous elements, *pitch* apart."""
    closing = type(count)
    for j in range(n):
        for e in range(length):
            i = at + pitch * j + e
            out[to + length * j + e] = finish(closing(combine(a[i], b[i + shift])), count)


def close_halves(combine, finish, out, to, a, at, channels, n, count):
    """Combine neighbouring pixels, one pair for each pixel of the result, and finish them."""
    closing = type(count)
    one, two, three = UNSIGNED(1), UNSIGNED(2), UNSIGNED(3)
    four, six, eight = UNSIGNED(4), UNSIGNED(6), UNSIGNED(8)
    if channels == one:
        for j in range(n):
            i = at + two * j
            out[to + j] = finish(closing(combine(a[i], a[i + one])), count)
    elif channels == three:
        for j in range(n):
            for e in range(three):
                i = at + six * j + e
                out[to + three * j + e] = finish(closing(combine(a[i], a[i + three])), count)
    else:
        for j in range(n):
            for e in range(four):
                i = at + eight * j + e
                out[to + four * j + e] = finish(closing(combine(a[i], a[i + four])), count)


def close_quads(lift, combine, finish, acc, out, to, x, at, also, channels, n, count):
    """Pool 2 x 2 windows straight from two rows: 1.4 times as fast as through a buffer for 8-bit pictures."""
    closing = type(count)
    one, two, three, six = UNSIGNED(1), UNSIGNED(2), UNSIGNED(3), UNSIGNED(6)
    if channels == one:
        for j in range(n):
            i, k = at + two * j, also + two * j
            a = acc(combine(lift(acc(x[i])), lift(acc(x[k]))))
            b = acc(combine(lift(acc(x[i + one])), lift(acc(x[k + one]))))
            out[to + j] = finish(closing(acc(combine(a, b))), count)
    else:
        for j in range(n):
            for e in range(three):
                i, k = at + six * j + e, also + six * j + e
                a = acc(combine(lift(acc(x[i])), lift(acc(x[k]))))
                b = acc(combine(lift(acc(x[i + three])), lift(acc(x[k + three]))))
                out[to + three * j + e] = finish(closing(acc(combine(a, b))), count)


def close_run(way, combine, finish, out, to, a, b, first, shift, stride, channels, n, count):
    """Finish *n* pixels from window *first* on; *way* says what is left to do to them."""
    if way == PAIRS and stride == UNSIGNED(1):
        close_pairs(combine, finish, out, to, a, b, first * channels, shift, stride, n * channels, UNSIGNED(1), count)
    elif way == PAIRS:
        pitch = stride * channels
        close_pairs(combine, finish, out, to, a, b, first * pitch, shift, pitch, channels, n, count)
    elif way == HALVES:
        close_halves(combine, finish, out, to, b, first * stride * channels, channels, n, count)
    else:
        close(finish, out, to, b, first * channels, n * channels, count)


LOOPS = (
    *(fill, copy, start_row, start_pair, add_row, add_pair, stack_row, join, append, append_own, split, pick),
    *(close, close_pairs, close_halves, close_quads, close_run, power_of_two),
)


# --- the template ----------------------------------------------------------------------------------------------


def fold(lift, combine, finish, quick, applies, *, idempotent):
    """Return the kernel of a fold.

    *quick* and *applies* are as in `QUICK`; *idempotent* (combine(a, a) == a) lets partial windows overlap.
    """

    def kernel(
        x, x_plane, x_row, x_at,
        out, out_plane, out_row, out_at,
        work, identity, one,
        rows, row_kernel, row_stride, row_before, row_counts,
        columns, col_kernel, col_stride, col_dilation, col_before, run_stops, run_counts,
        channels, out_columns, tile, first_out, outs, first, last,
    ):  # fmt: skip
        closing = type(one)
        step = col_dilation * channels
        few = channels == 1 or channels == 3 or channels == 4  # pixels that shuffles part  # noqa: PLR1714 -- a tuple would be searched
        blocks = row_kernel > DIRECT_ROWS + 2 * row_stride
        reach = -(-row_kernel // row_stride)  # output rows of a block: they share one table of suffixes
        square = (
            row_kernel == 2 and col_kernel == 2 and col_stride == 2 and col_dilation == 1
            and (channels == 1 or channels == 3) and run_stops.size == 1  # noqa: PLR1714 -- as above
        )  # fmt: skip
        acc = work.dtype.type
        top = 1  # the highest binary digit of the kernel
        while 2 * top <= col_kernel:
            top *= 2
        widest = top // 2 if top == col_kernel and top > 1 else top  # the widest partial window to make
        folded, prefix, picked, tail = work[FOLDED], work[PREFIX], work[PICKED], work[TAIL]
        for left in range(0, out_columns, tile):
            # One strip of output columns, and the input columns [low, high) that it reads
            right = min(left + tile, out_columns)
            begin = left * col_stride - col_before
            many = (right - left - 1) * col_stride + 1  # windows of stride 1
            span = many * channels + (col_kernel - 1) * step
            low = max(begin, 0)
            high = max(low, min(begin + span // channels, columns))
            n = UNSIGNED((high - low) * channels)
            to = UNSIGNED((low - begin) * channels)
            paired = n >= UNSIGNED(PAIRED)
            quads = square and paired and begin >= 0 and begin + span // channels <= columns
            fill(folded, identity, 0, span)
            block, reached = -1, 0
            for unit in range(first, last):
                plane = unit // outs
                o = first_out + unit - plane * outs
                origin = x_at + plane * x_plane + low * channels
                put = out_at + plane * out_plane + o * out_row
                y = o * row_stride - row_before
                if quads and y >= 0 and y + 1 < rows:
                    at, to_out = UNSIGNED(origin + y * x_row), UNSIGNED(put + left * channels)
                    also, size = UNSIGNED(origin + (y + 1) * x_row), UNSIGNED(right - left)
                    count = closing(max(row_counts[o] * run_counts[0], 1))
                    few_channels = UNSIGNED(channels)
                    if applies(count):
                        close_quads(
                            lift,
                            combine,
                            quick,
                            acc,
                            out,
                            to_out,
                            x,
                            at,
                            also,
                            few_channels,
                            size,
                            closing(one / count),
                        )
                    else:
                        close_quads(lift, combine, finish, acc, out, to_out, x, at, also, few_channels, size, count)
                    continue
                if blocks:
                    # Two stacks: suffix folds of the block's first k rows, and a running prefix of the rows after
                    head = o // reach * reach
                    offset = (o - head) * row_stride
                    base = head * row_stride - row_before
                    if block != unit - o + head:
                        block, reached = unit - o + head, 0
                        fill(prefix, identity, 0, n)
                        for i in range(row_kernel - 1, offset - 1, -1):
                            suffix, y = work[SUFFIXES + i], base + i
                            inside = 0 <= y < rows
                            at = UNSIGNED(origin + y * x_row)
                            if i == row_kernel - 1 and inside:
                                start_row(lift, suffix, UNSIGNED(0), x, at, n)
                            elif i == row_kernel - 1:
                                fill(suffix, identity, 0, n)
                            elif inside:
                                stack_row(lift, combine, suffix, work[SUFFIXES + i + 1], x, at, n)
                            else:
                                copy(suffix, work[SUFFIXES + i + 1], n)
                    while reached < offset:
                        y = base + row_kernel + reached
                        if 0 <= y < rows:
                            add_row(lift, combine, prefix, UNSIGNED(0), x, UNSIGNED(origin + y * x_row), n)
                        reached += 1
                    join(combine, folded, to, work[SUFFIXES + offset], prefix, n)
                else:
                    y = max(o * row_stride - row_before, 0)
                    stop = min(o * row_stride - row_before + row_kernel, rows)
                    at = origin + y * x_row
                    if paired and y + 1 < stop:
                        start_pair(lift, combine, folded, to, x, UNSIGNED(at), UNSIGNED(at + x_row), n)
                        y, at = y + 2, at + 2 * x_row
                    elif y < stop:
                        start_row(lift, folded, to, x, UNSIGNED(at), n)
                        y, at = y + 1, at + x_row
                    else:
                        fill(folded, identity, to, to + n)
                    while paired and y + 1 < stop:
                        add_pair(lift, combine, folded, to, x, UNSIGNED(at), UNSIGNED(at + x_row), n)
                        y, at = y + 2, at + 2 * x_row
                    while y < stop:
                        add_row(lift, combine, folded, to, x, UNSIGNED(at), n)
                        y, at = y + 1, at + x_row
                # Columns: partial windows of 1, 2, 4 ... by doubling; *lower* holds the lower binary digits of k
                source, lower, taken, width = FOLDED, FOLDED, 0, 1
                while True:
                    if not idempotent and col_kernel & width and width < top:
                        size = UNSIGNED(span - (taken + width - 1) * step)
                        shift = UNSIGNED(taken * step)
                        if taken == 0:
                            lower = source
                        elif lower == TAIL:
                            append_own(combine, tail, work[source], shift, size)
                        else:
                            append(combine, tail, work[lower], work[source], shift, size)
                            lower = TAIL
                        taken += width
                    if width == widest:
                        break
                    target = SPARE
                    while target in (source, lower):
                        target += 1
                    size = UNSIGNED(span - (2 * width - 1) * step)
                    append(combine, work[target], work[source], work[source], UNSIGNED(width * step), size)
                    source, width = target, 2 * width
                if idempotent or col_kernel == top:
                    lower, taken = source, col_kernel - width
                # What is left: combine the last two partial windows, keep every stride-th pixel, finish
                shift = UNSIGNED(taken * step)
                if col_kernel > 1 and (col_stride == 1 or not few):
                    way = PAIRS
                elif col_kernel > 1 and col_stride == 2 and lower == source and taken * col_dilation == 1:
                    way = HALVES
                else:
                    way = DONE
                    if col_kernel > 1:
                        target = SPARE
                        while target in (source, lower):
                            target += 1
                        append(combine, work[target], work[lower], work[source], shift, UNSIGNED(many * channels))
                        source = target
                    stride, kept = col_stride, many
                    while stride % 2 == 0 and few:
                        target = SPARE + 1 if source == SPARE else SPARE
                        kept = (kept + 1) // 2
                        split(work[target], picked, work[source], UNSIGNED(channels), UNSIGNED(kept))
                        source, stride = target, stride // 2
                    if stride > 1:
                        pick(picked, work[source], UNSIGNED(stride), UNSIGNED(channels), UNSIGNED(right - left))
                        source = PICKED
                a, b = work[lower], work[source]
                start = left
                for run in range(run_stops.size):  # columns of equal counts
                    stop = min(run_stops[run], right)
                    if start < stop:
                        count = closing(max(row_counts[o] * run_counts[run], 1))
                        where = (UNSIGNED(start - left), shift, UNSIGNED(col_stride), UNSIGNED(channels))
                        to_out, size = UNSIGNED(put + start * channels), UNSIGNED(stop - start)
                        if applies(count):
                            close_run(way, combine, quick, out, to_out, a, b, *where, size, closing(one / count))
                        else:
                            close_run(way, combine, finish, out, to_out, a, b, *where, size, count)
                        start = stop

    return kernel
