"""``poolcli methods``: the method table."""

from __future__ import annotations

from typing import Annotated

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS
from poolcli.cli.options import Talk
from poolcli.core.methods import METHODS
from poolcli.jobs.records import SCHEMA

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=options.HELP)

COLUMNS = {
    "name": "method",
    "summary": "each output value is the",
    "formula": "formula",
    "parameter": "parameter",
    "torch": "PyTorch",
}


@options.command(app, COMMANDS["methods"], "poolcli methods", "poolcli methods --json", "poolcli pool photo.png -m avg")
def methods(talk: Annotated[Talk, "json"]) -> int:
    rows = [{key: getattr(row, key) for key in COLUMNS} for row in METHODS.values()]
    if talk.json:
        report.print_json({"schema": SCHEMA, "methods": rows}, indent=2)
    else:
        report.show_rows([*COLUMNS.values()], [[value or "-" for value in row.values()] for row in rows])
    return 0
