"""Records as lines, tables and JSON: the only place that knows columns and units. Rich loads with the first table."""

from __future__ import annotations

import os
import shlex
import sys
from itertools import zip_longest
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

from poolcli.core.axes import Spans
from poolcli.errors import OutputError
from poolcli.media.files import fact, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table

    from poolcli.cli.options import Talk
    from poolcli.core.axes import Axis
    from poolcli.core.engines import Choice
    from poolcli.jobs.records import Record

T = TypeVar("T")

WIDE = 10_000  # columns where there is no terminal: tables keep their natural width
AXES = {"H": "rows", "W": "columns"}
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
TIMED = ("read", "decode", "pool", "encode", "write", "total")  # what starts the engine is said once
SLOWEST = 20  # files that the timing table shows


def command() -> str:
    """Return the command that runs, as a shell takes it."""
    return shlex.join(["poolcli", *sys.argv[1:]])


def say(text: str) -> None:
    """Write one line of talk to stderr; where nobody can hear it, nothing is lost."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
    except OSError:
        sys.stderr = None


def say_error(message: str, hint: str | None = None) -> None:
    """Say what is wrong and, where there is something, what to do, in options."""
    from poolcli.cli.options import in_options

    what, must, rule = message.partition(" must ")
    say(f"error: {in_options(what) + must + rule if what.isidentifier() else message}")
    if hint:
        say(f"hint: {in_options(hint)}")


def talk(record: Record, to: Talk, said: set[str]) -> None:
    """Say what a person should know of one record; what was *said* of options is not said again."""
    if record.error is not None:
        if to.debug:
            say(record.error.trace)
        say_error(record.error.message, record.error.hint)
    if to.quiet:
        return
    for warning in record.warnings:
        say(f"warning: {shown(record.job.input)}: {warning}")
    for note in record.notes:
        if note not in said:
            said.add(note)
            say(f"warning: {shown(record.job.input)}, and others like it: {note}")
    if to.verbose and record.job.skip is not None and not to.dry_run:
        say(f"{record.status}: {shown(record.job.input)}: {record.job.skip}")


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


def preview(array: NDArray[Any], letters: str) -> None:
    """Draw an array on stderr: each character is two pixels, one above the other."""
    import shutil

    from poolcli.jobs import view

    columns, lines = shutil.get_terminal_size()
    pixels = view.small(array, letters, 2 * max(1, lines - 2), columns).tolist()
    for above, below in zip_longest(pixels[::2], pixels[1::2]):
        cells = []
        for number, (red, green, blue) in enumerate(above):
            under = "\x1b[48;2;{};{};{}m".format(*below[number]) if below else ""
            cells.append(f"\x1b[38;2;{red};{green};{blue}m{under}\u2580")
        say("".join(cells) + "\x1b[0m")


def print_plan(record: Record) -> None:
    """Write what would become of one input, if it is known."""
    job = record.job
    names = f"{shown(job.input)} -> {shown(job.output or '(shown)')}"
    if record.source is not None and record.result is not None:
        sides = (f"{shape(side.shape)} {side.dtype} {side.format}" for side in (record.source, record.result))
        print_bytes(f"{names}  {' -> '.join(sides)}{'  replaces what is there' * job.replaces}".encode())
    elif job.skip is not None:
        print_bytes(f"{names if job.output else shown(job.input)}  {record.status}: {job.skip}".encode())


def console(*, stderr: bool = False) -> Console:
    """Return a console that styles a terminal only."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream is None:
        raise BrokenPipeError
    terminal = stream.isatty()
    width = WIDE
    if terminal:
        asked = os.environ.get("COLUMNS", "")
        width = int(asked) if asked.isdecimal() else os.get_terminal_size(stream.fileno()).columns
    # with a height, too: without, Rich takes a dumb terminal for 80 wide
    return Console(file=stream, force_terminal=terminal, width=width or 80, height=25, highlight=False)


def _table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; columns that start with ``>`` are right-aligned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text  # plain: names may hold what Rich would take for markup

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column[:1] == ">" else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def show(
    labels: Sequence[str],
    rows: Iterable[Sequence[object]],
    least: Iterable[str] = (),
    *,
    title: str | None = None,
    stderr: bool = False,
) -> None:
    """Print what fits of a table's columns: those of *least* go, the first of them first."""
    to, lines, dropped = console(stderr=stderr), list(rows), iter(least)
    places = list(range(len(labels)))
    while True:
        made = _table(title, [labels[i] for i in places], [[row[i] for i in places] for row in lines])
        fits = to.measure(made, options=to.options.update(width=WIDE)).maximum <= to.width
        if fits or (name := next(dropped, None)) is None:
            break
        places = [i for i in places if labels[i].removeprefix(">") != name]
    to.print(made)


def track(items: Iterable[T], label: str, count: int | None = None, *, quiet: bool) -> Iterable[T]:
    """Yield *items*, beside a bar on stderr where that is a terminal."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        return items
    from rich.progress import track

    return track(items, label, count, console=console(stderr=True), transient=True)


def shape(lengths: Sequence[int]) -> str:
    """Return a shape as people write it."""
    return "x".join(map(str, lengths))


def seconds(value: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms" if value >= 1e-4 else f"{value * 1e6:.0f} us"


def pixels(record: Record) -> float:
    """Return how many pixels went in; those of a tensor are of one channel unless its layout ends with C."""
    lengths = record.source.shape if record.source is not None else ()
    last = record.outline is not None and record.outline.layout.letters.endswith("C")
    return prod(lengths) / (lengths[-1] if last else 1)


def timing(records: Sequence[Record]) -> None:
    """Show the timing table on stderr: a row for each file, of many the slowest; then what ran, once."""
    done = [record for record in records if record.status == "done"]
    if sys.stderr is None or not done:
        return
    ranked = sorted(done, key=lambda record: -record.seconds["total"])[:SLOWEST]
    slowest = done if len(done) <= SLOWEST else ranked
    rows = [[shown(record.job.input), *_becomes(record), *_figures([record])] for record in slowest]
    if len(done) > 1:
        cut = f" (slowest {SLOWEST} above)" if len(done) > SLOWEST else ""
        rows.append([f"all {len(done)} files{cut}", "", "", *_figures(done)])
    labels = ("file", "in", "out", *(f">{stage} ms" for stage in TIMED), ">Mpix/s")
    least = ("out", "in", "write ms", "read ms", "Mpix/s", "encode ms", "decode ms")
    try:
        show(labels, rows, least, stderr=True)
    except OSError:  # where nobody can see it, nothing is lost
        sys.stderr = None
    say_engines(record.choice for record in done)
    started = [
        f"{label} {seconds(sum(record.seconds[stage] for record in done))}"
        for stage, label in STAGES.items()
        if stage not in TIMED and any(record.seconds.get(stage, 0) > 1e-3 for record in done)
    ]
    if started:
        say(f"in the totals: {', '.join(started)}")


def _becomes(record: Record) -> list[str]:
    """Return what went in and what came out."""
    return [f"{shape(side.shape)} {side.dtype}" for side in (record.source, record.result) if side is not None]


def _figures(records: Sequence[Record]) -> list[str]:
    """Return the milliseconds by stage of some files, and the rate at which they were done as wholes."""
    sums = {stage: sum(record.seconds.get(stage, 0) for record in records) for stage in TIMED}
    return [
        *(f"{value * 1e3:.1f}" for value in sums.values()),
        f"{sum(map(pixels, records)) / sums['total'] / 1e6:.1f}",
    ]


def say_engines(choices: Iterable[Choice | None]) -> None:
    """Say which engines ran, each once with its first reason."""
    whys: dict[str, str] = {}
    for choice in choices:
        if choice is not None:
            whys.setdefault(choice.engine, choice.why)
    for engine, why in whys.items():
        say(f"engine {engine}: {why}")


def explain(record: Record) -> None:
    """Show, for each pooled axis, the arithmetic of its size, its windows, and where outputs lie in the input."""
    if record.outline is None:
        return
    layout, plan = record.outline.layout, record.outline.plan
    say(f"{shown(record.job.input)}:")
    for index, axis, (scale, offset) in zip(layout.pooled, plan.axes, plan.mapping, strict=True):
        letter = layout.letters[index]
        irregular = isinstance(axis, Spans)
        size = f"{axis.out}, as asked for" if irregular else _size(axis, ceil=record.request.window.ceil)
        say(f"  {AXES.get(letter, f'axis {letter}')}: {size}")
        (start, stop), (last, end) = axis.span(0), axis.span(axis.out - 1)
        count = [axis.count(o, include_pad=plan.divisor == "window") for o in (0, axis.out - 1)]
        if irregular:
            say(f"    windows {_spans([axis.span(o) for o in range(axis.out)])}")
        else:
            say(f"    padding {axis.before} before, {axis.after} after; effective kernel {axis.reach}")
        say(f"    first window [{start}, {stop}) counts {count[0]}; last window [{last}, {end}) counts {count[1]}")
        say(f"    output o lies at {scale:g} o {'+' if offset >= 0 else '-'} {abs(offset):g} of the input")
    if record.outline.taps is not None:
        say(f"  weights of taps: {record.outline.taps}")
    if record.memory is not None:
        bands = "at once" if record.bands == 1 else f"in {record.bands} bands"
        say(f"  memory: about {megabytes(record.memory)} of {megabytes(record.request.max_memory)} allowed, {bands}")
    if plan.frame is not None:
        say(f"  framed by {_spans(plan.frame)} of {plan.pad_mode}: lengths and windows above are of the framed input")


def timed(asked: bool | None) -> bool:
    """Whether times are shown: where that is asked for, or else a person sees them."""
    return sys.stderr is not None and (sys.stderr.isatty() if asked is None else asked)


def megabytes(size: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _spans(pairs: Sequence[tuple[int, int]]) -> str:
    """Return some pairs as text, the middle left out where they are many."""
    texts = [f"[{start}, {stop})" for start, stop in pairs]
    return " ".join(texts if len(texts) <= 8 else [*texts[:4], "...", *texts[-3:]])


def _size(axis: Axis, *, ceil: bool) -> str:
    spare = f"({axis.length} + {axis.before} + {axis.after} - {axis.reach}) / {axis.stride}"
    full = (axis.length + axis.before + axis.after - axis.reach) / axis.stride
    dropped = ceil and axis.out != -(-(axis.length + axis.before + axis.after - axis.reach) // axis.stride) + 1
    note = " - 1, as the last window would start in the padding" if dropped else ""
    return f"{'ceil' if ceil else 'floor'}({spare} = {full:g}) + 1{note} = {axis.out}"
