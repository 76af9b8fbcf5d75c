"""What tests of pictures share: small ones, files of them, and what must hold of whatever is read or refused."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from poolcli.errors import InputError, LimitError
from poolcli.media import contents
from poolcli.media.formats import by_name, check

LIMIT = 10**9
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(shape, dtype="uint8", seed=0):
    """Return reproducible values over the whole range of a dtype."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(0, 100, shape).astype(kind)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def scene(rows=40, columns=60, channels=3):
    """Return something smooth, as JPEG likes it."""
    y, x = np.mgrid[:rows, :columns]
    layers = [120 + 70 * np.sin(x / (9 + c) + c) + 50 * np.cos(y / (7 + c)) for c in range(channels)]
    return np.stack(layers, -1).round().clip(0, 255).astype(np.uint8)


def saved(picture, form, **options):
    """Return the file that Pillow writes."""
    file = io.BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(file, form, **options)
    return file.getvalue()


def tiff(array, **options):
    """Return the file that tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"metadata": None, **options})
    return file.getvalue()


def decode(data, max_pixels=LIMIT):
    data = bytes(data)
    content = contents.decode(data, max_pixels=max_pixels)
    assert content.header == contents.look(data, max_pixels=max_pixels).header
    assert content.header.shape == content.pixels.shape
    assert content.header.dtype == content.pixels.dtype.name
    return content


def encode(pixels, name="png", meta=None, quality=None):
    format_ = by_name(name)
    check(format_, pixels.shape, pixels.dtype.name, meta and meta.mode)
    return b"".join(contents.encode(pixels, format_, meta, quality=quality))


def refusal(data, kind=InputError):
    """Return the message with which decoding must refuse."""
    with pytest.raises(kind) as caught:
        contents.decode(bytes(data), max_pixels=LIMIT)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200
    return caught.value.message


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def refused_cut(data, lengths):
    """Check that a file is refused that is cut at any of these lengths."""
    for length in lengths:
        with pytest.raises(InputError):
            contents.decode(data[:length], max_pixels=LIMIT)


PYTHONS = re.compile(
    r"zip\(|index|not supported between|operand|' object|argument|subscript|unpack|: '?-?\d+'?$|NoneType"
)


def read_or_refused(data):
    """Check that a file with three wrong bytes is read, or refused in words for people."""
    rng = np.random.default_rng(7)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            broken[at] = rng.integers(0, 256)
        try:
            contents.decode(bytes(broken), max_pixels=10**6)
        except (InputError, LimitError) as error:
            assert "\n" not in error.message  # noqa: PT017 - either outcome is right, any other error is not
            assert not PYTHONS.search(error.message)  # noqa: PT017
