"""``poolcli info``: what files hold, from their headers, and what a window would make of them."""

from __future__ import annotations

from dataclasses import dataclass
from traceback import print_exc
from typing import TYPE_CHECKING, Annotated, Any

from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.core import layouts
from poolcli.core.geometry import Window
from poolcli.core.settings import setting
from poolcli.errors import PoolError, UsageError
from poolcli.jobs import records
from poolcli.jobs.page import PICTURE_LAYOUTS
from poolcli.jobs.records import SCHEMA
from poolcli.jobs.request import Request, Storage
from poolcli.media import files, formats

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_FIRST = ("orientation", "frames", "bits", "layout", "bytes", "mode", "format", "dtype")


@dataclass(frozen=True)
class Listed:
    """What is listed in place of files."""

    formats: bool = setting("Output", "List the formats and what they hold.", default=False)


@options.command(
    "poolcli info photo.jpg maps.npy",
    "poolcli info *.png -k 3 -s 2 --json",
    "poolcli info --formats",
)
def info(
    window: Window | None,
    request: Annotated[Request, "layout", "key", "max_pixels"],
    storage: Annotated[Storage, "storage_option"],
    talk: Annotated[Talk, "json", "debug"],
    listed: Listed,
    inputs: Annotated[list[str] | None, options.argument("FILE...", "Files, or - for stdin.")] = None,
) -> int:
    if listed.formats:
        return _formats(json=talk.json)
    if not inputs:
        raise UsageError("info must be given files, or --formats")
    codes, shown = [], []
    for name in inputs:
        rows: list[dict[str, Any]] = []
        failure = None
        try:
            rows = _look(name, window, request, storage)
            shown += rows
        except PoolError as error:
            named = error.about(files.shown(name))
            if talk.debug:
                print_exc()
            report.say_error(named.message, named.hint)
            codes.append(named.exit_code)
            failure = records.as_error(named)
        if talk.json:
            status = "failed" if failure else "done"
            held = {"arrays": rows} if len(rows) > 1 else rows[0] if rows else {}
            report.print_json({"schema": SCHEMA, "status": status, "input": name, **held, "error": failure})
    if shown and not talk.json:
        labels = list(dict.fromkeys(label for row in shown for label in row))
        report.show(labels, [[_cell(label, row.get(label)) for label in labels] for row in shown], LEAST_FIRST)
    return records.worst(codes)


def _look(name: str, window: Window | None, request: Request, storage: Storage) -> list[dict[str, Any]]:
    """Return a row for each array that a file holds."""
    if files.is_store(name):
        from poolcli.jobs import stores

        row = stores.describe(name, storage, request.layout)
        if window is not None:
            row |= _out(window, layouts.resolve(row["layout"], tuple(row["shape"])), row["shape"])
        return [row]
    from poolcli.media import contents

    data = files.read(name)
    keys = contents.keys(data) if request.key is None else [request.key]
    return [_row(name, data, key, window, request) for key in keys]


def _row(name: str, data: bytes, key: str | None, window: Window | None, request: Request) -> dict[str, Any]:
    from poolcli.jobs import receipts
    from poolcli.media import contents

    header = contents.look(data, key=key, max_pixels=request.max_pixels).header
    row: dict[str, Any] = {
        "name": name if key is None else f"{name} --key {key}",
        "format": header.format,
        "shape": list(header.shape),
        "dtype": header.dtype,
        "mode": header.mode,
        "bits": header.bits,
        "frames": header.frames,
        "orientation": header.orientation,
        "bytes": len(data),
    }
    if (receipt := receipts.read(name, data)) is not None:
        row["receipt"] = receipt
    if window is not None:
        layout = PICTURE_LAYOUTS[len(header.shape)] if header.picture else request.layout
        row |= _out(window, layouts.resolve(layout, header.shape), header.shape)
    return row


def _out(window: Window, layout: layouts.Layout, shape: Sequence[int]) -> dict[str, Any]:
    """Return what a window would make of a shape."""
    plan = window.plan(tuple(shape[axis] for axis in layout.pooled))
    return {"layout": layout.letters, "out": list(layout.replaced(tuple(shape), plan.out))}


def _cell(label: str, value: Any) -> str:
    if value is None:
        return "-"
    if label == "name":
        return files.shown(value)
    if label == "receipt":
        return files.shown(str(value.get("command")))
    if label == "levels":
        return " ".join(map(report.shape, value))
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
            "frames": row.frames or "one",
            "co": " ".join(f"{key}={values[0]}..{values[-1]}" for key, values in row.keys),
            "notes": row.summary,
        }
        for row in formats.FORMATS
    ]
    if json:
        report.print_json({"schema": SCHEMA, "formats": rows}, indent=2)
        return 0
    cells = [[("yes" if v else "no") if isinstance(v, bool) else str(v) for v in row.values()] for row in rows]
    report.show(list(rows[0]), cells, ("notes", "reads", "lossy", "alpha", "dtypes"))
    return 0
