"""``poolcli methods``: the method table."""

from __future__ import annotations

from dataclasses import asdict

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS
from poolcli.core.methods import METHODS
from poolcli.jobs.records import SCHEMA

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(help=COMMANDS["methods"])
def methods(json: options.Json = False) -> int:
    rows = [
        {
            key: value
            for key, value in asdict(row).items()
            if key in {"name", "summary", "formula", "parameter", "torch"}
        }
        for row in METHODS.values()
    ]
    if json:
        report.print_json({"schema": SCHEMA, "methods": rows}, indent=2)
        return 0
    labels = ("method", "each output value is the", "formula", "parameter", "PyTorch")
    keys = ("name", "summary", "formula", "parameter", "torch")
    report.show_rows(labels, [[row[key] or "-" for key in keys] for row in rows])
    return 0
