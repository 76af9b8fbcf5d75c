"""What Pillow reads and writes, through imageio: whole formats, and the rare kinds of others.

Pixels pass through imageio with bytes and a named plugin, never a path or a guess; Pillow itself is asked for headers
and metadata only.
"""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media import exif
from poolcli.media.formats import Header
from poolcli.media.pictures import FRAME, Meta, Source, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageFile
    from typing_extensions import Buffer

    from poolcli.media.pictures import Later


def open(data: bytes, module: str) -> ImageFile.ImageFile:  # noqa: A001 - as in Pillow
    """Return a picture of which Pillow has read the header, by this module of Pillow's and no other."""
    from PIL import Image

    _settle()
    import_module(f"PIL.{module}ImagePlugin")  # named, because Pillow would otherwise import and try them all
    return Image.open(io.BytesIO(data), formats=(module.upper(),))


def _settle() -> None:
    """Put Pillow's process-wide switches where they cannot surprise; others may have moved them."""
    from PIL import Image, ImageFile

    Image.MAX_IMAGE_PIXELS = None  # our limit rules: Pillow's warns at one size and fails at twice that
    ImageFile.LOAD_TRUNCATED_IMAGES = False


# Pillow's mode: the mode to decode to, its dtype, its channels (none for grey), and the mode of the header.
_MODES: dict[str, tuple[str, str, tuple[int, ...], str]] = {
    "1": ("L", "uint8", (), "L"),
    "L": ("L", "uint8", (), "L"),
    "I;16": ("I;16", "uint16", (), "L"),
    "I": ("I;16", "uint16", (), "L"),  # 16-bit PGM
    "LA": ("LA", "uint8", (2,), "LA"),
    "P": ("RGB", "uint8", (3,), "RGB"),
    "RGB": ("RGB", "uint8", (3,), "RGB"),
    "RGBA": ("RGBA", "uint8", (4,), "RGBA"),
    "CMYK": ("CMYK", "uint8", (4,), "CMYK"),
}
# What the same modes are, when the file says which palette entry or grey is transparent.
_TRANSPARENT = {"1": _MODES["LA"], "L": _MODES["LA"], "P": _MODES["RGBA"]}


def source(image: Image.Image, data: bytes, format: str, opened: Any = None) -> Source:
    """Return what Pillow found in the file *data*, to be decoded by it, or by imageio's file that is *opened* there."""
    if image.mode not in _MODES:
        raise InputError(f"{image.mode} pixels are not supported")
    target, dtype, channels, mode = (image.has_transparency_data and _TRANSPARENT.get(image.mode)) or _MODES[image.mode]
    frames, damage = _frames(image)
    orientation, block, notes = exif.read(partial(exif.of, image))
    shape, bits = (image.height, image.width, *channels), {"1": 1, "I": 16}.get(image.mode, 8)
    header = Header(format, shape, dtype, mode, bits, frames, orientation)
    info = image.info
    comment = info.get("comment") or info.get("Comment")
    meta = Meta(
        info.get("icc_profile"), block, exif.packet(info.get("xmp")),
        comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment, info.get("dpi"),
        *((info.get("duration", FRAME), info.get("loop")) if frames > 1 else ()),
    )  # fmt: skip
    decode = partial(_decode, data, opened, image.tell(), None if target == image.mode else target)
    page = partial(_page, data, format, []) if frames > 1 else None
    found = Source(header, decode, meta, (*damage, *notes), page=page)
    return replace(found, indexed=partial(_indexed, image, data, found)) if image.mode == "P" else found


def _indexed(image: Image.Image, data: bytes, found: Source) -> Source:
    """Return the source of the indices of a palette; later frames have none."""
    header = replace(found.header, shape=found.header.shape[:2], mode="P")
    meta = found.meta and replace(found.meta, palette=_palette(image))
    return Source(header, partial(_decode, data, None, image.tell(), "P"), meta, found.warnings)


def _palette(image: Image.Image) -> bytes:
    """Return red, green, blue and alpha of each index."""
    colours = np.frombuffer(bytes(image.getpalette("RGBA") or b""), np.uint8).reshape(-1, 4).copy()
    clear = image.info.get("transparency")
    if isinstance(clear, bytes):
        colours[: len(clear), 3] = np.frombuffer(clear[: len(colours)], np.uint8)
    elif clear is not None and clear < len(colours):
        colours[clear, 3] = 0
    return colours.tobytes()


def _page(data: bytes, format: str, opened: list[Any], number: int) -> Source:
    """Return the source of a later frame; the file stays open, because frames build on those before."""
    import imageio.v3 as iio

    if not opened:
        opened.append(iio.imopen(data, "r", plugin=_plugin()))
    return source(opened[0].at(number), data, format, opened[0])


def _frames(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """Return how many pictures the file has, and a warning where counting them failed: the first may be sound."""
    try:
        return getattr(image, "n_frames", 1), ()
    except Exception:  # noqa: BLE001 - parsers of damaged files raise anything
        return 1, ("later frames are damaged",)


def look(data: bytes, max_pixels: int, *, format: str, module: str) -> Source:
    """Return the source of a picture that Pillow reads, by this module of it."""
    image = open(data, module)
    limit(image.height, image.width, max_pixels)
    return source(image, data, format)


def _decode(data: bytes, opened: Any, number: int, mode: str | None) -> NDArray[Any]:
    import imageio.v3 as iio

    with nullcontext(opened) if opened else iio.imopen(data, "r", plugin=_plugin()) as file:
        return np.asarray(file.read(index=number, mode=mode, writeable_output=False))


def encode(
    pixels: NDArray[Any], extension: str, meta: Meta | None = None, later: Later = (), **options: Any
) -> list[Buffer]:
    """Return the file that Pillow writes; options that are None are not given.

    *later* frames follow, and *meta* says how long the first is shown.
    """
    import imageio.v3 as iio

    _settle()
    if meta is not None and later:
        pixels = np.stack([pixels, *(frame for frame, _ in later)])
        durations = [FRAME if one.duration is None else one.duration for one in (meta, *(one for _, one in later))]
        options |= {"duration": [round(duration) for duration in durations], "loop": meta.loop}
    given = {name: value for name, value in options.items() if value is not None}
    with iio.imopen("<bytes>", "w", plugin=_plugin(), extension=extension) as file:
        return [file.write(pixels, is_batch=bool(later), **given)]


@cache
def _plugin() -> Any:
    from imageio.plugins.pillow import PillowPlugin

    class Pillow(PillowPlugin):
        """Imageio's plugin, but for reading all metadata with the pixels: damaged EXIF would cost them."""

        def metadata(self, *_: object, **__: object) -> dict[str, Any]:
            return {}

        def at(self, number: int) -> Image.Image:
            """Return the picture, at one of its frames."""
            image: Image.Image = self._image
            image.seek(number)
            image.load()  # only then a WebP says how long a frame is shown
            return image

    return Pillow
