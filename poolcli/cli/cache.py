"""``poolcli cache``: the compiled kernels that are kept between processes."""

from __future__ import annotations

import time
from typing import Annotated

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS, HELP, Group
from poolcli.cli.options import Talk


@options.command(
    "poolcli cache info",
    "poolcli cache info --json",
    "XDG_CACHE_HOME=/var/cache poolcli cache info",
)
def info(talk: Annotated[Talk, "json"]) -> int:
    """Show the folder, how many kernels it keeps, and their size."""
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
    "poolcli cache warm",
    "poolcli cache warm -q",
    "RUN poolcli cache warm -q  # in a Dockerfile",
)
def warm(talk: Annotated[Talk, "quiet"]) -> int:
    """Compile every kernel that is not kept yet: for containers and batch nodes; takes minutes."""
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
    "poolcli cache clear",
    "poolcli cache clear && poolcli cache warm",
    "XDG_CACHE_HOME=/var/cache poolcli cache clear",
)
def clear() -> int:
    """Remove the kernels of this and of other versions."""
    from poolcli.core import cache

    cache.clear()
    return 0


cache = Group(
    commands=[info, warm, clear],
    help=COMMANDS["cache"],
    epilog="Examples:\n  poolcli cache info\n  poolcli cache warm -q\n  poolcli cache clear",
    rich_markup_mode=None,
    context_settings=HELP,
)
