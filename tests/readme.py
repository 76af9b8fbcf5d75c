"""README's derived parts; ``python tests/readme.py`` writes them again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

import poolcli
from poolcli.core.methods import METHODS
from poolcli.core.rules import RULE_SETS
from poolcli.measure import document, tables
from poolcli.measure.cases import window_token
from poolcli.media.formats import FORMATS

README = Path(__file__).parent.parent / "README.md"
PERF = Path(__file__).parent / "perf"


def methods():
    head = "| method | each output value is the | formula | source or PyTorch |\n|---|---|---|---|\n"
    rows = "\n".join(
        f"| `{m.name}{m.parameter.form if m.parameter else ''}` | {m.summary} | `{m.formula}` | {m.source or m.torch} |"
        for m in METHODS.values()
    ).replace("|x|", r"\|x\|")
    return f"\n{head}{rows}\n"


def rules():
    """What each rule set says where nothing is given."""
    head = (
        "| `--rules` | stride | means divide by | at the end | `l2`, `lp:P` | to integers | indices | checked against |"
        " not equal |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    rows = "\n".join(
        f"| `{r.name}` | {r.stride or 'kernel'} | {r.divisor} | {r.edge} | {'norms' if r.norms else 'means'} |"
        f" {r.rounding} | {r.index_layout} | {r.peer} | {r.differs} |"
        for r in RULE_SETS.values()
    )
    return f"\n{head}{rows}\n"


def reads():
    return (
        ", ".join(row.name for row in FORMATS)
        + " (written: all but "
        + " and ".join(r.name for r in FORMATS if not r.writes)
        + ")"
    )


def batch():
    """The table of `tests/perf/batch.py`, once it has been run."""
    path = PERF / "batch.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    jobs, peaks = found["environment"]["jobs"], found["peak_megabytes"]
    rows = "\n".join(
        f"| {name} | {seconds:.1f} s | {found['ratios'].get(name, 1):.2f} |"
        for name, seconds in found["medians"].items()
    )
    return (
        f"\n\n{found['photos']} JPEG and PNG photos of {found['megapixels']:.0f} Mpix on {jobs} processors "
        f"({found['environment']['cpu']}), medians of {found['rounds']} runs; peak memory "
        + ", ".join(f"{peak:.0f} MB for {count} photos" for count, peak in peaks.items())
        + f".\n\n| | time | to ours |\n|---|---|---|\n{rows}\n"
    )


HEADLINE = PERF / "headline.md"
SHORT = ("max", "avg"), ("k2s2", "k3s2", "k3s1", "k31s1")  # methods and windows that a reader compares


def headline():
    """What ``poolcli bench --preset headline`` has measured."""
    return document.from_json((PERF / "headline.json").read_bytes())


def benchmark():
    """The rows of its table that a reader compares."""
    found = headline()
    kept = tuple(t for t in found.timings if t.case.method in SHORT[0] and window_token(t.case.window) in SHORT[1])
    return f"\n{tables.overview(replace(found, timings=kept))}\n\nAll rows are in `tests/perf/{HEADLINE.name}`.\n"


def advice():
    """What `poolcli.compare` says of a photograph, of a label map, and of the photograph with noise."""
    photo, labels = (
        poolcli.read(README.parent / "samples" / f"{name}.png") for name in ("photo_rgb", "labels_palette")
    )
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 20, photo.shape), 0, 255).astype(np.uint8)
    rows = []
    for name, picture, options in (
        ("a photograph", photo, {}),
        ("a label map", labels, {"labels": True}),
        ("the photograph with noise", noisy, {}),
    ):
        found = poolcli.compare(picture, ["max", "avg"], ["k2"], layout="HWC", engine="numpy", **options).advice
        rows.append(f"| {name} | `{found.choice}` | {found.because} | {found.not_if} |\n")
    return f"\n| | choose | because | not if |\n|---|---|---|---|\n{''.join(rows)}"


def rendered(text):
    parts = {
        "methods": methods(),
        "rules": rules(),
        "reads": reads(),
        "batch": batch(),
        "advice": advice(),
        "benchmark": benchmark(),
    }
    for name, part in parts.items():
        text = re.sub(
            rf"(<!-- {name} -->).*?(<!-- end -->)", lambda m, part=part: m[1] + part + m[2], text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
    HEADLINE.write_text(f"{tables.overview(headline())}\n", encoding="utf-8")
