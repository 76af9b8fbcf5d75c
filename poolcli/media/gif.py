"""GIF, read by Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcli.media import pillow
from poolcli.media.pictures import fill, limit

if TYPE_CHECKING:
    from poolcli.media.pictures import Source

_MOST = 2731  # pixels of a byte: a code of 12 bits stands for at most 4096


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of the first frame on its canvas."""
    image = pillow.open(data, "Gif")
    limit(image.height, image.width, max_pixels)
    fill("gif", data, image.height, image.width, _MOST)
    return pillow.source(image, data, "gif")
