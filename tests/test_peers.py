"""Each peer's call gives what explicit sliding windows give, so that its time is the time of the same work."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from poolcli.core.geometry import Window
from poolcli.errors import UsageError
from poolcli.measure import bench, peers
from poolcli.measure.cases import Case, Size

WINDOWS = {
    "blocks": Window(2),
    "odd-blocks": Window((3, 4)),
    "dense": Window(3, 1),
    "even-dense": Window((2, 4), 1),
    "strided": Window(3, 2),
    "gaps": Window(2, 3),
    "padded": Window(3, 2, 1),
    "padded-counted": Window((3, 5), (1, 2), (1, 2), count_include_pad=True),
    "dilated": Window(2, 1, 0, 2),
    "ceil": Window(2, 2, 0, 1, ceil=True),
}
SIZES = (
    ((17, 19), "HW"),
    ((3, 11, 14), "CHW"),
    ((13, 14, 3), "HWC"),
    ((13, 14, 1), "HWC"),
    ((2, 5, 10, 11), "NCHW"),
    ((2, 10, 11, 6), "NHWC"),
)
METHODS = ("max", "min", "avg", "sum", "l2")
DTYPES = ("uint8", "uint16", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


CALLS = [(library, call) for library in peers.LIBRARIES.values() for call in library.calls]
IDS = [f"{library.name}-{call.form}-{call.method}-{call.words}" for library, call in CALLS]


def cases_of(call):
    for shape, letters in SIZES:
        for dtype in call.dtypes:
            names = WINDOWS if dtype in ("float32", "uint8") else ("blocks", "strided", "padded")
            for window in map(WINDOWS.get, names):
                case = Case(Size(shape, letters, dtype), call.method, window, 2)
                if all(rule.holds(case) for rule in call.rules):
                    yield case


@cache
def expected(case):
    """Pool noise by explicit loops over the outputs, in float64 (exact for the small integers here)."""
    array = bench.noise(case.size)
    letters, window = case.size.layout, case.window
    rows, columns = letters.index("H"), letters.index("W")
    planes = np.moveaxis(array.astype(np.float64), (rows, columns), (-2, -1))
    pads = [axis_pads(planes.shape[axis - 2], axis, window) for axis in (0, 1)]
    lengths = [
        (high - low - (d * (k - 1) + 1)) // s + 1
        for (low, high), k, s, d in zip(pads, window.kernel, window.stride, window.dilation, strict=True)
    ]
    out = np.empty((*planes.shape[:-2], *lengths))
    for r in range(lengths[0]):
        for c in range(lengths[1]):
            out[..., r, c] = value(planes, case, [taps(0, r, window), taps(1, c, window)])
    return np.moveaxis(out, (-2, -1), (rows, columns))


def axis_pads(length, axis, window):
    """First and one past the last position that windows may touch; ceil lets one hang over."""
    (before, after), k, s, d = window.padding[axis], window.kernel[axis], window.stride[axis], window.dilation[axis]
    low, high = -before, length + after
    if window.ceil:
        spare = (high - low - (d * (k - 1) + 1)) % s
        high += (s - spare) % s
    return low, high


def taps(axis, o, window):
    start = o * window.stride[axis] - window.padding[axis][0]
    return [start + i * window.dilation[axis] for i in range(window.kernel[axis])]


def value(planes, case, positions):
    real = [[p for p in axis if 0 <= p < length] for axis, length in zip(positions, planes.shape[-2:], strict=True)]
    values = planes[..., real[0], :][..., real[1]].reshape(*planes.shape[:-2], -1)
    count = values.shape[-1]
    if case.window.count_include_pad:
        count = len(positions[0]) * len(positions[1])
    if case.method == "max":
        return values.max(-1)
    if case.method == "min":
        return values.min(-1)
    if case.method == "sum":
        return values.sum(-1)
    if case.method == "avg":
        return values.sum(-1) / count
    return np.sqrt((values * values).sum(-1) / count)


def stored(exact, dtype):
    return np.rint(exact) if np.dtype(dtype).kind in "iu" else exact.astype(dtype)


@pytest.mark.parametrize(("library", "peer"), CALLS, ids=IDS)
def test_values_are_those_of_explicit_windows(library, peer):
    if not library.installed or library.lacking:
        pytest.skip(f"{library.name} is not installed")
    seen = 0
    for case in cases_of(peer):
        array = bench.noise(case.size)
        before = array.copy()
        prepared = peer.prepare(array, case)
        for _ in range(2):  # a second call must not build on what the first one left
            values = prepared.values(prepared.call())
        exact = expected(case)
        assert values.shape == exact.shape, case
        furthest = float(np.abs(values.astype(np.float64) - stored(exact, case.out.dtype).astype(np.float64)).max())
        scale = float(np.abs(array.astype(np.float64)).max())
        assert furthest <= peer.tolerance(case, scale), (case, furthest)
        assert np.array_equal(array, before), "the input was modified"
        seen += 1
    assert seen > 0, "a row of the table that can do nothing"


@pytest.mark.parametrize("peer", [call for _, call in CALLS], ids=IDS)
def test_row_names_a_method_and_dtypes(peer):
    assert peer.method in METHODS
    assert peer.dtypes
    assert set(peer.dtypes) <= {*DTYPES, "uint32", "uint64"}


def case_of(shape=(64, 224, 224), letters="CHW", dtype="float32", method="max", window=None):
    return Case(Size(shape, letters, dtype), method, window or Window(2), 2)


def reasons(case):
    found = peers.offers(case, peers.LIBRARIES.values())
    return {name: offer if isinstance(offer, str) else "" for name, offer in found.items()}


def test_all_memory_formats_of_torch_are_offered():
    names = peers.offers(case_of(), [peers.LIBRARIES["torch"]])
    assert list(names) == ["torch contiguous", "torch channels_last", "torch mkldnn"]


def test_indices_of_torch_are_offered_where_they_are_asked_for():
    names = peers.offers(case_of(), peers.LIBRARIES.values(), ["indices", "mask"])
    assert {name for name in names if name.endswith("indices")} == {
        "torch contiguous indices",
        "torch channels_last indices",
    }
    assert (
        peers.offers(case_of(method="avg"), [peers.LIBRARIES["torch"]], ["indices"])["torch contiguous indices"]
        == "no avg"
    )


@pytest.mark.parametrize(
    ("case", "name", "reason"),
    [
        (case_of(dtype="uint8", method="avg"), "torch contiguous", "no avg of uint8"),
        (case_of((224, 224), "HW"), "torch channels_last", "one channel has one memory format"),
        (
            case_of(window=Window(3, 1, 2)),
            "torch contiguous",
            "padding must be symmetric and at most half of the kernel",
        ),
        (case_of(method="avg", window=Window(3, 1, 0, 2)), "torch contiguous", "no dilation"),
        (case_of(window=Window(2, 2, 0, 1, ceil=True)), "onnxruntime NCHW", "no ceil"),
        (case_of(method="sum"), "onnxruntime NCHW", "no sum"),
        (case_of(window=Window(3, 2, 1)), "opencv", "no padding, no overhang"),
        (case_of((1, 40, 40, 128), "NHWC"), "opencv", ""),
        (case_of((1, 40, 40, 129), "NHWC"), "opencv", "at most 128 channels"),
        (case_of(window=Window(3, 2)), "skimage", "only kernel = stride"),
        (case_of((32, 32, 4), "HWC", "uint8", "avg"), "pillow", "1 or 3 channels"),
        (case_of(method="l2"), "skimage", "no l2"),
    ],
)
def test_what_a_peer_cannot_do_is_said(case, name, reason):
    assert reasons(case)[name] == reason


def test_a_call_above_the_cost_limit_is_too_slow():
    found = reasons(case_of(window=Window(127, 1)))
    assert found["torch contiguous"].startswith("too slow: ")
    assert found["numpy"].startswith("too slow: ")
    assert found["scipy"] == ""


def test_area_is_the_call_for_blocks_and_blur_for_the_rest():
    def words(window):
        case = case_of((32, 32, 3), "HWC", "uint8", "avg", window)
        return peers.offers(case, [peers.LIBRARIES["opencv"]])["opencv"].note(case)

    assert words(Window(4)) == "resize(INTER_AREA)"
    assert words(Window(4, 1)) == "blur"
    assert words(Window(3, 2)) == "blur, then every s-th value"


def test_selected_peers_are_those_installed():
    assert peers.select("none") == ()
    assert [library.name for library in peers.select("numpy, pillow,numpy")] == ["numpy", "pillow"]
    assert all(find_spec(library.module) for library in peers.select("auto"))
    assert "numpy" in [library.name for library in peers.select("auto")]


def test_unknown_peer_is_refused_with_the_names_that_exist():
    with pytest.raises(UsageError, match=r"peers must be .* torch, onnxruntime, openvino, .*, got 'tensorflow'"):
        peers.select("numpy,tensorflow")


def test_peer_that_is_not_installed_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda _: None)
    assert peers.select("auto") == ()
    with pytest.raises(UsageError, match="peer 'opencv' must be installed") as raised:
        peers.select("opencv")
    assert "pip install opencv-python-headless" in raised.value.hint


def test_peer_that_lacks_a_package_is_refused_when_named_and_says_so_otherwise(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(UsageError, match="peer 'onnxruntime' must be installed with onnx") as raised:
        peers.select("onnxruntime")
    assert "pip install onnx," in raised.value.hint
    assert "onnxruntime" in [library.name for library in peers.select("auto")]
    assert reasons(case_of())["onnxruntime NCHW"] == "onnx must be installed"


@pytest.mark.parametrize("peer", [call for _, call in CALLS], ids=IDS)
def test_what_rounding_explains_of_floats_grows_with_the_input(peer):
    for dtype in peer.dtypes:
        case = case_of((17, 19), "HW", dtype, peer.method, Window(3))
        factor = 8 if dtype.startswith("float") else 1
        assert peer.tolerance(case, 8.0) == factor * peer.tolerance(case, 1.0)


def test_a_running_sum_drifts_with_the_length_of_its_lines():
    (mean,) = [call for call in peers.LIBRARIES["scipy"].calls if call.method == "avg"]
    case = case_of((17, 19), "HW", "float64", "avg", Window(3))
    assert mean.tolerance(case, 2.0) == 2 * (4 + 17 + 19 + 9) * np.finfo(np.float64).eps


def test_a_sum_in_single_precision_rounds_with_each_of_its_terms():
    (mean,) = [call for call in peers.LIBRARIES["numpy"].calls if call.method == "avg" and "float32" in call.dtypes]
    case = case_of((17, 19), "HW", "float32", "avg", Window(3))
    assert mean.tolerance(case, 2.0) == 2 * (1 + 9) * np.finfo(np.float32).eps
