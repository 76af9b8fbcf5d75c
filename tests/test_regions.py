"""Proves that a region has the values of the whole, bit for bit, and reads what it needs and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from cases import METHOD_CASES, PAD_MODES
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import poolcli
from poolcli.core import arrays as bands_of_numpy
from poolcli.core import bands, execution, methods, pooling, regions
from poolcli.core.geometry import Window

LAYOUTS = ("L", "NLC", "HW", "CHW", "HWC", "NHWC", "HNWC", "CDHW", "DHWC")
RNG = np.random.default_rng(5)
TAPS = ("weighted", "gated")
JOINED = ("concat", "concat:maxblur+std", "stochastic-sample")
ORDERED = ("avg", "sum", "l2", "lse", "blur")  # float64 shows in which order they add
TOKENS = (*(case.id for case in METHOD_CASES), *JOINED, *TAPS)
COMPILED = ("max", "min", "avg", "l2", "gem", "median", "blur", "maxblur", "concat", "std")
law = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, *HealthCheck]
)


class Counted:
    """An array that can only be sliced, into views or into copies, and keeps what was asked of it."""

    def __init__(self, array, *, copies=False):
        self.array, self.shape, self.dtype, self.asked, self.copies = array, array.shape, array.dtype, [], copies

    def __getitem__(self, box):
        self.asked.append(box)
        return np.ascontiguousarray(self.array[box]) if self.copies else self.array[box]


def values(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return np.abs(rng.normal(size=shape)).astype(dtype)
    return rng.integers(0, 5 if seed % 2 else 100, shape).astype(dtype)


@st.composite
def windows(draw, lengths):
    """Return a window of any kind that fits."""

    def each(low, high):
        return st.tuples(*(st.integers(low, high(n) if callable(high) else high) for n in lengths))

    if draw(st.integers(0, 3)) == 0:
        rule = draw(st.sampled_from(("adaptive", "area", "fractional")))
        if rule != "fractional":
            return {"to": draw(each(1, lambda n: n + 3)), "to_rule": rule}
        more = {"kernel": draw(each(1, 2)), "seed": draw(st.integers(0, 9))}
        return {"to": draw(each(1, lambda n: max(n - 1, 1))), "to_rule": rule, **more}
    kernel = draw(each(1, lambda n: min(n, 9)))
    dilation = tuple(
        draw(st.integers(1, max(1, min(3, (n - 1) // max(k - 1, 1))))) for n, k in zip(lengths, kernel, strict=True)
    )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    window = {"kernel": kernel, "stride": draw(each(1, 4)), "dilation": dilation}
    window["divisor"] = draw(st.sampled_from((None, "window", 3)))
    window["pad_mode"] = draw(st.sampled_from((None, *PAD_MODES)))
    pads = draw(st.sampled_from(("no", "same", "same-lower", "sides", "sides")))
    if pads == "sides":
        window["padding"] = tuple((draw(st.integers(0, r - 1)), draw(st.integers(0, r - 1))) for r in reach)
        window["edge"] = draw(st.sampled_from((None, "partial")))
    elif pads != "no":
        # "same" takes kernels that are larger than the input
        window |= {"padding": pads, "kernel": tuple(k * draw(st.sampled_from((1, 1, 3))) for k in kernel)}
    return window


@st.composite
def boxes(draw, shape):
    """Return a box of an array."""
    box = []
    for length in shape:
        start = draw(st.integers(0, length - 1))
        box.append(slice(start, draw(st.integers(start + 1, length))))
    return tuple(box)


@st.composite
def wholes(draw, tokens, dtypes, layouts=LAYOUTS):
    """Return an array, a method and the keywords of `pool`, and what it gives."""
    layout = draw(st.sampled_from(layouts))
    pooled = sum(letter not in "NC" for letter in layout)
    shape = [draw(st.integers(1, 3 if letter in "NC" else (40, 24, 9)[pooled - 1])) for letter in layout]
    lengths = [n for n, letter in zip(shape, layout, strict=True) if letter not in "NC"]
    turned = tuple(slice(None, None, draw(st.sampled_from((1, -1)))) for _ in shape)
    array = values(shape, draw(st.sampled_from(dtypes)), draw(st.integers(0, 99)))[turned]
    window, token = draw(windows(lengths)), draw(st.sampled_from(tokens) | st.sampled_from(ORDERED))
    method = (token, RNG.normal(size=window.get("kernel", (2,) * pooled))) if token in TAPS else token
    options = {"layout": layout, "engine": "numpy"} | {k: v for k, v in window.items() if v is not None}
    lacks = draw(st.sampled_from((None, "mask", "weights", "nodata")))
    if lacks == "nodata":
        options |= {"nodata": 3, "min_valid": draw(st.sampled_from((1, 2, "50%"))), "empty": 7}
    elif lacks is not None:
        what = values(shape, "uint8", draw(st.integers(0, 99))) % 3
        what = what[0] if layout[0] == "N" and layout[1] != "L" and draw(st.booleans()) else what
        options |= {lacks: what, "empty": 1}
    if draw(st.booleans()):
        options |= {"dtype": draw(st.sampled_from(("uint8", "float32"))), "rounding": "up", "empty": 1}
    try:
        return array, method, options, poolcli.pool(array, method, **options)
    except poolcli.PoolError:
        reject()


def compare(data, whole, patch):
    array, method, options, expected = whole
    box = data.draw(boxes(expected.shape))
    for module, name in ((execution, "SLAB"), (bands_of_numpy, "BAND"), (bands, "STRIP")):
        patch.setattr(module, name, data.draw(st.integers(1, 2 * array.size)))
    patch.setattr("poolcli.core.threads.ALONE", 0)
    source = Counted(array, copies=data.draw(st.booleans()))
    result = poolcli.region(source, box, method, **options)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected[box])
    assert len(source.asked) == 1
    return source.asked[0]


@settings(law, max_examples=1000)
@given(st.data(), wholes(TOKENS, ("float64", "uint8", "int16", "float16")))
def test_a_region_has_the_values_of_the_whole(data, whole):
    with pytest.MonkeyPatch.context() as patch:
        compare(data, whole, patch)


@settings(law, max_examples=300)
@given(st.data(), wholes(COMPILED, ("float64",), ("NLC", "HW", "HWC", "CDHW")), st.sampled_from((1, 2, 7)))
def test_a_region_has_the_values_of_the_whole_with_the_compiled_engine(data, whole, threads):
    array, method, options, expected = whole
    with pytest.MonkeyPatch.context() as patch:
        compare(data, (array, method, options | {"engine": "numba", "threads": threads}, expected), patch)


@pytest.mark.parametrize("kernel", [3, 9, 17])
def test_the_order_of_adding_is_that_of_the_whole_from_every_first_row_and_column(kernel):
    array = RNG.normal(size=(40, 41))
    for engine in ("numpy", "numba"):
        whole = poolcli.pool(array, "avg", kernel, 1, padding="same", engine=engine)
        for first in range(20):
            box = np.s_[first : first + 9, first : first + 7]
            np.testing.assert_array_equal(
                poolcli.region(array, box, "avg", kernel, 1, padding="same", engine=engine), whole[box]
            )


def test_what_is_read_is_the_box_from_the_first_to_the_last_tap():
    array, window = np.zeros((30, 30)), {"kernel": (3, 2), "stride": (2, 5), "dilation": (2, 1)}
    box = np.s_[2:5, 1:3]
    source = Counted(array)
    poolcli.region(source, box, "sum", **window)
    ((rows, columns),) = source.asked
    for face in (np.s_[rows.start, columns], np.s_[rows.stop - 1, columns], np.s_[rows, columns.start]):
        told = array.copy()
        told[face] = np.nan  # of which some window has a part
        assert np.isnan(poolcli.pool(told, "sum", **window)[box]).any()
    told = np.full_like(array, np.nan)
    told[rows, columns] = 0
    assert not poolcli.pool(told, "sum", **window)[box].any()


def outlined(shape, method, **window):
    return pooling.outline(shape, np.dtype("float64"), methods.lookup(method), Window(**window))


def test_a_part_is_pooled_into_what_is_given():
    array, outline = RNG.normal(size=(30, 20)), outlined((30, 20), "avg", kernel=5, stride=1)
    out, box = np.empty((3, 4)), np.s_[4:7, 9:13]
    part = array[regions.reach(outline, box)]
    assert part.shape == (7, 8)
    assert regions.run(outline, part, box, out=out).array is out
    np.testing.assert_array_equal(out, poolcli.pool(array, "avg", 5, 1)[box])


def test_boxes_may_be_open_and_count_from_the_end():
    outline = outlined((30, 20), "max", kernel=2)
    assert regions.reach(outline, np.s_[-1:, :]) == np.s_[28:30, 0:20]


@pytest.mark.parametrize("box", [np.s_[0:1], np.s_[0:1, 3], np.s_[::2, :], np.s_[3:3, :], np.s_[15:20, :], None])
def test_what_is_no_box_of_the_result_is_refused(box):
    with pytest.raises(poolcli.PoolError, match=r"box must .*\(15, 10\)"):
        regions.reach(outlined((30, 20), "max", kernel=2), box)


def test_another_part_and_weights_that_were_not_outlined_are_refused():
    outline = outlined((30, 20), "max", kernel=2)
    with pytest.raises(poolcli.PoolError, match="part must be the box"):
        regions.run(outline, np.zeros((3, 3)), np.s_[0:1, 0:1])
    with pytest.raises(poolcli.PoolError, match="weighed"):
        regions.run(outline, np.zeros((2, 2)), np.s_[0:1, 0:1], weights=np.ones((2, 2)))


def test_what_is_no_array_is_refused():
    with pytest.raises(poolcli.PoolError, match="source must have"):
        poolcli.region([[1, 2], [3, 4]], np.s_[0:1, 0:1])


def test_masked_sources_give_masked_regions():
    array = np.ma.array(RNG.normal(size=(12, 12)), mask=RNG.random((12, 12)) < 0.7)
    whole, box = poolcli.pool(array, "avg", 2), np.s_[1:4, 2:6]
    result = poolcli.region(array, box, "avg", 2)
    assert whole[box].mask.any()
    np.testing.assert_array_equal(result.mask, whole[box].mask)
    np.testing.assert_array_equal(result.filled(0), whole[box].filled(0))
