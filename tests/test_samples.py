"""Proves that the committed samples are what make_samples.py makes, pixel for pixel, and stay small."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

SAMPLES = Path(__file__).parent.parent / "samples"
LOSSLESS = ("photo_rgb.png", "sprite_rgba.png", "grey16.png", "grey_odd.png", "labels_palette.png")
TENSORS = ("feature_maps.npy", "tokens.npy", "audio.npy", "tutorial_6x3.npy")
OTHERS = ("photo_exif6_icc.jpg", "float32.tiff")
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    runpy.run_path(str(SAMPLES / "make_samples.py"))["main"](folder)
    return folder


def committed():
    return sorted(path.name for path in SAMPLES.iterdir() if path.is_file() and path.suffix != ".py")


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def facts(path):
    with Image.open(path) as picture:
        return (
            picture.format,
            picture.mode,
            picture.size,
            picture.getpalette(),
            picture.getexif().get(ORIENTATION),
        )


def test_the_script_makes_every_sample(made):
    names = sorted(path.name for path in made.iterdir())
    assert names == sorted(LOSSLESS + TENSORS + OTHERS)
    assert set(names) <= set(committed())


def test_all_samples_together_stay_below_two_megabytes():
    assert sum((SAMPLES / name).stat().st_size for name in committed()) < 2_000_000


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_and_metadata_of_lossless_pictures_come_out_again(made, name):
    np.testing.assert_array_equal(pixels(made / name), pixels(SAMPLES / name))
    assert facts(made / name) == facts(SAMPLES / name)


@pytest.mark.parametrize("name", TENSORS)
def test_values_of_tensors_come_out_again(made, name):
    again, kept = np.load(made / name), np.load(SAMPLES / name)
    assert again.dtype == kept.dtype
    np.testing.assert_array_equal(again, kept)


def test_heights_of_the_float_tiff_come_out_again(made):
    again, kept = (tifffile.imread(folder / "float32.tiff") for folder in (made, SAMPLES))
    assert again.dtype == kept.dtype == np.float32
    assert kept.min() < 0
    assert kept.max() > 255
    np.testing.assert_array_equal(again, kept)


def test_the_jpeg_comes_out_again_with_its_metadata(made):
    again, kept = (pixels(folder / OTHERS[0]).astype(int) for folder in (made, SAMPLES))
    assert abs(again - kept).max() <= 2  # encoders of other versions may differ in a last bit
    assert facts(made / OTHERS[0]) == facts(SAMPLES / OTHERS[0])
    with Image.open(made / OTHERS[0]) as fresh, Image.open(SAMPLES / OTHERS[0]) as old:
        assert fresh.info["icc_profile"][12:40] == old.info["icc_profile"][12:40]  # class to date


def test_the_jpeg_lies_on_its_side_and_is_the_photo_when_turned_upright():
    scene = pixels(SAMPLES / "photo_rgb.png").astype(int)
    with Image.open(SAMPLES / "photo_exif6_icc.jpg") as stored:
        assert stored.getexif()[ORIENTATION] == 6
        assert stored.size == (427, 640)
        upright = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
        profile = stored.info["icc_profile"]
    assert profile[16:20] == b"RGB "
    assert profile[36:40] == b"acsp"
    assert upright.shape == scene.shape
    assert abs(upright - scene).mean() < 4  # what quality 90 loses; any other turn or mirror is off by 19 and more


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("photo_rgb.png", "RGB", (640, 427)),
        ("sprite_rgba.png", "RGBA", (96, 96)),
        ("grey16.png", "I;16", (160, 120)),
        ("grey_odd.png", "L", (101, 67)),
        ("labels_palette.png", "P", (120, 90)),
    ],
)
def test_every_picture_is_what_its_name_says(name, mode, size):
    assert facts(SAMPLES / name)[:3] == ("PNG", mode, size)


def test_the_sprite_hides_a_loud_colour_behind_transparency_and_has_soft_edges():
    sprite = pixels(SAMPLES / "sprite_rgba.png")
    assert sprite[0, 0].tolist() == [255, 0, 255, 0]
    assert np.count_nonzero((sprite[..., 3] > 0) & (sprite[..., 3] < 255)) > 100


def test_the_grey_ramp_needs_more_than_eight_bits():
    grey = pixels(SAMPLES / "grey16.png")
    assert grey.dtype == np.uint16
    assert len(np.unique(grey)) > 1000


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("feature_maps.npy", (16, 56, 56), "float32"),
        ("tokens.npy", (4, 24, 32), "float32"),
        ("audio.npy", (8000,), "float32"),
        ("tutorial_6x3.npy", (6, 3), "int64"),
    ],
)
def test_every_tensor_is_what_its_name_says(name, shape, dtype):
    array = np.load(SAMPLES / name)
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))


def test_the_tutorial_matrix_counts_from_1_to_18():
    np.testing.assert_array_equal(np.load(SAMPLES / "tutorial_6x3.npy").ravel(), np.arange(1, 19))
