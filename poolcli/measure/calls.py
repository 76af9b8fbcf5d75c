"""What a call of a peer can do, and how closely it rounds: what the tables of peers are made of."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core.dtypes import NAMES, named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from poolcli.measure.cases import Case

    Array = NDArray[Any]
    Prepare = Callable[[Array, Case], "Prepared"]
    Rounding = Callable[[Case, float, float], float]

INTEGERS = tuple(name for name in NAMES if "int" in name)
FLOATS = ("float32", "float64")
NUMBERS = (*INTEGERS, *FLOATS)
ALL = (*NUMBERS, "float16")
SINGLE = 2.0**-23

# About five seconds on two cores at the measured cost of a read: 0.9 ns in PyTorch, 10 ns in NumPy and LpPool.
NAIVE, SLOW = 5e9, 5e8


class Prepared(NamedTuple):
    """A call to be timed, and how to see what it returned as an array in the axes of the case."""

    call: Callable[[], object]
    values: Callable[[Any], Array]


class Rule(NamedTuple):
    """What a case must be for a call to do it, and what is said of one that is not."""

    reason: str
    holds: Callable[[Case], bool]


@dataclass(frozen=True, slots=True)
class Call:
    """A row of a peer's table: what a call can do, how it is made ready, and how far its values may be off."""

    method: str
    dtypes: tuple[str, ...]
    words: str  # the call, in the library's words
    prepare: Prepare  # from an input, in the axes of its case; nothing is left to set up
    rounding: Rounding  # of floats, from the case, their spacing and the largest magnitude of the input
    levels: float = 0.0  # of integers
    _: KW_ONLY
    rules: tuple[Rule, ...] = ()
    way: str = ""  # of `ways`, where it is no usual pooling
    form: str = ""  # the memory format that the input is brought to beforehand, where it is not the case's own
    reads: float = math.inf  # elements read (outputs times elements of the window) above which it is too slow
    slices: bool = False  # it strides by taking every s-th value of a result at stride 1

    def note(self, case: Case) -> str:
        """Return how the library does *case*."""
        return self.words + ", then every s-th value" * (self.slices and set(case.window.stride) != {1})

    def unable(self, case: Case) -> str:
        """Return why it cannot do *case*, whose method and dtype are its own; empty when it can."""
        reads = math.prod(case.out.shape) * case.elements
        slow = f"too slow: {reads:.1e} reads of at most {self.reads:.0e}" if reads > self.reads else ""
        return next((rule.reason for rule in self.rules if not rule.holds(case)), slow)

    def tolerance(self, case: Case, scale: float) -> float:
        """Return how far its values may be from poolcli's on an input of at most *scale*."""
        dtype = named(case.size.dtype)
        return self.rounding(case, float(np.finfo(dtype).eps), scale) if dtype.kind == "f" else self.levels


def rows(rules: Sequence[Rule], *table: tuple[Any, ...], **shared: Any) -> tuple[Call, ...]:
    """Return the calls of a *table* whose rows share rules and what else stands by name."""
    return tuple(Call(*row, rules=tuple(rules), **shared) for row in table)


def touched(shape: Sequence[int], dtype: str) -> Array:
    """Return an array whose memory has been written, so that no page fault falls into a timed call."""
    array = np.empty(shape, dtype)
    array.fill(0)
    return array


def in_turn(*steps: Callable[[], object]) -> Callable[[], None]:
    """Return a call that takes *steps* one after the other."""

    def call() -> None:
        for step in steps:
            step()

    return call


# Rules

INSIDE = Rule(
    "no padding, no overhang",
    lambda case: all(axis.before == 0 and axis.span(axis.out - 1)[1] <= axis.length for axis in case.plan.axes),
)
UNDILATED = Rule("no dilation", lambda case: set(case.window.dilation) == {1})
WITHIN = (INSIDE, UNDILATED)
BLOCKS = Rule("only kernel = stride", lambda case: case.window.kernel == case.window.stride)
FLOOR = Rule("no ceil", lambda case: not case.window.ceil)
HALF_PADDING = Rule(
    "padding must be symmetric and at most half of the kernel",
    lambda case: all(axis.before == axis.after and 2 * axis.before <= axis.reach for axis in case.plan.axes),
)
SEVERAL_CHANNELS = Rule("one channel has one memory format", lambda case: case.size.channels > 1)
FEW_CHANNELS = Rule("at most 128 channels", lambda case: case.size.planar or case.size.channels <= 128)
# it would weight colours of two and four channels by alpha
NO_ALPHA = Rule("1 or 3 channels", lambda case: case.size.planar or case.size.channels in {1, 3})


# Rounding of floats


def exact(_case: Case, _epsilon: float, _scale: float) -> float:
    """Every value is the one that poolcli gives."""
    return 0.0


def recursive(case: Case, epsilon: float, scale: float) -> float:
    """One term after the other in float32 (float64 for float64): n * eps * max|x|; n times that for a sum."""
    bound = (epsilon + case.elements * min(epsilon, SINGLE)) * scale
    return bound * case.elements if case.method == "sum" else bound


def running(case: Case, epsilon: float, scale: float) -> float:
    """Add a running sum in float64 along each line to two roundings to the dtype of the output."""
    drift = (sum(case.size.pooled) + case.elements) * 2.0**-52
    return (4 * epsilon + drift) * scale


def reciprocal(case: Case, epsilon: float, scale: float) -> float:
    """Multiplied by a reciprocal in float32, float64 too."""
    return recursive(case, epsilon, scale) + SINGLE * scale
