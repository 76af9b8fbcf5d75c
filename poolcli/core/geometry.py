"""Where windows lie: the window as asked for, resolved against a shape, in exact Python integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

from poolcli.core.settings import setting
from poolcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 2**31 - 1  # of a window value; sizes themselves are unbounded
SAME = ("same", "same-lower")
EACH = "N, or one for each pooled axis, as 3x2 or 3x3x3"
PADDING = "N, one for each axis (1x2), T,R,B,L, BEFORE:AFTER for each (1:0x2:2), same or same-lower"

Pair = tuple[int, int]


class Run(NamedTuple):
    """Neighbouring output positions whose windows divide by the same count."""

    start: int
    stop: int
    divisor: int


class Chain(NamedTuple):
    """Every *step*-th output of a dilated axis, from *first* on: together they are an axis without dilation.

    Its elements are the input's ``[offset :: axis-dilation]``; `axis` speaks of those.
    """

    first: int
    step: int
    offset: int
    axis: Axis


@dataclass(frozen=True, slots=True)
class Axis:
    """A window resolved along one axis: lengths and paddings in elements, *out* in output positions."""

    length: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int

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
        leading = max(0, (self.before - (self.out - 1) * self.stride) // self.dilation)
        kept = min(self.kernel, -(-(self.length + self.before) // self.dilation))
        leading = min(leading, kept - 1)
        return replace(self, kernel=kept - leading, before=self.before - leading * self.dilation)

    def inputs(self, start: int, stop: int) -> Pair:
        """``[low, high)`` of the input that the outputs ``[start, stop)`` read."""
        low = max(0, self.span(start)[0])
        return low, max(low, min(self.length, self.span(stop - 1)[1]))

    def chains(self) -> Iterator[Chain]:
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
            yield Chain(first, apart, offset, Axis(length, self.kernel, self.stride // shared, 1, padded, 0, out))


@dataclass(frozen=True, slots=True)
class Plan:
    """A window resolved against one shape, an `Axis` for each pooled axis."""

    axes: tuple[Axis, ...]
    count_include_pad: bool = False

    @property
    def out(self) -> tuple[int, ...]:
        """Output length of each pooled axis."""
        return tuple(axis.out for axis in self.axes)

    @property
    def count(self) -> int:
        """Elements of the largest window."""
        total = 1
        for axis in self.axes:
            total *= axis.kernel if self.count_include_pad else min(axis.kernel, axis.length)
        return total


@dataclass(frozen=True, slots=True)
class Window:
    """A window as asked for: each value is one int for all pooled axes, or one for each in layout order.

    Parameters
    ----------
    kernel
        Elements of the window; from 1.
    stride
        Step from window to window; from 1; the kernel when not given.
    padding
        Elements added around the input that never win and never count (see *count_include_pad*); an int, or
        ``(before, after)`` in place of one; or "same" ("same-lower"): as much as keeps ``ceil(length / stride)``
        windows, the odd one after (before).
    dilation
        Step from element to element of a window; from 1.
    ceil
        Keep a last window that hangs over the end, unless it starts in the padding after the input.
    count_include_pad
        Averages and L2 divide by elements of the padding, too.

    Values may be strings, as on the command line: ``"3"``, ``"3x2"``, padding also ``"T,R,B,L"``.

    Raises
    ------
    UsageError
        A value breaks a rule of its own or does not go with another.
    """

    kernel: Any = setting("Window", f"Elements of the window: {EACH}.", default=2, short="-k", metavar="N")
    stride: Any = setting(
        "Window", f"Step from window to window: {EACH}; else the kernel.", default=None, short="-s", metavar="N"
    )
    padding: Any = setting(
        "Window", f"Elements added around that never win: {PADDING}.", default=0, short="-p", metavar="PAD"
    )
    dilation: Any = setting("Window", f"Step from element to element: {EACH}.", default=1, short="-d", metavar="N")
    ceil: bool = setting("Window", "Keep a last window that hangs over the end.", default=False)
    count_include_pad: bool = setting("Window", "avg and l2 divide by the padding's elements, too.", default=False)

    def __post_init__(self) -> None:
        kernel = _values("kernel", self.kernel, least=1)
        stride = kernel if self.stride is None else _values("stride", self.stride, least=1)
        dilation = _values("dilation", self.dilation, least=1)
        padding = _paddings(self.padding)
        lengths = {len(v) for v in (kernel, stride, dilation, padding) if not isinstance(v, str)} - {1}
        if len(lengths) > 1:
            raise UsageError(
                "kernel, stride, padding and dilation must have one value each or one for each pooled axis, "
                f"got {len(kernel)}, {len(stride)}, {len(padding)} and {len(dilation)} values"
            )
        n = max(lengths, default=1)
        if isinstance(padding, str):
            if self.ceil:
                raise UsageError(f"padding {padding!r} must be used without ceil", "drop one of the two")
        else:
            padding = _spread(padding, n)
        for name, value in (
            ("kernel", _spread(kernel, n)),
            ("stride", _spread(stride, n)),
            ("padding", padding),
            ("dilation", _spread(dilation, n)),
        ):
            object.__setattr__(self, name, value)
        self._check_padding()

    def _check_padding(self) -> None:
        if isinstance(self.padding, str):
            return
        for kernel, dilation, pair in zip(self.kernel, self.dilation, self.padding, strict=True):
            reach = dilation * (kernel - 1) + 1
            if max(pair) >= reach:
                raise UsageError(
                    "padding must be smaller than the effective kernel dilation * (kernel - 1) + 1 "
                    f"= {reach}, got {max(pair)}"
                )

    def over(self, axes: int) -> Window:
        """Return the window with one value for each of *axes* axes."""
        if len(self.kernel) not in (1, axes):
            got = ", ".join(
                f"{name} {'x'.join(map(str, getattr(self, name)))}" for name in ("kernel", "stride", "dilation")
            )
            raise UsageError(f"window must have one value for each of the {axes} pooled axes, got {got}")
        padding = self.padding if isinstance(self.padding, str) else _spread(self.padding, axes)
        return Window(
            _spread(self.kernel, axes),
            _spread(self.stride, axes),
            padding,
            _spread(self.dilation, axes),
            self.ceil,
            self.count_include_pad,
        )

    def plan(self, lengths: tuple[int, ...]) -> Plan:
        """Resolve the window against the *lengths* of the pooled axes.

        Raises
        ------
        InputError
            The window does not fit into the padded input.
        """
        window = self.over(len(lengths))
        paddings = window.padding
        if isinstance(paddings, str):
            paddings = [None] * len(lengths)
        return Plan(
            tuple(
                _axis(window, length, i, pair) for i, (length, pair) in enumerate(zip(lengths, paddings, strict=True))
            ),
            window.count_include_pad,
        )


def _axis(window: Window, length: int, i: int, pair: Pair | None) -> Axis:
    kernel, stride, dilation = window.kernel[i], window.stride[i], window.dilation[i]
    reach = dilation * (kernel - 1) + 1
    if pair is None:
        out = -(-length // stride)
        total = max((out - 1) * stride + reach - length, 0)
        less, more = total // 2, total - total // 2
        before, after = (less, more) if window.padding == "same" else (more, less)
    else:
        before, after = pair
        spare = length + before + after - reach
        if spare < 0:
            raise InputError(
                f"kernel must fit in the padded input, got an effective kernel of {reach} "
                f"for a length of {length} + {before + after} of padding"
            )
        out = -(-spare // stride) + 1 if window.ceil else spare // stride + 1
        if window.ceil and (out - 1) * stride >= length + before:
            out -= 1  # the last window would start in the padding after the input
    return Axis(length, kernel, stride, dilation, before, after, out)


def _spread(values: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    return values * n if len(values) == 1 else values


def _values(name: str, value: object, *, least: int) -> tuple[int, ...]:
    parts = value.lower().split("x") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        parts = (parts,)
    if not parts:
        raise UsageError(f"{name} must be one int or one for each pooled axis, got {value!r}")
    return tuple(_whole(name, part, least, value) for part in parts)


def _paddings(value: object) -> tuple[Pair, ...] | str:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in SAME:
            return text
        if "," in text:
            sides = [_whole("padding", part, 0, value) for part in text.split(",")]
            if len(sides) != 4:
                raise UsageError(f"padding must be N, RxC, T,R,B,L, same or same-lower, got {value!r}")
            top, right, bottom, left = sides
            return (top, bottom), (left, right)
        if not text or text.strip("0123456789x+-. "):
            raise UsageError(f"padding must be N, RxC, T,R,B,L, same or same-lower, got {value!r}")
        return tuple((p, p) for p in _values("padding", text, least=0))
    parts = value if isinstance(value, (list, tuple)) else (value,)
    if not parts:
        raise UsageError(f"padding must be one int or one for each pooled axis, got {value!r}")
    return tuple(_pair(part, value) for part in parts)


def _pair(part: object, value: object) -> Pair:
    if not isinstance(part, (list, tuple)):
        part = (part, part)
    if len(part) != 2:
        raise UsageError(f"padding must be a number or (before, after) on each axis, got {value!r}")
    before, after = (_whole("padding", side, 0, value) for side in part)
    return before, after


def _whole(name: str, part: object, least: int, value: object) -> int:
    if isinstance(part, str):
        digits = part.strip()
        number = int(digits) if digits.isascii() and digits.lstrip("+-").isdigit() and len(digits) < 4000 else None
    else:
        try:
            number = None if isinstance(part, (bool, float)) else part.__index__()  # type: ignore[attr-defined]  # AttributeError is the answer for other types
        except AttributeError:
            number = None
    if number is None or not least <= number <= LARGEST:
        shown = str(value)[:40] if isinstance(value, str) else f"{value!r:.40}"
        form = "a whole number" if number is None else "a number"
        quoted = repr(shown) if isinstance(value, str) else shown
        raise UsageError(f"{name} must be {form} from {least} to {LARGEST}, got {quoted}")
    return number
