"""Proves that the library pools every window, shape and dtype right, by an oracle of explicit loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import oracle
import pytest
from cases import DTYPES, FLOATS, SHAPES, SIGNED, UNSIGNED, WINDOWS, sample

import poolcli
from poolcli.errors import InputError, PoolError, UsageError

INTEGERS = ("bool", *UNSIGNED, *SIGNED)
FOLDS = ("max", "min", "avg", "sum", "l2", "range")  # in all breadth; test_methods has the whole table
TUTORIAL = np.arange(1, 19).reshape(6, 3)
SPREAD = [case for case in WINDOWS if case.id in {"k2s2", "rectangle", "same-dilation", "k15s1", "ceil-padded-counted"}]


def pool(array, method="max", kernel=2, **options):
    """Pool with the NumPy engine, which starts at once; test_engines proves that numba agrees."""
    return poolcli.pool(array, method, kernel, engine="numpy", **options)


def expect(array, layout, method, case, dtype=None):
    """Return what the oracle gives in the array's own layout."""
    axes = [layout.index("H"), layout.index("W")]
    lengths = [array.shape[axis] for axis in axes]
    padding = case.padding
    if isinstance(padding, str):
        each = zip(lengths, case.kernel, case.stride, case.dilation, strict=True)
        padding = [oracle.same_padding(*axis, lower=padding == "same-lower") for axis in each]
    counts = {"ceil": case.ceil, "count_include_pad": case.count_include_pad, "dilation": case.dilation}
    planes = np.moveaxis(array, axes, (-2, -1))
    pooled = oracle.pool(planes, method, case.kernel, case.stride, padding, dtype=dtype, **counts)
    return np.moveaxis(pooled, (-2, -1), axes)


def check(array, layout, method, case, dtype=None):
    """Compare one pooling with the oracle: the same array, or both refuse."""
    try:
        expected = expect(array, layout, method, case, dtype)
    except oracle.TooSmallError:
        with pytest.raises(InputError):
            pool(array, method, layout=layout, dtype=dtype, **case.arguments)
        return
    result = pool(array, method, layout=layout, dtype=dtype, **case.arguments)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if method == "l2" and array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        np.testing.assert_allclose(result, expected, rtol=1e-14)  # squares of 32 bits do not add up exactly
    else:
        np.testing.assert_array_equal(result, expected)


def by_id(case):
    return case.id


# Every window, shape and dtype.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", WINDOWS, ids=by_id)
def test_every_window_pools_every_dtype_right(case, dtype):
    array = sample(SHAPES[0].shape, dtype)
    for method in FOLDS:
        check(array, "HW", method, case)


@pytest.mark.parametrize("case", WINDOWS, ids=by_id)
@pytest.mark.parametrize("shape", SHAPES, ids=by_id)
def test_every_shape_and_layout_pools_right(shape, case):
    array = sample(shape.shape, "int16", seed=len(shape.id))
    for method in FOLDS:
        check(array, shape.layout, method, case)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", WINDOWS, ids=by_id)
def test_nan_and_infinities_stay_in_their_windows(case, dtype):
    array = sample((17, 16), dtype, seed=7)
    array[2, 3] = np.nan
    array[9, 9:12] = np.inf
    array[12, 2] = array[9, 13] = -np.inf
    array[14:, 10:] = -np.inf
    for method in FOLDS:
        check(array, "HW", method, case)


@pytest.mark.parametrize("target", ["uint8", "int8", "uint16", "int16", "int32", "uint64", "float16", "float64"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("case", SPREAD, ids=by_id)
def test_every_target_dtype_is_rounded_once_half_to_even_and_saturated(case, dtype, target):
    array = sample((12, 13), dtype, seed=3)
    for method in FOLDS:
        check(array, "HW", method, case, target)


# Named facts.


def test_the_tutorial_example_ends_in_18_where_its_text_prints_14():
    # The tutorial's text prints a 14 in this result: a misprint, the largest of 12, 15 and 18 is 18.
    result = pool(TUTORIAL, "max", (3, 1), stride=(3, 1))
    assert result.tolist() == [[7, 8, 9], [16, 17, 18]]


def test_defaults_are_max_of_two_by_two():
    assert poolcli.pool(TUTORIAL[:, :2], engine="numpy").tolist() == [[5], [11], [17]]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("max", [[5.0], [11.0], [17.0]]),
        ("min", [[1.0], [7.0], [13.0]]),
        ("avg", [[3.0], [9.0], [15.0]]),
        ("sum", [[12.0], [36.0], [60.0]]),
        ("l2", [[math.sqrt(46 / 4)], [math.sqrt(334 / 4)], [math.sqrt(910 / 4)]]),
    ],
)
def test_every_method_by_hand(method, expected):
    assert pool(TUTORIAL[:, :2].astype(float), method).tolist() == expected


@pytest.mark.parametrize(
    ("stride", "padding", "counted", "expected"),
    [(2, 1, True, [1, 3, 2]), (2, 1, False, [1.5, 3, 4]), (3, 0, False, [2, 4]), (3, 0, True, [2, 4])],
)
def test_an_average_divides_by_padding_only_when_told_and_never_by_overhang(stride, padding, counted, expected):
    window = {"stride": (1, stride), "padding": (0, padding), "ceil": True, "count_include_pad": counted}
    assert pool([[1, 2, 3, 4]], "avg", (1, 3), **window).tolist() == [expected]


def test_l2_is_the_root_of_the_mean_of_squares_and_not_the_norm():
    assert pool([[3.0, 4.0]], "l2", (1, 2)).tolist() == [[math.sqrt(12.5)]]


def test_count_include_pad_changes_l2_as_it_changes_avg():
    options = {"kernel": (1, 2), "stride": (1, 2), "padding": (0, 1), "count_include_pad": True}
    assert pool([[3.0, 4.0]], "l2", **options).tolist() == [[math.sqrt(4.5), math.sqrt(8.0)]]


@pytest.mark.parametrize("method", FOLDS)
def test_count_include_pad_leaves_the_other_methods_alone(method):
    array = sample((6, 7), "float64")
    plain, counted = (pool(array, method, 3, padding=1, count_include_pad=flag) for flag in (False, True))
    assert np.array_equal(plain, counted) == (method not in {"avg", "l2"})


def test_alpha_is_one_more_channel_pooled_like_the_others():
    picture = sample((16, 18, 4), "uint8")
    result = pool(picture, "avg", layout="HWC", dtype="uint8")
    for channel in range(4):
        alone = pool(np.ascontiguousarray(picture[..., channel]), "avg", dtype="uint8")
        np.testing.assert_array_equal(result[..., channel], alone)


def test_channels_and_batches_never_mix():
    array = np.zeros((2, 3, 4, 4))
    array[1, 2] = 5
    result = pool(array, "sum")
    assert result.sum() == result[1, 2].sum() == 80


@pytest.mark.parametrize("method", FOLDS)
def test_minus_zero_is_zero_in_value(method):
    assert pool(np.array([[-0.0, 0.0], [0.0, -0.0]]), method).tolist() == [[0.0]]


# Exactness.


@pytest.mark.parametrize("kernel", [15, 16, 17, 31])
@pytest.mark.parametrize("dtype", [name for name in INTEGERS if "64" not in name and name != "bool"])
def test_extreme_constants_never_overflow_an_accumulator(dtype, kernel):
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        array = np.full((kernel + 2, kernel + 1), value, dtype)
        assert np.unique(pool(array, "avg", kernel, stride=1)).tolist() == [value]
        assert np.unique(pool(array, "sum", kernel, stride=1)).tolist() == [value * kernel * kernel]
        np.testing.assert_allclose(pool(array, "l2", kernel, stride=1), abs(value), rtol=1e-15)


def test_a_window_of_65536_and_more_elements_is_still_exact():
    for kernel in (256, 257):
        array = np.full((kernel, kernel), 255, "uint8")
        array[0, 0] = 0
        total = 255 * (kernel * kernel - 1)
        assert pool(array, "sum", kernel).tolist() == [[total]]
        assert pool(array, "avg", kernel).tolist() == [[total / kernel**2]]
        assert pool(array, "avg", kernel, dtype="uint8").tolist() == [[255]]


def test_float16_is_summed_wide():
    ones = np.ones((256, 256), "float16")
    assert pool(ones, "avg", 256).tolist() == [[1.0]]
    assert pool(ones, "sum", 256).tolist() == [[np.inf]]  # 65536 is past the largest float16, 65504
    assert pool(ones, "sum", 256, dtype="float32").tolist() == [[65536.0]]
    assert pool(np.full((2, 2), 60000, "float16"), "l2").tolist() == [[60000.0]]


def test_a_float32_average_is_rounded_once_from_a_float64_sum():
    small = np.float32(2.0**-24)
    array = np.array([[1, small, small, small]], "float32")
    assert pool(array, "sum", (1, 4))[0, 0] == np.float32(1 + 3 * 2.0**-24)
    assert pool(array, "avg", (1, 4), dtype="float64")[0, 0] == (1 + 3 * 2.0**-24) / 4


def test_large_float32_squares_do_not_overflow():
    assert pool(np.full((2, 2), 3e38, "float32"), "l2")[0, 0] == np.float32(3e38)


@pytest.mark.parametrize("total", range(19))
def test_an_average_of_nine_is_divided_and_never_multiplied_by_a_reciprocal(total):
    array = np.zeros((3, 3))
    array.flat[:9] = [total // 9 + (place < total % 9) for place in range(9)]
    assert pool(array, "avg", 3).tolist() == [[total / 9]]


@pytest.mark.parametrize("count", [2, 3, 4, 6, 7, 9])
def test_every_eight_bit_sum_is_rounded_half_to_even(count):
    totals = np.arange(count * 255 + 1)
    array = (totals[:, None] + np.arange(count)) // count
    expected = [round(Fraction(int(total), count)) for total in totals]
    assert pool(array.astype("uint8"), "avg", (1, count), dtype="uint8")[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "method", "dtype", "expected"),
    [
        ([0.5, 0.5], "avg", "uint8", 0),
        ([1.5, 1.5], "max", "uint8", 2),
        ([2.5, 1.0], "max", "int16", 2),
        ([-0.5, -0.5], "avg", "int8", 0),
        ([-1.5, -1.5], "avg", "int8", -2),
        ([-3.0, -2.0], "max", "uint8", 0),
        ([300.0, 400.0], "min", "uint8", 255),
        ([200.0, 100.0], "sum", "int8", 127),
        ([-200.0, -100.0], "sum", "int8", -128),
        ([np.inf, 0.0], "max", "int32", 2**31 - 1),
        ([-np.inf, 0.0], "min", "int32", -(2**31)),
        ([-np.inf, 0.0], "min", "uint16", 0),
        ([1e30, 0.0], "max", "int64", 2**63 - 1),
        ([-1e30, 0.0], "min", "int64", -(2**63)),
        ([1e30, 0.0], "max", "uint64", 2**64 - 1),
        ([np.inf, 0.0], "l2", "uint64", 2**64 - 1),
        ([2.0**63, 0.0], "max", "int64", 2**63 - 1),
        ([2.0**64, 0.0], "max", "uint64", 2**64 - 1),
    ],
)
def test_an_integer_target_is_half_to_even_and_saturates(values, method, dtype, expected):
    result = pool([values], method, (1, 2), dtype=dtype)
    assert (result.dtype, result.tolist()) == (np.dtype(dtype), [[expected]])


@pytest.mark.parametrize("dtype", SIGNED)
def test_the_l2_of_the_smallest_integers_is_past_the_largest_and_saturates(dtype):
    info = np.iinfo(dtype)
    assert pool(np.full((2, 2), info.min, dtype), "l2", dtype=dtype).tolist() == [[info.max]]


@pytest.mark.parametrize("count", [255, 256, 1000, 4095, 65_535, 65_536, 65_537])
def test_an_eight_bit_mean_of_many_elements_is_right_next_to_every_kind_of_tie(count):
    halves = [0, 1, 2, 100, 127, 128, 191, 253, 254]
    totals = [(2 * half + 1) * count // 2 + step for half in halves for step in (-1, 0, 1)]
    array = np.zeros((len(totals), count), "uint8")
    for row, total in zip(array, totals, strict=True):
        row[: total // 255] = 255
        row[total // 255] = total % 255
    expected = [round(Fraction(total, count)) for total in totals]
    assert pool(array, "avg", (1, count), dtype="uint8")[:, 0].tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("method", FOLDS)
def test_zeros_stay_zero(method, dtype):
    for target in (None, dtype, "uint8", "int16"):
        assert not pool(np.zeros((4, 4), dtype), method, dtype=target).any()


@pytest.mark.parametrize(("dtype", "engine"), [("uint8", "numpy"), ("uint8", "numba"), ("int16", "numpy")])
def test_an_integer_l2_of_every_value_among_zeros_is_half_of_it_to_even(dtype, engine):
    values = np.arange(0, np.iinfo(dtype).max + 1)
    array = np.zeros((len(values), 4), dtype)
    array[:, 2] = values
    expected = [round(Fraction(int(value), 2)) for value in values]  # sqrt(v * v / 4)
    assert poolcli.pool(array, "l2", (1, 4), dtype=dtype, engine=engine)[:, 0].tolist() == expected


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_an_integer_l2_of_neighbours_is_rounded_right(dtype, count):
    values = np.arange(0, np.iinfo(dtype).max, max(np.iinfo(dtype).max // 300, 1))
    array = np.stack([values + (place % 2) for place in range(count)], axis=-1).astype(dtype)
    expected = oracle.pool(array, "l2", (1, count), dtype=dtype)
    np.testing.assert_array_equal(pool(array, "l2", (1, count), dtype=dtype), expected)


def test_integers_saturate_and_keep_their_last_bit_on_the_way_to_another_integer():
    assert pool(np.full((2, 2), -5, "int8"), "max", dtype="uint16").tolist() == [[0]]
    assert pool(np.full((2, 2), 2**53 + 1, "int64"), "max", dtype="uint64").tolist() == [[2**53 + 1]]
    assert pool(np.full((2, 2), 2**64 - 1, "uint64"), "min", dtype="int64").tolist() == [[2**63 - 1]]
    assert pool(np.full((2, 2), 2**53 + 1, "int64"), "sum", dtype="uint64").tolist() == [[2**55 + 4]]


@pytest.mark.parametrize("method", FOLDS)
def test_nan_has_no_integer(method):
    with pytest.raises(InputError, match="NaN"):
        pool([[np.nan, 1.0]], method, (1, 2), dtype="int32")


def test_a_nan_outside_every_window_hinders_no_integer():
    assert pool([[1.0, 2.0, np.nan]], "max", (1, 2), dtype="int32").tolist() == [[2]]


@pytest.mark.parametrize(
    ("dtype", "value", "fits"),
    [
        ("uint64", 2**62 - 1, True),
        ("uint64", 2**62, False),
        ("uint64", 2**64 - 1, False),
        ("int64", 2**61 - 1, True),
        ("int64", 2**61, False),
        ("int64", -(2**61) + 1, True),
        ("int64", -(2**61) - 1, False),
        ("int64", 2**63 - 1, False),
        ("int64", -(2**63), False),
    ],
)
def test_a_sum_that_could_pass_64_bits_is_refused_and_never_wraps(dtype, value, fits):
    array = np.full((2, 2), value, dtype)
    if fits:
        assert pool(array, "sum").tolist() == [[4 * value]]
    else:
        with pytest.raises(InputError, match="64"):
            pool(array, "sum")


def test_averages_of_64_bit_integers_are_float64_and_do_not_wrap():
    for dtype, value in (("int64", 2**63 - 1), ("int64", -(2**63)), ("uint64", 2**64 - 1)):
        array = np.full((2, 2), value, dtype)
        assert pool(array, "avg").tolist() == [[float(value)]]
        assert pool(array, "l2").tolist() == [[abs(float(value))]]


def test_random_float64_sums_are_right_to_the_last_few_bits():
    array = np.random.default_rng(5).normal(size=(40, 41))
    for kernel in (3, 7, 31):
        exact = [
            [math.fsum(array[y : y + kernel, x : x + kernel].ravel().tolist()) for x in range(41 - kernel + 1)]
            for y in range(40 - kernel + 1)
        ]
        bound = 8e-16 * np.abs(array).sum()
        np.testing.assert_allclose(pool(array, "sum", kernel, stride=1), exact, rtol=0, atol=bound)


# NaN, infinities and windows without a real element.


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("method", FOLDS)
def test_nan_propagates_wherever_it_stands(method, dtype, place):
    array = np.arange(4, dtype=dtype)[None]
    array[0, place] = np.nan
    assert np.isnan(pool(array, method, (1, 4))).all()
    assert np.isnan(pool(array.T, method, (4, 1))).all()


@pytest.mark.parametrize("method", FOLDS)
def test_nan_spoils_its_own_windows_only(method):
    array = np.ones((1, 40))
    array[0, 17] = np.nan
    result = pool(array, method, (1, 5), stride=1)
    assert np.flatnonzero(np.isnan(result[0])).tolist() == [13, 14, 15, 16, 17]


@pytest.mark.parametrize("method", FOLDS)
def test_nan_between_the_taps_of_a_dilated_window_is_not_in_it(method):
    assert not np.isnan(pool([[1.0, np.nan, 2.0]], method, (1, 2), stride=1, dilation=2)).any()


def test_a_window_of_minus_infinities_has_that_maximum():
    assert pool(np.full((2, 2), -np.inf), "max").tolist() == [[-np.inf]]
    assert pool(np.full((2, 2), np.inf), "min").tolist() == [[np.inf]]


def test_infinities_of_both_signs_have_no_sum():
    for method in ("sum", "avg"):
        assert np.isnan(pool([[np.inf, -np.inf]], method, (1, 2))).all()
    assert pool([[np.inf, -np.inf]], "l2", (1, 2)).tolist() == [[np.inf]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_a_window_without_a_real_element_gives_the_other_end_or_zero(dtype, count_include_pad):
    array = np.ones((1, 1), dtype)
    window = {"kernel": (1, 2), "stride": 1, "padding": (0, 1), "dilation": (1, 2)}
    low, high = oracle.lowest(np.dtype(dtype)), oracle.highest(np.dtype(dtype))
    for method, expected in {"max": low, "min": high, "sum": 0, "avg": 0, "l2": 0}.items():
        result = pool(array, method, count_include_pad=count_include_pad, **window)
        assert result.tolist() == [[expected]]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_maximum_of_negative_integers_ignores_padding(dtype):
    array = np.full((1, 1, 1, 5), -4, dtype)
    result = pool(array, "max", (1, 3), stride=(1, 2), padding=(0, 2), dilation=(1, 2), ceil=True)
    assert np.unique(result).tolist() == [-4]


# Result dtypes.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", FOLDS)
def test_results_have_the_dtype_the_method_promises(method, dtype):
    kept = method in {"max", "min"} or dtype in FLOATS
    extent = np.dtype(f"uint{8 * np.dtype(dtype).itemsize}")  # holds every difference
    expected = {"sum": "int64" if dtype in SIGNED else "uint64", "range": extent}.get(method, "float64")
    assert pool(np.ones((4, 4), dtype), method).dtype == (dtype if kept else expected)


@pytest.mark.parametrize("dtype", ["float16", "f32", np.float64, np.dtype("int32"), np.dtype(">i2")])
def test_a_target_dtype_is_anything_numpy_understands_and_native(dtype):
    result = pool(np.ones((4, 4), "uint8"), "avg", dtype=dtype)
    assert result.dtype == np.dtype({"f32": "float32"}.get(str(dtype), dtype)).newbyteorder("=")
    assert result.dtype.isnative


@pytest.mark.parametrize(("short", "name"), [("i8", "int8"), ("u16", "uint16"), ("f64", "float64")])
def test_a_short_dtype_counts_bits_not_bytes(short, name):
    assert pool(np.ones((4, 4), "uint8"), "avg", dtype=short).dtype == name


@pytest.mark.parametrize("code", ["u4", "f8", "<i8", "B", "half"])
def test_numpys_codes_in_bytes_are_refused(code):
    with pytest.raises(PoolError, match="dtype must be one of"):
        pool(np.ones((4, 4), "uint8"), "avg", dtype=code)


@pytest.mark.parametrize("dtype", ["complex64", "nonsense", "U3", "datetime64[s]", object])
def test_a_target_dtype_that_cannot_be_pooled_is_refused(dtype):
    with pytest.raises(PoolError, match=r"^dtype must .+, got "):
        pool(np.ones((4, 4)), "avg", dtype=dtype)


@pytest.mark.parametrize(
    "array",
    [
        np.ones((4, 4), complex),
        np.full((4, 4), "a"),
        np.full((4, 4), None),
        np.zeros((4, 4), [("x", "f4")]),
        np.zeros((4, 4), "datetime64[s]"),
        np.zeros((4, 4), "V3"),
    ],
    ids=lambda array: array.dtype.kind,
)
def test_an_array_of_a_dtype_that_cannot_be_pooled_is_refused(array):
    with pytest.raises(InputError, match="dtype"):
        pool(array)


# Layouts.


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((18, 17), "HW"),
        ((3, 16, 18), "CHW"),
        ((16, 16, 5), "CHW"),
        ((7, 16, 3), "CHW"),
        ((16, 7, 4), "CHW"),
        ((2, 3, 6, 8), "NCHW"),
        ((2, 4, 20, 3), "NCHW"),
        ((2, 7, 20, 3), "NCHW"),
        ((2, 20, 7, 3), "NCHW"),
        ((2, 20, 20, 5), "NCHW"),
    ],
)
def test_layout_unless_given(shape, layout):
    array = sample(shape, "int32")
    np.testing.assert_array_equal(pool(array, "max", (2, 1)), pool(array, "max", (2, 1), layout=layout))


def test_a_shape_that_looks_like_a_picture_must_have_a_layout():
    with pytest.raises(InputError) as caught:
        pool(np.zeros((1080, 1920, 3), "uint8"))
    assert caught.value.message == "layout must be given for shape (1080, 1920, 3)"
    assert caught.value.hint == "layout=HWC or CHW"
    with pytest.raises(InputError) as caught:
        pool(np.zeros((2, 16, 16, 3), "uint8"))
    assert caught.value.message == "layout must be given for shape (2, 16, 16, 3)"
    assert caught.value.hint == "layout=NHWC or NCHW"


@pytest.mark.parametrize(
    "shape",
    [(16, 16, 1), (8, 8, 4), (20, 16, 2), (2, 8, 8, 4), (8, 9, 8, 1), (5,), (2, 3, 4, 5, 6), (1, 1, 1, 1, 4, 4)],
)
def test_one_five_and_more_dimensions_and_pictures_must_have_a_layout(shape):
    with pytest.raises(InputError, match=r"^layout must be given for shape \("):
        pool(np.zeros(shape))


def test_a_single_number_cannot_be_pooled():
    with pytest.raises(InputError):
        pool(5.0)


@pytest.mark.parametrize("layout", ["HWN", "HCW", "HCWN", "CHNW", "WH", "WCH", "BHWC"])
def test_any_order_of_letters_is_a_layout_and_windows_follow_it(layout):
    lengths = {"H": 9, "W": 7, "C": 3, "N": 2, "B": 2}
    array = sample(tuple(lengths[letter] for letter in layout), "float64")
    axes = [index for index, letter in enumerate(layout) if letter in "HW"]
    planes = np.moveaxis(array, axes, (-2, -1))
    expected = np.moveaxis(oracle.pool(planes, "avg", (3, 2), (2, 1)), (-2, -1), axes)
    np.testing.assert_array_equal(pool(array, "avg", (3, 2), stride=(2, 1), layout=layout), expected)


@pytest.mark.parametrize("layout", ["", "XY", "HH", "HWW", "WH?", "H W", "NC", 3])
def test_a_layout_that_is_none_is_refused(layout):
    with pytest.raises(PoolError, match=r"^layout must .+, got "):
        pool(np.zeros((4, 4)), layout=layout)


@pytest.mark.parametrize(("shape", "layout"), [((4, 4), "HWC"), ((4, 4, 4), "HW"), ((4, 4, 4), "NCHW")])
def test_a_layout_must_have_a_letter_for_every_axis(shape, layout):
    with pytest.raises(InputError, match="layout"):
        pool(np.zeros(shape), layout=layout)


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("layout", ["NCHW", "NHW", "HWN", "HNW", "CHNW"])
def test_an_empty_batch_gives_an_empty_batch(method, layout, engine):
    lengths, pooled = {"N": 0, "C": 3, "H": 6, "W": 8}, {"N": 0, "C": 3, "H": 3, "W": 4}
    array = np.zeros([lengths[letter] for letter in layout], "float32")
    result = poolcli.pool(array, method, layout=layout, engine=engine)
    assert (result.shape, result.dtype) == (tuple(pooled[letter] for letter in layout), np.float32)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((0, 4), "HW"),
        ((4, 0), "HW"),
        ((0, 4, 4), "CHW"),
        ((4, 4, 0), "HWC"),
        ((1, 0, 4, 4), "NCHW"),
        ((0, 3, 0, 4), "NCHW"),
    ],
)
def test_other_axes_without_elements_are_refused(shape, layout):
    with pytest.raises(InputError):
        pool(np.zeros(shape), padding=1, layout=layout)


# Any input, never modified.


def variants():
    """Return the same 12 x 14 numbers in every memory form."""
    base = sample((12, 14), "int32")
    wide = np.zeros((24, 42), "int32")
    wide[::2, ::3] = base
    unaligned = np.frombuffer(b"x" + base.tobytes(), "u1")[1:].view("int32").reshape(base.shape)
    locked = base.copy()
    locked.setflags(write=False)
    return {
        "contiguous": base,
        "fortran": np.asfortranarray(base),
        "transposed": np.ascontiguousarray(base.T).T,
        "strided": wide[::2, ::3],
        "reversed": np.ascontiguousarray(base[::-1, ::-1])[::-1, ::-1],
        "big-endian": base.astype(">i4"),
        "unaligned": unaligned,
        "read-only": locked,
        "list": base.tolist(),
        "tuples": tuple(map(tuple, base.tolist())),
    }


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize("method", FOLDS)
def test_any_memory_form_gives_the_same_and_is_never_modified(method, name):
    array = variants()[name]
    before = np.array(array)
    result = pool(array, method, 3, stride=2, padding=1)
    expected = oracle.pool(before.astype("int32"), method, (3, 3), (2, 2), ((1, 1), (1, 1)))
    assert result.dtype.isnative
    np.testing.assert_allclose(result, expected, rtol=1e-14)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">i8", ">u2"])
def test_big_endian_input_gives_native_output(dtype):
    array = sample((8, 8), dtype[1:]).astype(dtype)
    result = pool(array, "max")
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(result, oracle.pool(array, "max", (2, 2)))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_strided_and_broadcast_planes_pool_right(layout):
    array = np.broadcast_to(sample((1, 9, 8), "uint8"), (3, 9, 8))
    array = np.moveaxis(array, 0, -1) if layout == "HWC" else array
    expected = pool(np.ascontiguousarray(array), "avg", 3, stride=2, layout=layout)
    np.testing.assert_array_equal(pool(array, "avg", 3, stride=2, layout=layout), expected)


def test_the_result_is_new_memory_even_for_a_kernel_of_one():
    array = sample((4, 4), "float64")
    result = pool(array, "max", 1)
    np.testing.assert_array_equal(result, array)
    assert not np.shares_memory(result, array)
    assert result.flags.writeable
    assert result.flags.c_contiguous


def test_window_values_may_be_numpy_integers():
    array = sample((9, 9), "float32")
    result = pool(array, "max", np.int64(3), stride=np.uint8(2), padding=(np.int32(1), np.int32(1)))
    np.testing.assert_array_equal(result, pool(array, "max", 3, stride=2, padding=1))


# out=


def test_out_receives_the_result_and_is_returned():
    array = sample((8, 9), "float32")
    out = np.full((4, 4), 99, "float32")
    assert pool(array, "avg", out=out) is out
    np.testing.assert_array_equal(out, oracle.pool(array, "avg", (2, 2)))


def test_out_may_be_a_part_of_a_larger_array():
    array = sample((8, 8, 3), "uint8")
    canvas = np.zeros((8, 8, 3), "uint8")
    pool(array, "max", layout="HWC", out=canvas[1::2, ::2])
    np.testing.assert_array_equal(canvas[1::2, ::2], pool(array, "max", layout="HWC"))
    assert not canvas[::2].any()
    assert not canvas[:, 1::2].any()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((4, 3), "float32"),
        np.zeros((1, 4, 4), "float32"),
        np.zeros((4, 4), "float64"),
        np.zeros((4, 4), "int32"),
        [[0.0] * 4] * 4,
    ],
    ids=["shape", "dimensions", "wider", "integer", "list"],
)
def test_an_out_of_another_shape_or_dtype_is_refused(out):
    with pytest.raises(PoolError, match=r"^out must .+, got "):
        pool(sample((8, 8), "float32"), "avg", out=out)


def test_a_read_only_out_is_refused():
    out = np.zeros((4, 4))
    out.setflags(write=False)
    with pytest.raises(PoolError, match=r"^out must "):
        pool(np.ones((8, 8)), "avg", out=out)


@pytest.mark.parametrize("window", [{"kernel": 1}, {"kernel": 3, "stride": 1, "padding": 1}], ids=str)
def test_an_out_that_overlaps_its_input_is_right_or_refused_untouched(window):
    array = sample((12, 12), "float64")
    expected = pool(array, "avg", **window)
    try:
        pool(array, "avg", out=array, **window)
    except PoolError:
        expected = sample((12, 12), "float64")
    np.testing.assert_array_equal(array, expected)


def test_out_and_dtype_agree_or_are_refused():
    out = np.zeros((4, 4), "uint8")
    pool(np.full((8, 8), 2.5), "avg", dtype="uint8", out=out)
    assert np.unique(out).tolist() == [2]
    with pytest.raises(PoolError, match=r"^out must "):
        pool(np.ones((8, 8)), "avg", dtype="float32", out=out)


# Refusals and extremes.


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"^method must .+, got 'agv'") as caught:
        pool(np.ones((4, 4)), "agv")
    assert caught.value.hint == "did you mean 'avg'?"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(("mean", "avg"), ("average", "avg"), ("Mean", "avg"), ("averge", "avg")),
        *(("rms", "l2"), ("root_mean_square", "l2"), ("root-mean-square", "l2"), ("quadratic mean", "l2")),
        *(("minimum", "min"), ("maximum", "max"), ("largest", "max"), ("smallest", "min"), ("total", "sum")),
    ],
)
def test_a_methods_other_names_lead_to_it(said, meant):
    with pytest.raises(UsageError) as caught:
        pool(np.ones((4, 4)), said)
    assert caught.value.hint == f"did you mean {meant!r}?"


@pytest.mark.parametrize("method", ["", "max:3", "MAX", "max ", 3, None])
def test_a_method_that_is_none_is_refused(method):
    with pytest.raises(UsageError, match=r"^method .*must .+, got "):
        pool(np.ones((4, 4)), method)


@pytest.mark.parametrize("engine", ["cuda", "", None])
def test_an_unknown_engine_is_refused(engine):
    with pytest.raises(UsageError, match=r"^engine must .+, got "):
        poolcli.pool(np.ones((4, 4)), engine=engine)


@pytest.mark.parametrize("threads", [0, -1, 2.5, "two"])
def test_a_wrong_number_of_threads_is_refused(threads):
    with pytest.raises(UsageError, match=r"^threads must .+, got "):
        pool(np.ones((4, 4)), threads=threads)


@pytest.mark.parametrize(
    "window",
    [
        {"kernel": 0},
        {"kernel": (2, -1)},
        {"kernel": "x"},
        {"kernel": 2, "stride": 0},
        {"kernel": 2, "padding": 2},
        {"kernel": 2, "dilation": 0},
        {"kernel": (2, 2, 2)},
        {"kernel": 2**31 + 1},
        {"kernel": 5},
    ],
    ids=str,
)
def test_a_wrong_window_is_refused(window):
    with pytest.raises(PoolError, match=r"^(kernel|stride|padding|dilation|window) must .+, got "):
        pool(np.ones((4, 4)), "max", **window)


def test_errors_are_value_errors():
    assert issubclass(PoolError, ValueError)


@pytest.mark.parametrize("shape", [(1, 10_007), (10_007, 1)])
@pytest.mark.parametrize("method", FOLDS)
def test_one_long_row_or_column_pools_right(method, shape):
    array = sample(shape, "float64")
    along = tuple(7 if length > 1 else 1 for length in shape)
    step = tuple(3 if length > 1 else 1 for length in shape)
    expected = oracle.pool(array, method, along, step)
    np.testing.assert_array_equal(pool(array, method, along, stride=step), expected)


def test_an_axis_longer_than_float32_can_count_has_all_its_windows():
    array = np.zeros((1, 16_777_217), "uint8")
    array[0, -1] = 7
    result = pool(array, "max", (1, 2), ceil=True)
    assert (result.shape, result[0, -1], result.sum()) == ((1, 8_388_609), 7, 7)


def test_a_window_over_the_whole_input_gives_one_value():
    array = sample((37, 41), "uint8")
    assert pool(array, "sum", (37, 41)).tolist() == [[int(array.sum(dtype="uint64"))]]


def test_strides_kernels_and_paddings_may_be_far_larger_than_the_input():
    array = sample((5, 5), "int16")
    assert pool(array, "max", 1, stride=2**31 - 1).tolist() == [[int(array[0, 0])]]
    corners = [[array[:1, :1], array[:1, 1:]], [array[1:, :1], array[1:, 1:]]]
    expected = [[int(part.max()) for part in row] for row in corners]
    assert pool(array, "max", 100_000, padding=99_999).tolist() == expected
