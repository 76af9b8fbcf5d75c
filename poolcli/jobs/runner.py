"""Do one job: read, decode, pool, encode, write; each stage timed, every failure a record."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from poolcli.core import layouts
from poolcli.errors import InputError, LimitError, PoolError, UsageError
from poolcli.jobs.records import Record, Side
from poolcli.jobs.request import held
from poolcli.media import files, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.geometry import Window
    from poolcli.core.methods import Method
    from poolcli.core.missing import Missing
    from poolcli.core.pooling import Outline, Pooling
    from poolcli.jobs.light import Light
    from poolcli.jobs.naming import Job
    from poolcli.jobs.picture import Picture
    from poolcli.jobs.request import Request
    from poolcli.media.contents import Found
    from poolcli.media.formats import Format, Header

PICTURE_LAYOUTS = {2: "HW", 3: "HWC"}


def check(request: Request, jobs: Iterable[Job]) -> None:
    """Refuse values of *request* that no input could make right, as a `UsageError`."""
    from poolcli.core import engines
    from poolcli.jobs import light

    _named(request.dtype)
    engines.check(request.engine, request.threads)
    if request.picture.alpha == "weighted" and not light.averages(request.method):
        raise UsageError(f"alpha=weighted must be used with a mean, got {request.method.token}", "alpha=independent")
    if request.picture.linear and request.method.result not in {"mean", "same"}:
        raise UsageError(f"linear must be used with a mean, got {request.method.token}")
    for job in jobs:
        if request.picture.quality is not None and job.format is not None and not job.format.qualities:
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
    """What is known of a job before a pixel is decoded: its input, and what pooling it with these settings gives."""

    found: Found
    light: Light
    target: Format
    windows: list[Window]
    layout: str | None
    outline: Outline
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
    write
        What writes the output, called as `files.write` is.

    Returns
    -------
    Record, array
        The array is None where something went wrong.
    """
    watch = Stopwatch()
    array = None
    try:
        prospect = _prospect(job, request, watch)
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
    named = error.about(files.shown((error.exit_code == 4 and job.output) or job.input))
    if isinstance(error.__cause__, OSError):  # a new one: the old one's traceback would hold the arrays of this job
        named.__cause__ = OSError(error.__cause__.errno, error.__cause__.strerror)
    return Record("failed", job, request, error=named)


def _prospect(job: Job, request: Request, watch: Stopwatch) -> Prospect:
    """Look at the input and plan, refusing what the output's format cannot hold."""
    from poolcli.core import dtypes, pooling
    from poolcli.media import contents

    if job.error is not None:
        raise job.error
    with watch.stage("read"):
        data = files.read(job.input)
    with watch.stage("decode"):
        found = _adapted(
            contents.look(
                data, key=request.key, max_pixels=request.max_pixels, upright=request.picture.orient == "apply"
            ),
            request.picture,
        )
    header = found.header
    target = job.format or formats.by_name(header.format)
    layout, dtype = _settled(header, request, to_picture=job.output is not None and target.picture)
    asked = _named(dtype)
    shape, source = header.shape, dtypes.named(header.dtype)
    *unrounded, window = windows = _windows(job, request)
    for one in unrounded:
        outline = pooling.outline(shape, source, request.method, one, layout=layout)
        shape, source = outline.shape, outline.dtype
    missing = _missing(request, header)
    outline = pooling.outline(
        shape, source, request.method, window,
        layout=layout, asked=asked, rounding=request.rounding, missing=missing, weighed=request.weighs,
    )  # fmt: skip
    if job.output is not None:
        formats.check(target, outline.shape, outline.dtype.name, header.mode)
    record = Record(
        "planned", job, request, outline,
        Side(header.format, header.shape, header.dtype, len(data)),
        Side(target.name, outline.shape, outline.dtype.name),
    )  # fmt: skip
    return Prospect(found, _light(header, request), target, windows, layout, outline, record)


def _windows(job: Job, request: Request) -> list[Window]:
    """Return the windows that are pooled one after another, all but the last unrounded."""
    if job.level == 1:
        return [request.window]
    if not request.method.nests and (request.weighs or request.missing.asked):
        raise UsageError(f"levels of {request.method.token} must be pooled without weights and missing data")
    return [request.window.level(job.level)] if request.method.nests else [request.window] * job.level


def _adapted(found: Found, picture: Picture) -> Found:
    """Return the part of a picture that is asked for, without alpha where that is asked for; a tensor as it is."""
    from poolcli.media import pictures

    source = found.source
    if not source.header.picture:
        return found
    if picture.box is not None:
        source = pictures.cropped(source, picture.box)
    if picture.alpha == "drop" or picture.background is not None:
        source = pictures.flattened(source, picture.background)
    return replace(found, source=source)


def _light(header: Header, request: Request) -> Light:
    """Return how the numbers of an input are understood; refuse what they cannot mean."""
    from poolcli.jobs.light import Light, averages

    asked, method, bits = request.picture, request.method, max(header.bits, 8)
    if not header.picture:
        return Light(bits)
    if asked.depth and not header.dtype.startswith("uint"):
        raise InputError(f"depth must be asked of unsigned integers, got {header.dtype}", "dtype=uint8 converts")
    if asked.linear and (header.mode in {None, "CMYK"} or header.dtype not in {"uint8", "uint16"}):
        raise InputError(f"linear must be asked of 8 or 16-bit grey or RGB, got {header.dtype} {header.mode}")
    alpha, linear = header.mode in {"LA", "RGBA"}, asked.linear and method.result == "mean"
    weighted = alpha and asked.alpha != "independent" and averages(method)
    return Light(bits, asked.depth, alpha and (linear or weighted), weighted, linear)


def memory(prospect: Prospect) -> int:
    """Return about how many bytes a planned job holds at its peak: codecs keep copies of their own."""
    record = prospect.record
    sides = [side for side in (record.source, record.result) if side is not None]
    return sum((side.bytes or 0) + (3 + prospect.light.copies) * side.memory for side in sides)


def _done(
    prospect: Prospect, request: Request, watch: Stopwatch, *, ahead: int, write: Callable[..., int]
) -> tuple[Record, NDArray[Any]]:
    from poolcli.core import pooling
    from poolcli.jobs import light
    from poolcli.media import contents

    def run(pixels: NDArray[Any], method: Method, *, dtype: np.dtype[Any] | None) -> Pooling:
        *unrounded, window = prospect.windows
        how: dict[str, Any] = {"engine": request.engine, "threads": request.threads, "ahead": ahead}
        for one in unrounded:
            pixels = pooling.run(pixels, method, one, layout=prospect.layout, **how).array
        return pooling.run(
            pixels, method, window,
            layout=prospect.layout, dtype=dtype, rounding=request.rounding,
            weights=_weights(request, pixels.shape, prospect.layout), missing=prospect.outline.missing,
            also=("valid",) if prospect.record.job.counts else (), **how,
        )  # fmt: skip

    with watch.stage("decode"):
        content = prospect.found.read()
    light_, job = prospect.light, prospect.record.job
    pooled = light.pool(light_, content.pixels, request.method, prospect.outline.dtype, request.rounding, run)
    watch.add(pooled.seconds)
    result = prospect.record.result
    if job.counts is not None:
        with watch.stage("write"):
            counts = contents.encode(pooled.also["valid"], formats.by_name("npy"), None)
            write(job.counts, counts, overwrite=job.force)
    if job.output is not None and result is not None:
        with watch.stage("encode"):
            meta = content.meta and content.meta.kept(request.picture.meta, _shrunk(prospect.outline.plan))
            buffers = contents.encode(pooled.array, prospect.target, meta, quality=request.picture.quality)
        with watch.stage("write"):
            result = replace(result, bytes=write(job.output, buffers, overwrite=job.force))
    warnings = (*content.warnings, *pooled.warnings)
    record = replace(
        prospect.record, status="done", request=request, result=result,
        choice=pooled.choice, threads=pooled.threads, warnings=warnings,
    )  # fmt: skip
    return record, pooled.array


def _missing(request: Request, header: Header) -> Missing:
    """Return what is missing: what was asked for, and the file's own nodata value."""
    asked = request.missing
    return asked if asked.nodata or header.nodata is None else replace(asked, nodata=header.nodata)


def _weights(request: Request, shape: tuple[int, ...], layout: str | None) -> NDArray[Any] | None:
    """Return what each element of an array weighs by the files that were named, or None where each weighs one."""
    from poolcli.core.missing import combined, within

    if not request.weighs:
        return None
    resolved = layouts.resolve(layout, shape)
    mask, weights = (None if name is None else held(name) for name in (request.mask, request.weights))
    found = combined(weights, mask, shape, resolved.pooled)
    if request.lengths is None:
        return found
    lasting = within(held(request.lengths), resolved, shape)
    return lasting if found is None else found * lasting


def _shrunk(plan: Plan) -> tuple[float, float]:
    """Return how many rows, and columns, of a picture one of the result stands for."""
    from poolcli.core.axes import Spans

    down, across = (axis.length / axis.out if isinstance(axis, Spans) else axis.stride for axis in plan.axes)
    return down, across


def _named(dtype: str | None) -> np.dtype[Any] | None:
    from poolcli.core import dtypes

    return None if dtype is None else dtypes.named(dtype)


def _settled(header: Header, request: Request, *, to_picture: bool) -> tuple[str | None, str | None]:
    """Return the layout and the dtype to pool with: a picture that stays a picture keeps its dtype."""
    layout, dtype = request.layout, request.dtype
    if not header.picture:
        letters = layouts.resolve(layout, header.shape).letters
        if to_picture and letters not in PICTURE_LAYOUTS.values():
            raise InputError(f"layout must be HW or HWC for a picture, got {letters}", "output=x.npy keeps a tensor")
        return layout, dtype
    if layout is not None:
        raise InputError(f"layout must not be given for a picture, got {layout!r}", "pictures are HW or HWC")
    if to_picture and dtype is None:
        if request.method.result == "sum":
            raise InputError(
                "method sum must be given a dtype for a picture: sums pass its range",
                "output=x.npy keeps them, method=avg stays in its range",
            )
        dtype = header.dtype
    if request.picture.depth:
        dtype = f"uint{request.picture.depth}"
    return PICTURE_LAYOUTS[len(header.shape)], dtype
