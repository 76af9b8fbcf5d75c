"""Levels of an image, each of them level 0 pooled by windows of the factor's power, in one pass over regions."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from math import lcm, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import layouts
from poolcli.core.geometry import Window, per_axis
from poolcli.core.threads import usable_cpus
from poolcli.errors import InputError, LimitError, PoolError, UsageError
from poolcli.jobs import executors, gathering, journal, naming, regions, runner, stores
from poolcli.jobs.records import Record, Side
from poolcli.jobs.regions import Region, Sink, Work
from poolcli.jobs.request import MOST_LEVELS
from poolcli.media import files, formats, ome, zarr, zarrnew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from poolcli.core.pooling import Outline
    from poolcli.jobs.executors import Place, Where
    from poolcli.jobs.naming import Job
    from poolcli.jobs.regions import Grid, Rule
    from poolcli.jobs.request import Levels, Output, Request, Storage
    from poolcli.jobs.runner import Stopwatch
    from poolcli.media.zarr import Box, Found, Store, Stored

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Level:
    """One level: its number, where outputs lie, and the array that it becomes, None in a TIFF."""

    number: int
    outline: Outline
    window: Window
    stored: Stored | None


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a job will do: the *levels* to make of *found*, region by region, and its record so far.

    *copied* is what level 0 becomes; *most* is how many bytes all regions under way hold.
    """

    found: zarr.Found
    image: ome.Image
    levels: tuple[Level, ...]
    copied: Stored | None
    work: Work
    grid: Grid
    whole: tuple[bool, ...]
    target: Store
    record: Record
    origin: Any
    most: int
    compress: str | None

    @property
    def tiff(self) -> bool:
        """Whether the levels become one file."""
        return self.levels[0].stored is None

    @property
    def stored(self) -> list[Stored]:
        """The arrays that the levels become."""
        return [level.stored for level in self.levels if level.stored is not None]


# --- Planning ---


def plan(name: str, output: Output, storage: Storage) -> Job:
    """Return the job: levels go beside level 0, or with it to another place.

    Raises
    ------
    UsageError
        The output exists, or is of no kind that holds levels.
    """
    target = output.output
    if target is None and not files.is_store(name):
        raise UsageError("output must be given for a picture", "output=NAME.tif")
    if target is not None and not target.rstrip("/").endswith(zarr.SUFFIX):
        found = formats.by_suffix(target)
        if found is None or found.name != "tiff":
            raise UsageError(f"output must end with {zarr.SUFFIX} or .tif, got {files.shown(target)}")
    job = naming.Job(name, target, None, force=output.exists == "overwrite")
    if target is None:
        return job
    naming.check([job], kinds="", twins="")
    if files.is_store(target):
        return stores.beside(job, output.exists, storage)
    return naming.beside(job, output.exists)


def prospect(job: Job, request: Request, levels: Levels, storage: Storage, place: Place) -> Prospect:
    """Look at level 0, and plan.

    Raises
    ------
    PoolError
        It cannot be read or pooled so, its levels exist, or they take more memory than is allowed.
    """
    found = source(job.input, storage, request.max_memory)
    rule = _rule(found, request)
    windows = _windows(found.array.shape, rule, levels)
    target = _target(job, found, storage)
    tiff = not files.is_store(target.url)
    image = found.image or ome.new(found.array.names, rule.layout)
    folder = target if target.remote else zarr.Store(journal.beside(target.url) + "/new")
    form = zarrnew.Form(storage.chunks, storage.shards, storage.compress)
    made: list[Level] = []
    for number, window in enumerate(windows, 1):
        outline = rule.outline(found.array, window)
        path = _path(image.paths[0], number)
        stored = None if tiff else zarrnew.designed(folder, path, outline.shape, outline.dtype, found.array, form)
        made.append(Level(number, outline, window, stored))
    copied = None
    if not tiff and job.output is not None:
        copied = zarrnew.designed(folder, image.paths[0], found.array.shape, found.array.dtype, found.array, form)
    grid, whole_ = _gridded(found.array, made, copied, request.max_memory, place.shares)
    rule = stores.started(rule, made[0].outline, grid, place)
    sinks = [Sink(None, copied)] * (copied is not None)
    sinks += [Sink(level.window, level.stored if direct else None) for level, direct in zip(made, whole_, strict=True)]
    record = Record(
        "planned", job, request, made[-1].outline,
        Side(stores.FORMAT, found.array.shape, found.array.dtype.name),
        Side("tiff" if tiff else stores.FORMAT, made[-1].outline.shape, made[-1].outline.dtype.name),
    )  # fmt: skip
    origin = [zarr.stamp(found), [one and one.document for one in (copied, *(level.stored for level in made))],
              [level.window.values() for level in made], stores.identity(rule, request, storage)]  # fmt: skip
    work = Work(found.array, storage.fill_missing, rule, tuple(sinks))
    return Prospect(found, image, tuple(made), copied, work, grid, whole_, target, record, origin,
                    grid.bytes * place.shares, storage.compress)  # fmt: skip


def _rule(found: Found, request: Request) -> Rule:
    """Return by what levels are pooled, all in the dtype of level 0."""
    method = request.method
    if method.parts or method.result in {"sum", "extent"} or method.reflects or method.weighs:
        raise UsageError(
            f"method of a pyramid must give values as those of level 0, got {method.token}", "method=avg, max, mode"
        )
    return stores.ruled(found, replace(request, dtype=None), keeps=True)


def _windows(shape: tuple[int, ...], rule: Rule, levels: Levels) -> list[Window]:
    """Return the window of each level on level 0."""
    pooled = [length for length, letter in zip(shape, rule.layout, strict=True) if letter in layouts.POOLED]
    factors = per_axis("factors", levels.factors, least=1)
    factors = factors * len(pooled) if len(factors) == 1 else factors
    if len(factors) != len(pooled) or max(factors) < 2:
        raise UsageError(
            f"factors must be from 1, one above it, for {len(pooled)} axes of {rule.layout}, got {levels.factors}"
        )
    windows: list[Window] = []
    while len(windows) < (MOST_LEVELS if levels.levels is None else levels.levels):
        powers = [factor ** len(windows) for factor in factors]
        sides = [
            -(-n // power) if levels.edge == "partial" else n // power for n, power in zip(pooled, powers, strict=True)
        ]
        left = [side for side, factor in zip(sides, factors, strict=True) if factor > 1]
        if max(left) == 1 or (levels.levels is None and max(left) <= levels.min_size):
            break
        kernel = tuple(factor * power for factor, power in zip(factors, powers, strict=True))
        if levels.edge == "drop" and any(k > n for k, n in zip(kernel, pooled, strict=True)):
            break
        windows.append(Window(kernel, edge=levels.edge))
    if not windows or (levels.levels is not None and len(windows) < levels.levels):
        raise InputError(
            f"a shape of {'x'.join(map(str, shape))} has no {len(windows) + 1} levels",
            "fewer levels, or a smaller min_size",
        )
    return windows


def _path(first: str, number: int) -> str:
    """Return the path of a level, numbered on from that of level 0."""
    stem, digits = re.fullmatch(r"(.*?)(\d*)", first).groups()  # type: ignore[union-attr]  # it matches anything
    return f"{stem}{int(digits) + number}" if digits else f"{first}_{number}"


def _target(job: Job, found: Found, storage: Storage) -> Store:
    """Return where the levels go, refusing to add to what holds none."""
    if job.output is not None:
        return zarr.store(job.output, stores.options(job.output, storage))
    if found.image is None or found.version != 3:
        what = "an array" if found.image is None else f"a group of version {found.version}"
        raise UsageError(
            f"levels must be added to an OME-Zarr group of version 3, got {what}", "output=NAME.zarr makes one"
        )
    if len(found.levels) > 1 and not job.force:
        raise UsageError(
            f"{files.shown(job.input)}: has {len(found.levels) - 1} levels", "exists=overwrite replaces them"
        )
    return found.array.store


def source(name: str, storage: Storage, allowed: int) -> Found:
    """Return what a Zarr holds, or a picture, which is held in memory."""
    if files.is_store(name):
        return stores.look(name, storage)
    from poolcli.media import contents

    stores.needed()
    data = files.read(name)
    found = contents.look(data, max_pixels=2**62)
    if found.header.frames > 1:
        raise InputError(f"it has {found.header.frames} pages: a pyramid is of one picture")
    size = prod(found.header.shape) * np.dtype(found.header.dtype).itemsize
    if len(data) + regions.COPIES * size > allowed:
        raise LimitError(f"max_memory must hold a picture, {len(data) + regions.COPIES * size} bytes, got {allowed}",
                         "a Zarr is pooled region by region")  # fmt: skip
    pixels = found.read().pixels
    names = ("y", "x", "c")[: pixels.ndim]
    return zarr.Found(zarr.held(pixels, names, files.stamp(name)), {})


def _gridded(
    array: Stored, made: Sequence[Level], copied: Stored | None, allowed: int, shares: int
) -> tuple[Grid, tuple[bool, ...]]:
    """Return the regions of level 0, in each of which windows of all levels lie whole, and which levels are written so.

    The others are gathered: of theirs a region holds less than an object.
    """
    shape, most = array.shape, allowed // shares
    elements = prod(shape) + sum(prod(level.outline.shape) for level in made)
    held = regions.COPIES * array.dtype.itemsize * elements / prod(shape)

    def cost(box: Box) -> int:
        return int(held * regions.size(box)) + prod(array.chunks) * array.dtype.itemsize

    objects = [tuple(n * s for n, s in zip(level.stored.objects, _strides(level.outline), strict=True)) if level.stored
               else None for level in made]  # fmt: skip
    if copied is not None:
        objects.insert(0, copied.objects)
    least = tuple(max(1, min(n, length)) for n, length in zip(_strides(made[-1].outline), shape, strict=True))
    most_of_data = 1 + (copied is not None)  # level 0 and the next
    unit = _unit(
        least, objects, shape, lambda box, n: cost(box) <= (most if n < most_of_data else min(most, regions.LARGE))
    )
    try:
        grid = regions.divided(shape, unit, cost, most)
    except LimitError as error:
        message = f"max_memory must hold {shares} regions at once, got {allowed}: {error.message}"
        raise LimitError(message, "fewer levels, or more memory") from None
    fits = [one is not None and _covers(grid.step, one, shape) for one in objects]
    if copied is not None and not fits.pop(0):
        message = (
            f"max_memory must hold {shares} regions at once, each of whole shards {'x'.join(map(str, copied.objects))}"
        )
        raise LimitError(f"{message}, got {allowed}", "shards=N, smaller ones, or more memory")
    return grid, tuple(fits)


def _unit(
    least: tuple[int, ...],
    objects: Sequence[tuple[int, ...] | None],
    shape: tuple[int, ...],
    fits: Callable[[Box, int], bool],
) -> tuple[int, ...]:
    """Return what regions are made of: whole windows of all levels, and whole *objects* of as many as fit."""
    unit = least
    for number, one in enumerate(objects):
        if one is None:
            break
        wanted = tuple(_common(u, n, length) for u, n, length in zip(unit, one, shape, strict=True))
        box = tuple(slice(0, min(n, length)) for n, length in zip(wanted, shape, strict=True))
        if not fits(box, number):
            break
        unit = wanted
    return unit


def _covers(step: Sequence[int], one: Sequence[int], shape: tuple[int, ...]) -> bool:
    """Whether steps are whole objects, or whole sides."""
    return all(g % n == 0 or g >= length for g, n, length in zip(step, one, shape, strict=True))


def _strides(outline: Outline) -> tuple[int, ...]:
    """Return elements of level 0 for one of a level, along all axes."""
    found = [1] * len(outline.layout.letters)
    for index, axis in zip(outline.layout.pooled, outline.plan.axes, strict=True):
        found[index] = axis.stride
    return tuple(found)


def _common(one: int, other: int, length: int) -> int:
    """Return the least multiple of both, or as many of the first as cover a length."""
    return min(lcm(one, other), -(-length // one) * one)


# --- Doing ---


def planned(job: Job, request: Request, levels: Levels, storage: Storage) -> tuple[Record, Prospect | None]:
    """Return what `run` would do, from metadata alone, or that the job is skipped."""
    if job.skip is not None:
        return Record("skipped", job, request), None
    try:
        found = prospect(job, request, levels, storage, executors.Local(request.threads or usable_cpus()))
    except PoolError as error:
        return runner.failed(job, request, error), None
    return found.record, found


def run(
    job: Job,
    request: Request,
    levels: Levels,
    storage: Storage,
    where: Where,
    told: Callable[[int, int], None] = lambda done, count: None,  # noqa: ARG005
) -> Record:
    """Do the job; whatever goes wrong is in the record. *told* hears how many regions of all are done."""

    def do(watch: Stopwatch) -> Record:
        with executors.opened(where.on, request.threads) as place:
            if not place.here and not files.is_store(job.input):
                raise UsageError("on must be local for a picture, which is held in memory")
            return _done(prospect(job, request, levels, storage, place), place, watch, told)

    return stores.recorded(job, request, do)


def _done(plan: Prospect, place: Place, watch: Stopwatch, told: Callable[[int, int], None]) -> Record:
    stores.check(place, plan.target, *[plan.found.array.store] * files.is_store(plan.record.job.input))
    with journal.opened(plan.target.url, plan.origin) as kept:
        stores.restore(plan.target, kept)
        if not kept.done:
            _check_free(plan)
        gathered = gathering.opened(plan, kept)
        came = regions.run(
            plan.work, _regions(plan), place, kept,
            take=lambda done: gathering.take(done, gathered), told=lambda done: told(done, plan.grid.count),
        )  # fmt: skip
        watch.add(came.seconds)
        if came.errors:
            raise regions.failure(came.errors, plan.grid.count)
        with watch.stage("write"):
            gathering.finish(plan, gathered, kept)
    return stores.done(plan.record, place, came.lost, plan.work.missing)


def _check_free(plan: Prospect) -> None:
    """Refuse to put levels where a group has something that is no level of its image."""
    known = [level.path for level in plan.found.levels]
    if plan.record.job.output is not None or plan.target.remote:
        return
    for level in plan.stored:
        there = os.path.join(plan.target.url, level.path)
        if level.path not in known and os.path.lexists(there):
            raise UsageError(f"level {level.path} must be new, but {files.shown(there)} exists", "remove what is there")


def _regions(plan: Prospect) -> Iterator[Region]:
    for box in plan.grid:
        results = [box] * (plan.copied is not None)
        for level in plan.levels:
            sides = zip(box, _strides(level.outline), level.outline.shape, strict=True)
            results.append(tuple(slice(s.start // n, min(-(-s.stop // n), length)) for s, n, length in sides))
        yield Region(box, box, tuple(results))
