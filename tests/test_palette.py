"""Proves that label maps are pooled as labels and keep their colours."""

from __future__ import annotations

import struct

import numpy as np
import oracle
import pytest
import tifffile
from PIL import Image

COLOURS = np.random.default_rng(5).integers(0, 256, (9, 3), np.uint8)
LABELS = np.random.default_rng(6).integers(0, 9, (12, 18), np.uint8)


def labels(name, clear=None):
    """Write the labels with Pillow, or with tifffile; label *clear* is not seen."""
    picture = Image.fromarray(LABELS)
    picture.putpalette(COLOURS.tobytes())
    options = {} if clear is None else {"transparency": clear}
    if name.endswith(".tiff"):
        table = np.zeros((3, 256), np.uint16)
        table[:, :9] = COLOURS.T * np.uint16(257)
        tifffile.imwrite(name, LABELS, photometric="palette", colormap=table, metadata=None)
    else:
        picture.save(name, **({"optimize": False} if name.endswith("gif") else {}), **options)


@pytest.mark.parametrize("method", ["mode", "max", "min", "first", "center", "median:lower"])
@pytest.mark.parametrize("target", ["x.png", "x.gif", "x.tiff"])
@pytest.mark.parametrize("source", ["a.png", "a.gif", "a.tiff"])
def test_labels_are_pooled_as_numbers_and_keep_their_colours(cli, source, target, method):
    labels(source)
    done = cli("pool", source, "--palette", "index", "-m", method, "-k", "3", "-o", target)
    assert (done.code, done.err) == (0, "")
    blocks = LABELS.reshape(4, 3, 6, 3).swapaxes(1, 2).reshape(4, 6, 9)
    expected = {
        "mode": np.vectorize(lambda *block: int(np.bincount(block).argmax()))(*np.moveaxis(blocks, -1, 0)),
        "max": blocks.max(-1),
        "min": blocks.min(-1),
        "first": blocks[:, :, 0],
        "center": blocks[:, :, 4],
        "median:lower": np.sort(blocks, -1)[:, :, 4],
    }[method]
    with Image.open(target) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), expected)
        assert np.array_equal(np.asarray(picture.convert("RGB")), COLOURS[expected])


@pytest.mark.parametrize("target", ["x.png", "x.gif"])
@pytest.mark.parametrize("source", ["a.png", "a.gif"])
def test_a_label_that_is_not_seen_stays_unseen(cli, source, target):
    labels(source, clear=4)
    assert cli("pool", source, "--palette", "index", "-m", "first", "-o", target).code == 0
    with Image.open(target) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[:, :, 3]
    assert np.array_equal(alpha, np.where(LABELS[::2, ::2] == 4, 0, 255))


def test_shades_of_transparency_stay_in_a_png(cli):
    labels("a.png", clear=bytes([10, 200]))
    assert cli("pool", "a.png", "--palette", "index", "-m", "first", "-o", "x.png").code == 0
    with Image.open("x.png") as picture:
        alpha = np.asarray(picture.convert("RGBA"))[:, :, 3]
    assert np.array_equal(alpha, np.array([10, 200, *[255] * 7])[LABELS[::2, ::2]])


def test_the_sample_of_labels_keeps_its_labels_upright(cli, samples):
    done = cli("pool", samples / "labels_palette.png", "--palette", "index", "-m", "mode", "-k", "4", "-o", "x.png")
    assert (done.code, done.err) == (0, "")
    with Image.open("x.png") as small, Image.open(samples / "labels_palette.png") as large:
        expected = oracle.pool(np.asarray(large), "mode", (4, 4))
        assert np.array_equal(np.asarray(small), expected)
        assert small.mode == "P"
    exif = Image.Exif()
    exif[0x0112] = 6
    labels("a.png")
    with Image.open("a.png") as picture:
        picture.save("turned.png", exif=exif)
    assert cli("pool", "turned.png", "--palette", "index", "-k", "1", "-o", "y.png").code == 0
    with Image.open("y.png") as picture:
        assert np.array_equal(np.asarray(picture), np.rot90(LABELS, -1))


def test_numbers_of_labels_go_to_tensors_too(cli):
    labels("a.png")
    assert cli("pool", "a.png", "--palette", "index", "-m", "max", "-o", "x.npy").code == 0
    assert np.array_equal(np.load("x.npy"), LABELS.reshape(6, 2, 9, 2).max((1, 3)))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-m", "avg"], 2, "palette=index must be used with a method that chooses, got avg"),
        (["-m", "median"], 2, "palette=index must be used with a method that chooses, got median"),
        (["-m", "concat"], 2, "palette=index must be used with a method that chooses, got concat"),
        (["--linear"], 2, "palette=index must be used without linear"),
        (["--dtype", "u16"], 2, "palette=index must be used without dtype"),
        (["-o", "x.jpg"], 3, "jpeg cannot hold indices of a palette\nhint: --palette expand, or -F png or tiff or gif"),
    ],
)
def test_what_labels_cannot_be_is_refused(cli, arguments, code, said):
    labels("a.png")
    target = [] if "-o" in arguments else ["-o", "x.png"]
    done = cli("pool", "a.png", "--palette", "index", *arguments, *target)
    assert done.code == code
    assert said in done.err


def test_a_picture_without_a_palette_has_no_labels(cli, samples):
    done = cli("pool", samples / "photo_rgb.png", "--palette", "index", "-o", "x.png")
    assert (done.code, done.err.splitlines()[-1]) == (3, "hint: --palette expand")


def test_of_labels_that_move_the_first_frame_is_used(cli):
    frames = [Image.fromarray((LABELS + n) % 9) for n in range(3)]
    for frame in frames:
        frame.putpalette(COLOURS.tobytes())
    frames[0].save("a.gif", save_all=True, append_images=frames[1:], optimize=False)
    done = cli("pool", "a.gif", "--palette", "index", "-k", "1", "-o", "x.gif")
    assert (done.code, done.err) == (0, "warning: a.gif: frame 1 of 3\n")
    with Image.open("x.gif") as picture:
        assert np.array_equal(np.asarray(picture), LABELS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_of_few_bits_keep_their_numbers(cli, bits):
    small = LABELS % 2**bits
    picture = Image.fromarray(small)
    picture.putpalette(COLOURS[: 2**bits].tobytes())
    picture.save("a.png", bits=bits)
    with open("a.png", "rb") as file:
        assert struct.unpack_from(">B", file.read(), 24) == (bits,)
    assert cli("pool", "a.png", "--palette", "index", "-k", "1", "-o", "x.png").code == 0
    with Image.open("x.png") as picture:
        assert np.array_equal(np.asarray(picture), small)
