"""Proves the laws every pooling obeys, over windows and values that Hypothesis chooses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import poolcli

DTYPES = ("uint8", "int16", "int32", "float32", "float64")
law = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def pool(array, method, window):
    return poolcli.pool(array, method, engine="numpy", **window)


def values(dtype):
    """Return a strategy for finite values of a dtype, small enough that nothing overflows."""
    if np.dtype(dtype).kind == "f":
        return st.integers(-(2**20), 2**20).map(lambda number: number / 64)
    info = np.iinfo(dtype)
    return st.integers(max(info.min, -(2**30)), min(info.max, 2**30))


@st.composite
def arrays(draw, dtypes=DTYPES):
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    return draw(hnp.arrays(dtype, shape, elements=values(dtype)))


@st.composite
def windows(draw, shape, *, padded=True):
    """Return a window that fits a shape and has a real element everywhere."""
    kernel = tuple(draw(st.integers(1, min(length, 5))) for length in shape)
    pads = st.integers(0, 0) if not padded else None
    return {
        "kernel": kernel,
        "stride": tuple(draw(st.integers(1, 4)) for _ in shape),
        "padding": tuple(
            (draw(pads or st.integers(0, each - 1)), draw(pads or st.integers(0, each - 1))) for each in kernel
        ),
        "ceil": padded and draw(st.booleans()),
    }


@st.composite
def poolings(draw, dtypes=DTYPES, *, padded=True):
    array = draw(arrays(dtypes))
    return array, draw(windows(array.shape, padded=padded))


@law
@given(poolings())
def test_an_average_lies_between_minimum_and_maximum(pooling):
    array, window = pooling
    low, average, high = (pool(array, method, window) for method in ("min", "avg", "max"))
    assert (low <= average).all()
    assert (average <= high).all()


@law
@given(poolings())
def test_l2_is_at_least_the_size_of_the_average_and_at_most_the_largest_size(pooling):
    array, window = pooling
    average, l2 = (pool(array, method, window).astype(float) for method in ("avg", "l2"))
    low, high = (pool(array, method, window).astype(float) for method in ("min", "max"))
    slack = 1e-6 * (1 + l2)
    assert (l2 >= np.abs(average) - slack).all()
    assert (l2 <= np.maximum(np.abs(low), np.abs(high)) + slack).all()


@law
@given(st.data(), st.sampled_from(DTYPES), st.sampled_from(("max", "min", "avg")))
def test_a_constant_stays_itself(data, dtype, method):
    value = data.draw(values(dtype))
    array = np.full((7, 9), value, dtype)
    window = data.draw(windows(array.shape))
    assert (pool(array, method, window) == array[0, 0]).all()


@law
@given(poolings())
def test_a_kernel_of_one_takes_every_stride_th_element(pooling):
    array, window = pooling
    for method in ("max", "min", "avg", "sum"):
        result = pool(array, method, {"kernel": 1, "stride": window["stride"]})
        np.testing.assert_array_equal(result, array[:: window["stride"][0], :: window["stride"][1]])


@law
@given(poolings(), st.sampled_from(("max", "min", "avg", "sum", "l2")))
def test_transposing_the_input_and_the_window_transposes_the_result(pooling, method):
    array, window = pooling
    turned = {name: each[::-1] if isinstance(each, tuple) else each for name, each in window.items()}
    np.testing.assert_array_equal(pool(array.T, method, turned), pool(array, method, window).T)


@law
@given(poolings(), st.sampled_from(("max", "min", "avg", "sum", "l2")))
def test_flipping_the_input_and_its_padding_flips_the_result_of_stride_one(pooling, method):
    array, window = pooling
    plain = {**window, "stride": 1, "ceil": False}
    flipped = {**plain, "padding": tuple(pads[::-1] for pads in plain["padding"])}
    expected = pool(array, method, plain)[::-1, ::-1]
    np.testing.assert_array_equal(pool(array[::-1, ::-1], method, flipped), expected)


@law
@given(poolings(("int16", "int32", "float32", "float64")))
def test_the_maximum_of_the_negated_is_the_negated_minimum(pooling):
    array, window = pooling
    clear = np.maximum(array, -32767) if array.dtype == np.int16 else array
    np.testing.assert_array_equal(pool(-clear, "max", window), -pool(clear, "min", window))


@law
@given(poolings())
def test_a_sum_is_the_average_times_the_number_of_elements(pooling):
    array, window = pooling
    count = pool(np.ones(array.shape), "sum", window)
    total = pool(array.astype("float64"), "sum", window)
    np.testing.assert_allclose(pool(array.astype("float64"), "avg", window) * count, total, rtol=1e-12, atol=1e-9)


@law
@given(poolings(("uint8", "int16", "float64")))
def test_l2_squared_is_the_average_of_squares(pooling):
    array, window = pooling
    squares = pool(array.astype("float64") ** 2, "avg", window)
    np.testing.assert_allclose(pool(array, "l2", window) ** 2, squares, rtol=1e-12)


@law
@given(st.data(), st.sampled_from(("max", "min", "sum")))
def test_pooling_blocks_of_blocks_is_pooling_larger_blocks(data, method):
    inner, outer = (data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2))
    times = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    whole = tuple(a * b for a, b in zip(inner, outer, strict=True))
    shape = tuple(a * b for a, b in zip(whole, times, strict=True))
    array = data.draw(hnp.arrays("int32", shape, elements=values("int32")))
    twice = pool(pool(array, method, {"kernel": inner}), method, {"kernel": outer})
    np.testing.assert_array_equal(twice, pool(array, method, {"kernel": whole}))


@law
@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.sampled_from(("max", "min")))
def test_sliding_twice_is_sliding_once_with_the_joined_kernel(data, first, second, method):
    array = data.draw(hnp.arrays("int16", (9, 9), elements=values("int16")))
    twice = pool(pool(array, method, {"kernel": first, "stride": 1}), method, {"kernel": second, "stride": 1})
    joined = {"kernel": first + second - 1, "stride": 1}
    np.testing.assert_array_equal(twice, pool(array, method, joined))


@law
@given(st.data(), st.sampled_from(("max", "min", "avg", "sum")))
def test_a_larger_input_never_gives_a_smaller_result(data, method):
    array, window = data.draw(poolings(("int32", "float64")))
    more = data.draw(hnp.arrays(array.dtype, array.shape, elements=st.integers(0, 2**20)))
    assert (pool(array + more, method, window) >= pool(array, method, window)).all()


@law
@given(st.data(), st.integers(1, 6), st.integers(1, 6))
def test_moving_the_input_by_a_stride_moves_the_result_by_one(data, rows, columns):
    array = data.draw(hnp.arrays("uint8", (24, 24)))
    window = {"kernel": 4, "stride": (rows, columns)}
    expected = pool(array, "avg", window)[1:, 1:]
    np.testing.assert_array_equal(pool(array[rows:, columns:], "avg", window), expected)


@pytest.mark.parametrize("method", ["max", "min", "avg", "sum", "l2"])
@law
@given(pooling=poolings())
def test_planes_are_pooled_one_by_one(method, pooling):
    array, window = pooling
    stack = np.stack([array, array[::-1]])
    result = pool(stack, method, {**window, "layout": "CHW"})
    for plane, alone in zip(result, stack, strict=True):
        np.testing.assert_array_equal(plane, pool(alone, method, {**window, "layout": "HW"}))
