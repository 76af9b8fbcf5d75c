"""Where windows lie: the window as asked for, resolved against a shape, in exact Python integers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from poolcli.core import axes
from poolcli.core.axes import Axis, Pair, Plan
from poolcli.core.settings import setting
from poolcli.errors import InputError, UsageError

LARGEST = 2**31 - 1  # of a window value; sizes themselves are unbounded
LONGEST = 2**20  # result that is longer than its input
SAME = ("same", "same-lower")
EACH = "N, or RxC: one for each pooled axis, as 3x2 or 3x3x3"
PADDING = "N, one for each axis (1x2), T,R,B,L, BEFORE:AFTER for each (1:0x2:2), same or same-lower"

OPEN = ("kernel", "stride", "padding", "pad_mode", "divisor", "edge")  # None where not given
EDGES = ("drop", "partial", "error")
PAD_MODES = ("identity", "zero", "edge", "reflect", "symmetric", "wrap")
RULES = ("adaptive", "area", "fractional")


@dataclass(frozen=True, slots=True)
class Window:
    """A window as asked for: each value is one for all pooled axes, or one for each in layout order.

    Parameters
    ----------
    kernel
        Elements of the window; from 1; 2 when not given.
    stride
        Step from window to window; from 1; the kernel when not given.
    padding
        Elements added around the input (see *pad_mode*); an int, or ``(before, after)`` in place of one; or "same"
        ("same-lower"): as much as keeps ``ceil(length / stride)`` windows, the odd one after (before).
    dilation
        Step from element to element of a window; from 1.
    ceil
        Keep a last window that hangs over the end, unless it starts in the padding after the input.
    count_include_pad
        As ``divisor="window"``.
    divisor
        What means divide by: "valid", the elements that are there; "window", with the padding's; or a number.
    edge
        What does not fill a window at the end: "drop", the default; "partial", a window of what there is, as *ceil*;
        or "error".
    pad_mode
        What the padding holds: "identity", which never wins and never counts, "zero", or the input's values by "edge",
        "reflect", "symmetric" or "wrap" as in `numpy.pad`.
    to
        Length of the result in place of a window, None where an axis keeps its own; the windows follow from *to_rule*.
    to_rule
        "adaptive", every element that the part of an output touches, as in PyTorch; "area", the same by its share;
        "fractional", windows of *kernel* at steps that *seed* shifts, as in PyTorch.
    fractional, whole
        ``to`` with the rule "fractional"; ``to=1``.
    seed
        A whole number that random choices follow from; or for fractional windows PyTorch's samples, one in [0, 1) for
        each axis.

    Values may be strings, as on the command line: ``"3"``, ``"3x2"``, padding also ``"T,R,B,L"`` for two axes, and
    ``"BEFORE:AFTER"`` for each as ``"1:0x2:2"``.

    Raises
    ------
    UsageError
        A value breaks a rule of its own or does not go with another.
    """

    kernel: Any = setting("Window", f"Elements of the window: {EACH}; else 2.", default=None, short="-k", metavar="N")
    stride: Any = setting(
        "Window", f"Step from window to window: {EACH}; else the kernel.", default=None, short="-s", metavar="N"
    )
    padding: Any = setting("Window", f"Elements added around: {PADDING}.", default=None, short="-p", metavar="PAD")
    dilation: Any = setting("Window", f"Step from element to element: {EACH}.", default=1, short="-d", metavar="N")
    ceil: bool = setting("Window", "Keep a last window that hangs over the end.", default=False)
    count_include_pad: bool | None = setting("Window", "Means divide by the padding's elements, too.", default=None)
    divisor: Any = setting(
        "Window",
        "What means divide by: valid, window (with its padding) or a number.",
        default=None,
        metavar="N",
        choices=("valid", "window"),
    )
    edge: str | None = setting(
        "Window",
        f"What does not fill a window at the end: {', '.join(EDGES)}.",
        default=None,
        metavar="WHAT",
        choices=EDGES,
    )
    pad_mode: str | None = setting(
        "Window",
        f"What the padding holds: {', '.join(PAD_MODES)}; else identity, which never wins and never counts.",
        default=None,
        metavar="WHAT",
        choices=PAD_MODES,
    )
    to: Any = setting("Window", f"Length of the result in place of a window: {EACH}.", default=None, metavar="N")
    to_rule: str = setting(
        "Window",
        f"Which windows make that length: {', '.join(RULES)}.",
        default="adaptive",
        metavar="RULE",
        choices=RULES,
    )
    seed: Any = setting("Window", "What random choices follow from: a whole number.", default=0, metavar="N")
    fractional: Any = setting("Window", f"The same as --to with that rule: {EACH}.", default=None, metavar="N")
    whole: bool = setting(
        "Window", "One window over each pooled axis: the same as --to 1.", default=False, long="--global"
    )
    given: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.divisor is None and self.count_include_pad is not None:
            object.__setattr__(self, "divisor", "window" if self.count_include_pad else "valid")
        object.__setattr__(self, "given", frozenset(name for name in OPEN if getattr(self, name) is not None))
        self._spell_target()
        one_of("edge", self.edge, EDGES)
        one_of("pad_mode", self.pad_mode, PAD_MODES)
        one_of("to_rule", self.to_rule, RULES)
        kernel = per_axis("kernel", 2 if self.kernel is None else self.kernel, least=1)
        values: dict[str, Any] = {
            "kernel": kernel,
            "stride": kernel if self.stride is None else per_axis("stride", self.stride, least=1),
            "dilation": per_axis("dilation", self.dilation, least=1),
            "padding": _paddings(0 if self.padding is None else self.padding),
        }
        if self.to is not None:
            values["to"] = per_axis("to", self.to, least=1, absent=True)
        lengths = {len(value) for value in values.values() if not isinstance(value, str)} - {1}
        if len(lengths) > 1:
            got = ", ".join(f"{name} {len(value)}" for name, value in values.items() if not isinstance(value, str))
            raise UsageError(f"window values must be one each or one for each pooled axis, got {got}")
        for name, value in values.items():
            spread = value if isinstance(value, str) else _spread(value, max(lengths, default=1))
            object.__setattr__(self, name, spread)
        object.__setattr__(self, "divisor", _divisor(self.divisor, count_include_pad=bool(self.count_include_pad)))
        object.__setattr__(self, "count_include_pad", self.divisor == "window")
        object.__setattr__(self, "seed", _seed(self.seed))
        self._check()

    def _spell_target(self) -> None:
        """Replace other ways to ask for a length by *to* and its rule."""
        ways = {"to": self.to, "fractional": self.fractional, "whole": self.whole or None}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{given[0]} must be used without {given[1]}: both set the length", "drop one of the two")
        said: dict[str, Any] = {"fractional": None, "whole": False}
        if self.fractional is not None:
            said |= {"to": self.fractional, "to_rule": "fractional"}
        elif self.whole:
            said |= {"to": 1}
        for name, value in said.items():
            object.__setattr__(self, name, value)

    def _check(self) -> None:
        """Refuse values that do not go together."""
        if self.to is not None:
            others = self.given - {"divisor", "edge", *["kernel"] * (self.to_rule == "fractional")}
            if others or self.ceil or self.edge or set(self.dilation) != {1}:
                name = min(others, default="ceil, edge or dilation")
                raise UsageError(f"to must be used without {name}: it sets the windows itself", "drop one of the two")
        elif self.to_rule != "adaptive":
            raise UsageError(f"to_rule must be used with to, got {self.to_rule!r} alone")
        if isinstance(self.padding, str):
            if self.ceil:
                raise UsageError(f"padding {self.padding!r} must be used without ceil", "drop one of the two")
            return
        for kernel, dilation, pair in zip(self.kernel, self.dilation, self.padding, strict=True):
            reach = dilation * (kernel - 1) + 1
            if max(pair) >= reach:
                raise UsageError(
                    "padding must be smaller than the effective kernel dilation * (kernel - 1) + 1 "
                    f"= {reach}, got {max(pair)}"
                )

    def values(self) -> dict[str, Any]:
        """Return the value of each keyword."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def asked(self) -> dict[str, Any]:
        """Return the values as they can be given again: those that were not given are None."""
        return {**self.values(), **dict.fromkeys({*OPEN, "count_include_pad"} - self.given)}

    def under(self, **rules: Any) -> Window:
        """Return the window with the values of *rules* that were not given; only the divisor goes with a length."""
        asked = self.asked()
        free = {"divisor"} if self.to is not None else set(rules)
        return Window(**asked | {name: value for name, value in rules.items() if name in free and asked[name] is None})

    def fitted(self, kernel: tuple[int, ...] | None, *, reflects: bool) -> Window:
        """Return the window with what a method brings along, where nothing was given.

        *kernel* is that of its weights; one that *reflects* is framed by half of its kernel.
        """
        asked = self.asked()
        if kernel is not None:
            if "kernel" in self.given and _spread(self.kernel, len(kernel)) != kernel:
                wanted = "x".join(map(str, kernel))
                raise UsageError(f"kernel must be that of the weights, {wanted}, got {self.kernel}", f"kernel={wanted}")
            asked["kernel"] = kernel
        if reflects and self.to is not None and self.to_rule != "fractional":
            raise UsageError("to must be used with a method whose windows may have any length", 'to_rule="fractional"')
        if reflects and self.to is None:
            reaches = [dilation * (k - 1) + 1 for k, dilation in zip(self.kernel, self.dilation, strict=True)]
            if "padding" not in self.given:
                asked["padding"] = tuple((reach // 2, reach // 2) for reach in reaches)
            asked["pad_mode"] = self.pad_mode or "reflect"
        return Window(**asked)

    def level(self, number: int) -> Window:
        """Return the window on the input whose elements reach the same output of pooling *number* times."""
        if self.to is not None:
            raise UsageError("levels must be used without to: each would have the same length", "drop one of the two")
        reach = [sum(stride**i for i in range(number)) for stride in self.stride]
        asked = self.asked()
        asked["kernel"] = tuple(1 + (kernel - 1) * times for kernel, times in zip(self.kernel, reach, strict=True))
        asked["stride"] = tuple(stride**number for stride in self.stride)
        if not isinstance(self.padding, str):
            pairs = zip(self.padding, reach, strict=True)
            asked["padding"] = tuple((before * times, after * times) for (before, after), times in pairs)
        return Window(**asked)

    def over(self, axes: int) -> Window:
        """Return the window with one value for each of *axes* axes."""
        values = {name: getattr(self, name) for name in ("kernel", "stride", "dilation", "padding", "to")}
        spread = {name: value for name, value in values.items() if isinstance(value, tuple)}
        if len(self.kernel) not in (1, axes):
            names = ("kernel", "stride", "dilation") if self.to is None else ("to",)
            got = ", ".join(f"{name} {'x'.join(map(str, spread[name]))}" for name in names)
            raise UsageError(f"window must have one value for each of the {axes} pooled axes, got {got}")
        asked = self.asked()
        return Window(
            **asked | {name: _spread(value, axes) for name, value in spread.items() if asked[name] is not None}
        )

    def plan(self, lengths: tuple[int, ...], *, single: bool = False) -> Plan:
        """Resolve the window against the *lengths* of the pooled axes; *single*: of float32 (for fractional windows).

        Raises
        ------
        InputError
            The window does not fit into the padded input.
        """
        window = self.over(len(lengths))
        if window.to is not None:
            return Plan(
                tuple(_target(window, length, i, single=single) for i, length in enumerate(lengths)), window.divisor
            )
        paddings = [None] * len(lengths) if isinstance(window.padding, str) else window.padding
        each = enumerate(zip(lengths, paddings, strict=True))
        plan = Plan(tuple(_axis(window, length, i, pair) for i, (length, pair) in each), window.divisor)
        mode = window.pad_mode or "identity"
        return plan if mode == "identity" else replace(plan.framed(), pad_mode=mode)


def one_of(name: str, value: str | None, known: tuple[str, ...]) -> None:
    """Raise `UsageError` when *value* is given and not *known*."""
    if value is not None and value not in known:
        raise UsageError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _divisor(value: Any, *, count_include_pad: bool) -> str | float:
    if count_include_pad and value not in (None, "window"):
        raise UsageError(f"divisor must be window with count_include_pad, got {value!r}", "drop one of the two")
    if value is None:
        return "valid"
    if value in ("valid", "window"):
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < abs(number) < float("inf"):
        raise UsageError(f"divisor must be valid, window or a number other than 0, got {value!r}")
    return number


def _seed(value: Any) -> int | tuple[float, ...]:
    if isinstance(value, (tuple, list)):
        samples = tuple(float(sample) for sample in value)
        if not all(0 <= sample < 1 for sample in samples):
            raise UsageError(f"seed must be a whole number, or samples from 0 to below 1, got {value!r}")
        return samples
    return _whole("seed", value, 0, value, most=2**63 - 1)


def _target(window: Window, length: int, i: int, *, single: bool) -> Axis:
    out = window.to[i] or length
    if window.to_rule != "fractional":
        if out > max(length, LONGEST):
            raise InputError(f"to must be at most {max(length, LONGEST)} for a length of {length}, got {out}")
        return axes.adaptive(length, out) if window.to_rule == "adaptive" else axes.area(length, out)
    kernel, seed = window.kernel[i], window.seed
    if out + kernel - 1 > length:
        raise InputError(f"fractional windows must fit: to + kernel - 1 <= {length}, got {out} + {kernel} - 1")
    if isinstance(seed, tuple) and len(seed) <= i:
        raise UsageError(f"seed must have one sample for each pooled axis, got {seed}")
    sample = seed[i] if isinstance(seed, tuple) else axes.uniform(seed, i)
    return axes.fractional(length, out, kernel, sample, single=single)


def _axis(window: Window, length: int, i: int, pair: Pair | None) -> Axis:
    kernel, stride, dilation = window.kernel[i], window.stride[i], window.dilation[i]
    reach = dilation * (kernel - 1) + 1
    if pair is None:
        out = -(-length // stride)
        total = max((out - 1) * stride + reach - length, 0)
        less, more = total // 2, total - total // 2
        before, after = (less, more) if window.padding == "same" else (more, less)
        return Axis(length, kernel, stride, dilation, before, after, out)
    before, after = pair
    spare = length + before + after - reach
    if spare < 0 and window.edge == "partial":
        return Axis(length, 1 + (length + before + after - 1) // dilation, stride, dilation, before, after, 1)
    if spare < 0:
        raise InputError(
            f"kernel must fit in the padded input, got an effective kernel of {reach} "
            f"for a length of {length} + {before + after} of padding"
        )
    if window.edge == "error" and spare % stride:
        raise InputError(
            f"windows must fill the input, got {spare % stride} left of a length of {length}",
            'edge="drop" leaves them out, edge="partial" pools them',
        )
    over = window.ceil or window.edge == "partial"
    out = -(-spare // stride) + 1 if over else spare // stride + 1
    if over and (out - 1) * stride >= length + before:
        out -= 1  # the last window would start in the padding after the input
    return Axis(length, kernel, stride, dilation, before, after, out)


def _spread(values: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    return values * n if len(values) == 1 else values


def per_axis(name: str, value: object, *, least: int, absent: bool = False) -> tuple[Any, ...]:
    """Return the whole numbers of *value*: one int or several, or text as ``3x2``."""
    parts = value.lower().split("x") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        parts = (parts,)
    if not parts:
        raise UsageError(f"{name} must be one int or one for each pooled axis, got {value!r}")
    return tuple(None if absent and part is None else _whole(name, part, least, value, form=EACH) for part in parts)


def _paddings(value: object) -> tuple[Pair, ...] | str:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in SAME:
            return text
        sides = [part.split(":") for part in text.split("x")]
        if "," in text:
            top, right, bottom, left = around if len(around := text.split(",")) == 4 else [""] * 4
            sides = [[top, bottom], [left, right]]
        if not text or text.strip("0123456789x,:+-. ") or not all(all(part) and len(part) <= 2 for part in sides):
            raise UsageError(f"padding must be {PADDING}, got {value!r}")
        return tuple(_pair(part if len(part) == 2 else part * 2, value) for part in sides)
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


def _whole(name: str, part: object, least: int, value: object, *, most: int = LARGEST, form: str = "") -> int:
    if isinstance(part, str):
        digits = part.strip()
        number = int(digits) if digits.isascii() and digits.lstrip("+-").isdigit() and len(digits) < 4000 else None
    else:
        try:
            number = None if isinstance(part, (bool, float)) else part.__index__()  # type: ignore[attr-defined]  # AttributeError is the answer for other types
        except AttributeError:
            number = None
    if number is None or not least <= number <= most:
        shown = str(value)[:40] if isinstance(value, str) else f"{value!r:.40}"
        kind = "a whole number" if number is None else "a number"
        quoted = repr(shown) if isinstance(value, str) else shown
        hint = form if number is None and isinstance(value, str) else None
        raise UsageError(f"{name} must be {kind} from {least} to {most}, got {quoted}", hint)
    return number
