"""`poolcli bench` as its users meet it: tables, exports, refusals, baselines and exit codes, on tiny cases."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest

from poolcli.cli import app
from poolcli.core.methods import METHODS
from poolcli.measure import peers, presets, request

TINY = ["--size", "2x12x10:CHW:f32", "-r", "3", "--warmup", "0", "--peers", "none", "-t", "1", "--engine", "numpy"]
ALONE = ["--processes", "1"]


def test_every_method_is_timed_and_exported_in_every_form(cli):
    np.save("w.npy", np.full((2, 2), 0.25))
    needs = {
        "lp": "lp:3",
        "norm": "norm:2",
        "quantile": "quantile:0.9",
        "weighted": "weighted:w.npy",
        "gated": "gated:w.npy",
    }
    tokens = [needs.get(method, method) for method in METHODS]
    exports = ["--export", "a.json", "--export", "a.csv", "--export", "a.md"]
    done = cli("bench", *TINY, "-m", ",".join(tokens), "-w", "k2s2,k2s1", *exports, *ALONE)
    assert done.code == 0
    text = done.out.decode()
    with open("a.json", encoding="utf-8") as file:
        document = json.load(file)
    rows = [row for row in document["results"] if row["parameters"]["contender"] == "poolcli numpy"]
    assert [(row["parameters"]["method"], row["parameters"]["window"]) for row in rows] == [
        (method, window) for method in tokens for window in ("k2s2", "k2s1")
    ]
    assert all(len(row["times"]) == 3 and row["min"] == min(row["times"]) for row in rows)
    with open("a.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(document["results"])
    with open("a.md", encoding="utf-8") as file:
        assert "k2s1" in file.read()
    assert all(name in text for name in (*tokens, "limit", "poolcli numpy"))


def test_json_is_the_document_and_nothing_else(cli):
    done = cli("bench", *TINY, "--json", "-q")
    assert json.loads(done.out)["schema"] == "poolcli/1"


def test_a_case_that_does_not_fit_is_refused_and_the_others_run(cli):
    done = cli("bench", *TINY, "-w", "k20s1,k2s2")
    assert done.code == 3
    assert "error: " in done.err
    assert "20" in done.err
    assert "k2s2" in done.out.decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "10x10", "-m", "maxx"], "max, min, avg, sum, l2"),
        (["--size", "10x10:HW:f99"], "f32"),
        (["--size", "10xx10"], "size"),
        (["--size", "10x10", "--peers", "caffe"], "torch"),
        (["--size", "10x10", "-w", "s2"], "window"),
        (["--size", "10x10", "-w", "k2", "-k", "2"], "--window"),
        (["--size", "10x10", "--engine", "auto"], "numba, numpy"),
        (["--size", "10x10", "--phase", "all"], "pool, e2e"),
        (["--size", "10x10", "--phase", "e2e"], "files"),
        (["--size", "10x10", "--export", "x.xls"], ".json, .csv, .md"),
        (["--size", "10x10", "--plot", "x.gif"], ".svg, .png"),
        (["--preset", "everything"], "quick, headline, growth"),
        (["--size", "10x10", "--alpha", "2"], "alpha"),
        (["--size", "10x10", "-r", "0"], "runs"),
        ([], "--size"),
    ],
)
def test_a_wrong_option_is_refused_with_the_right_ones(cli, arguments, said):
    done = cli("bench", *arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("error: ")
    assert said in done.err


def with_times(name, times, change=None):
    """Write ``old.json`` again as *name*: its poolcli took these times, one in each process."""
    with open("old.json", encoding="utf-8") as file:
        document = json.load(file)
    (change or (lambda _: None))(document)
    for row in document["results"]:
        row["times"], row["processes"] = list(times), [1] * len(times)
    document["results"] = [row for row in document["results"] if row["contender"] != "limit"]
    with open(name, "w", encoding="utf-8") as file:
        json.dump(document, file)


CALM = (0.1, 0.101, 0.102)


@pytest.mark.parametrize(
    ("times", "code", "words"),
    [
        (CALM, 0, ["unchanged", "+0.0%"]),
        ([2 * time for time in CALM], 6, ["regression", "+100.0%"]),
        ([time / 2 for time in CALM], 0, ["improvement", "-50.0%"]),
        ([0.2, 0.3, 0.4], 0, ["inconclusive", "unstable: the medians of 3 processes span 67% of theirs"]),
    ],
)
def test_a_baseline_decides_the_exit_code(cli, times, code, words):
    assert cli("bench", *TINY, "--export", "old.json", *ALONE).code == 0
    with_times("before.json", CALM)
    with_times("new.json", times)
    done = cli("bench", "--load", "new.json", "--baseline", "before.json")
    assert done.code == code
    assert all(word in done.out.decode() for word in words)


def test_a_baseline_is_measured_in_three_fresh_processes(cli):
    assert cli("bench", *TINY, "--export", "old.json").code == 0
    with open("old.json", encoding="utf-8") as file:
        document = json.load(file)
    assert [row["processes"] for row in document["results"]] == [[3, 3, 3]] * 2
    assert all(len(row["times"]) == 9 for row in document["results"])
    assert "--export old.json" in document["command"] or document["command"].startswith("poolcli")
    done = cli("bench", *TINY, "--baseline", "old.json", "--json", "--processes", "2")
    assert [row["processes"] for row in json.loads(done.out)["results"]] == [[3, 3]] * 2
    assert "since the baseline" in done.err


def test_a_case_that_is_refused_in_a_fresh_process_is_refused(cli):
    done = cli("bench", *TINY, "-w", "k20s1,k2s2", "--processes", "2")
    assert (done.code, "k2s2" in done.out.decode()) == (3, True)
    assert done.err.count("error: ") == 1


def test_a_baseline_of_another_machine_is_inconclusive(cli):
    assert cli("bench", *TINY, "--export", "old.json", *ALONE).code == 0
    with_times("new.json", CALM)
    with_times("other.json", CALM, lambda document: document["environment"].update(cpu="another"))
    done = cli("bench", "--load", "new.json", "--baseline", "other.json")
    assert done.code == 0
    assert "inconclusive" in done.out.decode()
    assert "another" in done.out.decode()


def test_what_is_no_benchmark_is_refused_in_words(cli):
    with open("x.json", "w", encoding="utf-8") as file:
        file.write('{"schema": "other/1"}')
    done = cli("bench", "--load", "x.json")
    assert done.code == 3
    assert done.err.startswith("error: x.json: ")


def test_whole_files_are_timed_by_stage(cli, samples):
    done = cli(
        "bench",
        samples / "grey_odd.png",
        "--phase",
        "e2e",
        "-r",
        "2",
        "--engine",
        "numpy",
        "--export",
        "a.json",
        *ALONE,
    )
    assert done.code == 0
    with open("a.json", encoding="utf-8") as file:
        names = [row["parameters"]["contender"] for row in json.load(file)["results"]]
    assert names == [f"poolcli {stage}" for stage in ("total", "read", "decode", "pool", "encode", "write")]


def test_files_stand_in_for_sizes(cli, samples):
    done = cli("bench", samples / "grey_odd.png", "-r", "2", "--engine", "numpy", "--peers", "none")
    assert done.code == 0
    assert "grey_odd.png" in done.out.decode()


def test_the_layout_of_a_file_may_be_given(cli):
    np.save("x.npy", np.zeros((12, 14, 3), "float32"))
    run = ("bench", "x.npy", "-r", "2", "--engine", "numpy", "--peers", "none", "--json")
    assert "hint: --layout HWC or CHW" in cli(*run).err
    (row, _) = json.loads(cli(*run, "--layout", "HWC").out)["results"]
    assert (row["case"]["layout"], row["case"]["shape"]) == ("HWC", [12, 14, 3])


def test_pictures_of_two_questions_have_two_names(cli):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert cli("bench", *TINY, "-w", "k2s1,k3s1,k4s1", "--plot", "a.svg").code == 0
    assert cli("bench", *TINY, "-w", "k2s1,k3s1,k4s1,k2s2", "--plot", "b.svg").code == 0
    assert sorted(os.listdir()) == ["a.svg", "b-cases.svg", "b-kernels.svg"]


def test_a_warning_says_a_thing_once(cli):
    done = cli("bench", *TINY, "-w", "k20s1,k20s2,k2s2,k30s3")
    assert done.err.count("error: ") == 2  # two messages, three cases
    assert "k20s1" in done.err
    assert "and 1 more" in done.err


def test_no_ratio_to_ours_is_shown_for_the_limit(cli):
    lines = cli("bench", *TINY).out.decode().splitlines()
    (limit,) = (line for line in lines if " limit " in line and " ± " in line and "contender" not in line)
    head = next(line for line in lines if "x ours" in line)
    place = head.index("x ours")
    assert limit[place : place + len("x ours")].strip() == ""


def test_a_preset_is_printed_and_gives_way_to_options(cli, monkeypatch):
    row = presets.Preset("for the test", "--size 12x10:HW:f32 -m max -w k2s2 --peers none -r 3 --engine numpy")
    monkeypatch.setitem(presets.PRESETS, "tiny", row)
    done = cli("bench", "--preset", "tiny", "-m", "min")
    assert done.code == 0
    first, *rest = done.out.decode().splitlines()
    assert first == f"poolcli bench {row.options}"
    assert any(" min " in line for line in rest)
    assert not any(" max " in line for line in rest)


def test_an_interrupted_run_keeps_what_is_done(cli, monkeypatch):
    from poolcli.measure import bench as measured

    def broken(*arguments, **settings):
        yield from list(whole(*arguments, **settings))[:1]
        raise app.Terminated(2)

    whole = measured.run
    monkeypatch.setattr(measured, "run", broken)
    done = cli("bench", *TINY, "-w", "k2s2,k3s3", "--export", "a.json", *ALONE)
    assert done.code == 130
    assert "k2s2" in done.out.decode()
    assert "k3s3" not in done.out.decode()
    with open("a.json", encoding="utf-8") as file:
        assert {row["parameters"]["window"] for row in json.load(file)["results"]} == {"k2s2"}


@pytest.mark.parametrize(
    ("option", "package", "extra"),
    [
        ("baseline", "scipy", "baseline"),
        ("plot", "matplotlib", "plot"),
        ("html", "matplotlib", "report"),
        ("html", "jinja2", "report"),
    ],
)
def test_an_option_whose_package_is_missing_names_the_extra(cli, monkeypatch, option, package, extra):
    monkeypatch.setattr(request, "find_spec", lambda name: None if name == package else name)
    done = cli("bench", *TINY, f"--{option}", "old.html" if option == "html" else "old.svg")
    assert (done.code, done.out) == (2, b"")
    assert done.err == f"error: {option} must have {package} installed\nhint: pip install 'poolcli[{extra}]'\n"


def test_a_peer_that_lacks_a_package_is_left_out_with_a_word(cli, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: object() if name == "onnxruntime" else None)
    done = cli("bench", *TINY, "--peers", "auto", "--export", "a.json", *ALONE)
    assert done.code == 0
    assert "warning: peer onnxruntime is left out: pip install onnx\n" in done.err
    with open("a.json", encoding="utf-8") as file:
        assert [(record["contender"], record["reason"]) for record in json.load(file)["others"]] == [
            ("onnxruntime NCHW", "onnx must be installed")
        ]
