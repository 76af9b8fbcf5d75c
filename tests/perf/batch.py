"""How fast `poolcli batch` is beside the codecs' limit and beside other tools; writes ``batch.json`` beside itself.

``python tests/perf/batch.py`` makes its photos in a temporary folder, runs every contender in turn, round by round, and
compares medians. ``--photos 12 --rounds 1 --output /tmp/x.json`` shows that it works.
"""

# ruff: noqa: T201 -- a script talks
from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from poolcli.core.threads import usable_cpus
from poolcli.jobs.batch import keep_memory
from poolcli.media import contents, formats

ROOT = Path(__file__).parents[2]
ROWS, COLUMNS = 1224, 1632  # 2 Mpix
DISTINCT = 20
QUALITY = 90  # of every JPEG that a contender writes; PNG at zlib's level 6
KEPT = "codec limit, freed memory kept"  # as `poolcli batch` keeps it; beyond the goal
GOALS = {"codec limit": 0.9, "vips shrink": 1.5, "mogrify -scale": 2.5, "Pillow reduce": 1.3}


def photo(seed: int) -> Image.Image:
    """Return something that compresses like a photograph: large soft shapes, edges, and a little noise."""
    random = np.random.default_rng(seed)
    soft = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (COLUMNS, ROWS), Image.Resampling.BICUBIC
    )
    edges = Image.fromarray(random.integers(0, 256, (70, 93, 3), np.uint8)).resize(
        (COLUMNS, ROWS), Image.Resampling.NEAREST
    )
    mixed = 0.85 * np.asarray(soft, np.float32) + 0.15 * np.asarray(edges, np.float32)
    noise = random.normal(0, 2, (ROWS, COLUMNS, 1)).astype(np.float32)
    return Image.fromarray((mixed + noise).clip(0, 255).astype(np.uint8))


def make(folder: Path, count: int) -> None:
    """Write *count* photos, JPEG and PNG by turns."""
    folder.mkdir()
    for number in range(min(count, DISTINCT)):
        picture = photo(number)
        path = folder / f"{number:04}.{'png' if number % 2 else 'jpg'}"
        picture.save(path, quality=QUALITY) if path.suffix == ".jpg" else picture.save(path, compress_level=6)
    for number in range(DISTINCT, count):
        source = next(folder.glob(f"{number % DISTINCT:04}.*"))
        shutil.copy(source, folder / f"{number:04}{source.suffix}")


def command(photos: Path, out: Path, *arguments: str) -> None:
    """Run a program to its end."""
    filled = [part.format(photos=photos, out=out) for part in arguments]
    subprocess.run(filled, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def poolcli(photos: Path, out: Path, jobs: int) -> None:
    """Pool as a user would: a new process, cold but for the kernel cache."""
    command(
        photos, out, sys.executable, "-m", "poolcli", "batch", "{photos}", "-o", "{out}", "-m", "avg", "-k", "2",
        "-j", str(jobs), "-q",
    )  # fmt: skip


def vips(photos: Path, out: Path, jobs: int) -> None:
    """Shrink each photo by one process, so many at once."""
    out.mkdir()
    names = sorted(os.listdir(photos))
    lines = "\0".join(f"{name}\0{out / name}{f'[Q={QUALITY}]' if name.endswith('jpg') else ''}" for name in names)
    subprocess.run(
        [shutil.which("xargs"), "-0", f"-P{jobs}", "-n2", "sh", "-c", 'exec vips shrink "$0" "$1" 2 2'],
        input=lines.encode(), check=True, cwd=photos,
    )  # fmt: skip


def mogrify(photos: Path, out: Path, jobs: int) -> None:
    """Scale all photos by one process for each format; its threads are its own."""
    del jobs
    out.mkdir()
    jpegs, pngs = (sorted(map(str, photos.glob(glob))) for glob in ("*.jpg", "*.png"))
    command(photos, out, "mogrify", "-path", "{out}", "-scale", "50%", "-quality", str(QUALITY), *jpegs)
    command(photos, out, "mogrify", "-path", "{out}", "-scale", "50%", "-define", "png:compression-level=6", *pngs)


def reduced(path: Path, out: Path) -> None:
    """Reduce one photo by Pillow."""
    with Image.open(path) as picture:
        picture.reduce(2).save(out / path.name, quality=QUALITY)


def pillow(photos: Path, out: Path, jobs: int) -> None:
    """Reduce all photos by Pillow in a pool of processes, start and end of the pool included."""
    out.mkdir()
    with ProcessPoolExecutor(jobs) as pool:
        list(pool.map(partial(reduced, out=out), sorted(photos.iterdir())))


def limit(photos: Path, out: Path, jobs: int, *, keep: bool) -> float:
    """Return the seconds that the codecs alone take, in a process of its own whose start does not count."""
    arguments = [sys.executable, __file__, "--codecs", str(photos), str(out.with_name("pooled")), "--jobs", str(jobs)]
    done = subprocess.run([*arguments, *["--keep"] * keep], check=True, cwd=ROOT, stdout=subprocess.PIPE)
    return float(done.stdout)


def codecs_alone(photos: Path, pooled: Path, jobs: int) -> float:
    """Decode each photo and encode its pooled picture on so many threads: no pooling, no writing."""
    paths = sorted(photos.iterdir())
    small = {}
    for number, path in enumerate(paths[:DISTINCT]):
        small[number] = contents.decode((pooled / path.name).read_bytes(), max_pixels=10**9).pixels

    def one(path: Path) -> None:
        content = contents.decode(path.read_bytes(), max_pixels=10**9)
        format_ = formats.by_name(content.header.format)
        contents.encode(small[int(path.name[:4]) % DISTINCT], format_, content.meta)

    for path in paths[:2]:  # the libraries of both formats are loaded
        one(path)
    begin = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, paths))
    return time.perf_counter() - begin


def timed(contender, photos: Path, out: Path, jobs: int) -> float:
    """Return the seconds that a contender takes, from and to an empty folder, if it does not know better."""
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    known = contender(photos, out, jobs)
    return known or time.perf_counter() - begin


def peak(photos: Path, out: Path, jobs: int) -> float:
    """Return the most memory in MB that a run of ours held."""
    shutil.rmtree(out, ignore_errors=True)
    code = (
        "import sys; from poolcli.cli.app import run; assert run(sys.argv[1:]) == 0;"
        "lines = open('/proc/self/status').read().splitlines();"  # ru_maxrss would count what the parent held
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')), file=sys.stderr)"
    )
    arguments = ["batch", str(photos), "-o", str(out), "-m", "avg", "-k", "2", "-j", str(jobs), "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return int(done.stderr.split()[-1]) * 1024 / 1e6


def missing(tool: str) -> str | None:
    """Say so when a program is not there."""
    return None if shutil.which(tool) else f"{tool} is not installed"


def measure(photos: Path, work: Path, rounds: int, jobs: int) -> dict:
    """Return the seconds of each contender, round by round, and why others were left out."""
    pooled = work / "pooled"
    poolcli(photos, pooled, jobs)  # also fills the kernel cache, and the page cache with the photos
    contenders = {
        "poolcli batch": poolcli,
        "codec limit": partial(limit, keep=False),
        KEPT: partial(limit, keep=True),
        "Pillow reduce": pillow,
    }
    skipped = {}
    for name, tool, contender in (("vips shrink", "vips", vips), ("mogrify -scale", "mogrify", mogrify)):
        why = missing(tool) or (missing("xargs") if contender is vips else None)
        if why is None:
            contenders[name] = contender
        else:
            skipped[name] = why
            print(f"skipped {name}: {why}")
    seconds = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name].append(timed(contenders[name], photos, work / "out", jobs))
            print(f"round {number + 1}: {name} {seconds[name][-1]:.2f} s", flush=True)
    return {"seconds": seconds, "skipped": skipped}


def version(*arguments: str) -> str:
    """Return the first line of what a program says of itself."""
    try:
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "not installed"


def environment(jobs: int) -> dict:
    """Return what the figures depend on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    return {
        "cpu": cpu,
        "jobs": jobs,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": Image.__version__,
        "vips": version("vips", "--version"),
        "imagemagick": version("mogrify", "--version"),
    }


def main() -> None:
    """Make, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=usable_cpus())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--codecs", nargs=2, type=Path, help=argparse.SUPPRESS)  # photos and their pooled pictures
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.codecs:
        if asked.keep:
            keep_memory()
        print(codecs_alone(*asked.codecs, asked.jobs))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photos, few = work / "photos", work / "few"
        make(photos, asked.photos)
        make(few, max(4, asked.photos // 3))
        found = measure(photos, work, asked.rounds, asked.jobs)
        peaks = {str(len(list(some.iterdir()))): peak(some, work / "out", asked.jobs) for some in (few, photos)}
    medians = {name: statistics.median(values) for name, values in found["seconds"].items()}
    ours = medians["poolcli batch"]
    document = {
        "photos": asked.photos,
        "megapixels": ROWS * COLUMNS / 1e6,
        "rounds": asked.rounds,
        "environment": environment(asked.jobs),
        **found,
        "medians": medians,
        "ratios": {name: value / ours for name, value in medians.items() if name != "poolcli batch"},
        "goals": GOALS,
        "peak_megabytes": peaks,
    }
    asked.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for name, ratio in document["ratios"].items():
        print(f"{name}: {ratio:.2f}, goal {GOALS.get(name, 'none')}")
    print(f"peak memory in MB by number of photos: {peaks}")


if __name__ == "__main__":
    main()
