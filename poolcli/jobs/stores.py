"""Zarr arrays and images, pooled region by region into others: one job of ``poolcli pool``."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from poolcli import __version__
from poolcli.core import engines, layouts, methods
from poolcli.errors import LimitError, OutputError, PoolError, UsageError
from poolcli.jobs import executors, naming, runner
from poolcli.jobs.records import Record
from poolcli.jobs.regions import Rule
from poolcli.jobs.runner import Stopwatch
from poolcli.media import files, ome, zarr, zarrnew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from poolcli.core.pooling import Outline
    from poolcli.jobs.journal import Journal
    from poolcli.jobs.naming import Job
    from poolcli.jobs.regions import Grid
    from poolcli.jobs.request import Request, Storage
    from poolcli.media.zarr import Found, Store

FORMAT = "zarr"


# --- Names ---


def options(name: str, storage: Storage) -> tuple[str, ...]:
    """Return what fsspec is told of a name."""
    return storage.storage_option if "://" in name else ()


def beside(job: Job, exists: str, storage: Storage) -> Job:
    """Decide about a job whose target may exist."""
    where = zarr.store(job.output or "", options(job.output or "", storage))
    if not zarrnew.exists(where):
        return replace(job, force=exists == "overwrite")
    if exists == "skip":
        return replace(job, skip="output exists")
    if exists == "error":
        raise UsageError(f"{files.shown(job.output or '')}: output exists", "exists=skip, newer or overwrite")
    if where.remote:
        raise UsageError(f"exists={exists} must be used with a folder, not a URL", "remove what is there")
    if not os.path.isdir(where.url) or not files.is_store(where.url):
        raise UsageError(f"{files.shown(job.output or '')}: is no Zarr, and is not replaced")
    if "://" in job.input:  # nobody says how old it is
        exists = "overwrite"
    return naming.settled(job, os.stat(where.url), exists)


# --- Plans ---


def layout_of(found: Found, asked: str | None) -> str:
    """Return the layout of an array: asked for, told by the names of its axes, or by its shape."""
    shape = found.array.shape
    names = found.image.names if found.image is not None and found.image.axes else found.array.names
    return layouts.resolve(asked or ome.letters(names), shape).letters


def look(name: str, storage: Storage) -> Found:
    """Return what a Zarr holds, refusing what cannot be pooled."""
    from poolcli.core import dtypes

    needed()
    found = zarr.look(zarr.store(name, options(name, storage)))
    dtype, missing = dtypes.supported(found.array.dtype), storage.fill_missing
    if missing is not None and not dtypes.holds(dtype, missing):
        raise UsageError(f"fill_missing must be a value of {dtype.name}, got {missing:g}")
    return found


def needed() -> None:
    """Refuse, as a UsageError, to work without Zarr."""
    from importlib.util import find_spec

    if find_spec("zarr") is None:
        raise UsageError("a Zarr must be read with the extra zarr", "pip install 'poolcli[zarr]'")


def ruled(found: Found, request: Request, *, keeps: bool) -> Rule:
    """Return by what rule an array is pooled; an image *keeps* its dtype, unless another is asked for."""
    from poolcli.jobs import page

    asked = page.named(request.dtype)
    kept = found.array.dtype.name if keeps and request.method.result != "sum" else None
    dtype = kept if asked is None else asked.name
    return Rule(
        request.method, layout_of(found, request.layout), dtype, request.rounding, request.missing, request.engine, 1
    )


def identity(rule: Rule, request: Request, storage: Storage) -> Any:
    """Return what else than a source and a target decides what is written."""
    asked = {"method": rule.method.token, "taps": rule.method.value if rule.method.weighs else None}
    asked |= {"layout": rule.layout, "dtype": rule.asked, "rounding": rule.rounding, "missing": asdict(rule.missing)}
    return [asked, request.window.values(), storage.fill_missing, __version__]


def started(rule: Rule, outline: Outline, grid: Grid, place: executors.Place) -> Rule:
    """Return the rule with the engine that pays for all regions, and the threads that each of few has."""
    engine = rule.engine
    if outline.recipe.work:
        engine = engines.prepare(engine, outline.recipe, threads=1).choice.engine
    return replace(rule, engine=engine, threads=max(1, place.slots // grid.count) if place.here else 1)


def steps(outline: Outline, method: methods.Method) -> list[tuple[float, float]]:
    """Return scale and offset of every axis: where outputs lie among the inputs."""
    found = [(1.0, 0.0)] * len(outline.layout.letters)
    picks = method.recipe.step if method.recipe.kind == "pick" else ""  # type: ignore[union-attr]  # a Step
    for index, axis, (scale, offset) in zip(
        outline.layout.pooled, outline.plan.axes, outline.plan.mapping, strict=True
    ):
        place = {"first": 0.0, "center": float(axis.kernel // 2 * axis.dilation)}.get(picks)
        found[index] = (float(scale), float(offset) if place is None else place + offset - (axis.reach - 1) / 2)
    return found


def history(method: str, outline: Outline, request: Request) -> dict[str, Any]:
    """Return what is told of how levels were made."""
    axes = outline.plan.axes
    return {
        "method": method,
        "kernel": [axis.kernel for axis in axes],
        "stride": [axis.stride for axis in axes],
        "padding": [[axis.before, axis.after] for axis in axes],
        "dilation": [axis.dilation for axis in axes],
        "rounding": request.rounding,
        "version": f"poolcli {__version__}",
    }


# --- Doing ---


def recorded(job: Job, request: Request, do: Callable[[Stopwatch], Record]) -> Record:
    """Return the record of a job that *do* does, unless it is skipped; whatever goes wrong is in it."""
    if job.skip is not None:
        return Record("skipped", job, request)
    watch = Stopwatch()
    try:
        record = do(watch)
    except PoolError as error:
        record = runner.failed(job, request, error)
    except MemoryError:
        record = runner.failed(job, request, LimitError("memory must hold the regions under way"))
    return replace(record, seconds=watch.stop())


def done(record: Record, place: executors.Place, lost: int, missing: float | None) -> Record:
    """Return the record of what is done, with what is to be said of chunks that were *lost*."""
    said = (f"{lost} chunks are not stored: {missing:g} stands for them",) if lost else ()
    return replace(record, status="done", warnings=(*place.warnings, *said), threads=place.slots)


def check(place: executors.Place, target: Store, *sources: Store) -> None:
    """Refuse a place whose workers reach neither input nor output, before anything is done."""
    local = [where.url for where in sources if not where.remote]
    folder = None if target.remote else os.path.dirname(target.url)
    if folder is not None:
        with _as_output(target):
            os.makedirs(folder, exist_ok=True)
    place.check(executors.probe, folder, local, "zarr")


@contextmanager
def _as_output(target: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{files.shown(target.url)}: {files.fact(error)}") from error


def publish(target: Store, documents: Sequence[tuple[str, str]], kept: Journal, *, replaces: bool) -> None:
    """Give a whole array its place: metadata last where it lies, or all of it at once by a new name."""
    if target.remote:
        for path, text in documents:
            zarrnew.put(target, path, text)
    else:
        for path, text in documents:
            zarrnew.put(zarr.Store(kept.place), path, text)
        with _as_output(target):
            old = os.path.join(kept.folder, _OLD)
            if os.path.lexists(target.url):
                if not replaces:
                    raise OutputError("exists already", "exists=overwrite replaces it")
                os.rename(target.url, old)
            os.rename(kept.place, target.url)
            shutil.rmtree(old, ignore_errors=True)
    kept.remove()


_OLD = "old"


def restore(target: Store, kept: Journal) -> None:
    """Put back what a run that was killed between two renames had moved aside."""
    old = os.path.join(kept.folder, _OLD)
    if not target.remote and os.path.isdir(old) and not os.path.lexists(target.url):
        with _as_output(target):
            os.rename(old, target.url)


def describe(name: str, storage: Storage, layout: str | None) -> dict[str, Any]:
    """Return what ``poolcli info`` tells of a Zarr."""
    found = look(name, storage)
    array = found.array
    try:
        letters: str | None = layout_of(found, layout)
    except PoolError:
        letters = None
    axes = found.image.names if found.image is not None else array.names
    return {
        "name": name,
        "format": f"{FORMAT} v{found.version}",
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "layout": letters,
        "axes": ",".join(str(axis) for axis in axes) if any(axes) else None,
        "chunks": list(array.chunks),
        "shards": None if array.shards is None else list(array.shards),
        "codecs": zarrnew.coding(array),
        "fill": json.loads(array.document)["fill_value"],
        "levels": [list(level.shape) for level in found.levels] or None,
    }
