"""Statistics of samples agree with values worked out by hand."""

from __future__ import annotations

from itertools import combinations

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
    ("first", "second", "p"),
    [
        ((1, 2, 3), (4, 5, 6), 2 / 20),  # the one most extreme of C(6, 3) orders, and its mirror image
        ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), 2 / 252),
        ((1,), (2,), 1.0),
        ((1, 4), (2, 3), 1.0),
        ((1, 2, 4), (3, 5, 6), 2 * 2 / 20),  # U = 8: orders with U of 8 or 9
        ((1, 1, 1), (1, 1, 1), 1.0),
    ],
)
def test_mann_whitney_agrees_with_counting_by_hand(first, second, p):
    assert stats.mann_whitney(first, second) == pytest.approx(p)
    assert stats.mann_whitney(second, first) == pytest.approx(p)


def test_mann_whitney_of_ties_agrees_with_the_formula_worked_out():
    # ranks 1.5 1.5 4 4 | 4 6 7.5 7.5: U1 = 1 and U2 = 15, ties of 2, 3, 2, variance 16 / 12 * (9 - 36 / 56),
    # z = (15 - 8 - 0.5) / 3.338092 = 1.947223, p = erfc(z / sqrt 2) = 0.051508
    assert stats.mann_whitney((1, 1, 2, 2), (2, 3, 4, 4)) == pytest.approx(0.051508, abs=1e-6)


def brute_force(n1, n2, u):
    """Share of orders of n1 and n2 samples whose U is at least as extreme, by listing them all."""
    orders = list(combinations(range(n1 + n2), n1))
    us = [sum(place) - n1 * (n1 - 1) / 2 for place in orders]
    far = abs(u - n1 * n2 / 2)
    return sum(abs(value - n1 * n2 / 2) >= far for value in us) / len(orders)


@pytest.mark.parametrize(("n1", "n2"), [(2, 3), (3, 5), (4, 4), (6, 5)])
def test_exact_p_agrees_with_listing_every_order(n1, n2):
    for place in combinations(range(n1 + n2), n1):
        first = [float(i) for i in place]
        second = [float(i) for i in range(n1 + n2) if i not in place]
        u = sum(place) - n1 * (n1 - 1) / 2
        assert stats.mann_whitney(first, second) == pytest.approx(brute_force(n1, n2, u))
