"""What a benchmark found: records of time, the rows of its table, and both as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from poolcli.core.geometry import Window
from poolcli.errors import InputError, PoolError
from poolcli.measure import stats
from poolcli.measure.cases import Case, Size, window_token
from poolcli.measure.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

SCHEMA = "poolcli/1"
LIMIT = "limit"  # the contender that only copies
OURS = "poolcli"

Status = Literal["done", "skipped", "failed", "refused"]
STATUSES: tuple[Status, ...] = ("done", "skipped", "failed", "refused")


@dataclass(frozen=True, slots=True)
class Timing:
    """What one contender did in one case.

    Attributes
    ----------
    case, contender
        What was done by whom; the memory format stands in the contender's name where it is not the case's own.
    status
        "done"; "skipped": the peer cannot do it, or is too slow; "failed": the peer broke; "refused": the case
        does not fit, in memory or in its window.
    reason
        Why it is not done.
    seconds
        Every sample, in the order of the runs.
    first_call
        Seconds of the first call, on the crop: loading, compiling.
    lower_bound
        The one sample is the call on the crop, which already took longer than allowed: the time is at least this.
    difference, tolerance
        Largest absolute difference from poolcli on the crop, and what the peer's way of rounding explains.
    user, system
        Mean processor seconds of a run, of all threads.
    note
        The call, in the library's words.
    """

    case: Case
    contender: str
    status: Status
    reason: str = ""
    seconds: tuple[float, ...] = ()
    first_call: float | None = None
    lower_bound: bool = False
    difference: float | None = None
    tolerance: float | None = None
    user: float = 0.0
    system: float = 0.0
    note: str = ""

    @property
    def summary(self) -> stats.Summary:
        """Statistics of the samples; only of a timing that is done."""
        return stats.summarise(self.seconds)

    @property
    def differs(self) -> bool:
        """Whether the values are further from poolcli's than rounding explains."""
        return self.difference is not None and self.tolerance is not None and not self.difference <= self.tolerance

    @property
    def advice(self) -> stats.Advice | None:
        """Why its time should not be trusted, and what to do."""
        return stats.advise(self.seconds) if self.status == "done" and not self.lower_bound else None


@dataclass(frozen=True)
class Results:
    """A whole benchmark: where and how it ran, and its records in the order of the cases.

    Attributes
    ----------
    environment
        The machine and the versions.
    command
        The command line, as one string.
    created
        Date and time in ISO 8601.
    timings
        All records.
    """

    environment: Environment
    command: str
    created: str
    timings: tuple[Timing, ...]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """A row of the table for each record."""
        return _rows(self.timings)

    @property
    def refused(self) -> tuple[Timing, ...]:
        """The cases that did not fit."""
        return tuple(timing for timing in self.timings if timing.status == "refused")


@dataclass(frozen=True, slots=True)
class Row:
    """A record with what can only be said beside the others; None where it means nothing.

    Attributes
    ----------
    timing
        The record.
    gigabytes
        GB/s of bytes read and written, each once.
    of_limit
        Time of the copy over its time: 1 is as fast as memory.
    megapixels
        Mpix/s of the input; channels do not count.
    growth
        Its time over that of the smallest kernel of the same stride.
    speed_up
        Its time over that of poolcli's first row of the case: 2 means that poolcli is twice as fast.
    """

    timing: Timing
    gigabytes: float | None = None
    of_limit: float | None = None
    megapixels: float | None = None
    growth: float | None = None
    speed_up: float | None = None


def _rows(timings: Sequence[Timing]) -> tuple[Row, ...]:
    done = [timing for timing in timings if timing.status == "done"]
    medians = {(t.case, t.contender): t.summary.median for t in done}
    limits = {t.case: medians[t.case, LIMIT] for t in done if t.contender == LIMIT}
    ours = {t.case: medians[t.case, t.contender] for t in reversed(done) if t.contender.startswith(OURS)}
    smallest = _smallest(done, medians)
    return tuple(_row(t, medians, limits, ours, smallest) for t in timings)


def _row(
    timing: Timing,
    medians: dict[tuple[Case, str], float],
    limits: dict[Case, float],
    ours: dict[Case, float],
    smallest: dict[tuple[object, ...], tuple[int, float]],
) -> Row:
    median = medians.get((timing.case, timing.contender))
    if not median:
        return Row(timing)
    kernel, least = smallest.get(_family(timing), (0, 0.0))
    grows = 0 < kernel < math.prod(timing.case.window.kernel)
    if timing.lower_bound:  # of the crop: no rate follows from it
        speed_up = median / ours[timing.case] if timing.case in ours else None
        return Row(timing, growth=median / least if grows else None, speed_up=speed_up)
    return Row(
        timing,
        timing.case.bytes / median / 1e9,
        limits[timing.case] / median if timing.case in limits else None,
        timing.case.size.pixels / median / 1e6,
        median / least if grows else None,
        median / ours[timing.case] if timing.case in ours else None,
    )


def _family(timing: Timing) -> tuple[object, ...]:
    """What the timings share between which growth is told: all but the kernel."""
    case, window = timing.case, timing.case.window
    shared = (window.stride, window.padding, window.dilation, window.ceil, window.count_include_pad)
    return (timing.contender, case.size, case.method, case.threads, *shared)


def _smallest(
    done: Iterable[Timing], medians: dict[tuple[Case, str], float]
) -> dict[tuple[object, ...], tuple[int, float]]:
    """Return, for each family, its smallest kernel and the median there."""
    found: dict[tuple[object, ...], tuple[int, float]] = {}
    for timing in done:
        if timing.contender == LIMIT or timing.lower_bound:
            continue
        here = math.prod(timing.case.window.kernel), medians[timing.case, timing.contender]
        found[_family(timing)] = min(found.get(_family(timing), here), here)
    return found


# The table


class Column(NamedTuple):
    """A column of the table: its name in CSV, its title with the unit, its value, and the value for people."""

    name: str
    title: str
    value: Callable[[Row], str | int | float | None]
    show: Callable[[Row], str]
    number: bool = True


def _number(value: float | None, scale: float = 1.0, suffix: str = "") -> str:
    if value is None:
        return ""
    scaled = value * scale
    digits = 0 if scaled == 0 else max(0, 2 - math.floor(math.log10(abs(scaled))))
    return f"{scaled:.{digits}f}{suffix}" if digits < 7 else f"{scaled:.2g}{suffix}"


def _text(name: str, title: str, value: Callable[[Timing], str]) -> Column:
    return Column(name, title, lambda row: value(row.timing), lambda row: value(row.timing), number=False)


def _figure(
    name: str, title: str, value: Callable[[Row], float | None], scale: float = 1.0, suffix: str = ""
) -> Column:
    return Column(name, title, value, lambda row: _number(value(row), scale, suffix))


def _statistic(name: str, title: str) -> Column:
    def value(row: Row) -> float | None:
        return getattr(row.timing.summary, name) if row.timing.seconds else None

    return _figure(name, title, value, 1e3)


def _median(row: Row) -> float | None:
    return row.timing.summary.median if row.timing.seconds else None


def _shown_median(row: Row) -> str:
    return "≥ " * row.timing.lower_bound + _number(_median(row), 1e3)


def _outliers(row: Row) -> int | None:
    return len(row.timing.summary.outliers) if row.timing.seconds else None


def _shown_difference(row: Row) -> str:
    return _number(row.timing.difference) + " differs" * row.timing.differs


def _remark(timing: Timing) -> str:
    if timing.status != "done":
        return f"{timing.status}: {timing.reason}"
    if timing.differs:
        return f"values differ by more than {timing.tolerance:.1g}"
    return f"{timing.advice.fact}: {timing.advice.action}" if timing.advice else ""


COLUMNS = (
    _text("size", "size", lambda timing: timing.case.size.token),
    _text("method", "method", lambda timing: timing.case.method),
    _text("window", "window", lambda timing: window_token(timing.case.window)),
    Column("threads", "threads", lambda row: row.timing.case.threads, lambda row: str(row.timing.case.threads)),
    _text("contender", "contender", lambda timing: timing.contender),
    Column("median", "median ms", _median, _shown_median),
    _statistic("min", "min ms"),
    _statistic("iqr", "IQR ms"),
    Column("runs", "runs", lambda row: len(row.timing.seconds), lambda row: str(len(row.timing.seconds) or "")),
    Column("outliers", "outliers", _outliers, lambda row: str(_outliers(row) or "")),
    _figure("first_call", "first call ms", lambda row: row.timing.first_call, 1e3),
    _figure("gigabytes", "GB/s", lambda row: row.gigabytes),
    _figure("of_limit", "of limit", lambda row: row.of_limit, 100, " %"),
    _figure("megapixels", "Mpix/s", lambda row: row.megapixels),
    _figure("growth", "growth", lambda row: row.growth, 1, " x"),
    _figure("speed_up", "poolcli faster", lambda row: row.speed_up, 1, " x"),
    Column("difference", "difference", lambda row: row.timing.difference, _shown_difference),
    _text("note", "call", lambda timing: timing.note),
    _text("remark", "remark", _remark),
)


def to_csv(results: Results) -> str:
    """Return a line for each record; seconds and bytes, not rounded; an empty field where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(column.name for column in COLUMNS), "status", "lower_bound"])
    for row in results.rows:
        values = [column.value(row) for column in COLUMNS]
        writer.writerow([*values, row.timing.status, str(row.timing.lower_bound).lower()])
    return text.getvalue()


def to_markdown(results: Results) -> str:
    """Return the machine, the overview, and the whole table but for what peers cannot do."""
    rows = [row for row in results.rows if row.timing.status != "skipped"]
    shown = [column for column in COLUMNS if any(column.show(row) for row in rows)]
    table = _table(
        [(column.title, column.number) for column in shown],
        [[column.show(row) for column in shown] for row in rows],
    )
    return f"{overview(results)}\n{table}"


def overview(results: Results) -> str:
    """Return the machine, and a table of a line for each case and a column for each contender: ms and ratios."""
    names = list(dict.fromkeys(t.contender for t in results.timings if t.status == "done"))
    names.sort(key=lambda name: (name != LIMIT, not name.startswith(OURS)))  # the sort is stable
    cases = dict.fromkeys(timing.case for timing in results.timings)
    cells = {(row.timing.case, row.timing.contender): _cell(row) for row in results.rows}
    several = len({case.threads for case in cases}) > 1
    lines = [
        [
            case.size.token,
            case.method,
            window_token(case.window) + f" t{case.threads}" * several,
            *(cells.get((case, name), "") for name in names),
        ]
        for case in cases
    ]
    titles = [("size", False), ("method", False), ("window", False), *((f"{name} ms", True) for name in names)]
    return f"{machine(results)}\n\n{_table(titles, lines)}"


def machine(results: Results) -> str:
    """Return where and when it was measured, in one line."""
    environment = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions)
    cpus = f"{environment.usable_cpus} usable CPU{'s' * (environment.usable_cpus != 1)}"
    return f"{environment.cpu}, {cpus}, {environment.system}; {versions}; {results.created[:10]}"


def _cell(row: Row) -> str:
    timing = row.timing
    if timing.status == "skipped":
        return "too slow" if timing.reason.startswith("too slow") else "-"
    if timing.status != "done":
        return timing.status
    ratio = ""
    if row.speed_up and not timing.contender.startswith(OURS) and timing.contender != LIMIT:
        ratio = f" ({'≥ ' * timing.lower_bound}{_number(row.speed_up)} x)"
    return _shown_median(row) + ratio + " differs" * timing.differs


def _table(titles: list[tuple[str, bool]], lines: Iterable[list[str]]) -> str:
    """Return a GitHub table; numbers to the right."""
    rows = [[title for title, _ in titles], ["--:" if number else ":--" for _, number in titles], *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


# The document


def to_json(results: Results) -> str:
    """Return the document: a superset of hyperfine's, times in seconds; records without times stand apart."""
    document = {
        "schema": SCHEMA,
        "kind": "bench",
        "created": results.created,
        "command": results.command,
        "environment": _environment(results.environment),
        "results": [_done(row) for row in results.rows if row.timing.status == "done"],
        "others": [_other(timing) for timing in results.timings if timing.status != "done"],
    }
    return json.dumps(document, allow_nan=False) + "\n"


def _environment(environment: Environment) -> dict[str, object]:
    return {
        **asdict(environment),
        "versions": dict(environment.versions),
        "thread_settings": dict(environment.thread_settings),
    }


def _case(case: Case) -> dict[str, object]:
    window = case.window
    return {
        "input": case.size.file or None,
        "shape": case.size.shape,
        "layout": case.size.layout,
        "dtype": case.size.dtype,
        "method": case.method,
        "kernel": window.kernel,
        "stride": window.stride,
        "padding": window.padding,
        "dilation": window.dilation,
        "ceil": window.ceil,
        "count_include_pad": window.count_include_pad,
        "threads": case.threads,
    }


def _done(row: Row) -> dict[str, object]:
    timing, summary = row.timing, row.timing.summary
    case = timing.case
    return {
        "command": f"{timing.contender} {case.token}",
        "mean": summary.mean,
        "stddev": summary.stddev,
        "median": summary.median,
        "user": timing.user,
        "system": timing.system,
        "min": summary.min,
        "max": summary.max,
        "times": timing.seconds,
        "exit_codes": [0] * len(timing.seconds),
        "parameters": {  # hyperfine's are strings
            "contender": timing.contender,
            "size": case.size.token,
            "method": case.method,
            "window": window_token(case.window),
            "kernel": "x".join(map(str, dict.fromkeys(case.window.kernel))),
            "threads": str(case.threads),
        },
        "contender": timing.contender,
        "status": timing.status,
        "case": _case(case),
        "bytes": case.bytes,
        "iqr": summary.iqr,
        "outliers": summary.outliers,
        "first_call": timing.first_call,
        "lower_bound": timing.lower_bound,
        "difference": timing.difference,
        "tolerance": timing.tolerance,
        "note": timing.note,
    }


def _other(timing: Timing) -> dict[str, object]:
    return {
        "contender": timing.contender,
        "status": timing.status,
        "reason": timing.reason,
        "note": timing.note,
        "case": _case(timing.case),
    }


def from_json(text: str | bytes) -> Results:
    """Return the results of a document, as `to_json` writes it.

    Raises
    ------
    InputError
        It is not JSON, not of this schema, or a value is missing or of another type.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA or document.get("kind") != "bench":
        raise InputError(
            f"schema must be {SCHEMA!r} of a benchmark, got {schema!r}",
            "write it with poolcli bench --export FILE.json",
        )
    try:
        return _results(document)
    except PoolError as error:
        raise InputError(f"not a valid benchmark: {error.message}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"not a valid benchmark: {error!r}") from error


def _results(document: dict[str, Any]) -> Results:
    found = document["environment"]
    environment = Environment(
        _typed(found, "cpu", str),
        _typed(found, "usable_cpus", int),
        _typed(found, "system", str),
        tuple(_typed(found, "versions", dict).items()),
        tuple(_typed(found, "thread_settings", dict).items()),
    )
    timings = [_timing(record) for record in (*document["results"], *document["others"])]
    order = {case: i for i, case in enumerate(dict.fromkeys(timing.case for timing in timings))}
    timings.sort(key=lambda timing: order[timing.case])
    return Results(environment, _typed(document, "command", str), _typed(document, "created", str), tuple(timings))


def _timing(record: dict[str, Any]) -> Timing:
    status, times = record["status"], record.get("times", [])
    if status not in STATUSES:
        raise InputError(f"status must be one of {', '.join(STATUSES)}, got {status!r}")
    if (status == "done") != bool(times):
        raise InputError(f"times must be there exactly when a record is done, got {times!r}")
    if not all(isinstance(time, int | float) and time >= 0 for time in times):
        raise InputError("times must be numbers from 0")
    optional = {name: record.get(name) for name in ("first_call", "difference", "tolerance")}
    if not all(value is None or isinstance(value, int | float) for value in optional.values()):
        raise InputError(f"{', '.join(optional)} must be numbers or null")
    return Timing(
        _read_case(record["case"]),
        _typed(record, "contender", str),
        status,
        record.get("reason", ""),
        tuple(map(float, times)),
        lower_bound=bool(record.get("lower_bound", False)),
        user=float(record.get("user", 0.0)),
        system=float(record.get("system", 0.0)),
        note=record.get("note", ""),
        **optional,
    )


def _read_case(found: dict[str, Any]) -> Case:
    padding = found["padding"]
    window = Window(
        found["kernel"],
        found["stride"],
        padding if isinstance(padding, str) else [tuple(pair) for pair in padding],
        found["dilation"],
        ceil=_typed(found, "ceil", bool),
        count_include_pad=_typed(found, "count_include_pad", bool),
    )
    size = Size(tuple(found["shape"]), _typed(found, "layout", str), _typed(found, "dtype", str), found["input"] or "")
    return Case(size, _typed(found, "method", str), window, _typed(found, "threads", int))


def _typed(found: dict[str, Any], name: str, kind: type[T]) -> T:
    value = found[name]
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {kind.__name__}, got {value!r}")
    return value
