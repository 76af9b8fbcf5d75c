"""Many files: at once on threads, within a bound on memory, their records in the order of the plan."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from poolcli.errors import BugError, OutputError, UsageError
from poolcli.jobs import manifest, runner
from poolcli.jobs.records import Record
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from typing_extensions import Buffer

    from poolcli.errors import PoolError
    from poolcli.jobs.manifest import History, Manifest
    from poolcli.jobs.plan import Job
    from poolcli.jobs.records import Request

EXISTS = ("error", "skip", "newer", "overwrite")
WINDOW = 64  # jobs for each thread that may be done before the oldest is
KEPT = 2**28  # bytes of freed memory that a batch keeps
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST = 2**25  # the most bytes that glibc takes for the second
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # whatever is written next will fail too


@dataclass(frozen=True, slots=True)
class Step:
    """A job, whether it may replace its output, and why it is skipped, if it is."""

    job: Job
    force: bool = False
    skip: str | None = None


def steps(
    jobs: Sequence[Job],
    request: Request,
    destination: str,
    histories: dict[str, History],
    *,
    exists: str = "error",
    resume: bool = True,
    look: Callable[[str], os.stat_result | None] | None = None,
) -> list[Step]:
    """Decide what is done of *jobs*; *histories* are those of the manifest, *look* tells what is on disk.

    Raises
    ------
    UsageError
        An output exists that no batch has made, and *exists* is ``error``.
    """
    if exists not in EXISTS:
        raise UsageError(f"exists must be one of {', '.join(EXISTS)}, got {exists!r}")
    decided = []
    foreign = []
    for job in jobs:
        there = None if job.output is None else (look or found)(job.output)
        history = histories.get(manifest.name(job, destination))
        if there is None:
            decided.append(Step(job))
        elif resume and history is not None and history.current(job, request, there.st_size):
            decided.append(Step(job, skip="up to date"))
        elif history is not None and history.made(there.st_size):
            decided.append(Step(job, force=True))
        else:
            foreign.append(job)
            decided.append(_theirs(job, there, exists))
    if foreign and exists == "error":
        names = f"{files.shown(foreign[0].output or '')} exists" + (
            f", and {len(foreign) - 1} more" if foreign[1:] else ""
        )
        raise UsageError(f"outputs must be new, or of a batch before, but {names}", "--exists skip, newer or overwrite")
    return decided


def _theirs(job: Job, there: os.stat_result, exists: str) -> Step:
    """Decide about an output that no batch has made."""
    if exists == "newer" and (job.stamp is None or job.stamp.mtime_ns <= there.st_mtime_ns):
        return Step(job, skip="output is newer")
    return Step(job, skip="output exists") if exists == "skip" else Step(job, force=True)


def found(name: str) -> os.stat_result | None:
    """Return what the system knows of an output, or None; of a link that leads nowhere, what it knows of the link."""
    for ask in (os.stat, os.lstat):
        try:
            return ask(name)
        except OSError:  # where it matters, writing will say so
            continue
    return None


def allowed_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or fewer by its control group."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                limits.append(int(file.read()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(limits)


def keep_memory() -> None:
    """Have the C library keep the memory that arrays give back, for the arrays of the next file.

    The system hands memory out by zeroed pages: 600,000 page faults were a fifth of the time of 300 photos. It goes
    for what is freed, so the most that is held at once stays as it is. Only glibc knows these settings.
    """
    import ctypes

    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_TRIM_THRESHOLD, KEPT)
        tune(_MMAP_THRESHOLD, _LARGEST)


def clean(destination: str, jobs: Sequence[Job], kept: Manifest) -> None:
    """Remove the temporary files that a killed run into *destination* left; its manifest is locked."""
    folders = {os.path.realpath(os.path.dirname(job.output)) for job in jobs if job.output is not None}
    files.sweep(folders | {os.path.realpath(folder) for folder, _, _ in os.walk(destination)}, kept.mark)


def outlook(step: Step, request: Request) -> Record:
    """Return what `Run` would do with one step, from the input's header."""
    if step.job.error is not None:
        return runner.failed(step.job, request, step.job.error)
    return _skipped(step, request) if step.skip is not None else runner.planned(step.job, request)


class Dropped(Exception):  # noqa: N818 -- not an error
    """The run ends before this job does."""


class Memory:
    """The bytes that files in flight hold together.

    A file takes the room of its own bytes before it is read, and of all that it needs when its header is known. Those
    that wait are served in the order of the plan; what is larger than all the room waits until it is alone.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: dict[int, int] = {}  # bytes by number of the job
        self._asking: set[int] = set()  # read, and not yet decoded
        self._granted: set[int] = set()
        self._changed = threading.Condition()
        self._closed = False

    @contextmanager
    def share(self, number: int, size: int) -> Iterator[None]:
        """Hold *size* bytes for job *number*, and what it takes after, while the body runs."""
        with self._changed:
            self._wait(lambda: not self._held or sum(self._held.values()) + size <= self._total)
            self._held[number] = size
        try:
            yield
        finally:
            with self._changed:
                del self._held[number]
                self._granted.discard(number)
                self._changed.notify_all()

    def take(self, number: int, need: int) -> bool:
        """Wait for *need* bytes in all; return whether job *number* has everything to itself."""

        def free() -> bool:
            others = sum(self._held.values()) - self._held[number]
            return number == min(self._asking) and (others + need <= self._total or not self._granted)

        with self._changed:
            self._asking.add(number)
            try:
                self._wait(free)
                self._granted.add(number)
                self._held[number] = need
            finally:
                self._asking.discard(number)
                self._changed.notify_all()
        return need > self._total

    def _wait(self, free: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._closed or free())
        if self._closed:
            raise Dropped

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Run:
    """A batch under way: iterate for its records in the order of *steps*.

    Parameters
    ----------
    steps
        What to do.
    request
        What is asked for.
    kept
        The manifest, open.
    jobs
        Files at once.
    max_memory
        Bytes that they may hold together.
    max_errors
        Failures after which nothing new starts, or None.
    durable
        Whether outputs must outlive a loss of power.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        request: Request,
        kept: Manifest,
        *,
        jobs: int,
        max_memory: int,
        max_errors: int | None = None,
        durable: bool = False,
    ) -> None:
        self.stopped: str | None = None  # why nothing new starts
        self._steps = steps
        self._request = replace(request, threads=1)
        self._manifest = kept
        self._memory = Memory(max_memory)
        self._max_errors = max_errors
        self._durable = durable
        self._jobs = jobs
        self._window = WINDOW * jobs
        self._pool = ThreadPoolExecutor(jobs, "poolcli-batch")
        self._lock = threading.Lock()
        self._pending: deque[Record | Future[Record | None]] = deque()
        self._folders: list[str] = []  # where temporary files may be
        self._failures = 0
        self._left = False  # nobody iterates any more
        self._closed = False  # nothing may be written any more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        self._pool.shutdown(wait=not self._closed, cancel_futures=True)

    def __iter__(self) -> Iterator[Record]:
        left = sum(step.skip is None for step in self._steps)
        for number, step in enumerate(self._steps):
            while len(self._pending) >= self._window:
                yield from self._oldest()
            if self.stopped is not None:
                break
            if step.skip is not None:
                self._pending.append(_skipped(step, self._request))
                continue
            ahead = -(-left // self._jobs)  # an engine's start delays every thread, its work is shared
            self._pending.append(self._pool.submit(self._do, number, step, ahead))
            left -= 1
        while self._pending:
            yield from self._oldest()

    def _oldest(self) -> Iterator[Record]:
        first = self._pending[0]
        record = first.result() if isinstance(first, Future) else first
        self._pending.popleft()
        if record is not None:
            yield record

    def drop(self, grace: float) -> Iterator[Record]:
        """Start nothing new, give what runs *grace* seconds, then let nothing more be written; yield what got done."""
        self.stopped = self.stopped or "dropped"
        futures = [one for one in self._pending if isinstance(one, Future)]
        for future in futures:
            future.cancel()
        wait(futures, grace)
        with self._lock:
            self._closed = True
        self._memory.close()
        for one in self._pending:
            if not isinstance(one, Future):
                yield one
            elif one.done() and not one.cancelled() and (record := one.result()) is not None:
                yield record

    def sweep(self) -> None:
        """Remove the temporary files of what was dropped."""
        with self._lock:
            folders = set(self._folders)
        files.sweep(folders, self._manifest.mark)

    def _do(self, number: int, step: Step, ahead: int) -> Record | None:
        """Do one step on a thread of the pool; whatever goes wrong is in its record."""
        job = step.job
        if self.stopped is not None or self._left:
            return None
        try:
            with self._memory.share(number, job.stamp.bytes if job.stamp else 0):
                record = self._recorded(job, self._run(number, step, ahead))
        except Dropped:
            return None
        if record.error is not None:
            self._count(record.error)
        return record

    def _run(self, number: int, step: Step, ahead: int) -> Record:
        job = step.job
        if job.error is not None:
            return runner.failed(job, self._request, job.error)
        try:
            return runner.run(
                job,
                self._request,
                force=step.force,
                ahead=ahead,
                admit=partial(self._memory.take, number),
                write=partial(self._write, job),
            )[0]
        except Dropped:
            raise
        except Exception as error:  # noqa: BLE001 -- one failure, even a bug, never stops the rest
            record = runner.failed(job, self._request, BugError(f"bug: {type(error).__name__}: {error}", "--debug"))
            record.error.__cause__ = error  # type: ignore[union-attr]  # a failed record has one
            return record

    def _write(self, job: Job, name: str, buffers: Sequence[Buffer], *, overwrite: bool) -> int:
        folder = os.path.dirname(os.path.realpath(name))
        with self._lock:
            if self._closed:
                raise Dropped
            self._folders.append(folder)
        try:
            return files.write(
                name,
                buffers,
                overwrite=overwrite,
                durable=self._durable,
                mark=self._manifest.mark,
                ready=partial(self._ready, job),
            )
        except OutputError as error:
            if error.hint is None:
                raise
            raise OutputError(error.message, "--exists overwrite replaces it") from None  # there is no -f here
        finally:
            with self._lock:
                self._folders.remove(folder)

    def _ready(self, job: Job, size: int) -> None:
        self._manifest.started(job, self._request, size)
        with self._lock:
            if self._closed:
                raise Dropped

    def _recorded(self, job: Job, record: Record) -> Record:
        try:
            self._manifest.add(job, record)
        except OutputError as error:
            if record.error is None:
                return replace(runner.failed(job, record.request, error), seconds=record.seconds)
        return record

    def _count(self, error: PoolError) -> None:
        with self._lock:
            self._failures += 1
            failures = self._failures
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in FULL and isinstance(error, OutputError):
            self.stopped = self.stopped or files.fact(cause)
        if failures == self._max_errors:
            self.stopped = self.stopped or f"{failures} failed"


def _skipped(step: Step, request: Request) -> Record:
    return Record("skipped", step.job.input, step.job.output, request, reason=step.skip)
