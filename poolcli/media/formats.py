"""The formats: how each is recognised, and which pixels it can hold. Standard library only."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence  # noqa: TC003 - a field type of the record below
from dataclasses import dataclass

from poolcli.errors import InputError, UsageError
from poolcli.media import likeness

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")
NUMERIC = ("bool", *INTEGERS, *FLOATS)

_ANY = range(1, 65536)  # TIFF counts its channels in 16 bits


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(map(str, range(first, last + 1)))


@dataclass(frozen=True, slots=True)
class Format:
    """One file format: names, and the pixels it can hold."""

    name: str  # as in `-F`, `--json` and messages
    suffixes: tuple[str, ...]  # lower case, with the dot; the first is the usual one
    magic: bytes  # regular expression that the first bytes of a file match
    summary: str  # what a user should know, for `poolcli info --formats`
    holds: tuple[tuple[str, Sequence[int]], ...] = ()  # dtypes and their counts of channels; empty when only read
    cmyk: tuple[str, ...] = ()  # the dtypes it stores as CMYK
    picture: bool = True  # HW or HWC, rather than a tensor
    quality: int | None = None  # default of `-Q`, for a format that loses unasked by it
    qualities: bool = False  # whether `-Q` means anything
    side: int | None = None  # the longest, in pixels
    frames: str | None = (
        None  # what several are: "pages" of any size, or an "animation"; None where it is written with one
    )
    lossy: bool = False  # whether pixels change unasked
    indexed: bool = False  # whether it stores indices of a palette
    profile: bool = False  # whether it stores a colour profile
    keys: tuple[tuple[str, tuple[str, ...]], ...] = ()  # what `--co` may say of its encoder, and the values

    @property
    def writes(self) -> bool:
        """Whether poolcli writes it; it reads every format."""
        return bool(self.holds)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """NumPy names of the dtypes it holds."""
        return tuple(dtype for dtype, _ in self.holds)

    @property
    def alpha(self) -> bool:
        """Whether it holds transparency."""
        return self.picture and self.fits("uint8", 4)

    def fits(self, dtype: str, channels: int, *, cmyk: bool = False) -> bool:
        """Tell whether it holds such pixels without loss."""
        if not self.picture:
            return dtype in self.dtypes
        return dtype in self.cmyk if cmyk else channels in dict(self.holds).get(dtype, ())


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says it holds, as the array will be: after orientation and expansion."""

    format: str  # by content
    shape: tuple[int, ...]  # (rows, columns) or (rows, columns, channels) of a picture; any of a tensor
    dtype: str  # NumPy name
    mode: str | None  # of colours: "L", "LA", "RGB", "RGBA", "CMYK"; None for tensors and more channels
    bits: int  # per sample in the file
    frames: int = 1  # pictures in the file; the first is used
    orientation: int | None = None  # of EXIF, 1 to 8, that the file asks for
    nodata: float | None = None  # the value that stands for missing elements (GDAL's tag of TIFF)

    @property
    def picture(self) -> bool:
        """Whether the file is a picture rather than a tensor."""
        return by_name(self.format).picture


_GREY_COLOUR = (("bool", (1,)), ("uint8", (1, 3)))

FORMATS = (
    Format(
        "png",
        (".png", ".apng"),
        rb"\x89PNG\r\n\x1a\n",
        "lossless; bool is 1-bit",
        (("bool", (1,)), ("uint8", (1, 2, 3, 4)), ("uint16", (1, 2, 3, 4))),
        frames="animation",
        indexed=True,
        profile=True,
        keys=(("level", _numbers(1, 12)),),
    ),
    Format(
        "jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        rb"\xff\xd8\xff",
        "lossy, quality 90 unless -Q",
        (("uint8", (1, 3)),),
        cmyk=("uint8",),
        quality=90,
        lossy=True,
        qualities=True,
        side=65500,
        profile=True,
        keys=(("subsampling", ("444", "422", "420")),),
    ),
    Format(
        "webp",
        (".webp",),
        rb"RIFF.{4}WEBP",
        "lossless unless -Q; grey is stored as RGB",
        (("uint8", (1, 2, 3, 4)),),
        qualities=True,
        side=16383,
        keys=(("method", _numbers(0, 6)),),
        frames="animation",
        profile=True,
    ),
    # "BM" also begins plain text; the size of the header that follows does not.
    Format(
        "bmp",
        (".bmp", ".dib"),
        rb"BM.{12}[\x0c\x10(48@l|]\0\0\0",
        "lossless, uncompressed; bool is 1-bit",
        _GREY_COLOUR,
    ),
    Format(
        "tiff",
        (".tif", ".tiff"),
        rb"II[*+]\0|MM\0[*+]",
        "lossless; integers compressed; every depth and channel count",
        tuple(
            (dtype, (1,) if dtype == "bool" else _ANY)
            for dtype in NUMERIC
            if dtype not in {"int64", "uint64"}  # hardly anything reads 64-bit integers in a TIFF
        ),
        cmyk=("uint8", "uint16"),
        frames="pages",
        indexed=True,
        profile=True,
        keys=(("compression", ("none", "zlib", "lzw", "zstd")),),
    ),
    Format(
        "pnm",
        (".pnm", ".ppm", ".pgm", ".pbm", ".pfm"),
        rb"P[1-6Ff][ \t\r\n#]",
        "lossless, uncompressed; bool is 1-bit, float32 is PFM",
        (*_GREY_COLOUR, ("uint16", (1, 3)), ("float32", (1, 3))),
    ),
    Format(
        "avif",
        (".avif", ".avifs"),
        rb".{4}ftypavi",
        "lossy, quality 90 unless -Q; grey is stored as RGB",
        (("uint8", (1, 3, 4)),),
        quality=90,
        qualities=True,
        frames="animation",
        lossy=True,
        profile=True,
        side=65536,
        keys=(("speed", _numbers(0, 10)),),
    ),
    Format(
        "jpegxl",
        (".jxl",),
        rb"\0\0\0\x0cJXL |\xff\x0a",
        "lossless unless -Q",
        tuple((dtype, (1, 2, 3, 4)) for dtype in ("uint8", "uint16", "float16", "float32")),
        qualities=True,
        keys=(("effort", _numbers(2, 9)),),  # at 1 libjxl ends the process over 16-bit noise
    ),
    Format(
        "jpeg2000",
        (".jp2", ".j2k", ".jpx", ".j2c"),
        rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
        "lossless unless -Q",
        (("uint8", (1, 2, 3, 4)), ("uint16", (1, 2, 3, 4))),
        qualities=True,
        profile=True,
    ),
    Format("qoi", (".qoi",), rb"qoif", "lossless, quick to write", (("uint8", (3, 4)),)),
    Format(
        "heic",
        (".heic", ".heif"),
        rb".{4}ftyp(hei|hev|mif1|msf1)",
        "read only, by the extra heif",
    ),
    Format(
        "npy",
        (".npy",),
        rb"\x93NUMPY",
        "NumPy array of any shape",
        tuple((dtype, _ANY) for dtype in NUMERIC),
        picture=False,
    ),
    Format(
        "gif",
        (".gif",),
        rb"GIF8[79]a",
        "256 colours, alpha is all or nothing",
        (("uint8", (1, 3, 4)),),
        frames="animation",
        lossy=True,
        indexed=True,
        side=65535,
    ),
    Format("npz", (".npz",), rb"PK(\x03\x04|\x05\x06)", "read only, one array or --key", picture=False),
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


def coding(format: Format, quality: int | None, *, lossless: bool = False, co: Sequence[str] = ()) -> dict[str, str]:
    """Return what the pairs ``KEY=VALUE`` say to an encoder; UsageError for what it has no use for."""
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {quality}")
    if quality is not None and not format.qualities:
        names = ", ".join(row.name for row in FORMATS if row.qualities)
        raise UsageError(f"quality must be given for one of {names}, got {format.name}")
    if lossless and (format.lossy or quality is not None):
        got = format.name if format.lossy else f"quality {quality}"
        raise UsageError(f"lossless must be asked of a format that can, without quality, got {got}")
    found, known = {}, dict(format.keys)
    for pair in co:
        key, equals, value = pair.partition("=")
        if not equals or value not in known.get(key, ()):
            fits = "; ".join(f"{name}={', '.join(values)}" for name, values in format.keys) or "nothing"
            raise UsageError(f"co of {format.name} must be {fits}, got {pair!r}")
        found[key] = value
    return found


def check(format: Format, shape: Sequence[int], dtype: str, mode: str | None = None) -> None:
    """Refuse, as an InputError, an array that a format would narrow or lose; *mode* "CMYK" says that channels are ink.

    The hint names what can hold it.
    """
    writable(format)
    if not format.picture:
        if dtype not in format.dtypes:
            raise InputError(f"{format.name} files cannot hold {dtype}", f"dtype={' or '.join(FLOATS)}")
        return
    if len(shape) not in {2, 3} or 0 in shape:
        raise InputError(
            f"{format.name} holds pictures (HW or HWC), not shape {tuple(shape)}", "format=npy, or output=x.npy"
        )
    if mode == "P" and not format.indexed:
        able = " or ".join(other.name for other in FORMATS if other.indexed)
        raise InputError(f"{format.name} cannot hold indices of a palette", f"palette=expand, or format={able}")
    channels = shape[2] if len(shape) == 3 else 1
    if mode == "LAB":
        raise InputError(f"{format.name} cannot hold CIELAB pixels", "to_rgb=True")
    cmyk = mode == "CMYK" and channels == 4
    if not format.fits(dtype, channels, cmyk=cmyk):
        kind = "CMYK" if cmyk else _CHANNELS.get(channels, f"{channels}-channel")
        fact = f"{dtype} {kind} pixels"
    elif format.side and max(shape[:2]) > format.side:
        fact = f"{shape[0]}x{shape[1]} pixels: a side has at most {format.side}"
    else:
        return
    ways = [_remedy(format, dtype, channels, cmyk=cmyk)]
    if mode is not None:
        ways.insert(0, "to_rgb=True" if cmyk else _narrowing(format, dtype, channels))
    raise InputError(f"{format.name} cannot hold {fact}", ", or ".join(filter(None, ways)) or None)


_CHANNELS = {1: "grey", 2: "grey-alpha", 3: "RGB", 4: "RGBA"}


def _narrowing(format: Format, dtype: str, channels: int) -> str | None:
    """Name the options that make a picture fit: without alpha, in 8 bits, or both."""
    deep, clear = dtype == "uint16", channels in {2, 4}
    for shallow, flat in ((False, True), (True, False), (True, True)):
        if shallow <= deep and flat <= clear and format.fits("uint8" if shallow else dtype, channels - flat):
            return " ".join(["depth=8"] * shallow + ["alpha=over:white"] * flat)
    return None


def _remedy(refused: Format, dtype: str, channels: int, *, cmyk: bool) -> str | None:
    """Name two pictures' formats that hold these pixels, and the tensor's; another dtype would saturate most."""
    able = [
        format_.name
        for format_ in FORMATS
        if format_ is not refused and format_.fits(dtype, channels, cmyk=cmyk) and not format_.lossy
    ]
    able = [*able[:-1][:2], *able[-1:]]
    return f"format={' or '.join(able)}, or output=x.{able[0]}" if able else None


def sniff(head: bytes) -> Format:
    """Return the format of a file from its first bytes (512 are enough); InputError for what poolcli cannot read."""
    for format_ in FORMATS:
        if re.match(format_.magic, head, re.DOTALL):
            return format_
    raise InputError("not a picture or tensor poolcli can read" + likeness.of(head))
