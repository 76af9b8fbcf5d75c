"""Outputs whose sources are gone: removed where a batch made them and nobody edited them since."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from poolcli.errors import OutputError
from poolcli.jobs import naming, runner
from poolcli.jobs.naming import Job
from poolcli.jobs.records import Record
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcli.jobs.manifest import History
    from poolcli.jobs.request import Request


def gone(sources: Sequence[str], destination: str, jobs: Iterable[Job], histories: dict[str, History]) -> Iterator[Job]:
    """Yield a job for each output in *destination* whose source, once below one of *sources*, is no more.

    What the *jobs* of this run make is not among them, nor what an input that cannot be looked at left.
    """
    roots = tuple(os.path.join(os.path.abspath(source), "") for source in sources)
    kept = {job.output for job in jobs}
    for name, history in histories.items():
        line, path = history.lines.get("done"), os.path.normpath(os.path.join(destination, name))
        there = naming.found(path)
        if line is None or there is None or path in kept or name.startswith(os.pardir) or not history.made(there):
            continue
        if line.source.startswith(roots) and not _is_there(line.source):
            yield Job(line.source, path, None, skip="its source is gone")


def _is_there(name: str) -> bool:
    try:
        os.lstat(name)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # nobody knows
        return True
    return True


def remove(job: Job, destination: str, request: Request) -> Record:
    """Remove the output of a *job* that is gone, and the folders below *destination* that it leaves empty."""
    path = job.output or ""
    try:
        os.unlink(path)
    except OSError as error:
        return runner.failed(job, request, OutputError(files.fact(error)))
    with suppress(OSError):  # not empty
        while not os.path.samefile(path := os.path.dirname(path), destination):
            os.rmdir(path)
    return Record("pruned", job, request)
