"""Make the sample files: `python samples/make_samples.py [FOLDER]`, default the folder of this script.

Everything is computed from one seed, so that nobody owns the pictures and a test can make them again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageCms

SEED = 20_240
PHOTO = (427, 640)
ORIENTATION = 0x0112  # the EXIF tag
RANGES = ((0.0, 0.50, 0.20, 0), (0.35, 0.57, 0.15, 0), (0.68, 0.62, 0.10, 160), (1.0, 0.69, 0.09, 70))
FLOWERS = ((0.97, 0.95, 0.92), (0.93, 0.30, 0.22), (0.98, 0.82, 0.25))
LABEL_COLOURS = ((32, 32, 40), (214, 69, 65), (38, 166, 91), (65, 131, 215), (244, 208, 63), (155, 89, 182))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> np.ndarray:
    """Return noise in [0, 1] of one scale: random values on a grid of *cells*, blended smoothly."""
    grid = rng.random((int(cells[0]) + 2, int(cells[1]) + 2))
    y, x = (np.linspace(0, cell, n, endpoint=False) for cell, n in zip(cells, shape, strict=True))
    top, left = y.astype(int), x.astype(int)
    down, right = ((t * t * (3 - 2 * t)) for t in (y - top, x - left))
    rows = grid[top] * (1 - down)[:, None] + grid[top + 1] * down[:, None]
    return rows[:, left] * (1 - right) + rows[:, left + 1] * right


def fractal(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int) -> np.ndarray:
    """Return noise in [0, 1] of many scales, each half as strong and twice as fine as the one before."""
    scales = 2.0 ** np.arange(octaves)
    layers = [smooth_noise(rng, shape, (cells[0] * f, cells[1] * f)) / f for f in scales]
    return np.sum(layers, axis=0) / np.sum(1 / scales)


def blend(below: np.ndarray, colour: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Lay *colour* over *below* where *share* is 1."""
    return below + (colour - below) * share[..., None]


def sky(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return a late-afternoon sky with thin clouds and a low sun; y and x run from 0 to 1."""
    high, low = np.array([0.20, 0.40, 0.72]), np.array([0.98, 0.86, 0.68])
    fall = np.clip(y / 0.62, 0, 1) ** 1.3
    colour = high + (low - high) * fall[..., None]
    clouds = np.clip((fractal(rng, PHOTO, (7, 3), 6) - 0.50) * 3.4, 0, 1) * np.clip(1.15 - 1.5 * y, 0, 1)
    colour = blend(colour, np.array([1.0, 0.95, 0.91]), 0.8 * clouds)
    away = np.hypot((x - 0.72) * PHOTO[1] / PHOTO[0], y - 0.36)
    colour = blend(colour, np.array([1.0, 0.90, 0.68]), 0.75 * np.exp(-away / 0.13))
    return blend(colour, np.array([1.0, 0.99, 0.93]), np.clip((0.041 - away) * 250, 0, 1))


def conifers(rng: np.random.Generator, count: int, height: float) -> np.ndarray:
    """Return the outline of *count* trees along the width: how far they rise above their ground."""
    x = np.arange(PHOTO[1]) / PHOTO[1]
    rise = np.zeros(PHOTO[1])
    for middle, size in zip(rng.random(count), rng.uniform(0.35, 1, count), strict=True):
        slope = 1 - np.abs(x - middle) / (0.012 * size)
        ragged = slope - 0.18 * ((slope * 7) % 1)
        rise = np.maximum(rise, height * size * np.clip(ragged, 0, 1))
    return rise


def hills(rng: np.random.Generator, picture: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lay four ranges over the picture, from the hazy far one to the wooded near one."""
    hazy, near = np.array([0.62, 0.68, 0.78]), np.array([0.10, 0.20, 0.13])
    for depth, base, swing, trees in RANGES:
        ground = base - swing * (fractal(rng, (1, PHOTO[1]), (1, 3 + 2 * depth), 6)[0] - 0.3)
        ridge = ground - conifers(rng, trees, 0.025 + 0.045 * depth**2)
        light = 1 + (fractal(rng, PHOTO, (18, 9), 5) - 0.5) * (0.25 + 0.9 * depth)
        haze = np.clip((y - ground) * 2.2, 0, 0.3) * (1 - 0.6 * depth)
        colour = (hazy + (near - hazy) * depth) * light[..., None] + haze[..., None] * np.array([1, 0.95, 0.85])
        picture = blend(picture, colour, np.clip((y - ridge) * PHOTO[0], 0, 1))
    return picture


def meadow(rng: np.random.Generator, picture: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lay a meadow over the foot of the picture; its grass and flowers grow towards the viewer."""
    edge = 0.735 + 0.03 * (fractal(rng, (1, PHOTO[1]), (1, 4), 4)[0] - 0.5)
    near = np.clip((y - 0.72) / 0.28, 0, 1)
    fine = fractal(rng, PHOTO, (150, 260), 3)
    tufts = fractal(rng, PHOTO, (34, 42), 4)
    grass = (1 - near) * (0.55 + 0.45 * fine) + near * (0.25 + 0.9 * tufts * (0.5 + fine))
    patches = fractal(rng, PHOTO, (14, 4), 4)[..., None]
    green, dry = np.array([0.46, 0.56, 0.16]), np.array([0.70, 0.62, 0.22])
    colour = green * (1 - patches) + dry * patches
    picture = blend(picture, grass[..., None] * colour, np.clip((y - edge) * PHOTO[0] / 1.5, 0, 1))
    for _ in range(420):
        depth = rng.random() ** 1.6
        row, column = 0.76 + 0.235 * depth, rng.random()
        tint = np.array(FLOWERS[rng.integers(len(FLOWERS))])
        dot(picture, (row * PHOTO[0], column * PHOTO[1]), 0.6 + 2.4 * depth, tint)
    return picture


def dot(picture: np.ndarray, centre: tuple[float, float], radius: float, colour: np.ndarray) -> None:
    """Paint one small soft disc in place."""
    reach = int(radius) + 2
    top, left = max(int(centre[0]) - reach, 0), max(int(centre[1]) - reach, 0)
    patch = picture[top : top + 2 * reach, left : left + 2 * reach]
    y, x = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    share = np.clip(radius - np.hypot((y - centre[0]) * 1.5, x - centre[1]), 0, 1)
    patch[:] = blend(patch, colour * (0.75 + 0.25 * np.clip((centre[0] - y) / radius + 1, 0, 1))[..., None], share)


def photo() -> np.ndarray:
    """Return the photo-like scene, (427, 640, 3) uint8."""
    rng = np.random.default_rng(SEED)
    y, x = np.meshgrid(*(np.arange(n) / n for n in PHOTO), indexing="ij")
    picture = meadow(rng, hills(rng, sky(rng, y, x), y), y)
    vignette = 1 - 0.22 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    return to_integers(picture * vignette[..., None] + rng.normal(0, 0.008, (*PHOTO, 3)), np.uint8)


def to_integers(values: np.ndarray, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """Spread [0, 1] over the whole range of *dtype*."""
    top = np.iinfo(dtype).max
    return np.rint(np.clip(values, 0, 1) * top).astype(dtype)


def srgb_profile() -> bytes:
    """Return an sRGB ICC profile; its header's creation date is fixed, so that its bytes are."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    date = np.array([2024, 1, 1, 0, 0, 0], ">u2").tobytes()
    return profile[:24] + date + profile[36:]


def sprite() -> np.ndarray:
    """Return a round face with soft edges on a transparent ground of a loud colour, (96, 96, 4) uint8.

    The hidden colour shows at the edge as soon as somebody averages it without regard to alpha.
    """
    y, x = np.ogrid[-1:1:96j, -1:1:96j]
    away = np.hypot(y, x)
    colour = np.empty((96, 96, 3))
    colour[:] = (1.0, 0.0, 1.0)
    shade = np.clip(1 - 0.35 * np.hypot(y + 0.4, x + 0.4), 0, 1)
    colour = blend(colour, shade[..., None] * np.array([1.0, 0.80, 0.16]), (away < 0.97).astype(float))
    for side in (-0.32, 0.32):
        eye = np.clip((0.13 - np.hypot(y + 0.22, x - side)) * 40, 0, 1)
        colour = blend(colour, np.array([0.15, 0.1, 0.05]), eye)
    mouth = np.clip((0.06 - np.abs(np.hypot(y - 0.05, x) - 0.5)) * 40, 0, 1) * (y > 0.15)
    colour = blend(colour, np.array([0.45, 0.12, 0.05]), mouth)
    alpha = np.clip((0.93 - away) / 0.12, 0, 1)
    return to_integers(np.dstack([colour, alpha]), np.uint8)


def grey16() -> np.ndarray:
    """Return a ramp over all 16 bits with rings whose differences vanish in 8 bits, (120, 160) uint16."""
    y, x = np.ogrid[:120, :160]
    rings = np.rint(90 * (1 + np.cos(np.hypot(y - 60, x - 80) / 3)))
    return (np.rint(x * (65355 / 159)) + rings).astype(np.uint16)


def labels() -> np.ndarray:
    """Return a map of six labels in irregular regions, (90, 120) uint8: their mean would mean nothing."""
    rng = np.random.default_rng(SEED + 1)
    y, x = np.ogrid[:90, :120]
    seeds = rng.random((14, 2)) * (90, 120)
    away = [np.hypot(y - row, x - column) + 6 * fractal(rng, (90, 120), (9, 12), 3) for row, column in seeds]
    return (np.argmin(away, axis=0) % len(LABEL_COLOURS)).astype(np.uint8)


def grey_odd() -> np.ndarray:
    """Return a zone plate whose sides 101 x 67 are prime, uint8: no kernel but 1 divides them."""
    y, x = np.ogrid[-33:34, -50:51]
    return to_integers(0.5 + 0.5 * np.cos((y * y + x * x) / 26), np.uint8)


def heights() -> np.ndarray:
    """Return a height map in metres with values below zero and above 255, (100, 140) float32."""
    rng = np.random.default_rng(SEED + 2)
    return grid_float32(fractal(rng, (100, 140), (3, 4), 6) * 2400 - 700)


def feature_maps() -> np.ndarray:
    """Return sixteen maps as a convolution layer with ReLU would leave them, CHW (16, 56, 56) float32."""
    rng = np.random.default_rng(SEED + 3)
    maps = [fractal(rng, (56, 56), (2 + c / 2, 2 + c / 2), 3) - 0.35 - 0.015 * c for c in range(16)]
    return grid_float32(np.maximum(np.stack(maps) * 4, 0))


def tokens() -> np.ndarray:
    """Return word vectors of four sentences, N T C (4, 24, 32) float32."""
    return grid_float32(np.random.default_rng(SEED + 4).normal(0, 1, (4, 24, 32)))


def audio() -> np.ndarray:
    """Return half a second of two decaying tones at 16 kHz, L (8000,) float32 in [-1, 1]."""
    t = np.arange(8000) / 16000
    low, high = (np.sin(2 * np.pi * hertz * t) for hertz in (440, 659))
    return grid_float32(0.6 * low * np.exp(-5 * t) + 0.3 * high * np.exp(-9 * t))


def grid_float32(values: np.ndarray) -> np.ndarray:
    """Round to multiples of 1/4096, where the last bits of another machine's sine and logarithm vanish."""
    return (np.rint(values * 4096) / 4096).astype(np.float32)


def tutorial() -> np.ndarray:
    """Return the 6 x 3 matrix 1 to 18, row by row, int64."""
    return np.arange(1, 19, dtype=np.int64).reshape(6, 3)


def write_pictures(folder: Path) -> None:
    """Write the picture files."""
    scene = photo()
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # a quarter turn clockwise brings it upright, so it is stored a quarter turn back
    iio.imwrite(folder / "photo_rgb.png", scene, plugin="pillow", optimize=True)
    iio.imwrite(
        folder / "photo_exif6_icc.jpg",
        np.rot90(scene),
        plugin="pillow",
        quality=90,
        exif=exif.tobytes(),
        icc_profile=srgb_profile(),
    )
    iio.imwrite(folder / "sprite_rgba.png", sprite(), plugin="pillow", optimize=True)
    iio.imwrite(folder / "grey16.png", grey16(), plugin="pillow", optimize=True)
    iio.imwrite(folder / "grey_odd.png", grey_odd(), plugin="pillow", optimize=True)
    iio.imwrite(folder / "float32.tiff", heights(), plugin="tifffile", compression="zlib", predictor=False)
    indexed = Image.fromarray(labels())
    indexed.putpalette([level for colour in LABEL_COLOURS for level in colour])
    indexed.save(folder / "labels_palette.png", optimize=True)


def write_tensors(folder: Path) -> None:
    """Write the `.npy` files."""
    for make in (feature_maps, tokens, audio):
        np.save(folder / f"{make.__name__}.npy", make())
    np.save(folder / "tutorial_6x3.npy", tutorial())


def main(folder: Path) -> None:
    """Write all samples into *folder*, made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pictures(folder)
    write_tensors(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
