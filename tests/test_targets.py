"""Proves target sizes, edges, paddings and divisors by the oracle, for methods of every kind."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from cases import METHOD_CASES, PAD_MODES, TARGETS, sample

import poolcli
from poolcli.core import arrays, execution
from poolcli.errors import InputError, UsageError

LAYOUTS = {1: "L", 2: "HW", 3: "DHW"}
DTYPES = ("uint8", "float64", "int16", "float32")
MANY = {
    "max",
    "avg",
    "sum",
    "l2",
    "range",
    "std",
    "lp:2.7",
    "mixed",
    "soft",
    "median",
    "mode",
    "center",
    "first",
    "blur",
}
SOME = [case for case in METHOD_CASES if case.id in MANY]
MEANS = [case for case in METHOD_CASES if case.id in {"avg", "l2", "lp:2.7", "gem", "lse", "mixed"}]


def by_id(case):
    return case.id


def name_of(case):
    return case.id.partition(":")[0]


def pool(array, method, kernel=None, **options):
    return poolcli.pool(array, method, kernel, engine="numpy", layout=LAYOUTS[array.ndim], **options)


def values(case, shape, dtype):
    """Return values that the method takes; products of ones and twos fit."""
    array = sample(shape, dtype, 5)
    if case.id == "prod":
        return np.random.default_rng(5).choice([1, 1, 1, 2], shape).astype(dtype)
    return array.clip(0) if case.nonnegative else array


def check(case, array, **arguments):
    """Compare one pooling with the oracle: the same array, or both refuse."""
    try:
        expected = oracle.pool(array, case.id, **oracle.arguments_of(arguments))
    except (oracle.TooSmallError, oracle.UnevenError):
        with pytest.raises(InputError):
            pool(array, case.id, **arguments)
    else:
        case.check(pool(array, case.id, **arguments), expected, array)


# Target sizes.


@pytest.mark.parametrize("target", TARGETS, ids=by_id)
@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_every_method_gives_every_target_size(case, target):
    if name_of(case) in {"blur", "maxblur"} and target.rule != "fractional":
        with pytest.raises(UsageError, match="to must be used with a method whose windows may have any length"):
            pool(sample((7, 9), "uint8"), case.id, **target.arguments)
        return
    for dtype in DTYPES:
        check(case, values(case, (7, 9), dtype), **target.arguments)


@pytest.mark.parametrize("case", SOME, ids=by_id)
def test_sequences_and_volumes_have_target_sizes(case):
    for shape, to in (((17,), (5,)), ((5, 6, 7), (2, 4, 3))):
        array = values(case, shape, "float64")
        kernel = (2,) * len(shape)
        check(case, array, to=to, to_rule="fractional", kernel=kernel, seed=(0.1, 0.7, 0.4)[: len(shape)])
        if case.id != "blur":
            check(case, array, to=to)
        if case.id != "blur":
            check(case, array, to=to, to_rule="area")


@pytest.mark.parametrize("rule", ["adaptive", "area", "fractional"])
@pytest.mark.parametrize("case", [case for case in SOME if case.id != "blur"], ids=by_id)
def test_windows_told_one_by_one_are_the_same_in_slabs_bands_and_engines(case, rule, monkeypatch):
    array = np.random.default_rng(4).normal(size=(3, 19, 14, 2))
    window = {"to": (6, 5), "to_rule": rule, "layout": "NHWC"}
    whole = poolcli.pool(array, case.id, engine="numpy", **window)
    assert whole.shape == (3, 6, 5, 2)
    monkeypatch.setattr(execution, "SLAB", 150)
    monkeypatch.setattr(arrays, "BAND", 50)
    monkeypatch.setattr("poolcli.core.threads.ALONE", 0)
    for form in (array, array[::-1, :, ::-1].copy()[::-1, :, ::-1], array.astype(">f8")):
        for engine, threads in (("numpy", 1), ("numba", 1), ("numba", 7)):
            result = poolcli.pool(form, case.id, engine=engine, threads=threads, **window)
            np.testing.assert_array_equal(result, whole)


def test_area_keeps_the_mean_of_the_whole_and_adaptive_does_not():
    array = sample((7, 11), "float64") + 300
    assert pool(array, "avg", to=(3, 4), to_rule="area").mean() == pytest.approx(array.mean(), rel=1e-13)
    assert pool(array, "sum", to=(3, 4), to_rule="area").sum() == pytest.approx(array.sum(), rel=1e-13)
    assert pool(array, "avg", to=(3, 4)).mean() != pytest.approx(array.mean(), rel=1e-6)


def test_area_is_the_integral_over_the_part():
    array = sample((37,), "float64")
    for to in (5, 8, 36, 50):
        ends = np.linspace(0, 37, to + 1)
        whole = np.interp(ends, np.arange(38), np.concatenate([[0], np.cumsum(array)]))
        np.testing.assert_allclose(pool(array, "sum", to=to, to_rule="area"), np.diff(whole), 0, 1e-10)
        np.testing.assert_allclose(pool(array, "avg", to=to, to_rule="area"), np.diff(whole) * to / 37, 0, 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63 - 1])
def test_a_seed_gives_the_samples_of_fractional_windows(seed, dtype):
    array = sample((23, 31), dtype)
    window = {"kernel": (2, 3), "to": (9, 11), "to_rule": "fractional"}
    result = pool(array, "max", **window, seed=seed)
    samples = tuple(splitmix(seed, axis) for axis in range(2))
    np.testing.assert_array_equal(result, oracle.pool(array, "max", **window, samples=samples))
    np.testing.assert_array_equal(result, pool(array, "max", **window, seed=samples))


def splitmix(seed, place):
    """Return a number in [0, 1) for a place (Steele, Lea and Flood 2014)."""
    x = (seed + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return ((x ^ (x >> 31)) >> 11) / 2**53


@pytest.mark.parametrize("seed", range(0, 40, 7))
def test_fractional_windows_stay_inside_and_reach_the_end(seed):
    array = np.arange(1000.0)
    for to in (1, 2, 333, 999, 998):
        result = pool(array, "max", 2, to=to, to_rule="fractional", seed=seed)
        assert result[-1] == 999
        assert (np.diff(result) >= 1).all()


def test_float32_samples_step_as_pytorch_steps_them():
    # In float64 the fourth window would begin one earlier
    for length, to in ((100, 34), (1001, 67), (50, 13)):
        for sample_of in (0.1, 0.3, 0.7, 0.9, 0.999):
            for dtype in ("float32", "float64", "uint8"):
                array = np.arange(length).astype(dtype)
                window = {"kernel": (2,), "to": (to,), "to_rule": "fractional"}
                expected = oracle.pool(array, "max", **window, samples=(sample_of,))
                np.testing.assert_array_equal(pool(array, "max", **window, seed=(sample_of,)), expected)


# Edges.


@pytest.mark.parametrize("edge", ["drop", "partial", "error"])
@pytest.mark.parametrize("case", SOME, ids=by_id)
def test_what_does_not_fill_a_window_is_dropped_pooled_or_refused(case, edge):
    for shape in ((7, 9), (8, 9), (6, 9), (2, 4)):
        for window in (
            {"kernel": (3, 3)},
            {"kernel": (2, 3), "stride": (3, 2)},
            {"kernel": (3, 2), "dilation": (2, 3)},
        ):
            check(case, values(case, shape, "float64"), **window, edge=edge)


@pytest.mark.parametrize("kernel", [9, 100])
def test_an_input_smaller_than_the_window_is_one_part(kernel):
    array = sample((5, 6), "float64")
    assert pool(array, "avg", kernel, edge="partial").tolist() == [[array.mean()]]
    assert pool(array, "sum", kernel, edge="partial", dilation=2).tolist() == [[array[::2, ::2].sum()]]


def test_a_refusal_of_an_uneven_edge_says_what_is_left():
    with pytest.raises(InputError, match="windows must fill the input, got 2 left of a length of 8") as caught:
        pool(sample((8, 6), "uint8"), "avg", 3, edge="error")
    assert caught.value.hint == 'edge="drop" leaves them out, edge="partial" pools them'


# What the padding holds.


@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize("case", METHOD_CASES, ids=by_id)
def test_the_padding_holds_what_its_mode_says(case, mode):
    pads = ((1, 2), (2, 0))
    for dtype, window in zip(
        DTYPES,
        (
            {"kernel": (3, 3), "stride": (1, 1), "padding": pads},
            {"kernel": (3, 4), "stride": (2, 3), "padding": pads, "ceil": True},
            {"kernel": (2, 3), "stride": (1, 2), "padding": "same", "dilation": (2, 1)},
            {"kernel": (3, 3), "stride": (3, 2), "padding": pads, "count_include_pad": True},
        ),
        strict=True,
    ):
        check(case, values(case, (6, 7), dtype), **window, pad_mode=mode)


@pytest.mark.parametrize("mode", PAD_MODES[1:])
def test_padding_of_sequences_volumes_and_views_holds_the_same(mode, monkeypatch):
    window = {"kernel": (3,), "stride": (2,), "padding": ((2, 1),)}
    check(SOME[0], sample((11,), "float64"), **window, pad_mode=mode)
    window = {"kernel": (2, 3, 2), "stride": (1, 2, 2), "padding": ((1, 0), (2, 2), (0, 1))}
    check(SOME[0], sample((4, 5, 6), "uint8"), **window, pad_mode=mode)
    array = np.random.default_rng(6).normal(size=(2, 17, 9, 3))
    window = {"kernel": (5, 3), "padding": 2, "stride": 2, "layout": "NHWC", "pad_mode": mode}
    whole = poolcli.pool(array, "avg", engine="numpy", **window)
    padded = np.pad(array, ((0, 0), (2, 2), (2, 2), (0, 0)), {"zero": "constant"}.get(mode, mode))
    np.testing.assert_array_equal(whole, poolcli.pool(padded, "avg", engine="numpy", **window | {"padding": 0}))
    monkeypatch.setattr(execution, "SLAB", 90)
    for form in (array, array[:, ::-1].copy()[:, ::-1], array.astype(">f8")):
        for engine in ("numpy", "numba"):
            np.testing.assert_array_equal(poolcli.pool(form, "avg", engine=engine, **window), whole)


def test_identity_is_the_padding_that_never_counts():
    array = sample((6, 6), "int16").clip(max=-1)
    for method in ("max", "avg", "median", "std"):
        plain = pool(array, method, 3, padding=1)
        np.testing.assert_array_equal(plain, pool(array, method, 3, padding=1, pad_mode="identity"))
        assert (plain != pool(array, method, 3, padding=1, pad_mode="zero")).any()


# What means divide by.


@pytest.mark.parametrize("divisor", ["valid", "window", 1, 7, 0.5, -3])
@pytest.mark.parametrize("case", MEANS, ids=by_id)
def test_means_divide_by_what_is_said(case, divisor):
    if divisor == -3 and case.id in {"lse", "lp:2.7", "gem", "l2"}:
        pytest.skip("no root or logarithm of a negative mean")
    for window in (
        {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (2, 0)), "ceil": True},
        {"kernel": (2, 3)},
    ):
        for dtype in ("float64", "uint8"):
            check(case, values(case, (6, 7), dtype), **window, divisor=divisor)


def test_a_divisor_of_one_makes_a_sum_of_an_average():
    array = sample((2, 8, 9), "float64")
    expected = pool(array, "sum", (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    for engine in ("numpy", "numba"):
        result = poolcli.pool(array, "avg", 3, 2, 1, divisor=1, engine=engine)
        np.testing.assert_array_equal(result, expected)


def test_the_window_as_divisor_is_count_include_pad():
    array = sample((6, 7), "uint8")
    window = {"kernel": 3, "stride": 2, "padding": 1, "ceil": True}
    for method in ("avg", "l2", "lp:3"):
        counted = pool(array, method, **window, count_include_pad=True)
        np.testing.assert_array_equal(pool(array, method, **window, divisor="window"), counted)
        assert (counted != pool(array, method, **window)).any()


# What does not go together.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"to": 3, "kernel": 2}, "to must be used without kernel"),
        ({"to": 3, "stride": 2}, "to must be used without stride"),
        ({"to": 3, "padding": 1}, "to must be used without padding"),
        ({"to": 3, "pad_mode": "zero"}, "to must be used without pad_mode"),
        ({"to": 3, "ceil": True}, "to must be used without ceil"),
        ({"to": 3, "edge": "partial"}, "to must be used without ceil, edge"),
        ({"to": 3, "dilation": 2}, "to must be used without ceil, edge or dilation"),
        ({"to": 3, "to_rule": "area", "kernel": 2}, "to must be used without kernel"),
        ({"to": 3, "to_rule": "fractional", "stride": 2}, "to must be used without stride"),
        ({"to_rule": "area"}, "to_rule must be used with to"),
        ({"to": 3, "to_rule": "nearest"}, "to_rule must be one of adaptive, area, fractional"),
        ({"to": 3, "to_rule": "fractional", "kernel": 8}, "fractional windows must fit"),
        ({"to": 3, "to_rule": "fractional", "seed": (0.5,)}, "seed must have one sample for each pooled axis"),
        ({"to": 3, "to_rule": "fractional", "seed": (0.5, 1.0)}, "samples from 0 to below 1"),
        ({"to": 2**21}, "to must be at most 1048576 for a length of 9"),
        ({"edge": "keep"}, "edge must be one of drop, partial, error, got 'keep'"),
        ({"pad_mode": "mirror"}, "pad_mode must be one of identity, zero, edge"),
        ({"divisor": 0}, "divisor must be valid, window or a number other than 0, got 0"),
        ({"divisor": float("inf")}, "divisor must be valid"),
        ({"divisor": float("nan")}, "divisor must be valid"),
        ({"divisor": "all"}, "divisor must be valid, window or a number other than 0, got 'all'"),
        ({"divisor": 3, "count_include_pad": True}, "divisor must be window with count_include_pad, got 3"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(arguments, said):
    with pytest.raises(poolcli.PoolError, match=said):
        pool(np.ones((9, 9)), "avg", **arguments)
