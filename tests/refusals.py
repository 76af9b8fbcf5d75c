"""What PyTorch refuses: the error inputs of its OpInfo database (2.13.0) and of test/nn/test_pooling.py.

With a few of the same kind up to sizes of 2^63. A case is arguments of `poolcli.pool` (or of unpooling) and the
rule that they break. PyTorch itself makes an empty result of a target of 0, and of a dilation that overflows to a
window that fits, a crash.
"""

from __future__ import annotations

from dataclasses import dataclass

HUGE = 2**63


@dataclass(frozen=True, slots=True)
class Refusal:
    """Arguments that break a rule; `allowed` where poolcli has a meaning for them and gives a result."""

    id: str
    rule: str
    shape: tuple[int, ...]
    arguments: dict[str, object]
    layout: str = "NCL"
    method: str = "max"
    dtype: str = "float32"
    allowed: bool = False


def refusals(rule, *cases):
    """Return one record for each (id, shape, arguments, further fields)."""
    return tuple(Refusal(name, rule, shape, arguments, **more) for name, shape, arguments, more in cases)


PLANES, CUBES, ONE = {"layout": "NCHW"}, {"layout": "NCDHW"}, (1, 1, 6)
EMPTY_BATCH = {"kernel": (2,), "stride": (50,)}

REFUSALS = (
    *refusals(
        "padding is not negative",
        ("negative-padding", (0, 1, 49), {**EMPTY_BATCH, "padding": -1}, {}),
        ("negative-padding-avg", (0, 1, 49), {**EMPTY_BATCH, "padding": -1}, {"method": "avg"}),
        ("negative-padding-2d", (0, 1, 49, 49), {"kernel": (3, 2), "stride": 50, "padding": -1}, PLANES),
        ("negative-padding-3d", (0, 1, 49, 50, 49), {"kernel": (3, 2, 2), "stride": 50, "padding": -1}, CUBES),
        ("negative-padding-after", ONE, {"kernel": (2,), "padding": ((0, -1),)}, {}),
    ),
    *refusals(
        "padding is less than the dilated kernel",
        ("padding-past-kernel", (0, 1, 49), {**EMPTY_BATCH, "padding": 4}, {}),
        ("padding-past-kernel-avg", (0, 1, 49), {**EMPTY_BATCH, "padding": 4}, {"method": "avg"}),
        ("padding-past-kernel-2d", (0, 1, 49, 49), {"kernel": (3, 2), "stride": 50, "padding": 4}, PLANES),
        ("padding-past-kernel-3d", (0, 1, 49, 50, 49), {"kernel": (3, 2, 2), "stride": 50, "padding": 4}, CUBES),
        ("padding-of-2-to-63", ONE, {"kernel": (2,), "padding": HUGE}, {}),
        (
            "padding-past-half",
            (1, 1, 9),
            {"kernel": (3,), "stride": (1,), "dilation": (2,), "padding": 3},
            {"allowed": True},
        ),
    ),
    *refusals(
        "kernel is at least 1, one for each axis",
        ("kernel-0", ONE, {"kernel": (0,)}, {}),
        ("kernel-negative", ONE, {"kernel": (-2,)}, {}),
        ("kernel-of-nothing", ONE, {"kernel": ()}, {}),
        ("kernel-of-two-for-one-axis", ONE, {"kernel": (2, 2)}, {}),
        ("kernel-of-two-for-three-axes", (1, 3, 1, 1, 1), {"kernel": (1, 1)}, CUBES),
        ("kernel-of-three-for-two-axes", (1, 1, 6, 6), {"kernel": (2, 2, 2)}, PLANES),
    ),
    *refusals(
        "stride is at least 1",
        ("stride-0", (3, 3, 3), {"kernel": (1,), "stride": (0,)}, {}),
        ("stride-0-of-no-batch", (0, 1, 49), {"kernel": (2,), "stride": (0,)}, {}),
        ("stride-0-3d", (1, 1, 4, 4, 4), {"kernel": (2, 2, 2), "stride": (1, 0, 1)}, CUBES),
        ("stride-negative", ONE, {"kernel": (2,), "stride": (-1,)}, {}),
    ),
    *refusals(
        "dilation is at least 1",
        ("dilation-0", (3, 3, 3), {"kernel": (1,), "stride": (1,), "dilation": (0,)}, {}),
        ("dilation-negative", (1, 1, 1, 1, 1), {"kernel": (1, 1, 1), "dilation": (-3, 1, 1)}, CUBES),
    ),
    *refusals(
        "a window fits the padded axis, and its numbers fit 31 bits",
        ("kernel-5-on-2", (2, 2, 2), {"kernel": (5,), "stride": (1,)}, {}),
        ("kernel-2-on-1", (1, 1, 1, 4), {"kernel": (2, 2)}, PLANES),
        ("kernel-2-on-1-3d", (1, 1, 1, 4, 4), {"kernel": (2, 2, 2)}, CUBES),
        ("dilated-5-on-4", (1, 1, 4), {"kernel": (3,), "stride": (2,), "dilation": (2,)}, {}),
        ("kernel-of-2-to-63", ONE, {"kernel": (HUGE,)}, {}),
        ("kernel-of-2-to-63-lp", ONE, {"kernel": (HUGE - 1,)}, {"method": "norm:2"}),
        ("kernels-whose-product-is-2-to-64", (1, 1, 6, 6), {"kernel": (2**32, 2**32)}, PLANES),
        ("dilation-of-2-to-63", ONE, {"kernel": (2,), "dilation": (HUGE,)}, {}),
        ("dilation-that-overflows-to-a-fit", ONE, {"kernel": (5,), "dilation": (2**62,)}, {}),
        ("stride-of-2-to-63", ONE, {"kernel": (2,), "stride": (HUGE,)}, {}),
    ),
    *refusals(
        "only the batch may be empty",
        ("no-axes", (), {"kernel": (1,)}, {"layout": "L"}),
        ("no-elements", (0,), {"kernel": (1,)}, {"layout": "L"}),
        ("no-channels", (1, 0, 10), {"kernel": (1,)}, {}),
        ("no-length", (1, 10, 0), {"kernel": (1,)}, {}),
        ("no-rows", (1, 2, 0, 10), {"kernel": (1, 1)}, PLANES),
        ("no-columns", (2, 1, 10, 0), {"kernel": (1, 1)}, PLANES),
        ("no-depth", (2, 1, 0, 1, 2), {"kernel": (1, 1, 1)}, CUBES),
        ("no-channels-adaptive", (1, 0, 50), {"to": (3,)}, {}),
        (
            "no-channels-fractional",
            (1, 0, 50, 32),
            {"to": (5, 5), "kernel": (3, 3), "to_rule": "fractional", "seed": 0},
            PLANES,
        ),
        ("no-batch", (0, 16, 50), {"kernel": (3,), "stride": (2,)}, {"allowed": True}),
        ("no-batch-adaptive", (0, 10, 10), {"to": (5,)}, {"allowed": True, "method": "avg"}),
    ),
    *refusals(
        "the layout has as many axes as the input",
        ("too-few-axes", (2, 2), {"to": (2, 2)}, PLANES),
        ("too-few-axes-3d", (0, 1, 49), {"kernel": (2, 2, 2), "stride": 50}, {**CUBES, "method": "avg"}),
    ),
    *refusals(
        "a target size is at least 1, one for each axis, and its result has a size",
        ("target-of-nothing", (1, 2, 3), {"to": ()}, {"method": "avg"}),
        ("target-of-nothing-2d", (1, 2, 3, 4), {"to": ()}, PLANES),
        ("target-negative", (1, 1, 1), {"to": (-1,)}, {"method": "avg"}),
        ("target-negative-2d", (1, 1, 1, 1), {"to": (-1, 0)}, PLANES),
        ("target-negative-3d", (1, 1, 1, 1, 1), {"to": (-1, 0, 2)}, CUBES),
        ("target-0", (1, 2, 3), {"to": (0,)}, {}),
        ("target-that-overflows", (2, 2, 2), {"to": (0x3FFFFFFFFFFFFFFF,)}, {}),
        ("target-of-2-to-63", (2, 2, 2), {"to": (HUGE,)}, {"method": "avg"}),
        ("target-of-three-for-two-axes", (1, 1, 6, 6), {"to": (2, 2, 2)}, PLANES),
        ("integers-to-a-target", (1, 2, 6), {"to": (3,)}, {"dtype": "int32", "method": "avg", "allowed": True}),
    ),
    *refusals(
        "fractional windows leave room: target + kernel - 1 is at most the length",
        (
            "fractional-too-large",
            (1, 1, 6, 6),
            {"to": (6, 3), "kernel": (2, 2), "to_rule": "fractional", "seed": 0},
            PLANES,
        ),
        (
            "fractional-target-0",
            (1, 1, 6, 6),
            {"to": (0, 1), "kernel": (2, 2), "to_rule": "fractional", "seed": 0},
            PLANES,
        ),
        (
            "fractional-kernel-length",
            (1, 1, 6, 6),
            {"to": (2, 2), "kernel": (2,), "to_rule": "fractional", "seed": 0},
            {**PLANES, "allowed": True},  # one value stands for all axes
        ),
        ("fractional-sample-1", (1, 1, 6), {"to": (2,), "kernel": (2,), "to_rule": "fractional", "seed": (1.0,)}, {}),
    ),
    *refusals(
        "a divisor is not 0",
        ("divisor-0", (3, 3, 3), {"kernel": (2, 2), "divisor": 0}, {"layout": "CHW", "method": "avg"}),
        ("divisor-0-3d", (1, 3, 3, 3, 3), {"kernel": (2, 2, 2), "divisor": 0}, {**CUBES, "method": "avg"}),
    ),
    *refusals(
        "the power of a norm is more than 0",
        ("power-0", ONE, {"kernel": (2,)}, {"method": "norm:0"}),
        ("power-negative", ONE, {"kernel": (2,)}, {"method": "lp:-1"}),
    ),
)


@dataclass(frozen=True, slots=True)
class UnpoolRefusal:
    """Indices of a shape, all zero but the first, to unpool with a window into a size."""

    id: str
    rule: str
    values: tuple[int, ...]
    indices: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...] | None = None
    size: tuple[int, ...] | None = None
    first: int = 0
    allowed: bool = False


RANGE, SHAPE, REACH = "an index lies in its plane", "values and indices have one shape", "the size is within one stride"
UNPOOL_REFUSALS = (
    UnpoolRefusal("shapes-1d", SHAPE, (1, 8, 8), (1, 8, 7), (3,), (2,)),
    UnpoolRefusal("shapes-2d", SHAPE, (1, 1, 4, 4), (1, 1, 4, 1), (3, 3), (2, 2)),
    UnpoolRefusal("shapes-3d", SHAPE, (1, 1, 4, 4, 4), (1, 1, 4, 4, 1), (3, 3, 3), (2, 2, 2)),
    UnpoolRefusal("two-for-three-axes", "one for each axis", (1, 3, 1, 1, 1), (1, 3, 1, 1, 1), (1, 1)),
    UnpoolRefusal("index-negative", RANGE, (1, 3, 4, 5), (1, 3, 4, 5), (2, 2), first=-1),
    UnpoolRefusal("index-past-the-end", RANGE, (1, 3, 4, 5), (1, 3, 4, 5), (2, 2), first=80),
    UnpoolRefusal("index-last", RANGE, (1, 3, 4, 5), (1, 3, 4, 5), (2, 2), first=79, allowed=True),
    UnpoolRefusal("index-past-the-end-3d", RANGE, (1, 1, 3, 4, 5), (1, 1, 3, 4, 5), (2, 2, 2), first=480),
    UnpoolRefusal("index-last-3d", RANGE, (1, 1, 3, 4, 5), (1, 1, 3, 4, 5), (2, 2, 2), first=479, allowed=True),
    UnpoolRefusal("index-of-2-to-63", RANGE, (1, 1, 2), (1, 1, 2), (2,), first=HUGE - 1),
    *(
        UnpoolRefusal(
            f"size-{h}x{w}",
            REACH,
            (1, 1, 2, 2),
            (1, 1, 2, 2),
            (3, 3),
            (2, 2),
            (h, w),
            allowed=min(h, w) >= 4 and max(h, w) <= 6,
        )
        for h, w in ((3, 5), (4, 4), (4, 7), (6, 6), (7, 5), (9, 9))
    ),
)
