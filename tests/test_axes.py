"""Proves that any number of axes is pooled right, in any layout, whole or in slabs, by both engines."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from cases import METHOD_CASES, sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import poolcli
from poolcli.core import arrays, execution

LAYOUTS = ("L", "T", "NCL", "NLC", "NTC", "LCN", "DHW", "NCDHW", "NDHWC", "DCHNW", "WHD", "TDHW")
POOLED = "DHWLT"
FOLDS = {"max": "uint8", "min": "int16", "avg": "float64", "sum": "int32", "l2": "float32", "range": "int8"}
WINDOWS = (
    {"kernel": 2},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": 3, "stride": 2, "padding": (1, 2), "ceil": True},
    {"kernel": 2, "stride": 2, "padding": "same"},
    {"kernel": 3, "stride": 3, "padding": "same-lower", "dilation": 2},
    {"kernel": 5, "stride": 1, "padding": (4, 0), "count_include_pad": True},
    {"kernel": 2, "stride": 1, "dilation": 3, "padding": 3, "ceil": True},
    {"kernel": 7, "stride": 1, "padding": 6},
)


def pooled_axes(layout):
    return [index for index, letter in enumerate(layout) if letter in POOLED]


def expect(array, layout, method, window):
    """Return what the oracle gives in the array's own layout; each value of the window is for every axis."""
    axes = pooled_axes(layout)
    n = len(axes)
    last = tuple(range(-n, 0))
    each = {"stride": window["kernel"], "padding": 0, "dilation": 1, **window}
    padding = each["padding"]
    if isinstance(padding, str):
        padding = [
            oracle.same_padding(
                array.shape[axis], each["kernel"], each["stride"], each["dilation"], lower="l" in padding
            )
            for axis in axes
        ]
    else:
        padding = [padding if isinstance(padding, tuple) else (padding, padding)] * n
    options = {name: (each[name],) * n for name in ("kernel", "stride", "dilation")}
    flags = {name: each.get(name, False) for name in ("ceil", "count_include_pad")}
    pooled = oracle.pool(np.moveaxis(array, axes, last), method, **options, padding=padding, **flags)
    return np.moveaxis(pooled, last, axes)


def arguments(layout, window):
    """Return the keyword arguments of poolcli.pool: a pair is the padding before and after of every axis."""
    padding = window.get("padding", 0)
    pairs = [padding] * len(pooled_axes(layout)) if isinstance(padding, tuple) else padding
    return {**window, "padding": pairs, "layout": layout}


def shape_of(layout, *, length=None):
    length = length or 9 - len(layout)
    sizes = {"N": 2, "C": 3, "D": length - 2, "H": length - 1, "W": length + 1, "L": 4 * length, "T": length + 2}
    return tuple(sizes[letter] for letter in layout)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_method_pools_any_number_of_axes_in_any_layout(layout, window):
    half = (LAYOUTS.index(layout) + WINDOWS.index(window)) % 2  # of the methods: a neighbour has the others
    for method, dtype in list(FOLDS.items())[half::2]:
        array = sample(shape_of(layout), dtype)
        result = poolcli.pool(array, method, engine="numpy", **arguments(layout, window))
        expected = expect(array, layout, method, window)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("method", "dtype", "windows"),
    [("max", "uint8", WINDOWS), ("avg", "float64", WINDOWS), ("avg", "uint8", WINDOWS[:-1])],  # one more accumulator
)
@pytest.mark.parametrize("layout", ["NLC", "NCDHW", "DHW", "TDHW"])
def test_both_engines_pool_any_number_of_axes_alike(layout, method, dtype, windows):
    if (layout, dtype) == ("TDHW", "uint8") and method == "avg":
        windows = WINDOWS[:1]
    array = np.random.default_rng(3).normal(size=shape_of(layout, length=11)) * 99
    array = array.astype(dtype)
    for window in windows:
        options = arguments(layout, window)
        expected = poolcli.pool(array, method, engine="numpy", **options)
        for threads in (1, 2, 7):
            result = poolcli.pool(array, method, engine="numba", threads=threads, **options)
            np.testing.assert_array_equal(result, expected)


@settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_slabs_and_views_of_any_number_of_axes_change_no_value(data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    shape = tuple(data.draw(st.integers(1, 9)) for _ in layout)
    window = data.draw(st.sampled_from(WINDOWS))
    dtype = data.draw(st.sampled_from(("float16", ">f8", "int32", "bool", "float64")))
    method = data.draw(st.sampled_from(METHOD_CASES)).id
    array = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=shape[::-1]).T * 9
    array = np.abs(array) if method == "stochastic" else array
    array = array.astype(dtype)[tuple(slice(None, None, data.draw(st.sampled_from((1, -1)))) for _ in shape)]
    options = {**arguments(layout, window), "engine": "numpy"}
    try:
        expected = poolcli.pool(np.ascontiguousarray(array), method, **options)
    except poolcli.PoolError:  # the window does not fit, a product is too large, or padding alone has no value
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "SLAB", data.draw(st.integers(1, 2 * array.size)))
        patch.setattr(arrays, "BAND", data.draw(st.integers(1, 2 * array.size)))
        patch.setattr("poolcli.core.threads.ALONE", 0)
        engine = data.draw(st.sampled_from(("numpy", "numba") if "f8" in np.dtype(dtype).str else ("numpy",)))
        result = poolcli.pool(array, method, **{**options, "engine": engine}, threads=3)
    np.testing.assert_array_equal(result, expected)


def test_a_sequence_is_pooled_as_a_picture_of_one_row_is():
    array = sample((3, 40), "float32")
    line = poolcli.pool(array, "avg", 5, 2, layout="NL", engine="numpy")
    picture = poolcli.pool(array[:, None], "avg", (1, 5), (1, 2), layout="NHW", engine="numpy")
    np.testing.assert_array_equal(line, picture[:, 0])


def test_window_values_for_another_number_of_axes_are_refused():
    with pytest.raises(poolcli.PoolError, match="3 pooled axes"):
        poolcli.pool(np.zeros((4, 4, 4)), "max", (2, 2), layout="DHW")


def test_paddings_are_written_before_and_after_for_each_axis():
    array = sample((5, 6, 7), "float64")
    result = poolcli.pool(array, "avg", "3x2x3", 1, "1:0x0:1x2:2", layout="DHW", engine="numpy")
    expected = oracle.pool(array, "avg", (3, 2, 3), (1, 1, 1), ((1, 0), (0, 1), (2, 2)))
    np.testing.assert_array_equal(result, expected)
