"""Proves that pictures keep depth, alpha, orientation, profile, EXIF and DPI, and are read exactly or refused."""

from __future__ import annotations

import dataclasses
import importlib
import io
import itertools
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from pictures import ICC, LIMIT, chunk, decode, encode, noise, read_or_refused, refusal, refused_cut, saved, scene, tiff
from PIL import ExifTags, Image, ImageFile, ImageOps
from PIL.TiffImagePlugin import IFDRational

from poolcli.errors import InputError, LimitError, UsageError
from poolcli.media import bmp, contents, pictures
from poolcli.media.formats import FORMATS, by_name, by_suffix, check, sniff, writable

PICTURES = [format_ for format_ in FORMATS if format_.picture and format_.writes]


def isolated(code, payload):
    """Run code in a fresh interpreter; return its output."""
    head = "import pickle, sys; data = pickle.load(sys.stdin.buffer)\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], input=pickle.dumps(payload), capture_output=True, check=False
    )
    assert done.stderr.decode() == ""
    assert done.returncode == 0
    return done.stdout.decode()


# --- PNG built by hand ---


def png(samples, depth, colour, *extra, behind=()):
    """Return a PNG of integer samples (rows, columns[, channels]), without filters."""
    rows, columns = samples.shape[:2]
    flat = samples.reshape(rows, -1)
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = ((flat[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(rows, -1).astype(np.uint8)
        lines = [np.packbits(row).tobytes() for row in bits]
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", body), *behind, chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def palette(count, seed=1):
    return noise((count, 3), seed=seed)


# --- Orientation ---


def exif_block(orientation=None, **texts):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    for name, text in texts.items():
        exif[ExifTags.Base[name].value] = text
    return exif


def keyed_palette():
    picture = Image.fromarray(noise((5, 7)) % 6, "P")
    picture.putpalette(palette(6).tobytes())
    return picture


ORIENTED = {
    "png L": ("PNG", lambda: Image.fromarray(noise((5, 7)))),
    "png LA": ("PNG", lambda: Image.fromarray(noise((5, 7, 2)), "LA")),
    "png RGB": ("PNG", lambda: Image.fromarray(noise((5, 7, 3)))),
    "png RGBA": ("PNG", lambda: Image.fromarray(noise((5, 7, 4)))),
    "png P": ("PNG", keyed_palette),
    "png 1": ("PNG", lambda: Image.fromarray(noise((5, 7), "bool"))),
    "png I;16": ("PNG", lambda: Image.fromarray(noise((5, 7), "uint16"))),
    "jpeg RGB": ("JPEG", lambda: Image.fromarray(scene(24, 40))),
    "jpeg L": ("JPEG", lambda: Image.fromarray(scene(24, 40, 1)[:, :, 0])),
    "jpeg CMYK": ("JPEG", lambda: Image.fromarray(scene(24, 40, 4), "CMYK")),
    "tiff L": ("TIFF", lambda: Image.fromarray(noise((5, 7)))),
    "tiff RGB": ("TIFF", lambda: Image.fromarray(noise((5, 7, 3)))),
    "tiff RGBA": ("TIFF", lambda: Image.fromarray(noise((5, 7, 4)))),
    "tiff P": ("TIFF", keyed_palette),
    "tiff 1": ("TIFF", lambda: Image.fromarray(noise((5, 7), "bool"))),
    "tiff CMYK": ("TIFF", lambda: Image.fromarray(noise((5, 7, 4)), "CMYK")),
    "tiff F": ("TIFF", lambda: Image.fromarray(noise((5, 7), "float32"))),
    "webp RGB": ("WEBP", lambda: Image.fromarray(noise((5, 7, 3)))),
}


def pillow_pixels(data):
    """Return what Pillow alone makes of a file, upright and expanded: the independent reference."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        turned = ImageOps.exif_transpose(picture)
    if turned.mode == "P":
        turned = turned.convert("RGBA" if turned.has_transparency_data else "RGB")
    if turned.mode == "1":
        turned = turned.convert("L")
    return np.asarray(turned)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("case", ORIENTED)
def test_every_orientation_is_applied_once_as_pillow_does(case, orientation):
    form, make = ORIENTED[case]
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(make(), form, exif=exif_block(orientation), **options)
    content = decode(data)
    assert content.header.orientation == orientation
    assert np.array_equal(content.pixels, pillow_pixels(data))
    assert content.meta.exif is None  # nothing else was in it


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_tiffs_that_pillow_cannot_read(orientation):
    pixels = noise((5, 7, 3), "uint16")
    content = decode(tiff(pixels, photometric="rgb", extratags=[(274, "H", 1, orientation, True)]))
    expected = np.stack(
        [
            np.asarray(ImageOps.exif_transpose(with_orientation(pixels[:, :, channel], orientation)))
            for channel in range(3)
        ],
        -1,
    )
    assert np.array_equal(content.pixels, expected)


def with_orientation(plane, orientation):
    picture = Image.fromarray(plane)
    picture.getexif()[0x0112] = orientation
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_written_picture_is_upright_for_every_reader(orientation):
    data = saved(scene(), "JPEG", quality=95, exif=exif_block(orientation, Make="Maker"))
    content = decode(data)
    for name in ("png", "webp", "tiff"):
        again = encode(content.pixels, name, content.meta)
        assert np.array_equal(pillow_pixels(again), content.pixels)
        assert np.array_equal(decode(again).pixels, content.pixels)
        assert decode(again).header.orientation == 1


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_changes_nothing(orientation):
    pixels = noise((5, 7, 3))
    content = decode(saved(pixels, "PNG", exif=exif_block(orientation)))
    assert content.header.orientation is None
    assert np.array_equal(content.pixels, pixels)


# --- What is carried over ---


def full_exif():
    exif = exif_block(
        6, Make="Käfer".encode("latin-1"), Model="X1", Artist="me", Copyright="mine", DateTime="2024:01:02 03:04:05"
    )
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.ExposureTime.value: IFDRational(1, 250),
        ExifTags.Base.DateTimeOriginal.value: "2024:01:02 03:04:05",
        ExifTags.Base.MakerNote.value: b"secret\0bytes",
        ExifTags.Base.ExifImageWidth.value: 60,
        ExifTags.Base.ExifImageHeight.value: 40,
    }
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (48.0, 8.0, 30.0), 3: "E", 4: (11.0, 34.0, 0.0)}
    return exif.tobytes()


def reread(data):
    """Return ICC, EXIF and DPI as Pillow finds them."""
    with Image.open(io.BytesIO(data)) as picture:
        exif = picture.getexif()
        return {
            "icc": picture.info.get("icc_profile"),
            "dpi": picture.info.get("dpi"),
            "base": {ExifTags.TAGS.get(tag, tag): value for tag, value in exif.items()},
            "details": {ExifTags.TAGS[tag]: value for tag, value in exif.get_ifd(ExifTags.IFD.Exif).items()},
            "place": dict(exif.get_ifd(ExifTags.IFD.GPSInfo)),
        }


SOURCES = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 95}),
    "tiff": ("TIFF", {}),
    "webp": ("WEBP", {"lossless": True}),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_profile_exif_and_resolution_survive_wherever_the_format_can(source, target):
    form, options = SOURCES[source]
    data = saved(scene(), form, exif=full_exif(), icc_profile=ICC, dpi=(300, 150), **options)
    content = decode(data)
    found = reread(encode(content.pixels, target, content.meta))
    if target != "bmp":
        assert found["icc"] == ICC
        assert found["base"]["Make"] == ("K?fer" if form == "TIFF" else "Käfer")  # Pillow wrote the first
        assert found["base"]["Artist"] == "me"
        assert found["base"]["Orientation"] == 1
        assert found["details"]["ExposureTime"] == 1 / 250
        assert found["details"]["MakerNote"] == b"secret\0bytes"
        assert not {"ExifImageWidth", "ExifImageHeight"} & set(found["details"])  # they would be wrong
        assert found["place"] == {1: "N", 2: (48.0, 8.0, 30.0), 3: "E", 4: (11.0, 34.0, 0.0)}
    if "webp" not in {source, target}:
        assert found["dpi"] == pytest.approx((150, 300), abs=0.1)  # turned with the picture


@pytest.mark.parametrize("name", [row.name for row in FORMATS if row.picture and row.writes])
def test_a_profile_is_kept_or_its_loss_is_said(cli, tmp_path, name):
    (tmp_path / "wide.png").write_bytes(saved(scene(), "PNG", icc_profile=ICC))
    done = cli("pool", "wide.png", "-m", "avg", "-k", "2", "-F", name, "-o", "small")
    assert done.code == 0
    data = (tmp_path / "small").read_bytes()
    kept = ICC in data or (name != "jpegxl" and reread(data)["icc"] == ICC)  # Pillow does not look for all of them
    assert kept == ("profile" not in done.err)


@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "tiff"])
def test_no_empty_folder_of_exif_is_made_up(target):
    """ImageMagick calls a TIFF with one damaged."""
    content = decode(saved(scene(), "JPEG", exif=exif_block(Make="Maker").tobytes()))
    with Image.open(io.BytesIO(encode(content.pixels, target, content.meta))) as picture:
        tags = picture.getexif()
    assert tags[ExifTags.Base.Make] == "Maker"
    assert not {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo} & set(tags)


def test_pixels_and_metadata_survive_a_chain_of_all_formats():
    content = decode(saved(scene(), "PNG", exif=full_exif(), icc_profile=ICC, dpi=(200, 200)))
    first = content
    for name in ("tiff", "webp", "png", "tiff", "tiff", "png"):
        content = decode(encode(content.pixels, name, content.meta))
        assert np.array_equal(content.pixels, first.pixels)
        assert content.meta.icc == ICC
    assert reread(encode(content.pixels, "png", content.meta))["place"] == {
        1: "N",
        2: (48.0, 8.0, 30.0),
        3: "E",
        4: (11.0, 34.0, 0.0),
    }


def test_a_tiff_that_libtiff_wrote_carries_metadata_too():
    exif = exif_block(8, Artist="me", Copyright="mine")
    data = saved(scene(), "TIFF", compression="tiff_lzw", exif=exif, icc_profile=ICC, dpi=(300, 150))
    content = decode(data)
    assert (content.header.orientation, content.pixels.shape, content.meta.dpi) == (8, (60, 40, 3), (150, 300))
    assert content.meta.icc == ICC
    assert b"mine" in content.meta.exif


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_a_deep_tiff_carries_metadata_too(dtype):
    source = decode(saved(scene(), "JPEG", exif=full_exif(), icc_profile=ICC, dpi=(300, 300)))
    data = encode(source.pixels.astype(dtype), "tiff", source.meta)
    again = decode(data)
    assert np.array_equal(again.pixels, source.pixels.astype(dtype))
    assert again.meta.icc == ICC
    assert again.meta.dpi == (300, 300)
    found = reread(encode(again.pixels.astype("uint8"), "jpeg", again.meta))
    assert found["base"]["Make"] == "Käfer"
    assert found["details"]["DateTimeOriginal"] == "2024:01:02 03:04:05"
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == 1
        codes = [tag.code for tag in file.pages.first.tags]
        assert codes == sorted(codes)
        assert np.array_equal(file.asarray(), again.pixels)


def test_the_thumbnail_of_another_picture_is_left_out():
    block = full_exif()
    thumbnail = saved(scene(8, 8), "JPEG")
    # A second folder behind the first, as cameras write it: two tags that point at a JPEG.
    assert block[6:8] == b"MM"
    (start,) = struct.unpack_from(">I", block, 10)
    (count,) = struct.unpack_from(">H", block, 6 + start)
    second = len(block) - 6
    entries = struct.pack(">HHHIIHHII", 2, 513, 4, 1, second + 30, 514, 4, 1, len(thumbnail)) + bytes(4)
    link = 6 + start + 2 + 12 * count
    block = block[:link] + struct.pack(">I", second) + block[link + 4 :] + entries + thumbnail
    content = decode(saved(scene(), "JPEG", exif=block))
    assert thumbnail in block
    assert thumbnail not in content.meta.exif
    for name in ("jpeg", "png", "tiff"):
        assert thumbnail not in encode(content.pixels, name, content.meta)


# What the standards say of the artist, the camera and the scan; the rest is about how one file stored its pixels.
KEPT = {250, 251, 252, 253, 270, 271, 272, 274, 282, 283, 296, 298, 299, 300, *range(302, 317), *range(348, 360)}
KEPT |= {510, 511, 533, 534, 699, 701, 33432, 33551, 33923, 34263, 34738, 42114}
STORAGE = {*range(254, 270), *range(275, 282), *range(284, 296), *range(317, 348), *range(512, 533)}
STORAGE |= {273, 297, 301, 700, 33550, 33922, 34264, 34377, 34675, 34735, 34736, 34737, 42112, 42113}


def test_every_tag_about_the_old_files_storage_is_dropped_and_no_other():
    exif = Image.Exif()
    for tag in KEPT | STORAGE:
        exif[tag] = 1
    data = png(noise((5, 7)), 8, 0, chunk(b"eXIf", exif.tobytes()[6:]))
    carried = Image.Exif()
    carried.load(decode(data).meta.exif)
    assert set(carried) - {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo} == KEPT


@pytest.mark.parametrize("tag", [274, 282, 283, 296])
def test_a_block_of_orientation_and_resolution_alone_is_not_carried(tag):
    exif = Image.Exif()
    exif[tag] = 1
    assert decode(png(noise((5, 7)), 8, 0, chunk(b"eXIf", exif.tobytes()[6:]))).meta.exif is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"shape": [5, 7]}', False),
        ("ImageJ=1.5", False),
        ("<?xml version", False),
        ("<OME xmlns", False),
        ("<3", True),
    ],
)
def test_a_description_of_the_old_files_structure_is_dropped(text, kept):
    exif = exif_block(Make="me", ImageDescription=text)
    found = reread(encode(scene(), "png", decode(saved(scene(), "PNG", exif=exif)).meta))["base"]
    assert found.get("ImageDescription") == (text if kept else None)


def test_exif_behind_the_pixels_of_a_png_counts():
    block = exif_block(6, Make="late").tobytes()[6:]
    content = decode(png(noise((5, 7)), 8, 0, behind=[chunk(b"eXIf", block)]))
    assert content.pixels.shape == (7, 5)
    assert reread(encode(content.pixels, "png", content.meta))["base"]["Make"] == "late"


@pytest.mark.parametrize(
    "block", [b"garbage", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40), b"II*\0\x08\0\0\0\x01"]
)
def test_damaged_exif_never_costs_the_picture(block):
    for form in ("JPEG", "WEBP"):
        data = saved(scene(), form, exif=b"Exif\0\0" + block)
        assert np.array_equal(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data))))
    data = png(noise((5, 7)), 8, 0, chunk(b"eXIf", block))
    assert np.array_equal(decode(data).pixels, noise((5, 7)))


def test_damaged_exif_is_said():
    content = decode(saved(scene(), "JPEG", exif=b"Exif\0\0garbage"))
    assert content.warnings == ("EXIF data is damaged and was left out",)
    assert content.meta.exif is None


@pytest.mark.parametrize(
    ("tags", "dpi"),
    [
        ({282: 300, 283: 150}, (300, 150)),
        ({282: 300, 283: 150, 296: 3}, (762, 381)),
        ({282: 300, 283: 150, 296: 1}, None),
        ({282: 300}, None),
        ({283: 300}, None),
        ({282: 0, 283: 150}, None),
        ({282: 1, 283: 1}, (1, 1)),
    ],
)
def test_a_tiffs_resolution_is_per_inch_whatever_its_unit_or_left_out(tags, dpi):
    extra = [(tag, "H", 1, value, True) for tag, value in tags.items() if tag == 296]
    extra += [(tag, "2I", 1, (value, 1), True) for tag, value in tags.items() if tag != 296]
    data = bytearray(tiff(noise((5, 7)), extratags=[(tag + 1000, *rest) for tag, *rest in extra]))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for tag in (282, 283, 296):
            if (own := file.pages.first.tags.get(tag)) is not None:
                struct.pack_into("<H", data, own.offset, tag + 2000)
            if tag in tags:
                struct.pack_into("<H", data, file.pages.first.tags[tag + 1000].offset, tag)
    assert decode(bytes(data)).meta.dpi == dpi


def test_exif_that_a_jpeg_cannot_hold_is_left_out_of_it_alone():
    exif = exif_block(1, Make="x" * 70_000)
    content = decode(saved(scene(), "PNG", exif=exif))
    assert "Make" not in reread(encode(content.pixels, "jpeg", content.meta))["base"]
    assert len(reread(encode(content.pixels, "tiff", content.meta))["base"]["Make"]) == 70_000


def test_a_map_tiff_does_not_pass_on_its_place_nor_its_structure():
    tags = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (270, "s", 0, '{"shape": [5, 7]}', True), (315, "s", 0, "me", True)]
    content = decode(tiff(noise((5, 7)), extratags=tags))
    found = reread(encode(content.pixels[::2, ::2], "tiff", content.meta))["base"]
    assert found["Artist"] == "me"
    assert not {33550, "ImageDescription"} & set(found)
    assert (found["ImageWidth"], found["ImageLength"]) == (4, 3)


def test_a_grey_profile_is_not_given_to_a_format_without_grey():
    content = decode(saved(noise((5, 7)), "PNG", icc_profile=ICC))
    assert reread(encode(content.pixels, "png", content.meta))["icc"] == ICC
    assert reread(encode(content.pixels, "webp", content.meta))["icc"] is None


def test_a_picture_without_metadata_stays_without():
    for name in ("png", "jpeg", "webp", "tiff"):
        content = decode(encode(noise((5, 7, 3)), name))
        meta = dataclasses.replace(content.meta, subsampling=None)
        assert meta == contents.Meta(mode="RGB")


@pytest.mark.parametrize(("subsampling", "kept"), [(0, 0), (1, 1), (2, 2)])
def test_a_jpeg_keeps_the_subsampling_of_its_source(subsampling, kept):
    content = decode(saved(scene(), "JPEG", subsampling=subsampling))
    assert content.meta.subsampling == kept
    with Image.open(io.BytesIO(encode(content.pixels, "jpeg", content.meta))) as picture:
        assert picture.layer[0][1:3] == {0: (1, 1), 1: (2, 1), 2: (2, 2)}[kept]


def test_a_jpeg_from_elsewhere_is_4_2_0_at_quality_90():
    data = encode(scene(), "jpeg")
    assert data == saved(scene(), "JPEG", quality=90, subsampling="4:2:0")
    assert encode(scene(), "jpeg", quality=40) == saved(scene(), "JPEG", quality=40, subsampling="4:2:0")


# --- Every row of the format table ---

ROWS = [
    pytest.param(format_, dtype, channels, id=f"{format_.name}-{dtype}-{channels}")
    for format_ in PICTURES
    for dtype in ("bool", *by_name("npy").dtypes[1:], "complex64")
    for channels in (1, 2, 3, 4, 5, 9)
]


@pytest.mark.parametrize(("format_", "dtype", "channels"), ROWS)
def test_every_row_of_the_format_table_holds_or_refuses(format_, dtype, channels):
    pixels = noise((5, 7, channels), "float32" if dtype == "complex64" else dtype).astype(dtype)
    if not format_.fits(dtype, channels):
        with pytest.raises(InputError) as caught:
            encode(pixels, format_.name)
        assert dtype in caught.value.message
        assert caught.value.hint is None if dtype == "complex64" else caught.value.hint.startswith("format=")
        return
    pixels = pixels[:, :, 0] if channels == 1 else pixels
    content = decode(encode(pixels, format_.name))
    assert content.header.format == format_.name
    assert content.warnings == ()
    expected = pixels.astype(np.uint8) * 255 if dtype == "bool" else pixels
    if format_.name in {"webp", "gif"} and channels < 3:
        layers = expected.reshape(5, 7, channels)
        expected = np.dstack([layers[:, :, :1]] * 3 + [layers[:, :, 1:]])
    if format_.lossy:
        assert content.pixels.shape == expected.shape
        return
    assert content.pixels.dtype == expected.dtype
    assert np.array_equal(content.pixels, expected)


def test_what_the_table_holds_is_what_issue_and_guide_promise():
    held = {
        format_.name: {(dtype, channels) for dtype, counts in format_.holds for channels in counts if channels < 6}
        for format_ in FORMATS
    }
    bytes_ = {("uint8", channels) for channels in (1, 2, 3, 4)}
    assert held["png"] == bytes_ | {("bool", 1)} | {("uint16", channels) for channels in (1, 2, 3, 4)}
    assert held["jpeg"] == {("uint8", 1), ("uint8", 3)}
    assert held["webp"] == bytes_
    assert held["bmp"] == {("bool", 1), ("uint8", 1), ("uint8", 3)}
    assert held["pnm"] == held["bmp"] | {("uint16", 1), ("uint16", 3), ("float32", 1), ("float32", 3)}
    assert held["gif"] == bytes_ - {("uint8", 2)}
    assert held["npz"] == set()
    deep = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64")
    assert held["tiff"] == {("bool", 1)} | set(itertools.product(deep, range(1, 6)))


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "mode", "message", "able"),
    [
        (
            "webp",
            (4, 5, 3),
            "uint16",
            None,
            "webp cannot hold uint16 RGB pixels",
            "png tiff npy",
        ),
        (
            "png",
            (4, 5),
            "float32",
            None,
            "png cannot hold float32 grey pixels",
            "tiff pnm npy",
        ),
        ("jpeg", (4, 5), "uint16", None, "jpeg cannot hold uint16 grey pixels", "png tiff npy"),
        ("jpeg", (4, 5, 4), "uint8", "RGBA", "jpeg cannot hold uint8 RGBA pixels", "png webp npy"),
        ("bmp", (4, 5, 4), "uint8", None, "bmp cannot hold uint8 RGBA pixels", "png webp npy"),
        ("pnm", (4, 5, 2), "uint8", None, "pnm cannot hold uint8 grey-alpha pixels", "png webp npy"),
        ("png", (4, 5, 4), "uint8", "CMYK", "png cannot hold uint8 CMYK pixels", "tiff npy"),
        ("webp", (4, 5, 4), "uint8", "CMYK", "webp cannot hold uint8 CMYK pixels", "tiff npy"),
        (
            "jpeg",
            (4, 5, 4),
            "uint16",
            "CMYK",
            "jpeg cannot hold uint16 CMYK pixels",
            "tiff npy",
        ),
        ("png", (4, 5, 64), "float32", None, "png cannot hold float32 64-channel pixels", "tiff npy"),
        ("tiff", (4, 5), "int64", None, "tiff cannot hold int64 grey pixels", None),
        ("webp", (16384, 5), "uint8", None, "webp cannot hold 16384x5 pixels: a side has at most 16383", None),
        ("jpeg", (5, 65501, 3), "uint8", None, "jpeg cannot hold 5x65501 pixels: a side has at most 65500", None),
        ("png", (2, 3, 4, 5), "uint8", None, "png holds pictures (HW or HWC), not shape (2, 3, 4, 5)", "npy"),
        ("png", (7,), "uint8", None, "png holds pictures (HW or HWC), not shape (7,)", "npy"),
        ("png", (0, 7), "uint8", None, "png holds pictures (HW or HWC), not shape (0, 7)", "npy"),
        ("npy", (2, 3), "complex64", None, "npy files cannot hold complex64", None),
    ],
)
def test_refusals_say_what_can_hold_the_pixels(name, shape, dtype, mode, message, able):
    with pytest.raises(InputError) as caught:
        check(by_name(name), shape, dtype, mode)
    assert caught.value.message == message
    fits = {"RGBA": "alpha=over:white", "CMYK": "to_rgb=True"}.get(mode)
    if able is not None:  # none of them by saturating
        first, *others = able.split()
        instead = f"format={' or '.join([first, *others])}, or output=x.{first}"
        assert caught.value.hint == (f"{fits}, or {instead}" if fits else instead)


@pytest.mark.parametrize(
    ("name", "channels", "dtype", "fits"),
    [
        ("jpeg", 4, "uint8", "alpha=over:white"),
        ("webp", 4, "uint16", "depth=8"),
        ("jpeg", 4, "uint16", "depth=8 alpha=over:white"),
        ("pnm", 2, "uint16", "alpha=over:white"),
        ("png", 4, "float32", None),
    ],
)
def test_refusals_say_what_makes_a_picture_fit(name, channels, dtype, fits):
    with pytest.raises(InputError) as caught:
        check(by_name(name), (4, 5, channels), dtype, {2: "LA", 4: "RGBA"}[channels])
    assert caught.value.hint.startswith(f"{fits}, or format=" if fits else "format=")


@pytest.mark.parametrize(("name", "hint"), [("npz", "output=x.npy")])
def test_formats_that_are_only_read_are_a_matter_of_usage(name, hint):
    with pytest.raises(UsageError, match=f"one of png, jpeg, .*, got '{name}'") as caught:
        writable(by_name(name))
    assert caught.value.hint == hint
    with pytest.raises(UsageError):
        encode(noise((4, 5)), name)


@pytest.mark.parametrize("format_", FORMATS, ids=lambda row: row.name)
def test_a_format_is_its_row_and_its_module(format_):
    module = importlib.import_module(f"poolcli.media.{format_.name}")
    assert callable(module.look)
    assert hasattr(module, "encode") is format_.writes


def test_formats_are_found_by_name_and_suffix_in_any_case():
    assert {by_name(name).name for name in ("jpg", "JPEG", "jpe", "jfif")} == {"jpeg"}
    assert {by_name(name).name for name in ("ppm", "pgm", "PBM", "pnm")} == {"pnm"}
    assert by_suffix("x.PNG").name == "png"
    assert by_suffix("dir.d/x.tar.TIF").name == "tiff"
    assert by_suffix("x") is by_suffix("x.txt") is by_suffix("png") is None
    with pytest.raises(UsageError) as caught:
        by_name("tif2")
    assert caught.value.message.startswith("format must be one of png, jpeg, ")
    assert caught.value.hint == "did you mean tif?"


def test_the_content_decides_and_every_written_file_is_recognised():
    for format_ in FORMATS:
        if format_.writes:
            assert sniff(encode(noise((40, 50, 3)), format_.name)[:512]) is format_


@pytest.mark.parametrize("strides", [lambda a: a[::-1, ::2], lambda a: a.swapaxes(0, 1), np.asfortranarray])
@pytest.mark.parametrize("name", ["png", "webp", "bmp", "pnm", "tiff"])
def test_any_strides_are_written(name, strides):
    pixels = strides(noise((6, 8, 3)))
    pixels.flags.writeable = False
    assert np.array_equal(decode(encode(pixels, name)).pixels, pixels)


@pytest.mark.parametrize("name", ["png", "pnm", "tiff"])
def test_any_byte_order_is_written(name):
    pixels = noise((6, 8), "uint16")
    assert np.array_equal(decode(encode(pixels.astype(">u2"), name)).pixels, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 1), (13, 17), (3, 4), (4, 3)])
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
@pytest.mark.parametrize("name", ["png", "tiff"])
def test_small_and_odd_shapes_round_trip(name, shape, channels):
    pixels = noise((*shape, *channels))
    expected = pixels[:, :, 0] if channels == (1,) else pixels
    assert np.array_equal(decode(encode(pixels, name)).pixels, expected)


def test_webp_is_lossless_under_transparent_pixels_and_lossy_on_request():
    pixels = noise((20, 30, 4))
    pixels[:10, :, 3] = 0
    assert np.array_equal(decode(encode(pixels, "webp")).pixels, pixels)
    smooth = scene()
    assert not np.array_equal(decode(encode(smooth, "webp", quality=30)).pixels, smooth)
    assert len(encode(smooth, "webp", quality=30)) < len(encode(smooth, "webp"))


def test_the_same_pixels_give_the_same_bytes():
    for format_ in PICTURES:
        assert encode(scene(), format_.name) == encode(scene(), format_.name)


# --- Palettes, keys, depths ---


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", [None, "one", "many"])
def test_palettes_of_every_depth_are_expanded_with_their_transparency(depth, alpha):
    count = min(2**depth, 200)
    colours, samples = palette(count), noise((6, 9), seed=3) % count
    extra = [chunk(b"PLTE", colours.tobytes())]
    table = np.full(count, 255)
    if alpha == "one":
        table[1] = 0
        extra.append(chunk(b"tRNS", bytes([255, 0])))
    elif alpha == "many":
        table[:2] = 10, 200
        extra.append(chunk(b"tRNS", bytes([10, 200])))
    content = decode(png(samples, depth, 3, *extra))
    expected = colours[samples] if alpha is None else np.dstack([colours[samples], table[samples].astype(np.uint8)])
    assert np.array_equal(content.pixels, expected)
    assert content.header.mode == ("RGB" if alpha is None else "RGBA")
    assert content.header.bits == depth


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("keyed", [False, True])
def test_grey_of_every_depth_is_scaled_and_its_key_transparent(depth, keyed):
    samples = noise((6, 9), seed=3) >> (8 - depth)
    key = int(samples[2, 3])
    extra = [chunk(b"tRNS", struct.pack(">H", key))] if keyed else []
    content = decode(png(samples, depth, 0, *extra))
    grey = (samples.astype(int) * 255 // (2**depth - 1)).astype(np.uint8)
    expected = np.dstack([grey, np.where(samples == key, 0, 255).astype(np.uint8)]) if keyed else grey
    assert np.array_equal(content.pixels, expected)
    assert content.header.mode == ("LA" if keyed else "L")
    if depth == 8 and keyed:
        with Image.open(io.BytesIO(png(samples, depth, 0, *extra))) as picture:
            assert np.array_equal(content.pixels[:, :, [0, 0, 0, 1]], np.asarray(picture.convert("RGBA")))


def test_a_transparent_colour_becomes_alpha_as_in_pillow():
    samples = noise((6, 9, 3)) & 1
    data = png(samples, 8, 2, chunk(b"tRNS", struct.pack(">HHH", 1, 0, 1)))
    content = decode(data)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(content.pixels, np.asarray(picture.convert("RGBA")))
    assert set(content.pixels[:, :, 3].ravel()) == {0, 255}


def test_16_bit_grey_keeps_its_depth_and_its_key():
    samples = noise((6, 9), "uint16")
    content = decode(png(samples, 16, 0))
    assert (content.pixels.dtype, content.header.bits) == (np.uint16, 16)
    assert np.array_equal(content.pixels, samples)
    keyed = decode(png(samples, 16, 0, chunk(b"tRNS", struct.pack(">H", samples[0, 0]))))
    assert np.array_equal(keyed.pixels[:, :, 0], samples)
    assert np.array_equal(keyed.pixels[:, :, 1], np.where(samples == samples[0, 0], 0, 65535))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_png_is_refused_not_narrowed_where_pillow_would_have_to_read_it(colour, channels):
    data = png(np.zeros((1, 1_000_001, channels), "uint16"), 16, colour)
    assert refusal(data) == "16-bit colour must have a sound header and sides of at most 1000000 pixels"


def test_16_bit_pnm_is_read_and_refused_as_words_of_colour():
    grey = noise((6, 9), "uint16")
    plain = b"P2 9 6 65535\n" + " ".join(map(str, grey.ravel())).encode()
    for data in (b"P5 9 6 65535\n" + grey.astype(">u2").tobytes(), plain):
        content = decode(data)
        assert np.array_equal(content.pixels, grey)
        assert content.header.bits == 16
    colours = noise((6, 9, 3), "uint16")
    assert np.array_equal(decode(b"P6 9 6 65535\n" + colours.astype(">u2").tobytes()).pixels, colours)
    assert refusal(b"P3 1 1 65535 1 2 3") == "16-bit colour as words is not supported in this format"


def test_plain_and_commented_pnm_are_read():
    assert decode(b"P1\n# a comment\n3 1\n1 0 1\n").pixels.tolist() == [[0, 255, 0]]
    assert decode(b"P3\n2 1 255\n1 2 3 4 5 6\n").pixels.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert decode(b"P4\n9 1\n\x80\x80").pixels.tolist() == [[0, *[255] * 7, 0]]


def test_a_transparent_gif_becomes_rgba_as_in_pillow():
    picture = keyed_palette()
    data = saved(picture, "GIF", transparency=2)
    content = decode(data)
    with Image.open(io.BytesIO(data)) as reread_:
        assert np.array_equal(content.pixels, np.asarray(reread_.convert("RGBA")))
    assert set(content.pixels[:, :, 3].ravel()) == {0, 255}
    assert decode(saved(picture, "GIF")).pixels.shape == (5, 7, 3)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_stays_ink_where_the_format_can(form):
    pixels = scene(24, 32, 4)
    data = saved(Image.fromarray(pixels, "CMYK"), form)
    content = decode(data)
    assert content.meta.mode == content.header.mode == "CMYK"
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(content.pixels, np.asarray(picture))
    with Image.open(io.BytesIO(encode(content.pixels, "tiff", content.meta))) as picture:
        assert picture.mode == "CMYK"
        assert np.array_equal(np.asarray(picture), content.pixels)
    with Image.open(io.BytesIO(encode(content.pixels, "jpeg", content.meta))) as picture:
        assert picture.mode == "CMYK"
        assert np.abs(np.asarray(picture).astype(int) - content.pixels).max() < 12
    for name in ("png", "webp", "bmp", "pnm"):
        with pytest.raises(InputError, match="CMYK"):
            encode(content.pixels, name, content.meta)


def test_bmp_of_other_depths_is_expanded():
    for make in (keyed_palette, lambda: Image.fromarray(noise((5, 7), "bool")), lambda: Image.fromarray(noise((5, 7)))):
        data = saved(make(), "BMP")
        assert np.array_equal(decode(data).pixels, pillow_pixels(data))


# --- TIFF ---

TIFFS = {
    "big-endian 16-bit RGB": lambda a: (a, tiff(a, byteorder=">", photometric="rgb")),
    "tiled": lambda a: (a, tiff(a, tile=(16, 16), photometric="rgb")),
    "deflate with differences": lambda a: (a, tiff(a, compression="zlib", predictor=True, photometric="rgb")),
    "many strips": lambda a: (a, tiff(a, rowsperstrip=3, photometric="rgb")),
    "planar": lambda a: (a, tiff(np.moveaxis(a, -1, 0), planarconfig="separate", photometric="rgb")),
    "big": lambda a: (a, tiff(a, bigtiff=True, photometric="rgb")),
    "packbits": lambda a: (a, tiff(a, compression="packbits", photometric="rgb")),
    "lzw": lambda a: (a, tiff(a, compression="lzw", photometric="rgb")),
    "zstd": lambda a: (a, tiff(a, compression="zstd", photometric="rgb")),
    "seven channels": lambda a: (
        np.dstack([a, a, a[:, :, :1]]),
        tiff(np.dstack([a, a, a[:, :, :1]]), photometric="minisblack", planarconfig="contig"),
    ),
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_tiffs_of_every_structure_are_read_exactly(kind, dtype):
    if kind == "packbits" and dtype != "uint8":
        dtype = "int8"
    expected, data = TIFFS[kind](noise((40, 37, 3), dtype))
    content = decode(data)
    assert content.pixels.dtype == expected.dtype
    assert np.array_equal(content.pixels, expected)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("white", [False, True])
def test_few_bits_are_spread_over_all_of_8(bits, white):
    samples = noise((6, 9)) % 2**bits
    data = tiff(samples, bitspersample=bits, photometric="miniswhite" if white else "minisblack")
    content = decode(data)
    spread = np.array([round(255 * value / (2**bits - 1)) for value in range(2**bits)])
    assert content.pixels.dtype == np.uint8
    assert np.array_equal(content.pixels, spread[::-1][samples] if white else spread[samples])
    assert content.header.bits == bits


def test_more_than_8_bits_keep_their_numbers():
    samples = noise((6, 9), "uint16") % 4096
    for photometric, expected in (("minisblack", samples), ("miniswhite", 4095 - samples)):
        content = decode(tiff(samples, bitspersample=12, photometric=photometric))
        assert np.array_equal(content.pixels, expected)
        assert (content.header.dtype, content.header.bits) == ("uint16", 12)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_palette_of_any_depth_is_expanded(bits):
    samples, colours = noise((6, 9)) >> (8 - bits), noise((3, 2**bits), "uint16")
    table = (320, "H", colours.size, colours.ravel(), True)
    data = bytearray(tiff(samples, bitspersample=bits, photometric="minisblack", extratags=[table]))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<H", data, file.pages.first.tags[262].valueoffset, 3)
    content = decode(bytes(data))
    assert np.array_equal(content.pixels, (colours >> 8).astype(np.uint8).T[samples])
    assert content.header.mode == "RGB"


def test_ycbcr_is_turned_into_rgb_by_the_formula():
    samples = noise((6, 9, 3))
    content = decode(saved(Image.fromarray(samples, "YCbCr"), "TIFF", compression="tiff_lzw"))
    y, cb, cr = (samples[:, :, channel].astype(float) for channel in range(3))
    rgb = [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)]
    assert np.abs(content.pixels - np.stack(rgb, -1).clip(0, 255)).max() <= 1
    assert content.header.mode == "RGB"


def subsampled_tiff(bright, colours, across, down, height, compress):
    """Return a YCbCr TIFF of strips of some height, by the words of the standard."""
    rows, columns = bright.shape
    strips = []
    for top in range(0, rows, height):
        strip = bytearray()
        for row in range(top, min(top + height, rows), down):
            for column in range(0, columns, across):
                for y, x in itertools.product(range(row, row + down), range(column, column + across)):
                    strip.append(bright[min(y, rows - 1), min(x, columns - 1)])
                strip += bytes(colours[row // down, column // across])
        strips.append(compress(bytes(strip)))
    kind = 1 if compress is bytes else 8
    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    at = 8 + sum(map(len, strips))
    lists = struct.pack(f"<{2 * len(strips)}I3H", *starts, *map(len, strips), 8, 8, 8)
    tags = [
        (256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 3, at + 8 * len(strips)), (259, 3, 1, kind), (262, 3, 1, 6),
        (273, 4, len(strips), at), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, len(strips), at + 4 * len(strips)),
        (530, 3, 2, across + 65536 * down),
    ]  # fmt: skip
    folder = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", at + len(lists)) + b"".join(strips) + lists + folder


@pytest.mark.parametrize("compress", [bytes, zlib.compress], ids=["plain", "deflate"])
@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (2, 2), (4, 2)])
def test_subsampled_colours_are_spread_over_their_pixels(across, down, compress):
    bright, colours = noise((13, 11)), noise((-(-13 // down), -(-11 // across), 2), seed=1)
    data = subsampled_tiff(bright, colours, across, down, 4, compress)
    spread = np.array([[colours[y // down, x // across] for x in range(11)] for y in range(13)])
    expected = np.asarray(Image.fromarray(np.dstack([bright, spread]), "YCbCr").convert("RGB"))
    assert np.array_equal(decode(data).pixels, expected)


def with_damaged_tag(data, tag):
    """Return a little-endian TIFF where the kind of a tag's value is none that exists."""
    data = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<H", data, file.pages.first.tags[tag].offset + 2, 99)
    return bytes(data)


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 262, 277, 278, 279, 273, 339])
def test_a_tag_that_pixels_depend_on_is_not_replaced_by_its_default(tag):
    data = tiff(noise((12, 15, 3), "int16"), photometric="rgb", software="x", rowsperstrip=5)
    assert refusal(with_damaged_tag(data, tag)) == "damaged or truncated tiff: its header is damaged"
    assert np.array_equal(decode(with_damaged_tag(data, 305)).pixels, noise((12, 15, 3), "int16"))


def test_white_is_zero_and_premultiplied_tiffs_are_read_as_meant():
    for dtype in ("uint8", "uint16"):
        grey = noise((5, 7), dtype)
        assert np.array_equal(decode(tiff(grey, photometric="miniswhite")).pixels, ~grey)
        pixels = noise((5, 7, 4), dtype)
        pixels[0, :, 3] = 0
        pixels[:, :, :3] = np.minimum(pixels[:, :, :3], pixels[:, :, 3:])
        top = np.iinfo(dtype).max
        content = decode(tiff(pixels, photometric="rgb", extrasamples=["assocalpha"]))
        for row, column, channel in itertools.product(range(5), range(7), range(3)):
            colour, alpha = int(pixels[row, column, channel]), int(pixels[row, column, 3])
            expected = colour if alpha == 0 else colour * top / alpha
            assert abs(content.pixels[row, column, channel] - expected) <= 0.5
        assert np.array_equal(content.pixels[:, :, 3], pixels[:, :, 3])


LIBTIFF = [
    ("1", "group4"),
    *itertools.product(("L", "RGB", "CMYK", "YCbCr", "P"), ("tiff_lzw", "packbits", "tiff_adobe_deflate")),
    *itertools.product(("L", "RGB", "CMYK", "YCbCr"), ("jpeg",)),
]


@pytest.mark.parametrize(("mode", "compression"), LIBTIFF)
def test_tiffs_written_by_libtiff_are_read_as_pillow_reads_them(compression, mode):
    picture = keyed_palette() if mode == "P" else Image.fromarray(scene(24, 32)).convert(mode)
    data = saved(picture, "TIFF", compression=compression)
    expected = Image.open(io.BytesIO(data))
    if mode in {"YCbCr", "P"} or expected.mode == "YCbCr":
        expected = expected.convert("RGB")
    expected = np.asarray(expected.convert("L") if mode == "1" else expected)
    pixels = decode(data).pixels
    assert pixels.shape == expected.shape
    # libtiff turns such colours into RGB itself, and rounds otherwise than Pillow.
    most = 1 if mode == "YCbCr" and compression != "jpeg" else 0
    assert np.abs(pixels.astype(int) - expected).max() <= most


def signed(samples, **options):
    """Return a TIFF that says that its samples are signed."""
    data = bytearray(tiff(samples, extratags=[(1339, "H", 1, 2, True)], **options))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<H", data, file.pages.first.tags[1339].offset, 339)
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: tiff(noise((5, 7), "float32").astype("c8")), "dtype complex64 is not supported"),
        (lambda: tiff(noise((5, 7), "int16"), photometric="miniswhite"), "not supported"),
        (lambda: tiff(noise((5, 7, 5)), photometric="separated", planarconfig="contig"), "not supported"),
        (
            lambda: signed(noise((5, 7)) >> 4, bitspersample=4),
            "a TIFF of 1 x 4 bits is not supported",
        ),
        (lambda: tiff(noise((3, 5, 7)), photometric="minisblack", volumetric=True, tile=(16, 16, 16)), "not supported"),
    ],
)
def test_tiffs_that_would_be_misread_are_refused(make, reason):
    assert reason in refusal(make())


def test_a_tiff_whose_folders_form_a_loop_ends():
    data = bytearray(tiff(noise((5, 7))))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    assert np.array_equal(decode(bytes(data)).pixels, noise((5, 7)))


@pytest.mark.parametrize("tag", [322, 323])
def test_tiles_of_a_damaged_size_are_refused_before_they_are_made(tag):
    data = bytearray(tiff(noise((40, 37)), tile=(16, 16), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = file.pages.first.tags[tag]
    assert found.dtype in {3, 4}
    struct.pack_into("<H", data, found.offset + 2, 4)
    struct.pack_into("<I", data, found.valueoffset, 2**30)
    assert "tiff" in refusal(bytes(data))


def test_a_tiff_with_several_heights_is_refused_at_once():
    data = bytearray(tiff(noise((40, 37)), tile=(16, 16)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at = file.pages.first.tags[257].offset
    struct.pack_into("<HHII", data, at, 257, 4, 20, 8)
    assert refusal(bytes(data)) == "damaged tiff: its header gives no single size"


def test_many_channels_count_against_the_limit():
    data = tiff(noise((10, 10, 9)), photometric="minisblack", planarconfig="contig")
    assert decode(data, max_pixels=300).pixels.shape == (10, 10, 9)
    with pytest.raises(LimitError, match=r"^10x10 are 100 pixels"):
        contents.decode(tiff(noise((10, 10, 4)), photometric="rgb"), max_pixels=99)
    with pytest.raises(LimitError, match="10x10x9 are 300 pixels, more than the limit of 299"):
        contents.decode(data, max_pixels=299)


def test_strips_that_are_missing_or_too_short_are_refused_not_filled():
    for options in ({}, {"compression": "zlib"}):
        good = tiff(noise((40, 37)), rowsperstrip=10, **options)
        with tifffile.TiffFile(io.BytesIO(good)) as file:
            at = file.pages.first.tags[279].valueoffset
            kind = "<H" if file.pages.first.tags[279].dtype == 3 else "<I"
        for count in (0, 1, 60_000):
            data = bytearray(good)
            struct.pack_into(kind, data, at, count)
            assert "tiff" in refusal(bytes(data))


# --- Several frames ---


def animated(form, count, **options):
    frames = [Image.fromarray(noise((20, 30, 3), seed=seed)) for seed in range(count)]
    return saved(frames[0], form, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("GIF", {})], ids=str
)
def test_of_several_frames_the_first_is_used_and_said(form, options):
    data = animated(form, 7, **options)
    content = decode(data)
    assert content.warnings == ("frame 1 of 7",)
    assert content.header.frames == 7
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(content.pixels, np.asarray(picture.convert("RGB")))
    single = decode(animated(form, 1, **options))
    assert (single.warnings, single.header.frames) == ((), 1)


def test_thumbnails_in_a_tiff_are_no_frames():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(noise((20, 30)), metadata=None)
        writer.write(noise((10, 15)), subfiletype=1, metadata=None)
    content = decode(file.getvalue())
    assert content.warnings == ()
    assert content.pixels.shape == (20, 30)


@pytest.mark.parametrize("kept", [1, 4])
def test_a_damaged_later_frame_does_not_cost_the_first(kept):
    one = saved(Image.new("P", (16, 16)), "GIF")
    body = one[one.index(b",") : one.rindex(b";")]
    content = decode(one[:-1] + body[:kept])
    assert np.array_equal(content.pixels, decode(one).pixels)
    assert content.warnings == ("later frames are damaged",)
    assert content.header.frames == 1


def test_ten_thousand_frames_are_counted_and_not_decoded():
    one = saved(Image.new("P", (16, 16)), "GIF")
    body = one[one.index(b",") : one.rindex(b";")]
    data = one[: one.index(b",")] + body * 10_000 + b";"
    calls = []
    sys.setprofile(lambda _, event, __: calls.append(event) if event == "call" else None)
    try:
        content = decode(data)
    finally:
        sys.setprofile(None)
    assert content.warnings == ("frame 1 of 10000",)
    assert len(calls) < 10_000 * 50  # reading a file of one takes 800


# --- Damage ---

SEEDS = {
    "png": lambda: saved(noise((12, 15, 3)), "PNG"),
    "png palette": lambda: saved(keyed_palette(), "PNG"),
    "jpeg": lambda: saved(scene(24, 32), "JPEG"),
    "jpeg progressive": lambda: saved(scene(24, 32), "JPEG", progressive=True),
    "webp lossless": lambda: saved(noise((12, 15, 3)), "WEBP", lossless=True),
    "webp lossy": lambda: saved(scene(24, 32), "WEBP"),
    "bmp": lambda: saved(noise((12, 16, 3)), "BMP"),
    "pnm": lambda: saved(noise((12, 15, 3)), "PPM"),
    "tiff": lambda: tiff(noise((12, 15, 3)), photometric="rgb"),
    "tiff deflate": lambda: tiff(noise((12, 15, 3)), photometric="rgb", compression="zlib"),
    "tiff lzw": lambda: saved(noise((12, 15, 3)), "TIFF", compression="tiff_lzw"),
    "own tiff": lambda: encode(
        noise((12, 15), "float32"), "tiff", decode(saved(scene(), "PNG", exif=full_exif())).meta
    ),
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_file_cut_anywhere_is_refused(name):
    data = SEEDS[name]()
    decode(data)
    last = len(data) - 4 * (name == "own tiff")  # four zeros that say that no folder follows
    refused_cut(data, sorted({*range(min(last, 200)), *range(0, last, 7), *range(last - 20, last)}))


def test_a_gif_cut_anywhere_is_refused_or_lacks_only_its_last_byte():
    data = saved(noise((12, 15)), "GIF")
    refused_cut(data, range(len(data) - 2))


def test_bytes_after_a_complete_picture_do_no_harm():
    for name in ("png", "jpeg", "webp lossless", "bmp", "pnm", "tiff"):
        data = SEEDS[name]()
        assert np.array_equal(decode(data + b"trailing").pixels, decode(data).pixels)


def test_every_flipped_bit_of_a_png_is_noticed():
    data = SEEDS["png"]()
    for at in range(len(data)):
        with pytest.raises(InputError):
            contents.decode(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :], max_pixels=LIMIT)


def test_a_wrong_checksum_is_named_even_where_the_data_is_sound():
    data = bytearray(SEEDS["png"]())
    at = data.index(b"IDAT")
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length] ^= 1
    assert refusal(bytes(data)) == "damaged png: checksum of IDAT"


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_read_or_refused_in_words_for_people(name):
    read_or_refused(SEEDS[name]())


def test_a_changed_process_wide_switch_changes_nothing(monkeypatch):
    data = SEEDS["jpeg"]()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "truncated" in refusal(data[: len(data) * 2 // 3])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(data).pixels.shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("Broken data.\nmore"), "broken data"),
        (SyntaxError("EOF in header"), "EOF in header"),
        (SyntaxError("JPeg header"), "JPeg header"),
        (NotImplementedError("x" * 150), "x" * 120),
        (OSError(""), "its header is damaged"),
        (OSError("cannot identify image file <x>"), "its header is damaged"),
        (ValueError("zip() argument 2 is longer"), "its header is damaged"),
        (OSError("a\x1b[1m"), r"a\x1b[1m"),
    ],
)
def test_a_decoders_reason_is_given_where_it_is_made_for_people(error, told, monkeypatch):
    def look(*_, **__):
        raise error

    monkeypatch.setattr(bmp, "look", look)
    assert refusal(SEEDS["bmp"]()) == f"damaged or truncated bmp: {told}"


@pytest.mark.parametrize("case", [b"II*\0" + bytes(12), b"II*\0\x08\0\0\0", b"GIF89a" + bytes(3)])
def test_an_exception_that_is_not_made_for_people_is_told_by_where_it_happened(case):
    name = "gif" if case[:3] == b"GIF" else "tiff"
    assert refusal(case) == f"damaged or truncated {name}: its header is damaged"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF"])
def test_more_pixels_than_the_limit_are_refused_from_the_header(form):
    data = saved(scene(40, 60), form)
    for call in (contents.look, contents.decode):
        with pytest.raises(LimitError) as caught:
            call(data, max_pixels=2399)
        assert caught.value.message == "40x60 are 2400 pixels, more than the limit of 2399"
        assert caught.value.hint == "max_pixels=2400"
    assert decode(data, max_pixels=2400).pixels.shape[:2] == (40, 60)


def test_a_byte_may_stand_for_as_many_pixels_as_the_format_can_pack_and_no_more():
    pictures.fill("png", 10, 5, 4, 2)
    with pytest.raises(InputError, match=r"^damaged or truncated png: 10 bytes cannot hold 7x3 pixels$"):
        pictures.fill("png", 10, 7, 3, 2)


def bombs(rows, columns):
    """Return tiny files whose headers promise many pixels."""
    jpeg = bytearray(saved(scene(64, 64), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, at + 5, min(rows, 65500), min(columns, 65500))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    short = rows % 65536, columns % 65536
    return [
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND"),
        bytes(jpeg),
        b"BM"
        + struct.pack("<IHHI", 999, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, columns, rows, 1, 24, *[0] * 6)
        + bytes(99),
        b"P6 %d %d 255\n" % (columns, rows) + bytes(99),
        b"GIF89a"
        + struct.pack("<HHBBB", *short, 128, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, *short, 0)
        + b"\x02\x02\x4c\x01\0;",
        raw_tiff(rows, columns, 1),
        raw_tiff(rows, columns, 8),
        raw_tiff(rows, columns, 5),
    ]


def raw_tiff(rows, columns, compression):
    body = zlib.compress(bytes(999))
    tags = [
        (256, columns),
        (257, rows),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, rows),
        (279, len(body)),
    ]
    folder = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + folder + bytes(4)


@pytest.mark.parametrize(
    "size", [(9460, 9460), (13_380, 13_380), (30_000, 30_000), (65_500, 65_500), (2**31 - 1, 2**31 - 1)]
)
def test_headers_that_promise_too_much_are_refused_in_little_memory(size):
    code = (
        "from poolcli.errors import PoolError; from poolcli.media import contents\n"
        "for case in data:\n"
        "    try: contents.decode(case, max_pixels=10**9)\n"
        "    except PoolError as error: print(error.exit_code)\n"
        "    else: print('read')\n"
        # ru_maxrss would count the parent's, too
        "print(*(int(s.split()[1]) // 1024 for s in open('/proc/self/status') if s.startswith('VmHWM')))\n"
    )
    *codes, megabytes = isolated(code, bombs(*size)).split()
    assert len(codes) == 8
    assert set(codes) <= {"3", "5"}
    assert int(megabytes) < 300


@pytest.mark.parametrize("head", [b"%!PS-Adobe-3.0 EPSF-3.0", b"8BPS", b"%PDF-1.4", b"SIMPLE  =", b"<svg xmlns="])
def test_formats_with_dangerous_parsers_never_reach_a_library(head, monkeypatch):
    monkeypatch.setattr(contents, "_module", None)
    assert "looks like" in refusal(head + bytes(1000))


def test_a_key_is_refused_for_a_picture():
    with pytest.raises(InputError, match="this is png"):
        contents.decode(SEEDS["png"](), key="a", max_pixels=LIMIT)


# --- Start-up ---


@pytest.mark.parametrize(
    ("name", "unwanted"), [("png", {"PIL", "imageio", "tifffile"}), ("jpeg", {"imageio", "tifffile"})]
)
def test_only_the_libraries_that_a_format_needs_are_imported(name, unwanted):
    answer = isolated(
        "from poolcli.media import contents, formats\n"
        "before = {'PIL', 'imageio', 'tifffile', 'imagecodecs'} & {name for name in sys.modules if sys.modules[name]}\n"
        "content = contents.decode(data[0], max_pixels=10**9)\n"
        "contents.encode(content.pixels, formats.by_name(data[1]), content.meta)\n"
        "print(before, sorted(name for name in sys.modules if name in data[2] and sys.modules[name]))",
        (encode(scene(), name), name, unwanted),
    )
    assert answer == "set() []\n"
