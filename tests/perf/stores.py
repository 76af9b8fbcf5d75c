"""How long a Zarr takes, beside copying the same arrays through the same library and beside Dask's coarsen.

``python tests/perf/stores.py`` makes a sharded uint16 Zarr of ``--gigabytes 3.2`` and halves it by windows of 2x2, each
way in a process of its own, ``--rounds 3`` times in turn; it prints medians of seconds and the most memory that one
process held. ``--output tests/perf/stores.json`` keeps the figures; ``--gigabytes 0.3 --rounds 1`` shows that it works.
"""

# ruff: noqa: T201 -- a script talks
from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr

CHUNK, SHARD, COLUMNS = 1024, 4096, 32768
FORM = {"chunks": (CHUNK, CHUNK), "shards": (SHARD, SHARD), "compressors": zarr.codecs.ZstdCodec(level=1)}
COPY = f"""
import numpy as np, zarr
from concurrent.futures import ThreadPoolExecutor
a = zarr.open("in.zarr", mode="r")
b = zarr.create_array("out.zarr", shape=[n // 2 for n in a.shape], dtype=a.dtype, chunks=a.chunks, shards=a.shards,
                      compressors=a.compressors, config={{"write_empty_chunks": True}})
def one(at):
    i, j = at
    part = a[2 * i : 2 * i + {2 * SHARD}, 2 * j : 2 * j + {2 * SHARD}]
    b[i : i + {SHARD}, j : j + {SHARD}] = np.ascontiguousarray(part[::2, ::2])
with ThreadPoolExecutor(2) as pool:
    list(pool.map(one, [(i, j) for i in range(0, b.shape[0], {SHARD}) for j in range(0, b.shape[1], {SHARD})]))
"""
COARSEN = f"""
import dask, dask.array as da, numpy as np, zarr
a = zarr.open("in.zarr", mode="r")
b = zarr.create_array("out.zarr", shape=[n // 2 for n in a.shape], dtype=a.dtype, chunks=a.chunks, shards=a.shards,
                      compressors=a.compressors)
x = da.from_array(a, chunks=({2 * SHARD}, {2 * SHARD}))
y = da.coarsen(np.mean, x, {{0: 2, 1: 2}}).round().astype(a.dtype)
with dask.config.set(scheduler="threads", num_workers=2):
    da.store(y, b, lock=False)
"""
POOL = "import sys\nfrom poolcli.cli.app import run\nif __name__ == '__main__':\n    sys.exit(run({0!r}))\n"
CHILD = """
import resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.call([sys.executable, "way.py"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(code, time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def ways():
    """Return the program of each contender."""
    avg = ["in.zarr", "-m", "avg", "-o", "out.zarr"]
    call = ["pool", *avg, "-k", "2", "--dtype", "u16", "-t", "2"]
    found = {
        "copy through zarr": COPY,
        "poolcli pool": POOL.format(call),
        "poolcli pool --on processes:2": POOL.format([*call, "--on", "processes:2"]),
        "poolcli pyramid --levels 1": POOL.format(["pyramid", *avg, "--levels", "1", "-t", "2"]),
        "poolcli pyramid --levels 5": POOL.format(["pyramid", *avg, "--levels", "5", "-t", "2"]),
    }
    return found | {"dask.array.coarsen": COARSEN}


def made(path, gigabytes):
    """Write noise on a smooth ground, a shard at a time."""
    rows = max(1, round(gigabytes * 1e9 / COLUMNS / 2 / SHARD)) * SHARD
    array = zarr.create_array(path, shape=(rows, COLUMNS), dtype="uint16", **FORM)
    rng = np.random.default_rng(0)
    for i in range(0, rows, SHARD):
        for j in range(0, COLUMNS, SHARD):
            ground = np.add.outer(np.arange(i, i + SHARD), np.arange(j, j + SHARD)) // 8
            array[i : i + SHARD, j : j + SHARD] = (ground + rng.integers(0, 256, (SHARD, SHARD))).astype("uint16")
    return rows * COLUMNS * 2


def once(folder, program):
    """Return the seconds that one way takes, and the bytes that one of its processes holds at the most."""
    shutil.rmtree(folder / "out.zarr", ignore_errors=True)
    (folder / "way.py").write_text(program)
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=folder, capture_output=True, text=True, check=True)
    code, seconds, most = done.stdout.split()
    assert code == "0", program
    return float(seconds), int(most)


def main():
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--gigabytes", type=float, default=3.2)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--output", type=Path)
    args = asked.parse_args()
    runs = {name: [] for name in ways()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = made(str(folder / "in.zarr"), args.gigabytes)
        for _ in range(args.rounds):
            for way, program in ways().items():
                runs[way].append(once(folder, program))
    figures = {
        way: {"seconds": statistics.median(s for s, _ in found), "peak_mb": max(most for _, most in found) / 1e6}
        for way, found in runs.items()
    }
    for way, each in figures.items():
        ratio = each["seconds"] / figures["copy through zarr"]["seconds"]
        print(f"{way:32} {each['seconds']:7.2f} s {ratio:6.2f} {each['peak_mb']:7.0f} MB")
    if args.output:
        told = {"bytes": size, "rounds": args.rounds, "machine": platform.platform()}
        args.output.write_text(json.dumps(told | {"figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
