"""Levels that regions gave: gathered where an object is more than a region holds, written, and given their place."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import OutputError
from poolcli.jobs import regions, stores
from poolcli.media import files, ome, tiffpyramid, zarr, zarrnew

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolcli.jobs.journal import Journal
    from poolcli.jobs.pyramid import Prospect
    from poolcli.jobs.regions import Done
    from poolcli.media.zarr import Box

    Array = np.ndarray[Any, Any]


def opened(plan: Prospect, kept: Journal) -> list[Array | None]:
    """Return a file's array for each result that is gathered, in the order of the sinks."""
    arrays: list[Array | None] = [None] * (plan.copied is not None)
    for level, direct in zip(plan.levels, plan.whole, strict=True):
        path = os.path.join(kept.folder, f"level{level.number}.npy")
        if direct:
            arrays.append(None)
            continue
        try:
            again = bool(kept.done) and os.path.exists(path)
            how: dict[str, Any] = (
                {"mode": "r+"} if again else {"mode": "w+", "shape": level.outline.shape, "dtype": level.outline.dtype}
            )
            arrays.append(np.lib.format.open_memmap(path, **how))
        except OSError as error:
            raise OutputError(f"{files.shown(path)}: {files.fact(error)}") from error
    return arrays


def take(done: Done, gathered: Sequence[Array | None]) -> None:
    """Put what a region gave back in its place."""
    for part, box, array in zip(done.parts, done.region.results, gathered, strict=True):
        if part is not None and array is not None:
            array[box] = part


def finish(plan: Prospect, gathered: list[Array | None], kept: Journal) -> None:
    """Write what was gathered, and give all levels their place."""
    own = gathered[plan.copied is not None :]
    if plan.tiff:
        _write_tiff(plan, own, kept)
        return
    documents = [("", zarrnew.group(_attributes(plan)))]
    if plan.copied is not None:
        documents.insert(0, (plan.copied.path, plan.copied.document))
    for level, stored, array in zip(plan.levels, plan.stored, own, strict=True):
        documents.insert(-1, (stored.path, stored.document))
        if array is not None:
            grid = regions.Grid(level.outline.shape, stored.objects, 0)
            for box in grid:
                zarr.write(stored, box, np.asarray(array[box]))
    if plan.record.job.output is not None or plan.target.remote:
        stores.publish(plan.target, documents, kept, replaces=plan.record.job.force)
        return
    _add(plan, documents, kept)


def _add(plan: Prospect, documents: Sequence[tuple[str, str]], kept: Journal) -> None:
    """Put levels beside level 0, in place of older ones; the group speaks of them last."""
    *arrays, (_, group) = documents
    old = os.path.join(kept.folder, "replaced")
    try:
        os.makedirs(old, exist_ok=True)
        for path, text in arrays:
            if not os.path.isdir(os.path.join(kept.place, path)):
                continue  # a run that was killed here has moved it
            zarrnew.put(zarr.Store(kept.place), path, text)
            there = os.path.join(plan.target.url, path)
            if os.path.lexists(there):
                os.rename(there, os.path.join(old, f"{path.replace('/', '-')}-{os.urandom(4).hex()}"))
            os.makedirs(os.path.dirname(there), exist_ok=True)
            os.rename(os.path.join(kept.place, path), there)
    except OSError as error:
        raise OutputError(f"{files.shown(plan.target.url)}: {files.fact(error)}") from error
    zarrnew.put(plan.target, "", group)
    _drop(plan, [path for path, _ in arrays])
    kept.remove()


def _drop(plan: Prospect, paths: Sequence[str]) -> None:
    """Remove older levels that the group speaks of no more."""
    for level in plan.found.levels[1:]:
        if level.path not in paths:
            shutil.rmtree(os.path.join(plan.target.url, level.path), ignore_errors=True)


def _attributes(plan: Prospect) -> dict[str, Any]:
    """Return the attributes of the group: where all levels lie, and how they were made."""
    image, request = plan.image, plan.record.request
    told = [(image.paths[0], image.scales[0], image.translations[0])]
    for level, stored in zip(plan.levels, plan.stored, strict=True):
        told.append((stored.path, *ome.moved(image, stores.steps(level.outline, request.method))))
    made = stores.history(request.method.token, plan.levels[0].outline, request)
    made |= {"levels": "each from level 0, rounded once"}
    kept = plan.found.attributes
    return ome.attributes(ome.with_levels(image, told), kept, request.method.token, made)


def _write_tiff(plan: Prospect, gathered: Sequence[Array | None], kept: Journal) -> None:
    work = plan.work
    sources: list[tuple[tuple[int, ...], Callable[[Box], Array]]] = [
        (work.source.shape, lambda box: zarr.read(work.source, box, work.missing)[0])
    ]
    sources += [(array.shape, array.__getitem__) for array in gathered if array is not None]
    path = os.path.join(kept.folder, "new.tif")
    tiffpyramid.write(path, sources, work.source.dtype, work.rule.layout, compression=plan.compress)
    files.publish(path, plan.target.url, overwrite=plan.record.job.force)
    kept.remove()
