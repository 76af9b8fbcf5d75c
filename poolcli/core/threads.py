"""Threads: how many there are, and one bounded pool that shares out a piece of work."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PARTS = 4  # parts of the work for each thread: who wakes late, or is disturbed, takes fewer

_pool: ThreadPoolExecutor | None = None
_making = threading.Lock()
_ids: list[int] = []  # of the pool's threads, by which the system knows them
_left: int | None = None  # the processor that is left to the caller


@cache
def usable_cpus() -> int:
    """Return the processors that this process may use: its affinity and its cgroup's quota when first asked."""
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
    _leave_processor()
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


def _leave_processor() -> None:
    """Keep the pool's threads off the processor that the caller is on.

    After a rest Linux wakes a thread where its waker runs, and leaves the other processor idle for milliseconds: work
    of 1.5 ms then took 3 to 4.
    """
    global _left
    if not _ids or not hasattr(os, "sched_setaffinity"):
        return
    here = _current_processor()()
    if here == _left:
        return
    _left, others = here, os.sched_getaffinity(0) - {here}
    for thread in _ids if others else ():
        with suppress(OSError):  # a container may forbid it
            os.sched_setaffinity(thread, others)


@cache
def _current_processor() -> Callable[[], int]:
    from ctypes import PyDLL

    call: Callable[[], int] = getattr(PyDLL(None), "sched_getcpu", lambda: -1)  # a C library may have none
    return call


def _threads() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603 -- one bounded pool for the process
    with _making:
        if _pool is None:
            _pool = ThreadPoolExecutor(
                max(1, usable_cpus() - 1), "poolcli", initializer=lambda: _ids.append(threading.get_native_id())
            )
        return _pool


def _forget() -> None:
    global _pool, _left, _making  # noqa: PLW0603 -- a forked child has none of its parent's threads
    _pool = _left = None
    _making = threading.Lock()  # one of them may have held it
    _ids.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
