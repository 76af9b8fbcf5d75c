"""Levels of an image: each is level 0 pooled and rounded once, whatever the regions, in OME-Zarr and in TIFF."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest

import poolcli

zarr = pytest.importorskip("zarr", reason="needs the extra zarr")
tifffile = pytest.importorskip("tifffile")


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch):
    """Have nothing said of progress, however long it takes."""
    monkeypatch.setattr("poolcli.cli.stores.EVERY", 10**9)


def defined(array, method, factors):
    """Return the level by its definition: windows of the factors over what there is, by plain NumPy."""
    out = np.empty([-(-length // factor) for length, factor in zip(array.shape, factors, strict=True)], array.dtype)
    for place in product(*map(range, out.shape)):
        window = array[tuple(slice(at * f, (at + 1) * f) for at, f in zip(place, factors, strict=True))]
        out[place] = METHODS[method](window, array.dtype)
    return out


def mean(window, dtype):
    exact = window.astype(np.float64).mean()
    return np.rint(exact) if dtype.kind in "ui" else exact


def mode(window, _, *, sparse=False):
    values, counts = np.unique(window, return_counts=True)
    if sparse and values.size > 1:
        values, counts = values[values != 0], counts[values != 0]
    return values[np.argmax(counts)]


METHODS = {
    "avg": mean,
    "max": lambda window, _: window.max(),
    "median:lower": lambda window, _: np.sort(window, axis=None)[(window.size - 1) // 2],
    "mode": mode,
    "mode:sparse": lambda window, dtype: mode(window, dtype, sparse=True),
}


def labels(*shape, dtype="uint16"):
    """Return a label volume: blocks of one label in a background of zeros."""
    rng = np.random.default_rng(3)
    array = np.zeros(shape, dtype)
    for label in range(1, 60):
        begin = [rng.integers(0, length) for length in shape]
        array[tuple(slice(at, at + rng.integers(1, 9)) for at in begin)] = label
    return array


def group(path, array, *, axes="yx", levels=1, **how):
    made = zarr.create_group(str(path))
    datasets = []
    for number in range(levels):
        made.create_array(
            str(number), shape=array.shape, dtype=array.dtype, config={"write_empty_chunks": True}, **how
        )[...] = array
        scale = {"type": "scale", "scale": [0.5] * array.ndim}
        datasets.append({"path": str(number), "coordinateTransformations": [scale]})
    kinds = {"c": "channel", "t": "time"}
    said = [{"name": name, "type": kinds.get(name, "space")} for name in axes]
    made.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": said, "datasets": datasets}]}
    return made


def read_levels(path):
    made = zarr.open_group(str(path), mode="r")
    return [made[one["path"]] for one in made.attrs["ome"]["multiscales"][0]["datasets"]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("method", ["avg", "max", "median:lower"])
def test_every_level_is_its_definition(cli, tmp_path, dtype, method):
    array = (np.random.default_rng(0).poisson(1.3, (75, 53)) - (dtype != "uint8")).astype(dtype)
    group(tmp_path / "a.zarr", array, chunks=(8, 8))
    done = cli("pyramid", "a.zarr", "-m", method, "--levels", "4", "--max-memory", "60K", "-t", "2")
    assert (done.code, done.err, done.out) == (0, "", b"a.zarr\n")
    levels = read_levels(tmp_path / "a.zarr")
    assert [level.shape for level in levels] == [(75, 53), (38, 27), (19, 14), (10, 7), (5, 4)]
    for number, level in enumerate(levels[1:], 1):
        assert np.array_equal(level[...], defined(array, method, (2**number,) * 2)), number


@pytest.mark.parametrize(
    "how", [{"chunks": (4, 8, 8)}, {"chunks": (2, 4, 4), "shards": (4, 8, 8)}], ids=["chunks", "shards"]
)
def test_a_label_volume_keeps_its_labels(cli, tmp_path, how):
    array = labels(9, 100, 70)
    group(tmp_path / "a.zarr", array, axes="zyx", **how)
    call = ["pyramid", "a.zarr", "-m", "mode:sparse", "--factors", "1x2x2", "--levels", "5", "-o", "b.zarr"]
    assert cli(*call, "--max-memory", "400K", "-t", "1").code == 0
    levels = read_levels(tmp_path / "b.zarr")
    assert len(levels) == 6
    assert np.array_equal(levels[0][...], array)
    for number, level in enumerate(levels[1:], 1):
        assert np.array_equal(level[...], defined(array, "mode:sparse", (1, 2**number, 2**number))), number
        assert level.chunks == tuple(min(c, n) for c, n in zip(how["chunks"], level.shape, strict=True))


def test_five_levels_of_a_label_volume_in_a_tiff(cli, tmp_path, caplog):
    array = labels(40, 70, 90)
    group(tmp_path / "a.zarr", array, axes="zyx", chunks=(16, 32, 32))
    assert cli("pyramid", "a.zarr", "-m", "mode", "--levels", "5", "-o", "b.tif").code == 0
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        levels = file.series[0].levels
        assert (len(levels), file.series[0].axes, caplog.messages) == (6, "ZYX", [])
        assert file.pages[0].is_tiled
        for number, level in enumerate(levels):
            assert np.array_equal(level.asarray(), defined(array, "mode", (2**number,) * 3)), number


def test_planes_of_a_tiff_are_pages_where_depth_stays(cli, tmp_path, caplog):
    array = labels(3, 70, 90)
    group(tmp_path / "a.zarr", array, axes="zyx", chunks=(1, 32, 32))
    assert cli("pyramid", "a.zarr", "-m", "max", "--levels", "2", "--factors", "1x2x2", "-o", "b.tif").code == 0
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert (len(file.pages), file.series[0].axes, caplog.messages) == (3, "ZYX", [])
        for number, level in enumerate(file.series[0].levels):
            assert np.array_equal(level.asarray(), defined(array, "max", (1, 2**number, 2**number)))


def test_a_photo_becomes_a_tiff_of_levels(cli, tmp_path, samples):
    photo = poolcli.read(samples / "photo_rgb.png")
    assert cli("pyramid", samples / "photo_rgb.png", "-m", "avg", "--min-size", "128", "-o", "p.tif").code == 0
    with tifffile.TiffFile(tmp_path / "p.tif") as file:
        levels = file.series[0].levels
        assert [max(level.shape) for level in levels] == [max(photo.shape) // 2**n for n in range(len(levels))]
        assert max(levels[-1].shape) <= 128 < max(levels[-2].shape)
        assert file.pages[0].photometric.name == "RGB"
        for number, level in enumerate(levels):
            exact = poolcli.pool(photo, "avg", 2**number, layout="HWC", dtype="uint8", edge="partial")
            assert np.array_equal(level.asarray(), exact)
    assert np.array_equal(poolcli.read(tmp_path / "p.tif"), photo)  # others see the picture


def test_levels_lie_where_their_windows_do(cli, tmp_path):
    group(tmp_path / "a.zarr", np.zeros((64, 64), "uint8"), chunks=(16, 16))
    assert cli("pyramid", "a.zarr", "-m", "avg", "--levels", "3").code == 0
    said = zarr.open_group(str(tmp_path / "a.zarr"), mode="r").attrs["ome"]["multiscales"][0]
    told = [[one[one["type"]][0] for one in level["coordinateTransformations"]] for level in said["datasets"]]
    assert told == [[0.5, 0], [1, 0.25], [2, 0.75], [4, 1.75]]  # middles of 1, 2, 4 and 8 pixels of 0.5
    assert said["type"] == "avg"


def test_dark_data_do_not_drift(cli, tmp_path):
    array = np.random.default_rng(1).poisson(1.3, (256, 256)).astype("uint8")
    group(tmp_path / "a.zarr", array, chunks=(64, 64))
    assert cli("pyramid", "a.zarr", "-m", "avg", "--levels", "5").code == 0
    level = read_levels(tmp_path / "a.zarr")[5][...]
    assert np.array_equal(level, np.rint(array.reshape(8, 32, 8, 32).mean((1, 3))))


@pytest.mark.parametrize("edge", ["partial", "drop"])
def test_odd_sizes_are_pooled_or_dropped(cli, tmp_path, edge):
    array = np.random.default_rng(0).integers(0, 99, (37, 50), "uint8")
    group(tmp_path / "a.zarr", array, chunks=(10, 10))
    assert (
        cli("pyramid", "a.zarr", "-m", "max", "--levels", "3", "--edge", edge, "--max-memory", "30K", "-t", "1").code
        == 0
    )
    for number, level in enumerate(read_levels(tmp_path / "a.zarr")):
        exact = defined(array, "max", (2**number,) * 2)
        if edge == "drop":
            exact = exact[tuple(slice(n // 2**number) for n in array.shape)]
        assert np.array_equal(level[...], exact)


def test_levels_end_where_one_is_small(cli, tmp_path):
    group(tmp_path / "a.zarr", np.zeros((300, 1000), "uint8"), chunks=(100, 100))
    assert cli("pyramid", "a.zarr", "-m", "max", "--min-size", "130").code == 0
    assert [level.shape for level in read_levels(tmp_path / "a.zarr")][1:] == [(150, 500), (75, 250), (38, 125)]


def test_an_array_becomes_an_image(cli, tmp_path):
    array = np.random.default_rng(0).random((40, 60))
    made = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=array.shape, dtype=array.dtype, chunks=(20, 20), zarr_format=2
    )
    made[...] = array
    done = cli("pyramid", "a.zarr", "-m", "avg", "--levels", "1")
    assert (done.code, done.err.splitlines()[-1]) == (2, "hint: -o NAME.zarr makes one")
    assert cli("pyramid", "a.zarr", "-m", "avg", "--levels", "1", "-o", "b.zarr").code == 0
    assert [
        axis["name"]
        for axis in zarr.open_group(str(tmp_path / "b.zarr"), mode="r").attrs["ome"]["multiscales"][0]["axes"]
    ] == ["y", "x"]
    assert np.array_equal(read_levels(tmp_path / "b.zarr")[1][...], poolcli.pool(array, "avg"))


def test_what_is_no_level_is_left_alone(cli, tmp_path):
    group(tmp_path / "a.zarr", labels(64, 64), chunks=(16, 16))
    (tmp_path / "a.zarr" / "2").mkdir()
    (tmp_path / "a.zarr" / "2" / "mine").write_text("mine")
    for force in ([], ["-f"]):
        done = cli("pyramid", "a.zarr", "-m", "max", "--levels", "2", *force)
        assert done.code == 2
        assert "level 2 must be new" in done.err
    assert (tmp_path / "a.zarr" / "2" / "mine").read_text() == "mine"


def test_levels_that_exist_are_replaced_when_asked(cli, tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (64, 64), "uint8")
    group(tmp_path / "a.zarr", array, chunks=(16, 16), levels=4)
    done = cli("pyramid", "a.zarr", "-m", "max", "--levels", "2")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: a.zarr: a.zarr: has 3 levels")
    assert cli("pyramid", "a.zarr", "-m", "max", "--levels", "2", "-f").code == 0
    assert np.array_equal(read_levels(tmp_path / "a.zarr")[2][...], defined(array, "max", (4, 4)))
    assert not (tmp_path / "a.zarr" / "3").exists()


@pytest.mark.parametrize(("options", "code", "error"), [
    (["-m", "sum"], 2, "error: a.zarr: method of a pyramid must give values as those of level 0, got sum"),
    (["--factors", "1"], 2, "error: a.zarr: factors must be from 1, one above it"),
    (["--levels", "9"], 3, "error: a.zarr: a shape of 64x64 has no 7 levels"),
    (["-o", "b.png"], 2, "error: --output must end with .zarr or .tif"),
    (["--max-memory", "1000", "--levels", "5"], 5, "error: a.zarr: max_memory must hold"),
])  # fmt: skip
def test_what_no_pyramid_can_be_is_refused(cli, tmp_path, options, code, error):
    group(tmp_path / "a.zarr", np.zeros((64, 64), "uint8"), chunks=(16, 16))
    done = cli("pyramid", "a.zarr", *options)
    assert done.err.startswith(error.replace("--output", "output")), done.err
    assert done.code == code


def test_a_dry_run_tells_levels_and_writes_none(cli, tmp_path):
    group(tmp_path / "a.zarr", np.zeros((64, 64), "uint8"), chunks=(16, 16))
    done = cli("pyramid", "a.zarr", "--levels", "2", "-n", "--explain")
    assert done.code == 0
    assert "level 2: 16x16" in done.err
    assert len(read_levels(tmp_path / "a.zarr")) == 1
    done = cli("pyramid", "a.zarr", "--levels", "2", "--json")
    assert json.loads(done.out)["out"]["shape"] == (16, 16) or json.loads(done.out)["out"]["shape"] == [16, 16]


def test_a_missing_chunk_leaves_the_group_as_it_was(cli, tmp_path):
    array = labels(64, 64, dtype="uint8")
    group(tmp_path / "a.zarr", array, chunks=(16, 16))
    (tmp_path / "a.zarr" / "0" / "c" / "1" / "1").unlink()
    before = (tmp_path / "a.zarr" / "zarr.json").read_text()
    done = cli("pyramid", "a.zarr", "-m", "mode", "--levels", "2")
    assert done.code == 3
    assert "chunk 0/1/1 is missing" in done.err
    assert (tmp_path / "a.zarr" / "zarr.json").read_text() == before
    assert sorted(path.name for path in (tmp_path / "a.zarr").iterdir()) == ["0", "zarr.json"]
    assert cli("pyramid", "a.zarr", "-m", "mode", "--levels", "2", "--fill-missing", "0").code == 0
