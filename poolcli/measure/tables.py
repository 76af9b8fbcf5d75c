"""What a benchmark found as tables: CSV for programs, Markdown for people, columns for the terminal."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poolcli.measure.cases import window_token
from poolcli.measure.results import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcli.measure.results import Results, Row

    Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in CSV, its title with the unit, its value, and how people are shown a number."""

    name: str
    title: str
    value: Callable[[Row], Value]
    scale: float = 1.0
    suffix: str = ""
    text: bool = False

    @property
    def label(self) -> str:
        """The title, behind a ``>`` where values stand to the right."""
        return self.title if self.text else f">{self.title}"

    def show(self, row: Row) -> str:
        """Return the value for people; empty where there is none."""
        value = self.value(row)
        if isinstance(value, float):
            bound = "≥ " * (row.timing.lower_bound and self.name == "median")
            differs = " differs" * (row.timing.differs and self.name == "difference")
            return bound + number(value * self.scale) + self.suffix + differs
        return str(value or "")


def number(value: float) -> str:
    """Return three digits of a value."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}" if digits < 7 else f"{value:.2g}"


def _statistic(name: str) -> Callable[[Row], Value]:
    return lambda row: getattr(row.timing.summary, name) if row.timing.times else None


def _outliers(row: Row) -> Value:
    return len(row.timing.summary.outliers) if row.timing.times else None


def _remark(row: Row) -> str:
    timing = row.timing
    if timing.status != "done":
        return f"{timing.status}: {timing.reason}"
    if timing.differs:
        return f"values differ by more than {timing.tolerance:.1g}"
    return f"{timing.advice.fact}: {timing.advice.action}" if timing.advice else ""


COLUMNS = (
    Column("size", "size", lambda row: row.timing.case.size.token, text=True),
    Column("method", "method", lambda row: row.timing.case.method, text=True),
    Column("window", "window", lambda row: window_token(row.timing.case.window), text=True),
    Column("threads", "threads", lambda row: row.timing.case.threads),
    Column("rest", "rest ms", lambda row: row.timing.case.rest or None, 1e3),
    Column("contender", "contender", lambda row: row.timing.contender, text=True),
    Column("median", "median ms", _statistic("median"), 1e3),
    Column("min", "min ms", _statistic("min"), 1e3),
    Column("iqr", "IQR ms", _statistic("iqr"), 1e3),
    Column("runs", "runs", lambda row: len(row.timing.times)),
    Column("outliers", "outliers", _outliers),
    Column("first_call", "first call ms", lambda row: row.timing.first_call, 1e3),
    Column("gigabytes", "GB/s", lambda row: row.gigabytes),
    Column("of_limit", "of limit", lambda row: row.of_limit, 100, " %"),
    Column("megapixels", "Mpix/s", lambda row: row.megapixels),
    Column("growth", "growth", lambda row: row.growth, 1, " x"),
    Column("speed_up", "poolcli faster", lambda row: row.speed_up, 1, " x"),
    Column("difference", "difference", lambda row: row.timing.difference),
    Column("wrong", "wrong", lambda row: row.timing.wrong, 100, " %"),
    Column("note", "call", lambda row: row.timing.note, text=True),
    Column("remark", "remark", _remark, text=True),
)
_BY_NAME = {column.name: column for column in COLUMNS}
_MEDIAN = _BY_NAME["median"]


def _spread(row: Row) -> str:
    timing = row.timing
    return _MEDIAN.show(row) + f" ± {_BY_NAME['iqr'].show(row)}" * (not timing.lower_bound and len(timing.times) > 1)


# What the terminal shows: these always, and the details as far as there is room
SUMMARY = (
    _BY_NAME["contender"],
    Column("spread", "median ± IQR ms", _spread),
    Column("over_limit", "x limit", lambda row: 1 / row.of_limit if row.of_limit else None),
    Column("over_ours", "x ours", lambda row: row.speed_up),
)
DETAILS = tuple(
    _BY_NAME[name]
    for name in ("gigabytes", "growth", "min", "runs", "outliers", "megapixels", "first_call", "difference")
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
    lines = [[column.show(row) for column in shown] for row in rows]
    return f"{overview(results)}\n{_table([column.label for column in shown], lines)}"


def overview(results: Results) -> str:
    """Return the machine, and a table of a line for each case and a column for each contender: ms and ratios."""
    names = list(dict.fromkeys(timing.contender for timing in results.done))
    ours = {timing.contender for timing in results.done if timing.ours}
    names.sort(key=lambda name: (name != LIMIT, name not in ours))  # the sort is stable
    cases = dict.fromkeys(timing.case for timing in results.timings)
    cells = {(row.timing.case, row.timing.contender): _cell(row) for row in results.rows}
    several = len({case.threads for case in cases}) > 1
    lines = [
        [
            case.size.token,
            case.method,
            window_token(case.window) + f" t{case.threads}" * several + case.rested,
            *(cells.get((case, name), "") for name in names),
        ]
        for case in cases
    ]
    labels = ["size", "method", "window", *(f">{name} ms" for name in names)]
    return f"{machine(results)}\n\n{_table(labels, lines)}"


def machine(results: Results) -> str:
    """Return where and when it was measured, in one line."""
    environment = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    cpus = f"{environment.usable_cpus} usable CPU{'s' * (environment.usable_cpus != 1)}"
    return f"{environment.cpu}, {cpus}, {environment.system}; {versions}; {results.created[:10]}"


def _cell(row: Row) -> str:
    timing = row.timing
    if timing.status == "skipped":
        return "too slow" if timing.reason.startswith("too slow") else "-"
    if timing.status != "done":
        return timing.status
    ratio = ""
    if row.speed_up and not timing.ours:
        ratio = f" ({'≥ ' * timing.lower_bound}{number(row.speed_up)} x)"
    return _MEDIAN.show(row) + ratio + " differs" * timing.differs


def _table(labels: list[str], lines: Iterable[list[str]]) -> str:
    """Return a GitHub table; columns that start with ``>`` are right-aligned."""
    sides = ["--:" if label.startswith(">") else ":--" for label in labels]
    rows = [[label.removeprefix(">") for label in labels], sides, *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
