"""Proves that another program, libvips, finds in the files that are written what was put there."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

import poolcli

VIPS, HEADER = shutil.which("vips"), shutil.which("vipsheader")
pytestmark = pytest.mark.skipif(VIPS is None, reason="libvips-tools is not installed")

DTYPES = {"uchar": "uint8", "char": "int8", "ushort": "uint16", "int": "int32", "uint": "uint32", "float": "float32"}
EXACT = [  # format, dtype, channels
    *(("png", dtype, channels) for dtype in ("uint8", "uint16") for channels in (1, 2, 3, 4)),
    *(("tiff", dtype, channels) for dtype in ("int8", "uint16", "int32", "uint32", "float32") for channels in (1, 3)),
    *(("tiff", "uint8", channels) for channels in (1, 2, 3, 4, 5)),
    *(("pnm", dtype, channels) for dtype in ("uint8", "uint16") for channels in (1, 3)),  # PFM it reads upside down
    ("webp", "uint8", 3),
    ("webp", "uint8", 4),
    ("jpeg2000", "uint8", 3),
    ("jpeg2000", "uint16", 1),
]


def noise(dtype, channels):
    values = np.random.default_rng(channels).integers(0, 100, (23, 37, channels))
    top = np.iinfo(dtype).max // 100 if np.dtype(dtype).kind in "ui" else 0.01
    return (values * top).astype(dtype)


def told(name, *options):
    return subprocess.check_output([HEADER, *options, name], text=True)


def seen(name):
    """Return what libvips decodes."""
    fields = dict(line.split(": ", 1) for line in told(name, "-a").splitlines() if ": " in line)
    subprocess.run([VIPS, "rawsave", name, "seen.raw"], check=True, capture_output=True)
    shape = [int(fields[side]) for side in ("height", "width", "bands")]
    return np.fromfile("seen.raw", DTYPES[fields["format"]]).reshape(shape)


@pytest.mark.parametrize(("name", "dtype", "channels"), EXACT)
def test_what_is_written_without_loss_is_found(monkeypatch, tmp_path, name, dtype, channels):
    monkeypatch.chdir(tmp_path)
    pixels = noise(dtype, channels)
    poolcli.write("x", pixels if channels > 1 else pixels[:, :, 0], format=name)
    found = seen("x")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("name", ["jpeg", "webp", "gif", "avif"])
def test_what_is_written_with_loss_is_much_the_same(monkeypatch, tmp_path, samples, name):
    monkeypatch.chdir(tmp_path)
    pixels = poolcli.pool(poolcli.read(samples / "photo_rgb.png"), "avg", kernel=4, layout="HWC", dtype="uint8")
    poolcli.write("x", pixels, format=name, quality=None if name == "gif" else 90)
    found = seen("x")[:, :, :3]
    assert found.shape == pixels.shape
    assert np.abs(found.astype(int) - pixels).mean() < 5


def test_a_phones_picture_lies_upright_with_its_profile(monkeypatch, tmp_path, samples, cli):
    monkeypatch.chdir(tmp_path)
    source = samples / "photo_exif6_icc.jpg"
    assert cli("pool", source, "-m", "avg", "-k", "2", "-o", "x.jpg").code == 0
    subprocess.run([VIPS, "autorot", source, "turned.png"], check=True, capture_output=True)
    turned, found = seen("turned.png"), seen("x.jpg")
    rows, columns = (side // 2 * 2 for side in turned.shape[:2])
    means = turned[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2, 3).mean((1, 3))
    assert np.abs(found - means).mean() < 3
    profiles = [told(each, "-f", "icc-profile-data") for each in (source, "x.jpg")]
    assert profiles[0] == profiles[1]
    assert profiles[0]
