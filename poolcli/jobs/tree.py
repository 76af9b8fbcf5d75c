"""The inputs of a batch: found in folders or listed, and mapped to outputs below one folder."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from poolcli.core.settings import setting, whole
from poolcli.errors import InputError, UsageError
from poolcli.jobs import naming
from poolcli.jobs.naming import Job, Stamp
from poolcli.media import files, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from poolcli.jobs.request import Request
    from poolcli.media.formats import Format

OWN = ".poolcli"  # the folder of a batch's manifest, below its output
MIRROR = "{dir}/{stem}{ext}"
FLAT = "{stem}{ext}"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which files are inputs; paths are relative to the source that they are found in.

    A glob without ``/`` is about names, one with ``/`` about paths; ``**`` stands for any folders. Lower case matches
    upper case too.
    """

    include: tuple[str, ...] = setting(
        "Input", "Only such files, as '*.jpg'; may be repeated.", default=(), short="-I", metavar="GLOB"
    )
    exclude: tuple[str, ...] = setting(
        "Input", "No such files and folders, as '**/thumbs/**'; repeat.", default=(), short="-x", metavar="GLOB"
    )
    max_depth: int | None = setting("Input", "Folders to go into: 1 is SRC alone.", default=None, metavar="N")
    hidden: bool = setting("Input", "Names that begin with a dot, too.", default=False)
    keep_root: bool = setting("Output", "Put the name of each SRC, too, below DST.", default=False)
    files_from: str | None = setting("Input", "More inputs, one a line; - for stdin.", default=None, metavar="FILE")
    null: bool = setting("Input", "The names in --files-from end with NUL.", default=False, short="-0")

    def __post_init__(self) -> None:
        if self.max_depth is not None:
            whole("max_depth", self.max_depth)
        if self.null and self.files_from is None:
            raise UsageError("null must be used with a list of files", "files_from=FILE")

    def enters(self, folder: str) -> bool:
        """Whether the files in *folder* are looked at, if its parent is entered."""
        depth = folder.count(os.sep) + 2
        return self._kept(folder) and (self.max_depth is None or depth <= self.max_depth)

    def takes(self, file: str) -> bool:
        """Whether *file* is looked at, if its folder is entered."""
        return self._kept(file) and (not self.include or any(matches(glob, file) for glob in self.include))

    def _kept(self, path: str) -> bool:
        name = os.path.basename(path)
        if name == OWN or (name.startswith(".") and not self.hidden):
            return False
        return not any(matches(glob, path) for glob in self.exclude)


def matches(glob: str, path: str) -> bool:
    """Whether a relative *path* matches *glob*, as `Rules` says."""
    if glob == glob.lower():
        path = path.lower()
    parts = glob.rstrip("/").split("/")
    return _match(["**", *parts] if len(parts) == 1 else [part for part in parts if part], path.split(os.sep))


def _match(globs: list[str], parts: list[str]) -> bool:
    if not globs:
        return not parts
    if globs[0] == "**":
        return any(_match(globs[1:], parts[skipped:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], globs[0]) and _match(globs[1:], parts[1:])


@dataclass(frozen=True, slots=True)
class Found:
    """One file, or a folder that cannot be listed.

    *below* is the path that its output mirrors; *named* means asked for by name; *format* is that of its content.
    """

    path: str
    below: str
    named: bool = False
    stamp: Stamp | None = None
    format: Format | None = None
    error: InputError | None = None

    @property
    def counts(self) -> bool:
        """Whether it is an input; where there is no content to look at, the name of a found file decides."""
        if self.named or self.error is not None or self.format is not None:
            return True
        return not (self.stamp and self.stamp.bytes) and formats.by_suffix(self.path) is not None


def find(sources: Sequence[str], rules: Rules) -> Iterator[Found]:
    """Look at all files in *sources*, each a file or a folder, and at those in a list, in order of their names.

    Raises
    ------
    UsageError
        There is none to look at, or the list cannot be read.
    """
    if not sources and rules.files_from is None:
        raise UsageError("batch must be given folders or files", "files_from=FILE lists them")
    if "-" in sources:
        raise UsageError("sources must be folders or files, got -", "files_from=- reads their names, pool - a picture")
    for source in sources:
        if os.path.isdir(source):
            root = os.path.basename(os.path.abspath(source)) if rules.keep_root else ""
            for one in _walk(source, rules):
                yield replace(one, below=os.path.join(root, one.below))
        else:
            yield _look(source, os.path.basename(source), named=True)
    for path in listed(rules.files_from, null=rules.null) if rules.files_from is not None else ():
        yield _look(path, _kept(path), named=True)


def _kept(path: str) -> str:
    """Return a listed path without what leads out of a folder that it is put below."""
    parts = os.path.normpath(path).split(os.sep)
    return os.sep.join(part for part in parts if part not in {"", ".."}) or path


def _walk(source: str, rules: Rules) -> Iterator[Found]:
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(source, folder)) as entries:
                names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError as error:
            path = os.path.join(source, folder)
            yield Found(path, folder, error=InputError(f"cannot be listed: {files.fact(error)}"))
            continue
        paths = [(os.path.join(folder, name), is_folder) for name, is_folder in names]
        for path, is_folder in paths:
            if not is_folder and rules.takes(path):
                yield _look(os.path.join(source, path), path, named=False)
        folders.extend(path for path, is_folder in reversed(paths) if is_folder and rules.enters(path))


def _look(path: str, below: str, *, named: bool) -> Found:
    try:
        head, found = files.peek(path)
    except InputError:  # reading it will say so
        return Found(path, below, named)
    stamp = Stamp(found.st_size, found.st_mtime_ns)
    try:
        return Found(path, below, named, stamp, formats.sniff(head))
    except InputError:
        return Found(path, below, named, stamp)


def listed(name: str, *, null: bool) -> list[str]:
    """Return the paths in a list, one a line, whose end may be Windows's, or each ended by NUL; ``-`` is stdin."""
    try:
        if name != "-":
            with open(name, "rb") as file:  # may be a pipe of the shell's: <(...)
                data = file.read()
        elif sys.stdin is None or sys.stdin.isatty():
            got = "a closed one" if sys.stdin is None else "a terminal"
            raise UsageError(f"standard input must be a list of files, got {got}")
        else:
            data = sys.stdin.buffer.read()
    except OSError as error:
        raise UsageError(f"{files.shown(name)}: {files.fact(error)}") from error
    paths = data.split(b"\0") if null else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(path) for path in paths if path]


def plan_jobs(
    found: Iterable[Found],
    destination: str,
    template: str,
    request: Request,
    *,
    format: Format | None = None,
    identity: Callable[[str], object | None] = naming.identity,
) -> list[Job]:
    """Map what counts of *found* to outputs below *destination*; asks nothing of the file system but *identity*.

    Raises
    ------
    UsageError
        Outputs collide, are inputs or leave *destination*, or a format cannot be written.
    """
    jobs = {}
    for one in found:
        if one.error is not None:
            jobs[one.path, ""] = Job(one.path, None, None, error=one.error)
        elif (one.path, one.below) not in jobs:
            below = os.path.normpath(naming.filled(template, one.below, format, request))
            if below.startswith((os.sep, os.pardir + os.sep)) or below in {os.curdir, os.pardir}:
                raise UsageError(f"template must stay below the output folder, got {files.shown(below)}")
            target = os.path.join(destination, below)
            form = _format(one, target, template, format)
            jobs[one.path, one.below] = Job(one.path, target, form, one.stamp, several=True)
    naming.check(
        jobs.values(),
        kinds="template='{dir}/{name}{ext}' keeps both",
        twins="keep_root=True keeps both" if "{dir}" in template else "{dir} in the template keeps both",
        identity=identity,
    )
    return list(jobs.values())


def _format(found: Found, target: str, template: str, format: Format | None) -> Format | None:
    """Return the format to write, or None for the input's own, if that can be written."""
    try:
        written = naming.written_as(target, format, derived=template.endswith(("{ext}", "{name}")))
        if written is None and found.format is not None:
            formats.writable(found.format)
    except UsageError as error:
        suffix, kind = os.path.splitext(found.path)[1], formats.by_suffix(target) or found.format
        ways = f"exclude='*{suffix}' leaves such files out, format=NAME converts them"
        hint = error.hint if kind is None or kind.writes else ways
        raise UsageError(f"{files.shown(found.path)}: {error.message}", hint) from error
    return written


def check_apart(sources: Sequence[str], destination: str, rules: Rules) -> None:
    """Refuse an output folder that a walk of *sources* would enter: every run would pool the results of the last."""
    place = os.path.realpath(files.placed(destination))
    for source in sources:
        below = os.path.relpath(place, os.path.realpath(files.placed(source)))
        parts = [] if below == os.curdir else below.split(os.sep)
        folders = [os.sep.join(parts[: end + 1]) for end in range(len(parts))]
        if os.path.isdir(source) and parts[:1] != [os.pardir] and all(map(rules.enters, folders)):
            raise UsageError(
                f"output must lie outside the input folder {files.shown(source)}, got {files.shown(destination)}",
                f"exclude={below!r} leaves it out" if parts else "choose another folder",
            )
