"""Proves that ONNX's node tests and what PyTorch gave come out of the library and of the command line."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import UNPASSABLE, onnx_archive, onnx_goldens, torch_goldens

import poolcli

ONNX = list(onnx_goldens())


def by_id(golden):
    return golden.id


def spelled(name, value):
    """Return an argument of the library as words of the command line."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option] if value else []
    if name == "padding" and isinstance(value, tuple):
        return [option, "x".join(f"{before}:{after}" for before, after in value)]
    return [option, "x".join(map(str, value)) if isinstance(value, tuple) else str(value)]


def test_the_node_tests_that_cannot_pass_are_listed_with_the_reason():
    operators = {name: case["operator"] for name, case in onnx_archive()[0].items()}
    unpooling = {name for name, operator in operators.items() if operator == "MaxUnpool"}
    assert set(operators) == {golden.id for golden in ONNX} | unpooling
    assert set(UNPASSABLE) <= unpooling


@pytest.mark.parametrize("golden", ONNX, ids=by_id)
def test_the_library_gives_what_onnx_says(golden):
    golden.check(poolcli.pool(golden.array, golden.method, engine="numpy", **golden.arguments))


@pytest.mark.parametrize("golden", list(torch_goldens()), ids=by_id)
def test_the_library_gives_what_pytorch_gave(golden):
    golden.check(poolcli.pool(golden.array, golden.method, engine="numpy", **golden.arguments))


@pytest.mark.parametrize("golden", ONNX, ids=by_id)
def test_the_command_line_gives_what_onnx_says(cli, golden):
    np.save("x.npy", golden.array)
    words = [word for name, value in golden.arguments.items() for word in spelled(name, value)]
    done = cli("pool", "x.npy", "-o", "y.npy", "-q", "--method", golden.method, "--engine", "numpy", *words)
    assert (done.code, done.err) == (0, "")
    golden.check(np.load("y.npy"))
