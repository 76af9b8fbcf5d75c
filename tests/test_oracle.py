"""Proves the oracle itself, by peers and by laws: what it says is what poolcli is held to."""

from __future__ import annotations

import math

import numpy as np
import oracle
import oracle_indices
import oracle_methods
import pytest
from cases import LINES, METHOD_CASES, PAD_MODES, TARGETS, VOLUMES, WINDOWS, sample
from goldens import UNPASSABLE, onnx_archive, onnx_goldens, onnx_unpooled, torch_goldens, torch_unpooled
from numpy.lib.stride_tricks import sliding_window_view
from refusals import REFUSALS, UNPOOL_REFUSALS
from test_reference import reference, windows

GOLDENS = [*onnx_goldens(), *torch_goldens()]
UNPOOLED = [*onnx_unpooled(), *torch_unpooled()]
AVERAGES = ["avg", "l2", "lp:3", "lp:2.5", "gem", "lse", "lse:-2", "soft", "soft:0.5", "var", "std", "stochastic"]
METHODS = [*AVERAGES, "max", "min", "sum", "norm:2", "range", "prod", "mixed:0.3", "median", "median:lower", "mode"]
EPS = 2**-52


def by_id(case):
    return case.id


def as_oracle(arguments):
    """Return arguments of poolcli.pool as the oracle takes them."""
    return {"samples" if name == "seed" else name: value for name, value in arguments.items() if name != "layout"}


# Peers.


def test_all_node_tests_of_onnx_are_here():
    assert len(onnx_archive()[0]) == 53
    assert {golden.id for golden in [*onnx_goldens(), *onnx_unpooled()]} | set(UNPASSABLE) == set(onnx_archive()[0])


@pytest.mark.parametrize("golden", GOLDENS, ids=by_id)
def test_the_oracle_gives_what_onnx_and_pytorch_give(golden):
    array, expected, arguments = golden.array, golden.expected, as_oracle(golden.arguments)
    if expected.size > 5000:  # a part is enough: the first channel's first rows, where no padding follows
        array, expected = array[:, :1, :6], expected[:, :1, :5]
    result = oracle.pool(array, golden.method, arguments.pop("kernel", None), **arguments)
    np.testing.assert_allclose(result, expected, golden.rtol, golden.atol)
    assert result.dtype == golden.expected.dtype


@pytest.mark.parametrize("golden", [golden for golden in GOLDENS if golden.indices is not None], ids=by_id)
def test_the_oracle_finds_the_maxima_where_onnx_and_pytorch_do(golden):
    arguments = as_oracle(golden.arguments)
    found = oracle_indices.indices(golden.array, "max", arguments.pop("kernel", None), **arguments)
    found = oracle_indices.in_layout(found, golden.index_layout, golden.array.shape)
    padding_alone = golden.expected == -np.inf if "12" in str(golden.arguments.get("dilation")) else False
    np.testing.assert_array_equal(found, np.where(padding_alone, -1, golden.indices))


@pytest.mark.parametrize("case", UNPOOLED, ids=by_id)
def test_the_oracle_unpools_as_onnx_and_pytorch_do(case):
    result = oracle_indices.unpool(case.values, case.indices, case.size)
    np.testing.assert_array_equal(result, case.expected)


@pytest.mark.parametrize("window", windows(11, 20), ids=str)
def test_the_oracle_gives_what_onnxruntime_gives(window):
    array = sample((12, 13), "float32")
    for operator, method, more in (
        ("MaxPool", "max", {}),
        ("AveragePool", "avg", {"count_include_pad": 1}),
        ("LpPool", "norm:3", {"p": 3}),
    ):
        counted = {"count_include_pad": True} if "count_include_pad" in more else {}
        expected = reference(operator, array, window, 22, **more)
        result = oracle.pool(array, method, **window, **counted)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("symmetric", "reflect"), ("reflect", "mirror"), ("edge", "nearest"), ("wrap", "wrap"), ("zero", "constant")],
)
def test_the_oracle_pads_and_selects_as_scipy_does(ours, theirs):
    ndimage = pytest.importorskip("scipy.ndimage")
    array = sample((6, 7), "int16")
    for kernel in ((3, 3), (2, 5), (1, 4)):
        window = {"stride": (1, 1), "padding": [(k // 2, k - 1 - k // 2) for k in kernel], "pad_mode": ours}
        for method, theirs_too in (("max", ndimage.maximum_filter), ("min", ndimage.minimum_filter)):
            expected = theirs_too(array, kernel, mode=theirs)
            np.testing.assert_array_equal(oracle.pool(array, method, kernel, **window), expected)
        upper = ndimage.median_filter(array, kernel, mode=theirs)
        np.testing.assert_array_equal(oracle.pool(array, "quantile:0.5:higher", kernel, **window), upper)
        np.testing.assert_array_equal(
            oracle.pool(array.astype("f8"), "avg", kernel, **window), uniform(ndimage, array, kernel, theirs)
        )


def uniform(ndimage, array, kernel, mode):
    """Return SciPy's mean of each window by a function of the window."""
    return ndimage.generic_filter(array.astype("f8"), lambda each: each.sum() / each.size, kernel, mode=mode)


def test_the_oracle_votes_as_scipy_does():
    stats = pytest.importorskip("scipy.stats")
    array = np.random.default_rng(5).integers(-2, 3, (9, 10))
    expected = stats.mode(sliding_window_view(array, (3, 4)).reshape(7, 7, 12), axis=-1).mode
    np.testing.assert_array_equal(oracle.pool(array, "mode", (3, 4), (1, 1)), expected)


@pytest.mark.parametrize("rule", ["linear", "lower", "higher", "nearest"])
@pytest.mark.parametrize("share", ["0", "0.1", "0.25", "0.5", "0.75", "0.9", "1"])
def test_the_oracles_quantiles_are_numpys(share, rule):
    array = sample((7, 9), "float64")
    for kernel in ((1, 2), (2, 2), (3, 3), (2, 4)):
        each = sliding_window_view(array, kernel)
        expected = np.quantile(each, float(share), (-2, -1), method=rule)
        method = f"quantile:{share}" + (f":{rule}" if rule != "linear" else "")
        np.testing.assert_allclose(oracle.pool(array, method, kernel, (1, 1)), expected, 2 * EPS, 1e-13)


# What the reference pages of the field give as numbers.


@pytest.mark.parametrize(
    ("window", "count"),
    [
        ((5, 1, 2, 0, 0, 1, True), 3),
        ((6, 1, 2, 0, 0, 1, True), 3),
        ((7, 1, 2, 0, 0, 1, True), 4),
        ((3, 2, 2, 1, 1, 1, False), 2),
        ((4, 2, 2, 1, 1, 1, True), 3),
        ((5, 2, 2, 1, 1, 1, True), 3),
        ((2, 3, 3, 1, 1, 1, True), 1),
        ((2, 1, 2, 0, 0, 1, True), 1),
        ((4, 3, 3, 0, 0, 1, True), 2),
        ((4, 3, 2, 1, 1, 1, True), 3),
        ((1, 2, 2, 1, 1, 2, False), 1),
        ((2, 2, 2, 1, 1, 2, True), 2),
        ((32, 5, 3, 0, 0, 2, True), 9),
        ((32, 5, 3, 0, 0, 2, False), 8),
        ((9, 7, 3, 3, 3, 1, True), 4),
    ],
)
def test_the_number_of_windows_is_pytorchs(window, count):
    assert oracle.window_count(oracle.Axis(*window)) == count


def test_refusals_have_names_of_their_own():
    names = [case.id for case in (*REFUSALS, *UNPOOL_REFUSALS)]
    assert len(names) == len(set(names))


TOO_LARGE = [case for case in REFUSALS if case.rule.startswith("a window fits") and case.id != "stride-of-2-to-63"]


@pytest.mark.parametrize("case", TOO_LARGE, ids=by_id)
def test_a_window_too_large_for_the_input_has_no_place(case):
    with pytest.raises(oracle.TooSmallError):
        oracle.pool(np.zeros(case.shape), case.method, **case.arguments)


@pytest.mark.parametrize(
    ("axis", "pads"),
    [((5, 2, 2, 1), (0, 1)), ((5, 3, 2, 2), (2, 2)), ((6, 1, 3, 1), (0, 0)), ((32, 2, 1, 1), (0, 1))],
)
def test_same_padding_is_tensorflows(axis, pads):
    assert oracle.same_padding(*axis) == pads
    assert oracle.same_padding(*axis, lower=True) == pads[::-1]


@pytest.mark.parametrize(
    ("length", "out", "spans"),
    [
        (10, 3, [(0, 4), (3, 7), (6, 10)]),
        (5, 3, [(0, 2), (1, 4), (3, 5)]),
        (3, 2, [(0, 2), (1, 3)]),
        (10, 7, [(0, 2), (1, 3), (2, 5), (4, 6), (5, 8), (7, 9), (8, 10)]),
        (2, 3, [(0, 1), (0, 2), (1, 2)]),
    ],
)
def test_adaptive_windows_are_pytorchs(length, out, spans):
    assert [(taps.real[0], taps.real[-1] + 1) for taps in oracle.adaptive_taps(length, out)] == spans


@pytest.mark.parametrize(
    ("axis", "starts"),
    [((7, 3, 2, 0.3), [0, 3, 5]), ((10, 6, 2, 0.5), [0, 2, 4, 5, 7, 8]), ((9, 1, 4, 0.7), [5])],
)
def test_fractional_windows_are_pytorchs(axis, starts):
    assert [taps.real[0] for taps in oracle.fractional_taps(*axis, np.dtype("f8"))] == starts


def test_the_divisor_counts_padding_but_no_overhang():
    array = np.arange(1.0, 5)
    counted = {"ceil": True, "count_include_pad": True}
    assert oracle.pool(array, "avg", (3,), (2,), [(1, 1)], **counted).tolist() == [1, 3, 2]
    assert oracle.pool(array, "avg", (3,), (3,), ceil=True).tolist() == [2, 4]
    assert oracle.pool(array, "avg", (3,), (3,), ceil=True, divisor=4).tolist() == [1.5, 1]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_maximum_of_negative_integers_is_negative_beside_padding(dtype):
    array = np.full((1, 1), -4, dtype)
    window = {"stride": (2, 2), "padding": [(1, 1)] * 2, "dilation": (1, 1), "ceil": True}
    assert oracle.pool(array, "max", (2, 2), **window).tolist() == [[-4]]


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
    pooled = oracle.pool(array, method.id, **as_oracle(case.arguments))
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
