"""``poolcli unpool``: values put back where they stood."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.core.settings import setting
from poolcli.jobs.request import Output, Request
from poolcli.media import formats


@dataclass(frozen=True)
class Restored:
    """What is put back, and where the result goes."""

    values: str | None = setting(
        "Input", "Picture or .npy of the values to put there instead.", default=None, metavar="OTHER"
    )
    size: str | None = setting("Output", "Lengths of the pooled axes; else the input's.", default=None, metavar="HxW")
    output: str | None = setting(
        "Output",
        "A file, or - for stdout; else {stem}.unpooled.npy beside FILE.",
        default=None,
        short="-o",
        metavar="PATH",
    )


@options.command(
    "poolcli pool maps.npy --layout CHW -k 2 --indices peaks.npz",
    "poolcli unpool peaks.npz -o restored.npy",
    "poolcli unpool peaks.npz --values decoded.npy --size 64x64 -o larger.npy",
)
def unpool(
    file: Annotated[str, options.argument("FILE", "What pool --indices wrote.")],
    replaces: Annotated[Output, "force"],
    talk: Annotated[Talk, "debug"],  # noqa: ARG001 -- the entry point reads it
    asked: Restored,
) -> int:
    import poolcli
    from poolcli.jobs import indexed, naming

    beside = "-" if file == "-" else os.path.join("{dir}" if os.path.dirname(file) else "", "{stem}.unpooled.npy")
    (job,) = naming.plan([file], Output(asked.output or beside, force=replaces.force), Request())
    target, chosen = str(job.output), job.format or formats.by_name("npy")
    restored = indexed.restore(file, asked.values, asked.size)
    poolcli.write(target, restored, format=chosen.name, force=job.force)
    if target != "-":
        report.print_path(target)
    return 0
