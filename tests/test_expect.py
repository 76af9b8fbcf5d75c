"""Proves that ``--expect`` tells whether a result is another stack's, and where it is not."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def tensors(tmp_path):
    """Write a tensor, and its 2 x 2 maxima as NumPy finds them."""
    x = np.random.default_rng(0).normal(size=(3, 8, 9)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    expected = x[:, :8, :8].reshape(3, 4, 2, 4, 2).max((2, 4))
    np.save(tmp_path / "y.npy", expected)
    return expected


def test_what_was_expected_ends_with_0_and_writes_nothing(cli, tensors, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert cli("pool", "x.npy", "--expect", "y.npy").code == 0
    assert sorted(tmp_path.iterdir()) == before
    assert cli("pool", "x.npy", "--expect", "y.npy", "-o", "z.npy").code == 0
    np.testing.assert_array_equal(np.load("z.npy"), tensors)


def test_a_difference_ends_with_6_and_shows_count_size_and_first_window(cli, tensors):
    tensors[1, 2, 3] += 0.5
    tensors[2, 0, 0] -= 0.25
    np.save("y.npy", tensors)
    done = cli("pool", "x.npy", "--expect", "y.npy")
    assert done.code == 6
    assert "2 of 48 values that differ, by up to 0.5; first at [1, 2, 3]" in done.err
    window = np.load("x.npy")[1, 4:6, 6:8]
    assert all(f"{value:.8g}" in done.err for value in window.ravel())
    assert cli("pool", "x.npy", "--expect", "y.npy", "--atol", "0.6").code == 0
    assert cli("pool", "x.npy", "--expect", "y.npy", "--rtol", "0.01").code == 6


def test_nan_is_expected_nan_and_no_number(cli):
    x = np.ones((4, 4))
    x[0, 0] = np.nan
    np.save("x.npy", x)
    np.save("y.npy", np.array([[np.nan, 1], [1, 1]]))
    assert cli("pool", "x.npy", "--expect", "y.npy").code == 0
    np.save("y.npy", np.ones((2, 2)))
    assert cli("pool", "x.npy", "--expect", "y.npy").code == 6


def test_integers_of_64_bits_are_compared_to_the_last(cli):
    np.save("x.npy", np.full((2, 2), 2**62 + 1))
    np.save("y.npy", np.full((1, 1), 2**62))
    assert cli("pool", "x.npy", "--expect", "y.npy").code == 6


@pytest.mark.usefixtures("tensors")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--expect", "missing.npy"], 3, "missing.npy: no such file"),
        (["--expect", "x.npy"], 3, "must have the result's shape (3, 4, 4), got (3, 8, 9)"),
        (["--expect", "y.npy", "--atol", "-1"], 2, "atol must be a number from 0"),
        (["--atol", "1"], 2, "must be given, too"),
    ],
)
def test_what_cannot_be_compared_is_refused(cli, arguments, code, said):
    done = cli("pool", "x.npy", *arguments)
    assert done.code == code
    assert said in done.err
