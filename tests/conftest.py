"""What tests share: the samples, the command line in process, and a kernel cache that is kept between runs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from poolcli.cli.app import run

SAMPLES = Path(__file__).parent.parent / "samples"


class Result(NamedTuple):
    """How a command line ended, and what it wrote."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def samples():
    return SAMPLES


@pytest.fixture
def cli(capfdbinary, tmp_path, monkeypatch):
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capfdbinary.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Result(code, out, err.decode())

    return call
