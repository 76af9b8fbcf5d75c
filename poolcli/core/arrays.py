"""The fold in plain NumPy: the kernel's algorithm in the kernel's order, for small work and where Numba cannot load."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from poolcli.core.axes import Axis, Phase
    from poolcli.core.recipes import Task

    Array = NDArray[Any]
    Folder = Callable[..., None]  # as the one that `run` returns

BAND = 2**18  # elements of a band: its temporaries stay in the processor's cache


def run(task: Task) -> Folder:
    """Return what folds arrays as *task* says: ``fold(x, out, low, first, outer)``.

    x
        (planes, rows, columns * channels) of the canonical dtype; its first row is the input's row *low*.
    out
        (planes, rows, columns * channels) of the result dtype; its first row is output row *first*.
    outer
        Counts that those of plane p are multiplied by, at p modulo their number.
    """
    rows, columns = task.rows.trimmed(), task.columns.trimmed()
    combine = partial(step(task).ufunc, dtype=task.types.accumulator, casting="unsafe")
    lift = _lifted(task)
    blank, idempotent = identity(step(task), task.types.accumulator), step(task).idempotent

    def fold(x: Array, out: Array, low: int, first: int, outer: tuple[int, ...] = (1,)) -> None:
        finish = _finished(task, outer)
        for planes, phase, t, until in _bands(x, rows, first, first + out.shape[1]):
            start, stop = phase.axis.inputs(t, until)
            at = phase.offset + start * rows.dilation - low
            taps = slice(at, at + (stop - start - 1) * rows.dilation + 1, rows.dilation) if stop > start else slice(0)
            folded = fold_rows(lift(x[planes, taps]), phase.axis, (t, until), combine, blank)
            folded = fold_columns(folded, columns, task.channels, combine, blank, idempotent=idempotent)
            o = slice(phase.first + t * phase.step, phase.first + (until - 1) * phase.step + 1, phase.step)
            out[planes, o.start - first : o.stop - first : o.step] = finish(folded, planes, o)

    def quiet(x: Array, out: Array, low: int, first: int, outer: tuple[int, ...] = (1,)) -> None:
        with np.errstate(all="ignore"):
            fold(x, out, low, first, outer)

    return quiet


def step(task: Task) -> Any:
    """Return the combine of a task, with what it declares."""
    return getattr(kernels, task.fold.combine)


def identity(step: Any, accumulator: np.dtype[Any]) -> Any:
    """Return what a combine of `kernels` makes of any value and it: that value."""
    if not isinstance(step.identity, str):
        return accumulator.type(step.identity)
    low, high = (-np.inf, np.inf) if accumulator.kind == "f" else (np.iinfo(accumulator).min, np.iinfo(accumulator).max)
    return accumulator.type(low if step.identity == "lowest" else high)


def divisors(axis: Axis, *, include_pad: bool) -> Array:
    """Return the count that each output position divides by."""
    runs = axis.runs(include_pad=include_pad)
    return np.repeat([run.divisor for run in runs], [run.stop - run.start for run in runs])


def _finished(task: Task, outer: tuple[int, ...]) -> Callable[[Array, slice, slice], Array]:
    """Return what finishes (planes, rows, columns * channels) of accumulators of given planes and output rows."""
    finish, closing = getattr(kernels, task.types.finish), task.types.closing
    heights, widths = (divisors(axis, include_pad=task.include_pad) for axis in (task.rows, task.columns))
    uniform = len(set(heights.tolist())) == len(set(widths.tolist())) == 1
    across, depths = np.repeat(widths, task.channels), np.array(outer)

    def finished(acc: Array, planes: slice, o: slice) -> Array:
        counts = heights[:1] * widths[:1] if uniform else heights[o][:, None] * across
        if outer != (1,):
            counts = depths[np.arange(planes.start, planes.start + len(acc)) % len(outer), None, None] * counts
        count = np.maximum(counts, 1).astype(closing)
        closed: Array = finish(acc.astype(closing, copy=False), count, None, False)  # noqa: FBT003 -- not quick
        return closed

    return finished


def _lifted(task: Task) -> Callable[[Array], Array]:
    lift: Callable[[Array], Array] = getattr(kernels, task.fold.lift)
    return lift if task.fold.lift == "same" else lambda raw: lift(raw.astype(task.types.accumulator))


def _bands(x: Array, rows: Axis, first: int, last: int) -> Iterator[tuple[slice, Phase, int, int]]:
    """Part the outputs ``[first, last)`` of all planes into bands: planes, phase, and the phase's outputs."""
    width = x.shape[2] or 1
    for phase in rows.phases():
        start, stop = (-(-(end - phase.first) // phase.step) for end in (first, last))
        height = max(1, (BAND // width - rows.kernel) // phase.axis.stride)
        together = max(1, BAND // (width * max(1, (stop - start) * phase.axis.stride)))
        for p in range(0, x.shape[0], together):
            for t in range(start, stop, height):
                yield slice(p, p + together), phase, t, min(t + height, stop)


def fold_spans(
    x: Array, axis: int, spans: Array, shares: Array | None, combine: Callable[..., Array], blank: Any
) -> Array:
    """Fold windows told one by one along any *axis*, tap by tap; *shares* weigh their first and last elements."""
    starts, stops = spans.T
    x = np.concatenate([x, np.full_like(x.take([0], axis), blank)], axis=axis)
    shape = [1] * x.ndim
    shape[axis] = len(spans)
    folded = None
    for tap in range(int((stops - starts).max())):
        inside = starts + tap < stops
        part = x.take(np.where(inside, starts + tap, x.shape[axis] - 1), axis=axis)
        if shares is not None:
            last = np.where(starts + tap == stops - 1, shares[:, 1], 1.0)
            part = part * (shares[:, 0] if tap == 0 else last).reshape(shape)
        folded = part if folded is None else combine(folded, part)
    return np.asarray(folded)


def fold_rows(x: Array, axis: Axis, outputs: tuple[int, int], combine: Callable[..., Array], blank: Any) -> Array:
    """Fold the rows of each window: the outputs ``[t, until)`` of lifted *x*, which holds the rows they read."""
    t, until = outputs
    stride, kernel = axis.stride, axis.kernel
    begin = t * stride - axis.before
    need = (until - 1 - t) * stride + kernel
    if x.shape[1] < need:
        padded = np.full((x.shape[0], need, x.shape[2]), blank)
        above = min(max(0, -begin), need)
        padded[:, above : above + x.shape[1]] = x
        x = padded
    if kernel > kernels.DIRECT_ROWS + 2 * stride:
        return fold_blocks(x, axis, outputs, combine, blank)
    taps = [x[:, i : i + (until - 1 - t) * stride + 1 : stride] for i in range(kernel)]
    folded = taps[0].astype(blank.dtype) if kernel == 1 else combine(taps[0], taps[1])
    for tap in taps[2:]:
        combine(folded, tap, out=folded)
    return folded


def fold_blocks(x: Array, axis: Axis, outputs: tuple[int, int], combine: Callable[..., Array], blank: Any) -> Array:
    """Two stacks: an output is a suffix of its block's first k rows and a prefix of the rows after them."""
    t, until = outputs
    stride, kernel = axis.stride, axis.kernel
    reach = -(-kernel // stride)
    folded = np.empty((x.shape[0], until - t, x.shape[2]), blank.dtype)
    for head in range(t // reach * reach, until, reach):
        first, last = max(t, head), min(until, head + reach)
        base = (head - t) * stride
        running = x[:, base + kernel - 1].astype(blank.dtype)
        for i in range(kernel - 1, (first - head) * stride - 1, -1):
            if i < kernel - 1:
                combine(x[:, base + i], running, out=running)
            if i % stride == 0 and head + i // stride < last:
                folded[:, head + i // stride - t] = running
        running[...] = blank
        for i in range((last - 1 - head) * stride):
            combine(running, x[:, base + kernel + i], out=running)
            o = head + (i + 1) // stride
            if (i + 1) % stride == 0 and o >= first:
                combine(folded[:, o - t], running, out=folded[:, o - t])
    return folded


def fold_columns(
    x: Array, axis: Axis, channels: int, combine: Callable[..., Array], blank: Any, *, idempotent: bool
) -> Array:
    """Fold the columns of each window by doubling; the result is (planes, rows, columns * channels)."""
    step = axis.dilation * channels
    many = ((axis.out - 1) * axis.stride + 1) * channels
    x = _framed(x, axis, channels, many + (axis.kernel - 1) * step, blank)

    def merge(a: Array, b: Array, taken: int, width: int) -> Array:
        size = x.shape[2] - (taken + width - 1) * step
        return combine(a[..., :size], b[..., taken * step : taken * step + size])

    top = 1 << (axis.kernel.bit_length() - 1)
    widest = max(1, top // 2) if top == axis.kernel else top
    source, lower, taken, width = x, x, 0, 1
    while True:
        if not idempotent and axis.kernel & width and width < top:
            lower = merge(lower, source, taken, width) if taken else source
            taken += width
        if width == widest:
            break
        source, width = merge(source, source, width, width), 2 * width
    if idempotent or axis.kernel == top:
        lower, taken = source, axis.kernel - width
    if axis.kernel > 1:
        source = merge(lower, source, taken, width)
    return pick_columns(source[..., :many], axis.stride, channels)


def pick_columns(x: Array, stride: int, channels: int) -> Array:
    """Keep every stride-th pixel, as (planes, rows, columns * channels)."""
    if stride == 1:
        return x
    if channels > 4:
        return x.reshape(*x.shape[:2], -1, channels)[:, :, ::stride].reshape(*x.shape[:2], -1)
    # Channel by channel: NumPy's inner loop would be over the few channels of a pixel (9 ms became 4 for 2 Mpix)
    parts = [x[..., channel :: stride * channels] for channel in range(channels)]
    picked = np.empty((*parts[0].shape, channels), x.dtype)
    for channel, part in enumerate(parts):
        picked[..., channel] = part
    return picked.reshape(*x.shape[:2], -1)


def _framed(x: Array, axis: Axis, channels: int, span: int, blank: Any) -> Array:
    """Return the columns that the windows span, the identity where there is no input."""
    left = axis.before * channels
    if left == 0 and x.shape[2] >= span:
        return x[..., :span]
    framed = np.full((*x.shape[:2], span), blank)
    framed[..., left : left + x.shape[2]] = x[..., : span - left]
    return framed
