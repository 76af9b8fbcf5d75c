"""Proves that a batch which is killed, starved or refused at any point leaves every output old or complete."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poolcli.cli.app import run
from poolcli.jobs import manifest, tree

STRACE = shutil.which("strace")
CALLS = ("write", "fsync", "rename", "link", "unlink")
FILES = 12
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
BATCH = ("batch", "in", "-o", "out", "-m", "avg", "-k", "4", "-j", "2", "--engine", "numpy")


def start(*arguments, folder, code=None, **settings):
    command = [sys.executable, *(["-c", code] if code else ["-m", "poolcli"]), *map(str, arguments)]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, **settings)


def finish(*arguments, folder):
    """Run a command line in this process."""
    with contextlib.chdir(folder):
        return run([*arguments, "-q"])


def contents(folder):
    """Return the bytes of all files below *folder* but for the manifest's, and the names of its temporary files."""
    kept, temporary = {}, []
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            if re.fullmatch(r"\.poolcli-.*\.tmp", name):
                temporary.append(str(path))
            elif path.parent.name != tree.OWN:
                kept[str(path.relative_to(folder))] = path.read_bytes()
    return kept, temporary


def told(folder):
    """Return the last status of each output, by the manifest."""
    last = {}
    path = Path(folder) / tree.OWN / manifest.NAME
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            one = json.loads(text)
        except ValueError:
            continue
        last[one["name"]] = one["status"]
    return last


def check(folder, expected, old=None):
    """Every output is complete, or as it was; what the manifest calls done is there."""
    made, temporary = contents(folder)
    old = old or {}
    for name, data in made.items():
        assert data in (expected[name], old.get(name)), f"{name} is neither old nor complete"
    assert set(made) >= set(old)
    for name, status in told(folder).items():
        if status == "done" and not old:
            assert made[name] == expected[name]
    return made, temporary


@pytest.fixture(scope="module")
def tree_of_files(tmp_path_factory):
    """Return a folder ``in`` of pictures and tensors, and the outputs of an unbroken run."""
    folder = tmp_path_factory.mktemp("faults")
    random_ = np.random.default_rng(1)
    for number in range(FILES):
        where = folder / "in" / f"s{number % 3}"
        where.mkdir(parents=True, exist_ok=True)
        pixels = random_.integers(0, 256, (200, 160, 3), np.uint8)
        if number % 4:
            np.save(where / f"{number}.npy", pixels[..., 0])
        else:
            Image.fromarray(pixels).save(where / f"{number}.png")
    assert finish(*BATCH, folder=folder) == 0
    expected, temporary = contents(folder / "out")
    assert len(expected) == FILES
    assert not temporary
    shutil.rmtree(folder / "out")
    return folder, expected


@pytest.fixture
def place(tree_of_files, tmp_path):
    folder, expected = tree_of_files
    (tmp_path / "in").symlink_to(folder / "in")
    return tmp_path, expected


def resumed(folder, expected, *options):
    """Run again to the end: the same bytes as an unbroken run, nothing else, and nothing left to do."""
    assert finish(*BATCH, *options, folder=folder) == 0
    made, temporary = contents(folder / "out")
    assert made == expected
    assert not temporary
    assert set(told(folder / "out").values()) == {"done"}


# --- kill -9 -----------------------------------------------------------------------------------------------------


def killed(folder, rng):
    """Start a batch and kill it when its manifest and a random number of outputs are there; return if the kill hit."""
    enough = rng.integers(len(contents(folder / "out")[0]), FILES)
    running = start(*BATCH, folder=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and not has_open(running.pid, manifest.NAME):
        time.sleep(0.001)
    while running.poll() is None and len(list((folder / "out").glob("s?/*.*"))) < enough:
        time.sleep(rng.uniform(0, 0.002))
    landed = running.poll() is None
    running.kill()
    running.wait()
    return landed and running.returncode == -signal.SIGKILL


def has_open(process, name):
    try:
        return any(os.readlink(f"/proc/{process}/fd/{fd}").endswith(name) for fd in os.listdir(f"/proc/{process}/fd"))
    except OSError:
        return False


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments_leaves_every_output_complete(place, kills):
    folder, expected = place
    rng = np.random.default_rng(kills)
    landed = unfinished = 0
    for _ in range(4 * kills):
        if landed == kills:
            break
        hit = killed(folder, rng)
        made, temporary = check(folder / "out", expected)
        assert len(temporary) <= 3  # one for each thread, and the manifest's
        landed += hit
        unfinished += hit and len(made) < FILES
        if len(made) == FILES:
            shutil.rmtree(folder / "out")
    assert landed == kills
    assert unfinished > kills / 4  # they hit the work, not its end
    resumed(folder, expected)


ONE_THREAD = """
from concurrent.futures import Future
from poolcli.jobs import batch

class Here:
    def __init__(self, *_): pass
    def submit(self, work, *arguments):
        future = Future()
        future.set_result(work(*arguments))
        return future
    def shutdown(self, **_): pass

batch.ThreadPoolExecutor = Here  # strace counts the calls of each thread by themselves
from poolcli.__main__ import main
main()
"""
FEW = ("batch", "few", "-o", "out", "-m", "avg", "-k", "4", "--engine", "numpy", "-q", "--durable")


def trace(folder, *expressions):
    """Run a durable batch under strace; return how it ended and the calls that were seen."""
    options = [part for expression in expressions for part in ("-e", expression)]
    command = [STRACE, "-qq", "-o", "log", *options, sys.executable, "-c", ONE_THREAD, *FEW]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False, timeout=120)
    return done, (folder / "log").read_text(errors="replace").splitlines()


def boundaries(folder, *, old):
    """Return every call of an unbroken run that changes a file: its name, and its number among those of this name."""
    anew(folder, old=old)
    done, log = trace(folder, f"trace={','.join(CALLS)}")
    assert done.returncode == 0, done.stderr
    names = [text.split("(")[0] for text in log]
    # For each of two outputs: its bytes, `started`, its name, `done`; the manifest's name, then its compacted bytes and
    # name; and the names of three new folders
    assert names.count("fsync") == 2 * 4 + 3 + (0 if old else 3)
    assert names.count("rename") == (3 if old else 1)
    assert names.count("link") == (0 if old else 2)
    return [(name, names[: index + 1].count(name)) for index, name in enumerate(names)]


@pytest.fixture
def few(place):
    """Return a folder with two tensors in ``few``, their old outputs in place, and what the new ones will be."""
    if STRACE is None:
        pytest.skip("strace is not installed: apt-get install strace")
    folder, _ = place
    (folder / "few" / "s").mkdir(parents=True)
    for name in ("a.npy", "s/b.npy"):
        np.save(folder / "few" / name, np.random.default_rng(len(name)).integers(0, 256, (40, 40), np.uint8))
    assert finish(*FEW, folder=folder) == 0
    expected, _ = contents(folder / "out")
    shutil.rmtree(folder / "out")
    assert finish(*FEW, "-k", "2", folder=folder) == 0
    old, _ = contents(folder / "out")
    shutil.copytree(folder / "out", folder / "old")
    assert set(old) == set(expected)
    assert all(old[name] != expected[name] for name in old)
    return folder, expected, old


def anew(folder, *, old):
    shutil.rmtree(folder / "out", ignore_errors=True)
    if old:
        shutil.copytree(folder / "old", folder / "out")


SOME = pytest.mark.parametrize("most", [6, pytest.param(1000, marks=pytest.mark.slow)])


def sample(things, most):
    """Return up to *most* of *things*, the same in every run."""
    return [things[index] for index in np.random.default_rng(most).permutation(len(things))[:most]]


@SOME
@pytest.mark.parametrize("old", [False, True], ids=["new", "over"])
def test_kill_9_at_each_boundary_of_a_durable_run(few, old, most):
    folder, expected, before = few
    for call, number in sample(boundaries(folder, old=old), most):
        anew(folder, old=old)
        done, log = trace(folder, f"trace={call}", f"inject={call}:signal=KILL:when={number}")
        assert done.returncode == -signal.SIGKILL, (call, number)
        assert len([text for text in log if text.startswith(call)]) >= number - 1
        assert log[-1] == "+++ killed by SIGKILL +++"
        _, temporary = check(folder / "out", expected, before if old else None)
        assert len(temporary) <= 1
        assert finish(*FEW, folder=folder) == 0
        assert contents(folder / "out") == (expected, [])


# --- errors ------------------------------------------------------------------------------------------------------


@SOME
@pytest.mark.parametrize("old", [False, True], ids=["new", "over"])
def test_an_error_of_the_system_never_ends_in_success_with_a_wrong_output(few, old, most):
    folder, expected, before = few
    faults = list(itertools.product(("ENOSPC", "EIO", "EACCES", "EDQUOT"), boundaries(folder, old=old)))
    for error, (call, number) in sample(faults, most):
        anew(folder, old=old)
        done, log = trace(folder, f"trace={call}", f"inject={call}:error={error}:when={number}")
        assert any(text.endswith("(INJECTED)") for text in log)
        made, _ = check(folder / "out", expected, before if old else None)
        if done.returncode == 0:
            assert made == expected, (error, call, number)
        else:
            assert done.returncode == 4, (error, call, number, done.stderr)
            assert done.stderr.startswith(b"error: ")
            assert b"Traceback" not in done.stderr
        assert finish(*FEW, folder=folder) == 0, (error, call, number)
        assert contents(folder / "out") == (expected, [])


@pytest.fixture
def tiny(tmp_path):
    """Mount a file system of 64 kB."""
    where = tmp_path / "tiny"
    where.mkdir()
    mount, umount = (shutil.which(name) or pytest.skip(f"no {name} here") for name in ("mount", "umount"))
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(where)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield where
    subprocess.run([umount, "-l", str(where)], check=True)


@pytest.mark.parametrize("free", [0, 1, 2, 4, 8])
def test_a_full_file_system_stops_early_with_nothing_half_written(place, tiny, free):
    folder, expected = place
    (folder / "out").symlink_to(tiny)
    blocks = tiny / "blocks"
    blocks.touch()
    with contextlib.suppress(OSError), blocks.open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    assert 40_000 < blocks.stat().st_size <= 65_536
    os.truncate(blocks, max(0, blocks.stat().st_size - 4096 * free))
    running = start(*BATCH, folder=folder)
    err = running.communicate(timeout=120)[1].decode()
    assert running.returncode == 4
    assert "no space left on device" in err
    blocks.unlink()
    made, temporary = check(folder / "out", expected)
    assert len(made) < FILES
    assert not temporary
    if "stopped early" in err:
        assert f"stopped early: no space left on device; {len(made)} of {FILES} files done" in err
    else:
        assert f"out/{tree.OWN}: no space left" in err  # not even a manifest
    assert free < 8 or made  # some room is room for some


# --- signals -----------------------------------------------------------------------------------------------------

STAGES = {
    "list": "from poolcli.jobs import tree; hold(tree, 'listed')",
    "read": "from poolcli.media import files; hold(files, '_read_regular')",
    "decode": "from poolcli.media import contents; hold(contents, 'Content')",
    "pool": "from poolcli.core import pooling; hold(pooling, 'run')",
    "encode": "from poolcli.media import contents; hold(contents, 'encode')",
    "write": "from poolcli.media import files; hold(files, '_write_all')",
    "publish": "from poolcli.media import files; hold(files, '_publish')",
}
HOLD = """
import threading
from poolcli.cli import batch as command
from poolcli.jobs import batch
ended = threading.Event()
command.GRACE = {grace}
def hold(module, name):
    real = getattr(module, name)
    def slow(*arguments, **options):
        open("held", "w").close()
        ended.wait()
        return real(*arguments, **options)
    setattr(module, name, slow)
{stage}
drop = batch.Batch.drop
def dropping(*arguments):
    open("ending", "w").close()
    {ending}
    return drop(*arguments)
batch.Batch.drop = dropping
from poolcli.__main__ import main
main()
"""
FOR_EVER = 10**6  # seconds


def held(folder, stage, *options, grace=0.8, ending=""):
    """Start a batch that stays in one stage, until *ending* lets it go on, and wait until it is there."""
    code = HOLD.format(stage=STAGES[stage], grace=grace, ending=ending)
    running = start(*BATCH, *options, folder=folder, code=code)
    wait_for(folder / "held", running)
    return running


def wait_for(path, running):
    while not path.exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("stage", "number"),
    [*((stage, signal.SIGTERM) for stage in STAGES), ("write", signal.SIGINT), ("read", signal.SIGHUP)],
)
def test_a_signal_ends_any_stage_soon_and_the_next_run_goes_on(place, stage, number):
    folder, expected = place
    running = held(folder, stage, "--files-from", os.devnull)
    running.send_signal(number)
    _, err = running.communicate(timeout=120)  # what is held would never end
    assert running.returncode == 128 + number
    assert f"error: ended by {number.name}" in err.decode()
    assert "Traceback" not in err.decode()
    _, temporary = check(folder / "out", expected)
    assert not temporary
    if stage != "list":
        assert f"0 of {FILES} files done" in err.decode()
        assert "not done" in err.decode()
    resumed(folder, expected)


def test_a_second_signal_ends_at_once(place):
    folder, expected = place
    running = held(folder, "write", grace=FOR_EVER)
    running.send_signal(signal.SIGTERM)
    wait_for(folder / "ending", running)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGINT
    check(folder / "out", expected)
    resumed(folder, expected)


def test_what_is_done_within_the_grace_counts(place):
    folder, _ = place
    running = held(folder, "encode", "--json", grace=FOR_EVER, ending="ended.set()")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130
    *done, summary = [json.loads(text) for text in out.splitlines()]
    assert (summary["status"], summary["done"]) == ("summary", len(done))
    made, _ = contents(folder / "out")
    assert sorted(os.path.relpath(one["output"], "out") for one in done) == sorted(made)
    assert 1 <= len(made) < FILES
    assert f"{len(made)} of {FILES} files done" in err.decode()
    assert {name for name, status in told(folder / "out").items() if status == "done"} == set(made)


# --- two at once -------------------------------------------------------------------------------------------------


def test_of_two_batches_into_one_folder_one_does_the_work(place):
    folder, expected = place
    both = [start(*BATCH, folder=folder) for _ in range(2)]
    codes = []
    for running in both:
        _, err = running.communicate(timeout=120)
        codes.append(running.returncode)
        if running.returncode == 2:
            assert err.startswith(b"error: out: another run is at work there")
    assert codes in ([0, 0], [0, 2], [2, 0])  # one may have come after the other
    assert contents(folder / "out") == (expected, [])


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_lose_no_output(place, closed):
    folder, expected = place
    line = " ".join((sys.executable, "-m", "poolcli", *BATCH, closed))
    done = subprocess.run(["/bin/sh", "-c", line], cwd=folder, env=ENVIRONMENT, check=False)
    assert done.returncode == 0
    assert contents(folder / "out") == (expected, [])
    assert set(told(folder / "out").values()) == {"done"}
