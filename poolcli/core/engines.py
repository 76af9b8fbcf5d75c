"""What executes a plan: the compiled engine or NumPy, and the choice between them."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from poolcli.core import arrays, cache
from poolcli.core.threads import usable_cpus
from poolcli.errors import UsageError, warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.methods import Fold
    from poolcli.core.tasks import Task

    Array = NDArray[Any]
    Pool = Callable[[Array, Array, int, int], None]

ENGINES = ("auto", "numba", "numpy")

START = 0.1  # seconds to load llvmlite and a kept kernel
COMPILE = 5.0  # seconds more to import Numba and compile one


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that ran, why, and the two estimates in seconds that led to it (None where none was needed)."""

    engine: str
    why: str
    numpy_seconds: float | None = None
    start_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """An engine made ready: *pool* pools arrays; seconds to load the engine and to compile or load the kernel."""

    choice: Choice
    pool: Pool
    threads: int
    load_engine: float = 0.0
    compile: float = 0.0


_spent = 0.0  # seconds of pooling by the numpy engine in this process
_started: set[tuple[Fold, Arithmetic]] = set()  # whose kernels are loaded


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
    choice = _choose(engine, task, ahead)
    if choice.engine == "numba":
        begin = time.perf_counter()
        try:
            from poolcli.core import machine  # noqa: F401

            loaded = time.perf_counter()
            pool, most = _compiled(task, threads)
        except (ImportError, OSError) as error:  # llvmlite or Numba is missing, or does not fit
            if engine == "numba":
                raise UsageError(f"engine numba must load, got {error}", "engine=numpy needs no Numba") from error
            warn_once(f"Numba cannot load ({error}); using the numpy engine")
            choice = Choice("numpy", "Numba cannot load")
        else:
            _started.add((task.fold, task.types))
            return Ready(choice, pool, most, loaded - begin, time.perf_counter() - loaded)
    return Ready(choice, _numpy(task), 1)


@lru_cache(maxsize=64)
def _compiled(task: Task, threads: int | None) -> tuple[Pool, int]:
    from poolcli.core import compiled

    most = threads or usable_cpus()
    return compiled.run(task, most), most


def _choose(engine: str, task: Task, ahead: int) -> Choice:
    if engine != "auto":
        return Choice(engine, "asked for")
    if "numba" in sys.modules or (task.fold, task.types) in _started:
        return Choice("numba", "already loaded")
    if cache.numba_version() == "none":
        return Choice("numpy", "Numba is not installed")
    expected = _spent + task.numpy_seconds * ahead
    start = 0.0 if "llvmlite.binding" in sys.modules else START
    start += 0.0 if cache.has(cache.name(task.fold, task.types)) else COMPILE
    if expected > start:
        return Choice("numba", f"numpy would take {expected:.2g} s, starting numba {start:.2g} s", expected, start)
    return Choice("numpy", f"starting numba takes {start:.2g} s, the work {expected:.2g} s", expected, start)


def _numpy(task: Task) -> Pool:
    def pool(x: Array, out: Array, low: int, first: int) -> None:
        global _spent  # noqa: PLW0603 -- what this process spent so far decides when Numba pays
        begin = time.perf_counter()
        arrays.pool(x, out, task.plan, task.fold, task.types, low, first)
        _spent += time.perf_counter() - begin

    return pool
