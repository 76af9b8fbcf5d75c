"""What executes a plan: the compiled engine and its threads, the NumPy engine, and the choice between them.

Bands of output rows run on Python threads in kernels that release the GIL: 2.4 s to compile where ``parallel=True``
took 10 s, no threading layer that aborts when two threads enter it or dies after fork, and one build serves an image
in bands as well as many files at once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as cache_result
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import arrays, cache, kernels
from poolcli.errors import PoolWarning, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.geometry import Axis, Plan
    from poolcli.core.methods import Fold

    Array = NDArray[Any]

ENGINES = ("auto", "numba", "numpy")

START = 0.5  # seconds to import Numba and load a kept kernel
COMPILE = 2.5  # seconds more to compile one
SMALL = 2**16  # elements below which waking a thread costs more than it saves
STRIP = 2**18  # bytes of the work buffers of one strip of columns: they stay in the second-level cache


@dataclass(frozen=True, slots=True)
class Task:
    """All that an engine needs to know of one pooling."""

    plan: Plan
    fold: Fold
    types: Arithmetic
    planes: int
    channels: int

    @property
    def kernel(self) -> str:
        """Name of the compiled kernel: one for each method and dtype."""
        return kernel_name(self.fold, self.types)

    @property
    def numpy_seconds(self) -> float:
        """Estimate of the numpy engine's time on this task (measured: about 1 ns for each byte of a pass)."""
        rows, columns = self.plan.axes
        taps = min(rows.kernel / rows.stride, 3)
        width = columns.length * self.channels * self.planes
        passes = rows.length * taps + rows.out * (columns.kernel.bit_length() + 2)
        return 5e-5 + 2e-10 * width * passes * self.types.accumulator.itemsize


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that ran, why, and the two estimates in seconds that led to it (None where none was needed)."""

    engine: str
    why: str
    numpy_seconds: float | None = None
    start_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """An engine made ready: *run* pools arrays; seconds to load the engine and to compile or load the kernel."""

    choice: Choice
    run: Callable[[Array, Array, int, int], None]
    threads: int
    load_engine: float = 0.0
    compile: float = 0.0


def kernel_name(fold: Fold, types: Arithmetic) -> str:
    """Return the name that a kernel's folder in the cache has."""
    steps = (fold.lift, fold.combine, types.finish)
    return "-".join((*steps, *(dtype.name for dtype in types[:4])))


_spent = 0.0  # seconds of pooling by the numpy engine in this process


def usable_cpus() -> int:
    """Return the processors that this process may use: its affinity and its cgroup's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return count


def check(engine: str, threads: int | None) -> None:
    """Raise `UsageError` when there is no such engine or *threads* is not from 1 on."""
    if engine not in ENGINES:
        raise UsageError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise UsageError(f"threads must be a whole number from 1, got {threads!r}")


def prepare(engine: str, task: Task, *, threads: int | None = None, ahead: int = 1) -> Ready:
    """Make an engine ready for *task*; *ahead* counts the like tasks that are known to follow, this one included.

    Raises
    ------
    UsageError
        There is no such engine, it cannot load, or *threads* is not from 1 on.
    """
    check(engine, threads)
    threads = threads or usable_cpus()
    choice = _choose(engine, task, ahead)
    if choice.engine == "numba":
        begin = time.perf_counter()
        try:
            import numba  # noqa: F401
        except (
            ImportError,
            ValueError,
            OSError,
            SystemError,
        ) as error:  # too new a NumPy, a wrong NUMBA_ value ...
            if engine == "numba":
                raise UsageError(f"engine numba must load, got {error}", "--engine numpy needs no Numba") from error
            _warn_once(f"Numba cannot load ({error}); using the numpy engine")
            choice = Choice("numpy", "Numba cannot load")
        else:
            loaded = time.perf_counter()
            call = compiled(task.fold, task.types)
            ready = time.perf_counter()
            return Ready(choice, _numba_run(call, task, threads), threads, loaded - begin, ready - loaded)
    return Ready(choice, _numpy_run(task), 1)


def _choose(engine: str, task: Task, ahead: int) -> Choice:
    if engine != "auto":
        return Choice(engine, "asked for")
    if "numba" in sys.modules:
        return Choice("numba", "already loaded")
    expected = _spent + task.numpy_seconds * ahead
    start = START + (0 if cache.has(task.kernel) else COMPILE)
    if expected > start:
        return Choice("numba", f"numpy would take {expected:.2g} s, starting numba {start:.2g} s", expected, start)
    return Choice("numpy", f"starting numba takes {start:.2g} s, the work {expected:.2g} s", expected, start)


@cache_result
def _warn_once(message: str) -> None:
    warnings.warn(message, PoolWarning, stacklevel=4)


def _numpy_run(task: Task) -> Callable[[Array, Array, int, int], None]:
    def run(x: Array, out: Array, low: int, first: int) -> None:
        global _spent  # noqa: PLW0603 -- what this process spent so far decides when Numba pays
        begin = time.perf_counter()
        arrays.pool(x, out, task.plan, task.fold, task.types, low, first)
        _spent += time.perf_counter() - begin

    return run


# --- the compiled engine ---------------------------------------------------------------------------------------


_compiling = threading.Lock()


def compiled(fold: Fold, types: Arithmetic) -> Callable[..., None]:
    """Return the kernel for a method and dtype: from this process, from the cache folder, or compiled now."""
    with _compiling:
        return _compiled(fold, types)


@cache_result
def _compiled(fold: Fold, types: Arithmetic) -> Callable[..., None]:
    try:
        folder = cache.prepare() / kernel_name(fold, types)
        folder.mkdir(exist_ok=True)
        with cache.locked(folder):
            try:
                return _jitted(fold, types, str(folder))
            except Exception:  # noqa: BLE001 -- Numba raises whatever a damaged file makes it raise (numba#10434)
                cache.empty(folder)
                return _jitted(fold, types, str(folder))
    except Exception as error:  # noqa: BLE001 -- the cache saves time, it never costs a result
        _warn_once(f"compiled kernels are not kept: {error}")
    return _jitted(fold, types, None)


@cache_result
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
        kernel = numba.njit(template, nogil=True, cache=folder is not None)
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = kept
    if not config.DISABLE_JIT:
        kernel.compile(_signature(types))
        kernel.disable_compile()
    return kernel  # type: ignore[no-any-return]  # Numba ships no types


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


def _numba_run(call: Callable[..., None], task: Task, threads: int) -> Callable[[Array, Array, int, int], None]:
    rows, columns = (axis.trimmed() for axis in task.plan.axes)
    include_pad = task.plan.count_include_pad
    types, channels = task.types, task.channels
    identity, one = arrays.identity(task.fold, types.accumulator), types.closing.type(1)
    heights = arrays.divisors(task.plan.axes[0], include_pad=include_pad)
    runs = task.plan.axes[1].runs(include_pad=include_pad)
    stops, counts = (np.array([run[i] for run in runs]) for i in (1, 2))
    tile, width = _strip(task, rows, columns)
    chains = tuple(rows.chains())
    blocks = any(chain.axis.kernel > kernels.DIRECT_ROWS + 2 * chain.axis.stride for chain in chains)
    buffers = (kernels.SUFFIXES + (rows.kernel if blocks else 0), width)
    across = (
        *(columns.length, columns.kernel, columns.stride, columns.dilation, columns.before, stops, counts),
        *(channels, columns.out, tile),
    )

    def run(x: Array, out: Array, low: int, first: int) -> None:
        planes, pitch, out_pitch = x.shape[0], x.shape[2], out.shape[2]
        source, target = x.reshape(-1), out.reshape(-1)
        source.flags.writeable = False
        for chain in chains:
            axis = chain.axis
            begin, end = (-(-(o - chain.first) // chain.step) for o in (first, first + out.shape[1]))
            geometry = (
                *(source, x.shape[1] * pitch, rows.dilation * pitch, (chain.offset - low) * pitch),
                *(target, out.shape[1] * out_pitch, chain.step * out_pitch, (chain.first - first) * out_pitch),
            )
            divisors = heights[chain.first :: chain.step].copy()
            down = (identity, one, axis.length, axis.kernel, axis.stride, axis.before, divisors)
            band = partial(_band, call, types.accumulator, buffers, geometry, (*down, *across, begin, end - begin))
            _in_bands(band, planes * (end - begin), threads if x.size > SMALL else 1)

    return run


def _band(
    call: Callable[..., None],
    accumulator: np.dtype[Any],
    buffers: tuple[int, int],
    geometry: tuple[Any, ...],
    rest: tuple[Any, ...],
    start: int,
    stop: int,
) -> None:
    """Pool the units ``[start, stop)`` with work buffers of their own."""
    call(*geometry, np.empty(buffers, accumulator), *rest, start, stop)


def _strip(task: Task, rows: Axis, columns: Axis) -> tuple[int, int]:
    """Return the output columns of a strip, and the elements of one of its work buffers."""
    buffers = kernels.SUFFIXES + rows.kernel
    halo = columns.reach * task.channels
    elements = max(2**11, 2 * halo, STRIP // (buffers * task.types.accumulator.itemsize))
    tile = max(1, (elements - halo) // (task.channels * columns.stride))
    tile = min(tile, columns.out)
    return tile, ((tile - 1) * columns.stride + columns.reach + 1) * task.channels


_threads: ThreadPoolExecutor | None = None


def _pool_of_threads() -> ThreadPoolExecutor:
    global _threads  # noqa: PLW0603 -- one bounded pool for the process
    if _threads is None:
        _threads = ThreadPoolExecutor(max(1, usable_cpus() - 1), "poolcli")
    return _threads


def _forget_threads() -> None:
    global _threads  # noqa: PLW0603 -- a forked child has none of its parent's threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _in_bands(band: Callable[[int, int], None], units: int, bands: int) -> None:
    """Run *band* over all units, parted into *bands*; the caller takes the last one itself."""
    bands = min(bands, units)
    edges = [units * i // bands for i in range(bands + 1)] if bands else [0]
    others = [_pool_of_threads().submit(band, start, stop) for start, stop in pairwise(edges[:-1])]
    try:
        if bands:
            band(edges[-2], edges[-1])
    finally:
        for other in others:
            other.result()
