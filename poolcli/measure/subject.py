"""The input of a comparison, and what criteria look at: the same part, planes and noise on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import dtypes, layouts, pooling
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
from poolcli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from poolcli.core.layouts import Layout
    from poolcli.core.methods import Method

    Array = NDArray[Any]
    Pair = tuple[float, float]
    Crop = tuple[slice, slice]

ELEMENTS = 2**18  # that criteria look at, of all planes together
PLANES = 16
SIGMA = 0.05  # of the noise, as a share of the range
DRAWS = 2
LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Subject:
    """The whole input, taken for a "picture", "labels" or a "tensor", and where the part lies.

    The *crop* is rows and columns of the middle that begin and end with windows; *planes* are evenly spaced ones of a
    tensor, and for a picture its luminance. Where the part's *mask* is 1, windows are of one kind, else of another.
    """

    source: Array
    layout: Layout
    kind: str
    crop: Crop
    planes: tuple[int, ...]
    mask: Array | None = None

    @cached_property
    def part(self) -> Array:
        """The part, as (planes, rows, columns)."""
        return self.taken(self.source, self.crop)

    def taken(self, array: Array, crop: Crop) -> Array:
        """Return a part of an array like the source: floats in its units, but labels as they are."""
        cropped = np.moveaxis(array, self.layout.pooled, (-2, -1))[..., crop[0], crop[1]]
        planes = cropped.reshape(-1, *cropped.shape[-2:])
        if self.kind == "labels":
            return planes[list(self.planes)]
        if self.kind == "picture" and len(planes) > 2:
            planes = np.einsum("c,cij->ij", LUMINANCE, planes[:3].astype(np.float64))[None]
        chosen = planes[list(self.planes)].astype(np.float64)
        return np.rint(chosen) if array.dtype.kind in "iu" else chosen  # whole, so that they may repeat

    @cached_property
    def cut(self) -> Array:
        """The part as the source is, all planes, for timing."""
        index = [slice(None)] * self.source.ndim
        for axis, own in zip(self.layout.pooled, self.crop, strict=True):
            index[axis] = own
        return np.ascontiguousarray(self.source[tuple(index)])

    @property
    def words(self) -> str:
        """The part in words."""
        rows, columns = (f"{part.start}-{part.stop}" for part in self.crop)
        kind = {"picture": " of the luminance", "labels": ""}.get(self.kind, f" of {len(self.planes)} planes")
        return f"rows {rows}, columns {columns}{kind}"

    @cached_property
    def range(self) -> Pair:
        """The lowest value and the width of the range: of a type of up to 16 bits, else of all values but outliers."""
        dtype = self.source.dtype
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            return float(np.iinfo(dtype).min), float(2 ** (8 * dtype.itemsize) - 1)
        finite = self.part[np.isfinite(self.part)]
        low, high = np.percentile(finite, (0.1, 99.9)).tolist() if finite.size else (0.0, 1.0)
        return low, (high - low) or 1.0

    def scaled(self, values: Array) -> Array:
        """Return values scaled to [0, 1] by the range; labels as they are."""
        return values if self.kind == "labels" else (values - self.range[0]) / self.range[1]

    @cached_property
    def noisy(self) -> Array:
        """The part with noise, (planes, draws, rows, columns); counter-based, so that it is the same everywhere."""
        planes, *lengths = self.part.shape
        draws = np.random.Generator(np.random.Philox(0)).standard_normal((planes, DRAWS, *lengths))
        return self.part[:, None] + draws * (SIGMA * self.range[1])

    @cached_property
    def noise(self) -> Pair:
        """Estimate of the noise's sigma, as a share of the range, and the share of elements beyond 4 of it."""
        if self.kind == "labels" or min(self.part.shape[1:]) < 3 or not np.isfinite(self.part[0]).all():
            return 0.0, 0.0
        plane = self.scaled(self.part[0])
        rest = plane[1:-1:2, 1:-1:2] - pooling.pool(plane, "median", 3, 2, engine="numpy")
        sigma = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
        return sigma, float((np.abs(rest) > 4 * sigma).mean())

    @cached_property
    def missing(self) -> float:
        """Share of the elements that are not finite."""
        return float(1 - np.isfinite(self.source).mean()) if self.source.dtype.kind == "f" else 0.0

    def mean(self, array: Array) -> float:
        """Return the mean of an array like the source, without the alpha of a picture."""
        alpha = self.kind == "picture" and array.ndim == 3 and array.shape[2] in {2, 4}
        return float((array[..., :-1] if alpha else array).mean(dtype=np.float64))

    @cached_property
    def own_mean(self) -> float:
        """The mean of the source."""
        return self.mean(self.source)

    def looked_at(self, method: Method, window: Window) -> list[dict[str, Any]]:
        """Return what criteria look at, by their names for it, for each plane."""

        def pooled(planes: Array, window: Window, layout: str = "NHW") -> Array:
            return pooling.run(planes, method, window, layout=layout, dtype=planes.dtype, engine="numpy").array

        fitted = window.fitted(method.weights, reflects=method.reflects)
        planes = self.beside(pooled(self.part, window), fitted)
        if self.kind == "labels":
            return planes
        noisy = self.scaled(pooled(self.noisy, window, "NBHW"))
        dense = self.scaled(pooled(self.part, Window(**window.asked() | {"stride": 1})))
        return [
            {**plane, "changes": (noisy[i] - plane["y"]) / SIGMA, "dense": dense[i]} for i, plane in enumerate(planes)
        ]

    def beside(self, result: Array, window: Window) -> list[dict[str, Any]]:
        """Return the same for a result of the part alone, by the *window* that made it."""
        lengths = self.part.shape[1:]
        each = zip(lengths, result.shape[1:], window.plan(lengths).mapping, strict=True)
        rows, columns = (
            np.floor((np.arange(length) - offset) / scale + 0.5).astype(int).clip(0, out - 1)
            for length, out, (scale, offset) in each
        )
        fixed: dict[str, Any] = {"stride": window.stride}
        if self.mask is not None:
            share = pooling.run(self.mask, lookup("avg"), window, layout="HW", engine="numpy").array
            fixed["mask"] = share > 0.5
        planes = zip(self.scaled(self.part), self.scaled(result), strict=True)
        return [{"x": x, "y": y, "replica": y[np.ix_(rows, columns)], **fixed} for x, y in planes]


def subject(
    source: Array, layout: str | None, windows: Sequence[Window], mask: Array | None = None, *, labels: bool
) -> Subject:
    """Return what is compared in *source*, for all *windows* the same."""
    dtypes.supported(source.dtype)
    found = layouts.resolve(layout, source.shape)
    if not source.size:
        raise InputError(f"array must hold something, got shape {source.shape}")
    if len(found.pooled) != 2:
        raise InputError(f"layout must have two pooled axes to be compared, got {found.letters}")
    picture = not labels and found.letters in {"HW", "HWC"} and math.prod(source.shape[2:]) <= 4
    lengths = tuple(source.shape[axis] for axis in found.pooled)
    if mask is not None and mask.shape != lengths:
        raise InputError(f"mask must be of shape {lengths}, got {mask.shape}")
    count = 1 if picture else math.prod(source.shape) // math.prod(lengths)
    planes = tuple(dict.fromkeys(np.linspace(0, count - 1, PLANES).astype(int).tolist()))
    side = math.isqrt(ELEMENTS // len(planes))
    steps = [math.lcm(*(window.stride[axis] for window in windows)) for axis in (0, 1)]
    rows, columns = (_middle(length, side, step) for length, step in zip(lengths, steps, strict=True))
    kinds = None if mask is None else (mask[rows, columns] != 0).astype(np.float64)
    kind = "labels" if labels else "picture" if picture else "tensor"
    return Subject(source, found, kind, (rows, columns), planes, kinds)


def _middle(length: int, most: int, step: int) -> slice:
    """Return at most *most* elements from the middle, from a multiple of *step* to another where there is one."""
    many = min(length, most)
    many = many // step * step or many
    start = (length - many) // 2 // step * step
    return slice(start, start + many)


def indexed(source: Array, layout: str | None) -> tuple[Array, str | None]:
    """Return labels as one whole number each, and their layout: colours are red, green and blue in a row."""
    if source.dtype.kind not in "biu":
        raise InputError(f"labels must be whole numbers, got {source.dtype.name}")
    if layout != "HWC" or source.ndim != 3 or source.shape[2] not in {3, 4}:
        return (source.view(np.uint8) if source.dtype == bool else source), layout
    bits = 8 * source.dtype.itemsize
    colours = source[..., :3].astype(np.int32 if bits == 8 else np.int64)
    return colours @ np.array([1 << 2 * bits, 1 << bits, 1], colours.dtype), "HW"
