"""Proves colours that are no RGB, and samples in rare places: ink, CIELAB, planes, fields of bits, and PFM."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from pictures import LIMIT, decode, noise, refused_cut, tiff
from PIL import Image, ImageCms

from poolcli.errors import InputError
from poolcli.media import contents
from poolcli.media.formats import by_name


def load(name):
    with Image.open(name) as picture:
        return picture.mode, np.asarray(picture)


# --- CIELAB and ink ---


def lab(name, **options):
    colours = Image.fromarray(np.linspace(0, 255, 24 * 32 * 3).reshape(24, 32, 3).astype(np.uint8))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    picture = ImageCms.applyTransform(colours, to_lab)
    picture.save(name, **options)
    return np.asarray(colours)


def test_cielab_becomes_the_colours_it_stands_for(cli):
    colours = lab("a.tiff")
    refused = cli("pool", "a.tiff", "-o", "x.png")
    assert (refused.code, refused.err) == (3, "error: a.tiff: png cannot hold CIELAB pixels\nhint: --to-rgb\n")
    assert cli("pool", "a.tiff", "--to-rgb", "-k", "1", "-o", "x.png").code == 0
    mode, pixels = load("x.png")
    assert mode == "RGB"
    assert np.abs(pixels.astype(int) - colours).max() <= 6  # what 8 bits of CIELAB lose
    assert np.abs(pixels.astype(int) - colours).mean() < 1.5


@pytest.mark.parametrize("form", ["a.jpg", "a.tiff"])
def test_ink_becomes_rgb_where_asked(cli, form):
    Image.fromarray(noise((3, 2, 4)).repeat(8, 0).repeat(8, 1), "CMYK").save(form)
    refused = cli("pool", form, "-o", "x.png")
    assert refused.code == 3
    assert "hint: --to-rgb, or -F tiff" in refused.err
    assert cli("pool", form, "--to-rgb", "-k", "1", "-o", "x.png").code == 0
    with Image.open(form) as picture:
        assert load("x.png")[0] == "RGB"
        assert np.array_equal(load("x.png")[1], np.asarray(picture.convert("RGB")))


def test_to_rgb_leaves_rgb_alone_and_refuses_a_wrong_profile(cli):
    Image.fromarray(noise((4, 6, 3))).save("a.png")
    assert cli("pool", "a.png", "--to-rgb", "-k", "1", "-o", "x.png").code == 0
    assert np.array_equal(load("x.png")[1], noise((4, 6, 3)))
    wrong = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise((4, 6, 4)), "CMYK").save("a.tiff", icc_profile=wrong)
    done = cli("pool", "a.tiff", "--to-rgb", "-o", "x.png", "-f")
    assert (done.code, "its colour profile is damaged, or of other colours" in done.err) == (3, True)


# --- Planes, and samples that mean nothing ---


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_planes_of_ink_are_read_though_a_tag_speaks_of_subsampling(compression):
    pixels = np.add.outer(np.arange(4) * 20, np.add.outer(np.arange(16), np.arange(32))).astype(np.uint8)
    data = tiff(
        pixels, photometric="separated", planarconfig="separate", compression=compression,
        extratags=[(530, "H", 2, (2, 2), True)],
    )  # fmt: skip
    found = decode(data)
    assert found.header.mode == "CMYK"
    assert np.abs(found.pixels.astype(int) - np.moveaxis(pixels, 0, -1)).max() <= (6 if compression == "jpeg" else 0)


def test_planes_of_ycbcr_are_turned_into_rgb():
    pixels = noise((6, 9, 3))
    data = bytearray(
        tiff(
            np.moveaxis(pixels, -1, 0),
            photometric="rgb",
            planarconfig="separate",
            extratags=[(530, "H", 2, (1, 1), True)],
        )
    )
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<H", data, file.pages.first.tags[262].valueoffset, 6)
    expected = np.asarray(Image.fromarray(pixels, "YCbCr").convert("RGB"))
    assert np.array_equal(decode(bytes(data)).pixels, expected)


@pytest.mark.parametrize(("channels", "photometric"), [(2, "minisblack"), (4, "rgb")])
def test_a_sample_of_no_stated_meaning_is_no_alpha(channels, photometric):
    pixels = noise((6, 9, channels))
    found = decode(tiff(pixels, photometric=photometric, planarconfig="contig", extrasamples=["unspecified"]))
    assert np.array_equal(found.pixels, pixels[:, :, 0] if channels == 2 else pixels[:, :, :3])
    assert found.warnings == ("an extra sample of no stated meaning is left out",)
    assert found.header.mode == {2: "L", 4: "RGB"}[channels]
    alpha = decode(tiff(pixels, photometric=photometric, planarconfig="contig", extrasamples=["unassalpha"]))
    assert (alpha.header.mode, alpha.warnings) == ({2: "LA", 4: "RGBA"}[channels], ())


# --- Fields of bits ---

FIELDS = {
    "565": (16, (0xF800, 0x07E0, 0x001F, 0)),
    "4444 with alpha": (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
    "red in the middle": (32, (0xFF000000, 0xFF0, 0xFF0000, 0)),
    "alpha first": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
    "few": (16, (0x4, 0x2, 0x1, 0)),
}


def bmp(words, bits, masks, *, up=True):
    """Return a BMP of pixels that are whole numbers."""
    rows, columns = words.shape
    lines = [row.astype(f"<u{bits // 8}").tobytes() for row in (words[::-1] if up else words)]
    body = b"".join(line + bytes(-len(line) % 4) for line in lines)
    kind = 6 if masks[3] else 3
    head = struct.pack("<IiiHHIIiiII", 40, columns, rows if up else -rows, 1, bits, kind, len(body), 3000, 5000, 0, 0)
    head += struct.pack("<4I", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("kind", FIELDS)
def test_fields_of_any_width_and_place_are_spread_over_all_values(kind, up):
    bits, masks = FIELDS[kind]
    words = noise((5, 7), f"uint{bits}")
    found = decode(bmp(words, bits, masks, up=up))
    top = 65535 if kind == "10 bits" else 255
    for row in range(5):
        for column in range(7):
            for channel, mask in enumerate(mask for mask in masks if mask):
                low = (mask & -mask).bit_length() - 1
                share = ((int(words[row, column]) & mask) >> low) / (mask >> low)
                assert found.pixels[row, column, channel] == round(share * top)
    assert found.header.mode == ("RGBA" if masks[3] else "RGB")
    assert found.meta.dpi == pytest.approx((76.2, 127))


def test_pillow_agrees_on_the_fields_it_knows():
    words = noise((5, 7), "uint32")
    data = bmp(words, 32, (0xFF0000, 0xFF00, 0xFF, 0))
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(decode(data).pixels, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("masks", [(0, 0xFF00, 0xFF, 0), (0xF0F, 0xF0, 0xF000, 0), (0x1FFFF, 0x20000, 0x40000, 0)])
def test_masks_that_are_none_are_refused(masks):
    with pytest.raises(InputError, match="its masks are none"):
        contents.decode(bmp(noise((5, 7), "uint32"), 32, masks), max_pixels=LIMIT)


def test_fields_cut_anywhere_are_refused():
    data = bmp(noise((5, 7), "uint16"), 16, FIELDS["565"][1])
    refused_cut(data, range(len(data)))


# --- PNM ---


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_pfm_is_read_from_the_bottom_in_either_order(order, channels):
    pixels = np.random.default_rng(0).normal(0, 100, (6, 9, *channels)).astype(np.float32)
    head = b"P%s\n9 6\n%s\n" % (b"F" if channels else b"f", b"-1.0" if order == "<" else b"1.0")
    found = decode(head + pixels[::-1].astype(f"{order}f4").tobytes())
    assert np.array_equal(found.pixels, pixels)
    written = b"".join(contents.encode(pixels, by_name("pnm"), None))
    assert written == b"P%s\n9 6\n-1.0\n" % (b"F" if channels else b"f") + pixels[::-1].astype("<f4").tobytes()


@pytest.mark.parametrize("maxval", [256, 1000, 1023, 4095, 65535])
def test_deep_pnm_of_any_white_keeps_white(maxval):
    pixels = (noise((6, 9, 3), "uint16").astype(int) % (maxval + 1)).astype(np.uint16)
    pixels[0, 0] = maxval
    found = decode(b"P6\n# a comment\n9 6\n%d\n" % maxval + pixels.astype(">u2").tobytes())
    top = 2 ** maxval.bit_length() - 1
    expected = [[[round(int(v) * top / maxval) for v in pixel] for pixel in row] for row in pixels]
    assert found.pixels.tolist() == expected
    assert found.header.bits == maxval.bit_length()


@pytest.mark.parametrize("head", [b"P6 9 6 65535\n", b"P5 9 6 65535\n", b"PF 9 6 -1.0\n", b"Pf 9 6 1\n"])
def test_deep_pnm_cut_anywhere_is_refused(head):
    size = 54 * {b"P6": 6, b"P5": 2, b"PF": 12, b"Pf": 4}[head[:2]]
    data = head + bytes(size)
    assert decode(data).pixels.max() == 0
    refused_cut(data, range(0, len(data), 5))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_pillow_reads_what_is_written(dtype, channels):
    if dtype == "bool" and channels:
        return
    pixels = noise((6, 9, *channels), "uint16").astype(dtype) if dtype != "bool" else noise((6, 9)) > 99
    with Image.open(io.BytesIO(b"".join(contents.encode(pixels, by_name("pnm"), None)))) as picture:
        found = np.asarray(picture)
    if dtype == "uint16" and channels:  # of which Pillow gives 8 bits
        assert np.abs(found - pixels / 257).max() <= 1
    else:
        assert np.array_equal(found, pixels)
