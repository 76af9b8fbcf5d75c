"""`compare`: methods side by side on one picture, label map or tensor, with advice which to choose."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import layouts, pooling
from poolcli.core.geometry import Window
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.jobs.records import SCHEMA
from poolcli.jobs.request import method
from poolcli.measure import cases, criteria
from poolcli.measure.advice import Advice, Facts, advise, unfit
from poolcli.measure.codec import encode
from poolcli.measure.request import require
from poolcli.measure.subject import Subject, indexed, subject
from poolcli.measure.turns import Rules, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from poolcli.core.layouts import Layout
    from poolcli.measure.criteria import Criterion, Value

    Array = NDArray[Any]
    Cell = tuple[str, Window]
    Table = tuple[Criterion, ...]

DEFAULT = ("max", "avg", "l2", "median")
FOR_LABELS = ("mode", "max", "first", "median")
WINDOWS = ("k2", "k4")
CELLS = 48  # methods x windows
RULES = Rules(warmup=0, min_runs=3, min_time=0, max_time=0.1)  # a median of 6 Mpix takes 0.7 s


@dataclass(frozen=True, slots=True)
class Row:
    """A method and a window: a number for each criterion, or why there is none; *result* makes the whole result."""

    method: str
    window: str
    values: Mapping[str, Value]
    note: str = ""
    result: Callable[[], Array] | None = None

    @property
    def numbers(self) -> dict[str, float]:
        """The values that are there."""
        return {name: value for name, value in self.values.items() if isinstance(value, float)}

    @property
    def reasons(self) -> dict[str, str]:
        """Why the others are not."""
        return {name: value for name, value in self.values.items() if isinstance(value, str)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing gave."""

    name: str
    subject: Subject
    criteria: tuple[Criterion, ...]
    rows: tuple[Row, ...]
    advice: Advice
    command: str

    @property
    def windows(self) -> dict[str, list[Row]]:
        """The rows of each window."""
        return {name: [row for row in self.rows if row.window == name] for name in (row.window for row in self.rows)}

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """Return the text of each value of a row, and whether it is the best of its window."""
        found = []
        for criterion in self.criteria:
            best = criterion.best(other.values[criterion.name] for other in self.windows[row.window])
            text = criterion.show(row.values[criterion.name])
            found.append((text, text == best))
        return found

    def remarks(self, window: str) -> list[str]:
        """Return what there is to say of the rows of a window: why methods do not fit, or have no number."""
        said: dict[str, list[str]] = {}
        for row in self.windows[window]:
            for text in [row.note] if row.note else dict.fromkeys(row.reasons.values()):
                said.setdefault(text, []).append(row.method)
        return [f"{', '.join(methods)} {window}: {text}" for text, methods in said.items()]

    def as_json(self) -> dict[str, Any]:
        """Return the one JSON form: standard types only, no NaN."""
        of = self.subject
        described = ["name", "title", "unit", "better", "formula", "source"]
        return {
            "schema": SCHEMA,
            "input": {
                "name": self.name,
                "shape": list(of.source.shape),
                "dtype": of.source.dtype.name,
                "layout": of.layout.letters,
                "kind": of.kind,
                "crop": {axis: [own.start, own.stop] for axis, own in zip(("rows", "columns"), of.crop, strict=True)},
                "planes": list(of.planes),
                "noise": of.noise[0],
            },
            "criteria": [{name: getattr(criterion, name) for name in described} for criterion in self.criteria],
            "results": [
                {"method": row.method, "window": row.window}
                | dict.fromkeys(row.values)
                | row.numbers
                | {"note": row.note, "reasons": row.reasons}
                for row in self.rows
            ],
            "advice": encode(self.advice),
        }

    def sheet(self) -> Array:
        """Return the contact sheet: input and results side by side, as (rows, columns, 3) of uint8."""
        from poolcli.measure import sheet

        return sheet.contact(self)

    def to_html(self) -> str:
        """Return the report: one page that loads nothing; `UsageError` where the extra `report` is not installed."""
        from poolcli.measure import report

        require("html")
        return report.rendered(report.compared(self))


def compare(
    array: ArrayLike,
    methods: Sequence[str] = (),
    windows: Sequence[str] = (),
    *,
    layout: str | None = None,
    labels: bool | None = None,
    mask: ArrayLike | None = None,
    against: ArrayLike | None = None,
    energy: bool = False,
    engine: str = "auto",
    threads: int | None = None,
    name: str = "array",
    command: str = "",
    track: Callable[[Sequence[Cell]], Iterable[Cell]] = iter,
) -> Comparison:
    """Pool *array* by several methods and measure what each does to it.

    Parameters
    ----------
    array
        A picture (HW, HWC), a label map or a tensor.
    methods, windows
        What to compare, windows as ``k3s2p1``; max, avg, l2 and median at k2 and k4 when not given.
    layout
        As in `poolcli.pool`.
    labels
        Whether the values are labels; told from the dtype (bool) when not given.
    mask
        (rows, columns): where it is not 0 windows are of one kind, elsewhere of another.
    against
        Somebody else's result for *array*; it gets a row of its own.
    energy
        Whether the squares of the values are what must be kept.
    engine, threads
        As in `poolcli.pool`, for the times.
    name, command
        What reports call the input, and how they say it was made.
    track
        Is given what is to be compared, and yields it: where progress is shown.

    Raises
    ------
    poolcli.PoolError
        A value breaks a rule, or *array* cannot be pooled.
    """
    source, result = np.asarray(array), None if against is None else np.asarray(against)
    labels = source.dtype == bool if labels is None else labels
    if labels:
        result = result if result is None else indexed(result, layout)[0]
        source, layout = indexed(source, layout)
    scale = None if result is None else _scale(source, result, layouts.resolve(layout, source.shape))
    tokens = cases.methods(",".join(methods or (FOR_LABELS if labels else DEFAULT)))
    chosen = (scale,) if scale and not windows else cases.windows(",".join(windows or WINDOWS))
    chosen = tuple(dict.fromkeys(window.over(2) for window in chosen))
    if len(tokens) * len(chosen) > CELLS:
        asked = f"{len(tokens) * len(chosen)} ({len(tokens)} x {len(chosen)})"
        raise UsageError(f"methods x windows must be at most {CELLS}, got {asked}", "compare fewer at a time")
    every = chosen if scale is None else (*chosen, scale)
    of = subject(source, layout, every, None if mask is None else np.asarray(mask), labels=labels)
    table = criteria.LABELS if labels else criteria.PICTURE
    table = table if mask is None else (*table, criteria.SEPARATION)
    pool = partial(pooling.run, layout=of.layout.letters, threads=threads)
    rows = [] if result is None or scale is None else [_foreign(of, table, result, scale)]
    for token, window in track([(token, window) for window in chosen for token in tokens]):
        rows.append(_row(of, table, token, window, pool, engine))
    advice = advise(_facts(of, table, rows, chosen[0], energy=energy))
    return Comparison(name, of, table, tuple(rows), advice, command)


def _scale(source: Array, result: Array, layout: Layout) -> Window:
    """Return the window, kernel and stride alike, by which somebody else's *result* is smaller."""
    lengths = [(n, out, max(1, round(n / max(1, out)))) for n, out in zip(source.shape, result.shape, strict=False)]
    fits = [
        out in {n // factor, -(-n // factor)} if axis in layout.pooled else out == n
        for axis, (n, out, factor) in enumerate(lengths)
    ]
    if result.ndim != source.ndim or not all(fits):
        rule = f"be smaller than {source.shape} by a whole factor in rows and columns"
        raise InputError(f"result must {rule}, got {result.shape}")
    return Window(tuple(lengths[axis][2] for axis in layout.pooled))


def _row(of: Subject, table: Table, token: str, window: Window, pool: Callable[..., Any], engine: str) -> Row:
    """Return the row of a method and a window."""
    chosen, name = method(token), cases.window_token(window)
    note = unfit(chosen, labels=of.kind == "labels", floats=of.source.dtype.kind == "f")
    keeps = of.kind != "tensor" and chosen.result == "mean"
    call = partial(pool, method=chosen, window=window, dtype=of.source.dtype.newbyteorder("=") if keeps else None)
    try:
        done = call(of.source, engine=engine, ahead=RULES.min_runs)
        planes = of.looked_at(chosen, window)
    except PoolError as error:
        return Row(token, name, {criterion.name: error.message for criterion in table}, note or error.message)
    call = partial(call, engine=done.choice.engine)
    means, times = (of.own_mean, of.mean(done.array)), _times(call, of, window, done.seconds["pool"])
    values = _judged(table, planes, means=means, times=times)
    return Row(token, name, values, note, lambda: call(of.source).array)


def _foreign(of: Subject, table: Table, result: Array, window: Window) -> Row:
    """Return the row of somebody else's *result*."""
    rows, columns = (slice(c.start // s, c.stop // s) for c, s in zip(of.crop, window.stride, strict=True))
    planes = of.beside(of.taken(result, (rows, columns)), window)
    values = _judged(table, planes, means=(of.own_mean, of.mean(result)))
    return Row("against", cases.window_token(window), values, result=lambda: result)


def _judged(table: Table, planes: Sequence[Mapping[str, Any]], **known: Any) -> dict[str, Value]:
    """Return each criterion's value, the median over the planes that have one."""
    values: dict[str, Value] = {}
    for criterion in table:
        found = [criterion.of({**known, **plane}) for plane in planes]
        numbers = [value for value in found if isinstance(value, float)]
        values[criterion.name] = statistics.median(numbers) if numbers else found[0]
    return values


def _facts(of: Subject, table: Table, rows: Iterable[Row], window: Window, *, energy: bool) -> Facts:
    """Return what the rules of the advice look at: the numbers are those of *window*."""
    name = cases.window_token(window)
    known = {row.method: row.values for row in rows if row.window == name}
    wide = Window(tuple(2 * k - 1 for k in window.kernel), window.stride)  # what blur needs to be wider than avg

    def measure(token: str) -> dict[str, float]:
        values = known.get(token)
        if values is None or token == "blur":  # noqa: S105 -- a method
            try:
                planes = of.looked_at(method(token), wide if token == "blur" else window)  # noqa: S105 -- likewise
            except PoolError:
                planes = [{}]
            values = _judged(table, planes)
        return {name: math.nan if isinstance(value, str) else value for name, value in values.items()}

    facts = {
        "labels": of.kind == "labels",
        "window": name,
        "wide": cases.window_token(wide),
        "noise": of.noise[0],
        "outliers": of.noise[1],
        "missing": of.missing,
        "energy": energy,
        "extremes": not {"max", "min"}.isdisjoint(known),
    }
    return Facts(facts, measure)


def _times(call: Callable[..., Any], of: Subject, window: Window, first: float) -> tuple[float, float, float]:
    """Return the median seconds of pooling the whole, whose *first* pooling counts where there is no time for more.

    Then, of a part, those with the window and those with one larger by 1.
    """
    larger = Window(**window.asked() | {"kernel": tuple(k + 1 for k in window.kernel), "stride": window.stride})
    calls = {"part": partial(call, of.cut), "larger": partial(call, of.cut, window=larger)}
    if first < RULES.max_time:
        calls["whole"] = partial(call, of.source)
    samples = interleave(calls, RULES)
    seconds = {name: statistics.median(found.seconds or [math.nan]) for name, found in samples.items()}
    return seconds.get("whole", first), seconds["part"], seconds["larger"]
