"""Whether poolcli became slower than an earlier benchmark says, or whether that cannot be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from poolcli.errors import UsageError
from poolcli.measure.stats import mann_whitney

if TYPE_CHECKING:
    from poolcli.measure.environment import Environment
    from poolcli.measure.results import Results, Timing

# A change is beyond what is allowed, significant, and between comparable environments; or within what is allowed.
Outcome = Literal["regression", "improvement", "unchanged", "inconclusive"]

MINOR = ("python", "numpy", "numba")  # their major.minor must agree


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one timing of poolcli."""

    timing: Timing
    outcome: Outcome
    reason: str = ""  # why it is inconclusive
    change: float | None = None  # new median over old, less one
    p: float | None = None  # two-sided, of Mann and Whitney's test


def compare(old: Results, new: Results, *, fail_over: float = 0.05, alpha: float = 0.01) -> tuple[Verdict, ...]:
    """Return a verdict on each timing of poolcli in *new*, against the one of the same case in *old*."""
    before = {(t.case, t.contender): t for t in old.done}
    unlike = ", ".join(differences(old.environment, new.environment))
    reason = f"another environment: {unlike}" if unlike else ""
    return tuple(_verdict(before.get((t.case, t.contender)), t, reason, fail_over, alpha) for t in new.done if t.ours)


def _verdict(old: Timing | None, new: Timing, unlike: str, fail_over: float, alpha: float) -> Verdict:
    if old is None:
        return Verdict(new, "inconclusive", "not in the baseline")
    if old.lower_bound or new.lower_bound or not old.summary.median:
        return Verdict(new, "inconclusive", "not run to its end, or too short to be measured")
    change, p = new.summary.median / old.summary.median - 1, mann_whitney(old.times, new.times)
    if unlike:
        return Verdict(new, "inconclusive", unlike, change, p)
    if 1 / (1 + fail_over) <= 1 + change <= 1 + fail_over:
        return Verdict(new, "unchanged", "", change, p)
    if p < alpha:
        return Verdict(new, "regression" if change > 0 else "improvement", "", change, p)
    why = f"not significant: p = {p:.2g} of {len(old.times)} and {len(new.times)} runs"
    return Verdict(new, "inconclusive", why, change, p)


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
