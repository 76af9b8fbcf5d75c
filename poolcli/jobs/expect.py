"""Whether a result is what another stack gave: a check of an accelerator's or an exporter's pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poolcli.core.settings import setting
from poolcli.errors import DifferenceError, InputError, UsageError
from poolcli.jobs.request import held

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.jobs.records import Record

    Array = NDArray[Any]

SHOWN = 49  # values of a window that a difference shows


@dataclass(frozen=True)
class Expect:
    """What a result must be, but for the tolerances."""

    expect: str = setting("Run", "Compare the result with this .npy, and end with 6 if it differs.", metavar="FILE")
    atol: float = setting("Run", "Absolute difference that is allowed.", default=0.0, metavar="A")
    rtol: float = setting(
        "Run", "Difference that is allowed in proportion to what is expected.", default=0.0, metavar="R"
    )

    def __post_init__(self) -> None:
        for name in ("atol", "rtol"):
            try:
                value = float(getattr(self, name))
            except ValueError:
                value = -1.0
            if not 0 <= value < float("inf"):
                raise UsageError(f"{name} must be a number from 0, got {getattr(self, name)!r}")
            object.__setattr__(self, name, value)


def check(record: Record, result: Array, expect: Expect) -> None:
    """Compare a *result* with what is expected.

    Raises
    ------
    DifferenceError
        They differ: in how many values, by how much, and at which window first.
    InputError
        What is expected cannot be read, or has another shape.
    """
    import numpy as np

    wanted = held(expect.expect)
    if wanted.shape != result.shape:
        raise InputError(f"{expect.expect} must have the result's shape {result.shape}, got {wanted.shape}")
    given, hoped = (array.astype(np.float64) for array in (result, wanted))
    with np.errstate(invalid="ignore"):
        near = np.isclose(given, hoped, rtol=expect.rtol, atol=expect.atol, equal_nan=True)
        if result.dtype.kind in "iu" and wanted.dtype.kind in "iu" and expect.atol == expect.rtol == 0:
            near = result == wanted  # 64 bits pass those of a float
        apart = np.abs(given - hoped)
    if near.all():
        return
    index = tuple(int(place) for place in np.argwhere(~near)[0])
    largest = np.nanmax(np.where(near, 0, apart)) if np.isfinite(apart[~near]).any() else np.inf
    raise DifferenceError(
        f"result must be that of {expect.expect}, got {int((~near).sum())} of {near.size} values that differ, "
        f"by up to {largest:.6g}; first at {list(index)}: {result[index]} where {wanted[index]} is expected, "
        f"of the window {_window(record, index)}",
        "atol= and rtol= allow for another order of additions",
    )


def _window(record: Record, index: tuple[int, ...]) -> str:
    """Return the input's values in the window of the output at *index*, as text."""
    import numpy as np

    if record.outline is None:
        return "?"
    source, layout = held(record.job.input), record.outline.layout
    places: list[Any] = list(index)
    for letter, axis in zip(layout.pooled, record.outline.plan.axes, strict=True):
        start, stop = axis.span(index[letter])
        while start < 0:
            start += axis.dilation
        places[letter] = slice(start, stop, axis.dilation)
    values = source[tuple(places)]
    if values.size > SHOWN:
        return f"{[[part.start, part.stop] for part in places if isinstance(part, slice)]}"
    return np.array2string(values, separator=", ").replace("\n", "")
