"""Which axes of an array are pooled: letters such as CHW, given or told from the shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from poolcli.errors import InputError, UsageError

POOLED = "DHWLT"
OTHER = "NBC"
INDEX_LAYOUTS = ("torch", "onnx", "tf")  # whose way to count the elements of an array


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

    @cached_property
    def pooled(self) -> tuple[int, ...]:
        """Indices of the pooled axes."""
        return tuple(i for i, letter in enumerate(self.letters) if letter in POOLED)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Axes as planes, pooled axes, interleaved channels: what lies between the pooled axes goes in front."""
        last = self.pooled[-1]
        after = tuple(range(last + 1, len(self.letters)))
        before = tuple(i for i in range(last) if i not in self.pooled)
        return (*before, *self.pooled, *after)

    @cached_property
    def lead(self) -> int:
        """Axes in front of the pooled ones, in `order`."""
        return self.order.index(self.pooled[0])

    def stacked(self, shape: tuple[int, ...], times: int) -> tuple[int, ...]:
        """Return *shape* with *times* its channels."""
        if "C" not in self.letters:
            raise InputError(f"layout must have channels (C) for several methods, got {self.letters!r}")
        return tuple(n * times if letter == "C" else n for n, letter in zip(shape, self.letters, strict=True))

    def stack(self, array: Any, times: int) -> list[Any]:
        """Return *array* parted into *times* along its channels."""
        axis = self.letters.index("C")
        each = array.shape[axis] // times
        before = (slice(None),) * axis
        return [array[(*before, slice(part * each, (part + 1) * each))] for part in range(times)]

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
    """Return the layout of a *shape* that leaves no doubt: HW, CHW or NCHW.

    Up to four of the last axis may be columns or, behind two axes as long as a picture's, channels.
    """
    letters = {2: "HW", 3: "CHW", 4: "NCHW"}.get(len(shape))
    if letters is None:
        hint = "layout= with one letter for each axis, for example NCL or NCDHW"
    elif len(shape) == 2 or shape[-1] > 4 or min(shape[-3:-1]) < 8:
        return Layout(letters)
    else:
        hint = f"layout={letters.replace('CHW', 'HWC')} or {letters}"
    raise InputError(f"layout must be given for shape {shape}", hint)


def resolve(layout: str | None, shape: tuple[int, ...]) -> Layout:
    """Return the given layout, or the one *shape* tells, checked against *shape*."""
    found = told(shape) if layout is None else Layout(layout)
    found.check(shape)
    return found
