"""What does not count: NaN, nodata values, masks and weights become one weight for each element."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isnan
from typing import TYPE_CHECKING, Any

from poolcli.core.settings import setting
from poolcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from poolcli.core.layouts import Layout

    Array = NDArray[Any]

NANS = ("propagate", "ignore", "error")
LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Missing:
    """Which elements are missing, and what stands for a window that has too few others.

    Parameters
    ----------
    nan
        NaN wins ("propagate"), is missing ("ignore"), or is refused ("error").
    nodata
        A value, or several, that stands for missing elements.
    min_valid
        Elements that a window must have, or text as "50%" of those that lie in the input; else 1.
    empty
        What windows with fewer give: a number; "nan", the default for floats; or "error".
    """

    nan: str = setting("Input", f"{', '.join(NANS)}.", default="propagate", metavar="WHAT", choices=NANS)
    nodata: Any = setting("Input", "Values that stand for missing elements.", default=None, metavar="V[,V]")
    min_valid: Any = setting("Window", "Elements that a window must have, or P%.", default=None, metavar="N|P%")
    empty: Any = setting(
        "Window",
        "What windows with fewer give: nan, a number or error.",
        default=None,
        metavar="V",
        choices=("nan", "error"),
    )

    def __post_init__(self) -> None:
        if self.nan not in NANS:
            raise UsageError(f"nan must be one of {', '.join(NANS)}, got {self.nan!r}")
        parsed = {"nodata": _numbers(self.nodata), "min_valid": _least(self.min_valid), "empty": _empty(self.empty)}
        for name, value in parsed.items():
            object.__setattr__(self, name, value)

    @property
    def asked(self) -> bool:
        """Whether anything is missing, or asked for in its place."""
        return self != PLAIN

    def weigh(self, x: Array, weights: Array | None) -> Array | None:
        """Return the weight of each element of *x* (bool where each counts once or not at all), or None for all one."""
        import numpy as np

        valid = None
        if self.nan != "propagate" and x.dtype.kind == "f":
            valid = ~np.isnan(x)
            if self.nan == "error" and not (valid if weights is None else valid | (weights == 0)).all():
                raise InputError("values must not be NaN", 'nan="ignore" leaves them out')
        for value in self.nodata:
            same = np.isnan(x) if isnan(value) and x.dtype.kind == "f" else x == value
            valid = ~same if valid is None else valid & ~same
        if valid is None or weights is None:
            return valid if weights is None else weights
        return valid & weights if weights.dtype == bool else np.where(valid, weights, 0.0)

    def lacking(self, valid: Array, lying: Array) -> Array:
        """Return which windows have too few *valid* elements of those *lying* in the input."""
        import numpy as np

        least = self.min_valid
        if isinstance(least, str):
            least = np.ceil(np.round(lying * float(least[:-1]) / 100, 9))
        lacking: Array = valid < np.maximum(least, 1)
        return lacking

    def fill(self, result: Array, lacking: Array, kind: str) -> Array:
        """Return *result* with what stands for windows *lacking* elements put in; *kind* is of the dtype it becomes."""
        import numpy as np

        if not lacking.any():
            return result
        value = float("nan") if self.empty in {None, "error"} else self.empty
        refused = self.empty == "error"
        if refused or (kind in "iub" and isnan(value)):
            got = f"got {int(np.broadcast_to(lacking, result.shape).sum())} without"
            if refused:
                hint = "empty=nan or a number stands for them"
                raise InputError(f"windows must have enough valid elements, {got}", hint)
            raise InputError(f"windows of integers must have valid elements, {got}", "empty=0 stands for them")
        info = np.iinfo(result.dtype) if result.dtype.kind in "iu" else None
        if result.dtype.kind != "f" and not (info and value.is_integer() and info.min <= value <= info.max):
            result = result.astype(np.float64)
        if lacking.shape == (
            *result.shape[:-1],
            1,
        ):  # pixels: NumPy's loop would be over few channels
            result[lacking[..., 0]] = value
        else:
            np.copyto(result, value, where=lacking, casting="unsafe")
        return result


def combined(
    weights: ArrayLike | None, mask: ArrayLike | None, shape: tuple[int, ...], pooled: tuple[int, ...] = ()
) -> Array | None:
    """Return *weights* where *mask* is not zero, as they broadcast to *shape*; bool if there is only a mask.

    They are the arrays given, not copies, where that can be.

    An array with the lengths of the *pooled* axes alone is the same for all other axes.

    Raises
    ------
    UsageError
        They do not broadcast, or are no weights.
    """
    import numpy as np

    found: Array | None = None
    for name, given in (("mask", mask), ("weights", weights)):
        if given is None:
            continue
        array = np.asarray(given)
        if array.shape == tuple(shape[axis] for axis in pooled):
            array = array.reshape([length if axis in pooled else 1 for axis, length in enumerate(shape)])
        if array.dtype.kind not in "biuf":
            raise UsageError(f"{name} must be numbers, got {array.dtype.name}")
        try:
            np.broadcast_to(array, shape)
        except ValueError:
            raise UsageError(f"{name} must broadcast to the shape {shape}, got {array.shape}") from None
        if name == "mask":
            found = array if array.dtype == bool else array != 0
        elif array.size and not (array.min() >= 0 and array.max() < np.inf):
            raise UsageError("weights must be finite and 0 or more")
        else:
            fast = array.dtype in {np.dtype(np.uint8), np.dtype(np.float32)}  # what kernels take as it is
            factors = array if fast else array.astype(np.float64, copy=False)
            found = factors if found is None else factors * found
    return found


def within(lengths: ArrayLike, layout: Layout, shape: tuple[int, ...]) -> Array:
    """Return where each of N sequences of *shape* still lasts, as a mask.

    Raises
    ------
    UsageError
        There is no N and one pooled axis, or not a length for each sequence.
    """
    import numpy as np

    ends = np.asarray(lengths)
    if "N" not in layout.letters or len(layout.pooled) != 1:
        raise UsageError(f"lengths must be of sequences, as NTC, got layout {layout.letters}")
    batch, (axis,) = layout.letters.index("N"), layout.pooled
    if ends.shape != (shape[batch],) or ends.dtype.kind not in "iu" or not ((ends >= 0) & (ends <= shape[axis])).all():
        raise UsageError(f"lengths must be {shape[batch]} whole numbers from 0 to {shape[axis]}, got {ends.tolist()}")
    places = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return places < ends.reshape([-1 if i == batch else 1 for i in range(len(shape))])


def _numbers(value: Any) -> tuple[float, ...]:
    if value is None:
        return ()
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    try:
        return tuple(int(part) if str(part).strip().lstrip("+-").isdigit() else float(part) for part in parts)
    except (TypeError, ValueError):
        raise UsageError(f"nodata must be numbers, got {value!r}") from None


def _least(value: Any) -> int | str:
    """Return the number of elements, or the share of those that are there as text: 1 is not 100%."""
    text = str(1 if value is None else value).strip()
    share = text.endswith("%") or isinstance(value, float)
    try:
        number = float(text.removesuffix("%")) * (1 if text.endswith("%") or not share else 100)
    except ValueError:
        number = -1.0
    if not 0 <= number <= (100 if share else LARGEST) or (not share and number != ceil(number)):
        raise UsageError(f"min_valid must be a whole number, or from 0% to 100%, got {value!r}")
    return f"{round(number, 9)}%" if share else int(number)


def _empty(value: Any) -> float | str | None:
    if value is None or value == "error":
        return value and str(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"empty must be nan, a number or error, got {value!r}") from None


PLAIN = Missing()  # every element counts
