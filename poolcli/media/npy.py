"""NumPy arrays: `.npy` bytes to arrays without a copy and without trust, and back."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError
from poolcli.media.files import shown
from poolcli.media.formats import NUMERIC, Header
from poolcli.media.pictures import Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.files import Product
    from poolcli.media.parts import Parts
    from poolcli.media.pictures import Meta


HEAD = 1 << 16  # bytes that a header is looked for in; NumPy itself reads at most 10,000


@dataclass(frozen=True, slots=True)
class Layout:
    """What a `.npy` header says, found to agree with the number of bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    def header(self, format: str) -> Header:
        """Return the header of a file of this format."""
        return Header(format, self.shape, self.dtype.name, None, 8 * self.dtype.itemsize)


def look(data: bytes, _max_pixels: int) -> Source:
    """Return the source of the array, a read-only view of *data*; it cannot grow beyond its file."""
    layout = parse(data[:HEAD], len(data))
    return Source(layout.header("npy"), partial(_view, data, layout))


def stream(file: Parts, _max_pixels: int) -> Source:
    """Return the source of the array of a file that is read in parts."""
    return streamed("npy", file, parse(file.read(0, HEAD), file.size), 0)


def streamed(format: str, file: Parts, layout: Layout, begin: int) -> Source:
    """Return the source of an array whose header is *begin* bytes behind the begin of a file."""
    read = partial(part, file, layout, begin + layout.offset)
    whole = tuple(slice(0, length) for length in layout.shape)
    return Source(layout.header(format), partial(read, whole), part=read, fortran=layout.fortran)


def writing(
    shape: tuple[int, ...], dtype: np.dtype[Any], _meta: Meta, bands: Iterable[NDArray[Any]], *, fortran: bool
) -> Product:
    """Return what writes an array of which *bands* hold the elements in the order of the file."""

    def write(file: BinaryIO) -> int:
        size = file.write(
            _header({"shape": shape, "descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran})
        )
        for band in bands:
            size += file.write(np.ascontiguousarray(band.T if fortran else band).reshape(-1).view(np.uint8).data)
        return size

    return write


def encode(array: NDArray[Any], _meta: Meta) -> list[Buffer]:
    """Return the header and the bytes of a `.npy` file; a C-contiguous array is not copied."""
    array = np.asarray(array, order="C")
    header = _header(np.lib.format.header_data_from_array_1_0(array))
    return [header, array.reshape(-1).view(np.uint8).data]


def _header(told: dict[str, Any]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, told)
    return header.getvalue()


def text(data: bytes) -> str:
    """Return the text that a file holds in place of numbers."""
    shape, _, dtype, offset = _read_header(data)
    if shape or dtype.kind != "U" or len(data) != offset + dtype.itemsize:
        raise InputError(f"holds {dtype} {shape} where a text belongs")
    return str(np.frombuffer(data, dtype, offset=offset)[0])


def parse(head: bytes, total: int) -> Layout:
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
    return Layout(shape, dtype, fortran, offset)


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


def part(file: Parts, layout: Layout, begin: int, box: tuple[slice, ...]) -> NDArray[Any]:
    """Return a box of an array whose elements are *begin* bytes behind the begin of a file.

    Axes of which it has most are read whole.
    """
    order = slice(None, None, -1 if layout.fortran else 1)
    shape, asked = layout.shape[order], box[order]
    ends = [(at.start, at.stop) for at in asked]
    read = [
        (0, n) if 4 * (stop - start) >= 3 * n else (start, stop) for n, (start, stop) in zip(shape, ends, strict=True)
    ]
    last = max((i for i, (n, at) in enumerate(zip(shape, read, strict=True)) if at != (0, n)), default=0)
    held = np.empty([stop - start for start, stop in read], layout.dtype)
    starts = [start for start, _ in read]
    sizes = [math.prod(shape[axis + 1 :]) * layout.dtype.itemsize for axis in range(len(shape))]
    outer = held.shape[:last]
    runs = held.reshape(math.prod(outer), -1).view(np.uint8)
    places = (
        begin + sum((i + start) * size for i, start, size in zip((*index, 0), starts, sizes, strict=False))
        for index in np.ndindex(outer)
    )
    file.fill(zip(places, (run.data for run in runs), strict=True))
    if layout.dtype == bool and runs.size and runs.max() > 1:
        raise InputError("damaged: bool values must be 0 or 1")
    inner = tuple(slice(a - b, z - b) for (a, z), (b, _) in zip(ends, read, strict=True))
    return held[inner] if not layout.fortran else held[inner].T


def _view(data: bytes, layout: Layout) -> NDArray[Any]:
    """Return the array of a file whose header was parsed."""
    flat = np.frombuffer(data, np.uint8, offset=layout.offset)
    if layout.dtype == bool and flat.size and flat.max() > 1:
        raise InputError("damaged: bool values must be 0 or 1")
    return flat.view(layout.dtype).reshape(layout.shape, order="F" if layout.fortran else "C")
