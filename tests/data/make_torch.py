"""Makes torch_pool.npz, results of PyTorch's pooling: `pip install torch==2.13.0 numpy` in an environment of its own.

A case is the name of a function of torch.nn.functional (or of this file), its arguments, one input and one or two
outputs. Inputs are multiples of a power of two, so that sums are exact; all arrays lie in one row of bytes.
"""

from __future__ import annotations

import json
import math
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

ARCHIVE = Path(__file__).parent / "torch_pool.npz"
SHAPES = {1: (2, 3, 11), 2: (2, 2, 7, 9), 3: (1, 2, 5, 6, 4)}
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
FLOATS = ("float16", "float32", "float64")
FLAVOURS = ("plain", "ties", "nan", "infinite")

# kernel, stride, padding, dilation, ceil; the number of axes makes tuples of the numbers
MAX_WINDOWS = (
    (2, 2, 0, 1, False),
    (2, 2, 0, 1, True),
    (3, 2, 1, 1, False),
    (3, 2, 1, 1, True),
    (3, 1, 0, 1, False),
    (1, 2, 0, 1, True),
    (2, 3, 1, 1, True),
    (2, 1, 1, 2, False),
    (3, 2, 1, 2, True),
    (2, 1, 1, 12, False),
)
ALL_PADDING = MAX_WINDOWS[-1]  # the one window on 11 elements has a tap before and a tap after them
AVG_WINDOWS = (
    (2, 2, 0, False, True),
    (2, 2, 0, True, True),
    (3, 2, 1, False, True),
    (3, 2, 1, False, False),
    (3, 2, 1, True, True),
    (3, 2, 1, True, False),
    (3, 3, 0, True, False),
    (4, 3, 2, True, True),
    (4, 3, 2, True, False),
    (2, 1, 1, False, True),
)
MIXED = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}


class Arrays:
    """All arrays, each once, as bytes behind one another."""

    def __init__(self):
        self.bytes, self.entries, self.known = bytearray(), [], {}

    def number(self, tensor):
        """Return the number of an array, kept now if it is new."""
        array = np.ascontiguousarray(tensor.numpy())
        key = (array.dtype.str, tensor.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = len(self.entries)
            self.entries.append([array.dtype.str, list(tensor.shape), len(self.bytes)])
            self.bytes += array.tobytes()
        return self.known[key]


def values(shape, dtype, flavour="plain", *, low=None):
    """Return an input: multiples of 1/8, many equals, or some NaN or infinities among them."""
    rng = np.random.default_rng(math.prod(shape) + len(flavour))
    spread = 2 if flavour == "ties" else 100
    whole = rng.integers(0 if dtype == "uint8" or low == 0 else -spread, spread, shape)
    array = (whole / (1 if dtype in INTEGERS else 8)).astype(dtype)
    holes = rng.random(shape) < 0.1
    if flavour == "nan":
        array[holes] = np.nan
    elif flavour == "infinite":
        array[holes] = rng.choice([np.inf, -np.inf], holes.sum())
    return torch.from_numpy(array)


def blur_pool2d(x, kernel_size, stride):
    """Return what timm's BlurPool2d does, whose padding is half of the kernel at stride 2."""
    line = torch.tensor([math.comb(kernel_size - 1, tap) for tap in range(kernel_size)], dtype=x.dtype)
    line /= line.sum()
    pad = (stride - 1 + kernel_size - 1) // 2
    padded = functional.pad(x, (pad,) * 4, mode="reflect")
    taps = (line[:, None] * line[None]).expand(x.shape[1], 1, kernel_size, kernel_size)
    return functional.conv2d(padded, taps, stride=stride, groups=x.shape[1])


def reduce2d(x, kernel_size, stride, by, value=None):
    """Return a reduction of PyTorch over the windows of the two last axes."""
    windows = x.unfold(-2, kernel_size[0], stride[0]).unfold(-2, kernel_size[1], stride[1]).flatten(-2)
    rule = {
        "median:lower": lambda: windows.median(-1).values,
        "mode": lambda: windows.mode(-1).values,
        "std": lambda: windows.std(-1, correction=0),
        "var": lambda: windows.var(-1, correction=0),
        "prod": lambda: windows.prod(-1),
        "range": lambda: windows.amax(-1) - windows.amin(-1),
        "lse": lambda: (value * windows).logsumexp(-1).sub(math.log(windows.shape[-1])) / value,
        "soft": lambda: ((value * windows).softmax(-1) * windows).sum(-1),
        "lp": lambda: windows.abs().pow(value).mean(-1).pow(1 / value),
        "gem": lambda: windows.clamp(min=1e-6).pow(value).mean(-1).pow(1 / value),
        "stochastic": lambda: windows.square().sum(-1) / windows.sum(-1),
        "quantile": lambda: windows.quantile(value, -1),
    }
    if by.startswith("quantile:"):
        return windows.quantile(value, -1, interpolation=by.partition(":")[2])
    return rule[by]()


def max_cases():
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    for count, window, flavour in product(SHAPES, MAX_WINDOWS, FLAVOURS):
        arguments = dict(zip(names, window, strict=True))
        if count == 1 or window != ALL_PADDING:
            yield f"max_pool{count}d", arguments, values(SHAPES[count], "float32", flavour)
    for count, dtype in product(SHAPES, (*INTEGERS, *FLOATS)):
        arguments = dict(zip(names, (3, 2, 1, 1, True), strict=True))
        yield f"max_pool{count}d", arguments, values(SHAPES[count], dtype)
    yield "max_pool2d", MIXED | {"dilation": (1, 3)}, values(SHAPES[2], "float32")


def avg_cases():
    for count, window, dtype in product(SHAPES, AVG_WINDOWS, FLOATS):
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
        if (count, dtype) != (3, "float16"):  # not implemented
            yield f"avg_pool{count}d", dict(zip(names, window, strict=True)), values(SHAPES[count], dtype)
    for count, flavour in product(SHAPES, ("nan", "infinite")):
        yield f"avg_pool{count}d", {"kernel_size": 2}, values(SHAPES[count], "float32", flavour)
    for count, divisor, ceil in product((2, 3), (1, 2, 7), (False, True)):
        arguments = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": ceil, "divisor_override": divisor}
        yield f"avg_pool{count}d", arguments, values(SHAPES[count], "float64")
    yield "avg_pool2d", MIXED | {"ceil_mode": True}, values(SHAPES[2], "float32")


def adaptive_cases():
    sizes = {
        1: [(1,), (3,), (7,), (11,), (17,)],
        2: [(1, 1), (3, 2), (5, 7), (7, 9), (None, 4), (10, 11)],
        3: [(1, 1, 1), (2, 3, 3), (None, 4, 2), (7, 2, 5)],
    }
    for count, kind in product(SHAPES, ("avg", "max")):
        for size, flavour in product(sizes[count], ("plain", "nan")):
            yield f"adaptive_{kind}_pool{count}d", {"output_size": size}, values(SHAPES[count], "float32", flavour)


def fractional_cases():
    sizes = {
        2: [((2, 2), (3, 5)), ((3, 2), (5, 8)), ((1, 1), (7, 1))],
        3: [((2, 2, 2), (3, 4, 2)), ((1, 3, 2), (4, 1, 2))],
    }
    for count, dtype, sample in product(sizes, ("float32", "float64"), (0.0, 0.3, 0.5, 0.9, 0.99999)):
        for kernel, size in sizes[count]:
            each = [sample, *((sample + shift) % 1 for shift in (0.17, 0.41))][:count]
            samples = torch.tensor(each, dtype=getattr(torch, dtype)).expand(*SHAPES[count][:2], count)
            arguments = {"kernel_size": kernel, "output_size": size, "_random_samples": samples}
            yield f"fractional_max_pool{count}d", arguments, values(SHAPES[count], dtype, "ties")


def unpool_cases():
    windows = ((2, 2, 0), (3, 2, 1), (3, 1, 0))  # the last two hold duplicates
    for count, (kernel, stride, padding) in product(SHAPES, windows):
        arguments = {"kernel_size": kernel, "stride": stride, "padding": padding}
        pooled = getattr(functional, f"max_pool{count}d")(
            values(SHAPES[count], "float32"), **arguments, return_indices=True
        )
        size = list(SHAPES[count][2:])
        yield f"max_unpool{count}d", arguments | {"output_size": size}, *pooled


def power_cases():
    for count, power in product(SHAPES, (1, 2, 3, 2.5)):
        arguments = {"norm_type": power, "kernel_size": 3, "stride": 2}
        yield f"lp_pool{count}d", arguments, values(SHAPES[count], "float64", low=0)
    yield "lp_pool2d", {"norm_type": 2, "kernel_size": (2, 3), "stride": (1, 4)}, values(SHAPES[2], "float32", low=0)


def window_cases():
    for kernel, stride in product(range(2, 8), (1, 2)):
        if kernel % 2 or stride == 2:
            yield "blur_pool2d", {"kernel_size": kernel, "stride": stride}, values(SHAPES[2], "float64")
    plain = ("median:lower", "mode", "std", "var", "prod", "range")
    scaled = [(name, value) for name in ("lse", "soft", "lp", "gem") for value in (0.5, 1, 2.5)]
    quantiles = [
        ("quantile" + rule, q) for rule in ("", ":lower", ":higher", ":nearest") for q in (0, 0.25, 0.5, 0.9, 1)
    ]
    windows = [((2, 2), (2, 2)), ((3, 2), (2, 1))]
    for (by, value), (kernel, stride) in product([*((name, None) for name in plain), *scaled, *quantiles], windows):
        arguments = {"kernel_size": kernel, "stride": stride, "by": by, "value": value}
        yield "reduce2d", arguments, values(SHAPES[2], "float64", "ties" if by == "mode" else "plain")
    for kernel, stride in windows:
        arguments = {"kernel_size": kernel, "stride": stride, "by": "stochastic"}
        yield "reduce2d", arguments, values(SHAPES[2], "float64", low=0) + 0.125


def outputs(function, arguments, inputs):
    """Return the values, and the indices of what has them."""
    if function in globals():
        return [globals()[function](*inputs, **arguments)]
    more = {"return_indices": True} if "max_pool" in function else {}
    result = getattr(functional, function)(*inputs, **arguments, **more)
    return list(result) if more else [result]


def main():
    """Write the archive."""
    arrays, cases = Arrays(), []
    every = (max_cases, avg_cases, adaptive_cases, fractional_cases, power_cases, window_cases, unpool_cases)
    for function, arguments, *inputs in chain.from_iterable(each() for each in every):
        results = outputs(function, arguments, inputs)
        plain = {
            name: value.flatten(0, 1)[0].tolist() if name[0] == "_" else value for name, value in arguments.items()
        }
        numbers = {
            "inputs": [arrays.number(each) for each in inputs],
            "outputs": [arrays.number(each) for each in results],
        }
        cases.append({"function": function, "arguments": plain, **numbers})
    text = {"torch": torch.__version__, "arrays": arrays.entries, "cases": cases}
    content = np.frombuffer(arrays.bytes, np.uint8)
    np.savez_compressed(ARCHIVE, cases=np.array(json.dumps(text)), bytes=content)
    print(len(cases), "cases,", len(arrays.entries), "arrays,", ARCHIVE.stat().st_size, "bytes")  # noqa: T201


if __name__ == "__main__":
    main()
