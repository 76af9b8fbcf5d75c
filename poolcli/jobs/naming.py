"""Which output each input goes to, settled over names alone before anything is read."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, replace
from stat import S_ISREG
from string import Formatter
from typing import TYPE_CHECKING

from poolcli.core.rules import index_layout
from poolcli.errors import UsageError
from poolcli.jobs.request import DEFAULT, FIELDS, LEVELS, PLACES
from poolcli.media import files, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from poolcli.errors import InputError
    from poolcli.jobs.request import Output, Request
    from poolcli.media.formats import Format


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file is still the same: its size in bytes, and its time of change in nanoseconds."""

    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes.

    *format* is None when the input's own is kept; *force* means that an existing output may be replaced, *replaces*
    that there was one; *skip* is why nothing is done. A batch adds what it saw when it listed the input: its *stamp*,
    or the *error* that ends the job. *level* is how many times the input is pooled, *counts* where the valid elements
    of its windows are written, *indices* where its values and where they stand are, which count as in *index_layout*.
    Where there are *several*, options that do not fit this one are not applied to it.
    """

    input: str
    output: str | None
    format: Format | None
    stamp: Stamp | None = None
    error: InputError | None = None
    force: bool = False
    replaces: bool = False
    skip: str | None = None
    level: int = 1
    counts: str | None = None
    several: bool = False
    indices: str | None = None
    index_layout: str = "torch"


def plan(inputs: Sequence[str], output: Output, request: Request) -> list[Job]:
    """Return a job for each of *inputs*, paths or ``-`` for stdin (once); names may tell what is asked for.

    What is the output of another one is skipped, so that ``*.jpg`` means the same the second time.

    Raises
    ------
    UsageError
        Two inputs have one output, an output is an input or exists, or a name is no template.
    """
    if inputs.count("-") > 1:
        raise UsageError("stdin must be given once, got - twice")
    levels = range(1, (output.levels or 1) + 1)
    several = len(inputs) * len(levels) > 1
    jobs = [_job(name, output, request, level, several=several) for name in inputs for level in levels]
    makers = {key: job.input for job in jobs if job.output not in {None, "-"} and (key := identity(job.output or ""))}
    keys = {name: identity(name) for name in inputs}
    made = {name: makers[key] for name, key in keys.items() if key in makers and keys[makers[key]] != key}
    jobs = [
        Job(job.input, None, None, skip=f"the output of {files.shown(made[job.input])}") if job.input in made else job
        for job in jobs
        if job.level == 1 or job.input not in made
    ]
    sides = _sides(jobs, output, several=several)
    check(
        [*(job for job in jobs if job.skip is None), *sides],
        kinds="output='DIR/{name}{ext}' keeps both",
        twins="output='DIR/{dir}/{name}' keeps both",
    )
    jobs = [beside(job, output.exists) for job in jobs]
    if not sides or jobs[0].skip is not None:
        return jobs
    for side in sides:
        beside(side, "overwrite" if output.exists == "overwrite" else "error")
    layout = output.index_layout or index_layout(request.rules)
    return [replace(job, counts=output.valid_count, indices=output.indices, index_layout=layout) for job in jobs]


def _sides(jobs: Sequence[Job], output: Output, *, several: bool) -> list[Job]:
    """Return what is written beside the result of the one job, as jobs."""
    sides = []
    for keyword, path, suffix in (("valid_count", output.valid_count, "npy"), ("indices", output.indices, "npz")):
        if path is not None:
            if several or formats.by_suffix(path) is not formats.by_name(suffix):
                raise UsageError(f"{keyword} must be an .{suffix} for one output, got {path!r}")
            sides.append(replace(jobs[0], output=path))
    return sides


def beside(job: Job, exists: str) -> Job:
    """Decide about a job whose output may exist."""
    there = None if job.output in {None, "-"} else found(job.output or "")
    if there is None or not S_ISREG(there.st_mode):
        return replace(job, force=exists == "overwrite")
    if exists == "error":
        raise UsageError(f"{files.shown(job.output or '')}: output exists", "exists=skip, newer or overwrite")
    return settled(job, there, exists)


def found(name: str) -> os.stat_result | None:
    """Return what the system knows of an output, or None; of a link that leads nowhere, what it knows of the link."""
    for ask in (os.stat, os.lstat):
        try:
            return ask(name)
        except (OSError, ValueError):  # where it matters, writing will say so
            continue
    return None


def settled(job: Job, there: os.stat_result, exists: str) -> Job:
    """Return a job skipped, or allowed to replace the output that is *there*, as *exists* says; error allows it."""
    if exists == "skip":
        return replace(job, skip="output exists")
    if exists == "newer":
        source = job.stamp.mtime_ns if job.stamp is not None else getattr(found(job.input), "st_mtime_ns", 0)
        if source <= there.st_mtime_ns:
            return replace(job, skip="output is newer")
    return replace(job, force=True, replaces=True)


def identity(name: str) -> tuple[int, int] | None:
    """Return the device and number of an existing file, however it is named."""
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def check(
    jobs: Iterable[Job],
    *,
    kinds: str,
    twins: str,
    identity: Callable[[str], object | None] = identity,
) -> None:
    """Refuse outputs that are inputs, or that collide; *kinds* is what helps a.jpg and a.png, *twins* equal names."""
    jobs = list(jobs)
    taken: dict[str, str] = {}
    sources = {key for job in jobs if (key := identity("/dev/stdin" if job.input == "-" else job.input))}
    for job in jobs:
        if job.output is None or job.output == "-":
            continue
        shown = files.shown(job.output)
        name = unicodedata.normalize("NFC", files.placed(job.output)).casefold()
        if name in taken:
            raise UsageError(
                f"outputs must differ, got {shown} for {files.shown(taken[name])} and {files.shown(job.input)}",
                twins if os.path.basename(taken[name]) == os.path.basename(job.input) else kinds,
            )
        taken[name] = job.input
        if identity(job.output) in sources:
            raise UsageError(f"output must not be an input, got {shown}")


def _job(name: str, asked: Output, request: Request, level: int, *, several: bool) -> Job:
    output, format_ = asked.output, asked.format
    default = DEFAULT if asked.levels is None else LEVELS
    if output is None and (name == "-" or files.is_pipe(name)):
        output = "-"
    if output == "-":
        if several:
            raise UsageError("output - must be given with one input")
        return Job(name, "-", format_)
    derived = True  # the name comes from the input's: so does what its suffix says
    if output is None:
        target = os.path.join(os.path.dirname(name), filled(default, name, format_, request, level))
    elif "{" in output or "}" in output:
        target = filled(output, name, format_, request, level)
        derived = output.endswith(("{ext}", "{name}"))
    elif output.endswith(os.sep) or os.path.isdir(output):
        below = "{stem}{ext}" if asked.levels is None else LEVELS
        target = os.path.join(output, filled(below, name, format_, request, level))
    elif several:
        raise UsageError(
            f"output for several inputs must be DIR/ or a template, got {output!r}", "output='DIR/{stem}{ext}'"
        )
    else:
        target, derived = output, False
    written = written_as(target, format_, derived=derived)
    return Job(name, target, written, several=several, level=level)


def written_as(target: str, format: Format | None, *, derived: bool) -> Format | None:
    """Return the format to write to *target*, or None for the input's own; *derived*: the input gave the suffix."""
    suffixed = formats.by_suffix(target)
    if suffixed is not None:
        formats.writable(suffixed)
    if format is not None and suffixed is not None and suffixed is not format:
        raise UsageError(
            f"format must agree with the output's suffix, got {format.name} for {files.shown(target)}",
            "drop format, or change the suffix",
        )
    if suffixed is None and format is None and not derived and os.path.splitext(target)[1]:
        raise UsageError(
            f"output's suffix must be that of a format, got {files.shown(target)}",
            "format=NAME, or one of " + " ".join(f.suffixes[0] for f in formats.FORMATS if f.writes),
        )
    return format or suffixed


def filled(template: str, name: str, format: Format | None, request: Request, level: int = 1) -> str:
    """Return *template* with the parts of an input's *name*, the suffix of *format*, and what is asked for."""
    folder, base = os.path.split("stdin" if name == "-" else name)
    stem, ext = os.path.splitext(base)
    values = {
        "stem": stem,
        "name": base,
        "ext": ext if format is None else format.suffixes[0],
        "dir": folder or ".",
        "method": request.method.token.replace(":", "-").replace(os.sep, "-"),
        "kernel": spelled(request.window.kernel),
        "stride": spelled(request.window.stride),
        "level": str(level),
    }
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"output template must have balanced braces, got {template!r}") from error
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            raise UsageError(f"output template must use {PLACES} only, got {{{field}}}")
    return "".join(text + (values[field] if field is not None else "") for text, field, _, _ in parts)


def spelled(values: tuple[object, ...] | str) -> str:
    """Return a number for each axis as options spell them, one where all are the same; a word as it is."""
    if isinstance(values, str):
        return values
    return "x".join(map(str, values if len(set(values)) > 1 else values[:1]))
