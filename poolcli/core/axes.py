"""Where windows lie along each pooled axis, in exact Python integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Pair = tuple[int, int]


class Run(NamedTuple):
    """Neighbouring output positions whose windows divide by the same count."""

    start: int
    stop: int
    divisor: int


class Phase(NamedTuple):
    """Every *step*-th output of a dilated axis, from *first* on: together they are an axis without dilation.

    Its elements are the input's ``[offset :: axis-dilation]``; `axis` speaks of those.
    """

    first: int
    step: int
    offset: int
    axis: Axis


@dataclass(frozen=True, slots=True)
class Axis:
    """A window resolved along one axis: lengths and paddings in elements, *out* in output positions.

    One that is part of a longer axis, its *parent*, begins at the output *start* and the element *low* of that.
    """

    length: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int
    parent: Axis | None = None
    start: int = 0
    low: int = 0

    @property
    def whole(self) -> Axis:
        """The axis that this one is part of, or itself."""
        return self.parent or self

    def part(self, start: int, stop: int) -> Axis:
        """Return the outputs ``[start, stop)`` and the elements that they read, one at least, as an axis."""
        low, high = self.inputs(start, stop)
        length, before = max(high, low + 1) - low, low - self.span(start)[0]
        return replace(self, length=length, before=before, out=stop - start, parent=self, start=start, low=low)

    @property
    def reach(self) -> int:
        """Elements from the first to the last tap of a window: the effective kernel."""
        return self.dilation * (self.kernel - 1) + 1

    def span(self, o: int) -> Pair:
        """``[start, stop)`` of output position *o*, in input coordinates and not clipped."""
        start = o * self.stride - self.before
        return start, start + self.reach

    def count(self, o: int, *, include_pad: bool = False) -> int:
        """Elements that the window at *o* divides by (ATen's ``cpu_avg_pool``, per axis)."""
        start, stop = self.span(o)
        if include_pad:  # the padding counts, what ceil hangs over does not
            return 1 + (min(stop, self.length + self.after) - start - 1) // self.dilation
        first = max(0, -(start // self.dilation))
        last = min(self.kernel - 1, (self.length - 1 - start) // self.dilation)
        return max(0, last - first + 1)

    @property
    def scale(self) -> float:
        """Input elements for each output position."""
        return self.stride

    @property
    def offset(self) -> float:
        """Where the middle of the first window lies, in input elements from the middle of the first."""
        return (self.reach - 1) / 2 - self.before

    def runs(self, *, include_pad: bool = False) -> tuple[Run, ...]:
        """All output positions as runs of equal count; only edge windows are looked at one by one."""
        inner = -(-self.before // self.stride)
        outer = max(inner, (self.length + self.before - self.reach) // self.stride + 1)
        inner, outer = min(inner, self.out), min(outer, self.out)
        runs: list[Run] = []
        for start, stop in (
            *((o, o + 1) for o in range(inner)),
            *([(inner, outer)] if inner < outer else []),
            *((o, o + 1) for o in range(outer, self.out)),
        ):
            count = self.count(start, include_pad=include_pad)
            if runs and runs[-1].divisor == count:
                runs[-1] = runs[-1]._replace(stop=stop)
            else:
                runs.append(Run(start, stop, count))
        return tuple(runs)

    def trimmed(self) -> Axis:
        """Drop the taps that lie in the padding in every window: "same" takes kernels far larger than the input."""
        whole = self.whole  # a part has its taps: the order of adding follows from them
        leading = max(0, (whole.before - (whole.out - 1) * self.stride) // self.dilation)
        kept = min(self.kernel, -(-(whole.length + whole.before) // self.dilation))
        leading = min(leading, kept - 1)
        return replace(self, kernel=kept - leading, before=self.before - leading * self.dilation)

    def inputs(self, start: int, stop: int) -> Pair:
        """``[low, high)`` of the input that the outputs ``[start, stop)`` read."""
        low = max(0, self.span(start)[0])
        return low, max(low, min(self.length, self.span(stop - 1)[1]))

    def phases(self) -> Iterator[Phase]:
        """Part the outputs so that each part sees an axis without dilation."""
        step = self.dilation
        shared = gcd(self.stride, step)
        apart = step // shared
        for first in range(min(apart, self.out)):
            start = first * self.stride - self.before
            padded = max(0, -(start // step))
            offset = start + padded * step
            length = max(0, -(-(self.length - offset) // step))
            out = len(range(first, self.out, apart))
            yield Phase(first, apart, offset, Axis(length, self.kernel, self.stride // shared, 1, padded, 0, out))


ONE = Axis(1, 1, 1, 1, 0, 0, 1)  # rows of a sequence


@dataclass(frozen=True, slots=True)
class Spans(Axis):
    """An axis whose windows are told one by one, by the ``[start, stop)`` of each output.

    *kernel* is the longest, *stride* the mean step; *shares* are of the first and the last element of each window.
    """

    spans: tuple[Pair, ...] = ()
    shares: tuple[tuple[float, float], ...] | None = None

    @property
    def scale(self) -> float:
        """Input elements for each output position, on average."""
        return self.length / self.out

    @property
    def offset(self) -> float:
        """Where the middle of the first part lies, in input elements from the middle of the first."""
        return (self.scale - 1) / 2

    def part(self, start: int, stop: int) -> Axis:
        """Return the outputs ``[start, stop)`` and the elements that they read as an axis."""
        low, high = self.inputs(start, stop)
        each = tuple((a - low, b - low) for a, b in self.spans[start:stop])
        shares = self.shares and self.shares[start:stop]
        length, out = high - low, stop - start
        return replace(self, length=length, out=out, spans=each, shares=shares, parent=self, start=start, low=low)

    def span(self, o: int) -> Pair:
        """``[start, stop)`` of output position *o*."""
        return self.spans[o]

    def count(self, o: int, *, include_pad: bool = False) -> int:  # noqa: ARG002 -- there is no padding
        """Elements of the window at *o*."""
        start, stop = self.spans[o]
        return stop - start

    def inputs(self, start: int, stop: int) -> Pair:
        """``[low, high)`` of the input that the outputs ``[start, stop)`` read."""
        return min(span[0] for span in self.spans[start:stop]), max(span[1] for span in self.spans[start:stop])


def spans(length: int, each: Iterable[Pair]) -> Spans:
    """Return an axis of windows told one by one."""
    known = tuple(each)
    longest, step = max(b - a for a, b in known), max(1, length // len(known))
    return Spans(length, longest, step, 1, 0, 0, len(known), spans=known)


def adaptive(length: int, out: int) -> Axis:
    """Return PyTorch's adaptive windows: every element that the out-th part of the axis touches."""
    if length % out == 0:
        return Axis(length, length // out, length // out, 1, 0, 0, out)
    return spans(length, ((o * length // out, -(-(o + 1) * length // out)) for o in range(out)))


def area(length: int, out: int) -> Axis:
    """Return the same windows with the share of each element that lies in that part: they weigh the same in all."""
    touched = adaptive(length, out)
    if not isinstance(touched, Spans):
        return touched
    shares = []
    for o, (start, stop) in enumerate(touched.spans):
        begin, end = Fraction(o * length, out), Fraction((o + 1) * length, out)
        head = min(end, Fraction(start + 1)) - begin
        tail = end - max(begin, Fraction(stop - 1)) if stop - start > 1 else 0
        shares.append((float(head), float(tail)))
    return replace(touched, shares=tuple(shares))


def fractional(length: int, out: int, kernel: int, sample: float, *, single: bool) -> Axis:
    """Return PyTorch's fractional windows for a *sample* in [0, 1), stepped in float32 (*single*) or float64."""
    from numpy import float32, float64

    real = float32 if single else float64
    starts = []
    if out > 1:
        step, u = real(length - kernel) / real(out - 1), real(sample)
        starts = [int((real(o) + u) * step) - int(u * step) for o in range(out - 1)]
    return spans(length, ((start, start + kernel) for start in [*starts, length - kernel]))


@dataclass(frozen=True, slots=True)
class Plan:
    """A window resolved against one shape, an `Axis` for each pooled axis.

    Attributes
    ----------
    divisor
        What means divide by: the "valid" elements of a window, the "window" with its padding, or a number.
    frame, pad_mode
        What is put around the input first, before and after each axis, in a mode of `numpy.pad`; *axes* then speak of
        the framed input. Padding that never wins and never counts is not framed.
    """

    axes: tuple[Axis, ...]
    divisor: str | float = "valid"
    frame: tuple[Pair, ...] | None = None
    pad_mode: str = "identity"

    @property
    def out(self) -> tuple[int, ...]:
        """Output length of each pooled axis."""
        return tuple(axis.out for axis in self.axes)

    @property
    def count(self) -> int:
        """Elements of the largest window."""
        if self.divisor == "window":
            return prod(axis.kernel for axis in self.axes)
        return prod(min(axis.kernel, axis.whole.length) for axis in self.axes)

    @property
    def taps(self) -> int:
        """Elements of the largest window, padding among them."""
        return prod(axis.kernel for axis in self.axes)

    @property
    def regular(self) -> bool:
        """Whether windows step evenly along every axis."""
        return not any(isinstance(axis, Spans) for axis in self.axes)

    @property
    def mapping(self) -> tuple[tuple[float, float], ...]:
        """Scale and offset of each axis: output o has its middle at ``o * scale + offset`` of the input's elements."""
        before = [pair[0] for pair in self.frame] if self.frame else [0] * len(self.axes)
        return tuple((axis.scale, axis.offset - pad) for axis, pad in zip(self.axes, before, strict=True))

    def framed(self) -> Plan:
        """Return the plan with all padding in its frame."""
        pairs = tuple((axis.before, axis.after) for axis in self.axes)
        axes = tuple(
            replace(axis, length=axis.length + sum(pair), before=0, after=0)
            for axis, pair in zip(self.axes, pairs, strict=True)
        )
        return replace(self, axes=axes, frame=pairs)


def uniform(seed: int, place: int) -> float:
    """Return the number in [0, 1) that *seed* gives at a *place* (SplitMix64: Steele, Lea and Flood 2014)."""
    x = (seed + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return ((x ^ x >> 31) >> 11) / 2**53
