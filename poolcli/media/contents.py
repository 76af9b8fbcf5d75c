"""The one door between bytes and arrays: looks at the content, and hands over to the module of its format."""

from __future__ import annotations

import logging
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError, OutputError, PoolError
from poolcli.media import files, formats
from poolcli.media.formats import Format, Header
from poolcli.media.pictures import QUALITY, Meta, Source, settled, tagged, turned, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.parts import Parts

__all__ = ["Content", "Found", "Header", "Meta", "decode", "encode", "look"]


@dataclass(frozen=True, slots=True)
class Content:
    """One decoded file."""

    pixels: NDArray[Any]  # (rows, columns[, channels]) of a picture; perhaps read-only, in any byte and memory order
    header: Header  # what the file said
    meta: Meta | None = None  # what a picture carries beside its pixels; None for a tensor
    warnings: tuple[str, ...] = ()  # what a person should know, such as "frame 1 of 12"


@dataclass(frozen=True, slots=True)
class Found:
    """What a file's header says, and how to read the rest."""

    source: Source
    upright: bool = True
    indexed: bool = False

    @property
    def header(self) -> Header:
        """What the file says, as its array will be."""
        return self.source.header

    def read(self) -> Content:
        """Return the array, upright and expanded, with all that is to be carried over; errors as `look`."""
        header, source = self.header, self.source
        with _explained(InputError, f"damaged or truncated {header.format}", "its pixels are damaged"):
            pixels = source.decode()
            damage = source.judge(pixels)
            for change in source.changes:
                pixels = change(pixels)
            if pixels.shape != header.shape:
                raise ValueError
        return Content(pixels, header, source.meta, (*source.warnings, *damage))

    def part(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """Return a box of the array, of what `stream` found; errors as `look`."""
        with _explained(InputError, f"damaged or truncated {self.header.format}", "its pixels are damaged"):
            if self.source.part is None:
                raise ValueError
            return self.source.part(box)

    def page(self, number: int) -> Found:
        """Return what is found in a later page or frame; the ones before it are left for good."""
        with _explained(InputError, f"damaged or truncated {self.header.format}", "its header is damaged"):
            if self.source.page is None:
                raise ValueError
            return _found(self.source.page(number), upright=self.upright, indexed=self.indexed)


def look(data: bytes, *, key: str | None = None, max_pixels: int, upright: bool = True, indexed: bool = False) -> Found:
    """Return what a file holds, by its content, without decoding its pixels.

    *key* chooses an array of an `.npz`; *max_pixels* bounds rows times columns of a picture, or elements of an `.npz`:
    beyond it a LimitError is raised, and an InputError for what cannot be read, or only with loss. The message is the
    bare fact: the caller adds the name. Without *upright* a picture lies as it is stored;
    *indexed* gives the indices of its palette.
    """
    format_ = formats.sniff(data[:512])
    if key is not None and format_.name != "npz":
        raise InputError(f"key chooses an array of an .npz file, but this is {format_.name}")
    chosen = {} if key is None else {"key": key}
    with _explained(InputError, f"damaged or truncated {format_.name}", "its header is damaged"):
        return _found(_module(format_).look(data, max_pixels, **chosen), upright=upright, indexed=indexed)


def stream(
    file: Parts, *, key: str | None = None, max_pixels: int, upright: bool = True, indexed: bool = False
) -> Found | None:
    """Return what a file holds as `look` does, to be read in parts; None where that cannot be done."""
    format_ = formats.sniff(file.read(0, 512))
    module, chosen = _parted(format_), {} if key is None else {"key": key}
    if not hasattr(module, "stream") or (chosen and format_.name != "npz") or (indexed and format_.picture):
        return None
    with _explained(InputError, f"damaged or truncated {format_.name}", "its header is damaged"):
        source = module.stream(file, max_pixels, **chosen)
        return None if source is None else _found(source, upright=upright, indexed=indexed)


def _found(source: Source, *, upright: bool, indexed: bool) -> Found:
    if indexed and source.header.picture:
        if source.indexed is None:
            raise InputError("it has no palette", "palette=expand")
        source = source.indexed()
    source = settled(source)
    return Found(turned(source) if upright else tagged(source), upright, indexed)


def keys(data: bytes) -> list[str | None]:
    """Return the names of the arrays that a file holds: None alone for the one of all but an `.npz` of several."""
    if (format_ := formats.sniff(data[:512])).name != "npz":
        return [None]
    with _explained(InputError, "damaged or truncated npz", "its directory is damaged"):
        found: list[str | None] = _module(format_).keys(data)
    return found if len(found) > 1 else [None]


def decode(data: bytes, *, key: str | None = None, max_pixels: int) -> Content:
    """Return what a file holds, by its content; parameters and errors as `look`."""
    content = look(data, key=key, max_pixels=max_pixels).read()
    frames = content.header.frames
    return replace(content, warnings=(*([f"frame 1 of {frames}"] if frames > 1 else []), *content.warnings))


def encode(
    pixels: NDArray[Any],
    format: Format,
    meta: Meta | None,
    *,
    quality: int | None = None,
    later: Sequence[tuple[NDArray[Any], Meta | None]] = (),
    lossless: bool = False,
    coding: Mapping[str, str] | None = None,
) -> list[Buffer]:
    """Return a file of what `formats.check` has found to fit, as buffers to be written one after the other.

    *meta* is what a picture that was read carries over, or None; *later* are more pages or frames, for a format that
    holds several. Without a quality it is the format's default, or that of a source which had lost already, unless it
    shall be *lossless*; *coding* is what `formats.coding` returns.
    """
    if format.frames == "animation" and later:
        pixels, *more = _alike([pixels, *(one for one, _ in later)])
        if any(one.shape != pixels.shape or one.dtype != pixels.dtype for one in more):
            raise InputError(f"frames of {format.name} must be of one size and kind", "page=first, or format=tiff")
        later = [(one, meta) for one, (_, meta) in zip(more, later, strict=True)]
    options: dict[str, Any] = dict(coding or {})
    if format.qualities:
        lost = meta is not None and meta.lossy and not lossless
        options["quality"] = quality or format.quality or (QUALITY if lost else None)
    if later:
        options["later"] = [(_plain(one), meta or Meta()) for one, meta in later]
    with _explained(OutputError, f"cannot be encoded as {format.name}", "its encoder failed"):
        pixels = _plain(pixels) if format.picture else pixels
        buffers: list[Buffer] = _module(format).encode(pixels, meta or Meta(), **options)
    return buffers


def writing(
    format: Format,
    shape: tuple[int, ...],
    dtype: str,
    meta: Meta | None,
    *,
    coding: Mapping[str, str] | None = None,
    fortran: bool = False,
) -> Callable[[Iterable[NDArray[Any]]], files.Product] | None:
    """Return what makes a file of an array that comes in bands; None where the format cannot be written so.

    *fortran*: they are bands of its last axis, each with its first axis innermost.
    """
    write = getattr(_parted(format), "writing", None)
    if write is None or (format.picture and (fortran or dtype == "bool")):  # bits are packed row by row
        return None
    options = dict(coding or {}) | ({} if format.picture else {"fortran": fortran})
    return partial(write, shape, np.dtype(dtype), meta or Meta(), **options)


def _alike(frames: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return frames that all have colours, and alpha, where one has."""
    channels = {math.prod(frame.shape[2:]) for frame in frames}
    if len(channels) == 1 or not channels <= {1, 2, 3, 4}:
        return frames
    return [widened(frame, colours=bool(channels & {3, 4}), alpha=bool(channels & {2, 4})) for frame in frames]


def _plain(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels as encoders like them: grey has no channels, rows follow each other, in this machine's order."""
    if pixels.shape[2:] == (1,):
        pixels = pixels[:, :, 0]
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


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


def _parted(format: Format) -> Any:
    """Return the module that may have a format's `stream` and `writing`, in parts."""
    name = {"tiff": "tiles", "png": "scanlines"}.get(format.name)
    return _module(format) if name is None else import_module(f"poolcli.media.{name}")


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
