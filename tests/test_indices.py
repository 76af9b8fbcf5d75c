"""Proves where maxima and minima are said to stand, and the way back, against the oracle, ONNX and PyTorch."""

from __future__ import annotations

import json

import numpy as np
import oracle
import oracle_indices
import pytest
from goldens import onnx_goldens, onnx_unpooled, torch_goldens, torch_unpooled
from hypothesis import given
from hypothesis import strategies as st
from refusals import UNPOOL_REFUSALS
from test_views import trials, windows

import poolcli
from poolcli.core import execution

GOLDENS = [
    golden
    for golden in [*onnx_goldens(), *torch_goldens()]
    if golden.indices is not None and golden.index_layout != "onnx-columns"
]
PLANES = {1: "NCL", 2: "NCHW", 3: "NCDHW"}


def by_id(case):
    return case.id


def speckled(shape, dtype, seed):
    """Return few different values, so that many tie, with NaN among floats."""
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 4, shape).astype(dtype)
    if array.dtype.kind == "f":
        array[rng.random(shape) < 0.1] = np.nan
        array[rng.random(shape) < 0.1] = -np.inf
    return array


# Against peers and the oracle.


@pytest.mark.parametrize("golden", GOLDENS, ids=by_id)
def test_maxima_stand_where_onnx_and_pytorch_find_them(golden):
    arguments = dict(golden.arguments)
    if "to" in arguments:  # PyTorch's None keeps an axis
        lengths = zip(arguments["to"], golden.array.shape[2:], strict=True)
        arguments["to"] = tuple(length if to is None else to for to, length in lengths)
    values, found = poolcli.pool(
        golden.array, golden.method, **arguments, indices=True, index_layout=golden.index_layout
    )
    golden.check(values)
    padding_alone = golden.expected == -np.inf if "12" in str(golden.arguments.get("dilation")) else False
    np.testing.assert_array_equal(found, np.where(padding_alone, -1, golden.indices))
    assert found.dtype == np.int64


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("method", ["max", "min"])
@trials(40)
@given(data=st.data())
def test_indices_are_the_oracles_for_every_layout_view_and_slab(method, engine, data):
    lengths = tuple(data.draw(st.lists(st.integers(3, 9), min_size=1, max_size=3), label="lengths"))
    shape = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), *lengths)
    dtype = data.draw(st.sampled_from(["uint8", ">i2", "int64", "uint64", "float16", "float32", ">f8"]), label="dtype")
    window = data.draw(windows(lengths), label="window")
    window.pop("count_include_pad")
    steps = tuple(slice(None, None, data.draw(st.sampled_from((1, -1)))) for _ in shape)
    array = np.asfortranarray(speckled(shape, dtype, data.draw(st.integers(0, 99), label="seed")))[steps]
    letters = "".join(data.draw(st.permutations(PLANES[len(lengths)]), label="layout"))
    order = [PLANES[len(lengths)].index(letter) for letter in letters]
    if [letter for letter in letters if letter not in "NC"] != list(PLANES[len(lengths)][2:]):
        order, letters = list(range(len(shape))), PLANES[len(lengths)]
    index_layout = data.draw(st.sampled_from(("torch", "onnx", "tf")), label="index layout")
    try:
        expected = oracle_indices.indices(array, method, **window)
    except oracle.TooSmallError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "SLAB", data.draw(st.sampled_from((1, 7, 100, 2**21)), label="slab"))
        values, found = poolcli.pool(
            array.transpose(order), method, **window,
            layout=letters, indices=True, index_layout=index_layout, engine=engine,
        )  # fmt: skip
    back = np.argsort(order)
    expected_there = oracle_indices.in_layout(expected, index_layout, shape)
    np.testing.assert_array_equal(found.transpose(back), expected_there)
    flat = array.reshape(*shape[:2], -1)
    taken = np.take_along_axis(flat, np.maximum(expected, 0).reshape(*shape[:2], -1), -1).reshape(expected.shape)
    there = expected >= 0
    np.testing.assert_array_equal(values.transpose(back)[there], taken[there])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize(
    ("shape", "layout"), [((3, 9, 1500), "CHW"), ((9, 700, 3), "HWC"), ((9, 300, 17), "HWC"), ((5000,), "L")]
)
@pytest.mark.parametrize(
    "window",
    [
        {"kernel": 2},
        {"kernel": 3, "stride": 2, "padding": 1},
        {"kernel": 3, "stride": 1, "padding": (2, 0), "dilation": 2},
        {"kernel": 4, "stride": 3, "dilation": 2, "ceil": True},
        {"kernel": 2, "stride": 5, "padding": 1, "ceil": True},
    ],
    ids=str,
)
def test_strips_of_long_rows_and_threads_change_no_index_and_no_value(window, shape, layout, dtype):
    x = speckled(shape, dtype, 7)
    if layout == "L" and isinstance(window.get("padding"), tuple):
        window = window | {"padding": 2}
    for method in ("max", "min"):
        expected = poolcli.pool(x, method, **window, layout=layout, indices=True, engine="numpy")
        found = poolcli.pool(x, method, **window, layout=layout, indices=True, engine="numba", threads=3)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize(
    "target", [{"to": (3, 4)}, {"to": (2, 7)}, {"to": (4, 5), "to_rule": "fractional", "kernel": (2, 3)}], ids=str
)
def test_indices_of_windows_that_a_length_asks_for(target):
    array = speckled((1, 2, 8, 11), "float64", 5)
    seeded = {"seed": (0.3, 0.6)} if "kernel" in target else {}
    _, found = poolcli.pool(array, "max", **target, **seeded, layout="NCHW", indices=True)
    samples = {"samples": (0.3, 0.6)} if seeded else {}
    np.testing.assert_array_equal(found, oracle_indices.indices(array, "max", **target, **samples))


def test_what_is_missing_is_never_chosen_and_windows_of_it_have_none():
    x = np.array([[9, 1, 7, 7], [2, 3, 7, 7], [5, 5, 4, np.nan]])
    mask = np.array([[0, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    _, found = poolcli.pool(x, "max", 2, 2, ceil=True, mask=mask, nan="ignore", indices=True)
    assert found.tolist() == [[5, -1], [8, 10]]
    _, found = poolcli.pool(x, "max", 2, 2, ceil=True, mask=mask, min_valid=2, indices=True)
    assert found.tolist() == [[5, -1], [8, 11]]
    values, found = poolcli.pool(np.ma.array(x, mask=mask == 0), "min", 2, indices=True)
    assert values.mask.tolist() == [[False, True]]
    assert found.tolist() == [[1, -1]]


def test_the_first_of_equals_wins_and_the_last_nan():
    x = np.array([[-np.inf, -np.inf, np.nan, 1.0], [-np.inf, -np.inf, 2.0, np.nan]])
    assert poolcli.pool(x, "max", 2, indices=True)[1].tolist() == [[0, 7]]
    assert poolcli.pool(x, "min", 2, indices=True)[1].tolist() == [[0, 7]]


# The way back.


@pytest.mark.parametrize("case", [*onnx_unpooled(), *torch_unpooled()], ids=by_id)
def test_values_return_as_in_onnx_and_pytorch(case):
    result = poolcli.unpool(
        case.values, case.indices, case.kernel, case.stride, case.padding,
        output_size=case.size, layout=PLANES[len(case.size)], index_layout=case.index_layout,
    )  # fmt: skip
    np.testing.assert_array_equal(result, case.expected)


@pytest.mark.parametrize("index_layout", ["torch", "onnx", "tf"])
@pytest.mark.parametrize("layout", ["HW", "HWC", "NCHW", "NHWC", "NCDHW", "NLC"])
def test_unpooling_undoes_pooling_of_windows_that_do_not_overlap(layout, index_layout):
    shape = tuple({"N": 2, "C": 3}.get(letter, 6) for letter in layout)
    x = np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape).astype("int32") + 1
    values, found = poolcli.pool(x, "max", 2, layout=layout, indices=True, index_layout=index_layout)
    back = poolcli.unpool(values, found, 2, layout=layout, index_layout=index_layout)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    assert np.count_nonzero(back) == values.size
    again, places = poolcli.pool(back, "max", 2, layout=layout, indices=True, index_layout=index_layout)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(places, found)


def test_of_values_at_one_place_the_last_in_scan_order_stays():
    values, found = np.arange(1, 5).reshape(2, 2), np.array([[4, 4], [4, 0]])
    assert poolcli.unpool(values, found, 2, 1).tolist() == [[4, 0, 0], [0, 3, 0], [0, 0, 0]]


def test_any_result_of_that_shape_goes_the_same_way_and_a_whole_shape_tells_the_size():
    x = np.random.default_rng(2).random((2, 3, 5, 7))
    _, found = poolcli.pool(x, "max", 2, layout="NCHW", indices=True)
    back = poolcli.unpool(np.ones(found.shape, "uint8"), found, 2, output_size=x.shape, layout="NCHW")
    assert (back.shape, back.dtype, int(back.sum())) == (x.shape, np.uint8, found.size)
    expected = oracle_indices.unpool(np.ones(found.shape, "uint8"), found, (5, 7))
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("case", UNPOOL_REFUSALS, ids=by_id)
def test_what_pytorch_does_not_unpool_is_refused(case):
    values, found = np.ones(case.values), np.zeros(case.indices, np.int64)
    found.flat[0] = case.first
    window = {"kernel": case.kernel, "stride": case.stride, "output_size": case.size}
    layout = PLANES[len(case.values) - 2]
    if case.allowed:
        assert poolcli.unpool(values, found, **window, layout=layout).flat[case.first] == 1
        return
    with pytest.raises(poolcli.PoolError, match=r"must"):
        poolcli.unpool(values, found, **window, layout=layout)


@pytest.mark.parametrize("index_layout", ["onnx", "tf"])
def test_an_index_of_another_plane_or_channel_is_refused(index_layout):
    x = np.arange(32).reshape(1, 2, 4, 4)
    values, found = poolcli.pool(x, "max", 2, layout="NCHW", indices=True, index_layout=index_layout)
    with pytest.raises(poolcli.PoolError, match=r"indices must lie in their plane of 4x4 elements, got"):
        poolcli.unpool(values, found[:, ::-1], 2, layout="NCHW", index_layout=index_layout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "avg"}, "indices must be of max or min, got 'avg'"),
        ({"method": "concat"}, "indices must be of max or min, got 'concat'"),
        ({"method": "max", "pad_mode": "edge", "padding": 1}, "indices must be of the input's elements"),
        ({"method": "max", "index_layout": "keras"}, "index_layout must be one of torch, onnx, tf, got 'keras'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_indices_is_refused(arguments, message):
    with pytest.raises(poolcli.PoolError, match=message):
        poolcli.pool(np.ones((2, 4, 4)), **arguments, indices=True)


# On the command line.


@pytest.fixture
def maps(tmp_path):
    array = np.random.default_rng(3).permutation(3 * 7 * 9).reshape(3, 7, 9).astype("float32") + 1
    np.save(tmp_path / "maps.npy", array)
    return array


@pytest.mark.parametrize("index_layout", ["torch", "onnx", "tf"])
def test_an_archive_holds_all_that_putting_back_needs(cli, maps, index_layout):
    done = cli(
        *("pool", "maps.npy", "--layout", "CHW", "-m", "min", "-k", "3", "-s", "2", "-p", "1"),
        *("--indices", "peaks.npz", "--index-layout", index_layout, "-o", "low.npy"),
    )
    assert (done.code, done.out) == (0, b"low.npy\n")
    values, found = poolcli.pool(maps, "min", 3, 2, 1, layout="CHW", indices=True, index_layout=index_layout)
    with np.load("peaks.npz") as file:
        np.testing.assert_array_equal(file["values"], values)
        np.testing.assert_array_equal(file["indices"], found)
        said = json.loads(str(file["window"]))
        assert (str(file["layout"]), str(file["index_layout"])) == ("CHW", index_layout)
        assert file["input_shape"].tolist() == [3, 7, 9]
    assert (said["method"], said["kernel"], said["padding"]) == ("min", [3, 3], [[1, 1], [1, 1]])
    assert cli("unpool", "peaks.npz").out == b"peaks.unpooled.npy\n"
    expected = poolcli.unpool(values, found, 3, 2, 1, output_size=(7, 9), layout="CHW", index_layout=index_layout)
    np.testing.assert_array_equal(np.load("peaks.unpooled.npy"), expected)


def test_a_picture_is_put_back_through_a_pipe(cli, samples):
    picture = poolcli.read(samples / "photo_rgb.png")
    assert cli("pool", samples / "photo_rgb.png", "-k", "2", "-o", "s.png", "--indices", "s.npz").code == 0
    assert cli("unpool", "s.npz", "-o", "back.png").code == 0
    back = poolcli.read("back.png")
    assert back.shape == picture.shape
    np.testing.assert_array_equal(back[back != 0], picture[back != 0])
    assert cli("unpool", "s.npz", "-o", "-").out[:6] == b"\x93NUMPY"


def test_other_values_go_the_same_way_and_a_larger_size_keeps_their_places(cli, maps):
    cli("pool", "maps.npy", "--layout", "CHW", "-k", "2", "--indices", "peaks.npz")
    np.save("ones.npy", np.ones((3, 3, 4), "uint8"))
    assert cli("unpool", "peaks.npz", "--values", "ones.npy", "--size", "8x12", "-o", "large.npy").code == 0
    large = np.load("large.npy")
    assert (large.shape, large.dtype, int(large.sum())) == ((3, 8, 12), np.uint8, 36)
    _, found = poolcli.pool(maps, "max", 2, layout="CHW", indices=True)
    back = poolcli.unpool(np.ones((3, 3, 4), "uint8"), found, 2, output_size=(7, 9), layout="CHW")
    np.testing.assert_array_equal(large[:, :7, :9], back)


REFUSED = [
    (("pool", "maps.npy", "--layout", "CHW", "-m", "avg", "--indices", "x.npz"), 2, "indices must be of max or min"),
    (("pool", "maps.npy", "--layout", "CHW", "--indices", "x.npy"), 2, "indices must be an .npz for one output"),
    (("pool", "maps.npy", "maps.npy", "--indices", "x.npz"), 2, "indices must be an .npz for one output"),
    (("pool", "maps.npy", "--index-layout", "tf"), 2, "--index-layout must be used with indices"),
    (("pool", "maps.npy", "--indices", "x.npz", "--index-layout", "mx"), 2, "--index-layout must be one of torch"),
    (("pool", "maps.npy", "--layout", "CHW", "--indices", "peaks.npz"), 2, "peaks.npz: output exists"),
    (("unpool", "maps.npy"), 3, "maps.npy: must be an .npz that pool --indices wrote, got npy"),
    (("unpool", "none.npz"), 3, "none.npz: no such file"),
    (("unpool", "peaks.npz", "-o", "maps.npy"), 2, "maps.npy: output exists"),
    (("unpool", "peaks.npz", "--size", "3x3"), 3, "size must hold every value's place in 7x9, got 3x3"),
    (("unpool", "peaks.npz", "--size", "9"), 2, "size must be one length for each of 2 pooled axes, got '9'"),
    (("unpool", "peaks.npz", "--size", "axb"), 2, "size must be a whole number"),
    (("unpool", "peaks.npz", "--values", "maps.npy"), 3, "must be whole numbers of the values' shape (3, 7, 9)"),
    (("unpool", "wild.npz"), 3, "wild.npz: indices must lie in their plane of 7x9 elements, got 63"),
    (("unpool", "other.npz"), 3, "other.npz: holds values of shape (3, 3, 4) that are no result of CHW (4, 7, 9)"),
    (("unpool", "text.npz"), 3, "text.npz: holds int64 (3,) where a text belongs"),
    (("unpool", "empty.npz"), 3, "empty.npz: holds no array 'indices'"),
]  # fmt: skip


@pytest.mark.usefixtures("maps")
@pytest.mark.parametrize(("arguments", "code", "message"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_what_cannot_be_is_refused_in_words(cli, arguments, code, message):
    cli("pool", "maps.npy", "--layout", "CHW", "-k", "2", "-o", "small.npy", "--indices", "peaks.npz")
    with np.load("peaks.npz") as file:
        held = dict(file)
    beyond = held["indices"].copy()
    beyond[0, 0, 0] = 63
    np.savez("wild.npz", **held | {"indices": beyond})
    np.savez("other.npz", **held | {"input_shape": [4, 7, 9]})
    np.savez("text.npz", **held | {"layout": held["input_shape"]})
    np.savez("empty.npz", values=held["values"], window=held["window"])
    done = cli(*arguments)
    assert done.code == code, done.err
    assert message in done.err
    assert "Traceback" not in done.err
