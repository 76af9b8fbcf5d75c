"""What other libraries gave and refused, as arguments of `poolcli.pool`: ONNX's node tests and results of PyTorch.

The files and the scripts that make them are in `data`. Nothing here imports poolcli.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
LAYOUTS = {3: "NCL", 4: "NCHW", 5: "NCDHW"}
PRINTED = {"averagepool_2d_ceil_last_window_starts_on_pad"}  # to four decimals
SAME = {"SAME_UPPER": "same", "SAME_LOWER": "same-lower"}
TOLERANCE = {"float16": 1e-3, "float32": 2e-6, "float64": 1e-12}


@dataclass(frozen=True, slots=True)
class Golden:
    """One result: pooling `array` by `method` with `arguments` gives `expected`, but for the tolerances.

    `indices` (of maxima) are None where there are none; `index_layout` tells how they count.
    """

    id: str
    array: np.ndarray = field(repr=False)
    method: str
    arguments: dict[str, object]
    expected: np.ndarray = field(repr=False)
    rtol: float = 0
    atol: float = 0
    indices: np.ndarray | None = field(default=None, repr=False)
    index_layout: str = "torch"

    def check(self, result):
        """Compare a result, in shape and dtype too."""
        assert (result.dtype, result.shape) == (self.expected.dtype, self.expected.shape)
        np.testing.assert_allclose(result, self.expected, self.rtol, self.atol)


@dataclass(frozen=True, slots=True)
class Unpooled:
    """Values at indices that count as `index_layout` says, and the array of `size` (of pooled axes) that they give."""

    id: str
    values: np.ndarray = field(repr=False)
    indices: np.ndarray = field(repr=False)
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: int
    size: tuple[int, ...]
    expected: np.ndarray = field(repr=False)
    index_layout: str = "torch"


# ONNX. Its wheel's own test of output_shape contradicts the operator's text and fails on onnxruntime (onnx#2398).

UNPASSABLE = {"maxunpool_export_with_output_shape": "indices of a smaller tensor are read in a larger one (onnx#2398)"}


@cache
def onnx_archive():
    """Return the cases, and their arrays by number."""
    with np.load(DATA / "onnx_pool.npz") as file:
        cases = json.loads(str(file["cases"]))
        return cases, [file[str(number)] for number in range(len(file.files) - 1)]


def onnx_arguments(attributes, count):
    """Return a node's window in poolcli's words; ONNX's stride is 1 unless given."""
    pads = attributes.get("pads", (0,) * 2 * count)
    arguments = {
        "kernel": tuple(attributes["kernel_shape"]),
        "stride": tuple(attributes.get("strides", (1,) * count)),
        "padding": SAME.get(attributes.get("auto_pad")) or tuple(zip(pads[:count], pads[count:], strict=True)),
        "dilation": tuple(attributes.get("dilations", (1,) * count)),
        "ceil": bool(attributes.get("ceil_mode", 0)),
    }
    if "count_include_pad" in attributes:
        arguments["count_include_pad"] = bool(attributes["count_include_pad"])
    return arguments


def onnx_goldens():
    """Yield the 51 node tests that pool."""
    cases, arrays = onnx_archive()
    for name, case in cases.items():
        operator, attributes = case["operator"], case["attributes"]
        if operator == "MaxUnpool":
            continue
        array = arrays[case["inputs"][0]]
        expected, *indices = (arrays[number] for number in case["outputs"])
        if operator.startswith("Global"):
            arguments = {"to": (1,) * (array.ndim - 2)}
        else:
            arguments = onnx_arguments(attributes, array.ndim - 2)
        kind = operator.removeprefix("Global").removesuffix("Pool")
        method = {"Max": "max", "Average": "avg", "Lp": f"norm:{attributes.get('p', 2)}"}[kind]
        rtol = 3e-4 if name in PRINTED else 0 if method == "max" else 1e-5
        index_layout = "onnx-columns" if attributes.get("storage_order") else "onnx"
        arguments["layout"] = LAYOUTS[array.ndim]
        found = indices[0] if indices else None
        yield Golden(name, array, method, arguments, expected, rtol, rtol, found, index_layout)


def onnx_unpooled():
    """Yield the node tests that unpool and can pass."""
    cases, arrays = onnx_archive()
    for name, case in cases.items():
        if case["operator"] == "MaxUnpool" and name not in UNPASSABLE:
            values, indices = (arrays[number] for number in case["inputs"])
            expected, attributes = arrays[case["outputs"][0]], case["attributes"]
            window = tuple(attributes["kernel_shape"]), tuple(attributes["strides"]), 0
            yield Unpooled(name, values, indices, *window, expected.shape[2:], expected, "onnx")


# PyTorch.


@cache
def torch_archive():
    """Return the cases with their arrays."""
    with np.load(DATA / "torch_pool.npz") as file:
        text, content = json.loads(str(file["cases"])), file["bytes"].tobytes()
    arrays = [
        np.frombuffer(content, dtype, int(np.prod(shape)), start).reshape(shape)
        for dtype, shape, start in text["arrays"]
    ]
    return [
        case | {name: [arrays[number] for number in case[name]] for name in ("inputs", "outputs")}
        for case in text["cases"]
    ]


def per_axis(value, count):
    """Return one value for each axis."""
    return tuple(value) if isinstance(value, list) else (value,) * count


def torch_window(given, count):
    """Return a window in poolcli's words."""
    window = {"kernel": per_axis(given["kernel_size"], count)}
    if "stride" in given:
        window["stride"] = per_axis(given["stride"], count)
    if "padding" in given:
        window["padding"] = tuple((each, each) for each in per_axis(given["padding"], count))
    if "dilation" in given:
        window["dilation"] = per_axis(given["dilation"], count)
    return window | {"ceil": given.get("ceil_mode", False)}


def torch_arguments(function, given, count):
    """Return the method and what `poolcli.pool` takes for a function of PyTorch."""
    if function.startswith("adaptive"):
        return function.split("_")[1], {"to": tuple(given["output_size"])}
    if function.startswith("fractional"):
        kernel, to = tuple(given["kernel_size"]), tuple(given["output_size"])
        samples = given["_random_samples"]
        seed = tuple(reversed(samples)) if count == 2 else tuple(samples)  # 2-D samples are for W, H
        return "max", {"kernel": kernel, "to": to, "to_rule": "fractional", "seed": seed}
    window = torch_window(given, count)
    if function == "reduce2d":
        return reduction(given["by"], given.get("value")), window
    if function.startswith("avg"):
        window["count_include_pad"] = given.get("count_include_pad", True)
        if "divisor_override" in given:
            window |= {"count_include_pad": False, "divisor": given["divisor_override"]}
    name = function.split("_", maxsplit=1)[0]
    return f"norm:{given['norm_type']}" if name == "lp" else name, window


def reduction(by, value):
    """Return the method that a reduction of windows stands for."""
    if value is None:
        return by
    name, _, rule = by.partition(":")
    return ":".join(filter(None, (name, str(value), rule)))


def torch_goldens():
    """Yield what PyTorch pooled; its averages of float32 are added in float32."""
    for number, case in enumerate(torch_archive()):
        function, given, array = case["function"], case["arguments"], case["inputs"][0]
        if function.startswith("max_unpool"):
            continue
        method, arguments = torch_arguments(function, given, array.ndim - 2)
        expected, *indices = case["outputs"]
        exact = method.partition(":")[0] in {"max", "median", "mode", "range"}
        rtol = 0 if exact else TOLERANCE[str(array.dtype)]
        name = f"{number}-{function}-{method}-{array.dtype}"
        arguments["layout"] = LAYOUTS[array.ndim]
        found = indices[0] if indices else None
        yield Golden(name, array, method, arguments, expected, rtol, rtol * 10, found)


def torch_unpooled():
    """Yield what PyTorch unpooled; where maxima share a place, they are equal."""
    for number, case in enumerate(torch_archive()):
        function, given = case["function"], case["arguments"]
        if function.startswith("max_unpool"):
            values, indices = case["inputs"]
            count = values.ndim - 2
            window = per_axis(given["kernel_size"], count), per_axis(given["stride"], count), given["padding"]
            yield Unpooled(
                f"{number}-{function}", values, indices, *window, tuple(given["output_size"]), case["outputs"][0]
            )
