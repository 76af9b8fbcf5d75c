"""Proves that a team deals each band to one thread, waits for nobody who has none, and costs nothing when idle."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from array import array as ints
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from llvmlite import binding, ir

import poolcli
from poolcli import errors
from poolcli.core import compiled, instructions, team, threads
from poolcli.core.threads import entry


@pytest.fixture(params=[threads.Spinning, threads.Woken])
def five(request):
    """Return a team of the caller and four others, more than there are processors here."""
    made = request.param(4)
    yield made
    made.stop()


def edges(bands):
    return ints("q", range(0, 10 * bands + 1, 10))


def lead(made, kernel, bands, seats=5):
    made.lead(kernel, 1000, 8, (seats, seats - 1), edges(bands), 0, bands)


def test_each_band_is_done_once_by_one_who_has_a_seat_of_its_own(five):
    done, seats = [], {}

    def kernel(row, first, last):
        done.append((first, last))
        seats.setdefault(row, set()).add(threading.get_ident())

    made = entry(kernel)
    for bands in (1, 2, 3, 40) * 25:
        done.clear()
        seats.clear()
        lead(five, made, bands)
        assert sorted(done) == [(10 * band, 10 * band + 10) for band in range(bands)]
        assert seats.keys() <= {1000 + 8 * seat for seat in range(5)}
        assert all(len(each) == 1 for each in seats.values())


def test_all_take_part_where_there_is_enough_for_all(five):
    together = threading.Barrier(5, timeout=60)
    lead(five, entry(lambda *_: together.wait()), 5)
    assert not together.broken


def test_only_as_many_take_part_as_have_seats(five):
    met, most = set(), threading.Barrier(2, timeout=60)

    def kernel(row, first, _):
        met.add((row, threading.get_ident()))
        if first < 20:
            most.wait()

    lead(five, entry(kernel), 30, seats=2)
    assert {row for row, _ in met} == {1000, 1008}
    assert len(met) == 2


def test_part_of_the_bands_may_be_led():
    made, done = threads.Spinning(1), []
    made.lead(entry(lambda _, first, last: done.append((first, last))), 0, 0, (2, 1), edges(9), 3, 5)
    made.stop()
    assert sorted(done) == [(30, 40), (40, 50)]


def test_nobody_is_waited_for_who_has_not_taken_a_band():
    made, done = threads.Spinning(3), []
    made.stop()  # they never come
    lead(made, entry(lambda _, first, __: done.append(first)), 40)
    assert done == [10 * band for band in range(40)]


def test_a_caller_who_finds_the_team_taken_works_alone():
    made = threads.Spinning(2)
    begun, over, done = threading.Event(), threading.Event(), []

    def slow(*_):
        begun.set()
        assert over.wait(60)

    other = threading.Thread(target=lead, args=(made, entry(slow), 3))
    other.start()
    assert begun.wait(60)
    lead(made, entry(lambda row, first, last: done.append((row, first, last, threading.get_ident()))), 7)
    over.set()
    other.join()
    made.stop()
    assert done == [(1000, 0, 70, threading.get_ident())]


def test_uncompiled_the_team_deals_each_band_once_however_threads_interleave():
    seats, state = 4, [0] * (team.SLEEPS + 4 * team.LINE)
    kernel, done, looking = team.template(lambda row: row), [], True
    state[team.WORKERS] = 0

    def work(_row, first, last):
        done.append((first, last))

    def serve(_):
        while looking:
            kernel((state, team.SERVE, 0, 0, 0, 0, 0), -1, 3)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as pool:
            others = [pool.submit(serve, number) for number in range(3)]
            for bands in (1, 2, 5, 17) * 30:
                done.clear()
                kernel((state, work, 0, 8, edges(bands).tolist(), seats, 0), 0, bands)
                assert sorted(done) == [(10 * band, 10 * band + 10) for band in range(bands)]
            looking = False
            assert all(other.result() is None for other in others)
    finally:
        looking = False
        sys.setswitchinterval(before)


def test_calls_are_told_apart_when_their_numbers_begin_anew():
    made, done = threads.Spinning(1), []
    words = (ctypes.c_int64 * 1).from_address(made._state)  # noqa: SLF001 -- 2^31 calls take hours
    words[team.TICKET] = 2**31 - 2 << team.CALL
    kernel = entry(lambda _, first, __: done.append(first))
    for _ in range(4):
        done.clear()
        lead(made, kernel, 6, seats=2)
        assert sorted(done) == [0, 10, 20, 30, 40, 50]
    made.stop()


def test_fewer_threads_than_asked_for_do_all(monkeypatch):
    start, started, done = threading.Thread.start, [], []

    def failing(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    made = threads.Spinning(4)
    assert made.threads == started
    lead(made, entry(lambda _, first, __: done.append(first)), 40)
    made.stop()
    assert sorted(done) == [10 * band for band in range(40)]


def test_short_work_that_waited_for_others_is_done_alone_for_a_while(monkeypatch):
    made, caller, done = threads.Spinning(1), threading.get_ident(), []
    together = threading.Barrier(2, timeout=60)
    met, alone = entry(lambda *_: together.wait()), entry(lambda *_: done.append(threading.get_ident()))
    monkeypatch.setattr(threads, "_made", made)
    monkeypatch.setattr(threads, "STALL", 10.0)
    monkeypatch.setattr(threads, "SLICE", 100.0)
    threads.run(met, 0, 0, 2, edges(2), 1e-3)
    made._judge(100.0, 119.0, 11.0)  # noqa: SLF001 -- of nineteen seconds it waited eleven
    made._alone_until += time.perf_counter()  # noqa: SLF001 -- longer than any machine takes
    threads.run(alone, 0, 0, 2, edges(40), 1e-3)
    threads.run(met, 0, 0, 2, edges(2), 11.0)  # longer work is shared all the same
    made.stop()
    assert set(done) == {caller}


def test_waiting_is_told_by_a_clock():
    made, caller = threads.Spinning(1), threading.get_ident()
    together, judged = threading.Barrier(2, timeout=60), []
    made._judge = lambda begin, end, waited: judged.append((end - begin, waited))  # noqa: SLF001

    def slow(*_):
        together.wait()
        if threading.get_ident() != caller:
            time.sleep(0.02)  # it loses its processor

    lead(made, entry(slow), 2, seats=2)
    made.stop()
    ((whole, waited),) = judged
    assert 0 < waited < whole


def test_a_caller_stays_alone_twice_as_long_each_time_that_it_waited_again():
    made, end, long = threads.Spinning(1), 100.0, []
    made.stop()
    for waited in (0.0, *[0.9995] * 8, 0.4, 0.9995):
        made._judge(end, end + 1, waited)  # noqa: SLF001 -- a second each
        long.append(round(made._alone_until - end - 1, 3))  # noqa: SLF001
        end = max(end + 1, made._alone_until)  # noqa: SLF001
    assert long[:4] == [-101.0, 0.05, 0.1, 0.2]
    assert max(long) == threads.LONG
    made._judge(end + 10, end + 11, 0.4)  # noqa: SLF001 -- all went well for longer than that
    made._judge(end + 11, end + 12, 0.9995)  # noqa: SLF001
    assert made._alone_until - end - 12 == pytest.approx(threads.SHORT)  # noqa: SLF001


# Idle.


def processor_seconds(thread):
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def asleep(made):
    state = (ctypes.c_int64 * (team.SLEEPS + len(made.threads) * team.LINE)).from_address(made._state)  # noqa: SLF001
    return [state[team.SLEEPS + worker * team.LINE] == 1 for worker in range(len(made.threads))]


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="no clock of a thread")
def test_a_team_without_calls_soon_uses_no_processor():
    made, together = threads.Spinning(2), threading.Barrier(3, timeout=60)
    for _ in range(3):  # the last finds them awake or asleep
        lead(made, entry(lambda *_: together.wait()), 3)
        after = [processor_seconds(thread) for thread in made.threads]
        deadline = time.monotonic() + 60
        while not all(asleep(made)) and time.monotonic() < deadline:
            os.sched_yield()
        begun = time.monotonic()
        while time.monotonic() < begun + 0.002:  # from saying so to the lock
            pass
        resting = [processor_seconds(thread) for thread in made.threads]
        assert all(late - early < 0.005 for early, late in zip(after, resting, strict=True))
        begun = time.monotonic()
        while time.monotonic() < begun + 0.02:
            pass
        assert [processor_seconds(thread) for thread in made.threads] == resting
    made.stop()


def test_a_processor_without_the_instruction_gets_none(monkeypatch):
    def built():
        module = ir.Module()
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "wait")
        builder = ir.IRBuilder(function.append_basic_block())
        instructions.pause(builder)
        builder.ret_void()
        return str(module)

    monkeypatch.setattr(binding, "get_process_triple", lambda: "x86_64-unknown-linux-gnu")
    assert "call void @llvm.x86.sse2.pause" in built().replace('"', "")
    for triple in ("aarch64-apple-darwin", "powerpc64le-unknown-linux-gnu"):
        monkeypatch.setattr(binding, "get_process_triple", lambda triple=triple: triple)
        assert "call" not in built()


# In a process.


@pytest.fixture
def dealt(monkeypatch):
    """Deal even what is not worth it, by a new team of three."""
    monkeypatch.setattr(threads, "ALONE", 0)
    made = threads.Spinning(2)
    monkeypatch.setattr(threads, "_made", made)
    yield made
    made.stop()


def endlessly(array):
    while True:
        poolcli.pool(array, "max", 15, stride=1, engine="numba", threads=3)


@pytest.mark.usefixtures("dealt")
def test_a_signal_is_heard_between_slices_and_leaves_the_team_ready(monkeypatch):
    monkeypatch.setattr(threads, "SLICE", 1e-9)
    array = np.random.default_rng(0).random((64, 300, 300), "float32")
    expected = poolcli.pool(array, "max", 15, stride=1, engine="numba", threads=1)

    def interrupt(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
        with pytest.raises(InterruptedError):
            endlessly(array)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    again = poolcli.pool(array, "max", 15, stride=1, engine="numba", threads=3)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.usefixtures("dealt")
@pytest.mark.parametrize("count", [2, 3, 64])
def test_values_are_the_same_for_more_threads_than_processors(count):
    array = np.random.default_rng(1).standard_normal((3, 70, 90))
    for method, window in (("avg", {"kernel": 9, "stride": 2}), ("max", {"kernel": 2}), ("median", {"kernel": 3})):
        alone = poolcli.pool(array, method, engine="numba", threads=1, **window)
        np.testing.assert_array_equal(poolcli.pool(array, method, engine="numba", threads=count, **window), alone)


def test_one_thread_asks_no_other(monkeypatch):
    monkeypatch.setattr(threads, "ALONE", 0)
    monkeypatch.setattr(threads, "_team", lambda: pytest.fail("a thread was asked"))
    poolcli.pool(np.zeros((2, 40, 40), "float32"), "max", engine="numba", threads=1)


def test_without_machine_code_threads_are_woken_by_python(monkeypatch):
    monkeypatch.setattr(threads, "ALONE", 0)
    monkeypatch.setattr(threads, "_made", None)
    monkeypatch.setattr(errors, "_warned", set())
    kernel = compiled.kernel

    def failing(wanted):
        if wanted.template == "team":
            raise AttributeError("cmpxchg")
        return kernel(wanted)

    monkeypatch.setattr(compiled, "kernel", failing)
    array = np.random.default_rng(1).standard_normal((3, 70, 90))
    with pytest.warns(errors.PoolWarning, match="threads are woken for each call: cmpxchg"):
        pooled = poolcli.pool(array, "max", 3, engine="numba", threads=3)
    threads._made.stop()  # noqa: SLF001 -- made here
    np.testing.assert_array_equal(pooled, poolcli.pool(array, "max", 3, engine="numpy"))


def test_callers_that_meet_make_one_team(monkeypatch):
    made, second = [], threading.Thread(target=threads._team)  # noqa: SLF001

    def make(workers):
        made.append(workers)
        if len(made) == 1:
            second.start()
            second.join(0.1)  # it now waits for this one to be made, or has made its own
        return threads.Woken(1)

    monkeypatch.setattr(threads, "_made", None)
    monkeypatch.setattr(threads, "_make", make)
    first = threads._team()  # noqa: SLF001
    second.join()
    first.stop()
    assert len(made) == 1


@pytest.mark.skipif(threads.usable_cpus() < 2, reason="needs two processors")
def test_threads_leave_its_processor_to_the_caller(dealt):
    threads._leave_processor(dealt)  # noqa: SLF001 -- no other way to see where they may run
    processors = os.sched_getaffinity(0)
    for thread in dealt.threads:
        assert os.sched_getaffinity(thread.native_id) in [processors - {one} for one in processors]


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), 15)"])
def test_a_process_ends_while_threads_spin(end):
    script = (
        "import os, sys, numpy, poolcli\n"
        "from poolcli.core import threads\n"
        "threads.ALONE, threads.SPIN = 0, 10\n"  # seconds
        "poolcli.pool(numpy.zeros((3, 70, 90), 'float32'), engine='numba', threads=3)\n"
        "assert threads._made.threads[0].is_alive()\n"
        "threads.SPIN = 0\n" + end
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (-15 if "kill" in end else 0, "")


FORKS = """
import os, signal, threading, warnings
import numpy, poolcli
from poolcli.core import threads
warnings.simplefilter("ignore", DeprecationWarning)
threads.ALONE = 0
array = numpy.random.default_rng(0).normal(size=(8, 400, 500)).astype("float32")
pool = lambda: poolcli.pool(array, "max", 9, stride=1, engine="numba", threads=3)
expected, over = pool(), False
def busy():
    while not over:
        assert numpy.array_equal(pool(), expected)
other = threading.Thread(target=busy)
other.start()
for _ in range(5):  # at any moment of the other's calls
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if numpy.array_equal(pool(), expected) else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
over = True
other.join()
assert numpy.array_equal(pool(), expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_children_forked_while_a_team_works_have_their_own():
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")
