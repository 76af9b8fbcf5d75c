"""Kernels compiled by Numba, here and nowhere else, and kept as object files.

A `team` deals bands to kernels that release the GIL. The same kernels in ``parallel=True`` take 12 to 14 s to compile
instead of 3 to 5, and 3.8 and 13 ms where bands take 1.1 and 2.5 (max k2 s2, avg k3 s1 of 64x224x224 float32): they
must be given arrays, whose indices may be negative, not pointers. Bands need no threading layer, which aborts when two
threads enter it or dies after fork, and none of Numba's runtime: a kept kernel runs without Numba (see `machine`), and
one build serves an image in bands as well as many files at once.
"""

from __future__ import annotations

import sys
import threading
from functools import cache as cached
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import argmax, cache, exchanges, filters, histograms, kernels, machine, masking, team, weighing
from poolcli.core.kernels import Pointer
from poolcli.core.threads import Entry, entry
from poolcli.errors import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcli.core.kernels import Kernel

TEMPLATES: dict[str, Any] = {
    "fold": kernels,
    "exchanges": exchanges,
    "histograms": histograms,
    "filters": filters,
    "argmax": argmax,
    "team": team,
    "masking": masking,
    "weighing": weighing,
}

_compiling = threading.Lock()


def kernel(wanted: Kernel) -> Entry:
    """Return a kernel: from this process, from the cache folder, or compiled now.

    Each of its arguments in memory is a word: where an array begins, or a number in its own type.

    Raises
    ------
    ImportError
        It would have to be compiled, and Numba cannot load.
    """
    with _compiling:
        return _kernel(wanted)


def word(value: Any, dtype: np.dtype[Any]) -> int:
    """Return the word that holds a number in its own type."""
    return int.from_bytes(np.array(value, dtype).tobytes().ljust(8, b"\0"), sys.byteorder, signed=True)


_functions: list[Any] = []  # code that Numba loaded lives as long as they


@cached
def _kernel(wanted: Kernel) -> Entry:
    compiled = cached(partial(_compiled, wanted))
    try:
        symbol, code = _code(f"{wanted.name}.{_source(wanted.template)}", compiled)
        address = machine.load(code, symbol)
    except Exception as error:  # noqa: BLE001 -- it only makes starts faster, by an interface of llvmlite's that moves
        function = compiled()
        _functions.append(function)
        address = function.address
        warn_once("compiled kernels are not kept", error)
    return entry(address)


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
        from numba.core.types import CPointer
    except (ValueError, OSError, SystemError) as error:  # too new a NumPy, a wrong NUMBA_ value ...
        raise ImportError(error) from error
    module, steps = TEMPLATES[wanted.template], [getattr(kernels, name) for name in wanted.steps]
    _teach()
    for function in (*module.LOOPS, *steps):
        _known(function)
    for function in module.PARTS:
        _known(function, inlined=True)  # LLVM alone calls them: 64 rows of 224 elements then take 2.5 times as long
    kernel = module.template(_values(module.arguments(*wanted.types)), *steps)
    signature = numba.void(CPointer(numba.int64), numba.int64, numba.int64)  # type: ignore[no-untyped-call]  # as above
    # Divisions that raise nothing: the code must want nothing of Numba's runtime
    return numba.cfunc(signature, error_model="numpy")(kernel)


def _values(arguments: Iterable[np.dtype[Any] | Pointer]) -> Any:
    """Return what gives a kernel the values of its arguments, of a row in memory."""
    from numba.core.types import Tuple
    from numba.extending import intrinsic

    from poolcli.core import instructions

    kinds = tuple(map(_numba_type, arguments))

    @intrinsic
    def values(_: Any, row: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            parts = instructions.values(builder, given[0], [context.get_value_type(kind) for kind in kinds])
            return context.make_tuple(builder, signature.return_type, parts)

        return Tuple(kinds)(row), generate  # type: ignore[no-untyped-call]  # Numba is typed in part

    return values


@cached
def _known(function: Callable[..., Any], *, inlined: bool = False) -> None:
    from numba.extending import register_jitable

    register_jitable(no_cfunc_wrapper=True, forceinline=inlined)(function)


@cached
def _teach() -> None:
    """Teach Numba instructions that it has no name for: one before Python 3.13, others at all."""
    from numba import boolean, float64, int64, void
    from numba.core.types import CPointer

    for function in team.INSTRUCTIONS:
        results = {team.load: int64, team.swapped: boolean, team.words_at: CPointer(int64)}  # type: ignore[no-untyped-call]
        _instruct(function, results.get(function, void))
    _instruct(histograms.add_group, void)
    _instruct(kernels.fused, float64)


def _instruct(function: Callable[..., Any], result: Any) -> None:
    """Have Numba build, for calls of a *function*, the one of `instructions` of its name, which gives *result*."""
    from numba import types

    from poolcli.core import instructions

    typing, lowering = import_module("numba.core.typing.templates"), import_module("numba.core.imputils")
    build = getattr(instructions, function.__name__)

    class Typed(typing.AbstractTemplate):  # type: ignore[name-defined, misc]  # Numba is typed in part
        key = function

        def generic(self, arguments: Any, _: Any) -> Any:
            return typing.signature(result, *arguments)

    def lowered(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        built = build(builder, *arguments)
        return context.get_dummy_value() if built is None else built

    typing.infer_global(function)(Typed)
    lowering.lower_builtin(function, types.VarArg(types.Any))(lowered)  # type: ignore[no-untyped-call]  # as above


def _numba_type(argument: np.dtype[Any] | Pointer) -> Any:
    from numba import from_dtype
    from numba.core.types import CPointer

    if not isinstance(argument, Pointer):
        return from_dtype(argument)
    return CPointer(from_dtype(argument.to))  # type: ignore[no-untyped-call]  # Numba is typed in part
