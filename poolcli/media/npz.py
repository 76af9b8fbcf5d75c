"""Archives of NumPy arrays: one `.npy` of an `.npz`, unpacked once its promises were checked."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, LimitError
from poolcli.media import npy
from poolcli.media.files import shown
from poolcli.media.pictures import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.parts import Parts

_HEAD = npy.HEAD
_LOCAL = 30  # bytes before the name of a member


def look(data: bytes, max_pixels: int, key: str | None = None) -> Source:
    """Return the source of the array of this name, or of the only one, which may have *max_pixels* elements."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = _choose(archive, key)
        layout = _checked(archive, info, max_pixels)

    def decode() -> NDArray[Any]:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return npy.look(archive.read(info), max_pixels).decode()

    return Source(layout.header("npz"), decode)


def stream(file: Parts, max_pixels: int, key: str | None = None) -> Source | None:
    """Return the source of an array that is read in parts; None where it is deflated."""
    with file.opened() as raw, zipfile.ZipFile(raw) as archive:
        info = _choose(archive, key)
        layout = _checked(archive, info, max_pixels)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        raw.seek(info.header_offset)
        name, extra = struct.unpack_from("<HH", raw.read(_LOCAL), _LOCAL - 4)

    @cache
    def check() -> None:
        """Raise where the checksum of the array is not that of its bytes."""
        with file.opened() as raw, zipfile.ZipFile(raw) as archive, archive.open(info) as member:
            while member.read(_HEAD):
                pass

    def part(box: tuple[slice, ...]) -> NDArray[Any]:
        check()
        return npy.part(file, layout, begin + layout.offset, box)

    begin = info.header_offset + _LOCAL + name + extra
    return replace(npy.streamed("npz", file, layout, begin), part=part)


def text(data: bytes, key: str) -> str:
    """Return the text of this name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(_choose(archive, key)) as member:
        return npy.text(member.read(_HEAD))


def pack(arrays: Mapping[str, NDArray[Any]]) -> list[Buffer]:
    """Return an archive of arrays and texts by name."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return [file.getbuffer()]


def keys(data: bytes) -> list[str]:
    """Return the names of all arrays."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_pixels: int) -> npy.Layout:
    """Check a member before it is unpacked: against the limit, and its header against its promised size."""
    if info.file_size > max_pixels * 8 + _HEAD:
        raise LimitError(f"unpacks to {info.file_size} bytes, more than {max_pixels} elements take", "max_pixels=")
    with archive.open(info) as member:
        layout = npy.parse(member.read(_HEAD), info.file_size)
    if (count := math.prod(layout.shape)) > max_pixels:
        raise LimitError(f"holds {count} elements, more than the limit of {max_pixels}", "max_pixels=")
    return layout


def _choose(archive: zipfile.ZipFile, key: str | None) -> zipfile.ZipInfo:
    # Names of members are only ever compared, never used as paths.
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if not members:
        if any(info.filename.endswith("data.pkl") for info in archive.infolist()):
            raise InputError(
                "is a PyTorch archive", "numpy.save('x.npy', torch.load(FILE).numpy()) in Python makes one"
            )
        raise InputError("holds no array")
    if key is None and len(members) > 1:
        raise InputError(f"holds {len(members)} arrays: {_keys(members)}", "key=NAME")
    found = [info for info in members if key in (None, info.filename.removesuffix(".npy"))]
    if not found:
        raise InputError(f"holds no array {key!r}, only {_keys(members)}", "key=NAME")
    if len(found) > 1:
        raise InputError(f"holds {len(found)} arrays named {key!r}")
    if found[0].flag_bits & 1:
        raise InputError("is encrypted")
    return found[0]


def _keys(members: list[zipfile.ZipInfo]) -> str:
    names = [shown(info.filename.removesuffix(".npy"))[:60] for info in members[:10]]
    return ", ".join(names) + (f" and {len(members) - 10} more" if len(members) > 10 else "")
