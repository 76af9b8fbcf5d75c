"""The contact sheet: input and results at one width, never smoothly resampled, each with its busiest spot magnified."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from poolcli.measure.compare import Comparison
    from poolcli.measure.scene import Scene

    Array = NDArray[Any]

WIDTH = 256  # of a cell
SPOT = 64  # elements of the input that are magnified
COLUMNS = 4  # results beside the input
GAP = 12
TEXT = 20

# Viridis as a polynomial, fitted by Matt Zucker (https://www.shadertoy.com/view/WlfXRN, CC0): a row for each power
VIRIDIS = (
    (0.2777273272, 0.0054073445, 0.3340998053),
    (0.1050930431, 1.4046135299, 1.3845901626),
    (-0.3308618287, 0.2148475595, 0.0950951630),
    (-4.6342304990, -5.7991009734, -19.3324409563),
    (6.2282699363, 14.1799333668, 56.6905526007),
    (4.7763849977, -13.7451453777, -65.3530326334),
    (-5.4354558559, 4.6458526122, 26.3124352495),
)


class Spot(NamedTuple):
    """Where it is busiest: a tile, and the part of it as shares of its height and width."""

    tile: int
    rows: tuple[float, float]
    columns: tuple[float, float]


def tiles(scene: Scene, array: Array) -> list[Array]:
    """Return *array*, the input or a result, as one picture or some maps, each (rows, columns, 3) of uint8."""
    if scene.kind == "picture":
        values = np.clip(scene.scaled(np.asarray(array, np.float32), array.dtype) * 255, 0, 255)
        values = values[..., None] if values.ndim == 2 else values
        colours = np.repeat(values[..., :1], 3, 2) if values.shape[2] < 3 else values[..., :3]
        if values.shape[2] in {2, 4}:  # on white
            colours = 255 - (255 - colours) * (values[..., -1:] / 255)
        return [np.nan_to_num(colours).astype(np.uint8)]
    planes = np.moveaxis(array, scene.layout.pooled, (-2, -1))
    planes = planes.reshape(-1, *planes.shape[-2:])[list(scene.planes)]
    if scene.kind == "labels":
        known = np.unique(scene.source)
        return list(coloured(np.searchsorted(known, planes) / max(1, len(known) - 1)))
    return list(coloured(scene.scaled(planes)))


def coloured(values: Array) -> Array:
    """Return values from 0 to 1 in colours whose steps look alike."""
    at = np.linspace(0, 1, 256)[:, None]
    table = np.clip(sum(np.array(row) * at**power for power, row in enumerate(VIRIDIS)) * 255, 0, 255)
    index = np.clip(np.nan_to_num(np.asarray(values, np.float64)) * 255, 0, 255)
    found: Array = np.rint(table).astype(np.uint8)[np.rint(index).astype(np.uint8)]
    return found


def picked(tile: Array, rows: int, columns: int) -> Array:
    """Return *tile* at another size by picking elements: nothing is mixed."""
    at = ((np.arange(n) * length // n) for n, length in ((rows, tile.shape[0]), (columns, tile.shape[1])))
    return np.asarray(tile[np.ix_(*at)])


def grid(found: Sequence[Array], width: int, like: Array | None = None, gap: int = 2) -> Array:
    """Return tiles side by side, *width* wide; each has the proportions of the tile *like*."""
    across = math.ceil(math.sqrt(len(found)))
    down = -(-len(found) // across)
    side = (width - gap * (across - 1)) // across
    rows, columns = (found[0] if like is None else like).shape[:2]
    height = max(1, side * rows // columns)
    sheet = np.full((down * (height + gap) - gap, width, 3), 255, np.uint8)
    for number, tile in enumerate(found):
        top, left = number // across * (height + gap), number % across * (side + gap)
        sheet[top : top + height, left : left + side] = picked(tile, height, side)
    return sheet


def busiest(found: Sequence[Array]) -> Spot:
    """Return the block of the tiles with the largest variance."""
    spots = []
    for number, tile in enumerate(found):
        height, width = tile.shape[:2]
        side = min(SPOT, height, width)
        down, across = height // side, width // side
        green = tile[: down * side, : across * side, 1].reshape(down, side, across, side)
        variance = green.var((1, 3), dtype=np.float32)
        row, column = np.unravel_index(variance.argmax(), variance.shape)
        rows = row * side / height, (row + 1) * side / height
        columns = column * side / width, (column + 1) * side / width
        spots.append((float(variance.max()), Spot(number, rows, columns)))
    return max(spots, key=lambda spot: spot[0])[1]


def magnified(found: Sequence[Array], spot: Spot) -> Array:
    """Return the busiest spot, a cell wide and high."""
    tile = found[spot.tile]
    rows, columns = (
        slice(int(start * length), max(int(start * length) + 1, math.ceil(stop * length)))
        for (start, stop), length in zip((spot.rows, spot.columns), tile.shape[:2], strict=True)
    )
    return picked(tile[rows, columns], WIDTH, WIDTH)


def contact(comparison: Comparison) -> Array:
    """Return the sheet: for each window the input, and the results beside it."""
    scene = comparison.scene
    source = tiles(scene, scene.source)
    spot = busiest(source)
    first = _cell(source, source[0], spot, f"{comparison.name} {'x'.join(map(str, scene.source.shape))}")
    lines = []
    for window in dict.fromkeys(row.window for row in comparison.rows):
        found = [row for row in comparison.rows if row.window == window and row.result is not None]
        cells = [
            _cell(tiles(scene, row.result()), source[0], spot, f"{row.method} {window}")
            for row in found
            if row.result is not None
        ]
        lines += [[first, *cells[start : start + COLUMNS]] for start in range(0, len(cells), COLUMNS)]
    height, width = first.shape[0], max(map(len, lines), default=1)
    sheet = np.full((GAP + len(lines) * (height + GAP), GAP + width * (WIDTH + GAP), 3), 255, np.uint8)
    for row, cells in enumerate(lines):
        for column, cell in enumerate(cells):
            top, left = GAP + row * (height + GAP), GAP + column * (WIDTH + GAP)
            sheet[top : top + height, left : left + WIDTH] = cell
    return sheet


def _cell(found: Sequence[Array], like: Array, spot: Spot, label: str) -> Array:
    parts = [grid(found, WIDTH, like), np.full((4, WIDTH, 3), 255, np.uint8), magnified(found, spot), _text(label)]
    return np.concatenate(parts)


def _text(label: str) -> Array:
    """Return a line of text, cut where it does not fit."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, TEXT), "white")
    ImageDraw.Draw(image).text((0, 3), shown(label), "black", _font())
    return np.asarray(image)


@cache
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(14)
