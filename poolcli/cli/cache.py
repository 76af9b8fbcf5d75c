"""``poolcli cache``: the compiled kernels that are kept between processes."""

from __future__ import annotations

import time

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS

app = typer.Typer(
    add_completion=False,
    help=COMMANDS["cache"],
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(help="Show the folder, how many kernels it keeps, and their size.")
def info(json: options.Json = False) -> int:
    from poolcli.core import cache

    found = cache.contents()
    document = {"folder": str(cache.folder()), "kernels": len(found), "bytes": sum(found.values())}
    if json:
        from poolcli.jobs.records import SCHEMA

        report.print_json({"schema": SCHEMA, **document}, indent=2)
        return 0
    made = report.table(None, "what", "is")
    for key, value in document.items():
        report.add(made, key, str(value))
    report.console().print(made)
    return 0


@app.command(help="Compile every kernel that is not kept yet: for containers and batch nodes; takes minutes.")
def warm(quiet: options.Quiet = False) -> int:
    from poolcli.core import cache, compiled, recipes

    todo = recipes.kernels()
    for number, (fold, types) in enumerate(todo, 1):
        name, begin = cache.name(fold, types), time.perf_counter()
        known = cache.has(name)
        compiled.kernel(fold, types)
        if not quiet:
            took = "kept" if known else report.seconds(time.perf_counter() - begin)
            report.say(f"{number}/{len(todo)} {name}: {took}")
    return 0


@app.command(help="Remove the kernels of this and of other versions.")
def clear() -> int:
    from poolcli.core import cache

    cache.clear()
    return 0
