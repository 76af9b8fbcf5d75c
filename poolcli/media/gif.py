"""GIF, by Pillow, which chooses the colours."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.media import pillow
from poolcli.media.pictures import fill, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Later, Meta, Source

_MOST = 2731  # pixels of a byte: a code of 12 bits stands for at most 4096


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of the first frame on its canvas."""
    image = pillow.open(data, "Gif")
    limit(image.height, image.width, max_pixels)
    fill("gif", len(data), image.height, image.width, _MOST)
    return pillow.source(image, data, "gif")


def encode(pixels: NDArray[Any], meta: Meta, later: Later = ()) -> list[Buffer]:
    """Return the buffers of a file of uint8 pixels."""
    if meta.palette:
        return _indices(pixels, meta)
    disposal = 2 if pixels.shape[2:] == (4,) else None  # what is not there must not show the frame before
    return pillow.encode(pixels, ".gif", meta, later, comment=meta.comment, disposal=disposal)


def _indices(pixels: NDArray[Any], meta: Meta) -> list[Buffer]:
    """Return the file of indices that stay what they are, which Pillow alone can be told."""
    from PIL import Image

    colours = np.frombuffer(meta.palette or b"", np.uint8).reshape(-1, 4)
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.putpalette(colours[:, :3].tobytes())
    clear = np.flatnonzero(colours[:, 3] == 0)
    options = {"transparency": int(clear[0])} if clear.size else {}
    image.save(file, "GIF", optimize=False, comment=meta.comment or "", **options)
    return [file.getvalue()]
