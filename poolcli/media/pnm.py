"""PBM, PGM, PPM and PFM: a few words and the samples; Pillow reads the samples that are words, too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import pillow
from poolcli.media.pictures import Meta, Source, header, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

_WORD = rb"(?:\s|#[^\n]*\n)+(\d{1,9})"
_BYTES = re.compile(rb"P([56])" + 3 * _WORD + rb"\s")
_FLOATS = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+(-?\d{1,9}(?:\.\d{0,9})?)\s")


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture."""
    if found := _FLOATS.match(data):
        dtype = np.dtype("<f4" if found[4].startswith(b"-") else ">f4")
        return _plain(data, found, dtype, max_pixels, 3 if found[1] == b"F" else 1, down=False)
    found = _BYTES.match(data)
    if found and 255 < int(found[4]) < 65536:
        return _plain(data, found, np.dtype(">u2"), max_pixels, 3 if found[1] == b"6" else 1)
    image = pillow.open(data, "Ppm")
    limit(image.height, image.width, max_pixels)
    maxval = getattr(image, "tile")[0].args  # noqa: B009 - its type knows no tiles
    if image.mode == "RGB" and isinstance(maxval, tuple) and int(maxval[1]) > 255:
        raise InputError("16-bit colour as words is not supported in this format", "convert it to TIFF")
    return pillow.source(image, data, "pnm")


def _plain(
    data: bytes, found: re.Match[bytes], dtype: np.dtype[Any], max_pixels: int, channels: int, *, down: bool = True
) -> Source:
    """Return the source of samples that follow the header; rows go *down*, or up."""
    columns, rows = int(found[2]), int(found[3])
    limit(rows, columns, max_pixels)
    count = rows * columns * channels
    if not count or len(data) - found.end() < count * dtype.itemsize:
        raise InputError("damaged or truncated pnm: image file is truncated")
    bits = 32 if dtype.kind == "f" else int(found[4]).bit_length()
    promised = header("pnm", rows, columns, channels, dtype.newbyteorder("=").name, bits)

    def decode() -> NDArray[Any]:
        samples = np.frombuffer(data, dtype, count, found.end()).reshape(promised.shape)
        top = 1 if dtype.kind == "f" else int(found[4])
        if top != 2**bits - 1 and dtype.kind == "u":  # full light is any number
            samples = np.rint(samples.clip(0, top) * (2.0**bits - 1) / top).astype(np.uint16)
        return samples.astype(dtype.newbyteorder("="), copy=False)[:: 1 if down else -1]

    return Source(promised, decode, Meta())


def encode(pixels: NDArray[Any], _meta: Meta) -> list[Buffer]:
    """Return the buffers of a file of bool, uint8, uint16 or float32 pixels."""
    rows, columns = pixels.shape[:2]
    colour = pixels.ndim == 3
    if pixels.dtype == bool:
        return [b"P4\n%d %d\n" % (columns, rows), np.packbits(~pixels, axis=1).data]
    if pixels.dtype.kind == "f":
        return [b"P%s\n%d %d\n-1.0\n" % (b"F" if colour else b"f", columns, rows), pixels[::-1].astype("<f4").tobytes()]
    head = b"P%d\n%d %d\n%d\n" % (6 if colour else 5, columns, rows, np.iinfo(pixels.dtype).max)
    return [head, pixels.astype(f">u{pixels.itemsize}", copy=False).tobytes()]
