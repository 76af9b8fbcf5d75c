"""Proves that what is larger than --max-memory is pooled in bands, with the values of the whole, or refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

import poolcli
from poolcli.jobs import bands
from poolcli.media import scanlines

RNG = np.random.default_rng(3)
SMALL = 300_000  # bytes: more than a band of what follows needs


@pytest.fixture(autouse=True)
def small_bands(monkeypatch):
    monkeypatch.setattr(bands, "WORK", 0)
    monkeypatch.setattr(bands, "BAND", 2**15)
    monkeypatch.setattr(scanlines, "STEP", 5_000)
    monkeypatch.setattr(scanlines, "PIECE", 1_000)


def pooled(cli, name, out, *options, memory=SMALL):
    """Pool a file in bands and return what is read back, the record and how many bands there were."""
    done = cli("pool", name, "-o", out, "--json", "--explain", "--engine", "numpy", "--max-memory", memory, *options)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    count = int(done.err.partition(" allowed, in ")[2].partition(" bands")[0])
    assert count > 1
    return poolcli.read(out), record


SHAPES = (
    ("HW", (300, 200)),
    ("HWC", (150, 90, 5)),
    ("CHW", (7, 90, 100)),
    ("NDHWC", (2, 9, 40, 30, 3)),
    ("NLC", (3, 9000, 2)),
)


@pytest.mark.parametrize(("layout", "shape"), SHAPES, ids=[each[0] for each in SHAPES])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("method", ["avg", "median", "maxblur"])
def test_a_tensor_in_bands_has_the_values_of_the_whole(cli, layout, shape, order, method):
    array = np.asarray(RNG.normal(size=shape), order=order)
    np.save("in.npy", array)
    window = {"kernel": 3, "stride": 2, "padding": 1}
    result, record = pooled(cli, "in.npy", "out.npy", "-m", method, "--layout", layout, "-k3", "-s2", "-p1")
    expected = poolcli.pool(array, method, layout=layout, engine="numpy", **window)
    assert (result.dtype, record["out"]["shape"]) == (expected.dtype, list(expected.shape))
    np.testing.assert_array_equal(result, expected)
    assert record["out"]["bytes"] == os.path.getsize("out.npy")
    assert record["engine"] == "numpy"


@pytest.mark.parametrize("dtype", ["bool", ">f8", "<u2", "int8", "float16"])
def test_every_dtype_and_byte_order_goes_in_bands(cli, dtype):
    array = (RNG.integers(0, 2 if dtype == "bool" else 100, (600, 500))).astype(dtype)
    np.save("in.npy", array)
    result, _ = pooled(cli, "in.npy", "out.npy", "-m", "min", "-k", "4x3")
    np.testing.assert_array_equal(result, poolcli.pool(array, "min", (4, 3)))


MASK = RNG.integers(0, 3, (300, 600))
MORE = {
    "to": ("--to 7x9", {"to": (7, 9)}),
    "framed": ("-k5 -s1 -p2 --pad-mode reflect", {"kernel": 5, "stride": 1, "padding": 2, "pad_mode": "reflect"}),
    "mask": ("-k3 --mask mask.npy --empty 0", {"kernel": 3, "mask": MASK, "empty": 0}),
    "nodata": ("-k3 --nodata 1 --dtype u8 --empty 9", {"kernel": 3, "nodata": 1, "dtype": "uint8", "empty": 9}),
}


@pytest.mark.parametrize("case", MORE)
def test_windows_and_missing_data_are_those_of_the_whole(cli, case):
    options, keywords = MORE[case]
    array = RNG.integers(0, 9, (300, 600)).astype("float64")
    np.save("in.npy", array)
    np.save("mask.npy", MASK)
    memory = 2_000_000 if case == "mask" else 400_000  # masks are held
    result, _ = pooled(cli, "in.npy", "out.npy", "-m", "avg", *options.split(), memory=memory)
    np.testing.assert_array_equal(result, poolcli.pool(array, "avg", engine="numpy", **keywords))


RGB = {"photometric": "rgb"}
PICTURES = {
    "tiled": ((600, 300, 3), "uint8", {**RGB, "tile": (32, 48), "compression": "zlib", "predictor": True}),
    "strips": ((600, 300, 3), "uint16", {**RGB, "rowsperstrip": 7, "compression": "lzw"}),
    "planes": ((3, 600, 300), "uint8", {**RGB, "planarconfig": "separate", "rowsperstrip": 11, "compression": "zlib"}),
    "one strip": ((900, 300), "float32", {"rowsperstrip": 900}),
    "big endian": ((900, 300), "uint16", {"rowsperstrip": 9, "byteorder": ">"}),
    "white is zero": ((900, 300), "uint8", {"photometric": "miniswhite", "tile": (16, 16)}),
    "alpha": ((900, 60, 4), "uint8", {**RGB, "tile": (16, 16), "extrasamples": ["unassalpha"]}),
    "odd bits": ((900, 301), "bool", {"rowsperstrip": 9}),
}


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("suffix", ["tif", "npy", "png"])
def test_a_tiff_in_bands_has_the_values_of_the_whole(cli, case, suffix):
    shape, dtype, options = PICTURES[case]
    order = {"byteorder": options.pop("byteorder")} if "byteorder" in options else {}
    tifffile.imwrite("in.tif", RNG.integers(0, 2 if dtype == "bool" else 250, shape).astype(dtype), **options, **order)
    options |= order
    method = ["-m", "max" if dtype in {"bool", "float32"} else "avg", *(["-k4"] if suffix == "png" else ["-k3", "-s1"])]
    if suffix == "png" and dtype == "float32":
        method += ["--dtype", "u8"]
    memory = 2_000_000 if case == "alpha" else 700_000
    if (case, suffix) == ("odd bits", "tif"):  # bits are written as a whole
        memory = 1_500_000
    whole = cli("pool", "in.tif", "-o", f"whole.{suffix}", "--engine", "numpy", *method)
    assert whole.code == 0, whole.err
    result, _ = pooled(cli, "in.tif", f"out.{suffix}", *method, memory=memory)
    np.testing.assert_array_equal(result, poolcli.read(f"whole.{suffix}"))
    with Image.open(f"out.{suffix}") if suffix != "npy" else Image.new("L", (1, 1)) as image:
        assert image.size


def test_a_tiff_in_bands_keeps_what_goes_with_the_pixels(cli):
    from poolcli.media import contents, files

    picture = RNG.integers(0, 255, (600, 300, 3)).astype("uint8")
    extra = [(271, "s", 0, "A camera", True)]
    tifffile.imwrite("in.tif", picture, **RGB, resolution=(300, 300), resolutionunit="INCH", extratags=extra)
    assert cli("pool", "in.tif", "-m", "avg", "-k2", "-o", "whole.tif").code == 0
    pooled(cli, "in.tif", "out.tif", "-m", "avg", "-k2", memory=700_000)
    metas = [contents.look(files.read(name), max_pixels=10**9).source.meta for name in ("whole.tif", "out.tif")]
    assert metas[0] == metas[1]
    assert metas[1].dpi == (150, 150)
    assert b"A camera" in metas[1].exif


PNGS = {
    "grey": ((900, 301), "uint8"),
    "alpha": ((900, 60, 2), "uint8"),
    "rgb": ((900, 100, 3), "uint8"),
    "deep": ((900, 100, 3), "uint16"),
    "rgba": ((900, 60, 4), "uint16"),
}


@pytest.mark.parametrize("case", PNGS)
@pytest.mark.parametrize("window", ["-k5 -s1", "-k2 -s9", "-k4"])
def test_a_png_in_bands_has_the_values_of_the_whole(cli, case, window):
    shape, dtype = PNGS[case]
    smooth = np.add.outer(np.arange(shape[0]) * 30, np.arange(int(np.prod(shape[1:])))).reshape(shape)
    array = (smooth * 7 + RNG.integers(0, 9, shape)).astype(dtype)  # all kinds of filters suit some of it
    poolcli.write("in.png", array)
    options = ("-m", "avg", *window.split())
    assert cli("pool", "in.png", "-o", "whole.npy", "--engine", "numpy", *options).code == 0
    memory = {"alpha": 900_000, "rgba": 2_000_000}.get(case, 600_000)
    result, _ = pooled(cli, "in.png", "out.npy", *options, memory=memory)
    np.testing.assert_array_equal(result, np.load("whole.npy"))


@pytest.mark.parametrize("what", ["bit", "end"])
def test_a_damaged_png_in_bands_is_refused_and_leaves_no_output(cli, what):
    poolcli.write("in.png", RNG.integers(0, 255, (900, 301)).astype("uint8"))
    with open("in.png", "rb") as file:
        data = bytearray(file.read())
    if what == "bit":
        data[-2000] ^= 1
    else:
        del data[-2000:]
    with open("in.png", "wb") as file:
        file.write(data)
    done = cli("pool", "in.png", "-o", "out.npy", "-k2", "-s1", "-m", "avg", "--max-memory", SMALL)
    assert (done.code, os.listdir()) == (3, ["in.png"])
    assert "png" in done.err


def test_a_stored_array_of_an_archive_goes_in_bands_and_damage_is_seen(cli):
    arrays = {"one": RNG.normal(size=(300, 200)), "two": np.zeros(3)}
    np.savez("in.npz", **arrays)
    result, _ = pooled(cli, "in.npz", "out.npy", "--key", "one", "-m", "avg", "-k2")
    np.testing.assert_array_equal(result, poolcli.pool(arrays["one"], "avg", 2, engine="numpy"))
    with zipfile.ZipFile("in.npz") as archive:
        at = archive.getinfo("one.npy").header_offset + 300_000
    with open("in.npz", "r+b") as file:
        file.seek(at)
        file.write(b"damage")
    done = cli("pool", "in.npz", "-o", "no.npy", "--key", "one", "--max-memory", SMALL)
    assert (done.code, os.path.exists("no.npy")) == (3, False)
    assert "damaged or truncated npz" in done.err


# --- what cannot be kept ---


def refused(cli, *arguments):
    done = cli("pool", *arguments)
    assert done.code == 5
    assert "Traceback" not in done.err
    return done.err


def test_what_cannot_be_kept_is_refused_before_the_start_with_the_way_out(cli):
    Image.fromarray(RNG.integers(0, 255, (400, 400, 3)).astype("uint8")).save("in.jpg")
    said = refused(cli, "in.jpg", "-o", "out.png", "--max-memory", SMALL)
    assert "in.jpg: memory must hold" in said
    assert "--max-memory" in said
    assert "vips copy" in said
    np.savez_compressed("in.npz", RNG.normal(size=(300, 200)))
    assert "npz is read as a whole" in refused(cli, "in.npz", "-o", "out.npy", "--max-memory", SMALL)
    np.save("in.npy", RNG.normal(size=(300, 200)))
    assert "webp is encoded as a whole" in refused(
        cli, "in.npy", "-o", "out.webp", "-k1", "-m", "max", "--dtype", "u8", "--max-memory", 200_000
    )
    assert "smallest band" in refused(cli, "in.npy", "-o", "out.npy", "--global", "--max-memory", SMALL)
    assert "counts and indices" in refused(
        cli, "in.npy", "--valid-count", "n.npy", "-o", "x.npy", "--max-memory", SMALL
    )
    assert sorted(os.listdir()) == ["in.jpg", "in.npy", "in.npz"]


def test_files_of_several_pages_indices_and_pipes_are_held_as_before(cli):
    pages = RNG.integers(0, 255, (3, 200, 90)).astype("uint8")
    tifffile.imwrite("in.tif", pages, photometric="minisblack")
    assert cli("pool", "in.tif", "-o", "out.tif", "-k9", "--max-memory", "200K").code == 0
    assert len(tifffile.imread("out.tif")) == 3
    labels = Image.fromarray(pages[0] % 7, "P")
    labels.putpalette(bytes(range(21)))
    for name in ("labels.png", "labels.tif"):
        labels.save(name)
        options = ("-m", "mode", "-k9", "--palette", "index", "--max-memory", "40K", "-o", f"out.{name}")
        assert "decoded as a whole" in refused(cli, name, *options)
    said = refused(cli, "in.tif", "-o", "no.tif", "-k9", "--max-memory", "20K")
    assert "tiff is read as a whole" in said


def test_the_limit_that_is_named_is_enough(cli):
    np.save("in.npy", RNG.normal(size=(300, 200)))
    said = refused(cli, "in.npy", "-o", "out.npy", "--global", "--max-memory", SMALL)
    enough = said.partition("--max-memory ")[2].split()[0]
    assert cli("pool", "in.npy", "-o", "out.npy", "--global", "--max-memory", enough).code == 0


def test_a_plan_and_an_explanation_name_the_memory_and_write_nothing(cli):
    np.save("in.npy", RNG.normal(size=(300, 200)))
    done = cli("pool", "in.npy", "-n", "--explain", "--max-memory", SMALL)
    assert done.code == 0
    assert " kB of 300 kB allowed, in " in done.err
    assert "of 1000 MB allowed, at once" in cli("pool", "in.npy", "-n", "--explain", "--max-memory", "1G").err
    assert os.listdir() == ["in.npy"]


def test_a_check_of_what_is_not_held_is_refused_and_not_skipped(cli):
    np.save("in.npy", RNG.normal(size=(300, 200)))
    np.save("wanted.npy", np.zeros((300, 200)))
    said = refused(cli, "in.npy", "-k1", "-o", "out.npy", "--expect", "wanted.npy", "--max-memory", SMALL)
    assert "expect" in said


def test_a_result_that_is_small_is_shown_of_an_input_that_is_large(cli):
    array = RNG.normal(size=(300, 200))
    np.save("in.npy", array)
    done = cli("pool", "in.npy", "--show", "-m", "max", "-k", "150x200", "--max-memory", 970_000)
    expected = array.reshape(2, 150, 200).max((1, 2)).reshape(2, 1)
    assert done.out.decode().strip() == np.array2string(expected), done.err


# --- nothing half-written ---


def test_an_input_that_changes_or_ends_early_leaves_no_output(cli, monkeypatch):
    array = RNG.normal(size=(300, 200))
    np.save("in.npy", array)
    real = bands.pooled

    def touched(*arguments):
        for number, each in enumerate(real(*arguments)):
            if number == 2:
                os.utime("in.npy", (1, 1))
            yield each

    monkeypatch.setattr(bands, "pooled", touched)
    done = cli("pool", "in.npy", "-k2", "-s1", "-o", "out.npy", "--max-memory", SMALL)
    assert (done.code, os.listdir()) == (3, ["in.npy"])
    assert "changed while reading" in done.err


BIG = """
import sys
from poolcli.cli.app import run
from poolcli.jobs import bands
from poolcli.media import scanlines
slow = bands.pooled
def pooled(*arguments):
    import time
    for number, each in enumerate(slow(*arguments)):
        yield each
        if number == 2:
            print("under way", flush=True)
            time.sleep(60)
bands.pooled = pooled
run(sys.argv[1:])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_kill_leaves_no_half_output(tmp_path, how):
    np.save(tmp_path / "in.npy", RNG.normal(size=(6000, 600)))
    arguments = ["pool", "in.npy", "-k2", "-s1", "-o", "out.npy", "--max-memory", "80M", "--engine", "numpy"]
    command = [sys.executable, "-c", BIG, *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"under way\n"
        process.send_signal(how)
        process.wait(30)
    assert not (tmp_path / "out.npy").exists()
    if how != signal.SIGKILL:
        assert os.listdir(tmp_path) == ["in.npy"]


# --- how much is held ---

PEAK = """
import resource, sys
from poolcli.cli.app import run
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = run(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
"""


def peak(folder, *arguments):
    """Return the most bytes that a command held, the interpreter's own among them."""
    done = subprocess.run([sys.executable, "-c", PEAK, *arguments], cwd=folder, capture_output=True, check=True)
    code, most = done.stdout.split()[-2:]
    assert code == b"0", done.stderr
    return int(most)


@pytest.mark.parametrize("method", ["max", "std"])
def test_the_memory_of_a_large_file_stays_within_its_bound(tmp_path, method):
    with open(tmp_path / "in.npy", "wb") as file:  # 256 MB of zeros that take no place on the disk
        np.lib.format.write_array_header_1_0(file, {"shape": (8000, 4000), "descr": "<f8", "fortran_order": False})
        file.truncate(file.tell() + 8000 * 4000 * 8)
    np.save(tmp_path / "small.npy", np.zeros((64, 64)))
    options = ("-m", method, "-k4", "--engine", "numpy", "-o")
    bare = peak(tmp_path, "pool", "small.npy", *options, "a.npy")
    most = peak(tmp_path, "pool", "in.npy", *options, "b.npy", "--max-memory", "130M")
    assert most - bare < 130e6
    assert np.load(tmp_path / "b.npy").shape == (2000, 1000)
