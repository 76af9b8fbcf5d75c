"""What executes a plan: the compiled engine or NumPy, and the choice between them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache as cached
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from poolcli.core import arrays, cache
from poolcli.core.threads import usable_cpus
from poolcli.errors import UsageError, warn_once

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.arrays import Folder
    from poolcli.core.kernels import Kernel
    from poolcli.core.recipes import Recipe, Task
    from poolcli.core.threads import Entry

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


class Ready(NamedTuple):  # made sooner than a dataclass
    """An engine made ready, and the seconds to load it and to compile or load what a recipe is known to ask for."""

    choice: Choice
    threads: int
    load_engine: float = 0.0
    compile: float = 0.0

    def folder(self, task: Task) -> Folder:
        """Return what folds arrays as *task* says."""
        return _folder(self.choice.engine, self.threads, task)

    def folders(self, recipe: Recipe) -> tuple[Folder, ...]:
        """Return what folds arrays as each of the recipe's tasks says."""
        return _folders(self.choice.engine, self.threads, recipe)

    def kernel(self, kernel: Kernel | None) -> Entry | None:
        """Return a compiled kernel to call; None where there is none, or the engine is another."""
        return None if kernel is None or self.choice.engine != "numba" else _kernel(kernel)


_spent = 0.0  # seconds of pooling by the numpy engine in this process
_started: set[Kernel] = set()  # those that are loaded


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
            _machine()
            loaded = time.perf_counter()
            _load(recipe)
        except (ImportError, OSError) as error:  # llvmlite or Numba is missing, or does not fit
            if engine == "numba":
                raise UsageError(f"engine numba must load, got {error}", 'engine="numpy" needs no Numba') from error
            warn_once("Numba cannot load, using the numpy engine", error)
            choice = Choice("numpy", "Numba cannot load")
        else:
            return Ready(choice, threads or usable_cpus(), loaded - begin, time.perf_counter() - loaded)
    return Ready(choice, 1)


def _folder(engine: str, threads: int, task: Task) -> Folder:
    if engine == "numba" and arrays.step(task).compiled:
        return _compiled(task, threads)
    return _numpy(task)


@lru_cache(maxsize=64)  # by the recipe's identity: tasks take longer to hash than small work
def _folders(engine: str, threads: int, recipe: Recipe) -> tuple[Folder, ...]:
    return tuple(_folder(engine, threads, task) for task in recipe.tasks)


@lru_cache(maxsize=64)
def _compiled(task: Task, threads: int) -> Folder:
    from poolcli.core import bands

    _kernel(task.kernel)
    return bands.run(task, threads)


@cached
def _machine() -> None:
    from poolcli.core import machine  # noqa: F401 -- it takes a while the first time, and a microsecond ever after


@lru_cache(maxsize=64)  # by identity, as above
def _load(recipe: Recipe) -> None:
    for task in recipe.work:
        _kernel(task.kernel)


def _kernel(kernel: Kernel) -> Entry:
    from poolcli.core import compiled

    entry = compiled.kernel(kernel)
    _started.add(kernel)
    return entry


@cached
def _asked_for(engine: str) -> Choice:
    return Choice(engine, "asked for")


def _choose(engine: str, recipe: Recipe, ahead: int) -> Choice:
    if engine != "auto":
        return _asked_for(engine)
    if not recipe.work:
        return Choice("numpy", "no kernel is asked for")
    missing = [task for task in recipe.work if task.kernel not in _started]
    if not missing:
        return Choice("numba", "already loaded")
    if cache.numba_version() == "none":
        return Choice("numpy", "Numba is not installed")
    expected = _spent + ahead * sum(task.numpy_seconds for task in recipe.work)
    start = 0.0 if _started else START  # not by what others imported: kernels must be made and loaded
    start += COMPILE * sum(not cache.has(task.kernel.name) for task in missing)
    if expected > start:
        return Choice("numba", f"numpy would take {_told(expected)}, starting numba {_told(start)}", expected, start)
    return Choice("numpy", f"starting numba takes {_told(start)}, the work {_told(expected)}", expected, start)


def _told(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1e3 * seconds:.2g} ms"


@lru_cache(maxsize=64)
def _numpy(task: Task) -> Folder:
    run = arrays.run(task)

    def fold(x: Array, out: Array, low: int, first: int, outer: tuple[int, ...] = (1,)) -> None:
        global _spent  # noqa: PLW0603 -- what this process spent so far decides when Numba pays
        begin = time.perf_counter()
        run(x, out, low, first, outer)
        _spent += time.perf_counter() - begin

    return fold
