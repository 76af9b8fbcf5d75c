"""How long pooling takes: contenders of a case on the same input, checked before they are timed."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from poolcli.core import pooling
from poolcli.core.dtypes import named
from poolcli.core.layouts import Layout
from poolcli.core.methods import lookup
from poolcli.core.threads import share
from poolcli.errors import LimitError, PoolError
from poolcli.measure.calls import Prepared, touched
from poolcli.measure.environment import free_memory
from poolcli.measure.peers import offers
from poolcli.measure.results import LIMIT, OURS, Timing
from poolcli.measure.turns import Rules, failure, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from poolcli.measure.calls import Array, Call, Prepare
    from poolcli.measure.cases import Case, Size
    from poolcli.measure.peers import Library
    from poolcli.measure.turns import Clock

CROP = 2**20  # elements on which values are checked
THREADED = 2**20  # bytes below which waking a thread costs more than copying


class Contender(NamedTuple):
    """Who pools: a name, how to make its call ready, and the call of a peer; poolcli is none."""

    name: str
    prepare: Prepare
    peer: Call | None = None


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
        size = case.out
        out = touched(size.shape, size.dtype)
        call = partial(
            pooling.run,
            array,
            lookup(case.method),
            case.window,
            layout=case.size.layout,
            dtype=named(size.dtype),
            out=out,
            engine=engine,
            threads=case.threads,
        )
        return Prepared(call, lambda _: out)

    return Contender(OURS if engine == "auto" else f"{OURS} {engine}", prepare)


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
    pooled, shape = Layout(case.size.layout).pooled, list(array.shape)
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
    rules: Rules,
    load: Callable[[Size], Array],
    clock: Clock,
) -> tuple[Timing, ...]:
    """Return the records of one case: the limit, poolcli, the peers, then what peers cannot do."""
    own = [ours(engine) for engine in engines]
    try:
        _check_memory(case, len(own) + len(peers))
        offered = list(offers(case, peers))
        able = [Contender(offer.name, offer.call.prepare, offer.call) for offer in offered if offer.call]
        entries = list(_admitted((*own, *able), load(case.size), case, rules, clock))
        limit = Timing(case, LIMIT, "done", note="copy of (input + output) / 2 bytes")
        entries.insert(0, _Entry(limit, copy(case.bytes // 2, case.threads)))
        done = tuple(_timed(entries, rules, clock))
    except PoolError as error:
        return (Timing(case, own[0].name, "refused", error.message),)
    except MemoryError:
        return (Timing(case, own[0].name, "refused", "does not fit in memory"),)
    skipped = (Timing(case, offer.name, "skipped", offer.reason) for offer in offered if not offer.call)
    return (*done, *skipped)


def _check_memory(case: Case, contenders: int) -> None:
    free = free_memory()
    needed = (2 + contenders) * case.bytes  # the limit copies as much again, and so may every contender
    if free is not None and needed > free:
        raise LimitError(f"memory must hold about {needed / 1e9:.1f} GB, got {free / 1e9:.1f} GB free")


def _admitted(
    contenders: Iterable[Contender], array: Array, case: Case, rules: Rules, clock: Clock
) -> Iterator[_Entry]:
    """Check each contender on the crop, against the first; make ready those that are quick enough."""
    part, part_case = crop(array, case)
    scale = float(np.abs(part.astype(np.float64)).max(initial=0.0))
    reference: Array | None = None
    for contender in contenders:
        peer = contender.peer
        timing = Timing(case, contender.name, "done", note=peer.note(case) if peer else "")
        try:
            first_call, seconds, values = _check(contender, part, part_case, rules, clock)
            if reference is None:
                reference = values.copy()
            difference = largest_difference(values, reference)
            tolerance = peer.tolerance(case, scale) if peer else 0.0
            timing = replace(timing, first_call=first_call, difference=difference, tolerance=tolerance)
            if seconds > rules.max_time:
                yield _Entry(replace(timing, times=(seconds,), lower_bound=True))
            else:
                yield _Entry(timing, contender.prepare(array, case).call, seconds)
        except Exception as error:
            if peer is None:
                raise
            # peers are foreign code; what breaks one must not end the others
            yield _Entry(replace(timing, status="failed", reason=failure(error)))


def _check(contender: Contender, part: Array, case: Case, rules: Rules, clock: Clock) -> tuple[float, float, Array]:
    """Return the seconds of the first call and of the last one, and the values; our own first call may compile."""
    prepared = contender.prepare(part, case)
    seconds: list[float] = []
    while not seconds or (len(seconds) == 1 and contender.peer is None and seconds[0] > rules.max_time):
        begin = clock()
        returned = prepared.call()
        seconds.append((clock() - begin) / 1e9)
    return seconds[0], seconds[-1], prepared.values(returned)


def _timed(entries: Sequence[_Entry], rules: Rules, clock: Clock) -> Iterator[Timing]:
    """Yield the records of *entries* with their samples."""
    calls = {entry.timing.contender: entry.call for entry in entries if entry.call}
    spent = {entry.timing.contender: entry.spent for entry in entries}
    samples = interleave(calls, rules, spent=spent, clock=clock)
    for timing in (entry.timing for entry in entries):
        found = samples.get(timing.contender)
        if found is None:
            yield timing
        elif found.failure:
            yield replace(timing, status="failed", reason=found.failure)
        else:
            yield replace(timing, times=found.seconds, user=found.user, system=found.system)
