"""The loop that times, the document it writes and the verdicts on it, all with a clock that does what it is told."""

from __future__ import annotations

import csv
import gc
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from poolcli.core.geometry import Window
from poolcli.core.methods import METHODS
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.measure import baseline, bench, cases, document, peers, plot, presets, results, tables, turns, ways
from poolcli.measure.calls import Prepared
from poolcli.measure.cases import Case, Size
from poolcli.measure.environment import Environment, environment
from poolcli.measure.results import Results, Timing

SECOND = 10**9


class Clock:
    """Nanoseconds that only move when a call moves them."""

    def __init__(self):
        self.now = 0
        self.calls = []

    def __call__(self):
        return self.now

    def contender(self, name, *seconds):
        """Return a call that takes the given seconds, the last of them for ever."""
        remaining = list(seconds)

        def call():
            self.calls.append(name)
            self.now += round((remaining.pop(0) if len(remaining) > 1 else remaining[0]) * SECOND)

        return call


def rest():
    """No rest: nothing spins here."""


def timed(clock, rules, spent=None, **contenders):
    calls = {name: clock.contender(name, *seconds) for name, seconds in contenders.items()}
    return turns.interleave(calls, rules, spent=spent, clock=clock, rest=rest)


@pytest.mark.parametrize("warmup", [0, 1])
def test_each_run_that_is_timed_comes_after_its_rest_and_what_warms_up_before(warmup, monkeypatch):
    clock, slept = Clock(), []
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: slept.append((seconds, len(clock.calls))))
    rules = turns.Rules(warmup=warmup, runs=2)
    turns.interleave({"a": clock.contender("a", 0.002)}, rules, clock=clock, rest=rest, rested=0.02)
    assert {seconds for seconds, _ in slept} == {0.02}
    assert len(slept) == warmup + 2
    assert slept[-1][1] == len(clock.calls) - 1  # nothing between the rest and the run


# Stopping rules


def test_runs_until_both_least_runs_and_least_time_are_reached():
    found = timed(Clock(), turns.Rules(warmup=0, min_runs=4, min_time=1, max_time=100), quick=[0.125], slow=[0.5])
    assert len(found["quick"].seconds) == 8
    assert len(found["slow"].seconds) == 4


def test_samples_are_seconds_of_the_clock_in_order():
    found = timed(Clock(), turns.Rules(warmup=0, runs=3), a=[0.25, 0.5, 0.125])
    assert found["a"].seconds == (0.25, 0.5, 0.125)


def test_warm_up_is_not_a_sample():
    found = timed(Clock(), turns.Rules(warmup=2, runs=3), a=[9, 8, 1, 2, 3])
    assert found["a"].seconds == (1, 2, 3)


def test_short_calls_are_warmed_up_in_every_round_for_another_ran_in_between():
    clock = Clock()
    found = timed(clock, turns.Rules(warmup=1, runs=2), short=[0.001, 0.003, 0.002, 0.002, 0.004], long=[1])
    assert clock.calls == ["short", "long", "short", "long", *["short"] * 3, "long"]  # for 4 ms and more
    assert found["short"].seconds == (0.003, 0.004)


def test_no_warm_up_means_none_at_all():
    clock = Clock()
    found = timed(clock, turns.Rules(warmup=0, runs=3), short=[0.001, 0.002, 0.003])
    assert found["short"].seconds == (0.001, 0.002, 0.003)


def test_exactly_so_many_runs_however_long_they_take():
    found = timed(Clock(), turns.Rules(warmup=1, runs=5, max_time=1), a=[2])
    assert found["a"].seconds == (2,) * 5


def test_most_time_wins_over_least_runs_and_counts_every_call():
    clock = Clock()
    found = timed(clock, turns.Rules(warmup=1, min_runs=10, min_time=1, max_time=3), spent={"a": 0.5}, a=[0.5])
    assert found["a"].seconds == (0.5,) * 4  # 0.5 of the check, 0.5 of the warm-up, 4 x 0.5
    assert len(clock.calls) == 5


def test_a_warm_up_that_uses_up_the_time_is_the_only_sample():
    clock = Clock()
    found = timed(clock, turns.Rules(warmup=3, max_time=3), a=[4])
    assert found["a"].seconds == (4,)
    assert clock.calls == ["a"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"warmup": -1}, "warmup must be a whole number from 0, got -1"),
        ({"min_runs": 0}, "min_runs must be a whole number from 1, got 0"),
        ({"runs": 0}, "runs must be a whole number from 1, got 0"),
        ({"min_time": -0.5}, "min_time must be a number from 0, got -0.5"),
        ({"max_time": math.inf}, "max_time must be a number from 0, got inf"),
        ({"max_time": math.nan}, "max_time must be a number from 0, got nan"),
    ],
)
def test_rule_out_of_range_is_refused(rule, message):
    with pytest.raises(UsageError, match=message):
        turns.Rules(**rule)


@pytest.mark.parametrize(
    ("given", "most"), [({}, 3), ({"min_time": 0.1}, 0.3), ({"min_time": 10}, 30), ({"min_time": 2, "max_time": 1}, 2)]
)
def test_the_least_time_rules_the_most(given, most):
    assert turns.Rules(**given).max_time == pytest.approx(most)


# Turns


def test_contenders_take_turns_round_by_round():
    clock = Clock()
    timed(clock, turns.Rules(warmup=1, runs=2), a=[1], b=[1], c=[1])
    assert clock.calls == ["a", "b", "c"] * 3


def test_who_is_done_leaves_the_round():
    clock = Clock()
    timed(clock, turns.Rules(warmup=0, min_runs=2, min_time=2, max_time=100), a=[1], b=[0.5])
    assert clock.calls == ["a", "b", "a", "b", "b", "b"]


def test_garbage_is_not_collected_between_samples():
    collecting = []
    turns.interleave({"a": lambda: collecting.append(gc.isenabled())}, turns.Rules(runs=2), rest=rest)
    assert set(collecting) == {False}
    assert gc.isenabled()


def test_collection_is_on_again_after_an_interruption():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turns.interleave({"a": interrupted}, turns.Rules(), rest=rest)
    assert gc.isenabled()


def test_what_breaks_one_contender_does_not_end_the_others():
    clock = Clock()

    def broken():
        raise RuntimeError("no such kernel\nand a long trace")

    found = turns.interleave(
        {"broken": broken, "a": clock.contender("a", 1)}, turns.Rules(warmup=0, runs=2), clock=clock, rest=rest
    )
    assert found["broken"].failure == "RuntimeError: no such kernel"
    assert found["a"].seconds == (1, 1)


def test_a_rest_lasts_until_the_processors_do(monkeypatch):
    slept = []
    busy = iter([10**9, 10**9 + 5 * 10**6, 2 * 10**9, 2 * 10**9])
    monkeypatch.setattr(turns.time, "process_time_ns", lambda: next(busy))
    monkeypatch.setattr(turns.time, "sleep", slept.append)
    turns.settle()
    assert len(slept) == 2


def test_processor_seconds_are_the_mean_of_all_runs(monkeypatch):
    used = iter([(0.0, 0.0), (1.0, 0.5), (2.0, 1.0), (5.0, 1.0), (5.0, 1.0), (7.0, 2.0)])
    monkeypatch.setattr(turns, "_processor_seconds", lambda: next(used))
    found = timed(Clock(), turns.Rules(warmup=1, runs=2), a=[1])["a"]
    assert (found.user, found.system) == (2.0, 0.5)  # 1 + 3 + 2 and 0.5 + 0 + 1 of three runs


def test_every_call_is_preceded_by_a_rest():
    seen = []
    rules = turns.Rules(warmup=1, runs=1)
    turns.interleave({"a": lambda: seen.append("a")}, rules, rest=lambda: seen.append("rest"))
    assert seen == ["rest", "a", "rest", "a"]


# Grid


def test_grid_is_the_product_with_threads_fastest():
    grid = cases.grid(
        cases.sizes("8x9:HW:u8,2x8x9:CHW"), cases.methods("max,avg"), cases.windows("k2,k3s1"), cases.threads("1,2")
    )
    assert [case.token for case in grid][:5] == [
        "max k2s2 8x9:HW:u8 t1",
        "max k2s2 8x9:HW:u8 t2",
        "max k3s1 8x9:HW:u8 t1",
        "max k3s1 8x9:HW:u8 t2",
        "avg k2s2 8x9:HW:u8 t1",
    ]
    assert len(grid) == 16
    assert grid[-1].size == Size((2, 8, 9), "CHW", "float32")


@pytest.mark.parametrize(
    ("token", "window"),
    [
        ("k3", Window(3)),
        ("k3s2", Window(3, 2)),
        ("k3x2s1p1d2c", Window((3, 2), 1, 1, 2, ceil=True)),
        ("k5p1x2", Window(5, None, (1, 2))),
        ("k2c", Window(2, ceil=True)),
    ],
)
def test_window_token_spells_a_window(token, window):
    assert cases.windows(token) == (window,)
    assert cases.windows(cases.window_token(window)) == (window,)


def test_kernels_and_strides_are_shorthand_for_their_product():
    assert cases.window_product("2,3", None) == (Window(2), Window(3))
    assert cases.window_product("2,3x1", "1,2") == (Window(2, 1), Window(2, 2), Window((3, 1), 1), Window((3, 1), 2))


def test_doubled_tokens_are_one_case():
    assert len(cases.windows("k3,k3s3x3,k3")) == 2  # other words, the same case
    grid = cases.grid(cases.sizes("8x9"), ["max"], cases.windows("k3,k3s3x3"), [1])
    assert grid[0] == grid[1]


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (cases.sizes, "64", r"size must be SHAPE\[:LAYOUT\[:DTYPE\]\], got '64'"),
        (cases.sizes, "8x9:HW:u8:more", r"size must be SHAPE"),
        (cases.sizes, "8x9:HQ", r"size '8x9:HQ': layout must be different letters of DHWLT"),
        (cases.sizes, "8x9:CHW", r"size '8x9:CHW': layout must have one letter for each axis"),
        (cases.sizes, "64x64x3", r"size '64x64x3': layout must be given"),
        (
            cases.sizes,
            "8x9:HW:float",
            r"size '8x9:HW:float': dtype must be one of bool, uint8, .*, float64, got 'float'",
        ),
        (cases.sizes, "0x8x9x9:NCHW", r"size must have no empty axis, got '0x8x9x9:NCHW'"),
        (cases.windows, "3s2", r"window must look like k3, k3s2 or k3x2s1p1d2c, got '3s2'"),
        (cases.windows, "k3d2s1", r"window must look like"),
        (cases.windows, "k0", r"kernel must be a number from 1"),
        (cases.windows, "k2,,k3", r"window must be a comma separated list without gaps"),
        (cases.methods, "max,medain", rf"method must be one of {', '.join(METHODS)}, got 'medain'"),
        (cases.threads, "1,0", r"threads must be a whole number from 1, got '0'"),
        (presets.lookup, "slow", r"preset must be one of quick, headline, growth, also, got 'slow'"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(parse, text, message):
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_integers_keep_their_dtype_but_for_sums():
    def out(method, dtype):
        return Case(Size((8, 9), "HW", dtype), method, Window(2), 1).out

    assert out("avg", "uint8") == Size((4, 4), "HW", "uint8")
    assert out("sum", "uint8").dtype == "uint64"
    assert out("sum", "int16").dtype == "int64"
    assert out("sum", "float32").dtype == "float32"


def test_bytes_are_those_read_and_written():
    case = Case(Size((2, 8, 9), "CHW", "float32"), "max", Window(2), 1)
    assert case.bytes == 2 * 8 * 9 * 4 + 2 * 4 * 4 * 4
    assert case.size.pixels == 72


@pytest.mark.parametrize("preset", presets.PRESETS.values(), ids=presets.PRESETS)
def test_preset_is_made_of_values_that_parse(preset):
    words = preset.options.split()
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert cases.sizes(options.pop("--size"))
    assert cases.methods(options.pop("-m"))
    assert cases.windows(options.pop("-w"))
    assert options.pop("--peers") == "auto"
    assert ways.parsed(options.pop("--also", "mask"))
    assert cases.rests(options.pop("--rest", "0"))
    assert turns.Rules(**{name[2:].replace("-", "_"): value for name, value in options.items()})


# Whole cases


def small(method="max", shape=(8, 9), layout="HW", window=None, dtype="float32"):
    return Case(Size(shape, layout, dtype), method, window or Window(2), 1)


RULES = turns.Rules(min_runs=3, min_time=0, max_time=60)


def run(case, **options):
    return next(bench.run([case], engines=["numpy"], rules=RULES, **options))


@pytest.mark.parametrize("method", ["max", "min", "avg", "sum", "l2"])
def test_every_method_is_timed_beside_the_limit_and_numpy(method):
    timings = run(small(method), peers=peers.select("numpy"))
    assert [timing.contender for timing in timings] == ["limit", "poolcli numpy", "numpy"]
    assert {timing.status for timing in timings} == {"done"}
    assert [len(timing.times) for timing in timings] == [3, 3, 3]
    assert not any(timing.differs for timing in timings)
    assert timings[1].difference == 0


def test_cases_are_yielded_one_by_one():
    loads = []

    def load(size):
        loads.append(size.token)
        return bench.noise(size)

    grid = cases.grid(cases.sizes("8x9,9x8"), ["max", "min"], [Window(2)], [1])
    running = bench.run(grid, engines=["numpy"], rules=RULES, load=load)
    assert {timing.case for timing in next(running)} == {grid[0]}
    assert loads == ["8x9:HW:f32"]
    assert len(list(running)) == 3
    assert loads == ["8x9:HW:f32", "9x8:HW:f32"]  # once for neighbouring cases


def test_engines_are_contenders_of_one_case_and_the_first_is_the_reference():
    timings = next(bench.run([small("avg")], engines=["numpy", "numba"], rules=RULES))
    assert [timing.contender for timing in timings] == ["limit", "poolcli numpy", "poolcli numba"]
    assert [timing.difference for timing in timings] == [None, 0, 0]


@pytest.mark.parametrize(
    ("case", "names"),
    [
        (small("max", (2, 8, 9), "CHW"), ["mask", "weights", "indices"]),
        (small("min", (8, 9, 3), "HWC", Window(3, 2, 1), "uint8"), ["mask", "weights", "indices"]),
        (small("avg", (8, 9, 4), "HWC", dtype="uint8"), ["mask", "weights", "alpha"]),
        (small("l2", (8, 9, 4), "HWC", dtype="uint8"), ["mask", "weights"]),
    ],
)
def test_ways_are_rows_beside_that_give_what_pooling_as_usual_gives(case, names):
    timings = run(case, also=["mask", "weights", "indices", "alpha"])
    assert [timing.contender for timing in timings[2:]] == [f"poolcli numpy {name}" for name in names]
    assert {timing.status for timing in timings} == {"done"}
    assert [timing.difference for timing in timings[1:]] == [0] * (1 + len(names))


def test_indices_that_are_wrong_show_in_the_difference(monkeypatch):
    from poolcli.core import pooling

    plain = pooling.run

    def wrong(*arguments, **options):
        done = plain(*arguments, **options)
        if "indices" in done.also:
            done.also["indices"][0, 0] ^= 1
        return done

    monkeypatch.setattr(pooling, "run", wrong)
    timings = run(small(), also=["indices"])
    assert [timing.difference > 0 for timing in timings[1:]] == [False, True]


def test_an_unknown_way_is_refused(cli):
    done = cli("bench", "--size", "8x9", "--also", "mask,colour", "--processes", 1)
    assert (done.code, done.err) == (2, "error: also must be some of mask, weights, indices, alpha, got 'colour'\n")


def test_window_larger_than_the_input_is_refused_and_the_others_run():
    found = list(bench.run([small(window=Window(10)), small()], engines=["numpy"], rules=RULES))
    (refused,) = found[0]
    assert (refused.status, refused.contender) == ("refused", "poolcli numpy")
    assert "kernel must fit in the padded input" in refused.reason
    assert found[1][1].status == "done"


def test_case_that_does_not_fit_in_memory_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(bench, "free_memory", lambda: 2 * 10**7)
    (refused,) = run(small(shape=(4000, 4000), dtype="uint8", window=Window(4, 1)))
    assert refused.status == "refused"
    assert re.match(r"memory must hold about 0\.1 GB, got 0\.0 GB free", refused.reason)


def test_memory_error_is_a_refusal():
    def load(_size):
        raise MemoryError

    (refused,) = run(small(), load=load)
    assert (refused.status, refused.reason) == ("refused", "does not fit in memory")


def test_what_a_peer_cannot_do_is_a_record_with_its_reason():
    timings = run(small(window=Window(2, 1, 1)), peers=peers.select("numpy"))
    assert (timings[-1].status, timings[-1].reason) == ("skipped", "no padding, no overhang")


def numpy_peer(prepare):
    """Return a peer whose one call is made ready by *prepare*."""
    (call,) = [call for call in peers.LIBRARIES["numpy"].calls if call.method == "max"]
    return replace(peers.LIBRARIES["numpy"], calls=(replace(call, prepare=prepare),))


def test_peer_with_other_values_is_marked():
    def prepare(array, case):
        wrong = np.zeros(case.out.shape, array.dtype)
        return Prepared(lambda: None, lambda _: wrong)

    timing = run(small(), peers=[numpy_peer(prepare)])[-1]
    assert timing.status == "done"
    assert timing.differs
    assert 0 < timing.difference <= 1
    assert timing.tolerance == 0


def test_peer_that_breaks_is_a_record():
    def prepare(_array, _case):
        raise RuntimeError("symbol not found")

    timing = run(small(), peers=[numpy_peer(prepare)])[-1]
    assert (timing.status, timing.reason) == ("failed", "RuntimeError: symbol not found")


def test_peer_that_is_too_long_on_the_crop_is_not_run_again():
    clock, calls = Clock(), []

    def prepare(array, case):
        def call():
            calls.append(array.shape)
            clock.now += 70 * SECOND

        return Prepared(call, lambda _: np.zeros(case.out.shape, array.dtype))

    case = small(shape=(16, 16))
    numpy_row = next(
        bench.run([case], engines=["numpy"], peers=[numpy_peer(prepare)], rules=replace(RULES, runs=2), clock=clock)
    )[-1]
    assert numpy_row.lower_bound
    assert numpy_row.times == (70,)
    assert len(calls) == 1


def test_own_first_call_may_compile_for_longer_than_allowed(monkeypatch):
    clock, first = Clock(), iter([100 * SECOND])
    pool = ways.pooling.run

    def compiling(*args, **options):
        clock.now += next(first, SECOND)
        return pool(*args, **options)

    monkeypatch.setattr(ways.pooling, "run", compiling)
    rules = turns.Rules(warmup=0, min_runs=2, min_time=0, max_time=50)
    own = next(bench.run([small()], engines=["numpy"], rules=rules, clock=clock))[1]
    assert own.first_call == 100
    assert not own.lower_bound
    assert own.times == (1, 1)


def test_crop_keeps_the_format_and_room_for_a_few_windows():
    for shape, layout, expected in (
        ((64, 224, 224), "CHW", (20, 224, 224)),
        ((1, 224, 224, 64), "NHWC", (1, 73, 224, 64)),
        ((2160, 3840, 3), "HWC", (91, 3840, 3)),
        ((4000, 4000), "HW", (262, 4000)),
    ):
        case = small(shape=shape, layout=layout, window=Window(3, 1))
        part, part_case = bench.crop(np.zeros(shape, np.uint8), case)
        assert part.shape == part_case.size.shape == expected
        assert part.size <= bench.CROP
    tall, _ = bench.crop(np.zeros((4000, 4000), np.uint8), small(shape=(4000, 4000), window=Window(300, 10)))
    assert tall.shape == (330, 3177)


def test_largest_difference_of_special_values():
    nan, inf = float("nan"), float("inf")
    same = np.array([1.0, nan, inf, -inf, 0.0])
    assert bench.largest_difference(same, np.array([1.0, nan, inf, -inf, -0.0])) == 0
    assert bench.largest_difference(np.array([1.0, 5.0]), np.array([1.5, 3.0])) == 2
    assert bench.largest_difference(np.array([nan]), np.array([1.0])) > 1e300
    assert bench.largest_difference(np.array([255], np.uint8), np.array([0], np.uint8)) == 255


def test_the_share_of_integers_that_a_peer_rounds_another_way_stands_beside_its_time():
    case = small("avg", (64, 64), dtype="uint8")
    found = {timing.contender: timing.wrong for timing in run(case, peers=[peers.LIBRARIES["pillow"]])}
    means = bench.noise(case.size).reshape(32, 2, 32, 2).astype(float).mean((1, 3))
    assert found["pillow"] == (np.floor(means + 0.5) != np.rint(means)).mean() > 0
    assert found["poolcli numpy"] == 0
    assert run(small("avg"))[1].wrong is None


@pytest.mark.parametrize(("count", "seats"), [(bench.THREADED * 3 + 1, 3), (bench.THREADED - 1, 1)])
def test_limit_copies_every_byte_on_the_threads_that_pooling_has(count, seats, monkeypatch):
    source, target = np.random.default_rng(0).integers(1, 255, count, np.uint8), np.zeros(count, np.uint8)
    buffers, asked, share = [source, target], [], bench.share
    monkeypatch.setattr(bench, "touched", lambda *_: buffers.pop(0))
    monkeypatch.setattr(bench, "share", lambda *given: (asked.append(given[2]), share(*given)))
    bench.copy(count, 3)()
    assert np.array_equal(source, target)
    assert asked == [seats]


def test_limit_reads_and_writes_as_much_as_the_case(monkeypatch):
    copied = []
    monkeypatch.setattr(bench, "copy", lambda count, threads: lambda: copied.append((count, threads)))
    case = small()
    run(case)
    assert set(copied) == {(case.bytes // 2, case.threads)}


def test_noise_is_the_same_for_a_seed():
    size = Size((5, 6), "HW", "int16")
    assert np.array_equal(bench.noise(size, 7), bench.noise(size, 7))
    assert not np.array_equal(bench.noise(size, 7), bench.noise(size, 8))
    assert bench.noise(size).dtype == np.int16


def test_bool_is_a_dtype_as_any_other():
    (size,) = cases.sizes("8x9:HW:bool")
    assert cases.sizes(size.token) == (size,)
    timings = run(Case(size, "max", Window(2), 1), peers=peers.select("numpy"))
    assert [(timing.status, timing.reason) for timing in timings[1:]] == [("done", ""), ("skipped", "no max of bool")]


# The document

MACHINE = Environment(
    "Fast CPU",
    2,
    "Linux x86_64",
    {"poolcli": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "numba": "0.68.1"},
    {},
)


def results_of(*timings, machine=MACHINE):
    return Results(machine, "poolcli bench --size 8x9", "2026-01-31T12:00:00+00:00", timings)


def timing(contender="poolcli numba", times=(0.002, 0.001, 0.003), case=None, **fields):
    return Timing(case or small(), contender, "done", times=times, **fields)


def a_benchmark():
    big = small(window=Window(4, 2))
    return results_of(
        timing("limit", (0.0005,) * 3),
        timing(first_call=0.5, difference=0.0, tolerance=0.0, user=0.001, system=0.0002),
        timing("numpy", (0.01, 0.012, 0.02), difference=0.25, tolerance=0.0, note="a | b"),
        Timing(small(), "pillow", "skipped", "no max"),
        timing("poolcli numba", (0.004,) * 5, big),
        timing("numpy", (3.5,), big, lower_bound=True),
        Timing(small(window=Window(10)), "poolcli numba", "refused", "kernel must fit"),
    )


def test_document_comes_back_as_it_was():
    before = a_benchmark()
    assert document.from_json(document.to_json(before)) == before


def test_document_of_a_real_run_comes_back_as_it_was():
    machine = environment()
    assert machine.usable_cpus >= 1
    assert {"poolcli", "python", "numpy", "numba"} <= machine.versions.keys()
    before = results_of(*run(small("l2"), peers=peers.select("numpy")), machine=machine)
    assert document.from_json(document.to_json(before)) == before


def test_time_that_no_clock_saw_comes_back_as_it_was():
    before = results_of(timing(times=(0.0, 0.0)))
    assert document.from_json(document.to_json(before)) == before


@pytest.mark.parametrize(("kernel", "said"), [((3, 3, 3), "3"), ((2, 3, 2), "2x3x2"), ((3, 2, 2), "3x2x2")])
def test_a_kernel_among_the_parameters_names_each_axis_unless_all_are_the_same(kernel, said):
    case = Case(Size((4, 5, 6), "DHW", "float32"), "max", Window(kernel), 1)
    found = json.loads(document.to_json(results_of(timing(case=case))))
    assert found["results"][0]["parameters"]["kernel"] == said


def test_document_has_the_keys_of_its_schema():
    found = json.loads(document.to_json(a_benchmark()))
    assert found["schema"] == "poolcli/1"
    assert found["kind"] == "bench"
    assert found["environment"]["cpu"] == "Fast CPU"
    assert found["environment"]["versions"]["numba"] == "0.68.1"
    own = found["results"][1]
    assert own["times"] == [0.002, 0.001, 0.003]
    assert own["first_call"] == 0.5
    assert own["case"] == {
        "input": None,
        "shape": [8, 9],
        "layout": "HW",
        "dtype": "float32",
        "method": "max",
        "kernel": [2, 2],
        "stride": [2, 2],
        "padding": [[0, 0], [0, 0]],
        "dilation": [1, 1],
        "ceil": False,
        "count_include_pad": False,
        **dict.fromkeys(("edge", "pad_mode", "to", "fractional")),
        "divisor": "valid",
        "to_rule": "adaptive",
        "seed": 0,
        "whole": False,
        "threads": 1,
        "rest": 0.0,
    }
    assert [(record["status"], record["reason"]) for record in found["others"]] == [
        ("skipped", "no max"),
        ("refused", "kernel must fit"),
    ]


def read_as_hyperfine(text):
    """Read what hyperfine documents of its --export-json, as its plot scripts do; anything missing raises."""
    benchmarks = []
    for entry in json.loads(text, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))["results"]:
        numbers = [entry[key] for key in ("mean", "median", "user", "system", "min", "max")]
        assert all(type(number) is float for number in numbers)
        assert entry["stddev"] is None or type(entry["stddev"]) is float
        assert all(type(time) is float for time in entry["times"])
        assert len(entry["exit_codes"]) == len(entry["times"]) > 0
        assert set(entry["exit_codes"]) == {0}
        assert all(type(value) is str for value in entry["parameters"].values())
        assert entry["min"] <= entry["median"] <= entry["max"]
        benchmarks.append((entry["command"], entry["median"], float(entry["parameters"]["kernel"])))
    return benchmarks


def test_reader_of_hyperfine_files_reads_the_document():
    found = read_as_hyperfine(document.to_json(a_benchmark()))
    assert found[1] == ("poolcli numba max k2s2 8x9:HW:f32 t1", 0.002, 2.0)
    assert len({command for command, _, _ in found}) == len(found) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"difference": NaN}', "not JSON: NaN is not a number"),
        ("[]", "schema must be 'poolcli/1' of a benchmark, got None"),
        ('{"results": []}', "schema must be 'poolcli/1' of a benchmark, got None"),
        ('{"schema": "poolcli/2", "kind": "bench"}', "schema must be 'poolcli/1' of a benchmark, got 'poolcli/2'"),
        ('{"schema": "poolcli/1", "kind": "bench"}', "not a valid benchmark"),
    ],
)
def test_document_of_another_kind_is_refused_in_words(text, message):
    with pytest.raises(InputError, match=message):
        document.from_json(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("status",), "fine"),
        (("times",), []),
        (("times",), ["quick"]),
        (("times",), [-1]),
        (("times",), 3),
        (("contender",), None),
        (("first_call",), "soon"),
        (("case", "kernel"), 0),
        (("case", "shape"), 3),
        (("case", "threads"), "two"),
        (("case", "padding"), [1]),
        (("case",), None),
    ],
)
def test_damaged_document_is_refused(path, value):
    found = json.loads(document.to_json(a_benchmark()))
    *folders, name = path
    record = found["results"][1]
    for folder in folders:
        record = record[folder]
    record[name] = value
    with pytest.raises(InputError):
        document.from_json(json.dumps(found))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("contender"), "result must have contender"),
        (
            lambda record: record.update(status="fine"),
            "status must be done or skipped or failed or refused, got 'fine'",
        ),
        (lambda record: record.update(lower_bound=1), "lower_bound must be true or false, got 1"),
        (lambda record: record["case"].update(shape=3), "shape must be a list, got 3"),
        (
            lambda record: record["case"].update(padding=[1]),
            r"padding must be \[\[1, 1\], \[1, 1\]\] in full, got \[1\]",
        ),
        (lambda record: record.update(case=None), "case must be an object, got None"),
        (lambda record: record.update(times=[]), "times must be there exactly when a record is done"),
    ],
)
def test_what_is_damaged_is_named(change, message):
    found = json.loads(document.to_json(a_benchmark()))
    change(found["results"][1])
    with pytest.raises(InputError, match=f"not a valid benchmark: {message}"):
        document.from_json(json.dumps(found))


def test_what_a_later_version_adds_is_left_out_and_what_an_earlier_lacks_has_its_default():
    before = a_benchmark()
    found = json.loads(document.to_json(before))
    found["results"][1]["case"]["depth"] = 3
    found["environment"]["gpu"] = "none"
    for record in found["results"]:
        del record["reason"]
    for record in found["others"]:
        for name in ("times", "first_call", "lower_bound", "user", "difference"):
            del record[name]
    assert document.from_json(json.dumps(found)) == before


# Rows and tables


def test_row_says_what_a_time_means():
    rows = {(row.timing.contender, row.timing.case.window.kernel): row for row in a_benchmark().rows}
    own = rows["poolcli numba", (2, 2)]
    assert own.gigabytes == pytest.approx((8 * 9 * 4 + 4 * 4 * 4) / 0.002 / 1e9)
    assert own.of_limit == pytest.approx(0.25)
    assert own.megapixels == pytest.approx(72 / 0.002 / 1e6)
    assert (own.growth, own.speed_up) == (None, 1)
    assert rows["numpy", (2, 2)].speed_up == pytest.approx(6)
    assert rows["poolcli numba", (4, 4)].growth == pytest.approx(2)
    assert rows["poolcli numba", (4, 4)].of_limit is None  # no copy was timed in that case
    bound = rows["numpy", (4, 4)]
    assert (bound.gigabytes, bound.megapixels) == (None, None)
    assert bound.speed_up == pytest.approx(3.5 / 0.004)


def test_growth_is_told_at_one_stride_only():
    found = results_of(timing(case=small(window=Window(2, 2))), timing(case=small(window=Window(4, 4))))
    assert [row.growth for row in found.rows] == [None, None]


def test_growth_is_neither_of_the_limit_nor_from_a_lower_bound():
    small_, large = small(window=Window(2, 2)), small(window=Window(4, 2))
    found = results_of(
        timing("limit", case=small_),
        timing("limit", case=large),
        timing("numpy", (9.0,), small_, lower_bound=True),
        timing("numpy", case=large),
    )
    assert [row.growth for row in found.rows] == [None] * 4


def test_csv_has_a_line_for_each_record():
    lines = list(csv.DictReader(io.StringIO(tables.to_csv(a_benchmark()))))
    assert len(lines) == 7
    assert lines[1]["median"] == "0.002"
    assert lines[1]["first_call"] == "0.5"
    assert lines[2]["note"] == "a | b"
    assert (lines[3]["status"], lines[3]["median"], lines[3]["remark"]) == ("skipped", "", "skipped: no max")
    assert lines[5]["lower_bound"] == "true"


def test_markdown_has_machine_overview_and_table():
    text = tables.to_markdown(a_benchmark())
    machine, overview, table = text.split("\n\n", 1)[0], *re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert machine.startswith("Fast CPU, 2 usable CPUs, Linux x86_64; poolcli 0.1.0")
    assert machine.endswith("2026-01-31")
    assert overview.splitlines()[0] == "| size | method | window | limit ms | poolcli numba ms | numpy ms |"
    assert overview.splitlines()[2] == "| 8x9:HW:f32 | max | k2s2 | 0.500 | 2.00 | 12.0 (6.00 x) differs |"
    assert overview.splitlines()[3] == "| 8x9:HW:f32 | max | k4s2 |  | 4.00 | ≥ 3500 (≥ 875 x) |"
    assert overview.splitlines()[4] == "| 8x9:HW:f32 | max | k10s10 |  | refused |  |"
    assert r"| a \| b |" in table
    assert len({line.replace(r"\|", "").count("|") for line in table.splitlines()}) == 1
    assert "no max" not in table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1, "1.00"),
        (12.345, "12.3"),
        (123.45, "123"),
        (12345, "12345"),
        (0.01234, "0.0123"),
        (1e-9, "1e-09"),
    ],
)
def test_numbers_have_three_digits(value, shown):
    row = results_of(timing(times=(value / 1e3,))).rows[0]
    median = next(column for column in tables.COLUMNS if column.name == "median")
    assert median.show(row) == shown


# Baseline


def alone(times, name="poolcli numba", **values):
    """Return the timing of as many processes, each of one sample."""
    return replace(timing(name, times), processes=(1,) * len(times), **values)


def verdict(old, new, old_machine=MACHINE, new_machine=MACHINE, **options):
    (found,) = baseline.compare(
        results_of(alone(old), machine=old_machine), results_of(alone(new), machine=new_machine), **options
    )
    return found


CALM = tuple(1 + i / 1000 for i in range(10))
SLOWER = tuple(1.2 * second for second in CALM)


def test_slower_beyond_the_limit_and_significant_is_a_regression():
    found = verdict(CALM, SLOWER)
    assert found.outcome == "regression"
    assert found.change == pytest.approx(0.2)
    assert found.p < 0.001


def test_faster_is_an_improvement():
    assert verdict(SLOWER, CALM).outcome == "improvement"


def test_change_within_the_limit_is_unchanged_however_significant():
    assert verdict(CALM, SLOWER, fail_over=0.25).outcome == "unchanged"
    assert verdict(CALM, tuple(1.04 * second for second in CALM)).outcome == "unchanged"


def test_what_is_allowed_is_a_ratio_both_ways():
    assert verdict(CALM, tuple(1.049 * second for second in CALM), alpha=0.9).outcome == "unchanged"
    assert verdict(CALM, tuple(0.951 * second for second in CALM), alpha=0.9).outcome == "improvement"


ROUGH, WORSE = (0.95, 1.0, 1.04), (1.02, 1.07, 1.11)


def test_change_that_is_not_significant_is_inconclusive():
    found = verdict(ROUGH, WORSE)
    assert found.outcome == "inconclusive"
    assert found.reason == "not significant: p = 0.13 of 3 and 3 processes"


def test_significance_is_asked_at_alpha():
    assert verdict(ROUGH, WORSE, alpha=0.2).outcome == "regression"


def test_processes_that_disagree_are_inconclusive():
    found = verdict((0.9, 1.0, 1.01), (2.0, 2.0, 2.0))
    assert (found.outcome, found.reason) == ("inconclusive", "unstable: the medians of 3 processes span 11% of theirs")


def test_one_process_gives_no_verdict_but_that_nothing_changed():
    def of_one(times):
        return results_of(replace(timing(times=times), processes=()))

    (found,) = baseline.compare(of_one(CALM), of_one(SLOWER))
    assert (found.outcome, found.reason) == ("inconclusive", baseline.ONE)
    (found,) = baseline.compare(of_one(CALM), of_one(CALM))
    assert found.outcome == "unchanged"


def test_what_the_copy_beside_it_changed_too_is_the_machines():
    def with_copy(times, copies):
        return results_of(alone(copies, "limit"), alone(times))

    (found,) = baseline.compare(with_copy(CALM, CALM), with_copy(SLOWER, SLOWER))
    assert (found.outcome, found.change) == ("unchanged", pytest.approx(0))
    (found,) = baseline.compare(with_copy(CALM, SLOWER), with_copy(SLOWER, CALM))
    assert (found.outcome, found.change) == ("regression", pytest.approx(0.2))
    (found,) = baseline.compare(with_copy(CALM, CALM), with_copy(SLOWER, tuple(1.04 * time for time in CALM)))
    assert (found.outcome, found.change) == ("regression", pytest.approx(1.2 / 1.04 - 1))


def test_processes_are_merged_sample_by_sample_and_keep_their_medians():
    runs = [results_of(timing(times=times)) for times in ((1.0, 3.0, 2.0), (5.0,))]
    (found,) = results.merged(runs).timings
    assert (found.times, found.processes, found.medians) == ((1.0, 3.0, 2.0, 5.0), (3, 1), (2.0, 5.0))
    bound = results_of(timing(times=(9.0,), lower_bound=True))
    assert results.merged([*runs, bound]).timings == bound.timings


def versions(**changed):
    return {**MACHINE.versions, **changed}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cpu": "Slow CPU"}, "another environment: CPU Fast CPU -> Slow CPU"),
        ({"usable_cpus": 4}, "another environment: usable CPUs 2 -> 4"),
        (
            {"thread_settings": {"OMP_NUM_THREADS": "1"}},
            "another environment: thread settings none -> OMP_NUM_THREADS=1",
        ),
        ({"versions": versions(python="3.12.0")}, "another environment: python 3.11 -> 3.12"),
        ({"versions": versions(numpy="2.5.0")}, "another environment: numpy 2.4 -> 2.5"),
        ({"versions": versions(numba="0.69.0")}, "another environment: numba 0.68 -> 0.69"),
    ],
)
def test_another_environment_is_inconclusive(changes, reason):
    found = verdict(CALM, SLOWER, new_machine=replace(MACHINE, **changes))
    assert (found.outcome, found.reason) == ("inconclusive", reason)


@pytest.mark.parametrize("same", [{"poolcli": "9.9"}, {"python": "3.11.9"}, {"numba": "0.68.9"}])
def test_own_version_and_patch_versions_may_differ(same):
    assert verdict(CALM, SLOWER, new_machine=replace(MACHINE, versions=versions(**same))).outcome == "regression"


def test_case_that_is_not_in_the_baseline_is_inconclusive():
    old, new = results_of(timing(case=small("min"))), results_of(timing())
    (found,) = baseline.compare(old, new)
    assert (found.outcome, found.reason, found.change) == ("inconclusive", "not in the baseline", None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"times": CALM}, {"times": (9.0,), "lower_bound": True}),
        ({"times": (9.0,), "lower_bound": True}, {"times": CALM}),
        ({"times": (0.0,) * 10}, {"times": CALM}),
    ],
)
def test_what_was_not_measured_is_inconclusive(old, new):
    (found,) = baseline.compare(results_of(alone(**old)), results_of(alone(**new)))
    assert (found.outcome, found.reason) == ("inconclusive", "not run to its end, or too short to be measured")


def test_only_poolcli_is_judged():
    peer = timing("numpy", CALM)
    assert baseline.compare(results_of(peer), results_of(replace(peer, times=SLOWER))) == ()


def test_percentages_are_parsed():
    assert baseline.fraction("fail-over", "5%") == 0.05
    assert baseline.fraction("fail-over", "0.5") == 0.5
    for text in ("five", "-1%", "nan", "%", ""):
        with pytest.raises(UsageError, match="fail-over must be a percentage from 0%"):
            baseline.fraction("fail-over", text)


# Start-up


def test_parsing_needs_the_standard_library_only():
    modules = ("cases", "presets", "stats", "turns", "results", "tables", "document", "baseline")
    program = (
        "import sys\n"
        f"for name in {modules}: __import__('poolcli.measure.' + name)\n"
        "heavy = {'numpy', 'numba', 'PIL', 'scipy', 'torch', 'cv2', 'matplotlib', 'rich', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Plot


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def three_kernels():
    windows = [Window(k, 1) for k in (2, 3, 5)]
    return results_of(
        *(
            timing(name, (0.001 * k,), small(window=w))
            for w in windows
            for k, name in enumerate(("limit", "poolcli numba", "numpy"), 1)
        )
    )


def labels(picture):
    text = picture.decode()
    assert text.lstrip().startswith("<?xml")
    return re.findall(r"<!-- (.*?) -->", text)


@pytest.mark.usefixtures("matplotlib")
def test_plot_of_kernels_that_grow_names_contenders_units_and_cases():
    ((question, picture),) = plot.draw(three_kernels(), "svg").items()
    assert question == "kernels"
    for label in ("poolcli numba", "numpy", "time, ms", "kernel side at stride 1, elements", "limit (copy)"):
        assert labels(picture).count(label) == 1
    assert "max   8x9:HW:f32   1 thread" in labels(picture)


@pytest.mark.usefixtures("matplotlib")
def test_plot_of_cases_is_bars_with_their_medians_where_no_kernel_grows():
    ((question, picture),) = plot.draw(results_of(timing(times=(0.002, 0.003, 0.004)), timing("numpy")), "svg").items()
    assert question == "cases"
    assert {"3.00", "k2s2", "time, ms", "poolcli numba", "numpy"} <= set(labels(picture))
    assert not any("kernel side" in label or "hollow" in label for label in labels(picture))


@pytest.mark.usefixtures("matplotlib")
def test_each_question_has_a_picture_of_its_own():
    both = results_of(*three_kernels().timings, timing(case=small("min", window=Window(2, 2))))
    drawn = plot.draw(both, "png")
    assert list(drawn) == ["kernels", "cases"]
    assert all(picture.startswith(b"\x89PNG\r\n\x1a\n") for picture in drawn.values())


@pytest.mark.usefixtures("matplotlib")
def test_what_takes_longer_still_is_hollow_and_not_joined():
    from matplotlib.figure import Figure

    windows = [Window(k, 1) for k in (2, 3, 5)]
    timings = [timing("numpy", (0.5,), small(window=w), lower_bound=w.kernel == (5,)) for w in windows]
    ax = Figure().subplots()
    plot._draw_lines(ax, timings, plot._styles(timings))  # noqa: SLF001 -- pixels would say less
    joined, hollow = (line for line in ax.lines if len(line.get_xdata()))
    assert (list(joined.get_xdata()), joined.get_linestyle()) == ([2, 3], "-")
    assert (list(hollow.get_xdata()), hollow.get_linestyle(), hollow.get_markerfacecolor()) == ([5], "None", "white")
    assert "≥ 500" in labels(plot.draw(results_of(timings[2]), "svg")["cases"])


@pytest.mark.usefixtures("matplotlib")
def test_a_bar_ends_at_the_median_on_a_linear_axis_and_its_whisker_spans_the_middle_half():
    from matplotlib.figure import Figure

    found = timing(times=(0.001, 0.002, 0.003, 0.004, 0.005))
    ax = Figure().subplots()
    plot._draw_bars(ax, [found], plot._styles([found]))  # noqa: SLF001 -- likewise
    assert (ax.get_xscale(), ax.patches[0].get_width()) == ("linear", pytest.approx(3))
    (segment,) = ax.collections[0].get_segments()
    assert [x for x, _ in segment] == pytest.approx([2, 4])


@pytest.mark.usefixtures("matplotlib")
def test_plot_of_nothing_is_refused():
    with pytest.raises(PoolError, match="plot must have at least one timing, got none"):
        plot.draw(results_of(Timing(small(), "poolcli numba", "refused", "x")), "png")


def every_peer():
    return peers.offers(small(), peers.LIBRARIES.values())


@pytest.mark.usefixtures("matplotlib")
def test_contenders_look_different_in_colour_and_in_grey():
    names = ["poolcli numba", "poolcli numpy", *every_peer()]
    styles = plot._styles([timing(name) for name in names])  # noqa: SLF001 -- pixels would say less
    drawn = [styles[name] for name in names]
    for field in ("colour", "marker", "hatch"):
        assert len({getattr(style, field) for style in drawn}) == len(names), field
    for name in names:  # the same in every picture
        assert plot._styles([timing(name), timing("scipy")])[name] == styles[name]  # noqa: SLF001 -- likewise
