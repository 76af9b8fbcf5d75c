"""Pictures: bytes to upright pixels and back through imageio, with depth, alpha, profile, EXIF and DPI kept.

Pixels pass through imageio with bytes and a named plugin, never a path or a guess; Pillow and tifffile are
asked for headers and metadata only, and Pillow not at all for a PNG that has no metadata but its resolution (25 ms
less of a start). The last section decides who decodes and encodes what.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.errors import InputError, LimitError, OutputError, PoolError
from poolcli.media import codecs
from poolcli.media.files import shown
from poolcli.media.formats import NUMERIC, Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import tifffile
    from numpy.typing import NDArray
    from PIL import Image, ImageFile
    from typing_extensions import Buffer


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
        Pixels per inch, (horizontal, vertical), of the upright picture.
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
    """A picture of which only the header was read: what it will be, and how to get there."""

    header: Header
    meta: Meta
    plugin: str
    options: Mapping[str, Any]  # of the plugin's read
    finish: Callable[[NDArray[Any]], NDArray[Any]] = field(default=lambda pixels: pixels)
    upright: bool = False  # the plugin has applied the orientation
    warnings: tuple[str, ...] = ()


def look(data: bytes, *, format: str, max_pixels: int) -> Source:
    """Return what a picture's header says.

    Parameters
    ----------
    data
        The whole file.
    format
        Its format, by content.
    max_pixels
        Most rows times columns.

    Raises
    ------
    InputError
        Damaged, truncated, or not readable without loss.
    LimitError
        More than *max_pixels*.
    """
    with _explained(InputError, f"damaged or truncated {format}"):
        return _inspect(data, format, max_pixels)


def decode(data: bytes, source: Source) -> tuple[NDArray[Any], Header, Meta, tuple[str, ...]]:
    """Decode the first frame of the picture that `look` found.

    Returns
    -------
    NDArray
        (rows, columns) or (rows, columns, channels); 1-bit is uint8 0 and 255; palettes are expanded.
    Header
        Its description.
    Meta
        What is to be carried over.
    tuple of str
        Warnings.

    Raises
    ------
    InputError
        Its pixels are damaged or truncated.
    """
    with _explained(InputError, f"damaged or truncated {source.header.format}"):
        pixels = source.finish(_read(data, source))
        if not source.upright:
            pixels = upright(pixels, source.header.orientation)
    frames = source.header.frames
    notes = (f"frame 1 of {frames}",) if frames > 1 else ()
    return pixels, source.header, source.meta, (*notes, *source.warnings)


def encode(
    pixels: NDArray[Any],
    *,
    format: str,
    meta: Meta,
    quality: int | None,
) -> list[Buffer]:
    """Encode pixels that `formats.check` has found to fit.

    Parameters
    ----------
    pixels
        (rows, columns) or (rows, columns, channels).
    format
        Name of the format.
    meta
        What to carry over.
    quality
        1 to 100; None is lossless where the format can.

    Returns
    -------
    list of buffers
        To be written one after the other.
    """
    _settle()
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    with _explained(OutputError, f"cannot be encoded as {format}"):
        return _WRITERS[format](pixels, meta, quality)


# --- Orientation ---


def upright(pixels: NDArray[Any], orientation: int | None) -> NDArray[Any]:
    """Turn and mirror rows and columns as an EXIF orientation (1 to 8) asks; a view."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in {3, 4, 7, 8} else 1)
    columns = slice(None, None, -1 if orientation in {2, 3, 6, 7} else 1)
    return pixels[rows, columns]


# --- Looking before decoding ---


def _settle() -> None:
    """Keep the libraries quiet: what they have to say is either an error or no concern of the user's."""
    # A filter, because `warnings.catch_warnings` is not safe with several threads.
    warnings.filterwarnings("ignore", module=r"(PIL|imageio|tifffile)\b")
    _silence()


@cache
def _silence() -> None:
    import logging

    for name in ("PIL", "imageio", "tifffile", "imagecodecs"):
        logging.getLogger(name).addHandler(logging.NullHandler())


@contextmanager
def _explained(kind: type[PoolError], what: str) -> Iterator[None]:
    """Turn whatever a decoder or encoder raises into one short sentence."""
    try:
        yield
    except (PoolError, MemoryError):
        raise
    except Exception as error:  # they raise anything: OSError, SyntaxError, struct.error, KeyError, ...
        raise kind(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the first line of the reason; imageio hides it in `__cause__`, Pillow in an object's address."""
    lines = str(error.__cause__ or error).splitlines()
    reason = shown(lines[0].strip().rstrip(".")) if lines else ""
    if not reason or "cannot identify" in reason:
        return "its header is not valid"
    return reason[:120] if reason[1:2].isupper() else reason[:1].lower() + reason[1:120]


def _limit(rows: int, columns: int, max_pixels: int, channels: int = 1) -> None:
    """Refuse more pixels than the limit; every four channels beyond the first four count as one more picture."""
    pixels = rows * columns * max(1, math.ceil(channels / 4))
    if pixels > max_pixels:
        size = f"{rows}x{columns}" + (f"x{channels}" if channels > 4 else "")
        raise LimitError(f"{size} are {pixels} pixels, more than the limit of {max_pixels}", f"max_pixels={pixels}")


def _inspect(data: bytes, format: str, max_pixels: int) -> Source:
    _settle()
    if format == "tiff":
        return _inspect_tiff(data, max_pixels)
    if format == "png":
        return _inspect_png(data, max_pixels)
    image = _open(data, format)
    _limit(image.height, image.width, max_pixels)
    _refuse_loss(image, data)
    source = _pillow_source(image, format, {})
    if format == "jpeg" and image.mode in {"L", "RGB"} and codecs.reads_jpeg(data):
        return replace(source, plugin="jpeg", options={})
    return source


# The modules of Pillow that read each format. Named, because Pillow would otherwise import and try them all.
_MODULES = {
    "png": "Png",
    "jpeg": "Jpeg",
    "webp": "WebP",
    "bmp": "Bmp",
    "pnm": "Ppm",
    "gif": "Gif",
    "tiff": "Tiff",
}


def _open(data: bytes, format: str) -> ImageFile.ImageFile:
    """Read a header with Pillow, as this format and no other."""
    from PIL import Image

    _settle_pillow()
    module = _MODULES[format]
    import_module(f"PIL.{module}ImagePlugin")
    return Image.open(io.BytesIO(data), formats=(module.upper(),))


def _settle_pillow() -> None:
    """Put its process-wide switches where they cannot surprise; others may have moved them."""
    from PIL import Image, ImageFile

    Image.MAX_IMAGE_PIXELS = None  # our limit rules: Pillow's warns at one size and fails at twice that
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def _refuse_loss(image: Image.Image, data: bytes) -> None:
    """Refuse what Pillow would quietly narrow or make up."""
    if image.format == "PPM" and image.mode == "RGB" and _maxval(image) > 255:
        raise InputError("16-bit colour is not supported in this format", "convert it to TIFF")
    # A Huffman-coded block takes a bit at least; libjpeg fills what is missing with grey, and takes its time.
    blocks = math.ceil(image.height / 8) * math.ceil(image.width / 8)
    if image.format in {"JPEG", "MPO"} and 8 * len(data) < blocks and not any(sof in data for sof in _ARITHMETIC):
        raise InputError(
            f"damaged or truncated jpeg: {len(data)} bytes cannot hold {image.height}x{image.width} pixels"
        )


_ARITHMETIC = tuple(bytes((0xFF, marker)) for marker in (0xC9, 0xCA, 0xCB))


def _maxval(image: Image.Image) -> int:
    args = getattr(image, "tile")[0].args  # noqa: B009
    return int(args[1]) if isinstance(args, tuple) else 255


# Pillow's mode: the mode to decode to, its dtype, its channels (0 for none), and the mode of the header.
_MODES = {
    "1": ("L", "uint8", 0, "L"),
    "L": ("L", "uint8", 0, "L"),
    "I;16": ("I;16", "uint16", 0, "L"),
    "I": ("I;16", "uint16", 0, "L"),  # 16-bit PGM
    "F": ("F", "float32", 0, "L"),
    "LA": ("LA", "uint8", 2, "LA"),
    "P": ("RGB", "uint8", 3, "RGB"),
    "RGB": ("RGB", "uint8", 3, "RGB"),
    "YCbCr": ("RGB", "uint8", 3, "RGB"),
    "PA": ("RGBA", "uint8", 4, "RGBA"),
    "RGBA": ("RGBA", "uint8", 4, "RGBA"),
    "RGBX": ("RGBX", "uint8", 4, "RGBA"),
    "CMYK": ("CMYK", "uint8", 4, "CMYK"),
}
# What the same modes are, when the file says which palette entry or grey is transparent.
_TRANSPARENT = {"1": _MODES["LA"], "L": _MODES["LA"], "P": _MODES["RGBA"]}


def _pillow_source(image: ImageFile.ImageFile, format: str, chunks: Mapping[bytes, bytes]) -> Source:
    key = _colour_key(chunks) if chunks else None
    clear = image.has_transparency_data and key is None
    if image.mode not in _MODES:
        raise InputError(f"{image.mode} pixels are not supported")
    target, dtype, channels, mode = (clear and _TRANSPARENT.get(image.mode)) or _MODES[image.mode]
    if key is not None:
        channels, mode = (channels or 1) + 1, mode + "A"
    told = _pillow_told(image, mode, chunks)
    bits = chunks[b"IHDR"][8] if chunks else {"1": 1, "I": 16}.get(image.mode, 8)
    shape = _shape(image.height, image.width, channels, told.orientation)
    return Source(
        Header(format, shape, dtype, mode, bits, told.frames, told.orientation),
        told.meta,
        "pillow",
        {"index": 0, "mode": None if target == image.mode else target, "writeable_output": False},
        partial(_keyed, key=key),
        warnings=told.warnings,
    )


class _Told(NamedTuple):
    """What a file tells of a picture beside its pixels."""

    meta: Meta
    orientation: int | None = None
    frames: int = 1
    warnings: tuple[str, ...] = ()


def _pillow_told(image: ImageFile.ImageFile, mode: str, chunks: Mapping[bytes, bytes]) -> _Told:
    orientation, exif, warnings = _read_exif(lambda: _pillow_exif(image, chunks))
    dpi = _dpi(image.info.get("dpi"), orientation)
    meta = Meta(image.info.get("icc_profile"), exif, dpi, mode, _subsampling(image))
    return _Told(meta, orientation, getattr(image, "n_frames", 1), warnings)


def _shape(rows: int, columns: int, channels: int, orientation: int | None) -> tuple[int, ...]:
    size = (columns, rows) if orientation in {5, 6, 7, 8} else (rows, columns)
    return (*size, channels) if channels else size


def _dpi(dpi: tuple[float, float] | None, orientation: int | None) -> tuple[float, float] | None:
    if dpi is None or not all(math.isfinite(value) and value > 0 for value in dpi):
        return None
    across, down = map(float, dpi)
    return (down, across) if orientation in {5, 6, 7, 8} else (across, down)


def _subsampling(image: Image.Image) -> int | None:
    if image.format not in {"JPEG", "MPO"} or image.mode != "RGB":
        return None
    from PIL import JpegImagePlugin

    found = JpegImagePlugin.get_sampling(image)
    return found if found >= 0 else None


# --- PNG ---


def _inspect_png(data: bytes, max_pixels: int) -> Source:
    chunks = codecs.chunks(data)
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise InputError("damaged or truncated png: its header is not valid")
    columns, rows, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    _limit(rows, columns, max_pixels)
    _check_deflated(len(data), rows, columns, depth * codecs.CHANNELS.get(colour, 1))
    if codecs.reads_png(chunks[b"IHDR"]):
        return _codec_source(data, chunks)
    if depth == 16 and colour in {2, 4, 6}:  # Pillow would quietly narrow it
        raise InputError("16-bit colour is not supported in this format", "convert it to TIFF, or install imagecodecs")
    return _pillow_source(_open(data, "png"), "png", chunks)


def _check_deflated(size: int, rows: int, columns: int, bits: int) -> None:
    """Refuse a header that promises far more than can follow: decoders would make the picture first."""
    if size * _EXPANSION[8] < rows * math.ceil(columns * bits / 8):
        raise InputError(f"damaged or truncated png: {size} bytes cannot hold {rows}x{columns} pixels")


# Chunks that only Pillow understands: metadata, text that may be metadata, and frames.
_PILLOWS = frozenset({b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"acTL"})


def _codec_source(data: bytes, chunks: Mapping[bytes, bytes]) -> Source:
    columns, rows, bits, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    key = _colour_key(chunks)
    channels = codecs.CHANNELS[colour] + (key is not None)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    if _PILLOWS.isdisjoint(chunks):
        told = _Told(Meta(dpi=_dpi(codecs.resolution(chunks.get(b"pHYs")), None), mode=mode))
    else:
        told = _pillow_told(_open(data, "png"), mode, chunks)
    shape = _shape(rows, columns, channels if channels > 1 else 0, told.orientation)
    header = Header("png", shape, f"uint{bits}", mode, bits, told.frames, told.orientation)
    return Source(header, told.meta, "png", {}, partial(_keyed, key=key), warnings=told.warnings)


def _colour_key(chunks: Mapping[bytes, bytes]) -> NDArray[Any] | None:
    """Return the grey or colour that a PNG declares transparent, as its decoded pixels have it."""
    if b"tRNS" not in chunks or chunks[b"IHDR"][9] not in {0, 2}:
        return None
    depth, colour = chunks[b"IHDR"][8:10]
    if len(chunks[b"tRNS"]) != 2 * codecs.CHANNELS[colour]:
        raise InputError("damaged png: its transparent colour is not a colour")
    key = np.frombuffer(chunks[b"tRNS"], ">u2") & (2**depth - 1)
    scale = 255 // (2**depth - 1) if depth < 8 else 1
    return np.asarray(key * scale)


def _keyed(pixels: NDArray[Any], key: NDArray[Any] | None) -> NDArray[Any]:
    """Add an alpha channel that is 0 where a pixel is the colour key."""
    if key is None:
        return pixels
    colours = pixels.reshape(*pixels.shape[:2], -1)
    alpha = np.where((colours == key).all(axis=2, keepdims=True), 0, np.iinfo(pixels.dtype).max)
    return np.concatenate([colours, alpha.astype(pixels.dtype)], axis=2)


# --- EXIF ---

_ORIENTATION, _EXIF, _GPS = 0x0112, 0x8769, 0x8825
# Tags about how the old file stored its pixels, or about their place on a map: wrong for any other picture.
_STALE = frozenset(
    {*range(254, 270), *range(273, 282), *range(284, 296), 297, 301, *range(317, 348), *range(512, 533), 700}
    | {33550, 33922, 34264, 34377, 34675, *range(34735, 34738), 42112, 42113}
) - {_ORIENTATION}
_STALE_DESCRIPTIONS = ('{"shape"', "ImageJ=", "<?xml", "<OME")
_PICTURE_SIZE = (0xA002, 0xA003)


def _read_exif(load: Callable[[], Image.Exif]) -> tuple[int | None, bytes | None, tuple[str, ...]]:
    """Return the orientation, the block to carry over, and a warning when the data is damaged."""
    try:
        exif = load()
        orientation = exif.get(_ORIENTATION)
        block = _carried(exif)
    except Exception:  # noqa: BLE001 - parsers of untrusted tags raise anything, and pixels do not depend on them
        return None, None, ("EXIF data is damaged and was left out",)
    return orientation if orientation in range(1, 9) else None, block, ()


def _pillow_exif(image: Image.Image, chunks: Mapping[bytes, bytes]) -> Image.Exif:
    from PIL import Image

    if b"eXIf" in chunks:  # it may stand behind the pixels
        image.info["exif"] = b"Exif\0\0" + chunks[b"eXIf"]
    if "exif" in image.info:
        Image.Exif().load(image.info["exif"])  # raises, where Pillow has already failed once and forgotten it
    return Image.Image.getexif(image)  # the method of a PNG would decode the pixels first


def _carried(exif: Image.Exif) -> bytes | None:
    """Return the block for another picture; Pillow writes no second folder, where the thumbnail is."""
    for tag in list(exif):
        if tag in _STALE or (tag == 270 and str(exif[tag]).startswith(_STALE_DESCRIPTIONS)):
            del exif[tag]
    if not set(exif) - {_ORIENTATION, 282, 283, 296}:
        return None
    details = exif.get_ifd(_EXIF)
    for tag in _PICTURE_SIZE:
        details.pop(tag, None)
    if _ORIENTATION in exif:
        exif[_ORIENTATION] = 1
    exif.bigtiff = False
    return _exif_bytes(exif)


class _Text(str):
    """A string that gives back the bytes it was read from: Pillow reads Latin-1, but asks for ASCII and "?"."""

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:  # noqa: ARG002
        return super().encode("latin-1")


def _exif_bytes(exif: Image.Exif, offset: int = 8) -> bytes:
    """Return the block, to stand at an offset from the TIFF header in front of it."""
    for folder in (exif, exif.get_ifd(_EXIF), exif.get_ifd(_GPS)):
        for tag in list(folder):
            if isinstance(folder[tag], str):
                folder[tag] = _Text(folder[tag])
    return exif.tobytes(offset)


# --- TIFF ---


def _inspect_tiff(data: bytes, max_pixels: int) -> Source:
    import tifffile
    from PIL import Image

    exif = Image.Exif()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        size = page.imagelength, page.imagewidth, page.samplesperpixel
        if {type(length) for length in size} != {int}:  # a tuple times a number would be a very long tuple
            raise InputError("damaged tiff: its header gives no single size")
        _limit(page.imagelength, page.imagewidth, max_pixels, page.samplesperpixel)
        _check_segments(page, len(data))
        # By number: iterating over folders that form a loop never ends, while their count is sound.
        frames = sum(_is_frame(file.pages[number]) for number in range(len(file.pages)))
        exif.bigtiff, exif.endian = file.is_bigtiff, file.byteorder
    exif.load_from_fp(io.BytesIO(data), page.offset)
    dpi = _tiff_dpi(exif)
    orientation, block, notes = _read_exif(lambda: exif)
    source = _tifffile_source(page, orientation) if _plain(page) else _libtiff_source(data, page)
    meta = Meta(page.iccprofile, block, _dpi(dpi, orientation), source.header.mode)
    return replace(source, header=replace(source.header, frames=frames), meta=meta, warnings=notes)


def _is_frame(page: tifffile.TiffPage | tifffile.TiffFrame) -> bool:
    """Tell whether a page is a picture of its own, and not a thumbnail or mask of another."""
    return page.index == 0 or not (getattr(page, "is_reduced", False) or getattr(page, "is_mask", False))


def _check_segments(page: tifffile.TiffPage, size: int) -> None:
    """Refuse a file that does not hold every strip or tile: decoders fill what is missing with zeros."""
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(segments) < math.prod(page.chunked) or any(count == 0 for _, count in segments):
        raise InputError("damaged or truncated tiff: strips or tiles are missing")
    if any(offset + count > size for offset, count in segments):
        raise InputError("truncated tiff: its pixels end beyond the end of the file")
    # A tile may reach beyond a small picture, but a damaged size would cost gigabytes.
    if page.tilewidth > 2 * page.imagewidth + 4096 or page.tilelength > 2 * page.imagelength + 4096:
        raise InputError("damaged tiff: its tiles are much larger than the picture")
    row = math.ceil(page.imagewidth * page.samplesperpixel * np.max(page.bitspersample) / 8)
    most = sum(count for _, count in segments) * _EXPANSION.get(page.compression, math.inf)
    if page.photometric != 6 and most < page.imagelength * row:  # 6: colours may be subsampled
        raise InputError("damaged or truncated tiff: strips or tiles are too short")


# The most bytes that one byte can stand for: nothing, LZW, deflate (two codes), PackBits.
_EXPANSION = {1: 1, 5: 4096, 8: 1100, 32946: 1100, 32773: 64}


def _tiff_dpi(exif: Image.Exif) -> tuple[float, float] | None:
    scale = {2: 1.0, 3: 2.54}.get(exif.get(296, 2))
    if scale is None or 282 not in exif or 283 not in exif:
        return None
    return float(exif[282]) * scale, float(exif[283]) * scale


def _plain(page: tifffile.TiffPage) -> bool:
    """Tell whether tifffile gives the samples as they are meant, with the codecs there are."""
    from tifffile import TIFF

    try:
        codec, _ = TIFF.DECOMPRESSORS[page.compression], TIFF.UNPREDICTORS[page.predictor]
    except KeyError:  # needs imagecodecs
        return False
    if page.compression in {34926, 50000} and codec.__module__.startswith("tifffile"):
        return False  # Zstandard without imagecodecs fails only when it is called
    if page.compression == 7 and codecs.codec("jpeg8") is None:
        return False
    if page.photometric == 6 and page.compression == 7:  # the JPEG codec turns its own colours into RGB
        return page.bitspersample == 8 and page.samplesperpixel == 3 and page.planarconfig == 1
    # White is zero, black is zero, RGB, inks; anything else is a palette or a colour space.
    return page.bitspersample in {8, 16, 32, 64} and page.photometric in {0, 1, 2, 5}


def _tifffile_source(page: tifffile.TiffPage, orientation: int | None) -> Source:
    dtype = page.dtype.name if page.dtype is not None else "unknown"
    samples, inks, white = page.samplesperpixel, page.photometric == 5, page.photometric == 0
    if dtype not in NUMERIC:
        raise InputError(f"dtype {dtype} is not supported", f"supported are {', '.join(NUMERIC)}")
    if page.imagedepth > 1 or (inks and samples != 4) or (white and not dtype.startswith("uint")):
        raise InputError("this kind of TIFF is not supported (volumes, inks other than CMYK, signed negatives)")
    mode = "CMYK" if inks else {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(samples)
    channels = samples if samples > 1 else 0
    shape = _shape(page.imagelength, page.imagewidth, channels, orientation)
    return Source(
        Header("tiff", shape, dtype, mode, page.bitspersample, orientation=orientation),
        Meta(),
        "tifffile",
        {"index": ..., "page": 0},  # by page: series would follow names of other files in OME metadata
        partial(
            _arranged,
            planar=page.axes == "SYX",
            white=white,
            premultiplied=mode in {"LA", "RGBA"} and page.extrasamples[:1] == (1,),
        ),
    )


def _arranged(pixels: NDArray[Any], *, planar: bool, white: bool, premultiplied: bool) -> NDArray[Any]:
    """Return samples as HW or HWC, larger is brighter, alpha not multiplied into the colours."""
    if planar:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if white:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return _straight(pixels) if premultiplied else pixels


def _straight(pixels: NDArray[Any]) -> NDArray[Any]:
    """Divide colours by their alpha; where it is 0 they stay."""
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    top = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    divided = colours * (top / np.where(alpha == 0, top, alpha))
    if pixels.dtype.kind != "f":
        divided = np.rint(divided).clip(0, top)
    return np.concatenate([divided.astype(pixels.dtype), alpha], axis=2)


def _libtiff_source(data: bytes, page: tifffile.TiffPage) -> Source:
    """Let Pillow and its libtiff read what tifffile does not, if nothing is lost; they turn it upright."""
    try:
        image = _open(data, "tiff")
        source = _pillow_source(image, "tiff", {})
        faithful = _faithful(source, page)
    except (InputError, OSError):
        faithful = False
    if not faithful:
        raise InputError(
            f"a TIFF of {page.samplesperpixel} x {page.bitspersample} bits, {_named(page.photometric)}"
            f" colours and {_named(page.compression)} compression is not supported"
        )
    size = image.height, image.width  # upright already
    header = replace(source.header, bits=page.bitspersample, shape=(*size, *source.header.shape[2:]))
    return replace(source, header=header, upright=True)


def _faithful(source: Source, page: tifffile.TiffPage) -> bool:
    dtype = np.dtype(source.header.dtype)
    channels = 1 if len(source.header.shape) == 2 else source.header.shape[2]
    return (
        np.size(page.bitspersample) == 1  # a tuple when they differ
        and page.bitspersample <= 8 * dtype.itemsize
        and (page.photometric == 3 or channels == page.samplesperpixel)
        and page.sampleformat == (3 if dtype.kind == "f" else 1)
        and (page.photometric != 0 or dtype == np.uint8)  # white is zero: Pillow turns only bytes over
    )


def _named(value: int) -> str:
    return str(getattr(value, "name", value))


# --- Who decodes and encodes ---


def _read(data: bytes, source: Source) -> NDArray[Any]:
    import imageio.v3 as iio

    with iio.imopen(data, "r", plugin=_plugin(source.plugin)) as file:
        return np.asarray(file.read(**source.options))


@cache
def _plugin(name: str) -> Any:
    """Return the class that imageio is told to use: never a guess from names and what is installed."""
    if name in {"png", "jpeg"}:
        return codecs.plugin(name)
    if name == "tifffile":
        from imageio.plugins.tifffile_v3 import TifffilePlugin

        return TifffilePlugin
    from imageio.plugins.pillow import PillowPlugin

    class Pillow(PillowPlugin):
        """Imageio's plugin, but for reading all metadata with the pixels: damaged EXIF would cost them."""

        def metadata(self, *_: object, **__: object) -> dict[str, Any]:
            return {}

    return Pillow


def _save(plugin: str, pixels: NDArray[Any], extension: str, **options: Any) -> list[Buffer]:
    import imageio.v3 as iio

    with iio.imopen("<bytes>", "w", plugin=_plugin(plugin), extension=extension) as file:
        return [file.write(pixels, **options)]


def _save_pillow(pixels: NDArray[Any], extension: str, **options: Any) -> list[Buffer]:
    _settle_pillow()
    given = {name: value for name, value in options.items() if value is not None}
    return _save("pillow", pixels, extension, is_batch=False, **given)


def _save_png(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:  # noqa: ARG001
    return _save("png", pixels, ".png", icc=meta.icc, exif=meta.exif, dpi=meta.dpi)


def _save_jpeg(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:
    cmyk = pixels.ndim == 3 and pixels.shape[2] == 4
    subsampling = 2 if meta.subsampling is None else meta.subsampling  # 4:2:0 or as the source was
    exif = meta.exif if len(meta.exif or b"") < 65534 else None  # the most that a JPEG segment holds
    if not cmyk and codecs.codec("jpeg8") is not None:
        options = {"quality": quality, "subsampling": subsampling}
        return _save("jpeg", pixels, ".jpg", **options, icc=meta.icc, exif=exif, dpi=meta.dpi)
    return _save_pillow(
        pixels,
        ".jpg",
        mode="CMYK" if cmyk else None,
        quality=quality,
        # Ink has no chroma, and the codec would thin out three of four inks.
        subsampling=None if cmyk else subsampling,
        icc_profile=meta.icc,
        exif=exif,
        dpi=meta.dpi,
    )


def _save_webp(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:
    grey = pixels.ndim == 2 or pixels.shape[2] == 2
    if grey:
        layers = pixels.reshape(*pixels.shape[:2], -1)
        pixels = np.concatenate([layers[:, :, :1]] * 3 + [layers[:, :, 1:]], axis=2)
    return _save_pillow(
        pixels,
        ".webp",
        lossless=quality is None,
        quality=quality,
        exact=True,  # colours under transparent pixels count
        icc_profile=None if grey else meta.icc,  # a profile for grey does not fit RGB
        exif=meta.exif,
    )


def _save_bmp(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:  # noqa: ARG001
    return _save_pillow(pixels, ".bmp", dpi=meta.dpi)


def _save_pnm(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:  # noqa: ARG001
    return _save_pillow(pixels, ".ppm")


def _save_tiff(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:  # noqa: ARG001
    """Write with tifffile, which holds every depth.

    Integers are compressed by deflate with differences: 0.6 of the size of an 8-bit photo and 0.9 of a 16-bit
    one. Floats are not: 18 MB take 1.1 s instead of 0.03 s, and differences of floats need another package.
    """
    import imageio.v3 as iio

    big = pixels.nbytes > 2**32 - 2**25  # offsets of a classic TIFF have 32 bits
    options = _TIFF_COLOURS.get(1 if pixels.ndim == 2 else pixels.shape[2], {"photometric": "minisblack"})
    if meta.mode == "CMYK" and pixels.shape[2:] == (4,):
        options = {"photometric": "separated"}
    if pixels.ndim == 3:
        options = options | {"planarconfig": "contig"}
    if pixels.dtype.kind in "ui":
        options = options | {"compression": "zlib", "predictor": True}
    if meta.dpi:
        options = options | {"resolution": meta.dpi, "resolutionunit": "INCH"}
    with iio.imopen("<bytes>", "w", plugin=_plugin("tifffile"), extension=".tif", bigtiff=big) as file:
        data = file.write(pixels, is_batch=False, metadata=None, software=False, iccprofile=meta.icc, **options)
    return _with_exif(data, meta.exif) if meta.exif and not big else [data]


_TIFF_COLOURS: dict[int, dict[str, Any]] = {
    1: {"photometric": "minisblack"},
    2: {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
    3: {"photometric": "rgb"},
    4: {"photometric": "rgb", "extrasamples": ["unassalpha"]},
}


def _with_exif(tiff: bytes, block: bytes) -> list[Buffer]:
    """Give a little-endian TIFF a new first folder behind its end, with the tags of an EXIF block too."""
    from PIL import Image

    exif = Image.Exif()
    exif.load(block)
    exif.endian = "<"
    base = len(tiff) + len(tiff) % 2
    theirs = _exif_bytes(exif, base)[14:]  # after "Exif", two zeros and a TIFF header; its offsets count from `base`
    theirs += bytes(len(theirs) % 2)
    (start,) = struct.unpack_from("<I", tiff, 4)
    entries = _entries(theirs, 0) | _entries(tiff, start)
    folder = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    header = tiff[:4] + struct.pack("<I", base + len(theirs))
    return [header, memoryview(tiff)[8:], bytes(len(tiff) % 2), theirs, folder]


def _entries(data: bytes, start: int) -> dict[int, bytes]:
    """Return the 12-byte entries of a TIFF folder by their tags."""
    (count,) = struct.unpack_from("<H", data, start)
    rows = (data[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12))
    return {struct.unpack_from("<H", row)[0]: row for row in rows}


_WRITERS: dict[str, Callable[[NDArray[Any], Meta, int | None], list[Buffer]]] = {
    "png": _save_png,
    "jpeg": _save_jpeg,
    "webp": _save_webp,
    "bmp": _save_bmp,
    "pnm": _save_pnm,
    "tiff": _save_tiff,
}
