"""``poolcli info``: what files hold, from their headers, and what a window would make of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS
from poolcli.core import layouts
from poolcli.core.geometry import Window
from poolcli.errors import PoolError, UsageError
from poolcli.jobs.records import SCHEMA
from poolcli.jobs.runner import PICTURE_LAYOUTS
from poolcli.media import files, formats

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

Files = Annotated[
    list[str] | None, typer.Argument(metavar="FILE...", help="Files, or - for stdin.", show_default=False)
]
Formats = Annotated[bool, typer.Option("--formats", help="List the formats and what they hold.", show_default=False)]


@app.command(help=COMMANDS["info"])
def info(
    inputs: Files = None,
    kernel: Annotated[str | None, options.KERNEL] = None,
    stride: options.Stride = None,
    padding: options.Padding = "0",
    dilation: options.Dilation = "1",
    ceil: options.Ceil = False,
    layout: options.Layout = None,
    key: options.Key = None,
    max_pixels: options.MaxPixels = "1G",
    list_formats: Formats = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001 -- the entry point looks for it
) -> int:
    if list_formats:
        return _formats(json=json)
    if not inputs:
        raise UsageError("info must be given files, or --formats")
    window = None if kernel is None else Window(kernel, stride, padding, dilation, ceil).over(2)
    most = options.amount("max-pixels", max_pixels)
    code, rows = 0, []
    for name in inputs:
        try:
            row = _look(name, window, layout=layout, key=key, max_pixels=most)
        except PoolError as error:
            named = error.about(files.shown(name))
            report.say_error(named.message, named.hint)
            code = max(code, named.exit_code)
            if json:
                failure = {"message": named.message, "hint": named.hint, "exit_code": named.exit_code}
                report.print_json({"schema": SCHEMA, "status": "failed", "input": name, "error": failure})
            continue
        rows.append(row)
        if json:
            report.print_json({"schema": SCHEMA, "status": "done", "input": name, **row, "error": None})
    if rows and not json:
        _show(rows)
    return code


def _look(name: str, window: Window | None, *, layout: str | None, key: str | None, max_pixels: int) -> dict[str, Any]:
    from poolcli.media import contents

    data = files.read(name)
    header = contents.look(data, key=key, max_pixels=max_pixels).header
    row = {
        "name": name,
        "format": header.format,
        "shape": list(header.shape),
        "dtype": header.dtype,
        "mode": header.mode,
        "bits": header.bits,
        "frames": header.frames,
        "orientation": header.orientation,
        "bytes": len(data),
    }
    if window is not None:
        told = PICTURE_LAYOUTS[len(header.shape)] if header.picture else layout
        resolved = layouts.resolve(told, header.shape)
        plan = window.plan(tuple(header.shape[axis] for axis in resolved.pooled))
        row |= {"layout": resolved.letters, "out": list(resolved.replaced(header.shape, plan.out))}
    return row


def _show(rows: list[dict[str, Any]]) -> None:
    labels = list(dict.fromkeys(label for row in rows for label in row))
    report.show_rows(labels, [[_cell(label, row.get(label)) for label in labels] for row in rows])


def _cell(label: str, value: Any) -> str:
    if value is None:
        return "-"
    if label == "name":
        return files.shown(value)
    return report.shape(value) if isinstance(value, list) else str(value)


def _formats(*, json: bool) -> int:
    rows = [
        {
            "format": row.name,
            "suffixes": " ".join(row.suffixes),
            "reads": True,
            "writes": row.writes,
            "dtypes": " ".join(row.dtypes),
            "alpha": row.alpha,
            "lossy": row.lossy,
            "notes": row.summary,
        }
        for row in formats.FORMATS
    ]
    if json:
        report.print_json({"schema": SCHEMA, "formats": rows}, indent=2)
        return 0
    cells = [[("yes" if v else "no") if isinstance(v, bool) else str(v) for v in row.values()] for row in rows]
    report.show_rows(list(rows[0]), cells)
    return 0
