"""``poolcli env``: what a report of a problem should hold."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from typing import Annotated, Any

from poolcli import __version__
from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.core import cache
from poolcli.jobs.records import SCHEMA


@options.command("poolcli env", "poolcli env --json", "NUMBA_CPU_NAME=generic poolcli env")
def env(talk: Annotated[Talk, "json"]) -> int:
    found = _environment()
    if talk.json:
        report.print_json({"schema": SCHEMA, **found}, indent=2)
        return 0
    rows = []
    for key, value in found.items():
        parts = value if isinstance(value, dict) else {"": value}
        rows += [(f"{key}: {part}".removesuffix(": "), "not found" if v is None else v) for part, v in parts.items()]
    report.show(("what", "is"), rows)
    return 0


def _environment() -> dict[str, Any]:
    from poolcli.core.threads import usable_cpus
    from poolcli.measure.environment import cpu_model, installed_version
    from poolcli.measure.peers import LIBRARIES

    peers = {library.distributions[0] for library in LIBRARIES.values()}
    required, optional = _required(), _required(optional=True)
    return {
        "poolcli": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "cpu": cpu_model(),
        "usable_cpus": usable_cpus(),
        "threads": usable_cpus(),
        "cache": str(cache.folder()),
        "packages": {name: installed_version(name) for name in sorted(required)},
        "optional": {name: installed_version(name) for name in sorted(optional | peers - required)},
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_")},
        "terminal": {"stdout": sys.stdout.isatty(), "stderr": sys.stderr.isatty()},
    }


def _required(*, optional: bool = False) -> set[str]:
    """Return the packages that the installed metadata names, or those of its extras."""
    try:
        lines = requires("poolcli") or []
    except PackageNotFoundError:
        lines = []
    names = {re.split(r"[^\w.-]", line)[0] for line in lines if ("extra ==" in line) == optional}
    return names - {"poolcli"}
