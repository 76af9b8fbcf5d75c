"""An archive of maxima or minima, where they stood, and what else putting them back needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import places
from poolcli.core.geometry import per_axis
from poolcli.core.layouts import INDEX_LAYOUTS, Layout
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.jobs import records
from poolcli.jobs.request import MAX_PIXELS, held
from poolcli.media import contents, files, formats, npz

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.core.pooling import Pooling
    from poolcli.jobs.records import Record

    Array = NDArray[Any]

WINDOW = ("method", "kernel", "stride", "padding", "dilation", "ceil", "to", "to_rule")


@dataclass(frozen=True, slots=True)
class Indexed:
    """Values and their indices, in a layout of an input of *shape*."""

    values: Array
    indices: Array
    layout: Layout
    index_layout: str
    shape: tuple[int, ...]

    @property
    def pooled(self) -> tuple[int, ...]:
        """Lengths of the input's pooled axes."""
        return tuple(self.shape[axis] for axis in self.layout.pooled)


def packed(pooled: Pooling, record: Record, index_layout: str, shape: tuple[int, ...]) -> list[Buffer]:
    """Return the archive of a result of an input of *shape*."""
    said = records.as_json(record)
    arrays = {
        "values": pooled.array,
        "indices": places.counted(pooled.also["indices"], index_layout, pooled.layout, shape),
        "layout": np.array(pooled.layout.letters),
        "index_layout": np.array(index_layout),
        "input_shape": np.array(shape),
        "window": np.array(json.dumps({name: said[name] for name in WINDOW})),
    }
    return npz.pack(arrays)


def read(name: str) -> Indexed:
    """Return what an archive holds; an error names it."""
    try:
        data = files.read(name)
        if (kind := formats.sniff(data[:512]).name) != "npz":
            raise InputError(f"must be an .npz that pool --indices wrote, got {kind}")
        values, indices, shape = (_array(data, key) for key in ("values", "indices", "input_shape"))
        layout, index_layout = (npz.text(data, key) for key in ("layout", "index_layout"))
        return _checked(values, indices, layout, index_layout, tuple(shape.ravel().tolist()))
    except PoolError as error:
        raise error.about(files.shown(name)) from error


def _array(data: bytes, key: str) -> Array:
    return contents.decode(data, key=key, max_pixels=MAX_PIXELS).pixels


def _checked(values: Array, indices: Array, letters: str, index_layout: str, shape: tuple[int, ...]) -> Indexed:
    try:
        layout = Layout(letters)
        layout.check(shape)
    except PoolError as error:
        raise InputError(error.message) from error
    found = Indexed(values, indices, layout, index_layout, shape)
    lengths = tuple(values.shape[axis] for axis in layout.pooled) if values.ndim == len(shape) else ()
    if values.shape != layout.replaced(shape, lengths or shape) or index_layout not in INDEX_LAYOUTS:
        raise InputError(f"holds values of shape {values.shape} that are no result of {letters} {shape}")
    return found


def restore(name: str, values: str | None = None, size: str | None = None) -> Array:
    """Return the values of an archive, or of another file, back where they stood; *size* is of pooled axes."""
    found = read(name)
    lengths = found.pooled if size is None else per_axis("size", size, least=1)
    if len(lengths) != len(found.pooled):
        raise UsageError(f"size must be one length for each of {len(found.pooled)} pooled axes, got {size!r}")
    array = found.values if values is None else held(values)
    try:
        return places.restored(
            array, found.indices, found.layout, lengths, of=found.pooled, index_layout=found.index_layout
        )
    except PoolError as error:
        raise error.about(files.shown(name)) from error
