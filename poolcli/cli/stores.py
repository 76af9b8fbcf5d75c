"""What the commands say of Zarrs while their regions are pooled, and ``poolcli pool`` for them."""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic
from typing import TYPE_CHECKING

from poolcli.cli import report
from poolcli.cli.app import Terminated
from poolcli.cli.tally import EVERY, bar
from poolcli.errors import UsageError
from poolcli.jobs import records, zarrs
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from poolcli.cli.options import Talk
    from poolcli.jobs.executors import Where
    from poolcli.jobs.expect import Expect
    from poolcli.jobs.records import Record
    from poolcli.jobs.request import Output, Request, Storage
    from poolcli.jobs.zarrs import Prospect


def pool(
    inputs: list[str],
    request: Request,
    output: Output,
    storage: Storage,
    where: Where,
    expect: Expect | None,
    talk: Talk,
) -> int:
    """Pool Zarrs and return the exit code."""
    if talk.show or talk.preview or expect is not None:
        raise UsageError("show, preview and expect must be used with files, and not with a Zarr")
    done, said = [], set[str]()
    for job in zarrs.plan(inputs, output, request, storage):
        if talk.dry_run or talk.explain:
            record, prospect = zarrs.planned(job, request, storage)
            _explain(record, prospect, talk)
        if not talk.dry_run:
            with Progress(shown(job.input), quiet=talk.quiet) as progress:
                record = zarrs.run(job, request, storage, where, progress.move)
        done.append(record)
        tell(record, talk, said)
    time([record for record in done if not talk.dry_run], talk)
    return records.worst(record.error.exit_code for record in done if record.error is not None)


def tell(record: Record, talk: Talk, said: set[str]) -> None:
    """Say what a person should know of a record, and name what was written."""
    report.talk(record, talk, said)
    if talk.json:
        report.print_json(records.as_json(record))
    elif talk.dry_run:
        report.print_plan(record)
    elif record.status == "done":
        report.print_path(record.job.output or record.job.input)


def time(done: Sequence[Record], talk: Talk) -> None:
    """Show how long each took, where that is asked for or a person sees it."""
    if report.timed(talk.timing) and not talk.quiet:
        report.timing(done)


def _explain(record: Record, prospect: Prospect | None, talk: Talk) -> None:
    """Show how the result comes about, and by which regions."""
    if prospect is None or not talk.explain or talk.quiet:
        return
    report.explain(record)
    grid, made = prospect.grid, prospect.made
    report.say(f"  {grid.count} regions of {report.shape(grid.step)}; chunks {report.shape(made.chunks)}"
               + (f", shards {report.shape(made.shards)}" if made.shards else ""))  # fmt: skip
    held = report.megabytes(prospect.most)
    report.say(f"  each element is read {prospect.amplification:.3g} times; at most {held} are held")


class Progress:
    """Progress on stderr: a bar on a terminal, otherwise one line every few seconds."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        self._done = "no region done"
        self._name, self._quiet, self._said = name, quiet, monotonic()
        self._bar = None if quiet or sys.stderr is None or not sys.stderr.isatty() else bar(1)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if isinstance(error, Terminated):
            for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(other, lambda again, _: os._exit(128 + again))
            name = signal.Signals(error.number).name
            report.say_error(f"ended by {name}; {self._done}", "the same command goes on")
            os._exit(128 + error.number)  # what reads or writes might take long

    def move(self, done: int, count: int) -> None:
        """Show how many regions are done of how many there are."""
        self._done = f"{done} of {count} regions done"
        now = monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done / count, count=f"{done}/{count}")
        elif not self._quiet and now - self._said >= EVERY:
            self._said = now
            report.say(f"{self._name}: {done} of {count} regions")
