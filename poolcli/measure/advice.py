"""Which pooling to choose: a table of rules; the first that holds speaks, with the numbers it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolcli.core.methods import Method

TRAINING = (
    "For a network to be trained, train with each: "
    "these numbers say how a picture changes, not how well a model learns."
)
LIMITS = (
    "One picture is one sample, and says nothing about another picture or a task.",
    "The thresholds of the advice are ours, from 25 test pictures and synthetic planes, not from literature.",
    "Criteria of colour pictures look at luminance; time and mean shift at all channels but alpha.",
    "Aliasing is that of the result at stride 1: frequencies that max itself makes count as signal.",
    "Window PSNR favours smooth results; it shows what a window costs and does not choose a method.",
    "The noise is Gaussian and independent from pixel to pixel; that of a JPEG is not.",
)


class Facts(dict[str, Any]):
    """What rules look at: facts by name, and the numbers of a method by its name, measured when first asked for."""

    def __init__(self, facts: Mapping[str, Any], measure: Callable[[str], Mapping[str, float]]) -> None:
        super().__init__(facts)
        self._measure = measure

    def __missing__(self, method: str) -> Mapping[str, float]:
        self[method] = self._measure(method)
        found: Mapping[str, float] = self[method]
        return found


class Rule(NamedTuple):
    """When it holds, what to choose, and the texts, in which facts and numbers are filled."""

    holds: Callable[[Facts], bool]
    choice: str
    because: str
    not_if: str


RULES = (
    Rule(
        lambda f: f["labels"] and f["mode"]["alive"] < min(0.5, f["max"]["alive"]),
        "mode",
        "{window}: mode invents no label and keeps {mode[agree]:.1%} of the elements, but only {mode[alive]:.0%} of "
        "the objects under two windows live; max keeps {max[alive]:.0%} of them",
        "the small objects matter: max (or mode:sparse), unless the order of the labels has a meaning",
    ),
    Rule(
        lambda f: f["labels"],
        "mode",
        "{window}: mode invents no label and keeps {mode[agree]:.1%} of the elements (mIoU {mode[miou]:.2f})",
        "every small object matters: see what max keeps of them, if a higher label may grow",
    ),
    Rule(
        lambda f: f["missing"] > 0,
        "avg",
        "{missing:.2%} of the values are not finite and spoil every window they are in, whatever the method: put "
        "numbers in their place first, of which avg then keeps the mean",
        "a missing value must stay visible in the result",
    ),
    Rule(
        lambda f: f["energy"],
        "l2",
        "the values are amplitudes whose squares are energy, and l2 keeps the mean of squares",
        "the values are already power: then avg keeps it",
    ),
    Rule(
        lambda f: f["noise"] > 0.03 and f["outliers"] > 0.01 and f["extremes"],
        "median",
        "the noise is about {noise:.1%} of the range and {outliers:.1%} of the pixels are outliers beyond 4 sigma; "
        "{window}: max rises by {max[noise_bias]:z.2f} sigma of noise, median by {median[noise_bias]:z.2f}",
        "the outliers are the signal",
    ),
    Rule(
        lambda f: f["noise"] > 0.03 and f["extremes"],
        "avg",
        "the noise is about {noise:.1%} of the range; {window}: max rises by {max[noise_bias]:z.2f} sigma of it "
        "and keeps {max[noise_gain]:.2f} sigma, avg by {avg[noise_bias]:z.2f} and {avg[noise_gain]:.2f}",
        "the peaks are the signal",
    ),
    Rule(
        lambda f: f["max"]["contrast"] > 1.5 and f["avg"]["contrast"] < 0.6,
        "max",
        "{window}: bright spots are smaller than the window; max keeps them (contrast {max[contrast]:.2f}), "
        "avg dims them to {avg[contrast]:.2f}",
        "the picture is to be looked at: l2 has a contrast of {l2[contrast]:.2f} and exaggerates less",
    ),
    Rule(
        lambda f: f["avg"]["alias"] > 0.05,
        "blur",
        "{window}: {avg[alias]:.1%} of what avg gives is aliased; {wide}: {blur[alias]:.1%} of what blur gives",
        "sharpness matters more: blur keeps {blur[edge]:.2f} of the gradients, avg {avg[edge]:.2f}",
    ),
    Rule(
        lambda f: isnan(f["avg"]["alias"]),
        "avg",
        "avg keeps the mean; too little is known of the aliasing to ask for blur",
        "the brightest or darkest detail must survive: max, min",
    ),
    Rule(
        lambda _: True,
        "avg",
        "{window}: avg keeps the mean and aliases little without blur ({avg[alias]:.2%}; max {max[alias]:.2%})",
        "the brightest or darkest detail must survive (max, min), or values are encoded for display: then in linear "
        "light",
    ),
)


@dataclass(frozen=True, slots=True)
class Advice:
    """What to choose, the numbers behind it, and when not to follow it."""

    choice: str
    because: str
    not_if: str
    always: str = TRAINING


def advise(facts: Facts) -> Advice:
    """Return the advice of the first rule that holds."""
    rule = next(rule for rule in RULES if rule.holds(facts))
    return Advice(rule.choice, rule.because.format_map(facts), rule.not_if.format_map(facts))


def unfit(method: Method, *, labels: bool, floats: bool) -> str:
    """Return why a method does not fit the data, or nothing."""
    if labels and method.result != "same":
        return "does not fit labels: it makes values between them"
    if floats and method.suits == "labels":
        return "does not fit floats, whose values seldom repeat"
    return ""
