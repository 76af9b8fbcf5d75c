"""``poolcli unpool``: values put back where they stood."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS
from poolcli.cli.options import Talk
from poolcli.jobs.request import Output, Request
from poolcli.media import formats

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=options.HELP)

File = Annotated[str, typer.Argument(metavar="FILE", help="What pool --indices wrote.", rich_help_panel="Input")]
Values = Annotated[
    str | None,
    typer.Option(metavar="OTHER", help="Picture or .npy of the values to put there instead.", rich_help_panel="Input"),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="A file, or - for stdout; else {stem}.unpooled.npy beside FILE.",
        rich_help_panel="Output",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="HxW", help="Lengths of the pooled axes; else the input's.", rich_help_panel="Output"),
]


@options.command(
    app,
    COMMANDS["unpool"],
    "poolcli pool maps.npy --layout CHW -k 2 --indices peaks.npz",
    "poolcli unpool peaks.npz -o restored.npy",
    "poolcli unpool peaks.npz --values decoded.npy --size 64x64 -o larger.npy",
)
def unpool(
    file: File,
    replaces: Annotated[Output, "force"],
    talk: Annotated[Talk, "debug"],  # noqa: ARG001 -- the entry point reads it
    values: Values = None,
    size: Size = None,
    output: Target = None,
) -> int:
    import poolcli
    from poolcli.jobs import indexed, naming

    beside = "-" if file == "-" else os.path.join("{dir}" if os.path.dirname(file) else "", "{stem}.unpooled.npy")
    (job,) = naming.plan([file], Output(output or beside, force=replaces.force), Request())
    target, chosen = str(job.output), job.format or formats.by_name("npy")
    poolcli.write(target, indexed.restore(file, values, size), format=chosen.name, force=job.force)
    if target != "-":
        report.print_path(target)
    return 0
