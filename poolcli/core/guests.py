"""Arrays of other kinds: taken without a copy where that is possible, and results given back in kind."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core.layouts import OTHER, POOLED
from poolcli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]


class Guest(NamedTuple):
    """An array as NumPy's, what of it counts, the layout that its dims spell, and how a result is given back."""

    array: Array
    mask: Array | None = None
    layout: str | None = None
    back: Callable[[Array], Any] = lambda result: result


def taken(given: Any) -> Guest:
    """Return what *given* is to NumPy.

    Raises
    ------
    InputError
        It is a path, or nothing that NumPy takes.
    """
    if type(given) is np.ndarray:
        return Guest(given)
    if isinstance(given, str | bytes | os.PathLike):
        raise InputError(f"array must hold numbers, got {given!r}", f"poolcli.read({os.fsdecode(given)!r})")
    if isinstance(given, np.ma.MaskedArray):
        return Guest(np.asarray(given.data), ~np.ma.getmaskarray(given))
    library = sys.modules.get(type(given).__module__.partition(".")[0])
    try:
        back = getattr(library, "from_dlpack", None)
        if library is not np and hasattr(given, "__dlpack__") and back is not None:
            return Guest(_without_copy(given), back=back)
        return Guest(np.asarray(given), layout=spelled(given))
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise InputError(f"array must be what numpy.asarray accepts, got {error}") from error


def _without_copy(given: Any) -> Array:
    try:
        return np.from_dlpack(given)
    except (BufferError, RuntimeError, TypeError):
        return np.asarray(given)


def spelled(given: Any) -> str | None:
    """Return the layout that the names of an array's dims spell, if each is one letter of a layout (as in xarray)."""
    letters = "".join(map(str, getattr(given, "dims", ()))).upper()
    known = letters and len(letters) == np.ndim(given) and not set(letters) - set(POOLED + OTHER)
    return letters if known and set(letters) & set(POOLED) else None
