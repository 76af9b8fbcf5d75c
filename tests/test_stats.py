"""Statistics of samples agree with values worked out by hand."""

from __future__ import annotations

import math

import pytest

from poolcli.measure import stats


def test_summary_of_an_odd_number_of_samples():
    found = stats.summarise((3.0, 1.0, 2.0, 5.0, 4.0))
    assert (found.median, found.mean, found.min, found.max) == (3.0, 3.0, 1.0, 5.0)
    assert found.iqr == 2.0
    assert found.stddev == pytest.approx(2.5**0.5)
    assert found.outliers == ()


def test_median_of_an_even_number_lies_between_the_middle_two():
    assert stats.summarise((1.0, 10.0, 2.0, 4.0)).median == 3.0


def test_quartiles_lie_between_samples():
    # positions 0.75 and 2.25 of 0, 1, 2, 3
    assert stats.summarise((0.0, 1.0, 2.0, 3.0)).iqr == 1.5
    assert stats.summarise((0.0, 1.0)).iqr == 0.5


def test_one_sample_has_no_spread():
    found = stats.summarise((0.5,))
    assert (found.median, found.stddev, found.iqr, found.outliers) == (0.5, None, 0.0, ())


def test_outlier_is_beyond_ten_deviations_estimated_from_the_mad():
    # median 10, MAD 1: the limit is 14.826 away
    calm = (8.0, 9.0, 9.0, 10.0, 10.0, 11.0, 11.0, 12.0)
    assert stats.outliers((*calm, 24.8)) == ()
    assert stats.outliers((*calm, 24.9)) == (8,)
    assert stats.outliers((-4.9, *calm)) == (0,)


def test_equal_samples_do_not_make_a_clock_tick_an_outlier():
    assert stats.outliers((1.0,) * 20 + (1.0 + 1e-9,)) == ()
    assert stats.outliers((1.0,) * 20 + (1.1,)) == (20,)


STEADY = tuple(1.0 + i / 1000 for i in range(20))


@pytest.mark.parametrize(
    ("samples", "fact", "action"),
    [
        (STEADY[:1], "too few runs for a spread: 1", "--max-time"),
        (STEADY[:4], "too few runs for a spread: 4", "--max-time"),
        ((3.0, *STEADY), "the first run is an outlier", "--warmup"),
        ((*STEADY, 3.0, 3.0), "outliers: 2 of 22 runs", "--runs"),
        (
            tuple(1 + (i % 10) / 10 for i in range(40)),
            "the middle half of the runs spans 34% of the median",  # (1.7 - 1.2) / 1.45
            "--min-time",
        ),
    ],
)
def test_doubtful_samples_say_what_to_do(samples, fact, action):
    found = stats.advise(samples)
    assert found.fact == fact
    assert action in found.action


def test_steady_samples_need_no_advice():
    assert stats.advise(STEADY) is None


def test_samples_below_the_clock_need_no_advice():
    assert stats.advise((0.0,) * 20) is None


def test_a_single_late_outlier_among_many_does_not_move_the_median():
    assert stats.advise((*STEADY, 3.0)) is None


@pytest.mark.parametrize(
    ("first", "second", "t", "freedom"),
    [
        # variances 2 ** 2 / 3 and 3 ** 2 / 3 in units of 0.1, pooled 0.1 ** 2 * (2 * 1 + 2 * 1) / 4 = 0.01
        ((0.0, 0.1, 0.2), (0.5, 0.6, 0.7), 0.5 / (0.1 * (2 / 3) ** 0.5), 4),
        ((0.0, 0.0), (0.1, 0.1, 0.1), 0.1 / (0.01 * (5 / 6) ** 0.5), 3),  # equal by luck: taken for 1 %
    ],
)
def test_the_test_of_medians_is_students(first, second, t, freedom):
    from scipy.stats import t as distribution

    first, second = ([math.exp(value) for value in values] for values in (first, second))
    difference = stats.log_mean(second) - stats.log_mean(first)
    assert stats.student(first, second, difference) == pytest.approx(2 * distribution.sf(t, freedom))
    assert stats.student(second, first, -difference) == pytest.approx(2 * distribution.sf(t, freedom))


def test_processes_whose_medians_span_a_tenth_are_not_stable():
    assert stats.advise_processes((1.0, 1.05, 1.09)) is None
    found = stats.advise_processes((1.0, 1.05, 1.2))
    assert found.fact == "the medians of 3 processes span 19% of theirs"
    assert "--processes" in found.action
