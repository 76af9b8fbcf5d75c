"""What a batch comes to: counted record by record, shown while it runs and at its end."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from poolcli.cli import report
from poolcli.cli.report import STAGES, seconds
from poolcli.jobs.records import SCHEMA, worst
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from rich.progress import Progress

    from poolcli.core.engines import Choice
    from poolcli.jobs.naming import Job
    from poolcli.jobs.records import Record

EVERY = 5.0  # seconds between lines of progress where there is no terminal


class Tally:
    """What the records of a batch come to."""

    def __init__(self, jobs: Sequence[Job], ignored: Sequence[str]) -> None:
        self.total, self.ignored = len(jobs), ignored
        self.todo = sum(map(_weight, jobs))  # bytes, as are those handled
        self.handled_bytes = 0
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.bytes_in = self.bytes_out = self.replaced = 0
        self.pixels = 0.0
        self.codes: set[int] = set()
        self.said: set[str] = set()
        self.choices: dict[str, Choice] = {}  # the first of each engine
        self._texts: dict[str, str] = {}
        self._begin = time.perf_counter()

    def add(self, record: Record) -> None:
        """Count one record."""
        self.counts[record.status] += 1
        self.handled_bytes += _weight(record.job)
        self.seconds.update(record.seconds)
        if record.choice is not None:
            self.choices.setdefault(record.choice.engine, record.choice)
        if record.error is None and record.source is not None and record.result is not None:
            self.bytes_in += record.source.bytes or 0
            self.bytes_out += record.result.bytes or 0
            self.pixels += report.pixels(record)
            self.replaced += record.job.replaces
        if record.status == "skipped":
            self.reasons[f"skipped: {record.job.skip}"] += 1
        if record.error is not None:
            self.codes.add(record.error.exit_code)
            self._blame(record)

    def _blame(self, record: Record) -> None:
        """Count a failure with those of its cause, whose messages differ in names and numbers only."""
        text = record.error.message if record.error is not None else ""
        for name in filter(None, (record.job.input, record.job.output)):
            text = text.removeprefix(f"{shown(name)}: ").replace(shown(name), "FILE")
        cause = _VALUES.sub(lambda value: "..." if value[0][0] in "'\"" else "N", text)
        old, new = (f"failed: {one}" for one in (self._texts.get(cause, text), text))
        if new != old:
            self.reasons[f"failed: {cause}"] += self.reasons.pop(old, 0)
            self._texts[cause] = cause
        self.reasons[f"failed: {self._texts.setdefault(cause, text)}"] += 1

    def document(self) -> dict[str, Any]:
        """Return the record that ends the records of a batch in JSON."""
        return {
            "schema": SCHEMA,
            "status": "summary",
            **{status: self.counts[status] for status in ("planned", "done", "skipped", "failed", "pruned")},
            "replaced": self.replaced,
            "ignored": len(self.ignored),
            "left": self.total - self.handled,
            "reasons": self.reasons,
            "bytes": {"in": self.bytes_in, "out": self.bytes_out},
            "seconds": {**self.seconds, "wall": self.wall},
            "exit_code": worst(self.codes),
        }

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    @property
    def handled(self) -> int:
        """Inputs that have a record."""
        return self.counts.total() - self.counts["pruned"]

    @property
    def left(self) -> float:
        """Seconds until what is left is done, by its bytes."""
        return self.wall * (self.todo / max(1, self.handled_bytes) - 1)

    @property
    def rate(self) -> str:
        """Pixels read in a second."""
        return f"{self.pixels / self.wall / 1e6:.1f} Mpix/s"


_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:[.,x ]+\d+)*")


def _weight(job: Job) -> int:
    """Return the bytes of an input that are to be worked on, from 1; 0 of one that is skipped."""
    return 0 if job.skip is not None else max(1, job.stamp.bytes if job.stamp is not None else 1)


class Meter:
    """Progress on stderr: a bar on a terminal, otherwise one line every few seconds."""

    def __init__(self, tally: Tally, *, quiet: bool) -> None:
        self._tally = tally
        self._quiet = quiet
        self._said = time.monotonic()
        self._bar = None if quiet or sys.stderr is None or not sys.stderr.isatty() else bar(tally.todo)

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
            count = f"{tally.handled}/{tally.total}"
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=tally.handled_bytes, count=count, rate=tally.rate, failed=failed)
        elif not self._quiet and now - self._said >= EVERY:
            self._said = now
            counts = f"{tally.handled} of {tally.total} files, {tally.counts['failed']} failed"
            report.say(f"{counts}, {tally.rate}, {tally.left:.0f} s left")

    def print_path(self, path: str) -> None:
        """Write the path of an output: above the bar, where both are on the terminal."""
        if self._bar is not None and sys.stdout is not None and sys.stdout.isatty():
            self._bar.console.print(shown(path), markup=False, highlight=False, soft_wrap=True)
        else:
            report.print_path(path)


def bar(total: int) -> Progress | None:
    """Return a bar for so many bytes, None where a terminal cannot move its cursor."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = report.console(stderr=True)
    if not console.is_interactive:
        return None
    columns = (
        BarColumn(min(40, max(4, console.width - 48))),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    bar = Progress(*columns, console=console, transient=True)
    bar.add_task("", total=total, count="", rate="", failed="")
    return bar


def summary(tally: Tally) -> None:
    """Show what a batch came to on stderr."""
    if sys.stderr is None:
        return
    found = tally.document()
    others = (("ignored", "not a picture or tensor"), ("pruned", "its source is gone"), ("left", "not done"))
    rows = [
        ("done", tally.counts["done"]),
        *sorted(tally.reasons.items(), key=lambda pair: (pair[0].startswith("failed"), -pair[1])),
        *((f"{key}: {why}", found[key]) for key, why in others if found[key]),
    ]
    report.show(("batch", ">files"), rows, stderr=True)
    stages = ", ".join(
        f"{label} {seconds(tally.seconds[stage])}"
        for stage, label in STAGES.items()
        if tally.seconds[stage] and stage != "total"
    )
    files, wall = tally.counts["done"], tally.wall
    megabytes = (f"{count / 1e6:.1f} MB" for count in (tally.bytes_in, tally.bytes_out))
    to = report.console(stderr=True)
    to.print(f"{' in, '.join(megabytes)} out, {seconds(wall)}: {files / wall:.1f} files/s, {tally.rate}", markup=False)
    if stages:
        to.print(f"time of all threads: {stages}", markup=False)


def foresight(tally: Tally) -> None:
    """Say on stderr what a run would come to."""
    found = tally.document()
    words = ("planned", "replaced", "skipped", "failed", "ignored", "pruned")
    said = ", ".join(f"{found[word]} {word}" for word in words if found[word] or word == "planned")
    files = f"{tally.total} file{'s' * (tally.total != 1)}"
    report.say(f"{files}: {said}; {tally.bytes_in / 1e6:.1f} MB to read")
