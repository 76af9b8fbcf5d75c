"""Kernels compiled by Numba, here and nowhere else, and kept as object files.

Bands run on Python threads in kernels that release the GIL. The same kernels in ``parallel=True`` take 12 to 14 s to
compile instead of 3 to 5, and 3.8 and 13 ms where bands take 1.1 and 2.5 (max k2 s2, avg k3 s1 of 64x224x224 float32):
they must be given arrays, whose indices may be negative, not pointers. Bands need no threading layer, which aborts when
two threads enter it or dies after fork, and none of Numba's runtime: a kept kernel runs without Numba (see `machine`),
and one build serves an image in bands as well as many files at once.
"""

from __future__ import annotations

import threading
from ctypes import CFUNCTYPE, c_void_p
from functools import cache as cached
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import cache, kernels, machine
from poolcli.errors import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.methods import Fold

_compiling = threading.Lock()


def kernel(fold: Fold, types: Arithmetic) -> Callable[..., None]:
    """Return the kernel for a method and dtype: from this process, from the cache folder, or compiled now.

    Raises
    ------
    ImportError
        It would have to be compiled, and Numba cannot load.
    """
    with _compiling:
        return _kernel(fold, types)


_functions: list[Any] = []  # code that Numba loaded lives as long as they


@cached
def _kernel(fold: Fold, types: Arithmetic) -> Callable[..., None]:
    compiled = cached(partial(_compiled, fold, types))
    arguments = [_ctype(argument) for argument in _arguments(types)]
    try:
        symbol, code = _code(f"{cache.name(fold, types)}.{_source()}", compiled)
        return machine.load(code, symbol, arguments)
    except Exception as error:  # noqa: BLE001 -- it only makes starts faster, by an interface of llvmlite's that moves
        function = compiled()
        warn_once("compiled kernels are not kept", error)
    _functions.append(function)
    return CFUNCTYPE(None, *arguments)(function.address)


def _code(name: str, compiled: Callable[[], Any]) -> tuple[str, bytes]:
    """Return the symbol and the object file of a kernel: kept, or of what is *compiled* now and then kept."""
    path = cache.prepare() / f"{name}{machine.host()}{cache.SUFFIX}"
    kept = cache.read(path)
    if kept is not None:
        return kept
    with cache.locked(path):
        kept = cache.read(path)  # another process may have been first
        if kept is None:
            function = compiled()
            kept = function.native_name, machine.emit(function.inspect_llvm(), function.native_name)
            cache.write(path, *kept)
    return kept


@cached
def _source() -> str:
    """Return what kernels made of the present source are told by."""
    files = (__file__, kernels.__file__, machine.__file__)
    return sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:12]


def _compiled(fold: Fold, types: Arithmetic) -> Any:
    """Return the kernel as Numba compiles it."""
    try:
        import numba
    except (ValueError, OSError, SystemError) as error:  # too new a NumPy, a wrong NUMBA_ value ...
        raise ImportError(error) from error
    narrow = types.closing == np.float64 != types.source
    finish = kernels.NARROW.get(types.finish, types.finish) if narrow else types.finish
    steps = [getattr(kernels, name) for name in (fold.lift, fold.combine, finish, kernels.QUICK[types.finish])]
    _fuse()
    for function in (*kernels.LOOPS, *steps):
        _known(function)
    for function in kernels.PARTS:
        _known(function, inlined=True)  # LLVM alone calls them: 64 rows of 224 elements then take 2.5 times as long
    template = kernels.fold(*steps)  # type: ignore[no-untyped-call]  # Numba infers types
    signature = numba.void(*(_numba_type(argument) for argument in _arguments(types)))
    # Divisions that raise nothing: the code must want nothing of Numba's runtime
    return numba.cfunc(signature, error_model="numpy")(template)


@cached
def _known(function: Callable[..., Any], *, inlined: bool = False) -> None:
    from numba.extending import register_jitable

    register_jitable(no_cfunc_wrapper=True, forceinline=inlined)(function)


@cached
def _fuse() -> None:
    """Teach Numba the one instruction that it has no name for before Python 3.13."""
    from numba.extending import intrinsic, overload

    @intrinsic
    def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
        return a(a, b, c), lambda _context, builder, _signature, arguments: builder.fma(*arguments)

    @overload(kernels.fused)
    def fused(a: Any, b: Any, c: Any) -> Any:  # noqa: ARG001 -- their types; a function of their values follows
        def call(a: Any, b: Any, c: Any) -> Any:
            return fma(a, b, c)  # type: ignore[call-arg]  # the first is Numba's own

        return call


class _Pointer(NamedTuple):
    """An argument that is where an array begins."""

    to: np.dtype[Any]


def _arguments(types: Arithmetic) -> tuple[np.dtype[Any] | _Pointer, ...]:
    """Return what the kernel's arguments are, in its order."""
    whole, buffer = np.dtype(np.int64), _Pointer(types.accumulator)
    vector = _Pointer(whole)
    return (
        *(_Pointer(types.source), _Pointer(types.result), buffer, buffer, buffer),
        *(vector, vector, types.accumulator, types.closing, whole, whole),
    )


def _ctype(argument: np.dtype[Any] | _Pointer) -> Any:
    return c_void_p if isinstance(argument, _Pointer) else np.ctypeslib.as_ctypes_type(argument)


def _numba_type(argument: np.dtype[Any] | _Pointer) -> Any:
    from numba import from_dtype
    from numba.core.types import CPointer

    if not isinstance(argument, _Pointer):
        return from_dtype(argument)
    return CPointer(from_dtype(argument.to))  # type: ignore[no-untyped-call]  # Numba is typed in part
