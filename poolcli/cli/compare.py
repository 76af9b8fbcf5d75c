"""``poolcli compare``: methods side by side, and which to choose."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.jobs.runner import PICTURE_LAYOUTS
from poolcli.media import files, formats
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from typing_extensions import Buffer

    from poolcli.measure.compare import Comparison, Row
    from poolcli.media.contents import Content

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

FEW = 32  # different values of what may be labels


def _text(names: str, metavar: str, help: str) -> Any:
    return typer.Option(*names.split(), metavar=metavar, help=help, show_default=False)


@app.command(help=COMMANDS["compare"])
def compare(
    input: Annotated[str, typer.Argument(metavar="INPUT", help="A file, or - for stdin.", show_default=False)],
    method: Annotated[
        str | None, _text("--method -m", "NAME,...", "Methods; max,avg,l2,median or those for labels if not given.")
    ] = None,
    window: Annotated[
        str | None, _text("--window -w", "TOKEN,...", "Windows such as k3s2p1; k2,k4 if not given.")
    ] = None,
    labels: Annotated[
        bool | None, typer.Option("--labels/--no-labels", help="The values are labels, or are not.", show_default=False)
    ] = None,
    energy: Annotated[
        bool, typer.Option("--energy", help="Values are amplitudes; keep their squares.", show_default=False)
    ] = False,
    against: Annotated[str | None, _text("--against", "FILE", "A result of another tool, to be measured, too.")] = None,
    mask: Annotated[str | None, _text("--mask", "FILE", "Two kinds of places (0 and other) to be told apart.")] = None,
    sheet: Annotated[str | None, _text("--sheet", "FILE.png", "Write a contact sheet of the results.")] = None,
    html: Annotated[str | None, _text("--html", "FILE.html", "Write a report: one page that loads nothing.")] = None,
    layout: options.Layout = None,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    key: options.Key = None,
    max_pixels: options.MaxPixels = "1G",
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,  # noqa: ARG001 -- the entry point looks for it
) -> int:
    _check(input, {".png": sheet, ".html": html}, force=force)
    from poolcli.measure.compare import compare as compared
    from poolcli.media import contents

    most = options.amount("max-pixels", max_pixels)
    source = _read(input, key, most)
    if source.header.picture and layout is not None:
        raise InputError(f"layout must not be given for a picture, got {layout!r}", "pictures are HW or HWC")
    with _progress(quiet=quiet) as step:
        found = compared(
            source.pixels,
            None if method is None else method.split(","),
            None if window is None else window.split(","),
            layout=PICTURE_LAYOUTS[source.pixels.ndim] if source.header.picture else layout,
            labels=labels,
            energy=energy,
            against=None if against is None else _read(against, None, most).pixels,
            mask=None if mask is None else _read(mask, None, most).pixels,
            engine=engine,
            threads=threads,
            name=input,
            command=shlex.join(["poolcli", *sys.argv[1:]]),
            step=step,
        )
    if not quiet:
        _talk(found, source, asked=labels is not None)
    if sheet is not None:
        _write(sheet, contents.encode(found.sheet(), formats.by_name("png"), None), force=force)
    if html is not None:
        _write(html, [found.to_html().encode()], force=force)
    if json:
        report.print_json(found.as_json(), indent=2)
    else:
        _show(found)
    return 0


def _check(input: str, outputs: dict[str, str | None], *, force: bool) -> None:
    """Refuse what cannot be written before anything is read."""
    for suffix, name in outputs.items():
        if name is None:
            continue
        option = "sheet" if suffix == ".png" else "html"
        if not name.lower().endswith(suffix):
            raise UsageError(f"{option} must end in {suffix}, got {name!r}")
        if os.path.realpath(name) == os.path.realpath(input):
            raise UsageError(f"{option} must be another file than the input, got {name!r}")
        if os.path.lexists(name) and not force:
            raise UsageError(f"{shown(name)}: exists already", "-f to overwrite it")
    if outputs[".html"] is not None and not (find_spec("jinja2") and find_spec("matplotlib")):
        raise UsageError("html must have jinja2 and matplotlib installed", "pip install 'poolcli[report]'")


def _read(name: str, key: str | None, max_pixels: int) -> Content:
    from poolcli.media import contents

    try:
        content = contents.decode(files.read(name), key=key, max_pixels=max_pixels)
        if content.header.mode == "CMYK":
            raise InputError("inks cannot be compared", "convert it to RGB")
    except PoolError as error:
        raise error.about(shown(name)) from error
    return content


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[], None]]:
    """Count the rows on a terminal."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} compared"), TimeElapsedColumn())
    with Progress(*columns, console=report.console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda: bar.advance(task)


def _talk(found: Comparison, source: Content, *, asked: bool) -> None:
    import numpy as np

    for warning in source.warnings:
        report.say(f"warning: {shown(found.name)}: {warning}")
    values = len(np.unique(found.scene.raw))
    if found.scene.kind == "picture" and not asked and values <= FEW:
        report.say(f"note: {shown(found.name)} has {values} different values: are they labels? --labels or --no-labels")


def _write(name: str, buffers: Sequence[Buffer], *, force: bool) -> None:
    try:
        files.write(name, buffers, overwrite=force)
    except PoolError as error:
        raise error.about(shown(name)) from error


def _show(found: Comparison) -> None:
    """Print a table for each window, then the advice."""
    to, scene, advice = report.console(), found.scene, found.advice
    taken = f"{report.shape(scene.source.shape)} {scene.source.dtype.name}, {scene.kind}"
    to.print(f"{shown(found.name)}: {taken}; criteria look at {scene.words}", markup=False)
    for window in dict.fromkeys(row.window for row in found.rows):
        _show_window(found, window, [row for row in found.rows if row.window == window], to)
    to.print(f"advice: {advice.choice}. {advice.because}. Not if {advice.not_if}.", markup=False)
    to.print(advice.always, markup=False)


def _show_window(found: Comparison, window: str, rows: Sequence[Row], to: Console) -> None:
    """Print a row for each method or, where that does not fit, a column."""
    from rich.text import Text

    cells = [[Text("method"), *(Text(criterion.title) for criterion in found.criteria)]]
    for row in rows:
        texts = (Text(text + "*" * best, "bold" if best else "") for text, best in found.shown(row))
        cells.append([Text(row.method), *texts])
    for lines in (cells, [list(line) for line in zip(*cells, strict=True)]):
        made = report.table(f"{window} (* is the best)", *(f">{head.plain}" for head in lines[0]))
        made.columns[0].justify = "left"
        for line in lines[1:]:
            made.add_row(*line)
        if report.fits(made, to):
            break
    to.print(made)
    for row in rows:
        reasons: dict[str, list[str]] = {}
        for name, why in row.reasons.items():
            reasons.setdefault(why, []).append(name)
        for text in [row.note] if row.note else (f"no {', '.join(names)}: {why}" for why, names in reasons.items()):
            report.say(f"note: {row.method} {window}: {text}")
