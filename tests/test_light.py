"""Proves what the numbers of a picture mean while it is pooled: alpha, light, depth, and the part that is pooled."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction

import numpy as np
import pytest
import tifffile
from pictures import noise
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from poolcli.media import contents
from poolcli.media.formats import by_name

TOPS = {"uint8": 255, "uint16": 65535}


def save(name, pixels, format="png", mode=None, **fields):
    """Write pixels with our own writer, whose files other tests read with other decoders."""
    meta = contents.Meta(mode=mode, **fields)
    with open(name, "wb") as file:
        file.writelines(contents.encode(pixels, by_name(format), meta))


def load(name):
    with open(name, "rb") as file:
        return contents.decode(file.read(), max_pixels=10**9).pixels


def pooled(cli, *arguments, source="a.png", target="x.png"):
    done = cli("pool", source, *arguments, "-o", target, "-f")
    assert (done.code, done.err) == (0, "")
    return load(target)


def windows(pixels, kernel):
    """Yield each place of the result and the pixels of its window."""
    rows, columns = (length // kernel for length in pixels.shape[:2])
    for row, column in itertools.product(range(rows), range(columns)):
        part = pixels[row * kernel : (row + 1) * kernel, column * kernel : (column + 1) * kernel]
        yield (row, column), part.reshape(kernel * kernel, -1)


def weighted(pixels, kernel, round_=round):
    """Return means of colours weighed by alpha in exact fractions."""
    result = np.empty((pixels.shape[0] // kernel, pixels.shape[1] // kernel, pixels.shape[2]), pixels.dtype)
    for place, window in windows(pixels, kernel):
        rows = [[int(value) for value in pixel] for pixel in window]
        total = sum(pixel[-1] for pixel in rows)
        for channel in range(pixels.shape[2] - 1):
            shares = sum(pixel[channel] * (pixel[-1] if total else 1) for pixel in rows)
            result[(*place, channel)] = round_(Fraction(shares, total or len(rows)))
        result[(*place, -1)] = round_(Fraction(total, len(rows)))
    return result


# --- Alpha ---


def test_red_beside_half_seen_green_is_mostly_red(cli):
    save("a.png", np.array([[[255, 0, 0, 255], [0, 255, 0, 64]]], np.uint8))
    assert pooled(cli, "-m", "avg", "-k", "1x2").tolist() == [[[204, 51, 0, 160]]]
    assert pooled(cli, "-m", "avg", "-k", "1x2", "--alpha", "weighted").tolist() == [[[204, 51, 0, 160]]]
    assert pooled(cli, "-m", "avg", "-k", "1x2", "--alpha", "independent").tolist() == [[[128, 128, 0, 160]]]
    assert pooled(cli, "-m", "avg", "-k", "1x2", "--alpha", "drop").tolist() == [[[128, 128, 0]]]
    assert pooled(cli, "-m", "max", "-k", "1x2").tolist() == [[[255, 255, 0, 255]]]


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", TOPS)
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_means_of_colours_are_weighed_exactly(cli, dtype, channels, kernel, engine):
    pixels = noise((12, 18, channels), dtype)
    pixels[:6, :6, -1] = 0  # there the mean is the plain one
    pixels[6:, :6, -1] = 1
    pixels[:, 12:, :-1] &= 3  # many halves
    save("a.png", pixels)
    assert np.array_equal(pooled(cli, "-m", "avg", "-k", kernel, "--engine", engine), weighted(pixels, kernel))


def test_a_weighted_mean_is_rounded_as_asked(cli):
    pixels = noise((8, 8, 4)) & 7
    save("a.png", pixels)
    half_up = lambda value: int(value + Fraction(1, 2))  # noqa: E731
    for rule, round_ in (("up", half_up), ("floor", int)):
        assert np.array_equal(pooled(cli, "-m", "avg", "--round", rule), weighted(pixels, 2, round_))


def test_what_is_not_seen_has_no_say_in_blurred_colours(cli):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = 10, 20, 200, 255
    pixels[:, :4, :3] = 255  # white, and not there
    save("a.png", pixels)
    small = pooled(cli, "-m", "blur", "-k", "3", "-s", "1")
    assert (small[small[:, :, 3] > 0][:, :3] == (10, 20, 200)).all()
    assert 0 < small[4, 4, 3] < 255 or 0 < small[4, 3, 3] < 255


def test_a_float_picture_is_weighed_too(cli):
    pixels = np.random.default_rng(1).random((4, 6, 4), np.float32)
    pixels[:2, :2, 3] = 0
    save("a.tiff", pixels, "tiff")
    small = pooled(cli, "-m", "avg", source="a.tiff", target="x.tiff")
    for place, window in windows(pixels.astype(np.float64), 2):
        shares = window[:, 3:] if window[:, 3].any() else 1
        expected = (window[:, :3] * shares).sum(0) / (shares.sum() if window[:, 3].any() else 4)
        assert np.allclose(small[place][:3], expected, rtol=1e-6)
        assert np.isclose(small[place][3], window[:, 3].mean(), rtol=1e-6)


def test_ink_and_tensors_have_no_alpha(cli):
    pixels = noise((4, 6, 4))
    save("a.tiff", pixels, "tiff", mode="CMYK")
    plain = np.rint(pixels.reshape(2, 2, 3, 2, 4).mean((1, 3)))
    assert np.array_equal(pooled(cli, "-m", "avg", source="a.tiff", target="x.tiff"), plain)
    np.save("a.npy", pixels)
    result = pooled(cli, "-m", "avg", "--layout", "HWC", "--dtype", "u8", source="a.npy", target="x.npy")
    assert np.array_equal(result, plain)


@pytest.mark.parametrize(
    ("colour", "background"),
    [("white", (255, 255, 255)), ("#000", (0, 0, 0)), ("#0f8", (0, 255, 136)), ("#102030", (16, 32, 48))],
)
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", TOPS)
def test_over_a_colour_nothing_stays_transparent(cli, dtype, channels, colour, background):
    pixels, top = noise((3, 4, channels), dtype), TOPS[dtype]
    save("a.png", pixels)
    result = pooled(cli, "-k", "1", "--alpha", f"over:{colour}")
    grey = channels == 2 and len(set(background)) == 1
    assert result.shape == ((3, 4) if grey else (3, 4, 3))
    for row, column, channel in itertools.product(range(3), range(4), range(3)):
        value, alpha = int(pixels[row, column, min(channel, channels - 2)]), int(pixels[row, column, -1])
        mixed = Fraction(value * alpha + background[channel] * (top // 255) * (top - alpha), top)
        assert (result[row, column] if grey else result[row, column, channel]) == round(mixed)


def test_over_white_makes_a_sprite_fit_jpeg_and_the_refusal_says_so(cli, samples):
    refused = cli("pool", samples / "sprite_rgba.png", "-o", "x.jpg")
    assert refused.code == 3
    assert "--alpha over:white" in refused.err
    assert cli("pool", samples / "sprite_rgba.png", "--alpha", "over:white", "-o", "x.jpg").code == 0
    with Image.open("x.jpg") as picture:
        assert picture.mode == "RGB"
        assert min(picture.getpixel((0, 0))) > 245  # a corner, which was transparent


# --- Depth ---


@pytest.mark.parametrize("method", ["max", "avg"])
def test_depth_rescales_with_one_rounding(cli, method):
    pixels = noise((40, 40), "uint16")
    pixels[:20] = pixels[:20] // 257 * 257 + 128  # whose means are halves of 257
    save("a.png", pixels)
    result = pooled(cli, "-m", method, "--depth", "8")
    assert result.dtype == np.uint8
    for place, window in windows(pixels, 2):
        values = [int(value) for value in window.ravel()]
        value = Fraction(sum(values), 4) if method == "avg" else max(values)
        assert result[place] == round(Fraction(value * 255, 65535))
    save("b.png", noise((4, 4, 4)))
    assert np.array_equal(pooled(cli, "-k", "1", "--depth", "16", source="b.png"), noise((4, 4, 4)) * np.uint16(257))


def test_depth_and_alpha_meet_in_one_rounding(cli):
    pixels = noise((6, 8, 4), "uint16")
    save("a.png", pixels)
    result = pooled(cli, "-m", "avg", "--depth", "8")
    for place, window in windows(pixels, 2):
        rows = [[int(value) for value in pixel] for pixel in window]
        total = sum(pixel[3] for pixel in rows)
        for channel in range(3):
            mean = Fraction(sum(pixel[channel] * pixel[3] for pixel in rows), total)
            assert result[(*place, channel)] == round(mean * 255 / 65535)
        assert result[(*place, 3)] == round(Fraction(total, 4) * 255 / 65535)


def test_the_depth_of_a_12_bit_scan_is_its_own(cli):
    pixels = noise((6, 8), "uint16") % 4096
    pixels[0, 0] = 4095
    tifffile.imwrite("a.tiff", pixels, bitspersample=12, photometric="minisblack")
    expected = [[round(Fraction(int(value) * 255, 4095)) for value in row] for row in pixels]
    assert pooled(cli, "-k", "1", "--depth", "8", source="a.tiff").tolist() == expected


def test_a_format_that_is_too_shallow_is_answered_with_depth(cli):
    save("a.png", noise((4, 6, 3), "uint16"))
    refused = cli("pool", "a.png", "-o", "x.webp")
    assert refused.code == 3
    assert "--depth 8" in refused.err
    assert cli("pool", "a.png", "-o", "x.webp", "--depth", "8").code == 0


# --- Light ---


def light_of(value):
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def number_of(light):
    return light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def test_a_checkerboard_keeps_its_light(cli):
    for dtype, expected in (("uint8", 188), ("uint16", 48192)):
        board = np.indices((4, 4)).sum(0) % 2 * TOPS[dtype]
        save("a.png", board.astype(dtype))
        assert (pooled(cli, "-m", "avg", "--linear") == expected).all()
        assert (pooled(cli, "-m", "avg") == (TOPS[dtype] + 1) // 2).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", TOPS)
def test_light_is_averaged_as_the_formula_says(cli, dtype, channels):
    pixels, top = noise((8, 12, channels), dtype), TOPS[dtype]
    save("a.png", pixels)
    result = pooled(cli, "-m", "avg", "--linear").reshape(4, 6, channels)
    for place, window in windows(pixels, 2):
        alpha = [int(value) for value in window[:, -1]] if channels in {2, 4} else [1] * 4
        for channel in range(channels):
            values = [int(value) for value in window[:, channel]]
            if channels in {2, 4} and channel == channels - 1:
                assert result[(*place, channel)] == round(sum(values) / 4)
                continue
            light = sum(light_of(v / top) * a for v, a in zip(values, alpha, strict=True)) / sum(alpha)
            assert result[(*place, channel)] == round(number_of(light) * top)


def test_flat_light_is_what_it_was_and_choosing_is_no_matter_of_light(cli):
    ramp = np.arange(256, dtype=np.uint8).repeat(2).reshape(1, 512)
    save("a.png", ramp)
    assert np.array_equal(pooled(cli, "-m", "avg", "-k", "1x2", "--linear"), ramp[:, ::2])
    save("a.png", noise((8, 8, 4)))
    for method in ("max", "min", "mode", "first"):
        assert np.array_equal(pooled(cli, "-m", method, "--linear"), pooled(cli, "-m", method))


# --- The part, and which way is up ---


def phone(orientation):
    exif = Image.Exif()
    exif[0x0112], exif[271] = orientation, "Maker"
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_is_of_the_upright_picture(cli, orientation):
    picture = Image.fromarray(noise((10, 14, 3)))
    picture.save("a.png", exif=phone(orientation))
    with Image.open("a.png") as again:
        upright = np.asarray(ImageOps.exif_transpose(again))
    assert np.array_equal(pooled(cli, "-k", "2", "--crop", "2,1,6,8"), pool_max(upright[1:9, 2:8]))


def pool_max(pixels):
    rows, columns, channels = pixels.shape
    return pixels.reshape(rows // 2, 2, columns // 2, 2, channels).max((1, 3))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("target", ["x.png", "x.webp", "x.tiff"])
def test_an_ignored_orientation_stays_in_the_file(cli, orientation, target):
    pixels = noise((10, 14, 3))
    Image.fromarray(pixels).save("a.png", exif=phone(orientation), dpi=(300, 150))
    assert cli("pool", "a.png", "-k", "2", "--orient", "ignore", "-o", target).code == 0
    stored = tifffile.imread(target) if target == "x.tiff" else np.asarray(Image.open(target))  # Pillow turns a TIFF
    assert np.array_equal(stored, pool_max(pixels))
    with Image.open(target) as picture:
        assert picture.getexif()[0x0112] == orientation
        assert picture.getexif()[271] == "Maker"
    bare = Image.Exif()
    bare[0x0112] = orientation
    Image.fromarray(pixels).save("a.png", exif=bare)
    assert cli("pool", "a.png", "-k", "2", "--orient", "ignore", "-o", target, "-f").code == 0
    with Image.open(target) as picture:
        assert picture.getexif()[0x0112] == orientation


# --- What is carried over ---

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("target", ["x.png", "x.jpg", "x.webp", "x.tiff"])
@pytest.mark.parametrize("what", ["keep", "icc", "none"])
def test_metadata_is_kept_as_far_as_asked_and_its_resolution_scaled(cli, what, target):
    Image.fromarray(noise((12, 18, 3))).save("a.jpg", exif=phone(6), icc_profile=ICC, dpi=(300, 200))
    assert cli("pool", "a.jpg", "-k", "3x2", "--meta", what, "-o", target).code == 0
    with Image.open(target) as picture:
        assert picture.size == (6, 6)
        assert picture.info.get("icc_profile") == (None if what == "none" else ICC)
        assert picture.getexif().get(ExifTags.Base.Make) == ("Maker" if what == "keep" else None)
        if target != "x.webp" and what == "keep":  # turned, and fewer pixels for the same paper
            assert picture.info["dpi"] == pytest.approx((100, 100), abs=0.1)
        elif what != "keep":
            assert "dpi" not in picture.info


# --- What is refused ---


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--alpha", "no"], 2, "alpha must be one of weighted, independent, drop, over:COLOR"),
        (["--alpha", "over:puce"], 2, "#rrggbb"),
        (["--alpha", "weighted"], 2, "alpha=weighted must be used with a mean, got max"),
        (["--linear", "-m", "range"], 2, "linear must be used with a mean, got range"),
        (["--depth", "12"], 2, "depth must be 8 or 16, got 12"),
        (["--depth", "8", "--dtype", "u8"], 2, "depth must be used without dtype"),
        (["--crop", "1,2,0,4"], 2, "crop must be X,Y,W,H in pixels"),
        (["--crop", "-1,2,1,4"], 2, "crop must be X,Y,W,H in pixels"),
        (["--crop", "5,0,4,4"], 3, "crop must lie within 8 columns and 6 rows, got 4 and 4 from 5,0"),
        (["--orient", "tag"], 2, "orient must be one of apply, ignore"),
        (["--meta", "all"], 2, "meta must be one of keep, icc, none"),
    ],
)
def test_what_no_picture_could_make_right_is_refused(cli, arguments, code, said):
    save("a.png", noise((6, 8, 4)))
    done = cli("pool", "a.png", *arguments, "-o", "x.png")
    assert done.code == code
    assert said in done.err


def test_light_and_depth_are_refused_where_numbers_are_no_light(cli):
    save("ink.tiff", noise((6, 8, 4)), "tiff", mode="CMYK")
    save("float.tiff", np.ones((6, 8), np.float32), "tiff")
    for name in ("ink.tiff", "float.tiff"):
        assert "linear must be" in cli("pool", name, "-m", "avg", "--linear", "-o", "x.tiff").err
    assert "depth must be" in cli("pool", "float.tiff", "--depth", "8", "-o", "x.tiff").err


def test_pixels_from_a_pipe_are_treated_alike(cli, monkeypatch):
    save("a.png", noise((6, 8, 4)))
    expected = pooled(cli, "-m", "avg", "--linear")
    with open("a.png", "rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read())))
    assert np.array_equal(pooled(cli, "-m", "avg", "--linear", source="-"), expected)


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description\
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" %s dc:rights="mine"/>%s\
</x:xmpmeta><?xpacket end="w"?>"""
SOURCES = {"a.jpg": {}, "a.webp": {"lossless": True}, "a.tiff": {}, "a.png": {}}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", ["x.png", "x.jpg", "x.webp", "x.tiff"])
def test_xmp_and_comment_are_kept_but_for_what_pooling_made_false(cli, source, target):
    packet = XMP % (
        b'tiff:Orientation="6" tiff:ImageWidth="18"',
        b"<xmp:Thumbnails><rdf:Alt>AAAA</rdf:Alt></xmp:Thumbnails>",
    )
    options = {"exif": phone(6), **SOURCES[source]}
    if source == "a.png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())
        options["pnginfo"].add_text("Comment", "a käfer")
    elif source == "a.tiff":
        options["tiffinfo"] = {700: packet, 274: 6, 271: "Maker"}
        del options["exif"]
    else:
        options["xmp"] = packet
    if source == "a.jpg":
        options["comment"] = "a käfer".encode()
    Image.fromarray(noise((12, 18, 3))).save(source, **options)
    assert cli("pool", source, "-k", "2", "-o", target).code == 0
    with Image.open(target) as picture:
        found = picture.tag_v2.get(700) if target == "x.tiff" else picture.info.get("xmp")
        comment = picture.info.get("comment", picture.info.get("Comment"))
    assert found == XMP % (b'tiff:Orientation="1"', b"")
    if source in {"a.jpg", "a.png"} and target in {"x.jpg", "x.png"}:
        assert comment in {"a käfer", "a käfer".encode()}
    assert cli("pool", source, "-k", "2", "-o", target, "-f", "--meta", "icc").code == 0
    with open(target, "rb") as file:
        assert b'dc:rights="mine"' not in file.read()


def test_strict_refuses_what_is_read_with_a_warning(cli):
    file = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(file, "JPEG")
    data = file.getvalue()
    with open("a.jpg", "wb") as out:
        out.write(data[: data.index(b"\xff\xda") + 20] + b"\xff\xd9")
    done = cli("pool", "a.jpg", "-o", "x.png")
    assert (done.code, done.err) == (0, "warning: a.jpg: its data ends early; the rest is made up\n")
    done = cli("pool", "a.jpg", "-o", "y.png", "--strict")
    assert (done.code, done.err) == (3, "error: a.jpg: its data ends early; the rest is made up\n")
