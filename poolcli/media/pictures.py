"""What pictures of all formats share: what is carried over, limits, and which way is up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, LimitError
from poolcli.media import exif
from poolcli.media.formats import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Change = Callable[[NDArray[Any]], NDArray[Any]]
    Later = Sequence[tuple[NDArray[Any], "Meta"]]  # more pages or frames


QUALITY = 90  # where nobody asks for another, and something is lost
FRAME = 100  # milliseconds that a frame is shown of which nobody says how long


@dataclass(frozen=True, slots=True)
class Meta:
    """What is carried from one picture to the next beside its pixels."""

    icc: bytes | None = None  # colour profile
    exif: bytes | None = None  # from "Exif" and two zeros on, upright, without thumbnail and picture size
    xmp: bytes | None = None  # packet, upright, without thumbnails and sizes
    comment: str | None = None  # words for people
    dpi: tuple[float, float] | None = None  # pixels per inch, (horizontal, vertical)
    duration: float | None = None  # milliseconds that a frame is shown
    loop: int | None = None  # how often frames are shown in all; 0 is for ever
    mode: str | None = None  # of the pixels, as in `Header`
    subsampling: int | None = None  # of a JPEG's colours: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0
    palette: bytes | None = None  # red, green, blue and alpha of each index, where those are the pixels
    lossy: bool = False  # whether a WebP lost some of its pixels, so that more may go unasked

    def kept(self, what: str, scale: tuple[float, float]) -> Meta:
        """Return all of it ("keep"), the profile alone ("icc") or none, where a pixel is now *scale* of the old.

        *scale* is down and across; the resolution changes with it, so that the picture keeps its size on paper.
        """
        if what != "keep":
            return replace(self, icc=self.icc if what == "icc" else None, exif=None, xmp=None, comment=None, dpi=None)
        return replace(self, dpi=self.dpi and (self.dpi[0] / scale[1], self.dpi[1] / scale[0]))


@dataclass(frozen=True, slots=True)
class Source:
    """A file of which only the header was read, and how to decode its array, the first of several.

    The `look` of a format returns it as the file has it. *judge* returns the warnings that only the decoded array
    gives; *changes* follow, one after the other, and give what the header says. *page* looks at a later one by its
    number from 0. *indexed* looks at the same picture as indices of its
    palette. *part* reads a box of the array as the file has it, where that can be done without the rest; *fortran* says
    that a file holds its first axis innermost, and *grain* how many rows are decoded at once.
    """

    header: Header
    decode: Callable[[], NDArray[Any]]
    meta: Meta | None = None
    warnings: tuple[str, ...] = ()
    judge: Callable[[NDArray[Any]], tuple[str, ...]] = lambda _: ()
    changes: tuple[Change, ...] = ()
    page: Callable[[int], Source] | None = None
    indexed: Callable[[], Source] | None = None
    part: Callable[[tuple[slice, ...]], NDArray[Any]] | None = None
    fortran: bool = False
    grain: int = 1

    def changed(self, header: Header, change: Change) -> Source:
        """Return the source of what *change* makes of the array, as *header* says."""
        return replace(self, header=header, changes=(*self.changes, change))


def settled(source: Source) -> Source:
    """Return the source with the mode of its pixels, and its resolution if that is one; a tensor stays as it is."""
    meta = source.meta
    if meta is None:
        return source
    dpi = meta.dpi if meta.dpi and all(math.isfinite(value) and value > 0 for value in meta.dpi) else None
    return replace(source, meta=replace(meta, dpi=dpi, mode=source.header.mode))


def turned(source: Source) -> Source:
    """Return the source of the upright picture; a tensor stays as it is."""
    header, orientation = source.header, source.header.orientation
    if orientation in {5, 6, 7, 8}:
        rows, columns, *channels = header.shape
        header = replace(header, shape=(columns, rows, *channels))
        if source.meta is not None and source.meta.dpi:
            source = replace(source, meta=replace(source.meta, dpi=source.meta.dpi[::-1]))
    if orientation in {None, 1}:
        return source
    return source.changed(header, partial(upright, orientation=orientation))


def tagged(source: Source) -> Source:
    """Return the source of the picture as it is stored, which still says which way is up."""
    if source.meta is None or source.header.orientation in {None, 1}:
        return source
    return replace(source, meta=replace(source.meta, exif=exif.oriented(source.meta.exif, source.header.orientation)))


def cropped(source: Source, box: tuple[int, ...]) -> Source:
    """Return the source of a part: of *box* are the left column, the top row, and how many columns and rows it has."""
    left, top, width, height = box
    rows, columns, *channels = source.header.shape
    if left + width > columns or top + height > rows:
        raise InputError(
            f"crop must lie within {columns} columns and {rows} rows, got {width} and {height} from {left},{top}"
        )
    header = replace(source.header, shape=(height, width, *channels))
    return source.changed(header, lambda pixels: pixels[top : top + height, left : left + width])


def flattened(source: Source, background: tuple[int, ...] | None) -> Source:
    """Return the source without alpha: over a *background* of 8 bits, or the colours as they are."""
    header, grey = source.header, background is None or len(set(background)) == 1
    if header.mode not in {"LA", "RGBA"}:
        return source
    channels = () if header.mode == "LA" and grey else (3,)
    flat = replace(header, shape=(*header.shape[:2], *channels), mode="RGB" if channels else "L")
    top = 1 if header.dtype.startswith("float") else 2 ** max(header.bits, 8) - 1
    meta = source.meta and replace(source.meta, mode=flat.mode)
    change = partial(_flat, shape=flat.shape, background=background, top=top)
    return replace(source, meta=meta).changed(flat, change)


def _flat(pixels: NDArray[Any], shape: tuple[int, ...], background: tuple[int, ...] | None, top: int) -> NDArray[Any]:
    colours, share = pixels[:, :, :-1], pixels[:, :, -1:] / top
    if background is not None:
        under = np.asarray(background) * (top / 255)
        mixed = colours * share + under * (1 - share)
        colours = (mixed if pixels.dtype.kind == "f" else np.rint(mixed)).astype(pixels.dtype)
    return colours[:, :, : math.prod(shape[2:])].reshape(shape)


def upright(pixels: NDArray[Any], orientation: int | None) -> NDArray[Any]:
    """Return rows and columns turned and mirrored as an EXIF orientation (1 to 8) asks; a view."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in {2, 3, 6, 7} else pixels


def header(format: str, rows: int, columns: int, channels: int, dtype: str, bits: int) -> Header:
    """Return the header of a picture: grey has no axis of channels, and every other is alpha."""
    shape = (rows, columns, channels)[: 3 if channels > 1 else 2]
    return Header(format, shape, dtype, {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(channels), bits)


def widened(pixels: NDArray[Any], *, colours: bool = True, alpha: bool = False) -> NDArray[Any]:
    """Return pixels as (rows, columns, channels) that have colours, or alpha, too."""
    layers = pixels.reshape(*pixels.shape[:2], -1)
    if colours and layers.shape[2] < 3:
        layers = np.concatenate([layers[:, :, :1]] * 3 + [layers[:, :, 1:]], axis=2)
    if alpha and layers.shape[2] in {1, 3}:
        opaque = 1 if layers.dtype.kind in "bf" else np.iinfo(layers.dtype).max
        layers = np.concatenate([layers, np.full_like(layers[:, :, :1], opaque)], axis=2)
    return layers


def limit(rows: int, columns: int, max_pixels: int, channels: int = 1) -> None:
    """Refuse more pixels than the limit; every four channels beyond the first four count as one more picture."""
    pixels = rows * columns * max(1, math.ceil(channels / 4))
    if pixels > max_pixels:
        size = f"{rows}x{columns}" + (f"x{channels}" if channels > 4 else "")
        raise LimitError(f"{size} are {pixels} pixels, more than the limit of {max_pixels}", f"max_pixels={pixels}")


def fill(format: str, size: int, rows: int, columns: int, most: float) -> None:
    """Refuse a header that promises more pixels than *size* bytes can stand for, of which each is *most*.

    Decoders would make the picture first, or fill what is missing.
    """
    if size * most < rows * columns:
        raise InputError(f"damaged or truncated {format}: {size} bytes cannot hold {rows}x{columns} pixels")
