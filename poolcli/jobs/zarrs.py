"""One job of ``poolcli pool`` for a Zarr: an array, or level 0 of an image, pooled into another."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from poolcli.core import regions as core
from poolcli.core.threads import usable_cpus
from poolcli.errors import LimitError, PoolError, UsageError
from poolcli.jobs import executors, journal, naming, regions, runner, stores
from poolcli.jobs.records import Record, Side
from poolcli.jobs.regions import Region, Sink, Work
from poolcli.jobs.runner import Stopwatch
from poolcli.media import files, ome, zarr, zarrnew

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolcli.core.pooling import Outline
    from poolcli.jobs.executors import Where
    from poolcli.jobs.naming import Job
    from poolcli.jobs.regions import Grid
    from poolcli.jobs.request import Output, Request, Storage
    from poolcli.media.zarr import Found, Store, Stored


def plan(inputs: Sequence[str], output: Output, request: Request, storage: Storage) -> list[Job]:
    """Return a job for each Zarr; looks at no more than which targets there are.

    Raises
    ------
    UsageError
        Not all are Zarrs, outputs collide or exist, or something is asked for that Zarrs have not.
    """
    if not all(map(files.is_store, inputs)):
        raise UsageError("inputs must be Zarrs, or files, not both", "one command for each")
    for name in filter(None, (*inputs, output.output)):
        zarr.store(name, stores.options(name, storage))
    _refuse(output, request)
    jobs = [naming.Job(name, _target(name, output, request, several=len(inputs) > 1), None) for name in inputs]
    naming.check(jobs, kinds="output='DIR/{name}' keeps both", twins="output='DIR/{dir}/{name}' keeps both")
    return [stores.beside(job, output.exists, storage) for job in jobs]


def _refuse(output: Output, request: Request) -> None:
    asked = {
        "mask": request.mask, "weights": request.weights, "lengths": request.lengths, "key": request.key,
        "format": output.format, "valid_count": output.valid_count, "indices": output.indices,
        "receipt": output.receipt or None,
    }  # fmt: skip
    name = next((name for name, value in asked.items() if value is not None), None)
    if name is not None:
        raise UsageError(f"{name} must be used with files, and not with a Zarr")
    if output.levels is not None:
        raise UsageError("levels must be used with files, and not with a Zarr", "poolcli pyramid makes levels")


def _target(name: str, output: Output, request: Request, *, several: bool) -> str:
    given, plain = output.output, name.rstrip("/")
    if given is None:
        if zarr.store(name).remote:
            raise UsageError("output must be given for a URL", "output=NAME.zarr")
        target = os.path.join(
            os.path.dirname(plain), naming.filled("{stem}.{method}{kernel}.zarr", plain, None, request)
        )
    elif "{" in given or "}" in given:
        target = naming.filled(given, plain, None, request)
    elif given.endswith((zarr.SUFFIX, zarr.SUFFIX + "/")):
        target = given.rstrip("/")
    elif given.endswith("/") or os.path.isdir(given):
        target = os.path.join(given, naming.filled("{stem}.zarr", plain, None, request))
    else:
        target = given
    if not target.endswith(zarr.SUFFIX):
        raise UsageError(f"output of a Zarr must end with {zarr.SUFFIX}, got {files.shown(target)}")
    if several and given is not None and target == given.rstrip("/"):
        raise UsageError(f"output for several inputs must be DIR/ or a template, got {given!r}", "output='DIR/{name}'")
    return target


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a job will do: what it reads, *made* into what, region by region, and its record so far.

    *documents* are the metadata that are stored at the end, by their paths below the target; *most* is how many bytes
    all regions under way hold.
    """

    found: Found
    made: Stored
    work: Work
    grid: Grid
    outline: Outline
    target: Store
    documents: tuple[tuple[str, str], ...]
    record: Record
    origin: Any
    most: int

    @property
    def amplification(self) -> float:
        """Elements read for each that there is, as regions read some of each other's."""
        read = sum(regions.size(core.reach(self.outline, box)) for box in self.grid)
        return read / prod(self.found.array.shape)


def prospect(job: Job, request: Request, storage: Storage, place: executors.Place) -> Prospect:
    """Look at the input, and plan.

    Raises
    ------
    PoolError
        It cannot be read or pooled so, or not within the memory that is allowed.
    """
    found = stores.look(job.input, storage)
    rule = stores.ruled(found, request, keeps=found.image is not None)
    outline = rule.outline(found.array, request.window)
    target = zarr.store(job.output or "", stores.options(job.output or "", storage))
    folder = target if target.remote else zarr.Store(journal.beside(target.url) + "/new")
    path = found.image.paths[0] if found.image is not None else ""
    attributes = {} if found.image is not None else found.attributes
    made = zarrnew.designed(
        folder,
        path,
        outline.shape,
        outline.dtype,
        found.array,
        zarrnew.Form(storage.chunks, storage.shards, storage.compress),
        attributes,
    )
    grid = gridded(outline, found.array, made, request.max_memory, place.shares)
    rule = stores.started(rule, outline, grid, place)
    work = Work(found.array, storage.fill_missing, rule, (Sink(request.window, made),))
    documents = [(path, made.document)]
    if found.image is not None:
        documents.append(("", zarrnew.group(_described(found, found.image, outline, request))))
    record = Record(
        "planned", job, request, outline,
        Side(stores.FORMAT, found.array.shape, found.array.dtype.name),
        Side(stores.FORMAT, outline.shape, outline.dtype.name),
    )  # fmt: skip
    origin = [zarr.stamp(found), made.document, stores.identity(rule, request, storage)]
    return Prospect(
        found, made, work, grid, outline, target, tuple(documents), record, origin, grid.bytes * place.shares
    )


def gridded(outline: Outline, source: Stored, made: Stored, allowed: int, shares: int) -> Grid:
    """Return the regions of a result: whole objects, as large as *shares* of them at once may be.

    Raises
    ------
    LimitError
        One object takes more memory than is allowed.
    """
    most = allowed // shares
    try:
        return regions.divided(outline.shape, made.objects, partial(price, outline, source), most)
    except LimitError as error:
        objects = "shards" if made.shards else "chunks"
        way = _way_out(outline, source, made, most)
        raise LimitError(
            f"max_memory must hold {shares} regions at once, each of whole {objects}, got {allowed}: {error.message}",
            way or f"max_memory={price(outline, source, _first(made.objects)) * shares}",
        ) from None


def price(outline: Outline, source: Stored, box: Any) -> int:
    """Return about how many bytes pooling a box of outputs holds at its peak, chunks among them that are cut."""
    read = regions.size(
        core.reach(outline, tuple(slice(s.start, min(s.stop, n)) for s, n in zip(box, outline.shape, strict=True)))
    )
    cut = prod(source.chunks) * source.dtype.itemsize
    return regions.COPIES * (read * source.dtype.itemsize + regions.size(box) * outline.dtype.itemsize) + cut


def _first(unit: tuple[int, ...]) -> Any:
    return tuple(slice(0, n) for n in unit)


def _way_out(outline: Outline, source: Stored, made: Stored, most: int) -> str | None:
    """Name shards, or chunks, that are small enough."""
    name, unit, least = "shards", list(made.objects), made.chunks if made.shards else (1,) * len(made.chunks)
    if made.shards is None:
        name = "chunks"
    while price(outline, source, _first(tuple(unit))) > most:
        axis = max(range(len(unit)), key=lambda i: unit[i] / least[i])
        if unit[axis] == least[axis]:
            return None
        unit[axis] = -(-unit[axis] // (2 * least[axis])) * least[axis]
    return f"{name}={'x'.join(map(str, unit))}"


def _described(found: Found, image: ome.Image, outline: Outline, request: Request) -> dict[str, Any]:
    """Return the attributes of the group of a pooled image: where it lies, and how it was made."""
    scale, translation = ome.moved(image, stores.steps(outline, request.method))
    return ome.attributes(
        ome.with_levels(image, [(image.paths[0], scale, translation)]), found.attributes, request.method.token,
        stores.history(request.method.token, outline, request),
    )  # fmt: skip


def planned(job: Job, request: Request, storage: Storage) -> tuple[Record, Prospect | None]:
    """Return what `run` would do, from metadata alone, or that the job is skipped."""
    if job.skip is not None:
        return Record("skipped", job, request), None
    watch = Stopwatch()
    try:
        found = prospect(job, request, storage, executors.Local(request.threads or usable_cpus()))
    except PoolError as error:
        return replace(runner.failed(job, request, error), seconds=watch.stop()), None
    return replace(found.record, seconds=watch.stop()), found


def run(
    job: Job,
    request: Request,
    storage: Storage,
    where: Where,
    told: Callable[[int, int], None] = lambda done, count: None,  # noqa: ARG005
) -> Record:
    """Do one job; whatever goes wrong is in the record. *told* hears how many regions of all are done."""

    def do(watch: Stopwatch) -> Record:
        with executors.opened(where.on, request.threads) as place:
            return _done(prospect(job, request, storage, place), place, watch, told)

    return stores.recorded(job, request, do)


def _done(plan: Prospect, place: executors.Place, watch: Stopwatch, told: Callable[[int, int], None]) -> Record:
    stores.check(place, plan.target, plan.found.array.store)
    job, count = plan.record.job, plan.grid.count
    each = (Region(box, core.reach(plan.outline, box), (box,)) for box in plan.grid)
    with journal.opened(plan.target.url, plan.origin) as kept:
        stores.restore(plan.target, kept)
        came = regions.run(plan.work, each, place, kept, told=lambda done: told(done, count))
        watch.add(came.seconds)
        if came.errors:
            raise regions.failure(came.errors, count)
        with watch.stage("write"):
            stores.publish(plan.target, plan.documents, kept, replaces=job.force)
    return stores.done(plan.record, place, came.lost, plan.work.missing)
