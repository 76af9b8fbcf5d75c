"""How long pooling takes: contenders of a case in turns, on the same input, checked before they are timed."""

from __future__ import annotations

import gc
import math
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core.layouts import Layout
from poolcli.core.pooling import pool
from poolcli.core.threads import share
from poolcli.errors import LimitError, PoolError, UsageError
from poolcli.measure import adapters
from poolcli.measure.adapters import Prepared, touched
from poolcli.measure.environment import free_memory
from poolcli.measure.peers import offers
from poolcli.measure.results import LIMIT, OURS, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from poolcli.measure.cases import Case, Size
    from poolcli.measure.peers import Adapter, Library

    Array = NDArray[Any]
    Clock = Callable[[], int]  # nanoseconds

CROP = 2**20  # elements on which values are checked
THREADED = 2**20  # bytes below which waking a thread costs more than copying

# Seconds below which the last contender's traces show: its data in the caches, our threads asleep. On two cores
# PyTorch's avg in channels_last took 0.4 ms right after a call of its own and 1.6 to 8 ms after another's.
SHORT = 0.01
WARM = 0.004  # seconds of work before which it shows that the processors have slept
MOST_WARM = 50  # calls that warm up; more would change nothing


@dataclass(frozen=True, slots=True)
class Rules:
    """When a contender has run enough in one case.

    Parameters
    ----------
    warmup
        Calls before the first sample. They are repeated for 4 ms before each later sample of a call under 10 ms,
        unless 0.
    min_runs, min_time
        Samples and their seconds that are both to be reached.
    runs
        Exactly so many samples, however long they take.
    max_time
        Seconds that all its calls in the case may take; it wins over all others but *runs*, and a call on the crop
        that already takes longer is the last.

    Raises
    ------
    UsageError
        A value is out of range.
    """

    warmup: int = 1
    min_runs: int = 10
    runs: int | None = None
    min_time: float = 1.0
    max_time: float = 3.0

    def __post_init__(self) -> None:
        for name, least in (("warmup", 0), ("min_runs", 1), ("runs", 1), ("min_time", 0), ("max_time", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise UsageError(f"{name.replace('_', '-')} must be at least {least}, got {value!r}")

    def enough(self, samples: Sequence[float], spent: float) -> bool:
        """Whether a contender with these *samples*, whose calls took *spent* seconds, is done."""
        if self.runs is not None:
            return len(samples) >= self.runs
        if spent >= self.max_time:
            return True
        return len(samples) >= self.min_runs and sum(samples) >= self.min_time


class Samples(NamedTuple):
    """Seconds of each run, mean processor seconds of a run, and why it broke, if it did."""

    seconds: tuple[float, ...]
    user: float
    system: float
    failure: str = ""


@dataclass(slots=True)
class _Runner:
    """The state of one contender in the rounds of a case."""

    call: Callable[[], object]
    warmup: int
    spent: float
    seconds: list[float] = field(default_factory=list)
    runs: int = 0
    user: float = 0.0
    system: float = 0.0
    failure: str = ""

    def turn(self, rules: Rules, clock: Clock, rest: Callable[[], None]) -> bool:
        """Run once; return whether there is to be another turn. What the turn takes counts, rest and warm-up too."""
        begin = clock()
        rest()
        try:
            if rules.warmup and self.seconds and self.seconds[-1] < SHORT:
                for _ in range(min(MOST_WARM, 1 + int(WARM / max(self.seconds[-1], 1e-9)))):
                    self._run(clock)
            seconds = self._run(clock)
        except Exception as error:  # noqa: BLE001 -- peers are foreign code; what breaks one must not end the others
            self.failure = failure(error)
            return False
        self.spent += (clock() - begin) / 1e9
        if self.warmup > 0:
            self.warmup -= 1
            if rules.runs is not None or self.spent < rules.max_time:
                return True
        self.seconds.append(seconds)  # a warm-up that used up the time is the only sample
        return not rules.enough(self.seconds, self.spent)

    def _run(self, clock: Clock) -> float:
        user, system = _processor_seconds()
        begin = clock()
        self.call()
        seconds = (clock() - begin) / 1e9
        user_after, system_after = _processor_seconds()
        self.runs += 1
        self.user += user_after - user
        self.system += system_after - system
        return seconds

    @property
    def samples(self) -> Samples:
        runs = max(1, self.runs)
        return Samples(tuple(self.seconds), self.user / runs, self.system / runs, self.failure)


def failure(error: Exception) -> str:
    """Return what happened in the first line of a foreign library's error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _processor_seconds() -> tuple[float, float]:
    """Return user and system seconds of all threads of this process."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # not on Windows
        times = os.times()
        return times.user, times.system
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def settle() -> None:
    """Wait until the threads of the last call sleep: those of OpenMP and OpenCV spin for up to 10 ms.

    On two busy cores a copy after PyTorch took twice as long, poolcli too. The system counts the time of a running
    thread at its ticks (4 ms here), so that a shorter look sees nothing.
    """
    for _ in range(10):
        begin = time.process_time_ns()
        time.sleep(5e-3)
        if time.process_time_ns() - begin < 1e6:
            return


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out of the samples."""
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rules: Rules,
    *,
    spent: Mapping[str, float] | None = None,
    clock: Clock = time.perf_counter_ns,
    rest: Callable[[], None] = settle,
) -> dict[str, Samples]:
    """Time contenders in turns, one call each a round, until each has run enough.

    Parameters
    ----------
    calls
        A call without arguments for each contender's name, with nothing left to set up.
    rules
        When each is done.
    spent
        Seconds that calls of a contender took before.
    clock
        Nanoseconds of a clock that never goes back.
    rest
        What comes before each call, outside its time.
    """
    earlier = spent or {}
    runners = {name: _Runner(call, rules.warmup, earlier.get(name, 0.0)) for name, call in calls.items()}
    running = list(runners.values())
    with _no_collection():
        while running:
            running = [runner for runner in running if runner.turn(rules, clock, rest)]
    return {name: runner.samples for name, runner in runners.items()}


class Contender(NamedTuple):
    """Who pools: a name, how to make its call ready, and what is known of its values."""

    name: str
    prepare: Callable[[Array, Case], Prepared]
    note: str = ""
    tolerance: Callable[[Case, float], float] | None = None
    compiles: bool = False


class _Checked(NamedTuple):
    """What the calls on the crop showed: seconds of the first and of the last one, and the values."""

    first_call: float
    seconds: float
    values: Array


def noise(size: Size, seed: int = 0) -> Array:
    """Return seeded noise: floats in [0, 1), integers over their range but for at most 17 bits."""
    generator, dtype = np.random.default_rng(seed), np.dtype(size.dtype)
    if dtype.kind == "f":
        return generator.random(size.shape, np.float64 if dtype.itemsize == 8 else np.float32).astype(dtype, copy=False)
    info = np.iinfo(dtype)
    low, high = max(int(info.min), -(2**15)), min(int(info.max), 2**16 - 1)
    return generator.integers(low, high, size.shape, dtype, endpoint=True)


def run(
    cases: Iterable[Case],
    *,
    engines: Sequence[str] = ("numba",),
    peers: Sequence[Library] = (),
    rules: Rules | None = None,
    load: Callable[[Size], Array] = noise,
    clock: Clock = time.perf_counter_ns,
) -> Iterator[tuple[Timing, ...]]:
    """Time each case after the other; yield its records as soon as they are there.

    Parameters
    ----------
    cases
        As made by `cases.grid`.
    engines
        Engines of poolcli; the first is the one that others are checked against and compared with.
    peers
        As chosen by `peers.select`.
    rules
        When a contender has run enough.
    load
        Input of a size: noise, or what a file holds.
    clock
        Nanoseconds of a clock that never goes back.
    """
    loaded = lru_cache(maxsize=1)(load)
    for case in cases:
        yield _timings(case, engines, peers, rules or Rules(), loaded, clock)


def ours(engine: str) -> Contender:
    """Return poolcli with *engine* as a contender."""

    def prepare(array: Array, case: Case) -> Prepared:
        window, out = case.window, touched(case.out.shape, case.out.dtype)
        call = partial(
            pool,
            array,
            case.method,
            window.kernel,
            window.stride,
            window.padding,
            window.dilation,
            ceil=window.ceil,
            count_include_pad=window.count_include_pad,
            layout=case.size.layout,
            dtype=case.out.dtype,
            out=out,
            engine=engine,
            threads=case.threads,
        )
        return Prepared(call, lambda _: out)

    return Contender(OURS if engine == "auto" else f"{OURS} {engine}", prepare, compiles=True)


def _peer(adapter: Adapter, case: Case) -> Contender:
    return Contender(adapter.name, partial(adapters.prepare, adapter), adapter.note(case), adapter.rounding)


def copy(count: int, threads: int) -> Callable[[], object]:
    """Return a call that copies *count* bytes between two touched buffers, on the threads that pooling has."""
    source, target = touched((count,), "uint8"), touched((count,), "uint8")
    bands = threads if count >= THREADED else 1
    parts = list(pairwise(count * i // bands for i in range(bands + 1)))

    def work(dealt: Iterable[tuple[int, int]]) -> None:
        for start, stop in dealt:
            np.copyto(target[start:stop], source[start:stop])

    return lambda: share(work, parts, bands)


def crop(array: Array, case: Case) -> tuple[Array, Case]:
    """Return a part of *array* of at most 1 Mi elements, or one that a few windows still fit in, and its case."""
    layout, shape = Layout(case.size.layout), list(array.shape)
    axes = dict(zip(layout.pooled, case.plan.axes, strict=True))
    for i in layout.order[: layout.order.index(layout.pooled[1]) + 1]:
        least = axes[i].reach + 3 * axes[i].stride if i in axes else 1
        others = math.prod(shape) // shape[i]
        shape[i] = min(shape[i], max(least, CROP // others))
    part = np.ascontiguousarray(array[tuple(map(slice, shape))])
    return part, replace(case, size=replace(case.size, shape=part.shape))


def largest_difference(values: Array, reference: Array) -> float:
    """Return the largest absolute difference; equal values, also NaN and infinities, differ by 0."""
    ours, theirs = reference.astype(np.float64), values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, np.abs(ours - theirs))
    # a NaN against a number is as far apart as can be; JSON has no infinity
    return min(float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)), sys.float_info.max)


def _timings(
    case: Case,
    engines: Sequence[str],
    peers: Sequence[Library],
    rules: Rules,
    load: Callable[[Size], Array],
    clock: Clock,
) -> tuple[Timing, ...]:
    """Return the records of one case: poolcli, the limit, the peers, then what peers cannot do."""
    own = [ours(engine) for engine in engines]
    try:
        _check_memory(case, len(own) + len(peers))
        offered = offers(case, peers)
        able = [_peer(offer.adapter, case) for offer in offered if offer.adapter]
        entries = list(_admitted((*own, *able), load(case.size), case, rules, clock))
        done = _timed(case, entries, rules, clock)
    except PoolError as error:
        return (Timing(case, own[0].name, "refused", error.message),)
    except MemoryError:
        return (Timing(case, own[0].name, "refused", "does not fit in memory"),)
    skipped = (Timing(case, offer.name, "skipped", offer.reason) for offer in offered if not offer.adapter)
    return (*done, *skipped)


def _check_memory(case: Case, contenders: int) -> None:
    free = free_memory()
    needed = (2 + contenders) * case.bytes  # the limit copies as much again, and so may every contender
    if free is not None and needed > free:
        raise LimitError(f"memory must hold about {needed / 1e9:.1f} GB, got {free / 1e9:.1f} GB free")


class _Entry(NamedTuple):
    """The record of a contender so far, seconds of its checking call, and its call if it is to be timed."""

    timing: Timing
    spent: float = 0.0
    call: Callable[[], object] | None = None


def _admitted(
    contenders: Iterable[Contender], array: Array, case: Case, rules: Rules, clock: Clock
) -> Iterator[_Entry]:
    """Check each contender on the crop, against the first; make ready those that are quick enough."""
    part, part_case = crop(array, case)
    scale = float(np.abs(part.astype(np.float64)).max(initial=0.0))
    reference: Array | None = None
    for contender in contenders:
        timing = Timing(case, contender.name, "done", note=contender.note)
        try:
            checked = _check(contender, part, part_case, rules, clock)
            if reference is None:
                reference = checked.values.copy()
            yield _entry(contender, timing, checked, (reference, scale), array, rules)
        except Exception as error:
            if contender.tolerance is None:
                raise
            # peers are foreign code; what breaks one must not end the others
            yield _Entry(replace(timing, status="failed", reason=failure(error)))


def _check(contender: Contender, part: Array, case: Case, rules: Rules, clock: Clock) -> _Checked:
    prepared = contender.prepare(part, case)
    begin = clock()
    returned = prepared.call()
    first = seconds = (clock() - begin) / 1e9
    if contender.compiles and first > rules.max_time:
        begin = clock()
        returned = prepared.call()
        seconds = (clock() - begin) / 1e9
    return _Checked(first, seconds, prepared.values(returned))


def _entry(
    contender: Contender,
    timing: Timing,
    checked: _Checked,
    reference: tuple[Array, float],
    array: Array,
    rules: Rules,
) -> _Entry:
    expected, scale = reference
    timing = replace(
        timing,
        first_call=checked.first_call,
        difference=largest_difference(checked.values, expected),
        tolerance=contender.tolerance(timing.case, scale) if contender.tolerance else 0.0,
    )
    if checked.seconds > rules.max_time:
        return _Entry(replace(timing, seconds=(checked.seconds,), lower_bound=True))
    return _Entry(timing, checked.seconds, contender.prepare(array, timing.case).call)


def _timed(case: Case, entries: Sequence[_Entry], rules: Rules, clock: Clock) -> tuple[Timing, ...]:
    """Return the records of *entries* with their samples, the limit's first."""
    calls: dict[str, Callable[[], object]] = {LIMIT: copy(case.bytes // 2, case.threads)}
    calls |= {entry.timing.contender: entry.call for entry in entries if entry.call}
    spent = {entry.timing.contender: entry.spent for entry in entries}
    samples = interleave(calls, rules, spent=spent, clock=clock)
    limit = Timing(case, LIMIT, "done", note="copy of (input + output) / 2 bytes")
    return tuple(_sampled(timing, samples) for timing in (limit, *(entry.timing for entry in entries)))


def _sampled(timing: Timing, samples: Mapping[str, Samples]) -> Timing:
    found = samples.get(timing.contender)
    if not found:
        return timing
    if found.failure:
        return replace(timing, status="failed", reason=found.failure)
    return replace(timing, seconds=found.seconds, user=found.user, system=found.system)
