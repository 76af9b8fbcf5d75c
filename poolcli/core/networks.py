"""Networks that order windows by exchanges: programs of smallest and largest of two, made of the window alone.

A value is a row of pixels, one for each window of a strip, and stands where it does for all windows: what a window
needs of its column c is what the window at 0 needs, shifted by c. So each value is made once, as low as it may stand,
and used at many shifts: columns are sorted once for all windows that they are in, and so are pairs of columns.
"""

from __future__ import annotations

from functools import lru_cache, partial, reduce
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Wire = tuple[int, int]  # a value and how many pixels it is shifted


class Exchange(NamedTuple):
    """Rows *low* and *high* become the smaller and the larger of two, where they are wanted (not -1).

    Each of two is a row and its shift; *reach* counts the pixels that are needed past those of the strip.
    """

    one: Wire
    other: Wire
    low: int
    high: int
    reach: int


class Program(NamedTuple):
    """Exchanges, the rows that they take, and where the wanted ranks stand.

    At first, row r * phases + p holds pixels p, p + stride, ... of row r of the window, and *reaches* counts those
    past the strip's.
    """

    phases: tuple[int, ...]
    reaches: tuple[int, ...]
    exchanges: tuple[Exchange, ...]
    ranks: tuple[Wire, ...]
    rows: int


class Network:
    """Values by how they are made: each one is kept once."""

    def __init__(self) -> None:
        self.made: dict[tuple[object, ...], int] = {}
        self.sources: list[tuple[Wire, Wire] | None] = []

    def value(self, how: tuple[object, ...], sources: tuple[Wire, Wire] | None = None) -> int:
        """Return the value that is made so."""
        if how not in self.made:
            self.made[how] = len(self.sources)
            self.sources.append(sources)
        return self.made[how]

    def extreme(self, kind: str, a: Wire, b: Wire) -> Wire:
        """Return the "low" or the "high" one of two."""
        (m, s), (n, t) = sorted((a, b))
        base = min(s, t)
        pair = (m, s - base), (n, t - base)
        return self.value((kind, pair), pair), base

    def merge(self, a: Sequence[Wire], b: Sequence[Wire]) -> list[Wire]:
        """Return two sorted sequences as one (Batcher 1968, odd-even merge; Knuth, TAOCP 3, 5.3.4)."""
        if not a or not b:
            return [*a, *b]
        if len(a) == len(b) == 1:
            return [self.extreme("low", a[0], b[0]), self.extreme("high", a[0], b[0])]
        evens, odds = self.merge(a[::2], b[::2]), self.merge(a[1::2], b[1::2])
        merged, most = [evens[0]], min(len(odds), len(evens) - 1)
        for pair in zip(odds[:most], evens[1 : 1 + most], strict=True):
            merged += [self.extreme("low", *pair), self.extreme("high", *pair)]
        return [*merged, *odds[most:], *evens[1 + most :]]

    def sort(self, parts: Sequence[Sequence[Wire]]) -> list[Wire]:
        """Return sorted sequences as one."""
        if len(parts) == 1:
            return list(parts[0])
        return self.merge(*(self.sort(half) for half in halves(parts)))

    def pick(self, a: Sequence[Wire], b: Sequence[Wire], rank: int) -> Wire:
        """Return one rank of two sorted sequences: the smallest of what is larger than as many of them."""
        tops: list[Wire] = []
        for i in range(max(0, rank + 1 - len(b)), min(len(a), rank + 1) + 1):
            each = [*a[i - 1 : i], *b[rank - i : rank - i + 1]]  # none of a or of b: an empty slice
            tops.append(each[0] if len(each) == 1 else self.extreme("high", *each))
        return reduce(partial(self.extreme, "low"), tops)

    def needed(self, wires: Sequence[Wire]) -> list[int]:
        """Return the values that *wires* are made of, in the order in which they were."""
        seen: set[int] = set()
        left = [value for value, _ in wires]
        while left:
            value = left.pop()
            if value not in seen:
                seen.add(value)
                left += [source for source, _ in self.sources[value] or ()]
        return sorted(seen)


def halves(parts: Sequence[Sequence[Wire]]) -> tuple[Sequence[Sequence[Wire]], Sequence[Sequence[Wire]]]:
    """Return the first and the other parts: parts of a power of two are the same in many windows."""
    half = 1 << ((len(parts) - 1).bit_length() - 1)
    return parts[:half], parts[half:]


@lru_cache(maxsize=64)
def program(rows: int, columns: int, stride: int, dilation: int, ranks: tuple[int, ...]) -> Program:
    """Return the shorter program for *ranks* of windows: the last merge is Batcher's, or by each rank for itself."""
    phases = tuple(sorted({column * dilation % stride for column in range(columns)}))
    found = []
    for merged in (True,) if columns == 1 else (True, False):
        network = Network()
        inputs = [[network.value((r, p)) for p in phases] for r in range(rows)]
        places = [(phases.index(c * dilation % stride), c * dilation // stride) for c in range(columns)]
        lines = [network.sort([[(inputs[r][p], shift)] for r in range(rows)]) for p, shift in places]
        if merged:
            ordered = network.sort(lines)
            wanted = [ordered[rank] for rank in ranks]
        else:
            a, b = (network.sort(half) for half in halves(lines))
            wanted = [network.pick(a, b, rank) for rank in ranks]
        found.append((len(network.needed(wanted)), network, wanted))
    _, network, wanted = min(found, key=itemgetter(0))
    return scheduled(network, wanted, phases, rows * len(phases))


def scheduled(network: Network, wanted: list[Wire], phases: tuple[int, ...], inputs: int) -> Program:
    """Return the program that makes the *wanted* values, in as few rows as it can without writing what it reads."""
    steps: dict[tuple[Wire, Wire], dict[str, int]] = {}  # by their sources, in an order in which they can be made
    kinds = {value: how[0] for how, value in network.made.items()}
    for value in network.needed(wanted):
        sources = network.sources[value]
        if sources is not None:
            steps.setdefault(sources, {})[str(kinds[value])] = value
    reach, last = dict.fromkeys(range(len(network.sources)), 0), {}
    for value, shift in wanted:
        reach[value], last[value] = max(reach[value], shift), len(steps)
    for number, (sources, made) in reversed(list(enumerate(steps.items()))):
        for value, shift in sources:
            reach[value] = max(reach[value], shift + max(reach[of] for of in made.values()))
            last.setdefault(value, number)
    row = {value: value for value in range(inputs)}
    free: list[int] = []
    rows, exchanges = inputs, []
    for number, (sources, made) in enumerate(steps.items()):
        for value in made.values():
            if not free:
                free.append(rows)
                rows += 1
            row[value] = free.pop()
        one, other = ((row[value], shift) for value, shift in sources)
        low, high = (row[made[kind]] if kind in made else -1 for kind in ("low", "high"))
        exchanges.append(Exchange(one, other, low, high, max(reach[of] for of in made.values())))
        free += {row[value] for value, _ in sources if last[value] == number}
    ranks = tuple((row[value], shift) for value, shift in wanted)
    return Program(phases, tuple(reach[value] for value in range(inputs)), tuple(exchanges), ranks, rows)
