"""What criteria look at: the same crop, planes and noise on every machine, and one method's results on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import layouts, pooling
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
from poolcli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from poolcli.core.geometry import Axis
    from poolcli.core.layouts import Layout

    Array = NDArray[Any]
    Pair = tuple[float, float]
    Pool = Callable[[Array, Window], Array]

ELEMENTS = 2**18  # that criteria look at, of all planes together
PLANES = 16
SIGMA = 0.05  # of the noise, as a share of the range
DRAWS = 2
LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Scene:
    """An input, and the part of it that criteria look at.

    Attributes
    ----------
    source, layout
        The whole array.
    kind
        "picture", "labels" or "tensor".
    crop
        Rows and columns of the part, from the middle, beginning and ending with windows.
    planes
        Which planes the part has; of a picture the luminance.
    raw
        The part in the data's own units, (planes, rows, columns); whole numbers stay whole.
    """

    source: Array
    layout: Layout
    kind: str
    crop: tuple[slice, slice]
    planes: tuple[int, ...]
    raw: Array

    def scaled(self, values: Array, dtype: np.dtype[Any] | None = None) -> Array:
        """Return values, of the source's type or another, scaled to [0, 1] by its range; labels as they are."""
        low, span = self.range if dtype is None else self._range(dtype)
        return values if self.kind == "labels" else (values - low) / span

    @cached_property
    def range(self) -> Pair:
        """The lowest value and the width of the range."""
        return self._range(self.source.dtype)

    def _range(self, dtype: np.dtype[Any]) -> Pair:
        """Return the range of a type of up to 16 bits; of others that of all values but outliers."""
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            info = np.iinfo(dtype)
            return float(info.min), float(info.max) - float(info.min)
        finite = self.raw[np.isfinite(self.raw)]
        if not finite.size:
            raise InputError("values must be finite somewhere, got none that is")
        low, high = np.percentile(finite, (0.1, 99.9)).tolist()
        return low, (high - low) or 1.0

    @property
    def words(self) -> str:
        """The part in words."""
        rows, columns = (f"{part.start}-{part.stop}" for part in self.crop)
        kind = {"picture": " of the luminance", "labels": ""}.get(self.kind, f" of {len(self.planes)} planes")
        return f"rows {rows}, columns {columns}{kind}"

    @cached_property
    def part(self) -> Array:
        """The part as the source is, all planes, for timing."""
        return np.ascontiguousarray(self._at(self.crop))

    def _at(self, crop: Iterable[slice]) -> Array:
        index: list[slice] = [slice(None)] * self.source.ndim
        for place, own in zip(self.layout.pooled, crop, strict=True):
            index[place] = own
        return self.source[tuple(index)]

    @cached_property
    def noisy(self) -> Array:
        """The part with noise added, several times; counter-based, so that it is the same everywhere."""
        draws = np.random.Generator(np.random.Philox(0)).standard_normal((DRAWS, *self.raw.shape))
        noisy = self.raw + draws * (SIGMA * self.range[1])
        return np.rint(noisy).astype(self.raw.dtype) if self.raw.dtype.kind == "i" else noisy

    @cached_property
    def noise(self) -> Pair:
        """Estimate of the noise's sigma, as a share of the range, and the share of elements beyond 4 of it."""
        plane = self.scaled(self.raw[0])
        if self.kind == "labels" or min(plane.shape) < 3 or not np.isfinite(plane).all():
            return 0.0, 0.0
        around = np.lib.stride_tricks.sliding_window_view(plane, (3, 3))[::2, ::2]  # a quarter tells as much
        rest = plane[1:-1:2, 1:-1:2].ravel() - np.median(around.reshape(-1, 9), 1)
        sigma = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
        return sigma, float((np.abs(rest) > 4 * sigma).mean())

    @cached_property
    def missing(self) -> float:
        """Share of the elements that are not finite."""
        return float(1 - np.isfinite(self.source).mean()) if self.source.dtype.kind == "f" else 0.0

    def mean(self, axes: tuple[Axis, ...]) -> float:
        """Return the mean of the elements that windows cover."""
        return self.mean_of(self._at(slice(max(0, a.span(0)[0]), a.span(a.out - 1)[1]) for a in axes))

    def mean_of(self, array: Array) -> float:
        """Return the mean of an array like the source, without the alpha of a picture."""
        alpha = self.kind == "picture" and array.ndim == 3 and array.shape[2] in {2, 4}
        return float((array[..., :-1] if alpha else array).mean(dtype=np.float64))


def scene(source: Array, layout: str | None, windows: Sequence[Window], *, labels: bool) -> Scene:
    """Return what criteria look at in *source*, for all *windows* the same."""
    if labels:
        source, layout = indexed(source, layout)
    found = layouts.resolve(layout, source.shape)
    if len(found.pooled) != 2:
        raise InputError(f"layout must have two pooled axes to be compared, got {found.letters}")
    picture = not labels and found.letters in {"HW", "HWC"} and math.prod(source.shape[2:]) <= 4
    kind = "labels" if labels else "picture" if picture else "tensor"
    lengths = [source.shape[axis] for axis in found.pooled]
    many = 1 if picture else math.prod(source.shape) // math.prod(lengths)
    planes = tuple(dict.fromkeys(np.linspace(0, many - 1, PLANES).astype(int).tolist()))
    side = math.isqrt(ELEMENTS // len(planes))
    steps = [math.lcm(*(window.over(2).stride[axis] for window in windows)) for axis in (0, 1)]
    rows, columns = (_middle(length, side, step) for length, step in zip(lengths, steps, strict=True))
    raw = part(source, found, kind, (rows, columns), planes)
    return Scene(source, found, kind, (rows, columns), planes, raw)


def indexed(source: Array, layout: str | None) -> tuple[Array, str | None]:
    """Return labels as one whole number each: the colours of a picture as red, green and blue in a row."""
    if source.dtype.kind not in "biu":
        raise InputError(f"labels must be whole numbers, got {source.dtype.name}")
    if layout != "HWC" or source.shape[2] not in {3, 4}:
        return (source.view(np.uint8) if source.dtype == bool else source), layout
    bits = 8 * source.dtype.itemsize
    colours = source[..., :3].astype(np.int32 if bits == 8 else np.int64)
    return colours @ np.array([1 << 2 * bits, 1 << bits, 1], colours.dtype), "HW"


def part(source: Array, layout: Layout, kind: str, crop: tuple[slice, slice], planes: Sequence[int]) -> Array:
    """Return a part of *source* as (planes, rows, columns), of types with room for noise; labels as they are."""
    cropped = np.moveaxis(source, layout.pooled, (-2, -1))[..., crop[0], crop[1]]
    cropped = cropped.reshape(-1, *cropped.shape[-2:])
    chosen = cropped[list(planes)]
    if kind == "labels":
        return chosen
    if kind == "picture" and len(cropped) > 2:
        chosen = np.einsum("c,cij->ij", LUMINANCE, cropped[:3].astype(np.float64))[None]
    if source.dtype.kind not in "biu" or source.dtype.itemsize == 8:
        return chosen.astype(np.float64)
    return np.rint(chosen).astype(
        np.int64 if source.dtype.itemsize == 4 else np.int32
    )  # whole, so that they may repeat


def _middle(length: int, most: int, step: int) -> slice:
    """Return at most *most* elements from the middle, from a multiple of *step* to another where there is one."""
    many = min(length, most)
    many = many // step * step or many
    start = (length - many) // 2 // step * step
    return slice(start, start + many)


def pooling_by(token: str, kind: str) -> Pool:
    """Return what pools a plane by a method: the same values on every engine, so the one that need not compile."""
    method = lookup(token)

    def pool(plane: Array, window: Window) -> Array:
        dtype = plane.dtype if kind == "labels" else np.dtype(np.float64)
        return pooling.run(plane, method, window, layout="HW", dtype=dtype, engine="numpy").array

    return pool


class Cell:
    """A method and a window on one plane: what criteria ask for by name, made when it is asked for.

    *known* is what is there already, in place of what would be made.
    """

    def __init__(self, scene: Scene, plane: int, window: Window, pool: Pool, known: Mapping[str, Any]) -> None:
        self._scene, self._plane, self._window, self._pool = scene, plane, window, pool
        self.x = scene.scaled(scene.raw[plane])
        self.stride = window.stride
        self.__dict__.update(known)

    @cached_property
    def y(self) -> Array:
        """The plane pooled."""
        return self._scene.scaled(self._pool(self._scene.raw[self._plane], self._window))

    @cached_property
    def replica(self) -> Array:
        """The result laid over the plane."""
        rows, columns = map(_nearest, self._window.plan(self.x.shape).axes)
        replica: Array = self.y[np.ix_(rows, columns)]
        return replica

    @cached_property
    def dense(self) -> Array:
        """The plane pooled at stride 1."""
        dense = Window(self._window.kernel, 1, 0, self._window.dilation)
        return self._scene.scaled(self._pool(self._scene.raw[self._plane], dense))

    @cached_property
    def changes(self) -> Array:
        """What noise changes."""
        noisy = [self._scene.scaled(self._pool(draw, self._window)) for draw in self._scene.noisy[:, self._plane]]
        return (np.stack(noisy) - self.y) / SIGMA

    @cached_property
    def means(self) -> Pair:
        """Of the whole arrays, unless known."""
        raise InputError("was not pooled as a whole")

    @cached_property
    def times(self) -> Pair:
        """Of the whole pooling, unless known."""
        raise InputError("was not timed")


def _nearest(axis: Axis) -> Array:
    """Return, for each element of an axis, the output whose window centre is nearest."""
    first = (axis.reach - 1) / 2 - axis.before
    return np.floor((np.arange(axis.length) - first) / axis.stride + 0.5).astype(int).clip(0, axis.out - 1)
