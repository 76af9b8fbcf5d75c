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
    from poolcli.jobs.bands import Bands
    from poolcli.jobs.naming import Job
    from poolcli.jobs.page import Page, Pooled
    from poolcli.jobs.request import Request
    from poolcli.media.contents import Found
    from poolcli.media.formats import Format


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
    """What is known of a job before a pixel is decoded: its first page, the pages to pool, and its record so far.

    What is too large to be held goes in *bands*.
    """

    page: Page
    numbers: range
    record: Record
    bands: Bands | None = None


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
        banded = prospect.bands is not None  # with all the room, and so alone
        if admit is not None and (admit(request.max_memory if banded else memory(prospect)) or banded):
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
    """Look at the input and plan, refusing what the output's format cannot hold, and what memory cannot."""
    from poolcli.media import contents, parts

    if job.error is not None:
        raise job.error
    size, limit = files.size(job.input) or 0, request.max_memory  # no size: it is read to its end
    how: dict[str, Any] = {
        "key": request.key, "max_pixels": request.max_pixels,
        "upright": request.picture.orient == "apply", "indexed": request.picture.palette == "index",
    }  # fmt: skip
    found = contents.stream(parts.Parts(job.input), **how) if 4 * size > limit else None
    if found is None:
        if size > limit:
            format_ = formats.sniff(files.peek(job.input)[0])
            why = f"{format_.name} is read as a whole"
            raise LimitError(f"memory must hold more than {size} bytes, the limit is {limit}: {why}", _way(format_))
        with watch.stage("read"):
            data = read(job.input)
        size = len(data)
        with watch.stage("decode"):
            found = contents.look(data, **how)
    prospect = _planned(found, size, job, request)
    need = memory(prospect)
    if need <= limit:
        return replace(prospect, record=replace(prospect.record, memory=need))
    if found.source.part is None and files.size(job.input):
        found = contents.stream(parts.Parts(job.input), **how) or found
        prospect = _planned(found, size, job, request)
    return _banded(prospect, need, limit)


def _planned(found: Found, size: int, job: Job, request: Request) -> Prospect:
    page = pages.planned(found, job, request)
    numbers = pages.numbers(page, request.picture)
    if numbers.start or len(numbers) > 1:
        page = pages.planned(found.page(numbers.start), job, request)
    header, outline = page.found.header, page.outline
    record = Record(
        "planned", job, request, outline,
        Side(header.format, header.shape, header.dtype, size),
        Side(page.target.name, outline.shape, outline.dtype.name),
        notes=page.notes,
    )  # fmt: skip
    return Prospect(page, numbers, record)


def _banded(prospect: Prospect, need: int, limit: int) -> Prospect:
    """Return what is pooled band by band within *limit* bytes, or raise `LimitError` where *need* would be held."""
    from poolcli.jobs import bands

    page, job, result = prospect.page, prospect.record.job, prospect.record.result
    source = page.found.source
    whole = {
        f"{source.header.format} is decoded as a whole": source.part is None,
        "it is turned, cropped or converted first": bool(source.changes),
        "levels are pooled of wholes": len(page.windows) > 1,
        "counts and indices are told of wholes": job.counts is not None or job.indices is not None,
    }
    for why, is_so in whole.items():
        if is_so:
            raise _too_large(
                need, limit, why, _way(formats.by_name(source.header.format)) if source.part is None else ""
            )
    held = 4 * result.memory if result is not None else 0  # the result, and its encoder's copies
    dealt = bands.dealt(page, limit - held)
    if dealt is None and job.output is not None and not page.drawn:
        writing, held = bands.writing(page), 0
        if writing is None or (page.target.picture and job.output == "-"):
            raise _too_large(need, limit, f"{page.target.name} is encoded as a whole", "output=x.npy or x.tif")
        dealt = bands.dealt(page, limit, writing)
    if dealt is None:
        raise _too_large(need, limit, "its smallest band does not fit")
    record = replace(prospect.record, memory=dealt.memory + held, bands=dealt.count)
    return replace(prospect, record=record, bands=dealt)


def _way(format_: Format) -> str:
    """Return what goes in bands in place of a file that does not."""
    return "vips copy INPUT x.tif[tile] makes one that goes in bands" if format_.picture else ".npy files go in bands"


def _too_large(need: int, limit: int, why: str, way: str = "") -> LimitError:
    hint = f"{way}{', or ' if way else ''}max_memory={-(-need // 10**6)}M"
    return LimitError(f"memory must hold {need} bytes, more than the limit of {limit}: {why}", hint)


def memory(prospect: Prospect) -> int:
    """Return about how many bytes a planned job holds at its peak: codecs keep copies of their own."""
    record = prospect.record
    sides = [side for side in (record.source, record.result) if side is not None]
    return sum((side.bytes or 0) + (3 + prospect.page.light.copies) * side.memory for side in sides)


def _done(
    prospect: Prospect, request: Request, watch: Stopwatch, *, ahead: int, write: Callable[..., int]
) -> tuple[Record, NDArray[Any] | None]:
    from poolcli.media import contents

    job, result, target = prospect.record.job, prospect.record.result, prospect.page.target
    if prospect.bands is not None and prospect.bands.writing is not None:
        return _streamed(prospect, prospect.bands, request, watch, write), None
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
    if prospect.bands is not None:
        from poolcli.jobs import bands

        with watch.stage("pool"):
            done = bands.assembled(first, prospect.bands, request.threads)
        return [pages.finished(first, done, first.found.source.warnings)], []
    also = ("valid",) * (job.counts is not None) + ("indices",) * (job.indices is not None)
    found, lost = [pages.pooled(first, request.threads, watch, ahead, also)], []
    for number in numbers[1:]:
        try:
            page = pages.planned(first.found.page(number), prospect.record.job, request)
            found.append(pages.pooled(page, request.threads, watch, ahead))
        except InputError as error:  # it costs this page alone
            lost.append(f"frame {number + 1} is left out: {error.message}")
    count = first.found.header.frames
    if count > len(numbers) and request.picture.page is None:
        lost.append(f"frame {numbers.start + 1} of {count}")
    return found, lost


def _streamed(
    prospect: Prospect, bands: Bands, request: Request, watch: Stopwatch, write: Callable[..., int]
) -> Record:
    """Write the result as it is pooled, and return the record."""
    record = prospect.record
    done: list[Pooling] = []
    with watch.stage("pool"):  # and reading and writing
        product = bands.product(prospect.page, request.threads, done)
        size = write(record.job.output, product, overwrite=record.job.force)
    warnings = (*prospect.page.found.source.warnings, *done[-1].warnings)
    result = record.result and replace(record.result, bytes=size)
    how: dict[str, Any] = {"choice": done[-1].choice, "threads": done[-1].threads, "warnings": warnings}
    return replace(record, status="done", request=request, result=result, **how)


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
