"""Proves every method of the table by the oracle: on pictures, sequences and volumes, at the ends of numbers."""

from __future__ import annotations

import math

import numpy as np
import oracle
import oracle_methods
import pytest
from cases import LINES, METHOD_CASES, VOLUMES, WINDOWS, MethodCase, sample

import poolcli
from poolcli.core import arrays, execution
from poolcli.core.methods import METHODS
from poolcli.errors import InputError, UsageError

FEW = {"k3s2-padded-counted", "ceil-padded", "dilation2-ceil", "dilation-past-everything", "same-lower-k2s2", "k9s1"}
PICTURES = [case for case in WINDOWS if case.id in FEW]
DTYPES = ("uint8", "int16", "int64", "float32", "float64")
PICKING = {"median", "quantile", "mode", "first", "center", "stochastic-sample"}  # nothing to pick: no integer
ONE_OF_A_KIND = [case for case in METHOD_CASES if ":" not in case.id or case.id in {"lp:0.5", "norm:3", "quantile:0.9"}]


def by_id(case):
    return case.id


def name_of(case):
    return case.id.partition(":")[0]


def pool(array, method, kernel=None, **options):
    return poolcli.pool(array, method, kernel, engine="numpy", **options)


def values(case, shape, dtype, seed=3):
    """Return values that the method takes: products that fit, no negative ones where there must be none."""
    array = sample(shape, dtype, seed)
    if case.id == "prod":
        small = np.random.default_rng(seed).choice([1, 1, 1, 1, 1, 1, 2, 3, 0], shape).astype(dtype)
        return small if array.dtype.kind in "bu" else small * np.sign(array).astype(dtype)
    return array.clip(0) if case.nonnegative else array


def check(case, array, window):
    """Compare one pooling with the oracle: the same array, or both refuse."""
    try:
        expected = oracle.pool(array, case.id, **window)
    except oracle.EmptyWindowError:
        with pytest.raises(InputError, match="windows must hold a value to choose"):
            pool(array, case.id, **window, layout=LAYOUTS[array.ndim])
    else:
        case.check(pool(array, case.id, **window, layout=LAYOUTS[array.ndim]), expected, array)


LAYOUTS = {1: "L", 2: "HW", 3: "DHW"}


def test_the_oracle_and_the_cases_know_every_method():
    apart = {"concat", "stochastic-sample"}  # of others, and random
    assert METHODS.keys() - apart == oracle_methods.METHODS.keys()
    assert METHODS.keys() - apart == {name_of(case) for case in METHOD_CASES} | {"weighted", "gated"}


# Every method.


@pytest.mark.parametrize("window", PICTURES, ids=by_id)
@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_every_method_pools_pictures_right(case, window):
    for dtype in DTYPES:
        check(case, values(case, (11, 12), dtype), window.arguments)


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_every_method_pools_sequences_and_volumes_right(case):
    for window, dtype in zip(LINES, DTYPES, strict=True):
        check(case, values(case, (29,), dtype), window.arguments)
    for window, dtype in zip(VOLUMES, ("float64", "uint8", "float32", "int16", "uint16"), strict=True):
        check(case, values(case, (4, 5, 6), dtype), window.arguments)


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint32", "float16", ">f4", ">i2"])
def test_every_method_takes_every_kind_of_number(case, dtype):
    check(case, values(case, (7, 6), np.dtype(dtype).name).astype(dtype), {"kernel": (3, 2), "padding": ((1, 0),) * 2})


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_channels_and_planes_are_pooled_one_by_one_by_every_method(case):
    array = values(case, (2, 3, 7, 8), "float64")
    window = {"kernel": (3, 2), "stride": (2, 2)}
    expected = pool(array, case.id, **window)
    for layout, order in (("NHWC", (0, 2, 3, 1)), ("HNCW", (2, 0, 1, 3)), ("CHWN", (1, 2, 3, 0))):
        result = pool(np.ascontiguousarray(array.transpose(order)), case.id, **window, layout=layout)
        np.testing.assert_array_equal(result, expected.transpose(order))
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(expected[index], pool(array[index], case.id, **window))


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_nan_and_infinities_give_what_the_formula_gives(case):
    for dtype in ("float32", "float64"):
        array = values(case, (9, 10), dtype)
        array[2, 3] = np.nan
        array[6, 5:8] = np.inf
        if not case.nonnegative:
            array[8, 0:2] = array[6, 9] = -np.inf
        for stride in ((1, 1), (2, 3)):
            window = {"kernel": (2, 3), "stride": stride, "padding": ((1, 1), (2, 0))}
            check(case, array, window)


@pytest.mark.parametrize("dtype", ["float64", "uint8"])
@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_a_window_of_padding_alone_gives_what_no_value_gives(case, dtype):
    window = {"kernel": (1, 2), "stride": (1, 1), "padding": ((0, 0), (1, 1)), "dilation": (1, 2)}
    check(case, np.ones((1, 1), dtype), window)


ROUND = {"even": np.rint, "up": lambda x: np.floor(x + 0.5), "floor": np.floor}


def check_rounded(case, array, window, target, rounding):
    """Compare with the exact value rounded; where a method is near to it, with what is near to that, rounded."""
    result = pool(array, case.id, **window, dtype=target, rounding=rounding)
    assert result.dtype == target
    if case.ulps <= 1 or case.id in {"prod", "blur", "maxblur"}:  # floats that are exact
        np.testing.assert_array_equal(result, oracle.pool(array, case.id, **window, dtype=target, rounding=rounding))
        return
    exact, info = oracle.pool(array, case.id, **window, dtype="float64"), np.iinfo(target)
    slack = case.ulps * np.finfo("f8").eps * np.maximum(np.abs(exact), np.abs(array.astype("f8")).max())
    low, high = (ROUND[rounding](exact + side).clip(info.min, info.max) for side in (-slack, slack))
    assert ((low <= result) & (result <= high)).all()


@pytest.mark.parametrize("rounding", ["even", "up", "floor"])
@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_integers_are_rounded_once_as_told_and_saturate(case, rounding):
    for dtype, target in (("uint8", "uint8"), ("int8", "int8"), ("float32", "int16"), ("int16", "uint8")):
        array = values(case, (9, 8), dtype)
        if dtype != "uint8":
            array = (array % 7 - (0 if case.nonnegative else 3)).astype(dtype)  # many ties
        for window in ({"kernel": (2, 2)}, {"kernel": (1, 3), "stride": (2, 2), "padding": ((0, 0), (1, 0))}):
            check_rounded(case, array, window, target, rounding)


@pytest.mark.parametrize(
    ("value", "even", "up", "floor"),
    [
        (0.5, 0, 1, 0),
        (1.5, 2, 2, 1),
        (-0.5, 0, 0, -1),
        (-1.5, -2, -1, -2),
        (0.49999999999999994, 0, 0, 0),
        (2.0**52 + 1, 2**52 + 1, 2**52 + 1, 2**52 + 1),
        (-(2.0**52) - 1, -(2**52) - 1, -(2**52) - 1, -(2**52) - 1),
        (1e300, 2**63 - 1, 2**63 - 1, 2**63 - 1),
        (-np.inf, -(2**63), -(2**63), -(2**63)),
    ],
)
def test_each_rounding_by_hand(value, even, up, floor):
    for rounding, expected in {"even": even, "up": up, "floor": floor}.items():
        assert pool([[value]], "max", 1, dtype="int64", rounding=rounding).tolist() == [[expected]]


def test_a_rounding_that_is_none_is_refused():
    with pytest.raises(UsageError, match="rounding must be one of even, up, floor, got 'down'"):
        pool(np.ones((4, 4)), "avg", rounding="down")


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_nan_has_no_integer_in_any_method(case):
    with pytest.raises(InputError, match="NaN"):
        pool([[np.nan, np.nan, 1.0]], case.id, (1, 2), dtype="int32", edge="partial")


@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_slabs_and_engines_change_no_value_of_any_method(case, monkeypatch):
    window = {"kernel": (5, 3), "stride": (2, 1), "padding": ((2, 3), (1, 2)), "layout": "NHWC"}
    cases = [values(case, (3, 17, 9, 2), dtype) for dtype in ("float64", "uint8")]
    if not case.nonnegative and case.id != "prod":
        cases[0] = np.random.default_rng(5).normal(size=cases[0].shape)  # the order of adding shows
    whole = [pool(array, case.id, **window) for array in cases]
    monkeypatch.setattr(execution, "SLAB", 100)
    monkeypatch.setattr(arrays, "BAND", 50)
    monkeypatch.setattr("poolcli.core.threads.ALONE", 0)
    for array, expected in zip(cases, whole, strict=True):
        for form in (array, array[::-1, :, ::-1].copy()[::-1, :, ::-1], array.astype(array.dtype.newbyteorder())):
            for engine, threads in (("numpy", 1), ("numba", 1), ("numba", 2), ("numba", 7)):
                result = poolcli.pool(form, case.id, engine=engine, threads=threads, **window)
                np.testing.assert_array_equal(result, expected)


# Numbers at their ends.


@pytest.mark.parametrize("rate", ["1", "-1", "0.5", "3"])
@pytest.mark.parametrize("name", ["soft", "lse"])
def test_windows_far_below_others_keep_their_sums(name, rate):
    array = np.array([[-800, -799.5, -801, 800, 799, 801.25, -0.5, 0.25, 1e-3, -1e5, -99999.5, 1e5]])
    for kernel, stride in ((3, 3), (3, 1), (2, 1), (12, 1)):
        check(MethodCase(f"{name}:{rate}", 32), array, {"kernel": (1, kernel), "stride": (1, stride)})


@pytest.mark.parametrize("name", ["soft", "lse"])
def test_a_window_of_terms_that_all_vanish_beside_the_picture_is_its_own_value(name):
    assert pool([[-800.0, -800.0, 800.0, 800.0]], name, (1, 2)).tolist() == [[-800.0, 800.0]]
    assert pool([[1e300, 1e300, -1e300, -1e300]], name, (1, 2)).tolist() == [[1e300, -1e300]]


@pytest.mark.parametrize("name", ["std", "var"])
def test_spread_about_a_large_mean_keeps_its_digits(name):
    noise = np.random.default_rng(1).normal(size=(40, 40))
    for offset in (1e8, -1e8, 1e12):
        array = noise + offset
        for kernel in (2, 9, 31):
            expected = oracle.pool(array[:33, :33], name, (kernel, kernel), (1, 1) if kernel == 31 else None)
            result = pool(array[:33, :33], name, kernel, stride=1 if kernel == 31 else None)
            np.testing.assert_allclose(result, expected, 1e-13)


def test_the_spread_of_a_constant_is_nothing():
    for value in (0.1, 1e8 + 0.1, 255):
        assert not pool(np.full((9, 9), value), "std", 7, stride=1).any()


@pytest.mark.parametrize(
    ("method", "dtype", "values", "expected"),
    [
        ("range", "uint8", [0, 255], 255),
        ("range", "int8", [-128, 127], 127),
        ("range", "int16", [-32768, 32767], 32767),
        ("range", "int64", [-(2**63), 2**63 - 1], 2**63 - 1),
        ("std", "uint8", [0, 255], 128),
        ("std", "int8", [-128, 127], 127),
        ("var", "uint8", [0, 255], 255),
        ("var", "uint8", [10, 15], 6),
        ("var", "uint16", [0, 65535], 65535),
    ],
)
def test_spreads_of_a_picture_keep_its_dtype_and_saturate(method, dtype, values, expected):
    result = pool(np.array([values], dtype), method, (1, 2), dtype=dtype)
    assert (result.dtype, result.tolist()) == (np.dtype(dtype), [[expected]])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint64"])
def test_a_range_is_exact_in_an_unsigned_type(dtype):
    info = np.iinfo(dtype)
    result = pool(np.array([[info.min, info.max]], dtype), "range", (1, 2))
    assert (result.dtype.kind, result.tolist()) == ("u", [[info.max - info.min]])


@pytest.mark.parametrize(
    ("dtype", "values", "fits"),
    [
        ("uint64", [2**32, 2**31], True),
        ("uint64", [2**32, 2**32], False),
        ("int64", [2**31, 2**31], True),
        ("int64", [2**32, -(2**32)], False),
        ("int8", [-128, -128], True),
        ("uint8", [255] * 8, True),
        ("uint8", [255] * 9, False),
        ("uint8", [255] * 30 + [0], True),
        ("int16", [-32768] * 5, False),
        ("uint8", [255] * 200, False),
    ],
)
def test_a_product_past_64_bits_is_refused_and_never_wraps(dtype, values, fits):
    array = np.array([values], dtype)
    if fits:
        assert pool(array, "prod", array.shape).tolist() == [[math.prod(values)]]
    else:
        with pytest.raises(InputError, match="products must fit in 64 bits"):
            pool(array, "prod", array.shape)


def test_a_product_of_floats_may_be_infinite():
    assert pool([[1e200, -1e200]], "prod", (1, 2)).tolist() == [[-np.inf]]


@pytest.mark.parametrize("method", ["stochastic", "stochastic-sample"])
def test_a_share_of_a_negative_value_is_refused(method):
    for array in ([[1.0, -2.0]], np.array([[3, -1]], "int8")):
        with pytest.raises(InputError, match=f"values must be 0 or more for method '{method}', got -"):
            pool(array, method, (1, 2))
    assert pool([[0.0, 0.0]], method, (1, 2)).tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.parametrize("method", ["median:lower", "mode", "mode:sparse", "first", "center", "quantile:0.5:higher"])
def test_values_that_are_picked_keep_their_last_bit(method, dtype):
    info = np.iinfo(dtype)
    array = np.array([[info.max - 1, info.max, info.max, info.min, info.min + 1, info.max - 1]], dtype)
    for kernel in (1, 2, 3, 5):
        check(MethodCase(method), array, {"kernel": (1, kernel), "stride": (1, 1)})


def test_values_below_the_clamp_of_a_generalized_mean_count_as_it():
    assert pool([[-5.0, 0.0]], "gem", (1, 2)).item() == pytest.approx(1e-6, rel=1e-12)


# Methods of several parts.


@pytest.mark.parametrize("token", ["concat", "concat:max+avg", "concat:min+l2+std", "concat:median+lp:3"])
def test_the_parts_of_concat_lie_one_after_another_in_the_channels(token):
    names = (token.partition(":")[2] or "max+avg").split("+")
    for layout, shape in (("CHW", (3, 8, 9)), ("HWC", (8, 9, 3)), ("NCL", (2, 3, 17)), ("DHWC", (4, 5, 6, 2))):
        array = sample(shape, "float32")
        result = pool(array, token, 3, stride=2, padding=1, layout=layout)
        parts = [pool(array, name, 3, stride=2, padding=1, layout=layout) for name in names]
        np.testing.assert_array_equal(result, np.concatenate(parts, axis=layout.index("C")))


def test_the_parts_of_concat_share_a_dtype():
    array = sample((2, 6, 6), "uint8")
    assert pool(array, "concat:max+min", 2).dtype == np.uint8
    assert pool(array, "concat:max+avg", 2).dtype == np.float64
    out = np.empty((4, 3, 3), "uint8")
    assert pool(array, "concat:max+avg", 2, dtype="uint8", out=out) is out
    np.testing.assert_array_equal(out[2:], pool(array, "avg", 2, dtype="uint8"))


@pytest.mark.parametrize("token", ["concat:max", "concat:max+concat", "concat:max+avgg", "concat:"])
def test_what_concat_cannot_join_is_refused(token):
    with pytest.raises(UsageError, match="must"):
        pool(np.ones((2, 4, 4)), token)


def test_concat_needs_channels():
    with pytest.raises(InputError, match=r"layout must have channels \(C\)"):
        pool(np.ones((4, 4)), "concat", layout="HW")


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_blur_is_the_binomial_mean_over_reflected_borders_as_timm_has_it(kernel):
    array = sample((9, 10), "float64")
    factors = np.poly1d([0.5, 0.5]) ** (kernel - 1)
    padded = np.pad(array, kernel // 2, "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))[::2, ::2]
    expected = np.einsum("yxij,i,j->yx", windows, factors.c, factors.c)
    np.testing.assert_allclose(pool(array, "blur", kernel, stride=2), expected, 1e-14, 1e-12)


@pytest.mark.parametrize("padding", [None, 0, 1, "same"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_maxblur_blurs_the_maxima_of_stride_one(padding, dilation):
    array = sample((9, 10), "float32")
    maxima = pool(array, "max", 3, stride=1, padding="same", dilation=dilation)
    window = {"kernel": 3, "stride": 2, "padding": padding, "dilation": dilation}
    np.testing.assert_array_equal(pool(array, "maxblur", **window), pool(maxima, "blur", **window))


TAPS = {
    (3,): [0.25, -1, 2],
    (2, 3): [[1, 2, -0.5], [0, 0.125, -3]],
    (2, 1, 2): [[[1, -2]], [[0.5, 4]]],
}


@pytest.mark.parametrize("shape", TAPS, ids=str)
@pytest.mark.parametrize("method", ["weighted", "gated"])
def test_a_window_of_weights_is_multiplied_tap_by_tap(method, shape):
    taps = np.array(TAPS[shape])
    lengths = (9, 8, 7)[: len(shape)]
    for dtype, scale in (("float64", 1 / 512), ("float32", 1 / 512), ("uint8", 1 / 256)):
        array = sample(lengths, dtype)
        weights = taps * (scale if method == "gated" else 1)
        pads = tuple((0, int(k > 1)) for k in shape)
        for window in ({}, {"stride": (1,) * len(shape), "padding": pads}):
            expected = oracle.pool(array, method, shape, filter=weights, **window)
            result = pool(array, (method, weights), layout=LAYOUTS[array.ndim], **window)
            MethodCase(method, 16).check(result, expected, array)


def test_weights_are_a_correlation_and_take_dilation_and_layouts():
    array = sample((2, 8, 9, 3), "float64")
    weights = np.arange(6.0).reshape(2, 3)
    result = pool(array, ("weighted", weights), stride=1, dilation=(2, 1), layout="NHWC")
    expected = oracle.pool(np.moveaxis(array, -1, 1), "weighted", (2, 3), (1, 1), filter=weights, dilation=(2, 1))
    np.testing.assert_array_equal(np.moveaxis(result, -1, 1), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("weighted", np.ones((2, 2)) * np.nan), "weights of 'weighted' must be finite numbers"),
        (("weighted", np.ones((0, 2))), "weights of 'weighted' must be finite numbers"),
        (("gated", np.ones((2, 2), complex)), "weights of 'gated' must be finite numbers"),
        (("max", np.ones((2, 2))), "method with weights must be one of weighted, gated, got 'max'"),
        (("maxx", np.ones((2, 2))), "method with weights must be one of weighted, gated, got 'maxx'"),
        ("weighted:w.npy", "method 'weighted' must be given an array"),
        ("weighted", "method 'weighted' must be given a value"),
    ],
    ids=str,
)
def test_weights_that_are_none_are_refused(given, said):
    with pytest.raises(UsageError, match=said):
        pool(np.ones((4, 4)), given)


def test_a_kernel_must_be_that_of_the_weights():
    array, weights = sample((6, 6), "float64"), np.ones((2, 3))
    np.testing.assert_array_equal(pool(array, ("weighted", weights), (2, 3)), pool(array, ("weighted", weights)))
    with pytest.raises(UsageError, match="kernel must be that of the weights, 2x3, got"):
        pool(array, ("weighted", weights), (3, 2))


# Values after the name.


@pytest.mark.parametrize(
    "token",
    [
        *("lp", "lp:", "lp:0", "lp:-1", "lp:nan", "lp:x", "norm:0", "gem:0", "gem:", "lse:0", "lse:inf", "soft:0"),
        *("soft:nan", "mixed:-0.1", "mixed:1.1", "mixed:nan", "quantile", "quantile:2", "quantile:0.5:up"),
        *("median:upper", "median:", "mode:dense", "std:2", "range:1", "first:1"),
    ],
)
def test_a_value_that_a_method_does_not_take_is_refused(token):
    with pytest.raises(UsageError, match=r"^(value of|method) '.+' must .+, got ") as caught:
        pool(np.ones((4, 4)), token)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("token", "same"),
    [
        *(("gem", "gem:3"), ("lse", "lse:1"), ("soft", "soft:1"), ("mixed", "mixed:0.5"), ("concat", "concat:max+avg")),
        *(("lp:2", "l2"), ("lp:inf", "norm:inf"), ("quantile:0.5", "median"), ("mixed:1", "max"), ("mixed:0", "avg")),
        *(("quantile:0", "min"), ("quantile:1", "max"), ("lp:2.0", "lp:2"), ("quantile:0.5:lower", "median:lower")),
    ],
)
def test_methods_that_are_the_same(token, same):
    array = np.abs(sample((2, 9, 9), "float64"))
    np.testing.assert_array_equal(pool(array, token, 3, stride=2), pool(array, same, 3, stride=2))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_results_have_the_dtype_that_the_table_promises(case, dtype):
    array = np.ones((4, 4), dtype)
    expected = oracle.result_dtype(case.id, array.dtype)
    result = pool(array, case.id, 2)
    assert result.dtype == expected
    if METHODS[name_of(case)].result == "same" and ":" not in case.id:
        assert result.dtype == dtype


# Random.


def splitmix(seed, place):
    """Return a number in [0, 1) for a place (Steele, Lea and Flood 2014)."""
    x = (seed + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return ((x ^ (x >> 31)) >> 11) / 2**53


def draw(array, kernel, stride, seed):
    """Draw from windows of (planes, rows, columns, channels): the first value at which the sum passes the goal."""
    planes, _, _, channels = array.shape
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(array.shape[1:3], kernel, stride, strict=True))
    result = np.zeros((planes, rows, columns, channels), array.dtype)
    for place, (p, y, x, c) in enumerate(np.ndindex(result.shape)):
        window = array[p, y * stride[0] :, x * stride[1] :, c][: kernel[0], : kernel[1]].ravel().tolist()
        goal, sums = splitmix(seed, place) * sum(window), np.cumsum(window)
        result[p, y, x, c] = window[int(np.flatnonzero(sums > goal)[0])]
    return result


@pytest.mark.parametrize("dtype", ["uint8", "float64", "float32", "int16"])
def test_a_draw_follows_from_the_seed_and_the_place_alone(dtype, monkeypatch):
    array = np.random.default_rng(8).integers(0, 9, (3, 13, 12, 2)).astype(dtype)
    window = {"kernel": (4, 3), "stride": (2, 3), "layout": "NHWC"}
    expected = draw(array, (4, 3), (2, 3), 17)
    assert (expected != draw(array, (4, 3), (2, 3), 18)).any()
    monkeypatch.setattr("poolcli.core.threads.ALONE", 0)
    for slab in (2**21, 400, 60, 1):
        monkeypatch.setattr(execution, "SLAB", slab)
        for engine, threads in (("numpy", 1), ("numba", 1), ("numba", 2), ("numba", 7)):
            result = poolcli.pool(array, "stochastic-sample", engine=engine, threads=threads, seed=17, **window)
            np.testing.assert_array_equal(result, expected)
    turned = array[:, ::-1].copy()[:, ::-1]
    np.testing.assert_array_equal(pool(turned, "stochastic-sample", seed=17, **window), expected)


def test_values_are_drawn_as_often_as_their_share():
    windows = np.tile([1.0, 2.0, 0.0, 3.0, 4.0], 20_000)[None]
    result = pool(windows, "stochastic-sample", (1, 5), seed=3)
    drawn = [np.count_nonzero(result == value) / result.size for value in (1, 2, 0, 3, 4)]
    np.testing.assert_allclose(drawn, [0.1, 0.2, 0, 0.3, 0.4], atol=4 * math.sqrt(0.25 / 20_000))
    assert abs(np.corrcoef(result[0, :-1], result[0, 1:])[0, 1]) < 4 / math.sqrt(20_000)


def test_another_seed_draws_others_and_the_same_the_same():
    array = sample((40, 40), "uint8")
    first, again, other = (pool(array, "stochastic-sample", 4, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_an_infinity_is_drawn_before_all_that_is_finite():
    assert pool([[np.inf, 1.0], [2.0, np.inf]], "stochastic-sample", (1, 2)).tolist() == [[np.inf], [np.inf]]
    assert np.isnan(pool([[np.nan, 1.0]], "stochastic-sample", (1, 2))).all()


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "x", None])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(UsageError, match=r"^seed must be .+, got "):
        pool(np.ones((4, 4)), "stochastic-sample", seed=seed)
