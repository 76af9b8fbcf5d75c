"""A team of threads that spins between calls: what `compiled` makes of this deals bands of any kernel to it.

Waking a thread takes as long as pooling half a megabyte. So a thread that has just worked looks for more for a
fraction of a millisecond, and only then sleeps on a lock. Nobody is waited for who has not taken a band: one that wakes
late, or lost its processor to others, finds none left.

A kernel is called by its address, as ``kernel(row, first, last)``: *row* holds its arguments in memory, one row for
each seat, since buffers are each one's own. The *ticket* is one word: the number of the call, the seats that are free,
and the bands that are left. Who makes it one less has a band, and until that is done what else the state says holds.
"""

from __future__ import annotations

import threading

import numpy as np

from poolcli.core.kernels import Kernel, Pointer

KERNEL = Kernel("team", (), ())

# Places in the state, in words; what several write at once stands on a line of its own.
TICKET, DONE, BUSY, STOPPED, ENTRY, ROWS, SIZE, EDGES, LAST = 0, 8, 16, 24, 32, 33, 34, 35, 36
ACQUIRE, RELEASE, YIELD, CLOCK, KIND, TIME, TIME_AT, WAITED = 40, 41, 42, 43, 44, 48, 50, 51  # of the C library
WORKERS, SLEEPS, LINE = 52, 56, 8
LOCK = 1  # after SLEEPS, of each worker

CALL, SEATS, LEFT = 32, 20, 2**20 - 1  # where the parts of a ticket begin; the last is a mask
MOST_SEATS = 2**12 - 1

SERVE, STOP = 0, 1  # in place of a kernel's address: what is asked of a worker, and of all
PATIENCE = 64  # looks after which others may have the processor


# --- instructions that Python has no name for; here what they mean, with which the rest runs uncompiled --------------

_one_at_a_time = threading.Lock()


def load(words, at):
    return words[at]


def store(words, at, value):
    words[at] = value


def swapped(words, at, old, new):
    """Put *new* where *old* stands, if it does; return whether it did."""
    with _one_at_a_time:
        same = words[at] == old
        if same:
            words[at] = new
    return same


def increase(words, at, by):
    with _one_at_a_time:
        words[at] += by


def pause():
    """Tell the processor that this thread waits, if it has an instruction for that."""


def words_at(address):
    """Return the words that begin at an address."""
    return address


def run(entry, row, first, last):
    """Call a kernel by its address."""
    entry(row, first, last)


def run_c(function, one, other):
    """Call a function of the C library by its address."""
    function(one, other)


# --- what is compiled ------------------------------------------------------------------------------------------------


def work(state, ticket):
    """Do the band that *ticket*, now one less, stands for, and others of the same call while there are any."""
    call, seat = ticket >> CALL, ticket >> SEATS & MOST_SEATS
    while True:
        edges, band = words_at(state[EDGES]), state[LAST] - (ticket & LEFT)
        run(state[ENTRY], state[ROWS] + seat * state[SIZE], edges[band], edges[band + 1])
        increase(state, DONE, 1)
        while True:
            ticket = load(state, TICKET)
            if ticket >> CALL != call or ticket & LEFT == 0:
                return
            if swapped(state, TICKET, ticket, ticket - 1):
                break


def wake(state, most):
    """Wake those of the first workers who sleep."""
    for worker in range(most):
        at = SLEEPS + worker * LINE
        if load(state, at) == 1 and swapped(state, at, 1, 0):
            run_c(state[RELEASE], state[at + LOCK], 0)


def lead(state, entry, rows, size, edges, seats, woken, first, last):
    """Deal the bands [first, last), which lie between *edges*, to those who are awake, and wait for who took one.

    So many workers are *woken* if they sleep.
    """
    if seats == 1 or not swapped(state, BUSY, 0, 1):  # another caller leads
        between = words_at(edges)
        run(entry, rows, between[first], between[last])
        return
    state[ENTRY], state[ROWS], state[SIZE], state[EDGES], state[LAST] = entry, rows, size, edges, last
    state[DONE] = 0
    call = (load(state, TICKET) >> CALL) + 1 & 2**31 - 1
    mine = call << CALL | last - first
    store(state, TICKET, (mine | seats - 1 << SEATS) - 1)
    wake(state, woken)
    work(state, mine)
    state[WAITED] = 0
    if load(state, DONE) < last - first:
        begin, looks = now(state), 0
        while load(state, DONE) < last - first:
            rest(state, looks)
            looks += 1
        state[WAITED] = now(state) - begin
    store(state, BUSY, 0)


def now(state):
    """Return the time in nanoseconds; 0 where there is no clock."""
    if state[CLOCK] == 0:
        return 0
    run_c(state[CLOCK], state[KIND], state[TIME_AT])
    return state[TIME] * 10**9 + state[TIME + 1]


def rest(state, looks):
    """Wait for a moment between two looks; now and then let others have the processor."""
    pause()
    if looks % PATIENCE == PATIENCE - 1 and state[YIELD] != 0:
        run_c(state[YIELD], 0, 0)


def serve(state, worker, most):
    """Take part in calls until the team stops; sleep after *most* looks for one. A *worker* below 0 only looks."""
    looks, at = 0, SLEEPS + worker * LINE
    while True:
        ticket = load(state, TICKET)
        if ticket & LEFT and ticket >> SEATS & MOST_SEATS:
            if swapped(state, TICKET, ticket, ticket - (1 << SEATS) - 1):
                work(state, ticket)
                looks = 0
        elif looks < most and load(state, STOPPED) == 0:
            rest(state, looks)
            looks += 1
        elif worker < 0:
            return
        else:
            swapped(state, at, 0, 1)  # not a store: it must be seen before what follows is looked at
            if load(state, STOPPED) == 0:
                run_c(state[ACQUIRE], state[at + LOCK], 1)
            if load(state, STOPPED) != 0:
                return
            looks = 0


def stop(state):
    swapped(state, STOPPED, 0, 1)
    wake(state, state[WORKERS])


LOOPS = ()
PARTS = (work, wake, lead, now, rest, serve, stop)
INSTRUCTIONS = (load, store, swapped, increase, pause, words_at, run, run_c)


def arguments():
    """Return what the kernel's arguments are, before the units."""
    whole = np.dtype(np.int64)
    return (Pointer(whole), *[whole] * 6)


def template(given):
    """Return the kernel; *given* returns its arguments, of a row in memory."""

    def kernel(row, first, last):
        """Lead the bands [first, last) of the kernel at *entry*, or *serve* as a worker, or stop all."""
        state, entry, rows, size, edges, seats, woken = given(row)
        if entry == SERVE:
            serve(state, first, last)
        elif entry == STOP:
            stop(state)
        else:
            lead(state, entry, rows, size, edges, seats, woken, first, last)

    return kernel
