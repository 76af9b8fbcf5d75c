"""Pool images and tensors, with deep-learning window semantics: `pool` an array, `read` and `write` files.

>>> import poolcli
>>> pooled = poolcli.pool(poolcli.read("photo.png"), "avg", kernel=4, layout="HWC", dtype="uint8")
>>> poolcli.write("small.png", pooled)

What cannot be done raises `PoolError`. Each value of a result is, of its window, with the method ... the:
"""

from __future__ import annotations

import warnings
from importlib import import_module
from os import PathLike, fsdecode
from typing import TYPE_CHECKING, Any

from poolcli.core import methods as _methods
from poolcli.errors import PoolError, PoolWarning, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from poolcli.core.places import unpool
    from poolcli.core.pooling import pool
    from poolcli.core.regions import region
    from poolcli.measure.compare import compare

__version__ = "0.1.0"
__all__ = ["METHODS", "PoolError", "__version__", "compare", "pool", "read", "region", "unpool", "write"]
__doc__ = "\n".join([f"{__doc__}", *(f"    {row.name:9} {row.summary}" for row in _methods.METHODS.values())])

METHODS = tuple(_methods.METHODS)

_LATER = {"pool": "core.pooling", "region": "core.regions", "unpool": "core.places", "compare": "measure.compare"}


def __getattr__(name: str) -> object:
    """Import what computes when it is first asked for, so that `poolcli --help` needs no NumPy."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__


def read(path: str | PathLike[str], *, key: str | None = None, max_pixels: int = 10**9) -> NDArray[Any]:
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
    PoolError
        The file cannot be read, or only with loss.
    """
    from poolcli.media import contents, files

    name = fsdecode(path)
    try:
        content = contents.decode(files.read(name), key=key, max_pixels=max_pixels)
    except PoolError as error:
        raise error.about(files.shown(name)) from error
    for warning in content.warnings:
        warnings.warn(f"{files.shown(name)}: {warning}", PoolWarning, stacklevel=2)
    return content.pixels


def write(
    path: str | PathLike[str],
    array: ArrayLike,
    *,
    format: str | None = None,
    quality: int | None = None,
    force: bool = False,
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
    force
        Whether an existing file may be replaced.

    Raises
    ------
    PoolError
        The format cannot hold the array without loss, or the file cannot be written.
    """
    import numpy as np

    from poolcli.media import contents, files, formats

    name, pixels = fsdecode(path), np.asarray(array)
    try:
        chosen = formats.by_suffix(name) if format is None else formats.by_name(format)
        if chosen is None:
            raise UsageError("format must be given, or told by a suffix", "format=png")
        if formats.by_suffix(name) not in {None, chosen}:
            raise UsageError(f"format must agree with the suffix, got {chosen.name}")
        formats.coding(chosen, quality)
        formats.check(chosen, pixels.shape, pixels.dtype.name)
        files.write(name, contents.encode(pixels, chosen, None, quality=quality), overwrite=force)
    except PoolError as error:
        raise error.about(files.shown(name)) from error
