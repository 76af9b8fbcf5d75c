"""What a benchmark found as JSON: a superset of hyperfine's, times in seconds; records without times stand apart."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from typing import Any

from poolcli.errors import InputError, PoolError
from poolcli.jobs.naming import spelled
from poolcli.jobs.records import SCHEMA
from poolcli.measure.cases import window_token
from poolcli.measure.codec import decode, encode
from poolcli.measure.results import Results, Timing


def to_json(results: Results) -> str:
    """Return the document."""
    document = {
        "schema": SCHEMA,
        "kind": "bench",
        "created": results.created,
        "command": results.command,
        "environment": encode(results.environment),
        "results": [_as_hyperfine(timing) | encode(timing) for timing in results.done],
        "others": [encode(timing) for timing in results.timings if timing.status != "done"],
    }
    return json.dumps(document, allow_nan=False) + "\n"


def _as_hyperfine(timing: Timing) -> dict[str, Any]:
    """Return what follows from a record; hyperfine's parameters are strings."""
    case = timing.case
    return {
        "command": f"{timing.contender} {case.token}",
        **encode(timing.summary),
        "exit_codes": [0] * len(timing.times),
        "parameters": {
            "contender": timing.contender,
            "size": case.size.token,
            "method": case.method,
            "window": window_token(case.window),
            "kernel": spelled(case.window.kernel),
            "threads": str(case.threads),
            "rest": f"{case.rest:g}",
        },
        "bytes": case.bytes,
    }


def from_json(text: str | bytes) -> Results:
    """Return the results of a document, as `to_json` writes it."""
    try:
        document = json.loads(text, parse_constant=_constant)
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error
    found = document if isinstance(document, dict) else {}
    if (found.get("schema"), found.get("kind")) != (SCHEMA, "bench"):
        raise InputError(
            f"schema must be {SCHEMA!r} of a benchmark, got {found.get('schema')!r}",
            "write it with poolcli bench --export FILE.json",
        )
    try:
        return _results(found)
    except PoolError as error:
        raise InputError(f"not a valid benchmark: {error.message}") from error


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _results(document: dict[str, Any]) -> Results:
    records = (decode(list[Any], document.get(name), name) for name in ("results", "others"))
    timings = [_timing(record) for record in chain(*records)]
    order = {case: i for i, case in enumerate(dict.fromkeys(timing.case for timing in timings))}
    timings.sort(key=lambda timing: order[timing.case])
    results: Results = decode(Results, {**document, "timings": []})
    return replace(results, timings=tuple(timings))


def _timing(record: Any) -> Timing:
    timing: Timing = decode(Timing, record, "result")
    if (timing.status == "done") != bool(timing.times):
        raise InputError(f"times must be there exactly when a record is done, got {timing.times!r}")
    if not all(time >= 0 for time in timing.times):
        raise InputError("times must be numbers from 0")
    return timing
