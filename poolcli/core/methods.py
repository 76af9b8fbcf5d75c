"""Which methods there are: one row each, read by help, tables, engines, benchmarks and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from poolcli.errors import UsageError

Result = Literal["same", "sum", "mean", "extent"]


@dataclass(frozen=True, slots=True)
class Fold:
    """A monoid by the names of its steps in `kernels`: lift each value, combine them, finish the accumulator."""

    lift: str
    combine: str
    finish: str


@dataclass(frozen=True, slots=True)
class Joined:
    """The results of other methods, put together by a step of `steps` that takes their arrays."""

    methods: tuple[str, ...]
    join: str


Recipe = Fold | Joined


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the method table.

    Attributes
    ----------
    name
        As it is spelled everywhere.
    summary
        Completes "each output value is the ... of its window".
    formula
        Over the values x of a window and their count n.
    parameter
        What the value after ``name:`` means, if there is one.
    torch
        The PyTorch equivalent.
    recipe
        How it is computed.
    result
        The dtype: "same" keeps the input's; the others are given in `dtypes.natural`.
    also
        What others call it: not accepted, but led to the name.
    """

    name: str
    summary: str
    formula: str
    parameter: str | None
    torch: str
    recipe: Recipe
    result: Result
    also: tuple[str, ...] = ()


_ROWS = (
    Method(
        "max",
        "largest value",
        "max x",
        None,
        "MaxPool2d",
        Fold("same", "larger", "keep"),
        "same",
        ("maximum", "largest"),
    ),
    Method(
        "min",
        "smallest value",
        "min x",
        None,
        "-MaxPool2d(-x)",
        Fold("same", "smaller", "keep"),
        "same",
        ("minimum", "smallest"),
    ),
    Method(
        "avg",
        "mean",
        "sum x / n",
        None,
        "AvgPool2d(count_include_pad=False); its default is count_include_pad=True",
        Fold("same", "add", "mean"),
        "mean",
        ("mean", "average"),
    ),
    Method(
        "sum", "sum", "sum x", None, "AvgPool2d(divisor_override=1)", Fold("same", "add", "keep"), "sum", ("total",)
    ),
    Method(
        "l2",
        "root of the mean of squares",
        "sqrt(sum x^2 / n)",
        None,
        "LPPool2d(2) / sqrt(kh*kw) on full windows",
        Fold("square", "add", "root_mean"),
        "mean",
        ("rms", "root_mean_square", "quadratic_mean"),
    ),
    Method(
        "range",
        "largest value less the smallest",
        "max x - min x",
        None,
        "MaxPool2d(x) + MaxPool2d(-x)",
        Joined(("max", "min"), "difference"),
        "extent",
    ),
)

METHODS = {row.name: row for row in _ROWS}


def lookup(token: str) -> Method:
    """Return the method that *token* (``name`` or ``name:value``) spells.

    Raises
    ------
    UsageError
        There is no such method, or it takes no value.
    """
    name, colon, value = str(token).partition(":")
    if name not in METHODS:
        from difflib import get_close_matches

        said = name.lower()
        meant = [row.name for row in _ROWS if said.replace("-", "_").replace(" ", "_") in row.also]
        close = meant or get_close_matches(said, METHODS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else None
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {token!r}", hint)
    if colon:
        raise UsageError(f"method {name!r} must be given without a value, got {value!r}")
    return METHODS[name]
