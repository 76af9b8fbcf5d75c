"""What executes a plan: the compiled engine or NumPy, and the choice between them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from poolcli.core import arrays, cache
from poolcli.core.threads import usable_cpus
from poolcli.errors import UsageError, warn_once

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.arrays import Folder
    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.methods import Fold
    from poolcli.core.recipes import Recipe, Task

    Array = NDArray[Any]

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
    """An engine made ready: what folds each task of each part; seconds to load it and to compile or load kernels."""

    choice: Choice
    parts: tuple[tuple[Folder, ...], ...]
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


def prepare(engine: str, recipe: Recipe, *, threads: int | None = None, ahead: int = 1) -> Ready:
    """Make an engine ready for *recipe*; *ahead* counts the like arrays that are known to follow, this one included.

    Raises
    ------
    UsageError
        There is no such engine, it cannot load, or *threads* is not from 1 on.
    """
    check(engine, threads)
    choice = _choose(engine, recipe, ahead)
    if choice.engine == "numba":
        begin = time.perf_counter()
        try:
            from poolcli.core import machine  # noqa: F401

            loaded = time.perf_counter()
            parts, most = _compiled(recipe, threads)
        except (ImportError, OSError) as error:  # llvmlite or Numba is missing, or does not fit
            if engine == "numba":
                raise UsageError(f"engine numba must load, got {error}", "--engine numpy needs no Numba") from error
            warn_once(f"Numba cannot load ({error}); using the numpy engine")
            choice = Choice("numpy", "Numba cannot load")
        else:
            return Ready(choice, parts, most, loaded - begin, time.perf_counter() - loaded)
    return Ready(choice, _numpy_parts(recipe), 1)


@lru_cache(maxsize=64)
def _compiled(recipe: Recipe, threads: int | None) -> tuple[tuple[tuple[Folder, ...], ...], int]:
    from poolcli.core import bands

    most = threads or usable_cpus()
    parts = tuple(tuple(bands.run(task, most) for task in part) for part in recipe.parts)
    _started.update((task.fold, task.types) for part in recipe.parts for task in part)
    return parts, most


@lru_cache(maxsize=64)
def _numpy_parts(recipe: Recipe) -> tuple[tuple[Folder, ...], ...]:
    return tuple(tuple(map(_numpy, part)) for part in recipe.parts)


def _choose(engine: str, recipe: Recipe, ahead: int) -> Choice:
    if engine != "auto":
        return Choice(engine, "asked for")
    tasks = [task for part in recipe.parts for task in part]
    missing = [task for task in tasks if (task.fold, task.types) not in _started]
    if not missing:
        return Choice("numba", "already loaded")
    if cache.numba_version() == "none":
        return Choice("numpy", "Numba is not installed")
    expected = _spent + ahead * sum(task.numpy_seconds for task in tasks)
    start = 0.0 if _started else START  # not by what others imported: kernels must be made and loaded
    start += COMPILE * sum(not cache.has(cache.name(task.fold, task.types)) for task in missing)
    if expected > start:
        return Choice("numba", f"numpy would take {expected:.2g} s, starting numba {start:.2g} s", expected, start)
    return Choice("numpy", f"starting numba takes {start:.2g} s, the work {expected:.2g} s", expected, start)


def _numpy(task: Task) -> Folder:
    run = arrays.run(task)

    def fold(x: Array, out: Array, low: int, first: int, outer: tuple[int, ...] = (1,)) -> None:
        global _spent  # noqa: PLW0603 -- what this process spent so far decides when Numba pays
        begin = time.perf_counter()
        run(x, out, low, first, outer)
        _spent += time.perf_counter() - begin

    return fold
