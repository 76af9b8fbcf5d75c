"""Many files: at once on threads, within a bound on memory, their records in the order of the plan."""

from __future__ import annotations

import errno
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from poolcli.core.settings import setting, whole
from poolcli.core.threads import usable_cpus
from poolcli.errors import BugError, OutputError, PoolError, UsageError
from poolcli.jobs import executors, manifest, memory, naming, runner, tree
from poolcli.jobs.memory import Dropped, Memory
from poolcli.jobs.request import PLACES
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from poolcli.jobs.executors import Place
    from poolcli.jobs.manifest import History, Manifest
    from poolcli.jobs.naming import Job
    from poolcli.jobs.records import Record
    from poolcli.jobs.request import Request
    from poolcli.media.files import Product

WINDOW = 64  # jobs for each thread that may be done before the oldest is
GROUP, GROUP_BYTES = 16, 2**24  # files, and their bytes, that are sent to a worker together
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # whatever is written next will fail too


@dataclass(frozen=True, slots=True)
class Settings:
    """How a batch goes about it; numbers may be text."""

    output: str = setting("Output", "Folder that the outputs go to.", short="-o", metavar="DST")
    template: str | None = setting(
        "Output", f"Names below DST, of {PLACES}; else {tree.MIRROR}.", default=None, metavar="TEXT"
    )
    flat: bool = setting("Output", "All outputs in one folder, not in those of their inputs.", default=False)
    resume: bool = setting("Run", "Skip what is done already and has not changed, the default.", default=True)
    jobs: int = setting(
        "Run", "Files at once; else as many as usable processors.", default=None, short="-j", metavar="N"
    )
    prune: bool = setting(
        "Output",
        "Remove outputs whose source in SRC is gone, of those that a batch made and nobody edited.",
        default=False,
    )
    max_errors: int | None = setting("Run", "Start nothing new after so many failures.", default=None, metavar="N")
    durable: bool = setting("Run", "Outputs outlive a loss of power, at the cost of time.", default=False)

    def __post_init__(self) -> None:
        if self.output == "-":
            raise UsageError("output must be a folder, got -")
        if self.template is not None and self.flat:
            raise UsageError("flat must be used without template: both name the outputs")
        usual = {"jobs": usable_cpus(), "max_errors": None}
        for name, value in usual.items():
            asked = getattr(self, name)
            object.__setattr__(self, name, value if asked is None else whole(name, asked))

    @property
    def names(self) -> str:
        """The template of the outputs' names."""
        return self.template or (tree.FLAT if self.flat else tree.MIRROR)


def decided(
    jobs: Sequence[Job],
    request: Request,
    settings: Settings,
    histories: dict[str, History],
    *,
    exists: str,
    look: Callable[[str], os.stat_result | None] = naming.found,
) -> list[Job]:
    """Return *jobs* with what is skipped and what replaced, by the *histories* of the manifest and *look*.

    Raises
    ------
    UsageError
        An output is there that no batch has made, or that was edited since, and *exists* says that this is an error.
    """
    steps: list[Job] = []
    foreign = []
    for job in jobs:
        there = None if job.output is None else look(job.output)
        history = histories.get(manifest.name(job, settings.output))
        if there is None:
            steps.append(job)
        elif history is None or not history.made(there):
            foreign.append(job)
            steps.append(naming.settled(job, there, exists))
        elif settings.resume and history.current(job, request):
            steps.append(replace(job, skip="up to date"))
        else:
            steps.append(replace(job, force=True, replaces=True))
    if foreign and exists == "error":
        names = f"{files.shown(foreign[0].output or '')} exists"
        more = f", and {len(foreign) - 1} more" if foreign[1:] else ""
        raise UsageError(
            f"outputs must be new, or as a batch has made them, but {names}{more}", "exists=skip, newer or overwrite"
        )
    return steps


def clean(destination: str, jobs: Iterable[Job], kept: Manifest) -> None:
    """Remove the temporary files that a killed run into *destination* left; its manifest is locked."""
    files.sweep(_folders(jobs) | {os.path.realpath(folder) for folder, _, _ in os.walk(destination)}, kept.mark)


def _folders(jobs: Iterable[Job]) -> set[str]:
    """Return where the outputs of *jobs* are, and their temporary files."""
    return {os.path.dirname(os.path.realpath(job.output)) for job in jobs if job.output is not None}


class Batch:
    """A batch under way: iterate for its records in the order of *jobs*; *kept* is the manifest, open.

    Outputs keep receipts of the *command* that is given.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        request: Request,
        settings: Settings,
        kept: Manifest,
        place: Place | None = None,
        command: str | None = None,
    ) -> None:
        self.stopped: str | None = None  # why nothing new starts
        self._jobs = jobs
        self._request = replace(request, threads=request.threads or 1)
        self._settings = settings
        self._command = command
        self._manifest = kept
        self._memory = Memory(request.max_memory)
        self._place = place or executors.Local(settings.jobs)
        self._pool = ThreadPoolExecutor(self._place.slots, "poolcli-batch")
        self._pending: deque[tuple[tuple[Job, ...], Future[list[Record]] | None]] = deque()  # None: it is skipped
        self._failures = count(1)
        self._closed = False  # nothing may be written any more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=not self._closed, cancel_futures=True)

    def __iter__(self) -> Iterator[Record]:
        left = sum(job.skip is None for job in self._jobs)
        for number, group in enumerate(self._groups(left)):
            while len(self._pending) >= WINDOW * self._place.slots:
                yield from self._oldest()
            if self.stopped is not None:
                break
            if group[0].skip is not None:
                self._pending.append((group, None))
                continue
            ahead = -(-left // self._place.slots)  # an engine's start delays every thread, its work is shared
            self._pending.append((group, self._pool.submit(self._do, number, group, ahead)))
            left -= len(group)
        while self._pending:
            yield from self._oldest()

    def _groups(self, count: int) -> Iterator[tuple[Job, ...]]:
        """Yield the jobs one by one, or, for workers elsewhere, small files together; *count* are to be done."""
        most = 1 if self._place.here else max(1, min(GROUP, count // (2 * self._place.slots)))
        group: list[Job] = []
        for job in self._jobs:
            if group and (job.skip is not None or len(group) == most or sum(map(_size, group)) > GROUP_BYTES):
                yield tuple(group)
                group = []
            if job.skip is not None:
                yield (job,)
            else:
                group.append(job)
        if group:
            yield tuple(group)

    def _oldest(self) -> Iterator[Record]:
        group, future = self._pending[0]
        records = [runner.planned(group[0], self._request)] if future is None else future.result()
        self._pending.popleft()
        yield from records

    def drop(self, grace: float) -> Iterator[Record]:
        """Start nothing new, give what runs *grace* seconds, then let nothing more be written; yield what got done."""
        self.stopped = self.stopped or "dropped"
        futures = [future for _, future in self._pending if future is not None]
        for future in futures:
            future.cancel()
        wait(futures, grace)
        self._closed = True
        self._memory.close()
        for group, one in self._pending:
            if one is None:
                yield runner.planned(group[0], self._request)
            elif one.done() and not one.cancelled():
                yield from one.result()

    def sweep(self) -> None:
        """Remove the temporary files of what was dropped."""
        files.sweep(_folders(job for group, _ in self._pending for job in group), self._manifest.mark)

    def _do(self, number: int, group: tuple[Job, ...], ahead: int) -> list[Record]:
        """Do some jobs from a thread of the pool; whatever goes wrong is in their records."""
        if self.stopped is not None:
            return []
        try:
            if self._place.here:
                with self._memory.share(number, _size(group[0])):
                    records = [self._recorded(self._run(number, group[0], ahead))]
            else:
                records = [self._recorded(record) for record in self._sent(group, ahead)]
        except Dropped:
            return []
        for record in records:
            if record.error is not None:
                self._count(record.error)
        return records

    def _sent(self, group: tuple[Job, ...], ahead: int) -> list[Record]:
        """Have a worker do some jobs: it knows no folder that names might be relative to."""
        for job in group:
            self._manifest.started(job, self._request, None)
        jobs = [replace(job, input=os.path.abspath(job.input), output=job.output and os.path.abspath(job.output))
                for job in group]  # fmt: skip
        how = self._request, self._settings.durable, self._manifest.mark, ahead
        try:
            records: list[Record] = self._place.call(do, jobs, *how)
        except PoolError as error:
            records = [runner.failed(job, self._request, error) for job in jobs]
        self._check_open()
        return [_renamed(record, job) for record, job in zip(records, group, strict=True)]

    def _run(self, number: int, job: Job, ahead: int) -> Record:
        admit = partial(self._memory.take, number)
        ends: dict[str, Callable[..., Any]] = {"write": partial(self._write, job)}
        if self._command is not None:
            from poolcli.jobs import receipts

            writer = receipts.Writer(job, self._request, self._command, ends["write"])
            ends = {"write": writer, "read": writer.read}
        try:
            return runner.run(job, self._request, ahead=ahead, admit=admit, **ends)[0]
        except Dropped:
            raise
        except Exception as error:  # noqa: BLE001 -- one failure, even a bug, never stops the rest
            bug = BugError(f"bug: {type(error).__name__}: {error}", "debug=True")
            bug.__cause__ = error
            return runner.failed(job, self._request, bug)

    def _write(self, job: Job, name: str, product: Product, *, overwrite: bool) -> int:
        self._check_open()
        try:
            return files.write(
                name,
                product,
                overwrite=overwrite,
                durable=self._settings.durable,
                mark=self._manifest.mark,
                ready=partial(self._ready, job) if name == job.output else None,
            )
        except OutputError as error:
            if error.hint is None:
                raise
            raise OutputError(error.message, "exists=overwrite replaces it") from None  # a batch knows no force

    def _ready(self, job: Job, size: int) -> None:
        self._manifest.started(job, self._request, size)
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise Dropped

    def _recorded(self, record: Record) -> Record:
        try:
            self._manifest.add(record)
        except OutputError as error:
            if record.error is None:
                return replace(runner.failed(record.job, record.request, error), seconds=record.seconds)
        return record

    def _count(self, error: PoolError) -> None:
        failures, cause = next(self._failures), error.__cause__
        if isinstance(cause, OSError) and cause.errno in FULL and isinstance(error, OutputError):
            self.stopped = self.stopped or files.fact(cause)
        if failures == self._settings.max_errors:
            self.stopped = self.stopped or f"{failures} failed"


def _size(job: Job) -> int:
    return job.stamp.bytes if job.stamp is not None else 0


def do(jobs: Sequence[Job], request: Request, durable: bool, mark: str, ahead: int) -> list[Record]:  # noqa: FBT001 -- sent
    """Do some jobs in this process, a worker; whatever goes wrong is in their records.

    An output that is there is replaced: the batch saw none, and a worker that was lost may have written it.
    """
    memory.keep()

    def write(name: str, product: Product, *, overwrite: bool) -> int:  # noqa: ARG001 -- as `files.write`
        return files.write(name, product, overwrite=True, durable=durable, mark=mark)

    return [runner.run(job, request, ahead=ahead, write=write)[0] for job in jobs]


def _renamed(record: Record, job: Job) -> Record:
    """Return a worker's record with the names that the batch knows."""
    error = record.error
    if error is not None:
        name = (error.exit_code == 4 and record.job.output) or record.job.input
        known = (error.exit_code == 4 and job.output) or job.input
        error = type(error)(error.message.replace(files.shown(name), files.shown(known)), error.hint)
    return replace(record, job=job, error=error)
