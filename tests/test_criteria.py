"""Criteria against what theory, SciPy and hand-made planes say of them."""

from __future__ import annotations

import numpy as np
import pytest

from poolcli.errors import InputError
from poolcli.measure import criteria

RNG = np.random.default_rng(14)


def laid(y, stride):
    """Lay a pooled plane over its blocks."""
    return y.repeat(stride, 0).repeat(stride, 1)


def blocks(x, stride):
    rows, columns = (length // stride for length in x.shape)
    return x[: rows * stride, : columns * stride].reshape(rows, stride, columns, stride).swapaxes(1, 2)


# --- aliasing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_picking_from_white_noise_aliases_all_but_the_base_band(stride):
    noise = RNG.normal(size=(384, 384))
    share = criteria.alias(noise, noise[::stride, ::stride], (stride, stride))
    assert share == pytest.approx(1 - 1 / stride**2, abs=0.02)


def test_strides_of_rows_and_columns_count_apart():
    noise = RNG.normal(size=(384, 384))
    assert criteria.alias(noise, noise[::2], (2, 1)) == pytest.approx(0.5, abs=0.02)
    assert criteria.alias(noise, noise[:, ::4], (1, 4)) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("shape", [(256, 256), (255, 256), (256, 255)])
def test_what_is_below_the_new_limit_does_not_alias(shape):
    rows, columns = np.indices(shape)
    wave = np.sin(2 * np.pi * rows / 16) + np.cos(2 * np.pi * columns / 11)
    assert criteria.alias(wave, wave[::4, ::4], (4, 4)) < 1e-3


@pytest.mark.parametrize("shape", [(64, 64), (64, 63)])
def test_the_share_of_a_half_spectrum_is_that_of_the_whole(shape):
    plane = RNG.normal(size=shape)
    window = np.outer(*map(np.hanning, shape))
    power = np.abs(np.fft.fft2((plane - (plane * window).sum() / window.sum()) * window)) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(length)) for length in shape)
    folded = (rows[:, None] > 1 / 4) | (columns[None] > 1 / 4)
    assert criteria.alias(plane, plane[:32, :32], (2, 2)) == pytest.approx(power[folded].sum() / power.sum())


def test_a_constant_result_and_a_small_one_have_no_share():
    with pytest.raises(InputError, match="constant"):
        criteria.alias(np.ones((64, 64)), np.ones((32, 32)), (2, 2))
    with pytest.raises(InputError, match="needs 32 outputs on each axis, got 31x40"):
        criteria.alias(np.ones((62, 80)), np.ones((31, 40)), (2, 2))


# --- pictures ----------------------------------------------------------------------------------------------------


def test_no_pooling_has_a_higher_block_psnr_than_the_mean():
    for seed in range(50):
        x = np.random.default_rng(seed).random((24, 36))
        own = blocks(x, 3)
        others = (
            own.max((2, 3)),
            own.min((2, 3)),
            np.median(own, (2, 3)),
            np.sqrt((own**2).mean((2, 3))),
            own[..., 0, 0],
        )
        best = criteria.psnr(x, laid(own.mean((2, 3)), 3))
        assert all(criteria.psnr(x, laid(y, 3)) < best for y in others)


def test_psnr_is_that_of_its_definition():
    x = np.zeros((4, 4))
    assert criteria.psnr(x, x + 0.1) == pytest.approx(20)
    with pytest.raises(InputError, match="no error"):
        criteria.psnr(x, x)


def test_block_means_keep_the_edges_and_a_blurred_plane_does_not():
    x = RNG.random((64, 64))
    means = blocks(x, 2).mean((2, 3))
    assert criteria.edge(x, means, (2, 2)) == pytest.approx(1)
    assert criteria.edge(x, 3 * means, (2, 2)) == pytest.approx(3)
    assert criteria.edge(x, means * 0 + 1, (2, 2)) == 0
    with pytest.raises(InputError, match="constant"):
        criteria.edge(x * 0, means, (2, 2))
    with pytest.raises(InputError, match="2 outputs"):
        criteria.edge(x[:2, :2], means[:1, :1], (2, 2))


def test_contrast_and_histogram_follow_scale_and_shift():
    x = RNG.random((50, 50))
    assert criteria.contrast(x, x / 4) == pytest.approx(0.25)
    assert criteria.w1(x, x + 0.125) == pytest.approx(0.125)
    with pytest.raises(InputError, match="constant"):
        criteria.contrast(x * 0, x)


def test_the_histogram_moves_by_the_wasserstein_distance():
    stats = pytest.importorskip("scipy.stats", reason="needs SciPy")
    x, y = RNG.random((80, 80)), RNG.random((40, 40)) ** 2
    assert criteria.w1(x, y) == pytest.approx(stats.wasserstein_distance(x.ravel(), y.ravel()), rel=0.02)


@pytest.mark.parametrize("count", [4, 16, 64])
def test_separation_of_sparse_features_is_that_of_the_theory(count):
    rates, windows = (0.01, 0.05), 200_000
    y = np.concatenate([(RNG.random((windows, count)) < rate).any(1).astype(float) for rate in rates])
    any_one = [1 - (1 - rate) ** count for rate in rates]
    spread = sum(np.sqrt(p * (1 - p)) for p in any_one)
    mask = np.arange(2 * windows) < windows
    assert criteria.separation(y, mask) == pytest.approx((any_one[1] - any_one[0]) / spread, rel=0.03)


def test_kinds_must_have_outputs_and_differ_in_themselves():
    y = np.array([[0.0, 1.0], [2.0, 3.0]])
    with pytest.raises(InputError, match="2 outputs of each kind"):
        criteria.separation(y, np.array([[True, False], [False, False]]))
    with pytest.raises(InputError, match="constant"):
        criteria.separation(y * 0, np.array([[True, True], [False, False]]))


# --- labels ------------------------------------------------------------------------------------------------------

PLANE = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 7, 0, 0, 3, 3, 3, 3],
        [0, 0, 0, 0, 3, 3, 3, 3],
        [0, 0, 5, 0, 3, 3, 3, 3],
        [0, 0, 5, 0, 3, 3, 3, 3],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 9],
        [0, 0, 0, 0, 0, 0, 9, 0],
    ],
    np.uint8,
)
LARGEST = np.array([[7, 0, 3, 3], [0, 5, 3, 3], [0, 5, 3, 3], [0, 0, 0, 9]], np.uint8)


def labelled(x, y):
    cell = {"x": x, "y": y, "replica": laid(y, 2), "stride": (2, 2), "times": (1.0, 2.0, 3.0)}
    return {c.name: c.of(cell) for c in criteria.LABELS}


def test_a_hand_made_label_map_has_the_numbers_that_counting_gives():
    pytest.importorskip("scipy", reason="needs SciPy")
    found = labelled(PLANE, LARGEST)
    assert found["alive"] == 1  # 7, 5 and two of 9 that touch by a corner only
    assert found["invented"] == found["lost"] == 0
    # equal: 35 of 43 zeros, all 16 threes, one 7, both fives, both nines
    same = laid(LARGEST, 2) == PLANE
    assert found["agree"] == same.sum() / 64
    planes = [(PLANE == v, laid(LARGEST, 2) == v) for v in (0, 3, 5, 7, 9)]  # noqa: SIM300 -- a value is sought
    shares = [(before & after).sum() / (before | after).sum() for before, after in planes]
    assert found["miou"] == pytest.approx(np.mean(shares))


def test_what_drops_and_what_makes_labels_is_counted():
    pytest.importorskip("scipy", reason="needs SciPy")
    most = np.where(LARGEST == 3, 3, 0).astype(np.uint8)
    found = labelled(PLANE, most)
    assert (found["alive"], found["invented"], found["lost"]) == (0, 0, 3)
    between = most.copy()
    between[0, 0], between[3, 3] = 2, 9
    found = labelled(PLANE, between)
    assert (found["alive"], found["invented"], found["lost"]) == (0.5, 1, 2)


def test_other_names_for_the_labels_change_no_number():
    pytest.importorskip("scipy", reason="needs SciPy")
    names = np.random.default_rng(3).permutation(256)[:10]
    assert labelled(names[PLANE], names[LARGEST]) == labelled(PLANE, LARGEST)


def test_objects_are_those_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage", reason="needs SciPy")
    x = np.random.default_rng(8).integers(0, 4, (40, 60))
    y = x[::2, ::2]
    small = alive = 0
    background = np.bincount(x.ravel()).argmax()
    for label in set(range(4)) - {background}:
        objects, count = ndimage.label(x == label)
        for number in range(1, count + 1):
            here = objects == number
            if here.sum() < 8:
                small += 1
                alive += (laid(y, 2)[here] == label).any()
    assert 0 < alive < small
    assert criteria.alive(x, laid(y, 2), (2, 2)) == alive / small


def test_a_map_without_small_objects_says_so():
    pytest.importorskip("scipy", reason="needs SciPy")
    x = np.repeat([[0, 1]], 8, 0).repeat(8, 1)
    with pytest.raises(InputError, match="no small objects"):
        criteria.alive(x, x, (2, 2))


# --- the table ---------------------------------------------------------------------------------------------------


def test_the_best_value_is_marked_where_there_is_a_direction_and_a_choice():
    named = {c.name: c for c in (*criteria.PICTURE, *criteria.LABELS)}
    assert named["alias"].best([0.3, "too small", 0.1]) == "10.00%"
    assert named["noise_bias"].best([0.5, -0.1, -0.9]) == "-0.10"
    assert named["miou"].best([0.5, 0.8]) == "0.800"
    assert named["psnr"].best([20.0, 30.0]) == ""
    assert named["alias"].best([0.3, "too small"]) == named["alias"].best([0.3, 0.30001]) == ""


def test_values_are_written_with_their_units():
    named = {c.name: c for c in criteria.PICTURE}
    assert named["alias"].show(0.01234) == "1.23%"
    assert named["seconds"].show(0.0123) == "12.30"
    assert named["noise_bias"].show(-0.0001) == "+0.00"
    assert named["psnr"].show("no error at all") == "-"


def test_what_is_not_finite_is_no_number():
    cell = {"means": (0.0, float("nan"))}
    shift = next(c for c in criteria.PICTURE if c.name == "mean_shift")
    assert shift.of(cell) == "not a finite number, as of values that are not"
    assert shift.of({}) == "needs the method itself, not its result"
