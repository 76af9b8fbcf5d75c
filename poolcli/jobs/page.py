"""One page of a file: what pooling it will give, and what it gave. A file has one, unless it is a document or moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from poolcli.core import layouts
from poolcli.errors import InputError, PoolError, UsageError
from poolcli.jobs import weights
from poolcli.media import formats

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from poolcli.core.axes import Plan
    from poolcli.core.geometry import Window
    from poolcli.core.methods import Method
    from poolcli.core.pooling import Outline, Pooling
    from poolcli.jobs.light import Light
    from poolcli.jobs.naming import Job
    from poolcli.jobs.picture import Picture
    from poolcli.jobs.request import Request
    from poolcli.jobs.runner import Stopwatch
    from poolcli.media.contents import Found, Meta
    from poolcli.media.formats import Format, Header

PICTURE_LAYOUTS = {2: "HW", 3: "HWC"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was found, and what pooling it with these settings gives; *drawn* if its maps become a picture."""

    found: Found
    light: Light
    target: Format
    windows: list[Window]
    layout: str | None
    outline: Outline
    coding: dict[str, str]
    request: Request
    notes: tuple[str, ...]
    drawn: bool


@dataclass(frozen=True, slots=True)
class Pooled:
    """What pooling a page gave, as it is written, what goes with it, and what a person should know."""

    pooling: Pooling
    pixels: NDArray[Any]
    meta: Meta | None
    warnings: tuple[str, ...]


def planned(found: Found, job: Job, request: Request) -> Page:
    """Return what pooling a page will give; refuse what the output's format cannot hold."""
    from poolcli.core import dtypes, pooling
    from poolcli.jobs import view

    target = job.format or formats.by_name(found.header.format)
    request, notes = fitted(found.header, target, job, request)
    found = _adapted(found, request.picture)
    header = found.header
    drawn = job.output is not None and target.picture and not header.picture and _draws(header, request)
    layout, dtype = _settled(header, request, to_picture=job.output is not None and target.picture and not drawn)
    shape, source = header.shape, dtypes.named(header.dtype)
    *unrounded, window = windows = _windows(job, request)
    for one in unrounded:
        outline = pooling.outline(shape, source, request.method, one, layout=layout)
        shape, source = outline.shape, outline.dtype
    outline = pooling.outline(
        shape, source, request.method, window, layout=layout, asked=named(dtype), rounding=request.rounding,
        missing=weights.missing(request, header), weighed=request.weighs,
    )  # fmt: skip
    if job.output is not None:
        shape, name = outline.shape, outline.dtype.name
        if drawn:
            shape, name = view.size(shape, outline.layout.letters, request.picture.tile), "uint8"
        formats.check(target, shape, name, header.mode)
    coding = _coding(target, request)
    return Page(found, _light(header, request), target, windows, layout, outline, coding, request, notes, drawn)


def _windows(job: Job, request: Request) -> list[Window]:
    """Return the windows that are pooled one after another, all but the last unrounded."""
    if job.level == 1:
        return [request.window]
    if not request.method.nests and (request.weighs or request.missing.asked):
        raise UsageError(f"levels of {request.method.token} must be pooled without weights and missing data")
    return [request.window.level(job.level)] if request.method.nests else [request.window] * job.level


def _draws(header: Header, request: Request) -> bool:
    """Tell whether a tensor becomes a picture by drawing its maps; HW and HWC are pictures without that."""
    letters = layouts.resolve(request.layout, header.shape).letters
    if not {"H", "W"} <= set(letters):
        raise InputError(f"layout must have H and W for a picture, got {letters}", "output=x.npy keeps a tensor")
    return letters not in PICTURE_LAYOUTS.values() or request.picture.colormap is not None


def fitted(header: Header, target: Format, job: Job, request: Request) -> tuple[Request, tuple[str, ...]]:
    """Return the request without what does not fit this input, and what is to be said of that.

    That is for one of several inputs; alone, it is refused.
    """
    tries: tuple[tuple[Callable[[], object], dict[str, Any], dict[str, Any]], ...] = (
        (lambda: _check_layout(header, request), {"layout": None}, {}),
        (lambda: _check_light(header, request.picture), {}, {"depth": None, "linear": False}),
        (lambda: _coding(target, request), {}, {"quality": None, "lossless": False, "co": ()}),
    )
    notes: list[str] = []
    changes: dict[str, Any] = {}
    drawn: dict[str, Any] = {}
    for check, fields, of_picture in tries:
        try:
            check()
        except PoolError as error:
            if not job.several:
                raise
            notes.append(f"{error.message}: done without")
            changes, drawn = changes | fields, drawn | of_picture
    return replace(request, **changes, picture=replace(request.picture, **drawn)) if notes else request, tuple(notes)


def _coding(target: Format, request: Request) -> dict[str, str]:
    """Return what is said to the encoder."""
    asked = request.picture
    return formats.coding(target, asked.quality, lossless=asked.lossless, co=asked.co)


def _check_layout(header: Header, request: Request) -> None:
    if header.picture and request.layout is not None:
        raise InputError(f"layout must not be given for a picture, got {request.layout!r}", "pictures are HW or HWC")


def _check_light(header: Header, asked: Picture) -> None:
    if not header.picture:
        return
    if asked.depth and not header.dtype.startswith("uint"):
        raise InputError(f"depth must be asked of unsigned integers, got {header.dtype}", "dtype=uint8 converts")
    if asked.linear and (header.mode in {None, "CMYK", "LAB"} or header.dtype not in {"uint8", "uint16"}):
        raise InputError(f"linear must be asked of 8 or 16-bit grey or RGB, got {header.dtype} {header.mode}")


def numbers(page: Page, picture: Picture) -> range:
    """Return the numbers, from 0, of the pages that are pooled, given the first.

    Unless it is said, they are all where the output can hold them as what they are: pages, or what moves.
    """
    count, meta = page.found.header.frames, page.found.source.meta
    moves = meta is not None and meta.duration is not None
    moves = moves and page.found.header.mode != "P"  # only the first frame has indices
    usual = count if page.target.frames == "pages" or (moves and page.target.frames) else 1
    first, last = picture.pages(count) or (1, usual)
    if last > count:
        raise InputError(f"page must be at most {count}, got {last}")
    if last > first and not page.target.frames:
        raise InputError(f"{page.target.name} holds one page, got {last - first + 1}", "page=first, or format=tiff")
    return range(first - 1, last)


def pooled(page: Page, threads: int | None, watch: Stopwatch, ahead: int, also: tuple[str, ...] = ()) -> Pooled:
    """Read a page and pool it; *also* names what else is told of its windows."""
    from poolcli.core import pooling
    from poolcli.jobs import light

    with watch.stage("decode"):
        content = page.found.read()
    request = page.request
    if request.strict and content.warnings:
        raise InputError(content.warnings[0])

    def run(
        pixels: NDArray[Any],
        method: Method,
        *,
        dtype: np.dtype[Any] | None,
        alpha: bool = False,
    ) -> Pooling:
        *unrounded, window = page.windows
        how: dict[str, Any] = {"engine": request.engine, "threads": threads, "ahead": ahead}
        for one in unrounded:
            pixels = pooling.run(pixels, method, one, layout=page.layout, **how).array
        return pooling.run(
            pixels, method, window, layout=page.layout, dtype=dtype, rounding=request.rounding, alpha=alpha,
            weights=weights.weights(request, pixels.shape, page.layout), missing=page.outline.missing, also=also, **how,
        )  # fmt: skip

    direct = len(page.windows) == 1 and not also
    done = light.pool(page.light, content.pixels, request.method, page.outline, run, direct=direct)
    watch.add(done.seconds)
    return finished(page, done, content.warnings)


def finished(page: Page, done: Pooling, warnings: tuple[str, ...]) -> Pooled:
    """Return what was *done* as it is written, with what a person should know of the input, too."""
    from poolcli.jobs import view

    pixels = done.array
    if page.drawn:
        letters, colormap = page.outline.layout.letters, page.request.picture.colormap or "viridis"
        pixels = view.grid(pixels, letters, colormap, page.request.picture.tile)
    meta = carried(page)
    lost = meta is not None and meta.icc and not page.drawn and not page.target.profile
    without = (f"its colour profile is left out: {page.target.name} has no place for it",) * bool(lost)
    return Pooled(done, pixels, meta, (*warnings, *done.warnings, *without))


def carried(page: Page) -> Meta | None:
    """Return what the result of a picture carries beside its pixels."""
    meta = page.found.source.meta
    return meta and meta.kept(page.request.picture.meta, _shrunk(page.outline.plan))


def _shrunk(plan: Plan) -> tuple[float, float]:
    """Return how many rows, and columns, of a picture one of the result stands for."""
    from poolcli.core.axes import Spans

    down, across = (axis.length / axis.out if isinstance(axis, Spans) else axis.stride for axis in plan.axes)
    return down, across


def named(dtype: str | None) -> np.dtype[Any] | None:
    """Return the dtype of a name, if there is one."""
    from poolcli.core import dtypes

    return None if dtype is None else dtypes.named(dtype)


def _adapted(found: Found, picture: Picture) -> Found:
    """Return the part of a picture that is asked for, without alpha where that is asked for; a tensor as it is."""
    from poolcli.media import colour, pictures

    source = found.source
    if not source.header.picture:
        return found
    if picture.to_rgb:
        source = colour.to_rgb(source)
    if picture.box is not None:
        source = pictures.cropped(source, picture.box)
    if picture.alpha == "drop" or picture.background is not None:
        source = pictures.flattened(source, picture.background)
    return replace(found, source=source)


def _light(header: Header, request: Request) -> Light:
    """Return how the numbers of an input are understood."""
    from poolcli.jobs.light import Light, averages

    asked, method, bits = request.picture, request.method, max(header.bits, 8)
    if not header.picture:
        return Light(bits)
    alpha, linear = header.mode in {"LA", "RGBA"}, asked.linear and method.result == "mean"
    weighted = alpha and asked.alpha != "independent" and averages(method)
    return Light(bits, asked.depth, alpha and (linear or weighted), weighted, linear)


def _settled(header: Header, request: Request, *, to_picture: bool) -> tuple[str | None, str | None]:
    """Return the layout and the dtype to pool with: a picture that stays a picture keeps its dtype."""
    layout, dtype = request.layout, request.dtype
    if not header.picture:
        layouts.resolve(layout, header.shape)
        return layout, dtype
    if to_picture and dtype is None:
        if request.method.result == "sum":
            raise InputError(
                "method sum must be given a dtype for a picture: sums pass its range",
                "output=x.npy keeps them, method=avg stays in its range",
            )
        dtype = header.dtype
    if request.picture.depth:
        dtype = f"uint{request.picture.depth}"
    return PICTURE_LAYOUTS[len(header.shape)], dtype
