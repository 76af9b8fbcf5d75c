"""Which output each input goes to, settled over names alone before anything is read."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING

from poolcli.errors import UsageError
from poolcli.media import files, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from poolcli.core.geometry import Window
    from poolcli.core.methods import Method
    from poolcli.errors import InputError
    from poolcli.media.formats import Format

DEFAULT = "{stem}.{method}{kernel}{ext}"
FIELDS = ("stem", "name", "ext", "dir", "method", "kernel", "stride")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file is still the same: its size in bytes, and its time of change in nanoseconds."""

    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes.

    *format* is None when the input's own is kept. A batch adds what it saw when it listed the input: its *stamp*, or
    the *error* that ends the job.
    """

    input: str
    output: str | None
    format: Format | None
    stamp: Stamp | None = None
    error: InputError | None = None


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    method: Method,
    window: Window,
    format: str | None = None,
    force: bool = False,
) -> list[Job]:
    """Return a job for each of *inputs*.

    Parameters
    ----------
    inputs
        Paths, or ``-`` for stdin (once).
    output
        A file, ``DIR/``, a template with fields of `FIELDS`, ``-``, or None: beside each input.
    method, window
        For names.
    format
        Name of the format to write, or None.
    force
        Existing outputs may be replaced.

    Raises
    ------
    UsageError
        Two inputs have one output, an output is an input or exists, or a name is no template.
    """
    if output == "":
        raise UsageError("output must be a file, DIR/, a template or -, got ''")
    if inputs.count("-") > 1:
        raise UsageError("stdin must be given once, got - twice")
    chosen = None if format is None else formats.by_name(format)
    if chosen is not None:
        formats.writable(chosen)
    jobs = [_job(name, output, chosen, method, window, several=len(inputs) > 1) for name in inputs]
    check(jobs, force=force)
    return jobs


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
    force: bool,
    hint: str = "use -o with {dir}, {name} or {stem}",
    identity: Callable[[str], object | None] = identity,
) -> None:
    """Refuse outputs that collide, are inputs, or exist without *force*."""
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
                hint,
            )
        taken[name] = job.input
        found = identity(job.output)
        if found is not None and found in sources:
            raise UsageError(f"output must not be an input, got {shown}")
        if found is not None and not force and os.path.isfile(job.output):
            raise UsageError(f"{shown}: output exists", "-f replaces it")


def _job(name: str, output: str | None, chosen: Format | None, method: Method, window: Window, *, several: bool) -> Job:
    if output is None and name == "-":
        output = "-"
    if output == "-":
        if several:
            raise UsageError("output - must be given with one input")
        return Job(name, "-", chosen)
    derived = True  # the name comes from the input's: so does what its suffix says
    if output is None:
        target = os.path.join(os.path.dirname(name), filled(DEFAULT, name, chosen, method, window))
    elif "{" in output or "}" in output:
        target = filled(output, name, chosen, method, window)
        derived = output.endswith(("{ext}", "{name}"))
    elif output.endswith(os.sep) or os.path.isdir(output):
        target = os.path.join(output, filled("{stem}{ext}", name, chosen, method, window))
    elif several:
        raise UsageError(
            f"output for several inputs must be DIR/ or a template, got {output!r}", "-o 'DIR/{stem}{ext}'"
        )
    else:
        target, derived = output, False
    return Job(name, target, written_as(target, chosen, derived=derived))


def written_as(target: str, chosen: Format | None, *, derived: bool) -> Format | None:
    """Return the format to write to *target*, or None for the input's own; *derived*: the input gave the suffix."""
    told = formats.by_suffix(target)
    if told is not None:
        formats.writable(told)
    if chosen is not None and told is not None and told is not chosen:
        raise UsageError(
            f"format must agree with the output's suffix, got {chosen.name} for {files.shown(target)}",
            "drop -F, or change the suffix",
        )
    if told is None and chosen is None and not derived and os.path.splitext(target)[1]:
        raise UsageError(
            f"output's suffix must be that of a format, got {files.shown(target)}",
            "use -F to name the format, or one of " + " ".join(f.suffixes[0] for f in formats.FORMATS if f.writes),
        )
    return chosen or told


def filled(template: str, name: str, chosen: Format | None, method: Method, window: Window) -> str:
    """Return *template* with the parts of an input's *name*, the *chosen* format's suffix, and what is asked for."""
    folder, base = os.path.split("stdin" if name == "-" else name)
    stem, ext = os.path.splitext(base)
    values = {
        "stem": stem,
        "name": base,
        "ext": ext if chosen is None else chosen.suffixes[0],
        "dir": folder or ".",
        "method": method.name.replace(":", "-"),
        "kernel": _spelled(window.kernel),
        "stride": _spelled(window.stride),
    }
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"output template must have balanced braces, got {template!r}") from error
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            known = " ".join(f"{{{known}}}" for known in FIELDS)
            raise UsageError(f"output template must use {known} only, got {{{field}}}")
    return "".join(text + (values[field] if field is not None else "") for text, field, _, _ in parts)


def _spelled(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values[:1] if len(set(values)) == 1 else values))
