"""The contact sheet: input and results at one width, never smoothly resampled, each with its busiest spot magnified."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core.pooling import pool
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from poolcli.measure.compare import Comparison
    from poolcli.measure.subject import Subject

    Array = NDArray[Any]

WIDTH = 256  # of a cell
SPOT = 64  # elements of the input that are magnified
COLUMNS = 4  # results beside the input
GAP = 12
TEXT = 20

# Viridis, whose steps look alike, at twenty places: Smith and van der Walt, https://bids.github.io/colormap/ (CC0)
VIRIDIS = bytes.fromhex(
    "440154 481567 482677 453781 404788 39568c 33638d 2d708e 287d8e 238a8d"
    "1f968b 20a387 29af7f 3cbb75 55c667 73d055 95d840 b8de29 dce319 fde725"
)


class Spot(NamedTuple):
    """Where it is busiest: a tile of some shape, and in it the place and the side of a square."""

    tile: int
    row: int
    column: int
    side: int
    shape: tuple[int, ...]


def tiles(of: Subject, array: Array) -> list[Array]:
    """Return *array*, the input or a result, as one picture or some maps, each (rows, columns, 3) of uint8."""
    if of.kind == "picture":
        values = array
        if not of.source.dtype == array.dtype == np.uint8:
            values = np.nan_to_num(np.clip(of.scaled(np.asarray(array, np.float32)) * 255, 0, 255))
        values = values[..., None] if values.ndim == 2 else values
        colours = np.repeat(values[..., :1], 3, 2) if values.shape[2] < 3 else values[..., :3]
        if values.shape[2] in {2, 4}:  # on white
            colours = 255 - (255 - colours) * (values[..., -1:] / 255)
        return [colours.astype(np.uint8, copy=False)]
    planes = np.moveaxis(array, of.layout.pooled, (-2, -1))
    planes = planes.reshape(-1, *planes.shape[-2:])[list(of.planes)]
    if of.kind == "labels":
        known = np.unique(of.source)
        return list(coloured(np.searchsorted(known, planes) / max(1, len(known) - 1)))
    return list(coloured(of.scaled(planes)))


def coloured(values: Array) -> Array:
    """Return values from 0 to 1 in colours whose steps look alike."""
    places = np.frombuffer(VIRIDIS, np.uint8).reshape(-1, 3)
    steps = np.linspace(0, 1, 256), np.linspace(0, 1, len(places))
    table = np.stack([np.interp(*steps, channel) for channel in places.T], 1)
    index = np.clip(np.nan_to_num(values) * 255, 0, 255)
    found: Array = np.rint(table).astype(np.uint8)[np.rint(index).astype(np.uint8)]
    return found


def picked(tile: Array, rows: int, columns: int) -> Array:
    """Return *tile* at another size by picking elements: nothing is mixed."""
    at = ((np.arange(n) * length // n) for n, length in ((rows, tile.shape[0]), (columns, tile.shape[1])))
    return np.asarray(tile[np.ix_(*at)])


def grid(found: Sequence[Array], width: int, like: Array, gap: int = 2) -> Array:
    """Return tiles side by side, *width* wide; each has the proportions of the tile *like*."""
    across = math.ceil(math.sqrt(len(found)))
    side = (width - gap * (across - 1)) // across
    height = max(1, side * like.shape[0] // like.shape[1])
    cells = [picked(tile, height, side) for tile in found]
    made = _joined([cells[start : start + across] for start in range(0, len(cells), across)], gap, 0)
    return np.pad(made, ((0, 0), (0, width - made.shape[1]), (0, 0)), constant_values=255)


def _joined(lines: Sequence[Sequence[Array]], gap: int, around: int) -> Array:
    """Return cells of one size in lines, white between and *around* them."""
    height, width = lines[0][0].shape[:2]
    rows, columns = len(lines), max(map(len, lines))
    shape = rows * (height + gap) - gap + 2 * around, columns * (width + gap) - gap + 2 * around, 3
    sheet = np.full(shape, 255, np.uint8)
    for row, cells in enumerate(lines):
        for column, cell in enumerate(cells):
            top, left = around + row * (height + gap), around + column * (width + gap)
            sheet[top : top + height, left : left + width] = cell
    return sheet


def busiest(found: Sequence[Array]) -> Spot:
    """Return the block of the tiles with the largest variance."""
    shape = found[0].shape[:2]
    side = min(SPOT, *shape)
    blocks = np.stack([pool(tile[..., 1], "var", side) for tile in found])
    tile, row, column = (int(at) for at in np.unravel_index(blocks.argmax(), blocks.shape))
    return Spot(tile, row * side, column * side, side, shape)


def magnified(found: Sequence[Array], spot: Spot) -> Array:
    """Return the busiest spot of the input or, smaller, of a result, a cell wide and high."""
    tile = found[spot.tile]
    scales = (own / whole for own, whole in zip(tile.shape[:2], spot.shape, strict=True))
    rows, columns = (
        slice(int(start * scale), math.ceil((start + spot.side) * scale))
        for start, scale in zip((spot.row, spot.column), scales, strict=True)
    )
    return picked(tile[rows, columns], WIDTH, WIDTH)


def contact(comparison: Comparison) -> Array:
    """Return the sheet: for each window the input, and the results beside it."""
    of = comparison.subject
    source = tiles(of, of.source)
    spot = busiest(source)

    def cell(found: Sequence[Array], label: str) -> Array:
        line = np.full((4, WIDTH, 3), 255, np.uint8)
        return np.concatenate([grid(found, WIDTH, source[0]), line, magnified(found, spot), _text(label)])

    first, lines = cell(source, f"{comparison.name} {'x'.join(map(str, of.source.shape))}"), []
    for window, rows in comparison.windows.items():
        cells = [cell(tiles(of, row.result()), f"{row.method} {window}") for row in rows if row.result is not None]
        lines += [[first, *cells[start : start + COLUMNS]] for start in range(0, len(cells), COLUMNS)]
    return _joined(lines or [[first]], GAP, GAP)


def _text(label: str) -> Array:
    """Return a line of text, cut where it does not fit."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (WIDTH, TEXT), "white")
    ImageDraw.Draw(image).text((0, 3), shown(label), "black", ImageFont.load_default(14))
    return np.asarray(image)
