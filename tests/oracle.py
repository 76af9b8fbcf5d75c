"""Pooling by explicit loops over Python numbers: slow, obvious, and without a line of poolcli.

Every rule is stated by what it means (which windows exist, which positions they touch), not by a formula,
so that a mistake in a formula cannot be made twice. Integers are Python integers and never overflow; a
rounding to an integer dtype is decided by fractions. `oracle_methods` has what a method makes of a window.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np
from exact import Root, root_value
from oracle_methods import Window, highest, lowest, window_value

BLURS = {"blur", "maxblur"}
CHOOSE = {"max", "min", "mode", "first", "center", "median:lower"}  # results are elements of the input
ROUND = {"even": round, "up": lambda value: math.floor(value + Fraction(1, 2)), "floor": math.floor}


class TooSmallError(Exception):
    """No window fits."""


class UnevenError(Exception):
    """The windows do not end where the axis ends, and that was asked for."""


class EmptyWindowError(Exception):
    """An integer result has no value for a window without an element to pick."""


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
    """What one window touches on one axis.

    The elements that are there (by position) and which of the taps they are; how many of them and of padding;
    how many taps the window has; and the share of each element that lies in it, where that can be a part.
    """

    real: list[int]
    padded_count: int
    numbers: list[int]
    kernel: int
    shares: list[Fraction] | None = None


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


def axis_taps(axis, pad_mode="identity"):
    """Return the taps of every window of one axis.

    Padding of a mode other than `identity` is elements: with `zero` they stay outside the input, with the
    others they are copies of those inside. What lies past the padding is never there.
    """
    stands_for = {position: position for position in range(axis.length)}
    if pad_mode != "identity":
        pads = range(-axis.before, axis.length + axis.after)
        stands_for = dict(zip(pads, copies(axis, pad_mode), strict=True))
    windows = []
    for number in range(window_count(axis)):
        taps = [number * axis.stride - axis.before + tap * axis.dilation for tap in range(axis.kernel)]
        numbers = [tap for tap, position in enumerate(taps) if position in stands_for]
        padded_count = len([position for position in taps if position < axis.length + axis.after])
        windows.append(Taps([stands_for[taps[tap]] for tap in numbers], padded_count, numbers, axis.kernel))
    return windows


def copies(axis, pad_mode):
    """Return which element stands at each position of the padded axis."""
    if pad_mode == "zero":
        return range(-axis.before, axis.length + axis.after)
    return np.pad(np.arange(axis.length), (axis.before, axis.after), pad_mode).tolist()


def span(start, stop):
    """Return the taps of a window of neighbours."""
    return Taps(list(range(start, stop)), stop - start, list(range(stop - start)), stop - start)


def adaptive_taps(length, out):
    """Return PyTorch's windows: every element that the out-th part of the axis touches."""
    return [
        span(math.floor(Fraction(number * length, out)), math.ceil(Fraction((number + 1) * length, out)))
        for number in range(out)
    ]


def area_taps(length, out):
    """Return the same windows with the share of each element that lies in that part."""
    windows = []
    for number, taps in enumerate(adaptive_taps(length, out)):
        start, stop = Fraction(number * length, out), Fraction((number + 1) * length, out)
        shares = [min(stop, position + 1) - max(start, position) for position in taps.real]
        windows.append(taps._replace(shares=shares))
    return windows


def fractional_taps(length, out, kernel, sample, dtype):
    """Return PyTorch's windows for a sample in [0, 1), by steps of the tensor's own float type."""
    if out + kernel - 1 > length:
        raise TooSmallError(length, out, kernel)
    real = dtype.type if dtype.kind == "f" else np.float64
    starts = []
    if out > 1:
        step, sample = real(length - kernel) / real(out - 1), real(sample)
        starts = [int((real(number) + sample) * step) - int(sample * step) for number in range(out - 1)]
    return [span(start, start + kernel) for start in [*starts, length - kernel]]


def result_dtype(method, dtype):
    """Return what the library gives for an input dtype when none is asked for."""
    dtype = np.dtype(dtype).newbyteorder("=")
    if method in CHOOSE or method.partition(":")[0] == "mode" or method.count(":") == 2 or dtype.kind == "f":
        return dtype
    if method in {"sum", "prod"}:
        return np.dtype("int64" if dtype.kind == "i" else "uint64")
    if method == "range":
        return np.dtype(f"uint{8 * dtype.itemsize}")  # holds every difference
    return np.dtype("float64")


def as_float(value):
    """Return the float64 nearest to a window's value; a square root is that of the nearest float64."""
    if value is None:
        return math.nan
    if isinstance(value, Root):
        return math.sqrt(as_float(value.radicand)) if value.degree == 2 else as_float(root_value(value))
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def as_integer(value, dtype, rounding):
    """Return a window's value rounded once and saturated; NaN has no integer."""
    low, high = lowest(dtype), highest(dtype)
    if value is None:
        raise EmptyWindowError
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise ValueError(value)
        return high if value > 0 else low
    number = root_value(value) if isinstance(value, Root) else Fraction(value)
    return min(max(ROUND[rounding](number), low), high)


def stored(values, dtype, rounding="even"):
    """Return the windows' values as an array: floats rounded to float64 and then to the dtype."""
    if dtype.kind != "f":
        return np.array([as_integer(value, dtype, rounding) for value in values], dtype)
    with np.errstate(over="ignore"):
        return np.array([as_float(value) for value in values], "f8").astype(dtype)


def by_position(plane):
    """Return the Python number at each position."""
    return dict(zip(np.ndindex(plane.shape), plane.reshape(-1).tolist(), strict=True))


def divide_by(divisor, axes, weights):
    """Return what a mean divides by: the weights that are there, with padding (each weighs one), or a number."""
    if divisor not in {"valid", "window"}:
        return Fraction(divisor)
    there = sum(weights)
    if divisor == "window":
        there += math.prod(axis.padded_count for axis in axes) - math.prod(len(axis.real) for axis in axes)
    return there


def windows_of(plane, weights, dtype, axes, divisor, filter_taps):
    """Return the windows of one plane, in the order of the outputs."""
    numbers, weight_at = by_position(plane), {} if weights is None else by_position(weights)
    for each in product(*axes):
        positions = list(product(*(axis.real for axis in each)))
        every = weights_in(each, positions, weight_at)
        there = [number for number, weight in enumerate(every) if weight]
        weight = [every[number] for number in there]
        yield Window(
            values=[numbers.get(positions[number], 0) for number in there],
            weights=weight,
            there=there,
            numbers=[axis.numbers for axis in each],
            kernel=tuple(axis.kernel for axis in each),
            divisor=divide_by(divisor, each, weight),
            dtype=dtype,
            filter=filter_taps,
        )


def weights_in(axes, positions, weight_at):
    """Return the weight of each position (1 unless given) times the share of it that lies in the window."""
    weights = [1] * len(positions)
    if weight_at:
        weights = [Fraction(weight_at.get(position, 1)) for position in positions]
    if not axes[0].shares:
        return weights
    shares = product(*(axis.shares for axis in axes))
    return [weight * math.prod(share) for weight, share in zip(weights, shares, strict=True)]


def regular_axes(lengths, kernel, stride, padding, dilation, *, ceil, edge, pad_mode):
    """Return the taps of each axis for a window that steps over it."""
    stride, dilation = stride or kernel, dilation or (1,) * len(kernel)
    if padding is None:
        padding = ((0, 0),) * len(kernel)
    elif isinstance(padding, str):
        each = zip(lengths, kernel, stride, dilation, strict=True)
        padding = [same_padding(*axis, lower=padding == "same-lower") for axis in each]
    axes = [
        Axis(n, k, s, *pads, d, ceil or edge == "partial")
        for n, k, s, pads, d in zip(lengths, kernel, stride, padding, dilation, strict=True)
    ]
    return [axis_taps(at_the_edge(axis, edge), pad_mode) for axis in axes]


def at_the_edge(axis, edge):
    """Return the axis, shown to be even with `error`, with one window over an input too small with `partial`."""
    reach = axis.dilation * (axis.kernel - 1) + 1
    room = axis.before + axis.length + axis.after - reach
    if edge == "error" and room >= 0 and room % axis.stride:
        raise UnevenError(axis)
    if edge == "partial" and room < 0:
        return axis._replace(kernel=1 + (axis.before + axis.length + axis.after - 1) // axis.dilation)
    return axis


def irregular_axes(lengths, to, to_rule, kernel, samples, dtype):
    """Return the taps of each axis for a result of a given size."""
    if to_rule == "fractional":
        each = zip(lengths, to, kernel, samples, strict=True)
        return [fractional_taps(*axis, dtype) for axis in each]
    taps = {"adaptive": adaptive_taps, "area": area_taps}[to_rule]
    return [taps(length, out or length) for length, out in zip(lengths, to, strict=True)]


def axes_of(array, kernel, *, to, to_rule, samples, **window):
    """Return the taps of each pooled axis: the last ones, as many as the kernel or the target size has."""
    lengths = array.shape[array.ndim - len(to or kernel) :]
    if to:
        return irregular_axes(lengths, to, to_rule, kernel, samples, array.dtype)
    return regular_axes(lengths, kernel, **window)


def blur_padding(kernel, dilation):
    """Return half of the window before and after, on each axis."""
    return [((d * (k - 1) + 1) // 2,) * 2 for k, d in zip(kernel, dilation or (1,) * len(kernel), strict=True)]


def pool(
    array,
    method,
    kernel=None,
    stride=None,
    padding=None,
    *,
    dilation=None,
    ceil=False,
    count_include_pad=False,
    dtype=None,
    divisor=None,
    edge=None,
    pad_mode=None,
    rounding="even",
    to=None,
    to_rule="adaptive",
    samples=None,
    weights=None,
    filter=None,
):
    """Return the array pooled along its last axes; every window argument has one value (or pair) per axis.

    `filter` is the window of weights of `weighted` and `gated`; `samples` one number per axis for `fractional`.
    """
    array = np.asarray(array)
    if method.partition(":")[0] in BLURS:
        padding = blur_padding(kernel, dilation) if padding is None else padding
        pad_mode = pad_mode or "reflect"
    if method == "maxblur":  # the maxima keep the size: a window of padding that stands for nothing
        ones = (1,) * len(kernel)
        array = pool(array, "max", kernel, ones, "same", dilation=dilation, weights=weights)
    window = {"stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil, "edge": edge}
    window |= {"pad_mode": pad_mode or "identity", "to": to, "to_rule": to_rule, "samples": samples}
    axes = axes_of(array, kernel, **window)
    divisor = divisor or ("window" if count_include_pad else "valid")
    values = [
        window_value(method, each)
        for plane, weight in planes_of(array, weights, len(axes))
        for each in windows_of(plane, weight, array.dtype, axes, divisor, filter)
    ]
    target = np.dtype(dtype) if dtype else result_dtype(method, array.dtype)
    return stored(values, target, rounding).reshape(*array.shape[: array.ndim - len(axes)], *map(len, axes))


def arguments_of(arguments):
    """Return keyword arguments of `poolcli.pool` as those of this `pool`."""
    return {"samples" if name == "seed" else name: value for name, value in arguments.items() if name != "layout"}


def planes_of(array, weights, count):
    """Return each plane of the last axes with its weights, which are broadcast to the array."""
    numbers = array.astype("u1") if array.dtype == bool else array
    shape = array.shape[array.ndim - count :]
    flat = numbers.reshape(-1, *shape)
    if weights is None:
        return [(plane, None) for plane in flat]
    return list(zip(flat, np.broadcast_to(weights, array.shape).reshape(-1, *shape), strict=True))
