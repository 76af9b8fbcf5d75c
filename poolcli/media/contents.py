"""The one door between bytes and arrays: looks at the content, and hands over to the module of its format."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, OutputError, PoolError, PoolWarning, UsageError
from poolcli.media import files, formats
from poolcli.media.formats import Format, Header
from poolcli.media.pictures import Meta, Source, turned, upright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Buffer

__all__ = ["Content", "Found", "Header", "Meta", "decode", "encode", "look", "read", "write"]

_HEAD = 512


@dataclass(frozen=True, slots=True)
class Content:
    """One decoded file.

    Attributes
    ----------
    pixels
        (rows, columns) or (rows, columns, channels) of a picture; any shape of a tensor. May be read-only,
        in any byte and memory order.
    header
        What the file said.
    meta
        What a picture carries beside its pixels; None for a tensor.
    warnings
        What a person should know, such as "frame 1 of 12".
    """

    pixels: NDArray[Any]
    header: Header
    meta: Meta | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a file's header says, and how to read the rest."""

    header: Header
    source: Source

    def read(self) -> Content:
        """Return the array, upright and expanded, with all that is to be carried over; errors as `look`."""
        header, source = self.header, self.source
        with _explained(InputError, f"damaged or truncated {header.format}", "its pixels are damaged"):
            pixels = upright(source.decode(), header.orientation)
        frames = (f"frame 1 of {header.frames}",) if header.frames > 1 else ()
        return Content(pixels, header, source.meta, (*frames, *source.warnings))


def look(data: bytes, *, key: str | None = None, max_pixels: int) -> Found:
    """Return what a file holds, by its content, without decoding its pixels.

    Parameters
    ----------
    data
        The whole file.
    key
        Which array of an `.npz`.
    max_pixels
        Most rows times columns of a picture, or elements of an `.npz`.

    Raises
    ------
    InputError
        The file cannot be read, or only with loss. The message is the bare fact: the caller adds the name.
    LimitError
        More than *max_pixels*.
    """
    format_ = formats.sniff(data[:_HEAD])
    if key is not None and format_.name != "npz":
        raise InputError(f"--key chooses an array of an .npz file, but this is {format_.name}")
    chosen = {} if key is None else {"key": key}
    with _explained(InputError, f"damaged or truncated {format_.name}", "its header is damaged"):
        source = turned(_module(format_).look(data, max_pixels, **chosen))
    return Found(source.header, source)


def decode(data: bytes, *, key: str | None = None, max_pixels: int) -> Content:
    """Return what a file holds, by its content; parameters and errors as `look`."""
    return look(data, key=key, max_pixels=max_pixels).read()


def encode(
    pixels: NDArray[Any],
    format: Format,
    meta: Meta | None,
    *,
    quality: int | None = None,
) -> list[Buffer]:
    """Return the buffers of a file, to be written one after the other.

    Parameters
    ----------
    pixels
        What `formats.check` has found to fit; a picture's one channel may also be an axis of length 1.
    format
        What to write.
    meta
        What to carry over, from a picture that was read, or None.
    quality
        1 to 100, for JPEG and WebP; None is the format's default, lossless for WebP.
    """
    if format.picture:
        if pixels.shape[2:] == (1,):
            pixels = pixels[:, :, 0]
        pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    options = {"quality": quality or format.quality} if format.qualities else {}
    with _explained(OutputError, f"cannot be encoded as {format.name}", "its encoder failed"):
        buffers: list[Buffer] = _module(format).encode(pixels, meta or Meta(), **options)
    return buffers


def read(path: str | os.PathLike[str], *, key: str | None = None, max_pixels: int = 10**9) -> NDArray[Any]:
    """Return the array of a file: a picture upright as (rows, columns[, channels]), or a tensor as it is.

    Parameters
    ----------
    path
        A file of any format that poolcli reads, told by its content; ``-`` is standard input.
    key
        Which array of an `.npz`.
    max_pixels
        Most rows times columns of a picture, or elements of an `.npz`.

    Raises
    ------
    poolcli.PoolError
        The file cannot be read, or only with loss.
    """
    name = os.fsdecode(path)
    with _naming(name):
        content = decode(files.read(name), key=key, max_pixels=max_pixels)
    for warning in content.warnings:
        warnings.warn(f"{files.shown(name)}: {warning}", PoolWarning, stacklevel=2)
    return content.pixels


def write(
    path: str | os.PathLike[str],
    array: ArrayLike,
    *,
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write an array as a picture or tensor; the file has all of it or stays as it was.

    Parameters
    ----------
    path
        Where to; missing folders are made. ``-`` is standard output.
    array
        (rows, columns) or (rows, columns, channels) for a picture, any shape for `.npy`.
    format
        Name of a format; told by the suffix of *path* when not given.
    quality
        1 to 100, for JPEG and WebP.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    poolcli.PoolError
        The format cannot hold the array without loss, or the file cannot be written.
    """
    name, pixels = os.fsdecode(path), np.asarray(array)
    with _naming(name):
        chosen = formats.by_suffix(name) if format is None else formats.by_name(format)
        if chosen is None:
            raise UsageError("format must be given, or told by a suffix", 'format="png"')
        if formats.by_suffix(name) not in {None, chosen}:
            raise UsageError(f"format must agree with the suffix, got {chosen.name}")
        formats.check_quality(chosen, quality)
        formats.check(chosen, pixels.shape, pixels.dtype.name)
        files.write(name, encode(pixels, chosen, None, quality=quality), overwrite=overwrite)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except PoolError as error:
        raise error.about(files.shown(name)) from error


def _module(format: Format) -> Any:
    """Return the module of a format: its `look(data, max_pixels)` and, if it writes, `encode(pixels, meta)`."""
    _quiet()
    return import_module(f"poolcli.media.{format.name}")


def _quiet() -> None:
    """Keep the libraries quiet: what they have to say is either an error or no concern of the user's."""
    # A filter, because `warnings.catch_warnings` is not safe with several threads.
    warnings.filterwarnings("ignore", module=r"(PIL|imageio|tifffile)\b")
    _silence()


@cache
def _silence() -> None:
    for name in ("PIL", "imageio", "tifffile", "imagecodecs"):
        logging.getLogger(name).addHandler(logging.NullHandler())


@contextmanager
def _explained(kind: type[PoolError], what: str, where: str) -> Iterator[None]:
    """Turn whatever a decoder or encoder raises into one short sentence."""
    try:
        yield
    except (PoolError, MemoryError):
        raise
    except Exception as error:  # they raise anything: OSError, SyntaxError, struct.error, KeyError, ...
        raise kind(f"{what}: {_reason(error) or where}") from error


def _reason(error: Exception) -> str:
    """Return the first line of a reason that is made for people, or nothing; imageio hides it in `__cause__`."""
    reason = error.__cause__ or error
    if not isinstance(reason, _FOR_PEOPLE) or "cannot identify" in str(reason):
        return ""
    line = files.shown(str(reason).partition("\n")[0].strip().rstrip("."))[:120]
    return line if line[1:2].isupper() else line[:1].lower() + line[1:]


_FOR_PEOPLE = (OSError, SyntaxError, NotImplementedError)  # what Pillow raises on purpose; others use Python's words
