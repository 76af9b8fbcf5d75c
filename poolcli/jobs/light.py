"""What the numbers of a picture mean while they are pooled: light, how much of it, and in how many steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, methods

if TYPE_CHECKING:
    from typing import Protocol

    from numpy.typing import NDArray

    from poolcli.core.methods import Method
    from poolcli.core.pooling import Outline, Pooling

    class Run(Protocol):
        """`pooling.run` for one window."""

        def __call__(
            self,
            pixels: NDArray[Any],
            method: Method,
            *,
            dtype: np.dtype[Any] | None,
            alpha: bool = False,
        ) -> Pooling:
            """Return what pooling gave; the last channel weighs the others if it is *alpha*."""


@dataclass(frozen=True, slots=True)
class Light:
    """How the numbers of a picture are understood.

    Attributes
    ----------
    bits
        Of a sample: full light is 2^bits - 1.
    depth
        Of a sample of the result, where its numbers are rescaled.
    alpha
        Whether the last channel says how much of the colours there is.
    weighted
        Whether it weighs them.
    linear
        Whether the numbers of colours encode light as sRGB does.
    """

    bits: int
    depth: int | None = None
    alpha: bool = False
    weighted: bool = False
    linear: bool = False

    @property
    def copies(self) -> int:
        """How many bytes it takes for each byte of pixels."""
        return 16 if self.linear else 8 if self.weighted else 0


def averages(method: Method) -> bool:
    """Tell whether *method* is a mean whose weights a picture's alpha can share in."""
    return getattr(method.recipe, "step", None) in {"mean", "blur"}


def pool(
    light: Light, pixels: NDArray[Any], method: Method, outline: Outline, run: Run, *, direct: bool = False
) -> Pooling:
    """Return what *run* gives for *pixels* understood as *light*; each number of the result is rounded once.

    *direct*: one window is all that it pools by, and nothing else is told of it.
    """
    dtype, rounding = outline.dtype, outline.rounding
    if not (light.depth or light.linear or light.weighted):
        return run(pixels, method, dtype=dtype)
    if direct and light.weighted and not (light.linear or light.depth) and _total(method) is not method:
        return run(pixels, method, dtype=dtype, alpha=True)
    done = _colours(light, pixels, method, run)
    parts = [done.array]
    if light.alpha:
        parts.append(run(pixels[:, :, -1:], method, dtype=_FLOAT).array)
    parts = [dtypes.convert(_rescaled(part, light), dtype, rounding) for part in parts]
    return done._replace(array=np.concatenate(parts, axis=2) if light.alpha else parts[0])


_FLOAT = np.dtype(np.float64)


def _colours(light: Light, pixels: NDArray[Any], method: Method, run: Run) -> Pooling:
    """Pool the colours alone, as numbers of the source that are not rounded."""
    colours = pixels[:, :, :-1] if light.alpha else pixels
    if light.linear:
        colours = _decoded(light.bits)[colours]
    if light.weighted:
        done = _weighted(colours, pixels[:, :, -1:], method, run)
    else:
        done = run(colours, method, dtype=None if method.result == "same" else _FLOAT)
    return done._replace(array=_encoded(done.array, light.bits)) if light.linear else done


def _weighted(colours: NDArray[Any], alpha: NDArray[Any], method: Method, run: Run) -> Pooling:
    """Return the means of *colours* weighed by *alpha*; the plain ones where there is none of it."""
    wide = {"uint8": np.uint16, "uint16": np.uint32}.get(colours.dtype.name, np.float64)  # holds each product
    count = colours.shape[2]
    shares = np.empty((*colours.shape[:2], count + 1), wide)
    for channel in range(count):  # all at once takes twice as long: the last axis is short
        np.multiply(colours[:, :, channel], alpha[:, :, 0], out=shares[:, :, channel], dtype=wide)
    shares[:, :, count] = alpha[:, :, 0]
    done = run(shares, _total(method), dtype=None)
    totals = done.array.astype(np.float64, copy=False)  # integers of up to 53 bits, exactly
    total = totals[:, :, -1:]
    mean = totals[:, :, :-1] / np.where(total == 0, 1, total)
    if (total == 0).any():
        mean = np.where(total == 0, run(colours, method, dtype=_FLOAT).array, mean)
    return done._replace(array=mean)


def _total(method: Method) -> Method:
    """Return the method of the two sums of a weighted mean: of integers they are exact."""
    return methods.METHODS["sum"] if method.result == "mean" and method.recipe.kind == "fold" else method


def _rescaled(values: NDArray[Any], light: Light) -> NDArray[Any]:
    """Return *values* of the depth of the result; a half stays a half, so that rounding sees it."""
    if light.depth is None or light.depth == light.bits:
        return values
    scaled: NDArray[Any] = values.astype(np.float64) * (2**light.depth - 1) / (2**light.bits - 1)
    return scaled


@lru_cache(maxsize=2)
def _decoded(bits: int) -> NDArray[np.float64]:
    """Return the light of each number, of as much at the most."""
    top = 2**bits - 1
    encoded = np.arange(top + 1) / top
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.asarray(light * top)


def _encoded(light: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Return the numbers of the light of `_decoded`."""
    top = 2**bits - 1
    share = light / top
    return np.asarray(
        np.where(share <= 0.0031308, share * 12.92, 1.055 * np.maximum(share, 0) ** (1 / 2.4) - 0.055) * top
    )
