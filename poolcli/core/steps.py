"""Steps that only NumPy executes: what a method makes of the windows of a slab.

Each takes a `slabs.Slab` and the method's value, and returns (planes, outputs ..., channels). exp and pow of compiled
code are scalar calls, 2.5 to 5 times as slow as NumPy's, and differ in the last place: engines would not agree.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import select
from poolcli.core.methods import Step
from poolcli.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.methods import Method
    from poolcli.core.slabs import Slab

    Array = NDArray[Any]

CLAMP = 1e-6  # of generalized means
LEVEL = 256.0  # a term below exp(-LEVEL) of the largest is nothing to float64, and exp(LEVEL) has room for a sum


# --- folds, where the kernels have no part for a window or a weight ------------------------------------------------


def largest(slab: Slab, _: Any) -> Array:
    return slab.larger(slab.x)


def smallest(slab: Slab, _: Any) -> Array:
    return slab.smaller(slab.x)


def mean(slab: Slab, _: Any) -> Array:
    if slab.alpha:
        return slab.seen()
    return slab.mean(slab.x) if slab.folded is None else slab.folded[0]


def total(slab: Slab, _: Any) -> Array:
    return slab.add(slab.exact)


def root_mean_square(slab: Slab, _: Any) -> Array:
    return np.sqrt(slab.mean(np.square(slab.real)))


# --- sums ----------------------------------------------------------------------------------------------------------


def power_mean(slab: Slab, degree: float) -> Array:
    if degree == np.inf:
        return np.where(slab.there, slab.larger(np.abs(slab.real)), 0)
    return root(slab.mean(power(np.abs(slab.real), degree)), degree)


def norm(slab: Slab, degree: float) -> Array:
    if degree == np.inf:
        return power_mean(slab, degree)
    return root(slab.add(power(np.abs(slab.real), degree)), degree)


def generalized_mean(slab: Slab, degree: float) -> Array:
    if degree == np.inf:
        return np.where(slab.there, np.maximum(slab.larger(slab.real), CLAMP), 0)
    return root(slab.mean(power(np.maximum(slab.real, CLAMP), degree)), degree)


def power(values: Array, degree: float) -> Array:
    if degree == 1:
        return values
    return np.square(values) if degree == 2 else np.power(values, degree)


def root(values: Array, degree: float) -> Array:
    if degree == 1:
        return values
    return np.sqrt(values) if degree == 2 else np.power(values, 1 / degree)


def log_mean_exp(slab: Slab, rate: float) -> Array:
    """Return the logarithm of the mean of exponentials, each sum at the level of its window's largest term."""
    top, (sums,) = leveled(slab, slab.real * rate, ())
    found = np.where(np.isfinite(top), np.log(sums / slab.divisor) + top, top)
    return np.where(slab.there, found / rate, 0)


def softmax_mean(slab: Slab, rate: float) -> Array:
    _, (weights, sums) = leveled(slab, slab.real * rate, (slab.real,))
    return np.where(slab.there, sums / weights, 0)


def leveled(slab: Slab, exponents: Array, factors: tuple[Array, ...]) -> tuple[Array, list[Array]]:
    """Return each window's level, and its sums of exp(exponent - level), alone and times each of *factors*.

    A window's level is that of its largest exponent, so that sums neither overflow nor vanish; windows of one level
    share one fold, whose cost does not depend on the kernel.
    """
    top = np.floor(slab.larger(exponents) / LEVEL) * LEVEL
    least = top.min()
    if np.isfinite(least) and least == top.max():  # as nearly always: masks cost more than sums
        return top, sums_at(slab, exponents, factors, least)
    sums = [np.full(top.shape, np.nan) for _ in range(1 + len(factors))]
    for level in np.unique(top[np.isfinite(top)]):
        here = top == level
        for held, found in zip(sums, sums_at(slab, exponents, factors, level), strict=True):
            held[here] = found[here]
    return top, sums


def sums_at(slab: Slab, exponents: Array, factors: tuple[Array, ...], level: float) -> list[Array]:
    terms = np.exp(np.minimum(exponents - level, LEVEL))  # windows with larger terms are of another level
    return [slab.add(terms), *(slab.add(terms * factor) for factor in factors)]


def variance(slab: Slab, _: Any) -> Array:
    return slab.moments()


def deviation(slab: Slab, _: Any) -> Array:
    return np.sqrt(slab.moments())


def product(slab: Slab, _: Any) -> Array:
    return slab.product()


def self_weighted_mean(slab: Slab, _: Any) -> Array:
    x = refuse_negative(slab, "stochastic")
    whole = slab.add(x)
    return np.divide(slab.add(np.square(x)), whole, out=np.zeros_like(whole), where=whole != 0)


def refuse_negative(slab: Slab, method: str) -> Array:
    """Return the values, none of which that counts is negative."""
    x = slab.weighed(slab.real)
    if (x < 0).any():
        got = slab.real[(x < 0) & (slab.real < 0)].flat[0]
        raise InputError(f"values must be 0 or more for method {method!r}, got {got}")
    return slab.real


# --- joined --------------------------------------------------------------------------------------------------------


def difference(slab: Slab, _: Any) -> Array:
    """Return max - min, exactly for integers (as unsigned ones), rounded as if once for floats; 0 of no value."""
    high, low = slab.larger(slab.x), slab.smaller(slab.x)
    if high.dtype.kind == "f":
        apart = np.subtract(high, low, dtype=np.float64)
    else:
        unsigned = np.dtype(f"u{high.dtype.itemsize}")
        apart = np.subtract(high.view(unsigned), low.view(unsigned))  # modulo 2^bits, which no difference passes
    apart[high < low] = 0
    return apart


def mixture(slab: Slab, share: float) -> Array:
    return blend(slab, share, 1 - share)


def blend(slab: Slab, share: Any, rest: Any) -> Array:
    """Return share * max + rest * mean; what has no share does not count, even where it is infinite."""
    high = np.where(np.equal(share, 0), 0, slab.larger(slab.real) * share)
    middle = np.where(np.equal(rest, 0), 0, slab.mean(slab.x) * rest)
    return np.where(slab.there, high + middle, 0)


# --- taps ----------------------------------------------------------------------------------------------------------


def weights(method: Method, plan: Plan) -> Any:
    """Return the window of weights of a method that has one, or those of each axis where it is their product."""
    if method.weighs:
        return np.reshape(method.value[1], method.value[0]).tolist()
    if method.reflects and isinstance(method.recipe, Step):
        return [binomial(axis.kernel).tolist() for axis in plan.axes]
    return None


def blur(slab: Slab, _: Any) -> Array:
    """Return the binomial mean over the taps that are there."""
    return slab.separable([binomial(axis.kernel) for axis in slab.plan.axes])


@lru_cache(maxsize=64)
def binomial(kernel: int) -> Array:
    """Return the binomial weights of a kernel, as shares of their sum 2^(kernel - 1)."""
    return np.array([float(Fraction(comb(kernel - 1, i), 2 ** (kernel - 1))) for i in range(kernel)])


def weighted(slab: Slab, window: tuple[tuple[int, ...], tuple[float, ...]]) -> Array:
    return slab.filtered(np.reshape(window[1], window[0]))


def gated(slab: Slab, window: tuple[tuple[int, ...], tuple[float, ...]]) -> Array:
    gate = 1 / (1 + np.exp(-weighted(slab, window)))
    return blend(slab, gate, 1 - gate)


# --- select --------------------------------------------------------------------------------------------------------


def median(slab: Slab, lower: bool) -> Array:  # noqa: FBT001 -- every step has the same signature
    if not slab.shared:
        return quantile(slab, (0.5, "lower" if lower else "linear"))
    ordered, votes = slab.voted()
    passed = votes.cumsum(axis=0)
    low, high = at_rank(ordered, (2 * passed < passed[-1]).sum(0)), at_rank(ordered, (2 * passed <= passed[-1]).sum(0))
    return nan_wins(slab, low if lower else between(low, high, np.full(low.shape, 0.5)))


def quantile(slab: Slab, of: tuple[float, str]) -> Array:
    found = None if slab.weights is not None else select.quantile(slab, *of)
    if found is not None:
        return nan_wins(slab, found)
    share, rule = of
    count = np.maximum(np.arange(slab.plan.taps + 1) - 1, 0)
    place = share * count  # by the elements of a window
    rules = {"lower": (np.floor,), "higher": (np.ceil,), "nearest": (np.rint,), "linear": (np.floor, np.ceil)}
    ranks = [step(place).astype(np.int64) for step in rules[rule]]
    valid = slab.valid.astype(np.int64)
    if slab.shared:  # weights are repetitions, scaled to one on average
        ordered, votes = slab.voted()
        passed = votes.cumsum(axis=0)
        picked = [
            at_rank(ordered, np.minimum((passed * valid <= rank[valid] * passed[-1]).sum(0), valid - 1))
            for rank in ranks
        ]
    else:
        ordered = slab.ordered(slab.x)
        picked = [at_rank(ordered, rank[valid]) for rank in ranks]
    part = (place - np.floor(place))[valid]
    return nan_wins(slab, picked[0] if rule != "linear" else between(picked[0], picked[1], part))


def between(low: Array, high: Array, part: Array) -> Array:
    """Return what lies *part* of the way from *low* to *high*, as float64; infinities of one sign are themselves."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    mixed = np.where(part == 0, low, low * (1 - part) + np.where(part == 0, 0, high) * part)
    return np.where(low == high, low, mixed)


def at_rank(ordered: Array, rank: Array) -> Array:
    """Return the values of a rank, which broadcasts over planes and channels."""
    last = len(ordered) - 1
    number = np.broadcast_to(np.clip(rank, 0, last).astype(np.intp), ordered.shape[1:])[None]
    found: Array = np.take_along_axis(ordered, number, 0)[0]
    return found


def nan_wins(slab: Slab, values: Array) -> Array:
    if slab.x.dtype.kind == "f" and np.isnan(slab.x).any():
        spoiled = slab.larger(np.isnan(slab.x).astype(np.uint8)).astype(bool)
        values = np.where(spoiled, np.nan, values).astype(values.dtype, copy=False)
    return slab.chosen(values)


def mode(slab: Slab, sparse: bool) -> Array:  # noqa: FBT001 -- every step has the same signature
    """Return the value with most votes: the first of the heaviest runs in order."""
    found = None if slab.weights is not None else select.mode(slab, sparse=sparse)
    if found is not None:
        return nan_wins(slab, found)
    if slab.shared:
        ordered, votes = slab.voted()
    else:
        ordered = slab.ordered(slab.x)
        votes = np.stack([(number < slab.valid).astype(np.float64) for number in range(len(ordered))])
    best, most, run = ordered[0].copy(), np.zeros(ordered.shape[1:]), np.zeros(ordered.shape[1:])
    for number, (value, vote) in enumerate(zip(ordered, votes, strict=True)):
        run = np.where(value == ordered[number - 1], run + vote, vote) if number else run + vote
        better = (run > most) & ~(sparse & (value == 0))
        best[better], most[better] = value[better], run[better]
    if sparse:
        best[most == 0] = 0
    return nan_wins(slab, best)


def drawn(slab: Slab, _: Any) -> Array:
    """Return a value drawn with a chance in proportion to it, by the output's place and the seed."""
    x = refuse_negative(slab, "stochastic-sample")
    whole = slab.add(x)
    goal, found, passed = slab.uniform() * whole, np.zeros(whole.shape), np.zeros(whole.shape)
    for tap, part in zip(slab.taps(x, 0.0), slab.taps(slab.weighed(x), 0.0), strict=True):
        here = (passed <= goal) & (part > 0)
        found[here] = tap[here]
        passed += part
    found[np.isinf(whole)] = np.inf
    return nan_wins(slab, found)


# --- pick ----------------------------------------------------------------------------------------------------------


def first(slab: Slab, _: Any) -> Array:
    return slab.earliest()


def center(slab: Slab, _: Any) -> Array:
    return slab.picked(None)
