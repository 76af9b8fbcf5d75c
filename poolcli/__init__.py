"""Pool images and tensors: max, average, L2 and their family, with deep-learning window semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcli.errors import PoolError

if TYPE_CHECKING:
    from poolcli.core.pooling import pool
    from poolcli.measure.compare import compare

__version__ = "0.1.0"
__all__ = ["PoolError", "__version__", "compare", "pool"]


def __getattr__(name: str) -> object:
    """Import `pool` or `compare` when it is first asked for, so that `poolcli --help` needs no NumPy."""
    if name == "pool":
        from poolcli.core.pooling import pool

        return pool
    if name == "compare":
        from poolcli.measure.compare import compare

        return compare
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
