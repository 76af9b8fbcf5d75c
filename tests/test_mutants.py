"""Proves that whatever happens to a file, it is read or refused in words, and nobody else speaks."""

from __future__ import annotations

import io
import pickle
import resource
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from conftest import SAMPLES
from PIL import Image

from poolcli.errors import PoolError
from poolcli.media import contents

MEMORY = 4 * 2**30  # of addresses; libraries and threads take most of them
CHILD = """
import pickle, sys, traceback
from poolcli.errors import PoolError
from poolcli.media import contents
import imagecodecs, tifffile, imageio.v3
from PIL import AvifImagePlugin
for name, data in pickle.load(sys.stdin.buffer):
    try:
        contents.decode(data, max_pixels=10**6)
    except PoolError as error:
        assert "\\n" not in error.message and len(error.message) < 400
    except MemoryError:
        pass
    except BaseException:
        print(name, data[:2000].hex(), traceback.format_exc(), sep="\\n")
"""


def saved(form, mode="RGB", **options):
    y, x = np.mgrid[:24, :32]
    layers = np.stack([120 + 60 * np.sin(x / 5 + c) + 50 * np.cos(y / (4 + c)) for c in range(3)], -1)
    file = io.BytesIO()
    picture = Image.fromarray(layers.round().astype(np.uint8)).convert(mode)
    picture.save(file, form, **options)
    return file.getvalue()


def tiff(**options):
    file = io.BytesIO()
    tifffile.imwrite(file, np.random.default_rng(0).integers(0, 999, (24, 32, 3), np.uint16), **options)
    return file.getvalue()


def moving(form):
    frames = [Image.new("RGB", (16, 12), shade) for shade in ("red", "green", "blue")]
    file = io.BytesIO()
    frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=50)
    return file.getvalue()


def sources():
    """Return small files of every kind, and the samples that are not large."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    made = {
        "jpeg": saved("JPEG"),
        "progressive": saved("JPEG", progressive=True),
        "grey jpeg": saved("JPEG", "L"),
        "ink": saved("JPEG", "CMYK"),
        "webp": saved("WEBP"),
        "lossless": saved("WEBP", lossless=True),
        "gif": saved("GIF"),
        "bmp": saved("BMP"),
        "ppm": saved("PPM"),
        "png": saved("PNG"),
        "palette": saved("PNG", "P"),
        "avif": saved("AVIF"),
        "lzw": saved("TIFF", compression="tiff_lzw"),
        "fax": saved("TIFF", "1", compression="group4"),
        "tiff of jpeg": saved("TIFF", compression="jpeg"),
        "tiff of ycbcr": saved("TIFF", "YCbCr", compression="tiff_adobe_deflate"),
        "tiles": tiff(tile=(16, 16), compression="zlib", predictor=True, photometric="rgb"),
        "big": tiff(bigtiff=True, photometric="rgb", byteorder=">"),
        "jpeg xl": imagecodecs.jpegxl_encode(pixels, lossless=True),
        "jpeg 2000": imagecodecs.jpeg2k_encode(pixels, reversible=True),
        "qoi": imagecodecs.qoi_encode(pixels),
        **{f"moving {form}": moving(form) for form in ("GIF", "PNG", "WEBP")},
    }
    samples = {path.name: path.read_bytes() for path in SAMPLES.iterdir() if path.suffix != ".py"}
    return made | {name: data for name, data in samples.items() if len(data) < 200_000}


def mutants(count, seed):
    """Return files with bytes changed, cut out, put in twice, or cut off."""
    rng, found = np.random.default_rng(seed), [(name, bytes(data)) for name, data in sources().items()]
    for number in range(count):
        name, data = found[number % len(found)]
        broken = bytearray(data)
        head = min(len(data), 600 if rng.integers(2) else len(data))  # headers are where the trouble is
        kind, at = rng.integers(4), int(rng.integers(head))
        if kind == 0:
            for place in rng.integers(0, head, rng.integers(1, 9)):
                broken[place] = rng.integers(256)
        elif kind == 1:
            del broken[at : at + int(rng.integers(1, 40))]
        elif kind == 2:
            broken[at:at] = broken[at : at + int(rng.integers(1, 40))]
        else:
            broken[at : at + 4] = rng.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
            )
        yield name, bytes(broken)


def survive(files):
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=pickle.dumps(list(files)),
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "", "")


def test_a_thousand_mutants_are_read_or_refused():
    survive(mutants(1000, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
def test_twenty_thousand_mutants_are_read_or_refused(seed):
    survive(mutants(1000, seed))


@pytest.mark.parametrize("name", [path.name for path in sorted(SAMPLES.iterdir()) if path.suffix != ".py"])
def test_a_sample_cut_anywhere_is_refused_or_warned_of(name):
    data = (SAMPLES / name).read_bytes()
    lengths = {*range(1, min(len(data), 400), 37), *range(1, len(data), max(1, len(data) // 25)), len(data) - 1}
    for length in sorted(lengths):
        try:
            content = contents.decode(data[:length], max_pixels=10**7)
        except PoolError:
            continue
        assert content.warnings
