"""What was asked of a run and what happened to each input, as frozen records with one JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from poolcli.core.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcli.core.geometry import Plan
    from poolcli.core.methods import Method
    from poolcli.errors import PoolError

SCHEMA = "poolcli/1"
MAX_PIXELS = 10**9

Status = Literal["done", "skipped", "failed", "planned", "started"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: the same for every input of a run."""

    method: Method
    window: Window = field(default_factory=Window)
    layout: str | None = None
    dtype: str | None = None
    engine: str = "auto"
    threads: int | None = None
    quality: int | None = None
    key: str | None = None
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Side:
    """An input or an output: its format, and its array's shape and dtype; bytes of the file, if there is one."""

    format: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What happened to one input; seconds by stage; *reason* says why it was skipped."""

    status: Status
    input: str
    output: str | None
    request: Request
    plan: Plan | None = None
    layout: str | None = None
    engine: str | None = None
    why: str | None = None
    estimates: tuple[float | None, float | None] = (None, None)
    threads: int | None = None
    source: Side | None = None
    result: Side | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: PoolError | None = None
    reason: str | None = None


def as_json(record: Record) -> dict[str, Any]:
    """Return the one JSON form of a record: standard types only, no NaN."""
    request, error = record.request, record.error
    window = request.window
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "status": record.status,
        "input": record.input,
        "output": record.output,
        "reason": record.reason,
        "method": request.method.name,
        "kernel": list(window.kernel),
        "stride": list(window.stride),
        "padding": window.padding if isinstance(window.padding, str) else [list(pair) for pair in window.padding],
        "dilation": list(window.dilation),
        "ceil": window.ceil,
        "count_include_pad": window.count_include_pad,
        "layout": record.layout,
        "engine": record.engine,
        "engine_why": record.why,
        "engine_estimates": dict(zip(("numpy", "numba_start"), record.estimates, strict=True)),
        "threads": record.threads,
        "in": _side(record.source),
        "out": _side(record.result),
        "seconds": record.seconds,
        "warnings": list(record.warnings),
        "error": error and {"message": error.message, "hint": error.hint, "exit_code": error.exit_code},
    }
    if record.plan is not None:
        axes = record.plan.axes
        for key in ("kernel", "stride", "dilation"):
            document[key] = [getattr(axis, key) for axis in axes]
        document["padding"] = [[axis.before, axis.after] for axis in axes]
    return document


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {"format": side.format, "shape": list(side.shape), "dtype": side.dtype, "bytes": side.bytes}


def exit_code(records: Iterable[Record]) -> int:
    """Return the exit code of a run; of several kinds of failure, the one that comes first in 70, 4, 5, 3, 2."""
    return worst({record.error.exit_code for record in records if record.error is not None})


def worst(codes: set[int]) -> int:
    """Return the exit code of a run with failures of these *codes*."""
    return next((code for code in (70, 4, 5, 3, 2) if code in codes), 0)
