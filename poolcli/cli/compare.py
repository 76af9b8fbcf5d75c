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
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from poolcli.measure.compare import Comparison
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

    def read(name: str | None, own_key: str | None = None) -> NDArray[Any] | None:
        if name is None:
            return None
        return _read(name, own_key, options.amount("max-pixels", max_pixels)).pixels

    source = _read(input, key, options.amount("max-pixels", max_pixels))
    with _progress(quiet=quiet) as step:
        found = compared(
            source.pixels,
            None if method is None else method.split(","),
            None if window is None else window.split(","),
            layout=layout,
            labels=labels,
            energy=energy,
            against=read(against),
            mask=read(mask),
            engine=engine,
            threads=threads,
            name=input,
            command=shlex.join(["poolcli", *sys.argv[1:]]),
            step=step,
        )
    if not quiet:
        _talk(found, source, asked=labels is not None)
    _write(found, sheet, html, force=force)
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
    from poolcli.media import contents, files

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


def _write(found: Comparison, sheet: str | None, html: str | None, *, force: bool) -> None:
    from poolcli.media import contents, files, formats

    for name, made in ((sheet, found.sheet), (html, found.to_html)):
        if name is not None:
            product = made()
            buffers = (
                [product.encode()]
                if isinstance(product, str)
                else contents.encode(product, formats.by_name("png"), None)
            )
            try:
                files.write(name, buffers, overwrite=force)
            except PoolError as error:
                raise error.about(shown(name)) from error


def _show(found: Comparison) -> None:
    """Print a table for each window, then the advice."""
    to, scene = report.console(), found.scene
    size = report.shape(scene.source.shape)
    to.print(
        f"{shown(found.name)}: {size} {scene.source.dtype.name}, {scene.kind}; criteria look at {scene.words}",
        markup=False,
    )
    for window in dict.fromkeys(row.window for row in found.rows):
        _show_window(found, window)
    advice = found.advice
    to.print(
        f"advice: {advice.choice}. {advice.because}. Not if {advice.not_if}.", advice.always, sep="\n", markup=False
    )


def _show_window(found: Comparison, window: str) -> None:
    """Print a row for each method or, where that does not fit, a column."""
    from rich.text import Text

    to = report.console()
    rows = [row for row in found.rows if row.window == window]
    cells = [[Text("method"), *(Text(criterion.title) for criterion in found.criteria)]]
    for row in rows:
        best = [found.best(row, criterion) for criterion in found.criteria]
        texts = [
            criterion.show(row.values[criterion.name]) + "*" * good
            for criterion, good in zip(found.criteria, best, strict=True)
        ]
        cells.append(
            [Text(row.method), *(Text(text, "bold" if good else "") for text, good in zip(texts, best, strict=True))]
        )
    for lines in (cells, [list(line) for line in zip(*cells, strict=True)]):
        made = report.table(f"{window} (* is the best)", *(f">{head.plain}" for head in lines[0]))
        made.columns[0].justify = "left"
        for line in lines[1:]:
            made.add_row(*line)
        if report.fits(made, to):
            break
    to.print(made)
    for row in rows:
        said = (
            [row.note] if row.note else list(dict.fromkeys(f"{name}: {reason}" for name, reason in row.reasons.items()))
        )
        for text in said:
            report.say(f"note: {row.method} {window}: {text}")
