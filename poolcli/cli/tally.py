"""What a batch comes to: counted record by record, shown while it runs and at its end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from poolcli.cli import report
from poolcli.cli.report import STAGES, seconds
from poolcli.media.files import shown

if TYPE_CHECKING:
    from typing import Self

    from rich.progress import Progress

    from poolcli.jobs.records import Record

EVERY = 5.0  # seconds between lines of progress where there is no terminal


class Tally:
    """What the records of a batch come to."""

    def __init__(self, total: int, ignored: int) -> None:
        self.total, self.ignored = total, ignored
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.bytes_in = self.bytes_out = 0
        self.pixels = 0.0
        self.codes: set[int] = set()
        self.said: set[str] = set()
        self._begin = time.perf_counter()

    def add(self, record: Record) -> None:
        """Count one record."""
        self.counts[record.status] += 1
        self.seconds.update(record.seconds)
        if record.status == "done" and record.source is not None and record.result is not None:
            self.bytes_in += record.source.bytes or 0
            self.bytes_out += record.result.bytes or 0
            self.pixels += report.pixels(record)
        if record.job.skip is not None:
            self.reasons[f"skipped: {record.job.skip}"] += 1
        if record.error is not None:
            self.codes.add(record.error.exit_code)
            names = (f"{shown(name)}: " for name in (record.job.input, record.job.output) if name)
            reason = record.error.message
            for name in names:
                reason = reason.removeprefix(name)
            self.reasons[f"failed: {reason}"] += 1

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    @property
    def handled(self) -> int:
        """Inputs that have a record."""
        return self.counts.total()

    @property
    def rate(self) -> str:
        """Pixels read in a second."""
        return f"{self.pixels / self.wall / 1e6:.1f} Mpix/s"


class Meter:
    """Progress on stderr: a bar on a terminal, otherwise one line every few seconds."""

    def __init__(self, tally: Tally, *, quiet: bool) -> None:
        self._tally = tally
        self._quiet = quiet
        self._said = time.monotonic()
        self._bar = _bar(tally.total) if not quiet and sys.stderr is not None and sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def move(self) -> None:
        """Show what has been counted since."""
        tally, now = self._tally, time.monotonic()
        if self._bar is not None:
            failed = f"{tally.counts['failed']} failed" if tally.counts["failed"] else ""
            self._bar.update(self._bar.task_ids[0], completed=tally.handled, rate=tally.rate, failed=failed)
        elif not self._quiet and now - self._said >= EVERY:
            self._said = now
            left = tally.wall / tally.handled * (tally.total - tally.handled)
            failures = tally.counts["failed"]
            report.say(f"{tally.handled} of {tally.total} files, {failures} failed, {tally.rate}, {left:.0f} s left")

    def print_path(self, path: str) -> None:
        """Write the path of an output: above the bar, where both are on the terminal."""
        if self._bar is not None and sys.stdout is not None and sys.stdout.isatty():
            self._bar.console.print(shown(path), markup=False, highlight=False, soft_wrap=True)
        else:
            report.print_path(path)


def _bar(total: int) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files  {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    bar = Progress(*columns, console=report.console(stderr=True))
    bar.add_task("", total=total, rate="", failed="")
    return bar


def summary(tally: Tally) -> None:
    """Show what a batch came to on stderr."""
    if sys.stderr is None:
        return
    made = report.table(None, "batch", ">files")
    report.add(made, "done", str(tally.counts["done"]))
    for reason, count in sorted(tally.reasons.items(), key=lambda pair: (pair[0].startswith("failed"), -pair[1])):
        report.add(made, reason, str(count))
    if tally.ignored:
        report.add(made, "ignored: not a picture or tensor", str(tally.ignored))
    if tally.handled < tally.total:
        report.add(made, "not done", str(tally.total - tally.handled))
    to = report.console(stderr=True)
    to.print(made)
    stages = ", ".join(
        f"{label} {seconds(tally.seconds[stage])}"
        for stage, label in STAGES.items()
        if tally.seconds[stage] and stage != "total"
    )
    files, wall = tally.counts["done"], tally.wall
    megabytes = (f"{count / 1e6:.1f} MB" for count in (tally.bytes_in, tally.bytes_out))
    to.print(f"{' in, '.join(megabytes)} out, {seconds(wall)}: {files / wall:.1f} files/s, {tally.rate}", markup=False)
    if stages:
        to.print(f"time of all threads: {stages}", markup=False)
