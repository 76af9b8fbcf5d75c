"""Proves that kernels order windows as NumPy does: programs of exchanges, sliding histograms and windows of weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import sample
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from test_views import trials, views, windows

import poolcli
from poolcli.core import (
    cache,
    engines,
    exchanges,
    execution,
    filters,
    histograms,
    methods,
    networks,
    recipes,
    select,
)
from poolcli.core.geometry import Window

NAMES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
METHODS = ("median", "median:lower", "quantile:0.3", "quantile:0.9:nearest", "quantile:0", "mode", "mode:sparse")


# Programs.


def ran(program, stride, window):
    """Return the wanted ranks of one window, whose row r has these values, by a program on pixels side by side."""
    held = {}
    width = window.shape[1]
    for i in range(len(program.reaches)):
        r, p = divmod(i, len(program.phases))
        held[i] = window[r, program.phases[p] : width : stride]
    for step in program.exchanges:
        n = 1 + step.reach
        a, b = (held[row][shift : shift + n] for row, shift in (step.one, step.other))
        assert len(a) == len(b) == n
        if step.low >= 0:
            held[step.low] = np.minimum(a, b)
        if step.high >= 0:
            held[step.high] = np.maximum(a, b)
    return [held[row][shift] for row, shift in program.ranks]


SHAPES = [(1, 1, 1, 1), (1, 5, 1, 1), (3, 3, 1, 1), (3, 4, 2, 1), (2, 3, 3, 2), (4, 3, 1, 2), (3, 2, 2, 3)]


@pytest.mark.parametrize(("rows", "columns", "stride", "dilation"), SHAPES)
def test_a_program_gives_every_rank_of_all_windows_of_zeros_and_ones(rows, columns, stride, dilation):
    # Knuth's zero-one principle: what sorts those sorts all
    n = rows * columns
    wanted = [tuple(range(n)), (n // 2,), ((n - 1) // 2, n // 2), (0,), (n - 1,)]
    bits = np.array(list(itertools.product((0, 1), repeat=n)), np.uint8).T.reshape(rows, columns, -1)
    spread = np.zeros((rows, (columns - 1) * dilation + 1, bits.shape[2]), np.uint8)
    spread[:, ::dilation] = bits
    expected = np.sort(bits.reshape(n, -1), axis=0)
    for ranks in wanted:
        program = networks.program(rows, columns, stride, dilation, ranks)
        found = ran(program, stride, spread)
        np.testing.assert_array_equal(found, expected[list(ranks)])


def test_programs_share_what_windows_have_in_common():
    # Batcher's network for nine values has 26 exchanges of two; three columns are sorted once, for three windows
    program = networks.program(3, 3, 1, 1, (4,))
    assert len(program.exchanges) == 15
    assert len(networks.program(3, 3, 3, 1, (4,)).exchanges) == 21


def test_no_exchange_writes_a_row_that_it_reads():
    for step in networks.program(5, 5, 1, 1, tuple(range(25))).exchanges:
        assert not {step.low, step.high} & {step.one[0], step.other[0]}
        assert step.low != step.high


# Keys.


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_in_the_order_of_values_and_give_them_back(name):
    dtype = np.dtype(name)
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    values = [info.min, info.max, 0, 1, 2, 77]
    values += [-1, -77] if dtype.kind in "if" else []
    values += [-np.inf, np.inf, info.tiny, -info.tiny] if dtype.kind == "f" else []
    array = np.array(sorted(set(values)), dtype)
    keys = select.keys(array)
    assert keys.dtype == select.key_type(dtype)
    assert (np.diff(keys.astype(object)) > 0).all()
    np.testing.assert_array_equal(select.values(keys, dtype), array)


# Parts of kernels, uncompiled.


@pytest.mark.parametrize("n", [*range(6), 40, 41])
def test_values_of_one_window_are_sorted(n):
    values = np.random.default_rng(n).integers(0, 9, 50)
    expected = [*sorted(values[:n]), *values[n:]]
    exchanges.sort(values, n)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_a_rank_of_one_window_is_put_in_its_place(n):
    for rank in range(n):
        values = np.random.default_rng(rank).integers(0, 20, 50)
        expected, rest = sorted(values[:n]), values[n:].copy()
        exchanges.place(values, n, rank)
        assert values[rank] == expected[rank]
        if rank + 1 < n:
            exchanges.place_next(values, n, rank)
            assert values[rank + 1] == expected[rank + 1]
        assert sorted(values[:n]) == expected
        np.testing.assert_array_equal(values[n:], rest)


@pytest.mark.parametrize(
    ("values", "sparse", "place"),
    [
        ([3, 3, 5, 5], False, 0),
        ([0, 0, 0, 5], True, 3),
        ([0, 0], True, 0),
        ([1, 2, 2, 9, 9, 9], False, 5),
        ([], False, 0),
    ],
)
def test_the_first_of_the_longest_runs_is_found(values, sparse, place):
    found = exchanges.common(values, len(values), 0, sparse)
    assert (values or [0])[found] == (values or [0])[place]


@pytest.mark.parametrize("sparse", [False, True])
def test_runs_are_counted_row_by_row_of_sorted_values(sparse):
    windows_of = np.sort(np.random.default_rng(1).integers(0, 3, (7, 12)).astype(np.uint8), axis=0)
    work = np.concatenate([windows_of.ravel(), np.zeros(36, np.uint8)])
    places = (84, 96, 108)
    exchanges.begin_runs(work, 0, *places, 0, sparse, 12)
    for row in range(1, 7):
        exchanges.count_runs(work, 12 * row, 12 * (row - 1), *places, 0, sparse, 12)
    for column in range(12):
        values, counts = np.unique(windows_of[:, column], return_counts=True)
        if sparse and len(values) > 1 and values[0] == 0:
            values, counts = values[1:], counts[1:]
        assert work[84 + column] == values[counts.argmax()]


class Histogram:
    """A kernel's memory for a few columns of 8-bit values."""

    def __init__(self, *, ranked=True):
        k = histograms
        self.words = np.zeros(k.HISTOGRAMS + 6 * k.COLUMN, np.uint64)
        self.bins = self.words.view(np.uint16)
        value = np.arange(16)
        self.bins[:256] = (np.less_equal if ranked else np.equal).outer(value, value).ravel()
        self.state = np.zeros(k.STATES, np.int64)
        self.x = np.random.default_rng(2).integers(0, 256, (9, 6), dtype=np.uint8)

    def enter(self, rows):
        for row in rows:
            histograms.count_row(self.words, self.x.ravel().tolist(), 6 * row, 1, 6, entering=1)

    def leave(self, rows):
        for row in rows:
            histograms.count_row(self.words, self.x.ravel().tolist(), 6 * row, 1, 6, entering=0)


def test_ranks_are_found_of_any_columns_and_after_rows_moved_on():
    held = Histogram()
    held.enter(range(5))
    held.enter([5, 6])
    held.leave([0, 1, 2])
    for begin, end in ((0, 2), (0, 5), (1, 6), (4, 6)):
        expected = np.sort(held.x[3:7, begin:end], axis=None)
        for rank in range(expected.size):
            found = histograms.at_rank(held.words, held.bins, held.state, rank, begin, end, 1)
            assert found == expected[rank]


def test_columns_of_a_dilated_window_are_counted_every_other_one():
    held = Histogram()
    held.enter(range(9))
    for begin, end in ((0, 4), (2, 6)):
        expected = np.sort(held.x[:, begin:end:2], axis=None)
        assert histograms.at_rank(held.words, held.bins, held.state, 7, begin, end, 2) == expected[7]


@pytest.mark.parametrize("sparse", [False, True])
def test_the_most_frequent_value_is_found(sparse):
    held = Histogram(ranked=False)
    held.x[:] = np.random.default_rng(3).choice([0, 0, 0, 17, 200, 201], (9, 6))
    held.enter(range(9))
    for begin, end in ((0, 1), (0, 3), (2, 6), (5, 6)):
        values, counts = np.unique(held.x[:, begin:end], return_counts=True)
        if sparse:
            values, counts = values[values > 0], counts[values > 0]
        found = histograms.common(held.words, held.bins, held.state, sparse, begin, end, 1)
        assert found == values[counts.argmax()]


def test_a_row_of_taps_reaches_the_outputs_at_which_it_lies_inside():
    k = filters
    geometry = np.zeros(k.FIELDS, np.int64)
    fields = {
        k.CHANNELS: 2,
        k.COLUMNS: 5,
        k.COL_TAPS: 3,
        k.COL_STRIDE: 2,
        k.COL_STEP: 2,
        k.COL_BEFORE: 3,
        k.OUT_COLUMNS: 4,
    }
    geometry[list(fields)] = list(fields.values())
    x, weights = np.arange(1.0, 11), np.array([1.0, 10.0, 100.0])
    out = np.zeros(8)
    filters.add_row(out, 0, x, 0, weights, 0, geometry)
    framed = np.pad(x.reshape(5, 2), ((3, 6), (0, 0)))
    expected = [sum(weights[t] * framed[2 * o + 2 * t] for t in range(3)) for o in range(4)]
    np.testing.assert_array_equal(out.reshape(4, 2), expected)


# Whole windows, by both engines.


def assert_engines_agree(array, method, **window):
    expected = poolcli.pool(array, method, engine="numpy", **window)
    for threads in (1, 2, 7):
        result = poolcli.pool(array, method, engine="numba", threads=threads, **window)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected, err_msg=f"{method}, {threads} threads, {window}")


@pytest.fixture
def parted(monkeypatch):
    """Part even work that is not worth it, in small strips and slabs."""
    monkeypatch.setattr("poolcli.core.threads.ALONE", 0)
    monkeypatch.setattr(select, "CACHE", 2**9)
    monkeypatch.setattr(select, "COLUMNS", 8)
    monkeypatch.setattr(select, "PIECE", 2**6)
    monkeypatch.setattr(execution, "SLAB", 2**12)
    select._program.cache_clear()  # noqa: SLF001 -- it holds strips
    yield
    select._program.cache_clear()  # noqa: SLF001


WINDOWS = [
    {"kernel": 1, "stride": 1},
    {"kernel": 2, "stride": 2},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": (3, 4), "stride": (2, 3), "ceil": True},
    {"kernel": 5, "stride": 1, "padding": ((4, 0), (1, 3)), "dilation": (2, 3)},
    {"kernel": 4, "stride": 2, "padding": "same"},
    {"kernel": 3, "stride": 2, "dilation": 3, "padding": 2},
    {"kernel": 12, "stride": 1, "padding": 6},
    {"kernel": 13, "stride": (5, 13), "ceil": True},
    {"kernel": (14, 9), "stride": 2, "dilation": (1, 3), "padding": (7, 2)},
]


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_engines_agree_on_8_bit_values(method, window):
    array = np.random.default_rng(5).integers(0, 9, (2, 47, 61), dtype=np.uint8) * 3
    assert_engines_agree(array, method, **window)
    assert_engines_agree(
        np.random.default_rng(6).integers(0, 256, (41, 53, 3), dtype=np.uint8), method, layout="HWC", **window
    )


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("window", WINDOWS[:7], ids=str)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float64"])
def test_engines_agree_on_other_types(dtype, method, window):
    array = sample((2, 37, 43), dtype)
    assert_engines_agree(array, method, **window)


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("target", ["uint8", "float64"])
@pytest.mark.parametrize("rounding", ["even", "up", "floor"])
def test_engines_agree_on_results_that_are_rounded(target, rounding):
    array = np.random.default_rng(7).integers(0, 256, (60, 70), dtype=np.uint8)
    for kernel, padding in ((2, 0), (3, 1), (4, 2), (12, 3)):
        for method in ("median", "quantile:0.7"):
            assert_engines_agree(
                array, method, kernel=kernel, stride=1, padding=padding, dtype=target, rounding=rounding
            )


@pytest.mark.parametrize("method", METHODS)
def test_engines_agree_on_one_and_three_axes_and_on_lengths(method):
    array = np.random.default_rng(8).integers(0, 5, (2, 9, 11, 13), dtype=np.uint8)
    assert_engines_agree(array, method, kernel=(2, 3, 3), stride=(1, 2, 1), padding=1, layout="CDHW")
    assert_engines_agree(array, method, kernel=(5, 5, 6), stride=(1, 2, 1), padding=2, layout="CDHW")
    assert_engines_agree(array.reshape(2, -1), method, kernel=7, stride=2, padding=3, layout="NL")
    assert_engines_agree(array.reshape(2, -1), method, kernel=255, stride=2, padding=30, layout="NL")
    assert_engines_agree(array[0, 0], method, to=(4, 5))
    assert_engines_agree(array[0, 0], method, kernel=2, stride=1, padding=1, pad_mode="reflect")


@pytest.mark.parametrize("method", ["median", "mode", "quantile:0.3:lower"])
def test_nan_wins_and_infinities_are_ordered(method):
    array = np.random.default_rng(9).normal(size=(40, 41)).round(1)
    array[3, 4], array[20:22, 20:24], array[30, 30:36], array[10, :] = np.nan, np.inf, -np.inf, -0.0
    assert_engines_agree(array, method, kernel=3, stride=1, padding=1)


def test_labels_of_64_bits_are_told_apart():
    array = np.random.default_rng(10).integers(0, 3, (20, 20)).astype(np.uint64) + np.uint64(2**63 + 2**53)
    result = poolcli.pool(array, "mode", 3, 1, engine="numba")
    for (i, j), value in np.ndenumerate(result):
        values, counts = np.unique(array[i : i + 3, j : j + 3], return_counts=True)
        assert value == values[counts.argmax()]


@pytest.mark.parametrize("kernel", [3, 5, 11, 13, 21])
def test_the_median_is_that_of_scipy(kernel):
    array = np.random.default_rng(kernel).integers(0, 256, (70, 90), dtype=np.uint8)
    expected = ndimage.median_filter(array, kernel, mode="reflect")
    result = poolcli.pool(array, "median", kernel, 1, kernel // 2, pad_mode="symmetric", engine="numba", dtype="uint8")
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("rank", [0, 30, 143])
def test_quantiles_are_ranks_of_scipy(rank):
    array = np.random.default_rng(rank).integers(0, 256, (50, 60), dtype=np.uint8)
    expected = ndimage.rank_filter(array, rank, 12, mode="constant")[6:-5, 6:-5]
    result = poolcli.pool(array, f"quantile:{rank / 143}:nearest", 12, 1, engine="numba")
    np.testing.assert_array_equal(result, expected)


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("window", [*WINDOWS[:7], {"kernel": 9, "stride": 1, "padding": 3}], ids=str)
def test_engines_agree_on_windows_of_weights(window):
    array = np.random.default_rng(11).normal(size=(2, 33, 35))
    array[0, 0, 0], array[1, 5, 6] = np.inf, np.nan
    assert_engines_agree(array, "blur", **window)
    kernel = np.broadcast_to(window["kernel"], 2)
    weights = np.random.default_rng(12).normal(size=tuple(kernel))
    for method in ("weighted", "gated"):
        assert_engines_agree(array, (method, weights), **window)
    assert_engines_agree(array.transpose(1, 2, 0), ("weighted", weights), layout="HWC", **window)


@st.composite
def cases(draw):
    dtype = draw(st.sampled_from(("uint8", "int8", "bool", "float64", ">i8")))
    layout = draw(st.sampled_from(("HW", "CHW", "HWC", "HNW")))
    shape = tuple(draw(st.integers(*{"H": (1, 30), "W": (1, 30)}.get(letter, (1, 3)))) for letter in layout)
    view, _ = draw(views(dtype, shape))
    window = draw(windows(tuple(shape[layout.index(letter)] for letter in "HW")))
    del window["count_include_pad"]
    return view, draw(st.sampled_from(METHODS)), layout, window, draw(st.integers(1, view.size))


@trials(300)
@given(cases())
def test_any_view_is_ordered_right(case):
    view, method, layout, window, slab = case
    copy = np.ascontiguousarray(view, view.dtype.newbyteorder("="))
    try:
        expected = poolcli.pool(copy, method, layout=layout, engine="numpy", **window)
    except poolcli.PoolError:  # a window of padding alone
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "SLAB", slab)
        patch.setattr("poolcli.core.threads.ALONE", 0)
        for threads in (1, 3):
            result = poolcli.pool(view, method, layout=layout, engine="numba", threads=threads, **window)
            np.testing.assert_array_equal(result, expected)


# The choice of an engine, and what else changes with it.


@pytest.mark.parametrize(
    ("method", "dtype", "kernel", "template"),
    [
        ("median", "float32", 15, "exchanges"),
        ("median", "uint8", 11, "exchanges"),
        ("mode", "uint8", 15, "histograms"),
        ("median", "uint8", 255, "histograms"),
        ("median", "uint16", 17, None),
        ("median", "uint8", 256, None),
        ("blur", "uint8", 3, "filters"),
    ],
)
def test_windows_have_the_kernel_that_can_count_them(method, dtype, kernel, template):
    value = methods.lookup(method)
    plan = Window(kernel, 1).plan((300, 300))
    found = recipes.resolve(value, np.dtype(dtype), np.dtype(dtype), plan, (1, 1), "even").gathered
    assert [gathering.kernel.template for gathering in found] == ([template] if template else [])


def test_large_work_is_worth_a_kept_kernel_and_small_work_is_not(monkeypatch):
    monkeypatch.setattr(cache, "has", lambda _: True)
    monkeypatch.setattr(engines, "_started", set())
    monkeypatch.setattr(engines, "_spent", 0.0)
    uint8 = np.dtype("uint8")
    for lengths, engine in (((2000, 2000), "numba"), ((50, 50), "numpy")):
        for method in ("median", "mode", "blur"):
            plan = Window(5, 1).plan(lengths)
            recipe = recipes.resolve(methods.lookup(method), uint8, uint8, plan, (1, 1), "even")
            assert engines._choose("auto", recipe, 1).engine == engine  # noqa: SLF001 -- before a kernel is loaded


def test_all_kernels_are_no_more_than_sixty():
    names = [kernel.name for kernel in recipes.kernels()]
    assert len(names) == len(set(names)) <= 60


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_an_infinity_does_not_reach_windows_that_do_not_hold_it(engine):
    array = np.ones((8, 8))
    array[0, 0] = np.inf
    result = poolcli.pool(array, "blur", 3, 1, 1, engine=engine)
    assert np.isinf(result[:2, :2]).all()
    assert np.isfinite(result).sum() == 60
