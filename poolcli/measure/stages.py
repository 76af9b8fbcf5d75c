"""Whole files by stage: read, decode, pool, encode, write."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from poolcli.errors import PoolError
from poolcli.jobs import naming, runner
from poolcli.jobs.request import Output, Request, method
from poolcli.measure.results import OURS, Timing
from poolcli.measure.turns import interleave

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from poolcli.measure.cases import Case
    from poolcli.measure.turns import Rules

STAGES = ("total", "read", "decode", "pool", "encode", "write")


def timed(grid: Iterable[Case], engine: str, rules: Rules) -> Iterator[tuple[Timing, ...]]:
    """Pool each case's file into a temporary folder again and again; yield a record for each stage.

    The output has the input's format where that can be written, and is PNG or `.npy` else.
    """
    for case in grid:
        with tempfile.TemporaryDirectory() as folder:
            yield _timed(case, engine, rules, folder)


def _timed(case: Case, engine: str, rules: Rules, folder: str) -> tuple[Timing, ...]:
    request = Request(method(case.method), case.window, engine=engine, threads=case.threads)
    seen: list[dict[str, float]] = []
    try:
        (job,) = naming.plan([case.size.input or ""], Output(folder + os.sep, force=True), request)
        call = partial(_once, job, request, seen)
        call()
        samples = interleave({OURS: call}, rules, rested=case.rest)[OURS]
    except PoolError as error:
        return (Timing(case, f"{OURS} total", "refused", error.message),)
    counted = seen[-len(samples.seconds) :]
    return tuple(
        Timing(case, f"{OURS} {stage}", "done", times=tuple(s[stage] for s in counted), first_call=seen[0][stage])
        for stage in STAGES
    )


def _once(job: naming.Job, request: Request, seen: list[dict[str, float]]) -> None:
    record, _ = runner.run(job, request)
    if record.error is not None:
        raise record.error
    seen.append(record.seconds)
