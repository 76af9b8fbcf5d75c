"""The man page says what --help says, and man shows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

import manual
import pytest

TEXT = manual.PAGE.read_text(encoding="utf-8")


def test_the_page_is_current():
    assert manual.page() == TEXT, "run python tests/manual.py"


def test_the_wheel_puts_the_page_where_man_looks():
    wheel = tomllib.loads((manual.PAGE.parent.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["shared-data"] == {"poolcli/poolcli.1": "share/man/man1/poolcli.1"}


def flat(text):
    return " ".join(text.replace("-\n", "-").split())


SHOWN = [
    pytest.param(["man", "-l"], marks=pytest.mark.skipif(shutil.which("man") is None, reason="there is no man")),
    pytest.param(["mandoc", "-T", "utf8"], marks=pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc")),
]


@pytest.mark.parametrize("reader", SHOWN, ids=["man", "mandoc"])
def test_a_reader_of_man_pages_shows_every_option_and_its_words(cli, reader):
    environment = {**os.environ, "MANWIDTH": "500", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    extra = ["-O", "width=500"] if reader[0] == "mandoc" else []
    done = subprocess.run([*reader, *extra, manual.PAGE], capture_output=True, check=True, env=environment)
    shown = re.sub(".\b", "", done.stdout.decode())
    assert done.stderr == b""
    for name, command in manual.commands():
        mine = flat(shown.split(f"poolcli {name}\n", 1)[1])
        for line in re.findall(r"^  (-.*?)(?:  |$)", cli(*name.split(), "--help").out.decode(), re.MULTILINE):
            assert line in mine, (name, line)
        for parameter in command.params:
            assert flat(parameter.help) in mine, parameter.name


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="there is no mandoc")
def test_mandoc_finds_nothing_to_warn_of():
    reader = shutil.which("mandoc")
    done = subprocess.run([reader, "-T", "lint", "-W", "warning", manual.PAGE], capture_output=True, check=False)
    said = [line for line in done.stdout.decode().splitlines() if "missing date" not in line]
    assert said == []
