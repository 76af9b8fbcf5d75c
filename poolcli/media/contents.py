"""The one door between bytes and arrays: looks at the content, and hands over to the module of its format."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, OutputError, PoolError
from poolcli.media import files, formats
from poolcli.media.formats import Format, Header
from poolcli.media.pictures import Meta, Source, turned, upright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["Content", "Found", "Header", "Meta", "decode", "encode", "look"]


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
            pixels = source.decode()
            damage = source.judge(pixels)
            pixels = upright(pixels, header.orientation)
            if pixels.shape != header.shape:
                raise ValueError
        frames = (f"frame 1 of {header.frames}",) if header.frames > 1 else ()
        return Content(pixels, header, source.meta, (*frames, *source.warnings, *damage))


def look(data: bytes, *, key: str | None = None, max_pixels: int) -> Found:
    """Return what a file holds, by its content, without decoding its pixels.

    *key* chooses an array of an `.npz`; *max_pixels* bounds rows times columns of a picture, or elements of an `.npz`:
    beyond it a LimitError is raised, and an InputError for what cannot be read, or only with loss. The message is the
    bare fact: the caller adds the name.
    """
    format_ = formats.sniff(data[:512])
    if key is not None and format_.name != "npz":
        raise InputError(f"key chooses an array of an .npz file, but this is {format_.name}")
    chosen = {} if key is None else {"key": key}
    with _explained(InputError, f"damaged or truncated {format_.name}", "its header is damaged"):
        source = turned(_module(format_).look(data, max_pixels, **chosen))
    return Found(source.header, source)


def decode(data: bytes, *, key: str | None = None, max_pixels: int) -> Content:
    """Return what a file holds, by its content; parameters and errors as `look`."""
    return look(data, key=key, max_pixels=max_pixels).read()


def encode(pixels: NDArray[Any], format: Format, meta: Meta | None, *, quality: int | None = None) -> list[Buffer]:
    """Return a file of what `formats.check` has found to fit, as buffers to be written one after the other.

    *meta* is what a picture that was read carries over, or None. Without a quality it is the format's default.
    """
    if format.picture:
        if pixels.shape[2:] == (1,):
            pixels = pixels[:, :, 0]
        pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    options = {"quality": quality or format.quality} if format.qualities else {}
    with _explained(OutputError, f"cannot be encoded as {format.name}", "its encoder failed"):
        buffers: list[Buffer] = _module(format).encode(pixels, meta or Meta(), **options)
    return buffers


def noting() -> tuple[Format, ...]:
    """Return the formats that have a place for a note."""
    return tuple(map(formats.by_name, ("png", "tiff")))


def noted(data: bytes, text: str) -> bytes | None:
    """Return a file that was encoded here with a note of ASCII *text*, or None where it has no place for one."""
    format_ = formats.sniff(data[:512])
    return _module(format_).noted(data, text) if format_ in noting() else None


def note(data: bytes) -> str | None:
    """Return the note in a file, if there is one."""
    format_ = formats.sniff(data[:512])
    return _module(format_).note(data) if format_ in noting() else None


def _module(format: Format) -> Any:
    """Return the module of a format: its `look(data, max_pixels)` and, if it writes, `encode(pixels, meta)`.

    Libraries are kept quiet: what they have to say is either an error or no concern of the user's.
    """
    # A filter, because `warnings.catch_warnings` is not safe with several threads.
    warnings.filterwarnings("ignore", module=r"(PIL|imageio|tifffile)\b")
    for name in ("PIL", "tifffile", "imagecodecs"):
        logging.getLogger(name).addHandler(_SILENCE)
    return import_module(f"poolcli.media.{format.name}")


_SILENCE = logging.NullHandler()


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
