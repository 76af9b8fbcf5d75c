"""Zarr: arrays in chunks, in a folder or behind a URL, read and written by boxes. Version 2 is read, version 3 both."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, OutputError, PoolError, UsageError
from poolcli.media import files, ome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

Box = tuple[slice, ...]
SUFFIX = files.STORE
DOCUMENT = "zarr.json"


@dataclass(frozen=True, slots=True)
class Store:
    """A folder or a URL, and what fsspec is told of it."""

    url: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def remote(self) -> bool:
        """Whether it is behind a URL."""
        return "://" in self.url


@dataclass(frozen=True, slots=True)
class Stored:
    """An array in a store, told by its metadata: any process can open it, even before the metadata are stored.

    *document* is JSON; *path* is where the array is below its store.
    """

    store: Store
    path: str
    document: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along each axis."""
        return tuple(opened_array(self).shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements, in native byte order."""
        kind: np.dtype[Any] = np.dtype(opened_array(self).dtype).newbyteorder("=")
        return kind

    @property
    def chunks(self) -> tuple[int, ...]:
        """Elements that are compressed together, along each axis."""
        return tuple(opened_array(self).chunks)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Elements of an object that holds several chunks, if there are such."""
        found = opened_array(self).shards
        return None if found is None else tuple(found)

    @property
    def objects(self) -> tuple[int, ...]:
        """Elements that are stored in one object, along each axis."""
        return self.shards or self.chunks

    @property
    def names(self) -> tuple[str | None, ...]:
        """What the axes are called."""
        said = json.loads(self.document)
        names = said.get("dimension_names") or said.get("attributes", {}).get("_ARRAY_DIMENSIONS")
        return tuple(names) if names else (None,) * len(self.shape)


@dataclass(frozen=True, slots=True)
class Found:
    """What a store holds: its array or level 0 of its image, whose metadata and other levels are *image* and *levels*.

    *attributes* are the group's, or the array's.
    """

    array: Stored
    attributes: dict[str, Any]
    image: ome.Image | None = None
    levels: tuple[Stored, ...] = ()
    version: int = 3


def store(name: str, options: Sequence[str] = ()) -> Store:
    """Return the store of a name, and of ``KEY=VALUE`` for fsspec, or raise `UsageError` for a URL with a secret."""
    if "@" in name.partition("://")[2].partition("/")[0]:
        raise UsageError("a URL must not hold a name or a password", "the environment is the place for it")
    return Store(name.rstrip("/") if "://" in name else files.placed(name), tuple(_pair(text) for text in options))


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


# --- Opening ---


def look(where: Store) -> Found:
    """Return what a store holds.

    Raises
    ------
    InputError
        There is nothing, its metadata are damaged, or it holds several arrays that are not levels.
    """
    node = _node(where)
    attributes = dict(node.attrs.asdict())
    if hasattr(node, "shape"):
        return Found(described(where, "", node), attributes, version=node.metadata.zarr_format)
    image = ome.image(attributes)
    if image is None:
        names = sorted(name for name, _ in node.arrays())
        one = f"name one, as {files.shown(where.url)}/{files.shown(names[0])}" if names else None
        raise InputError(f"it holds {len(names)} arrays and says of none that it is the image", one)
    with explained(InputError, "damaged Zarr metadata"):
        levels = tuple(described(where, path, node[path]) for path in image.paths)
    return Found(levels[0], attributes, image, levels, node.metadata.zarr_format)


def _node(where: Store) -> Any:
    import zarr

    if not where.remote and not os.path.isdir(where.url):
        raise InputError("no such folder" if not os.path.lexists(where.url) else "is no folder")
    try:
        return zarr.open(_opened(where), mode="r")
    except FileNotFoundError:
        raise InputError("it holds no Zarr array or group") from None
    except PoolError:
        raise
    except PermissionError as error:
        raise InputError(files.fact(error)) from error
    except Exception as error:  # what a damaged document, an unknown codec or a network make of themselves
        raise InputError(f"Zarr metadata cannot be read: {line(error)}") from error


def described(where: Store, path: str, array: Any) -> Stored:
    """Return an array of the library, as any process can open it."""
    from zarr.core.buffer import default_buffer_prototype

    documents = array.metadata.to_buffer_dict(default_buffer_prototype())
    text = documents[DOCUMENT if array.metadata.zarr_format == 3 else ".zarray"].to_bytes().decode()
    if array.metadata.zarr_format == 2:
        text = json.dumps({**json.loads(text), "attributes": array.attrs.asdict()})
    found = Stored(where, path, text)
    with explained(InputError, "its chunks are of several sizes"):
        _ = found.chunks
    return found


_HELD: dict[str, Any] = {}  # stores in memory


def held(array: Array, names: Sequence[str], name: str) -> Stored:
    """Return an array that this process holds; *name* tells it from others."""
    import zarr

    where = Store(f"{name}\0")
    _HELD[where.url] = zarr.storage.MemoryStore()
    chunks = tuple(min(length, 1024) for length in array.shape)
    made = zarr.create_array(_HELD[where.url], shape=array.shape, dtype=array.dtype, chunks=chunks, compressors=None,
                             dimension_names=names, config={"write_empty_chunks": True})  # fmt: skip
    made[...] = array
    return described(where, "", made)


@lru_cache(maxsize=32)
def _opened(where: Store, *, writes: bool = False) -> Any:
    from zarr import storage

    if where.url in _HELD:
        return _HELD[where.url]
    if not where.remote:
        return storage.LocalStore(where.url, read_only=not writes)
    try:
        return storage.FsspecStore.from_url(where.url, storage_options=dict(where.options), read_only=not writes)
    except ImportError as error:
        raise UsageError(
            f"{files.shown(where.url)} must be opened with fsspec: {error}", "pip install 'poolcli[remote]'"
        ) from error
    except ValueError as error:  # no such protocol, or one that a package is missing for
        raise UsageError(f"{files.shown(where.url)}: {line(error)}") from error


@lru_cache(maxsize=64)
def opened_array(stored: Stored, fill: Any = None, *, writes: bool = False) -> Any:
    """Return the array of the library, with another *fill* value where one is given."""
    import zarr
    from zarr.storage import StorePath

    document = json.loads(stored.document)
    if fill is not None:
        document["fill_value"] = fill
    with _codecs(stored.store, writes=writes):
        return zarr.Array(
            zarr.AsyncArray(
                metadata=document,
                store_path=StorePath(_opened(stored.store, writes=writes), stored.path),
                config={"write_empty_chunks": True},  # what is not stored counts as lost
            )
        )


def _codecs(where: Store, *, writes: bool) -> Any:
    """Return the setting under which arrays are read by zarrs, where that is installed; it writes no empty chunks."""
    import zarr

    try:
        import zarrs  # noqa: F401
    except ImportError:
        return nullcontext()
    return (
        nullcontext()
        if where.remote or writes
        else zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    )


@contextmanager
def explained(kind: type[PoolError], what: str) -> Iterator[None]:
    """Turn whatever the library raises into one short sentence."""
    try:
        yield
    except (PoolError, MemoryError):
        raise
    except OSError as error:
        raise kind(files.fact(error)) from error
    except Exception as error:
        raise kind(f"{what}: {line(error)}") from error


def line(error: Exception) -> str:
    """Return the first line of what an error says."""
    text = files.shown(str(error).strip().partition("\n")[0].rstrip("."))[:160]
    return text or type(error).__name__


# --- Boxes ---


def read(stored: Stored, box: Box, missing: float | None = None) -> tuple[Array, int]:
    """Return the elements of a box, and how many of its chunks are not stored, for which *missing* stands.

    Raises
    ------
    InputError
        Chunks are damaged or, without *missing*, not stored; the message names them.
    """
    first, second = _marks(stored.dtype)
    marked = opened_array(stored, first)
    try:
        block = np.asarray(marked[box])
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(_blamed(stored, box) or f"cannot be read: {line(error)}") from error
    lost = [cell for cell in _blank(block, stored, box, marked.fill_value) if _missing(stored, cell, second)]
    if lost and missing is None:
        fill = json.loads(stored.document)["fill_value"]
        raise InputError(_listed([_key(stored, cell) for cell in lost], "missing"), f"fill_missing={fill or 0}")
    if lost and not block.flags.writeable:
        block = block.copy()
    for cell in lost:
        block[_within(cell, box)] = missing
    return block, len(lost)


def _marks(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return two fill values: chunks that read as both are not stored, whatever their version and sharding."""
    if dtype.kind == "b":
        return True, False
    return (-123.5, 77.25) if dtype.kind == "f" else (85, 42)


def _cells(box: Box, grid: Sequence[int]) -> Iterator[Box]:
    """Yield what of each chunk of a *grid* lies in a box."""
    parts = [
        [slice(max(at, side.start), min(at + step, side.stop))
         for at in range(side.start // step * step, side.stop, step)]
        for side, step in zip(box, grid, strict=True)
    ]  # fmt: skip
    yield from product(*parts)


def _within(cell: Box, box: Box) -> Box:
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(cell, box, strict=True))


def _blank(block: Array, stored: Stored, box: Box, mark: Any) -> list[Box]:
    """Return the chunks of which *block* holds the mark alone."""
    starts = [[cell.start - side.start for cell in cells] for side, cells in _sides(stored, box)]
    corners = block[np.ix_(*starts)] == mark
    if not corners.any():
        return []
    cells = [cell for cell, corner in zip(_cells(box, stored.chunks), corners.ravel(), strict=True) if corner]
    return [cell for cell in cells if bool((block[_within(cell, box)] == mark).all())]


def _sides(stored: Stored, box: Box) -> Iterator[tuple[slice, list[slice]]]:
    for side, step in zip(box, stored.chunks, strict=True):
        yield side, [cell for (cell,) in _cells((side,), (step,))]


def _missing(stored: Stored, cell: Box, mark: Any) -> bool:
    corner = tuple(slice(side.start, side.start + 1) for side in cell)
    array = opened_array(stored, mark)
    return bool((np.asarray(array[corner]) == array.fill_value).all())


def _blamed(stored: Stored, box: Box) -> str:
    """Say which objects of a box cannot be read, and why."""
    keys, why = [], ""
    for cell in _cells(box, stored.objects):
        try:
            opened_array(stored)[cell]
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 -- a codec may raise anything
            keys.append(_key(stored, cell, stored.objects))
            why = why or (files.fact(error) if isinstance(error, OSError) else line(error))
    return _listed(keys, f"damaged: {why}") if keys else ""


def _key(stored: Stored, cell: Box, grid: Sequence[int] = ()) -> str:
    """Return the name of a chunk, or of the object it is in, as people find it."""
    place = [side.start // step for side, step in zip(cell, grid or stored.chunks, strict=True)]
    return "/".join(filter(None, (stored.path, *map(str, place))))


def _listed(keys: list[str], what: str) -> str:
    named = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if keys[3:] else "")
    return f"chunk{'s' if keys[1:] else ''} {named} {'are' if keys[1:] else 'is'} {what}"


def write(stored: Stored, box: Box, block: Array) -> None:
    """Store the elements of a box: whole objects, so that no two writers share one.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    with explained(OutputError, "cannot be written"):
        opened_array(stored, writes=True)[box] = block


def stamp(found: Found) -> list[Any]:
    """Return what tells whether an array is still the same: its metadata and, of a folder, files' number and age."""
    stored = found.array
    if stored.store.remote:
        return [stored.document]
    if stored.store.url in _HELD:
        return [stored.store.url, stored.document]
    count = newest = 0
    for folder, _, names in os.walk(os.path.join(stored.store.url, stored.path)):
        times = [os.stat(os.path.join(folder, name)).st_mtime_ns for name in names]
        count, newest = count + len(times), max([newest, *times])
    return [stored.document, count, newest]
