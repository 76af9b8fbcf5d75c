"""Rule sets: what peers do where nothing is given, so that a result can be theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from poolcli.core import methods
from poolcli.core.geometry import one_of

if TYPE_CHECKING:
    from poolcli.core.geometry import Window
    from poolcli.core.methods import Method


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a peer does.

    Attributes
    ----------
    name, peer
        As it is asked for, and what it was checked against, with the version.
    divisor, stride, edge
        As in `Window`, where not given; a *stride* of None is the kernel.
    norms
        Whether l2 and lp are norms, and not means.
    rounding, index_layout
        Of results that become integers, and of indices, where not given.
    differs
        What is not equal all the same.
    """

    name: str
    peer: str
    divisor: str = "valid"
    stride: int | None = None
    edge: str = "drop"
    norms: bool = False
    rounding: str = "even"
    index_layout: str = "torch"
    differs: str = ""


_ROWS = (
    RuleSet(
        "torch", "PyTorch 2.13.0", divisor="window", norms=True,
        differs="LPPool scales windows that are cut at the end, averages integers by truncation",
    ),
    RuleSet(
        "onnx", "onnxruntime 1.32.0", stride=1, norms=True, index_layout="onnx",
        differs="NaN, which onnxruntime drops or keeps by its place",
    ),
    RuleSet("tf", "TensorFlow's documentation", index_layout="tf", differs="it was not run"),
    RuleSet(
        "pillow", "Pillow 13.0.0, Image.reduce", edge="partial", rounding="up",
        differs="of 8-bit windows whose size n is no power of 2, Pillow rounds sums just past a half down "
        "(a ninth of them at 3x3); it rounds alpha once more",
    ),
)  # fmt: skip
RULE_SETS = {row.name: row for row in _ROWS}
_NORMS = {"l2": "norm:2", "lp": "norm"}


def index_layout(name: str | None) -> str:
    """Return how indices count by the rule set *name*."""
    return "torch" if name is None else RULE_SETS[name].index_layout


def applied(name: str | None, window: Window, method: Method, rounding: str | None) -> tuple[Window, Method, str]:
    """Return what is asked for with what the rule set *name* says where nothing was given.

    Raises
    ------
    UsageError
        There is no such rule set.
    """
    one_of("rules", name, tuple(RULE_SETS))
    if name is None:
        return window, method, rounding or "even"
    rules = RULE_SETS[name]
    own, colon, value = method.token.partition(":")
    if rules.norms and own in _NORMS:
        method = methods.lookup(_NORMS[own] + colon + value)
    window = window.under(divisor=rules.divisor, stride=rules.stride, edge=rules.edge)
    return window, method, rounding or rules.rounding
