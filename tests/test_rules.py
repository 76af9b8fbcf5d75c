"""Proves that a rule set gives what its peer gives: onnxruntime and Pillow live, PyTorch by its goldens."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from cases import sample
from goldens import torch_goldens
from PIL import Image
from test_reference import model

import poolcli
from poolcli.core.geometry import Window
from poolcli.core.rules import RULE_SETS
from poolcli.errors import UsageError

NORMS = {"norm": "lp"}
RULED = [
    one
    for one in torch_goldens()
    if one.method.partition(":")[0] in {"avg", "max", "norm"} and "to" not in one.arguments
]


@pytest.mark.parametrize("golden", RULED, ids=lambda golden: golden.id)
def test_torch_rules_give_what_pytorch_gives(golden):
    arguments = dict(golden.arguments)
    if arguments.get("count_include_pad"):
        del arguments["count_include_pad"]  # PyTorch's default
    name, colon, value = golden.method.partition(":")
    golden.check(poolcli.pool(golden.array, NORMS.get(name, name) + colon + value, rules="torch", **arguments))


ONNX = {"avg": "AveragePool", "max": "MaxPool", "l2": "LpPool", "lp:3": "LpPool"}


@pytest.mark.parametrize("method", ONNX)
@pytest.mark.parametrize(
    "window", [{"kernel": 3}, {"kernel": 3, "padding": 1}, {"kernel": 2, "stride": 2, "ceil": True}]
)
def test_onnx_rules_give_what_onnxruntime_gives(method, window):
    attributes = {"kernel_shape": (window["kernel"],) * 2}
    if "padding" in window:
        attributes["pads"] = (window["padding"],) * 4
    if "stride" in window:
        attributes |= {"strides": (window["stride"],) * 2, "ceil_mode": 1}
    if method.startswith("l"):
        attributes["p"] = 2 if method == "l2" else 3
    array = sample((2, 3, 9, 10), "float32")
    network = model(ONNX[method], "float32", attributes, 22)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    found = poolcli.pool(array, method, rules="onnx", layout="NCHW", **window)
    np.testing.assert_allclose(found, session.run(None, {"x": array})[0], 1e-5, 1e-4)


def halves_up(array, k):
    """Return means of k x k blocks and of what is left at the ends, rounded half up, and Pillow's own rounding."""
    rows, columns = (range(0, length, k) for length in array.shape)
    ours, pillows = np.empty((2, len(rows), len(columns)), "uint8")
    for place in np.ndindex(ours.shape):
        block = array[rows[place[0]] :, columns[place[1]] :][:k, :k].astype(int)
        ours[place] = (2 * block.sum() + block.size) // (2 * block.size)
        pillows[place] = ((block.sum() + block.size // 2) * (2**24 // block.size)) >> 24
    return ours, pillows


@pytest.mark.parametrize("k", [2, 4, 8, 3, 5, 6])
def test_pillow_rules_give_what_reduce_gives_but_for_its_bias(k):
    array = np.random.default_rng(k).integers(0, 256, (48 if k in {2, 4, 8} else 50, 64), dtype=np.uint8)
    found = poolcli.pool(array, "avg", k, rules="pillow", dtype="uint8")
    theirs = np.asarray(Image.fromarray(array).reduce(k))
    ours, biased = halves_up(array, k)
    np.testing.assert_array_equal(found, ours)
    np.testing.assert_array_equal(theirs, biased)
    if k in {2, 4, 8}:
        np.testing.assert_array_equal(found, theirs)
    else:
        assert set(np.unique(found.astype(int) - theirs)) <= {0, 1}


def test_pillow_rules_give_what_reduce_gives_of_floats():
    array = sample((50, 65), "float32")
    found = poolcli.pool(array, "avg", 4, rules="pillow")
    np.testing.assert_allclose(found, np.asarray(Image.fromarray(array).reduce(4)), 1e-6, 1e-5)


def test_tf_rules_leave_padding_out_of_means():
    array = sample((1, 6, 7, 2), "float32")
    options = {"kernel": 3, "stride": 2, "padding": "same", "layout": "NHWC"}
    np.testing.assert_array_equal(
        poolcli.pool(array, "avg", rules="tf", **options), poolcli.pool(array, "avg", divisor="valid", **options)
    )


def test_what_is_given_wins():
    x = np.arange(25.0).reshape(5, 5)
    plain = poolcli.pool(x, "avg", 3, 2, 1)
    for options in ({"count_include_pad": False}, {"divisor": "valid"}):
        np.testing.assert_array_equal(poolcli.pool(x, "avg", 3, 2, 1, rules="torch", **options), plain)
    counted = poolcli.pool(x, "avg", 3, 2, 1, count_include_pad=True)
    np.testing.assert_array_equal(poolcli.pool(x, "avg", 3, 2, 1, rules="torch"), counted)
    assert poolcli.pool(x, "max", 2, rules="onnx").shape == (4, 4)
    assert poolcli.pool(x, "max", 2, 2, rules="onnx").shape == (2, 2)
    assert poolcli.pool(x, "max", 2, rules="pillow").shape == (3, 3)
    assert poolcli.pool(x, "max", 2, edge="drop", rules="pillow").shape == (2, 2)
    halves = np.array([[0, 1]], "uint8")
    for rounding, value in ((None, 1), ("even", 0), ("floor", 0)):
        assert poolcli.pool(halves, "avg", (1, 2), rules="pillow", dtype="uint8", rounding=rounding) == value


@pytest.mark.parametrize("name", RULE_SETS)
def test_a_length_is_no_concern_of_rules(name):
    x = sample((7, 8), "float64")
    np.testing.assert_array_equal(poolcli.pool(x, "avg", to=3, rules=name), poolcli.pool(x, "avg", to=3))


def test_a_window_remembers_what_was_given():
    window = Window(3, divisor="window").under(divisor="valid", stride=1)
    assert (window.divisor, window.stride, window.given) == ("window", (1,), {"kernel", "divisor", "stride"})
    assert Window(count_include_pad=True) == Window(divisor="window")
    assert Window(3).under(stride=None, edge=None) == Window(3)


@pytest.mark.parametrize("name", RULE_SETS)
def test_indices_count_as_the_peer_counts_unless_said(name):
    x = sample((1, 6, 8, 2), "float32")
    options = {"kernel": 2, "stride": 2, "layout": "NHWC", "indices": True, "rules": name}
    own = poolcli.pool(x, "max", **options)[1]
    said = poolcli.pool(x, "max", **options, index_layout=RULE_SETS[name].index_layout)[1]
    np.testing.assert_array_equal(own, said)
    torch = poolcli.pool(x, "max", **options, index_layout="torch")[1]
    assert np.array_equal(own, torch) == (RULE_SETS[name].index_layout == "torch")


def test_no_such_rules():
    with pytest.raises(UsageError, match="rules must be one of torch, onnx, tf, pillow, got 'caffe'"):
        poolcli.pool(np.ones((4, 4)), rules="caffe")


def test_rules_on_the_command_line(cli, tmp_path):
    x = np.arange(25.0).reshape(5, 5)
    np.save(tmp_path / "x.npy", x)
    assert cli("pool", "x.npy", "-m", "avg", "-k", 3, "-s", 2, "-p", 1, "--rules", "torch", "-o", "y.npy").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), poolcli.pool(x, "avg", 3, 2, 1, rules="torch"))
    command = ("pool", "x.npy", "-m", "avg", "-k", 3, "-s", 2, "-p", 1, "--rules", "torch", "-o", "y.npy", "-f")
    assert cli(*command, "--no-count-include-pad").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), poolcli.pool(x, "avg", 3, 2, 1))
    assert cli("pool", "x.npy", "-m", "l2", "--rules", "onnx", "--json").out.count(b'"norm:2"') == 1
    assert cli("pool", "x.npy", "--rules", "caffe").code == 2
