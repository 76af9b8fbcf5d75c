"""How a method is computed on given types and axes: folds over two axes each, or a step that asks for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, means, select, taps, team, winners
from poolcli.core.axes import ONE, Axis, Plan
from poolcli.core.kernels import NARROW, QUICK, Kernel
from poolcli.core.methods import METHODS, Composed, Concat, Fold, Step

if TYPE_CHECKING:
    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.methods import Method


@dataclass(frozen=True, slots=True)
class Task:
    """One fold over rows and columns of planes of interleaved channels: all that an engine needs to know of it."""

    rows: Axis
    columns: Axis
    include_pad: bool
    fold: Fold
    types: Arithmetic
    planes: int
    channels: int

    @property
    def kernel(self) -> Kernel:
        """What the compiled engine calls."""
        types = self.types
        narrow = types.closing == np.float64 != types.source
        finish = NARROW.get(types.finish, types.finish) if narrow else types.finish
        steps = (self.fold.lift, self.fold.combine, finish, QUICK[types.finish])
        return Kernel("fold", steps, types[:4])

    @property
    def numpy_seconds(self) -> float:
        """Estimate of the numpy engine's time on this task (measured: 0.12 ns for each byte of a pass)."""
        rows, columns = self.rows, self.columns
        taps = min(rows.kernel / rows.stride, 3)
        width = columns.length * self.channels * self.planes
        passes = rows.length * taps + rows.out * (columns.kernel.bit_length() + 2)
        return 5e-5 + 1.2e-10 * width * passes * self.types.accumulator.itemsize

    @property
    def compiled_seconds(self) -> float:
        """Estimate of a compiled kernel's time on one thread (measured: mostly a seventh to a third of NumPy's)."""
        return self.numpy_seconds / 5


@dataclass(frozen=True, slots=True)
class Gathering:
    """Windows that a step gathers by a kernel of its own.

    Attributes
    ----------
    numpy_seconds
        Estimate of NumPy's time for the same.
    held
        Bytes of each element as the kernel reads it.
    """

    kernel: Kernel
    numpy_seconds: float
    held: int


@dataclass(frozen=True, slots=True, eq=False)  # told by identity: hashing all of it takes longer than small work
class Recipe:
    """A method resolved for one plan and types.

    Attributes
    ----------
    tasks
        Where *fused*, the folds that give the result, outermost axis first; else those that *step* will ask for.
    fused
        Whether kernels alone give the result.
    step, value
        Otherwise the function of `steps`, and the method's value.
    gathered
        Windows that are gathered by a kernel of its own.
    spread
        How many times the elements of a slab its windows hold, where a step gathers them.
    """

    tasks: tuple[Task, ...]
    step: str
    fused: bool = False
    value: Any = None
    gathered: tuple[Gathering, ...] = ()
    spread: int = 1

    @property
    def work(self) -> tuple[Task | Gathering, ...]:
        """All that kernels are asked for."""
        return (*self.tasks, *self.gathered)


def resolve(
    method: Method,
    dtype: np.dtype[Any],
    target: np.dtype[Any],
    plan: Plan,
    size: tuple[int, int],
    rounding: str,
    *,
    weighed: bool = False,
    indexed: bool = False,
) -> Recipe:
    """Return how *method* pools native *dtype* into *target*; *size* is planes and interleaved channels.

    Where it joins others, they are resolved when they run. *weighed*: not every element counts as one. *indexed*: told
    is where results stand.
    """
    kind = method.recipe
    if isinstance(kind, (Composed, Concat)):
        return Recipe((), "")
    even = rounding == "even" or target.kind == "f" or method.result != "mean"
    if isinstance(kind, Fold) and plan.regular and isinstance(plan.divisor, str) and even and not weighed:
        types = dtypes.arithmetic(kind, method.result, dtype, target, plan.count)
        own = winning(dtypes.canonical(dtype), plan, size) if indexed else ()
        return Recipe(tasks(kind, types, plan, *size), kind.step, fused=True, gathered=own)
    asked: list[Task] = []
    if isinstance(kind, Fold) and plan.regular and weighed:
        return _weighed(kind, dtypes.canonical(dtype), plan, size)
    if isinstance(kind, Step) and plan.regular:
        for combine in kind.combines:
            fold, float64 = Fold("same", combine, "keep", ""), dtypes.named("float64")
            asked += tasks(fold, dtypes.arithmetic(fold, "sum", float64, float64, plan.count), plan, *size)
    gathers = isinstance(kind, Step) and kind.kind == "select"
    spread = max(1, plan.taps * prod(plan.out) // prod(axis.length for axis in plan.axes)) if gathers else 1
    own = gathering(kind.gathers, dtypes.canonical(dtype), plan, size) if isinstance(kind, Step) else ()
    return Recipe(tuple(asked), kind.step, value=method.value, gathered=own, spread=spread)


def _weighed(kind: Fold, dtype: np.dtype[Any], plan: Plan, size: tuple[int, int]) -> Recipe:
    """Return how a fold of elements that do not each count once is computed."""
    if kind.combine != "add":
        types = dtypes.arithmetic(kind, "same", dtype, dtype, plan.count)
        own = Gathering(means.MASKING, 2e-9 * prod(size) * prod(axis.length for axis in plan.axes), dtype.itemsize)
        return Recipe(tasks(replace(kind, step=""), types, plan, *size), kind.step, gathered=(own,))
    byte = np.dtype(np.uint8)
    kernel = means.kernel(dtype, byte if dtype == byte else np.dtype(np.float64), plan)
    seconds = 3e-9 * prod(size) * prod(axis.length for axis in plan.axes)
    return Recipe((), kind.step, gathered=() if kernel is None else (Gathering(kernel, seconds, means.held(dtype)),))


def gathering(kind: str, dtype: np.dtype[Any], plan: Plan, size: tuple[int, int]) -> tuple[Gathering, ...]:
    """Return what gathers the windows of a step, if it does and a kernel can."""
    elements = prod(size) * prod(plan.out)
    if kind == "taps" and plan.regular:
        return (Gathering(taps.KERNEL, 6e-9 * elements * sum(axis.kernel for axis in plan.axes), 8),)
    kernel = select.kernel(dtype, plan) if kind == "order" else None
    return () if kernel is None else (Gathering(kernel, 1.5e-8 * elements * plan.taps, dtype.itemsize),)


def winning(dtype: np.dtype[Any], plan: Plan, size: tuple[int, int]) -> tuple[Gathering, ...]:
    """Return what finds where extremes stand, if a kernel can."""
    kernel = winners.kernel(dtype, plan)
    seconds = 1e-8 * prod(size) * prod(plan.out) * plan.taps
    return () if kernel is None else (Gathering(kernel, seconds, kernel.types[0].itemsize),)


def tasks(fold: Fold, types: Arithmetic, plan: Plan, planes: int, channels: int) -> tuple[Task, ...]:
    """Part a fold over all axes: the outer ones are folded one by one into accumulators, the last two together.

    Rows are those of the whole axis, of which any can be folded; columns may be a part of theirs.
    """
    include_pad = plan.divisor == "window"
    *outer, rows, columns = (ONE, *plan.axes) if len(plan.axes) == 1 else plan.axes
    found = []
    for i, axis in enumerate(outer):
        width = prod(inner.length for inner in plan.axes[i + 1 :]) * channels
        every = Axis(width, 1, 1, 1, 0, 0, width)
        kept = replace(fold, finish="keep")
        found.append(Task(axis.whole, every, include_pad, kept, types.unfinished(), planes, 1))
        planes *= axis.out
        fold, types = replace(fold, lift="same"), types.lifted()
    return (*found, Task(rows.whole, columns, include_pad, fold, types, planes, channels))


def kernels() -> list[Kernel]:
    """Return what is compiled for windows of up to 65,535 elements on one or two axes of any dtype, and threads."""
    found: dict[Kernel, None] = {team.KERNEL: None}
    for method in METHODS.values():
        for dtype in map(dtypes.named, dtypes.NAMES):
            for target in (dtypes.natural(method, dtype), dtype):
                for count in (2, 2**8, 2**12, 2**16 - 1):
                    axis = Axis(count, count, count, 1, 0, 0, 1)
                    plan = Plan((ONE, axis))
                    recipe = resolve(method, dtype, target, plan, (1, 1), "even", indexed=method.extreme)
                    found |= {task.kernel: None for task in recipe.work}
                    weighed = resolve(method, dtype, target, plan, (1, 1), "even", weighed=True)
                    found |= {task.kernel: None for task in weighed.work}
    return list(found)
