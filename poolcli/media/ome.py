"""OME-Zarr: what images say of their axes and levels, and where those lie. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = "0.5"
# The letters of axes by what people call them; pooled are those of space
_LETTERS = {
    "D": ("z", "depth"),
    "H": ("y", "height", "lat", "latitude", "row", "rows"),
    "W": ("x", "width", "lon", "longitude", "column", "columns"),
    "C": ("c", "channel", "channels", "band", "bands"),
    "N": ("t", "time"),
}
_NAMES = {name: letter for letter, names in _LETTERS.items() for name in names}


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a group: the document of its axes, and of each level the path, scale and translation."""

    multiscale: Mapping[str, Any]
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    translations: tuple[tuple[float, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the axes are called."""
        return tuple(axis if isinstance(axis, str) else str(axis.get("name", "")) for axis in self.axes)

    @property
    def axes(self) -> list[Any]:
        """What the document says of the axes."""
        return list(self.multiscale.get("axes", ()))


def letters(names: Sequence[str | None]) -> str | None:
    """Return the layout that names of axes tell, or None where one of them is unknown or told twice."""
    found = [_NAMES.get((name or "").lower(), "") for name in names]
    return "".join(found) if all(found) and len(set(found)) == len(found) and set(found) & set("DHW") else None


def image(attributes: Mapping[str, Any]) -> Image | None:
    """Return the first image that the attributes of a group tell of, or None."""
    try:
        multiscale = (attributes.get("ome") or attributes)["multiscales"][0]
        datasets = multiscale["datasets"]
        axes = len(multiscale.get("axes", ())) or _count(datasets)
        paths = tuple(str(level["path"]) for level in datasets)
        told = [_transformed(level.get("coordinateTransformations", ()), axes) for level in datasets]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return None
    return Image(multiscale, paths, *zip(*told, strict=True)) if paths else None


def _count(datasets: Sequence[Mapping[str, Any]]) -> int:
    return len(datasets[0]["coordinateTransformations"][0]["scale"])


def _transformed(said: Sequence[Mapping[str, Any]], axes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the scale and the translation that a list of transformations comes to."""
    scale, translation = [1.0] * axes, [0.0] * axes
    for one in said:
        if one["type"] == "scale":
            scale = [float(a) * b for a, b in zip(one["scale"], scale, strict=True)]
            translation = [float(a) * b for a, b in zip(one["scale"], translation, strict=True)]
        elif one["type"] == "translation":
            translation = [float(a) + b for a, b in zip(one["translation"], translation, strict=True)]
    return tuple(scale), tuple(translation)


def moved(image: Image, steps: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and translation of what has its element o at ``o * scale + offset`` of level 0, for each axis."""
    scale = tuple(unit * step for unit, (step, _) in zip(image.scales[0], steps, strict=True))
    places = zip(image.translations[0], image.scales[0], steps, strict=True)
    return scale, tuple(begin + unit * offset for begin, unit, (_, offset) in places)


def new(names: Sequence[str | None], letters_: str) -> Image:
    """Return the image of an array that told of none: its axes by name, or by the letters of its layout."""
    kinds = {"C": "channel", "N": "time", "B": "channel"}
    axes = [
        {"name": name or _LETTERS.get(letter, (letter.lower(),))[0], "type": kinds.get(letter, "space")}
        for name, letter in zip(names, letters_, strict=True)
    ]
    return Image({"axes": axes}, ("0",), ((1.0,) * len(axes),), ((0.0,) * len(axes),))


def with_levels(image: Image, levels: Sequence[tuple[str, tuple[float, ...], tuple[float, ...]]]) -> Image:
    """Return the image with these levels, each a path, its scale and its translation."""
    return replace(
        image,
        paths=tuple(path for path, _, _ in levels),
        scales=tuple(scale for _, scale, _ in levels),
        translations=tuple(translation for _, _, translation in levels),
    )


def attributes(image: Image, kept: Mapping[str, Any], method: str, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a group of version 0.5: those *kept*, and the image, *made* by a *method*."""
    levels = [
        {
            "path": path,
            "coordinateTransformations": [
                {"type": "scale", "scale": list(scale)},
                {"type": "translation", "translation": list(translation)},
            ],
        }
        for path, scale, translation in zip(image.paths, image.scales, image.translations, strict=True)
    ]
    multiscale = {key: value for key, value in image.multiscale.items() if key != "version"}
    multiscale |= {"axes": [axis if isinstance(axis, dict) else {"name": axis} for axis in image.axes],
                   "datasets": levels, "type": method, "metadata": dict(made)}  # fmt: skip
    others = {key: value for key, value in kept.items() if key not in {"ome", "multiscales", "omero", "labels"}}
    moved = {key: kept[key] for key in ("omero", "labels") if key in kept}
    return {**others, "ome": {**moved, **kept.get("ome", {}), "version": VERSION, "multiscales": [multiscale]}}
