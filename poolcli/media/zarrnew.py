"""New Zarrs: how arrays shall be stored, with what is carried over from another, and the documents that say so."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import OutputError, UsageError
from poolcli.media import files
from poolcli.media.zarr import DOCUMENT, Stored, described, explained, line, opened_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poolcli.media.zarr import Store


_CODECS = ("zstd", "gzip", "blosc", "none")


@dataclass(frozen=True, slots=True)
class Form:
    """How an array shall be stored: elements of a chunk and of a shard, and its codec as ``zstd:1``."""

    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    compress: str | None = None


def designed(
    where: Store,
    path: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    like: Stored,
    form: Form,
    attributes: Mapping[str, Any] | None = None,
) -> Stored:
    """Return an array that can be written to: chunks, shards, codecs, names and fill value of *like*, or of *form*.

    Raises
    ------
    UsageError
        The form does not fit the array.
    """
    import zarr

    chunks = _each("chunks", form.chunks, shape) or tuple(map(min, like.chunks, shape))
    chunks = tuple(max(1, step) for step in chunks)
    asked = _each("shards", form.shards, shape)
    sides = zip(asked or (), chunks, shape, strict=asked is not None)
    if any(inner < length and outer % inner for outer, inner, length in sides):
        raise UsageError(f"shards must be multiples of chunks {_x(chunks)}, got {_x(asked or ())}")
    shards = _sharded(asked or like.shards, chunks, shape)
    scratch = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        fill_value=_fill(like, dtype),
        dimension_names=like.names if any(like.names) else None,
        attributes=dict(attributes or {}),
        **_coding(like, dtype, form.compress),
    )
    document = json.loads(described(where, path, scratch).document)
    return Stored(where, path, json.dumps(document))


def _each(name: str, given: tuple[int, ...] | None, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return one number for each axis: those given are of the last axes, one alone of all but short ones."""
    if given is None:
        return None
    if len(given) == 1:
        given = tuple(min(given[0], length) for length in shape) if name == "chunks" else given * len(shape)
    if len(given) != len(shape):
        raise UsageError(f"{name} must be one number, or one for each of the {len(shape)} axes, got {_x(given)}")
    return given


def _sharded(asked: tuple[int, ...] | None, chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return shards clipped to the shape, in whole chunks; none where each would hold one chunk."""
    if asked is None:
        return None
    fits = tuple(
        -(-min(outer, length) // inner) * inner for outer, inner, length in zip(asked, chunks, shape, strict=True)
    )
    return None if fits == chunks else fits


def _x(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _fill(like: Stored, dtype: np.dtype[Any]) -> Any:
    """Return the fill value of another array, where a dtype holds it."""
    value = np.asarray(opened_array(like).fill_value if opened_array(like).fill_value is not None else 0)
    with np.errstate(all="ignore"):
        cast = value.astype(dtype)
    return cast[()] if cast == value or (value != value and dtype.kind == "f") else dtype.type(0)  # noqa: PLR0124 -- NaN


def _coding(like: Stored, dtype: np.dtype[Any], compress: str | None) -> dict[str, Any]:
    """Return the codecs of another array, as far as they fit a dtype; those asked for; or zstd of shuffled bytes."""
    from zarr import codecs

    array = opened_array(like)
    name, _, level = (compress or "").partition(":")
    if compress is not None and (name not in _CODECS or not (level.isdecimal() or not level)):
        raise UsageError(f"compress must be one of {', '.join(_CODECS)}, or with a level as zstd:1, got {compress!r}")
    carried = {"compressors": array.compressors or None} if array.metadata.zarr_format == 3 else None
    if carried is not None and array.dtype == dtype:
        carried |= {"filters": array.filters or None, "serializer": array.serializer}
    if compress is None and carried is not None:
        return carried
    chosen: dict[str, Any] = {
        "zstd": lambda: codecs.ZstdCodec(level=int(level or 1)),
        "gzip": lambda: codecs.GzipCodec(level=int(level or 5)),
        "blosc": lambda: codecs.BloscCodec(cname="zstd", clevel=int(level or 1), shuffle="shuffle"),
        "none": lambda: None,
        "": lambda: (
            codecs.BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
            if dtype.itemsize > 1
            else codecs.ZstdCodec(level=1)
        ),
    }
    try:
        return {**(carried or {}), "compressors": chosen[name]()}
    except ValueError as error:
        raise UsageError(f"compress must have a level that {name} knows, got {compress!r}: {line(error)}") from error


def coding(of: Stored) -> str:
    """Return the codecs of an array, as text."""
    array = opened_array(of)
    filters, packers = array.filters or (), array.compressors or ()
    return " ".join(_said(codec) for codec in (*filters, *packers)) or "none"


def _said(codec: Any) -> str:
    said = codec.to_dict() if hasattr(codec, "to_dict") else codec.get_config()
    settings = said.get("configuration", said)
    name = str(said.get("name", said.get("id")))
    level = settings.get("level", settings.get("clevel"))
    return name if level is None else f"{name}:{level}"


def put(where: Store, path: str, text: str) -> None:
    """Store a metadata document, in one step.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    name = "/".join(filter(None, (where.url, path, DOCUMENT)))
    if not where.remote:
        files.write(name, [text.encode()], overwrite=True)
        return
    with explained(OutputError, "cannot be written"):
        import fsspec

        with fsspec.open(name, "wb", **dict(where.options)) as file:
            file.write(text.encode())


def group(attributes: Mapping[str, Any]) -> str:
    """Return the document of a group."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def exists(where: Store) -> bool:
    """Whether there is anything at the place of a store."""
    if not where.remote:
        return os.path.lexists(where.url)
    with explained(OutputError, "cannot be looked at"):
        import fsspec

        system, path = fsspec.core.url_to_fs(where.url, **dict(where.options))
        return bool(system.exists(f"{path}/{DOCUMENT}"))
