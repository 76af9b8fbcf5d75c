"""Pool images and tensors, with deep-learning window semantics: `pool` an array, `read` and `write` files.

>>> import poolcli
>>> pooled = poolcli.pool(poolcli.read("photo.png"), "avg", kernel=4)
>>> poolcli.write("small.png", pooled.round().astype("uint8"))

What cannot be done raises `PoolError`. Each value of a result is the ... of its window:
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from poolcli.core import methods as _methods
from poolcli.errors import PoolError

if TYPE_CHECKING:
    from poolcli.core.pooling import pool
    from poolcli.media.contents import read, write

__version__ = "0.1.0"
__all__ = ["METHODS", "PoolError", "__version__", "pool", "read", "write"]
__doc__ += "".join(f"\n    {row.name:9} {row.summary}" for row in _methods.METHODS.values())

METHODS = tuple(_methods.METHODS)

_PLACES = {"pool": "core.pooling", "read": "media.contents", "write": "media.contents"}


def __getattr__(name: str) -> object:
    """Import a function when it is first asked for, so that `poolcli --help` needs no NumPy."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"poolcli.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
