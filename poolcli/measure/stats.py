"""What samples of time say: location, spread, outliers, significance, and whether to believe them."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK = 1e-9  # seconds; no clock used here tells less apart
FEW = 5  # runs below which a spread says nothing
NOISY = 0.1  # interquartile range over median
FLOOR = 0.01  # least standard deviation of logarithms of medians from process to process
MANY = 0.05  # outliers over runs; fewer do not move a median

# |x - median| / MAD beyond ten standard deviations; 1.4826 * MAD estimates one for normal data. The modified
# z-score is Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993); the limit is hyperfine's.
OUTLYING = 1.4826 * 10


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of samples, in their unit; *outliers* are indices, *stddev* is None for a single sample."""

    median: float
    mean: float
    stddev: float | None
    min: float
    max: float
    iqr: float
    outliers: tuple[int, ...]


class Advice(NamedTuple):
    """Why samples should not be trusted, and what to do about it."""

    fact: str
    action: str


@lru_cache(maxsize=4096)
def summarise(samples: tuple[float, ...]) -> Summary:
    """Return the statistics of at least one sample."""
    first, third = quartiles(samples)
    return Summary(
        statistics.median(samples),
        statistics.fmean(samples),
        statistics.stdev(samples) if len(samples) > 1 else None,
        min(samples),
        max(samples),
        third - first,
        outliers(samples),
    )


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile."""
    first, _, third = statistics.quantiles([*samples] * (1 + (len(samples) < 2)), n=4, method="inclusive")
    return first, third


def outliers(samples: Sequence[float]) -> tuple[int, ...]:
    """Return the indices of the samples whose modified z-score is beyond the limit."""
    middle = statistics.median(samples)
    deviations = [abs(sample - middle) for sample in samples]
    mad = max(statistics.median(deviations), TICK)  # equal samples have none, and would make any other an outlier
    return tuple(i for i, deviation in enumerate(deviations) if deviation / mad > OUTLYING)


def advise(samples: Sequence[float]) -> Advice | None:
    """Return the first reason not to trust *samples* of seconds, or None when they look stable."""
    runs, summary = len(samples), summarise(tuple(samples))
    found, middle, iqr = summary.outliers, summary.median, summary.iqr
    if runs < FEW:
        return Advice(f"too few runs for a spread: {runs}", "raise --max-time")
    if found == (0,):
        return Advice("the first run is an outlier", "raise --warmup")
    if len(found) > MANY * runs:
        action = "close other programs, or raise --runs until the median settles"
        return Advice(f"outliers: {len(found)} of {runs} runs", action)
    if middle > 0 and iqr / middle > NOISY:
        action = "close other programs, fix the CPU frequency, or raise --min-time"
        return Advice(f"the middle half of the runs spans {iqr / middle:.0%} of the median", action)
    return None


def advise_processes(medians: Sequence[float]) -> Advice | None:
    """Return why the *medians* of several processes should not be trusted, or None when they agree."""
    middle = statistics.median(medians)
    span = (max(medians) - min(medians)) / middle if middle > 0 else 0
    if span <= NOISY:
        return None
    fact = f"the medians of {len(medians)} processes span {span:.0%} of theirs"
    return Advice(fact, "close other programs, or raise --processes")


def log_mean(values: Sequence[float]) -> float:
    """Return the logarithm of the geometric mean."""
    return statistics.fmean(map(math.log, values))


def student(first: Sequence[float], second: Sequence[float], difference: float) -> float:
    """Return the two-sided p-value of a *difference* of the mean logarithms of two samples, by Student's test.

    Few values may agree by luck: their standard deviation is taken for 1 % at least.
    """
    from scipy.special import stdtr

    freedom = len(first) + len(second) - 2
    squares = sum((math.log(value) - log_mean(sample)) ** 2 for sample in (first, second) for value in sample)
    variance = max(squares / freedom, FLOOR**2)
    error = math.sqrt(variance * (1 / len(first) + 1 / len(second)))
    return float(2 * stdtr(freedom, -abs(difference) / error))
