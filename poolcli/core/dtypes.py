"""In which types a method computes: what goes in, what accumulates, what comes out."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import kernels
from poolcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

    from poolcli.core.methods import Fold, Method, Result

NAMES = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
)  # fmt: skip
_SHORT = {f"{name[0]}{name.lstrip('uintfloa')}": name for name in NAMES[1:]}


class Arithmetic(NamedTuple):
    """The types of one pooling: canonical input, accumulator, what `finish` computes in, and its result."""

    source: np.dtype[Any]
    accumulator: np.dtype[Any]
    closing: np.dtype[Any]
    result: np.dtype[Any]
    finish: str

    def unfinished(self) -> Arithmetic:
        """Return the types of a fold that keeps its accumulators."""
        return Arithmetic(self.source, self.accumulator, self.accumulator, self.accumulator, "keep")

    def lifted(self) -> Arithmetic:
        """Return the types of a fold that goes on from accumulators."""
        return self._replace(source=self.accumulator)


def named(name: DTypeLike) -> np.dtype[Any]:
    """Return the dtype of a NumPy name or its short form in bits (``u8`` is uint8, ``i8`` is int8, ``f32``).

    Raises
    ------
    UsageError
        poolcli does not compute in that type.
    """
    dtype = None
    if not isinstance(name, str) or name in NAMES or name in _SHORT:  # NumPy's own i8 is eight bytes
        try:
            dtype = np.dtype(_SHORT.get(name, name) if isinstance(name, str) else name).newbyteorder("=")
        except TypeError:
            dtype = None
    if dtype is None or dtype.name not in NAMES:
        raise UsageError(f"dtype must be one of {', '.join(NAMES)}, got {str(name)!r}")
    return dtype


def canonical(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native type that stands for *dtype*: bool is uint8, and float16 is float32."""
    return _native(dtype.newbyteorder("="), np.float32)


def summed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a sum of values of *dtype*."""
    if dtype.kind == "f":
        return np.dtype(np.float64)
    return np.dtype(np.int64 if dtype.kind == "i" else np.uint64)


@lru_cache(maxsize=64)  # the name of a dtype takes 5 microseconds to make
def supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native form of an input's *dtype*, or raise `InputError`."""
    native = dtype.newbyteorder("=")
    if native.name not in NAMES:
        raise InputError(f"dtype must be one of {', '.join(NAMES)}, got {dtype.name!r}")
    return native


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether *dtype* has this value, or of floats the one next to it."""
    if dtype.kind == "f":
        return True
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(value == value // 1 and low <= value <= high)


def natural(method: Method, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the result when none is asked for."""
    if method.parts:
        return np.result_type(*(natural(part, dtype) for part in method.parts))
    if method.result == "same" or dtype.kind == "f":
        return dtype
    if method.result == "extent":
        return np.dtype(f"u{dtype.itemsize}")
    if method.result == "mean":
        return np.dtype(np.float64)
    return summed(dtype)


def target(method: Method, dtype: np.dtype[Any], asked: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return the dtype of the result: the one asked for, if results can be converted to it."""
    own = natural(method, dtype)
    if asked is not None and asked.kind == "b" and own.kind != "b":
        raise UsageError(f"dtype must be a number's, got {asked.name!r} for a result of {own.name}")
    return own if asked is None else asked


def arithmetic(fold: Fold, rule: Result, dtype: np.dtype[Any], target: np.dtype[Any], count: int) -> Arithmetic:
    """Return the types to fold native *dtype* in, so that one rounding leads to *target*.

    *rule* is the method's for the dtype of its result, *count* the number of elements of the largest window. The
    result's type may differ from *target*; the caller converts then.
    """
    needs, squares, float64 = getattr(kernels, fold.combine).accumulator, fold.lift == "square", np.dtype(np.float64)
    if needs == "source":
        source = _native(dtype, np.float32)
        return Arithmetic(source, source, source, source, fold.finish)
    source = _summed(dtype, count, squares=squares, mean=rule == "mean")
    accumulator = float64
    if needs != "float64" and source.kind != "f":
        many = max(count, 2**8 + 2) if rule == "sum" else count  # sums of bytes have one kernel, too
        accumulator = _accumulator(source, many, squares=squares)
    if source.kind == "f":
        return Arithmetic(source, accumulator, float64, source if target == source else float64, fold.finish)
    if rule == "sum" and accumulator.kind != "f":
        wide = np.dtype(np.int64 if source.kind == "i" else np.uint64)
        return Arithmetic(source, accumulator, accumulator, wide, fold.finish)
    # Exactly rounded where it is stored; the root for -128 is 128, and past 2^28 values its integers pass 64 bits
    if rule == "mean" and target == source and not (squares and (source.kind == "i" or count >= 2**28)):
        exact = np.dtype(np.float32) if source.itemsize == 1 and count < 2**16 else float64
        if squares and exact == np.float32:
            return Arithmetic(source, accumulator, np.dtype(np.uint32), source, "byte_root_mean")
        closing = np.dtype(np.int64) if squares else exact
        return Arithmetic(source, accumulator, closing, source, f"nearest_{fold.finish}")
    return Arithmetic(source, accumulator, float64, float64, fold.finish)


def _native(dtype: np.dtype[Any], half: type) -> np.dtype[Any]:
    """The type that stands for *dtype* in kernels: Numba has no float16, and bool is uint8."""
    if dtype == np.float16:
        return np.dtype(half)
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def _summed(dtype: np.dtype[Any], count: int, *, squares: bool, mean: bool) -> np.dtype[Any]:
    """The type that stands for *dtype* in sums of *count* values: each has kernels that take seconds to compile.

    Means of wide integers go as float64, which holds the sums exactly, or where 64 bits might not. Other sums keep
    integers, which `check_sum` bounds.
    """
    source = _native(dtype, np.float64)
    if source in {np.dtype(np.int8), np.dtype(np.int16)}:
        return np.dtype(np.float64 if squares else np.int16)
    if mean and source.kind in "iu" and (source.itemsize == 8 or (source.itemsize == 4 and (squares or count < 2**21))):
        return np.dtype(np.float64)
    if not mean and source.kind in "iu" and source.itemsize == 4:
        return summed(source)
    return source


def _accumulator(source: np.dtype[Any], count: int, *, squares: bool) -> np.dtype[Any]:
    """The narrowest integer, at least twice as wide, that holds the sum of *count* values (or squares) of *source*."""
    extreme = max(-int(np.iinfo(source).min), int(np.iinfo(source).max))
    bound = count * (extreme**2 if squares else extreme)
    signed = source.kind == "i" and not squares  # squares of wrapped values are right modulo 2^bits
    bits = 16 * source.itemsize
    while bits < 64 and bound >= 2 ** (bits - signed):
        bits *= 2
    return np.dtype(f"{'int' if signed else 'uint'}{min(bits, 64)}")


def check_sum(values: NDArray[Any], count: int) -> None:
    """Raise `InputError` when a sum of *count* of the integer *values* might pass 64 bits."""
    if values.dtype.kind in "bf" or not values.size:
        return
    limit = 2**63 - 1 if values.dtype.kind == "i" else 2**64 - 1
    info = np.iinfo(values.dtype)
    if count * max(-int(info.min), int(info.max)) <= limit:
        return
    extreme = max(-int(values.min()), int(values.max()))
    if count * extreme > limit:
        raise InputError(
            f"sum of {count} values up to {extreme} must fit in 64 bits",
            "dtype=float64 does not help; use avg",
        )


def _half_up(values: NDArray[Any]) -> NDArray[Any]:
    part, whole = np.modf(values)  # adding a half would round by itself
    return np.asarray(whole + (part >= 0.5) - (part < -0.5))


ROUNDINGS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "even": np.rint,
    "up": _half_up,
    "floor": np.floor,
}


def convert(values: NDArray[Any], target: np.dtype[Any], rounding: str = "even") -> NDArray[Any]:
    """Return *values* as *target*: to integers saturating, and rounded half to even, half up, or down ("floor").

    Raises
    ------
    InputError
        A NaN has no integer.
    """
    if values.dtype == target:
        return values
    if target.kind not in "iu" or values.dtype.kind == "b":
        with np.errstate(over="ignore"):
            return values.astype(target)
    info = np.iinfo(target)
    if values.dtype.kind in "iu":
        own = np.iinfo(values.dtype)
        low, high = max(int(info.min), int(own.min)), min(int(info.max), int(own.max))
        return np.asarray(np.clip(values, low, high), target)
    if np.isnan(values).any():
        raise InputError(f"NaN must not be converted to {target.name}", "dtype=float64 keeps it")
    rounded = ROUNDINGS[rounding](values.astype(np.float64, copy=False))
    above, below = rounded >= float(info.max), rounded <= float(info.min)
    whole: NDArray[Any] = np.where(above | below, 0, rounded).astype(target)
    whole[above], whole[below] = info.max, info.min
    return whole
