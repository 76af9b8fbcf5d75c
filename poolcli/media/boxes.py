"""Boxes, of which JPEG 2000, JPEG XL and the relatives of MP4 are made."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from poolcli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box, and where its content starts and ends; InputError where one is cut off."""
    end = len(data) if end is None else end
    while start < end:
        size, kind = struct.unpack(">I4s", data[start : start + 8].ljust(8, b"\xff"))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", data[start + 8 : start + 16].ljust(8, b"\xff"))
            head = 16
        stop = start + size if size else end
        if (size and size < head) or stop > end:
            raise InputError("truncated: one of its parts ends beyond the end of the file")
        yield kind, start + head, stop
        start = stop


def found(data: bytes, kind: bytes, start: int = 0, end: int | None = None) -> bytes | None:
    """Return the content of the first box of a kind, or None."""
    return next((data[first:last] for name, first, last in walk(data, start, end) if name == kind), None)


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box."""
    return struct.pack(">I4s", 8 + len(content), kind) + content
