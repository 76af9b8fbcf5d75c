"""Proves that the library shows its few names, stays light, and reads and writes files as the command line does."""

from __future__ import annotations

import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import poolcli
from poolcli.core.methods import METHODS
from poolcli.errors import PoolWarning

NAMES = ["METHODS", "PoolError", "__version__", "compare", "pool", "read", "region", "unpool", "write"]


def picture(shape=(6, 8, 3), dtype="uint8"):
    return (np.arange(np.prod(shape)) * 7 % 251).reshape(shape).astype(dtype)


def refusal(call, *arguments, **options):
    with pytest.raises(poolcli.PoolError) as caught:
        call(*arguments, **options)
    return caught.value


# --- What it shows ---


def test_dir_shows_what_there_is_to_use_and_nothing_else():
    assert dir(poolcli) == NAMES
    for name in NAMES:
        assert getattr(poolcli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'pol'"):
        poolcli.pol  # noqa: B018 -- the access is the test


def test_help_shows_functions_errors_and_every_method_with_what_it_gives():
    text = pydoc.render_doc(poolcli, renderer=pydoc.plaintext)
    for part in ("pool(array: ", "read(path: ", "write(path: ", "class PoolError("):
        assert part in text
    assert tuple(METHODS) == poolcli.METHODS
    for row in METHODS.values():
        assert f"{row.name:9} {row.summary}" in text


def test_import_loads_no_numpy_and_the_package_is_marked_as_typed():
    code = "import sys, poolcli; print({'numpy', 'PIL', 'imageio', 'numba', 'typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert Path(poolcli.__file__).with_name("py.typed").exists()


# --- Reading ---


@pytest.mark.parametrize("make", [str, Path], ids=["str", "Path"])
def test_a_picture_is_read_by_its_content_upright(tmp_path, make):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / "x.jpg", "PNG", exif=exif)
    assert np.array_equal(poolcli.read(make(tmp_path / "x.jpg")), np.rot90(picture(), -1))


def test_one_array_of_several_is_read_by_its_key(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.arange(4))
    assert poolcli.read(tmp_path / "x.npz", key="b").tolist() == [0, 1, 2, 3]
    assert "holds 2 arrays: a, b" in refusal(poolcli.read, tmp_path / "x.npz").message


def test_more_pixels_than_allowed_are_refused(tmp_path):
    poolcli.write(tmp_path / "x.png", picture((6, 8)))
    assert poolcli.read(tmp_path / "x.png", max_pixels=48).shape == (6, 8)
    error = refusal(poolcli.read, tmp_path / "x.png", max_pixels=47)
    assert error.message == f"{tmp_path}/x.png: 6x8 are 48 pixels, more than the limit of 47"


def test_what_cannot_be_read_is_named(tmp_path):
    assert refusal(poolcli.read, tmp_path / "none.png").message == f"{tmp_path}/none.png: no such file"
    (tmp_path / "x.png").write_text("words")
    assert "looks like text" in refusal(poolcli.read, str(tmp_path / "x.png")).message


def test_what_a_person_should_know_is_a_warning(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", picture((2, 6, 8)), photometric="minisblack", metadata=None)
    with pytest.warns(PoolWarning, match=r"x\.tif: frame 1 of 2") as said:
        assert np.array_equal(poolcli.read(tmp_path / "x.tif"), picture((2, 6, 8))[0])
    assert said[0].filename == __file__


# --- Writing ---


@pytest.mark.parametrize("name", ["x.png", "x.TIF", "x.bmp", "x.webp", "x.npy"])
def test_the_suffix_says_the_format_and_the_pixels_come_back(tmp_path, name):
    poolcli.write(tmp_path / "new" / name, picture().tolist() if name == "x.npy" else picture())
    assert np.array_equal(poolcli.read(tmp_path / "new" / name), picture())


def test_a_format_can_be_given_and_must_agree_with_the_suffix(tmp_path):
    poolcli.write(tmp_path / "x", picture(), format="bmp")
    assert (tmp_path / "x").read_bytes()[:2] == b"BM"
    poolcli.write(tmp_path / "x.jpeg", picture(), format="jpg")
    assert refusal(poolcli.write, tmp_path / "y", picture()).message.endswith(
        "y: format must be given, or told by a suffix"
    )
    assert (
        "format must agree with the suffix, got png"
        in refusal(poolcli.write, tmp_path / "y.bmp", picture(), format="png").message
    )
    assert "got 'npz'" in refusal(poolcli.write, tmp_path / "y.npz", picture()).message
    assert {path.name for path in tmp_path.iterdir()} == {"x", "x.jpeg"}


def test_quality_counts_where_it_can_and_is_checked(tmp_path):
    for name, quality in (("low.jpg", 20), ("high.jpg", 95), ("plain.jpg", None), ("lossless.webp", None)):
        poolcli.write(tmp_path / name, picture(), quality=quality)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["low.jpg"] < sizes["plain.jpg"] < sizes["high.jpg"]
    assert np.array_equal(poolcli.read(tmp_path / "lossless.webp"), picture())
    for wrong in (0, 101):
        assert (
            f"from 1 to 100, got {wrong}"
            in refusal(poolcli.write, tmp_path / "y.jpg", picture(), quality=wrong).message
        )
    assert (
        "one of jpeg, webp, avif, jpegxl, jpeg2000, got png"
        in refusal(poolcli.write, tmp_path / "y.png", picture(), quality=5).message
    )


def test_an_existing_file_stays_unless_it_may_be_replaced(tmp_path):
    poolcli.write(tmp_path / "x.png", picture())
    assert "exists already" in refusal(poolcli.write, tmp_path / "x.png", picture() + 1).message
    assert np.array_equal(poolcli.read(tmp_path / "x.png"), picture())
    poolcli.write(tmp_path / "x.png", picture() + 1, force=True)
    assert np.array_equal(poolcli.read(tmp_path / "x.png"), picture() + 1)


def test_what_the_format_cannot_hold_is_refused_and_nothing_written(tmp_path):
    error = refusal(poolcli.write, tmp_path / "x.png", picture(dtype="float32"))
    assert error.message == f"{tmp_path}/x.png: png cannot hold float32 RGB pixels"
    assert not list(tmp_path.iterdir())


# --- Pooling ---


@pytest.mark.parametrize("path", ["photo.png", b"photo.png", Path("photo.png")], ids=["str", "bytes", "Path"])
def test_a_path_instead_of_an_array_is_told_what_to_use(path):
    error = refusal(poolcli.pool, path)
    assert error.message.startswith("array must hold numbers, got ")
    assert error.hint.startswith("poolcli.read(")
