"""The memory that this process may use, and the shares of it that files in flight hold."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT = 2**28  # bytes of freed memory that are kept
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
LARGEST = 2**25  # the most bytes that glibc takes for the second


def allowed() -> int:
    """Return the bytes of memory that this process may use: the machine's, or fewer by its control group."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                limits.append(int(file.read()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(limits)


def keep() -> None:
    """Have the C library keep the memory that arrays give back, for the arrays of the next file.

    The system hands memory out by zeroed pages: 600,000 page faults were a fifth of the time of 300 photos. It goes
    for what is freed, so the most that is held at once stays as it is. Only glibc knows these settings.
    """
    import ctypes

    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_TRIM_THRESHOLD, KEPT)
        tune(_MMAP_THRESHOLD, LARGEST)


def give_back() -> None:
    """Have the C library give the memory of large arrays back at once, and keep that of small ones.

    Otherwise each thread keeps what it has freed: two threads with regions of 42 MB held 360 MB, and hold 160 MB then.
    """
    import ctypes

    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_MMAP_THRESHOLD, 2**22)


class Dropped(Exception):  # noqa: N818 -- not an error
    """The run ends before this job does."""


class Memory:
    """The bytes that files in flight hold together.

    A file takes the room of its own bytes before it is read, and of all that it needs when its header is known. Those
    that wait are served in the order of the plan; what is larger than all the room waits until it is alone.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: dict[int, int] = {}  # bytes by number of the job
        self._asking: set[int] = set()  # read, and not yet decoded
        self._granted: set[int] = set()
        self._changed = threading.Condition()
        self._closed = False

    @contextmanager
    def share(self, number: int, size: int) -> Iterator[None]:
        """Hold *size* bytes for job *number*, and what it takes after, while the body runs."""
        with self._changed:
            self._wait(lambda: not self._held or sum(self._held.values()) + size <= self._total)
            self._held[number] = size
        try:
            yield
        finally:
            with self._changed:
                del self._held[number]
                self._granted.discard(number)
                self._changed.notify_all()

    def take(self, number: int, need: int) -> bool:
        """Wait for *need* bytes in all; return whether job *number* has everything to itself."""

        def free() -> bool:
            others = sum(self._held.values()) - self._held[number]
            return number == min(self._asking) and (others + need <= self._total or not self._granted)

        with self._changed:
            self._asking.add(number)
            try:
                self._wait(free)
                self._granted.add(number)
                self._held[number] = need
            finally:
                self._asking.discard(number)
                self._changed.notify_all()
        return need > self._total

    def _wait(self, free: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._closed or free())
        if self._closed:
            raise Dropped

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
