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
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import argmax, cache, exchanges, filters, histograms, kernels, machine, masking, weighing
from poolcli.core.kernels import Pointer
from poolcli.errors import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcli.core.kernels import Kernel

TEMPLATES: dict[str, Any] = {
    "fold": kernels,
    "exchanges": exchanges,
    "histograms": histograms,
    "filters": filters,
    "argmax": argmax,
    "masking": masking,
    "weighing": weighing,
}

_compiling = threading.Lock()


def kernel(wanted: Kernel) -> Callable[..., None]:
    """Return a kernel: from this process, from the cache folder, or compiled now.

    Raises
    ------
    ImportError
        It would have to be compiled, and Numba cannot load.
    """
    with _compiling:
        return _kernel(wanted)


_functions: list[Any] = []  # code that Numba loaded lives as long as they


@cached
def _kernel(wanted: Kernel) -> Callable[..., None]:
    compiled = cached(partial(_compiled, wanted))
    arguments = [_ctype(argument) for argument in TEMPLATES[wanted.template].arguments(*wanted.types)]
    try:
        symbol, code = _code(f"{wanted.name}.{_source(wanted.template)}", compiled)
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
def _source(template: str) -> str:
    """Return what kernels made of the present source are told by."""
    files = (__file__, TEMPLATES[template].__file__, machine.__file__)
    return sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:12]


def _compiled(wanted: Kernel) -> Any:
    """Return the kernel as Numba compiles it."""
    try:
        import numba
    except (ValueError, OSError, SystemError) as error:  # too new a NumPy, a wrong NUMBA_ value ...
        raise ImportError(error) from error
    module, steps = TEMPLATES[wanted.template], [getattr(kernels, name) for name in wanted.steps]
    _teach()
    for function in (*module.LOOPS, *steps):
        _known(function)
    for function in module.PARTS:
        _known(function, inlined=True)  # LLVM alone calls them: 64 rows of 224 elements then take 2.5 times as long
    arguments = module.arguments(*wanted.types)
    signature = numba.void(*(_numba_type(argument) for argument in arguments))
    # Divisions that raise nothing: the code must want nothing of Numba's runtime
    return numba.cfunc(signature, error_model="numpy")(module.template(*steps))


@cached
def _known(function: Callable[..., Any], *, inlined: bool = False) -> None:
    from numba.extending import register_jitable

    register_jitable(no_cfunc_wrapper=True, forceinline=inlined)(function)


@cached
def _teach() -> None:
    """Teach Numba instructions: one that it has no name for before Python 3.13, and of four words at once."""
    from numba import int64, void
    from numba.extending import intrinsic, overload

    @intrinsic
    def add(_: Any, words: Any, to: Any, entering: Any, leaving: Any) -> Any:  # noqa: ARG001 -- they are all int64
        signature = void(words, int64, int64, int64)
        return signature, lambda _context, builder, _signature, arguments: machine.add_words(builder, *arguments)

    @overload(histograms.add_group)
    def add_group(words: Any, to: Any, entering: Any, leaving: Any) -> Any:  # noqa: ARG001 -- as below
        def call(words: Any, to: Any, entering: Any, leaving: Any) -> Any:
            return add(words, to, entering, leaving)  # type: ignore[call-arg]  # the first is Numba's own

        return call

    @intrinsic
    def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
        return a(a, b, c), lambda _context, builder, _signature, arguments: builder.fma(*arguments)

    @overload(kernels.fused)
    def fused(a: Any, b: Any, c: Any) -> Any:  # noqa: ARG001 -- their types; a function of their values follows
        def call(a: Any, b: Any, c: Any) -> Any:
            return fma(a, b, c)  # type: ignore[call-arg]  # the first is Numba's own

        return call


def _ctype(argument: np.dtype[Any] | Pointer) -> Any:
    return c_void_p if isinstance(argument, Pointer) else np.ctypeslib.as_ctypes_type(argument)


def _numba_type(argument: np.dtype[Any] | Pointer) -> Any:
    from numba import from_dtype
    from numba.core.types import CPointer

    if not isinstance(argument, Pointer):
        return from_dtype(argument)
    return CPointer(from_dtype(argument.to))  # type: ignore[no-untyped-call]  # Numba is typed in part
