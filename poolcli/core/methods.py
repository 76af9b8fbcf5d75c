"""Which methods there are: one row each, read by help, tables, engines, benchmarks and tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from poolcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Result = Literal["same", "sum", "mean", "extent"]
Kind = Literal["fold", "sums", "taps", "select", "pick", "joined"]


@dataclass(frozen=True, slots=True)
class Fold:
    """A monoid by the names of its steps in `kernels`: lift each value, combine them, finish the accumulator.

    *step* names the same in `steps`, for windows and weights that the kernel has no part for.
    """

    lift: str
    combine: str
    finish: str
    step: str
    kind: Kind = "fold"


@dataclass(frozen=True, slots=True)
class Step:
    """A function of `steps`, given the slab whose windows it reduces and the method's value.

    *combines* names the steps of `kernels` by which it folds float64; *gathers* says what it asks of windows that are
    gathered: "order" or "taps".
    """

    kind: Kind
    step: str
    combines: tuple[str, ...] = ()
    gathers: str = ""


@dataclass(frozen=True, slots=True)
class Composed:
    """One method at stride 1 that keeps the size, then another."""

    first: str
    then: str
    kind: Kind = "joined"


@dataclass(frozen=True, slots=True)
class Concat:
    """The channels of two methods one after another."""

    kind: Kind = "joined"


Recipe = Fold | Step | Composed | Concat


@dataclass(frozen=True, slots=True)
class Parameter:
    """The value after a name: its form, what it means, how it is read, and what stands for it when it is not given."""

    form: str
    means: str
    read: Callable[[str], Any]
    default: str | None = None
    keeps: Callable[[Any], bool] = lambda _: False  # whether a value makes the result one of the input's values


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the method table.

    Attributes
    ----------
    name
        As it is spelled everywhere, without a value.
    summary
        Completes "each output value is the ... of its window".
    formula
        Over the values x of a window and their count n.
    recipe
        How it is computed.
    result
        The dtype: "same" keeps the input's; the others are given in `dtypes.natural`.
    torch
        The PyTorch equivalent.
    source
        Where the formula is from, or who else has it.
    parameter
        The value it takes.
    suits
        The data that it is for.
    also
        What others call it: not accepted, but led to the name.
    reflects
        Whether half a kernel of reflected input stands around it, if no padding is given.
    nests
        Whether pooling the results of windows is pooling a window of them all, but for rounding.
    spelled, value
        What was asked for: set by `lookup`.
    """

    name: str
    summary: str
    formula: str
    recipe: Recipe
    result: Result = "mean"
    torch: str = ""
    source: str = ""
    parameter: Parameter | None = None
    suits: str = "quantities, not labels"
    also: tuple[str, ...] = ()
    reflects: bool = False
    nests: bool = False
    spelled: str = ""
    value: Any = None

    @property
    def token(self) -> str:
        """``name`` or ``name:value``, as asked for."""
        return self.spelled or self.name

    @property
    def extreme(self) -> bool:
        """Whether its results are the largest or smallest values, each of which stands somewhere in its window."""
        return isinstance(self.recipe, Fold) and self.recipe.combine in {"larger", "smaller"}

    @property
    def joins(self) -> bool:
        """Whether it is other methods, run one after another."""
        return isinstance(self.recipe, (Composed, Concat))

    @property
    def weighs(self) -> bool:
        """Whether its value is a window of weights."""
        return self.parameter is WEIGHTS

    @property
    def weights(self) -> tuple[int, ...] | None:
        """The shape of the window of weights, for a method that is given one."""
        return self.value[0] if self.weighs else None

    @property
    def parts(self) -> tuple[Method, ...]:
        """The methods that one joins; none for others."""
        return self.value if isinstance(self.recipe, Concat) else ()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


def _real(text: str) -> float:
    value = _number(text)
    if not isfinite(value) or value == 0:
        raise ValueError("a number other than 0")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not value > 0:
        raise ValueError("a number above 0, or inf")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise ValueError("a number from 0 to 1")
    return value


def _quantile(text: str) -> tuple[float, str]:
    share, _, rule = text.partition(":")
    if rule not in {"", "lower", "higher", "nearest"}:
        raise ValueError("Q from 0 to 1, or Q and :lower, :higher or :nearest")
    return _share(share), rule or "linear"


def _flag(word: str) -> Callable[[str], bool]:
    def read(text: str) -> bool:
        if text not in {"", word}:
            raise ValueError(f"{word!r} or nothing")
        return text == word

    return read


def _pair(text: str) -> tuple[Method, ...]:
    parts = tuple(map(lookup, text.split("+")))
    if len(parts) < 2 or any(part.parts for part in parts):
        raise ValueError("two methods as max+avg")
    return parts


P = Parameter(":P", "P, a number above 0, or inf", _positive)
WEIGHTS = Parameter(":FILE", "a .npy file of the window's weights", str)

_ROWS = (
    Method(
        "max", "largest value", "max x", Fold("same", "larger", "keep", "largest"), "same",
        torch="MaxPool2d", also=("maximum", "greatest", "largest"), nests=True,
    ),
    Method(
        "min", "smallest value", "min x", Fold("same", "smaller", "keep", "smallest"), "same",
        torch="-MaxPool2d(-x)", also=("minimum", "least", "smallest"), nests=True,
    ),
    Method(
        "avg", "mean", "sum x / n", Fold("same", "add", "mean", "mean"),
        torch="AvgPool2d(count_include_pad=False); its default is count_include_pad=True", also=("mean", "average"),
        nests=True,
    ),
    Method(
        "sum", "sum", "sum x", Fold("same", "add", "keep", "total"), "sum",
        torch="AvgPool2d(divisor_override=1)", nests=True, also=("total",),
    ),
    Method(
        "l2", "root of the mean of squares", "sqrt(sum x^2 / n)",
        Fold("square", "add", "root_mean", "root_mean_square"),
        torch="LPPool2d(2) / sqrt(kh*kw) on full windows", also=("rms", "root_mean_square", "quadratic_mean"),
        nests=True,
    ),
    Method(
        "lp", "power mean of magnitudes", "(sum |x|^P / n)^(1/P)", Step("sums", "power_mean", ("add",)),
        torch="LPPool2d(P) / (kh*kw)^(1/P) on full windows", source="Hoelder mean", parameter=P, nests=True,
    ),
    Method(
        "norm", "P-norm", "(sum |x|^P)^(1/P)", Step("sums", "norm", ("add",)),
        torch="LPPool2d(P), for values >= 0", source="ONNX LpPool", parameter=P, nests=True,
    ),
    Method(
        "gem", "generalized mean", "(sum max(x, 1e-6)^P / n)^(1/P)", Step("sums", "generalized_mean", ("add",)),
        source="Radenovic, Tolias, Chum 2018", parameter=Parameter("[:P]", "P, a number above 0", _positive, "3"),
        nests=True,
    ),
    Method(
        "lse", "logarithm of the mean of exponentials", "log(sum exp(R x) / n) / R",
        Step("sums", "log_mean_exp", ("larger", "add")), source="Pinheiro, Collobert 2015", nests=True,
        parameter=Parameter("[:R]", "R, a number other than 0", _real, "1"),
    ),
    Method(
        "std", "standard deviation (population)", "sqrt(sum (x - mean)^2 / n)", Step("sums", "deviation"),
        source="Chan, Golub, LeVeque 1983", also=("stddev", "sigma"),
    ),
    Method(
        "var", "variance (population)", "sum (x - mean)^2 / n", Step("sums", "variance"),
        source="Chan, Golub, LeVeque 1983", also=("variance",),
    ),
    Method(
        "range", "largest value less the smallest", "max x - min x", Step("joined", "difference"), "extent",
        torch="MaxPool2d(x) + MaxPool2d(-x)", also=("ptp", "gradient", "extent"), nests=True,
    ),
    Method(
        "prod", "product", "prod x", Step("sums", "product"), "sum", source="NumPy prod", also=("product",), nests=True,
    ),
    Method(
        "soft", "mean weighed by exponentials", "sum x exp(B x) / sum exp(B x)",
        Step("sums", "softmax_mean", ("larger", "add")), source="Stergiou, Poppe, Kalliatakis 2021 (SoftPool)",
        parameter=Parameter("[:B]", "B, a number other than 0", _real, "1"),
    ),
    Method(
        "stochastic", "mean weighed by the values", "sum x^2 / sum x", Step("sums", "self_weighted_mean", ("add",)),
        source="Zeiler, Fergus 2013, at test time", suits="values >= 0",
    ),
    Method(
        "stochastic-sample", "value drawn with a chance in proportion to it", "x with p = x / sum x",
        Step("select", "drawn"), "same", source="Zeiler, Fergus 2013, in training", suits="values >= 0",
    ),
    Method(
        "mixed", "mixture of the largest value and the mean", "L max x + (1 - L) sum x / n", Step("joined", "mixture"),
        source="Lee, Gallagher, Tu 2016; timm avgmax",
        parameter=Parameter("[:L]", "L, a number from 0 to 1", _share, "0.5"),
    ),
    Method(
        "concat", "results of two methods, as channels one after another", "A(x), B(x)", Concat(), "same",
        source="fastai AdaptiveConcatPool2d", parameter=Parameter("[:A+B]", "methods, A+B", _pair, "max+avg"),
    ),
    Method(
        "blur", "binomial mean", "sum C(k-1, i) x_i / 2^(k-1) on each axis", Step("taps", "blur", gathers="taps"),
        source="Zhang 2019; timm BlurPool2d", also=("gauss", "gaussian", "binomial"), reflects=True,
    ),
    Method(
        "maxblur", "binomial mean of maxima", "blur of max at stride 1", Composed("max", "blur"),
        source="Zhang 2019 (MaxBlurPool)", reflects=True,
    ),
    Method(
        "weighted", "sum of values times given weights", "sum w_i x_i", Step("taps", "weighted", gathers="taps"),
        torch="Conv2d(groups=C) with the same window for all", parameter=WEIGHTS,
    ),
    Method(
        "gated", "largest value and mean, mixed by a gate",
        "g max x + (1 - g) sum x / n, g = 1 / (1 + exp(-sum w_i x_i))",
        Step("taps", "gated", gathers="taps"), source="Lee, Gallagher, Tu 2016", parameter=WEIGHTS,
    ),
    Method(
        "median", "median", "the middle of sorted x; the mean of the two middles",
        Step("select", "median", gathers="order"),
        source="SciPy median_filter",
        parameter=Parameter("[:lower]", "the lower of two middles", _flag("lower"), "", bool),
    ),
    Method(
        "quantile", "value that a share Q of the values does not pass", "sorted x at Q (n - 1)",
        Step("select", "quantile", gathers="order"), source="NumPy quantile",
        parameter=Parameter(
            ":Q", "Q from 0 to 1, then :lower, :higher or :nearest; else linear", _quantile, None,
            lambda of: of[1] != "linear",
        ),
        also=("percentile",),
    ),
    Method(
        "mode", "most frequent value, the smallest of equals", "argmax of counts",
        Step("select", "mode", gathers="order"), "same",
        source="GDAL mode; SciPy mode", suits="labels", also=("majority",),
        parameter=Parameter("[:sparse]", "0 never wins while anything else is there", _flag("sparse"), ""),
    ),
    Method(
        "first", "first value", "x_0", Step("pick", "first"), "same", suits="labels and all",
        also=("nearest", "stride"), nests=True,
    ),
    Method(
        "center", "value in the middle", "x at k // 2", Step("pick", "center"), "same", suits="labels and all",
        also=("middle",),
    ),
)  # fmt: skip

METHODS = {row.name: row for row in _ROWS}
_OTHERS = {other: row.name for row in _ROWS for other in row.also}


def lookup(token: str) -> Method:
    """Return the method that *token* (``name`` or ``name:value``) spells.

    Raises
    ------
    UsageError
        There is no such method, or its value breaks a rule.
    """
    name, colon, text = str(token).partition(":")
    if name not in METHODS:
        from difflib import get_close_matches

        lowered = name.lower().replace("-", "_")
        close = get_close_matches(lowered, [*METHODS, *_OTHERS], n=1, cutoff=0.6)
        hint = f"did you mean {_OTHERS.get(close[0], close[0])!r}?" if close else None
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {token!r}", hint)
    row = METHODS[name]
    parameter = row.parameter
    if parameter is None:
        if colon:
            raise UsageError(f"method {name!r} must be given without a value, got {text!r}")
        return row
    if not text and (parameter.default is None or colon):
        raise UsageError(f"method {name!r} must be given a value, {parameter.means}, got {token!r}")
    try:
        value = parameter.read(text or parameter.default or "")
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"value of {name!r} must be {error}, got {text!r}") from error
    if row.weighs:
        raise UsageError(f"method {name!r} must be given an array", f'("{name}", poolcli.read({text!r}))')
    return replace(row, spelled=str(token), value=value, result="same" if parameter.keeps(value) else row.result)


def weighed(name: str, weights: NDArray[Any], spelled: str = "") -> Method:
    """Return the method *name* with a window of *weights*.

    Raises
    ------
    UsageError
        There is no such method, it takes no weights, or they are no window of finite numbers.
    """
    if name not in METHODS or not METHODS[name].weighs:
        taking = ", ".join(row.name for row in _ROWS if row.weighs)
        raise UsageError(f"method with weights must be one of {taking}, got {name!r}")
    numbers = weights.dtype.kind in "biuf" and weights.size > 0
    if not numbers or not all(map(isfinite, weights.ravel().tolist())):
        raise UsageError(f"weights of {name!r} must be finite numbers, got {weights.dtype} {weights.shape}")
    value = weights.shape, tuple(map(float, weights.ravel().tolist()))
    return replace(METHODS[name], spelled=spelled or name, value=value)
