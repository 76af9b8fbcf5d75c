"""The command line as its users meet it: real files, right pixels, one clear line where something is wrong."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated

import numpy as np
import oracle
import pytest
import typer
from PIL import Image, ImageOps
from typer.exceptions import TyperException
from typer.main import get_command

from poolcli.cli import app, options
from poolcli.cli.app import COMMANDS
from poolcli.core.methods import METHODS
from poolcli.core.settings import setting
from poolcli.errors import UsageError
from poolcli.media.formats import FORMATS


def channels(pool, pixels):
    """Pool (H, W) or (H, W, C) by the oracle, channel by channel."""
    if pixels.ndim == 2:
        return pool(pixels)
    return np.stack([pool(pixels[..., c]) for c in range(pixels.shape[2])], -1)


def averaged(pixels, kernel):
    return channels(lambda plane: oracle.pool(plane, "avg", (kernel, kernel), dtype=plane.dtype), pixels)


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


# --- pool: right pixels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["photo_rgb.png", "grey16.png", "grey_odd.png"])
def test_a_png_is_averaged_to_the_correctly_rounded_means(cli, samples, name):
    done = cli("pool", samples / name, "-m", "avg", "-k", "3", "-o", "small.png")
    assert (done.code, done.out, done.err) == (0, b"small.png\n", "")
    small = picture("small.png")
    assert small.dtype == picture(samples / name).dtype
    assert np.array_equal(small, averaged(picture(samples / name), 3))


def test_alpha_is_one_more_channel_pooled_like_the_others(cli, samples):
    assert cli("pool", samples / "sprite_rgba.png", "-m", "max", "-k", "4", "-o", "x.png").code == 0
    pixels = picture(samples / "sprite_rgba.png")
    assert np.array_equal(picture("x.png"), pixels.reshape(24, 4, 24, 4, 4).max((1, 3)))


def test_a_rotated_phone_photo_comes_out_upright_with_its_profile(cli, samples):
    assert cli("pool", samples / "photo_exif6_icc.jpg", "-m", "avg", "-k", "2", "-o", "small.png").code == 0
    with Image.open(samples / "photo_exif6_icc.jpg") as source, Image.open("small.png") as small:
        upright = np.asarray(ImageOps.exif_transpose(source))
        assert small.size == (upright.shape[1] // 2, upright.shape[0] // 2)
        assert np.array_equal(np.asarray(small), averaged(upright, 2))
        assert small.info["icc_profile"] == source.info["icc_profile"]
        assert small.getexif().get(0x0112, 1) == 1


def test_feature_maps_are_pooled_plane_by_plane(cli, samples):
    assert (
        cli("pool", samples / "feature_maps.npy", "-m", "l2", "-k", "3", "-s", "2", "-p", "1", "-o", "x.npy").code == 0
    )
    maps = np.load(samples / "feature_maps.npy")[:3]
    expected = oracle.pool(maps, "l2", (3, 3), (2, 2), ((1, 1), (1, 1)))
    np.testing.assert_allclose(np.load("x.npy")[:3], expected, rtol=1e-6)


def test_a_float_tiff_stays_a_float_tiff(cli, samples):
    import tifffile

    assert cli("pool", samples / "float32.tiff", "-m", "max", "-k", "2", "-o", "x.tiff").code == 0
    pixels = tifffile.imread(samples / "float32.tiff")
    assert np.array_equal(tifffile.imread("x.tiff"), pixels.reshape(50, 2, 70, 2).max((1, 3)))


def test_a_picture_in_a_pipe(samples, tmp_path):
    command = [sys.executable, "-m", "poolcli", "pool", "-", "-m", "max", "-k", "3", "-s", "2", "-F", "png", "-o", "-"]
    data = (samples / "grey_odd.png").read_bytes()
    done = subprocess.run(command, input=data, capture_output=True, check=True, cwd=tmp_path)
    with Image.open(io.BytesIO(done.stdout)) as image:
        expected = oracle.pool(picture(samples / "grey_odd.png"), "max", (3, 3), (2, 2))
        assert np.array_equal(np.asarray(image), expected)
    assert done.stderr == b""


def test_picture_to_tensor_follows_the_library(cli, samples):
    assert cli("pool", samples / "grey_odd.png", "-m", "avg", "-o", "x.npy").code == 0
    assert np.load("x.npy").dtype == np.float64
    assert cli("pool", samples / "grey_odd.png", "-m", "sum", "-o", "y.npy").code == 0
    assert np.load("y.npy").dtype == np.uint64
    assert np.array_equal(np.load("y.npy") / 4, np.load("x.npy"))


def test_sum_of_a_picture_needs_a_dtype(cli, samples):
    done = cli("pool", samples / "grey_odd.png", "-m", "sum", "-o", "x.png")
    assert done.code == 3
    assert done.err.splitlines()[-1] == "hint: -o x.npy keeps them, -m avg stays in its range"
    assert not os.path.exists("x.png")
    assert cli("pool", samples / "grey_odd.png", "-m", "sum", "--dtype", "u8", "-o", "x.png").code == 0
    expected = np.minimum(oracle.pool(picture(samples / "grey_odd.png"), "sum", (2, 2)), 255)
    assert np.array_equal(picture("x.png"), expected)


def test_what_is_proposed_for_a_deep_picture_keeps_it(cli, samples):
    done = cli("pool", samples / "grey16.png", "-k", "1", "-o", "x.jpg")
    assert (done.code, done.err.splitlines()[-1]) == (
        3,
        "hint: --depth 8, or -F png or tiff or npy, or -o x.png",
    )
    assert cli("pool", samples / "grey16.png", "-k", "1", "-o", "x.png").code == 0
    assert np.array_equal(picture("x.png"), picture(samples / "grey16.png"))


def test_a_one_bit_picture_is_averaged_as_grey(cli):
    bits = np.array([[1, 0, 1, 1], [0, 0, 1, 1]], bool)
    Image.fromarray(bits).save("b.png")
    assert cli("pool", "b.png", "-m", "avg", "-o", "x.png").code == 0
    assert picture("x.png").tolist() == [[64, 255]]  # 63.75 rounded


def test_the_tutorials_matrix_is_printed(cli, samples):
    done = cli("pool", samples / "tutorial_6x3.npy", "-k", "3x1", "--show")
    assert (done.code, done.err) == (0, "")
    # The tutorial prints 14 where 17 stands: the largest of 11, 14 and 17
    assert [[int(n) for n in line.strip(" []").split()] for line in done.out.decode().splitlines()] == [
        [7, 8, 9],
        [16, 17, 18],
    ]


# --- pool: names -------------------------------------------------------------------------------------------------


def copied(samples, name, *targets):
    for target in targets:
        with open(target, "wb") as file:
            file.write((samples / name).read_bytes())


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ([], "a.max2.png"),
        (["-k", "3x2", "-m", "avg"], "a.avg3x2.png"),
        (["-o", "b.jpg"], "b.jpg"),
        (["-o", "new/deep/"], "new/deep/a.png"),
        (["-o", "new/", "-F", "webp"], "new/a.webp"),
        (["-o", "{dir}/{name}.{stem}_{method}{kernel}s{stride}{ext}", "-s", "1"], "./a.png.a_max2s1.png"),
        (["-F", "tiff"], "a.max2.tif"),
        (["-o", "noext", "-F", "png"], "noext"),
    ],
)
def test_where_an_output_goes(cli, samples, options, written):
    copied(samples, "grey_odd.png", "a.png")
    done = cli("pool", "a.png", *options)
    assert (done.code, done.out.decode(), done.err) == (0, f"{written}\n", "")
    with Image.open(written) as image:
        assert image.size[0] in {50, 100}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.png", "-o", "a.png"], "output must not be an input"),
        (["a.png", "-o", "a.png", "-f"], "output must not be an input"),
        (["a.png", "-o", "link.png", "-f"], "output must not be an input"),
        (["a.png", "-o", "there.png"], "output exists"),
        (["a.png", "sub/a.png", "-o", "out/"], "outputs must differ"),
        (["a.png", "b.png", "-o", "x.png"], "several inputs"),
        (["a.png", "b.png", "-o", "-"], "with one input"),
        (["-", "-"], "stdin must be given once"),
        (["a.png", "-o", "x.jpg", "-F", "png"], "agree with the output's suffix"),
        (["a.png", "-o", "x.npz"], "npz"),
        (["a.png", "-o", "x.xyz"], "suffix"),
        (["a.png", "-F", "exr"], "format"),
        (["a.png", "-o", "{page}.png"], "{page}"),
        (["a.png", "-o", "{stem!r}.png"], "template"),
        (["a.png", "-o", "{stem.png"], "braces"),
        (["a.png", "--json", "-o", "-"], "stdout must hold one thing"),
        (["a.png", "--json", "--show"], "stdout must hold one thing"),
        (["a.png", "--show", "-o", "x.png"], "--show"),
        (["a.png", "-Q", "0"], "quality"),
        (["a.png", "-Q", "80", "-o", "x.png"], "quality"),
        (["a.png", "--max-pixels", "lots"], "max-pixels"),
        (["a.png", "-t", "0"], "threads"),
        (["a.png", "--engine", "cuda"], "engine must be one of auto, numba, numpy"),
        (["a.png", "--dtype", "complex64"], "dtype must be one of"),
        (["a.npy", "--layout", "HWX"], "layout"),
    ],
)
def test_a_refused_command_line_reads_and_writes_nothing(cli, samples, arguments, said):
    os.mkdir("sub")
    copied(samples, "grey_odd.png", "a.png", "sub/a.png", "b.png", "there.png")
    os.symlink("a.png", "link.png")
    before = sorted(os.listdir()), os.stat("there.png").st_mtime_ns
    done = cli("pool", *arguments)
    assert done.code == 2
    assert done.out == b""
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ")
    assert said in done.err
    assert all(line.startswith("hint: ") for line in rest)
    assert (sorted(os.listdir()), os.stat("there.png").st_mtime_ns) == before


@pytest.mark.parametrize("option", ["-k", "-s", "-d"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "", "x", str(2**31), str(2**70), "nan", "2x2x2", "3x"])
def test_a_wrong_window_value_is_named_and_refused(cli, samples, option, value):
    done = cli("pool", samples / "grey_odd.png", f"{option}", value, "-o", "x.png")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert value in done.err
    assert "Traceback" not in done.err
    assert os.listdir() == []


def test_a_file_without_a_suffix_keeps_its_format(cli, samples):
    copied(samples, "grey_odd.png", "a", "b.dat")
    done = cli("pool", "a", "b.dat")
    assert (done.code, done.out) == (0, b"a.max2\nb.max2.dat\n")
    assert picture("a.max2").shape == picture("b.max2.dat").shape == (33, 50)


def test_files_are_done_though_nobody_reads_their_names(samples, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "poolcli", "pool", samples / "grey_odd.png", samples / "grey16.png", "-o", "o/"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(os.listdir(tmp_path / "o")) == ["grey16.png", "grey_odd.png"]


def test_a_force_replaces_an_output(cli, samples):
    copied(samples, "grey_odd.png", "a.png")
    for code in (0, 2):
        assert cli("pool", "a.png", "-o", "b.png").code == code
    assert cli("pool", "a.png", "-o", "b.png", "-f", "-k", "4").code == 0
    assert picture("b.png").shape == (16, 25)


def test_an_unknown_method_is_answered_with_the_nearest(cli, samples):
    done = cli("pool", samples / "grey_odd.png", "-m", "maxx")
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: method must be one of {', '.join(METHODS)}, got 'maxx'",
        "hint: did you mean 'max'?",
    ]


def test_an_unknown_command_is_answered_with_the_nearest(cli):
    done = cli("pol", "a.png")
    assert done.code == 2
    assert done.err.splitlines()[-1] == "hint: did you mean 'pool'?"


def test_typers_own_refusals_speak_the_same_words(cli):
    for arguments in (["pool", "--nope", "a.png"], ["pool"], ["pool", "a.png", "-t", "many"]):
        done = cli(*arguments)
        assert done.code == 2
        assert done.err.startswith("error: ")
        assert done.err.splitlines()[-1] == "hint: poolcli pool --help"


# --- pool: inputs that cannot be used ----------------------------------------------------------------------------


def bad_npy(header, body=b""):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


BAD = {
    "missing.png": None,
    "empty.npy": b"",
    "text.npy": b"hello, this is text\n",
    "object.npy": bad_npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", b"x" * 16),
    "complex.npy": bad_npy("{'descr': '<c8', 'fortran_order': False, 'shape': (2, 2), }", b"x" * 32),
    "structured.npy": bad_npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2, 2), }", b"x" * 16),
    "short.npy": bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }", b"x" * 63),
    "long.npy": bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }", b"x" * 65),
    "huge.npy": bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }", b"x" * 24),
    "zero.npy": bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0, 8), }"),
    "cut.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "small.npy": bad_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1), }", b"x"),
    "line.npy": bad_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (9,), }", b"x" * 9),
}


@pytest.mark.parametrize("name", BAD)
def test_an_input_that_cannot_be_used_is_named_and_the_others_are_done(cli, samples, name):
    if BAD[name] is not None:
        with open(name, "wb") as file:
            file.write(BAD[name])
    copied(samples, "grey_odd.png", "good.png")
    done = cli("pool", name, "good.png", "-o", "out/")
    assert done.code == 3
    assert done.out == b"out/good.png\n"
    assert done.err.splitlines()[0].startswith(f"error: {name}: ")
    assert "Traceback" not in done.err
    assert "pickle" not in done.err
    assert os.listdir("out") == ["good.png"]


def test_folders_and_fifos_are_refused_at_once(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name, fact in (("folder", b"is a folder"), ("fifo", b"not a regular file")):
        _, err = start("pool", name, "-o", "x.png", cwd=tmp_path).communicate(timeout=120)  # a FIFO nobody writes to
        assert fact in err


@pytest.mark.parametrize("line", [("pool", "-o", "x.png"), ("batch", "-o", "out"), ("batch", ".", "-o", "out")])
def test_an_output_in_a_current_folder_that_is_gone_is_named(cli, samples, tmp_path, line):
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = cli(*line, samples / "grey_odd.png")
    assert (done.code, done.err) == (4, f"error: {line[-1]}: the current folder is gone\n")
    done = cli("batch", ".", "-o", tmp_path / "out")
    assert (done.code, done.err) == (4, "error: .: the current folder is gone\n")


def test_a_layout_that_is_not_told_by_the_shape_is_asked_for(cli):
    np.save("x.npy", np.zeros((1080, 1920, 3), np.uint8))
    done = cli("pool", "x.npy")
    assert done.code == 3
    assert done.err.splitlines() == [
        "error: x.npy: layout must be given for shape (1080, 1920, 3)",
        "hint: --layout HWC or CHW",
    ]
    assert cli("pool", "x.npy", "--layout", "HWC", "-o", "y.npy").code == 0
    assert np.load("y.npy").shape == (540, 960, 3)


def test_a_layout_for_a_picture_is_refused(cli, samples):
    done = cli("pool", samples / "photo_rgb.png", "--layout", "HWC", "-o", "x.png")
    assert done.code == 3
    assert "layout must not be given for a picture" in done.err


def test_a_kernel_larger_than_the_input_is_refused_with_both_sizes(cli, samples):
    done = cli("pool", samples / "grey_odd.png", "-k", "200", "-o", "x.png")
    assert done.code == 3
    assert "200" in done.err
    assert "67" in done.err


def test_what_a_format_cannot_hold_is_refused_and_the_old_output_stays(cli, samples):
    with open("x.jpg", "wb") as file:
        file.write(b"old")
    done = cli("pool", samples / "sprite_rgba.png", "-o", "x.jpg", "-f")
    assert done.code == 3
    assert "jpeg cannot hold uint8 RGBA" in done.err
    assert "hint: " in done.err
    with open("x.jpg", "rb") as file:
        assert file.read() == b"old"


def test_more_pixels_than_allowed_is_a_limit(cli, samples):
    done = cli("pool", samples / "photo_rgb.png", "--max-pixels", "100K", "-o", "x.png")
    assert done.code == 5
    assert "--max-pixels" in done.err


def test_an_output_folder_that_cannot_be_made_is_an_output_error(cli, samples):
    with open("file", "w", encoding="ascii") as file:
        file.write("x")
    done = cli("pool", samples / "grey_odd.png", "-o", "file/x.png")
    assert done.code == 4
    assert done.err.startswith("error: ")


# --- pool: what is said ------------------------------------------------------------------------------------------


def test_json_holds_every_key_of_a_record(cli, samples):
    done = cli(
        "pool",
        samples / "photo_rgb.png",
        samples / "missing.png",
        "-m",
        "avg",
        "-k",
        "3",
        "-s",
        "2",
        "--json",
        "-o",
        "o/",
    )
    assert done.code == 3
    good, bad = (json.loads(line) for line in done.out.splitlines())
    assert set(good) == set(bad) >= {
        "schema", "status", "input", "output", "method", "kernel", "stride", "padding", "dilation", "ceil",
        "count_include_pad", "layout", "engine", "threads", "in", "out", "seconds", "error",
    }  # fmt: skip
    assert (good["schema"], good["status"], bad["status"]) == ("poolcli/1", "done", "failed")
    assert good["kernel"] == [3, 3]
    assert good["padding"] == [[0, 0], [0, 0]]
    assert good["in"] == {
        "format": "png",
        "shape": [427, 640, 3],
        "dtype": "uint8",
        "bytes": os.path.getsize(samples / "photo_rgb.png"),
    }
    assert good["out"]["shape"] == [213, 319, 3]
    assert good["out"]["bytes"] == os.path.getsize("o/photo_rgb.png")
    assert set(good["seconds"]) == {"read", "decode", "load_engine", "compile", "pool", "encode", "write", "total"}
    assert good["seconds"]["total"] >= max(v for k, v in good["seconds"].items() if k != "total")
    assert good["error"] is None
    assert bad["error"]["exit_code"] == 3


def test_the_timing_table_names_every_stage_on_stderr(cli, samples):
    done = cli("pool", samples / "photo_rgb.png", "--timing", "-o", "x.png")
    assert done.out == b"x.png\n"
    for word in (
        "427x640x3 uint8",
        "213x320x3 uint8",
        "engine ",
        "read",
        "decode",
        "pool",
        "encode",
        "write",
        "total",
        "Mpix/s",
    ):
        assert word in done.err
    assert "\x1b" not in done.err


def test_quiet_leaves_errors_only(cli, samples):
    done = cli("pool", samples / "photo_rgb.png", "--timing", "-q", "-v", "--explain", "-o", "x.png")
    assert (done.code, done.err) == (0, "")
    assert "no such file" in cli("pool", "x", "-q").err


def test_explain_shows_the_arithmetic(cli, samples):
    done = cli(
        "pool", samples / "tutorial_6x3.npy", "-k", "3x2", "-s", "2", "-p", "1,0,1,1", "--ceil", "--explain", "--show"
    )
    assert "ceil((6 + 1 + 1 - 3) / 2 = 2.5) + 1 = 4" in done.err
    assert "first window [-1, 2) counts 2; last window [5, 8) counts 1" in done.err


def test_a_dry_run_tells_shapes_and_writes_nothing(cli, samples):
    done = cli("pool", samples / "photo_rgb.png", "-k", "4", "-o", "out/", "-n")
    assert done.code == 0
    assert b"out/photo_rgb.png  427x640x3 uint8 png -> 106x160x3 uint8 png" in done.out
    assert os.listdir() == []
    done = cli("pool", samples / "sprite_rgba.png", "-o", "x.jpg", "-n")
    assert done.code == 3


def test_several_frames_are_warned_about_once(cli):
    frames = [Image.new("L", (8, 8), shade) for shade in (10, 200)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    done = cli("pool", "a.gif", "-o", "x.bmp")
    assert done.code == 0
    assert done.err.count("frame 1 of 2") == 1


def test_verbose_says_which_engine_and_why(cli, samples):
    done = cli("pool", samples / "grey_odd.png", "-v", "--engine", "numpy", "-o", "x.png")
    assert "engine numpy: asked for" in done.err


@pytest.mark.parametrize(
    "name",
    [
        "-rf.png",
        "a\nb.png",
        "\x1b[2J.png",
        "[bold red]x[].png",
        os.fsdecode(b"\xff\xfe.png"),
        "~.png",
        "a" * 200 + ".png",
    ],
)
def test_awkward_names_are_read_written_and_shown_escaped(cli, samples, name):
    copied(samples, "grey_odd.png", name)
    done = cli("pool", "--timing", "-o", "out/", "--", name)
    assert done.code == 0
    assert done.out == b"out/" + os.fsencode(name) + b"\n"
    assert os.listdir("out") == [name]
    assert "\x1b" not in done.err
    if name.isprintable():
        assert name[:20] in done.err


# --- other commands ----------------------------------------------------------------------------------------------


def test_methods_lists_the_table(cli):
    done = cli("methods")
    for row in METHODS.values():
        assert row.formula in done.out.decode()
        assert (row.source or row.torch) in done.out.decode()
    listed = json.loads(cli("methods", "--json").out)
    assert [row["name"] for row in listed["methods"]] == list(METHODS)


def test_info_tells_shapes_without_decoding(cli, samples):
    done = cli(
        "info",
        samples / "photo_exif6_icc.jpg",
        samples / "grey16.png",
        samples / "missing",
        "-k",
        "3",
        "-s",
        "2",
        "--json",
    )
    assert done.code == 3
    photo, grey, bad = (json.loads(line) for line in done.out.splitlines())
    assert [row["status"] for row in (photo, grey, bad)] == ["done", "done", "failed"]
    assert bad["error"]["exit_code"] == 3
    with Image.open(samples / "photo_exif6_icc.jpg") as image:
        assert photo["shape"] == [*reversed(ImageOps.exif_transpose(image).size), 3]
    assert (photo["orientation"], photo["mode"], photo["out"]) == (6, "RGB", [213, 319, 3])
    assert (grey["bits"], grey["dtype"], grey["out"]) == (16, "uint16", [59, 79])


def test_info_lists_the_formats(cli):
    done = cli("info", "--formats").out.decode()
    for row in FORMATS:
        assert row.summary in done


def test_env_names_versions_and_folders(cli):
    found = json.loads(cli("env", "--json").out)
    assert found["packages"]["numpy"] == np.__version__
    assert found["usable_cpus"] >= 1
    assert "poolcli" in found["cache"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    command = getattr(import_module(f"poolcli.cli.{name}"), name)
    for parameter in command.params:
        assert parameter.help, parameter.name


HELPS = [[name] for name in COMMANDS if name != "cache"] + [["cache", name] for name in ("info", "warm", "clear")]


@pytest.mark.parametrize("command", [*HELPS, []], ids=" ".join)
def test_help_fits_a_terminal_cuts_nothing_and_ends_with_three_examples(command, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "80")
    assert app.run([*command, "--help"]) == 0
    lines = capfd.readouterr().out.rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    assert "..." not in " ".join(lines).replace("INPUT...", "").replace("FILE...", "").replace("SRC...", "").replace(
        "ARGS]...", ""
    )
    assert not any("\x1b" in line for line in lines)
    assert lines[-4] == "Examples:"
    assert all("poolcli" in line for line in lines[-3:])


def test_help_of_a_group_holds_whole_summaries(cli):
    said = " ".join(cli("--help").out.decode().split())
    assert all(summary in said for summary in COMMANDS.values())


def test_help_shows_options_by_panel(cli):
    text = cli("pool", "--help").out.decode()
    order = [line[:-1] for line in text.splitlines() if line[:1].isupper() and line.endswith(":")]
    assert order == [*options.PANELS, "Examples"]
    window = text.split("Window:")[1].split("Input:")[0]
    for spelling in ("-m, --method", "-k, --kernel", "-s, --stride", "-p, --padding", "-d, --dilation", "--ceil"):
        assert spelling in window
    for letters in ("HW", "HWC", "CHW", "NCHW", "NHWC", "L", "NCL", "NLC", "NTC", "DHW", "NCDHW", "NDHWC"):
        assert f" {letters} " in text.split("Layouts:")[1]


def test_every_example_is_a_command_line_that_parses():
    for command in HELPS:
        parsed = getattr(import_module(f"poolcli.cli.{command[0]}"), command[0])
        for name in command[1:]:
            parsed = parsed.commands[name]
        for line in parsed.epilog.splitlines()[-3:]:
            words = shlex.split(line.split("poolcli ", 1)[1].split(">")[0].split("&&")[0], comments=True)
            if words[: len(command)] == command:
                parsed.make_context("poolcli", words[len(command) :], resilient_parsing=False)


@dataclass(frozen=True)
class Inner:
    depth: int | None = setting("Run", "How deep.", default=None)


@dataclass(frozen=True)
class Outer:
    name: str = setting("Input", "A name.", short="-N", metavar="NAME")
    words: tuple[str, ...] = setting("Input", "Words.", default=())
    loud: bool = setting("Talk", "Loud.", default=False)
    calm: bool = setting("Talk", "Calm.", default=True)
    shy: bool | None = setting("Talk", "Shy.", default=None)
    kept: int = 7
    inner: Inner = field(default_factory=Inner)


def taking(hint, *arguments):
    """Return the record that a command gets whose parameter has this annotation."""
    got = []

    def command(record):
        got.append(record)

    command.__annotations__ = {"record": hint}
    made = typer.Typer()
    made.command()(options.spelled_out(command))
    get_command(made).main(list(arguments), standalone_mode=False)
    return got[0]


def test_records_are_filled_from_the_options_given_and_from_their_own_defaults():
    assert taking(Outer, "-N", "x") == Outer("x")
    assert taking(
        Outer, "--name", "x", "--words", "a", "--words", "b", "--loud", "--no-calm", "--no-shy", "--depth", "3"
    ) == Outer("x", ("a", "b"), loud=True, calm=False, shy=False, inner=Inner(3))
    assert taking(Outer, "-N", "x", "--calm", "--shy") == Outer("x", shy=True)


def test_a_command_takes_the_fields_it_names_and_an_optional_record_only_when_it_is_asked_for():
    assert taking(Annotated[Outer, "name", "depth"], "-N", "x", "--depth", "2") == Outer("x", inner=Inner(2))
    with pytest.raises(TyperException, match="loud"):
        taking(Annotated[Outer, "name"], "-N", "x", "--loud")
    assert taking(Inner | None) is None
    assert taking(Inner | None, "--depth", "1") == Inner(1)


def test_completion_offers_choices_with_their_summaries():
    assert options.completion({"max": "largest", "min": "smallest"})("ma") == [("max", "largest")]
    assert options.completion(("png", "pnm"))("p") == ["png", "pnm"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("layout=HWC or CHW", "--layout HWC or CHW"),
        ("dtype='uint8' saturates, output=\"x.npy\" keeps all", "--dtype 'uint8' saturates, -o \"x.npy\" keeps all"),
        ("layout= with one letter for each axis", "--layout with one letter for each axis"),
        ("force=True replaces it", "-f replaces it"),
        ("max_pixels must be a number, exclude='a b' too", "--max-pixels must be a number, -x 'a b' too"),
        ("method must be one of max, got x=3", "method must be one of max, got x=3"),
        ("(4, 5): kernel=2", "(4, 5): -k 2"),
    ],
)
def test_keywords_of_the_library_are_shown_as_options(said, shown):
    assert options.in_options(said) == shown


def test_names_of_files_are_not_taken_for_keywords(cli):
    done = cli("pool", "max_pixels=1.png", "-n")
    assert done.err == "error: max_pixels=1.png: no such file\n"


def test_an_error_of_the_library_carries_its_hint():
    assert UsageError("what", "do this").__notes__ == ["do this"]
    assert not hasattr(UsageError("what"), "__notes__")


def test_version(cli):
    from poolcli import __version__

    assert cli("--version").out.decode() == f"poolcli {__version__}\n"


# --- the process -------------------------------------------------------------------------------------------------


def start(*arguments, **settings):
    return subprocess.Popen(
        [sys.executable, "-m", "poolcli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **settings,
    )


def test_a_closed_stdout_ends_quietly(samples, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "poolcli", "pool", samples / "grey_odd.png", "-o", "-"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_with_its_code_and_no_output(tmp_path, number):
    reader, writer = os.pipe()  # stdin that never ends: the command waits in its first stage
    running = start("pool", "-", "-o", "x.png", stdin=reader, cwd=tmp_path)
    os.write(writer, b"\x89PNG")
    left = bytearray(b"....")
    while any(left):
        fcntl.ioctl(reader, termios.FIONREAD, left)
        time.sleep(0.005)
    running.send_signal(number)
    _, err = running.communicate(timeout=120)
    os.close(reader)
    os.close(writer)
    assert running.returncode == 128 + number
    assert err.decode().splitlines() == [f"error: ended by {number.name}"]
    assert os.listdir(tmp_path) == []


def test_a_bug_is_one_line_and_70(cli, samples, monkeypatch):
    from poolcli.jobs import runner

    monkeypatch.setattr(runner, "run", lambda *_, **__: 1 / 0)
    done = cli("pool", samples / "grey_odd.png", "-o", "x.png")
    assert done.code == 70
    assert done.err.splitlines()[0] == "error: bug: ZeroDivisionError: division by zero"


@pytest.mark.parametrize("command", [["methods"], ["--help"], ["info", "--formats"], ["cache", "info"]], ids=" ".join)
def test_a_table_that_nobody_reads_ends_quietly(tmp_path, command):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "poolcli", *command], stdout=writer, stderr=subprocess.PIPE, check=False, cwd=tmp_path
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["grey_odd.png", "-o", "x.png", "--timing"], ["missing.png", "-o", "x.png"]])
def test_a_full_stderr_changes_no_exit_code(samples, tmp_path, arguments):
    copied(samples, "grey_odd.png", tmp_path / "grey_odd.png")
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(
            [sys.executable, "-m", "poolcli", "pool", *arguments], stderr=full, check=False, cwd=tmp_path
        )
    assert done.returncode == (3 if arguments[0] == "missing.png" else 0)
    assert os.path.exists(tmp_path / "x.png") == (done.returncode == 0)


def test_a_full_stdout_is_an_output_error(tmp_path):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(
            [sys.executable, "-m", "poolcli", "methods"], stdout=full, stderr=subprocess.PIPE, check=False, cwd=tmp_path
        )
    assert done.returncode == 4
    assert done.stderr.startswith(b"error: standard output: ")


def test_a_file_on_stdin_is_an_input_that_must_stay(samples, tmp_path):
    copied(samples, "grey_odd.png", tmp_path / "in.png")
    before = (tmp_path / "in.png").read_bytes()
    with open(tmp_path / "in.png", "rb") as source:
        command = [sys.executable, "-m", "poolcli", "pool", "-", "-o", "in.png", "-f"]
        done = subprocess.run(command, stdin=source, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert b"output must not be an input" in done.stderr
    assert (tmp_path / "in.png").read_bytes() == before
