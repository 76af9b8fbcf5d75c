"""Proves that memory order, slabs and bands change no value: random views against a contiguous copy and the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import oracle
import pytest
from cases import METHOD_CASES, sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import poolcli
from poolcli.core import arrays, execution
from poolcli.errors import InputError

LAYOUTS = ("HW", "CHW", "HWC", "NCHW", "NHWC", "HNW", "HCWN")
WIDE = ("bool", "uint8", "int8", ">i2", "uint16", ">i4", "uint64", "float16", ">f2", "float32", "<f4", "float64", ">f8")
FOLDS = ("max", "min", "avg", "sum", "l2", "range")
# A kernel takes seconds to compile: those that other tests have compiled already
COMPILED = (
    *((dtype, method) for dtype in ("uint8", "float64", ">f8") for method in FOLDS),
    *(("float16", "avg"), ("float16", "max")),
)
CASES = {case.id: case for case in METHOD_CASES if case.id not in {"prod", "stochastic"}}  # which take not all values
# What the oracle is quick about, where its sums and those of the package are the same whatever their order
SURE = (
    *FOLDS,
    "median",
    "median:lower",
    "mode",
    "mode:sparse",
    "first",
    "center",
    "quantile:0.5:nearest",
    "std",
    "lp:1",
)


def trials(count):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=checks)


@dataclass(frozen=True)
class Case:
    """A view, how it is pooled, and into which pieces the work is parted."""

    view: np.ndarray
    method: str
    layout: str
    window: dict[str, Any]
    slab: int  # elements that are converted at a time
    band: int  # elements of a band of the numpy engine
    exact: bool  # whether the oracle gives the same, which adds in another order


@st.composite
def views(draw, dtype, shape):
    """Return an array of a shape, axes in any order in memory, each turned, strided or repeated; and if sums are exact.

    They are where every order of adding gives the same one; the others would show a changed order.
    """
    exact = draw(st.booleans()) or np.dtype(dtype).kind != "f"
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from((1, 1, 1, -1, -1, 2, -3, 0))) for _ in shape]
    memory = tuple(1 + (shape[axis] - 1) * abs(steps[axis]) for axis in order)
    seed = draw(st.integers(0, 2**16))
    held = sample(memory, np.dtype(dtype).name, seed) if exact else np.random.default_rng(seed).normal(size=memory)
    view = np.transpose(held.astype(dtype), np.argsort(order))
    view = view[tuple(slice(None, None, step or 1) for step in steps)]
    return np.broadcast_to(view, shape), exact


@st.composite
def windows(draw, lengths):
    """Return a window that fits the pooled axes; tall ones are often folded in blocks."""
    kernel, stride, dilation, padding = [], [], [], []
    for length in lengths:
        dilation.append(draw(st.sampled_from((1, 1, 1, 2, 3))))
        kernel.append(draw(st.integers(1, max(1, min(17, 1 + (length - 1) // dilation[-1])))))
        stride.append(draw(st.sampled_from((1, 1, 1, 2, 3, 5))))
        most = dilation[-1] * (kernel[-1] - 1)
        padding.append((draw(st.integers(0, most)), draw(st.integers(0, most))))
    window = {"kernel": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}
    return {**window, "ceil": draw(st.booleans()), "count_include_pad": draw(st.booleans())}


@st.composite
def cases(draw, kinds, *, others=(1, 3), columns=(1, 13)):
    """Return a case of one of some pairs of a dtype and a method."""
    dtype, method = draw(kinds)
    layout = draw(st.sampled_from(LAYOUTS))
    sizes = {"H": (1, 48), "W": columns}
    shape = tuple(draw(st.integers(*sizes.get(letter, others))) for letter in layout)
    view, exact = draw(views(dtype, shape))
    wide = view.dtype.kind in "iu" and view.dtype.itemsize >= 4
    exact = exact and method in SURE and not (method in {"l2", "std", "lp:1"} and wide)  # in float64
    window = draw(windows(tuple(shape[layout.index(letter)] for letter in "HW")))
    slab, band = (draw(st.integers(1, most)) for most in (view.size, 2 * view.size))
    return Case(view, method, layout, window, slab, band, exact)


def pooled(case, engine, threads):
    """Pool a case in small pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "SLAB", case.slab)
        patch.setattr(arrays, "BAND", case.band)
        patch.setattr("poolcli.core.threads.ALONE", 0)
        return poolcli.pool(case.view, case.method, layout=case.layout, engine=engine, threads=threads, **case.window)


def whole(case):
    """Pool a contiguous native copy in one piece."""
    copy = np.ascontiguousarray(case.view, case.view.dtype.newbyteorder("="))
    return poolcli.pool(copy, case.method, layout=case.layout, engine="numpy", **case.window)


def assert_the_oracle_agrees(case, result):
    axes = tuple(case.layout.index(letter) for letter in "HW")
    native = case.view.astype(case.view.dtype.newbyteorder("="))
    expected = oracle.pool(np.moveaxis(native, axes, (-2, -1)), case.method, **case.window)
    CASES[case.method].check(np.moveaxis(result, axes, (-2, -1)), expected, native)


def assert_numpy_is_right(case):
    try:
        expected = whole(case)
    except InputError:  # integers have no value for padding alone
        with pytest.raises(InputError, match="windows must hold a value"):
            pooled(case, "numpy", 1)
        return
    result = pooled(case, "numpy", 1)
    np.testing.assert_array_equal(result, expected)
    if case.exact:
        assert_the_oracle_agrees(case, result)


def assert_numba_is_right(case):
    expected = whole(case)
    for threads in (1, 2, 7):
        np.testing.assert_array_equal(pooled(case, "numba", threads), expected, err_msg=f"{threads} threads")


EVERY = cases(st.tuples(st.sampled_from(WIDE), st.sampled_from((*FOLDS * 4, *CASES))))
NARROW = cases(st.sampled_from(COMPILED))
# Rows of so many elements are read several at once
BROAD = cases(st.sampled_from(COMPILED), others=(1, 40), columns=(20, 70))


@trials(250)
@given(EVERY)
def test_the_numpy_engine_is_right_about_any_view_slab_and_band(case):
    assert_numpy_is_right(case)


@trials(200)
@given(NARROW)
def test_the_compiled_engine_is_right_about_any_view_slab_and_number_of_bands(case):
    assert_numba_is_right(case)


@trials(20)
@given(BROAD)
def test_the_compiled_engine_is_right_about_broad_views(case):
    assert_numba_is_right(case)


@pytest.mark.slow
@trials(1000)
@given(EVERY, NARROW, BROAD)
def test_many_more_views_are_pooled_right(every, narrow, broad):
    assert_numpy_is_right(every)
    assert_numba_is_right(narrow)
    assert_numba_is_right(broad)


# What random views found first, as fixed cases.


@pytest.mark.parametrize(("slab", "threads"), [(19, 1), (28, 7), (46, 1)])  # slabs of 10, 19 and 37 rows; blocks of 9
def test_slabs_that_begin_anywhere_in_a_block_have_suffixes_of_their_own(slab, threads):
    view = np.rot90(sample((60, 1), "uint8"), 2)
    case = Case(view, "avg", "HW", {"kernel": (9, 1), "stride": (1, 1)}, slab, 1, exact=True)
    np.testing.assert_array_equal(pooled(case, "numba", threads), whole(case))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_slab_without_outputs_of_a_part_of_a_dilated_axis_is_no_failure(threads):
    view = sample((20, 3), "uint8")[::-1]
    case = Case(view, "max", "HW", {"kernel": (3, 1), "stride": (1, 1), "dilation": (4, 1)}, 1, 1, exact=True)
    np.testing.assert_array_equal(pooled(case, "numba", threads), whole(case))
