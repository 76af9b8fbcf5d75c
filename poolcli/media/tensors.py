"""Tensors: `.npy` and `.npz` bytes to arrays without a copy and without trust, and arrays to `.npy`."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, LimitError, PoolError
from poolcli.media.files import shown
from poolcli.media.formats import NUMERIC, Header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from typing_extensions import Buffer

_HEAD = 1 << 16  # bytes of an .npz member that its header is looked for in; NumPy itself reads at most 10,000


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a `.npy` header says, found to agree with the number of bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    def header(self, format: str) -> Header:
        return Header(format, self.shape, self.dtype.name, None, 8 * self.dtype.itemsize)


def probe(data: bytes, *, format: str, key: str | None, max_pixels: int) -> Header:
    """Return what `.npy` or `.npz` bytes say they hold; errors as `decode`."""
    if format == "npy":
        return _parse(data, len(data)).header(format)
    with _member(data, key) as (archive, info):
        return _parse_member(archive, info, max_pixels).header(format)


def decode(
    data: bytes,
    *,
    format: str,
    key: str | None,
    max_pixels: int,
) -> tuple[NDArray[Any], Header]:
    """Return the array of `.npy` or `.npz` bytes, and its header.

    Parameters
    ----------
    data
        The whole file.
    format
        "npy" or "npz".
    key
        Which array of an `.npz`; None when it has one.
    max_pixels
        Most elements that an `.npz` may unpack to. A `.npy` cannot grow beyond its file.

    Returns
    -------
    NDArray
        Read-only view of *data*, in the byte order and memory order of the file.
    Header
        Its description.

    Raises
    ------
    InputError
        Damaged, truncated, or of a dtype or shape that cannot be pooled.
    LimitError
        More than *max_pixels* elements in an `.npz`.
    """
    if format == "npz":
        with _member(data, key) as (archive, info):
            _parse_member(archive, info, max_pixels)
            data = archive.read(info)
    layout = _parse(data, len(data))
    return _view(data, layout), layout.header(format)


def encode(array: NDArray[Any]) -> list[Buffer]:
    """Return the header and the bytes of a `.npy` file; a C-contiguous array is not copied."""
    array = np.asarray(array, order="C")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return [header.getvalue(), array.reshape(-1).view(np.uint8).data]


def _parse(head: bytes, total: int) -> _Layout:
    """Read and check a header; *head* begins a `.npy` file of *total* bytes."""
    shape, fortran, dtype, offset = _read_header(head)
    if dtype.name not in NUMERIC or dtype.fields is not None:
        raise InputError(f"dtype {dtype} is not supported", f"supported are {', '.join(NUMERIC)}")
    if not shape:
        raise InputError("a single number has no axis to pool")
    lengths = all(type(length) is int and 0 <= length < 2**63 for length in shape)
    if not lengths or len(shape) > 64 or (0 in shape and math.prod(shape[1:]) * dtype.itemsize >= 2**63):
        raise InputError(f"invalid shape {shown(str(shape))[:80]}")
    if 0 in shape[1:]:
        raise InputError(f"zero-sized dimension in shape {shape}")
    expected, found = math.prod(shape) * dtype.itemsize, total - offset
    if found < expected:
        raise InputError(f"truncated: its header promises {expected} bytes of data, found {found}")
    if found > expected:
        raise InputError(f"{found - expected} extra bytes after the data")
    return _Layout(shape, dtype, fortran, offset)


def _read_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    # NumPy warns about headers written by Python 2, which read fine.
    warnings.filterwarnings("ignore", message="Reading `.npy` or `.npz` file required additional header parsing")
    file = io.BytesIO(head)
    try:
        parse = _PARSERS[np.lib.format.read_magic(file)]
        shape, fortran, dtype = parse(file)
    except Exception as error:  # six classes were seen, MemoryError and TokenError among them
        raise InputError("damaged .npy header") from error
    return shape, fortran, dtype, file.tell()


_PARSERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # 3.0 differs in the names of structured dtypes alone
}


def _view(data: bytes, layout: _Layout) -> NDArray[Any]:
    flat = np.frombuffer(data, np.uint8, offset=layout.offset)
    if layout.dtype == bool and flat.size and flat.max() > 1:
        raise InputError("damaged: bool values must be 0 or 1")
    return flat.view(layout.dtype).reshape(layout.shape, order="F" if layout.fortran else "C")


def _parse_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_pixels: int) -> _Layout:
    """Check a member before it is unpacked: against the limit, and its header against its promised size."""
    if info.file_size > max_pixels * 8 + _HEAD:
        raise LimitError(f"unpacks to {info.file_size} bytes, more than {max_pixels} elements take", "max_pixels=")
    with archive.open(info) as member:
        layout = _parse(member.read(_HEAD), info.file_size)
    if math.prod(layout.shape) > max_pixels:
        raise LimitError(
            f"holds {math.prod(layout.shape)} elements, more than the limit of {max_pixels}", "max_pixels="
        )
    return layout


@contextmanager
def _member(data: bytes, key: str | None) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive, _choose(archive, key)
    except (PoolError, MemoryError):
        raise
    except Exception as error:  # BadZipFile, NotImplementedError, zlib.error, EOFError, RuntimeError, ...
        raise InputError(f"damaged .npz: {shown(str(error))[:100] or type(error).__name__}") from error


def _choose(archive: zipfile.ZipFile, key: str | None) -> zipfile.ZipInfo:
    # Names of members are only ever compared, never used as paths.
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if not members:
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
