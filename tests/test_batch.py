"""Proves that a batch does what its plan says: names, resuming, order, bounds, and nothing lost to a bad file."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from PIL import Image

from poolcli.core import pooling
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
from poolcli.errors import InputError, OutputError, PoolError, PoolWarning, UsageError, warn_once
from poolcli.jobs import bands, batch, manifest, naming, records, runner, tree
from poolcli.jobs.light import Light
from poolcli.jobs.memory import Dropped, Memory, allowed
from poolcli.jobs.request import EXISTS, MAX_PIXELS, Output, Picture, Request
from poolcli.media import files, formats

PNG, JPEG, NPZ = (formats.by_name(name) for name in ("png", "jpeg", "npz"))


def found(*paths, format=PNG, **values):
    return [tree.Found(f"in/{path}", path, stamp=naming.Stamp(9, 1), format=format, **values) for path in paths]


def outputs(paths, template=tree.MIRROR, format=None, identity=lambda _: None):
    request = Request(lookup("avg"), Window("3x2"))
    jobs = tree.plan_jobs(paths, "out", template, request, format=Output(format=format).format, identity=identity)
    return [job.output for job in jobs]


# --- the plan, without files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "format", "expected"),
    [
        (tree.MIRROR, None, ["out/a.png", "out/s/t/b.JPG"]),
        (tree.FLAT, None, ["out/a.png", "out/b.JPG"]),
        (tree.MIRROR, "webp", ["out/a.webp", "out/s/t/b.webp"]),
        ("{method}/{dir}/{stem}_{kernel}s{stride}{ext}", None, ["out/avg/a_3x2s3x2.png", "out/avg/s/t/b_3x2s3x2.JPG"]),
        ("{name}.tif", None, ["out/a.png.tif", "out/b.JPG.tif"]),
    ],
)
def test_where_outputs_go(template, format, expected):
    assert outputs(found("a.png", "s/t/b.JPG"), template, format) == expected


@pytest.mark.parametrize(
    ("paths", "options", "said"),
    [
        (found("a.png", "s/a.png"), {"template": tree.FLAT}, "outputs must differ, got out/a.png"),
        (found("a.png", "a.jpg"), {"format": "webp"}, "outputs must differ, got out/a.webp"),
        (found("A.png", "a.png"), {}, "outputs must differ"),
        (found("\u00e9.png", "e\u0301.png"), {}, "outputs must differ"),
        (found("a.npz", format=NPZ), {}, "in/a.npz: output format must be one of"),
        (found("a", format=NPZ), {}, "in/a: output format must be one of"),
        (found("a.png"), {"format": "npz"}, "output format must be one of"),
        (found("a.png"), {"template": "{page}.png"}, "{page}"),
        (found("a.png"), {"template": "../{stem}{ext}"}, "template must stay below the output folder"),
        (found("a.png"), {"template": "/x/{stem}{ext}"}, "template must stay below the output folder"),
        (found("a.png"), {"template": "."}, "template must stay below the output folder"),
        (found("a.png"), {"template": "{stem}.xyz"}, "suffix must be that of a format"),
        (found("a.png"), {"identity": lambda _: (1, 1)}, "output must not be an input, got out/a.png"),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0][:40],
)
def test_a_plan_that_would_lose_something_is_refused(paths, options, said):
    with pytest.raises(UsageError) as caught:
        outputs(paths, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("window", "spelled"),
    [
        (Window(3), "3s3"),
        (Window("3x3", "2x2"), "3s2"),
        (Window("3x2", 1), "3x2s1"),
        (Window((3, 3, 3)), "3s3"),
        (Window((3, 1, 3), 2), "3x1x3s2"),
    ],
)
def test_a_name_spells_one_number_for_all_axes_or_one_for_each(window, spelled):
    assert naming.filled("{kernel}s{stride}", "a.png", None, Request("max", window)) == spelled


def test_a_file_found_twice_is_one_job_and_an_unlisted_folder_is_a_failure():
    bad = tree.Found("in/s", "s", error=InputError("cannot be listed"))
    assert outputs([*found("a.png"), *found("a.png"), bad]) == ["out/a.png", None]


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        ({}, ["a.jpg", "b.PNG", "s/c.jpg", "s/thumbs/d.jpg"]),
        ({"include": ("*.jpg",)}, ["a.jpg", "s/c.jpg", "s/thumbs/d.jpg"]),
        ({"include": ("*.png",)}, ["b.PNG"]),  # lower case matches upper case
        ({"include": ("*.JPG",)}, []),  # upper case does not match lower case
        ({"include": ("s/*",)}, ["s/c.jpg"]),
        ({"include": ("s/**",)}, ["s/c.jpg", "s/thumbs/d.jpg"]),
        ({"include": ("[ab].*",)}, ["a.jpg", "b.PNG"]),
        ({"exclude": ("**/thumbs/**",)}, ["a.jpg", "b.PNG", "s/c.jpg"]),
        ({"exclude": ("thumbs/",)}, ["a.jpg", "b.PNG", "s/c.jpg"]),
        ({"exclude": ("/s",)}, ["a.jpg", "b.PNG"]),
        ({"exclude": ("*.jpg",), "include": ("s/**", "*.png")}, ["b.PNG"]),
        ({"max_depth": 1}, ["a.jpg", "b.PNG"]),
        ({"max_depth": 2}, ["a.jpg", "b.PNG", "s/c.jpg"]),
        ({"hidden": True}, [".h.jpg", ".x/e.jpg", "a.jpg", "b.PNG", "s/c.jpg", "s/thumbs/d.jpg"]),
    ],
    ids=str,
)
def test_which_files_are_looked_at(rules, taken):
    rules = tree.Rules(**rules)
    everything = [".h.jpg", ".poolcli/f.jpg", ".x/e.jpg", "a.jpg", "b.PNG", "s/c.jpg", "s/thumbs/d.jpg"]

    def reached(path):
        folders = path.split("/")[:-1]
        return all(rules.enters("/".join(folders[: end + 1])) for end in range(len(folders)))

    assert [path for path in everything if reached(path) and rules.takes(path)] == taken


@pytest.mark.parametrize(
    ("one", "counts"),
    [
        (tree.Found("x.txt", "x.txt", named=True), True),  # named
        (tree.Found("x.txt", "x.txt", stamp=naming.Stamp(5, 1)), False),
        (tree.Found("x.png", "x.png", stamp=naming.Stamp(5, 1)), False),  # text by its content
        (tree.Found("x.dat", "x.dat", stamp=naming.Stamp(5, 1), format=PNG), True),
        (tree.Found("x.png", "x.png", stamp=naming.Stamp(0, 1)), True),  # no content: its name decides
        (tree.Found(".keep", ".keep", stamp=naming.Stamp(0, 1)), False),
        (tree.Found("x.png", "x.png"), True),  # cannot be looked at
        (tree.Found("socket", "socket"), False),
        (tree.Found("s", "s", error=InputError("x")), True),
    ],
)
def test_what_counts_as_an_input(one, counts):
    assert one.counts is counts


# --- the manifest's rules, without files -------------------------------------------------------------------------

JOB = naming.Job("in/a.png", "out/a.png", PNG, naming.Stamp(9, 1))
REQUEST = Request(lookup("avg"), Window(2))


def line(status, size=5, **values):
    given = {
        "status": status,
        "name": "a.png",
        "origin": manifest.origin(JOB, REQUEST),
        "bytes": size,
        "mtime_ns": 2,
        "source": "/in/a.png",
        "span": (0, 1),
    }
    return manifest.Line(**given | values)


def history(*lines):
    made = manifest.History({})
    for one in lines:
        made.add(one)
    return {"a.png": made}


def step(histories, size=5, mtime=2, exists="error", *, resume=True):
    there = None if size is None else os.stat_result((0, 0, 0, 0, 0, 0, size, 0, mtime, 0), {"st_mtime_ns": mtime})
    settings = batch.Settings("out", resume=resume)
    (one,) = batch.decided([JOB], REQUEST, settings, histories, exists=exists, look=lambda _: there)
    return (one.skip, one.force)


DONE, STARTED, FAILED = line("done"), line("started"), line("failed", None)


@pytest.mark.parametrize(
    ("lines", "size", "expected"),
    [
        ([DONE], 5, ("up to date", False)),
        ([DONE], None, (None, False)),  # removed
        ([DONE, STARTED], 5, (None, True)),
        ([STARTED], 5, (None, True)),
        ([STARTED, DONE], 5, ("up to date", False)),
        ([DONE, FAILED], 5, (None, True)),
        ([STARTED, FAILED], 5, (None, True)),
        ([line("done", origin="another")], 5, (None, True)),
    ],
)
def test_what_a_resumed_run_does(lines, size, expected):
    assert step(history(*lines), size) == expected


@pytest.mark.parametrize(
    "lines",
    [[], [FAILED], [STARTED, line("failed", None), FAILED], [STARTED], [DONE]],
    ids=["none", "failed", "met", "other start", "edited"],
)
def test_outputs_that_no_batch_made_are_not_touched(lines):
    size = 77  # not what a start recorded: somebody else's
    with pytest.raises(UsageError, match="exists"):
        step(history(*lines) if lines else {}, size)
    assert step(history(*lines) if lines else {}, size, exists="skip") == ("output exists", False)


def test_exists_newer_compares_times_and_overwrite_does_not():
    assert step({}, mtime=0, exists="newer") == (None, True)
    assert step({}, mtime=1, exists="newer") == ("output is newer", False)
    assert step({}, mtime=5, exists="overwrite") == (None, True)


def test_exists_says_nothing_of_outputs_that_the_manifest_names():
    for policy in EXISTS:
        assert step(history(DONE), exists=policy) == ("up to date", False)
        assert step(history(DONE), exists=policy, resume=False) == (None, True)


@pytest.mark.parametrize(("size", "mtime"), [(6, 2), (5, 3)], ids=["other size", "same size, later"])
def test_an_output_edited_since_is_somebodys_work(size, mtime):
    with pytest.raises(UsageError, match="exists"):
        step(history(DONE), size, mtime)
    assert step(history(DONE), size, mtime, "skip") == ("output exists", False)
    assert step(history(DONE), size, mtime, "overwrite") == (None, True)
    assert step(history(DONE), 5, 1) == ("up to date", False)


def test_the_origin_of_an_output_is_what_decides_its_bytes(monkeypatch):
    one = manifest.origin(JOB, REQUEST)
    same = Request(lookup("avg"), Window("2"), engine="numpy", threads=7, max_pixels=5)
    others = [
        Request(lookup("max"), Window(2)),
        Request(lookup("avg"), Window(2, 1)),
        Request(lookup("avg"), Window(2, ceil=True)),
        Request(lookup("avg"), Window(2), dtype="uint8"),
        Request(lookup("avg"), Window(2), picture=Picture(80)),
        Request(lookup("avg"), Window(2), layout="HW"),
        Request(lookup("avg"), Window(2), key="x"),
    ]
    assert manifest.origin(JOB, same) == one
    hashes = {manifest.origin(JOB, other) for other in others}
    for changed in (
        {"format": JPEG},
        {"input": "elsewhere/a.png"},
        {"stamp": naming.Stamp(9, 2)},
        {"stamp": naming.Stamp(8, 1)},
        {"stamp": None},
    ):
        hashes.add(manifest.origin(replace(JOB, **changed), REQUEST))
    monkeypatch.setattr(manifest, "__version__", "0")
    hashes.add(manifest.origin(JOB, REQUEST))
    assert len(hashes | {one}) == len(others) + 7


def test_an_input_that_could_not_be_looked_at_is_never_up_to_date():
    unknown = replace(JOB, stamp=None)
    kept = history(line("done", origin=manifest.origin(unknown, REQUEST)))["a.png"]
    assert not kept.current(unknown, REQUEST)


# --- the manifest's file -----------------------------------------------------------------------------------------


def noted(name, *, status="done", size=5, durable=False):
    """Append one line to the manifest of ``out``; return the whole file."""
    job = naming.Job(f"in/{name}", f"out/{name}", PNG, naming.Stamp(9, 1))
    with manifest.opened("out", durable=durable) as kept:
        kept.add(records.Record(status, job, REQUEST), size)
    return Path("out", tree.OWN, manifest.NAME).read_bytes()


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("there")
def test_a_line_follows_a_whole_one_and_is_kept_apart_from_a_torn_one():
    one = noted("a.png")
    both = noted("b.png")
    assert both.startswith(one)
    assert [line.count(b"{") > 0 for line in both.splitlines()] == [True, True]  # no empty line between
    with manifest.opened("other", durable=False) as kept:
        for name in ("a.png", "b.png"):
            kept.add(records.Record("done", naming.Job(name, f"other/{name}", PNG), REQUEST))
    path = Path("other", tree.OWN, manifest.NAME)
    assert path.read_bytes().count(b"\n") == 2
    assert path.stat().st_mode & 0o111 == 0
    path = Path("out", tree.OWN, manifest.NAME)
    path.write_bytes(both[:-20])  # killed in the middle of a line
    assert noted("c.png") == both[:-20] + b"\n" + noted("c.png")[len(both[:-20]) + 1 :].splitlines(keepends=True)[0]
    path.write_bytes(both[:-1])  # killed before the last byte
    noted("c.png")
    assert set(manifest.load("out")) == {"a.png", "b.png", "c.png"}


@pytest.mark.usefixtures("there")
def test_a_write_that_fails_half_way_spoils_no_other_line(monkeypatch):
    real, job = os.write, naming.Job("in/a.png", "out/a.png", PNG)
    with manifest.opened("out", durable=False) as kept:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda descriptor, text: real(descriptor, text[: len(text) // 2]))
            with pytest.raises(OutputError, match="manifest cannot be written: no space left on device"):
                kept.add(records.Record("done", job, REQUEST))
        kept.add(records.Record("failed", job, REQUEST))
    assert list(manifest.load("out")["a.png"].lines) == ["failed"]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "poolcli/2"),
        ("status", "skipped"),
        ("status", "planned"),
        ("name", None),
        ("out", 5),
        ("origin", None),
    ],
)
def test_a_line_of_another_schema_or_status_or_without_sense_counts_for_nothing(key, value):
    document = json.loads(noted("a.png"))
    text = json.dumps({k: v for k, v in document.items() if k != key} | ({} if value is None else {key: value}))
    Path("out", tree.OWN, manifest.NAME).write_text(text + "\n")
    assert manifest.load("out") == {}


@pytest.mark.usefixtures("there")
def test_a_line_holds_what_it_is_compared_by():
    document = json.loads(noted("a.png"))
    assert (document["name"], document["out"]["bytes"]) == ("a.png", 5)
    line = manifest.load("out")["a.png"].last
    assert (line.status, line.bytes, line.origin) == ("done", 5, manifest.origin(JOB, REQUEST))


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("durable", [False, True])
def test_a_durable_manifest_makes_its_folders_and_lines_outlive_a_loss_of_power(monkeypatch, durable):
    synced, lines_synced = [], []
    monkeypatch.setattr(files, "sync", lambda folder: synced.append(os.path.relpath(folder)))
    monkeypatch.setattr(os, "fsync", lines_synced.append)
    noted("a.png", durable=durable)
    assert synced == ([".", "out", f"out/{tree.OWN}"] if durable else [])
    assert len(lines_synced) == durable
    assert os.path.isdir(f"out/{tree.OWN}")


# --- lists of files ----------------------------------------------------------------------------------------------


class Terminal:
    def isatty(self):
        return True


@pytest.mark.parametrize(("stdin", "got"), [(None, "a closed one"), (Terminal(), "a terminal")])
def test_a_list_on_a_terminal_or_a_closed_stdin_is_refused(monkeypatch, stdin, got):
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(UsageError) as caught:
        tree.listed("-", null=False)
    assert caught.value.message == f"standard input must be a list of files, got {got}"


def test_a_list_on_stdin_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b\n\nc\xff\n")))
    assert tree.listed("-", null=False) == ["a b", os.fsdecode(b"c\xff")]


# --- hints -------------------------------------------------------------------------------------------------------


def hint(call):
    with pytest.raises(PoolError) as caught:
        call()
    return caught.value.hint


@pytest.mark.usefixtures("there")
def test_each_refusal_says_what_helps():
    assert hint(lambda: outputs(found("a.png", "s/a.png"), tree.FLAT)) == "{dir} in the template keeps both"
    assert hint(lambda: outputs([*found("a.png"), tree.Found("b/a.png", "a.png")])) == "keep_root=True keeps both"
    kinds = "template='{dir}/{name}{ext}' keeps both"
    assert hint(lambda: outputs(found("a.png", "a.jpg"), format="webp")) == kinds
    ways = "exclude='*.npz' leaves such files out, format=NAME converts them"
    assert hint(lambda: outputs(found("a.npz", format=NPZ))) == ways
    assert hint(lambda: outputs(found("a.png"), "{stem}.xyz")).startswith("format=NAME, or one of .png")
    assert hint(lambda: outputs(found("a.png"), "{stem}.jpg", "png")) == "drop format, or change the suffix"
    assert hint(lambda: outputs(found("a.png"), identity=lambda _: 1)) is None
    os.makedirs("in/s/t")
    assert hint(lambda: tree.check_apart(["in"], "in/s/t", tree.Rules())) == "exclude='s/t' leaves it out"
    assert hint(lambda: tree.check_apart(["in"], "in", tree.Rules())) == "choose another folder"
    assert hint(lambda: step({})) == "exists=skip, newer or overwrite"
    assert hint(lambda: tree.Rules(null=True)) == "files_from=FILE"
    assert hint(lambda: list(tree.find([], tree.Rules()))) == "files_from=FILE lists them"
    assert "pool - a picture" in hint(lambda: list(tree.find(["-"], tree.Rules())))
    with manifest.opened("out", durable=False):
        assert hint(lambda: noted("a.png")) == "wait for it, or choose another output"


@pytest.mark.usefixtures("there")
def test_an_output_below_the_source_is_fine_where_the_walk_does_not_go():
    os.makedirs("in/s/t")
    tree.check_apart(["in"], "in/s/t", tree.Rules(exclude=("s",)))
    tree.check_apart(["in"], "in/s/t", tree.Rules(exclude=("t",)))
    tree.check_apart(["in"], "in/s/t", tree.Rules(max_depth=2))
    tree.check_apart(["in"], "other", tree.Rules())
    tree.check_apart(["in/file"], "in", tree.Rules())
    with pytest.raises(UsageError, match="must lie outside the input folder in"):
        tree.check_apart(["other", "in"], "in/s/t", tree.Rules(max_depth=3))


def test_a_batch_is_refused_settings_that_make_no_sense():
    for values, said in (
        ({"output": "-"}, "output must be a folder"),
        ({"template": "x", "flat": True}, "flat must be used without template"),
        ({"jobs": 0}, "jobs must be a whole number from 1"),
        ({"max_errors": 0}, "max_errors must be a whole number"),
    ):
        with pytest.raises(UsageError, match=said):
            batch.Settings(**{"output": "out"} | values)
    with pytest.raises(UsageError, match="max_depth must be a whole number from 1"):
        tree.Rules(max_depth=0)
    with pytest.raises(UsageError, match="exists must be one of"):
        Output(exists="ask")


def test_settings_of_a_batch_are_settled_once():
    from poolcli.core.threads import usable_cpus

    usual = batch.Settings("out")
    assert (usual.jobs, usual.max_errors) == (usable_cpus(), None)
    assert (Request().max_memory, Request(max_memory="2K").max_memory) == (allowed() // 4, 2000)
    assert (usual.resume, usual.durable, usual.prune) == (True, False, False)
    assert (usual.names, batch.Settings("out", flat=True).names) == (tree.MIRROR, tree.FLAT)
    asked = batch.Settings("out", template="{name}", jobs="3", max_errors=1)
    assert (asked.names, asked.jobs, asked.max_errors) == ("{name}", 3, 1)


# --- real folders ------------------------------------------------------------------------------------------------


def photos(folder, count=6, size=(20, 30)):
    """Make a small tree of pictures; return their paths below *folder*, in the order of a plan."""
    names = []
    for number in range(count):
        name = f"p{number}.png" if number % 3 else f"s{number}/p.png"
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        names.append(name)
    return sorted(names, key=lambda name: (name.count("/"), name))


def contents(folder):
    """Return the bytes of all files below *folder*, but for the manifest."""
    kept = {}
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != tree.OWN]
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as file:
                kept[os.path.relpath(path, folder)] = file.read()
    return kept


def lines(folder):
    with open(os.path.join(folder, tree.OWN, manifest.NAME)) as file:
        return [json.loads(text) for text in file]


def objects(done):
    """Return the records of a batch, one for each input."""
    *records, last = (json.loads(text) for text in done.out.splitlines())
    assert last["status"] == "summary"
    return [one for one in records if one["status"] != "ignored"]


def test_a_folder_is_pooled_into_a_mirrored_tree_with_the_right_pixels(cli):
    names = photos("in")
    done = cli("batch", "in", "-o", "out", "-m", "avg", "-k", "2")
    assert done.code == 0
    assert done.out.decode().splitlines() == [f"out/{name}" for name in names]
    assert sorted(contents("out")) == sorted(names)
    for name in names:
        with Image.open(f"in/{name}") as source, Image.open(f"out/{name}") as small:
            pixels = np.asarray(source)
            expected = np.stack([oracle.pool(pixels[..., c], "avg", (2, 2), dtype=np.uint8) for c in range(3)], -1)
            assert np.array_equal(np.asarray(small), expected)
    assert {(one["status"], one["name"]) for one in lines("out")} == {("done", name) for name in names}
    for one in lines("out"):
        assert one["out"]["bytes"] == os.path.getsize(os.path.join("out", one["name"]))


def test_bad_files_fail_by_name_and_the_others_are_done(cli, samples):
    names = photos("in", 4)
    whole = (samples / "photo_rgb.png").read_bytes()
    bad = {"cut.png": whole[:-40], "damaged.png": whole[:5000] + b"\0" * 9 + whole[5009:], "empty.png": b""}
    for name, data in bad.items():
        with open(f"in/{name}", "wb") as file:
            file.write(data)
    os.mkfifo("in/fifo.png")
    os.symlink("nowhere", "in/dangling.png")
    os.symlink("loop.png", "in/loop.png")
    with open("in/notes.txt", "w") as file:
        file.write("not a picture")
    os.symlink(".", "in/again")
    done = cli("batch", "in", "-o", "out", "--json")
    assert done.code == 3
    failed = [one for one in objects(done) if one["status"] == "failed"]
    reasons = {os.path.basename(one["input"]): one["error"]["message"] for one in failed}
    assert set(reasons) == {*bad, "fifo.png", "dangling.png", "loop.png"}
    for name, word in {
        "cut.png": "truncated", "damaged.png": "damaged", "empty.png": "empty file", "fifo.png": "not a regular file",
        "dangling.png": "no such file", "loop.png": "symbolic link",
    }.items():  # fmt: skip
        assert word in reasons[name]
    assert sorted(contents("out")) == sorted(names)
    said = [" ".join(text.split()) for text in done.err.splitlines()]
    assert {"done 4", "ignored: not a picture or tensor 2", "failed: empty file 1"} <= set(said)
    assert "Traceback" not in done.err
    assert {one["status"] for one in lines("out")} == {"done", "failed"}


def test_a_named_file_always_counts(cli):
    photos("in", 1)
    with open("notes.txt", "w") as file:
        file.write("text")
    done = cli("batch", "in", "notes.txt", "missing.png", "-o", "out")
    assert done.code == 3
    assert "error: notes.txt: not a picture or tensor" in done.err
    assert "error: missing.png: no such file" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["empty", "-o", "out"], "no file matched"),
        (["text", "-o", "out"], "sources must hold a picture or a tensor, got 1 other files"),
        (["in", "-I", "*.jpg", "-o", "out"], "no file matched"),
        (["in", "-o", "in/out"], "must lie outside"),
        (["in", "-o", "in"], "must lie outside"),
        (["in", "-o", "link"], "must lie outside"),
        (["in/p1.png", "-o", "in"], "output must not be an input"),
        (["in"], "missing option '--output'"),
        (["-o", "out"], "must be given folders or files"),
        (["-", "-o", "out"], "got -"),
        (["in", "-o", "-"], "got -"),
        (["in", "-0", "-o", "out"], "null must be used with a list of files\nhint: --files-from file"),
        (["--files-from", "none", "-o", "out"], "none: no such file"),
        (["in", "--flat", "--template", "x", "-o", "out"], "flat must be used without template"),
        (["in", "--flat", "-o", "out"], "outputs must differ"),
        (["in", "--exists", "ask", "-o", "out"], "exists must be one of error, skip, newer, overwrite, got 'ask'"),
        (["in", "-F", "npz", "-o", "out"], "npz"),
        (["in", "-j", "0", "-o", "out"], "jobs must be a whole number from 1"),
        (["in", "--max-memory", "much", "-o", "out"], "max-memory"),
        (["in", "--max-errors", "0", "-o", "out"], "--max-errors"),
        (["in", "-k", "0", "-o", "out"], "kernel"),
        (["in", "-o", "theirs"], "theirs/p1.png exists, and 1 more"),
    ],
)
def test_a_refused_plan_reads_and_writes_nothing(cli, arguments, said):
    photos("in", 6)
    os.mkdir("empty")
    os.mkdir("text")
    with open("text/x.txt", "w") as file:
        file.write("text")
    os.symlink("in", "link")
    shutil.copytree("in", "theirs")
    for name in ("p1.png", "p2.png"):
        os.rename(f"theirs/{name}", f"{name}")
    shutil.rmtree("theirs")
    os.mkdir("theirs")
    for name in ("p1.png", "p2.png"):
        os.rename(name, f"theirs/{name}")
    before = contents(".")
    done = cli("batch", *arguments)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err.lower().replace("missing option '--output' / '-o'", "missing option '--output'")
    assert contents(".") == before
    assert not os.path.exists("out")
    assert not os.path.exists(f"theirs/{tree.OWN}")


def test_an_output_folder_below_the_source_is_fine_when_it_is_left_out(cli):
    names = photos("in", 3)
    for _ in range(2):
        assert cli("batch", "in", "-o", "in/out", "-x", "out").code == 0
    assert sorted(contents("in/out")) == sorted(names)


def test_a_listed_file_always_counts(cli):
    with open("notes.txt", "w") as file:
        file.write("text")
    with open("list", "w") as file:
        file.write("notes.txt\n")
    done = cli("batch", "--files-from", "list", "-o", "out")
    assert (done.code, "error: notes.txt: not a picture or tensor" in done.err) == (3, True)


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_files_from_a_list_keep_their_paths_below_the_output(cli, end):
    names = photos("in", 3)
    listed = [f"in/{name}" for name in names]
    with open("list", "w") as file:
        file.write(
            "".join(
                name + end
                for name in [*listed[:-1], os.path.abspath(listed[-1]), f"../{os.path.basename(os.getcwd())}/in/p1.png"]
            )
        )
    done = cli("batch", "--files-from", "list", *(["-0"] if end == "\0" else []), "-o", "out")
    assert done.code == 0, done.err
    here = os.getcwd().strip("/")
    assert sorted(contents("out")) == sorted(
        [*listed[:-1], f"{here}/{listed[-1]}", f"{os.path.basename(here)}/in/p1.png"]
    )


def test_a_list_in_a_pipe_that_names_nothing_matches_nothing(tmp_path):
    command = [sys.executable, "-m", "poolcli", "batch", "--files-from", "-", "-o", "out"]
    done = subprocess.run(command, input=b"", capture_output=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: no file matched")


def test_a_dry_run_prints_the_plan_with_shapes_and_writes_nothing(cli):
    photos("in", 2)
    done = cli("batch", "in", "-o", "out", "-k", "4", "-n")
    assert done.code == 0
    assert done.out.decode().splitlines() == [
        "in/p1.png -> out/p1.png  20x30x3 uint8 png -> 5x7x3 uint8 png",
        "in/s0/p.png -> out/s0/p.png  20x30x3 uint8 png -> 5x7x3 uint8 png",
    ]
    assert not os.path.exists("out")
    assert cli("batch", "in", "-o", "out", "-k", "4").code == 0
    again = cli("batch", "in", "-o", "out", "-k", "4", "-n", "--json")
    assert [(one["status"], one["reason"]) for one in objects(again)] == [("skipped", "up to date")] * 2


# --- resuming ----------------------------------------------------------------------------------------------------


def times(folder):
    return {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in contents(folder)}


def test_a_second_run_does_nothing_and_a_changed_source_alone_is_redone(cli):
    names = photos("in")
    run = ("batch", "in", "-o", "out", "--json")
    assert cli(*run).code == 0
    before = times("out")
    again = cli(*run)
    assert again.code == 0
    assert [one["status"] for one in objects(again)] == ["skipped"] * len(names)
    assert times("out") == before
    os.utime(f"in/{names[2]}")
    os.remove(f"out/{names[3]}")
    redone = [one["input"] for one in objects(cli(*run)) if one["status"] == "done"]
    assert redone == [f"in/{name}" for name in names[2:4]]


@pytest.mark.parametrize("edit", [b"x", b""], ids=["grown", "touched"])
def test_an_output_that_was_edited_is_left_alone_until_exists_says_otherwise(cli, edit):
    photos("in", 3)
    assert cli("batch", "in", "-o", "out").code == 0
    with open("out/p1.png", "ab") as file:
        file.write(edit)
    os.utime("out/p1.png", ns=(0, os.stat("out/p1.png").st_mtime_ns + 10**9))
    mine = contents("out")["p1.png"]
    done = cli("batch", "in", "-o", "out", "-k", "3")
    assert (done.code, "out/p1.png exists" in done.err) == (2, True)
    done = cli("batch", "in", "-o", "out", "-k", "3", "--exists", "skip", "--json")
    assert [one["reason"] for one in objects(done)] == ["output exists", None, None]
    assert contents("out")["p1.png"] == mine
    done = cli("batch", "in", "-o", "out", "-k", "3", "--exists", "overwrite", "--json")
    assert [one["replaces"] for one in objects(done)] == [True, False, False]
    assert contents("out")["p1.png"] != mine


def test_prune_removes_what_a_batch_made_of_sources_that_are_gone_and_nothing_else(cli):
    photos("in", 7)
    photos("other", 1)
    assert cli("batch", "in", "other", "-o", "out", "--template", "{dir}/{stem}x{ext}", "-x", "s0").code == 0
    assert cli("batch", "other", "-o", "out").code == 0
    with open("out/mine.png", "wb") as file:
        file.write(b"mine")
    with open("out/p2x.png", "ab") as file:
        file.write(b"edited")
    for gone in ("in/p1.png", "in/p2.png", "in/s3/p.png", "other/s0/p.png"):
        os.remove(gone)
    run = ("batch", "in", "-o", "out", "--template", "{dir}/{stem}x{ext}", "-x", "s0", "--prune")
    before = contents("out")
    plan = cli(*run, "-n")
    assert "out/p1x.png  pruned: its source is gone" in plan.out.decode()
    assert "2 pruned" in plan.err
    assert contents("out") == before
    done = cli(*run, "--json")
    assert done.code == 0
    pruned = {one["output"] for one in objects(done) if one["status"] == "pruned"}
    assert pruned == {"out/p1x.png", "out/s3/px.png"}
    assert set(before) - set(contents("out")) == {"p1x.png", "s3/px.png"}
    assert not os.path.exists("out/s3")
    summary = json.loads(done.out.splitlines()[-1])
    assert (summary["pruned"], summary["left"], summary["reasons"]) == (2, 0, {"skipped: up to date": 3})
    assert b"pruned" not in cli(*run, "-n").out


def test_other_parameters_redo_all_and_no_resume_does_too(cli):
    names = photos("in", 3)
    assert cli("batch", "in", "-o", "out").code == 0
    for options in (["-k", "3"], ["-k", "3", "--no-resume"]):
        done = cli("batch", "in", "-o", "out", "--json", *options)
        assert [one["status"] for one in objects(done)] == ["done"] * len(names)
    with Image.open(f"out/{names[0]}") as image:
        assert image.size == (10, 6)


def test_a_renamed_output_folder_goes_on_and_another_source_does_not_pass_for_the_first(cli):
    photos("in", 2)
    assert cli("batch", "in", "-o", "out").code == 0
    os.rename("out", "small")
    assert {one["status"] for one in objects(cli("batch", "in", "-o", "small", "--json"))} == {"skipped"}
    shutil.copytree("in", "other")  # the same sizes and times
    assert {one["status"] for one in objects(cli("batch", "other", "-o", "small", "--json"))} == {"done"}


def test_lines_that_make_no_sense_are_skipped_and_a_torn_one_harms_no_other(cli):
    names = photos("in", 3)
    assert cli("batch", "in", "-o", "out", "-j", "1").code == 0
    path = os.path.join("out", tree.OWN, manifest.NAME)
    kept = Path(path).read_bytes().splitlines(keepends=True)
    with open(path, "wb") as file:
        started = kept[2].replace(b'"status": "done"', b'"status": "started"')
        file.write(b"\xff\xfe\n[1]\n{}\nnull\n" + kept[0] + kept[1] + started + kept[2][: len(kept[2]) // 2])
    done = objects(cli("batch", "in", "-o", "out", "-j", "1", "--json"))
    assert [one["status"] for one in done] == ["skipped", "skipped", "done"]
    assert len(lines("out")) == 3
    assert [one["name"] for one in lines("out")] == names


def test_the_manifest_does_not_grow_from_run_to_run(cli):
    photos("in", 3)
    assert cli("batch", "in", "-o", "out").code == 0
    size = len(lines("out"))
    for kernel in "23232":
        assert cli("batch", "in", "-o", "out", "-k", kernel).code == 0
    assert len(lines("out")) == size == 3


def test_a_file_of_somebody_elses_survives_a_failure_on_record(cli):
    photos("in", 2)
    with open("in/p1.png", "wb"):
        pass
    assert cli("batch", "in", "-o", "out").code == 3
    with open("out/p1.png", "wb") as file:
        file.write(b"mine")
    photos("in", 2)
    done = cli("batch", "in", "-o", "out")
    assert (done.code, "out/p1.png exists" in done.err) == (2, True)
    assert contents("out")["p1.png"] == b"mine"


@pytest.mark.parametrize(
    ("policy", "code", "kept"), [("error", 2, True), ("skip", 0, True), ("overwrite", 0, False), ("newer", 0, False)]
)
def test_every_policy_for_what_exists(cli, policy, code, kept):
    photos("in", 2)
    os.mkdir("out")
    with open("out/p1.png", "wb") as file:
        file.write(b"mine")
    os.utime("out/p1.png", (1, 1))
    assert cli("batch", "in", "-o", "out", "--exists", policy).code == code
    assert (contents("out")["p1.png"] == b"mine") is kept
    assert os.path.exists("out/s0/p.png") is (code == 0)
    if policy == "newer":
        assert cli("batch", "in", "-o", "out", "--exists", "error").code == 0


def test_an_output_that_appears_meanwhile_is_kept(cli, monkeypatch):
    photos("in", 1)
    real = runner.run

    def run(job, *arguments, **options):
        os.makedirs(os.path.dirname(job.output), exist_ok=True)
        with open(job.output, "wb") as file:
            file.write(b"theirs")
        return real(job, *arguments, **options)

    monkeypatch.setattr(runner, "run", run)
    done = cli("batch", "in", "-o", "out")
    assert done.code == 4
    assert done.err.startswith("error: out/s0/p.png: exists already\nhint: --exists overwrite replaces it\n")
    assert contents("out") == {"s0/p.png": b"theirs"}
    monkeypatch.undo()


# --- the run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_records_and_bytes_are_the_same_for_any_number_of_jobs(cli, monkeypatch, jobs):
    names = photos("in", 12)
    with open("in/p1.png", "wb"):
        pass
    assert cli("batch", "in", "-o", "expected", "-j", "1").code == 3
    real = runner.run

    def run(job, *arguments, **options):  # the first take longest
        time.sleep(0.002 * (12 - names.index(os.path.relpath(job.input, "in"))))
        return real(job, *arguments, **options)

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(batch, "WINDOW", 2)
    done = cli("batch", "in", "-o", "out", "-j", jobs, "--json")
    assert done.code == 3
    assert [os.path.relpath(one["input"], "in") for one in objects(done)] == names
    assert contents("out") == contents("expected")


@pytest.mark.parametrize(("jobs", "expected"), [(1, [4, 3, 2, 1]), (2, [1, 1, 2, 2])])
def test_each_file_knows_how_many_like_it_a_thread_has_ahead(cli, monkeypatch, jobs, expected):
    photos("in", 5)
    assert cli("batch", "in", "-o", "out").code == 0
    for name in ("p1.png", "p2.png", "p4.png", "s0/p.png"):  # the fifth is skipped
        os.remove(f"out/{name}")
    real, ahead = runner.run, []

    def run(job, request, **options):
        ahead.append(options["ahead"])
        return real(job, request, **options)

    monkeypatch.setattr(runner, "run", run)
    assert cli("batch", "in", "-o", "out", "-j", jobs).code == 0
    assert (ahead if jobs == 1 else sorted(ahead)) == expected


def test_a_bug_in_one_file_is_a_record_and_stops_nothing(cli, monkeypatch):
    photos("in", 3)
    real = runner.run
    monkeypatch.setattr(runner, "run", lambda job, *a, **o: 1 / 0 if job.input == "in/p1.png" else real(job, *a, **o))
    done = cli("batch", "in", "-o", "out")
    assert done.code == 70
    assert "error: in/p1.png: bug: ZeroDivisionError: division by zero" in done.err
    assert sorted(contents("out")) == ["p2.png", "s0/p.png"]


def test_max_errors_stops_early_and_says_so(cli):
    photos("in", 9)
    for number in (1, 2, 4):
        with open(f"in/p{number}.png", "wb"):
            pass
    done = cli("batch", "in", "-o", "out", "-j", "1", "--max-errors", "2")
    assert done.code == 3
    assert "error: stopped early: 2 failed; 0 of 9 files done" in done.err
    assert "not done" in done.err
    assert cli("batch", "in", "-o", "out", "--json").out.count(b'"status": "done"') == 6


@pytest.mark.usefixtures("there")
def test_nothing_is_written_once_a_batch_is_dropped(monkeypatch):
    entered, go, written = threading.Event(), threading.Event(), []

    def run(job, request, *, write, **_):
        entered.set()
        assert go.wait(20)
        written.append(write(job.output, [b"late"], overwrite=True))
        return records.Record("done", job, request), None

    monkeypatch.setattr(runner, "run", run)
    with manifest.opened("out", durable=False) as kept:
        under_way = batch.Batch([JOB], REQUEST, batch.Settings("out"), kept)
        thread = threading.Thread(target=lambda: list(under_way))
        thread.start()
        assert entered.wait(20)
        assert list(under_way.drop(0)) == []
        go.set()
        thread.join(20)
    assert (written, os.path.exists("out/a.png")) == ([], False)


def test_a_folder_that_vanishes_fails_its_files_and_no_others(cli, monkeypatch):
    names = photos("in", 6)
    real = runner.run

    def run(job, *arguments, **options):
        if job.input == f"in/{names[0]}":
            shutil.rmtree("in/s0")
        return real(job, *arguments, **options)

    monkeypatch.setattr(runner, "run", run)
    done = cli("batch", "in", "-o", "out", "-j", "1")
    assert done.code == 3
    assert done.err.splitlines()[0] == "error: in/s0/p.png: no such file"
    assert sorted(contents("out")) == sorted(set(names) - {"s0/p.png"})


def test_a_folder_that_cannot_be_listed_is_a_failure(cli, monkeypatch):
    photos("in", 3)
    real = os.scandir

    def scandir(path):
        if path == "in/s0":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = cli("batch", "in", "-o", "out")
    assert done.code == 3
    assert "error: in/s0: cannot be listed: permission denied" in done.err
    assert sorted(contents("out")) == ["p1.png", "p2.png"]


def test_an_output_folder_that_is_removed_meanwhile_is_an_error(cli, monkeypatch):
    photos("in", 3)
    real = runner.run

    def run(job, *arguments, **options):
        shutil.rmtree("out")
        return real(job, *arguments, **options)

    monkeypatch.setattr(runner, "run", run)
    done = cli("batch", "in", "-o", "out", "-j", "1")
    assert done.code == 4
    assert f"error: out/{tree.OWN}/{manifest.NAME}: was removed while the batch ran" in done.err


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_made_is_exit_4(cli, where):
    photos("in", 1)
    with open("file", "w"):
        pass
    done = cli("batch", "in", "-o", where)
    assert done.code == 4
    assert done.err.startswith(f"error: {where}/{tree.OWN}: part of the path is not a folder")


AWKWARD = [
    "-rf.png", "a\nb.png", "\x1b[2J.png", "[bold red]x[].png", os.fsdecode(b"\xff\xfe.png"), "~.png", " trailing .png",
    "a" * 251 + ".png", "{stem}.png", "%s.png", "http:x.png",
]  # fmt: skip


def test_awkward_names_are_pooled_shown_escaped_and_resumed(cli):
    os.mkdir("in")
    for name in AWKWARD:
        Image.new("L", (4, 4)).save("x.png")
        os.rename("x.png", f"in/{name}")
    done = cli("batch", "in", "-o", "out", "-v", "--files-from", os.devnull)
    assert done.code == 0, done.err
    assert set(contents("out")) == set(AWKWARD)
    assert set(done.out.split(b"out/")) >= {os.fsencode(name) + b"\n" for name in AWKWARD}
    assert "\x1b" not in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("engine ")]) == 1
    again = cli("batch", "in", "-o", "out", "--json")
    assert {one["status"] for one in objects(again)} == {"skipped"}
    assert {one["input"] for one in objects(again)} == {f"in/{name}" for name in AWKWARD}


def test_awkward_names_that_fail_are_one_line_each(cli):
    os.mkdir("in")
    for name in AWKWARD:
        with open(f"in/{name}", "wb"):
            pass
    done = cli("batch", "in", "-o", "out", "-q")
    assert done.code == 3
    assert len(done.err.splitlines()) == len(AWKWARD)
    assert all(one.endswith(": empty file") for one in done.err.splitlines())
    assert "\x1b" not in done.err


def test_a_second_batch_is_kept_out_of_the_folder(cli):
    photos("in", 1)
    with manifest.opened("out", durable=False):
        done = cli("batch", "in", "-o", "out")
    assert done.code == 2
    assert done.err.splitlines()[0] == "error: out: another run is at work there"
    assert cli("batch", "in", "-o", "out").code == 0


def test_what_a_killed_run_left_is_removed_and_nobody_elses(cli):
    photos("in", 3)
    assert cli("batch", "in", "-o", "out").code == 0
    with manifest.opened("out", durable=False) as kept:
        mark = kept.mark
    ours = f".poolcli-{mark}0123abcd.tmp"
    theirs = [".poolcli-0123abcd.tmp", f".poolcli-{mark}notes", f"{mark}0123abcd.tmp", "draft.tmp"]
    for name in (ours, *theirs):
        for folder in ("out", "out/s0", f"out/{tree.OWN}"):
            with open(f"{folder}/{name}", "w"):
                pass
    assert cli("batch", "in", "-o", "out").code == 0
    for folder in ("out", "out/s0", f"out/{tree.OWN}"):
        assert {name for name in os.listdir(folder) if name in {ours, *theirs}} == set(theirs)


def test_quiet_says_nothing_and_the_summary_agrees_with_the_disk(cli):
    names = photos("in", 4)
    assert cli("batch", "in", "-o", "quiet", "-q").err == ""
    done = cli("batch", "in", "-o", "out")
    size = sum(map(len, contents("out").values()))
    assert f"{size / 1e6:.1f} MB out" in done.err
    for word in ("done", "files/s", "Mpix/s", "time of all threads: read", "decode", "pool", "encode", "write"):
        assert word in done.err
    assert len(names) == 4


def test_progress_without_a_terminal_is_a_line_now_and_then(cli, monkeypatch):
    from poolcli.cli import tally

    photos("in", 3)
    monkeypatch.setattr(tally, "EVERY", 0)
    err = cli("batch", "in", "-o", "out").err
    assert [text.split(",")[0] for text in err.splitlines()[:3]] == [f"{n} of 3 files" for n in (1, 2, 3)]


def test_progress_on_a_terminal_is_a_bar(tmp_path):
    import pty

    photos(tmp_path / "in", 3)
    with open(tmp_path / "in" / "x.png", "w"):
        pass
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "poolcli", "batch", "in", "-o", "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, cwd=tmp_path, env=environment) as running:
        os.close(slave)
        text = b""
        while True:
            try:
                text += os.read(master, 4096)
            except OSError:  # the other end is closed
                break
        out = running.stdout.read()
    os.close(master)
    assert running.returncode == 3
    assert out.decode().splitlines() == [f"out/{name}" for name in ("p1.png", "p2.png", "s0/p.png")]
    for word in (b"4/4", b"Mpix/s", b"1 failed", b"empty file"):
        assert word in text


# --- memory and warnings -----------------------------------------------------------------------------------------


def hold(memory, number, size, need, trace):
    with memory.share(number, size):
        alone = memory.take(number, need)
        trace.append(("in", number, alone))
        time.sleep(0.01)  # so that others come meanwhile
        trace.append(("out", number, alone))


def test_memory_in_flight_stays_within_its_bound_and_the_large_run_alone():
    memory, trace = Memory(100), []
    needs = [30, 40, 250, 30, 60, 90, 10, 10, 101, 50]
    threads = [
        threading.Thread(target=hold, args=(memory, number, 1, need, trace)) for number, need in enumerate(needs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    held = {}
    for what, number, alone in trace:
        if what == "in":
            assert alone == (needs[number] > 100)
            held[number] = needs[number]
            assert sum(held.values()) <= 100 or len(held) == 1
        else:
            del held[number]
    assert len(trace) == 2 * len(needs)


def test_what_fits_into_memory_together_need_not_wait():
    memory = Memory(100)
    with memory.share(0, 1), memory.share(1, 1):
        assert not memory.take(0, 60)
        assert not memory.take(1, 40)


def test_those_that_wait_for_memory_are_served_in_the_order_of_the_plan():
    memory, order, taken = Memory(10), [], threading.Event()
    inside = threading.Barrier(5)

    def work(number):
        with memory.share(number, 1):
            inside.wait(120)
            taken.wait(120)
            memory.take(number, 10)
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in (3, 1, 0, 2)]
    with memory.share(4, 1):
        for thread in threads:
            thread.start()
        inside.wait(120)
        memory.take(4, 6)
        taken.set()
        while len(memory._asking) < 4:  # noqa: SLF001 -- until all of them wait
            time.sleep(0.001)
    for thread in threads:
        thread.join(120)
    assert order == [0, 1, 2, 3]


class Impatient(Memory):
    """Drops who would have to wait."""

    def _wait(self, free):
        if not free():
            raise Dropped


def fits(call):
    try:
        call()
    except Dropped:
        return False
    return True


@pytest.mark.parametrize(("need", "expected"), [(40, True), (41, False)])
def test_memory_that_other_jobs_hold_counts(need, expected):
    memory = Impatient(100)
    with memory.share(0, 1), memory.share(1, 1):
        assert memory.take(0, 60) is False
        assert fits(lambda: memory.take(1, need)) is expected
    with memory.share(2, 1):  # all of it is given back
        assert memory.take(2, 100) is False


@pytest.mark.parametrize(("size", "expected"), [(40, True), (41, False)])
def test_a_file_is_not_read_before_there_is_room_for_it(size, expected):
    memory = Impatient(100)
    with memory.share(0, 60):
        assert fits(lambda: memory.share(1, size).__enter__()) is expected
    with memory.share(2, 500):  # alone
        pass


def test_a_large_job_waits_for_those_that_decode_and_no_longer():
    memory = Impatient(100)
    with memory.share(0, 1), memory.share(1, 1):
        with memory.share(2, 1):
            assert memory.take(2, 50) is False
            assert not fits(lambda: memory.take(0, 200))
        assert memory.take(0, 200) is True


@pytest.mark.parametrize(("need", "alone"), [(100, False), (101, True)])
def test_what_needs_more_than_all_the_room_is_alone(need, alone):
    memory = Memory(100)
    with memory.share(0, 1):
        assert memory.take(0, need) is alone


def test_a_closed_memory_lets_nobody_in():
    memory = Memory(10)
    memory.close()
    with pytest.raises(Dropped), memory.share(0, 1):
        pass


def test_a_file_that_goes_in_bands_uses_all_threads_and_others_one(cli, monkeypatch):
    from poolcli.core.threads import usable_cpus

    monkeypatch.setattr(bands, "WORK", 0)
    os.mkdir("in")
    for name, rows in (("a", 500), ("b", 8), ("c", 8)):
        np.save(f"in/{name}.npy", np.random.default_rng(rows).normal(size=(rows, 40)))
    more = ("-m", "avg", "--json", "--engine", "numba")
    done = objects(cli("batch", "in", "-o", "out", *more))
    assert {one["threads"] for one in done} == {1}
    done = objects(cli("batch", "in", "-o", "bounded", *more, "--max-memory", "50K"))
    assert [one["threads"] for one in done] == [usable_cpus(), 1, 1]
    assert contents("out") == contents("bounded")


def test_a_file_that_would_pass_the_bound_is_refused_and_others_are_done(cli):
    photos("in", 1)
    np.save("in/small.npy", np.zeros((4, 4)))
    done = cli("batch", "in", "-o", "out", "--json", "--max-memory", "1K")
    assert (done.code, [one["status"] for one in objects(done)]) == (5, ["done", "failed"])


def test_warnings_stay_with_the_record_of_their_thread(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = warnings.filters[:], warnings.showwarning
    real, meet = pooling.engines.prepare, threading.Barrier(8)

    def prepare(*arguments, **options):
        meet.wait(20)
        for number in range(20):
            warn_once(f"{threading.current_thread().name} {number}")
        meet.wait(20)
        return real(*arguments, **options)

    monkeypatch.setattr(pooling.engines, "prepare", prepare)
    np.save("x.npy", np.zeros((4, 4)))
    said = {}

    def work(name):
        said[name] = runner.run(naming.Job("x.npy", None, None), REQUEST)[0].warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoolWarning)
        threads = [threading.Thread(target=work, args=(f"t{n}",), name=f"t{n}") for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert said == {f"t{n}": tuple(f"t{n} {i}" for i in range(20)) for n in range(8)}
    assert (warnings.filters, warnings.showwarning) == before


def test_the_memory_of_a_job_is_its_files_and_three_times_its_arrays():
    source = records.Side("png", (4, 5, 3), "uint16", 7)
    result = records.Side("npy", (2, 2, 3), "float64")
    record = records.Record("planned", JOB, REQUEST, None, source, result)
    for light, copies in ((Light(8), 3), (Light(8, alpha=True, weighted=True), 3 + Light(8, weighted=True).copies)):
        prospect = SimpleNamespace(record=record, page=SimpleNamespace(light=light))
        assert runner.memory(prospect) == 7 + copies * (4 * 5 * 3 * 2 + 2 * 2 * 3 * 8)


def test_a_stopwatch_adds_up_stages_and_the_whole(monkeypatch):
    ticks = iter([100.0, 101.0, 103.0, 110.0, 114.0, 120.0])
    monkeypatch.setattr(runner.time, "perf_counter", lambda: next(ticks))
    watch = runner.Stopwatch()
    for _ in range(2):
        with watch.stage("read"):
            pass
    assert watch.stop() == {"read": 6.0, "total": 20.0}


@pytest.mark.parametrize(("quality", "good"), [(0, False), (1, True), (100, True), (101, False)])
def test_a_quality_is_from_1_to_100(quality, good):
    if good:
        assert Picture(quality).quality == quality
    else:
        with pytest.raises(UsageError, match=f"quality must be from 1 to 100, got {quality}"):
            Picture(quality)


def test_what_nobody_asks_for_is_as_usual():
    usual = Request()
    assert (usual.method, usual.window, usual.max_pixels) == (lookup("max"), Window(2), MAX_PIXELS)
    assert MAX_PIXELS == 10**9


def test_failures_keep_no_arrays_alive():
    error = OutputError("no space left on device")
    try:
        os.rmdir(os.path.abspath(os.sep))  # the system refuses
    except OSError as cause:
        error.__cause__ = cause
        number = cause.errno
    record = runner.failed(naming.Job("x", "y", None), REQUEST, error)
    assert error.__cause__.__traceback__ is not None
    assert record.error.message == "y: no space left on device"
    assert record.error.__cause__.errno == number
    assert record.error.__traceback__ is record.error.__cause__.__traceback__ is None


SOAK = """
import os, sys
from poolcli.cli import tally
from poolcli.cli.app import run

seen = []

def sample(meter, real=tally.Meter.move):
    real(meter)
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    seen.append((resident, len(os.listdir("/proc/self/fd"))))

tally.Meter.move = sample
code = run(["batch", sys.argv[1], "-o", sys.argv[2], "-q", "-j", "2", "--engine", sys.argv[3]])
resident, descriptors = zip(*seen)
print(code, len(seen), max(resident[300:]) - resident[300], max(descriptors), min(descriptors[9:]))
"""


@pytest.mark.parametrize(("good", "engine"), [(True, "numpy"), (True, "numba"), (False, "numpy")])
def test_a_thousand_files_take_no_more_memory_and_descriptors_than_some(tmp_path, good, engine):
    (tmp_path / "in").mkdir()
    array = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    np.save(tmp_path / "x.npy", array)
    data = (tmp_path / "x.npy").read_bytes()
    for number in range(1000):
        (tmp_path / "in" / f"{number}.npy").write_bytes(data if good else data[:-1])
    done = subprocess.run(
        [sys.executable, "-c", SOAK, "in", "out", engine], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    code, seen, growth, most, least = map(int, done.stdout.splitlines()[-1].split())
    assert (code, seen) == (0 if good else 3, 1000)
    assert growth < 4e6
    assert most - least <= 8  # two files being read and written, two folders
    assert len(contents(tmp_path / "out")) == (1000 if good else 0)


def test_a_look_at_a_file_is_its_head_and_its_size():
    head, found = files.peek(__file__)
    assert (head, found.st_size) == (Path(__file__).read_bytes()[:512], os.path.getsize(__file__))
