"""The compiled engine: kernels jitted here and nowhere else, kept on disk, run in bands of output rows.

Bands run on Python threads in kernels that release the GIL: 2.4 s to compile where ``parallel=True`` took 10 s, no
threading layer that aborts when two threads enter it or dies after fork, and one build serves an image in bands as
well as many files at once.
"""

from __future__ import annotations

import threading
import warnings
from functools import cache as cached
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import arrays, cache, kernels, threads
from poolcli.errors import PoolWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.geometry import Axis, Chain
    from poolcli.core.methods import Fold
    from poolcli.core.tasks import Task

    Array = NDArray[Any]

SMALL = 2**16  # elements below which waking a thread costs more than it saves
STRIP = 2**18  # bytes of the work buffers of one strip of columns: they stay in the second-level cache

_compiling = threading.Lock()


def kernel(fold: Fold, types: Arithmetic) -> Callable[..., None]:
    """Return the kernel for a method and dtype: from this process, from the cache folder, or compiled now."""
    with _compiling:
        return _kernel(fold, types)


@cached
def _kernel(fold: Fold, types: Arithmetic) -> Callable[..., None]:
    try:
        folder = cache.prepare() / cache.name(fold, types)
        folder.mkdir(exist_ok=True)
        with cache.locked(folder):
            try:
                return _jitted(fold, types, str(folder))
            except Exception:  # noqa: BLE001 -- Numba raises whatever a damaged file makes it raise (numba#10434)
                cache.empty(folder)
                return _jitted(fold, types, str(folder))
    except Exception as error:  # noqa: BLE001 -- the cache saves time, it never costs a result
        warn_once(f"compiled kernels are not kept: {error}")
    return _jitted(fold, types, None)


@cached
def warn_once(message: str) -> None:
    """Warn of *message*, the first time."""
    warnings.warn(message, PoolWarning, stacklevel=4)


@cached
def _inlined(step: Callable[..., Any]) -> Callable[..., Any]:
    from numba.extending import register_jitable

    inlined: Callable[..., Any] = register_jitable(step)
    return inlined


def _jitted(fold: Fold, types: Arithmetic, folder: str | None) -> Callable[..., None]:
    import numba

    config: Any = numba.config
    names = (fold.lift, fold.combine, types.finish, *kernels.QUICK[types.finish])
    steps = [getattr(kernels, name) for name in names]
    for function in (*kernels.LOOPS, *steps):
        _inlined(function)
    template = kernels.fold(*steps, idempotent=fold.idempotent)  # type: ignore[no-untyped-call]  # Numba infers types
    kept = config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES
    config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = folder or "", "UserProvidedCacheLocator"
    try:
        jitted = numba.njit(template, nogil=True, cache=folder is not None)
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = kept
    if not config.DISABLE_JIT:
        jitted.compile(_signature(types))
        jitted.disable_compile()
    return jitted  # type: ignore[no-any-return]  # Numba ships no types


def _signature(types: Arithmetic) -> tuple[Any, ...]:
    """Return the one signature of a kernel: read-only input, int64 geometry."""
    from numba import from_dtype, int64
    from numba.core.types import Array as ArrayType

    def flat(dtype: Any, ndim: int = 1, *, readonly: bool = False) -> Any:
        return ArrayType(dtype, ndim, "C", readonly=readonly)

    source, accumulator, closing, result = (from_dtype(dtype) for dtype in types[:4])
    counts = flat(int64)
    return (
        *(flat(source, readonly=True), int64, int64, int64),
        *(flat(result), int64, int64, int64),
        *(flat(accumulator, 2), accumulator, closing),
        *(int64, int64, int64, int64, counts),
        *(int64, int64, int64, int64, int64, counts, counts),
        *(int64, int64, int64, int64, int64, int64, int64),
    )


class _Down(NamedTuple):
    """What the kernel is told of one chain of rows."""

    chain: Chain
    arguments: tuple[Any, ...]
    grain: int  # bands begin at multiples of it, where blocks do, so that no suffixes are folded twice


def run(task: Task, most: int) -> Callable[[Array, Array, int, int], None]:
    """Return what pools arrays, as `arrays.pool` does, on up to *most* threads."""
    call, types = kernel(task.fold, task.types), task.types
    rows, columns = (axis.trimmed() for axis in task.plan.axes)
    identity, one = arrays.identity(task.fold, types.accumulator), types.closing.type(1)
    tile, width = _strip(task, rows, columns)
    across = _across(task, columns, tile)
    downs = _downs(task, rows, (identity, one))
    suffixes = max((down.chain.axis.kernel for down in downs if down.grain > 1), default=0)
    buffers = (kernels.SUFFIXES + suffixes, width)

    def pool(x: Array, out: Array, low: int, first: int) -> None:
        pitch, out_pitch = x.shape[2], out.shape[2]
        source, target = x.reshape(-1), out.reshape(-1)
        source.flags.writeable = False
        for chain, down, grain in downs:
            begin, end = (-(-(o - chain.first) // chain.step) for o in (first, first + out.shape[1]))
            geometry = (
                *(source, x.shape[1] * pitch, rows.dilation * pitch, (chain.offset - low) * pitch),
                *(target, out.shape[1] * out_pitch, chain.step * out_pitch, (chain.first - first) * out_pitch),
            )

            def work(
                bands: Iterable[tuple[int, int]],
                geometry: Any = geometry,
                rest: Any = (*down, *across, begin, end - begin),
            ) -> None:
                work_buffers = np.empty(buffers, types.accumulator)
                for start, stop in bands:
                    call(*geometry, work_buffers, *rest, start, stop)

            units = x.shape[0] * (end - begin)
            if most == 1 or x.size < SMALL:
                work([(0, units)])
            else:
                bands = _bands(units, end - begin, most * threads.PARTS, grain)
                threads.share(work, bands, min(most, len(bands)))

    return pool


def _bands(units: int, outs: int, parts: int, grain: int) -> list[tuple[int, int]]:
    parts = min(units, parts)
    edges = [units * i // parts for i in range(parts + 1)]
    edges = [edge - edge % outs % grain for edge in edges[:-1]] + edges[-1:]
    return [(start, stop) for start, stop in pairwise(edges) if start < stop]


def _across(task: Task, columns: Axis, tile: int) -> tuple[Any, ...]:
    runs = task.plan.axes[1].runs(include_pad=task.plan.count_include_pad)
    stops, counts = np.array([run.stop for run in runs]), np.array([run.divisor for run in runs])
    return (
        *(columns.length, columns.kernel, columns.stride, columns.dilation, columns.before, stops, counts),
        *(task.channels, columns.out, tile),
    )


def _downs(task: Task, rows: Axis, constants: tuple[Any, Any]) -> list[_Down]:
    divisors = arrays.divisors(task.plan.axes[0], include_pad=task.plan.count_include_pad)
    downs = []
    for chain in rows.chains():
        axis = chain.axis
        blocks = axis.kernel > kernels.DIRECT_ROWS + 2 * axis.stride
        own = divisors[chain.first :: chain.step].copy()
        arguments = (*constants, axis.length, axis.kernel, axis.stride, axis.before, own)
        downs.append(_Down(chain, arguments, -(-axis.kernel // axis.stride) if blocks else 1))
    return downs


def _strip(task: Task, rows: Axis, columns: Axis) -> tuple[int, int]:
    """Return the output columns of a strip, and the elements of one of its work buffers."""
    buffers = kernels.SUFFIXES + rows.kernel
    halo = columns.reach * task.channels
    elements = max(2**11, 2 * halo, STRIP // (buffers * task.types.accumulator.itemsize))
    tile = max(1, (elements - halo) // (task.channels * columns.stride))
    tile = min(tile, columns.out)
    return tile, ((tile - 1) * columns.stride + columns.reach + 1) * task.channels
