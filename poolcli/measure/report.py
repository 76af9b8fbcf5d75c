"""The report: one page of text, pictures, tables and plots that loads nothing; of a comparison, or of a benchmark."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from poolcli.measure import sheet
from poolcli.measure.advice import LIMITS
from poolcli.measure.environment import environment
from poolcli.media import contents, formats
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from poolcli.measure.compare import Comparison, Row
    from poolcli.measure.criteria import Criterion
    from poolcli.measure.results import Results

    Cell = tuple[str, float | None, bool]
    Table = tuple[str, Sequence[str], Sequence[Sequence[Cell]], Sequence[str]]

WIDTH = 640  # columns of a picture at most; wider ones are picked from
INK = "#010203"  # of a plot, in place of which the page puts its own


class Page(NamedTuple):
    """All that a page shows.

    Tables are (caption, heads, rows of cells, remarks), a cell (text, number that it shows, whether it is the best),
    plots (title, SVG), notes (title, lines), pictures (label, alternative text, data URL, width, height): the input,
    and results that swap with it.
    """

    title: str
    lead: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[tuple[str, Any]]
    notes: Sequence[tuple[str, Sequence[str]]]
    pictures: Sequence[tuple[str, str, str, int, int]] = ()


def rendered(page: Page) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("poolcli", "measure")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return made.get_template("report.html.j2").render(page=page)


def compared(found: Comparison) -> Page:
    """Return the page of a comparison."""
    of, advice = found.subject, found.advice
    size = "x".join(map(str, of.source.shape))
    lead = (
        f"{size} {of.source.dtype.name}, taken for {of.kind}; criteria look at {of.words}.",
        f"Choose {advice.choice}: {advice.because}. Not if {advice.not_if}.",
        advice.always,
    )
    here = environment()
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    made = (*filter(None, [found.command]), f"{here.system}; {versions}")
    notes = (("Formulas", [*map(_formula, found.criteria)]), ("How it was made", made), ("Limits", LIMITS))
    tables = [_table(found, window, rows) for window, rows in found.windows.items()]
    plots = [_bars(found.rows, criterion) for criterion in found.criteria]
    pictures = [_picture(found, of.source, "input", shown(found.name))]
    for row in found.rows:
        if row.result is not None:
            name = f"{row.method} {row.window}"
            pictures.append(_picture(found, row.result(), name, f"result of {name}"))
    title = f"Which pooling for {shown(found.name)}?"
    return Page(title, lead, tables, [plot for plot in plots if plot[1]], notes, pictures)


def benchmarked(found: Results) -> Page:
    """Return the page of a benchmark."""
    from poolcli.measure.plot import draw
    from poolcli.measure.tables import COLUMNS, machine

    rows = [row for row in found.rows if row.timing.status == "done"]
    columns = [column for column in COLUMNS if any(column.show(row) for row in rows)]
    cells = [[(column.show(row), None, False) for column in columns] for row in rows]
    drawn = draw(found, "svg").items()
    plots = [(f"Time of the {name}", _inline(data.decode(), f"bench-{name}")) for name, data in drawn]
    notes = [("How it was made", (found.command, found.created))]
    tables = [("Timings", [column.title for column in columns], cells, ())]
    return Page("How long does pooling take?", [machine(found)], tables, plots, notes)


def _table(found: Comparison, window: str, rows: Sequence[Row]) -> Table:
    lines = []
    for row in rows:
        named = zip(found.criteria, found.shown(row), strict=True)
        cells = [(text, row.numbers.get(criterion.name), best) for criterion, (text, best) in named]
        lines.append([(row.method, None, False), *cells])
    heads = ["method", *(criterion.title for criterion in found.criteria)]
    return f"Window {window}; ★ is the best, where more or less is better", heads, lines, found.remarks(window)


def _formula(criterion: Criterion) -> str:
    better = {"low": "less is better", "high": "more is better", "zero": "near 0 is better", "": "describes"}
    said = f"{criterion.title} ({criterion.unit}; {better[criterion.better]}): {criterion.formula}"
    return f"{said}. {criterion.source}" if criterion.source else said


def _picture(found: Comparison, array: NDArray[Any], label: str, alt: str) -> tuple[str, str, str, int, int]:
    tiles = sheet.tiles(found.subject, array)
    wide, one = tiles[0].shape[1], len(tiles) == 1
    image = sheet.grid(tiles, min(WIDTH, wide) if one else WIDTH, tiles[0])
    data = b"".join(contents.encode(image, formats.by_name("png"), None))
    size = "x".join(map(str, array.shape))
    view = f", {WIDTH} of {wide} columns shown" if one and wide > WIDTH else ""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f"{label}, {size}{view}", f"{alt}, {size}", source, image.shape[1], image.shape[0]


def _bars(rows: Sequence[Row], criterion: Criterion) -> tuple[str, Any]:
    """Return a bar for each row with its number at the end, or nothing where there is nothing to compare."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    named = criterion.name
    known = {f"{row.method} {row.window}": row.numbers[named] for row in rows if named in row.numbers}
    if len(known) < 2:
        return criterion.title, ""
    out = io.StringIO()
    style: Any = dict.fromkeys(("text.color", "ytick.color"), INK)
    style |= {"svg.fonttype": "none", "svg.hashsalt": "poolcli", "font.size": 10, "text.parse_math": False}
    with rc_context(style):
        figure = Figure((3.4, 0.27 * len(known) + 0.5), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh([*known], [*known.values()], color="#3B8EC2")
        axes.bar_label(bars, [criterion.show(value) for value in known.values()], padding=3)
        axes.set_title(criterion.title, fontsize=11)
        axes.invert_yaxis()
        axes.margins(x=0.4 if min(known.values()) < 0 else 0.25)
        axes.set_xticks([])
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.spines[:].set_visible(False)
        figure.savefig(out, format="svg", transparent=True)
    return criterion.title, _inline(out.getvalue(), criterion.name)


def _inline(svg: str, name: str) -> Any:
    """Return an SVG as a part of a page: its names its own, and its ink the page's."""
    from markupsafe import Markup

    svg = re.sub(r"<metadata>.*?</metadata>| xmlns(:\w+)?=\"[^\"]*\"", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return Markup(svg.replace(INK, "currentColor"))  # noqa: S704 -- matplotlib escapes its texts
