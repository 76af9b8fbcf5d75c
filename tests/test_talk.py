"""What a person meets at the shell: one table a run, a bar, totals, and what a second run of the same line does."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
from PIL import Image

from poolcli.cli import report


def pictures(folder, count, size=(8, 12)):
    os.makedirs(folder, exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (number, 0, 0)).save(os.path.join(folder, f"p{number:02}.png"))


class Session:
    """A command line on a terminal of so many columns; what it shows, as text, and how it ended."""

    def __init__(self, cwd, columns, *arguments, **variables):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        kept = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR", "TERM"}}
        command = [sys.executable, "-m", "poolcli", *map(str, arguments)]
        environment = {**kept, "TERM": "xterm-256color", **variables}
        with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment) as running:
            os.close(slave)
            read = bytearray()
            while True:
                try:
                    read += os.read(master, 4096)
                except OSError:  # the other end is closed
                    break
        os.close(master)
        self.code, self.raw = running.returncode, read.decode().replace("\r\n", "\n")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)
        self.lines = [line.rpartition("\r")[2] for line in plain.split("\n")]
        self.text = "\n".join(self.lines)


TERMINALS = [(50, {}), (80, {}), (200, {}), (80, {"NO_COLOR": "1"}), (50, {"TERM": "dumb"}), (200, {"TERM": "dumb"})]
terminals = pytest.mark.parametrize(
    ("columns", "variables"), TERMINALS, ids=[f"{columns} {' '.join(v)}" for columns, v in TERMINALS]
)


# --- the timing table --------------------------------------------------------------------------------------------


@terminals
def test_thirty_files_are_one_table_of_the_slowest_twenty_that_fits(tmp_path, columns, variables):
    pictures(tmp_path, 30)
    names = [f"p{number:02}.png" for number in range(30)]
    seen = Session(tmp_path, columns, "pool", *names, "-o", "out/", "--engine", "numpy", **variables)
    assert seen.code == 0
    assert max(map(len, seen.lines)) <= columns
    assert len([line for line in seen.lines if re.match(r" p\d\d\.png ", line)]) == report.SLOWEST
    assert len([line for line in seen.lines if "all 30 files" in line]) == 1
    assert seen.text.count("engine numpy: asked for") == 1
    assert seen.text.count(" total ms") == 1
    assert ("decode ms" in seen.text) == (columns > 50)
    assert ("8x12" in seen.text.replace("12x8", "8x12")) == (columns == 200)
    if variables.get("TERM") == "dumb":
        assert "\x1b" not in seen.raw
    if "NO_COLOR" in variables:
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", seen.raw)


def test_the_timing_table_adds_up_and_rates_whole_files(cli):
    pictures(".", 3, (100, 50))
    done = cli("pool", "p00.png", "p01.png", "p02.png", "-o", "out/", "--timing", "--engine", "numpy")
    head, *rows = [line.split() for line in done.err.splitlines() if " p0" in line or " all " in line or "file" in line]
    assert " ".join(head) == "file in out read ms decode ms pool ms encode ms write ms total ms Mpix/s"
    totals = [[float(cell) for cell in row[-7:]] for row in rows]
    assert np.allclose(np.sum(totals[:3], 0)[:6], totals[3][:6], atol=0.2)
    expected = 3 * 5000 / totals[3][5] / 1e3
    assert totals[3][6] == pytest.approx(expected, abs=0.051 + 0.06 * expected)  # both are rounded


def test_verbose_says_the_engine_once(cli):
    pictures(".", 3)
    for line in (("pool", "p00.png", "p01.png", "p02.png", "-o", "out/"), ("batch", ".", "-o", "../out")):
        assert cli(*line, "-v", "--engine", "numpy").err.count("engine numpy: asked for") == 1


# --- a batch -----------------------------------------------------------------------------------------------------


@terminals
def test_a_batch_on_a_terminal_shows_its_summary_and_no_paths(tmp_path, columns, variables):
    pictures(tmp_path / "in", 5)
    (tmp_path / "in" / "x.png").touch()
    seen = Session(tmp_path, columns, "batch", "in", "-o", "out", **variables)
    assert seen.code == 3
    assert max(map(len, seen.lines)) <= columns
    assert not [line for line in seen.lines if line.startswith("out/")]
    assert re.search(r"done +5\b", seen.text)
    assert re.search(r"failed: empty file +1\b", seen.text)
    assert "Mpix/s" in seen.raw
    assert ("\x1b" in seen.raw) == (variables.get("TERM") != "dumb")


def test_a_batch_on_a_terminal_names_what_it_writes_when_asked(tmp_path):
    pictures(tmp_path / "in", 2)
    seen = Session(tmp_path, 80, "batch", "in", "-o", "out", "-v")
    assert [line for line in seen.lines if line.startswith("out/")] == ["out/p00.png", "out/p01.png"]
    assert Session(tmp_path, 80, "batch", "in", "-o", "out2", "-q").raw == ""


def test_failures_of_one_cause_are_one_row(cli):
    pictures("in", 1)
    for number in range(4):
        np.save(f"in/a{number}.npy", np.zeros((3, 4 + number), np.uint8))
    done = cli("batch", "in", "-o", "out", "-k", "8")
    rows = [line for line in done.err.splitlines() if line.startswith(" failed: ")]
    assert len(rows) == 1
    assert rows[0].split()[-1] == "4"


def test_a_batch_in_json_names_what_it_ignores_and_ends_with_a_summary(cli):
    pictures("in", 2)
    with open("in/notes.txt", "w", encoding="ascii") as file:
        file.write("notes\n")
    done = cli("batch", "in", "-o", "out", "--json", "-q")
    *records, summary = map(json.loads, done.out.splitlines())
    assert [(one["status"], one["input"]) for one in records] == [
        ("ignored", "in/notes.txt"),
        ("done", "in/p00.png"),
        ("done", "in/p01.png"),
    ]
    assert (summary["schema"], summary["status"]) == ("poolcli/1", "summary")
    assert {key: summary[key] for key in ("done", "failed", "skipped", "ignored", "left", "exit_code")} == {
        "done": 2, "failed": 0, "skipped": 0, "ignored": 1, "left": 0, "exit_code": 0,
    }  # fmt: skip
    assert summary["bytes"]["out"] == sum(os.path.getsize(f"out/p0{number}.png") for number in range(2))
    assert "ignored: in/notes.txt: not a picture or tensor" in cli("batch", "in", "-o", "out", "-v").err
    assert "ignored" not in cli("batch", "in", "-o", "out2", "-q", "-v").err


@pytest.mark.parametrize(("options", "threads"), [([], 1), (["-t", "2"], 2)])
def test_threads_of_a_file_are_one_in_a_batch_unless_asked_for(cli, options, threads):
    np.save("x.npy", np.zeros((40, 50), "f4"))
    done = cli("batch", "x.npy", "-o", "out", "--json", "--engine", "numba", *options)
    assert json.loads(done.out.splitlines()[0])["threads"] == threads


def test_what_is_left_is_told_by_bytes_to_be_done(monkeypatch):
    from poolcli.cli import tally
    from poolcli.core.geometry import Window
    from poolcli.jobs.naming import Job, Stamp
    from poolcli.jobs.records import Record
    from poolcli.jobs.request import Request

    jobs = [Job("a", "A", None, Stamp(900, 0)), Job("b", "B", None, Stamp(100, 0))]
    jobs += [Job(f"c{number}", "C", None, Stamp(10**9, 0), skip="up to date") for number in range(50)]
    clock = iter([0.0, 9.0, 9.0])
    monkeypatch.setattr(tally.time, "perf_counter", lambda: next(clock))
    counted = tally.Tally(jobs, ())
    for job in (jobs[0], *jobs[2:]):
        counted.add(Record("done" if job.skip is None else "skipped", job, Request("max", Window(2))))
    assert counted.left == pytest.approx(1.0)  # nine seconds for 900 bytes; 100 are left


# --- the second time ---------------------------------------------------------------------------------------------


def test_pool_of_all_files_means_the_same_the_second_time(cli):
    pictures(".", 2)
    line = ("pool", "-m", "avg")
    assert cli(*line, *sorted(os.listdir())).code == 0
    before = sorted(os.listdir())
    assert len(before) == 4
    done = cli(*line, *before)
    assert (done.code, done.out) == (2, b"")
    assert done.err == "error: p00.avg2.png: output exists\nhint: --exists skip, newer or overwrite\n"
    done = cli(*line, *before, "--exists", "skip", "-v")
    assert (done.code, done.out) == (0, b"")
    assert "skipped: p00.avg2.png: the output of p00.png\nskipped: p00.png: output exists\n" in done.err
    assert cli(*line, *before, "--exists", "overwrite").out.decode().split() == ["p00.avg2.png", "p01.avg2.png"]
    os.utime("p01.png")
    os.utime("p00.png", (1, 1))
    assert cli(*line, *before, "--exists", "newer").out.decode().split() == ["p01.avg2.png"]
    assert sorted(os.listdir()) == before


def test_a_dry_run_ends_with_totals_and_says_what_would_be_replaced(cli):
    pictures("in", 3)
    pictures("out", 1)
    with open("in/notes.txt", "w", encoding="ascii") as file:
        file.write("notes\n")
    done = cli("batch", "in", "-o", "out", "--exists", "overwrite", "-n")
    replaced = [line.split(" ")[0] for line in done.out.decode().splitlines() if "replaces what is there" in line]
    assert replaced == ["in/p00.png"]
    assert done.err == "3 files: 3 planned, 1 replaced, 1 ignored; 0.0 MB to read\n"
    done = cli("pool", "in/p00.png", "in/p01.png", "-o", "out/", "-n", "-f")
    assert done.err == "2 files: 2 planned, 1 replaced; 0.0 MB to read\n"
    assert cli("pool", "in/p00.png", "in/p01.png", "-o", "out/", "-n", "-f", "-q").err == ""
    shutil.rmtree("out")


# --- messages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["pool", "p00.png", "-k", "3x"], "N, or RxC: one for each pooled axis, as 3x2 or 3x3x3"),
        (["pool", "p00.png", "-k", "2,2"], "N, or RxC: one for each pooled axis, as 3x2 or 3x3x3"),
        (["pool", "p00.png", "-k"], "poolcli pool --help"),
        (["batch", ".", "-o"], "poolcli batch --help"),
        (["batch", ".", "-o", "../x", "-I", "*.{png,jpg}"], "braces are the shell's: -I once for each kind"),
        (["pool", "d/a.png", "d/a.jpg", "-o", "x/", "-F", "png"], "-o 'DIR/{name}{ext}' keeps both"),
        (["batch", "d", "-o", "../x", "-F", "png"], "--template '{dir}/{name}{ext}' keeps both"),
        (["batch", "d", "e/d", "-o", "../x", "-F", "npy"], "--template '{dir}/{name}{ext}' keeps both"),
        (["batch", "e/d", "f/d", "-o", "../x"], "--keep-root keeps both"),
        (["pool", "-dash.png"], "-- before -dash.png, which is a file, keeps it from being options"),
        (["pool", "p00.png", "-dash.png"], "-- before -dash.png, which is a file, keeps it from being options"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refusal_says_what_helps(cli, arguments, hint):
    pictures(".", 1)
    for folder in ("d", "e/d", "f/d"):
        os.makedirs(folder)
        shutil.copy("p00.png", f"{folder}/a.png")
    Image.open("p00.png").save("d/a.jpg")
    shutil.copy("p00.png", "-dash.png")
    done = cli(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.splitlines()[-1] == f"hint: {hint}"


def test_what_is_proposed_for_colliding_names_works(cli):
    pictures("d", 1)
    shutil.copytree("d", "e/d")
    Image.open("d/p00.png").save("d/p00.jpg")
    assert cli("pool", "d/p00.png", "d/p00.jpg", "-o", "x/{name}{ext}", "-F", "png").code == 0
    assert sorted(os.listdir("x")) == ["p00.jpg.png", "p00.png.png"]
    assert cli("batch", "d", "-o", "y", "-F", "png", "--template", "{dir}/{name}{ext}").code == 0
    os.remove("d/p00.jpg")
    os.rename("d", "f")
    assert cli("batch", "e/d", "f", "-o", "z", "--keep-root").code == 0
    assert (os.listdir("z/d"), os.listdir("z/f")) == (["p00.png"], ["p00.png"])


def test_a_pytorch_archive_is_named_and_what_to_do_is_said(cli):
    import zipfile

    with zipfile.ZipFile("t.pt", "w") as archive:
        archive.writestr("t/data.pkl", "x")
    done = cli("pool", "t.pt")
    assert done.code == 3
    assert done.err.startswith("error: t.pt: is a PyTorch archive\nhint: numpy.save(")


@pytest.mark.parametrize("arguments", [["pool"], ["pool", "-k", "2"]])
def test_a_picture_on_stdin_that_nothing_asks_for_is_answered_with_a_dash(tmp_path, arguments):
    pictures(tmp_path, 1)
    with open(tmp_path / "p00.png", "rb") as file:
        command = [sys.executable, "-m", "poolcli", *arguments]
        done = subprocess.run(command, stdin=file, capture_output=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines()[-1] == "hint: poolcli pool - reads standard input"


@pytest.mark.skipif(shutil.which("bash") is None, reason="<(...) is bash's")
def test_a_pipe_of_the_shells_is_read_like_stdin(tmp_path):
    pictures(tmp_path, 1)
    pool = f"{sys.executable} -m poolcli"
    for line in (f"{pool} pool <(cat p00.png) -o x.png -k 4", f"{pool} pool <(cat p00.png) -k 4 -F png > y.png"):
        done = subprocess.run(["/bin/bash", "-c", line], capture_output=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "x.png").read_bytes() == (tmp_path / "y.png").read_bytes()
    done = subprocess.run(
        ["/bin/bash", "-c", f"{pool} info <(cat p00.png)"], capture_output=True, check=True, cwd=tmp_path
    )
    assert b"12x8x3" in done.stdout


def test_a_list_with_the_line_ends_of_windows_is_taken(cli):
    pictures("in", 2)
    with open("list.txt", "w", encoding="ascii", newline="") as file:
        file.write("in/p00.png\r\nin/p01.png\r\n")
    assert cli("batch", "--files-from", "list.txt", "-o", "out").code == 0
    assert sorted(os.listdir("out/in")) == ["p00.png", "p01.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["pool", "missing.png", "-o", "x.png"],
        ["pool", "p00.png", "-k", "0"],
        ["batch", "missing.png", "-o", "out"],
        ["info", "missing.png"],
        ["verify", "missing.png"],
        ["bench", "--load", "missing.json"],
    ],
    ids=" ".join,
)
def test_debug_shows_the_traceback_of_every_error(cli, arguments):
    pictures(".", 1)
    assert "Traceback" not in cli(*arguments).err
    assert "Traceback (most recent call last):" in cli(*arguments, "--debug").err


# --- info, env ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_info_is_a_line_a_file(tmp_path, samples, columns):
    names = ["photo_rgb.png", "photo_exif6_icc.jpg", "feature_maps.npy", "sprite_rgba.png"]
    for name in names:
        shutil.copy(samples / name, tmp_path)
    seen = Session(tmp_path, columns, "info", *names, "-k", "3")
    rows = [line for line in seen.lines if re.match(r" [\w.]+\.(png|jpg|npy)", line)]
    assert [row.split()[0] for row in rows] == names
    assert max(map(len, seen.lines)) <= columns
    assert all(re.search(r"\d+x\d+", row) for row in rows)
    assert ("orientation" in seen.text) == (columns == 200)
    assert ("dtype" in seen.text) == (columns > 50)


def test_info_lists_the_arrays_of_an_archive(cli):
    np.savez("a.npz", x=np.zeros((4, 6), "f4"), y=np.zeros((2, 4, 8), "u1"))
    rows = [line.split() for line in cli("info", "a.npz", "-k", "2").out.decode().splitlines() if "a.npz" in line]
    assert [(row[2], row[4], row[-1]) for row in rows] == [("x", "4x6", "2x3"), ("y", "2x4x8", "2x2x4")]
    found = json.loads(cli("info", "a.npz", "--json").out)
    assert [(one["name"], one["shape"]) for one in found["arrays"]] == [
        ("a.npz --key x", [4, 6]),
        ("a.npz --key y", [2, 4, 8]),
    ]
    assert json.loads(cli("info", "a.npz", "--key", "y", "--json").out)["shape"] == [2, 4, 8]


def test_info_checks_its_window_without_a_kernel_and_takes_a_dashed_name(cli):
    pictures(".", 1)
    os.rename("p00.png", "-dash.png")
    assert (cli("info", "--", "-dash.png").code, cli("info", "-s", "0", "--", "-dash.png").code) == (0, 2)
    assert cli("info", "-p", "9", "--", "-dash.png").code == 2
    assert "-- before -dash.png" in cli("info", "-dash.png").err


def test_env_says_whether_torch_is_there(cli):
    from poolcli.measure.environment import installed_version

    assert json.loads(cli("env", "--json").out)["optional"]["torch"] == installed_version("torch")


# --- bench -------------------------------------------------------------------------------------------------------

BENCH = ("bench", "--size", "2x12x10:CHW:f32", "-w", "k2s2,k3s1", "-r", "3", "--engine", "numpy", "-t", "1")


@terminals
def test_a_benchmark_is_a_narrow_table_and_a_wider_one_where_there_is_room(tmp_path, columns, variables):
    seen = Session(tmp_path, columns, *BENCH, "--peers", "scipy", **variables)
    assert seen.code == 0
    table = [line for line in seen.lines if " ± " in line or "poolcli numpy" in line]
    assert max(map(len, table)) <= columns
    head = next(line for line in seen.lines if "x ours" in line)
    if columns > 50:
        assert re.search(r"case +contender +median ± IQR ms +x limit +x ours", head)
    assert ("runs" in head) == (columns == 200)
    assert seen.text.count("timings are not stable") == 1


# --- completion --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Return a folder with the program under its own name, for shells to find."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "poolcli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m poolcli "$@"\n')
    (folder / "poolcli").chmod(0o755)
    return folder


COMPLETED = [
    ("pool -m ma", ["max", "maxblur"]),
    ("pool --dtype ui", ["uint16", "uint32", "uint64", "uint8"]),
    ("pool --layout NH", ["NHWC"]),
    ("bench --preset q", ["quick"]),
    ("bench --peers sk", ["skimage"]),
    ("bench --peers scipy,on", ["scipy,onnxruntime"]),
    ("batch . --exists ne", ["newer"]),
]
SCRIPTS = {
    "bash": 'words=(poolcli {line}); COMP_WORDS=("${{words[@]}}"); COMP_CWORD=$((${{#words[@]}} - 1)); '
    '_poolcli_completion poolcli; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": "words=(poolcli {line}); CURRENT=$#words; _poolcli_completion",
    "fish": 'complete -C "poolcli {line}"',
}
WORDS = {"bash": r"(?m)^(.+)$", "zsh": r'[( ]"([^" ]+)"(?=[:) ])', "fish": r"(?m)^([^\t\n]+)"}
BEFORE = {"zsh": 'compdef() {}; _arguments() { print -r -- "$1" }; '}


@pytest.mark.parametrize("shell", SCRIPTS)
@pytest.mark.parametrize(("line", "expected"), COMPLETED, ids=[line for line, _ in COMPLETED])
def test_values_are_completed_in_every_shell(named, tmp_path, shell, line, expected):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    environment = {**os.environ, "PATH": f"{named}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = subprocess.run(
        [named / "poolcli", "--show-completion", shell], capture_output=True, text=True, check=True, env=environment
    ).stdout
    program = f"{BEFORE.get(shell, '')}{script}\n{SCRIPTS[shell].format(line=line)}"
    done = subprocess.run(
        [shutil.which(shell), "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert sorted(re.findall(WORDS[shell], done.stdout)) == expected, done
