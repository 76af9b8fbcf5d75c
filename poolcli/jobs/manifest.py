"""What a batch has done: one line for each event, in the output folder, so that a run goes on where one stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from poolcli import __version__
from poolcli.errors import OutputError, UsageError
from poolcli.jobs.naming import found, identity
from poolcli.jobs.records import SCHEMA, Record, as_json
from poolcli.jobs.tree import OWN
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcli.jobs.naming import Job
    from poolcli.jobs.request import Request

NAME = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says: which output, made of what, how large, when it changed last, and where the line stands."""

    status: str
    name: str
    origin: str
    bytes: int | None
    mtime_ns: int | None
    source: str
    span: tuple[int, int]


@dataclass(slots=True)
class History:
    """What the lines about one output come to: the last of each status that still matters, in their order."""

    lines: dict[str, Line]

    def add(self, line: Line) -> None:
        """Take in a line: what is done or pruned makes all before it meaningless."""
        if line.status in {"done", "pruned"}:
            self.lines.clear()
        if line.status == "pruned":
            return
        if line.status == "started":
            self.lines.pop("failed", None)
        if line.status == "failed" and "started" in self.lines and self.lines["started"].bytes is None:
            del self.lines["started"]  # nothing was written
        self.lines.pop(line.status, None)
        self.lines[line.status] = line

    @property
    def last(self) -> Line:
        """The newest line."""
        return next(reversed(self.lines.values()))

    def made(self, there: os.stat_result) -> bool:
        """Whether the output that is *there* is a batch's own, and was not edited since.

        Of one whose batch was killed before it could say when it was done, the size decides; what a worker was to
        write is its own.
        """
        done, started = self.lines.get("done"), self.lines.get("started")
        if started is not None and started.bytes in {None, there.st_size}:
            return True
        return done is not None and done.bytes == there.st_size and there.st_mtime_ns <= (done.mtime_ns or 0)

    def current(self, job: Job, request: Request) -> bool:
        """Whether the output, if it is a batch's own, is what *job* would give again."""
        last = self.last
        return job.stamp is not None and (last.status, last.origin) == ("done", origin(job, request))


def origin(job: Job, request: Request) -> str:
    """Return a hash of all that decides an output's content: its source, what is asked for, and who makes it."""
    made_of = {
        "source": os.path.abspath(job.input),
        "stamp": job.stamp and asdict(job.stamp),
        "method": request.method.token,
        "missing": [asdict(request.missing), request.mask, request.weights, request.lengths],
        "taps": request.method.value if request.method.weighs else None,
        "window": request.window.values(),
        "layout": request.layout,
        "dtype": request.dtype,
        "rounding": request.rounding,
        "picture": asdict(request.picture),
        "key": request.key,
        "strict": request.strict,
        "format": job.format and job.format.name,
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def name(job: Job, destination: str) -> str:
    """Return the path of a job's output below *destination*, which stays the same wherever that is moved."""
    return os.path.relpath(job.output or destination, destination)


def load(destination: str) -> dict[str, History]:
    """Return what is known of each output, by its path below *destination*; lines that make no sense are skipped."""
    histories: dict[str, History] = {}
    try:
        with open(_path(destination), "rb") as file:
            at = 0
            for text in file:
                span = at, at + len(text)
                at += len(text)
                line = _parsed(text, span)
                if line is not None:
                    histories.setdefault(line.name, History({})).add(line)
    except (FileNotFoundError, NotADirectoryError):  # of which `opened` will say so
        pass
    except OSError as error:
        raise UsageError(f"{files.shown(_path(destination))}: {files.fact(error)}") from error
    return histories


def _path(destination: str) -> str:
    return os.path.join(destination, OWN, NAME)


def _parsed(text: bytes, span: tuple[int, int]) -> Line | None:
    """Return the line, or None for what a killed run left half-written."""
    try:
        found = json.loads(text)
        if found["schema"] != SCHEMA or found["status"] not in {"started", "done", "failed", "pruned"}:
            return None
        status, name, origin, source = (str(found[key]) for key in ("status", "name", "origin", "source"))
        out = found["out"] or {"bytes": None}
        return Line(status, name, origin, out["bytes"], out.get("mtime_ns"), source, span)
    except (ValueError, KeyError, TypeError):
        return None


class Manifest:
    """The manifest of *destination*, open for one run."""

    def __init__(self, destination: str, descriptor: int, mark: str, *, durable: bool) -> None:
        self.mark = mark
        self._destination = destination
        self._descriptor = descriptor
        self._durable = durable
        self._writing = threading.Lock()
        size = os.fstat(descriptor).st_size
        self._torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"

    def started(self, job: Job, request: Request, size: int | None) -> None:
        """Say that *size* bytes, None where a worker will know, are about to become the output of *job*."""
        self.add(Record("started", job, request), size)

    def add(self, record: Record, size: int | None = None) -> None:
        """Append one record by one write; *size* of the output where the record does not tell.

        Raises
        ------
        OutputError
            It could not be written.
        """
        if record.job.output is None:
            return
        line = json.dumps(self._line(record, size), allow_nan=False).encode() + b"\n"
        with self._writing:
            text = b"\n" + line if self._torn else line  # what is torn must not swallow the next line
            self._torn = True
            try:
                self._append(text)
            except OSError as error:
                raise OutputError(f"manifest cannot be written: {files.fact(error)}") from error
            self._torn = False

    def _append(self, text: bytes) -> None:
        if os.write(self._descriptor, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._durable:
            os.fsync(self._descriptor)

    def _line(self, record: Record, size: int | None) -> dict[str, Any]:
        document, job = as_json(record), record.job
        if size is not None:
            document["out"] = {"bytes": size}
        if record.status == "done" and (there := found(job.output or "")) is not None:
            document["out"]["mtime_ns"] = there.st_mtime_ns
        own = {"name": name(job, self._destination), "source": os.path.abspath(job.input)}
        return document | own | {"origin": origin(job, record.request)}

    def compact(self) -> None:
        """Replace the manifest by the lines that still matter, in one step.

        Raises
        ------
        OutputError
            It cannot be written, or was removed, perhaps with the outputs.
        """
        path = _path(self._destination)
        mine = os.fstat(self._descriptor)
        if identity(path) != (mine.st_dev, mine.st_ino):
            raise OutputError(f"{files.shown(path)}: was removed while the batch ran")
        spans = [line.span for history in load(self._destination).values() for line in history.lines.values()]
        if not spans:
            return
        with open(path, "rb") as file:
            text = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        kept = [text[start:stop] for start, stop in sorted(spans)]
        if bytes(kept[-1][-1:]) != b"\n":
            kept.append(memoryview(b"\n"))
        try:
            files.write(path, kept, overwrite=True, durable=self._durable, mark=self.mark)
        except OutputError as error:
            raise error.about(files.shown(path)) from error


@contextmanager
def opened(destination: str, *, durable: bool) -> Iterator[Manifest]:
    """Open the manifest of *destination* for writing, for this process alone.

    Raises
    ------
    UsageError
        Another batch is at work there.
    OutputError
        The folder cannot be made or written to.
    """
    folder = os.path.join(destination, OWN)
    with locked(folder, destination, durable=durable) as lock:
        try:
            descriptor = os.open(_path(destination), _FLAGS, 0o666)
            if durable:
                files.sync(folder)
        except OSError as error:
            raise OutputError(f"{files.shown(folder)}: {files.fact(error)}") from error
        try:
            # Unlike its path, the number of the lock's file stays the same when the folder is renamed.
            yield Manifest(destination, descriptor, f"{os.fstat(lock).st_ino:x}-", durable=durable)
        finally:
            os.close(descriptor)


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


@contextmanager
def locked(folder: str, target: str, *, durable: bool = False) -> Iterator[int]:
    """Make a *folder* and hold its lock, whose descriptor is given, for this process alone; *target* is what for.

    Raises
    ------
    UsageError
        Another run is at work there.
    OutputError
        The folder cannot be made or written to.
    """
    try:
        files.make_folder(os.path.realpath(folder), durable=durable)
        lock = _held(os.path.join(folder, "lock"))
    except BlockingIOError as error:
        raise UsageError(
            f"{files.shown(target)}: another run is at work there", "wait for it, or choose another output"
        ) from error
    except OSError as error:
        raise OutputError(f"{files.shown(folder)}: {files.fact(error)}") from error
    try:
        yield lock
    finally:
        os.close(lock)


def _held(path: str) -> int:
    """Return the descriptor of a lock's file that this process holds, or raise `BlockingIOError`."""
    import fcntl

    lock = os.open(path, _FLAGS, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = identity(path) == (os.fstat(lock).st_dev, os.fstat(lock).st_ino)
    except OSError:
        os.close(lock)
        raise
    if not same:  # the one that had it has removed it
        os.close(lock)
        raise BlockingIOError
    return lock
