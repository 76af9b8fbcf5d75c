"""Do one job: read, decode, pool, encode, write; each stage timed, every failure a record."""

from __future__ import annotations

import math
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from poolcli.core import layouts
from poolcli.errors import InputError, LimitError, PoolError, PoolWarning, UsageError
from poolcli.jobs.records import Record, Side
from poolcli.media import files, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from poolcli.core.pooling import Pooling
    from poolcli.jobs.plan import Job
    from poolcli.jobs.records import Request
    from poolcli.media.contents import Content
    from poolcli.media.formats import Format, Header

PICTURE_LAYOUTS = {2: "HW", 3: "HWC"}


def check(request: Request, jobs: Iterable[Job]) -> None:
    """Refuse values of *request* that no input could make right.

    Raises
    ------
    UsageError
        Such a value.
    """
    from poolcli.core import engines

    _named(request.dtype)
    if request.layout is not None:
        layouts.Layout(request.layout)
    engines.check(request.engine, request.threads)
    if request.quality is None:
        return
    if not 1 <= request.quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {request.quality}")
    for job in jobs:
        if job.format is not None and not job.format.qualities:
            raise UsageError(f"quality must be given for jpeg or webp, got {job.format.name}")


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
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def stop(self) -> dict[str, float]:
        """Return the seconds of all stages and their total as the wall clock saw it."""
        return {**self.seconds, "total": time.perf_counter() - self._begin}


_ear = threading.local()  # what this thread's job was warned of
_ears = threading.Lock()
_listening = ExitStack()
_listeners = 0


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect the `PoolWarning` of this thread's job; what others say is no concern of the user's.

    ``warnings.catch_warnings`` swaps the state of the process: the first job that comes enters it, the last one leaves.
    """
    global _listeners  # noqa: PLW0603 -- the state of the process that it guards
    with _ears:
        if not _listeners:
            _listening.enter_context(warnings.catch_warnings())
            warnings.simplefilter("always", PoolWarning)
            warnings.showwarning = _hear
        _listeners += 1
    _ear.said = []
    try:
        yield _ear.said
    finally:
        del _ear.said
        with _ears:
            _listeners -= 1
            if not _listeners:
                _listening.close()


def _hear(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, PoolWarning) and hasattr(_ear, "said"):
        _ear.said.append(str(message))


def run(
    job: Job,
    request: Request,
    *,
    force: bool,
    ahead: int = 1,
    admit: Callable[[int], bool] | None = None,
    write: Callable[..., int] = files.write,
) -> tuple[Record, NDArray[Any] | None]:
    """Do *job* and return what happened and the pooled array.

    Parameters
    ----------
    job, request
        What to do.
    force
        An existing output may be replaced.
    ahead
        The jobs from this one on, which decide whether an engine is worth its start.
    admit
        Called with the bytes that the job will hold, as soon as its header tells; may wait, and answers whether the
        job now has the machine to itself: it then uses all threads.
    write
        `files.write`, or what does more.
    """
    watch = Stopwatch()
    with _heard() as said:
        try:
            record, array = _run(job, request, watch, force=force, ahead=ahead, admit=admit, write=write)
        except PoolError as error:
            record, array = failed(job, request, error), None
        except MemoryError:
            record, array = failed(job, request, LimitError("memory must hold the input and the output")), None
    return replace(record, seconds=watch.stop(), warnings=(*record.warnings, *said)), array


def failed(job: Job, request: Request, error: PoolError) -> Record:
    """Return the record of a job that *error* ended; the error names its output or its input."""
    named = error.about(files.shown((error.exit_code == 4 and job.output) or job.input))
    if isinstance(error.__cause__, OSError):  # a new one: the old one's traceback would hold the arrays of this job
        named.__cause__ = OSError(error.__cause__.errno, error.__cause__.strerror)
    return Record("failed", job.input, job.output, request, error=named)


def _run(
    job: Job,
    request: Request,
    watch: Stopwatch,
    *,
    force: bool,
    ahead: int,
    admit: Callable[[int], bool] | None,
    write: Callable[..., int],
) -> tuple[Record, NDArray[Any]]:
    with watch.stage("read"):
        data = files.read(job.input)
    with watch.stage("decode"):
        from poolcli.media import contents

        found = contents.look(data, key=request.key, max_pixels=request.max_pixels)
    planned = _planned(job, request, found.header, len(data))  # refuses what the format cannot hold, before pooling
    if admit is not None and admit(memory(planned)):
        request = replace(request, threads=None)
    with watch.stage("decode"):
        content = found.read()
    target = job.format or formats.by_name(content.header.format)
    pooled = _pool(content, target if job.output else None, request, ahead)
    watch.seconds.update(pooled.seconds)
    written = None
    if job.output is not None:
        with watch.stage("encode"):
            buffers = contents.encode(pooled.array, target, content.meta, quality=request.quality)
        with watch.stage("write"):
            written = write(job.output, buffers, overwrite=force)
    source = Side(content.header.format, content.header.shape, content.header.dtype, len(data))
    result = Side(target.name, pooled.array.shape, pooled.array.dtype.name, written)
    choice = pooled.choice
    record = Record(
        "done", job.input, job.output, request,
        plan=pooled.plan, layout=pooled.layout.letters, threads=pooled.threads,
        engine=choice.engine, why=choice.why, estimates=(choice.numpy_seconds, choice.start_seconds),
        source=source, result=result, warnings=content.warnings,
    )  # fmt: skip
    return record, pooled.array


def memory(record: Record) -> int:
    """Return about how many bytes a planned job holds at its peak: codecs keep copies of their own."""
    from numpy import dtype

    sides = [side for side in (record.source, record.result) if side is not None]
    return sum((side.bytes or 0) + 3 * math.prod(side.shape) * dtype(side.dtype).itemsize for side in sides)


def planned(job: Job, request: Request) -> Record:
    """Return what `run` would do, from the input's header alone."""
    watch = Stopwatch()
    try:
        from poolcli.media import contents

        data = files.read(job.input)
        header = contents.look(data, key=request.key, max_pixels=request.max_pixels).header
        record = _planned(job, request, header, len(data))
    except PoolError as error:
        record = failed(job, request, error)
    return replace(record, seconds=watch.stop())


def _planned(job: Job, request: Request, header: Header, size: int) -> Record:
    from poolcli.core import dtypes, pooling

    target = job.format or formats.by_name(header.format)
    layout, dtype = _settled(header, target if job.output else None, request)
    outline = pooling.outline(
        header.shape, dtypes.named(header.dtype), request.method, request.window, layout=layout, asked=_named(dtype)
    )
    if job.output is not None:
        formats.check(target, outline.shape, outline.dtype.name, header.mode)
    return Record(
        "planned", job.input, job.output, request,
        plan=outline.plan, layout=outline.layout.letters,
        source=Side(header.format, header.shape, header.dtype, size),
        result=Side(target.name, outline.shape, outline.dtype.name),
    )  # fmt: skip


def _pool(content: Content, target: Format | None, request: Request, ahead: int) -> Pooling:
    from poolcli.core import pooling

    layout, dtype = _settled(content.header, target, request)
    return pooling.run(
        content.pixels,
        request.method,
        request.window,
        layout=layout,
        dtype=_named(dtype),
        engine=request.engine,
        threads=request.threads,
        ahead=ahead,
    )


def _named(dtype: str | None) -> np.dtype[Any] | None:
    from poolcli.core import dtypes

    return None if dtype is None else dtypes.named(dtype)


def _settled(header: Header, target: Format | None, request: Request) -> tuple[str | None, str | None]:
    """Return the layout and the dtype to pool with: a picture that stays a picture keeps its dtype."""
    layout, dtype = request.layout, request.dtype
    to_picture = target is not None and target.picture
    if not header.picture:
        letters = layouts.resolve(layout, header.shape).letters
        if to_picture and letters not in PICTURE_LAYOUTS.values():
            raise InputError(f"layout must be HW or HWC for a picture, got {letters}", "-o x.npy keeps a tensor")
        return layout, dtype
    if layout is not None:
        raise InputError(f"layout must not be given for a picture, got {layout!r}", "pictures are HW or HWC")
    if to_picture and dtype is None:
        if request.method.result == "sum":
            raise InputError(
                "method sum must be given a dtype for a picture: sums pass its range",
                f"--dtype {header.dtype} saturates, -o x.npy keeps all",
            )
        dtype = header.dtype
    return PICTURE_LAYOUTS[len(header.shape)], dtype
