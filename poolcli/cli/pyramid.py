"""``poolcli pyramid``: smaller levels of an image, for viewers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.jobs.executors import Where
from poolcli.jobs.request import Levels, Output, Request, Storage
from poolcli.media.files import shown

if TYPE_CHECKING:
    from poolcli.jobs.pyramid import Prospect


@options.command(
    "poolcli pyramid scan.zarr -m avg",
    "poolcli pyramid labels.zarr -m mode:sparse --factors 1x2x2 -o levels.zarr",
    "poolcli pyramid photo.png -m avg --min-size 64 -o photo.tif",
)
def pyramid(
    input: Annotated[str, options.argument("INPUT", "A Zarr, or a picture for a TIFF.")],
    request: Annotated[Request, "method", "layout", "rounding", "engine", "threads", "max_memory"],
    levels: Levels,
    output: Annotated[Output, "output", "exists", "force"],
    storage: Storage,
    where: Where,
    talk: Annotated[Talk, "dry_run", "explain", "timing", "json", "quiet", "verbose", "debug"],
) -> int:
    from poolcli.cli import stores
    from poolcli.jobs import pyramid as jobs

    job = jobs.plan(input, output, storage)
    prospect = None
    if talk.dry_run or talk.explain:
        record, prospect = jobs.planned(job, request, levels, storage)
        _explain(prospect, talk)
    if not talk.dry_run:
        with stores.Progress(shown(input), quiet=talk.quiet) as progress:
            record = jobs.run(job, request, levels, storage, where, progress.move)
    stores.tell(record, talk, set())
    stores.time([record], talk)
    return record.error.exit_code if record.error is not None else 0


def _explain(prospect: Prospect | None, talk: Talk) -> None:
    """Say which levels there will be, and by which regions they are made."""
    if prospect is None or talk.quiet or not talk.explain:
        return
    for level, direct in zip(prospect.levels, prospect.whole, strict=True):
        how = "written by region" if direct else "gathered, then written"
        report.say(f"  level {level.number}: {report.shape(level.outline.shape)}, {how}")
    grid = prospect.grid
    held = report.megabytes(prospect.most)
    report.say(f"  {grid.count} regions of {report.shape(grid.step)} of level 0; at most {held} are held")
