"""Whether poolcli became slower than an earlier benchmark says, or whether that cannot be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from poolcli.errors import UsageError
from poolcli.measure import stats
from poolcli.measure.results import LIMIT

if TYPE_CHECKING:
    from poolcli.measure.cases import Case
    from poolcli.measure.environment import Environment
    from poolcli.measure.results import Results, Timing

# A change is beyond what is allowed, significant, and between comparable environments; or within what is allowed.
Outcome = Literal["regression", "improvement", "unchanged", "inconclusive"]

ONE = "one process says nothing of the next: --processes 3"
MINOR = ("python", "numpy", "numba")  # their major.minor must agree


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one timing of poolcli."""

    timing: Timing
    outcome: Outcome
    reason: str = ""  # why it is inconclusive
    change: float | None = None  # new time over old, less one, and less what the copy beside it changed, too
    p: float | None = None  # two-sided, of Student's test over the medians of processes


def compare(old: Results, new: Results, *, fail_over: float = 0.05, alpha: float = 0.05) -> tuple[Verdict, ...]:
    """Return a verdict on each timing of poolcli in *new*, against the one of the same case in *old*.

    Samples of one process say nothing of the next, which lies elsewhere in memory: medians of processes are compared.
    """
    before, after = ({(t.case, t.contender): t for t in results.done} for results in (old, new))
    unlike = ", ".join(differences(old.environment, new.environment))
    judge = partial(
        _verdict, unlike=f"another environment: {unlike}" if unlike else "", fail_over=fail_over, alpha=alpha
    )
    return tuple(judge(before.get((t.case, t.contender)), t, _drift(before, after, t.case)) for t in new.done if t.ours)


def _drift(before: dict[tuple[Case, str], Timing], after: dict[tuple[Case, str], Timing], case: Case) -> float:
    """Return by how much the copy of a case takes longer, as a logarithm; 0 where it was not timed."""
    old, new = before.get((case, LIMIT)), after.get((case, LIMIT))
    if old is None or new is None or not min(*old.medians, *new.medians):
        return 0.0
    return stats.log_mean(new.medians) - stats.log_mean(old.medians)


def _verdict(old: Timing | None, new: Timing, drift: float, *, unlike: str, fail_over: float, alpha: float) -> Verdict:
    if old is None:
        return Verdict(new, "inconclusive", "not in the baseline")
    first, second = old.medians, new.medians
    if old.lower_bound or new.lower_bound or not min(*first, *second):
        return Verdict(new, "inconclusive", "not run to its end, or too short to be measured")
    raw = stats.log_mean(second) - stats.log_mean(first)
    shift = raw - (math.copysign(min(abs(drift), abs(raw)), raw) if drift * raw > 0 else 0)  # the machine's part
    change = math.expm1(shift)
    p = stats.student(first, second, shift) if min(len(first), len(second)) > 1 else None
    within, significant = abs(shift) <= math.log1p(fail_over), p is not None and p < alpha
    doubt = unlike or next((f"unstable: {t.advice.fact}" for t in (old, new) if t.advice is not None), "")
    if not (doubt or within or significant):
        doubt = f"not significant: p = {p:.2g} of {len(first)} and {len(second)} processes" if p else ONE
    if doubt:
        return Verdict(new, "inconclusive", doubt, change, p)
    return Verdict(new, "unchanged" if within else "regression" if change > 0 else "improvement", "", change, p)


def differences(old: Environment, new: Environment) -> tuple[str, ...]:
    """Return what keeps two environments from being compared, as ``what old -> new``."""
    pairs = [
        ("CPU", old.cpu, new.cpu),
        ("usable CPUs", str(old.usable_cpus), str(new.usable_cpus)),
        ("thread settings", _spelled(old.thread_settings), _spelled(new.thread_settings)),
        *((name, _minor(old, name), _minor(new, name)) for name in MINOR),
    ]
    return tuple(f"{what} {before} -> {after}" for what, before, after in pairs if before != after)


def _spelled(settings: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(settings.items())) or "none"


def _minor(environment: Environment, name: str) -> str:
    return ".".join(environment.versions.get(name, "none").split(".")[:2])


def fraction(what: str, text: str) -> float:
    """Return the fraction that ``5%`` or ``0.05`` spells."""
    number, percent = (text[:-1], 100) if text.endswith("%") else (text, 1)
    try:
        value = float(number) / percent
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(f"{what} must be a percentage from 0%, got {text!r}", "for example 5%")
    return value
