"""How long pooling takes: contenders of a case on the same input, checked before they are timed."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from poolcli.core.threads import PARTS, share
from poolcli.errors import LimitError, PoolError
from poolcli.measure.calls import Call, Prepared, touched
from poolcli.measure.environment import free_memory
from poolcli.measure.peers import offers
from poolcli.measure.results import LIMIT, OURS, Timing
from poolcli.measure.turns import Rules, failure, interleave
from poolcli.measure.ways import WAYS, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from poolcli.measure.calls import Array
    from poolcli.measure.cases import Case, Size
    from poolcli.measure.peers import Library
    from poolcli.measure.turns import Clock, Samples

CROP = 2**20  # elements on which values are checked
THREADED = 2**20  # bytes below which waking a thread costs more than copying


class _Entry(NamedTuple):
    """The record of a contender so far, its call if it is to be timed, and seconds of its checking call."""

    timing: Timing
    call: Callable[[], object] | None = None
    spent: float = 0.0


def noise(size: Size, seed: int = 0) -> Array:
    """Return seeded noise: floats in [0, 1), integers over their range but for at most 17 bits."""
    generator, dtype = np.random.default_rng(seed), np.dtype(size.dtype)
    if dtype.kind == "f":
        return generator.random(size.shape, np.float64 if dtype.itemsize == 8 else np.float32).astype(dtype, copy=False)
    if dtype.kind == "b":
        return generator.integers(0, 2, size.shape, np.uint8).astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(int(info.min), -(2**15)), min(int(info.max), 2**16 - 1)
    return generator.integers(low, high, size.shape, dtype, endpoint=True)


def run(
    cases: Iterable[Case],
    *,
    engines: Sequence[str] = ("numba",),
    peers: Sequence[Library] = (),
    also: Sequence[str] = (),
    rules: Rules | None = None,
    load: Callable[[Size], Array] = noise,
    clock: Clock = time.perf_counter_ns,
) -> Iterator[tuple[Timing, ...]]:
    """Time each case after the other; yield its records as soon as they are there.

    The first of *engines* is the one that others are checked against and compared with; *also* names `ways` in which
    they pool beside.
    """
    loaded = lru_cache(maxsize=1)(load)
    for case in cases:
        yield _timings(case, engines, peers, also, rules or Rules(), loaded, clock)


def copy(count: int, threads: int) -> Callable[[], object]:
    """Return a call that copies *count* bytes between two touched buffers, on the threads that pooling has."""
    source, target = touched((count,), "uint8"), touched((count,), "uint8")
    seats = threads if count >= THREADED else 1
    bands = seats * PARTS if seats > 1 else 1

    def work(band: int) -> None:
        part = slice(count * band // bands, count * (band + 1) // bands)
        np.copyto(target[part], source[part])

    return partial(share, work, bands, seats)


def crop(array: Array, case: Case) -> tuple[Array, Case]:
    """Return a part of *array* of at most 1 Mi elements, or one that a few windows still fit in, and its case."""
    pooled, shape = case.size.axes, list(array.shape)
    axes = dict(zip(pooled, case.plan.axes, strict=True))
    for i in range(pooled[-1] + 1):
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
    ways: Sequence[str],
    rules: Rules,
    load: Callable[[Size], Array],
    clock: Clock,
) -> tuple[Timing, ...]:
    """Return the records of one case: the limit, poolcli, the peers, then what peers cannot do."""
    also = [way for way in ways if WAYS[way].fits(case)]
    calls = {f"{OURS} {engine} {way}".strip(): ours(engine, way) for way in ("", *also) for engine in engines}
    try:
        _check_memory(case, len(calls) + len(peers))
        offered = offers(case, peers, also)
        calls |= {name: call for name, call in offered.items() if isinstance(call, Call)}
        limit = Timing(case, LIMIT, "done", note="copy of (input + output) / 2 bytes")
        entries = list(_admitted(calls, load(case.size), case, rules, clock))
        done = _timed([_Entry(limit, copy(case.bytes // 2, case.threads)), *entries], rules, clock)
    except PoolError as error:
        return (Timing(case, next(iter(calls)), "refused", error.message),)
    except MemoryError:
        return (Timing(case, next(iter(calls)), "refused", "does not fit in memory"),)
    skipped = (Timing(case, name, "skipped", why) for name, why in offered.items() if isinstance(why, str))
    return (*done, *skipped)


def _check_memory(case: Case, contenders: int) -> None:
    free = free_memory()
    needed = (2 + contenders) * case.bytes  # the limit copies as much again, and so may every contender
    if free is not None and needed > free:
        raise LimitError(f"memory must hold about {needed / 1e9:.1f} GB, got {free / 1e9:.1f} GB free")


def _admitted(calls: Mapping[str, Call], array: Array, case: Case, rules: Rules, clock: Clock) -> Iterator[_Entry]:
    """Check each of *calls* on the crop, against the first; make ready those that are quick enough."""
    part, part_case = crop(array, case)
    scale = float(np.abs(part.astype(np.float64)).max(initial=0.0))
    reference: Array | None = None
    for name, call in calls.items():
        timing = Timing(case, name, "done", note=call.note(case), tolerance=call.tolerance(case, scale))
        try:
            first_call, seconds, values = _check(timing, call.prepare(part, part_case), rules, clock)
            if reference is None:
                reference = values.copy()
            whole = reference.dtype.kind in "iu"
            wrong = float((values.reshape(reference.shape) != reference).mean()) if whole else None
            timing = replace(
                timing, first_call=first_call, difference=largest_difference(values, reference), wrong=wrong
            )
            if seconds > rules.max_time:
                yield _Entry(replace(timing, times=(seconds,), lower_bound=True))
            else:
                yield _Entry(timing, call.prepare(array, case).call, seconds)
        except Exception as error:
            if timing.ours:
                raise
            # peers are foreign code; what breaks one must not end the others
            yield _Entry(replace(timing, status="failed", reason=failure(error)))


def _check(timing: Timing, prepared: Prepared, rules: Rules, clock: Clock) -> tuple[float, float, Array]:
    """Return the seconds of the first call and of the last one, and the values; our own first call may compile."""
    first, returned = _clocked(prepared.call, clock)
    seconds = first
    if timing.ours and first > rules.max_time:
        seconds, returned = _clocked(prepared.call, clock)
    return first, seconds, prepared.values(returned)


def _clocked(call: Callable[[], object], clock: Clock) -> tuple[float, object]:
    """Return the seconds that *call* takes, and what it returns."""
    begin = clock()
    returned = call()
    return (clock() - begin) / 1e9, returned


def _timed(entries: Sequence[_Entry], rules: Rules, clock: Clock) -> tuple[Timing, ...]:
    """Return the records of *entries* with their samples."""
    calls = {entry.timing.contender: entry.call for entry in entries if entry.call}
    spent = {entry.timing.contender: entry.spent for entry in entries}
    samples = interleave(calls, rules, spent=spent, clock=clock, rested=entries[0].timing.case.rest)
    return tuple(_sampled(entry.timing, samples.get(entry.timing.contender)) for entry in entries)


def _sampled(timing: Timing, found: Samples | None) -> Timing:
    if found is None:
        return timing
    if found.failure:
        return replace(timing, status="failed", reason=found.failure)
    return replace(timing, times=found.seconds, user=found.user, system=found.system)
