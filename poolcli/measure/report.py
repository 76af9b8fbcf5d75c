"""The report: one page of text, pictures, tables and plots that loads nothing; of a comparison, or of a benchmark."""

from __future__ import annotations

import base64
import io
import platform
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import poolcli
from poolcli.errors import UsageError
from poolcli.measure import sheet
from poolcli.measure.advice import LIMITS
from poolcli.media import contents, formats
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from poolcli.measure.compare import Comparison, Row
    from poolcli.measure.criteria import Criterion
    from poolcli.measure.results import Results
    from poolcli.measure.scene import Scene

    Array = NDArray[Any]

WIDTH = 640  # columns of a picture at most; wider ones are picked from
INK = "#010203"  # of a plot, in place of which the page puts its own


class Picture(NamedTuple):
    """A picture as a data URL."""

    label: str
    alt: str
    source: str
    width: int
    height: int


class Cell(NamedTuple):
    """A cell of a table: its text, and the number that it shows, if it does."""

    text: str
    value: float | None = None
    best: bool = False


class Page(NamedTuple):
    """All that a page shows; results swap with the first picture.

    Tables are (caption, heads, rows of cells), plots (title, SVG), notes (title, lines).
    """

    title: str
    lead: Sequence[str]
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Cell]]]]
    plots: Sequence[tuple[str, Any]]
    notes: Sequence[tuple[str, Sequence[str]]]
    pictures: Sequence[Picture] = ()


def rendered(page: Page) -> str:
    """Return the page as HTML.

    Raises
    ------
    UsageError
        jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise UsageError("html must have jinja2 and matplotlib installed", "pip install 'poolcli[report]'") from error
    loader = PackageLoader("poolcli", "measure")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return made.get_template("report.html.j2").render(page=page)


def compared(found: Comparison) -> Page:
    """Return the page of a comparison."""
    scene, advice = found.scene, found.advice
    size = "x".join(map(str, scene.source.shape))
    lead = (
        f"{size} {scene.source.dtype.name}, taken for {scene.kind}; criteria look at {scene.words}.",
        f"Choose {advice.choice}: {advice.because}. Not if {advice.not_if}.",
        advice.always,
    )
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "pillow"))
    made = (f"poolcli {poolcli.__version__}, {system}, {libraries}", *([found.command] if found.command else []))
    notes = (("Formulas", [*map(_formula, found.criteria)]), ("How it was made", made), ("Limits", LIMITS))
    tables = [_table(found, window) for window in dict.fromkeys(row.window for row in found.rows)]
    plots = [_bars(found.rows, criterion) for criterion in found.criteria]
    title = f"Which pooling for {shown(found.name)}?"
    return Page(title, lead, tables, [plot for plot in plots if plot[1]], notes, _pictures(found))


def benchmarked(found: Results) -> Page:
    """Return the page of a benchmark."""
    from poolcli.measure.plot import draw
    from poolcli.measure.results import COLUMNS, machine

    rows = [row for row in found.rows if row.timing.status == "done"]
    columns = [column for column in COLUMNS if any(column.show(row) for row in rows)]
    table = "Timings", [column.title for column in columns], [[Cell(c.show(row)) for c in columns] for row in rows]
    plot = "Time of each case", _inline(draw(found, "svg").decode(), "bench")
    notes = [("How it was made", (found.command, found.created))]
    return Page("How long does pooling take?", [machine(found)], [table], [plot], notes)


def _table(found: Comparison, window: str) -> tuple[str, list[str], list[list[Cell]]]:
    rows = []
    for row in found.rows:
        if row.window == window:
            named = zip(found.criteria, found.shown(row), strict=True)
            cells = [Cell(text, row.values[criterion.name], best) for criterion, (text, best) in named]
            why = row.note or "; ".join(f"{name}: {reason}" for name, reason in row.reasons.items())
            rows.append([Cell(row.method), *cells, Cell(why)])
    heads = ["method", *(criterion.title for criterion in found.criteria), "note"]
    return f"Window {window}; ★ is the best, where more or less is better", heads, rows


def _formula(criterion: Criterion) -> str:
    better = {"low": "less is better", "high": "more is better", "zero": "near 0 is better", "": "describes"}
    said = f"{criterion.title} ({criterion.unit}; {better[criterion.better]}): {criterion.formula}"
    return f"{said}. {criterion.source}" if criterion.source else said


def _pictures(found: Comparison) -> tuple[Picture, ...]:
    pictures = [_picture(found.scene, found.scene.source, "input", shown(found.name))]
    for row in found.rows:
        if row.result is not None:
            name = f"{row.method} {row.window}"
            pictures.append(_picture(found.scene, row.result(), name, f"result of {name}"))
    return tuple(pictures)


def _picture(scene: Scene, array: Array, label: str, alt: str) -> Picture:
    tiles = sheet.tiles(scene, array)
    wide = tiles[0].shape[1]
    image = sheet.grid(tiles, min(WIDTH, wide) if len(tiles) == 1 else WIDTH)
    data = b"".join(contents.encode(image, formats.by_name("png"), None))
    size = "x".join(map(str, array.shape))
    picked = f", {WIDTH} of {wide} columns shown" if len(tiles) == 1 and wide > WIDTH else ""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return Picture(f"{label}, {size}{picked}", f"{alt}, {size}", source, image.shape[1], image.shape[0])


def _bars(rows: Sequence[Row], criterion: Criterion) -> tuple[str, Any]:
    """Return a bar for each row with its number at the end, or nothing where there is nothing to compare."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    known = [(f"{row.method} {row.window}", value) for row in rows if (value := row.values[criterion.name]) is not None]
    if len(known) < 2:
        return criterion.title, ""
    out = io.StringIO()
    style: Any = dict.fromkeys(("text.color", "ytick.color"), INK)
    style |= {"svg.fonttype": "none", "svg.hashsalt": "poolcli", "font.size": 10, "text.parse_math": False}
    with rc_context(style):
        figure = Figure((3.4, 0.27 * len(known) + 0.5), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh([name for name, _ in known], [value for _, value in known], color="#3B8EC2")
        axes.bar_label(bars, [criterion.show(value) for _, value in known], padding=3)
        axes.set_title(criterion.title, fontsize=11)
        axes.invert_yaxis()
        axes.margins(x=0.4 if min(value for _, value in known) < 0 else 0.25)
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
