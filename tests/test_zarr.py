"""Zarrs pooled region by region: the values of the whole, the form of the input, and nothing lost on the way."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import poolcli

zarr = pytest.importorskip("zarr", reason="needs the extra zarr")


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch):
    """Have nothing said of progress, however long it takes."""
    monkeypatch.setattr("poolcli.cli.stores.EVERY", 10**9)


def grid(*shape, dtype="float32", seed=0):
    values = np.random.default_rng(seed).random(shape) * 200
    return values.astype(dtype)


def store(path, array, *, chunks, version=3, names=None, **how):
    made = zarr.create_array(
        str(path), shape=array.shape, dtype=array.dtype, chunks=chunks, zarr_format=version,
        dimension_names=names if version == 3 else None, config={"write_empty_chunks": True}, **how,
    )  # fmt: skip
    made[...] = array
    return made


def image(path, array, *, chunks, scale, translation, axes="yx", **how):
    """Make an OME-Zarr group of version 0.5 with level 0 alone."""
    group = zarr.create_group(str(path))
    made = group.create_array(
        "0", shape=array.shape, dtype=array.dtype, chunks=chunks, config={"write_empty_chunks": True}, **how
    )
    made[...] = array
    kinds = {"c": "channel", "t": "time"}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{
            "axes": [{"name": name, "type": kinds.get(name, "space"), "unit": "micrometer"} for name in axes],
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]}],
        }],
        "omero": {"name": "cells"},
    }  # fmt: skip
    group.attrs["mine"] = 7


def second_reader(path):
    """Return the array as another library reads it."""
    tensorstore = pytest.importorskip("tensorstore")
    return np.asarray(
        tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}).result().read().result()
    )


@pytest.mark.parametrize(
    ("version", "how"),
    [
        (2, {"chunks": (50, 60)}),
        (3, {"chunks": (50, 60)}),
        (3, {"chunks": (20, 30), "shards": (60, 90)}),
        (3, {"chunks": (50, 60), "compressors": None}),
    ],
    ids=["v2", "v3", "shards", "plain"],
)
@pytest.mark.parametrize(
    ("method", "window"), [("avg", "5 2 2"), ("max", "2 2 0"), ("median", "3 3 0"), ("maxblur", "2 2 0")]
)
def test_regions_of_a_zarr_give_the_values_of_the_whole(cli, tmp_path, version, how, method, window):
    kernel, stride, padding = window.split()
    array = grid(311, 233)
    store(tmp_path / "big.zarr", array, version=version, attributes={"made": "here"}, fill_value=3, **how)
    done = cli(
        "pool",
        "big.zarr",
        "-o",
        "out.zarr",
        "-m",
        method,
        "-k",
        kernel,
        "-s",
        stride,
        *(["-p", padding] if padding != "0" else []),
    )
    assert (done.code, done.err, done.out) == (0, "", b"out.zarr\n")
    options = {"padding": int(padding)} if padding != "0" else {}
    found = zarr.open(str(tmp_path / "out.zarr"), mode="r")
    assert np.array_equal(found[...], poolcli.pool(array, method, int(kernel), int(stride), **options))
    assert found.metadata.zarr_format == 3
    assert found.fill_value == 3
    assert dict(found.attrs) == {"made": "here"}
    assert os.listdir(tmp_path) == ["big.zarr", "out.zarr"] or sorted(os.listdir(tmp_path)) == ["big.zarr", "out.zarr"]


def test_another_library_reads_what_is_written(cli, tmp_path):
    array = grid(1111, 733)
    store(tmp_path / "big.zarr", array, chunks=(100, 100), shards=(300, 300))
    options = ["-m", "avg", "-k", "5", "-s", "2", "-p", "2", "--chunks", "64", "--shards", "128"]
    assert cli("pool", "big.zarr", "-o", "out.zarr", *options).code == 0
    assert np.array_equal(second_reader(tmp_path / "out.zarr"), poolcli.pool(array, "avg", 5, 2, 2))


def test_chunks_shards_codecs_and_names_are_carried_or_given(cli, tmp_path):
    codec = zarr.codecs.GzipCodec(level=3)
    store(tmp_path / "a.zarr", grid(200, 200), chunks=(20, 20), shards=(40, 40), compressors=codec, names=("y", "x"))
    assert cli("pool", "a.zarr", "-o", "kept.zarr").code == 0
    kept = zarr.open(str(tmp_path / "kept.zarr"), mode="r")
    assert (kept.chunks, kept.shards, kept.compressors) == ((20, 20), (40, 40), (codec,))
    assert kept.metadata.dimension_names == ("y", "x")
    assert (
        cli("pool", "a.zarr", "-o", "given.zarr", "--chunks", "10x25", "--shards", "50x50", "--compress", "zstd:2").code
        == 0
    )
    given = zarr.open(str(tmp_path / "given.zarr"), mode="r")
    assert (given.chunks, given.shards) == ((10, 25), (50, 50))
    assert given.compressors[0].to_dict()["name"] == "zstd"
    assert np.array_equal(given[...], kept[...])
    assert cli("pool", "a.zarr", "-o", "none.zarr", "--compress", "none").code == 0
    assert zarr.open(str(tmp_path / "none.zarr"), mode="r").compressors == ()


@pytest.mark.parametrize(("options", "error"), [
    (["--shards", "30", "--chunks", "20"], "error: a.zarr: shards must be multiples of chunks 20x20, got 30x30"),
    (["--chunks", "0"], "error: chunks must be a whole number from 1"),
    (["--chunks", "4x4x4"], "error: a.zarr: chunks must be one number, or one for each of the 2 axes, got 4x4x4"),
    (["--compress", "lzma"], "error: a.zarr: compress must be one of zstd, gzip, blosc, none"),
    (["--storage-option", "secret=1"], "error: --storage-option must not be a secret"),
    (["--mask", "m.png"], "error: mask must be used with files"),
    (["--levels", "3"], "error: levels must be used with files"),
    (["--fill-missing", "x"], "error: --fill-missing must be a number"),
])  # fmt: skip
def test_what_no_zarr_can_be_is_refused(cli, tmp_path, options, error):
    store(tmp_path / "a.zarr", grid(80, 80), chunks=(20, 20))
    done = cli("pool", "a.zarr", "-o", "out.zarr", *options)
    assert done.err.startswith(error)
    assert done.code == 2
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("option", [["--chunks", "8"], ["--on", "processes"], ["--fill-missing", "0"]], ids=" ".join)
def test_options_of_zarrs_are_refused_for_files(cli, samples, option):
    done = cli("pool", samples / "photo_rgb.png", "-o", "x.png", *option)
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {option[0]} must be used with a Zarr")


def test_without_the_extra_a_zarr_says_what_to_install(cli, tmp_path, monkeypatch):
    store(tmp_path / "a.zarr", grid(20, 20), chunks=(10, 10))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for call in (["pool", "a.zarr", "-o", "b.zarr"], ["pyramid", "a.zarr", "-o", "b.zarr"], ["info", "a.zarr"]):
        done = cli(*call)
        assert done.code == 2
        assert done.err == "error: a.zarr: a Zarr must be read with the extra zarr\nhint: pip install 'poolcli[zarr]'\n"


def test_levels_of_a_group_lie_where_their_windows_do(cli, tmp_path):
    array = grid(3, 90, 70, dtype="uint16")
    image(tmp_path / "cells.zarr", array, chunks=(1, 32, 32), scale=[1, 0.5, 0.25], translation=[0, 10, -4], axes="cyx")
    assert cli("pool", "cells.zarr", "-o", "out.zarr", "-m", "avg", "-k", "3", "-s", "2", "-p", "1").code == 0
    group = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    level = group.attrs["ome"]["multiscales"][0]["datasets"][0]
    # The middle of output 0 is that of its window: elements -1, 0 and 1
    assert level["coordinateTransformations"] == [
        {"type": "scale", "scale": [1, 1.0, 0.5]}, {"type": "translation", "translation": [0, 10, -4]}
    ]  # fmt: skip
    assert cli("pool", "cells.zarr", "-o", "two.zarr", "-m", "avg", "-k", "2").code == 0
    level = zarr.open_group(str(tmp_path / "two.zarr"), mode="r").attrs["ome"]["multiscales"][0]["datasets"][0]
    assert level["coordinateTransformations"][1]["translation"] == [0, 10 + 0.5 * 0.5, -4 + 0.25 * 0.5]
    exact = poolcli.pool(array, "avg", 3, 2, 1, layout="CHW", dtype="uint16")
    assert np.array_equal(group["0"][...], exact)  # an image keeps its dtype
    assert group.attrs["mine"] == 7
    assert group.attrs["ome"]["omero"] == {"name": "cells"}


def test_names_of_axes_tell_which_are_pooled(cli, tmp_path):
    array = grid(2, 3, 8, 20, 24, dtype="uint8")
    store(tmp_path / "a.zarr", array, chunks=(1, 1, 4, 10, 12), names=("t", "c", "z", "y", "x"))
    assert cli("pool", "a.zarr", "-o", "out.zarr", "-k", "1x2x2").code == 0
    found = zarr.open(str(tmp_path / "out.zarr"), mode="r")
    assert np.array_equal(found[...], poolcli.pool(array, "max", (1, 2, 2), layout="NCDHW"))


def test_a_missing_chunk_is_named_and_costs_the_output_but_not_the_other_regions(cli, tmp_path):
    array = grid(200, 200, dtype="uint8") | np.uint8(1)
    store(tmp_path / "a.zarr", array, chunks=(50, 50))
    (tmp_path / "a.zarr" / "c" / "1" / "2").unlink()
    done = cli("pool", "a.zarr", "-o", "out.zarr", "--json")
    assert done.code == 3
    assert json.loads(done.out)["error"]["message"] == "a.zarr: chunk 1/2 is missing"
    assert "hint: --fill-missing 0" in done.err
    assert not (tmp_path / "out.zarr").exists()
    done = cli("pool", "a.zarr", "-o", "out.zarr", "--fill-missing", "7")
    assert (done.code, done.err) == (0, "warning: a.zarr: 1 chunks are not stored: 7 stands for them\n")
    array[50:100, 100:150] = 7
    assert np.array_equal(zarr.open(str(tmp_path / "out.zarr"), mode="r")[...], poolcli.pool(array, "max"))


@pytest.mark.parametrize("value", ["300", "-1", "0.5", "nan"])
def test_what_stands_for_missing_chunks_is_a_value_of_the_dtype(cli, tmp_path, value):
    store(tmp_path / "a.zarr", grid(20, 20, dtype="uint8"), chunks=(10, 10))
    done = cli("pool", "a.zarr", "-o", "out.zarr", f"--fill-missing={value}")
    assert (done.code, done.err) == (2, f"error: a.zarr: fill_missing must be a value of uint8, got {value}\n")


@pytest.mark.parametrize("value", [85, 42, 0])
def test_chunks_of_one_value_are_not_missing(cli, tmp_path, value):
    array = np.full((64, 64), value, "uint8")
    store(tmp_path / "a.zarr", array, chunks=(16, 16))
    assert cli("pool", "a.zarr", "-o", "out.zarr").code == 0
    assert np.array_equal(zarr.open(str(tmp_path / "out.zarr"), mode="r")[...], np.full((32, 32), value))


def test_an_inner_chunk_that_a_shard_lacks_is_missing(cli, tmp_path):
    made = zarr.create_array(str(tmp_path / "a.zarr"), shape=(64, 64), dtype="f4", chunks=(16, 16), shards=(32, 32))
    made[:16, :16] = 5
    done = cli("pool", "a.zarr", "-o", "out.zarr", "--layout", "HW")
    assert done.code == 3
    assert "chunks 0/1, 0/2, 0/3 and 12 more are missing" in done.err


@pytest.mark.parametrize("harm", ["truncated", "changed"])
def test_a_damaged_shard_is_named(cli, tmp_path, harm):
    store(tmp_path / "a.zarr", grid(120, 120), chunks=(20, 20), shards=(40, 40))
    shard = tmp_path / "a.zarr" / "c" / "2" / "1"
    data = shard.read_bytes()
    shard.write_bytes(data[:-100] if harm == "truncated" else data[:-8] + bytes(b ^ 255 for b in data[-8:]))
    done = cli("pool", "a.zarr", "-o", "out.zarr")
    assert done.code == 3
    assert "chunk 2/1 is damaged" in done.err
    assert not (tmp_path / "out.zarr").exists()
    shard.write_bytes(data)
    assert cli("pool", "a.zarr", "-o", "out.zarr").code == 0  # the same command goes on


def unknown_codec(path):
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"zstd"', '"abc"'))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda path: (path / "zarr.json").write_text("{"), "Zarr metadata cannot be read"),
        (lambda path: (path / "zarr.json").unlink(), "it holds no Zarr array or group"),
(unknown_codec, "Zarr metadata cannot be read"),
        (shutil.rmtree, "no such folder"),
    ],
    ids=["damaged", "none", "codec", "gone"],
)  # fmt: skip
def test_metadata_that_say_nothing_are_an_error_of_the_input(cli, tmp_path, spoil, error):
    store(tmp_path / "a.zarr", grid(40, 40), chunks=(20, 20))
    spoil(tmp_path / "a.zarr")
    done = cli("pool", "a.zarr", "-o", "out.zarr")
    assert done.code == 3
    assert done.err.startswith(f"error: a.zarr: {error}")


def test_a_target_that_exists_is_treated_as_a_file_is(cli, tmp_path):
    store(tmp_path / "a.zarr", grid(40, 40), chunks=(20, 20))
    call = ["pool", "a.zarr", "-o", "out.zarr"]
    assert cli(*call).code == 0
    done = cli(*call)
    assert (done.code, done.err.splitlines()[0]) == (2, "error: out.zarr: output exists")
    assert cli(*call, "--exists", "skip", "-k", "4").code == 0
    assert zarr.open(str(tmp_path / "out.zarr"), mode="r").shape == (20, 20)
    assert cli(*call, "-f", "-k", "4").code == 0
    assert zarr.open(str(tmp_path / "out.zarr"), mode="r").shape == (10, 10)
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "notes").write_text("mine")
    assert cli("pool", "a.zarr", "-o", "b/{stem}.zarr").code == 0


def test_the_second_of_two_runs_into_one_target_is_refused(cli, tmp_path):
    from poolcli.jobs import journal

    store(tmp_path / "a.zarr", grid(40, 40), chunks=(20, 20))
    with journal.opened(str(tmp_path / "out.zarr"), "another's"):
        done = cli("pool", "a.zarr", "-o", "out.zarr")
    assert done.code == 2
    assert "another run is at work there" in done.err
    assert cli("pool", "a.zarr", "-o", "out.zarr").code == 0


def test_a_shard_larger_than_the_memory_is_refused_with_one_that_is_not(cli, tmp_path):
    store(tmp_path / "a.zarr", grid(1024, 1024), chunks=(64, 64), shards=(512, 512))
    call = ["pool", "a.zarr", "-o", "out.zarr", "--max-memory", "2M", "-t", "2"]
    done = cli(*call)
    assert done.code == 5
    way = done.err.splitlines()[1].removeprefix("hint: ").split()
    assert way[0] == "--shards"
    assert cli(*call, *way).code == 0
    assert np.array_equal(zarr.open(str(tmp_path / "out.zarr"), mode="r")[...], poolcli.pool(grid(1024, 1024)))


def test_explain_tells_of_regions_and_nothing_is_written_by_a_dry_run(cli, tmp_path):
    store(tmp_path / "a.zarr", grid(256, 256), chunks=(32, 32))
    done = cli(
        "pool", "a.zarr", "-o", "out.zarr", "-n", "--explain", "-k", "3", "-s", "2", "--max-memory", "1M", "-t", "1"
    )
    assert done.code == 0
    assert b"a.zarr -> out.zarr  256x256 float32 zarr -> 127x127 float32 zarr" in done.out
    assert "regions of" in done.err
    assert 0 < int(re.search(r"at most (\d+) kB are held", done.err)[1]) <= 1000
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_info_tells_how_an_array_is_stored(cli, tmp_path):
    image(
        tmp_path / "a.zarr",
        grid(64, 48, dtype="uint8"),
        chunks=(8, 8),
        shards=(16, 16),
        scale=[1, 1],
        translation=[0, 0],
    )
    done = cli("info", "a.zarr", "--json", "-k", "2")
    row = json.loads(done.out)
    assert (row["format"], row["axes"], row["chunks"], row["shards"], row["levels"], row["out"]) == (
        "zarr v3", "y,x", [8, 8], [16, 16], [[64, 48]], [32, 24]
    )  # fmt: skip
    assert row["codecs"].startswith("zstd")
    assert b"zarr v3" in cli("info", "a.zarr").out


# --- Kills: a pipe in place of a chunk holds a run up where the test wants it ---


def start(*arguments, folder):
    root = Path(poolcli.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, "-m", "poolcli", *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE
    )


def held_up(chunk):
    """Replace a chunk by a pipe that nobody writes to; return what puts it back."""
    data, found = chunk.read_bytes(), chunk.stat()
    chunk.unlink()
    os.mkfifo(chunk)
    os.utime(chunk, ns=(found.st_atime_ns, found.st_mtime_ns))

    def free():
        chunk.unlink()
        chunk.write_bytes(data)
        os.utime(chunk, ns=(found.st_atime_ns, found.st_mtime_ns))

    return free


def wait_for_lines(journal, process, least):
    """Wait until so many regions are done; the run cannot end, so this ends."""
    while True:
        lines = journal.read_text().splitlines() if journal.exists() else []
        done = [line for line in lines if '"done"' in line]
        if len(done) >= least:
            return done
        assert process.poll() is None, process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_same_command_goes_on_after_a_kill(cli, tmp_path, number):
    array = grid(400, 80)
    store(tmp_path / "a.zarr", array, chunks=(20, 20))
    free = held_up(tmp_path / "a.zarr" / "c" / "10" / "1")
    small = ["--chunks", "10", "--max-memory", "60K", "-t", "1"]
    call = ["pool", "a.zarr", "-o", "out.zarr", "-m", "avg", "-k", "5", "-s", "2", *small]
    with start(*call, folder=tmp_path) as process:
        kept = tmp_path / ".poolcli" / "out.zarr"
        wait_for_lines(kept / "regions.jsonl", process, 3)
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 143), err
    assert number == signal.SIGKILL or b"the same command goes on" in err
    assert not (tmp_path / "out.zarr").exists()
    written = {
        path.relative_to(kept / "new"): path.stat().st_mtime_ns
        for path in (kept / "new" / "c").rglob("*")
        if path.is_file()
    }
    done = [json.loads(line)["box"] for line in (kept / "regions.jsonl").read_text().splitlines() if '"done"' in line]
    free()
    assert cli(*call).code == 0
    assert np.array_equal(zarr.open(str(tmp_path / "out.zarr"), mode="r")[...], poolcli.pool(array, "avg", 5, 2))
    for (top, _), (left, _) in done:  # what was done was not done again
        chunk = Path("c") / str(top // 10) / str(left // 10)
        assert (tmp_path / "out.zarr" / chunk).stat().st_mtime_ns == written[chunk]
    assert not (tmp_path / ".poolcli").exists()


def test_another_window_starts_anew(cli, tmp_path):
    array = grid(400, 80)
    store(tmp_path / "a.zarr", array, chunks=(20, 20))
    (tmp_path / "a.zarr" / "c" / "19" / "3").unlink()
    call = ["pool", "a.zarr", "-o", "out.zarr", "--max-memory", "100K", "-t", "1"]
    assert cli(*call, "-k", "2").code == 3
    assert cli(*call, "-k", "4", "--fill-missing", "0").code == 0
    array[380:, 60:] = 0
    assert np.array_equal(zarr.open(str(tmp_path / "out.zarr"), mode="r")[...], poolcli.pool(array, kernel=4))


# --- URLs ---


def test_zarrs_behind_urls_of_fsspec_are_read_and_written(cli, tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    array = grid(60, 50)
    store(tmp_path / "a.zarr", array, chunks=(20, 20))
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "a.zarr"), "/in/a.zarr", recursive=True)
    assert cli("pool", "memory://in/a.zarr", "-o", "memory://in/b.zarr").code == 0
    memory.get("/in/b.zarr", str(tmp_path / "b.zarr"), recursive=True)
    assert np.array_equal(zarr.open(str(tmp_path / "b.zarr"), mode="r")[...], poolcli.pool(array))
    assert cli("pool", "memory://in/a.zarr", "-o", "memory://in/b.zarr").code == 2
    assert cli("info", "memory://in/b.zarr").code == 0
    memory.rm("/in", recursive=True)


def test_metadata_of_a_url_are_written_last(cli, tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store(tmp_path / "a.zarr", grid(60, 50), chunks=(20, 20))
    (tmp_path / "a.zarr" / "c" / "2" / "2").unlink()
    assert cli("pool", "a.zarr", "-o", "memory://out/b.zarr", "--max-memory", "30K", "-t", "1").code == 3
    memory = fsspec.filesystem("memory")
    assert memory.exists("/out/b.zarr/c/0/0")
    assert not memory.exists("/out/b.zarr/zarr.json")
    memory.rm("/out", recursive=True)


def test_a_zarr_is_read_over_http(cli, tmp_path):
    pytest.importorskip("aiohttp")
    array = grid(60, 50)
    store(tmp_path / "a.zarr", array, chunks=(20, 20))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.zarr"
        assert cli("pool", url, "-o", "out.zarr").code == 0
        gone = cli("pool", url.replace("a.zarr", "z.zarr"), "-o", "other.zarr")
        server.shutdown()
    assert np.array_equal(zarr.open(str(tmp_path / "out.zarr"), mode="r")[...], poolcli.pool(array))
    assert gone.code == 3


def test_a_url_with_a_password_is_refused_and_not_repeated(cli):
    done = cli("pool", "http://me:hunter2@127.0.0.1/a.zarr", "-o", "out.zarr")
    assert done.code == 2
    assert "hunter2" not in done.err


# --- Limits ---


def spend(folder, *arguments, limit=None):
    """Run a command line in a process of its own; return its exit code and the most memory it held."""
    environment = {**os.environ, "PYTHONPATH": str(Path(poolcli.__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-m", "poolcli", *arguments], cwd=folder, env=environment)
    if limit is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024


def test_a_disk_that_is_full_costs_nothing_that_is_done(tmp_path, cli):
    array = grid(200, 200)
    store(tmp_path / "a.zarr", array, chunks=(50, 50))
    call = ["pool", "a.zarr", "-o", "out.zarr", "-k", "2", "--compress", "none"]
    assert spend(tmp_path, *call, limit=1500)[0] == 4  # bytes of a file; a chunk has 2,500
    assert not (tmp_path / "out.zarr").exists()
    assert cli(*call).code == 0
    assert np.array_equal(zarr.open(str(tmp_path / "out.zarr"), mode="r")[...], poolcli.pool(array))


def test_memory_stays_below_its_bound(tmp_path):
    bound = 48 * 10**6
    array = np.arange(4096 * 8192, dtype="uint16").reshape(4096, 8192)
    store(tmp_path / "big.zarr", array, chunks=(256, 256), shards=(1024, 1024))
    store(tmp_path / "tiny.zarr", array[:512, :512], chunks=(256, 256))
    call = ["-m", "avg", "-k", "2", "--max-memory", str(bound), "--shards", "512", "--engine", "numba", "-t", "2"]
    (one, base), (other, peak) = (
        spend(tmp_path, "pool", f"{name}.zarr", "-o", f"{name}2.zarr", *call) for name in ("tiny", "big")
    )
    assert (one, other) == (0, 0)
    assert array.nbytes > bound
    assert peak - base < bound
