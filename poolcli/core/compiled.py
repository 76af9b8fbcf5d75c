"""The compiled engine: kernels compiled by Numba here and nowhere else, kept as object files, run in bands of rows.

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
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import arrays, cache, kernels, machine, threads
from poolcli.errors import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.geometry import Axis, Chain
    from poolcli.core.methods import Fold
    from poolcli.core.tasks import Task

    Array = NDArray[Any]

ALONE = 3e-4  # seconds of work below which waking a thread costs more than it saves
STRIP = 2**18  # bytes of the work buffers of one strip of columns: they stay in the second-level cache

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
    for function in (*kernels.HELPERS, *steps):
        _inlined(function)
    template = kernels.fold(*steps, idempotent=fold.idempotent)  # type: ignore[no-untyped-call]  # Numba infers types
    signature = numba.void(*(_numba_type(argument) for argument in _arguments(types)))
    # Divisions that raise nothing: the code must want nothing of Numba's runtime
    return numba.cfunc(signature, error_model="numpy")(template)


@cached
def _inlined(step: Callable[..., Any]) -> None:
    from numba.extending import register_jitable

    register_jitable(no_cfunc_wrapper=True)(step)


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
    whole = np.dtype(np.int64)
    counts = _Pointer(whole)
    return (
        *(_Pointer(types.source), whole, whole, whole),
        *(_Pointer(types.result), whole, whole, whole),
        *(_Pointer(types.accumulator),) * 3,
        *(whole, types.accumulator, types.closing),
        *(whole, whole, whole, whole, counts),
        *(whole, whole, whole, whole, whole, whole, counts, counts),
        *(whole, whole, whole, whole, whole, whole, whole),
    )


def _ctype(argument: np.dtype[Any] | _Pointer) -> Any:
    return c_void_p if isinstance(argument, _Pointer) else np.ctypeslib.as_ctypes_type(argument)


def _numba_type(argument: np.dtype[Any] | _Pointer) -> Any:
    from numba import from_dtype
    from numba.core.types import CPointer

    if not isinstance(argument, _Pointer):
        return from_dtype(argument)
    return CPointer(from_dtype(argument.to))  # type: ignore[no-untyped-call]  # Numba is typed in part


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class _Down(NamedTuple):
    """What the kernel is told of one chain of rows, *counts* by its address in *arguments*."""

    chain: Chain
    arguments: tuple[int, ...]
    counts: Array
    grain: int  # bands begin at multiples of it, where blocks do, so that no suffixes are folded twice


def run(task: Task, most: int) -> Callable[[Array, Array, int, int], None]:
    """Return what pools arrays, as `arrays.pool` does, on up to *most* threads."""
    call, types = kernel(task.fold, task.types), task.types
    each = task.compiled_seconds / (task.planes * task.plan.out[0])
    rows, columns = (axis.trimmed() for axis in task.plan.axes)
    stops, counts = _runs(task)
    downs = _downs(task, rows)
    suffixes = max((down.chain.axis.kernel + 1 for down in downs if down.grain > 1), default=0)
    tile, width = _strip(task, suffixes, columns)
    constants = (width, arrays.identity(task.fold, types.accumulator).item(), types.closing.type(1).item())
    across = (
        *(columns.length, columns.kernel, columns.stride, columns.dilation, columns.before),
        *(len(stops), _address(stops), _address(counts), task.channels, columns.out, tile),
    )
    size = (kernels.SUFFIXES + suffixes) * width
    evens, odds = (row * width * types.accumulator.itemsize for row in (kernels.EVENS, kernels.ODDS))

    # The kernel knows *stops* and *counts* by their addresses alone: they live as long as this function
    def pool(x: Array, out: Array, low: int, first: int, _kept: Any = (stops, counts)) -> None:
        pitch, out_pitch = x.shape[2], out.shape[2]
        for chain, down, _, grain in downs:
            begin, end = (-(-(o - chain.first) // chain.step) for o in (first, first + out.shape[1]))
            before = (
                *(_address(x), x.shape[1] * pitch, rows.dilation * pitch, (chain.offset - low) * pitch),
                *(_address(out), out.shape[1] * out_pitch, chain.step * out_pitch, (chain.first - first) * out_pitch),
            )
            after = (*constants, *down, *across, begin, end - begin)

            def work(bands: Iterable[tuple[int, int]], before: Any = before, after: Any = after) -> None:
                buffer = np.empty(size, types.accumulator)
                at = _address(buffer)
                for start, stop in bands:
                    call(*before, at, at + evens, at + odds, *after, start, stop)

            units = x.shape[0] * (end - begin)
            alone = most == 1 or units * each < ALONE
            if units:  # rows of the result may hold none of this chain's
                bands = _bands(units, end - begin, 1 if alone else most * threads.PARTS, grain)
                threads.share(work, bands, min(most, len(bands)))

    return pool


def _bands(units: int, outs: int, parts: int, grain: int) -> list[tuple[int, int]]:
    parts = min(units, parts)
    edges = [units * i // parts for i in range(parts + 1)]
    edges = [edge - edge % outs % grain for edge in edges[:-1]] + edges[-1:]
    return [(start, stop) for start, stop in pairwise(edges) if start < stop]


def _runs(task: Task) -> tuple[Array, Array]:
    """Return where runs of columns with equal counts end, and those counts."""
    runs = task.plan.axes[1].runs(include_pad=task.plan.count_include_pad)
    return np.array([run.stop for run in runs]), np.array([run.divisor for run in runs])


def _downs(task: Task, rows: Axis) -> list[_Down]:
    divisors = arrays.divisors(task.plan.axes[0], include_pad=task.plan.count_include_pad)
    downs = []
    for chain in rows.chains():
        axis = chain.axis
        blocks = axis.kernel > kernels.DIRECT_ROWS + 2 * axis.stride
        own = divisors[chain.first :: chain.step].copy()
        arguments = (axis.length, axis.kernel, axis.stride, axis.before, _address(own))
        downs.append(_Down(chain, arguments, own, -(-axis.kernel // axis.stride) if blocks else 1))
    return downs


def _strip(task: Task, suffixes: int, columns: Axis) -> tuple[int, int]:
    """Return the output columns of a strip, and the elements of one of its work buffers.

    Strips share the columns that the windows at their edge reach: for 64 channels and 31 columns it is better to
    leave the cache than to read much twice (11 ms became 7).
    """
    halo = columns.reach * task.channels
    fitting = STRIP // ((kernels.SUFFIXES + suffixes) * task.types.accumulator.itemsize)
    elements = max(2**11, 8 * halo, fitting)
    tile = max(1, (elements - halo) // (task.channels * columns.stride))
    tile = min(tile, columns.out)
    return tile, ((tile - 1) * columns.stride + columns.reach + 1) * task.channels
