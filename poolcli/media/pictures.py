"""What pictures of all formats share: what is carried over, limits, and which way is up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from poolcli.errors import InputError, LimitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolcli.media.formats import Header


@dataclass(frozen=True, slots=True)
class Meta:
    r"""What is carried from one picture to the next beside its pixels.

    Attributes
    ----------
    icc
        Colour profile.
    exif
        EXIF block from `Exif\0\0` on, with the orientation reset, and without thumbnail and picture size.
    dpi
        Pixels per inch, (horizontal, vertical).
    mode
        Colour mode of the pixels, as in `Header`.
    subsampling
        Of a JPEG's colours: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    mode: str | None = None
    subsampling: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file of which only the header was read, and how to decode its array, the first of several.

    The `look` of a format returns it as the file has it, and `turned` as it will be when it is upright. *judge* returns
    the warnings that only the decoded array gives.
    """

    header: Header
    decode: Callable[[], NDArray[Any]]
    meta: Meta | None = None
    warnings: tuple[str, ...] = ()
    judge: Callable[[NDArray[Any]], tuple[str, ...]] = lambda _: ()


def turned(source: Source) -> Source:
    """Return the source with the size and resolution of the upright picture; a tensor stays as it is."""
    header, meta = source.header, source.meta
    if meta is None:
        return source
    dpi = meta.dpi if meta.dpi and all(math.isfinite(value) and value > 0 for value in meta.dpi) else None
    if header.orientation in {5, 6, 7, 8}:
        rows, columns, *channels = header.shape
        header = replace(header, shape=(columns, rows, *channels))
        dpi = dpi and dpi[::-1]
    return replace(source, header=header, meta=replace(meta, dpi=dpi, mode=header.mode))


def upright(pixels: NDArray[Any], orientation: int | None) -> NDArray[Any]:
    """Return rows and columns turned and mirrored as an EXIF orientation (1 to 8) asks; a view."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in {2, 3, 6, 7} else pixels


def limit(rows: int, columns: int, max_pixels: int, channels: int = 1) -> None:
    """Refuse more pixels than the limit; every four channels beyond the first four count as one more picture."""
    pixels = rows * columns * max(1, math.ceil(channels / 4))
    if pixels > max_pixels:
        size = f"{rows}x{columns}" + (f"x{channels}" if channels > 4 else "")
        raise LimitError(f"{size} are {pixels} pixels, more than the limit of {max_pixels}", f"max_pixels={pixels}")


def fill(format: str, data: bytes, rows: int, columns: int, most: float) -> None:
    """Refuse a header that promises more pixels than one byte of the file can stand for, which is *most*.

    Decoders would make the picture first, or fill what is missing.
    """
    if len(data) * most < rows * columns:
        raise InputError(f"damaged or truncated {format}: {len(data)} bytes cannot hold {rows}x{columns} pixels")
