"""What each method makes of one window, by exact numbers: no line of poolcli, no float where it can be helped.

A value is a Python number, a fraction, or the root of a fraction (`exact`).
"""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np
from exact import DIGITS, decimal, exact, exact_sum, fraction, infinite, power, root

SMALLEST_CLAMP = 1e-6  # of gem


class NegativeError(ValueError):
    """A method that takes shares of a sum met a negative value."""


class Window(NamedTuple):
    """What a window holds: values in scan order and the weight of each; no padding, and no weight of zero.

    `numbers` are the taps that lie on elements, for each axis; `there` tells which of their combinations the
    values are.
    """

    values: list
    weights: list
    there: list[int]
    numbers: list[list[int]]
    kernel: tuple[int, ...]
    divisor: Fraction
    dtype: np.dtype
    filter: np.ndarray | None = None

    @property
    def taps(self):
        """Return which tap each value is."""
        every = list(product(*self.numbers))
        return [every[number] for number in self.there]


def lowest(dtype):
    """Return the smallest value of a dtype."""
    return {"b": lambda: 0, "f": lambda: -math.inf}.get(dtype.kind, lambda: int(np.iinfo(dtype).min))()


def highest(dtype):
    """Return the largest value of a dtype."""
    return {"b": lambda: 1, "f": lambda: math.inf}.get(dtype.kind, lambda: int(np.iinfo(dtype).max))()


# The methods; `of` is the value after the colon.


def extreme(values, dtype, *, largest):
    """Return the largest or smallest value, NaN if there is one, and the other end of the dtype for none."""
    best = lowest(dtype) if largest else highest(dtype)
    for value in values:
        if value != value:  # noqa: PLR0124 (only NaN differs from itself)
            return value
        if (value > best) if largest else (value < best):
            best = value
    return best


def largest(window, _):
    return extreme(window.values, window.dtype, largest=True)


def smallest(window, _):
    return extreme(window.values, window.dtype, largest=False)


def weighed(window, numbers):
    return exact_sum([n if w == 1 else exact(n) * w for n, w in zip(numbers, window.weights, strict=True)])


def mean(window, numbers):
    return weighed(window, numbers) / window.divisor if numbers else Fraction(0)


def total(window, _):
    return weighed(window, window.values)


def average(window, _):
    return mean(window, window.values)


def magnitudes(window, degree):
    return [power(abs(value), degree) for value in window.values]


def power_mean(window, of):
    """The root of the mean of magnitudes to the power; at infinity their maximum."""
    if of == "inf":
        return max((abs(value) for value in window.values), default=0)
    degree = Fraction(of)
    return root(mean(window, magnitudes(window, degree)), degree)


def norm(window, of):
    """The same of the sum: ONNX LpPool."""
    if of == "inf":
        return power_mean(window, of)
    degree = Fraction(of)
    return root(weighed(window, magnitudes(window, degree)), degree)


def root_mean_square(window, _):
    return power_mean(window, "2")


def generalized_mean(window, of):
    """Radenovic, Tolias, Chum 2018: values below 1e-6 count as 1e-6."""
    return power_mean(window._replace(values=[max(value, SMALLEST_CLAMP) for value in window.values]), of or "3")


def exponentials(raised, top):
    """Return exp(each - top); -inf gives 0."""
    return [Decimal(0) if infinite(each) else DIGITS.exp(decimal(each - top)) for each in raised]


def log_mean_exp(window, of):
    """Pinheiro and Collobert 2015: the log of the mean of exp(r x), over r."""
    rate = Fraction(of or "1")
    if not window.values:
        return Fraction(0)
    raised = [rate * exact(value) for value in window.values]
    top = max(raised)
    if infinite(top):
        return top / rate
    whole = decimal_sum(exponentials(raised, top), window.weights)
    return (top + fraction(DIGITS.ln(DIGITS.divide(whole, decimal(window.divisor))))) / rate


def decimal_sum(terms, factors):
    result = Decimal(0)
    for term, factor in zip(terms, factors, strict=True):
        result = DIGITS.fma(term, decimal(factor), result)
    return result


def soft(window, of):
    """SoftPool, Stergiou 2021: the mean of the values weighed by exp(beta x); as a formula, NaN at an infinity."""
    if not window.values:
        return Fraction(0)
    if any(infinite(value) for value in window.values):
        return math.nan
    raised = [Fraction(of or "1") * Fraction(value) for value in window.values]
    terms = exponentials(raised, max(raised))
    shares = [DIGITS.multiply(term, decimal(weight)) for term, weight in zip(terms, window.weights, strict=True)]
    return fraction(DIGITS.divide(decimal_sum(shares, window.values), decimal_sum(shares, [1] * len(shares))))


def variance(window, _):
    """The population's, over the weights that are there whatever the divisor rule."""
    if any(infinite(value) for value in window.values):
        return math.nan
    if not window.values:
        return Fraction(0)
    centre = weighed(window, window.values) / exact_sum(window.weights)
    return weighed(window, [(Fraction(value) - centre) ** 2 for value in window.values]) / exact_sum(window.weights)


def deviation(window, _):
    return root(variance(window, None), Fraction(2))


def spread(window, _):
    if not window.values:
        return 0
    return exact_sum([largest(window, None), -smallest(window, None)])


def multiplied(window, _):
    if any(infinite(value) for value in window.values):
        return math.prod(float((value > 0) - (value < 0)) for value in window.values) * math.inf
    return math.prod([Fraction(value) for value in window.values], start=Fraction(1))


def stochastic(window, _):
    """Zeiler and Fergus 2013 as they test: the mean of the values weighed by themselves."""
    if any(value < 0 for value in window.values):
        raise NegativeError
    whole = weighed(window, window.values)
    if infinite(whole):
        return math.nan
    return weighed(window, [Fraction(value) ** 2 for value in window.values]) / whole if whole else Fraction(0)


def blend(share, first, second):
    """Return share * first + (1 - share) * second; what has no share does not count, even if infinite."""
    return exact_sum([factor * exact(value) for factor, value in ((share, first), (1 - share, second)) if factor])


def mixed(window, of):
    """Lee 2016 and timm: lambda max + (1 - lambda) avg."""
    return blend(Fraction(of or "0.5"), largest(window, None), average(window, None)) if window.values else Fraction(0)


def filtered(window, factors):
    return weighed(window, [factor * exact(value) for factor, value in zip(factors, window.values, strict=True)])


def given(window):
    return [Fraction(float(window.filter[tap])) for tap in window.taps]


def weighted(window, _):
    """The sum of taps times values, as a convolution has it; padding adds nothing."""
    return filtered(window, given(window))


def gated(window, _):
    """Lee 2016: the sigmoid of the window's product with the taps gates max against avg."""
    if not window.values:
        return Fraction(0)
    gate = filtered(window, given(window))
    if gate != gate:  # noqa: PLR0124
        return gate
    if infinite(gate):
        share = Fraction(gate > 0)
    else:
        share = fraction(DIGITS.divide(Decimal(1), 1 + DIGITS.exp(decimal(-gate))))
    return blend(share, largest(window, None), average(window, None))


def binomial(tap, kernel):
    return math.prod(math.comb(k - 1, t) for t, k in zip(tap, kernel, strict=True))


def blur(window, _):
    """Zhang 2019: the binomial mean, over the taps that are there."""
    factors = [binomial(tap, window.kernel) for tap in window.taps]
    return filtered(window, factors) / weighed(window, factors) if factors else Fraction(0)


def in_order(window):
    """Return the sorted values, and the sum of weights up to and with each."""
    pairs = sorted(zip(window.values, window.weights, strict=True))
    sums = [exact_sum([weight for _, weight in pairs[: end + 1]]) for end in range(len(pairs))]
    return [value for value, _ in pairs], sums


def median(window, of):
    """The mean of the lower and the upper median: the first with half of the weight, or more than half, up to it."""
    if not window.values:
        return None
    values, sums = in_order(window)
    low = next(value for value, weight in zip(values, sums, strict=True) if 2 * weight >= sums[-1])
    high = next(value for value, weight in zip(values, sums, strict=True) if 2 * weight > sums[-1])
    return low if of == "lower" else blend(Fraction(1, 2), low, high)


def quantile(window, of):
    """The value at Q of the way from the first to the last; weights are repetitions, scaled to one on average."""
    share, _, rule = of.partition(":")
    if not window.values:
        return None
    values, sums = in_order(window)
    place = Fraction(share) * (len(values) - 1)
    scale = len(values) / sums[-1]

    def at(number):
        return next((v for v, weight in zip(values, sums, strict=True) if weight * scale > number), values[-1])

    low, high = at(math.floor(place)), at(math.ceil(place))
    exactly = {"lower": low, "higher": high, "nearest": at(round(place)), "": None}[rule]
    return blend(1 - place % 1, low, high) if exactly is None else exactly


def mode(window, of):
    """The value with most votes (weights), the smallest of equals; `sparse` leaves zero out while others are there."""
    votes = Counter()
    for value, weight in zip(window.values, window.weights, strict=True):
        votes[value] += weight
    if of == "sparse" and len(votes) > 1:
        votes.pop(0, None)
    return min(votes, key=lambda value: (-votes[value], value), default=None)


def first(window, _):
    return next(iter(window.values), None)


def center(window, _):
    """The real tap nearest to the middle one, which is number k // 2 of each axis; nothing if it is masked."""
    middle = [
        min(numbers, key=lambda tap, half=kernel // 2: abs(tap - half), default=0)
        for numbers, kernel in zip(window.numbers, window.kernel, strict=True)
    ]
    return dict(zip(window.taps, window.values, strict=True)).get(tuple(middle))


METHODS = {
    "max": largest,
    "min": smallest,
    "avg": average,
    "sum": total,
    "l2": root_mean_square,
    "lp": power_mean,
    "norm": norm,
    "gem": generalized_mean,
    "lse": log_mean_exp,
    "std": deviation,
    "var": variance,
    "range": spread,
    "prod": multiplied,
    "soft": soft,
    "stochastic": stochastic,
    "mixed": mixed,
    "blur": blur,
    "maxblur": blur,  # of the maxima, which oracle.pool takes first
    "weighted": weighted,
    "gated": gated,
    "median": median,
    "quantile": quantile,
    "mode": mode,
    "first": first,
    "center": center,
}
PICKS = {"first", "center"}


def window_value(method, window):
    """Return one output, or None where a method that picks a value has none to pick."""
    name, _, of = method.partition(":")
    if name not in PICKS and any(value != value for value in window.values):  # noqa: PLR0124
        return math.nan
    return METHODS[name](window, of)
