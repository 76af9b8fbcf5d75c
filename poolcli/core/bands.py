"""The compiled engine: what a kernel is told of a fold, and the bands of output rows that threads take."""

from __future__ import annotations

from array import array as ints
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import arrays, compiled, kernels, threads
from poolcli.core.memory import LINE, address
from poolcli.core.units import parted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolcli.core.arrays import Folder
    from poolcli.core.axes import Axis, Phase
    from poolcli.core.recipes import Task

    Array = NDArray[Any]

STRIP = 2**18  # bytes of the work buffers of one strip of columns: they stay in the second-level cache


# Where a seat's arguments, state and buffers stand, in bytes
_ARGUMENTS = Struct("9q")
STATE = 2 * LINE
BUFFER = STATE + -(-8 * kernels.STATES // LINE) * LINE


class Told(NamedTuple):
    """What a kernel is told of a call: the edges of bands, its geometry, and where that is."""

    edges: ints[int]
    geometry: Array
    at: int


class Rows(NamedTuple):
    """One phase of rows.

    *told* returns what the kernel is told of a call: of the strides of its arrays in bytes, the first and last output
    of the phase, the counts of outer axes, and the units and in how many bands.
    """

    phase: Phase
    told: Callable[..., Told]


def run(task: Task, most: int) -> Folder:
    """Return what folds arrays, as `arrays.run` does, on up to *most* threads."""
    entry, types = compiled.kernel(task.kernel), task.types
    rows, columns = task.rows.trimmed(), task.columns.trimmed()
    phases = list(rows.phases())
    suffixes = max((phase.axis.kernel + 1 for phase in phases if block(phase.axis)), default=0)
    tile, width = strip(task, suffixes, columns)
    fields = column_fields(task, columns, tile, width)
    parts = [row_part(task, phase, rows.dilation, fields) for phase in phases]
    each = task.compiled_seconds / (task.planes * task.rows.out)
    scalars = (
        compiled.word(arrays.identity(arrays.step(task), types.accumulator), types.accumulator),
        compiled.word(1, types.closing),
    )
    row = width * types.accumulator.itemsize
    evens, odds = kernels.EVENS * row, kernels.ODDS * row
    room = BUFFER + -(-(kernels.SUFFIXES + suffixes) * row // LINE) * LINE

    def fold(x: Array, out: Array, low: int, first: int, outer: tuple[int, ...] = (1,)) -> None:
        x_at, out_at, strides = address(x), address(out), (*x.strides[:2], *out.strides[:2])
        for part in parts:
            phase = part.phase
            begin = -((phase.first - first) // phase.step)
            end = -((phase.first - first - out.shape[1]) // phase.step)
            if begin >= end:
                continue
            units = x.shape[0] * (end - begin)
            seconds = units * each
            seats, bands = parted(units, seconds, most)
            told = part.told(strides, begin, end, outer, (units, bands))
            source = x_at + (phase.offset - low) * strides[1]
            target = out_at + (phase.first + begin * phase.step - first) * strides[3]
            held: Any = np.empty(seats * room + LINE, np.uint8)
            begun = address(held)
            at = begun + -begun % LINE
            for own in range(at, at + seats * room, room):
                buffer = own + BUFFER
                places = source, target, buffer, buffer + evens, buffer + odds, told.at, own + STATE
                _ARGUMENTS.pack_into(held, own - begun, *places, *scalars)
            threads.run(entry, at, room, seats, told.edges, seconds)

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
    def told(strides: tuple[int, ...], begin: int, end: int, outer: tuple[int, ...], parted: tuple[int, int]) -> Told:
        place = {
            k.X_PLANE: strides[0] // x_size, k.X_ROW: strides[1] // x_size * dilation,
            k.OUT_PLANE: strides[2] // out_size, k.OUT_ROW: strides[3] // out_size * phase.step,
            k.FIRST_OUT: begin, k.OUTS: end - begin, k.OUTER: len(outer),
        }  # fmt: skip
        vector = [(fields | place)[field] for field in range(k.FIELDS)]
        geometry = np.array([*vector, *across, *np.multiply.outer(outer, counts).ravel()])
        return Told(_edges(*parted, begin, end, shared or 1), geometry, address(geometry))

    return Rows(phase, told)


def _edges(units: int, parts: int, begin: int, end: int, grain: int) -> ints[int]:
    """Part the outputs [begin, end) of all planes, counted through, where blocks of *grain* outputs begin.

    No suffixes are then folded twice.
    """
    edges = {units}
    for i in range(parts):
        plane, o = divmod(units * i // parts, end - begin)
        edges.add(plane * (end - begin) + max(0, o - (begin + o) % grain))
    return ints("q", sorted(edges))
