"""JPEG XL, by libjxl in imagecodecs' build."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from poolcli.errors import InputError
from poolcli.media import boxes, exif
from poolcli.media.pictures import Meta, Source, header, limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer


class _Bits:
    """The bits of a header, least significant first, and the numbers that ISO/IEC 18181-1 makes of them."""

    def __init__(self, data: bytes) -> None:
        self._bits: int = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the number that the next bits are."""
        self._left -= count
        if self._left < 0:
            raise InputError("damaged or truncated jpegxl: its header is not complete")
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def number(self, *kinds: tuple[int, int]) -> int:
        """Return the number of one of four kinds: so much, and so many bits more."""
        least, count = kinds[self.take(2)]
        return least + self.take(count)

    def size(self) -> tuple[int, int]:
        """Return rows and columns."""
        small = self.take(1)

        def side() -> int:
            return 8 * (1 + self.take(5)) if small else self.number((1, 9), (1, 13), (1, 18), (1, 30))

        rows, ratio = side(), self.take(3)
        across, down = _RATIOS[ratio]
        return rows, rows * across // down if ratio else side()


_RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))


def look(data: bytes, max_pixels: int) -> Source:
    """Return the source of a picture, which its decoder turns upright."""
    import imagecodecs

    code, meta = data, Meta()
    if not data.startswith(b"\xff\x0a"):
        parts = {kind: data[first:last] for kind, first, last in boxes.walk(data)}
        code = parts.get(b"jxlc") or parts.get(b"jxlp", b"")[4:]
        block = parts.get(b"Exif") and exif.read(partial(exif.parsed, b"Exif\0\0" + parts[b"Exif"][4:]))[1]
        meta = Meta(exif=block, xmp=exif.packet(parts.get(b"xml ")))
    bits = _Bits(code[2:256])
    rows, columns = bits.size()
    limit(rows, columns, max_pixels)
    turned, depth, floats, colours, alpha, plain = _kinds(bits)
    if turned > 4:
        rows, columns = columns, rows
    dtype = f"float{depth}" if floats else "uint8" if depth <= 8 else "uint16"
    warnings = () if plain else ("its colour profile is not read: its colours are taken for sRGB",)
    return Source(
        header("jpegxl", rows, columns, colours + alpha, dtype, depth),
        partial(imagecodecs.jpegxl_decode, data),
        meta,
        warnings,
    )


def _kinds(bits: _Bits) -> tuple[int, int, bool, int, bool, bool]:
    """Return orientation, bits of a sample, whether it is a float, colours, whether there is alpha, and it is sRGB."""
    if bits.take(1):  # all is as usual
        return 1, 8, False, 3, False, True
    turned = 1
    if bits.take(1):
        turned = 1 + bits.take(3)
        if bits.take(1):
            bits.size()
        if bits.take(2):
            raise InputError("jpegxl with a preview or animation is not supported")
    floats = bool(bits.take(1))
    depth = bits.number(*([(32, 0), (16, 0), (24, 0), (1, 6)] if floats else [(8, 0), (10, 0), (12, 0), (1, 6)]))
    if floats:
        bits.take(4)
    if depth not in ({16, 32} if floats else range(1, 17)):
        raise InputError(f"jpegxl of {depth} bits is not supported")
    bits.take(1)
    extra = bits.number((0, 0), (1, 0), (2, 4), (1, 12))
    if extra > 1 or (extra and not bits.take(1) and not _alpha(bits)):
        raise InputError("jpegxl with channels other than colours and alpha is not supported")
    grey, plain = _colours(bits, in_xyb=bool(bits.take(1)))
    return turned, depth, floats, 1 if grey else 3, bool(extra), plain


def _colours(bits: _Bits, *, in_xyb: bool) -> tuple[bool, bool]:
    """Return whether pixels are grey, and whether they are decoded to the white and the primaries of sRGB."""
    if bits.take(1):
        return False, True
    if bits.take(1):  # a profile; what is coded in XYB is then decoded to sRGB
        return False, in_xyb
    grey = bits.number(*_ENUM) == 1
    return grey, bits.number(*_ENUM) == 1 and (grey or bits.number(*_ENUM) == 1)


def _alpha(bits: _Bits) -> bool:
    """Tell whether an extra channel is alpha, and skip what is said of it."""
    if bits.number(*_ENUM) != 0:
        return False
    if bits.take(1):
        bits.take(4 + 0 * bits.number((32, 0), (16, 0), (24, 0), (1, 6)))
    else:
        bits.number((8, 0), (10, 0), (12, 0), (1, 6))
    bits.number((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.number((0, 0), (0, 4), (16, 5), (48, 10))):
        bits.take(8)
    return not bits.take(1)  # colours are not multiplied by it


def encode(pixels: NDArray[Any], meta: Meta, quality: int | None, effort: str = "7") -> list[Buffer]:
    """Return the buffers of a file, lossless without a quality."""
    import imagecodecs

    lossless = quality is None
    boxed = bool(meta.exif or meta.xmp)
    data = imagecodecs.jpegxl_encode(pixels, quality, effort=int(effort), lossless=lossless, usecontainer=boxed)
    parts: list[Buffer] = [data]
    if meta.exif:
        parts.append(boxes.box(b"Exif", struct.pack(">I", 0) + meta.exif.removeprefix(b"Exif\0\0")))
    if meta.xmp:
        parts.append(boxes.box(b"xml ", meta.xmp))
    return parts
