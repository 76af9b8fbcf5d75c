"""Threads: how many there are, and the one team of the process that shares out a piece of work."""

from __future__ import annotations

import atexit
import os
import threading
import time
from array import array as ints
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ctypes import CDLL, CFUNCTYPE, PYFUNCTYPE, PyDLL, addressof, c_int, c_int64, c_ssize_t, c_void_p, cast, pythonapi
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from poolcli.errors import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ALONE = 1e-4  # seconds of work below which others cost more than they save
ASLEEP = 2e-4  # and below which that is so of waking them
PARTS = 4  # parts of the work for each thread: who wakes late, or is disturbed, takes fewer
SLICE = 0.1  # seconds of work after which signals are heard
SPIN = 2e-4  # seconds for which a thread that has worked looks for more before it sleeps
TRIAL = 1000  # looks that are timed
STALL = 1e-3  # seconds of waiting for others which say that they lost their processor: it costs more than shorter work
SHORT, LONG = 0.05, 1.6  # seconds for which such work is then done alone: twice as long each time that it is so again


_Call = CFUNCTYPE(None, c_ssize_t, c_ssize_t, c_ssize_t)


class Entry(NamedTuple):
    """A kernel: ``call(row, first, last)`` does the units [first, last) and frees the GIL.

    Its arguments stand in memory at *row*. *address* is the same to other kernels.
    """

    call: Callable[[int, int, int], None]
    address: int


def entry(kernel: int | Callable[[int, int, int], None]) -> Entry:
    """Return what calls a kernel of machine code that begins at an address, or one of Python."""
    call = _Call(kernel)
    return Entry(call, _address(call))


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


def run(entry: Entry, rows: int, size: int, seats: int, edges: ints[int], seconds: float) -> None:
    """Do all bands, each between two *edges*, by a kernel on up to *seats* threads, this one included.

    *rows* is where the kernel's arguments for the first seat stand in memory; those of each other stand *size* bytes
    after. The work takes so many *seconds* on one thread: from time to time signals are heard, whose exceptions leave
    bands undone.
    """
    bands = len(edges) - 1
    slices = min(bands, int(seconds / SLICE) + 1)
    team = _team() if seats > 1 else None
    if team and seconds < STALL and team.stalls():
        team = None
    woken = seats - 1 if team and (seconds > ASLEEP or team.busy()) else 0
    for each in range(slices):
        first, last = bands * each // slices, bands * (each + 1) // slices
        if team is None:
            entry.call(rows, edges[first], edges[last])
        else:
            team.lead(entry, rows, size, (seats, woken), edges, first, last)


def share(work: Callable[[int], None], units: int, most: int) -> None:
    """Call *work* with the number of each of so many *units*, on up to *most* threads, this one included.

    What it raises first is raised here, and units that nobody has begun are left undone.
    """
    raised: list[BaseException] = []

    def safe(_: int, first: int, last: int) -> None:
        try:
            for unit in range(first, last):
                if not raised:
                    work(unit)
        except BaseException as error:  # noqa: BLE001 -- C, which calls this, knows of none
            raised.append(error)

    if min(units, most) <= 1:
        safe(0, 0, units)
    else:
        long = SLICE / 2  # enough to wake others for; signals are heard at the end
        run(entry(safe), 0, 0, min(units, most), ints("q", range(units + 1)), long)
    if raised:
        raise raised[0]


class Spinning:
    """The threads of `team`."""

    left: int | None = None  # the processor that is left to the caller
    _last = _alone_until = 0.0
    _alone = SHORT

    def __init__(self, workers: int) -> None:
        from poolcli.core import compiled, team

        self._call = compiled.kernel(team.KERNEL).call
        self._held = (c_int64 * (team.SLEEPS + (workers + 1) * team.LINE))()
        self._state = addressof(self._held) + -addressof(self._held) % (8 * team.LINE)
        words = self._words = (c_int64 * (team.SLEEPS + workers * team.LINE)).from_address(self._state)
        words[team.ACQUIRE], words[team.RELEASE] = _address(_acquire), _address(_release)
        words[team.WORKERS] = workers
        if os.name == "posix":
            words[team.YIELD], words[team.CLOCK] = map(_address, (CDLL(None).sched_yield, CDLL(None).clock_gettime))
            words[team.KIND], words[team.TIME_AT] = time.CLOCK_MONOTONIC, self._state + 8 * team.TIME
        for worker in range(workers):
            lock = words[team.SLEEPS + worker * team.LINE + team.LOCK] = _allocate()
            _acquire(lock, 1)  # who takes it again sleeps
        self._serving, self._stopping = self._row(team.SERVE), self._row(team.STOP)
        looks, self._waited = int(TRIAL * SPIN / min(self._look() for _ in range(3))), team.WAITED
        serving = addressof(self._serving)
        self.threads = _started(workers, lambda worker: self._call(serving, worker, looks))
        self._most = min(len(self.threads) + 1, team.MOST_SEATS)
        atexit.register(self.stop)  # code that still ran would be taken away

    def busy(self) -> bool:
        """Whether calls follow each other so closely that threads, once woken, stay awake."""
        return time.perf_counter() - self._last < SPIN

    def stalls(self) -> bool:
        """Whether short work lately had to wait for threads that lost their processor."""
        return time.perf_counter() < self._alone_until

    def lead(
        self, entry: Entry, rows: int, size: int, seats: tuple[int, int], edges: ints[int], first: int, last: int
    ) -> None:
        """Do the bands [first, last) on up to so many *seats*, for which so many threads are woken if they sleep."""
        most, begin = self._most, time.perf_counter()
        row = self._row(entry.address, rows, size, edges.buffer_info()[0], min(seats[0], most), min(seats[1], most - 1))
        self._call(addressof(row), first, last)
        self._last = time.perf_counter()
        self._judge(begin, self._last, self._words[self._waited] / 1e9)

    def _judge(self, begin: float, end: float, waited: float) -> None:
        """Have short work done alone for a while if such, from *begin* to *end*, had to wait for others."""
        if waited > STALL > end - begin - waited:
            self._alone_until, self._alone = end + self._alone, min(2 * self._alone, LONG)
        elif end > self._alone_until + self._alone:
            self._alone = SHORT

    def stop(self) -> None:
        """End all threads; calls that follow are done by their caller alone."""
        self._call(addressof(self._stopping), 0, 0)
        for thread in self.threads:
            thread.join()

    def _row(self, *arguments: int) -> Any:
        return _Row(self._state, *arguments)

    def _look(self) -> float:
        begin = time.perf_counter()
        self._call(addressof(self._serving), -1, TRIAL)
        return time.perf_counter() - begin


class Woken:
    """Python's threads, for want of machine code: each is woken for every call."""

    left: int | None = None  # as above

    def __init__(self, workers: int) -> None:
        self.threads: list[threading.Thread] = []
        self._pool = ThreadPoolExecutor(
            workers, "poolcli", initializer=lambda: self.threads.append(threading.current_thread())
        )

    def busy(self) -> bool:
        """Never: no thread stays awake."""
        return False

    stalls = busy

    def lead(
        self, entry: Entry, rows: int, size: int, seats: tuple[int, int], edges: ints[int], first: int, last: int
    ) -> None:
        """Do the bands [first, last)."""
        left = deque((edges[band], edges[band + 1]) for band in range(first, last))

        def work(seat: int) -> None:
            with suppress(IndexError):
                while True:
                    entry.call(rows + seat * size, *left.popleft())

        others = [self._pool.submit(work, seat) for seat in range(1, 1 + seats[1])]
        try:
            work(0)
        finally:
            left.clear()
            for other in others:
                other.result()

    def stop(self) -> None:
        """End all threads."""
        self._pool.shutdown()


Team = Spinning | Woken


def _started(count: int, serve: Callable[[int], None]) -> list[threading.Thread]:
    """Return threads that *serve*, each by its number; fewer than asked for where the system gives no more."""
    threads = []
    with suppress(RuntimeError):
        for number in range(count):
            thread = threading.Thread(target=serve, args=(number,), daemon=True)
            thread.start()
            threads.append(thread)
    return threads


_Row = c_int64 * 7
_allocate = PYFUNCTYPE(c_void_p)(("PyThread_allocate_lock", pythonapi))
_acquire = PYFUNCTYPE(c_int, c_void_p, c_int)(("PyThread_acquire_lock", pythonapi))
_release = PYFUNCTYPE(None, c_void_p)(("PyThread_release_lock", pythonapi))


def _address(function: Any) -> int:
    return cast(function, c_void_p).value or 0


_made: Team | None = None
_making = threading.Lock()


def _team() -> Team:
    global _made  # noqa: PLW0603 -- one team for the process
    if _made is None:
        with _making:
            if _made is None:
                _made = _make(max(1, usable_cpus() - 1))
    _leave_processor(_made)
    return _made


def _make(workers: int) -> Team:
    try:
        return Spinning(workers)
    except Exception as error:  # noqa: BLE001 -- whatever cannot be compiled or found: it only makes work faster
        warn_once("threads are woken for each call", error)
        return Woken(workers)


def _leave_processor(team: Team) -> None:
    """Keep the team's threads off the processor that the caller is on.

    After a rest Linux wakes a thread where its waker runs, and leaves the other processor idle for milliseconds: work
    of 1.5 ms then took 3 to 4.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    here = _current_processor()()
    if here == team.left:
        return
    team.left, others = here, os.sched_getaffinity(0) - {here}
    for thread in team.threads if others else ():
        with suppress(OSError):  # a container may forbid it
            os.sched_setaffinity(thread.native_id or 0, others)


@cache
def _current_processor() -> Callable[[], int]:
    call: Callable[[], int] = getattr(PyDLL(None), "sched_getcpu", lambda: -1)  # a C library may have none
    return call


def _forget() -> None:
    global _made, _making  # noqa: PLW0603 -- a forked child has none of its parent's threads
    _made = None
    _making = threading.Lock()  # one of them may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
