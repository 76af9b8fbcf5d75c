"""Pooling by explicit loops over Python numbers: slow, obvious, and without a line of poolcli.

Every rule is stated by what it means (which windows exist, which positions they touch), not by a formula,
so that a mistake in a formula cannot be made twice. Integers are Python integers and never overflow; a
rounding to an integer dtype is decided by fractions.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np

NO_PADDING = ((0, 0), (0, 0))


class TooSmallError(Exception):
    """No window fits."""


class Axis(NamedTuple):
    """One axis and the window on it."""

    length: int
    kernel: int
    stride: int
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil: bool = False


class Taps(NamedTuple):
    """What one window touches on one axis: the real positions, and how many of them and of padding."""

    real: list[int]
    padded_count: int


def window_count(axis):
    """Return how many windows there are; a window larger than the padded axis has no place on it.

    The last one starts at the largest multiple of the stride from which a window stays inside the padded
    axis (floor), or at the smallest from which it reaches the end (ceil), unless that one would start in the
    padding after the input.
    """
    room = axis.before + axis.length + axis.after - (axis.dilation * (axis.kernel - 1) + 1)
    if room < 0:
        raise TooSmallError(axis)
    last = 0
    while (last + 1) * axis.stride <= room:
        last += 1
    if axis.ceil and last * axis.stride < room:
        last += 1
        if last * axis.stride - axis.before >= axis.length:
            last -= 1
    return last + 1


def same_padding(length, kernel, stride, dilation, *, lower=False):
    """Return (before, after): a window starts at every stride-th element and the last one just fits."""
    last_start = list(range(0, length, stride))[-1]
    end = last_start + [tap * dilation for tap in range(kernel)][-1] + 1
    missing = end - length if end > length else 0
    small = missing // 2
    return (missing - small, small) if lower else (small, missing - small)


def axis_taps(axis):
    """Return the taps of every window of one axis."""
    windows = []
    for number in range(window_count(axis)):
        taps = [number * axis.stride - axis.before + tap * axis.dilation for tap in range(axis.kernel)]
        real = [position for position in taps if 0 <= position < axis.length]
        windows.append(Taps(real, len([position for position in taps if position < axis.length + axis.after])))
    return windows


def result_dtype(method, dtype):
    """Return what the library gives for an input dtype when none is asked for."""
    kind = np.dtype(dtype).kind
    if method in {"max", "min"} or kind == "f":
        return np.dtype(dtype).newbyteorder("=")
    if method == "sum":
        return np.dtype("int64" if kind == "i" else "uint64")
    return np.dtype("float64")


def extreme(values, dtype, *, largest):
    """Return the largest or smallest value, NaN if there is one, and the other end of the dtype for none."""
    best = lowest(dtype) if largest else highest(dtype)
    for value in values:
        if value != value:  # noqa: PLR0124 (only NaN differs from itself)
            return value
        if (value > best) if largest else (value < best):
            best = value
    return best


def lowest(dtype):
    """Return the smallest value of a dtype."""
    return {"b": lambda: 0, "f": lambda: -math.inf}.get(dtype.kind, lambda: int(np.iinfo(dtype).min))()


def highest(dtype):
    """Return the largest value of a dtype."""
    return {"b": lambda: 1, "f": lambda: math.inf}.get(dtype.kind, lambda: int(np.iinfo(dtype).max))()


def total(values):
    """Return the sum, one addition after the other (the built-in sum may compensate)."""
    result = 0
    for value in values:
        result += value
    return result


def mean_square(values, count):
    """Return the mean of squares, exactly where that is possible."""
    return exact_quotient(total([value * value for value in values]), count)


def exact_quotient(value, count):
    """Return value / count as a fraction, or as the float it is when it is not finite."""
    return Fraction(value) / count if math.isfinite(value) else value / count


def window_value(method, values, count, dtype):
    """Return one output: a Python number, or for avg and l2 a fraction (l2 still squared)."""
    if method in {"max", "min"}:
        return extreme(values, dtype, largest=method == "max")
    if method == "sum":
        return total(values)
    if not values:
        return Fraction(0)
    return exact_quotient(total(values), count) if method == "avg" else mean_square(values, count)


def as_float(method, value):
    """Return the float64 nearest to a window's value."""
    return math.sqrt(value) if method == "l2" else float(value)


def as_integer(method, value, dtype):
    """Return a window's value rounded half to even and saturated; NaN has no integer."""
    low, high = lowest(dtype), highest(dtype)
    if not math.isfinite(value):
        if math.isnan(value):
            raise ValueError(value)
        return high if value > 0 else low
    return min(max(root_half_even(value) if method == "l2" else round(Fraction(value)), low), high)


def root_half_even(value):
    """Return the square root of a fraction rounded half to even, by comparing squares."""
    below = math.isqrt(math.floor(value))
    middle = (below + Fraction(1, 2)) ** 2
    return below + 1 if value > middle or (value == middle and below % 2) else below


def pool_plane(plane, method, rows, columns, dtype, *, count_include_pad):
    """Return the windows' values of one plane, row by row."""
    values = []
    for row, column in product(rows, columns):
        touched = [plane[y][x] for y in row.real for x in column.real]
        count = row.padded_count * column.padded_count if count_include_pad else len(touched)
        values.append(window_value(method, touched, count, dtype))
    return values


def stored(method, values, dtype):
    """Return the windows' values as an array: floats rounded to float64 and then to the dtype."""
    if dtype.kind != "f":
        return np.array([as_integer(method, value, dtype) for value in values], dtype)
    with np.errstate(over="ignore"):
        return np.array([as_float(method, value) for value in values], "f8").astype(dtype)


def pool(
    array,
    method,
    kernel,
    stride=None,
    padding=NO_PADDING,
    *,
    dilation=(1, 1),
    ceil=False,
    count_include_pad=False,
    dtype=None,
):
    """Return the pooled array of (..., H, W); every window argument is one value (or pair) per axis."""
    array = np.asarray(array)
    per_axis = zip(array.shape[-2:], kernel, stride or kernel, padding, dilation, strict=True)
    rows, columns = (axis_taps(Axis(n, k, s, *pads, d, ceil)) for n, k, s, pads, d in per_axis)
    target = np.dtype(dtype) if dtype else result_dtype(method, array.dtype)
    numbers = array.astype("u1") if array.dtype == bool else array
    values = []
    for plane in numbers.reshape(-1, *array.shape[-2:]).tolist():
        values += pool_plane(plane, method, rows, columns, array.dtype, count_include_pad=count_include_pad)
    return stored(method, values, target).reshape(*array.shape[:-2], len(rows), len(columns))
