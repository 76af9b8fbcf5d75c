"""Proves that windows resolve to PyTorch's sizes in exact integers, and that bad ones are refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from itertools import product

import oracle
import pytest
from cases import WINDOW_COUNTS, WINDOWS

from poolcli.core.geometry import Window
from poolcli.errors import InputError, PoolError, UsageError

HUGE = 2**63
TOP = 2**31 - 1


def plan_rows(axis):
    """Return the row axis of a plan whose columns are left alone."""
    pads = ((axis.before, axis.after), 0)
    window = Window((axis.kernel, 1), (axis.stride, 1), pads, (axis.dilation, 1), ceil=axis.ceil)
    return window.plan((axis.length, 1)).axes[0]


def facts(window, shape=(40, 41)):
    names = ("length", "kernel", "stride", "dilation", "before", "after", "out")
    return [tuple(getattr(axis, name) for name in names) for axis in window.plan(shape).axes]


@pytest.mark.parametrize(("window", "out"), WINDOW_COUNTS)
def test_output_length_follows_pytorch(window, out):
    assert plan_rows(oracle.Axis(*window)).out == out


@pytest.mark.parametrize(
    ("window", "out", "upper", "lower"),
    [
        ((5, 2, 2, 1), 3, (0, 1), (1, 0)),
        ((5, 3, 2, 2), 3, (2, 2), (2, 2)),
        ((6, 1, 3, 1), 2, (0, 0), (0, 0)),
        ((32, 2, 1, 1), 32, (0, 1), (1, 0)),
        ((7, 4, 3, 2), 3, (3, 3), (3, 3)),
        ((10, 6, 4, 1), 3, (2, 2), (2, 2)),
        ((2, 9, 5, 1), 1, (3, 4), (4, 3)),
    ],
)
def test_same_pads_the_effective_kernel_and_never_less_than_nothing(window, out, upper, lower):
    length, kernel, stride, dilation = window
    for padding, pads in (("same", upper), ("same-lower", lower)):
        axis = Window((kernel, 1), (stride, 1), padding, (dilation, 1)).plan((length, 1)).axes[0]
        assert (axis.out, (axis.before, axis.after)) == (out, pads)


@pytest.mark.parametrize("case", WINDOWS, ids=lambda case: case.id)
def test_a_plan_repeats_the_window_and_has_the_oracles_length(case):
    shape = (40, 41)
    plan = Window(**case.arguments).plan(shape)
    for number, axis in enumerate(plan.axes):
        asked = (shape[number], case.kernel[number], case.stride[number])
        pads = expected_pads(case, number, shape[number])
        assert (axis.length, axis.kernel, axis.stride, axis.dilation) == (*asked, case.dilation[number])
        assert (axis.before, axis.after) == pads
        expected = oracle.Axis(*asked, *pads, case.dilation[number], case.ceil)
        assert axis.out == oracle.window_count(expected)


def expected_pads(case, number, length):
    if isinstance(case.padding, tuple):
        return case.padding[number]
    window = (case.kernel[number], case.stride[number], case.dilation[number])
    return oracle.same_padding(length, *window, lower=case.padding == "same-lower")


@pytest.mark.parametrize("length", range(1, 12))
@pytest.mark.parametrize("kernel", range(1, 6))
def test_every_small_window_has_the_oracles_length(length, kernel):
    for stride, dilation, ceil in product(range(1, 5), range(1, 4), (False, True)):
        most = dilation * (kernel - 1)
        for before, after in {(0, 0), (most, 0), (0, most), (most // 2, (most + 1) // 2), (most, most)}:
            same_length_or_both_refuse(oracle.Axis(length, kernel, stride, before, after, dilation, ceil))


def same_length_or_both_refuse(axis):
    try:
        out = oracle.window_count(axis)
    except oracle.TooSmallError:
        with pytest.raises(InputError):
            plan_rows(axis)
    else:
        assert plan_rows(axis).out == out


@pytest.mark.parametrize("case", WINDOWS, ids=lambda case: case.id)
@pytest.mark.parametrize("length", [17, 18, 40])
def test_every_window_counts_its_real_elements_and_the_padding_but_no_overhang(case, length):
    axis = Window(**case.arguments).plan((40, length)).axes[1]
    pads = expected_pads(case, 1, length)
    shape = (length, case.kernel[1], case.stride[1])
    taps = oracle.axis_taps(oracle.Axis(*shape, *pads, case.dilation[1], case.ceil))
    for include_pad in (False, True):
        expected = [each.padded_count if include_pad else len(each.real) for each in taps]
        assert [axis.count(o, include_pad=include_pad) for o in range(axis.out)] == expected


def test_stride_is_the_kernel_unless_given():
    assert facts(Window((3, 2))) == facts(Window((3, 2), (3, 2)))
    assert facts(Window(3, 1)) != facts(Window(3))


def test_none_is_not_given():
    assert facts(Window(None, None, None)) == facts(Window(2, 2, 0))


def test_one_number_stands_for_both_axes():
    assert facts(Window(3, 2, 1, 2)) == facts(Window((3, 3), (2, 2), (1, 1), (2, 2)))


@pytest.mark.parametrize(
    ("padding", "pads"),
    [
        (0, ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        (((1, 0), (2, 1)), ((1, 0), (2, 1))),
        ((1, (0, 2)), ((1, 1), (0, 2))),
        (((2, 0), 1), ((2, 0), (1, 1))),
    ],
)
def test_padding_is_one_value_or_one_pair_per_axis(padding, pads):
    assert tuple((axis.before, axis.after) for axis in Window(3, 1, padding).plan((9, 9)).axes) == pads


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ({"kernel": "3"}, {"kernel": 3}),
        ({"kernel": "3x2"}, {"kernel": (3, 2)}),
        ({"kernel": "5x4", "stride": "2x1"}, {"kernel": (5, 4), "stride": (2, 1)}),
        ({"kernel": "3", "stride": "2"}, {"kernel": 3, "stride": 2}),
        ({"kernel": "3", "dilation": "2x3"}, {"kernel": 3, "dilation": (2, 3)}),
        ({"kernel": "3", "padding": "1"}, {"kernel": 3, "padding": 1}),
        ({"kernel": "3", "padding": "1x2"}, {"kernel": 3, "padding": (1, 2)}),
        ({"kernel": "5", "padding": "1,2,3,4"}, {"kernel": 5, "padding": ((1, 3), (4, 2))}),
        ({"kernel": "3", "padding": "same"}, {"kernel": 3, "padding": "same"}),
        ({"kernel": "4", "padding": "same-lower"}, {"kernel": 4, "padding": "same-lower"}),
    ],
)
def test_text_of_the_command_line_means_the_same_as_numbers(text, values):
    assert facts(Window(**text)) == facts(Window(**values))


def test_text_padding_runs_top_right_bottom_left():
    rows, columns = Window("5", padding="1,2,3,4").plan((20, 20)).axes
    assert (rows.before, columns.after, rows.after, columns.before) == (1, 2, 3, 4)


def test_same_lower_differs_from_same_where_a_pad_is_odd():
    assert facts(Window(4, 1, "same")) != facts(Window(4, 1, "same-lower"))


def test_a_window_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Window(3).kernel = 4


WRONG_VALUES = [
    ("kernel", 0, "0"),
    ("kernel", -3, "-3"),
    ("kernel", (3, 0), None),
    ("kernel", 2**31 + 1, "2147483649"),
    ("kernel", HUGE, str(HUGE)),
    ("kernel", 10**30, str(10**30)),
    ("kernel", 2.5, "2.5"),
    ("kernel", float("nan"), "nan"),
    ("kernel", float("inf"), "inf"),
    ("kernel", "", "''"),
    ("kernel", "three", "'three'"),
    ("kernel", "0", "'?0'?"),
    ("kernel", "-1", "'?-1'?"),
    ("kernel", "2.5", "'2.5'"),
    ("kernel", "3x", "'3x'"),
    ("kernel", "x3", "'x3'"),
    ("kernel", "3,3", "'3,3'"),
    ("kernel", "9" * 5000, None),
    ("kernel", "99999999999999999999", None),
    ("stride", 0, "0"),
    ("stride", -1, "-1"),
    ("stride", 2**31 + 1, "2147483649"),
    ("stride", "two", "'two'"),
    ("stride", 1.5, "1.5"),
    ("dilation", 0, "0"),
    ("dilation", -2, "-2"),
    ("dilation", 2**31 + 1, "2147483649"),
    ("dilation", "", "''"),
    ("padding", -1, "-1"),
    ("padding", (-1, 0), None),
    ("padding", ((0, -2), 0), None),
    ("padding", 0.5, "0.5"),
    ("padding", "some", "'some'"),
    ("padding", "same-upper", "'same-upper'"),
    ("padding", "1,2,3", "'1,2,3'"),
    ("padding", "1,2,3,x", "'1,2,3,x'"),
    ("padding", "1,2,3,4,5", "'1,2,3,4,5'"),
]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    WRONG_VALUES,
    ids=[f"{name}-{str(value)[:24]}" for name, value, _ in WRONG_VALUES],
)
def test_a_wrong_value_is_refused_by_name_rule_and_value(name, value, shown):
    arguments = {"kernel": 9, name: value}
    with pytest.raises(UsageError, match=rf"^{name} must .+, got {shown or ''}") as caught:
        Window(**arguments)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("padding", ["", "some", "1,2,3", "1,2,3,4,5", "1:2:3", "1:x2", "1,,2,3"])
def test_a_padding_that_cannot_be_read_is_told_every_form(padding):
    with pytest.raises(UsageError, match=r"^padding must be N, .+ T,R,B,L, BEFORE:AFTER .+ same-lower, got "):
        Window(9, padding=padding)


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding"),
    [
        (3, 1, 3),
        (3, 1, (0, 3)),
        (3, 1, ((0, 3), 0)),
        (3, 2, 5),
        ((5, 2), 1, 2),
        (1, 1, 1),
        ("3", 1, "0,0,3,0"),
    ],
)
def test_padding_must_be_smaller_than_the_effective_kernel(kernel, dilation, padding):
    with pytest.raises(UsageError, match=r"^padding must be smaller than .*(kernel|window).*, got "):
        Window(kernel, 1, padding, dilation)


@pytest.mark.parametrize(("kernel", "dilation", "padding"), [(3, 1, 2), (3, 2, 4), (5, 3, ((12, 0), (0, 12)))])
def test_padding_may_be_anything_below_the_effective_kernel(kernel, dilation, padding):
    assert Window(kernel, 1, padding, dilation).plan((9, 9)).axes[0].out >= 1


@pytest.mark.parametrize("padding", ["same", "same-lower"])
def test_same_with_ceil_is_refused(padding):
    with pytest.raises(UsageError, match=r"(same.* ceil|ceil.* same)"):
        Window(3, padding=padding, ceil=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel": (3, 3, 3)},
        {"kernel": ()},
        {"kernel": 3, "stride": (1, 2, 3)},
        {"kernel": 3, "padding": (1, 1, 1, 1)},
        {"kernel": 3, "padding": ((1, 1, 1), 1)},
        {"kernel": 3, "dilation": (1, 1, 1)},
        {"kernel": "3x3x3"},
        {"kernel": ((1, 2), (3, 4))},
    ],
    ids=str,
)
def test_a_tuple_of_the_wrong_length_is_refused(arguments):
    with pytest.raises(PoolError, match=rf"^(window|.*{list(arguments)[-1]}.*) must .+, got "):
        Window(**arguments).plan((20, 20))


@pytest.mark.parametrize(
    ("axis", "effective"),
    [
        (oracle.Axis(2, 3, 1), 3),
        (oracle.Axis(4, 3, 2, dilation=2), 5),
        (oracle.Axis(2, 9, 3, 3, 2), 9),
        (oracle.Axis(1, TOP, 1), TOP),
        (oracle.Axis(2, 5, 2, ceil=True), 5),
        (oracle.Axis(2, 3, 3, ceil=True), 3),  # PyTorch would pool the two elements
    ],
)
def test_a_kernel_larger_than_the_padded_input_is_refused(axis, effective):
    with pytest.raises(InputError, match=rf"^kernel must fit .+, got .*\b{effective}\b") as caught:
        plan_rows(axis)
    assert caught.value.exit_code == 3


def test_columns_are_checked_as_rows_are():
    with pytest.raises(InputError, match=r"^kernel must .+, got .*5"):
        Window((1, 5)).plan((9, 4))


@pytest.mark.parametrize("length", [16_777_217, 2**40, 2**53 + 1, 2**62 + 1, HUGE, HUGE + 1, 2**64 + 3])
@pytest.mark.parametrize("ceil", [False, True])
def test_sizes_are_exact_integers_however_large(length, ceil):
    assert plan_rows(oracle.Axis(length, 2, 2, ceil=ceil)).out == (length + ceil) // 2
    assert plan_rows(oracle.Axis(length, 3, 1, 1, 1, ceil=ceil)).out == length
    axis = Window(3, 2, "same").plan((length, length)).axes[1]
    assert (axis.out, axis.before + axis.after) == ((length + 1) // 2, 2 if length % 2 else 1)


def test_the_largest_values_are_exact():
    axis = plan_rows(oracle.Axis(5, TOP, TOP, TOP - 1, TOP - 1))
    assert (axis.before, axis.after, axis.out) == (TOP - 1, TOP - 1, 2)
    length = TOP * TOP
    assert plan_rows(oracle.Axis(length, TOP, 1, TOP, 0, TOP)).out == length + TOP - TOP * (TOP - 1)


@pytest.mark.parametrize("module", ["poolcli.core.geometry", "poolcli.core.methods", "poolcli.errors"])
def test_geometry_and_methods_need_the_standard_library_only(module):
    script = f"import {module}, sys; print([m for m in ('numpy', 'numba', 'PIL', 'imageio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
