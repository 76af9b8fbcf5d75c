"""Do one job: read, decode, pool, encode, write; each stage timed, every failure a record."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from poolcli.errors import InputError, LimitError, PoolError, UsageError
from poolcli.jobs import page as pages
from poolcli.jobs.records import Record, Side
from poolcli.media import files, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.core.pooling import Pooling
    from poolcli.jobs.naming import Job
    from poolcli.jobs.page import Page, Pooled
    from poolcli.jobs.request import Request


def check(request: Request, jobs: Iterable[Job]) -> None:
    """Refuse values of *request* that no input could make right, as a `UsageError`."""
    from poolcli.core import engines, places
    from poolcli.jobs import light

    pages.named(request.dtype)
    engines.check(request.engine, request.threads)
    if request.picture.alpha == "weighted" and not light.averages(request.method):
        raise UsageError(f"alpha=weighted must be used with a mean, got {request.method.token}", "alpha=independent")
    if request.picture.palette == "index" and (request.method.result != "same" or request.method.parts):
        fits = "method=mode, max, min, first, center or median:lower"
        raise UsageError(f"palette=index must be used with a method that chooses, got {request.method.token}", fits)
    if request.picture.linear and request.method.result not in {"mean", "same"}:
        raise UsageError(f"linear must be used with a mean, got {request.method.token}")
    asked = request.picture
    refusals = []
    for job in jobs:
        if job.indices is not None:
            places.check(request.method, request.window)
        if job.format is None:  # told by the content
            return
        try:
            formats.coding(job.format, asked.quality, lossless=asked.lossless, co=asked.co)
        except UsageError as error:
            refusals.append(error)
        else:
            return
    if refusals:
        raise refusals[0]


class Stopwatch:
    """Seconds by stage, in the order of the stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begin = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to stage *name*."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: time.perf_counter() - begin})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add *seconds* by stage."""
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def stop(self) -> dict[str, float]:
        """Return the seconds of all stages and their total as the wall clock saw it."""
        return {**self.seconds, "total": time.perf_counter() - self._begin}


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is known of a job before a pixel is decoded: its first page, the pages to pool, and its record so far."""

    page: Page
    numbers: range
    record: Record


def planned(job: Job, request: Request) -> Record:
    """Return what `run` would do, from the input's header alone, or that the job is skipped."""
    if job.skip is not None:
        return Record("skipped", job, request)
    watch = Stopwatch()
    try:
        record = _prospect(job, request, watch).record
    except PoolError as error:
        record = failed(job, request, error)
    return replace(record, seconds=watch.stop())


def run(
    job: Job,
    request: Request,
    *,
    ahead: int = 1,
    admit: Callable[[int], bool] | None = None,
    write: Callable[..., int] = files.write,
    read: Callable[[str], bytes] = files.read,
) -> tuple[Record, NDArray[Any] | None]:
    """Do one job; whatever goes wrong is in the record.

    Parameters
    ----------
    job, request
        What to do.
    ahead
        Jobs that are known to follow, this one included: they decide whether starting an engine pays.
    admit
        Called with the bytes of memory that the job needs, before it decodes; whether it has all threads to itself.
    write, read
        What writes the output and reads the input, called as those of `files` are.

    Returns
    -------
    Record, array
        The array is None where something went wrong.
    """
    watch = Stopwatch()
    array = None
    try:
        prospect = _prospect(job, request, watch, read)
        if admit is not None and admit(memory(prospect)):
            request = replace(request, threads=None)
        record, array = _done(prospect, request, watch, ahead=ahead, write=write)
    except PoolError as error:
        record = failed(job, request, error)
    except MemoryError:
        record = failed(job, request, LimitError("memory must hold the input and the output"))
    return replace(record, seconds=watch.stop()), array


def failed(job: Job, request: Request, error: PoolError) -> Record:
    """Return the record of a job that *error* ended; the error names its output or its input."""
    from traceback import format_exception

    named = error.about(files.shown((error.exit_code == 4 and job.output) or job.input))
    named.trace = "".join(format_exception(error)).rstrip()
    if isinstance(error.__cause__, OSError):  # a new one: the old one's traceback would hold the arrays of this job
        named.__cause__ = OSError(error.__cause__.errno, error.__cause__.strerror)
    return Record("failed", job, request, error=named)


def _prospect(job: Job, request: Request, watch: Stopwatch, read: Callable[[str], bytes] = files.read) -> Prospect:
    """Look at the input and plan, refusing what the output's format cannot hold."""
    from poolcli.media import contents

    if job.error is not None:
        raise job.error
    with watch.stage("read"):
        data = read(job.input)
    with watch.stage("decode"):
        found = contents.look(
            data, key=request.key, max_pixels=request.max_pixels,
            upright=request.picture.orient == "apply", indexed=request.picture.palette == "index",
        )  # fmt: skip
    page = pages.planned(found, job, request)
    numbers = pages.numbers(page, request.picture)
    if numbers.start or len(numbers) > 1:
        page = pages.planned(found.page(numbers.start), job, request)
    header, outline = page.found.header, page.outline
    record = Record(
        "planned", job, request, outline,
        Side(header.format, header.shape, header.dtype, len(data)),
        Side(page.target.name, outline.shape, outline.dtype.name),
        notes=page.notes,
    )  # fmt: skip
    return Prospect(page, numbers, record)


def memory(prospect: Prospect) -> int:
    """Return about how many bytes a planned job holds at its peak: codecs keep copies of their own."""
    record = prospect.record
    sides = [side for side in (record.source, record.result) if side is not None]
    return sum((side.bytes or 0) + (3 + prospect.page.light.copies) * side.memory for side in sides)


def _done(
    prospect: Prospect, request: Request, watch: Stopwatch, *, ahead: int, write: Callable[..., int]
) -> tuple[Record, NDArray[Any]]:
    from poolcli.media import contents

    job, result, target = prospect.record.job, prospect.record.result, prospect.page.target
    (done, *later), lost = _pooled(prospect, request, watch, ahead)
    if job.counts or job.indices:
        with watch.stage("write"):
            _write_beside(prospect.record, done.pooling, prospect.page.found.header.shape, write)
    if job.output is not None and result is not None:
        with watch.stage("encode"):
            more = [(one.pixels, one.meta) for one in later]
            asked = prospect.page.request.picture
            buffers = contents.encode(
                done.pixels, target, done.meta, later=more,
                quality=asked.quality, lossless=asked.lossless, coding=prospect.page.coding,
            )  # fmt: skip
        with watch.stage("write"):
            result = replace(result, bytes=write(job.output, buffers, overwrite=job.force))
    warnings = dict.fromkeys(warning for one in (done, *later) for warning in one.warnings)
    error = InputError("; ".join(lost)).about(files.shown(job.input)) if lost and request.picture.page else None
    record = replace(
        prospect.record, status="done", request=request, result=result, error=error,
        choice=done.pooling.choice, threads=done.pooling.threads, warnings=(*warnings, *(() if error else lost)),
    )  # fmt: skip
    return record, done.pooling.array


def _pooled(prospect: Prospect, request: Request, watch: Stopwatch, ahead: int) -> tuple[list[Pooled], list[str]]:
    """Return the pages that were pooled one by one, and what is to be said of the others."""
    first, numbers = prospect.page, prospect.numbers
    job = prospect.record.job
    also = ("valid",) * (job.counts is not None) + ("indices",) * (job.indices is not None)
    done, lost = [pages.pooled(first, request.threads, watch, ahead, also)], []
    for number in numbers[1:]:
        try:
            page = pages.planned(first.found.page(number), prospect.record.job, request)
            done.append(pages.pooled(page, request.threads, watch, ahead))
        except InputError as error:  # it costs this page alone
            lost.append(f"frame {number + 1} is left out: {error.message}")
    count = first.found.header.frames
    if count > len(numbers) and request.picture.page is None:
        lost.append(f"frame {numbers.start + 1} of {count}")
    return done, lost


def _write_beside(record: Record, pooled: Pooling, shape: tuple[int, ...], write: Callable[..., int]) -> None:
    """Write what is told of the windows of an input of *shape*."""
    from poolcli.media import contents

    job = record.job

    def put(name: str, buffers: Sequence[Buffer]) -> None:
        try:
            write(name, buffers, overwrite=job.force)
        except PoolError as error:  # the record's is about the output
            raise error.about(files.shown(name)) from error

    if job.counts is not None:
        put(job.counts, contents.encode(pooled.also["valid"], formats.by_name("npy"), None))
    if job.indices is not None:
        from poolcli.jobs import indexed

        put(job.indices, indexed.packed(pooled, record, job.index_layout, shape))
