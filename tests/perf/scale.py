"""How long a `.npy` takes and how much it holds, pooled in bands and whole in memory.

``python tests/perf/scale.py`` makes a uint16 `.npy` of ``--gigabytes 4`` and pools it by ``--method avg -k 2``, each
time in a process of its own, ``--rounds 3`` times in turn with ``--max-memory 256M`` and with all of memory, and prints
medians of seconds and the most memory that a process held. ``--output tests/perf/scale.json`` keeps the figures;
``--gigabytes 0.1 --rounds 1`` shows that it works.
"""

# ruff: noqa: T201 -- a script talks
from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

COLUMNS = 32768
CHILD = """
import resource, sys, time
from poolcli.cli.app import run
begin = time.perf_counter()
code = run(sys.argv[1:])
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(code, time.perf_counter() - begin, most)
"""


def made(path, gigabytes):
    """Write an array of noise on a smooth ground, a part at a time."""
    rows = max(64, int(gigabytes * 1e9 / COLUMNS / 2) // 64 * 64)
    noise = np.random.default_rng(0).integers(0, 512, (64, COLUMNS), np.uint16)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": (rows, COLUMNS), "descr": "<u2", "fortran_order": False})
        file.writelines((noise + np.uint16(first % 60000)).data for first in range(0, rows, 64))
    return rows * COLUMNS * 2


def once(folder, limit, options):
    """Return the seconds that one run takes and the bytes that it holds at the most."""
    out = folder / "out.npy"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-c", CHILD, "pool", folder / "in.npy", "-o", out, "--max-memory", limit, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    code, seconds, most = done.stdout.split()[-3:]
    assert code == "0", done.stderr
    return float(seconds), int(most)


def main():
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--gigabytes", type=float, default=4.0)
    asked.add_argument("--max-memory", default="256M")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--output", type=Path)
    asked.add_argument("options", nargs="*", default=["-m", "avg", "-k", "2", "--dtype", "u16"])
    args = asked.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = made(folder / "in.npy", args.gigabytes)
        limits = {f"bands, {args.max_memory}": args.max_memory, "whole in memory": "900G"}
        runs = {label: [] for label in limits}
        for _ in range(args.rounds + 1):  # the first fills the caches
            for label, limit in limits.items():
                runs[label].append(once(folder, limit, args.options))
    figures = {
        label: {
            "seconds": statistics.median(seconds for seconds, _ in found[1:]),
            "peak_mb": max(most for _, most in found) / 1e6,
        }
        for label, found in runs.items()
    }
    print(f"{size / 1e9:.2f} GB, {' '.join(args.options)}")
    for label, each in figures.items():
        print(f"{label:20} {each['seconds']:7.2f} s {each['peak_mb']:7.0f} MB")
    bands, whole = figures.values()
    print(f"bands take {bands['seconds'] / whole['seconds']:.2f} of the time")
    if args.output:
        told = {"bytes": size, "options": args.options, "rounds": args.rounds, "machine": platform.platform()}
        args.output.write_text(json.dumps(told | {"figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
