"""Work on other processes: the same values, records and exit codes as here, and nothing lost with a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import poolcli
from poolcli.errors import UsageError
from poolcli.jobs import executors

ROOT = Path(poolcli.__file__).parent.parent
TWO = ("--on", "processes:2")


def run(*arguments, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "poolcli", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def store(path, array, **how):
    zarr = pytest.importorskip("zarr", reason="needs the extra zarr")
    made = zarr.create_array(
        str(path), shape=array.shape, dtype=array.dtype, config={"write_empty_chunks": True}, **how
    )
    made[...] = array


def read(path):
    import zarr

    return zarr.open(str(path), mode="r")[...]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Return the address of a scheduler with two workers, each a process, and the file that it writes."""
    pytest.importorskip("distributed", reason="needs the extra dask")
    code = (
        "import json, sys\n"
        "from poolcli.jobs import executors\n"
        "import distributed\n"
        "if __name__ == '__main__':\n"
        "    with executors._processes(2, distributed) as cluster:\n"
        "        print(cluster.scheduler_address, flush=True)\n"
        "        sys.stdin.read()\n"
    )
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "cluster.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "cluster.py"], cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        address = process.stdout.readline().strip()
        (folder / "scheduler.json").write_text(json.dumps({"address": address}))
        yield address, folder / "scheduler.json"
        process.stdin.close()


def test_local_work_imports_no_dask(tmp_path):
    store(tmp_path / "a.zarr", np.ones((20, 20)), chunks=(10, 10))
    code = (
        "import sys\nfrom poolcli.cli.app import run\nassert run(['pool', 'a.zarr', '-o', 'b.zarr']) == 0\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def test_without_the_extra_it_is_said_what_to_install(cli, tmp_path, monkeypatch):
    store(tmp_path / "a.zarr", np.ones((20, 20)), chunks=(10, 10))
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = cli("pool", "a.zarr", "-o", "b.zarr", "--on", "processes:2")
    assert done.code == 2
    assert done.err.startswith("error: a.zarr: on=processes:2 must be run with the extra dask")
    assert "hint: pip install 'poolcli[dask]'" in done.err


@pytest.mark.parametrize("on", ["cluster", "tcp:/x", "processes:none", "processes:0"])
def test_a_place_that_is_none_is_refused(cli, tmp_path, on):
    pytest.importorskip("distributed", reason="needs the extra dask")
    store(tmp_path / "a.zarr", np.ones((20, 20)), chunks=(10, 10))
    done = cli("pool", "a.zarr", "-o", "b.zarr", "--on", on)
    assert done.code == 2
    assert " must be " in done.err.splitlines()[0]


def test_a_scheduler_that_does_not_answer_is_one_error(cli, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra dask")
    monkeypatch.setattr(executors, "WAIT", 1)
    store(tmp_path / "a.zarr", np.ones((20, 20)), chunks=(10, 10))
    done = cli("pool", "a.zarr", "-o", "b.zarr", "--on", "tcp://127.0.0.1:9")
    assert done.code == 2
    assert done.err.startswith("error: a.zarr: no scheduler answers at tcp://127.0.0.1:9 within 1 s\n")
    assert not (tmp_path / "b.zarr").exists()


def test_seconds_that_a_scheduler_has_are_few():
    assert executors.WAIT < 10


def test_regions_on_workers_give_the_values_of_the_whole(cli, tmp_path, scheduler):
    array = np.random.default_rng(0).random((300, 200))
    store(tmp_path / "a.zarr", array, chunks=(20, 20))
    call = ["pool", "a.zarr", "-m", "avg", "-k", "9", "-s", "1", "--max-memory", "200K", "--json"]
    there = cli(*call, "-o", "b.zarr", "--on", scheduler[0])
    assert there.code == 0, there.err
    here = cli(*call, "-o", "c.zarr")
    assert np.array_equal(read(tmp_path / "b.zarr"), poolcli.pool(array, "avg", 9, 1))
    free = ("seconds", "threads", "output")
    one, other = (
        {key: value for key, value in json.loads(done.out).items() if key not in free} for done in (there, here)
    )
    assert one == other


def test_the_file_of_a_scheduler_is_an_address(cli, tmp_path, scheduler):
    array = np.random.default_rng(0).integers(0, 9, (64, 64), "uint8")
    store(tmp_path / "a.zarr", array, chunks=(16, 16))
    assert cli("pyramid", "a.zarr", "-m", "max", "--levels", "2", "-o", "b.zarr", "--on", scheduler[1]).code == 0
    assert np.array_equal(read(tmp_path / "b.zarr" / "2"), poolcli.pool(array, kernel=4))
    missing = cli("pool", "a.zarr", "-o", "c.zarr", "--on", "none.json")
    assert (missing.code, missing.err.splitlines()[0]) == (2, "error: a.zarr: none.json: no such file")


def test_workers_with_another_poolcli_are_refused(cli, tmp_path, scheduler, monkeypatch):
    store(tmp_path / "a.zarr", np.ones((20, 20)), chunks=(10, 10))
    monkeypatch.setattr(executors, "__version__", "9.9")
    done = cli("pool", "a.zarr", "-o", "b.zarr", "--on", scheduler[0])
    assert done.code == 2
    assert f"all workers must have poolcli 9.9, but {'tcp'}" in done.err
    assert f"has {poolcli.__version__}" in done.err


def test_workers_that_do_not_see_the_input_are_one_error(tmp_path, scheduler):
    with executors.opened(scheduler[0]) as place:
        place.check(executors.probe, str(tmp_path), [str(tmp_path)])
        with pytest.raises(UsageError, match=r"of 2 the first, tcp:.*gone: no such file"):
            place.check(executors.probe, str(tmp_path), [str(tmp_path / "gone")])
        with pytest.raises(UsageError, match="nowhere: no such file"):
            place.check(executors.probe, str(tmp_path / "nowhere"), [])


def test_a_missing_chunk_is_the_same_error_from_a_worker(cli, tmp_path, scheduler):
    store(tmp_path / "a.zarr", np.ones((60, 60)), chunks=(20, 20))
    (tmp_path / "a.zarr" / "c" / "1" / "1").unlink()
    ends = [cli("pool", "a.zarr", "-o", "b.zarr", "--on", on) for on in ("local", scheduler[0])]
    assert ends[0] == ends[1]
    assert ends[0].code == 3


def test_a_batch_on_workers_is_the_batch_here(cli, tmp_path, scheduler, samples):
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("photo_rgb.png", "grey_odd.png", "grey16.png", "feature_maps.npy")):
        (tmp_path / "in" / f"{number}{name}").write_bytes((samples / name).read_bytes())
    (tmp_path / "in" / "damaged.png").write_bytes((samples / "photo_rgb.png").read_bytes()[:3000])
    call = ["batch", "in", "-m", "avg", "--json"]
    here, there = cli(*call, "-o", "here"), cli(*call, "-o", "there", "--on", scheduler[0])
    assert here.code == there.code == 3

    def told(done):
        records = [json.loads(line) for line in done.out.splitlines()]
        return [(record["status"], record.get("input"), record.get("out"), (record.get("error") or {}).get("message"))
                for record in records[:-1]]  # fmt: skip

    assert told(here) == told(there)
    for path in (tmp_path / "here").glob("[!.]*"):
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()
    again = cli(*call, "-o", "there", "--on", scheduler[0])
    assert [json.loads(line)["status"] for line in again.out.splitlines()] == ["skipped"] * 4 + ["failed", "summary"]


def children(process):
    import psutil

    return [
        one for one in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in " ".join(one.cmdline())
    ]


def done_in(journal):
    return journal.read_text().count('"done"') if journal.exists() else 0


def test_a_worker_that_is_killed_costs_nothing(tmp_path):
    pytest.importorskip("distributed", reason="needs the extra dask")
    array = np.random.default_rng(0).random((480, 480))
    store(tmp_path / "a.zarr", array, chunks=(40, 40))
    asked = ["-m", "avg", "-k", "3", "-s", "1", "-p", "1", "--max-memory", "200K"]
    call = ["pool", "a.zarr", "-o", "b.zarr", *asked, *TWO]
    with run(*call, folder=tmp_path) as process:
        journal = tmp_path / ".poolcli" / "b.zarr" / "regions.jsonl"
        while done_in(journal) < 10:
            assert process.poll() is None, process.stderr.read()
        victim = children(process)[0]
        os.kill(victim.pid, signal.SIGKILL)
        assert done_in(journal) < 144
        out, err = process.communicate()
    assert (process.returncode, out) == (0, "b.zarr\n"), err
    assert np.array_equal(read(tmp_path / "b.zarr"), poolcli.pool(array, "avg", 3, 1, 1))


def test_the_same_command_goes_on_when_the_client_is_killed(tmp_path):
    pytest.importorskip("distributed", reason="needs the extra dask")
    array = np.random.default_rng(0).random((480, 480))
    store(tmp_path / "a.zarr", array, chunks=(40, 40))
    call = ["pool", "a.zarr", "-o", "b.zarr", "-m", "max", "-k", "2", "--chunks", "20", "--max-memory", "150K", *TWO]
    journal = tmp_path / ".poolcli" / "b.zarr" / "regions.jsonl"
    with run(*call, folder=tmp_path) as process:
        while done_in(journal) < 10:
            assert process.poll() is None, process.stderr.read()
        process.kill()
    assert done_in(journal) < 144
    assert not (tmp_path / "b.zarr").exists()
    with run(*call, folder=tmp_path) as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert np.array_equal(read(tmp_path / "b.zarr"), poolcli.pool(array))
