"""What a benchmark looks like, a picture for each question: how time grows with the kernel, and who is how fast."""

from __future__ import annotations

import io
import math
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from poolcli.errors import PoolError
from poolcli.jobs.naming import spelled
from poolcli.measure.cases import window_token
from poolcli.measure.peers import LIBRARIES
from poolcli.measure.results import LIMIT, OURS
from poolcli.measure.tables import machine, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcli.measure.cases import Case
    from poolcli.measure.results import Results, Timing

# For all kinds of colour vision: Okabe and Ito, https://jfly.uni-koeln.de/color/, without the yellow that is too light
# on white, then three of Paul Tol's muted scheme; markers and hatches tell apart what is printed in grey.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#332288", "#7A7A7A",
    "#44AA99", "#DDCC77", "#AA4466", "#117733",
)  # fmt: skip
MARKERS = "osD^vP*Xh<p>8d"
HATCHES = ("", "//", "\\\\", "xx", "..", "--", "||", "++", "oo", "**", "/.", "\\\\.", "x-", "+|")
WIDTH, HEIGHT = 4.6, 3.0  # inches of a panel of lines; a panel of bars is as high as its bars
BAR = 0.17  # inches
COLUMNS = 2  # panels beside each other: README shows 8 inches

# Every contender has its place, so that it has one look in all pictures
PLACES = [
    *(f"{OURS} {engine}" for engine in ("numba", "numpy")),
    *dict.fromkeys(f"{row.name} {call.form}".strip() for row in LIBRARIES.values() for call in row.calls),
]


class Style(NamedTuple):
    """How a contender is drawn."""

    colour: str
    marker: str
    hatch: str


def draw(results: Results, form: str) -> dict[str, bytes]:
    """Return the pictures of *results* by their question: ``kernels`` where some grow at one stride, ``cases``.

    Raises
    ------
    PoolError
        Nothing was timed.
    """
    if not results.done:
        raise PoolError("plot must have at least one timing, got none")
    panels: dict[tuple[object, ...], list[Timing]] = {}
    for timing in results.done:
        case = timing.case
        panels.setdefault((case.size, case.threads, case.rest, case.method), []).append(timing)
    grown = [growing for timings in panels.values() if (growing := _growing(timings))]
    drawn = {timing.case for timings in grown for timing in timings}
    rest = [left for timings in panels.values() if (left := [t for t in timings if t.case not in drawn])]
    styles = _styles(results.done)
    questions = {"kernels": (_draw_lines, grown), "cases": (_draw_bars, rest)}
    return {name: _picture(fill, of, styles, results, form) for name, (fill, of) in questions.items() if of}


def _picture(
    fill: Callable[..., None], panels: list[list[Timing]], styles: dict[str, Style], results: Results, form: str
) -> bytes:
    """Return a picture of a panel for each list of timings, and one legend."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    bars = [max(len(timings) + len({t.case for t in timings}) for timings in row) for row in rows]
    heights = [HEIGHT if fill is _draw_lines else 0.9 + BAR * count for count in bars]
    figure = Figure((WIDTH * max(columns, 1.5), sum(heights) + 1.2), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, row in zip(grid, rows, strict=True):
        for ax, timings in zip(axes, row, strict=False):
            fill(ax, timings, styles)
            case = timings[0].case
            threads = f"{case.threads} thread{'s' * (case.threads != 1)}"
            ax.set_title(f"{case.method}   {case.size.token}   {threads}{case.rested}", fontsize=10)
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
        for ax in axes[len(row) :]:
            ax.axis("off")
    shown = [timing for timings in panels for timing in timings]
    styles = {name: style for name, style in styles.items() if name in {timing.contender for timing in shown}}
    _legend(figure, styles, lines=fill is _draw_lines, bounds=any(timing.lower_bound for timing in shown))
    figure.supxlabel(machine(results), fontsize=6.5, color="#555555", wrap=True)
    out = io.BytesIO()
    figure.savefig(out, format=form, dpi=110)
    return out.getvalue()


def _styles(done: Iterable[Timing]) -> dict[str, Style]:
    """Return the looks of contenders, ours first; what has no place takes those that are left."""
    looks = list(map(Style, COLOURS, MARKERS, HATCHES))
    names = list(dict.fromkeys(t.contender for t in done if t.contender != LIMIT))
    free = iter([look for i, look in enumerate(looks) if i >= len(PLACES) or PLACES[i] not in names] * len(names))
    found = {name: looks[PLACES.index(name) % len(looks)] if name in PLACES else next(free) for name in names}
    order = sorted(found, key=lambda name: (not name.startswith(OURS), names.index(name)))
    return {**{name: found[name] for name in order}, LIMIT: Style("#000000", "", "")}


def _growing(timings: Iterable[Timing]) -> list[Timing]:
    """Return the timings of the stride with most kernels, if they are three or more."""
    kernels: dict[object, set[object]] = {}
    for timing in timings:
        kernels.setdefault(timing.case.window.stride, set()).add(timing.case.window.kernel)
    stride, most = max(kernels.items(), key=lambda item: len(item[1]))
    return [t for t in timings if t.case.window.stride == stride] if len(most) >= 3 else []


def _milliseconds(timing: Timing) -> float:
    return timing.summary.median * 1e3


def _draw_lines(ax: Any, timings: list[Timing], styles: dict[str, Style]) -> None:
    """Draw time against kernel; what is only known to take longer is hollow, and no line leads there."""
    for name, style in styles.items():
        mine = sorted((t for t in timings if t.contender == name), key=lambda t: _side(t.case))
        look = {"color": style.colour, "marker": style.marker, "markersize": 5, "zorder": 3 if name[:7] == OURS else 2}
        known = [t for t in mine if not t.lower_bound]
        width = {"linewidth": 2.5 if name.startswith(OURS) else 1.3, "linestyle": "--" if name == LIMIT else "-"}
        ax.plot([_side(t.case) for t in known], list(map(_milliseconds, known)), **look, **width)
        bounds = [t for t in mine if t.lower_bound]
        places = [_side(t.case) for t in bounds]
        ax.plot(places, list(map(_milliseconds, bounds)), **look, linestyle="", markerfacecolor="white")
    sides = sorted({_side(t.case) for t in timings})
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(sides, [f"{side:g}" for side in sides])
    ax.xaxis.minorticks_off()
    low, high = ax.get_ylim()
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    # a decade says enough by its own name; less than two need their 2 and 5
    ax.yaxis.set_minor_formatter(lambda value, _: _minor_label(value) if high < 100 * low else "")
    ax.set_xlabel(f"kernel side at stride {spelled(timings[0].case.window.stride)}, elements")
    ax.set_ylabel("time, ms")
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)


def _side(case: Case) -> float:
    """Side of the square that has as many elements as the kernel."""
    return math.sqrt(case.elements)


def _minor_label(value: float) -> str:
    return f"{value:g}" if round(value / 10 ** math.floor(math.log10(value) + 1e-9)) in (2, 5) else ""


def _draw_bars(ax: Any, timings: list[Timing], styles: dict[str, Style]) -> None:
    """Draw a bar for each contender of each window, its median at the end; hollow where it takes longer still."""
    place, ticks = 0.0, {}
    for title, group in groupby(timings, lambda t: window_token(t.case.window)):
        here = sorted(group, key=lambda t: list(styles).index(t.contender))
        ticks[title] = place + (len(here) - 1) / 2
        for timing in here:
            _bar(ax, place, timing, styles[timing.contender])
            place += 1
        place += 1  # a gap
    ax.set_yticks(list(ticks.values()), list(ticks))
    ax.tick_params("y", length=0)
    ax.set_ylim(place - 1.4, -0.6)
    ax.set_xlim(0, 1.22 * max(_end(t) for t in timings))  # room for the numbers
    ax.set_xlabel("time, ms")
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)


def _bar(ax: Any, place: float, timing: Timing, style: Style) -> None:
    ms, bound = _milliseconds(timing), timing.lower_bound
    fill = {"color": "white", "edgecolor": style.colour} if bound else {"color": style.colour, "edgecolor": "white"}
    ax.barh(place, ms, 0.86, hatch="" if bound else style.hatch, linewidth=1.2 if bound else 0.4, **fill)
    if not bound:
        whisker = [[max(0.0, ms - 1e3 * timing.quartiles[0])], [max(0.0, 1e3 * timing.quartiles[1] - ms)]]
        ax.errorbar(ms, place, xerr=whisker, color="#333333", linewidth=0.8, capsize=1.5)
    text = f"{'≥ ' * bound}{number(ms)}"
    ax.annotate(text, (_end(timing), place), textcoords="offset points", xytext=(3, 0), va="center", fontsize=7)


def _end(timing: Timing) -> float:
    """Return where a bar ends, its whisker too, in milliseconds."""
    return 1e3 * max(timing.summary.median, 0 if timing.lower_bound else timing.quartiles[1])


def _legend(figure: Any, styles: dict[str, Style], *, lines: bool, bounds: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[object] = []
    for name, style in styles.items():
        if lines:
            handles.append(
                Line2D([], [], color=style.colour, marker=style.marker, linestyle="--" if name == LIMIT else "-")
            )
        else:
            handles.append(Patch(facecolor=style.colour, hatch=style.hatch, edgecolor="white", linewidth=0.4))
    labels = ["limit (copy)" if name == LIMIT else name for name in styles]
    if bounds:
        handles.append(Line2D([], [], color="#777777", marker="o", markerfacecolor="white", linestyle=""))
        labels.append("hollow: takes longer still")
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8, handlelength=2.5)
