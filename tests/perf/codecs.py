"""How fast PNG and JPEG are read and written with Pillow, with imagecodecs, and by poolcli, on one thread and on two.

``python tests/perf/codecs.py`` runs every contender in turn, round by round, and compares medians: seconds of one
picture, seconds of two pictures on two threads, and bytes. ``--output tests/perf/codecs.json`` keeps the figures;
``--rounds 1 --sizes 833x1200`` shows that it works.
"""

# ruff: noqa: T201 -- a script talks
from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from poolcli.media import contents, formats

PHOTO = Path(__file__).parents[2] / "samples" / "photo_rgb.png"
META = contents.Meta()


def pillow_read(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def pillow_write(pixels, form, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def ours(pixels, name):
    return b"".join(contents.encode(pixels, formats.by_name(name), META))


def read(data):
    return contents.decode(data, max_pixels=10**9).pixels


def contenders(light):
    """Return, by job and contender, what does one picture of *light* from 0 to 1."""
    pixels, deep = (light * 255).round().astype(np.uint8), (light * 65535).round().astype(np.uint16)
    grey = deep[:, :, 1].copy()
    jpeg = pillow_write(pixels, "JPEG", quality=90)
    jobs = {
        "read jpeg": {
            "pillow": lambda: pillow_read(jpeg),
            "imagecodecs": lambda: imagecodecs.jpeg8_decode(jpeg),
            "poolcli": lambda: read(jpeg),
        },
        "write jpeg": {
            "pillow": lambda: pillow_write(pixels, "JPEG", quality=90, subsampling=2),
            "imagecodecs": lambda: imagecodecs.jpeg8_encode(pixels, 90, subsampling="420"),
            "poolcli": lambda: ours(pixels, "jpeg"),
        },
    }
    for kind, samples in (("8-bit RGB", pixels), ("16-bit RGB", deep), ("16-bit grey", grey)):
        png = ours(samples, "png")
        jobs[f"read {kind} png"] = {
            "imagecodecs": lambda png=png: imagecodecs.png_decode(png),
            "poolcli": lambda png=png: read(png),
        }
        jobs[f"write {kind} png"] = {
            "imagecodecs, level 6": lambda samples=samples: imagecodecs.png_encode(samples, 6),
            "imagecodecs, level 3": lambda samples=samples: imagecodecs.png_encode(samples, 3),
            "libspng, level 3": lambda samples=samples: imagecodecs.spng_encode(samples, 3),
            "poolcli": lambda samples=samples: ours(samples, "png"),
        }
        if kind != "16-bit RGB":  # which Pillow has no room for
            jobs[f"read {kind} png"]["pillow"] = lambda png=png: pillow_read(png)
            jobs[f"write {kind} png"]["pillow"] = lambda samples=samples: pillow_write(samples, "PNG", compress_level=6)
        else:
            del jobs[f"write {kind} png"]["libspng, level 3"]
    return jobs


def race(runs, rounds, pool):
    """Return the seconds of each contender, alone and as two at once, and the bytes of what it returned."""
    alone, both, size = ({name: [] for name in runs} for _ in range(3))
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            result = run()
            alone[name].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            list(pool.map(lambda call: call(), [run, run]))
            both[name].append(time.perf_counter() - begin)
            size[name].append(len(result) if isinstance(result, bytes) else result.nbytes)
    return {
        name: {
            "seconds": statistics.median(alone[name]),
            "least": min(alone[name]),
            "two_threads": statistics.median(both[name]),
            "bytes": size[name][0],
        }
        for name in runs
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", nargs="+", default=["833x1200", "2048x3072"], help="rows x columns")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    figures = {}
    with Image.open(PHOTO) as photo, ThreadPoolExecutor(2) as pool:
        for size in options.sizes:
            rows, columns = map(int, size.split("x"))
            grain = np.random.default_rng(0).normal(0, 2, (rows, columns, 3))  # enlarging left none
            light = ((np.asarray(photo.resize((columns, rows))) + grain) / 255).clip(0, 1)
            for job, runs in contenders(light).items():
                found = race(runs, options.rounds, pool)
                figures[f"{job} {size}"] = found
                print(f"{job} {size}")
                base = found["poolcli"]
                for name, entry in found.items():
                    print(
                        f"  {name:20} {entry['seconds'] * 1e3:8.1f} ms (least {entry['least'] * 1e3:.1f}),"
                        f" {entry['seconds'] / base['seconds']:5.2f} x poolcli; two threads"
                        f" {2 * entry['seconds'] / entry['two_threads']:.2f} x as fast;"
                        f" {entry['bytes'] / base['bytes']:.3f} x its bytes"
                    )
    if options.output:
        about = {
            "machine": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "rounds": options.rounds,
        }
        versions = {"imagecodecs": imagecodecs.version(), "pillow": Image.__version__}
        options.output.write_text(json.dumps({**about, **versions, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
