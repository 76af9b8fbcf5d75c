"""Everything a user asks of a run, as records whose fields are the options, the keywords and the keys of JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from poolcli.core import methods
from poolcli.core.geometry import Window, one_of
from poolcli.core.missing import Missing
from poolcli.core.rules import RULE_SETS, applied
from poolcli.core.settings import setting, settle, whole
from poolcli.errors import PoolError, UsageError
from poolcli.media import formats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.methods import Method
    from poolcli.media.formats import Format

MAX_PIXELS = 10**9
ROUNDINGS = ("even", "up", "floor")
ENGINES = ("auto", "numba", "numpy")
WRITTEN = tuple(row.name for row in formats.FORMATS if row.writes)
DEFAULT = "{stem}.{method}{kernel}{ext}"
MOST_LEVELS = 30  # the thirtieth halving of 2^31 elements leaves two
LEVELS = "{stem}.{method}{kernel}.{level}{ext}"
FIELDS = ("stem", "name", "ext", "dir", "method", "kernel", "stride", "level")
PLACES = " ".join(f"{{{name}}}" for name in FIELDS)


@dataclass(frozen=True)
class Picture:
    """How a picture is written."""

    quality: int | None = setting(
        "Picture", "Of JPEG (else 90) and WebP (else lossless).", default=None, short="-Q", metavar="1-100"
    )

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality must be from 1 to 100, got {self.quality}")


@dataclass(frozen=True)
class Request:
    """What is asked for: the same for every input of a run; *method* and *max_pixels* may be text."""

    method: Method = setting(
        "Window",
        f"{', '.join(methods.METHODS)}.",
        default="max",
        short="-m",
        metavar="NAME",
        choices={row.name: row.summary for row in methods.METHODS.values()},
    )
    window: Window = field(default_factory=Window)
    layout: str | None = setting(
        "Input", "Axes of a tensor, as CHW: D H W L T are pooled, N B C are not.", default=None, metavar="LETTERS"
    )
    key: str | None = setting("Input", "Which array of an .npz.", default=None, metavar="NAME")
    max_pixels: int = setting("Input", "Refuse larger pictures; K, M and G count.", default="1G", metavar="N")
    missing: Missing = field(default_factory=Missing)
    mask: str | None = setting(
        "Input", "Picture or .npy: elements count where it is not 0.", default=None, metavar="FILE"
    )
    weights: str | None = setting("Input", "Picture or .npy: what each element weighs.", default=None, metavar="FILE")
    lengths: str | None = setting("Input", ".npy: how long each of N sequences is.", default=None, metavar="FILE")
    dtype: str | None = setting(
        "Output", "Of the result, as uint8 or f32; rounds and saturates.", default=None, metavar="NAME"
    )
    rounding: str = setting(
        "Output",
        f"To integers: {', '.join(ROUNDINGS)} (half to even, half up, down); else even.",
        default=None,
        long="--round",
        metavar="RULE",
        choices=ROUNDINGS,
    )
    rules: str | None = setting(
        "Window",
        f"Whose rules hold where nothing is given: {', '.join(RULE_SETS)}.",
        default=None,
        metavar="NAME",
        choices={row.name: row.peer for row in RULE_SETS.values()},
    )
    picture: Picture = field(default_factory=Picture)
    engine: str = setting("Run", "auto, numba or numpy.", default="auto", metavar="NAME", choices=ENGINES)
    threads: int | None = setting("Run", "Else all usable processors.", default=None, short="-t", metavar="N")

    @property
    def weighs(self) -> bool:
        """Whether files say what elements weigh."""
        return any(name is not None for name in (self.mask, self.weights, self.lengths))

    def __post_init__(self) -> None:
        settle(self, method=method, max_pixels=partial(whole, "max_pixels"))
        window, method_, rounding = applied(self.rules, self.window, self.method, self.rounding)
        for name, value in {"window": window, "method": method_, "rounding": rounding}.items():
            object.__setattr__(self, name, value)
        one_of("rounding", self.rounding, ROUNDINGS)
        if self.layout is not None:
            from poolcli.core.layouts import Layout

            Layout(self.layout)


def method(token: str) -> Method:
    """Return the method that *token* spells, with the weights that its file holds."""
    name, _, path = token.partition(":")
    if not (path and name in methods.METHODS and methods.METHODS[name].weighs):
        return methods.lookup(token)
    return methods.weighed(name, held(path), token)


def held(path: str) -> NDArray[Any]:
    """Return what a file beside the inputs holds; an error names it."""
    try:
        found = os.stat(path)
    except OSError:  # a pipe, or what reading tells
        return _held(path)
    return _kept(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8)  # the same for every input of a run
def _kept(path: str, *_: int) -> NDArray[Any]:
    return _held(path)


def _held(path: str) -> NDArray[Any]:
    from poolcli.media import contents, files

    try:
        return contents.decode(files.read(path), max_pixels=MAX_PIXELS).pixels
    except PoolError as error:
        raise error.about(files.shown(path)) from error


@dataclass(frozen=True)
class Output:
    """Where results go; *format* may be its name."""

    output: str | None = setting(
        "Output",
        f"A file, DIR/, - for stdout, or a template of {PLACES}; else {DEFAULT} beside the input.",
        default=None,
        short="-o",
        metavar="PATH",
    )
    format: Format | None = setting(
        "Output", f"{', '.join(WRITTEN)}.", default=None, short="-F", metavar="NAME", choices=WRITTEN
    )
    force: bool = setting("Output", "Replace existing outputs.", default=False, short="-f")
    valid_count: str | None = setting(
        "Output", "Write how many elements of each window count: .npy, for one input.", default=None, metavar="FILE"
    )
    receipt: bool = setting(
        "Output", "Keep what was done in the PNG or TIFF, or in FILE.json beside others, for verify.", default=False
    )
    levels: int | None = setting(
        "Output", f"Pool 1 to N times, each level from unrounded values; {LEVELS}.", default=None, metavar="N"
    )

    def __post_init__(self) -> None:
        if self.output == "":
            raise UsageError("output must be a file, DIR/, a template or -, got ''")
        if self.levels is not None and not 1 <= self.levels <= MOST_LEVELS:
            raise UsageError(f"levels must be from 1 to {MOST_LEVELS}, got {self.levels}")
        settle(self, format=formats.by_name)
        if self.format is not None:
            formats.writable(self.format)
