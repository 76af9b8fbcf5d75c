"""The one matrix of windows, shapes and dtypes that tests and the benchmarks' smoke test run over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOATS = ("float16", "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *UNSIGNED, *SIGNED, *FLOATS)


@dataclass(frozen=True, slots=True)
class WindowCase:
    """A window by its name; padding is one (before, after) pair per axis, or `same` / `same-lower`."""

    id: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]] | str = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False
    count_include_pad: bool = False

    @property
    def arguments(self) -> dict[str, object]:
        """The keyword arguments of `poolcli.pool`."""
        return {
            "kernel": self.kernel,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil": self.ceil,
            "count_include_pad": self.count_include_pad,
        }


@dataclass(frozen=True, slots=True)
class ShapeCase:
    """A shape by its name, with the letters of its axes."""

    id: str
    layout: str
    shape: tuple[int, ...]


WINDOWS = (
    WindowCase("identity", (1, 1), (1, 1)),
    WindowCase("k2s2", (2, 2), (2, 2)),
    WindowCase("k3s3", (3, 3), (3, 3)),
    WindowCase("k3s2", (3, 3), (2, 2)),
    WindowCase("k2s1", (2, 2), (1, 1)),
    WindowCase("k3s1", (3, 3), (1, 1)),
    WindowCase("k4s3", (4, 4), (3, 3)),
    WindowCase("gaps-k1s3", (1, 1), (3, 3)),
    WindowCase("gaps-k2s5", (2, 2), (5, 5)),
    WindowCase("rows-only", (3, 1), (3, 1)),
    WindowCase("columns-only", (1, 4), (1, 2)),
    WindowCase("rectangle", (2, 5), (3, 1)),
    WindowCase("k3s1-padded", (3, 3), (1, 1), ((1, 1), (1, 1))),
    WindowCase("k3s2-padded-counted", (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=True),
    WindowCase("before-only", (3, 3), (2, 2), ((2, 0), (2, 0))),
    WindowCase("after-only", (3, 3), (2, 2), ((0, 2), (0, 2))),
    WindowCase("asymmetric-counted", (4, 3), (2, 2), ((3, 1), (0, 2)), count_include_pad=True),
    WindowCase("padding-past-stride", (5, 5), (2, 3), ((4, 4), (4, 4))),
    WindowCase("padding-past-stride-counted", (5, 5), (2, 3), ((4, 3), (4, 4)), count_include_pad=True),
    WindowCase("ceil-k2s2", (2, 2), (2, 2), ceil=True),
    WindowCase("ceil-k3s3-overhang", (3, 3), (3, 3), ceil=True),
    WindowCase("ceil-k1s2-dropped", (1, 1), (2, 2), ceil=True),
    WindowCase("ceil-padded", (3, 3), (2, 2), ((1, 1), (1, 1)), ceil=True),
    WindowCase("ceil-padded-counted", (4, 3), (3, 4), ((1, 2), (2, 1)), ceil=True, count_include_pad=True),
    WindowCase("ceil-gap-k2s7", (2, 2), (7, 7), ceil=True),
    WindowCase("dilation2", (3, 3), (1, 1), dilation=(2, 2)),
    WindowCase("dilation3x2-padded", (3, 2), (1, 1), ((3, 3), (2, 1)), (3, 2)),
    WindowCase("dilation2-ceil", (3, 3), (3, 2), ((1, 2), (2, 2)), (2, 2), ceil=True),
    WindowCase("dilation2-counted", (3, 2), (2, 2), ((4, 2), (2, 1)), (2, 2), count_include_pad=True),
    WindowCase("dilation3-ceil-counted", (2, 3), (3, 4), ((3, 1), (5, 3)), (3, 3), ceil=True, count_include_pad=True),
    WindowCase("dilation-past-everything", (2, 2), (1, 1), ((16, 16), (16, 16)), (17, 17)),
    WindowCase("same-k2s2", (2, 2), (2, 2), "same"),
    WindowCase("same-k3s1", (3, 3), (1, 1), "same"),
    WindowCase("same-k4s3-counted", (4, 4), (3, 3), "same", count_include_pad=True),
    WindowCase("same-gaps", (1, 2), (3, 5), "same"),
    WindowCase("same-dilation", (3, 2), (2, 1), "same", (2, 3)),
    WindowCase("same-lower-k2s2", (2, 2), (2, 2), "same-lower"),
    WindowCase("same-lower-k4s1", (4, 4), (1, 1), "same-lower"),
    WindowCase("k5s1", (5, 5), (1, 1), ((2, 2), (2, 2))),
    WindowCase("k7s2", (7, 7), (2, 2), ((3, 3), (3, 3))),
    WindowCase("k8s8", (8, 8), (8, 8), ceil=True),
    WindowCase("k9s1", (9, 9), (1, 1)),
    WindowCase("k15s1", (15, 15), (1, 1), ((7, 7), (7, 7))),
    WindowCase("k17s3", (17, 17), (3, 3), ((8, 8), (16, 0)), count_include_pad=True),
    WindowCase("k31s1", (31, 31), (1, 1), "same"),
    WindowCase("k31s31", (31, 31), (31, 31), ((10, 9), (9, 10)), ceil=True),
)

SHAPES = (
    ShapeCase("prime-13x11", "HW", (13, 11)),
    ShapeCase("wide-5x37", "HW", (5, 37)),
    ShapeCase("one-row", "HW", (1, 23)),
    ShapeCase("one-column", "HW", (19, 1)),
    ShapeCase("one-element", "HW", (1, 1)),
    ShapeCase("grey-picture", "HWC", (9, 8, 1)),
    ShapeCase("rgb-picture", "HWC", (7, 10, 3)),
    ShapeCase("rgba-picture", "HWC", (6, 7, 4)),
    ShapeCase("many-channels-last", "HWC", (5, 6, 9)),
    ShapeCase("feature-maps", "CHW", (5, 7, 6)),
    ShapeCase("batch", "NCHW", (2, 3, 6, 5)),
    ShapeCase("batch-channels-last", "NHWC", (2, 5, 7, 3)),
)


def sample(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Return random values of a dtype whose sums are exact in float64, so that any order of adding agrees.

    8, 16 and 32-bit integers use their whole range with both ends present; 64-bit ones stay below 2**40;
    floats are multiples of 1/64 (float16 of 1/8), whose squares add up exactly too.
    """
    rng = np.random.default_rng(seed)
    kind, bits = np.dtype(dtype).kind, 8 * np.dtype(dtype).itemsize
    if kind == "f":
        steps, unit = (2000, 8) if bits == 16 else (2**15, 64)
        return (rng.integers(-steps, steps, shape, endpoint=True) / unit).astype(dtype)
    if kind == "b":
        return rng.integers(0, 1, shape, endpoint=True).astype(bool)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if bits < 64 else (-(2**40) * (kind == "i"), 2**40)
    values = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    values.flat[-1], values.flat[0] = high, low
    return values
