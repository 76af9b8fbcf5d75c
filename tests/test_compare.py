"""`compare`: the numbers of pictures, labels and tensors, the advice, and the command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

import poolcli
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.measure import criteria, request, sheet
from poolcli.measure.advice import RULES, TRAINING, unfit
from poolcli.measure.subject import subject

RNG = np.random.default_rng(14)
METHODS = ("max", "avg", "l2")
TWO = Window(2).over(2)


def by_row(found):
    return {(row.method, row.window): row for row in found.rows}


def untimed(found):
    rows = json.loads(json.dumps(found.as_json()["results"]))
    return [{key: value for key, value in row.items() if key not in {"seconds", "growth"}} for row in rows]


@pytest.fixture(scope="module")
def photo():
    with Image.open("samples/photo_rgb.png") as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def compared(photo):
    return poolcli.compare(photo, METHODS, ["k2", "k3s2p1"], layout="HWC", name="photo.png")


# --- numbers -----------------------------------------------------------------------------------------------------


def windows(x, k):
    return sliding_window_view(x, (k, k), (-2, -1))


DENSE = {
    "max": lambda w: w.max((-2, -1)),
    "avg": lambda w: w.mean((-2, -1)),
    "l2": lambda w: np.sqrt((w**2).mean((-2, -1))),
}


@pytest.mark.parametrize("method", METHODS)
def test_numbers_of_a_photograph_are_those_of_plain_numpy(photo, compared, method):
    assert [(part.start, part.stop) for part in compared.subject.crop] == [(0, 426), (64, 576)]
    luminance = np.rint(photo.astype(float) @ (0.2126, 0.7152, 0.0722))[0:426, 64:576] / 255
    dense = DENSE[method](windows(luminance, 2))
    y = dense[::2, ::2]
    values = by_row(compared)[method, "k2s2"].values
    assert values["alias"] == pytest.approx(criteria.alias(dense, y, (2, 2)))
    assert values["psnr"] == pytest.approx(-10 * np.log10(((luminance - y.repeat(2, 0).repeat(2, 1)) ** 2).mean()))
    assert values["contrast"] == pytest.approx(y.std() / luminance.std())
    whole = DENSE[method](windows(photo.astype(float).swapaxes(0, 2), 2))[:, ::2, ::2]
    assert values["mean_shift"] == pytest.approx(np.rint(whole).mean() - photo.mean(), abs=1e-9)


def test_a_result_is_laid_over_the_input_by_its_nearest_window_centres(compared):
    x = compared.subject.scaled(compared.subject.part[0])
    y = poolcli.pool(x, "max", 3, 2, 1)
    centres = [2 * np.arange(length) for length in y.shape]  # of windows of 3 from -1 on
    rows, columns = (
        np.array([np.flatnonzero(abs(c - i) == abs(c - i).min())[-1] for i in range(length)])
        for c, length in zip(centres, x.shape, strict=True)
    )
    psnr = -10 * np.log10(((x - y[np.ix_(rows, columns)]) ** 2).mean())
    assert by_row(compared)["max", "k3s2p1"].values["psnr"] == pytest.approx(psnr)


@pytest.mark.parametrize(
    ("method", "bias", "gain"),
    [
        ("max", (1.028, 1.485, 1.765), (0.701, 0.599, 0.543)),  # order statistics of 4, 9 and 16 normals
        ("min", (-1.028, -1.485, -1.765), (0.701, 0.599, 0.543)),
        ("avg", (0, 0, 0), (1 / 2, 1 / 3, 1 / 4)),
    ],
)
def test_noise_on_flat_ground_does_what_order_statistics_say(method, bias, gain):
    flat = np.full((512, 512), 128, np.uint8)
    found = poolcli.compare(flat, [method], ["k2", "k3", "k4"])
    assert [row.values["noise_bias"] for row in found.rows] == pytest.approx(bias, rel=0.02, abs=0.005)
    assert [row.values["noise_gain"] for row in found.rows] == pytest.approx(gain, rel=0.02)


def test_the_same_numbers_come_from_every_engine_and_number_of_threads(photo):
    first = poolcli.compare(photo, ["max", "avg"], ["k2"], layout="HWC", engine="numba", threads=2)
    again = poolcli.compare(photo, ["max", "avg"], ["k2"], layout="HWC", engine="numpy", threads=1)
    assert untimed(first) == untimed(again)


def test_numbers_of_a_tensor_are_the_medians_of_its_planes(samples):
    maps = np.load(samples / "feature_maps.npy")
    found = by_row(poolcli.compare(maps, ["max"], ["k2"], layout="CHW"))["max", "k2s2"]
    low, high = np.percentile(maps, (0.1, 99.9))
    own = [criteria.contrast(plane, poolcli.pool(plane, "max", 2)) for plane in (maps - low) / (high - low)]
    assert found.values["contrast"] == pytest.approx(np.median(own))
    assert found.values["mean_shift"] == pytest.approx(poolcli.pool(maps, "max", 2).mean() - maps.mean(), rel=1e-5)


def test_of_many_planes_sixteen_are_looked_at():
    found = subject(RNG.random((100, 64, 64)), "CHW", [TWO], labels=False)
    assert (found.kind, len(found.planes), found.planes[0], found.planes[-1]) == ("tensor", 16, 0, 99)
    assert found.part.shape == (16, 64, 64)


def test_large_inputs_are_cropped_to_whole_windows_in_the_middle():
    windows = [Window(3).over(2), Window(4).over(2)]
    found = subject(np.zeros((2001, 1001), np.uint8), None, windows, labels=False)
    assert found.crop == (slice(744, 1248), slice(240, 744))
    assert found.part.shape == (1, 504, 504)


def test_alpha_has_no_part_in_the_numbers():
    colours = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    plain = poolcli.compare(colours, METHODS, ["k2"], layout="HWC")
    alpha = poolcli.compare(np.dstack([colours, colours[..., 0]]), METHODS, ["k2"], layout="HWC")
    assert untimed(plain) == untimed(alpha)


def test_a_result_by_another_tool_is_measured_as_ours_is(photo):
    even = photo[:426]
    mean = np.rint(even.reshape(213, 2, 320, 2, 3).astype(float).mean((1, 3))).astype(np.uint8)
    found = poolcli.compare(even, ["avg"], layout="HWC", against=mean)
    theirs, ours = by_row(found)["against", "k2s2"], by_row(found)["avg", "k2s2"]
    for name in ("psnr", "edge", "contrast", "w1", "mean_shift"):
        assert theirs.values[name] == pytest.approx(ours.values[name], rel=5e-3, abs=1e-3)
    why = "needs the method itself, not its result"
    assert theirs.reasons == dict.fromkeys(("alias", "noise_bias", "noise_gain", "seconds", "growth"), why)


def test_a_result_must_be_smaller_by_a_whole_factor():
    for shape in ((66, 50), (50, 50, 3), (50,)):
        with pytest.raises(InputError, match=r"result must be smaller than \(100, 100\) by a whole factor .*, got \("):
            poolcli.compare(np.zeros((100, 100)), METHODS, against=np.zeros(shape))
    with pytest.raises(InputError, match=r"got \(4, 50, 50\)"):
        poolcli.compare(np.zeros((8, 100, 100)), METHODS, layout="CHW", against=np.zeros((4, 50, 50)))


def test_a_mask_tells_two_kinds_of_windows_apart():
    x = RNG.random((64, 64))
    mask = np.arange(64) < 32
    x[:, mask] += 1
    row = poolcli.compare(x, ["avg"], ["k2"], mask=np.broadcast_to(mask, x.shape)).rows[0]
    y = poolcli.pool(x, "avg", 2)
    own = (y[:, :16].mean() - y[:, 16:].mean()) / (y[:, :16].std() + y[:, 16:].std())
    assert row.values["separation"] == pytest.approx(own)
    with pytest.raises(InputError, match=r"mask must be of shape \(64, 64\), got \(8, 8\)"):
        poolcli.compare(x, ["avg"], mask=np.zeros((8, 8)))


NOT_PICTURES = {"chessboard_RGB", "multipage", "multipage_rgb", "no_time_for_that_tiny"}  # the first is there in grey


def binomial(x, k):
    """Blur with 2k - 1 binomial taps on each axis, at stride 1."""
    from scipy.ndimage import correlate1d

    taps = np.array([math.comb(2 * k - 2, i) for i in range(2 * k - 1)]) / 4 ** (k - 1)
    return correlate1d(correlate1d(x, taps, 0), taps, 1)


def test_aliasing_orders_picking_max_avg_and_blur_on_25_pictures():
    """Picking and blurring by SciPy, the others as `compare` pools."""
    data = pytest.importorskip("skimage", reason="needs scikit-image's pictures")
    files = (file for file in Path(data.__path__[0], "data").iterdir() if file.suffix in {".png", ".jpg"})
    pictures = sorted(file for file in files if file.stem not in NOT_PICTURES)
    orders = []
    for file in pictures:
        with Image.open(file) as image:
            found = subject(np.asarray(image.convert("L")), None, [TWO], labels=False)
        looks = [found.looked_at(lookup(method), TWO)[0] for method in ("max", "avg")]
        x = looks[0]["x"]
        dense = [x, *(plane["dense"] for plane in looks), binomial(x, 2)]
        orders.append([criteria.alias(plane, looks[0]["y"], (2, 2)) for plane in dense])
    assert len(orders) == 25
    assert all(largest > mean for _, largest, mean, _ in orders)
    assert sum(first > largest > mean > blur for first, largest, mean, blur in orders) >= 20


# --- what cannot be measured -------------------------------------------------------------------------------------


def test_a_small_picture_has_nulls_with_reasons():
    row = poolcli.compare(RNG.integers(0, 256, (20, 20), np.uint8), ["max"], ["k2"]).rows[0]
    assert row.reasons == {"alias": "a spectrum needs 32 outputs on each axis, got 10x10"}
    tiny = poolcli.compare(np.ones((1, 1), np.uint8), METHODS).rows
    assert all(not row.numbers and "kernel must fit" in row.note for row in tiny)


def test_a_window_as_large_as_the_picture_cannot_grow():
    row = poolcli.compare(RNG.integers(0, 256, (40, 40), np.uint8), ["max"], ["k40"]).rows[0]
    assert row.values["seconds"] > 0
    assert row.reasons["growth"] == "a kernel larger by 1 does not fit"


def test_missing_values_leave_no_number_and_are_advised_on():
    x = RNG.random((128, 128))
    x[60:70, 60:70] = np.nan
    found = poolcli.compare(x, METHODS, ["k2"])
    assert found.rows[0].reasons["w1"] == "not a finite number, as of values that are not"
    assert "not finite" in found.advice.because
    json.dumps(found.as_json(), allow_nan=False)
    none = poolcli.compare(x * np.nan, METHODS, ["k2"])
    assert "alias" in none.rows[0].reasons
    assert "100.00% of the values are not finite" in none.advice.because


def test_methods_that_do_not_fit_say_so_in_their_row():
    labels = RNG.integers(0, 9, (32, 32), np.uint8)
    for token in ("avg", "soft", "quantile:0.5"):
        assert unfit(lookup(token), labels=True, floats=False) == "does not fit labels: it makes values between them"
    for token in ("max", "median:lower", "first", "mode:sparse"):
        assert unfit(lookup(token), labels=True, floats=False) == ""
    assert unfit(lookup("avg"), labels=False, floats=True) == ""
    assert unfit(lookup("mode"), labels=False, floats=True) == "does not fit floats, whose values seldom repeat"
    with pytest.raises(InputError, match="whole numbers, got float64"):
        poolcli.compare(labels / 2, METHODS, labels=True)


def test_more_than_48_cells_are_refused_with_their_count():
    with pytest.raises(UsageError, match=r"at most 48, got 51 \(3 x 17\)"):
        poolcli.compare(np.zeros((99, 99)), METHODS, [f"k{k}" for k in range(1, 18)])


def test_arrays_that_hold_no_numbers_are_refused_in_words():
    with pytest.raises(InputError, match=r"array must hold something, got shape \(0, 3, 8, 8\)"):
        poolcli.compare(np.zeros((0, 3, 8, 8)), METHODS)
    with pytest.raises(InputError, match=r"dtype must be one of .*, got 'complex128'"):
        poolcli.compare(np.zeros((8, 8), complex), METHODS)


def test_one_and_three_pooled_axes_are_refused_in_words():
    with pytest.raises(PoolError, match="two pooled axes"):
        poolcli.compare(np.zeros((2, 3, 40)), METHODS, layout="NCL")


# --- labels ------------------------------------------------------------------------------------------------------


def test_colours_are_labels_of_one_number_each():
    plane = RNG.integers(0, 3, (64, 64))
    colours = np.array([[9, 1, 2], [9, 1, 3], [8, 255, 255]], np.uint8)[plane]
    found = poolcli.compare(colours, ["first"], ["k2"], layout="HWC", labels=True).subject
    assert (found.kind, found.layout.letters) == ("labels", "HW")
    ranks = np.unique(found.part[0], return_inverse=True)[1].reshape(plane.shape)
    assert np.array_equal(np.array([1, 2, 0])[plane], ranks)


def test_a_label_map_has_the_numbers_of_its_blocks():
    pytest.importorskip("scipy", reason="needs SciPy")
    plane = RNG.integers(0, 5, (32, 32)).repeat(3, 0).repeat(3, 1).astype(np.uint8)
    rows = by_row(poolcli.compare(plane, ["max", "avg"], labels=True, against=plane[::2, ::2], engine="numpy"))
    for name, y in (("max", poolcli.pool(plane, "max", 2)), ("against", plane[::2, ::2])):
        found = rows[name, "k2s2"]
        replica = y.repeat(2, 0).repeat(2, 1)
        assert found.values["agree"] == (replica == plane).mean()
        shares = [((plane == v) & (replica == v)).sum() / ((plane == v) | (replica == v)).sum() for v in range(5)]
        assert found.values["miou"] == pytest.approx(np.mean(shares))
        assert found.values["invented"] == found.values["lost"] == 0
    assert rows["avg", "k2s2"].note == "does not fit labels: it makes values between them"


# --- advice ------------------------------------------------------------------------------------------------------

ROWS, COLUMNS = np.indices((256, 256))
SMOOTH = (120 + 60 * np.sin(ROWS / 20) + 40 * np.cos(COLUMNS / 30)).astype(np.uint8)
SEEDED = np.random.default_rng(14)


def strewn(ground, count, value):
    """Return *ground* with 2x2 spots of a value at even places and odd ones."""
    x = ground.copy()
    for row, column in SEEDED.integers(0, 254, (count, 2)):
        x[row : row + 2, column : column + 2] = value
    return x


def made(values):
    return np.clip(values, 0, 255).astype(np.uint8)


def salted(x):
    """Return *x* with noise, and salt and pepper on a tenth."""
    at = SEEDED.random(x.shape)
    noisy = made(x + SEEDED.normal(0, 15, x.shape))
    return np.where(at < 0.05, 0, np.where(at > 0.95, 255, noisy)).astype(np.uint8)


def sample(name):
    return poolcli.read(Path(__file__).parent.parent / "samples" / f"{name}.png")


def holed():
    x = SMOOTH / 255
    x[:64, :64] = np.nan
    return x


GOLDEN = {  # a picture for each rule, in their order
    "small objects": (
        strewn(ROWS // 128 * 3, 300, 7),
        "k4",
        {"labels": True},
        "mode",
        (
            "k4s4: mode invents no label and keeps 98.2% of the elements, but only 0% of "
            "the objects under two windows live; max keeps 100% of them"
        ),
    ),
    "labels": (
        sample("labels_palette"),
        "k2",
        {"labels": True, "layout": "HWC"},
        "mode",
        "k2s2: mode invents no label and keeps 98.0% of the elements (mIoU 0.96)",
    ),
    "missing": (
        holed(),
        "k2",
        {},
        "avg",
        (
            "6.25% of the values are not finite and spoil every window they are in, whatever "
            "the method: put numbers in their place first, of which avg then keeps the mean"
        ),
    ),
    "amplitudes": (
        SMOOTH,
        "k2",
        {"energy": True},
        "l2",
        "the values are amplitudes whose squares are energy, and l2 keeps the mean of squares",
    ),
    "salt and pepper": (
        salted(SMOOTH),
        "k2",
        {},
        "median",
        (
            "the noise is about 5.8% of the range and 8.6% of the pixels are outliers beyond 4 sigma; k2s2: "
            "max rises by 0.30 sigma of noise, median by 0.00"
        ),
    ),
    "noise": (
        made(SMOOTH + SEEDED.normal(0, 20, SMOOTH.shape)),
        "k2",
        {},
        "avg",
        (
            "the noise is about 7.0% of the range; k2s2: max rises by 0.30 sigma of it and keeps "
            "0.87 sigma, avg by 0.00 and 0.50"
        ),
    ),
    "spots": (
        strewn(made(SEEDED.normal(20, 3, SMOOTH.shape)), 60, 250),
        "k4",
        {},
        "max",
        "k4s4: bright spots are smaller than the window; max keeps them (contrast 2.29), avg dims them to 0.43",
    ),
    "texture": (
        made(SEEDED.normal(128, 40, SMOOTH.shape)),
        "k2",
        {"methods": ["avg", "l2"]},
        "blur",
        "k2s2: 33.1% of what avg gives is aliased; k3s2: 13.9% of what blur gives",
    ),
    "small picture": (
        SMOOTH[:40, :40],
        "k2",
        {},
        "avg",
        "avg keeps the mean; too little is known of the aliasing to ask for blur",
    ),
    "photograph": (
        sample("photo_rgb"),
        "k2",
        {"layout": "HWC"},
        "avg",
        "k2s2: avg keeps the mean and aliases little without blur (0.15%; max 0.66%)",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_picture_for_each_rule_gets_its_choice_and_the_numbers_behind_it(name):
    picture, window, options, choice, because = GOLDEN[name]
    if "labels" in options:
        pytest.importorskip("scipy", reason="needs SciPy")
    found = poolcli.compare(picture, **{"methods": METHODS, "windows": [window], "engine": "numpy", **options}).advice
    assert (found.choice, found.because) == (choice, because)
    assert [row[3] for row in GOLDEN.values()] == [rule.choice for rule in RULES]
    assert found.not_if
    assert found.always == TRAINING


def test_the_noise_of_a_picture_is_estimated():
    noisy = subject(SMOOTH + RNG.normal(0, 10, (256, 256)), None, [TWO], labels=False)
    # the median of nine takes a seventh of it along
    assert noisy.noise[0] * noisy.range[1] == pytest.approx(10 * 6 / 7, rel=0.05)
    assert subject(SMOOTH, None, [TWO], labels=False).noise[0] < 0.005


# --- contact sheet -----------------------------------------------------------------------------------------------


def test_the_sheet_mixes_no_pixels(photo, compared):
    made = compared.sheet()
    cell = sheet.WIDTH + sheet.GAP
    height = sheet.WIDTH * 427 // 640
    rows = np.arange(height) * 427 // height
    columns = np.arange(sheet.WIDTH) * 640 // sheet.WIDTH
    assert np.array_equal(made[sheet.GAP : sheet.GAP + height, sheet.GAP : cell], photo[np.ix_(rows, columns)])
    largest = poolcli.pool(photo, "max", 2, layout="HWC")
    shown = made[sheet.GAP : sheet.GAP + height, sheet.GAP + cell : 2 * cell]
    rows, columns = np.arange(height) * 213 // height, np.arange(sheet.WIDTH) * 320 // sheet.WIDTH
    assert np.array_equal(shown, largest[np.ix_(rows, columns)])


def test_the_busiest_spot_is_magnified():
    x = np.zeros((256, 320), np.uint8)
    x[130:140, 200:210] = 255
    spot = sheet.busiest([np.dstack([x] * 3)])
    assert spot == (0, 128, 192, 64, (256, 320))


def test_transparent_pixels_are_shown_on_white():
    x = np.zeros((64, 64, 4), np.uint8)
    x[:, 32:, 3] = 255
    (tile,) = sheet.tiles(subject(x, "HWC", [TWO], labels=False), x)
    assert (tile[:, :32] == 255).all()
    assert (tile[:, 32:] == 0).all()


def test_maps_and_labels_are_shown_in_colours_whose_steps_look_alike(samples):
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib")
    ours = sheet.coloured(np.linspace(0, 1, 256))
    theirs = matplotlib.colormaps["viridis"](np.linspace(0, 1, 256))[:, :3] * 255
    assert np.abs(ours - theirs).max() < 5
    maps = np.load(samples / "feature_maps.npy")
    assert poolcli.compare(maps, ["max"], ["k2"], layout="CHW").sheet().shape[2] == 3


# --- the command -------------------------------------------------------------------------------------------------


def test_json_is_one_document_with_criteria_by_name(cli, samples):
    done = cli("compare", samples / "photo_rgb.png", "-m", "max,avg", "-w", "k2s2,k3s2p1", "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert list(document) == ["schema", "input", "criteria", "results", "advice"]
    assert [(row["method"], row["window"]) for row in document["results"]] == [
        ("max", "k2s2"), ("avg", "k2s2"), ("max", "k3s2p1"), ("avg", "k3s2p1")
    ]  # fmt: skip
    names = ["alias", "noise_bias", "noise_gain", "mean_shift", "edge", "contrast", "psnr", "w1", "seconds", "growth"]
    assert list(document["results"][0]) == ["method", "window", *names, "note", "reasons"]
    assert [criterion["name"] for criterion in document["criteria"]] == names
    assert 0 < document["results"][0]["alias"] < 1
    assert list(document["advice"]) == ["choice", "because", "not_if", "always"]


def test_json_of_labels_has_their_criteria(cli, samples):
    pytest.importorskip("scipy", reason="needs SciPy")
    done = cli("compare", samples / "labels_palette.png", "--labels", "-m", "mode,soft", "-w", "k2", "--json")
    rows = json.loads(done.out)["results"]
    names = ["miou", "alive", "invented", "lost", "agree", "seconds", "growth"]
    assert list(rows[0]) == ["method", "window", *names, "note", "reasons"]
    assert [row["note"] for row in rows] == ["", "does not fit labels: it makes values between them"]


def test_the_table_says_best_advice_and_training(cli, samples):
    done = cli("compare", samples / "photo_rgb.png", "-m", "max,avg", "-w", "k2")
    text = done.out.decode()
    assert done.code == 0
    assert "k2s2 (* is the best)" in text
    assert "rows 0-426, columns 64-576 of the luminance" in text
    assert "advice: avg. k2s2: avg keeps the mean" in text
    assert TRAINING in text


def test_labels_have_their_criteria_and_are_asked_for(cli, samples):
    pytest.importorskip("scipy", reason="needs SciPy")
    Image.fromarray(np.load(samples / "tutorial_6x3.npy").astype(np.uint8).repeat(8, 0).repeat(8, 1)).save("few.png")
    done = cli("compare", "few.png", "-m", "max", "-w", "k2")
    assert done.code == 0
    assert "different values: are they labels? --labels or --no-labels" in done.err
    assert "different values" not in cli("compare", "few.png", "-m", "max", "-w", "k2", "--no-labels").err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--sheet", "x.jpg"], 2, "sheet must end in .png, got 'x.jpg'"),
        (["--html", "x.png"], 2, "html must end in .html, got 'x.png'"),
        (["--sheet", "taken.png"], 2, "taken.png: exists already"),
        (["--sheet", "photo.png", "-f"], 2, "sheet must be another file than the input"),
        (["-m", "best"], 2, "method must be one of"),
        (["-w", "big"], 2, "window must look like"),
        (["-w", ",".join(f"k{k}" for k in range(2, 20)), "-m", "max,avg,l2"], 2, "at most 48, got 54 (3 x 18)"),
        (["--against", "none.png"], 3, "none.png: no such file"),
        (["--layout", "HWC"], 3, "layout must not be given for a picture, got 'HWC'"),
    ],
)
def test_bad_input_gets_one_clear_line(cli, samples, options, code, message):
    for name in ("photo.png", "taken.png"):
        with open(name, "wb") as file:
            file.write((samples / "photo_rgb.png").read_bytes())
    done = cli("compare", "photo.png", "-m", "max", *options)
    assert (done.code, done.out) == (code, b"")
    assert done.err.startswith("error: ")
    assert message in done.err


def test_a_sheet_is_written_for_any_name(cli, samples):
    name = '<b>&"\nx.png'
    with open(name, "wb") as file:
        file.write((samples / "photo_rgb.png").read_bytes())
    done = cli("compare", name, "-m", "max", "-w", "k2", "--sheet", "sheet.png")
    assert done.code == 0
    assert b'<b>&"\\nx.png: 427x640x3' in done.out
    with Image.open("sheet.png") as image:
        assert image.size == (2 * (sheet.WIDTH + sheet.GAP) + sheet.GAP, sheet.GAP * 2 + 170 + 4 + 256 + 20)


def test_a_picture_takes_up_to_six_times_its_memory(tmp_path):
    """Of 6 Mpix, beyond what libraries and kernels take; measured by the system in a process of its own."""
    path = tmp_path / "big.jpg"
    Image.fromarray(RNG.integers(0, 256, (25, 30, 3), np.uint8)).resize((3000, 2000)).save(path)
    script = (
        "import resource, numpy as np\n"
        "import poolcli\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "small = np.zeros((64, 64, 3), np.uint8)\n"
        "poolcli.compare(small, layout='HWC', engine='numba')\n"
        "before = peak()\n"
        f"pixels = poolcli.read({str(path)!r})\n"
        "poolcli.compare(pixels, layout='HWC', engine='numba')\n"
        "print((peak() - before) / pixels.nbytes)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 6


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_report_whose_package_is_missing_names_the_extra(cli, samples, monkeypatch, package):
    monkeypatch.setattr(request, "find_spec", lambda name: None if name == package else name)
    done = cli("compare", samples / "grey_odd.png", "--html", "x.html")
    assert (done.code, done.out) == (2, b"")
    assert done.err == f"error: html must have {package} installed\nhint: pip install 'poolcli[report]'\n"
    found = poolcli.compare(np.eye(8), ("max",), ("k2",), engine="numpy")
    with pytest.raises(UsageError, match=f"html must have {package} installed"):
        found.to_html()
