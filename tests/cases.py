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
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...] | str = ((0, 0), (0, 0))
    dilation: tuple[int, ...] = (1, 1)
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
class TargetCase:
    """A target size by its name; a seed of floats is PyTorch's sample of each axis."""

    id: str
    to: tuple[int | None, ...]
    rule: str = "adaptive"
    kernel: tuple[int, ...] | None = None
    seed: tuple[float, ...] | None = None

    @property
    def arguments(self) -> dict[str, object]:
        """The keyword arguments of `poolcli.pool`."""
        more = {"kernel": self.kernel, "seed": self.seed} if self.kernel else {}
        return {"to": self.to, "to_rule": self.rule, **more}


@dataclass(frozen=True, slots=True)
class MethodCase:
    """A method as a user spells it, and how near a float result is to the truth.

    In units of the last place of the result's dtype, at the largest magnitude of the result and its window: 0 where
    sums of `sample` are exact, more where there is a division, exp, log, a power or a difference after them.
    """

    id: str
    ulps: int = 0
    nonnegative: bool = False  # refuses other input

    def check(self, result: np.ndarray, expected: np.ndarray, array: np.ndarray) -> None:
        """Compare a result with the truth about an array: the same dtype and shape, integers and NaN equal."""
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
        if result.dtype.kind != "f" or not self.ulps:
            np.testing.assert_array_equal(result, expected)
            return
        unit = self.ulps * np.finfo(result.dtype).eps
        largest = np.abs(array.astype("f8")).max(initial=0, where=np.isfinite(array))
        np.testing.assert_allclose(result, expected, unit, unit * largest)


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

LINES = (  # on one axis
    WindowCase("line-k2s2", (2,), (2,), ((0, 0),), (1,)),
    WindowCase("line-k3s1-padded", (3,), (1,), ((1, 1),), (1,)),
    WindowCase("line-k5s3-uneven-ceil", (5,), (3,), ((4, 1),), (1,), ceil=True, count_include_pad=True),
    WindowCase("line-dilation3", (3,), (2,), ((2, 4),), (3,)),
    WindowCase("line-same", (4,), (3,), "same", (1,)),
)

VOLUMES = (  # on three axes
    WindowCase("cube-k2s2", (2, 2, 2), (2, 2, 2), ((0, 0),) * 3, (1, 1, 1)),
    WindowCase("cube-k3s1-padded", (3, 3, 3), (1, 1, 1), ((1, 1),) * 3, (1, 1, 1)),
    WindowCase("box-ceil", (2, 3, 1), (3, 2, 2), ((1, 0), (0, 2), (0, 0)), (1, 1, 1), ceil=True),
    WindowCase("box-dilation", (2, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (2, 2)), (2, 3, 1), count_include_pad=True),
    WindowCase("box-same-lower", (2, 3, 4), (2, 1, 3), "same-lower", (1, 1, 2)),
)

TARGETS = (  # for an input of at least 5 x 6
    TargetCase("global", (1, 1)),
    TargetCase("adaptive-3x4", (3, 4)),
    TargetCase("adaptive-rows-kept", (None, 2)),
    TargetCase("adaptive-larger", (17, 19)),
    TargetCase("area-3x4", (3, 4), "area"),
    TargetCase("area-one-axis", (1, 5), "area"),
    TargetCase("area-larger", (17, 19), "area"),
    TargetCase("fractional-3x4", (3, 4), "fractional", (2, 2), (0.3, 0.9)),
    TargetCase("fractional-4x1", (4, 1), "fractional", (2, 3), (0.0, 0.5)),
)

METHOD_CASES = (
    *map(
        MethodCase,
        ("max", "min", "median", "median:lower", "mode", "mode:sparse", "first", "center", "range", "lp:inf"),
    ),
    *map(MethodCase, ("quantile:0", "quantile:0.3:lower", "quantile:0.9:higher", "quantile:0.5:nearest", "quantile:1")),
    *(MethodCase(token, 1) for token in ("avg", "sum", "l2", "lp:1", "norm:1")),
    *(
        MethodCase(token, 4)
        for token in ("lp:2", "norm:2", "mixed", "mixed:0.3", "quantile:0.9", "blur", "maxblur", "prod")
    ),
    *(MethodCase(token, 16) for token in ("lp:2.7", "lp:0.5", "norm:3", "gem", "gem:1.5", "std")),
    MethodCase("var", 32),
    *(MethodCase(token, 16) for token in ("lse", "lse:0.1", "lse:-2", "soft", "soft:0.1", "soft:-1")),
    MethodCase("stochastic", 8, nonnegative=True),
)
PAD_MODES = ("identity", "zero", "edge", "reflect", "symmetric", "wrap")

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


# What PyTorch's pages give: length, kernel, stride, padding before and after, dilation, ceil; and the number of windows
WINDOW_COUNTS = [
    ((5, 1, 2, 0, 0, 1, True), 3),
    ((6, 1, 2, 0, 0, 1, True), 3),
    ((7, 1, 2, 0, 0, 1, True), 4),
    ((3, 2, 2, 1, 1, 1, False), 2),
    ((4, 2, 2, 1, 1, 1, True), 3),
    ((5, 2, 2, 1, 1, 1, True), 3),
    ((2, 3, 3, 1, 1, 1, True), 1),
    ((2, 1, 2, 0, 0, 1, True), 1),
    ((4, 3, 3, 0, 0, 1, True), 2),
    ((4, 3, 2, 1, 1, 1, True), 3),
    ((1, 2, 2, 1, 1, 2, False), 1),
    ((2, 2, 2, 1, 1, 2, True), 2),
    ((32, 5, 3, 0, 0, 2, True), 9),
    ((32, 5, 3, 0, 0, 2, False), 8),
    ((9, 7, 3, 3, 3, 1, True), 4),
]
