"""How a method is computed on given types and axes: folds over two axes each, and the step that joins their results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from poolcli.core import dtypes
from poolcli.core.geometry import Axis, Plan
from poolcli.core.methods import METHODS, Fold, lookup

if TYPE_CHECKING:
    import numpy as np

    from poolcli.core.dtypes import Arithmetic
    from poolcli.core.methods import Method

ONE = Axis(1, 1, 1, 1, 0, 0, 1)  # rows of a sequence


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


@dataclass(frozen=True, slots=True, eq=False)  # told by identity: hashing all of it takes longer than small work
class Recipe:
    """A method resolved: *parts*, each the tasks of one fold with the outermost axis first, and the step that joins.

    *join* is the name of a step of `steps`, or None where there is one part.
    """

    parts: tuple[tuple[Task, ...], ...]
    join: str | None = None


def resolve(
    method: Method, dtype: np.dtype[Any], target: np.dtype[Any], plan: Plan, planes: int, channels: int
) -> Recipe:
    """Return how *method* pools *planes* of native *dtype* with interleaved *channels* into *target*."""
    kind = method.recipe
    if isinstance(kind, Fold):
        types = dtypes.arithmetic(kind, method.result, dtype, target, plan.count)
        return Recipe((_tasks(kind, types, plan, planes, channels),))
    parts: list[tuple[Task, ...]] = []
    for part in map(lookup, kind.methods):
        parts += resolve(part, dtype, dtypes.natural(part, dtype), plan, planes, channels).parts
    return Recipe(tuple(parts), kind.join)


def _tasks(fold: Fold, types: Arithmetic, plan: Plan, planes: int, channels: int) -> tuple[Task, ...]:
    """Part a fold over all axes: the outer ones are folded one by one into accumulators, the last two together."""
    *outer, rows, columns = (ONE, *plan.axes) if len(plan.axes) == 1 else plan.axes
    tasks = []
    for i, axis in enumerate(outer):
        width = prod(inner.length for inner in plan.axes[i + 1 :]) * channels
        whole = Axis(width, 1, 1, 1, 0, 0, width)
        kept = replace(fold, finish="keep")
        tasks.append(Task(axis, whole, False, kept, types.unfinished(), planes, 1))  # noqa: FBT003 -- no count divides
        planes *= axis.out
        fold, types = replace(fold, lift="same"), types.lifted()
    return (*tasks, Task(rows, columns, plan.count_include_pad, fold, types, planes, channels))


def kernels() -> dict[tuple[Fold, Arithmetic], None]:
    """Return what is compiled for windows of up to 65,535 elements on one or two axes of any dtype."""
    found: dict[tuple[Fold, Arithmetic], None] = {}
    for method in METHODS.values():
        for dtype in map(dtypes.named, dtypes.NAMES):
            for target in (dtypes.natural(method, dtype), dtype):
                for count in (2**8, 2**12, 2**16 - 1):
                    axis = Axis(count, count, count, 1, 0, 0, 1)
                    for part in resolve(method, dtype, target, Plan((ONE, axis)), 1, 1).parts:
                        found |= {(task.fold, task.types): None for task in part}
    return found
