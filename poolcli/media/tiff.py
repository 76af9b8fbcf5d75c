"""TIFF, by tifffile through imageio, with imagecodecs' codecs; EXIF alone is read by Pillow."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from poolcli.errors import InputError
from poolcli.media import exif
from poolcli.media.formats import NUMERIC, Header
from poolcli.media.pictures import Meta, Source, limit

if TYPE_CHECKING:
    from typing import IO

    import tifffile
    from numpy.typing import NDArray
    from PIL import Image
    from typing_extensions import Buffer

    from poolcli.media.pictures import Later


_XMP = 700

# --- Looking ---


def look(data: bytes, max_pixels: int, number: int = 0) -> Source:
    """Return the source of a page."""
    found, page = looked(io.BytesIO(data), len(data), max_pixels, number)
    later = partial(look, data, max_pixels) if found.header.frames > 1 else None
    found = replace(found, decode=partial(_decode, data, page), page=later)
    indexed = page.photometric == 3 and page.bitspersample <= 8
    return replace(found, indexed=partial(_indexed, data, page, found)) if indexed else found


def looked(data: IO[bytes], size: int, max_pixels: int, number: int) -> tuple[Source, tifffile.TiffPage]:
    """Return the source of a page that nothing decodes yet, and the page."""
    import tifffile
    from PIL import Image

    tags = Image.Exif()
    with tifffile.TiffFile(data, name="picture") as file:
        # By number: iterating over folders that form a loop never ends, while their count is sound.
        pages = [at for at in range(len(file.pages)) if _is_frame(file.pages[at])]
        page: tifffile.TiffPage = file.pages[pages[number]]  # type: ignore[assignment]  # no frame, unless asked for
        _check_tags(page, data)
        lengths = page.imagelength, page.imagewidth, page.samplesperpixel
        if {type(length) for length in lengths} != {int}:  # a tuple times a number would be a very long tuple
            raise InputError("damaged tiff: its header gives no single size")
        limit(page.imagelength, page.imagewidth, max_pixels, page.samplesperpixel)
        _check_segments(page, size)
        tags.bigtiff, tags.endian = file.is_bigtiff, file.byteorder
        tags.load_from_fp(data, page.offset)
    dpi = _dpi(tags)
    orientation, block, notes = exif.read(lambda: tags)
    dtype, mode, channels = _kind(page)
    dropped = _unknown(page)
    if dropped:
        channels, mode = channels[:0] if channels == (2,) else (3,), "L" if channels == (2,) else "RGB"
        notes = (*notes, "an extra sample of no stated meaning is left out")
    xmp = page.tags.valueof(_XMP)
    meta = Meta(page.iccprofile, block, exif.packet(xmp if isinstance(xmp, bytes) else None), dpi=dpi)
    header = Header(
        "tiff", (*lengths[:2], *channels), dtype, mode, page.bitspersample, len(pages), orientation, _nodata(page)
    )
    return Source(header, _nothing, meta, notes), page


def _nothing() -> NDArray[Any]:
    raise InputError("is looked at, and not decoded")


def _indexed(data: bytes, page: tifffile.TiffPage, found: Source) -> Source:
    """Return the source of the indices of a palette."""
    header = replace(found.header, shape=found.header.shape[:2], mode="P")
    meta = found.meta and replace(found.meta, palette=_opaque(_colours(page)).tobytes())
    return Source(header, partial(_samples, data, page), meta, found.warnings)


def _colours(page: tifffile.TiffPage) -> NDArray[np.uint8]:
    return np.asarray(np.asarray(page.colormap).T >> 8, np.uint8)


def _opaque(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.pad(colours, ((0, 0), (0, 1)), constant_values=255)


def _is_frame(page: tifffile.TiffPage | tifffile.TiffFrame) -> bool:
    """Tell whether a page is a picture of its own, and not a thumbnail or mask of another."""
    return page.index == 0 or not (getattr(page, "is_reduced", False) or getattr(page, "is_mask", False))


def _check_tags(page: tifffile.TiffPage, data: IO[bytes]) -> None:
    """Refuse a folder where a tag that pixels depend on is damaged: tifffile leaves it out, and takes a default."""
    form = page.parent.tiff
    data.seek(page.offset)
    (count,) = struct.unpack(form.tagnoformat, data.read(form.tagnosize))
    folder = data.read(count * form.tagsize)
    codes = {struct.unpack_from(f"{form.byteorder}H", folder, form.tagsize * n)[0] for n in range(count)}
    if not _NEEDED.isdisjoint(code for code in codes if code not in page.tags):
        raise InputError("damaged or truncated tiff: its header is damaged")


_NEEDED = {*range(256, 260), 262, 273, *range(277, 280), 284, 317, 320, *range(322, 326), 338, 339, 530}


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


def _nodata(page: tifffile.TiffPage) -> float | None:
    """Return the value that GDAL's tag says stands for missing elements."""
    tag = page.tags.get(42113)
    try:
        return None if tag is None else float(str(tag.value).strip("\0 "))
    except ValueError:
        return None


def _dpi(tags: Image.Exif) -> tuple[float, float] | None:
    scale = {2: 1.0, 3: 2.54}.get(tags.get(296, 2))
    if scale is None or 282 not in tags or 283 not in tags:
        return None
    return float(tags[282]) * scale, float(tags[283]) * scale


def _kind(page: tifffile.TiffPage) -> tuple[str, str | None, tuple[int, ...]]:
    """Return the dtype, mode and channels (none for grey) of a page's decoded samples; refuse what would be misread."""
    samples, bits, colours, dtype = page.samplesperpixel, page.bitspersample, page.photometric, page.dtype
    if dtype is None or type(bits) is not int:
        raise InputError(f"a TIFF of {samples} x {bits} bits is not supported")
    if dtype.name not in NUMERIC:
        raise InputError(f"dtype {dtype.name} is not supported", f"supported are {', '.join(NUMERIC)}")
    ycbcr = (samples, bits, page.predictor) == (3, 8, 1)
    if page.planarconfig == 2:  # planes of one size
        ycbcr = ycbcr and page.subsampling == (1, 1)
    ycbcr = ycbcr and (page.compression in JPEGS or not page.is_tiled)
    # White is zero, black is zero, RGB, palette, inks, YCbCr
    lab = (samples, bits) == (3, 8)
    known = {0: page.sampleformat == 1, 1: True, 2: True, 3: samples == 1, 5: samples == 4, 6: ycbcr, 8: lab}
    if page.imagedepth > 1 or not known.get(colours):
        name = getattr(colours, "name", colours)
        raise InputError(f"a TIFF of {samples} x {bits} bits and {name} colours is not supported")
    if colours == 3:
        return "uint8", "RGB", (3,)
    mode = {5: "CMYK", 8: "LAB"}.get(colours) or {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(samples)
    return "uint8" if bits < 8 else dtype.name, mode, (samples,) if samples > 1 else ()


def _open(target: str | bytes, mode: Literal["r", "w"], **options: Any) -> Any:
    import imageio.v3 as iio
    from imageio.plugins.tifffile_v3 import TifffilePlugin

    return iio.imopen(target, mode, plugin=TifffilePlugin, **options)


# --- Decoding ---


def _decode(data: bytes, page: tifffile.TiffPage) -> NDArray[Any]:
    """Return samples as HW or HWC, of their whole range, larger is brighter, alpha not multiplied into the colours."""
    if page.photometric == 6 and page.compression not in JPEGS:
        return _rgb(_unpacked(data, page) if page.planarconfig == 1 else _samples(data, page))
    return understood(_samples(data, page), page)


def understood(pixels: NDArray[Any], page: tifffile.TiffPage) -> NDArray[Any]:
    """Return samples of pixels as they are meant."""
    if _unknown(page):
        return pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3]
    if page.photometric == 8:
        return pixels ^ np.array([0, 128, 128], np.uint8)  # two of the three are signed
    if page.photometric == 3:
        return np.asarray(_colours(page)[pixels])
    if page.bitspersample < 8:
        pixels = np.linspace(0, 255, 2**page.bitspersample).round().astype(np.uint8)[pixels]
    if page.photometric == 0:
        pixels = 2 ** max(page.bitspersample, 8) - 1 - pixels
    return _straight(pixels) if page.extrasamples[:1] == (1,) and pixels.shape[2:] in {(2,), (4,)} else pixels


def _unknown(page: tifffile.TiffPage) -> bool:
    """Tell whether the one sample beside grey or RGB is said to have no meaning."""
    return tuple(page.extrasamples) == (0,) and (page.photometric, page.samplesperpixel) in {(0, 2), (1, 2), (2, 4)}


def _samples(data: bytes, page: tifffile.TiffPage) -> NDArray[Any]:
    if page.photometric == 5 and page.subsampling:  # of ink it says nothing
        import tifffile

        with tifffile.TiffFile(io.BytesIO(data)) as planes:
            again: tifffile.TiffPage = planes.pages[page.index]  # type: ignore[assignment]  # no frame
            again.subsampling = None
            return np.moveaxis(again.asarray(), 0, -1)
    with _open(data, "r") as file:  # by page: series would follow names of other files in OME metadata
        pixels = np.asarray(file.read(index=..., page=page.index))
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels.view(np.uint8) if pixels.dtype == bool else pixels


JPEGS = {6, 7, 33007, 34892}  # these codecs turn their own colours into RGB


def _unpacked(data: bytes, page: tifffile.TiffPage) -> NDArray[Any]:
    """Return the samples of strips where a pair of colours follows the brightness of some pixels, or of one."""
    from tifffile import TIFF

    across, down = page.subsampling or (1, 1)
    wide, unpack = math.ceil(page.imagewidth / across), TIFF.DECOMPRESSORS[page.compression]
    strips = []
    for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        units = np.frombuffer(unpack(data[start : start + size]), np.uint8).reshape(-1, wide, across * down + 2)
        bright = units[:, :, :-2].reshape(-1, wide, down, across).swapaxes(1, 2).reshape(-1, wide * across, 1)
        strip = np.concatenate([bright, units[:, :, -2:].repeat(down, 0).repeat(across, 1)], 2)
        strips.append(strip[: page.rowsperstrip, : page.imagewidth])
    return np.concatenate(strips)[: page.imagelength]


def _rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    from PIL import Image

    return np.asarray(Image.frombytes("YCbCr", pixels.shape[1::-1], pixels.tobytes()).convert("RGB"))


def _straight(pixels: NDArray[Any]) -> NDArray[Any]:
    """Divide colours by their alpha; where it is 0 they stay."""
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    top = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    divided = colours * (top / np.where(alpha == 0, top, alpha))
    if pixels.dtype.kind != "f":
        divided = np.rint(divided).clip(0, top)
    return np.concatenate([divided.astype(pixels.dtype), alpha], axis=2)


# --- Writing ---


CLASSIC = 2**32 - 2**25  # bytes of pixels up to which offsets have 32 bits


def encode(pixels: NDArray[Any], meta: Meta, later: Later = (), compression: str | None = None) -> list[Buffer]:
    """Return the buffers of a file of pages.

    Integers are compressed by deflate with differences: 0.6 of the size of an 8-bit photo and 0.9 of a 16-bit
    one. Floats are not: 18 MB take 1.1 s instead of 0.03 s, and differences of floats need another package.
    """
    pages = [(pixels, meta), *later]
    big = sum(page.nbytes for page, _ in pages) > CLASSIC
    with _open("<bytes>", "w", extension=".tif", bigtiff=big) as file:
        for page, one in pages:
            options = compressed(page, one, compression)
            data = file.write(page, is_batch=False, metadata=None, software=False, **options)
    return _with_exif(data, meta.exif) if meta.exif and not big else [data]


def compressed(pixels: NDArray[Any], meta: Meta, compression: str | None) -> dict[str, Any]:
    """Return how tifffile writes a picture, by the compression that is asked for."""
    options = _options(pixels, meta)
    if compression:
        options |= {"compression": None if compression == "none" else compression}
        options["predictor"] = compression != "none" and pixels.dtype.kind in "ui" and not meta.palette
    return options


def _options(pixels: NDArray[Any], meta: Meta) -> dict[str, Any]:
    options = _COLOURS.get(1 if pixels.ndim == 2 else pixels.shape[2], {"photometric": "minisblack"})
    if meta.mode == "CMYK" and pixels.shape[2:] == (4,):
        options = {"photometric": "separated"}
    if meta.palette:
        table = np.zeros((256, 3), np.uint16)
        colours = np.frombuffer(meta.palette, np.uint8).reshape(-1, 4)
        table[: len(colours)] = colours[:, :3] * np.uint16(257)
        options = {"photometric": "palette", "colormap": table.T}
    if pixels.ndim == 3:
        options = options | {"planarconfig": "contig"}
    if pixels.dtype.kind in "ui" and not meta.palette:
        options = options | {"compression": "zlib", "predictor": True}
    if meta.dpi:
        options = options | {"resolution": meta.dpi, "resolutionunit": "INCH"}
    if meta.xmp:
        options = options | {"extratags": [(_XMP, "B", len(meta.xmp), meta.xmp, True)]}
    return {**options, "iccprofile": meta.icc}


_COLOURS: dict[int, dict[str, Any]] = {
    1: {"photometric": "minisblack"},
    2: {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
    3: {"photometric": "rgb"},
    4: {"photometric": "rgb", "extrasamples": ["unassalpha"]},
}


def _with_exif(tiff: bytes, block: bytes) -> list[Buffer]:
    """Give a little-endian TIFF a new first folder behind its end, with the tags of an EXIF block too."""
    (start,) = struct.unpack_from("<I", tiff, 4)
    begin, *pieces = folder(len(tiff), tiff[start : start + FOLDER], block)
    return [tiff[:4] + begin, memoryview(tiff)[8:], *pieces]


def folder(size: int, folder: bytes, block: bytes) -> list[bytes]:
    """Return where in a TIFF of *size* bytes a new folder begins, and what is put behind its end."""
    from PIL import Image

    tags = Image.Exif()
    tags.load(block)
    tags.endian = "<"
    base = size + size % 2
    theirs = exif.to_bytes(tags, base)[14:]  # after "Exif", two zeros and a TIFF header; its offsets count from `base`
    theirs += bytes(len(theirs) % 2)
    entries = _entries(theirs, 0) | _entries(folder, 0)
    end = 2 + 12 * struct.unpack_from("<H", folder)[0]  # where the next folder is told
    new = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + folder[end : end + 4]
    return [struct.pack("<I", base + len(theirs)), bytes(size % 2), theirs, new]


FOLDER = 2**16 * 12 + 6  # the most bytes of a folder


def noted(tiff: bytes, text: str) -> bytes | None:
    """Return a little-endian TIFF with a new first folder behind its end that has a description, too."""
    if tiff[:4] != b"II*\0":
        return None
    value = text.encode("ascii") + b"\0"
    base, (start,) = len(tiff) + len(tiff) % 2, struct.unpack_from("<I", tiff, 4)
    entries = _entries(tiff, start)
    following = start + 2 + 12 * len(entries)
    entries |= {_DESCRIPTION: struct.pack("<HHII", _DESCRIPTION, 2, len(value), base)}
    value += bytes(len(value) % 2)
    folder = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    header = tiff[:4] + struct.pack("<I", base + len(value))
    return header + tiff[8:] + bytes(len(tiff) % 2) + value + folder + tiff[following : following + 4]


def note(tiff: bytes) -> str | None:
    """Return the description in a little-endian TIFF."""
    try:
        _, _, size, at = struct.unpack("<HHII", _entries(tiff, struct.unpack_from("<I", tiff, 4)[0])[_DESCRIPTION])
    except (struct.error, KeyError):
        return None
    return tiff[at : at + size].rstrip(b"\0").decode("latin-1") if tiff[:4] == b"II*\0" else None


_DESCRIPTION = 270


def _entries(data: bytes, start: int) -> dict[int, bytes]:
    """Return the 12-byte entries of a TIFF folder by their tags."""
    (count,) = struct.unpack_from("<H", data, start)
    rows = (data[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12))
    return {struct.unpack_from("<H", row)[0]: row for row in rows}
