"""Whether `poolcli bench --baseline` tells a slower kernel from noise on this machine; takes a quarter of an hour.

Forty comparisons of unchanged code may give one regression at most; ten of code that is made 10 % slower on purpose
must give nine: ``python tests/perf/verdicts.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

# Python runs a module of this name at its start: each call of pooling is drawn out to SLOWER times its length
SLOWED = """\
import os
import time

if factor := os.environ.get("SLOWER"):
    from poolcli.core import pooling

    real = pooling.run

    def run(*arguments, **options):
        begin = time.perf_counter()
        found = real(*arguments, **options)
        end = begin + (time.perf_counter() - begin) * float(factor)
        while time.perf_counter() < end:
            pass
        return found

    pooling.run = run
"""
CASE = ["--size", "64x224x224:CHW:f32", "-m", "max", "-w", "k3s1", "--peers", "none", "--min-time", "0.5"]


def bench(folder, *options, slower=""):
    """Run a benchmark; return its exit code and what it says."""
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "SLOWER": slower}
    command = [sys.executable, "-m", "poolcli", "bench", *CASE, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if done.returncode not in {0, 6}:
        raise SystemExit(done.stderr)
    return done


def outcome(folder, number, slower=""):
    """Return the verdict of one comparison, of a fresh baseline with what comes after it."""
    bench(folder, "--export", f"{number}.json")
    said = bench(folder, "--baseline", f"{number}.json", slower=slower).stdout
    return next(word for word in ("regression", "improvement", "unchanged", "inconclusive") if word in said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--same", type=int, default=40)
    parser.add_argument("--slower", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(SLOWED, encoding="utf-8")
        same = Counter(outcome(folder, number) for number in range(asked.same))
        slower = Counter(outcome(folder, number, slower="1.1") for number in range(asked.slower))
    sys.stdout.write(json.dumps({"same": same, "slower": slower}) + "\n")
    if same["regression"] > 1 or slower["regression"] < 0.9 * asked.slower:
        raise SystemExit("verdicts cannot be trusted here")


if __name__ == "__main__":
    main()
