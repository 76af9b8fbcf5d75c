"""Proves AVIF, JPEG XL, JPEG 2000, QOI and HEIC: what we write, others read; what others write, we read or refuse."""

from __future__ import annotations

import io
import sys

import imagecodecs
import numpy as np
import pytest
from pictures import ICC, LIMIT, decode, noise, read_or_refused, refusal, refused_cut, scene
from PIL import Image

from poolcli.errors import InputError, LimitError
from poolcli.media import contents
from poolcli.media.formats import by_name, sniff

XMP = b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"/><?xpacket end="w"?>'


def exif_block(**tags):
    exif = Image.Exif()
    exif[271] = "Maker"
    for tag, value in tags.items():
        exif[int(tag[1:])] = value
    return exif.tobytes()


def encode(pixels, name, quality=None, **meta):
    return b"".join(contents.encode(pixels, by_name(name), contents.Meta(**meta), quality=quality))


# --- What we write ---


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("qoi", (40, 60, 3), "uint8"),
        ("qoi", (40, 60, 4), "uint8"),
        ("jpeg2000", (40, 60), "uint8"),
        ("jpeg2000", (40, 60, 3), "uint8"),
        ("jpeg2000", (40, 60, 4), "uint8"),
        ("jpeg2000", (40, 60), "uint16"),
    ],
)
def test_pillow_reads_what_is_written_without_loss(name, shape, dtype):
    pixels = noise(shape, dtype)
    with Image.open(io.BytesIO(encode(pixels, name))) as picture:
        assert np.array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("name", ["avif", "jpegxl", "jpeg2000", "webp"])
def test_quality_makes_files_smaller_and_less_exact(name):
    pixels = scene(80, 120)
    low, high = (encode(pixels, name, quality) for quality in (30, 95))
    assert len(low) < len(high)
    loss = [np.abs(decode(data).pixels.astype(int) - pixels).mean() for data in (low, high)]
    assert 0 < loss[1] < loss[0] < 12


def test_avif_carries_profile_exif_and_xmp():
    data = encode(scene(), "avif", icc=ICC, exif=exif_block(), xmp=XMP)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.info["icc_profile"] == ICC
        assert picture.info["xmp"] == XMP
        assert picture.getexif()[271] == "Maker"
    again = decode(data).meta
    assert (again.icc, again.xmp) == (ICC, XMP)
    assert b"Maker" in again.exif


def test_jpeg_xl_carries_exif_and_xmp_and_is_read_by_its_decoder():
    pixels = noise((40, 60, 3), "uint16")
    data = encode(pixels, "jpegxl", exif=exif_block(), xmp=XMP)
    assert np.array_equal(imagecodecs.jpegxl_decode(data), pixels)
    again = decode(data)
    assert np.array_equal(again.pixels, pixels)
    assert again.meta.xmp == XMP
    assert b"Maker" in again.meta.exif


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_2000_carries_its_profile(channels):
    pixels = noise((40, 60, channels)).squeeze()
    data = encode(pixels, "jpeg2000", icc=ICC)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(np.asarray(picture), pixels)
    again = decode(data)
    assert again.meta.icc == ICC
    assert np.array_equal(again.pixels, pixels)


# --- What others write ---


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (40, 60), (60, 40), (256, 256), (3, 513), (90, 160), (8200, 2), (24, 20)]
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float16"])
def test_the_header_of_every_jpeg_xl_is_read_without_its_decoder(size, channels, dtype):
    pixels = (
        noise((*size, channels), "uint16").astype(dtype) if "uint" in dtype else np.ones((*size, channels), dtype) / 3
    )
    pixels = pixels[:, :, 0] if channels == 1 else pixels
    for options in ({"lossless": True}, {"distance": 1.0, "usecontainer": True}):
        data = imagecodecs.jpegxl_encode(pixels, effort=3, **options)  # 1 aborts on 16-bit noise
        content = decode(data)
        assert content.pixels.shape == pixels.shape
        if "distance" not in options:
            assert np.array_equal(content.pixels, pixels)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_jpeg_xl_of_few_bits_keeps_its_numbers(bits):
    pixels = noise((20, 30), "uint16") % 2**bits
    content = decode(imagecodecs.jpegxl_encode(pixels, lossless=True, bitspersample=bits))
    assert (content.header.bits, content.header.dtype) == (bits, "uint16")
    assert content.pixels.max() >> bits == 0


@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_more_than_8_bits_is_not_narrowed(bits):
    pixels = noise((24, 32, 3), "uint16") % 2**bits
    content = decode(imagecodecs.avif_encode(pixels, level=100, bitspersample=bits))
    assert np.array_equal(content.pixels, pixels)
    assert content.header.bits == bits


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000_of_many_depths_keeps_its_numbers(bits, codec):
    pixels = noise((24, 32, 3), "uint8" if bits == 8 else "uint16") & (2**bits - 1)
    data = imagecodecs.jpeg2k_encode(pixels, bitspersample=bits, reversible=True, codecformat=codec)
    content = decode(data)
    assert np.array_equal(content.pixels, pixels)
    assert content.header.bits == bits


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("form", ["JPEG2000", "QOI", "AVIF"])
def test_what_pillow_writes_is_read(form, mode):
    if form == "QOI" and mode in {"L", "LA"}:
        return
    picture, file = Image.fromarray(scene(24, 32)).convert(mode), io.BytesIO()
    picture.save(file, form)
    with Image.open(io.BytesIO(file.getvalue())) as again:
        assert np.array_equal(decode(file.getvalue()).pixels, np.asarray(again))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_avif_is_read_upright(orientation):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(scene(24, 32)).save(file, "AVIF", quality=95, exif=exif)
    pixels = decode(file.getvalue()).pixels
    upright = {1: 0, 3: 2, 6: -1, 8: 1}
    if orientation in upright:
        assert np.abs(pixels.astype(int) - np.rot90(scene(24, 32), upright[orientation])).mean() < 4
    assert pixels.shape == ((32, 24, 3) if orientation > 4 else (24, 32, 3))


# --- HEIC ---


def heic():
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(scene())).save(file, quality=95, exif=exif_block(_274=6), icc_profile=ICC)
    return file.getvalue()


def test_heic_without_its_extra_is_refused_with_the_extras_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x1cftypheic" + bytes(100)
    assert sniff(data).name == "heic"
    with pytest.raises(InputError, match="HEIC needs pillow-heif") as caught:
        contents.decode(data, max_pixels=LIMIT)
    assert caught.value.hint == "pip install 'poolcli[heif]'"


def test_a_phones_heic_is_read_with_its_profile_and_exif():
    content = decode(heic())
    assert content.meta.icc == ICC
    assert b"Maker" in content.meta.exif
    assert np.abs(content.pixels.astype(int) - np.rot90(scene(), -1)).mean() < 4


# --- Damage ---

SAMPLES = {
    "avif": lambda: encode(scene(), "avif"),
    "jpegxl": lambda: encode(scene(), "jpegxl"),
    "jpegxl lossy": lambda: encode(scene(), "jpegxl", 80, xmp=XMP),
    "jpeg2000": lambda: encode(scene(), "jpeg2000"),
    "jpeg2000 code": lambda: bytes(imagecodecs.jpeg2k_encode(scene(), codecformat="j2k")),
    "qoi": lambda: encode(noise((12, 15, 3)), "qoi"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_anywhere_is_refused(name):
    data = SAMPLES[name]()
    decode(data)
    refused_cut(
        data, sorted({*range(0, min(len(data), 200), 3), *range(0, len(data), max(1, len(data) // 60)), len(data) - 1})
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_are_read_or_refused(name):
    read_or_refused(SAMPLES[name]())


@pytest.mark.parametrize("name", SAMPLES)
def test_more_pixels_than_the_limit_are_refused_from_the_header(name):
    with pytest.raises(LimitError):
        contents.look(SAMPLES[name](), max_pixels=100)


def test_a_qoi_that_promises_too_much_is_refused():
    data = bytearray(SAMPLES["qoi"]())
    data[4:12] = (20_000).to_bytes(4, "big") * 2
    assert "cannot hold 20000x20000 pixels" in refusal(data)
