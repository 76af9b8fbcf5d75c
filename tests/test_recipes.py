"""Proves that a method is a row and its steps, and that each part of the kernel does its own work."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import poolcli
from poolcli.core import bands, kernels, recipes, steps
from poolcli.core.dtypes import named
from poolcli.core.geometry import Window
from poolcli.core.methods import METHODS, Fold, Method, Step


@kernels.combining(np.multiply, 1, "float64")
def times(a, b):
    return a * b


@pytest.fixture
def product(monkeypatch):
    """Add a method at run time: a row, and one step of one line; another for windows that kernels do not know."""
    monkeypatch.setattr(kernels, "times", times, raising=False)
    monkeypatch.setattr(steps, "times", lambda slab, _: slab.fold("times", slab.real), raising=False)
    row = Method("product", "product", "prod x", Fold("same", "times", "keep", "times"), "sum")
    monkeypatch.setitem(METHODS, "product", row)


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_new_fold_is_a_row_and_a_step_for_both_engines(engine):
    array = np.random.default_rng(0).choice([0.5, 1, 2, -1], (4, 37, 41))  # products are exact
    for kernel, stride, padding in (((3, 2), (1, 2), ((1, 1), (0, 1))), ((9, 9), (1, 1), ((4, 4), (4, 4)))):
        result = poolcli.pool(array, "product", kernel, stride, padding, engine=engine)
        np.testing.assert_array_equal(result, oracle.pool(array, "prod", kernel, stride, padding))
    result = poolcli.pool(array, "product", to=(4, 5), engine=engine)
    np.testing.assert_array_equal(result, oracle.pool(array, "prod", to=(4, 5)))


def test_a_new_method_without_a_kernel_is_a_row_and_a_step(monkeypatch):
    monkeypatch.setattr(steps, "middle", lambda slab, _: (slab.larger(slab.real) + slab.smaller(slab.real)) / 2, False)
    monkeypatch.setitem(METHODS, "middle", Method("middle", "midrange", "(max x + min x) / 2", Step("sums", "middle")))
    array = np.random.default_rng(0).integers(-128, 128, (40, 41), "int8")
    low, high = (
        oracle.pool(array, method, (3, 3), (2, 2), ((1, 1), (1, 1))).astype(float) for method in ("min", "max")
    )
    np.testing.assert_array_equal(poolcli.pool(array, "middle", 3, 2, 1, engine="numpy"), (low + high) / 2)


# The parts of the kernel, uncompiled.


class Buffers:
    """A kernel's memory for one plane of one channel, and the geometry of a window on it."""

    def __init__(self, x, method="sum", **window):
        self.x = x
        plan = Window(**window).plan(x.shape)
        dtype = named(x.dtype)
        (self.task,) = recipes.resolve(METHODS[method], dtype, dtype, plan, (1, 1), "even").tasks
        rows, columns = (axis.trimmed() for axis in plan.axes)
        tile, self.width = columns.out, (columns.out - 1) * columns.stride + columns.reach + 1
        fields = bands.column_fields(self.task, columns, tile, self.width)
        (phase,) = rows.phases()
        self.out = np.zeros(plan.out, x.dtype)
        part = bands.row_part(self.task, phase, 1, fields)
        strides = x.nbytes, x.strides[0], self.out.nbytes, self.out.strides[0]
        self.geometry = part.told(strides, 0, rows.out, (1,), (rows.out, 1)).geometry
        self.state = np.zeros(kernels.STATES, np.int64)
        lines = kernels.SUFFIXES + rows.kernel + 1
        self.work = np.full(lines * self.width, np.nan)
        self.evens = np.zeros(2 * self.width)
        self.odds = self.evens[(kernels.ODDS - kernels.EVENS) * self.width :]
        kernels.enter_strip(self.work, self.geometry, self.state, 0, 0, 0.0)

    def line(self, row, size):
        return self.work[row * self.width :][:size]


X = np.arange(1.0, 8 * 11 + 1).reshape(8, 11) ** 2


@pytest.mark.parametrize("o", range(6))
def test_the_row_pass_folds_the_rows_of_a_window_and_leaves_padding_blank(o):
    buffers = Buffers(X, kernel=3, stride=(2, 1), padding=((2, 2), (1, 0)))
    if o >= len(buffers.out):
        return
    kernels.fold_rows(kernels.same, kernels.add, buffers.work, X.ravel(), 0, buffers.geometry, buffers.state, o, 0.0)
    expected = np.pad(X, ((2, 2), (1, 0)))[2 * o : 2 * o + 3].sum(0)
    np.testing.assert_array_equal(buffers.line(kernels.FOLDED, 12), expected)


@pytest.mark.parametrize("order", [range(6), (3, 4, 0, 5), (5, 4, 3)], ids=str)
def test_blocks_give_what_rows_do_in_whatever_order_their_outputs_come(order):
    buffers = Buffers(X, kernel=(5, 1), stride=1, padding=((1, 0), (0, 0)))
    assert buffers.geometry[kernels.BLOCK] == 5
    for o in order:
        arguments = (buffers.work, X.ravel(), 0, buffers.geometry, buffers.state, 0, o, 0.0)
        if o < order[0]:
            buffers.state[kernels.OPEN] = 0  # a band never goes back
        kernels.fold_block(kernels.same, kernels.add, *arguments)
        expected = np.pad(X, ((1, 0), (0, 0)))[o : o + 5].sum(0)
        np.testing.assert_array_equal(buffers.line(kernels.FOLDED, 11), expected)


def test_a_block_of_another_plane_is_another_block():
    buffers = Buffers(X, kernel=(5, 1), stride=1)
    for plane, x in enumerate((X, -X)):
        arguments = (buffers.work, x.ravel(), 0, buffers.geometry, buffers.state, plane, 1, 0.0)
        kernels.fold_block(kernels.same, kernels.add, *arguments)
        np.testing.assert_array_equal(buffers.line(kernels.FOLDED, 11), x[1:6].sum(0))


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", range(1, 12))
def test_the_column_pass_and_close_fold_every_kernel_and_stride(kernel, stride):
    row = X[:1]
    for method in ("sum", "max"):
        buffers = Buffers(row, method, kernel=(1, kernel), stride=(1, stride))
        combine = getattr(kernels, buffers.task.fold.combine)
        buffers.work[:11] = row[0]
        kernels.fold_columns(combine, buffers.work, buffers.geometry, buffers.state)
        one = np.float64(1)
        out = buffers.out.ravel()
        kernels.close_row(
            combine, kernels.keep, kernels.never, out, 0, buffers.work, buffers.evens, buffers.odds,
            buffers.geometry, buffers.state, 1, one, one,
        )  # fmt: skip
        windows = np.lib.stride_tricks.sliding_window_view(row[0], kernel)[::stride]
        np.testing.assert_array_equal(out, windows.sum(1) if method == "sum" else windows.max(1))


@pytest.mark.parametrize("stride", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_stride_th_pixel_is_kept(stride, channels):
    pixels = np.arange(26.0 * channels)  # one more than is asked for, which halving may read
    evens, odds = np.zeros((2, 40 * channels))
    many = 24 // stride * stride + 1
    n = (many + stride - 1) // stride
    expected = pixels.reshape(-1, channels)[:many:stride].copy()
    near, at = kernels.every(pixels, 0, evens, odds, stride, channels, many, n)
    np.testing.assert_array_equal(near[at : at + n * channels].reshape(n, channels), expected)


def roots_begin(counts):
    """Return the least sum of squares whose root of the mean is rounded to 1, 2 ... 255, for each of *counts*."""
    n, r = counts[:, None], np.arange(1, 256, dtype=np.int64)
    quarter = n * (2 * r - 1) ** 2  # four times the sum whose root is half way from r - 1; it goes to the even one
    return quarter // 4 + ((quarter % 4 != 0) | (r % 2 == 1))


def test_the_root_of_a_mean_of_squares_of_8_bits_is_right_on_both_sides_of_each_half_for_every_count():
    for counts in np.array_split(np.arange(1, 65536), 128):
        least, n = roots_begin(counts), counts[:, None].astype(np.uint32)
        for sums, roots in ((least, np.arange(1, 256)), (least - 1, np.arange(255)), (255**2 * counts[:, None], 255)):
            found = kernels.byte_root_mean(sums.astype(np.uint32), n, None, False)  # noqa: FBT003 -- not quick
            assert (found == roots).all()


@pytest.mark.parametrize("n", range(1, 17))
def test_the_root_of_every_sum_of_a_few_squares_of_8_bits_is_right(n):
    sums, count = np.arange(255**2 * n + 1, dtype=np.uint32), np.uint32(n)
    expected = np.searchsorted(roots_begin(np.array([n]))[0], sums, side="right")
    for quick in {False, bool(kernels.few(n))}:
        assert (kernels.byte_root_mean(sums, count, None, quick) == expected).all()
    assert kernels.few(n) == (n < 12)


def test_root_means_that_stay_8_bits_are_those_of_both_engines(monkeypatch):
    monkeypatch.setattr("poolcli.core.threads.ALONE", 0)
    array = np.random.default_rng(3).integers(0, 256, (2, 61, 73), np.uint8)
    array[1] = 255 - array[1] % 3
    for kernel, stride in ((2, 2), (3, 1), (15, 7), (60, 1)):
        views = np.lib.stride_tricks.sliding_window_view(array, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
        means = (views.astype(np.int64) ** 2).sum((-1, -2)) / kernel**2
        for engine in ("numpy", "numba"):
            pooled = poolcli.pool(array, "l2", kernel, stride, dtype="uint8", engine=engine, threads=2)
            np.testing.assert_array_equal(pooled, np.rint(np.sqrt(means)))
