"""Proves what may be said to encoders, and what becomes of it where it does not fit."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from pictures import scene
from PIL import Image

from poolcli.media.formats import FORMATS


def size(cli, target, *arguments):
    Image.fromarray(scene(80, 120)).save("a.png")
    assert cli("pool", "a.png", "-k", "1", *arguments, "-o", target, "-f").code == 0
    with open(target, "rb") as file:
        return len(file.read())


@pytest.mark.parametrize("format_", [row for row in FORMATS if row.keys], ids=lambda row: row.name)
def test_every_value_of_every_key_gives_a_picture(cli, format_):
    target = f"x{format_.suffixes[0]}"
    for key, values in format_.keys:
        sizes = {size(cli, target, "--co", f"{key}={value}") for value in values}
        assert len(sizes) > 1  # it is heard
        if not format_.lossy:
            assert cli("pool", target, "-k", "1", "-o", "again.png", "-f").code == 0
            with Image.open("again.png") as picture:
                assert np.array_equal(np.asarray(picture), scene(80, 120))


def test_the_keys_mean_what_they_say(cli):
    assert size(cli, "x.png", "--co", "level=1") > size(cli, "x.png", "--co", "level=12")
    size(cli, "x.tiff", "--co", "compression=lzw")
    with tifffile.TiffFile("x.tiff") as file:
        assert file.pages.first.compression == tifffile.COMPRESSION.LZW
    size(cli, "x.jpg", "--co", "subsampling=444")
    with Image.open("x.jpg") as picture:
        assert picture.layer[0][1:3] == (1, 1)


def test_lossless_loses_nothing_or_is_refused(cli):
    for target in ("x.webp", "x.jxl", "x.jp2", "x.png"):
        size(cli, target, "--lossless")
        assert cli("pool", target, "-k", "1", "-o", "again.png", "-f").code == 0
        with Image.open("again.png") as picture:
            assert np.array_equal(np.asarray(picture), scene(80, 120))
    for arguments in (["-o", "x.jpg"], ["-o", "x.webp", "-Q", "80"]):
        done = cli("pool", "a.png", "--lossless", *arguments, "-f")
        assert (done.code, "lossless must be asked of a format that can" in done.err) == (2, True)


def test_a_webp_is_lossless_unless_its_source_was_not(cli):
    picture = Image.fromarray(scene(80, 120))
    for lossless in (True, False):
        picture.save("a.webp", lossless=lossless)
        assert cli("pool", "a.webp", "-k", "1", "-o", "x.webp", "-f").code == 0
        with open("x.webp", "rb") as file:
            assert (b"VP8L" in file.read(64)) is lossless
    assert cli("pool", "a.webp", "-k", "1", "--lossless", "-o", "x.webp", "-f").code == 0
    with open("x.webp", "rb") as file:
        assert b"VP8L" in file.read(64)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("level=0", "co of png must be level=1, 2"),
        ("speed=1", "co of png must be level"),
        ("level", "got 'level'"),
        ("", "got ''"),
    ],
)
def test_what_an_encoder_does_not_know_is_refused_before_anything_is_read(cli, pair, said):
    done = cli("pool", "missing.png", "--co", pair, "-o", "x.png")
    assert done.code == 2
    assert said in done.err
    done = cli("pool", "missing.bmp", "--co", "level=1", "-o", "x.bmp")
    assert (done.code, "co of bmp must be nothing" in done.err) == (2, True)


def test_of_several_those_that_can_are_told_and_the_others_are_named_once(cli):
    Image.fromarray(scene(80, 120)).save("a.jpg")
    for name in ("b.png", "c.png"):
        Image.fromarray(scene(80, 120)).save(name)
    np.save("t.npy", np.zeros((4, 6, 8), np.uint8))
    done = cli("pool", "b.png", "a.jpg", "c.png", "-Q", "20", "-o", "out/")
    assert done.code == 0
    assert done.out.split() == [b"out/b.png", b"out/a.jpg", b"out/c.png"]
    (line,) = done.err.splitlines()
    assert line.startswith("warning: b.png, and others like it: quality must be given for one of jpeg, ")
    assert cli("pool", "a.jpg", "-Q", "20", "-o", "alone.jpg").code == 0
    with open("out/a.jpg", "rb") as one, open("alone.jpg", "rb") as other:
        assert one.read() == other.read()
    done = cli("pool", "t.npy", "b.png", "--layout", "CHW", "-o", "more/")
    assert (done.code, done.err.count("layout must not be given for a picture")) == (0, 1)
    assert cli("pool", "b.png", "c.png", "-Q", "20", "-o", "none/").code == 2
    assert cli("pool", "b.png", "--layout", "HWC", "-o", "x.png").code == 3


def test_formats_are_listed_with_what_they_take(cli):
    done = cli("info", "--formats")
    assert done.code == 0
    for row in FORMATS:
        assert row.name in done.out.decode()
        assert all(f"{key}=" in done.out.decode() for key, _ in row.keys)


def test_bytes_are_the_same_each_time(cli):
    for target in ("x.png", "x.avif", "x.jxl", "x.jp2", "x.gif"):
        size(cli, target)
        with open(target, "rb") as file:
            first = io.BytesIO(file.read())
        size(cli, target)
        with open(target, "rb") as file:
            assert file.read() == first.getvalue()
