"""The one door between bytes and arrays: looks at the content, and hands over to tensors or images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poolcli.errors import InputError
from poolcli.media import images, tensors
from poolcli.media.formats import Format, Header, check, sniff
from poolcli.media.images import Meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["Content", "Found", "Header", "Meta", "decode", "encode", "look"]

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
    read: Callable[[], Content]


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

    Returns
    -------
    Found
        Its `read` returns the array, upright and expanded, with all that is to be carried over; errors as here.

    Raises
    ------
    InputError
        The file cannot be read, or only with loss. The message is the bare fact: the caller adds the name.
    LimitError
        More than *max_pixels*.
    """
    format_ = _sniff(data, key)
    if format_.picture:
        source = images.look(data, format=format_.name, max_pixels=max_pixels)
        return Found(source.header, lambda: Content(*images.decode(data, source)))
    header = tensors.probe(data, format=format_.name, key=key, max_pixels=max_pixels)
    return Found(header, lambda: Content(*tensors.decode(data, format=format_.name, key=key, max_pixels=max_pixels)))


def decode(data: bytes, *, key: str | None = None, max_pixels: int) -> Content:
    """Decode a file, by its content; parameters and errors as `look`."""
    return look(data, key=key, max_pixels=max_pixels).read()


def encode(
    pixels: NDArray[Any],
    format: Format,
    meta: Meta | None,
    *,
    quality: int | None = None,
) -> list[Buffer]:
    """Encode an array as a file of one format.

    Parameters
    ----------
    pixels
        (rows, columns) or (rows, columns, channels) for a picture, where one channel may also be an axis of
        length 1; any shape for `.npy`.
    format
        What to write.
    meta
        What to carry over, from a picture that was read, or None.
    quality
        1 to 100, for JPEG and WebP; None is the format's default, lossless for WebP.

    Returns
    -------
    list of buffers
        To be written one after the other.

    Raises
    ------
    InputError
        The format cannot hold these pixels without loss.
    """
    meta = meta or Meta()
    check(format, pixels.shape, pixels.dtype.name, meta.mode)
    if not format.picture:
        return tensors.encode(pixels)
    return images.encode(pixels, format=format.name, meta=meta, quality=quality or format.quality)


def _sniff(data: bytes, key: str | None) -> Format:
    format_ = sniff(data[:_HEAD])
    if key is not None and format_.name != "npz":
        raise InputError(f"key chooses an array of an .npz file, but this is {format_.name}")
    return format_
