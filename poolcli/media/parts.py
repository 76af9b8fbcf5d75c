"""Files that are read in parts, and never as wholes."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from poolcli.errors import InputError
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import FileIO


class Parts:
    """A regular file that is read in parts, each an error if the file is not what it was when it was first seen."""

    def __init__(self, name: str) -> None:
        self._name = name
        _, found = files.peek(name)
        self.size, self._stamp = found.st_size, _stamp(found)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset* on."""
        data = bytearray(max(0, min(size, self.size - offset)))
        self.fill([(offset, memoryview(data))])
        return bytes(data)

    def fill(self, views: Iterable[tuple[int, memoryview]]) -> None:
        """Fill each of *views* by the bytes from an offset on; errors as `read`."""
        with self.opened() as file:
            for offset, view in views:
                file.seek(offset)
                done = 0
                while done < len(view):
                    got = file.readinto(view[done : done + files.CHUNK])  # a signal is heard between two chunks
                    if not got:
                        raise InputError("changed while reading")
                    done += got

    @contextmanager
    def opened(self) -> Iterator[FileIO]:
        """Open the file, for reading without a buffer."""
        with files.facts(InputError), files.opened(self._name) as (descriptor, found):
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                yield file
            if self._stamp != _stamp(found) or self._stamp != _stamp(os.fstat(descriptor)):
                raise InputError("changed while reading")


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns
