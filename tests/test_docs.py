"""README says what is: its tables are those of the code, its commands run, its Python runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import readme

import poolcli
from poolcli.cli.app import COMMANDS
from poolcli.measure import sheet

ROOT = readme.README.parent
TEXT = readme.README.read_text(encoding="utf-8")
ONE_LINERS = re.search(r"<!-- one-liners -->\n```sh\n(.*?)```", TEXT, re.DOTALL)[1].splitlines()


def test_derived_parts_are_current():
    assert readme.rendered(TEXT) == TEXT, "run python tests/readme.py"
    assert readme.HEADLINE.read_text(encoding="utf-8") == f"{readme.tables.overview(readme.headline())}\n"


def test_readme_opens_with_two_commands_that_need_only_python():
    pool, test = re.findall(r"```sh\n(.*?)\n```", TEXT, re.DOTALL)[:2]
    assert all("\n" not in line and line.startswith("python3 -m venv .venv && ") for line in (pool, test))
    assert "poolcli pool samples/" in pool
    assert "pytest" in test


def test_there_are_ten_one_liners_that_use_every_sample_they_name():
    assert len(ONE_LINERS) == 10
    named = set(re.findall(r"\b[\w]+\.(?:png|jpg|npy|tiff)\b", "\n".join(line.split("#")[0] for line in ONE_LINERS)))
    assert {"photo_rgb.png", "feature_maps.npy"} <= named


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme") / "samples"
    shutil.copytree(ROOT / "samples", folder)
    commands = folder.parent / "bin"
    commands.mkdir()
    (commands / "poolcli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m poolcli "$@"\n')
    (commands / "poolcli").chmod(0o755)
    return folder


@pytest.mark.parametrize("line", ONE_LINERS, ids=[str(i) for i in range(len(ONE_LINERS))])
def test_one_liner_runs_and_gives_something(samples, line):
    before = {path: path.stat().st_mtime_ns for path in samples.rglob("*")}
    path = f"{samples.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = ["/bin/sh", "-c", line]
    done = subprocess.run(command, cwd=samples, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [p for p in samples.rglob("*") if before.get(p) != p.stat().st_mtime_ns and p.is_file()]
    assert made or done.stdout
    for path in made:
        assert path.stat().st_size > 0


def test_the_python_example_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 -- README's own example
    assert np.array_equal(names["poolcli"].pool(names["x"], "avg", kernel=2), [[2.5, 4.5], [10.5, 12.5]])


def test_readme_names_commands_that_are():
    prose = "\n".join(line for line in TEXT.splitlines() if not line.startswith("|"))
    named = set(re.findall(r"poolcli ([a-z]+)", prose))
    assert {"pool", "batch", "bench", "compare", "info", "cache"} <= named <= set(COMMANDS)


def test_the_pictures_are_there_and_are_what_their_script_makes(tmp_path):
    script = ROOT / "samples" / "make_picture.py"
    subprocess.run(
        [sys.executable, str(script), str(tmp_path)], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    text = sheet.TEXT + sheet.GAP  # rows at the end of the sheet: letters are drawn as Pillow's version draws them
    for name, rows in (("pooled.png", None), ("compare.png", -text)):
        made, kept = (poolcli.read(folder / name) for folder in (tmp_path, ROOT / "samples"))
        assert np.array_equal(made[:rows], kept[:rows])
        assert (ROOT / "samples" / name).stat().st_size < 10**6
        assert f"(samples/{name})" in TEXT
