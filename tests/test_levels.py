"""Proves that levels come from the input or from unrounded levels, never from rounded ones."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from cases import sample


def levels(cli, array, *arguments):
    np.save("x.npy", array)
    done = cli("pool", "x.npy", "--levels", "3", "-o", "o/", "-f", *arguments)
    assert done.code == 0, done.err
    return [np.load(line) for line in done.out.decode().split()]


@pytest.mark.parametrize("method", ["max", "min", "avg", "sum", "l2", "range", "prod"])
def test_levels_of_methods_that_nest_are_of_the_input(cli, method):
    array = np.random.default_rng(1).integers(1, 3, (24, 32), "uint8")
    for level, found in enumerate(levels(cli, array, "-m", method), 1):
        window = (2**level, 2**level)
        np.testing.assert_array_equal(found, oracle.pool(array, method, window))


def test_levels_of_overlapping_maxima_are_maxima_of_maxima(cli):
    expected = sample((40, 44), "float64")
    padding = ((1, 1), (1, 1))
    for found in levels(cli, expected, "-m", "max", "-k", "3", "-s", "2", "-p", "1"):
        expected = oracle.pool(expected, "max", (3, 3), (2, 2), padding)
        np.testing.assert_array_equal(found, expected)


def test_levels_of_other_methods_are_pooled_from_unrounded_ones(cli):
    array = sample((24, 32), "uint8")
    first, second, _ = levels(cli, array, "-m", "median", "--dtype", "uint8")
    exact = oracle.pool(array, "median", (2, 2))
    np.testing.assert_array_equal(first, np.rint(exact))
    np.testing.assert_array_equal(second, np.rint(oracle.pool(exact, "median", (2, 2))))
    rounded = np.rint(oracle.pool(first, "median", (2, 2)))
    assert (second != rounded).any()


def test_names_tell_levels_and_which_way_they_came(cli, samples):
    done = cli("pool", samples / "photo_rgb.png", "-m", "avg", "--levels", "2", "-o", "o/", "-v")
    assert done.out.decode().split() == ["o/photo_rgb.avg2.1.png", "o/photo_rgb.avg2.2.png"]
    assert "level 2: from the input" in done.err
    done = cli("pool", samples / "photo_rgb.png", "-m", "median", "--levels", "2", "-o", "o/", "-v")
    assert "level 2: from unrounded levels" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--levels", "0"], "levels must be from 1"),
        (["--levels", "2", "-o", "one.npy"], "several"),
        (["--levels", "2", "-o", "o/{stem}.npy"], "outputs must differ"),
    ],
)
def test_levels_that_have_no_place_are_refused(cli, arguments, said):
    np.save("x.npy", np.ones((8, 8)))
    done = cli("pool", "x.npy", *arguments)
    assert (done.code, said in done.err) == (2, True), done.err
