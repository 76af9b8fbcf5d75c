"""``poolcli verify``: outputs made again from their receipts."""

from __future__ import annotations

from traceback import print_exc
from typing import Annotated

from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.errors import PoolError
from poolcli.jobs.request import Request


@options.command(
    "poolcli pool photo.png -k 4 --receipt -o small.png",
    "poolcli verify small.png",
    "poolcli verify small.png --engine numpy -t 1",
)
def verify(
    inputs: Annotated[list[str], options.argument("FILE...", "What pool --receipt wrote.")],
    request: Annotated[Request, "engine", "threads"],
    talk: Annotated[Talk, "json", "debug"],
) -> int:
    from poolcli.jobs import receipts, records
    from poolcli.media import files

    codes = []
    for name in inputs:
        error = None
        try:
            receipts.verify(name, request)
        except PoolError as caught:
            error = caught.about(files.shown(name))
            if talk.debug:
                print_exc()
            codes.append(error.exit_code)
            report.say_error(error.message, error.hint)
        if talk.json:
            said = {"status": "failed" if error else "done", "input": name, "error": error and records.as_error(error)}
            report.print_json({"schema": records.SCHEMA, **said})
        elif error is None:
            report.print_path(name)
    return records.worst(codes)
