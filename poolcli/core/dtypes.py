"""In which types a method computes: what goes in, what accumulates, what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from poolcli.core.methods import Method

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


def supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native form of an input's *dtype*, or raise `InputError`."""
    native = dtype.newbyteorder("=")
    if native.name not in NAMES:
        raise InputError(f"dtype must be one of {', '.join(NAMES)}, got {dtype.name!r}")
    return native


def natural(method: Method, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the result when none is asked for."""
    if method.result == "same" or dtype.kind == "f":
        return dtype
    if method.result == "mean":
        return np.dtype(np.float64)
    return np.dtype(np.int64 if dtype.kind == "i" else np.uint64)


def target(method: Method, dtype: np.dtype[Any], asked: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return the dtype of the result: the one asked for, if results can be converted to it."""
    own = natural(method, dtype)
    if asked is not None and asked.kind == "b" and own.kind != "b":
        raise UsageError(f"dtype must be a number's, got {asked.name!r} for a result of {own.name}")
    return own if asked is None else asked


def arithmetic(method: Method, dtype: np.dtype[Any], target: np.dtype[Any], count: int) -> Arithmetic:
    """Return the types to pool native *dtype* in, so that one rounding leads to *target*.

    *count* is the number of elements of the largest window. The result's type may differ from *target*; the
    caller converts then.
    """
    steps = method.steps
    if method.result == "same":
        source = _canonical(dtype, np.float32)
        return Arithmetic(source, source, source, source, steps.finish)
    source = _canonical(dtype, np.float64)
    accumulator = _accumulator(source, count, squares=steps.lift == "square", bounded=method.result == "mean")
    float64 = np.dtype(np.float64)
    if method.result == "sum" and source.kind != "f":
        result = natural(method, dtype)
        return Arithmetic(source, accumulator, accumulator, result, steps.finish)
    if source.kind == "f":
        result = source if target == source else float64
        return Arithmetic(source, accumulator, float64, result, steps.finish)
    squares = steps.lift == "square"
    # Exactly rounded where it is stored; the root for -128 is 128, and past 2^28 values its integers pass 64 bits
    if target == source and accumulator.kind != "f" and not (squares and (source.kind == "i" or count >= 2**28)):
        if squares:
            return Arithmetic(source, accumulator, np.dtype(np.int64), source, f"nearest_{steps.finish}")
        exact = np.dtype(np.float32) if source.itemsize == 1 and count < 2**16 else float64
        return Arithmetic(source, accumulator, exact, source, f"nearest_{steps.finish}")
    return Arithmetic(source, accumulator, float64, float64, steps.finish)


def _canonical(dtype: np.dtype[Any], half: type) -> np.dtype[Any]:
    """The type that stands for *dtype* in kernels: Numba has no float16, and bool is uint8."""
    if dtype == np.float16:
        return np.dtype(half)
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def _accumulator(source: np.dtype[Any], count: int, *, squares: bool, bounded: bool) -> np.dtype[Any]:
    """The narrowest integer that holds the sum of *count* values (or squares) of *source*; float64 for floats.

    A mean whose sum might pass 64 bits is accumulated in float64; a sum is then checked by `check_sum`.
    """
    if source.kind == "f":
        return np.dtype(np.float64)
    extreme = max(-int(np.iinfo(source).min), int(np.iinfo(source).max))
    if (bounded and source.itemsize == 8) or (squares and source.itemsize >= 4):
        return np.dtype(np.float64)
    bound = count * (extreme**2 if squares else extreme)
    signed = source.kind == "i" and not squares  # squares of wrapped values are right modulo 2^bits
    for bits in (16, 32, 64):
        if bound < 2 ** (bits - signed):
            return np.dtype(f"{'int' if signed else 'uint'}{bits}")
    return np.dtype(np.float64) if bounded else np.dtype(np.int64 if signed else np.uint64)


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


def convert(values: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    """Return *values* as *target*: to integers half to even and saturating.

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
    rounded = np.rint(values.astype(np.float64, copy=False))
    above, below = rounded >= float(info.max), rounded <= float(info.min)
    whole: NDArray[Any] = np.where(above | below, 0, rounded).astype(target)
    whole[above], whole[below] = info.max, info.min
    return whole
