"""What happened to each input, as frozen records with one JSON form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcli.core.engines import Choice
    from poolcli.core.pooling import Outline
    from poolcli.errors import PoolError
    from poolcli.jobs.naming import Job
    from poolcli.jobs.request import Request

SCHEMA = "poolcli/1"

Status = Literal["done", "skipped", "failed", "planned", "started", "pruned"]


@dataclass(frozen=True, slots=True)
class Side:
    """An input or an output: its format, and its array's shape and dtype; bytes of the file, if there is one."""

    format: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int | None = None

    @property
    def memory(self) -> int:
        """Bytes of the array."""
        from numpy import dtype

        return prod(self.shape) * dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Record:
    """What happened to one job; seconds by stage; *notes* are of options that were not applied to it.

    *memory* is about how many bytes it holds at the most, in so many *bands*.
    """

    status: Status
    job: Job
    request: Request
    outline: Outline | None = None
    source: Side | None = None
    result: Side | None = None
    choice: Choice | None = None
    threads: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: PoolError | None = None
    memory: int | None = None
    bands: int = 1


def as_json(record: Record) -> dict[str, Any]:
    """Return the one JSON form of a record: standard types only, no NaN."""
    choice, error, outline = record.choice, record.error, record.outline
    return {
        "schema": SCHEMA,
        "status": record.status,
        "input": record.job.input,
        "output": record.job.output,
        "reason": record.job.skip,
        "replaces": record.job.replaces,
        "method": record.request.method.token,
        **_window(record),
        "layout": outline and outline.layout.letters,
        "engine": choice and choice.engine,
        "engine_why": choice and choice.why,
        "engine_estimates": {
            "numpy": choice and choice.numpy_seconds,
            "numba_start": choice and choice.start_seconds,
        },
        "threads": record.threads,
        "in": record.source and asdict(record.source),
        "out": record.result and asdict(record.result),
        "seconds": record.seconds,
        "warnings": (*record.warnings, *record.notes),
        "error": error and as_error(error),
    }


def as_error(error: PoolError) -> dict[str, Any]:
    """Return the one JSON form of an error."""
    return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}


def _window(record: Record) -> dict[str, Any]:
    """Return the window as asked for or, where there is an outline, as it was resolved."""
    values = {**record.request.window.values(), "scale": None, "offset": None, "bounds": None, "taps": None}
    if record.outline is not None:
        plan = record.outline.plan
        values |= {name: [getattr(axis, name) for axis in plan.axes] for name in ("kernel", "stride", "dilation")}
        values["padding"] = plan.frame or [(axis.before, axis.after) for axis in plan.axes]
        values["pad_mode"] = plan.pad_mode
        values["scale"], values["offset"] = zip(*plan.mapping, strict=True)
        values["taps"] = record.outline.taps
        if not plan.regular:
            values["bounds"] = [[axis.span(o) for o in range(axis.out)] for axis in plan.axes]
    return values


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of a run; of several kinds of failure, the one that comes first in 70, 4, 5, 3, 6, 2."""
    found = set(codes)
    return next((code for code in (70, 4, 5, 3, 6, 2) if code in found), 0)
