"""Arrays pooled region by region: boxes of whole objects, within a bound on memory, each done once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import pooling
from poolcli.core import regions as core
from poolcli.errors import InputError, LimitError, PoolError
from poolcli.jobs import executors, journal, memory
from poolcli.jobs.runner import Stopwatch
from poolcli.media import zarr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from poolcli.core.geometry import Window
    from poolcli.core.methods import Method
    from poolcli.core.missing import Missing
    from poolcli.core.pooling import Outline
    from poolcli.jobs.executors import Place
    from poolcli.jobs.journal import Journal
    from poolcli.media.zarr import Box, Stored

    Array = NDArray[Any]

AIM = 2**26  # bytes that a region reads and writes, where objects are small: a tenth of a second, and much more fits
COPIES = 3  # of what is read and of what is written that codecs and pooling hold at once (measured)

LARGE = COPIES * AIM  # bytes that a region of small objects takes


@dataclass(frozen=True, slots=True)
class Rule:
    """By what an array is pooled: all that `pooling.outline` wants to know, for a process anywhere."""

    method: Method
    layout: str
    asked: str | None
    rounding: str
    missing: Missing
    engine: str
    threads: int

    def outline(self, source: Stored, window: Window) -> Outline:
        """Return what pooling the array would give."""
        return _outline(self, source, window)


@lru_cache(maxsize=64)
def _outline(rule: Rule, source: Stored, window: Window) -> Outline:
    asked = None if rule.asked is None else np.dtype(rule.asked)
    return pooling.outline(
        source.shape, source.dtype, rule.method, window,
        layout=rule.layout, asked=asked, rounding=rule.rounding, missing=rule.missing,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sink:
    """One result: its *window*, None for a copy, and the array that it goes to, None where it is given back."""

    window: Window | None
    target: Stored | None


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with each region: read of *source*, where *missing* stands for what is not stored, into *sinks*."""

    source: Stored
    missing: float | None
    rule: Rule
    sinks: tuple[Sink, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A box of the source, and the box of each result that comes of it; no other one has its *name*, a box too."""

    name: Box
    read: Box
    results: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a region: results that are given back, chunks that were lost, seconds by stage, or an error."""

    region: Region
    parts: tuple[Array | None, ...] = ()
    lost: int = 0
    seconds: dict[str, float] | None = None
    error: PoolError | None = None


def do(work: Work, region: Region) -> Done:
    """Read, pool and write a region; whatever goes wrong is in what is returned."""
    watch = Stopwatch()
    try:
        with watch.stage("read"):
            block, lost = zarr.read(work.source, region.read, work.missing)
        pairs = list(zip(work.sinks, region.results, strict=True))
        with watch.stage("pool"):
            made = [_pooled(work, sink, region.read, block, box) for sink, box in pairs]
        del block
        with watch.stage("write"):
            parts = tuple(_put(sink, box, made.pop(0)) for sink, box in pairs)
    except PoolError as error:
        return Done(region, seconds=watch.seconds, error=type(error)(error.message, error.hint))  # without its frames
    except MemoryError:
        return Done(
            region,
            seconds=watch.seconds,
            error=LimitError("memory must hold a region and its result", "max_memory=N, with fewer bytes"),
        )
    return Done(region, parts, lost, watch.seconds)


def _pooled(work: Work, sink: Sink, read: Box, block: Array, box: Box) -> Array | None:
    """Return one result of a region; none where its windows are dropped."""
    if not size(box) or sink.window is None:
        return block if size(box) else None
    outline = work.rule.outline(work.source, sink.window)
    sides = zip(core.reach(outline, box), read, strict=True)
    these = block[tuple(slice(s.start - r.start, s.stop - r.start) for s, r in sides)]
    return core.run(outline, these, box, engine=work.rule.engine, threads=work.rule.threads).array


def _put(sink: Sink, box: Box, part: Array | None) -> Array | None:
    """Write a result to its target, or return it."""
    if sink.target is None or part is None:
        return part
    zarr.write(sink.target, box, part)
    return None


# --- Which regions ---


@dataclass(frozen=True, slots=True)
class Grid:
    """The regions of a job: the boxes of a *shape*, *step* by step, and the bytes that one takes."""

    shape: tuple[int, ...]
    step: tuple[int, ...]
    bytes: int

    @property
    def count(self) -> int:
        """How many regions there are."""
        return prod(-(-length // step) for length, step in zip(self.shape, self.step, strict=True))

    def __iter__(self) -> Iterator[Box]:
        sides = zip(self.shape, self.step, strict=True)
        yield from product(
            *([slice(at, min(at + step, length)) for at in range(0, length, step)] for length, step in sides)
        )


def divided(shape: tuple[int, ...], unit: Sequence[int], cost: Callable[[Box], int], most: int) -> Grid:
    """Return the grid of the largest regions, of whole *units*, that cost at most *most* bytes and hardly over `AIM`.

    The regions of the shortest side grow first, so that they read little of each other's.

    Raises
    ------
    LimitError
        One unit alone costs more; its message says how much.
    """

    def price(step: Sequence[int]) -> int:
        starts = [max(0, (length - 1) // n // 2) * n for n, length in zip(step, shape, strict=True)]  # in the middle
        ends = zip(starts, step, shape, strict=True)
        return cost(tuple(slice(at, min(at + n, length)) for at, n, length in ends))

    step = list(unit)
    if price(step) > most:
        raise LimitError(f"a region of {'x'.join(map(str, unit))} takes {price(step)} bytes")
    growing = [axis for axis, length in enumerate(shape) if step[axis] < length]
    while growing:
        axis = min(growing, key=step.__getitem__)
        larger = [n * 2 if i == axis else n for i, n in enumerate(step)]
        if price(larger) > min(most, LARGE):
            growing.remove(axis)
            continue
        step = larger
        if step[axis] >= shape[axis]:
            growing.remove(axis)
    return Grid(shape, tuple(step), price(step))


def size(box: Box) -> int:
    """Return how many elements a box holds."""
    return prod(side.stop - side.start for side in box)


# --- Doing them ---


@dataclass(slots=True)
class Outcome:
    """What all regions came to; *seconds* are of all threads."""

    seconds: dict[str, float]
    lost: int = 0
    regions: int = 0
    errors: tuple[PoolError, ...] = ()


def run(
    work: Work,
    regions: Sequence[Region] | Iterator[Region],
    place: Place,
    kept: Journal,
    *,
    take: Callable[[Done], None] = lambda _: None,
    told: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Do the regions that the journal does not say are done.

    What one of them cannot read does not keep others from being done; the first that cannot be written ends the run.

    Parameters
    ----------
    work, regions, place, kept
        What is done, of what, where, and the journal of it. A region is told by its name.
    take
        Called with what is done, one by one, before that is written down; it takes results that are given back.
    told
        Called with the number of regions that are done, after each.

    Raises
    ------
    OutputError, LimitError
        A region cannot be written, or takes too much memory.
    """
    came = Outcome({})
    if place.here:
        memory.give_back()

    def one(region: Region) -> Done:
        done: Done = place.call(do, work, region)
        if done.error is None:
            take(done)
        kept.add(region.name, done.error, done.seconds or {})
        return replace(done, parts=())

    left = (region for region in regions if journal.bounds(region.name) not in kept.done)
    came.regions = len(kept.done)
    for done in executors.each(place, one, left):
        for name, value in (done.seconds or {}).items():
            came.seconds[name] = came.seconds.get(name, 0.0) + value
        came.lost += done.lost
        came.regions += 1
        told(came.regions)
        if done.error is not None:
            came.errors += (done.error,)
            if not isinstance(done.error, InputError):
                raise done.error
    return came


def failure(errors: Sequence[PoolError], count: int) -> PoolError:
    """Return the one error that tells of those of several regions."""
    first = errors[0]
    more = f"; {len(errors)} of {count} regions could not be done" if errors[1:] else ""
    return type(first)(f"{first.message}{more}", first.hint)
