"""What a benchmark looks like: time against kernel for each contender, and bars for each case."""

from __future__ import annotations

import io
import math
from itertools import cycle, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from poolcli.errors import PoolError
from poolcli.measure.cases import window_token
from poolcli.measure.results import LIMIT, OURS
from poolcli.measure.tables import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from poolcli.measure.cases import Case, Size
    from poolcli.measure.results import Results, Timing

# For all kinds of colour vision: Okabe and Ito, https://jfly.uni-koeln.de/color/, without the yellow that is too light
# on white, then three of Paul Tol's muted scheme; markers and hatches tell apart what is printed in grey.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#332288", "#7A7A7A",
)  # fmt: skip
MARKERS = "osD^vP*Xh<"
HATCHES = ("", "//", "\\\\", "xx", "..", "--", "||", "++", "oo", "**")
PANEL = 4.6, 3.3  # inches
WIDTH = 6.6  # that the legend needs


class Style(NamedTuple):
    """How a contender is drawn, the same in every panel."""

    colour: str
    marker: str
    hatch: str


def draw(results: Results, form: str) -> bytes:
    """Return a picture of *results*: a column of panels for each method, rows of lines and of bars for each size.

    Raises
    ------
    PoolError
        Nothing was timed.
    """
    from matplotlib.figure import Figure

    if not results.done:
        raise PoolError("plot must have at least one timing, got none")
    styles, rows = _styles(results.done), list(_rows(results.done))
    columns = max(len(panels) for _, panels in rows)
    figure = Figure((max(WIDTH, PANEL[0] * columns), PANEL[1] * len(rows) + 1.4), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (fill, panels) in zip(grid, rows, strict=True):
        for ax, timings in zip(axes, panels, strict=False):
            fill(ax, timings, styles)
            _finish(ax, timings[0].case)
        for ax in axes[len(panels) :]:
            ax.axis("off")
    _legend(figure, styles, max(3, 2 * columns))
    figure.supxlabel(machine(results), fontsize=7, color="#555555", wrap=True)
    out = io.BytesIO()
    figure.savefig(out, format=form, dpi=110)
    return out.getvalue()


def _styles(done: Sequence[Timing]) -> dict[str, Style]:
    names = dict.fromkeys(t.contender for t in sorted(done, key=lambda t: not t.ours) if t.contender != LIMIT)
    looks = cycle(map(Style, COLOURS, MARKERS, HATCHES))
    return {**dict(zip(names, looks, strict=False)), LIMIT: Style("#000000", "", "")}


def _rows(done: Sequence[Timing]) -> Iterator[tuple[Callable[..., None], list[list[Timing]]]]:
    """Yield the rows of panels of each size: lines where a kernel grows at one stride, then bars of all windows."""
    found: dict[tuple[Size, int], dict[str, list[Timing]]] = {}
    for timing in done:
        case = timing.case
        found.setdefault((case.size, case.threads), {}).setdefault(case.method, []).append(timing)
    for panels in found.values():
        grown = [growing for timings in panels.values() if (growing := _growing(timings))]
        if grown:
            yield _draw_lines, grown
        yield _draw_bars, list(panels.values())


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
    for name, style in styles.items():
        found = sorted((_side(t.case), _milliseconds(t), t.lower_bound) for t in timings if t.contender == name)
        ours = name.startswith(OURS)
        ax.plot(
            [k for k, _, _ in found],
            [ms for _, ms, _ in found],
            color=style.colour,
            marker=style.marker,
            markersize=5,
            linewidth=2.5 if ours else 1.3,
            linestyle="--" if name == LIMIT else "-",
            zorder=3 if ours else 2,
        )
        for k, ms, bound in found:
            _mark(ax, k, ms, bound=bound)
    sides = sorted({_side(t.case) for t in timings})
    ax.set_xscale("log")
    ax.set_xticks(sides, [f"{side:g}" for side in sides])
    ax.minorticks_off()
    stride = "x".join(map(str, dict.fromkeys(timings[0].case.window.stride)))
    ax.set_xlabel(f"kernel side at stride {stride}, elements")


def _mark(ax: Any, x: float, ms: float, *, bound: bool) -> None:
    if bound:
        ax.annotate("≥", (x, ms), textcoords="offset points", xytext=(0, 3), ha="center", fontsize=9)


def _side(case: Case) -> float:
    """Side of the square that has as many elements as the kernel."""
    return math.sqrt(case.elements)


def _draw_bars(ax: Any, timings: list[Timing], styles: dict[str, Style]) -> None:
    windows = groupby(timings, lambda t: window_token(t.case.window))
    titles = []
    for place, (title, of_window) in enumerate(windows):
        titles.append(title)
        here = {t.contender: t for t in of_window}
        limit = here.pop(LIMIT, None)
        width, left = 0.84 / max(1, len(here)), place - 0.42
        for i, name in enumerate(name for name in styles if name in here):
            style, ms, centre = styles[name], _milliseconds(here[name]), left + (i + 0.5) * width
            ax.bar(centre, ms, width, color=style.colour, hatch=style.hatch, edgecolor="white", linewidth=0.4, zorder=2)
            _mark(ax, centre, ms, bound=here[name].lower_bound)
        if limit:
            level = _milliseconds(limit)
            ax.hlines(level, left, left + 0.84, colors="#FFFFFF", linewidth=3, zorder=3)
            ax.hlines(level, left, left + 0.84, colors=styles[LIMIT].colour, linestyles="--", zorder=4)
    ax.set_xticks(range(len(titles)), titles)
    ax.tick_params("x", length=0)
    ax.set_xlabel("window")


def _finish(ax: Any, case: Case) -> None:
    ax.set_yscale("log")
    ax.margins(y=0.1)
    low, high = ax.get_ylim()
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    # a decade says enough by its own name; less than two need their 2 and 5
    ax.yaxis.set_minor_formatter(lambda value, _: _minor_label(value) if high < 100 * low else "")
    ax.set_ylabel("time, ms")
    title = f"{case.method}   {case.size.token}   {case.threads} thread{'s' * (case.threads != 1)}"
    ax.set_title(title, fontsize=10)
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _minor_label(value: float) -> str:
    return f"{value:g}" if round(value / 10 ** math.floor(math.log10(value) + 1e-9)) in (2, 5) else ""


def _legend(figure: Any, styles: dict[str, Style], entries: int) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[object] = []
    for name, style in styles.items():
        if name == LIMIT:
            handles.append(Line2D([], [], color=style.colour, linestyle="--"))
        else:
            patch = Patch(facecolor=style.colour, hatch=style.hatch, edgecolor="white", linewidth=0.4)
            handles.append((patch, Line2D([], [], color=style.colour, marker=style.marker)))
    labels = ["limit (copy)" if name == LIMIT else name for name in styles]
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=min(entries, len(labels)),
        frameon=False,
        fontsize=9,
        handler_map={tuple: HandlerTuple(ndivide=None)},
        handlelength=3.5,
    )
