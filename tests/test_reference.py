"""Proves that pooling agrees with onnxruntime, live, over random windows.

The models are a few bytes of protobuf written here, so that no package is needed to build them. Compared
only where onnxruntime's own rules are sound: no NaN, no SAME, no window that holds padding alone.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from cases import sample

import poolcli

ELEMENT = {"float32": 1, "uint8": 2, "int8": 3}
DELIMITED = 2  # protobuf's wire type of text, bytes and messages
INTEGER, INTEGERS = 2, 7  # AttributeProto's types
NOTHING = ((0, 0), (0, 0))


def varint(number):
    """Return a protobuf variable-length integer."""
    groups = [(number >> shift) & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def field(number, value):
    """Return one protobuf field: an integer, or length-delimited bytes or text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | DELIMITED) + varint(len(data)) + data


def attribute(name, value):
    """Return an AttributeProto: an integer or a list of integers."""
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, INTEGER)
    return field(1, name) + b"".join(field(8, each) for each in value) + field(20, INTEGERS)


def tensor(name, dtype, rank):
    """Return a ValueInfoProto of unknown lengths."""
    shape = b"".join(field(1, field(2, f"{name}{axis}")) for axis in range(rank))
    return field(1, name) + field(2, field(1, field(1, ELEMENT[dtype]) + field(2, shape)))


def model(operator, dtype, attributes, opset):
    """Return the bytes of a model of one node."""
    node = field(1, "x") + field(2, "y") + field(4, operator)
    node += b"".join(field(5, attribute(*each)) for each in attributes.items())
    graph = field(1, node) + field(2, "g") + field(11, tensor("x", dtype, 4)) + field(12, tensor("y", dtype, 4))
    return field(1, 8) + field(7, graph) + field(8, field(2, opset))


def reference(operator, array, window, opset, **more):
    """Return what onnxruntime makes of a 2-D array."""
    (top, bottom), (left, right) = window["padding"]
    attributes = {
        "kernel_shape": window["kernel"],
        "strides": window["stride"],
        "dilations": window["dilation"],
        "pads": (top, left, bottom, right),
        "ceil_mode": int(window["ceil"]),
        **more,
    }
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    network = model(operator, str(array.dtype), attributes, opset)
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": array[None, None]})[0][0, 0]


def random_window(rng, *, ceil):
    """Return a window for 12 x 13; its padding is below the undilated kernel, so that none is all padding."""
    kernel, dilation, stride = (rng.integers(low, high, 2).tolist() for low, high in ((1, 6), (1, 3), (1, 5)))
    return {
        "kernel": tuple(kernel),
        "stride": tuple(stride),
        "padding": tuple(tuple(rng.integers(0, each, 2).tolist()) for each in kernel),
        "dilation": tuple(dilation),
        "ceil": ceil,
    }


def windows(seed, count=40):
    """Return random windows, every second with ceil."""
    rng = np.random.default_rng(seed)
    return [random_window(rng, ceil=bool(number % 2)) for number in range(count)]


def pool(array, method, window, **more):
    return poolcli.pool(array, method, engine="numpy", **window, **more)


def test_a_model_of_the_tutorial_example_runs():
    array = np.arange(1, 19, dtype="float32").reshape(6, 3)
    window = {"kernel": (3, 1), "stride": (3, 1), "padding": NOTHING, "dilation": (1, 1), "ceil": False}
    assert reference("MaxPool", array, window, 22).tolist() == [[7, 8, 9], [16, 17, 18]]


@pytest.mark.parametrize("dtype", ELEMENT)
@pytest.mark.parametrize("window", windows(1), ids=str)
def test_max_equals_onnxruntime(window, dtype):
    array = sample((12, 13), dtype)
    np.testing.assert_array_equal(pool(array, "max", window), reference("MaxPool", array, window, 22))


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize("window", windows(2), ids=str)
def test_avg_equals_onnxruntime(window, opset, counted):
    array = sample((12, 13), "float32")
    expected = reference("AveragePool", array, window, opset, count_include_pad=int(counted))
    result = pool(array, "avg", window, count_include_pad=counted)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-3)  # onnxruntime adds in float32


@pytest.mark.parametrize("window", windows(3), ids=str)
def test_l2_is_onnxruntimes_norm_over_the_root_of_the_number_of_elements(window):
    full = {**window, "padding": NOTHING, "ceil": False}
    array = sample((12, 13), "float32")
    expected = reference("LpPool", array, full, 22, p=2) / np.sqrt(np.prod(full["kernel"]))
    np.testing.assert_allclose(pool(array, "l2", full), expected, rtol=1e-5)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("window", windows(4, 20), ids=str)
def test_norm_equals_onnxruntime(window, degree):
    array = sample((12, 13), "float32")
    expected = reference("LpPool", array, window, 22, p=degree)
    np.testing.assert_allclose(pool(array, f"norm:{degree}", window), expected, rtol=1e-5)
