"""What a job has done of its regions: one line for each, beside the target, so that the same command goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from poolcli.errors import OutputError
from poolcli.jobs import manifest
from poolcli.jobs.records import SCHEMA, as_error
from poolcli.jobs.tree import OWN
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcli.errors import PoolError

    Box = tuple[slice, ...]

NAME = "regions.jsonl"
_KEPT = "new"  # the folder of what is not yet whole


class Journal:
    """The journal of one target, open and locked; regions are told by the boxes of their outputs."""

    def __init__(self, folder: str, origin: str) -> None:
        self.folder = folder
        self.place = os.path.join(folder, _KEPT)  # where a target in a folder is made
        self.done = _done(os.path.join(folder, NAME), origin)
        if not self.done:
            shutil.rmtree(self.place, ignore_errors=True)
        self._file = open(os.path.join(folder, NAME), "ab" if self.done else "wb", buffering=0)  # noqa: SIM115 -- `close`
        self._writing = threading.Lock()
        self._write({"status": "started", "origin": origin})

    def add(self, box: Box, error: PoolError | None, seconds: dict[str, float]) -> None:
        """Write down what became of a region."""
        self._write({"status": "failed" if error else "done", "box": bounds(box), "seconds": seconds,
                     "error": error and as_error(error)})  # fmt: skip

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps({"schema": SCHEMA, **line}).encode() + b"\n"
        with self._writing:
            try:
                whole = self._file.write(text) == len(text)
            except OSError as error:
                raise OutputError(f"journal cannot be written: {files.fact(error)}") from error
        if not whole:
            raise OutputError("journal cannot be written: no space left on device")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Remove all that is beside the target: it is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # a batch's own, or another target's
            os.rmdir(os.path.dirname(self.folder))


def bounds(box: Box) -> tuple[tuple[int, int], ...]:
    """Return the first and the last of a box, as JSON has it."""
    return tuple((side.start, side.stop) for side in box)


def _done(path: str, origin: str) -> set[tuple[tuple[int, int], ...]]:
    """Return the regions that the journal of the same *origin* says are done."""
    found: set[tuple[tuple[int, int], ...]] = set()
    same = False
    with suppress(OSError), open(path, "rb") as file:
        for text in file:
            try:
                line = json.loads(text)
                if line["status"] == "started":
                    same = line["origin"] == origin
                elif line["status"] == "done" and same:
                    found.add(tuple((start, stop) for start, stop in line["box"]))
            except (ValueError, KeyError, TypeError):  # what a killed run left half-written
                continue
    return found if same else set()


def fingerprint(made_of: Any) -> str:
    """Return a hash of all that decides what a target holds."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()


def beside(target: str) -> str:
    """Return the folder for what is told of a target: beside it or, of one behind a URL, in the user's cache."""
    if "://" in target:
        from poolcli.core import cache

        return os.path.join(cache.folder().parent.with_name("poolcli-regions"), fingerprint(target)[:16])
    folder, name = os.path.split(target)
    return os.path.join(folder, OWN, name)


@contextmanager
def opened(target: str, origin: Any) -> Iterator[Journal]:
    """Open the journal of a target, for this process alone; *origin* is all that decides what the target holds.

    Raises
    ------
    UsageError
        Another run is at work on it.
    OutputError
        Its folder cannot be made or written to.
    """
    with manifest.locked(beside(target), target):
        try:
            journal = Journal(beside(target), fingerprint(origin))
        except OSError as error:
            raise OutputError(f"{files.shown(beside(target))}: {files.fact(error)}") from error
        try:
            yield journal
        finally:
            journal.close()
