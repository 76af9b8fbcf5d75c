"""Proves that pages and frames are pooled one by one and kept with what goes with each."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

TIMES = [100, 200, 50, 400]


def still(number, size=(20, 30), channels=3):
    return np.random.default_rng(number).integers(0, 256, (*size, channels), np.uint8)


def moving(name, count=4, **options):
    frames = [Image.fromarray(still(number)) for number in range(count)]
    if name.endswith("gif"):  # with colours of its own, so that nothing is lost
        frames = [frame.quantize(64) for frame in frames]
    more = {"duration": TIMES[:count], "loop": 3, **options} if not name.endswith("tiff") else options
    frames[0].save(name, save_all=True, append_images=frames[1:], **more)
    return [np.asarray(frame.convert("RGB")) for frame in frames]


def halved(pixels):
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
    return pixels.reshape(rows, 2, columns, 2, -1).max((1, 3))


def shown(name):
    """Return what Pillow finds: the frames, how long each is shown, and how often."""
    frames, times = [], []
    with Image.open(name) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            picture.load()
            frames.append(np.asarray(picture.convert("RGB")))
            times.append(picture.info.get("duration"))
        return frames, times, picture.info.get("loop")


MOVING = {"a.gif": {}, "a.png": {}, "a.webp": {"lossless": True}}


@pytest.mark.parametrize("source", MOVING)
@pytest.mark.parametrize("target", ["x.gif", "x.png", "x.webp"])
def test_what_moves_goes_on_moving_at_its_pace(cli, source, target):
    frames = moving(source, **MOVING[source])
    done = cli("pool", source, "-k", "2", "-o", target)
    assert (done.code, done.err) == (0, "")
    found, times, loop = shown(target)
    assert len(found) == 4
    for pixels, expected in zip(found, frames, strict=True):
        if target == "x.gif":  # 150 pixels of 256 colours
            assert np.abs(pixels.astype(int) - halved(expected)).mean() < 3
        else:
            assert np.array_equal(pixels, halved(expected))
    assert times == pytest.approx(TIMES)
    assert loop == 3


@pytest.mark.parametrize("source", ["a.gif", "a.png", "a.tiff"])
def test_every_frame_becomes_a_page(cli, source):
    frames = moving(source)
    assert cli("pool", source, "-k", "2", "-o", "x.tiff").code == 0
    with tifffile.TiffFile("x.tiff") as file:
        found = [page.asarray() for page in file.pages]
    assert all(np.array_equal(pixels[..., :3], halved(frame)) for pixels, frame in zip(found, frames, strict=True))


def test_pages_differ_in_size_depth_and_resolution(cli):
    pages = [still(0), np.arange(600, dtype=np.uint16).reshape(20, 30) * 100, np.ones((4, 6), np.float32) / 3]
    with tifffile.TiffWriter("a.tiff") as file:
        for number, page in enumerate(pages):
            file.write(page, metadata=None, resolution=(100 * (number + 1),) * 2, resolutionunit="INCH")
    assert cli("pool", "a.tiff", "-k", "2", "-o", "x.tiff").code == 0
    with tifffile.TiffFile("x.tiff") as file:
        for number, (page, source) in enumerate(zip(file.pages, pages, strict=True)):
            assert page.dtype == source.dtype
            assert np.array_equal(page.asarray().squeeze(), halved(source).squeeze())
            assert page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1] == 50 * (number + 1)


def test_pages_stay_behind_a_first_one_with_exif(cli):
    exif = Image.Exif()
    exif[271] = "Maker"
    frames = [Image.fromarray(still(number)) for number in range(3)]
    frames[0].save("a.tiff", save_all=True, append_images=frames[1:], exif=exif)
    assert cli("pool", "a.tiff", "-k", "2", "-o", "x.tiff").code == 0
    with Image.open("x.tiff") as picture:
        assert picture.n_frames == 3
        assert picture.getexif()[271] == "Maker"


@pytest.mark.parametrize(("page", "numbers"), [("first", [0]), ("3", [2]), ("2-4", [1, 2, 3]), ("all", [0, 1, 2, 3])])
@pytest.mark.parametrize("source", ["a.gif", "a.tiff"])
def test_the_pages_that_are_asked_for_are_pooled(cli, source, page, numbers):
    frames = moving(source)
    done = cli("pool", source, "-k", "2", "--page", page, "-o", "x.tiff")
    assert (done.code, done.err) == (0, "")
    with tifffile.TiffFile("x.tiff") as file:
        found = [one.asarray()[..., :3] for one in file.pages]
    assert [np.array_equal(pixels, halved(frames[n])) for pixels, n in zip(found, numbers, strict=True)]
    assert all(np.array_equal(pixels, halved(frames[n])) for pixels, n in zip(found, numbers, strict=True))


def test_where_the_output_holds_one_the_first_is_used_and_said(cli):
    frames = moving("a.tiff")
    done = cli("pool", "a.tiff", "-k", "2", "-o", "x.png")
    assert (done.code, done.err) == (0, "warning: a.tiff: frame 1 of 4\n")
    assert np.array_equal(shown("x.png")[0], [halved(frames[0])])
    moving("a.gif")
    for name in ("x.jpg", "x.npy"):
        assert cli("pool", "a.gif", "-o", name).err == "warning: a.gif: frame 1 of 4\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--page", "0"], 2, "page must be first, all, N or A-B, got '0'"),
        (["--page", "3-2"], 2, "page must be"),
        (["--page", "5"], 3, "page must be at most 4, got 5"),
        (["--page", "all", "-o", "x.jpg"], 3, "jpeg holds one page, got 4"),
        (["--page", "2-3", "-o", "x.npy"], 3, "npy holds one page, got 2"),
    ],
)
def test_pages_that_are_not_there_or_have_no_room_are_refused(cli, arguments, code, said):
    moving("a.tiff")
    done = cli("pool", "a.tiff", *(arguments if "-o" in arguments else [*arguments, "-o", "x.tiff"]))
    assert done.code == code
    assert said in done.err


def test_frames_of_one_size_alone_can_move(cli):
    with tifffile.TiffWriter("a.tiff") as file:
        for size in ((20, 30), (20, 40)):
            file.write(still(0, size), metadata=None)
    done = cli("pool", "a.tiff", "--page", "all", "-o", "x.gif")
    assert done.code == 3
    assert "frames of gif must be of one size and kind" in done.err


def damaged_page(at):
    """Return a TIFF of four pages, of which one ends beyond the end of the file."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number in range(4):
            writer.write(still(number), metadata=None, rowsperstrip=20)
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as written:
        tag = written.pages[at].tags["StripByteCounts"]
        data[tag.valueoffset : tag.valueoffset + 4] = (2**30).to_bytes(4, "little")
    return bytes(data)


def test_a_later_page_that_is_damaged_costs_that_page_alone(cli):
    with open("a.tiff", "wb") as file:
        file.write(damaged_page(2))
    for arguments, code, kind in (([], 0, "warning"), (["--page", "all"], 3, "error")):
        done = cli("pool", "a.tiff", "-k", "2", *arguments, "-o", "x.tiff", "-f")
        assert (done.code, done.out) == (code, b"x.tiff\n")
        assert done.err.startswith(f"{kind}: a.tiff: frame 3 is left out: truncated tiff")
        with tifffile.TiffFile("x.tiff") as file:
            assert [np.array_equal(p.asarray(), halved(still(n))) for p, n in zip(file.pages, (0, 1, 3), strict=True)]
    with open("a.tiff", "wb") as file:
        file.write(damaged_page(0))
    assert cli("pool", "a.tiff", "-k", "2", "-o", "y.tiff").code == 3


def test_frames_are_decoded_one_after_the_other(cli, monkeypatch):
    """A GIF's frames build on those before: from the start each time, 12 would be decoded 78 times."""
    from PIL import GifImagePlugin

    loads = []
    real = GifImagePlugin.GifImageFile.load_prepare
    monkeypatch.setattr(GifImagePlugin.GifImageFile, "load_prepare", lambda self: loads.append(1) or real(self))
    frames = [Image.fromarray(still(number)).quantize(64) for number in range(12)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    assert cli("pool", "a.gif", "-o", "x.tiff").code == 0
    assert 12 <= len(loads) <= 36


def test_a_transparent_animation_keeps_its_holes(cli):
    frames = []
    for number in range(3):
        pixels = np.zeros((8, 8, 4), np.uint8)
        pixels[2:6, 2 * number : 2 * number + 4] = 250, 20, 20, 255
        frames.append(Image.fromarray(pixels))
    frames[0].save("a.png", save_all=True, append_images=frames[1:], duration=100, blend=0, disposal=0)
    for target in ("x.png", "x.webp", "x.gif"):
        assert cli("pool", "a.png", "-m", "avg", "-k", "2", "-o", target).code == 0
        with Image.open(target) as picture:
            for number in range(3):
                picture.seek(number)
                alpha = np.asarray(picture.convert("RGBA"))[:, :, 3]
                expected = np.asarray(frames[number])[:, :, 3].reshape(4, 2, 4, 2).max((1, 3))
                assert np.array_equal(alpha > 0, expected > 0)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_of_a_moving_png_only_what_changes_is_written(cli, channels):
    frames = [still(0, (40, 60), channels)] * 2
    for (top, bottom), (left, right) in (((0, 1), (0, 1)), ((3, 17), (8, 9)), ((0, 40), (59, 60)), ((39, 40), (0, 60))):
        frames.append(frames[-1].copy())
        frames[-1][top:bottom, left:right, -1] ^= 255
    with tifffile.TiffWriter("a.tiff") as file:
        for frame in frames:
            file.write(frame.squeeze(), metadata=None, photometric="rgb" if channels > 1 else "minisblack")
    assert cli("pool", "a.tiff", "-k", "1", "--page", "all", "-o", "x.png").code == 0
    with Image.open("x.png") as picture:
        for number, frame in enumerate(frames):
            picture.seek(number)
            assert np.array_equal(np.asarray(picture), frame.squeeze())
    assert cli("pool", "a.tiff", "-k", "1", "--page", "first", "-o", "first.png").code == 0
    assert Path("x.png").stat().st_size < 1.5 * Path("first.png").stat().st_size


def test_frames_of_grey_and_colour_with_and_without_alpha_move_together(cli):
    frames = [still(0, channels=1)[:, :, 0], still(1), still(2, channels=4)]
    with tifffile.TiffWriter("a.tiff") as file:
        for frame in frames:
            extra = {"extrasamples": ["unassalpha"]} if frame.shape[2:] == (4,) else {}
            file.write(frame, metadata=None, photometric="rgb" if frame.ndim == 3 else "minisblack", **extra)
    assert cli("pool", "a.tiff", "-k", "1", "--page", "all", "-o", "x.png").code == 0
    grey, colour, clear = frames
    opaque = np.full((20, 30, 1), 255, np.uint8)
    expected = [np.dstack([grey, grey, grey, opaque]), np.dstack([colour, opaque]), clear]
    with Image.open("x.png") as picture:
        for number, pixels in enumerate(expected):
            picture.seek(number)
            assert np.array_equal(np.asarray(picture), pixels)
