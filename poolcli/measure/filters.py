"""How libraries of pictures and arrays pool: for each, what makes its calls ready, then the table of them."""

from __future__ import annotations

from functools import partial, reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core.layouts import Layout
from poolcli.core.threads import usable_cpus
from poolcli.measure import calls
from poolcli.measure.calls import ALL, FLOATS, INTEGERS, NUMBERS, Prepared, exact, in_turn, recursive, rows, touched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcli.measure.calls import Array, Prepare
    from poolcli.measure.cases import Case

    Arguments = Callable[[Case], dict[str, Any]]


def _index(case: Case, slices: Iterable[slice]) -> tuple[slice, ...]:
    """Return *slices* of the pooled axes as an index of an array of the layout of *case*."""
    taken = dict(zip(case.size.axes, slices, strict=True))
    return tuple(taken.get(i, slice(None)) for i in range(len(case.size.shape)))


def _covered(array: Array, case: Case) -> Array:
    """View the part of *array* that the blocks of *case* cover."""
    return array[_index(case, (slice(axis.out * axis.kernel) for axis in case.plan.axes))]


def _centred(full: Array, case: Case) -> Array:
    """View the outputs of *case* in *full*, a result at stride 1 whose windows are centred."""
    firsts = ((axis.kernel // 2, axis) for axis in case.plan.axes)
    return full[_index(case, (slice(i, i + (axis.out - 1) * axis.stride + 1, axis.stride) for i, axis in firsts))]


def _lengths(case: Case) -> tuple[int, ...]:
    """Return the kernel with 1 for every axis that is not pooled."""
    return Layout(case.size.layout).replaced((1,) * len(case.size.shape), case.window.kernel)


def _pictures(array: Array, case: Case) -> list[Array]:
    """View *array*, of the layout of *case*, as the pictures it consists of: (H, W) or (H, W, C)."""
    if case.size.planar:
        return list(array.reshape(-1, *array.shape[-2:]))
    if array.shape[-1] == 1:
        return list(array.reshape(-1, *array.shape[-3:-1]))
    return list(array.reshape(-1, *array.shape[-3:]))


def _root_of_squares(prepare_mean: Prepare, array: Array, case: Case) -> Prepared:
    """Square, mean, root of what is kept, the first and the last by NumPy."""
    squares = touched(array.shape, case.size.dtype)
    mean = prepare_mean(squares, case)
    kept = mean.values(None)
    call = in_turn(partial(np.multiply, array, array, out=squares), mean.call, partial(np.sqrt, kept, out=kept))
    return Prepared(call, mean.values)


# OpenCV


def _opencv(
    name: str, arguments: Arguments, array: Array, case: Case, *, shrinks: bool = False, root: bool = False
) -> Prepared:
    """Call *name* for each picture, which *shrinks* it to its output or filters it at stride 1.

    A *root* of a mean is that of squares, in the picture's precision: ``sqrBoxFilter`` would widen to float64.
    """
    cv2: Any = import_module("cv2")
    cv2.setNumThreads(case.threads)
    size = case.out if shrinks else case.size
    target = touched(size.shape, size.dtype)
    sources = _pictures(_covered(array, case) if shrinks else array, case)
    step = partial(getattr(cv2, name), **arguments(case))
    if root:
        step = partial(_root_of_mean, cv2, step, touched(sources[0].shape, case.size.dtype))
    steps = [partial(step, x, dst=y) for x, y in zip(sources, _pictures(target, case), strict=True)]
    return Prepared(in_turn(*steps), lambda _: target if shrinks else _centred(target, case))


def _root_of_mean(cv2: Any, mean: Callable[..., object], squares: Array, x: Array, dst: Array) -> None:
    cv2.multiply(x, x, dst=squares)
    mean(squares, dst=dst)
    cv2.sqrt(dst, dst=dst)


def _element(case: Case) -> dict[str, Any]:
    return {"kernel": np.ones(case.window.kernel, np.uint8)}


def _box(case: Case) -> dict[str, Any]:
    return {"ksize": case.window.kernel[::-1]}


def _sum(case: Case) -> dict[str, Any]:
    return {**_box(case), "ddepth": -1, "normalize": False}


def _area(case: Case) -> dict[str, Any]:
    return {"dsize": case.plan.out[::-1], "interpolation": 3}  # INTER_AREA


_CV = ("uint8", "uint16", "int16", *FLOATS)
_RESIZE = partial(_opencv, "resize", _area, shrinks=True)
_BLUR = partial(_opencv, "blur", _box)

OPENCV = (
    *rows(
        (*calls.WITHIN, calls.FEW_CHANNELS, calls.BLOCKS),
        ("avg", _CV, "resize(INTER_AREA)", _RESIZE, calls.reciprocal, 1.0),
        ("l2", FLOATS, "sqrt(resize(x * x, INTER_AREA))", partial(_RESIZE, root=True), calls.reciprocal),
    ),
    *rows(
        (*calls.WITHIN, calls.FEW_CHANNELS),
        ("max", _CV, "dilate", partial(_opencv, "dilate", _element), exact),
        ("min", _CV, "erode", partial(_opencv, "erode", _element), exact),
        ("avg", _CV, "blur", _BLUR, recursive, 1.0),
        ("sum", FLOATS, "boxFilter(normalize=False)", partial(_opencv, "boxFilter", _sum), recursive),
        ("l2", FLOATS, "sqrt(blur(x * x))", partial(_BLUR, root=True), recursive),
        slices=True,
    ),
)


# scikit-image


def _reduced(function: Callable[..., Array], array: Array, case: Case) -> Prepared:
    reduce = import_module("skimage.measure").block_reduce
    return Prepared(partial(reduce, _covered(array, case), _lengths(case), function), np.asarray)


SKIMAGE = rows(
    (*calls.WITHIN, calls.BLOCKS),
    ("max", ALL, "block_reduce(func=max)", partial(_reduced, np.max), exact),
    ("min", ALL, "block_reduce(func=min)", partial(_reduced, np.min), exact),
    ("avg", NUMBERS, "block_reduce(func=mean), integers to float64", partial(_reduced, np.mean), recursive, 0.5),
    ("sum", FLOATS, "block_reduce(func=sum)", partial(_reduced, np.sum), recursive),
)


# SciPy


def _filtered(name: str, array: Array, case: Case) -> Prepared:
    filtered = getattr(import_module("scipy.ndimage"), name)
    full = touched(array.shape, case.size.dtype)
    return Prepared(partial(filtered, array, _lengths(case), output=full), lambda _: _centred(full, case))


_UNIFORM = partial(_filtered, "uniform_filter")

SCIPY = rows(
    calls.WITHIN,
    ("max", NUMBERS, "maximum_filter(output=)", partial(_filtered, "maximum_filter"), exact),
    ("min", NUMBERS, "minimum_filter(output=)", partial(_filtered, "minimum_filter"), exact),
    ("avg", NUMBERS, "uniform_filter(output=)", _UNIFORM, calls.running, 2.0),  # integers are cut off on each axis
    ("l2", FLOATS, "sqrt(uniform_filter(x * x, output=))", partial(_root_of_squares, _UNIFORM), calls.running),
    slices=True,
)


# Pillow


def _image_reduce(array: Array, case: Case) -> Prepared:
    """Mean of each block of pictures that Pillow already holds."""
    image: Any = import_module("PIL.Image")
    held = [image.fromarray(np.ascontiguousarray(picture)) for picture in _pictures(_covered(array, case), case)]
    factors = case.window.kernel[::-1]
    return Prepared(
        lambda: [picture.reduce(factors) for picture in held],
        lambda reduced: np.stack([np.asarray(picture) for picture in reduced]).reshape(case.out.shape),
    )


PILLOW = rows(
    (*calls.WITHIN, calls.BLOCKS, calls.NO_ALPHA),
    ("avg", ("uint8",), "Image.reduce, 4 bytes a pixel in RGB", _image_reduce, exact, 1.0),
)


# fast_image_resize


def _resized(array: Array, case: Case) -> Prepared:
    """Shrink pictures that it holds by a box."""
    fir: Any = import_module("cykooz_resizer")
    options = fir.ResizeOptions()
    options.resize_alg, options.thread_pool = fir.ResizeAlg.convolution(fir.FilterType.box), None
    if case.threads > 1:
        options.thread_pool = fir.ResizerThreadPool(case.threads)
    kind = {1: fir.PixelType.U8, 3: fir.PixelType.U8x3}[1 if case.size.planar else case.size.channels]
    rows, columns = case.plan.out
    held = [
        (fir.ImageData(x.shape[1], x.shape[0], kind, x.tobytes()), fir.ImageData(columns, rows, kind))
        for x in _pictures(_covered(array, case), case)
    ]
    steps = [partial(fir.Resizer().resize, x, y, options) for x, y in held]

    def values(_: object) -> Array:
        return np.stack([np.frombuffer(y.get_buffer(), np.uint8) for _, y in held]).reshape(case.out.shape)

    return Prepared(in_turn(*steps), values)


RESIZE = rows(
    (*calls.WITHIN, calls.BLOCKS, calls.NO_ALPHA),
    ("avg", ("uint8",), "Resizer.resize(box), which rounds on each axis", _resized, exact, 1.0),
)


# Halide


def _halide(combine: Callable[[Any, list[Any]], Any], array: Array, case: Case) -> Prepared:
    """Compile rows, then columns, in vectors: rows where they are asked for, planes on all processors."""
    hl: Any = import_module("halide")
    x = np.ascontiguousarray(array).reshape(-1, *case.size.pooled)
    out = touched((len(x), *case.plan.out), case.size.dtype)
    source, at = hl.Buffer(x), [hl.Var(name) for name in "xyc"]
    (tall, wide), (down, right), (column, row, plane) = case.window.kernel, case.window.stride, at
    folded, pooled = hl.Func("folded"), hl.Func("pooled")
    folded[tuple(at)] = combine(hl, [source[column, down * row + i, plane] for i in range(tall)])
    both = combine(hl, [folded[right * column + i, row, plane] for i in range(wide)])
    pooled[tuple(at)] = both / np.float32(case.elements) if case.method == "avg" else both
    width = min(16, case.plan.out[1])
    pooled.parallel(plane).vectorize(column, width)
    folded.compute_at(pooled, row).vectorize(column, width)
    pooled.compile_jit()
    target = hl.Buffer(out)
    return Prepared(lambda: pooled.realize(target), lambda _: out.reshape(case.out.shape))


def _chained(name: str) -> Callable[[Any, list[Any]], Any]:
    return lambda hl, terms: reduce(getattr(hl, name), terms)


def _all_processors(case: Case) -> bool:
    return case.threads == usable_cpus()


HALIDE = rows(
    (
        *calls.WITHIN,
        calls.Rule("planes alone", lambda case: case.size.planar),
        calls.Rule("all processors: its threads follow from HL_NUM_THREADS", _all_processors),
    ),
    ("max", ("float32",), "rows, then columns, without a rule for NaN", partial(_halide, _chained("max")), exact),
    ("min", ("float32",), "rows, then columns, without a rule for NaN", partial(_halide, _chained("min")), exact),
    (
        "avg",
        ("float32",),
        "rows, then columns, sums in float32",
        partial(_halide, lambda _, terms: sum(terms)),
        recursive,
    ),
    form="JIT",
)


# NumPy


def _windowed(function: Callable[..., object], array: Array, case: Case, dtype: str | None = None) -> Prepared:
    """Reduce the windows, which are axes of a view, to the case's dtype unless *dtype* is given."""
    axes = case.plan.axes
    pooled = case.size.axes
    view = np.lib.stride_tricks.sliding_window_view(array, [axis.reach for axis in axes], pooled)
    strides = _index(case, (slice(None, None, axis.stride) for axis in axes))
    view = view[(*strides, *(slice(None, None, axis.dilation) for axis in axes))]
    out = touched(case.out.shape, dtype or case.out.dtype)
    return Prepared(partial(function, view, axis=tuple(range(-len(axes), 0)), out=out), lambda _: out)


def _rounded_mean(array: Array, case: Case) -> Prepared:
    """Mean of each window in float64, rounded to the integers of the case."""
    mean, out = _windowed(np.mean, array, case, "float64"), touched(case.out.shape, case.out.dtype)
    means = mean.values(None)
    round_, store = partial(np.rint, means, out=means), partial(np.copyto, out, means, casting="unsafe")
    return Prepared(in_turn(mean.call, round_, store), lambda _: out)


_MEAN = partial(_windowed, np.mean)

NUMPY = rows(
    (calls.INSIDE,),
    ("max", ALL, "sliding_window_view(x).max(out=)", partial(_windowed, np.max), exact),
    ("min", ALL, "sliding_window_view(x).min(out=)", partial(_windowed, np.min), exact),
    ("avg", FLOATS, "sliding_window_view(x).mean(out=)", _MEAN, recursive),
    ("avg", INTEGERS, "rint(sliding_window_view(x).mean(out=float64))", _rounded_mean, exact),
    ("sum", NUMBERS, "sliding_window_view(x).sum(out=)", partial(_windowed, np.sum), recursive),
    ("l2", FLOATS, "sqrt(sliding_window_view(x * x).mean(out=))", partial(_root_of_squares, _MEAN), recursive),
    reads=calls.SLOW,
)
