"""Proves the oracle by laws that hold whatever a method gives, and by numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import oracle
import oracle_methods
import pytest
from cases import LINES, METHOD_CASES, PAD_MODES, TARGETS, VOLUMES, WINDOWS, sample
from numpy.lib.stride_tricks import sliding_window_view

AVERAGES = ["avg", "l2", "lp:3", "lp:2.5", "gem", "lse", "lse:-2", "soft", "soft:0.5", "var", "std", "stochastic"]
METHODS = [*AVERAGES, "max", "min", "sum", "norm:2", "range", "prod", "mixed:0.3", "median", "median:lower", "mode"]
EPS = 2**-52


def by_id(case):
    return case.id


# Windows, by laws.


@pytest.mark.parametrize(("length", "out"), [(5, 2), (7, 3), (3, 5), (8, 4), (10, 7)])
def test_area_windows_are_blocks_of_the_repeated_axis(length, out):
    array = sample((length,), "float64")
    blocks = np.repeat(array, out).reshape(out, length)
    for method, rule in (("avg", np.mean), ("max", np.max), ("median", np.median), ("std", np.std)):
        result = oracle.pool(array, method, to=(out,), to_rule="area")
        np.testing.assert_allclose(result, rule(blocks, axis=1), 4 * EPS)
    assert oracle.pool(array, "sum", to=(out,), to_rule="area").sum() == pytest.approx(array.sum(), rel=1e-14)


def test_partial_windows_are_means_of_the_pixels_that_are_there():
    row = np.array([10, 20, 30, 40, 50])
    assert oracle.pool(row, "avg", (2,), edge="partial").tolist() == [15, 35, 50]
    assert oracle.pool(row, "avg", (8,), edge="partial").tolist() == [30]
    assert oracle.pool(row, "avg", (2,), edge="drop").tolist() == [15, 35]
    with pytest.raises(oracle.UnevenError):
        oracle.pool(row, "avg", (2,), edge="error")


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_any_number_of_axes_is_pooled(axes):
    array = sample((2, *(5,) * axes), "float64")
    expected = sliding_window_view(array, (2,) * axes, tuple(range(1, axes + 1)))
    expected = expected[(slice(None), *(slice(None, None, 3),) * axes)]
    pooled = oracle.pool(array, "sum", (2,) * axes, (3,) * axes)
    np.testing.assert_array_equal(pooled, expected.sum(tuple(range(-axes, 0))))


def test_a_picked_element_is_the_nearest_real_one():
    row = np.arange(1, 8)
    window = {"kernel": (4,), "stride": (3,), "padding": [(3, 3)]}
    assert oracle.pool(row, "first", **window).tolist() == [1, 1, 4, 7]
    assert oracle.pool(row, "center", **window).tolist() == [1, 3, 6, 7]
    assert oracle.pool(row, "center", (2,)).tolist() == [2, 4, 6]


@pytest.mark.parametrize("case", [*LINES, *VOLUMES], ids=by_id)
def test_windows_of_one_and_three_axes_are_products_of_lines(case):
    array = sample((9, 8, 7)[3 - len(case.kernel) :], "int16")
    pooled = oracle.pool(array, "max", **case.arguments)
    for axis in range(array.ndim):
        line = {name: (value[axis],) if isinstance(value, tuple) else value for name, value in case.arguments.items()}
        array = np.moveaxis(oracle.pool(np.moveaxis(array, axis, -1), "max", **line), -1, axis)
    np.testing.assert_array_equal(pooled, array)


@pytest.mark.parametrize("mode", [mode for mode in PAD_MODES if mode != "identity"])
@pytest.mark.parametrize(
    "case", [case for case in WINDOWS if max(case.kernel) < 9 and case.padding != ((0, 0),) * 2], ids=by_id
)
def test_padding_of_a_mode_is_as_if_it_had_been_input(case, mode):
    array = sample((11, 10), "int32")
    padding = case.padding
    if isinstance(padding, str):
        each = zip(array.shape, case.kernel, case.stride, case.dilation, strict=True)
        padding = [oracle.same_padding(*axis, lower=padding == "same-lower") for axis in each]
    kind = "constant" if mode == "zero" else mode
    padded = np.pad(array, padding, kind)
    for method in ("avg", "min"):
        expected = oracle.pool(padded, method, **{**case.arguments, "padding": None})
        pooled = oracle.pool(array, method, **case.arguments, pad_mode=mode)
        inner = tuple(map(slice, pooled.shape))  # with ceil, a window that begins in the padding after is no more
        np.testing.assert_array_equal(pooled, expected[inner])


@pytest.mark.parametrize("case", TARGETS, ids=by_id)
@pytest.mark.parametrize("method", [case for case in METHOD_CASES if case.id not in oracle.BLURS], ids=by_id)
def test_every_method_pools_to_every_target(case, method):
    array = abs(sample((7, 8), "float64")) + 0.5
    pooled = oracle.pool(array, method.id, **oracle.arguments_of(case.arguments))
    assert np.isfinite(pooled).all()
    if method.id.partition(":")[0] not in {
        "sum",
        "norm",
        "prod",
        "var",
        "std",
        "range",
    }:  # the others are means or picks
        assert array.min() * (1 - 4 * EPS) <= pooled.min() <= pooled.max() <= array.max() * (1 + 4 * EPS)


def test_the_table_of_cases_names_every_method():
    told = {case.id.partition(":")[0] for case in METHOD_CASES} | {"weighted", "gated"}
    assert told == set(oracle_methods.METHODS)


# Methods, by laws.


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_is_a_number_of_repetitions(method):
    rng = np.random.default_rng(9)
    for _ in range(10):
        values, weights = rng.integers(1, 9, 6) / 2, rng.integers(0, 4, 6)
        weights[rng.integers(6)] = 2
        many = np.repeat(values, weights)
        repeated = oracle.pool(many, method, to=(1,))
        if method == "prod":
            repeated = oracle.pool(values[weights > 0], method, to=(1,))
        np.testing.assert_allclose(oracle.pool(values, method, to=(1,), weights=weights), repeated, 4 * EPS)


@pytest.mark.parametrize("method", [*METHODS, "quantile:0.3", "first", "blur"])
def test_what_weighs_nothing_is_not_there_and_ones_weigh_nothing_new(method):
    values, weights = sample((8,), "float64"), np.array([0, 1, 1, 0, 1, 0, 1, 1])
    values = abs(values)
    values[weights == 0] = np.nan
    if method != "blur":  # which knows where its values stand
        expected = oracle.pool(values[weights > 0], method, to=(1,))
        np.testing.assert_array_equal(oracle.pool(values, method, to=(1,), weights=weights), expected)
    array = abs(sample((5, 6), "float64"))
    window = {"kernel": (3, 2), "stride": (2, 1), "padding": [(1, 0), (1, 1)]}
    plain = oracle.pool(array, method, **window)
    np.testing.assert_array_equal(oracle.pool(array, method, **window, weights=np.ones(6)), plain)


@pytest.mark.parametrize("method", [*METHODS, "blur", "maxblur", "quantile:0.9", "mode:sparse", "quantile:1:lower"])
def test_nan_spreads_over_its_windows_alone(method):
    array = np.ones((4, 8))
    array[0, 1] = np.nan
    window = {"padding": [(0, 0)] * 2} if "blur" in method else {}
    missing = np.isnan(oracle.pool(array, method, (2, 2), (2, 2), **window))
    assert (missing[0, 0], missing.sum()) == (True, 1)


def test_infinities_give_what_the_formula_gives():
    up, both, down = np.array([1, np.inf]), np.array([-np.inf, np.inf]), np.array([-np.inf, -np.inf])
    expected = {
        "avg": (np.inf, np.nan, -np.inf),
        "lse": (np.inf, np.inf, -np.inf),
        "lse:-1": (1 + math.log(2), -np.inf, -np.inf),
        "soft": (np.nan, np.nan, np.nan),
        "var": (np.nan, np.nan, np.nan),
        "l2": (np.inf, np.inf, np.inf),
        "range": (np.inf, np.inf, np.nan),
        "median": (np.inf, np.nan, -np.inf),
        "median:lower": (1, -np.inf, -np.inf),
        "quantile:0": (1, -np.inf, -np.inf),
        "prod": (np.inf, -np.inf, np.inf),
        "mixed:1": (np.inf, np.inf, -np.inf),
    }
    for method, numbers in expected.items():
        result = [oracle.pool(array, method, (2,)).item() for array in (up, both, down)]
        np.testing.assert_allclose(result, numbers, EPS)


def test_large_and_near_values_lose_nothing():
    pair = np.array([-800.0, -801, 800, 799])
    low, high = oracle.pool(pair, "soft", (2,)), oracle.pool(pair, "lse", (2,))
    share = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(low, [-800 - (1 - share), 799 + share], 2 * EPS)
    np.testing.assert_allclose(high, [each + math.log((1 + math.exp(-1)) / 2) for each in (-800, 800)], 2 * EPS)
    assert oracle.pool(1e8 + np.arange(3.0), "var", (3,)).item() == pytest.approx(2 / 3, rel=EPS)
    assert oracle.pool(np.array([2**63 - 1, 2**63 - 2, 2**63 - 1]), "mode", (3,)).item() == 2**63 - 1


@pytest.mark.parametrize(
    ("rounding", "numbers"),
    [("even", [-2, -2, 0, 0, 2, 2]), ("up", [-2, -1, 0, 1, 2, 3]), ("floor", [-3, -2, -1, 0, 1, 2])],
)
def test_integers_are_rounded_once(rounding, numbers):
    sums = np.array([[-5, 0], [-3, 0], [-1, 0], [1, 0], [3, 0], [5, 0]])
    result = oracle.pool(sums, "avg", (1, 2), dtype="int8", rounding=rounding)
    assert result.ravel().tolist() == numbers
    halves = {"even": [2, 4], "up": [3, 4], "floor": [2, 3]}[rounding]  # roots of 6.25 and 12.25
    squares = [np.array([0.5, 3.5]), np.array([0.0, 24.5**0.5])]
    assert oracle.pool(squares[0], "l2", (2,), dtype="u1", rounding=rounding).item() == halves[0]
    cubes = np.array([2.5, 2.5, 3.5, 3.5])
    assert oracle.pool(cubes, "lp:3", (2,), dtype="u1", rounding=rounding).tolist() == halves


def test_a_blur_of_three_is_one_two_one():
    array = sample((5, 6), "float64")
    padded = np.pad(array, 1, "reflect")
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = (sliding_window_view(padded, (3, 3)) * taps).sum((-2, -1))[::2, ::2]
    np.testing.assert_allclose(oracle.pool(array, "blur", (3, 3), (2, 2)), expected, rtol=1e-14)
    maxima = oracle.pool(array, "max", (3, 3), (1, 1), [(1, 1)] * 2)
    np.testing.assert_array_equal(
        oracle.pool(array, "maxblur", (3, 3), (2, 2)), oracle.pool(maxima, "blur", (3, 3), (2, 2))
    )


def test_given_taps_are_a_convolution_and_a_gate():
    array, taps = sample((4, 6), "float64") / 100, np.array([[1, 0.5], [-2, 0.25]])
    blocks = array.reshape(2, 2, 3, 2).swapaxes(1, 2)
    dot = (blocks * taps).sum((-2, -1))
    np.testing.assert_allclose(oracle.pool(array, "weighted", (2, 2), filter=taps), dot, rtol=1e-12)
    gate = 1 / (1 + np.exp(-dot))
    expected = gate * blocks.max((-2, -1)) + (1 - gate) * blocks.mean((-2, -1))
    np.testing.assert_allclose(oracle.pool(array, "gated", (2, 2), filter=taps), expected, rtol=1e-12)


def test_windows_of_padding_alone_have_the_identity_or_nothing():
    row = np.ones(1)
    window = {"kernel": (2,), "stride": (1,), "padding": [(1, 1)], "dilation": (2,)}
    zeros = [*AVERAGES, "sum", "norm:2", "range", "mixed", "blur"]
    for method in zeros:
        assert oracle.pool(row, method, **window, pad_mode="identity").item() == 0
    numbers = {"max": -np.inf, "min": np.inf, "prod": 1}
    assert {method: oracle.pool(row, method, **window).item() for method in numbers} == numbers
    for method in ("median", "median:lower", "quantile:0.5", "mode", "first", "center"):
        assert np.isnan(oracle.pool(row, method, **window)).all()
        with pytest.raises(oracle.EmptyWindowError):
            oracle.pool(row.astype("u1"), method, **window, dtype="u1")
