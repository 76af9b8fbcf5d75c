"""Proves that a receipt says what was done, and that doing it again gives the same file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from cases import sample
from PIL import Image

import poolcli
from poolcli.media import contents

PHOTO = sample((24, 30, 3), "uint8")


@pytest.fixture
def photo(tmp_path):
    poolcli.write(tmp_path / "photo.png", PHOTO)
    return tmp_path / "photo.png"


@pytest.fixture
def piped(cli, monkeypatch):
    """Run a command line with bytes on stdin."""

    def call(data, *arguments):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return cli(*arguments)

    return call


def receipt(cli, name):
    done = cli("info", name, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["receipt"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("output", ["small.png", "small.tiff", "small.jpg", "small.npy", "small.webp"])
@pytest.mark.parametrize("method", ["avg", "l2"])
def test_a_receipt_is_verified_on_another_engine_and_thread_count(cli, tmp_path, photo, output, method):
    done = cli("pool", "photo.png", "-m", method, "-k", 3, "-s", 2, "--receipt", "-o", output, "--engine", "numpy")
    assert done.code == 0, done.err
    assert (tmp_path / f"{output}.json").exists() == (output not in {"small.png", "small.tiff"})
    said = receipt(cli, output)
    assert said["version"] == poolcli.__version__
    assert said["input"] == {"name": "photo.png", "place": "photo.png", "sha256": digest(photo)}
    assert (said["request"]["method"], said["request"]["window"]["stride"]) == (method, [2])
    for how in (("--engine", "numpy", "-t", 1), ("--engine", "numba", "-t", 2), ("--engine", "numba", "-t", 1)):
        done = cli("verify", output, *how)
        assert (done.code, done.out.decode()) == (0, f"{output}\n"), done.err


@pytest.mark.parametrize("output", ["small.png", "small.tiff", "small.jpg", "small.npy"])
@pytest.mark.usefixtures("photo")
def test_a_receipt_changes_no_pixel(cli, tmp_path, output):
    assert cli("pool", "photo.png", "-m", "avg", "-o", output).code == 0
    plain = tmp_path / output
    expected, data = poolcli.read(plain), plain.read_bytes()
    assert cli("pool", "photo.png", "-m", "avg", "-o", output, "-f", "--receipt").code == 0
    np.testing.assert_array_equal(poolcli.read(plain), expected)
    assert receipt(cli, output)["output"]["sha256"] == hashlib.sha256(data).hexdigest()
    if output.endswith(("jpg", "npy")):
        assert plain.read_bytes() == data


@pytest.mark.usefixtures("photo")
def test_other_programs_show_a_receipt(cli, tmp_path):
    assert cli("pool", "photo.png", "--receipt", "-o", "small.png").code == 0
    assert cli("pool", "photo.png", "--receipt", "-o", "small.tiff").code == 0
    with Image.open(tmp_path / "small.png") as image:
        assert json.loads(image.text["poolcli"]) == receipt(cli, "small.png")
    with tifffile.TiffFile(tmp_path / "small.tiff") as file:
        assert json.loads(file.pages.first.description) == receipt(cli, "small.tiff")
    assert "photo.png" in cli("info", "small.png", "photo.png").out.decode()


@pytest.mark.usefixtures("photo")
def test_a_receipt_with_a_changed_character_anywhere_is_no_bug(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["poolcli"])
    assert cli("pool", "photo.png", "--receipt", "-o", "small.npy").code == 0
    path = tmp_path / "small.npy.json"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = cli("verify", "small.npy")
        assert done.code in {0, 3, 6}, done.err


@pytest.mark.parametrize("output", ["small.png", "small.tiff", "small.npy"])
def test_a_changed_input_and_a_changed_output_are_found(cli, tmp_path, photo, output):
    assert cli("pool", "photo.png", "--receipt", "-o", output).code == 0
    path = tmp_path / output
    data = bytearray(path.read_bytes())
    data[-1 if output == "small.npy" else len(data) // 2] ^= 1
    whole = path.read_bytes()
    path.write_bytes(data)
    done = cli("verify", output)
    assert done.code in {3, 6}, done.err
    if output == "small.npy":
        assert (done.code, "it was changed since" in done.err) == (6, True)
    path.write_bytes(whole)
    assert cli("verify", output).code == 0
    poolcli.write(photo, PHOTO[::-1], force=True)
    done = cli("verify", output, "--json")
    assert (done.code, "its SHA-256 differs" in done.err) == (6, True)
    assert json.loads(done.out)["error"]["exit_code"] == 6
    photo.unlink()
    assert cli("verify", output).code == 3


@pytest.mark.usefixtures("photo")
def test_a_result_that_would_be_another_is_a_difference(cli, tmp_path):
    assert cli("pool", "photo.png", "--receipt", "-o", "small.npy").code == 0
    path = tmp_path / "small.npy.json"
    said = json.loads(path.read_text())
    said["request"]["method"], said["version"] = "min", "0.0.1"
    path.write_text(json.dumps(said))
    done = cli("verify", "small.npy")
    assert (done.code, "0.0.1 made it, this is" in done.err) == (6, True)


@pytest.mark.usefixtures("photo")
def test_everything_that_was_asked_for_is_in_the_receipt(cli, tmp_path):
    np.save(tmp_path / "x.npy", sample((2, 9, 10), "float32"))
    np.save(tmp_path / "w.npy", np.random.default_rng(0).choice([0, 0.5, 1], (9, 10)))
    np.save(tmp_path / "taps.npy", np.ones((2, 2)))
    asked = (
        ("--layout", "CHW", "-m", "avg", "-k", "3x2", "-p", "1:0x0:1", "--rules", "torch", "--weights", "w.npy"),
        ("--layout", "CHW", "-m", "weighted:taps.npy", "--nan", "ignore", "--nodata", "nan,1", "--empty", "nan"),
        ("--to", "3x4", "--to-rule", "area", "-m", "lp:2.5", "--min-valid", "50%", "--mask", "w.npy", "--dtype", "f32"),
        ("--fractional", "4", "--seed", "7", "-m", "max", "--dtype", "uint8", "--round", "up", "--layout", "CHW"),
    )
    for options in asked:
        assert cli("pool", "x.npy", *options, "--receipt", "-o", "y.npy", "-f").code == 0
        done = cli("verify", "y.npy")
        assert done.code == 0, done.err
    said = receipt(cli, "y.npy")
    assert said["output"]["format"] == "npy"


def test_a_receipt_moves_with_its_files(cli, tmp_path, photo):
    assert cli("pool", photo, "--receipt", "-o", "made/small.png").code == 0
    (tmp_path / "moved").mkdir()
    for name in ("photo.png", "made"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    done = cli("verify", tmp_path / "moved" / "made" / "small.png")
    assert done.code == 0, done.err


@pytest.mark.usefixtures("photo")
def test_levels_have_receipts_of_their_own(cli, tmp_path):
    assert cli("pool", "photo.png", "-m", "median", "--levels", 2, "--receipt", "-o", "made/").code == 0
    made = sorted((tmp_path / "made").iterdir())
    assert len(made) == 2
    assert cli("verify", *made).code == 0


@pytest.mark.usefixtures("photo")
def test_a_receipt_holds_the_command(tmp_path):
    command = [sys.executable, "-m", "poolcli", "pool", "photo.png", "--receipt", "-o", "a b.png"]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    text = contents.note((tmp_path / "a b.png").read_bytes())
    assert json.loads(text)["command"] == "poolcli pool photo.png --receipt -o 'a b.png'"


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize(
    "damage",
    [
        {"output": {}},
        {"output": {"format": "tigf", "level": 1}},
        {"request": {"method": 3}},
        {"request": {"window": {"kernel": {}}}},
    ],
)
@pytest.mark.usefixtures("photo")
def test_a_damaged_receipt_is_refused(cli, tmp_path, damage):
    assert cli("pool", "photo.png", "--receipt", "-o", "small.npy").code == 0
    path = tmp_path / "small.npy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    done = cli("verify", "small.npy")
    assert (done.code, "small.npy: holds a damaged receipt" in done.err) == (3, True), done.err


@pytest.mark.usefixtures("photo")
def test_what_can_have_no_receipt_is_refused(cli, tmp_path):
    for format_ in ("jpeg", "npy"):
        done = cli("pool", "photo.png", "--receipt", "-o", "-", "-F", format_)
        assert (done.code, done.out) == (2, b"")
        assert f"receipt must be in what stdout is given, as PNG and TIFF hold one, got {format_}" in done.err
    done = cli("pool", "photo.png", "--receipt", "--show")
    assert done.code == 2
    (tmp_path / "small.npy.json").write_text("mine")
    assert cli("pool", "photo.png", "--receipt", "-o", "small.npy").code == 2
    assert not (tmp_path / "small.npy").exists()
    for name in ("photo.png", "missing.png"):
        assert cli("verify", name).code == 3
    assert "holds no receipt" in cli("verify", "photo.png").err


@pytest.mark.parametrize("format_", ["png", "tiff"])
def test_a_receipt_goes_through_pipes(cli, piped, tmp_path, photo, format_):
    done = piped(photo.read_bytes(), "pool", "-", "-m", "avg", "-F", format_, "--receipt", "-o", "-")
    assert done.code == 0, done.err
    path = tmp_path / "piped"
    path.write_bytes(done.out)
    assert receipt(cli, "piped")["input"] == {"name": "-", "place": "-", "sha256": digest(photo)}
    assert piped(photo.read_bytes(), "verify", "piped").code == 0
    done = piped(b"another", "verify", "piped")
    assert (done.code, "its SHA-256 differs" in done.err) == (6, True)
    done = cli("pool", "photo.png", "-m", "avg", "-F", format_, "--receipt", "-o", "-")
    path.write_bytes(done.out)
    assert cli("verify", "piped").code == 0


def test_what_stdout_is_given_tells_late_that_it_holds_no_receipt(piped, tmp_path):
    np.save(tmp_path / "x.npy", PHOTO)
    done = piped((tmp_path / "x.npy").read_bytes(), "pool", "-", "--layout", "HWC", "--receipt")
    assert (done.code, done.out) == (2, b"")
    assert "got npy" in done.err


def test_every_output_of_a_batch_has_a_receipt(cli, tmp_path):
    for name in ("a.png", "b.tiff", "deep/c.npy"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        poolcli.write(tmp_path / "in" / name, PHOTO)
    command = ("batch", "in", "-o", "out", "-m", "max", "--layout", "HWC", "--receipt")
    done = cli(*command)
    assert done.code == 0, done.err
    made = [tmp_path / "out" / name for name in ("a.png", "b.tiff", "deep/c.npy")]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.json")) == ["c.npy.json"]
    for path in made:
        assert receipt(cli, path)["request"]["method"] == "max"
    assert cli("verify", *made).code == 0
    assert cli(*command).code == 0  # all is up to date
    poolcli.write(tmp_path / "in" / "deep" / "c.npy", PHOTO[::-1], force=True)
    assert cli("verify", made[2]).code == 6
    assert cli(*command).code == 0
    assert cli("verify", *made).code == 0
