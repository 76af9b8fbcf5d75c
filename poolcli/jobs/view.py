"""Arrays made visible: a grid of maps in colours, and a picture of a few pixels for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

GAP = 1  # pixels between the maps of a grid
# Red, green and blue at equal steps of Matplotlib's maps of the same names (CC0), within 4 of 255
COLORMAPS = {
    "viridis": "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e2191"
    "8c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725",
    "magma": "0000040a08221d114736106b51127c6a1c818326819c2e7fb73779d0416fe75263f56b5cfc8961fea772fec488fde2a3fcfdbf",
    "grey": "000000ffffff",
}


def colours(name: str) -> Pixels:
    """Return 256 colours from the least to the most."""
    stops = np.frombuffer(bytes.fromhex(COLORMAPS[name]), np.uint8).reshape(-1, 3)
    at = np.linspace(0, len(stops) - 1, 256)
    table = [np.interp(at, range(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(table, axis=1).round().astype(np.uint8)


def shades(plane: NDArray[Any]) -> Pixels:
    """Return numbers spread from 0, the least, to 255, the most; what is not finite is 0."""
    values = plane.astype(np.float64)
    finite = np.isfinite(values)
    least, most = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    spread = np.where(finite, values, least) - least
    return np.asarray(np.rint(spread * (255 / (most - least) if most > least else 0)), np.uint8)


def size(shape: tuple[int, ...], letters: str, tile: int | None) -> tuple[int, int, int]:
    """Return the shape of the grid of an array of a layout; *tile* is how many maps stand in a row."""
    rows, columns = (shape[letters.index(letter)] if letter in letters else 1 for letter in "HW")
    count = math.prod(shape) // (rows * columns)
    across = min(tile or math.ceil(math.sqrt(count)), count)
    down = math.ceil(count / across)
    return down * (rows + GAP) - GAP, across * (columns + GAP) - GAP, 3


def grid(array: NDArray[Any], letters: str, colormap: str, tile: int | None) -> Pixels:
    """Return the maps of an array beside each other, each with its least and most in the ends of the colours."""
    planes = np.moveaxis(array, [letters.index("H"), letters.index("W")], [-2, -1])
    planes = planes.reshape(-1, *planes.shape[-2:])
    height, width, _ = size(array.shape, letters, tile)
    rows, columns = planes.shape[1] + GAP, planes.shape[2] + GAP
    drawn = np.zeros((height, width, 3), np.uint8)
    table = colours(colormap)
    for number, plane in enumerate(planes):
        top, left = (
            place * step for place, step in zip(divmod(number, (width + GAP) // columns), (rows, columns), strict=True)
        )
        drawn[top : top + rows - GAP, left : left + columns - GAP] = table[shades(plane)]
    return drawn


def small(array: NDArray[Any], letters: str, rows: int, columns: int) -> Pixels:
    """Return red, green and blue of at most so many rows and columns, of a picture or of maps."""
    if letters not in {"HW", "HWC"} or array.shape[2:] not in {(), (1,), (2,), (3,), (4,)}:
        if not {"H", "W"} <= set(letters):
            array, letters = array.reshape(-1, array.shape[-1]), "HW"
        array, letters = grid(array, letters, "viridis", None), "HWC"
    if array.dtype != np.uint8:
        deep = array.dtype == np.uint16
        array = (array >> 8).astype(np.uint8) if deep else shades(array)
    pixels = array.reshape(*array.shape[:2], -1)
    if pixels.shape[2] in {2, 4}:  # over black
        pixels = (pixels[:, :, :-1] * (pixels[:, :, -1:] / 255)).astype(np.uint8)
    step = max(1, math.ceil(pixels.shape[0] / rows), math.ceil(pixels.shape[1] / columns))
    top, left = (min(step // 2, length - 1) for length in pixels.shape[:2])
    picked = pixels[top::step, left::step]
    return np.broadcast_to(picked, (*picked.shape[:2], 3))
