"""Proves what weights, masks, nodata and NaN do: by the oracle, by NumPy's masked arrays, and by its nan-functions."""

from __future__ import annotations

from functools import partial

import numpy as np
import oracle
import pytest
import tifffile
from cases import METHOD_CASES, sample
from hypothesis import given
from hypothesis import strategies as st
from test_views import trials, views, windows

import poolcli
from poolcli.core import arrays, execution, means
from poolcli.errors import InputError, UsageError

EMPTY = -7  # stands for windows without a valid element
BLUR = {"blur", "maxblur"}
WINDOWS = {
    "padded": {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1))},
    "uneven": {"kernel": (2, 3), "stride": (1, 2)},
    "dilated": {"kernel": (2, 2), "stride": (3, 1), "dilation": (2, 3), "ceil": True, "count_include_pad": True},
    "adaptive": {"to": (4, 3)},
}
CASES = [  # blur reflects, and takes no target
    pytest.param(case, window, id=f"{case.id}-{window}")
    for case in METHOD_CASES
    for window in (("padded", "uneven") if case.id in BLUR else WINDOWS)
]
BLOCK = {"kernel": 3, "engine": "numpy"}


def values_for(case, dtype, shape=(2, 9, 10)):
    x = sample(shape, dtype)
    if case.nonnegative:
        x = np.abs(x // 2)
    return (x % 3).astype(dtype) if case.id == "prod" else x


def weights_of(kind, shape, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "mask":
        return rng.integers(0, 2, shape).astype(bool)
    if kind == "plane":  # of all channels
        return rng.choice([0, 0.5, 1], shape[1:])
    return rng.choice([0, 0.25, 0.5, 1, 2], shape)


def blocks(x, k=3):
    """Return the elements of each k x k block, in a last axis of their own."""
    rows, columns = x.shape[0] // k, x.shape[1] // k
    return x[: rows * k, : columns * k].reshape(rows, k, columns, k).swapaxes(1, 2).reshape(rows, columns, k * k)


# Every method, by the oracle.


@pytest.mark.parametrize("kind", ["mask", "weights", "plane"])
@pytest.mark.parametrize("dtype", ["float64", "int16"])
@pytest.mark.parametrize(("case", "window"), CASES)
def test_every_method_weighs_as_the_oracle_does(case, dtype, kind, window):
    x = values_for(case, dtype)
    weights, arguments = weights_of(kind, x.shape), WINDOWS[window]
    counts = (np.broadcast_to(weights, x.shape) > 0).astype(float)
    lying = oracle.pool(counts, case.id if case.id in BLUR else "sum", **arguments)  # what is reflected counts, too
    options = {"mask" if kind == "mask" else "weights": weights}
    result = poolcli.pool(
        x, case.id, engine="numpy", layout="CHW", empty=EMPTY, dtype="float64", **arguments, **options
    )
    expected = np.full(result.shape, float(EMPTY))
    there = lying > 0
    if case.id == "center":  # masked itself, while others are there: nothing is chosen
        expected = picked(x, weights, arguments)
    elif case.id == "maxblur":  # where there is no maximum, there is nothing to blur
        kernel, dilation = arguments["kernel"], arguments.get("dilation")
        held = oracle.pool(counts, "max", kernel, (1, 1), "same", dilation=dilation)
        maxima = oracle.pool(x, "max", kernel, (1, 1), "same", dilation=dilation, weights=weights, dtype="float64")
        blurred = oracle.pool(maxima, "blur", **arguments, weights=held)
        there = oracle.pool(held, "blur", **arguments) > 0
        expected[there] = blurred[there]
    else:
        full = oracle.pool(x, case.id, weights=weights, dtype="float64", **arguments)
        expected[there] = full[there]
    case.check(result, expected, x)


def picked(x, weights, arguments):
    """Return the centers, EMPTY where they are masked."""
    hidden = np.where(np.broadcast_to(weights, x.shape) > 0, x.astype(float), np.nan)
    found = oracle.pool(hidden, "center", **arguments)
    return np.where(np.isnan(found), EMPTY, found)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64", "bool"])
@pytest.mark.parametrize("case", METHOD_CASES, ids=lambda case: case.id)
def test_weights_of_one_change_no_bit(case, dtype):
    x = values_for(case, dtype)
    if dtype.startswith("float") and case.id != "prod":
        x = np.random.default_rng(0).normal(size=x.shape).astype(dtype)
        x = np.abs(x) if case.nonnegative else x
    for arguments in (WINDOWS["padded"], WINDOWS["dilated"], {"to": (4, 3)}):
        if case.id in BLUR and "kernel" not in arguments:
            continue
        plain = poolcli.pool(x, case.id, engine="numpy", layout="CHW", **arguments)
        for options in ({"weights": np.ones(x.shape)}, {"mask": np.ones(x.shape, bool)}, {"weights": np.ones((9, 10))}):
            weighed = poolcli.pool(x, case.id, engine="numpy", layout="CHW", **arguments, **options)
            assert weighed.dtype == plain.dtype
            np.testing.assert_array_equal(weighed, plain)


@pytest.mark.slow  # it compiles the kernels of weights
@pytest.mark.parametrize(
    ("method", "dtype"), [("avg", "float64"), ("max", "float64"), ("max", "uint8"), ("avg", "uint8")]
)
def test_weights_of_one_change_no_bit_of_what_kernels_give(method, dtype):
    x = np.random.default_rng(1).normal(50, 20, size=(2, 33, 29)).astype(dtype)
    options = {"layout": "CHW", "kernel": 3, "stride": 1, "padding": 1, "engine": "numba"}
    weighed = poolcli.pool(x, method, weights=np.ones((33, 29)), **options)
    np.testing.assert_array_equal(weighed, poolcli.pool(x, method, **options))


@pytest.mark.parametrize("case", METHOD_CASES, ids=lambda case: case.id)
def test_a_mask_a_nodata_value_and_nan_that_is_ignored_are_one_thing(case):
    x = np.abs(values_for(case, "float64")) + 1
    mask = weights_of("mask", x.shape)
    hollow, coded = np.where(mask, x, np.nan), np.where(mask, x, -9999.0)
    options = {"layout": "CHW", "engine": "numpy", **WINDOWS["padded"]}
    expected = poolcli.pool(x, case.id, mask=mask, **options)
    np.testing.assert_array_equal(poolcli.pool(hollow, case.id, nan="ignore", **options), expected)
    np.testing.assert_array_equal(poolcli.pool(coded, case.id, nodata=-9999, **options), expected)
    np.testing.assert_array_equal(poolcli.pool(hollow, case.id, weights=mask * 1.0, **options), expected)


# NumPy's own.


@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("max", np.nanmax),
        ("min", np.nanmin),
        ("avg", np.nanmean),
        ("sum", np.nansum),
        ("prod", np.nanprod),
        ("std", np.nanstd),
        ("var", np.nanvar),
        ("median", np.nanmedian),
        ("quantile:0.3", lambda x, axis: np.nanquantile(x, 0.3, axis)),
        ("quantile:0.3:lower", lambda x, axis: np.nanquantile(x, 0.3, axis, method="lower")),
        ("range", lambda x, axis: np.nanmax(x, axis) - np.nanmin(x, axis)),
        ("l2", lambda x, axis: np.sqrt(np.nanmean(x**2, axis))),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_nan_that_is_ignored_gives_what_numpys_nan_functions_give(method, function, seed):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((12, 15)) < 0.4, np.nan, rng.normal(size=(12, 15)))
    found = poolcli.pool(x, method, nan="ignore", **BLOCK)
    np.testing.assert_allclose(found, function(blocks(x), axis=-1), 1e-12, 1e-14)


@pytest.mark.parametrize("method", ["max", "min", "avg", "sum", "prod", "std", "var", "range", "median"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8"])
def test_a_masked_array_gives_what_numpys_masked_methods_give(method, dtype):
    rng = np.random.default_rng(3)
    x = np.ma.array(rng.integers(1, 5, (12, 15)).astype(dtype), mask=rng.random((12, 15)) < 0.7)
    x[:3, :3] = np.ma.masked
    parted = np.ma.array(blocks(x.data), mask=blocks(x.mask))
    functions = {"avg": "mean", "range": "ptp"}
    if method == "median":
        expected = np.ma.median(parted, axis=-1)
    else:
        expected = getattr(parted.astype("f8"), functions.get(method, method))(axis=-1)
    found = poolcli.pool(x, method, **BLOCK)
    assert isinstance(found, np.ma.MaskedArray)
    assert found.dtype == poolcli.pool(x.filled(1), method, **BLOCK).dtype
    np.testing.assert_array_equal(found.mask, np.ma.getmaskarray(expected))
    assert found.mask[0, 0]
    np.testing.assert_allclose(found.compressed(), expected.compressed(), 1e-6 if dtype == "float32" else 1e-12)


def test_weighted_means_and_quantiles_are_numpys():
    rng = np.random.default_rng(4)
    x, weights = rng.normal(size=(12, 15)), rng.integers(0, 4, (12, 15)) * 0.5
    x_blocks, w_blocks = blocks(x), blocks(weights)
    found = poolcli.pool(x, "avg", weights=weights, **BLOCK)
    np.testing.assert_allclose(found, np.average(x_blocks, axis=-1, weights=w_blocks), 1e-12)
    found = poolcli.pool(x, "median:lower", weights=weights, **BLOCK)
    expected = [
        np.quantile(values, 0.5, weights=w, method="inverted_cdf")
        for values, w in zip(x_blocks.reshape(-1, 9), w_blocks.reshape(-1, 9), strict=True)
    ]
    np.testing.assert_array_equal(found.ravel(), expected)


@pytest.mark.parametrize("method", ["avg", "std", "median", "quantile:0.25", "mode", "stochastic", "lse"])
def test_the_size_of_weights_does_not_matter_to_what_is_relative(method):
    x, weights = sample((6, 9), "uint8"), weights_of("weights", (6, 9)) + 1
    few, many = (poolcli.pool(x, method, weights=weights * scale, **BLOCK) for scale in (1, 4))
    np.testing.assert_allclose(few, many, 1e-12)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", METHOD_CASES, ids=lambda case: case.id)
def test_what_is_masked_does_not_matter(case, spoil):
    x = np.abs(values_for(case, "float64"))
    mask = weights_of("mask", x.shape)
    options = {"mask": mask, "layout": "CHW", "engine": "numpy", **WINDOWS["uneven"]}
    expected = poolcli.pool(x, case.id, **options)
    np.testing.assert_array_equal(poolcli.pool(np.where(mask, x, spoil), case.id, **options), expected)


# Windows with too few elements.


def test_windows_with_fewer_valid_elements_than_asked_for_are_empty():
    x = np.ones((4, 6))
    x[:2, :2], x[2:, :2], x[0, 2:6] = np.nan, [[np.nan, 1], [np.nan, np.nan]], [np.nan, np.nan, np.nan, 1]
    valid = np.array([[0, 2, 3], [1, 4, 4]])

    def empty(least):
        return np.isnan(poolcli.pool(x, "avg", nan="ignore", min_valid=least))

    for least in (1, 2, 3, 4, 5):
        np.testing.assert_array_equal(empty(least), valid < least)
    np.testing.assert_array_equal(empty("50%"), valid < 2)
    np.testing.assert_array_equal(empty(0.75), valid < 3)
    np.testing.assert_array_equal(empty("100%"), valid < 4)
    np.testing.assert_array_equal(empty(0), valid < 1)


def test_a_share_of_valid_elements_is_of_those_that_lie_in_the_input():
    x = np.array([[1.0, np.nan, 3.0]])
    found = poolcli.pool(x, "sum", (1, 2), nan="ignore", edge="partial", min_valid="60%")
    np.testing.assert_array_equal(found, [[np.nan, 3]])


def test_what_stands_for_an_empty_window():
    x = np.array([[1, 0], [0, 0]], "uint8")
    holes = {"kernel": 1, "mask": x}
    np.testing.assert_array_equal(poolcli.pool(x, "max", empty=9, **holes), [[1, 9], [9, 9]])
    np.testing.assert_array_equal(poolcli.pool(x * 1.0, "max", **holes), [[1, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(poolcli.pool(x * 1.0, "max", empty="nan", **holes), [[1, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(poolcli.pool(x, "avg", **holes), [[1, np.nan], [np.nan, np.nan]])
    with pytest.raises(InputError, match="windows must have enough valid elements, got 3 without"):
        poolcli.pool(x * 1.0, "max", empty="error", **holes)
    assert poolcli.pool(x, "max", kernel=2, mask=x, empty="error") == 1
    with pytest.raises(InputError, match="windows of integers must have valid elements, got 3 without") as caught:
        poolcli.pool(x, "max", **holes)
    assert caught.value.hint == "empty=0 stands for them"
    with pytest.raises(InputError, match="windows of integers"):
        poolcli.pool(x, "max", empty="nan", **holes)


@pytest.mark.parametrize("value", ["some", [1, 2], {}])
def test_what_stands_for_empty_windows_is_a_number(value):
    with pytest.raises(UsageError, match="empty must be nan, a number or error, got"):
        poolcli.pool(np.ones((4, 4)), empty=value)


@pytest.mark.parametrize("value", ["some", "-1", 1.5, "101%", "2.5", -1])
def test_the_least_number_of_elements_is_a_count_or_a_share(value):
    with pytest.raises(UsageError, match="min_valid must be a whole number, or from 0% to 100%, got"):
        poolcli.pool(np.ones((4, 4)), min_valid=value)


def test_a_value_that_is_drawn_is_one_that_counts():
    x, weights = sample((12, 15), "uint8") + 1.0, np.zeros((12, 15))
    weights[1::3, 2::3] = 0.5
    found = poolcli.pool(np.where(weights, x, -5), "stochastic-sample", weights=weights, **BLOCK)
    np.testing.assert_array_equal(found, x[1::3, 2::3])


def test_a_share_is_exact():
    x = np.where(np.arange(100) < 7, 1.0, np.nan)[None]
    assert poolcli.pool(x, "sum", (1, 100), nan="ignore", min_valid="7%") == 7
    assert poolcli.pool(x, "sum", (1, 100), nan="ignore", min_valid=0.07) == 7
    assert np.isnan(poolcli.pool(x, "sum", (1, 100), nan="ignore", min_valid="7.1%"))


def test_nan_can_be_refused():
    pool = partial(poolcli.pool, engine="numpy")
    x = np.ones((4, 4))
    assert (pool(x, nan="error") == 1).all()
    x[1, 1] = np.nan
    assert np.isnan(pool(x)[0, 0])
    with pytest.raises(InputError, match="values must not be NaN") as caught:
        pool(x, nan="error")
    assert caught.value.hint == 'nan="ignore" leaves them out'
    assert (pool(x, nan="error", mask=~np.isnan(x)) == 1).all()
    assert (pool(np.ones((4, 4), "i4"), nan="error") == 1).all()
    with pytest.raises(UsageError, match="nan must be one of propagate, ignore, error, got 'skip'"):
        pool(x, nan="skip")


def test_several_values_stand_for_what_is_missing():
    x = np.array([[1, -1], [255, 7]], "int16")
    assert poolcli.pool(x, "avg", nodata=[-1, 255]) == 4
    assert poolcli.pool(x, "avg", nodata="-1,255") == 4
    assert poolcli.pool(x, "avg", nodata=255) == pytest.approx(7 / 3)
    assert poolcli.pool(np.array([[1.0, np.nan], [9, 2]]), "max", nodata=("nan", 9)) == 2
    assert poolcli.pool(x, "avg", nodata=0.5) == x.mean()
    with pytest.raises(UsageError, match="nodata must be numbers, got 'none'"):
        poolcli.pool(x, nodata="none")


def test_nodata_and_empty_windows_of_64_bit_integers_are_exact():
    pool = partial(poolcli.pool, engine="numpy")
    x = np.array([[2**62, 2**62 + 1]])
    for method in ("max", "first", "center", "mode"):
        np.testing.assert_array_equal(pool(x, method, 1, mask=[[0, 1]], empty=9), [[9, 2**62 + 1]])
    np.testing.assert_array_equal(pool(x.astype("u8"), "max", 1, mask=[[0, 1]], empty=-1), [[0, 2**62]])
    assert pool(x, "max", (1, 2), nodata=2**62 + 1) == 2**62
    assert pool(x, "min", (1, 2), nodata=str(2**62)) == 2**62 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": np.full((4, 4), -1.0)}, "weights must be finite and 0 or more"),
        ({"weights": np.full((4, 4), np.nan)}, "weights must be finite and 0 or more"),
        ({"weights": np.full((4, 4), "a")}, "weights must be numbers"),
        ({"mask": np.ones((3, 4))}, r"mask must broadcast to the shape \(4, 4\), got \(3, 4\)"),
        ({"mask": np.ones((2, 4, 4))}, r"mask must broadcast to the shape \(4, 4\), got \(2, 4, 4\)"),
    ],
)
def test_what_is_no_weight_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        poolcli.pool(np.ones((4, 4)), "avg", **options)


def test_weights_of_the_pooled_axes_hold_for_all_channels():
    x, weights = sample((8, 6, 3), "uint8"), weights_of("weights", (8, 6)) + 0.5
    each = [poolcli.pool(x[..., channel], "avg", weights=weights, **BLOCK) for channel in range(3)]
    found = poolcli.pool(x, "avg", weights=weights, layout="HWC", **BLOCK)
    np.testing.assert_array_equal(found, np.stack(each, axis=-1))
    np.testing.assert_array_equal(poolcli.pool(x, "avg", weights=weights[..., None], layout="HWC", **BLOCK), found)


def test_weights_and_a_mask_and_nodata_go_together():
    x = np.array([[1.0, 2], [3, 4]])
    found = poolcli.pool(x, "avg", weights=[[1, 2], [3, 4]], mask=[[1, 1], [0, 1]], nodata=4)
    assert found == pytest.approx(5 / 3)


@pytest.mark.parametrize("method", ["avg", "sum", "l2", "lp:3", "lse", "std"])
def test_weights_count_by_the_shares_that_lie_in_windows_of_an_area(method):
    x, weights = sample((2, 9, 10), "float64"), weights_of("weights", (2, 9, 10)) + 0.25
    target = {"to": (4, 3), "to_rule": "area"}
    expected = oracle.pool(x, method, weights=weights, **target)
    np.testing.assert_allclose(poolcli.pool(x, method, weights=weights, **target), expected, 1e-12)


def test_a_center_that_is_masked_is_masked_in_the_result():
    x = np.ma.array(np.arange(9).reshape(3, 3), mask=np.eye(3))
    found = poolcli.pool(x, "center", 3)
    assert (found.mask, found.dtype) == (True, x.dtype)


def test_nan_that_wins_is_not_what_stands_for_empty_windows():
    x = np.array([[np.nan, 1], [2, 3]])
    assert np.isnan(poolcli.pool(x, "max", empty=0))
    with pytest.raises(InputError):
        poolcli.pool(x, "max", empty=0, dtype="uint8")


# Engines, views, slabs and bands.


@pytest.mark.slow  # it compiles the kernels of weights
@pytest.mark.parametrize(
    ("method", "dtype"),
    [("avg", "float64"), ("max", "float64"), ("max", "uint8"), ("lp:3", "float32"), ("median", "u1")],
)
@pytest.mark.parametrize("kind", ["mask", "weights", "plane"])
def test_engines_and_threads_agree_about_weights(method, dtype, kind, monkeypatch):
    monkeypatch.setattr("poolcli.core.threads.ALONE", 0)
    x = np.random.default_rng(5).normal(50, 20, size=(2, 33, 29)).astype(dtype)
    options = {
        "layout": "CHW",
        "weights": weights_of(kind, x.shape),
        "kernel": 3,
        "stride": 1,
        "padding": 1,
        "empty": 0,
    }
    expected = poolcli.pool(x, method, engine="numpy", **options)
    for threads in (1, 2, 7):
        np.testing.assert_array_equal(poolcli.pool(x, method, engine="numba", threads=threads, **options), expected)


@trials(150)
@given(st.data())
def test_views_slabs_and_bands_change_nothing_about_weights(data):
    layout = data.draw(st.sampled_from(("HW", "CHW", "HWC", "HNW", "HCWN")))
    shape = tuple(data.draw(st.integers(3, 12)) for _ in layout)
    method = data.draw(st.sampled_from(("max", "avg", "l2", "median", "first", "std", "quantile:0.3", "mode", "lse")))
    x, _ = data.draw(views(data.draw(st.sampled_from(("float64", ">f4", "uint8", ">i2"))), shape))
    weights, _ = data.draw(views("uint8", shape))
    kind = data.draw(st.sampled_from(("weights", "mask")))
    weights = weights % 3 if kind == "weights" else weights > 100
    options = {"layout": layout, "kernel": data.draw(st.integers(1, 3)), "stride": data.draw(st.integers(1, 3))}
    options |= {"empty": 0, "nodata": 1, "engine": "numpy"}
    copy = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    expected = poolcli.pool(copy, method, **options, **{kind: np.ascontiguousarray(weights)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "SLAB", data.draw(st.integers(1, x.size)))
        patch.setattr(arrays, "BAND", data.draw(st.integers(1, 2 * x.size)))
        np.testing.assert_array_equal(poolcli.pool(x, method, **options, **{kind: weights}), expected)


def small_pieces(patch, data, size):
    """Have work parted into small slabs, bands and runs of rows."""
    patch.setattr(execution, "SLAB", data.draw(st.integers(1, 8 * size)))
    patch.setattr(execution, "LEAST", 1)
    patch.setattr(means, "LIFTED", data.draw(st.integers(1, 2**12)))
    patch.setattr("poolcli.core.threads.ALONE", 0)
    means._strips.cache_clear()  # noqa: SLF001 -- it knows the other size


@pytest.mark.slow  # it compiles the kernels of weights
@trials(150)
@given(st.data())
def test_compiled_weighted_means_are_numpys_for_any_view_window_and_piece(data):
    layout = data.draw(st.sampled_from(("HW", "CHW", "HWC", "NHWC", "NTC", "NDHW")))
    shape = tuple(data.draw(st.integers(1, 4) if letter in "NC" else st.integers(3, 14)) for letter in layout)
    pooled = tuple(length for letter, length in zip(layout, shape, strict=True) if letter not in "NC")
    dtype = data.draw(st.sampled_from(("float32", "float64", ">f4", "uint8", "uint16", ">i2")))
    x, _ = data.draw(views(dtype, shape))
    over = data.draw(st.sampled_from(("all", "pooled", "pixels")))
    many = {"all": shape, "pooled": pooled, "pixels": (*shape[:-1], 1) if layout[-1] == "C" else shape}[over]
    weights, _ = data.draw(views("uint8", many))
    kind = data.draw(st.sampled_from(("bool", "uint8", "float32", "float64")))
    weights = weights > 100 if kind == "bool" else (weights % 4).astype(kind)
    if kind.startswith("float"):
        weights = (weights * data.draw(st.sampled_from((1, 0.1)))).astype(kind)
    options = data.draw(windows(pooled)) | {"layout": layout, "empty": 0}
    options["mask" if kind == "bool" else "weights"] = weights
    options["dtype"] = data.draw(st.sampled_from((None, "float64", "float32", "same")))
    if options["dtype"] == "same":
        options["dtype"] = x.dtype.newbyteorder("=")
    expected = poolcli.pool(np.ascontiguousarray(x), "avg", engine="numpy", **options)
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch, data, x.size)
        for threads in (1, 2, 7):
            found = poolcli.pool(x, "avg", engine="numba", threads=threads, **options)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.slow  # it compiles the kernels of weights
@pytest.mark.parametrize("weights", ["mask", "weights", "plane"])
@pytest.mark.parametrize("method", ["avg", "max", "min"])
def test_what_weighs_nothing_has_no_say_even_if_it_is_nan_or_infinite(method, weights):
    w = weights_of(weights, (2, 40, 50), 1)
    x = np.random.default_rng(2).normal(size=(2, 40, 50)).astype("float32")
    hidden = np.broadcast_to(w == 0, x.shape)
    spoiled = np.where(hidden, np.where(np.arange(50) % 2, np.nan, np.inf), x).astype("float32")
    expected = poolcli.pool(x, method, 3, 2, weights=w, engine="numpy", empty=0)
    for engine in ("numpy", "numba"):
        np.testing.assert_array_equal(poolcli.pool(spoiled, method, 3, 2, weights=w, engine=engine, empty=0), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_must_be_finite_and_not_negative(bad, dtype):
    weights = np.ones((4, 4), dtype)
    weights[2, 1] = bad
    with pytest.raises(UsageError, match="weights must be finite and 0 or more"):
        poolcli.pool(np.ones((4, 4)), "avg", weights=weights)


@pytest.mark.slow  # it compiles the kernels of weights
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_weights_of_a_narrow_type_do_not_overflow_where_no_kernel_folds_them(dtype):
    x, weights = np.full((4, 4), 200, "uint8"), np.full((4, 4), 201, dtype)
    for method in ("avg", "l2", "lp:1", "median", "blur"):
        for engine in ("numpy", "numba"):
            np.testing.assert_allclose(poolcli.pool(x, method, 2, weights=weights, engine=engine), 200, 1e-12)
    assert poolcli.pool(x, "sum", 2, weights=weights, dtype="float64")[0, 0] == 4 * 200 * 201


# Arrays of other libraries, by stand-ins.


class Named:
    """An array whose axes have names, as in xarray."""

    def __init__(self, array, dims):
        self.array, self.dims, self.shape, self.ndim = array, dims, array.shape, array.ndim

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype, copy=copy)


def test_names_of_axes_that_spell_a_layout_are_one():
    x = sample((8, 9, 3), "uint8")
    expected = poolcli.pool(x, "max", layout="HWC")
    np.testing.assert_array_equal(poolcli.pool(Named(x, ("h", "w", "c")), "max"), expected)
    np.testing.assert_array_equal(poolcli.pool(Named(x, ("a", "b", "c")), "max", layout="HWC"), expected)
    plane = x[..., 0]
    np.testing.assert_array_equal(poolcli.pool(Named(plane, ("y", "x")), "max"), poolcli.pool(plane, "max"))


class Tensor:
    """An array of another library, shared by DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_an_array_of_another_library_is_shared_and_the_result_is_of_its_kind(monkeypatch):
    import sys
    from types import ModuleType

    library = ModuleType("stand_in")
    library.from_dlpack = lambda array: Tensor(np.from_dlpack(array))
    monkeypatch.setitem(sys.modules, "stand_in", library)
    monkeypatch.setattr(Tensor, "__module__", "stand_in.tensors")
    x = sample((8, 9), "float32")
    found = poolcli.pool(Tensor(x), "avg")
    assert isinstance(found, Tensor)
    np.testing.assert_array_equal(found.array, poolcli.pool(x, "avg"))
    from poolcli.core import guests

    assert np.shares_memory(guests.taken(Tensor(x)).array, x)


# By the command line.


@pytest.fixture
def raster(tmp_path):
    """A float raster with a nodata tag, as GDAL writes it."""
    rng = np.random.default_rng(6)
    x = rng.normal(100, 20, (12, 15)).astype("float32")
    x[rng.random(x.shape) < 0.3], x[:3, :3] = -9999, -9999
    tifffile.imwrite(tmp_path / "dem.tif", x, extratags=[(42113, "s", 0, "-9999", True)])
    return x


def test_the_nodata_tag_of_a_raster_is_heeded(cli, tmp_path, raster):
    assert cli("pool", "dem.tif", "-m", "avg", "-k", 3, "-o", "small.npy", "--valid-count", "count.npy").code == 0
    masked = np.ma.array(blocks(raster.astype("f8")), mask=blocks(raster == -9999))
    np.testing.assert_allclose(np.load(tmp_path / "small.npy"), masked.mean(-1).filled(np.nan), 1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "count.npy"), masked.count(-1))
    assert np.isnan(np.load(tmp_path / "small.npy")[0, 0])


@pytest.mark.usefixtures("raster")
@pytest.mark.parametrize(("option", "name"), [("--valid-count", "count.npy"), ("--indices", "where.npz")])
def test_what_is_written_beside_is_named_when_it_cannot_be(cli, tmp_path, option, name):
    (tmp_path / "file").write_text("no folder")
    done = cli("pool", "dem.tif", "-k", 3, "-o", "small.npy", option, f"file/{name}")
    assert (done.code, (tmp_path / "small.npy").exists()) == (4, False)
    assert f"file/{name}: " in done.err


def test_another_nodata_value_is_asked_for_in_place_of_the_tag(cli, tmp_path, raster):
    assert cli("pool", "dem.tif", "-m", "min", "-k", 3, "--nodata", "0", "-o", "small.npy").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "small.npy"), blocks(raster).min(-1))


def test_tokens_are_pooled_up_to_the_length_of_each_sequence(cli, tmp_path):
    rng = np.random.default_rng(7)
    tokens, lengths = rng.normal(size=(3, 8, 4)).astype("float32"), np.array([8, 3, 5])
    np.save(tmp_path / "tokens.npy", tokens)
    np.save(tmp_path / "lengths.npy", lengths)
    told = ("--layout", "NTC", "--lengths", "lengths.npy", "--global")
    for method, function in (("avg", np.mean), ("max", np.max)):
        assert cli("pool", "tokens.npy", *told, "-m", method, "-o", f"{method}.npy").code == 0
        expected = [function(one[:length].astype("f8"), axis=0) for one, length in zip(tokens, lengths, strict=True)]
        np.testing.assert_allclose(np.load(tmp_path / f"{method}.npy")[:, 0], expected, 1e-6)


def test_lengths_must_be_those_of_the_sequences(cli, tmp_path):
    np.save(tmp_path / "tokens.npy", np.ones((3, 8, 4)))
    for lengths in ([8, 3], [8, 3, 9], [8, 3, -1], [1.0, 2.0, 3.0]):
        np.save(tmp_path / "lengths.npy", lengths)
        done = cli("pool", "tokens.npy", "--layout", "NTC", "--lengths", "lengths.npy", "--global", "-f")
        assert (done.code, "must be 3 whole numbers from 0 to 8" in done.err) == (2, True), done.err
    np.save(tmp_path / "lengths.npy", [1, 2, 3])
    done = cli("pool", "tokens.npy", "--layout", "CHW", "--lengths", "lengths.npy")
    assert "lengths must be of sequences, as NTC, got layout CHW" in done.err


def test_a_mask_of_a_picture_holds_for_all_its_colours(cli, tmp_path):
    photo, mask = sample((9, 12, 3), "uint8"), weights_of("mask", (9, 12))
    mask[:3, :3] = False
    poolcli.write(tmp_path / "photo.png", photo)
    poolcli.write(tmp_path / "mask.png", mask)
    command = ("pool", "photo.png", "-m", "avg", "-k", 3, "--mask", "mask.png", "-o", "small.png")
    done = cli(*command)
    assert done.code == 3
    assert "windows of integers must have valid elements, got 3 without" in done.err
    assert "--empty 0" in done.err
    assert (
        cli("pool", "photo.png", "-m", "avg", "-k", 3, "--mask", "mask.png", "--empty", 5, "-o", "small.png").code == 0
    )
    for channel in range(3):
        masked = np.ma.array(blocks(photo[..., channel]), mask=~blocks(mask))
        expected = np.rint(masked.mean(-1).filled(5))
        np.testing.assert_array_equal(poolcli.read(tmp_path / "small.png")[..., channel], expected)


def test_weights_come_from_a_file(cli, tmp_path):
    x, weights = sample((6, 6), "float64"), weights_of("weights", (6, 6)) + 1
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "w.npy", weights)
    assert cli("pool", "x.npy", "-m", "avg", "-k", 3, "--weights", "w.npy", "-o", "y.npy").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), np.average(blocks(x), axis=-1, weights=blocks(weights)))
