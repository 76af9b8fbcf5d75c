"""How calls are timed: in turns, after a rest, until each has run enough."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poolcli.core.settings import number, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Clock = Callable[[], int]  # nanoseconds

# Seconds below which the last contender's traces show: its data in the caches, our threads asleep. On two cores
# PyTorch's avg in channels_last took 0.4 ms right after a call of its own and 1.6 to 8 ms after another's.
SHORT = 0.01
WARM = 0.004  # seconds of work before which it shows that the processors have slept
MOST_WARM = 50  # calls that warm up; more would change nothing


@dataclass(frozen=True, slots=True)
class Rules:
    """When a contender has run enough in one case; `UsageError` where a value is out of range.

    Warm-up calls are repeated for 4 ms before each later sample of a call under 10 ms. *max_time*, at least
    *min_time*, wins over all but *runs*, and a call on the crop that already takes longer is the last.
    """

    warmup: int = setting("Run", "Calls of each contender that do not count.", default=1, metavar="N")
    min_runs: int = setting("Run", "Fewest runs of a contender.", default=10, metavar="N")
    runs: int | None = setting("Run", "Exactly so many runs.", default=None, short="-r", metavar="N")
    min_time: float = setting(
        "Run", "Least seconds of a contender's runs in a case, which --max-time follows.", default=1.0, metavar="S"
    )
    max_time: float = setting(
        "Run", "Most seconds of a contender in a case; else three times --min-time.", default=None, metavar="S"
    )

    def __post_init__(self) -> None:
        kinds: dict[str, tuple[type[int | float], float]] = {
            "warmup": (int, 0), "min_runs": (int, 1), "runs": (int, 1), "min_time": (float, 0), "max_time": (float, 0),
        }  # fmt: skip
        values: dict[str, Any] = {name: getattr(self, name) for name in kinds}
        values |= {name: number(name, v, *kinds[name]) for name, v in values.items() if v is not None}
        least, most = values["min_time"], values["max_time"]
        for name, value in (values | {"max_time": 3 * least if most is None else max(most, least)}).items():
            object.__setattr__(self, name, value)


@dataclass(slots=True)
class Samples:
    """What the calls of one contender took, in seconds: each run, all together, and a run on all processors."""

    call: Callable[[], object]
    spent: float = 0.0
    seconds: tuple[float, ...] = ()
    runs: int = 0
    user: float = 0.0
    system: float = 0.0
    failure: str = ""

    def turn(self, rules: Rules, clock: Clock, rest: Callable[[], None], rested: float) -> bool:
        """Run once, *rested*; return whether there is to be another turn. All that it takes counts."""
        begin = clock()
        rest()
        try:
            if rules.warmup and self.seconds and self.seconds[-1] < SHORT:
                for _ in range(min(MOST_WARM, 1 + int(WARM / max(self.seconds[-1], 1e-9)))):
                    self._run(clock)
            if rested:
                time.sleep(rested)
            seconds = self._run(clock)
        except Exception as error:  # noqa: BLE001 -- peers are foreign code; what breaks one must not end the others
            self.failure = failure(error)
            return False
        self.spent += (clock() - begin) / 1e9
        late = rules.runs is None and self.spent >= rules.max_time
        if self.runs <= rules.warmup and not late:
            return True
        self.seconds += (seconds,)  # a warm-up that used up the time is the only sample
        if rules.runs is not None:
            return len(self.seconds) < rules.runs
        return not late and (len(self.seconds) < rules.min_runs or sum(self.seconds) < rules.min_time)

    def _run(self, clock: Clock) -> float:
        user, system = _processor_seconds()
        begin = clock()
        self.call()  # what it returns is freed within its time
        seconds = (clock() - begin) / 1e9
        user_after, system_after = _processor_seconds()
        self.runs += 1
        self.user += (user_after - user - self.user) / self.runs
        self.system += (system_after - system - self.system) / self.runs
        return seconds


def failure(error: Exception) -> str:
    """Return what happened in the first line of a foreign library's error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _processor_seconds() -> tuple[float, float]:
    """Return user and system seconds of all threads of this process."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # not on Windows
        times = os.times()
        return times.user, times.system
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def settle() -> None:
    """Wait until the threads of the last call sleep: those of OpenMP and OpenCV spin for up to 10 ms.

    On two busy cores a copy after PyTorch took twice as long, poolcli too. The system counts the time of a running
    thread at its ticks (4 ms here), so that a shorter look sees nothing.
    """
    for _ in range(10):
        begin = time.process_time_ns()
        time.sleep(5e-3)
        if time.process_time_ns() - begin < 1e6:
            return


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rules: Rules,
    *,
    spent: Mapping[str, float] | None = None,
    clock: Clock = time.perf_counter_ns,
    rest: Callable[[], None] = settle,
    rested: float = 0.0,
) -> dict[str, Samples]:
    """Return what *calls* took in turns, one call each a round, until each has run enough.

    *spent* are seconds that calls took before; *rest* comes before each turn, outside its time, and so many seconds
    that it has *rested* before the call that is timed, after those that warm it up.
    """
    samples = {name: Samples(call, (spent or {}).get(name, 0.0)) for name, call in calls.items()}
    running = list(samples.values())
    collected = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection would fall into somebody's sample
    try:
        while running:
            running = [contender for contender in running if contender.turn(rules, clock, rest, rested)]
    finally:
        if collected:
            gc.enable()
    return samples
