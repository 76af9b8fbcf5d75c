"""No verdict from noise: what `baseline.compare` says of sessions that differ by noise alone, and of a slower kernel.

`tests/perf/verdicts.py` asks the same of a real machine.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from poolcli.core.geometry import Window
from poolcli.measure import baseline
from poolcli.measure.cases import Case, Size
from poolcli.measure.environment import Environment
from poolcli.measure.results import Results, Timing

MACHINE = Environment("CPU", 2, "Linux x86_64", {}, {})
CASE = Case(Size((64, 224, 224), "CHW", "float32"), "max", Window(3, 1), 1)
PROCESSES, RUNS = 3, 20


def session(times):
    """Return the results of one session: samples by contender, as many from each process."""
    made = {name: tuple(map(float, np.ravel(samples))) for name, samples in times.items()}
    counts = {name: (len(samples) // PROCESSES,) * PROCESSES for name, samples in made.items()}
    return Results(
        MACHINE, "", "", tuple(Timing(CASE, n, "done", times=t, processes=counts[n]) for n, t in made.items())
    )


def drawn(random, *, sessions, processes, slower=1.0):
    """Return a session drawn from a model: sessions, processes and samples scatter, and some samples are disturbed.

    *sessions* and *processes* are standard deviations of logarithms; a session's is the machine's, for the copy too.
    """
    machine = math.exp(random.normal(0, sessions))
    times = {}
    for name, seconds in (("limit", 7e-4), ("poolcli numba", 2e-3 * slower)):
        process = np.exp(random.normal(0, processes, (PROCESSES, 1)))
        samples = seconds * machine * process * np.exp(np.abs(random.normal(0, 0.06, (PROCESSES, RUNS))))
        times[name] = np.where(random.random(samples.shape) < 0.07, 1.6 * samples, samples)
    return session(times)


def verdicts(count, slower=1.0, **noise):
    found = Counter()
    for seed in range(count):
        random = np.random.default_rng(seed)
        old, new = drawn(random, **noise), drawn(random, slower=slower, **noise)
        (verdict,) = baseline.compare(old, new)
        found[verdict.outcome] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sessions", "processes"), [(0.005, 0.01), (0.01, 0.015), (0.03, 0.015), (0.05, 0.02), (0.01, 0.03), (0.1, 0.02)]
)
def test_noise_gives_a_regression_in_forty_at_most(sessions, processes):
    found = verdicts(1000, sessions=sessions, processes=processes)
    assert found["regression"] <= 1000 / 40
    assert found["regression"] + found["improvement"] + found["unchanged"] + found["inconclusive"] == 1000


@pytest.mark.slow
@pytest.mark.parametrize(("sessions", "processes"), [(0.005, 0.01), (0.01, 0.01), (0.01, 0.015)])
def test_a_kernel_that_is_ten_percent_slower_is_found_nine_times_in_ten(sessions, processes):
    found = verdicts(1000, sessions=sessions, processes=processes, slower=1.1)
    assert found["regression"] >= 900
    assert found["improvement"] == 0


# Medians in ms of three processes each, of unchanged code, while other programs kept two processors busy
RECORDED = [
    {"limit": (2.694, 2.186, 0.740), "poolcli numba": (5.360, 5.216, 6.845)},
    {"limit": (4.061, 4.057, 3.990), "poolcli numba": (10.421, 11.188, 7.057)},
    {"limit": (4.039, 4.022, 4.633), "poolcli numba": (8.837, 7.969, 7.189)},
    {"limit": (3.977, 3.915, 3.993), "poolcli numba": (7.979, 7.560, 8.048)},
]


def test_a_busy_machine_gives_no_verdict():
    for old, new in permutations(RECORDED, 2):
        (verdict,) = baseline.compare(session(old), session(new))
        assert verdict.outcome == "inconclusive"
        assert verdict.reason.startswith("unstable: the medians of 3 processes span")
