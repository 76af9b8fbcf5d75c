"""``poolcli cache``: the compiled kernels that are kept between processes."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS, Group
from poolcli.cli.options import Talk

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help=COMMANDS["cache"],
    epilog="Examples:\n  poolcli cache info\n  poolcli cache warm -q\n  poolcli cache clear",
    rich_markup_mode=None,
    context_settings=options.HELP,
)


@options.command(
    app,
    "Show the folder, how many kernels it keeps, and their size.",
    "poolcli cache info",
    "poolcli cache info --json",
    "XDG_CACHE_HOME=/var/cache poolcli cache info",
)
def info(talk: Annotated[Talk, "json"]) -> int:
    from poolcli.core import cache

    found = cache.contents()
    document = {"folder": str(cache.folder()), "kernels": len(found), "bytes": sum(found.values())}
    if talk.json:
        from poolcli.jobs.records import SCHEMA

        report.print_json({"schema": SCHEMA, **document}, indent=2)
        return 0
    report.show(("what", "is"), document.items())
    return 0


@options.command(
    app,
    "Compile every kernel that is not kept yet: for containers and batch nodes; takes minutes.",
    "poolcli cache warm",
    "poolcli cache warm -q",
    "RUN poolcli cache warm -q  # in a Dockerfile",
)
def warm(talk: Annotated[Talk, "quiet"]) -> int:
    from poolcli.core import cache, compiled, recipes

    todo = recipes.kernels()
    for number, kernel in enumerate(todo, 1):
        begin, known = time.perf_counter(), cache.has(kernel.name)
        compiled.kernel(kernel)
        if not talk.quiet:
            took = "kept" if known else report.seconds(time.perf_counter() - begin)
            report.say(f"{number}/{len(todo)} {kernel.name}: {took}")
    return 0


@options.command(
    app,
    "Remove the kernels of this and of other versions.",
    "poolcli cache clear",
    "poolcli cache clear && poolcli cache warm",
    "XDG_CACHE_HOME=/var/cache poolcli cache clear",
)
def clear() -> int:
    from poolcli.core import cache

    cache.clear()
    return 0
