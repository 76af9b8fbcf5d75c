"""Where work runs: on threads here, in processes on this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import logging
import os
import pkgutil
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from poolcli import __version__
from poolcli.core.settings import setting, whole
from poolcli.core.threads import usable_cpus
from poolcli.errors import LimitError, UsageError
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PLACES = "local, processes[:N], tcp://HOST:PORT or the FILE.json of a scheduler"
WAIT = 5  # seconds that a scheduler has to answer, and the first of its workers
AHEAD = 2  # tasks for each thread of a cluster that are sent before one is done
RETRIES = 3  # times that a task is sent again when its worker is lost
# What keeps freed memory in a worker, as `memory.keep` here, and its threads from multiplying (measured: a
# nanny's own MALLOC_TRIM_THRESHOLD_ of 64 KiB makes workers take 1.5 times as long)
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ZARR_THREADING__MAX_WORKERS": "1",
}


@dataclass(frozen=True, slots=True)
class Where:
    """Where work runs."""

    on: str = setting("Run", f"Where the work runs: {PLACES}.", default="local", metavar="PLACE")


class Local:
    """The threads of this process: tasks are called where they are asked for."""

    here = True
    warnings: tuple[str, ...] = ()  # what a person should know

    def __init__(self, slots: int) -> None:
        self.slots = self.shares = slots  # tasks at once, and among how many the memory is shared

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what *function* returns."""
        return function(*args)

    def check(self, function: Callable[..., str | None], *args: Any) -> None:
        """Ask nothing of itself: what goes wrong here is told where it happens."""


class Cluster:
    """The workers of a Dask scheduler: a task is sent to one of them, and to another if that is lost.

    The bound on memory holds on each machine.
    """

    here = False

    def __init__(self, client: Any, *, together: bool) -> None:
        self._client = client
        self.warnings = () if together else _warnings(client)
        threads = client.nthreads().values()
        self.slots = AHEAD * sum(threads)
        self.shares = sum(threads) if together else max(threads)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what *function* returns on a worker.

        Raises
        ------
        LimitError
            Workers died of it, one after another, or the scheduler has gone.
        """
        from distributed import CancelledError, KilledWorker

        future = self._client.submit(function, *args, pure=False, retries=RETRIES)
        try:
            return future.result()
        except KilledWorker as error:
            raise LimitError(
                f"{RETRIES + 1} workers died of it", "more memory for each worker, or fewer of them"
            ) from error
        except (CancelledError, OSError) as error:
            raise LimitError(f"the scheduler has gone: {_line(error)}", "the same command goes on") from error

    def check(self, function: Callable[..., str | None], *args: Any) -> None:
        """Refuse workers of which one has something to say against *args*: *function* returns it."""
        said = {worker: text for worker, text in self._client.run(function, *args).items() if text is not None}
        if said:
            worker, text = next(iter(said.items()))
            raise UsageError(f"all workers must reach input and output, but of {len(said)} the first, {worker}: {text}",
                             "both must be on storage that all workers share")  # fmt: skip


Place = Local | Cluster


@contextmanager
def opened(on: str, jobs: int | None = None) -> Iterator[Place]:
    """Open the place that *on* names: `PLACES`; *jobs* tasks at once here.

    Raises
    ------
    UsageError
        There is no such place, no scheduler answers, or its workers have another poolcli.
    """
    if on == "local":
        yield Local(jobs or usable_cpus())
        return
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            f"on={on} must be run with the extra dask, got {error}", "pip install 'poolcli[dask]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it tells of every worker and socket that is lost
    with _client(on, distributed) as client:
        _agree(client)
        yield Cluster(client, together=on.startswith("processes"))


@contextmanager
def _client(on: str, distributed: Any) -> Iterator[Any]:
    name, _, count = on.partition(":")
    if name == "processes":
        processes = whole("on=processes", count) if count else usable_cpus()
        with _processes(processes, distributed) as cluster, distributed.Client(cluster) as client:
            yield client
        return
    address = on if "://" in on else _written(on)
    try:
        client = distributed.Client(address, timeout=WAIT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(f"no scheduler answers at {files.shown(address)} within {WAIT} s", f"on={PLACES}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError as error:
            raise UsageError(f"the scheduler at {files.shown(address)} has no workers") from error
        yield client


@contextmanager
def _processes(count: int, distributed: Any) -> Iterator[Any]:
    import dask

    settings = {
        "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
        "distributed.admin.log-format": "",
        "distributed.worker.memory.terminate": False,  # the bound on memory is ours
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.target": False,
    }
    with dask.config.set(settings):
        cluster = distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1",
            silence_logs=logging.CRITICAL,
        )  # fmt: skip
        with cluster:
            yield cluster


def _written(path: str) -> str:
    """Return the address in the file that a scheduler has written."""
    import json

    if not path.endswith(".json"):
        raise UsageError(f"on must be {PLACES}, got {path!r}")
    try:
        with open(path, encoding="utf-8") as file:
            return str(json.load(file)["address"])
    except OSError as error:
        raise UsageError(f"{files.shown(path)}: {files.fact(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{files.shown(path)}: not the file of a scheduler") from error


def _agree(client: Any) -> None:
    """Refuse workers that have no poolcli, or another one."""
    for worker, version in client.run(pkgutil.resolve_name, "poolcli:__version__", on_error="return").items():
        if isinstance(version, Exception):
            raise UsageError(f"all workers must have poolcli {__version__}, but {worker} has none: {version}")
        if version != __version__:
            raise UsageError(f"all workers must have poolcli {__version__}, but {worker} has {version}")


def _warnings(client: Any) -> tuple[str, ...]:
    """Return what is to be said of workers that give memory back after every task."""
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        values = client.run(os.getenv, name, "0").values()
        if any(not value.isdecimal() or int(value) < 2**28 for value in values):
            return (f"workers without {name}={ENVIRONMENT[name]} in their environment take 1.5 times as long",)
    return ()


def _line(error: BaseException) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:160]


def each(place: Place, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Yield what *task* makes of each item, in their order, `slots` at once; what is not begun when this ends is not.

    *task* is called on threads here; it sends what is heavy to the place.
    """
    pool = ThreadPoolExecutor(place.slots, "poolcli-regions")
    pending: deque[Any] = deque()
    waits = False
    try:
        for item in items:
            pending.append(pool.submit(task, item))
            if len(pending) > AHEAD * place.slots:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        waits = True
    except Exception:
        waits = True
        raise
    finally:
        pool.shutdown(wait=waits, cancel_futures=True)  # a signal waits for nobody


def probe(folder: str | None, sources: Sequence[str], package: str = "poolcli") -> str | None:
    """Return what keeps this process from reading *sources*, or writing into a *folder*, by a *package*, or None."""
    if find_spec(package) is None:
        return f"{package} is not installed"
    for name in sources:
        try:
            os.stat(name)
        except OSError as error:
            return f"{files.shown(name)}: {files.fact(error)}"
    if folder is None:
        return None
    path = os.path.join(folder, f".poolcli-{os.urandom(4).hex()}.tmp")
    try:
        with open(path, "xb"):
            os.unlink(path)
    except OSError as error:
        return f"{files.shown(folder)}: {files.fact(error)}"
    return None
