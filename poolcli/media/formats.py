"""The formats: how each is recognised, and which pixels it can hold. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence  # noqa: TC003 - a field type of the record below
from dataclasses import dataclass

from poolcli.errors import InputError, UsageError

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")
NUMERIC = ("bool", *INTEGERS, *FLOATS)

_ANY = range(1, 65536)  # TIFF counts its channels in 16 bits


@dataclass(frozen=True, slots=True)
class Format:
    """One file format: names, and the pixels it can hold.

    Attributes
    ----------
    name
        The one name, as in `-F`, `--json` and messages.
    suffixes
        Lower case, with the dot; the first is the usual one.
    summary
        What a user should know, for `poolcli info --formats`.
    holds
        Pairs of a dtype (NumPy name) and the channel counts stored with it; empty when only read.
    cmyk
        The dtypes it stores as CMYK.
    picture
        Whether it holds a picture (HW or HWC) rather than a tensor.
    quality
        Default of `-Q`, for a format that loses unasked.
    qualities
        Whether `-Q` means anything.
    side
        Longest side in pixels, or None.
    """

    name: str
    suffixes: tuple[str, ...]
    summary: str
    holds: tuple[tuple[str, Sequence[int]], ...] = ()
    cmyk: tuple[str, ...] = ()
    picture: bool = True
    quality: int | None = None
    qualities: bool = False
    side: int | None = None

    @property
    def writes(self) -> bool:
        """Whether poolcli writes it; it reads every format."""
        return bool(self.holds)

    @property
    def lossy(self) -> bool:
        """Whether pixels change unasked."""
        return self.quality is not None

    @property
    def dtypes(self) -> tuple[str, ...]:
        """NumPy names of the dtypes it holds."""
        return tuple(dtype for dtype, _ in self.holds)

    @property
    def alpha(self) -> bool:
        """Whether it holds transparency."""
        return self.picture and self.fits("uint8", 4)

    def channels(self, dtype: str) -> Sequence[int]:
        """Return the channel counts it holds with *dtype*."""
        return dict(self.holds).get(dtype, ())

    def fits(self, dtype: str, channels: int, *, cmyk: bool = False) -> bool:
        """Tell whether it holds such pixels without loss."""
        if not self.picture:
            return dtype in self.dtypes
        return dtype in self.cmyk if cmyk else channels in self.channels(dtype)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says it holds, as the array will be: after orientation and expansion.

    Attributes
    ----------
    format
        Name of the format, by content.
    shape
        (rows, columns) or (rows, columns, channels) of a picture; any of a tensor.
    dtype
        NumPy name.
    mode
        Colour mode of the pixels ("L", "LA", "RGB", "RGBA", "CMYK"); None for tensors and more channels.
    bits
        Per sample in the file.
    frames
        Pictures in the file; the first is used.
    orientation
        EXIF orientation 1 to 8 that the file asks for, or None.
    """

    format: str
    shape: tuple[int, ...]
    dtype: str
    mode: str | None
    bits: int
    frames: int = 1
    orientation: int | None = None

    @property
    def picture(self) -> bool:
        """Whether the file is a picture rather than a tensor."""
        return by_name(self.format).picture


_GREY_COLOUR = (("bool", (1,)), ("uint8", (1, 3)))

FORMATS = (
    Format(
        "png",
        (".png", ".apng"),
        "lossless; bool is 1-bit",
        (("bool", (1,)), ("uint8", (1, 2, 3, 4)), ("uint16", (1, 2, 3, 4))),
    ),
    Format(
        "jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        "lossy, quality 90 unless -Q",
        (("uint8", (1, 3)),),
        cmyk=("uint8",),
        quality=90,
        qualities=True,
        side=65500,
    ),
    Format(
        "webp",
        (".webp",),
        "lossless unless -Q; grey is stored as RGB",
        (("uint8", (1, 2, 3, 4)),),
        qualities=True,
        side=16383,
    ),
    Format("bmp", (".bmp", ".dib"), "lossless, uncompressed; bool is 1-bit", _GREY_COLOUR),
    Format(
        "tiff",
        (".tif", ".tiff"),
        "lossless; integers compressed; every depth and channel count",
        tuple(
            (dtype, (1,) if dtype == "bool" else _ANY)
            for dtype in NUMERIC
            if dtype not in {"int64", "uint64"}  # hardly anything reads 64-bit integers in a TIFF
        ),
        cmyk=("uint8", "uint16"),
    ),
    Format(
        "pnm",
        (".pnm", ".ppm", ".pgm", ".pbm"),
        "lossless, uncompressed; bool is 1-bit; 16-bit grey only",
        (*_GREY_COLOUR, ("uint16", (1,))),
    ),
    Format("npy", (".npy",), "NumPy array of any shape", tuple((dtype, _ANY) for dtype in NUMERIC), picture=False),
    Format("gif", (".gif",), "read only, first frame"),
    Format("npz", (".npz",), "read only, one array or --key", picture=False),
)

_BY_NAME = {format_.name: format_ for format_ in FORMATS}
_BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}


def by_name(name: str) -> Format:
    """Return the format of a name or a suffix without its dot, in any case; UsageError for an unknown one."""
    key = name.lower()
    found = _BY_NAME.get(key) or _BY_SUFFIX.get(f".{key}")
    if found is None:
        known = [*_BY_NAME, *(suffix[1:] for suffix in _BY_SUFFIX)]
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else None
        raise UsageError(f"format must be one of {', '.join(_BY_NAME)}, got {name!r}", hint)
    return found


def by_suffix(name: str) -> Format | None:
    """Return the format that the end of a file name stands for, in any case, or None."""
    _, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(dot + suffix.lower())


def writable(format: Format) -> None:
    """Refuse, as a UsageError, a format that poolcli only reads."""
    if not format.writes:
        names = ", ".join(other.name for other in FORMATS if other.writes)
        other = "output=x.npy" if not format.picture else "format=png, or output=x.png"
        raise UsageError(f"output format must be one of {names}, got {format.name!r}", other)


def check(format: Format, shape: Sequence[int], dtype: str, mode: str | None = None) -> None:
    """Refuse pixels that a format would narrow or lose.

    Parameters
    ----------
    format
        The format to write.
    shape
        Shape of the array: (rows, columns) or (rows, columns, channels) for a picture.
    dtype
        NumPy name.
    mode
        "CMYK" when four channels are ink; otherwise not looked at.

    Raises
    ------
    InputError
        With a hint that names what can hold the pixels.
    """
    writable(format)
    if not format.picture:
        if dtype not in format.dtypes:
            raise InputError(f"{format.name} files cannot hold {dtype}", f"dtype={' or '.join(FLOATS)}")
        return
    if len(shape) not in {2, 3} or 0 in shape:
        raise InputError(f"{format.name} holds pictures (HW or HWC), not shape {tuple(shape)}", "format=npy")
    channels = shape[2] if len(shape) == 3 else 1
    cmyk = mode == "CMYK" and channels == 4
    if not format.fits(dtype, channels, cmyk=cmyk):
        kind = "CMYK" if cmyk else _CHANNELS.get(channels, f"{channels}-channel")
        raise InputError(
            f"{format.name} cannot hold {dtype} {kind} pixels", _remedy(format, dtype, channels, cmyk=cmyk)
        )
    if format.side and max(shape[:2]) > format.side:
        raise InputError(
            f"{format.name} cannot hold {shape[0]}x{shape[1]} pixels: a side has at most {format.side}",
            _remedy(format, dtype, channels, cmyk=cmyk),
        )


_CHANNELS = {1: "grey", 2: "grey-alpha", 3: "RGB", 4: "RGBA"}


def _remedy(refused: Format, dtype: str, channels: int, *, cmyk: bool) -> str:
    """Name the formats that hold these pixels, and the dtypes with which the refused one would."""
    able = [
        format_.name
        for format_ in FORMATS
        if format_ is not refused and format_.fits(dtype, channels, cmyk=cmyk) and not format_.lossy
    ]
    others = [
        other
        for other in refused.dtypes
        if other != "bool" and refused.fits(other, channels, cmyk=cmyk) and not refused.fits(dtype, channels, cmyk=cmyk)
    ]
    ways = f"format={' or '.join(able)}"
    return f"{ways}, or dtype={' or '.join(others)}" if others else ways


def sniff(head: bytes) -> Format:
    """Return the format of a file from its first bytes (512 are enough).

    Raises
    ------
    InputError
        Nothing that poolcli reads; the message says what it looks like, when that is known.
    """
    for name, marks in _MAGIC:
        if any(head[at : at + len(mark)] == mark for at, mark in marks):
            return _BY_NAME[name]
    if head[:2] == b"BM" and head[14:18] in _BMP_HEADERS:
        return _BY_NAME["bmp"]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _BY_NAME["webp"]
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#" and len(head) > 2:
        return _BY_NAME["pnm"]
    raise InputError("not a picture or tensor poolcli can read" + _likeness(head))


_MAGIC = (
    ("png", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ("jpeg", ((0, b"\xff\xd8\xff"),)),
    ("tiff", ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+"))),
    ("gif", ((0, b"GIF87a"), (0, b"GIF89a"))),
    ("npy", ((0, b"\x93NUMPY"),)),
    ("npz", ((0, b"PK\x03\x04"), (0, b"PK\x05\x06"))),
)
# "BM" also begins plain text; the size of the header that follows does not.
_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)}

_LIKENESSES = (
    (0, b"%!PS", "EPS or PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "PSD"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftyp", "video"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "FPX or an old office document"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"DDS ", "DDS"),
    (0, b"P7\n", "PAM"),
    (0, b"PF", "PFM"),
    (0, b"Pf", "PFM"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"<svg", "SVG"),
    (0, b"\x80\x02", "a Python pickle"),
    (0, b"\x80\x03", "a Python pickle"),
    (0, b"\x80\x04", "a Python pickle"),
    (0, b"\x80\x05", "a Python pickle"),
)


def _likeness(head: bytes) -> str:
    for at, mark, what in _LIKENESSES:
        if head[at : at + len(mark)] == mark:
            return f" (looks like {what})"
    sample = head[:512]
    if b"<svg" in sample:
        return " (looks like SVG)"
    if sample and all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in sample):
        return " (looks like text)"
    return ""
