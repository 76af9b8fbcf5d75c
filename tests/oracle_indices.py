"""Where maxima and minima come from, and the way back: by loops, as the oracle pools."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import oracle


def indices(
    array,
    method,
    kernel=None,
    stride=None,
    padding=None,
    *,
    dilation=None,
    ceil=False,
    to=None,
    to_rule="adaptive",
    samples=None,
):
    """Return where each maximum (or minimum) stands in its plane, counted in scan order.

    The first of equals wins, and the last NaN over everything; a window of padding alone has -1.
    """
    window = {"stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil, "edge": None}
    irregular = {"to": to, "to_rule": to_rule, "samples": samples}
    axes = oracle.axes_of(array, kernel, **window, pad_mode="identity", **irregular)
    result = []
    for plane, _ in oracle.planes_of(array, None, len(axes)):
        at = oracle.by_position(plane)
        places = {position: number for number, position in enumerate(at)}
        for each in product(*axes):
            positions = list(product(*(axis.real for axis in each)))
            result.append(places.get(winner(positions, at, largest=method == "max"), -1))
    return np.array(result, "int64").reshape(*array.shape[: array.ndim - len(axes)], *map(len, axes))


def winner(positions, at, *, largest):
    """Return the position that wins, or None of none."""
    missing = [position for position in positions if at[position] != at[position]]
    if missing:
        return missing[-1]
    values = {at[position] for position in positions}
    best = max(values, default=None) if largest else min(values, default=None)
    return next((position for position in positions if at[position] == best), None)


def in_layout(found, layout, shape):
    """Return PyTorch's indices of a result in (N, C, ...) as another peer counts, for the shape of its input.

    ONNX counts through the whole tensor, down the columns with `onnx-columns` (its storage_order=1); TensorFlow
    through one picture whose channels come last.
    """
    size, channels = math.prod(shape[2:]), shape[1]
    numbers = found.copy()
    for batch, channel in np.ndindex(shape[:2]):
        plane = numbers[batch, channel]
        there = plane >= 0
        if layout == "onnx-columns":
            plane[there] = [
                np.ravel_multi_index(np.unravel_index(i, shape[2:])[::-1], shape[:1:-1]) for i in plane[there]
            ]
        if layout.startswith("onnx"):
            plane[there] += (batch * channels + channel) * size
        elif layout == "tf":
            plane[there] = plane[there] * channels + channel
    return numbers


def unpool(values, found, size):
    """Return zeros of the size with each value at its index; of several the last in scan order stays."""
    count = len(size)
    planes = values.shape[: values.ndim - count]
    result = np.zeros((*planes, math.prod(size)), values.dtype)
    for plane in np.ndindex(planes):
        for value, place in zip(values[plane].reshape(-1), found[plane].reshape(-1).tolist(), strict=True):
            if not 0 <= place < math.prod(size):
                raise IndexError(place)
            result[plane][place] = value
    return result.reshape(*planes, *size)
