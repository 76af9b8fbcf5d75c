"""Which axes of an array are pooled: letters such as CHW, given or told from the shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from poolcli.errors import InputError, UsageError

POOLED = "DHWLT"
OTHER = "NBC"


@dataclass(frozen=True)
class Layout:
    """The letters of an array's axes; D, H, W, L and T are pooled, N, B and C are not."""

    letters: str

    def __post_init__(self) -> None:
        letters = str(self.letters).upper()
        object.__setattr__(self, "letters", letters)
        known = set(POOLED + OTHER)
        if not letters or set(letters) - known or len(set(letters)) != len(letters):
            raise UsageError(
                f"layout must be different letters of {POOLED} (pooled) and {OTHER} (not pooled), got {self.letters!r}",
                "for example CHW, NHWC or HW",
            )
        if not self.pooled:
            raise UsageError(f"layout must have a pooled axis ({', '.join(POOLED)}), got {letters!r}")
        if len(self.pooled) != 2:
            raise UsageError(f"layout must have two pooled axes, got {letters!r}: other numbers are not yet supported")

    @cached_property
    def pooled(self) -> tuple[int, ...]:
        """Indices of the pooled axes."""
        return tuple(i for i, letter in enumerate(self.letters) if letter in POOLED)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Axes as planes, rows, columns, interleaved channels: what lies between the pooled axes goes in front."""
        rows, columns = self.pooled
        after = tuple(range(columns + 1, len(self.letters)))
        before = tuple(i for i in range(columns) if i != rows)
        return (*before, rows, columns, *after)

    @cached_property
    def lead(self) -> int:
        """Axes in front of the rows, in `order`."""
        return self.order.index(self.pooled[0])

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise `InputError` when *shape* does not have these axes; only N and B may be empty."""
        if len(shape) != len(self.letters):
            raise InputError(f"layout must have one letter for each axis of shape {shape}, got {self.letters!r}")
        for length, letter in zip(shape, self.letters, strict=True):
            if length == 0 and letter not in "NB":
                raise InputError(f"axis {letter} must not be empty, got shape {shape}")

    def replaced(self, shape: tuple[int, ...], pooled: tuple[int, ...]) -> tuple[int, ...]:
        """Return *shape* with the lengths of the pooled axes replaced."""
        lengths = dict(zip(self.pooled, pooled, strict=True))
        return tuple(lengths.get(i, length) for i, length in enumerate(shape))


def told(shape: tuple[int, ...]) -> Layout:
    """Return the layout of a *shape* that leaves no doubt: HW, CHW or NCHW."""
    if len(shape) == 2:
        return Layout("HW")
    if len(shape) == 4:
        return Layout("NCHW")
    if len(shape) == 3:
        if not (shape[2] <= 4 and min(shape[:2]) >= 16):
            return Layout("CHW")
        hint = "layout=HWC or CHW"
    else:
        hint = "layout= with one letter for each axis, for example NCL or NCDHW"
    raise InputError(f"layout must be given for shape {shape}", hint)


def resolve(layout: str | None, shape: tuple[int, ...]) -> Layout:
    """Return the given layout, or the one *shape* tells, checked against *shape*."""
    found = told(shape) if layout is None else Layout(layout)
    found.check(shape)
    return found
