"""``poolcli compare``: methods side by side, and which to choose."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import poolcli
from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.core.settings import setting
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.jobs.page import PICTURE_LAYOUTS
from poolcli.jobs.request import Output, Request
from poolcli.measure.request import require
from poolcli.media import files
from poolcli.media.files import shown

if TYPE_CHECKING:
    from poolcli.measure.compare import Comparison
    from poolcli.media.contents import Content

FEW = 32  # different values of what may be labels


@dataclass(frozen=True)
class Compared:
    """What is compared, and what is made of it."""

    method: tuple[str, ...] = setting(
        "Window", "Else max,avg,l2,median, for labels mode,max,first,median.", default=(), short="-m", metavar="NAMES"
    )
    window: tuple[str, ...] = setting(
        "Window", "Tokens such as k3s2p1; else k2,k4.", default=(), short="-w", metavar="WINDOWS"
    )
    labels: bool | None = setting("Input", "The values are labels.", default=None)
    energy: bool = setting("Input", "The values are amplitudes, whose squares must be kept.", default=False)
    mask: str | None = setting(
        "Input", "Where it is 0 and where not is to be told apart.", default=None, metavar="FILE"
    )
    against: str | None = setting(
        "Input", "A result of another tool, to be measured, too.", default=None, metavar="FILE"
    )
    sheet: str | None = setting("Output", "Write a contact sheet of the results.", default=None, metavar="FILE.png")
    html: str | None = setting(
        "Output", "Write a report: one page that loads nothing.", default=None, metavar="FILE.html"
    )


@options.command(
    "poolcli compare photo.png",
    "poolcli compare photo.png -m max,avg,blur -w k2s2,k3s2p1 --sheet sheet.png",
    "poolcli compare labels.png --labels --html report.html",
)
def compare(
    input: Annotated[str, options.argument("INPUT", "A file, or - for stdin.")],
    asked: Compared,
    request: Annotated[Request, "layout", "key", "max_pixels", "engine", "threads"],
    output: Annotated[Output, "force"],
    talk: Annotated[Talk, "json", "quiet", "debug"],
) -> int:
    _check(input, asked, force=output.force)
    source = _read(input, request, request.key)
    if source.header.picture and request.layout is not None:
        raise InputError(f"layout must not be given for a picture, got {request.layout!r}", "pictures are HW or HWC")
    found = _compared(source, input, asked, request, quiet=talk.quiet)
    if not talk.quiet:
        _warn(found, source, asked=asked.labels is not None)
    if asked.sheet is not None:
        poolcli.write(asked.sheet, found.sheet(), force=output.force)
    if asked.html is not None:
        try:
            files.write(asked.html, [found.to_html().encode()], overwrite=output.force)
        except PoolError as error:
            raise error.about(shown(asked.html)) from error
    if talk.json:
        report.print_json(found.as_json(), indent=2)
    else:
        _show(found)
    return 0


def _check(input: str, asked: Compared, *, force: bool) -> None:
    """Refuse what could not be written once everything is compared."""
    for option, suffix, name in (("sheet", ".png", asked.sheet), ("html", ".html", asked.html)):
        if name is None:
            continue
        if not name.lower().endswith(suffix):
            raise UsageError(f"{option} must end in {suffix}, got {name!r}")
        if os.path.realpath(name) == os.path.realpath(input):
            raise UsageError(f"{option} must be another file than the input, got {name!r}")
        if os.path.lexists(name) and not force:
            raise UsageError(f"{shown(name)}: exists already", "force=True overwrites it")
    if asked.html is not None:
        require("html")


def _read(name: str, request: Request, key: str | None = None) -> Content:
    from poolcli.media import contents

    try:
        content = contents.decode(files.read(name), key=key, max_pixels=request.max_pixels)
        if content.header.mode == "CMYK":
            raise InputError("inks cannot be compared", "convert it to RGB")
    except PoolError as error:
        raise error.about(shown(name)) from error
    return content


def _compared(source: Content, name: str, asked: Compared, request: Request, *, quiet: bool) -> Comparison:
    return poolcli.compare(
        source.pixels,
        asked.method,
        asked.window,
        layout=PICTURE_LAYOUTS[source.pixels.ndim] if source.header.picture else request.layout,
        labels=asked.labels,
        energy=asked.energy,
        mask=None if asked.mask is None else _read(asked.mask, request).pixels,
        against=None if asked.against is None else _read(asked.against, request).pixels,
        engine=request.engine,
        threads=request.threads,
        name=name,
        command=report.command(),
        track=partial(report.track, label="compared", quiet=quiet),
    )


def _warn(found: Comparison, source: Content, *, asked: bool) -> None:
    import numpy as np

    name, values = shown(found.name), len(np.unique(found.subject.part))
    for warning in source.warnings:
        report.say(f"warning: {name}: {warning}")
    if found.subject.kind == "picture" and not asked and values <= FEW:
        report.say(f"note: {name} has {values} different values: are they labels? --labels or --no-labels")
    for window in found.windows:
        for remark in found.remarks(window):
            report.say(f"note: {remark}")


def _show(found: Comparison) -> None:
    """Print a table for each window, a line for each criterion and a column for each method, then the advice."""
    from rich.text import Text

    to, of, advice = report.console(), found.subject, found.advice
    taken = f"{report.shape(of.source.shape)} {of.source.dtype.name}, {of.kind}"
    to.print(f"{shown(found.name)}: {taken}; criteria look at {of.words}", markup=False)
    for window, rows in found.windows.items():
        to.print(f"{window} (* is the best)")
        lines = zip(*map(found.shown, rows), strict=True)
        cells = [[Text(text + "*" * best, "bold" if best else "") for text, best in line] for line in lines]
        labels = ("criterion", *(f">{row.method}" for row in rows))
        report.show(labels, [(row.title, *line) for row, line in zip(found.criteria, cells, strict=True)])
    to.print(
        f"advice: {advice.choice}. {advice.because}. Not if {advice.not_if}.", advice.always, sep="\n", markup=False
    )
