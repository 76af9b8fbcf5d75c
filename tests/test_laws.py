"""Proves the laws every pooling obeys, over windows and values that Hypothesis chooses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from cases import METHOD_CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import poolcli
from poolcli.core import arrays as bands_of_numpy
from poolcli.core import execution

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


def same_but_for_order(result, expected, method):
    """Compare bits; squares past 2^53 are rounded as they are added, so that their order shows in the last one."""
    if method == "l2":
        np.testing.assert_allclose(result, expected, rtol=2 * np.finfo("f8").eps if result.dtype == "f8" else 3e-7)
    else:
        np.testing.assert_array_equal(result, expected)


@law
@given(poolings(), st.sampled_from(("max", "min", "avg", "sum", "l2")))
def test_transposing_the_input_and_the_window_transposes_the_result(pooling, method):
    array, window = pooling
    turned = {name: each[::-1] if isinstance(each, tuple) else each for name, each in window.items()}
    same_but_for_order(pool(array.T, method, turned), pool(array, method, window).T, method)


@law
@given(poolings(), st.sampled_from(("max", "min", "avg", "sum", "l2")))
def test_flipping_the_input_and_its_padding_flips_the_result_of_stride_one(pooling, method):
    array, window = pooling
    plain = {**window, "stride": 1, "ceil": False}
    flipped = {**plain, "padding": tuple(pads[::-1] for pads in plain["padding"])}
    expected = pool(array, method, plain)[::-1, ::-1]
    same_but_for_order(pool(array[::-1, ::-1], method, flipped), expected, method)


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


# Over the whole table.

EVERY = [case for case in METHOD_CASES if case.id not in {"prod", "stochastic"}]  # which take not all values
brief = settings(law, max_examples=12)  # for each of many methods


def by_id(case):
    return case.id


def close(case, result, expected, array):
    """Compare float results as nearly as the method promises, whatever the order of adding."""
    unit = 8 * max(case.ulps, 1) * np.finfo("f8").eps
    largest = np.abs(array.astype("f8")).max(initial=1)
    scale = largest**2 if case.id == "var" else largest * (array.size if case.id.startswith(("sum", "norm")) else 1)
    # The root of what is left of two equal numbers is as large as the root of a unit
    atol = np.sqrt(unit) * largest if case.id == "std" else unit * scale
    np.testing.assert_allclose(result, expected, 16 * unit, atol)


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
@brief
@given(data=st.data())
def test_permuting_planes_permutes_the_result(case, data):
    array = np.abs(data.draw(hnp.arrays("float64", (4, 5, 6), elements=values("float64"))))
    window = {**data.draw(windows((5, 6))), "layout": "CHW"}
    order = data.draw(st.permutations(range(4)))
    np.testing.assert_array_equal(pool(array[order], case.id, window), pool(array, case.id, window)[order])


@pytest.mark.parametrize("case", [case for case in EVERY if case.id != "maxblur"], ids=by_id)
@brief
@given(pooling=poolings(("float64",)))
def test_flipping_the_input_and_its_padding_flips_the_result(case, pooling):
    array, window = pooling
    odd = tuple(k // 2 * 2 + 1 for k in window["kernel"])
    plain = {"kernel": odd, "stride": 1, "padding": tuple((k // 2, min(k // 2, 1)) for k in odd)}
    flipped = {**plain, "padding": tuple(pads[::-1] for pads in plain["padding"])}
    if case.id in {"first", "center"}:  # only the middle one stays where windows are whole
        plain = flipped = {"kernel": 1, "stride": 1} if case.id == "first" else {**plain, "padding": 0}
    try:
        expected = pool(array, case.id, plain)[::-1, ::-1]
    except poolcli.PoolError:  # without padding it does not fit
        return
    close(case, pool(array[::-1, ::-1], case.id, flipped), expected, array)


SAME_OF_A_CONSTANT = [
    case for case in EVERY if case.id.partition(":")[0] not in {"sum", "norm", "std", "var", "range", "l2", "lp", "gem"}
]


@pytest.mark.parametrize("case", SAME_OF_A_CONSTANT, ids=by_id)
@brief
@given(data=st.data(), number=st.integers(-(2**20), 2**20))
def test_a_constant_stays_itself_in_every_mean_and_choice(case, data, number):
    array = np.full((7, 9), number / 64)
    window = data.draw(windows(array.shape))
    result = pool(array, case.id, window)
    close(case, result, np.full_like(result, number / 64), array)


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
@brief
@given(pooling=poolings(("float64", "int32")))
def test_a_kernel_of_one_is_the_identity_but_for_what_a_method_does_to_a_value(case, pooling):
    array, window = pooling
    array = np.abs(array) if case.nonnegative else array
    name = case.id.partition(":")[0]
    does = {"l2": np.abs, "lp": np.abs, "norm": np.abs, "gem": lambda x: np.maximum(x, 1e-6)}
    nothing = {"std", "var", "range"}
    result = pool(array, case.id, {"kernel": 1, "stride": window["stride"]})
    kept = array[:: window["stride"][0], :: window["stride"][1]]
    expected = np.zeros_like(kept) if name in nothing else does.get(name, np.asarray)(kept)
    close(case, result, expected, array)


LINEAR = ("avg", "sum", "blur", "first", "center")


@pytest.mark.parametrize("method", LINEAR)
@law
@given(data=st.data(), factor=st.integers(-8, 8))
def test_what_is_linear_is_linear(method, data, factor):
    one = data.draw(hnp.arrays("float64", (7, 8), elements=values("float64")))
    other = data.draw(hnp.arrays("float64", (7, 8), elements=values("float64")))
    window = data.draw(windows((7, 8)))
    whole = pool(one + factor * other, method, window)
    parts = pool(one, method, window) + factor * pool(other, method, window)
    np.testing.assert_allclose(whole, parts, 1e-12, 1e-7)


@law
@given(poolings(("float64",)), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_from_the_minimum_to_the_maximum(pooling, one, other):
    array, window = pooling
    shares = sorted((one, other))
    steps = [pool(array, f"quantile:{share:.17f}", window) for share in (0, *shares, 1)]
    np.testing.assert_array_equal(steps[0], pool(array, "min", window))
    np.testing.assert_array_equal(steps[-1], pool(array, "max", window))
    for low, high in pairwise(steps):
        assert (low <= high).all()
    for rule in ("lower", "nearest", "higher"):
        chosen = pool(array, f"quantile:{one:.17f}:{rule}", window)
        assert np.isin(chosen, array).all()


@law
@given(poolings(("float64",)))
def test_means_of_rising_power_rise(pooling):
    array, window = pooling
    tokens = ("lp:0.5", "lp:1", "l2", "lp:2.7", "lp:7", "lp:inf")
    steps = [pool(array, token, window) for token in tokens]
    for low, high in pairwise(steps):
        assert (low <= high * (1 + 1e-12) + 1e-12).all()
    soft = [pool(array / 512, token, window) for token in ("soft:-5", "soft:-1", "avg", "soft", "soft:5", "max")]
    for low, high in pairwise(soft):
        assert (low <= high + 1e-9).all()


@law
@given(poolings(("float64",)))
def test_spreads_do_not_see_where_the_middle_is(pooling):
    array, window = pooling
    for method in ("range", "std", "var"):
        moved = pool(array + 4096, method, window)
        np.testing.assert_allclose(moved, pool(array, method, window), 1e-12, 1e-9)
    variance = pool(array, "std", window) ** 2
    np.testing.assert_allclose(variance, pool(array, "var", window), 1e-14)
    assert (pool(array, "std", window) <= pool(array, "range", window) / 2 * (1 + 1e-12)).all()


@pytest.mark.parametrize("case", EVERY, ids=by_id)
@brief
@given(data=st.data())
def test_layouts_axes_slabs_bands_and_engines_change_no_value(case, data):
    dtype = data.draw(st.sampled_from(("float64", "uint8")))
    layout, lengths = data.draw(st.sampled_from((("NLC", (23,)), ("NHWC", (7, 8)), ("NDHWC", (4, 5, 6)))))
    array = np.random.default_rng(data.draw(st.integers(0, 9))).normal(size=(3, *lengths, 2)) * 50
    array = (array % 256).astype(dtype) if dtype == "uint8" else array
    window = data.draw(windows(lengths))
    expected = pool(array, case.id, {**window, "layout": layout})
    alone = pool(np.ascontiguousarray(array[1, ..., 1]), case.id, {**window, "layout": layout[1:-1]})
    np.testing.assert_array_equal(expected[1, ..., 1], alone)
    turned = tuple(slice(None, None, data.draw(st.sampled_from((1, -1)))) for _ in array.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "SLAB", data.draw(st.integers(1, 2 * array.size)))
        patch.setattr(bands_of_numpy, "BAND", data.draw(st.integers(1, 2 * array.size)))
        patch.setattr("poolcli.core.threads.ALONE", 0)
        engine = "numpy" if len(lengths) == 3 and dtype == "uint8" else data.draw(st.sampled_from(("numpy", "numba")))
        options = {"engine": engine, "threads": data.draw(st.sampled_from((1, 2, 7))), "layout": layout}
        result = poolcli.pool(array[turned].copy()[turned], case.id, **window, **options)
    np.testing.assert_array_equal(result, expected)
