"""How each peer is called: set-up beforehand, then a call without arguments into touched memory.

The functions named in `peers.ADAPTERS` take the input, in the axes of its case, and the case. Libraries are
imported by name, inside functions: none of them is a dependency.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core.layouts import Layout
from poolcli.measure import onnxmodel
from poolcli.measure.peers import planar

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolcli.measure.cases import Case
    from poolcli.measure.peers import Adapter

    Array = NDArray[Any]


class Prepared(NamedTuple):
    """A call to be timed, and how to see what it returned as an array in the axes of the case."""

    call: Callable[[], object]
    values: Callable[[object], Array]


def prepare(adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Return the call of *adapter* on *array*, ready to be timed."""
    make: Callable[[Adapter, Array, Case], Prepared] = globals()[adapter.prepare]
    return make(adapter, array, case)


def touched(shape: tuple[int, ...], dtype: str) -> Array:
    """Return an array whose memory has been written, so that no page fault falls into a timed call."""
    array = np.empty(shape, dtype)
    array.fill(0)
    return array


def nchw(array: Array, letters: str) -> Array:
    """View *array* of axes *letters* as batch, channels, rows, columns."""
    full = _with_all_axes(letters)
    lengths = dict(zip(letters, array.shape, strict=True))
    return array.reshape([lengths.get(letter, 1) for letter in full]).transpose([full.index(axis) for axis in "NCHW"])


def from_nchw(array: Array, letters: str) -> Array:
    """View *array* of batch, channels, rows, columns with the axes *letters*."""
    full = _with_all_axes(letters)
    missing = tuple(i for i, letter in enumerate(full) if letter not in letters)
    return array.transpose(["NCHW".index(letter) for letter in full]).squeeze(missing)


def _with_all_axes(letters: str) -> str:
    return "".join(letter for letter in "NC" if letter not in letters) + letters


# PyTorch


class _Torch:
    """Tensors in the memory format of the row, and the arguments that both pooling calls share."""

    def __init__(self, adapter: Adapter, array: Array, case: Case) -> None:
        self.torch: Any = import_module("torch")
        self.torch.set_num_threads(case.threads)
        form = {"contiguous": "contiguous_format", "channels_last": "channels_last"}[adapter.format]
        memory_format = getattr(self.torch, form)
        x = nchw(array, case.size.layout)
        source = self.torch.from_numpy(x)
        like = {"dtype": source.dtype, "memory_format": memory_format}
        # a view with axes of length 1 has strides that PyTorch takes for another format, and then converts each time
        self.x = self.torch.empty(x.shape, **like).copy_(source)
        self.out = self.torch.empty((*x.shape[:2], *case.plan.out), **like).zero_()
        self.letters = case.size.layout
        window = case.window
        self.place = (window.kernel, window.stride, [axis.before for axis in case.plan.axes])
        self.dilation, self.ceil = window.dilation, window.ceil
        self.count_include_pad = window.count_include_pad

    def values(self, _returned: object) -> Array:
        return from_nchw(self.out.numpy(), self.letters)

    def largest(self, x: Any) -> Callable[[], object]:
        # the public max_pool2d allocates its result anew each time
        pool = self.torch._C._nn.max_pool2d_with_indices  # noqa: SLF001 -- the only door to out=
        into = (self.out, self.torch.zeros_like(self.out, dtype=self.torch.int64))
        return lambda: pool(x, *self.place, self.dilation, self.ceil, out=into)

    def mean(self, x: Any, divisor: int | None = None) -> Callable[[], object]:
        pool = self.torch.nn.functional.avg_pool2d
        return lambda: pool(x, *self.place, self.ceil, self.count_include_pad, divisor, out=self.out)


def torch_max(adapter: Adapter, array: Array, case: Case) -> Prepared:
    """``max_pool2d`` into its output and indices."""
    torch = _Torch(adapter, array, case)
    return Prepared(torch.largest(torch.x), torch.values)


def torch_min(adapter: Adapter, array: Array, case: Case) -> Prepared:
    """``max_pool2d`` between two reversals of the order."""
    torch = _Torch(adapter, array, case)
    reverse = torch.torch.neg if torch.x.is_floating_point() else torch.torch.bitwise_not
    reversed_x = torch.torch.zeros_like(torch.x)
    pool = torch.largest(reversed_x)

    def call() -> None:
        reverse(torch.x, out=reversed_x)
        pool()
        reverse(torch.out, out=torch.out)

    return Prepared(call, torch.values)


def torch_avg(adapter: Adapter, array: Array, case: Case) -> Prepared:
    """``avg_pool2d`` into its output."""
    torch = _Torch(adapter, array, case)
    return Prepared(torch.mean(torch.x), torch.values)


def torch_sum(adapter: Adapter, array: Array, case: Case) -> Prepared:
    """``avg_pool2d`` that divides by one."""
    torch = _Torch(adapter, array, case)
    return Prepared(torch.mean(torch.x, 1), torch.values)


def torch_l2(adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Square, ``avg_pool2d``, root: less work than ``lp_pool2d``, which does the same and more."""
    torch = _Torch(adapter, array, case)
    squares = torch.torch.zeros_like(torch.x)
    pool = torch.mean(squares)

    def call() -> None:
        torch.torch.mul(torch.x, torch.x, out=squares)
        pool()
        torch.out.sqrt_()

    return Prepared(call, torch.values)


# onnxruntime


class _Onnx:
    """A session bound to its input and output; it holds both, for the binding knows only their addresses."""

    def __init__(self, array: Array, case: Case, nodes: tuple[onnxmodel.Node, ...]) -> None:
        ort: Any = import_module("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = case.threads
        options.log_severity_level = 3
        # its threads would go on spinning into the next contender's call
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.letters = case.size.layout
        self.x = np.ascontiguousarray(nchw(array, self.letters))
        self.out = touched((*self.x.shape[:2], *case.plan.out), case.size.dtype)
        model = onnxmodel.model(nodes, case.size.dtype, self.x.shape, self.out.shape)
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        x, out = self.x, self.out
        self.binding.bind_input("x", "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)
        self.binding.bind_output("y", "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)

    def call(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def values(self, _returned: object) -> Array:
        return from_nchw(self.out, self.letters)


def _onnx(array: Array, case: Case, *nodes: onnxmodel.Node) -> Prepared:
    bound = _Onnx(array, case, nodes)
    return Prepared(bound.call, bound.values)


def _onnx_window(case: Case) -> dict[str, onnxmodel.Value]:
    window, axes = case.window, case.plan.axes
    return {
        "kernel_shape": list(window.kernel),
        "strides": list(window.stride),
        "dilations": list(window.dilation),
        "pads": [*(axis.before for axis in axes), *(axis.after for axis in axes)],
    }


def onnx_max(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """MaxPool."""
    return _onnx(array, case, onnxmodel.Node("MaxPool", ("x",), "y", _onnx_window(case)))


def onnx_min(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """MaxPool between two negations."""
    return _onnx(
        array,
        case,
        onnxmodel.Node("Neg", ("x",), "negative", {}),
        onnxmodel.Node("MaxPool", ("negative",), "largest", _onnx_window(case)),
        onnxmodel.Node("Neg", ("largest",), "y", {}),
    )


def onnx_avg(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """AveragePool."""
    attributes = {**_onnx_window(case), "count_include_pad": int(case.window.count_include_pad)}
    return _onnx(array, case, onnxmodel.Node("AveragePool", ("x",), "y", attributes))


def onnx_l2(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """LpPool is the root of the sum: divide by the root of the count."""
    root = math.sqrt(math.prod(case.window.kernel))
    return _onnx(
        array,
        case,
        onnxmodel.Node("LpPool", ("x",), "norm", {**_onnx_window(case), "p": 2}),
        onnxmodel.Node("Constant", (), "scale", {"value_float": 1 / root}),
        onnxmodel.Node("Mul", ("norm", "scale"), "y", {}),
    )


# OpenCV


def _pictures(array: Array, case: Case) -> list[Array]:
    """View *array*, of the layout of *case*, as the pictures it consists of: (H, W) or (H, W, C)."""
    if planar(case):
        return list(array.reshape(-1, *array.shape[-2:]))
    if array.shape[-1] == 1:
        return list(array.reshape(-1, *array.shape[-3:-1]))
    return list(array.reshape(-1, *array.shape[-3:]))


def _kernel(case: Case) -> tuple[int, int]:
    rows, columns = case.window.kernel
    return rows, columns


def _opencv(case: Case) -> Any:
    cv2 = import_module("cv2")
    cv2.setNumThreads(case.threads)
    return cv2


def _each(do: Callable[[Array, Array], object], sources: list[Array], targets: list[Array]) -> Callable[[], object]:
    pairs = list(zip(sources, targets, strict=True))

    def call() -> None:
        for source, target in pairs:
            do(source, target)

    return call


def _valid(case: Case) -> tuple[slice, ...]:
    """Where the outputs of *case* lie in a result at stride 1 whose windows are centred, as (rows, columns)."""
    axes = case.plan.axes
    return tuple(slice(a.kernel // 2, a.kernel // 2 + (a.out - 1) * a.stride + 1, a.stride) for a in axes)


def _placed(case: Case, slices: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return *slices* of rows and columns as an index of an array of the layout of *case*."""
    index = [slice(None)] * len(case.size.shape)
    for axis, taken in zip(Layout(case.size.layout).pooled, slices, strict=True):
        index[axis] = taken
    return tuple(index)


def _opencv_filter(array: Array, case: Case, do: Callable[[Array, Array], object]) -> Prepared:
    full = touched(array.shape, case.size.dtype)
    call = _each(do, _pictures(array, case), _pictures(full, case))
    return Prepared(call, lambda _: full[_placed(case, _valid(case))])


def opencv_dilate(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Largest of the neighbourhood."""
    cv2, element = _opencv(case), np.ones(_kernel(case), np.uint8)
    return _opencv_filter(array, case, lambda x, y: cv2.dilate(x, element, dst=y))


def opencv_erode(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Smallest of the neighbourhood."""
    cv2, element = _opencv(case), np.ones(_kernel(case), np.uint8)
    return _opencv_filter(array, case, lambda x, y: cv2.erode(x, element, dst=y))


def opencv_blur(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Mean of the neighbourhood."""
    cv2, size = _opencv(case), _kernel(case)[::-1]
    return _opencv_filter(array, case, lambda x, y: cv2.blur(x, size, dst=y))


def opencv_sum(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Sum of the neighbourhood."""
    cv2, size = _opencv(case), _kernel(case)[::-1]
    return _opencv_filter(array, case, lambda x, y: cv2.boxFilter(x, -1, size, dst=y, normalize=False))


def opencv_l2(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Square, mean, root, each in single precision: ``sqrBoxFilter`` would widen to float64."""
    cv2, size = _opencv(case), _kernel(case)[::-1]

    def do(x: Array, y: Array) -> None:
        cv2.multiply(x, x, dst=y)
        cv2.blur(y, size, dst=y)
        cv2.sqrt(y, dst=y)

    return _opencv_filter(array, case, do)


def _covered(array: Array, case: Case) -> Array:
    """View the part of *array* that the blocks of *case* cover."""
    return array[_placed(case, tuple(slice(axis.out * axis.kernel) for axis in case.plan.axes))]


def _covered_pictures(array: Array, case: Case) -> list[Array]:
    ends = tuple(slice(axis.out * axis.kernel) for axis in case.plan.axes)
    return [picture[ends] for picture in _pictures(array, case)]


def opencv_area(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Shrink by whole factors, which is the mean of each block."""
    cv2, size, out = _opencv(case), case.plan.out[::-1], touched(case.out.shape, case.out.dtype)
    call = _each(
        lambda x, y: cv2.resize(x, size, dst=y, interpolation=cv2.INTER_AREA),
        _covered_pictures(array, case),
        _pictures(out, case),
    )
    return Prepared(call, lambda _: out)


def opencv_area_l2(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Square, shrink, root."""
    cv2, squares = _opencv(case), touched(array.shape, case.size.dtype)
    square = _each(lambda x, y: cv2.multiply(x, x, dst=y), _pictures(array, case), _pictures(squares, case))
    shrunk = opencv_area(_adapter, squares, case)
    outs = _pictures(shrunk.values(None), case)

    def call() -> None:
        square()
        shrunk.call()
        for out in outs:
            cv2.sqrt(out, dst=out)

    return Prepared(call, shrunk.values)


# scikit-image


def _block_reduce(array: Array, case: Case, function: Callable[..., Array]) -> Prepared:
    reduce = import_module("skimage.measure").block_reduce
    covered, blocks = _covered(array, case), [1] * array.ndim
    for axis, length in zip(Layout(case.size.layout).pooled, _kernel(case), strict=True):
        blocks[axis] = length
    return Prepared(lambda: reduce(covered, tuple(blocks), function), np.asarray)


def skimage_max(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Largest of each block."""
    return _block_reduce(array, case, np.max)


def skimage_min(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Smallest of each block."""
    return _block_reduce(array, case, np.min)


def skimage_mean(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Mean of each block, not rounded."""
    return _block_reduce(array, case, np.mean)


def skimage_sum(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Sum of each block."""
    return _block_reduce(array, case, np.sum)


# SciPy


def _scipy_filter(name: str, array: Array, case: Case) -> Prepared:
    filtered = getattr(import_module("scipy.ndimage"), name)
    full, lengths = touched(array.shape, case.size.dtype), [1] * array.ndim
    for axis, length in zip(Layout(case.size.layout).pooled, _kernel(case), strict=True):
        lengths[axis] = length
    return Prepared(lambda: filtered(array, lengths, output=full), lambda _: full[_placed(case, _valid(case))])


def scipy_max(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Largest of the neighbourhood."""
    return _scipy_filter("maximum_filter", array, case)


def scipy_min(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Smallest of the neighbourhood."""
    return _scipy_filter("minimum_filter", array, case)


def scipy_mean(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Mean of the neighbourhood."""
    return _scipy_filter("uniform_filter", array, case)


def scipy_l2(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Square, mean of the neighbourhood, root of what is kept."""
    squares, out = touched(array.shape, case.size.dtype), touched(case.out.shape, case.out.dtype)
    mean = _scipy_filter("uniform_filter", squares, case)

    def call() -> None:
        np.multiply(array, array, out=squares)
        mean.call()
        np.sqrt(mean.values(None), out=out)

    return Prepared(call, lambda _: out)


# Pillow


def pillow_reduce(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Mean of each block of a picture that Pillow already holds."""
    image: Any = import_module("PIL.Image")
    rows, columns = _kernel(case)
    images = [image.fromarray(np.ascontiguousarray(picture)) for picture in _covered_pictures(array, case)]

    def call() -> object:
        return [picture.reduce((columns, rows)) for picture in images]

    def values(returned: Any) -> Array:
        return np.stack([np.asarray(picture) for picture in returned]).reshape(case.out.shape)

    return Prepared(call, values)


# NumPy


def _windows(array: Array, case: Case) -> tuple[Array, tuple[int, int]]:
    """View every window of *array*; the two axes to reduce come last."""
    pooled, axes = Layout(case.size.layout).pooled, case.plan.axes
    view = np.lib.stride_tricks.sliding_window_view(array, [axis.reach for axis in axes], pooled)
    taps = tuple(slice(None, None, axis.dilation) for axis in axes)
    strides = _placed(case, tuple(slice(None, None, axis.stride) for axis in axes))
    return view[(*strides, *taps)], (-2, -1)


def _reduction(function: Callable[..., object], array: Array, case: Case, dtype: str | None = None) -> Prepared:
    view, last = _windows(array, case)
    out = touched(case.out.shape, dtype or case.out.dtype)
    return Prepared(lambda: function(view, axis=last, out=out), lambda _: out)


def numpy_max(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Largest of each window."""
    return _reduction(np.max, array, case)


def numpy_min(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Smallest of each window."""
    return _reduction(np.min, array, case)


def numpy_sum(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Sum of each window."""
    return _reduction(np.sum, array, case)


def numpy_mean(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Mean of each window."""
    return _reduction(np.mean, array, case)


def numpy_rounded_mean(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Mean of each window in float64, rounded to the integers of the case."""
    mean, out = _reduction(np.mean, array, case, "float64"), touched(case.out.shape, case.out.dtype)
    exact = mean.values(None)

    def call() -> None:
        mean.call()
        np.rint(exact, out=exact)
        np.copyto(out, exact, casting="unsafe")

    return Prepared(call, lambda _: out)


def numpy_l2(_adapter: Adapter, array: Array, case: Case) -> Prepared:
    """Square, mean of each window, root."""
    squares = touched(array.shape, case.size.dtype)
    mean = _reduction(np.mean, squares, case)
    out = mean.values(None)

    def call() -> None:
        np.multiply(array, array, out=squares)
        mean.call()
        np.sqrt(out, out=out)

    return Prepared(call, lambda _: out)
