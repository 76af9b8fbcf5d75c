"""Proves that PNG and JPEG through imagecodecs are what Pillow and the standard say."""

from __future__ import annotations

import io
import itertools
import pickle
import struct
import subprocess
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
from pictures import ICC, chunk, decode, encode, refusal, saved
from PIL import Image

from poolcli.media import contents, pngfilters
from poolcli.media import png as png_module

COLOURS = {"grey": (0, 1), "RGB": (2, 3), "grey-alpha": (4, 2), "RGBA": (6, 4)}


@pytest.fixture
def asked(monkeypatch):
    """Return the list of the functions of imagecodecs that poolcli calls from here on."""
    names = []
    for name in ("png_decode", "jpeg8_decode", "jpeg8_encode"):
        real = getattr(imagecodecs, name)
        monkeypatch.setattr(imagecodecs, name, lambda *a, n=name, f=real, **k: names.append(n) or f(*a, **k))
    return names


def noise(shape, top=255, seed=0):
    dtype = np.uint16 if top > 255 else np.uint8
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


def scene(rows, columns, channels=3, top=255):
    """Return soft waves with a little noise, as a photograph has."""
    y, x = np.mgrid[:rows, :columns]
    waves = [np.sin(x / (9 + c) + c) + np.cos(y / (7 + 2 * c)) for c in range(channels)]
    grain = np.random.default_rng(1).normal(0, 0.02, (rows, columns, channels))
    layers = (np.stack(waves, -1) / 4 + 0.5 + grain).clip(0, 1) * top
    return layers.round().astype(np.uint16 if top > 255 else np.uint8)


def pillow(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


# --- A PNG writer and reader of plain loops, after the standard ---

ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def paeth(left, above, corner):
    estimate = left + above - corner
    return min((abs(estimate - left), 0, left), (abs(estimate - above), 1, above), (abs(estimate - corner), 2, corner))[
        2
    ]


def prediction(kind, left, above, corner):
    return [0, left, above, (left + above) // 2, paeth(left, above, corner)][kind]


def unfiltered(kind, line, last, step):
    row = []
    for at, value in enumerate(line):
        left, corner = (row[at - step], last[at - step]) if at >= step else (0, 0)
        row.append((value + prediction(kind, left, last[at], corner)) % 256)
    return row


def filtered(kind, row, last, step):
    lefts, corners = [0] * step + list(row), [0] * step + list(last)
    return [
        (row[at] - prediction(kind, lefts[at], last[at], corners[at])) % 256
        for at in range(len(row))
    ]  # fmt: skip


def packed(samples, depth):
    """Return the bytes of one row of samples."""
    if depth == 16:
        return samples.ravel().astype(">u2").tobytes()
    bits = (samples.ravel()[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def png(samples, depth, colour, *extra, interlaced=False, level=6):
    """Return a PNG whose rows take the five filters in turn."""
    rows, columns = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    step, stream = max(1, channels * depth // 8), bytearray()
    for top, left, down, across in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::down, left::across]
        if not part.size:
            continue
        last = bytes(len(packed(part[0], depth)))
        for number, row in enumerate(part):
            line = packed(row, depth)
            stream += bytes([number % 5, *filtered(number % 5, line, last, step)])
            last = line
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, interlaced)
    body = zlib.compress(stream, level)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", body[:50]), chunk(b"IDAT", body[50:]), chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def parts_of(data):
    """Return the chunks of a PNG, in order, with their checksums checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        parts.append((kind, data[at + 8 : at + 8 + length]))
        assert chunk(*parts[-1]) == data[at : at + 12 + length]
        at += 12 + length
    return parts


def unpacked(data):
    """Return the samples of a PNG that is not interlaced, and the filters of its rows."""
    parts = parts_of(data)
    columns, rows, depth, colour, *rest = struct.unpack(">IIBBBBB", dict(parts)[b"IHDR"])
    assert rest == [0, 0, 0]
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    width, step = -(-columns * channels * depth // 8), max(1, channels * depth // 8)
    stream = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    assert len(stream) == rows * (width + 1)
    last, lines, kinds = [0] * width, [], []
    for start in range(0, len(stream), width + 1):
        kinds.append(stream[start])
        last = unfiltered(kinds[-1], stream[start + 1 : start + 1 + width], last, step)
        lines.append(last)
    samples = np.array(lines, np.uint8)
    if depth == 16:
        samples = samples.reshape(rows, -1, 2).astype(np.uint16) @ np.array([256, 1], np.uint16)
    elif depth == 1:
        samples = np.unpackbits(samples, axis=1)[:, :columns].astype(bool)
    return samples.reshape((rows, columns, channels) if channels > 1 else (rows, columns)), kinds


# --- PNG read ---


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "interlaced"])
@pytest.mark.parametrize("shape", [(23, 17), (1, 1), (1, 9), (9, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_depth_and_interlace_is_read_to_the_bit(colour, depth, shape, interlaced, asked):
    number, channels = COLOURS[colour]
    samples = noise((*shape, channels) if channels > 1 else shape, 2**depth - 1)
    data = png(samples, depth, number, interlaced=interlaced)
    content = decode(data)
    assert np.array_equal(content.pixels, samples)
    assert content.header.bits == depth
    assert content.warnings == ()
    if depth == 8:
        assert np.array_equal(content.pixels, pillow(data))
    assert asked == ["png_decode"]


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "interlaced"])
@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (2, 0), (4, 0), (1, 3), (2, 3), (4, 3), (8, 3)])
def test_bits_and_palettes_are_expanded_as_pillow_does(depth, colour, interlaced):
    samples = noise((13, 11), 2**depth - 1)
    colours = noise((2**depth, 3), seed=1)
    data = png(samples, depth, colour, *([chunk(b"PLTE", colours.tobytes())] * (colour == 3)), interlaced=interlaced)
    expected = colours[samples] if colour == 3 else (samples.astype(int) * 255 // (2**depth - 1)).astype(np.uint8)
    assert np.array_equal(decode(data).pixels, expected)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB" if colour == 3 else "L")), expected)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", ["grey", "RGB"])
def test_a_transparent_colour_becomes_alpha_at_full_depth(colour, depth):
    number, channels = COLOURS[colour]
    samples = noise((9, 8, channels), 2**depth - 1)
    samples[4, 5] = samples[2, 2] = key = samples[1, 1]
    content = decode(png(samples.squeeze(), depth, number, chunk(b"tRNS", key.astype(">u2").tobytes())))
    assert np.array_equal(content.pixels[:, :, :-1], samples)
    for row, column in itertools.product(range(9), range(8)):
        clear = all(samples[row, column] == key)
        assert content.pixels[row, column, -1] == (0 if clear else 2**depth - 1)
    assert content.header.mode == {1: "LA", 3: "RGBA"}[channels]
    assert "transparent" in refusal(png(samples.squeeze(), depth, number, chunk(b"tRNS", b"\0\1\0")))


def test_one_of_two_bytes_makes_no_colour_transparent():
    samples = np.array([[[256, 2, 3], [0, 2, 3]]], np.uint16)
    assert decode(png(samples, 16, 2, chunk(b"tRNS", bytes([0, 0, 0, 2, 0, 3])))).pixels[0, :, 3].tolist() == [65535, 0]


def test_16_bit_colour_carries_profile_exif_and_resolution():
    exif = Image.Exif()
    exif[0x0112], exif[271] = 6, "Maker"
    extra = [
        chunk(b"iCCP", b"x\0\0" + zlib.compress(ICC)),
        chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1)),
        chunk(b"eXIf", exif.tobytes()[6:]),
    ]
    samples = noise((5, 7, 3), 65535)
    content = decode(png(samples, 16, 2, *extra))
    assert np.array_equal(content.pixels, np.rot90(samples, -1))
    assert content.meta.icc == ICC
    assert content.meta.dpi == pytest.approx((150, 300), abs=0.1)
    again = decode(encode(content.pixels, meta=content.meta))
    assert np.array_equal(again.pixels, content.pixels)
    assert (again.meta.icc, again.meta.exif) == (ICC, content.meta.exif)
    assert again.meta.dpi == pytest.approx((150, 300), abs=0.1)
    assert again.header.orientation == 1


@pytest.mark.parametrize("unit", [0, 1, 2])
def test_a_resolution_is_understood_as_pillow_does(unit):
    data = png(noise((3, 4)), 8, 0, chunk(b"pHYs", struct.pack(">IIB", 3000, 5000, unit)))
    with Image.open(io.BytesIO(data)) as picture:
        assert decode(data).meta.dpi == picture.info.get("dpi")


def test_a_picture_wider_than_libpng_takes_is_read(asked):
    for dtype, channels in (("uint8", ()), ("uint16", ()), ("uint8", (3,))):
        pixels = np.full((1, 1_000_001, *channels), 200, dtype)
        content = decode(saved(pixels, "PNG"))
        assert content.header.bits == 8 * pixels.itemsize
        assert content.pixels.dtype == dtype
        assert np.array_equal(content.pixels, pixels)
    assert asked == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole.replace(struct.pack(">II", 7, 9), struct.pack(">II", 7, 99), 1),
        lambda whole: whole.replace(struct.pack(">II", 7, 9), struct.pack(">II", 8, 9), 1),
        lambda whole: whole.replace(struct.pack(">II", 7, 9), struct.pack(">II", 0, 9), 1),
        lambda whole: whole.replace(b"\x10\x02\0\0\0", b"\x10\x02\0\1\0", 1),
        lambda whole: whole.replace(b"\x10\x02\0\0\0", b"\x10\x02\0\0\2", 1),
        lambda whole: whole.replace(b"\x10\x02\0\0\0", b"\x03\x02\0\0\0", 1),
    ],
    ids=["too few rows", "too short rows", "no columns", "unknown filter", "unknown interlace", "unknown depth"],
)
def test_a_header_that_does_not_fit_is_refused(damage):
    broken = damage(png(noise((9, 7, 3), 65535), 16, 2))
    header = chunk(b"IHDR", broken[16:29])
    assert refusal(broken[:8] + header + broken[33:]).startswith(("damaged or truncated png: ", "16-bit colour"))


def test_pixels_that_are_damaged_under_sound_checksums_are_refused():
    whole = png(noise((9, 7, 3), 65535), 16, 2, level=0)
    body = b"".join(data for kind, data in parts_of(whole) if kind == b"IDAT")
    for wrong in (body[:-1] + bytes([body[-1] ^ 1]), body[:-20], b"\x78\x9c" + bytes(40), body[:7] + b"\7" + body[8:]):
        data = whole[:33] + chunk(b"IDAT", wrong) + chunk(b"IEND")
        assert refusal(data).startswith("damaged or truncated png: ")


def test_a_png_without_pixels_is_refused():
    whole = png(noise((9, 7, 3)), 8, 2)
    assert refusal(whole[:33] + chunk(b"IEND")) == "damaged or truncated png: it holds no pixels"


def test_chunks_that_libpng_would_complain_of_neither_cost_the_picture_nor_are_said():
    samples = noise((6, 5, 3))
    extra = [chunk(kind, b"\x09") for kind in (b"sRGB", b"gAMA", b"bKGD", b"ABCD")]
    whole = png(np.zeros((6, 5, 3), np.uint8), 8, 2)
    longer = zlib.compress(bytes(99 * 16))  # rows that the header does not have
    longer = whole[:33] + chunk(b"IDAT", longer) + chunk(b"IEND")
    code = (
        "import pickle, sys\n"
        "from poolcli.media import contents\n"
        "for data in pickle.load(sys.stdin.buffer):\n"
        "    print(contents.decode(data, max_pixels=100).pixels.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps([png(samples, 8, 2, *extra), longer]), capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [str(samples.tolist()), str(np.zeros((6, 5, 3), int).tolist())]


def test_parts_of_pixels_that_do_not_follow_each_other_are_told():
    samples = noise((6, 5, 3))
    whole = png(samples, 8, 2)
    first, *others = (chunk(*part) for part in parts_of(whole) if part[0] == b"IDAT")
    apart = b"".join([whole[:33], first, chunk(b"gAMA", struct.pack(">I", 45455)), *others, chunk(b"IEND")])
    content = contents.decode(apart, max_pixels=100)
    assert np.array_equal(content.pixels, samples)
    assert content.warnings == ("other parts stand between those of its pixels",)


# --- PNG written ---

WRITTEN = [("bool", 1), *itertools.product(("uint8", "uint16"), (1, 2, 3, 4))]


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (37, 29)], ids=str)
@pytest.mark.parametrize(("dtype", "channels"), WRITTEN)
@pytest.mark.parametrize("content", ["noise", "scene", "flat"])
def test_what_is_written_is_what_the_standard_says(content, dtype, channels, shape):
    top = {"bool": 1, "uint8": 255, "uint16": 65535}[dtype]
    make = {"noise": lambda: noise((*shape, channels), top), "scene": lambda: scene(*shape, channels, top)}
    pixels = make.get(content, lambda: np.full((*shape, channels), top // 3, np.uint16))().astype(dtype)
    pixels = pixels[:, :, 0] if channels == 1 else pixels
    data = encode(pixels)
    samples, _ = unpacked(data)
    assert samples.dtype == pixels.dtype
    assert np.array_equal(samples, pixels)
    assert [kind for kind, _ in parts_of(data)] == [b"IHDR", b"IDAT", b"IEND"]
    if dtype == "uint8" or channels == 1:
        assert np.array_equal(pillow(data), pixels)


def test_all_five_filters_are_used_and_the_least_differences_win():
    dots, ramp, rough = (np.arange(60) % 7 == 3).tolist(), list(range(0, 240, 4)), noise((60,), seed=2).tolist()
    means = list(itertools.accumulate(rough, lambda left, above: (left + above) // 2, initial=0))[1:]
    slope = [[(x * 3 + y * 5) % 256 for x in range(60)] for y in range(20)]
    picture = np.array([dots, ramp, rough, rough, means, *slope], np.uint8)
    samples, kinds = unpacked(encode(picture))
    assert np.array_equal(samples, picture)
    last = [0] * 60
    for row, kind in zip(picture.tolist(), kinds, strict=True):
        costs = [sum(min(value, 256 - value) for value in filtered(other, row, last, 1)) for other in range(5)]
        assert kind == costs.index(min(costs))
        last = row
    assert set(kinds) == {0, 1, 2, 3, 4}


def test_the_paeth_of_bytes_is_that_of_the_standard():
    values = sorted({*range(0, 256, 15), 1, 2, 127, 128, 129, 253, 254})
    cases = np.array(list(itertools.product(values, repeat=3)), np.uint8)
    found = pngfilters._paeth(*(np.ascontiguousarray(column) for column in cases.T))  # noqa: SLF001 -- the formula itself
    assert found.tolist() == [paeth(*map(int, case)) for case in cases]


def test_blocks_of_rows_and_pieces_of_pixels_leave_no_seam(monkeypatch):
    pixels = scene(50, 40)
    whole = encode(pixels)
    monkeypatch.setattr(pngfilters, "_BLOCK", 7 * 120)
    assert encode(pixels) == whole
    monkeypatch.setattr(png_module, "_LONGEST", 999)
    pieces = encode(pixels)
    assert sum(kind == b"IDAT" for kind, _ in parts_of(pieces)) > 2
    assert np.array_equal(unpacked(pieces)[0], pixels)
    assert np.array_equal(pillow(pieces), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_files_are_hardly_larger_than_zlibs_at_level_6(dtype, samples):
    with Image.open(samples / ("photo_rgb.png" if dtype == "uint8" else "grey16.png")) as picture:
        pixels = np.asarray(picture)
    assert pixels.dtype == dtype
    for part in (pixels, pixels[::2, ::2]):
        assert len(encode(part)) < 1.04 * len(saved(np.ascontiguousarray(part), "PNG", compress_level=6))


def test_metadata_is_written_as_pillow_writes_it():
    meta = contents.Meta(icc=ICC, exif=b"Exif\0\0MM\0*\0\0\0\x08" + bytes(6), dpi=(300, 72.5), mode="RGB")
    ours = parts_of(encode(noise((5, 7, 3)), meta=meta))
    theirs = parts_of(saved(noise((5, 7, 3)), "PNG", icc_profile=ICC, exif=meta.exif, dpi=meta.dpi))
    assert ours[:-2] == theirs[:-2]
    assert [kind for kind, _ in ours] == [b"IHDR", b"iCCP", b"pHYs", b"eXIf", b"IDAT", b"IEND"]


@pytest.mark.parametrize("name", ["png", "jpeg"])
@pytest.mark.parametrize("dpi", [(1e9, 72.0), (72.0, 1e30), (0.001, 1e9)])
def test_a_resolution_that_the_format_cannot_say_is_left_out(name, dpi):
    meta = contents.Meta(dpi=dpi, mode="RGB")
    assert decode(encode(scene(8, 9), name, meta)).meta.dpi is None


# --- JPEG ---


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("subsampling", [0, 1, 2, "4:1:1"])
@pytest.mark.parametrize("quality", [1, 35, 90, 100])
def test_a_jpeg_is_read_as_pillow_reads_it(quality, subsampling, progressive, asked):
    data = saved(scene(61, 83), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    difference = np.abs(decode(data).pixels.astype(int) - pillow(data))
    assert difference.max() <= 1
    assert set(asked) == {"jpeg8_decode"}


JPEGS = {
    "grey": (lambda: saved(scene(33, 41, 1)[:, :, 0], "JPEG"), True),
    "RGB, not YCbCr": (lambda: saved(scene(33, 41), "JPEG", keep_rgb=True), True),
    "restarts": (lambda: saved(scene(33, 41), "JPEG", restart_marker_blocks=2), True),
    "two pictures": (
        lambda: saved(scene(33, 41), "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
        True,
    ),
    "filled": (lambda: saved(scene(33, 41), "JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb"), True),
    "CMYK": (lambda: saved(Image.fromarray(scene(33, 41, 4), "CMYK"), "JPEG"), False),
}


@pytest.mark.parametrize("case", JPEGS)
def test_every_kind_of_jpeg_is_read_as_pillow_reads_it(case, asked):
    make, ours = JPEGS[case]
    data = make()
    assert np.abs(decode(data).pixels.astype(int) - pillow(data)).max() <= 1
    assert asked == ["jpeg8_decode"] * ours


@pytest.mark.parametrize("quality", [1, 50, 90, 100])
@pytest.mark.parametrize(("channels", "subsampling"), [(3, 0), (3, 1), (3, 2), (1, None)])
def test_a_jpeg_is_written_byte_for_byte_as_pillow_writes_it(quality, subsampling, channels, asked):
    pixels = scene(45, 70, channels).squeeze()
    exif, profile = b"Exif\0\0MM\0*\0\0\0\x08" + bytes(6), ICC + noise((150_000,)).tobytes()
    meta = contents.Meta(icc=profile, exif=exif, dpi=(300, 72.4), mode="RGB", subsampling=subsampling)
    options = {"quality": quality} | ({} if subsampling is None else {"subsampling": subsampling})
    assert encode(pixels, "jpeg", meta, quality) == saved(
        pixels, "JPEG", icc_profile=profile, exif=exif, dpi=(300, 72.4), **options
    )
    plain = encode(pixels, "jpeg", contents.Meta(subsampling=subsampling), quality)
    assert plain == saved(pixels, "JPEG", **options)
    assert asked == ["jpeg8_encode"] * 2


@pytest.mark.parametrize("shape", [(61, 83), (64, 80), (72, 100)], ids=str)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_whose_data_ends_early_is_read_with_a_warning(channels, subsampling, shape):
    pixels = scene(*shape, channels).squeeze()
    options = {} if channels == 1 else {"subsampling": subsampling}
    for quality, part in itertools.product((50, 95), (0.3, 0.5, 0.75)):
        data = saved(pixels, "JPEG", quality=quality, **options)
        start = data.index(b"\xff\xda")
        end = start + int((len(data) - start) * part)
        end -= data[end - 1] == 0xFF
        cut = decode(data[:end] + b"\xff\xd9" + data[end:])  # an end marker strays into the data
        assert np.array_equal(cut.pixels, pillow(data[:end] + b"\xff\xd9"))
        assert cut.warnings == ("its data ends early; the rest is made up",)
        assert decode(data).warnings == ()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 2])
@pytest.mark.parametrize("shape", [(61, 83), (8, 8), (1, 1)], ids=str)
def test_a_plain_jpeg_ends_where_it_should(shape, restarts, progressive):
    for value, channels in itertools.product((0, 128, 255), (1, 3)):
        pixels = np.full((*shape, channels), value, np.uint8).squeeze(2 if channels == 1 else ())
        data = saved(pixels, "JPEG", restart_marker_blocks=restarts, progressive=progressive)
        assert decode(data).warnings == decode(data + b"trailing").warnings == ()


def test_a_jpeg_without_its_end_is_refused_though_a_thumbnail_has_one():
    exif = b"Exif\0\0II*\0\x08\0\0\0" + bytes(6) + saved(scene(8, 8), "JPEG")
    data = saved(scene(33, 41), "JPEG", exif=exif)
    assert decode(data).pixels.shape == (33, 41, 3)
    assert refusal(data[:-2]) == "damaged or truncated jpeg: image file is truncated"
