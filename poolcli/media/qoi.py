"""QOI, by imagecodecs."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from poolcli.errors import InputError
from poolcli.media.pictures import Meta, Source, fill, header, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

_MOST = 62  # pixels that a byte repeats


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture."""
    import imagecodecs

    columns, rows, channels = struct.unpack_from(">IIB", data, 4)
    limit(rows, columns, max_pixels)
    fill("qoi", len(data), rows, columns, _MOST)
    if channels not in {3, 4} or not data.endswith(bytes(7) + b"\1"):
        raise InputError("damaged or truncated qoi: its end is missing")
    found = header("qoi", rows, columns, channels, "uint8", 8)
    return Source(found, partial(imagecodecs.qoi_decode, data), Meta())


def encode(pixels: NDArray[Any], _meta: Meta) -> list[Buffer]:
    """Return the file of RGB or RGBA bytes."""
    import imagecodecs

    return [imagecodecs.qoi_encode(pixels)]
