"""Numbers without rounding: sums by fractions; exp, log and odd powers to 60 digits; roots kept as roots.

So that what is stored at last, by one rounding, is the integer or the float64 nearest to the truth.
"""

from __future__ import annotations

import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction
from typing import NamedTuple

DIGITS = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)


class Root(NamedTuple):
    """The degree-th root of a fraction."""

    radicand: Fraction
    degree: Fraction


def infinite(value):
    return isinstance(value, float) and math.isinf(value)


def endless(value):
    """Whether a number is infinite or NaN."""
    return isinstance(value, float) and not math.isfinite(value)


def exact(value):
    """Return a number as a fraction, or an infinity or NaN as it is."""
    return value if endless(value) else Fraction(value)


def exact_sum(numbers):
    """Return the sum as a fraction; infinities of one sign give that infinity, of both (or with NaN) NaN."""
    if all(type(number) is int for number in numbers):
        return Fraction(sum(numbers))
    ends = {number for number in numbers if endless(number)}
    if ends:
        return sum(ends)
    ratios = [number.as_integer_ratio() for number in numbers]
    common = math.lcm(*{below for _, below in ratios})
    return Fraction(sum(above * (common // below) for above, below in ratios), common)


def decimal(value):
    """Return a fraction to 60 digits."""
    above, below = value.as_integer_ratio()
    return DIGITS.divide(Decimal(above), Decimal(below))


def fraction(value):
    """Return a decimal as a fraction, one far below every float as zero."""
    return Fraction(value) if value and value.adjusted() > -400 else Fraction(0)


def power(value, exponent):
    """Return a non-negative value to a positive exponent."""
    if infinite(value):
        return value
    if exponent.denominator == 1:
        above, below = value.as_integer_ratio()
        return (
            Fraction(above**exponent.numerator, below**exponent.numerator) if below > 1 else above**exponent.numerator
        )
    return Fraction(DIGITS.power(decimal(value), decimal(exponent)))


def root(value, degree):
    """Return the root of a mean or sum; that of an infinity is itself."""
    return value if isinstance(value, float) else Root(value, degree)


def root_value(number):
    """Return a root to 60 digits, but exactly where it is a multiple of one half: there roundings tie."""
    near = fraction(DIGITS.power(decimal(number.radicand), decimal(1 / number.degree)))
    half = Fraction(round(2 * near), 2)
    return half if number.degree.denominator == 1 and half**number.degree.numerator == number.radicand else near
