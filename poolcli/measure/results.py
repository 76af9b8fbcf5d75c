"""What a benchmark found: records of time, and what a time means beside the others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

from poolcli.measure import stats
from poolcli.measure.cases import Case  # noqa: TC001 -- hints are read by the codec
from poolcli.measure.environment import Environment  # noqa: TC001 -- likewise

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = "limit"  # the contender that only copies
OURS = "poolcli"

# skipped: the peer cannot do it, or is too slow; failed: it broke; refused: the case does not fit
Status = Literal["done", "skipped", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class Timing:
    """What one contender did in one case."""

    case: Case
    contender: str  # with the memory format where it is not the case's own
    status: Status
    reason: str = ""  # why it is not done
    times: tuple[float, ...] = ()  # seconds of every sample, in the order of the runs
    first_call: float | None = None  # seconds on the crop: loading, compiling
    processes: tuple[int, ...] = ()  # how many samples each process took, where there were several
    lower_bound: bool = False  # the one sample is the call on the crop, which already took longer than allowed
    difference: float | None = None  # the largest from poolcli on the crop
    wrong: float | None = (
        None  # the share of integers on the crop that are not poolcli's, which are rounded half to even
    )
    tolerance: float | None = None  # what the peer's way of rounding explains of it
    user: float = 0.0  # mean processor seconds of a run, of all threads
    system: float = 0.0
    note: str = ""  # the call, in the library's words

    @property
    def ours(self) -> bool:
        """Whether it is poolcli's."""
        return self.contender.startswith(OURS)

    @property
    def summary(self) -> stats.Summary:
        """Statistics of the samples; only of a timing that is done."""
        return stats.summarise(self.times)

    @property
    def medians(self) -> tuple[float, ...]:
        """The median of each process."""
        ends = list(accumulate(self.processes or (len(self.times),), initial=0))
        return tuple(stats.summarise(self.times[start:stop]).median for start, stop in pairwise(ends))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third of the samples."""
        return stats.quartiles(self.times)

    @property
    def differs(self) -> bool:
        """Whether the values are further from poolcli's than rounding explains."""
        return self.difference is not None and self.tolerance is not None and not self.difference <= self.tolerance

    @property
    def advice(self) -> stats.Advice | None:
        """Why its time should not be trusted, and what to do."""
        if self.status != "done" or self.lower_bound:
            return None
        return stats.advise_processes(self.medians) if len(self.processes) > 1 else stats.advise(self.times)


@dataclass(frozen=True)
class Results:
    """A whole benchmark: where, by which command line and when (ISO 8601) it ran, its records in order of the cases."""

    environment: Environment
    command: str
    created: str
    timings: tuple[Timing, ...] = field(repr=False)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """A row of the table for each record."""
        return _rows(self.timings)

    @property
    def done(self) -> tuple[Timing, ...]:
        """The records that have times."""
        return tuple(timing for timing in self.timings if timing.status == "done")

    @property
    def refused(self) -> tuple[Timing, ...]:
        """The cases that did not fit."""
        return tuple(timing for timing in self.timings if timing.status == "refused")


def merged(runs: Sequence[Results]) -> Results:
    """Return the results of several processes as one: the samples of all where each has some, else the first lack."""
    found: dict[tuple[Case, str], list[Timing]] = {}
    for timing in (timing for run in runs for timing in run.timings):
        found.setdefault((timing.case, timing.contender), []).append(timing)
    return replace(runs[0], timings=tuple(map(_merged, found.values())))


def _merged(timings: list[Timing]) -> Timing:
    short = next((timing for timing in timings if timing.status != "done" or timing.lower_bound), None)
    if short is not None or len(timings) == 1:
        return short or timings[0]
    return replace(
        timings[0],
        times=tuple(time for timing in timings for time in timing.times),
        processes=tuple(len(timing.times) for timing in timings),
        user=stats.summarise(tuple(timing.user for timing in timings)).mean,
        system=stats.summarise(tuple(timing.system for timing in timings)).mean,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A record with what can only be said beside the others; None where it means nothing."""

    timing: Timing
    gigabytes: float | None = None  # GB/s of bytes read and written, each once
    of_limit: float | None = None  # time of the copy over its time: 1 is as fast as memory
    megapixels: float | None = None  # Mpix/s of the input; channels do not count
    growth: float | None = None  # its time over that of the smallest kernel of the same stride
    speed_up: float | None = None  # its time over poolcli's first of the case: 2 means that poolcli is twice as fast


def _rows(timings: Sequence[Timing]) -> tuple[Row, ...]:
    done = [timing for timing in timings if _measured(timing)]
    limits = {t.case: t.summary.median for t in done if t.contender == LIMIT}
    ours = {t.case: t.summary.median for t in reversed(done) if t.ours}
    smallest: dict[tuple[object, ...], tuple[int, float]] = {}
    for timing in done:
        if timing.contender != LIMIT and not timing.lower_bound:
            here = timing.case.elements, timing.summary.median
            smallest[_family(timing)] = min(smallest.get(_family(timing), here), here)
    return tuple(
        _row(t, limits.get(t.case), ours.get(t.case), smallest.get(_family(t))) if _measured(t) else Row(t)
        for t in timings
    )


def _measured(timing: Timing) -> bool:
    return timing.status == "done" and timing.summary.median > 0


def _row(timing: Timing, limit: float | None, ours: float | None, smallest: tuple[int, float] | None) -> Row:
    median, case = timing.summary.median, timing.case
    growth = median / smallest[1] if smallest and smallest[0] < timing.case.elements else None
    speed_up = median / ours if ours and timing.contender != LIMIT else None
    if timing.lower_bound:  # of the crop: no rate follows from it
        return Row(timing, growth=growth, speed_up=speed_up)
    of_limit = limit / median if limit else None
    return Row(timing, case.bytes / median / 1e9, of_limit, case.size.pixels / median / 1e6, growth, speed_up)


def _family(timing: Timing) -> tuple[object, ...]:
    """What the timings share between which growth is told: all but the kernel."""
    case = timing.case
    window = (value for name, value in case.window.values().items() if name != "kernel")
    return (timing.contender, case.size, case.method, case.threads, case.rest, *window)
