"""Records as lines, tables and JSON: the only place that knows columns and units. Rich loads with the first table."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from poolcli.errors import OutputError
from poolcli.media.files import fact, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from poolcli.core.geometry import Axis, Plan
    from poolcli.jobs.records import Record, Side

WIDE = 10_000  # columns where there is no terminal: tables keep their natural width
STAGES = {
    "read": "read",
    "decode": "decode",
    "load_engine": "load engine",
    "compile": "compile or load kernel",
    "pool": "pool",
    "encode": "encode",
    "write": "write",
    "total": "total",
}


def say(text: str) -> None:
    """Write one line of talk to stderr; where nobody can hear it, nothing is lost."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
    except OSError:
        sys.stderr = None


def say_error(message: str, hint: str | None = None) -> None:
    """Say what is wrong and, where there is something, what to do."""
    say(f"error: {message}")
    if hint:
        say(f"hint: {hint}")


def talk(record: Record, *, quiet: bool, verbose: bool) -> None:
    """Say what a person should know of one record."""
    if record.error is not None:
        say_error(record.error.message, record.error.hint)
    if quiet:
        return
    for warning in record.warnings:
        say(f"warning: {shown(record.input)}: {warning}")
    if verbose and record.engine is not None:
        say(f"{shown(record.input)}: engine {record.engine}: {record.why}")


def print_bytes(line: bytes) -> None:
    """Write one line to stdout, as the bytes that a file name is."""
    if sys.stdout is None:
        raise BrokenPipeError
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_stdout()
        raise OutputError(f"standard output: {fact(error)}") from error


def print_json(document: Any, *, indent: int | None = None) -> None:
    """Write one JSON document to stdout."""
    import json

    print_bytes(json.dumps(document, allow_nan=False, indent=indent).encode())


def print_path(path: str) -> None:
    """Write the path of a file that was written; the file is the product, so nobody need read its name."""
    try:
        print_bytes(shown(path).encode() if sys.stdout is not None and sys.stdout.isatty() else os.fsencode(path))
    except BrokenPipeError:
        drop_stdout()


def drop_stdout() -> None:
    """Let what is still written to stdout go nowhere: its reader has gone."""
    if sys.stdout is not None:  # otherwise 1 may be the number of a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def print_array(array: NDArray[Any]) -> None:
    """Write an array as text."""
    from numpy import array2string

    print_bytes(array2string(array, threshold=array.size, max_line_width=120).encode())


def print_plan(name: str, output: str | None, source: Side, result: Side) -> None:
    """Write what would become of one input."""
    to = output if output is not None else "(shown)"
    before, after = (f"{shape(side.shape)} {side.dtype} {side.format}" for side in (source, result))
    print_bytes(f"{shown(name)} -> {shown(to)}  {before} -> {after}".encode())


def print_skipped(name: str, output: str | None, reason: str) -> None:
    """Write that one input would be left alone."""
    print_bytes(f"{shown(name)} -> {shown(output or '')}  skipped: {reason}".encode())


def console(*, stderr: bool = False) -> Console:
    """Return a console that styles a terminal only."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream is None:
        raise BrokenPipeError
    terminal = stream.isatty()
    return Console(file=stream, force_terminal=terminal, width=None if terminal else WIDE, highlight=False)


def table(title: str | None, *columns: str) -> Table:
    """Return an empty table; columns that start with ``>`` are right-aligned."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    return made


def fits(made: Table, to: Console) -> bool:
    """Whether a table has its natural width on a console."""
    return to.measure(made, options=to.options.update(width=WIDE)).maximum <= to.width


def show_rows(labels: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout: a line for each row or, where it does not fit, a line for each value."""
    to = console()
    wide = table(None, *labels)
    for row in rows:
        add(wide, *row)
    if fits(wide, to):
        to.print(wide)
        return
    for row in rows:
        tall = table(None, "what", "is")
        for label, value in zip(labels, row, strict=True):
            add(tall, label, value)
        to.print(tall)


def add(to: Table, *cells: str) -> None:
    """Add a row of plain text: names may hold what Rich would take for markup."""
    from rich.text import Text

    to.add_row(*(Text(cell) for cell in cells))


def shape(lengths: Sequence[int]) -> str:
    """Return a shape as people write it."""
    return "x".join(map(str, lengths))


def seconds(value: float | None) -> str:
    """Return a time in the unit that suits it."""
    if value is None:
        return ""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms" if value >= 1e-4 else f"{value * 1e6:.0f} us"


def _becomes(record: Record) -> list[str]:
    """Return what went in, what came out, and the engine and why."""
    sides = [f"{shape(side.shape)} {side.dtype}" for side in (record.source, record.result) if side is not None]
    return [*sides, f"{record.engine}: {record.why}"]


def _figures(record: Record) -> dict[str, str]:
    """Return the times by stage, and the rates of the pooling itself."""
    figures = {label: seconds(record.seconds[stage]) for stage, label in STAGES.items() if record.seconds.get(stage)}
    pooled = record.seconds.get("pool")
    if pooled and record.source is not None and record.result is not None:
        traffic = sum(_bytes(side.shape, side.dtype) for side in (record.source, record.result))
        figures["Mpix/s"] = f"{_pixels(record) / pooled / 1e6:.0f}"
        figures["GB/s"] = f"{traffic / pooled / 1e9:.1f}"
    return figures


def _pixels(record: Record) -> float:
    """Return how many pixels went in; those of a tensor are of one channel unless its layout ends with C."""
    lengths = record.source.shape if record.source is not None else ()
    return _elements(lengths) / (lengths[-1] if record.layout and record.layout.endswith("C") else 1)


def _elements(lengths: Sequence[int]) -> int:
    count = 1
    for length in lengths:
        count *= length
    return count


def _bytes(lengths: Sequence[int], dtype: str) -> int:
    bits = dtype.lstrip("uintfloa")
    return _elements(lengths) * (int(bits) // 8 if bits.isdigit() else 1)


def timing(records: Sequence[Record]) -> None:
    """Show the timing table on stderr; where nobody can see it, nothing is lost."""
    try:
        _timing(records)
    except OSError:
        sys.stderr = None


def _timing(records: Sequence[Record]) -> None:
    """Show the timing table on stderr: a row for each input, or a table each where the rows would not fit."""
    if sys.stderr is None:
        return
    to = console(stderr=True)
    rows = [(shown(record.input), _becomes(record), _figures(record)) for record in records if record.status == "done"]
    labels = list(dict.fromkeys(label for _, _, figures in rows for label in figures))
    wide = table(None, "input", "in", "out", "engine", *(f">{label}" for label in labels))
    for name, becomes, figures in rows:
        add(wide, name, *becomes, *(figures.get(label, "") for label in labels))
    if len(rows) > 1 and fits(wide, to):
        to.print(wide)
        return
    for name, (source, result, engine), figures in rows:
        for line in (name, f"{source} -> {result}", f"engine {engine}"):
            to.print(line, markup=False)
        tall = table(None, "stage", ">time")
        for label, value in figures.items():
            add(tall, label, value)
        to.print(tall)


def explain(plan: Plan, name: str, *, ceil: bool) -> None:
    """Show, for each pooled axis, the arithmetic of its size and its first and last window."""
    say(f"{shown(name)}:")
    for label, axis in zip(("rows", "columns"), plan.axes, strict=True):
        say(f"  {label}: {_size(axis, ceil=ceil)}")
        (start, stop), (last, end) = axis.span(0), axis.span(axis.out - 1)
        count = [axis.count(o, include_pad=plan.count_include_pad) for o in (0, axis.out - 1)]
        say(f"    padding {axis.before} before, {axis.after} after; effective kernel {axis.reach}")
        say(f"    first window [{start}, {stop}) counts {count[0]}; last window [{last}, {end}) counts {count[1]}")


def _size(axis: Axis, *, ceil: bool) -> str:
    spare = f"({axis.length} + {axis.before} + {axis.after} - {axis.reach}) / {axis.stride}"
    full = (axis.length + axis.before + axis.after - axis.reach) / axis.stride
    dropped = ceil and axis.out != -(-(axis.length + axis.before + axis.after - axis.reach) // axis.stride) + 1
    note = " - 1, as the last window would start in the padding" if dropped else ""
    return f"{'ceil' if ceil else 'floor'}({spare} = {full:g}) + 1{note} = {axis.out}"


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
        self._begin = time.perf_counter()

    def add(self, record: Record) -> None:
        """Count one record."""
        self.counts[record.status] += 1
        self.seconds.update(record.seconds)
        if record.status == "done" and record.source is not None and record.result is not None:
            self.bytes_in += record.source.bytes or 0
            self.bytes_out += record.result.bytes or 0
            self.pixels += _pixels(record)
        if record.reason is not None:
            self.reasons[f"skipped: {record.reason}"] += 1
        if record.error is not None:
            self.codes.add(record.error.exit_code)
            names = (f"{shown(name)}: " for name in (record.input, record.output) if name)
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
            say(f"{tally.handled} of {tally.total} files, {failures} failed, {tally.rate}, {left:.0f} s left")

    def print_path(self, path: str) -> None:
        """Write the path of an output: above the bar, where both are on the terminal."""
        if self._bar is not None and sys.stdout is not None and sys.stdout.isatty():
            self._bar.console.print(shown(path), markup=False, highlight=False, soft_wrap=True)
        else:
            print_path(path)


def _bar(total: int) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files  {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    bar = Progress(*columns, console=console(stderr=True))
    bar.add_task("", total=total, rate="", failed="")
    return bar


def summary(tally: Tally) -> None:
    """Show what a batch came to on stderr."""
    if sys.stderr is None:
        return
    made = table(None, "batch", ">files")
    add(made, "done", str(tally.counts["done"]))
    for reason, count in sorted(tally.reasons.items(), key=lambda pair: (pair[0].startswith("failed"), -pair[1])):
        add(made, reason, str(count))
    if tally.ignored:
        add(made, "ignored: not a picture or tensor", str(tally.ignored))
    if tally.handled < tally.total:
        add(made, "not done", str(tally.total - tally.handled))
    to = console(stderr=True)
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
