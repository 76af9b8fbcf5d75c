"""The compiled engine: what a kernel is told of a fold, and the bands of output rows that threads take.

Bands run on Python threads in kernels that release the GIL; `compiled` says why not ``parallel=True``.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import arrays, compiled, kernels, threads
from poolcli.core.units import address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from poolcli.core.arrays import Folder
    from poolcli.core.axes import Axis, Phase
    from poolcli.core.recipes import Task

    Array = NDArray[Any]

ALONE = 3e-4  # seconds of work below which waking a thread costs more than it saves
STRIP = 2**18  # bytes of the work buffers of one strip of columns: they stay in the second-level cache


class Rows(NamedTuple):
    """One phase of rows.

    *geometry* returns the kernel's for a call: the strides of its arrays in bytes, the first and last output of the
    phase, and the counts of outer axes. Bands begin at multiples of *grain*, where blocks do: no suffixes are folded
    twice.
    """

    phase: Phase
    grain: int
    geometry: Callable[..., Array]


def run(task: Task, most: int) -> Folder:
    """Return what folds arrays, as `arrays.run` does, on up to *most* threads."""
    call, types = compiled.kernel(task.kernel), task.types
    rows, columns = task.rows.trimmed(), task.columns.trimmed()
    phases = list(rows.phases())
    suffixes = max((phase.axis.kernel + 1 for phase in phases if block(phase.axis)), default=0)
    tile, width = strip(task, suffixes, columns)
    fields = column_fields(task, columns, tile, width)
    parts = [row_part(task, phase, rows.dilation, fields) for phase in phases]
    each = task.compiled_seconds / (task.planes * task.rows.out)
    scalars = (arrays.identity(arrays.step(task), types.accumulator).item(), types.closing.type(1).item())
    size = (kernels.SUFFIXES + suffixes) * width
    evens, odds = (row * width * types.accumulator.itemsize for row in (kernels.EVENS, kernels.ODDS))

    def fold(x: Array, out: Array, low: int, first: int, outer: tuple[int, ...] = (1,)) -> None:
        x_at, out_at, strides = address(x), address(out), (*x.strides[:2], *out.strides[:2])
        for part in parts:
            phase = part.phase
            begin, end = (-(-(o - phase.first) // phase.step) for o in (first, first + out.shape[1]))
            if begin >= end:
                continue
            geometry = part.geometry(strides, begin, end, outer)
            source = x_at + (phase.offset - low) * strides[1]
            target = out_at + (phase.first + begin * phase.step - first) * strides[3]

            def work(bands: Iterable[tuple[int, int]], place: Any = (source, target), geometry: Any = geometry) -> None:
                buffer, state = np.empty(size, types.accumulator), np.empty(kernels.STATES, np.int64)
                at = address(buffer)
                before = (*place, at, at + evens, at + odds, address(geometry), address(state), *scalars)
                for start, stop in bands:
                    call(*before, start, stop)

            units = x.shape[0] * (end - begin)
            alone = most == 1 or units * each < ALONE
            bands = _bands(units, begin, end, 1 if alone else most * threads.PARTS, part.grain)
            threads.share(work, bands, min(most, len(bands)))

    return fold


def block(axis: Axis) -> int:
    """Return how many output rows share a table of suffixes; 0 where windows are folded row by row."""
    return -(-axis.kernel // axis.stride) if axis.kernel > kernels.DIRECT_ROWS + 2 * axis.stride else 0


def strip(task: Task, suffixes: int, columns: Axis) -> tuple[int, int]:
    """Return the output columns of a strip, and the elements of one of its work buffers.

    Strips share the columns that the windows at their edge reach: for 64 channels and 31 columns it is better to
    leave the cache than to read much twice (11 ms became 7).
    """
    halo = columns.reach * task.channels
    fitting = STRIP // ((kernels.SUFFIXES + suffixes) * task.types.accumulator.itemsize)
    elements = max(2**11, 8 * halo, fitting)
    tile = max(1, (elements - halo) // (task.channels * columns.stride))
    tile = min(tile, columns.out)
    return tile, ((tile - 1) * columns.stride + columns.reach + 1) * task.channels


def column_fields(task: Task, axis: Axis, tile: int, width: int) -> dict[int, int]:
    """Return the fields of the kernel's geometry that hold for every row: columns, partial windows, strips."""
    k, channels, stride, top = kernels, task.channels, axis.stride, 1 << (axis.kernel.bit_length() - 1)
    idempotent = arrays.step(task).idempotent
    # The last pass combines *terms* partial windows of *widest*: the first begins at 0, others at *second*, *third*
    widest, terms = max(1, top // 2), min(2, top) if axis.kernel == top else 3
    if idempotent and 2 * axis.kernel > 3 * top:
        widest, terms = top, 2
    third = axis.kernel - widest
    second = third if terms < 3 else (widest if idempotent else axis.kernel - top)
    few = channels in {1, 3, 4}  # pixels that split parts
    closing = k.PICKED if few and stride > 1 else k.WHOLE
    if few and stride == 2 and terms == 2 and third * axis.dilation == 1:
        closing = k.HALVES
    elif few and stride == 2 and terms == 3 and widest * axis.dilation == 1:
        closing = k.SPLIT
    return {
        k.WIDTH: width, k.CHANNELS: channels, k.COLUMNS: axis.length, k.COL_KERNEL: axis.kernel, k.COL_STRIDE: stride,
        k.COL_STEP: axis.dilation * channels, k.COL_BEFORE: axis.before, k.OUT_COLUMNS: axis.out, k.TILE: tile,
        k.WIDEST: widest, k.TERMS: terms, k.SECOND: second, k.THIRD: third,
        k.DIGITS: terms == 3 and not idempotent, k.CLOSING: closing,
    }  # fmt: skip


def row_part(task: Task, phase: Phase, dilation: int, columns: dict[int, int]) -> Rows:
    """Return a phase of rows; at the end of its geometry stand the counts of columns and of rows."""
    k, axis, shared = kernels, phase.axis, block(phase.axis)
    runs = task.columns.runs(include_pad=task.include_pad)
    counts = arrays.divisors(task.rows, include_pad=task.include_pad)[phase.first :: phase.step]
    quads = (
        (axis.kernel, columns[k.COL_KERNEL], columns[k.COL_STRIDE], len(runs)) == (2, 2, 2, 1)
        and columns[k.COL_STEP] == task.channels
        and (task.channels in {1, 3} or task.channels >= k.MANY)
    )
    fields = columns | {
        k.ROWS: axis.length, k.ROW_KERNEL: axis.kernel, k.ROW_STRIDE: axis.stride, k.ROW_BEFORE: axis.before,
        k.BLOCK: shared, k.QUADS: quads, k.ALL_OUTS: len(counts), k.RUNS: len(runs),
        k.RUN_STOPS: k.FIELDS, k.RUN_COUNTS: k.FIELDS + len(runs), k.ROW_COUNTS: k.FIELDS + 2 * len(runs),
    }  # fmt: skip
    across = [*(run.stop for run in runs), *(run.divisor for run in runs)]
    x_size, out_size = task.types.source.itemsize, task.types.result.itemsize

    @lru_cache(maxsize=8)  # building it takes longer than pooling something small
    def geometry(strides: tuple[int, ...], begin: int, end: int, outer: tuple[int, ...]) -> Array:
        place = {
            k.X_PLANE: strides[0] // x_size, k.X_ROW: strides[1] // x_size * dilation,
            k.OUT_PLANE: strides[2] // out_size, k.OUT_ROW: strides[3] // out_size * phase.step,
            k.FIRST_OUT: begin, k.OUTS: end - begin, k.OUTER: len(outer),
        }  # fmt: skip
        vector = [(fields | place)[field] for field in range(k.FIELDS)]
        return np.array([*vector, *across, *np.multiply.outer(outer, counts).ravel()])

    return Rows(phase, shared or 1, geometry)


def _bands(units: int, begin: int, end: int, parts: int, grain: int) -> list[tuple[int, int]]:
    """Part the outputs [begin, end) of all planes, counted through, where blocks of *grain* outputs begin."""
    edges = []
    for i in range(min(units, parts)):
        plane, o = divmod(units * i // min(units, parts), end - begin)
        edges.append(plane * (end - begin) + max(0, o - (begin + o) % grain))
    return [(start, stop) for start, stop in pairwise([*edges, units]) if start < stop]
