"""``poolcli methods``: the method table."""

from __future__ import annotations

from typing import Annotated

from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.core.methods import METHODS, Method
from poolcli.jobs.records import SCHEMA

KEYS = ("name", "summary", "formula", "value", "suits", "source", "torch")
LABELS = ("method", "each output value is the", "formula", "value", "for", "source or PyTorch")


@options.command("poolcli methods", "poolcli methods --json", "poolcli pool photo.png -m avg")
def methods(talk: Annotated[Talk, "json"]) -> int:
    rows = [{key: _said(row, key) for key in KEYS} for row in METHODS.values()]
    if talk.json:
        report.print_json({"schema": SCHEMA, "methods": rows}, indent=2)
        return 0
    for row in rows:
        torch = row.pop("torch")
        row["source"] = row["source"] or torch
    report.show(LABELS, [[value or "-" for value in row.values()] for row in rows], LABELS[:2:-1])
    return 0


def _said(row: Method, key: str) -> str | None:
    parameter = row.parameter
    if key != "value":
        return getattr(row, key) or None
    if parameter is None:
        return None
    said = f"{parameter.form} {parameter.means}"
    return f"{said}; else {parameter.default}" if parameter.default else said
