"""`compare`: methods side by side on one picture, label map or tensor, with advice which to choose."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import layouts, pooling
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.jobs.records import SCHEMA
from poolcli.measure import criteria
from poolcli.measure.advice import Advice, Facts, advise, unfit
from poolcli.measure.bench import Rules, interleave
from poolcli.measure.cases import window_token
from poolcli.measure.cases import windows as parsed
from poolcli.measure.scene import Cell, Scene, indexed, part, pooling_by
from poolcli.measure.scene import scene as seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from poolcli.measure.criteria import Criterion
    from poolcli.measure.scene import Pool

    Array = NDArray[Any]

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
    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    note: str = ""
    result: Callable[[], Array] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing gave."""

    name: str
    scene: Scene
    criteria: tuple[Criterion, ...]
    rows: tuple[Row, ...]
    advice: Advice
    command: str

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """Return the text of each value of a row, and whether none of its window is better."""
        found = []
        for criterion in self.criteria:
            value = row.values[criterion.name]
            best = criterion.best(other.values[criterion.name] for other in self.rows if other.window == row.window)
            found.append((criterion.show(value), None not in {value, best} and abs(value or 0) == abs(best or 0)))
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the one JSON form: standard types only, no NaN."""
        scene = self.scene
        crop = {name: [part.start, part.stop] for name, part in zip(("rows", "columns"), scene.crop, strict=True)}
        return {
            "schema": SCHEMA,
            "input": {
                "name": self.name,
                "shape": list(scene.source.shape),
                "dtype": scene.source.dtype.name,
                "layout": scene.layout.letters,
                "kind": scene.kind,
                "crop": crop,
                "planes": list(scene.planes),
                "noise": scene.noise[0],
            },
            "criteria": [
                {name: getattr(criterion, name) for name in ("name", "title", "unit", "better", "formula", "source")}
                for criterion in self.criteria
            ],
            "results": [
                {"method": row.method, "window": row.window, "note": row.note, **row.values, "reasons": row.reasons}
                for row in self.rows
            ],
            "advice": asdict(self.advice),
        }

    def sheet(self) -> Array:
        """Return the contact sheet: input and results side by side, as (rows, columns, 3) of uint8."""
        from poolcli.measure import sheet

        return sheet.contact(self)

    def to_html(self) -> str:
        """Return the report: one page that loads nothing.

        Raises
        ------
        UsageError
            The extra `report` is not installed.
        """
        from poolcli.measure import report

        return report.rendered(report.compared(self))


def compare(
    array: ArrayLike,
    methods: Sequence[str] | None = None,
    windows: Sequence[str | Window] | None = None,
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
    step: Callable[[], None] = lambda: None,
) -> Comparison:
    """Pool *array* by several methods and measure what each does to it.

    Parameters
    ----------
    array
        A picture (HW, HWC), a label map or a tensor.
    methods, windows
        What to compare; max, avg, l2 and median at k2 and k4 when not given.
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
    step
        Called after each row.

    Raises
    ------
    poolcli.PoolError
        A value breaks a rule, or *array* cannot be pooled.
    """
    source = np.asarray(array)
    found = None if against is None else np.asarray(against)
    scales = [] if found is None else [_scale(source, found, layout)]
    chosen = _windows(windows or scales or WINDOWS)
    labels = source.dtype == bool if labels is None else labels
    tokens = tuple(dict.fromkeys(methods or (FOR_LABELS if labels else DEFAULT)))
    _check_count(tokens, chosen)
    scene = seen(source, layout, (*chosen, *scales), labels=labels)
    table = criteria.LABELS if labels else criteria.PICTURE
    if mask is not None:
        table = (*table, criteria.SEPARATION)
    rows = _Rows(scene, table, None if mask is None else np.asarray(mask), engine, threads)
    made = [] if found is None else [rows.foreign(found, scales[0])]
    for token, window in ((token, window) for window in chosen for token in tokens):
        made.append(rows.row(token, window))
        step()
    facts = rows.facts(made, tokens, chosen[0], energy=energy)
    return Comparison(name, scene, table, tuple(made), advise(facts), command)


def _windows(windows: Iterable[str | Window]) -> tuple[Window, ...]:
    asked = (parsed(window) if isinstance(window, str) else (window,) for window in windows)
    return tuple(dict.fromkeys(window.over(2) for found in asked for window in found))


def _check_count(tokens: Sequence[str], windows: Sequence[Window]) -> None:
    for token in tokens:
        lookup(token)
    count = len(tokens) * len(windows)
    if count > CELLS:
        asked = f"{count} ({len(tokens)} x {len(windows)})"
        raise UsageError(f"methods x windows must be at most {CELLS}, got {asked}", "compare fewer at a time")


def _scale(source: Array, result: Array, layout: str | None) -> Window:
    """Return the window, kernel and stride alike, by which a foreign *result* is smaller."""
    if result.ndim != source.ndim:
        raise InputError(f"result must have {source.ndim} axes as the input has, got {result.ndim}")
    factors = []
    for axis in layouts.resolve(layout, source.shape).pooled:
        length, out = source.shape[axis], result.shape[axis]
        factor = max(1, round(length / max(1, out)))
        if out not in {length // factor, -(-length // factor)}:
            raise InputError(f"result must be smaller by a whole factor, got {out} for a length of {length}")
        factors.append(factor)
    return Window(tuple(factors))


class _Rows:
    """What makes the rows: all that is the same for every method and window."""

    def __init__(
        self, scene: Scene, table: tuple[Criterion, ...], mask: Array | None, engine: str, threads: int | None
    ) -> None:
        self._scene, self._table = scene, table
        self._mask = None if mask is None else _kinds(mask, scene)
        self._mean = lru_cache(scene.mean)
        self._pool = partial(
            pooling.run,
            layout=scene.layout.letters,
            dtype=None if scene.kind == "tensor" else scene.source.dtype.newbyteorder("="),
            threads=threads,
        )
        self._engine = engine

    def row(self, token: str, window: Window) -> Row:
        """Return the row of a method and a window."""
        scene, name = self._scene, window_token(window)
        note = unfit(token, labels=scene.kind == "labels", floats=scene.source.dtype.kind == "f")
        call = partial(self._pool, method=lookup(token), engine=self._engine)
        try:
            done = call(scene.source, window=window, ahead=RULES.min_runs)
        except PoolError as error:
            empty = {criterion.name: error.message for criterion in self._table}
            return Row(token, name, dict.fromkeys(empty), empty, note or error.message)
        means = self._mean(done.plan.axes), scene.mean_of(done.array)
        times = _times(partial(call, engine=done.choice.engine), scene, window, done.seconds["pool"])
        values, reasons = self.measured(window, pooling_by(token, scene.kind), means=means, times=times)
        return Row(token, name, values, reasons, note, lambda: call(scene.source, window=window).array)

    def foreign(self, result: Array, window: Window) -> Row:
        """Return the row of somebody else's *result*."""
        scene = self._scene
        if scene.kind == "labels":
            result, _ = indexed(result, "HWC" if result.ndim == 3 and scene.source.ndim == 2 else None)
        crop = tuple(slice(c.start // s, c.stop // s) for c, s in zip(scene.crop, window.stride, strict=True))
        planes = scene.scaled(part(result, scene.layout, scene.kind, (crop[0], crop[1]), scene.planes), result.dtype)
        axes = window.plan(tuple(scene.source.shape[axis] for axis in scene.layout.pooled)).axes
        means = self._mean(axes), scene.mean_of(result)
        values, reasons = self.measured(window, _no_method, planes, means=means)
        return Row("against", window_token(window), values, reasons, "the given result", lambda: result)

    def measured(
        self, window: Window, pool: Pool, results: Array | None = None, **known: Any
    ) -> tuple[dict[str, float | None], dict[str, str]]:
        """Return each criterion's value, the median over the planes, or why there is none."""
        if self._mask is not None:
            known["mask"] = pooling_by("avg", "")(self._mask, window) > 0.5
        own = [{} for _ in self._scene.planes] if results is None else [{"y": result} for result in results]
        cells = [Cell(self._scene, i, window, pool, {**known, **given}) for i, given in enumerate(own)]
        values: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        for criterion in self._table:
            found = []
            for cell in cells:
                try:
                    found.append(criterion.of(cell))
                except PoolError as error:
                    reasons[criterion.name] = error.message
            values[criterion.name] = statistics.median(found) if found else None
        return values, {name: reason for name, reason in reasons.items() if values[name] is None}

    def facts(self, rows: Iterable[Row], tokens: Sequence[str], window: Window, *, energy: bool) -> Facts:
        """Return what the rules of the advice look at: the numbers are those of *window*."""
        scene, token = self._scene, window_token(window)
        known = {row.method: row.values for row in rows if row.window == token}

        wide = Window(tuple(2 * k - 1 for k in window.kernel), window.stride)  # what blur needs to be wider than avg

        def measure(method: str) -> dict[str, float]:
            own = {"blur": wide}.get(method, window)
            values = (own is window and known.get(method)) or self.measured(own, pooling_by(method, scene.kind))[0]
            return {name: math.nan if value is None else value for name, value in values.items()}

        facts = {
            "labels": scene.kind == "labels",
            "window": token,
            "wide": window_token(wide),
            "noise": scene.noise[0],
            "outliers": scene.noise[1],
            "missing": scene.missing,
            "energy": energy,
            "extremes": not {"max", "min"}.isdisjoint(tokens),
        }
        return Facts(facts, measure)


def _kinds(mask: Array, scene: Scene) -> Array:
    """Return which elements of the part are of the first of two kinds, as 0 and 1."""
    lengths = tuple(scene.source.shape[axis] for axis in scene.layout.pooled)
    if mask.shape != lengths:
        raise InputError(f"mask must be of shape {lengths}, got {mask.shape}")
    kinds: Array = (mask[scene.crop] != 0).astype(np.float64)
    return kinds


def _times(call: Callable[..., Any], scene: Scene, window: Window, first: float) -> tuple[float, float, float]:
    """Return the median seconds of pooling the whole, whose *first* pooling counts where there is no time for more.

    Then, of a part, those with the window and those with one larger by 1.
    """
    larger = Window(tuple(k + 1 for k in window.kernel), window.stride, window.padding, window.dilation, window.ceil)
    calls = {"part": partial(call, scene.part, window=window), "larger": partial(call, scene.part, window=larger)}
    if first < RULES.max_time:
        calls["whole"] = partial(call, scene.source, window=window)
    samples = interleave(calls, RULES)
    seconds = {name: statistics.median(found.seconds or [math.nan]) for name, found in samples.items()}
    return seconds.get("whole", first), seconds["part"], seconds["larger"]


def _no_method(plane: Array, window: Window) -> Array:  # noqa: ARG001 -- stands in for a method
    raise InputError("needs the method itself, not its result")
