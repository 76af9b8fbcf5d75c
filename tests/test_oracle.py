"""Proves the oracle by peers: what it says is what poolcli is held to."""

from __future__ import annotations

import numpy as np
import oracle
import oracle_indices
import pytest
from cases import WINDOW_COUNTS, sample
from goldens import UNPASSABLE, onnx_archive, onnx_goldens, onnx_unpooled, torch_goldens, torch_unpooled
from numpy.lib.stride_tricks import sliding_window_view
from refusals import REFUSALS, UNPOOL_REFUSALS
from test_reference import reference, windows

GOLDENS = [*onnx_goldens(), *torch_goldens()]
UNPOOLED = [*onnx_unpooled(), *torch_unpooled()]


def by_id(case):
    return case.id


# Peers.


def test_all_node_tests_of_onnx_are_here():
    assert len(onnx_archive()[0]) == 53
    assert {golden.id for golden in [*onnx_goldens(), *onnx_unpooled()]} | set(UNPASSABLE) == set(onnx_archive()[0])


@pytest.mark.parametrize("golden", GOLDENS, ids=by_id)
def test_the_oracle_gives_what_onnx_and_pytorch_give(golden):
    array, expected, arguments = golden.array, golden.expected, oracle.arguments_of(golden.arguments)
    if expected.size > 5000:  # a part is enough: the first channel's first rows, where no padding follows
        array, expected = array[:, :1, :6], expected[:, :1, :5]
    result = oracle.pool(array, golden.method, arguments.pop("kernel", None), **arguments)
    np.testing.assert_allclose(result, expected, golden.rtol, golden.atol)
    assert result.dtype == golden.expected.dtype


@pytest.mark.parametrize("golden", [golden for golden in GOLDENS if golden.indices is not None], ids=by_id)
def test_the_oracle_finds_the_maxima_where_onnx_and_pytorch_do(golden):
    arguments = oracle.arguments_of(golden.arguments)
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
        np.testing.assert_allclose(oracle.pool(array, method, kernel, (1, 1)), expected, 4e-16, 1e-13)


# What the reference pages of the field give as numbers.


@pytest.mark.parametrize(("window", "count"), WINDOW_COUNTS)
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
