"""Proves that what is drawn of a result is the result: maps in a picture, and pixels in a terminal."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from poolcli.jobs import view


def maps(count=6, rows=8, columns=10):
    return np.random.default_rng(0).normal(0, 3, (count, rows, columns)).astype(np.float32)


def load(name):
    with Image.open(name) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("name", ["viridis", "magma"])
def test_the_colours_are_matplotlibs(name):
    matplotlib = pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    theirs = matplotlib.colormaps[name](np.arange(256))[:, :3] * 255
    assert np.abs(view.colours(name) - theirs).max() < 4


def test_maps_are_drawn_beside_each_other_each_over_all_colours(cli):
    np.save("maps.npy", maps())
    done = cli("pool", "maps.npy", "--layout", "CHW", "-k", "2", "-o", "grid.png")
    assert (done.code, done.err) == (0, "")
    grid, table = load("grid.png"), view.colours("viridis")
    assert grid.shape == (2 * 5 - 1, 3 * 6 - 1, 3)  # 2 rows of 3 maps of 4x5, with a pixel between
    small = maps().reshape(6, 4, 2, 5, 2).max((2, 4)).astype(float)
    for number, plane in enumerate(small):
        top, left = number // 3 * 5, number % 3 * 6
        shades = np.rint((plane - plane.min()) * 255 / (plane.max() - plane.min())).astype(int)
        assert np.array_equal(grid[top : top + 4, left : left + 5], table[shades])
    assert not grid[4].any()
    assert not grid[:, 5].any()


def test_tile_and_colormap_are_heeded(cli):
    np.save("maps.npy", maps())
    arguments = ("pool", "maps.npy", "--layout", "CHW", "-k", "2", "-o", "grid.png", "-f")
    assert cli(*arguments, "--tile", "6", "--colormap", "grey").code == 0
    grid = load("grid.png")
    assert grid.shape == (4, 6 * 6 - 1, 3)
    assert (grid[:, :, 0] == grid[:, :, 2]).all()
    assert cli(*arguments, "--tile", "99").code == 0
    assert load("grid.png").shape == (4, 35, 3)
    for wrong in (["--tile", "0"], ["--colormap", "jet"]):
        assert cli(*arguments, *wrong).code == 2


@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (2, 8, 10, 3)), ("NCHW", (2, 3, 8, 10)), ("WHC", (10, 8, 6))])
def test_axes_in_any_order_are_drawn_upright(cli, layout, shape):
    values = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    np.save("maps.npy", values)
    assert cli("pool", "maps.npy", "--layout", layout, "-k", "1", "-o", "grid.png").code == 0
    grid = load("grid.png")
    assert grid.shape == (2 * 9 - 1, 3 * 11 - 1, 3)
    planes = np.einsum(f"{layout.lower()}->{''.join(sorted(set(layout.lower()) - set('hw')))}hw", values)
    first = planes.reshape(-1, 8, 10)[0]
    shades = np.rint((first - first.min()) * 255 / (first.max() - first.min())).astype(int)
    assert np.array_equal(grid[:8, :10], view.colours("viridis")[shades])


def test_a_matrix_is_drawn_in_colours_where_asked_and_nan_is_the_least(cli):
    matrix = maps(1)[0]
    matrix[0, 0] = np.nan
    np.save("m.npy", matrix)
    assert cli("pool", "m.npy", "-k", "1", "-o", "m.png").code == 3  # float32 fits no png
    assert cli("pool", "m.npy", "-k", "1", "--colormap", "magma", "-o", "m.png").code == 0
    assert load("m.png").shape == (8, 10, 3)
    assert np.array_equal(load("m.png")[0, 0], view.colours("magma")[0])
    np.save("flat.npy", np.ones((8, 10)))
    assert cli("pool", "flat.npy", "--colormap", "magma", "-o", "flat.png").code == 0


def test_what_has_no_rows_and_columns_is_not_drawn(cli):
    np.save("sound.npy", np.ones((2, 100)))
    done = cli("pool", "sound.npy", "--layout", "CL", "-k", "2", "-o", "x.png")
    assert done.code == 3
    assert "layout must have H and W for a picture, got CL" in done.err


# --- Preview ---


def read_back(text):
    """Return the pixels that a terminal shows."""
    rows = []
    for line in text.splitlines():
        above, below = [], []
        for upper, lower in re.findall(r"\x1b\[38;2;([\d;]+)m(?:\x1b\[48;2;([\d;]+)m)?▀", line):
            above.append([int(value) for value in upper.split(";")])
            below.append([int(value) for value in lower.split(";")] if lower else None)
        rows += [above, below] if below and below[0] is not None else [above]
        assert line.endswith("\x1b[0m")
    return np.array(rows)


def test_a_picture_in_the_terminal_is_the_picture(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "30")
    pixels = np.random.default_rng(1).integers(0, 256, (14, 20, 3), np.uint8)
    Image.fromarray(pixels).save("a.png")
    done = cli("pool", "a.png", "-k", "2", "--preview", "-o", "x.png")
    assert (done.code, done.out) == (0, b"x.png\n")
    assert np.array_equal(read_back(done.err), pixels.reshape(7, 2, 10, 2, 3).max((1, 3)))


@pytest.mark.parametrize("size", [(200, 1), (1, 200), (90, 300), (5, 5)])
def test_a_preview_fits_the_terminal(cli, monkeypatch, size):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "12")
    Image.fromarray(np.full(size, 90, np.uint8)).save("a.png")
    done = cli("pool", "a.png", "-k", "1", "--preview", "-o", "x.png")
    drawn = read_back(done.err)
    assert (drawn == 90).all()
    assert drawn.shape[0] <= 20
    assert drawn.shape[1] <= 30


@pytest.mark.parametrize(
    ("shape", "layout"), [((3, 8, 8), "CHW"), ((2, 100), "CL"), ((8, 8), "HW"), ((2, 3, 4, 5), "NCHW")]
)
def test_tensors_are_seen_too(cli, monkeypatch, shape, layout):
    monkeypatch.setenv("COLUMNS", "60")
    np.save("a.npy", np.random.default_rng(0).normal(size=shape))
    done = cli("pool", "a.npy", "--layout", layout, "-k", "1", "--preview", "-o", "x.npy")
    assert done.code == 0
    assert read_back(done.err).size
