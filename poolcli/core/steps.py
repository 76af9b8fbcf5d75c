"""Steps that only NumPy executes, on arrays of a band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def difference(a: Array, b: Array) -> Array:
    """Return a - b, exactly for integers (as unsigned ones), rounded as if once for floats; 0 where a < b: no value."""
    if a.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            apart = np.subtract(a, b, dtype=np.float64)
    else:
        unsigned = np.dtype(f"u{a.dtype.itemsize}")
        apart = np.subtract(a.view(unsigned), b.view(unsigned))  # modulo 2^bits, which no difference passes
    apart[a < b] = 0
    return apart
