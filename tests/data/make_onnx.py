"""Freezes the pooling node tests of ONNX into onnx_pool.npz: `pip install onnx==1.22.0` in an environment of its own.

Later wheels have no such files. An array that several tests share is kept once.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

HERE = Path(__file__).parent
NODE_TESTS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
ARCHIVE = "onnx_pool.npz"


def plain(value):
    """Return an attribute as JSON has it."""
    return value.decode() if isinstance(value, bytes) else value


def tensors(folder, name):
    """Return the tensors of a test in the order of their numbers."""
    paths = sorted((folder / "test_data_set_0").glob(f"{name}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes())) for path in paths]


def main():
    """Write the archive: the arrays by number, and the cases as JSON that names them by number."""
    arrays, cases = {}, {}

    def number(array):
        key = (array.dtype.str, array.shape, array.tobytes())
        return arrays.setdefault(key, (len(arrays), array))[0]

    for folder in sorted(NODE_TESTS.glob("test_*pool*")):
        model = onnx.load(folder / "model.onnx")
        (node,) = model.graph.node
        cases[folder.name.removeprefix("test_")] = {
            "operator": node.op_type,
            "opset": model.opset_import[0].version,
            "attributes": {each.name: plain(onnx.helper.get_attribute_value(each)) for each in node.attribute},
            "inputs": [number(array) for array in tensors(folder, "input")],
            "outputs": [number(array) for array in tensors(folder, "output")],
        }
    named = {str(place): array for place, array in arrays.values()}
    np.savez_compressed(HERE / ARCHIVE, cases=np.array(json.dumps(cases)), **named)
    print(len(cases), "cases,", len(named), "arrays")  # noqa: T201 (a script that reports)


if __name__ == "__main__":
    main()
