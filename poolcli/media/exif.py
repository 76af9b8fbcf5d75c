"""EXIF and XMP: the orientation that a picture asks for, and what is carried over to the next one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from PIL import Image

_ORIENTATION, _DETAILS, _GPS = 0x0112, 0x8769, 0x8825
_RESOLUTION = {282, 283, 296}
# Tags about how the old file stored its pixels, or about their place on a map: wrong for any other picture.
_STALE = frozenset(
    {*range(254, 270), *range(273, 282), *range(284, 296), 297, 301, *range(317, 348), *range(512, 533), 700}
    | {33550, 33922, 34264, 34377, 34675, *range(34735, 34738), 42112, 42113}
) - {_ORIENTATION}
_STALE_DESCRIPTIONS = ('{"shape"', "ImageJ=", "<?xml", "<OME")
_PICTURE_SIZE = (0xA002, 0xA003)


def read(load: Callable[[], Image.Exif]) -> tuple[int | None, bytes | None, tuple[str, ...]]:
    """Return the orientation, the block to carry over, and a warning when the data is damaged."""
    try:
        exif = load()
        orientation = exif.get(_ORIENTATION)
        block = _carried(exif)
    except Exception:  # noqa: BLE001 - parsers of untrusted tags raise anything, and pixels do not depend on them
        return None, None, ("EXIF data is damaged and was left out",)
    return orientation if orientation in range(1, 9) else None, block, ()


def parsed(block: bytes | None) -> Image.Exif:
    """Return the tags of a block, none without one, or raise where it is damaged."""
    from PIL import Image

    tags = Image.Exif()
    if block:
        tags.load(block)
    return tags


def of(image: Image.Image) -> Image.Exif:
    """Return what Pillow finds in a picture, or raise where it is damaged."""
    from PIL import Image

    parsed(image.info.get("exif"))  # raises, where Pillow has already failed once and forgotten it
    return Image.Image.getexif(image)  # the method of a PNG would decode the pixels first


def _carried(exif: Image.Exif) -> bytes | None:
    """Return the block for another picture; Pillow writes no second folder, where the thumbnail is."""
    for tag in list(exif):
        if tag in _STALE or (tag == 270 and str(exif[tag]).startswith(_STALE_DESCRIPTIONS)):
            del exif[tag]
    if not set(exif) - _RESOLUTION - {_ORIENTATION}:
        return None
    for details in _folders(exif)[1:]:
        for tag in _PICTURE_SIZE:
            details.pop(tag, None)
    if _ORIENTATION in exif:
        exif[_ORIENTATION] = 1
    exif.bigtiff = False
    return to_bytes(exif)


def oriented(block: bytes | None, orientation: int) -> bytes:
    """Return the block, or one that says nothing else, with an orientation."""
    exif = parsed(block)
    exif[_ORIENTATION] = orientation
    return to_bytes(exif)


def packet(xmp: bytes | str | None) -> bytes | None:
    """Return the XMP packet for another picture: upright, of another size, and without thumbnails."""
    if not xmp:
        return None
    data = xmp.encode() if isinstance(xmp, str) else xmp
    data = re.sub(rb"""(tiff:Orientation(?:=["']|>))[1-8]""", rb"\g<1>1", data)
    data = re.sub(rb"<(xmp:Thumbnails)\b.*?</\1>", b"", data, flags=re.DOTALL)
    data = re.sub(rb"<((?:%s))>\d+</\1>" % _XMP_SIZES, b"", data)
    return re.sub(rb"""\s(?:%s)=(["'])\d+\1""" % _XMP_SIZES, b"", data)


_XMP_SIZES = rb"exif:PixelXDimension|exif:PixelYDimension|tiff:ImageWidth|tiff:ImageLength"


class _Text(str):
    """A string that gives back the bytes it was read from: Pillow reads Latin-1, but asks for ASCII and "?"."""

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:  # noqa: ARG002
        return super().encode("latin-1")


def to_bytes(exif: Image.Exif, offset: int = 8) -> bytes:
    """Return the block, to stand at an offset from the TIFF header in front of it."""
    for folder in _folders(exif):
        for tag in list(folder):
            if isinstance(folder[tag], str):
                folder[tag] = _Text(folder[tag])
    return exif.tobytes(offset)


def _folders(exif: Image.Exif) -> list[MutableMapping[int, Any]]:
    """Return the tags themselves and the folders among them; Pillow makes an empty one of what it is asked for."""
    return [exif, *(exif.get_ifd(tag) for tag in (_DETAILS, _GPS) if tag in exif)]
