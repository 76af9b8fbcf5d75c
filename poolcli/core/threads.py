"""Threads: how many there are, and one bounded pool that shares out a piece of work."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PARTS = 4  # parts of the work for each thread: who wakes late, or is disturbed, takes fewer

_pool: ThreadPoolExecutor | None = None


def usable_cpus() -> int:
    """Return the processors that this process may use: its affinity and its cgroup's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return count


def share(work: Callable[[Iterable[tuple[int, int]]], None], parts: Iterable[tuple[int, int]], threads: int) -> None:
    """Call *work* on *threads* threads, this one included, with an iterator that deals out *parts* to all of them.

    An exception here, such as a signal's, leaves the parts that nobody took undone.
    """
    left = deque(parts)
    if threads == 1:
        work(_dealt(left))
        return
    others = [_threads().submit(work, _dealt(left)) for _ in range(threads - 1)]
    try:
        work(_dealt(left))
    except BaseException:
        left.clear()
        raise
    finally:
        for other in others:
            other.result()


def _dealt(left: deque[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    while True:
        try:
            part = left.popleft()
        except IndexError:
            return
        yield part


def _threads() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603 -- one bounded pool for the process
    if _pool is None:
        _pool = ThreadPoolExecutor(max(1, usable_cpus() - 1), "poolcli")
    return _pool


def _forget() -> None:
    global _pool  # noqa: PLW0603 -- a forked child has none of its parent's threads
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
