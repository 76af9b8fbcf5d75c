"""Which benchmarks have a name: each is a command line of the options of ``poolcli bench``."""

from __future__ import annotations

from typing import NamedTuple

from poolcli.core.geometry import one_of


class Preset(NamedTuple):
    """A command line: the options after ``poolcli bench``."""

    summary: str
    options: str


_MAPS = "64x224x224:CHW:f32"
_MAPS_LAST = "1x224x224x64:NHWC:f32"
_PHOTO = "2160x3840x3:HWC:u8"

PRESETS = {
    "quick": Preset(
        "a first look, under 20 seconds",
        f"--size {_MAPS},{_PHOTO} -m max,avg -w k2s2,k3s1 --peers auto --min-runs 5 --min-time 0.04 --max-time 0.08",
    ),
    "headline": Preset(
        "the table of README",
        f"--size {_MAPS},{_MAPS_LAST},{_PHOTO} -m max,avg,l2 -w k2s2,k3s2,k3s1,k15s1,k31s1,k31s31 --peers auto "
        "--rest 0,0.02 --min-runs 5 --min-time 0.2 --max-time 1",
    ),
    "growth": Preset(
        "how the time grows with the kernel at stride 1",
        f"--size {_MAPS} -m max,avg,l2 -w k3s1,k5s1,k7s1,k11s1,k15s1,k31s1,k63s1,k127s1 --peers auto "
        "--min-runs 5 --min-time 0.2 --max-time 1",
    ),
    "also": Preset(
        "what masks, weights, indices and alpha cost",
        f"--size {_MAPS},{_PHOTO},1080x1920x4:HWC:u8 -m max,avg -w k2s2,k4s4,k3s2,k3s1 --peers auto "
        "--also mask,weights,indices,alpha --min-runs 5 --min-time 0.2 --max-time 1",
    ),
}


def lookup(name: str) -> Preset:
    """Return the preset called *name*."""
    one_of("preset", name, tuple(PRESETS))
    return PRESETS[name]
