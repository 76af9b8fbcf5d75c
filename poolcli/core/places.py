"""How several libraries count the places of values, and the way back."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, guests, layouts
from poolcli.core.geometry import Window, one_of, per_axis
from poolcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from poolcli.core.layouts import Layout
    from poolcli.core.methods import Method

    Array = NDArray[Any]


def check(method: Method, window: Window) -> None:
    """Raise `UsageError` where results do not each stand at a place of the input."""
    if not method.extreme:
        raise UsageError(f"indices must be of max or min, got {method.token!r}")
    if window.pad_mode not in {None, "identity"}:
        raise UsageError(
            f"indices must be of the input's elements, got pad_mode {window.pad_mode!r}", "drop one of the two"
        )


def counted(found: Array, index_layout: str, layout: Layout, shape: tuple[int, ...]) -> Array:
    """Return indices *found* in the planes of an input of *shape* as a library counts.

    torch counts in each plane, onnx through all of them, tf through one picture whose channels come last.
    """
    if index_layout == "torch":
        return found
    factor, first = _counting(index_layout, layout, shape)
    return np.where(found < 0, -1, found * factor + first)


def _counting(index_layout: str, layout: Layout, shape: tuple[int, ...]) -> tuple[int, Any]:
    """Return what an index in its plane is multiplied by, and what is added to it, which broadcasts to the result."""
    one_of("index_layout", index_layout, layouts.INDEX_LAYOUTS)
    if index_layout == "torch":
        return 1, 0
    order = _planes_first(layout)
    lengths = [1 if axis in layout.pooled else shape[axis] for axis in order]
    plane = np.arange(prod(lengths)).reshape(lengths).transpose(np.argsort(order))
    if index_layout == "onnx":
        return 1, plane * prod(shape[axis] for axis in layout.pooled)
    channels = dict(zip(layout.letters, shape, strict=True)).get("C", 1)
    return channels, plane % channels


def _planes_first(layout: Layout) -> list[int]:
    """Return the axes as batches, channels, pooled ones."""
    return sorted(range(len(layout.letters)), key=lambda axis: (axis in layout.pooled, layout.letters[axis] == "C"))


def unpool(
    values: ArrayLike,
    indices: ArrayLike,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    output_size: Any = None,
    layout: str | None = None,
    index_layout: str = "torch",
) -> Any:
    """Put pooled values back where they stood, and zero everywhere else.

    Parameters
    ----------
    values, indices
        As `poolcli.pool` returns them with ``indices=True``; other values of the same shape go the same way.
    kernel, stride, padding
        Of that pooling: they tell the size of the result, (n - 1) * stride - padding + kernel.
    output_size
        Length of each pooled axis, or the whole shape, where the input was longer or shorter by less than a stride.
    layout, index_layout
        As in `poolcli.pool`.

    Returns
    -------
    numpy.ndarray
        Of the dtype of *values*. Where several have one index, the last in scan order stays.

    Raises
    ------
    poolcli.PoolError
        The shapes differ, an index lies outside its plane, or the size is none that such a window pools.
    """
    guest = guests.taken(values)
    array, found = guest.array, guests.taken(indices).array
    resolved = layouts.resolve(layout or guest.layout, array.shape)
    size = _size(Window(kernel, stride, padding), resolved, array.shape, output_size)
    return guest.back(restored(array, found, resolved, size, index_layout=index_layout))


def _size(window: Window, layout: Layout, shape: tuple[int, ...], asked: Any) -> tuple[int, ...]:
    """Return the lengths of the pooled axes that were, or those *asked* for if they may have been."""
    window = window.over(len(layout.pooled))
    if isinstance(window.padding, str):
        raise UsageError(f"padding must be numbers to unpool, got {window.padding!r}")
    each = zip((shape[axis] for axis in layout.pooled), window.kernel, window.stride, window.padding, strict=True)
    usual = tuple((n - 1) * stride - sum(pad) + kernel for n, kernel, stride, pad in each)
    size = usual if asked is None else per_axis("output_size", asked, least=1)
    if len(size) == len(shape):
        size = tuple(size[axis] for axis in layout.pooled)
    elif len(size) == 1:
        size *= len(usual)
    near = len(size) == len(usual) and all(
        n >= 1 and abs(n - m) < stride for n, m, stride in zip(size, usual, window.stride, strict=True)
    )
    if not near:
        wanted, strides, got = ("x".join(map(str, each)) for each in (usual, window.stride, size))
        raise InputError(f"output_size must differ from {wanted} by less than the stride {strides}, got {got}")
    return size


def restored(
    values: Array,
    indices: Array,
    layout: Layout,
    size: tuple[int, ...],
    *,
    of: tuple[int, ...] | None = None,
    index_layout: str = "torch",
) -> Array:
    """Return zeros of the pooled lengths *size* with each value at its index, in planes of lengths *of*, or these."""
    if indices.shape != values.shape or indices.dtype.kind not in "iu":
        got = f"{indices.dtype.name} {indices.shape}"
        raise InputError(f"indices must be whole numbers of the values' shape {values.shape}, got {got}")
    of, axes = of or size, _planes_first(layout)
    factor, first = _counting(index_layout, layout, layout.replaced(values.shape, of))
    place, rest = np.divmod(indices.astype(np.int64) - first, factor)
    if (wrong := (place < 0) | (place >= prod(of)) | (rest != 0)).any():
        within = "x".join(map(str, of))
        raise InputError(f"indices must lie in their plane of {within} elements, got {indices[wrong].flat[0]}")
    if of != size:
        at = np.unravel_index(place, of)
        if any((each >= length).any() for each, length in zip(at, size, strict=True)):
            raise InputError(
                f"size must hold every value's place in {'x'.join(map(str, of))}, got {'x'.join(map(str, size))}"
            )
        place = np.ravel_multi_index(at, size)
    planes = [values.shape[axis] for axis in axes[: -len(size)]]
    result = np.zeros((*planes, *size), dtypes.supported(values.dtype))
    flat = place.transpose(axes).reshape(prod(planes), -1) + np.arange(prod(planes))[:, None] * prod(size)
    result.reshape(-1)[flat.ravel()] = values.transpose(axes).ravel()  # NumPy keeps the last of equal indices
    return np.ascontiguousarray(result.transpose(np.argsort(axes)))
