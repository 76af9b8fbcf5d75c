"""Everything a user asks of a run, as records whose fields are the options, the keywords and the keys of JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from poolcli.core import methods
from poolcli.core.geometry import EACH, Window, one_of
from poolcli.core.layouts import INDEX_LAYOUTS
from poolcli.core.missing import Missing
from poolcli.core.rules import RULE_SETS, applied
from poolcli.core.settings import setting, settle, whole
from poolcli.errors import PoolError, UsageError
from poolcli.jobs import memory
from poolcli.jobs.picture import Picture
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
EXISTS = ("error", "skip", "newer", "overwrite")
LEVELS = "{stem}.{method}{kernel}.{level}{ext}"
FIELDS = ("stem", "name", "ext", "dir", "method", "kernel", "stride", "level")
PLACES = " ".join(f"{{{name}}}" for name in FIELDS)
LAYOUTS = {  # those that people ask for; any order of the letters will do
    "HW": ("1080x1920", "a matrix"),
    "HWC": ("1080x1920x3", "a colour picture"),
    "CHW": ("64x56x56", "feature maps"),
    "NCHW": ("8x64x56x56", "a batch of them"),
    "NHWC": ("8x56x56x64", "the same"),
    "NCDHW": ("1x16x64x56x56", "feature volumes"),
    "L": ("96000", "a recording"),
    "NCL": ("8x2x96000", "recordings"),
    "NLC": ("8x96000x2", "the same"),
    "NTC": ("8x512x768", "tokens"),
    "DHW": ("64x256x256", "a volume"),
    "NDHWC": ("1x64x56x56x16", "the same"),
}
LAYOUT_NOTES = {letters: f"{what}, as {shape}" for letters, (shape, what) in LAYOUTS.items()}
METHOD_NOTES = {row.name: row.summary for row in methods.METHODS.values()}


def _dtypes() -> tuple[str, ...]:
    from poolcli.core.dtypes import NAMES  # brings NumPy, which help does without

    return NAMES


@dataclass(frozen=True)
class Request:
    """What is asked for: the same for every input of a run; *method* and sizes may be text."""

    method: Method = setting(
        "Window",
        f"{', '.join(methods.METHODS)}.",
        default="max",
        short="-m",
        metavar="NAME",
        choices=METHOD_NOTES,
    )
    window: Window = field(default_factory=Window)
    layout: str | None = setting(
        "Input",
        "Axes of a tensor, as CHW: D H W L T are pooled, N B C are not.",
        default=None,
        metavar="LETTERS",
        choices=LAYOUT_NOTES,
    )
    key: str | None = setting("Input", "Which array of an .npz.", default=None, metavar="NAME")
    max_pixels: int = setting("Input", "Refuse larger pictures; K, M and G count.", default="1G", metavar="N")
    missing: Missing = field(default_factory=Missing)
    mask: str | None = setting(
        "Input", "Picture or .npy: elements count where it is not 0.", default=None, metavar="FILE"
    )
    weights: str | None = setting("Input", "Picture or .npy: what each element weighs.", default=None, metavar="FILE")
    lengths: str | None = setting("Input", ".npy: how long each of N sequences is.", default=None, metavar="FILE")
    strict: bool = setting("Input", "Refuse what else is read with a warning, as damaged data.", default=False)
    dtype: str | None = setting(
        "Output",
        "Of the result, as uint8 or f32; rounds and saturates.",
        default=None,
        metavar="NAME",
        choices=_dtypes,
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
    threads: int | None = setting(
        "Run", "Of a file; else all usable processors, in a batch one.", default=None, short="-t", metavar="N"
    )
    max_memory: int = setting(
        "Run",
        "Bytes to hold at the most: larger inputs go in bands. K, M and G count; else a quarter of all.",
        default=None,
        metavar="BYTES",
    )

    @property
    def weighs(self) -> bool:
        """Whether files say what elements weigh."""
        return any(name is not None for name in (self.mask, self.weights, self.lengths))

    def __post_init__(self) -> None:
        settle(self, method=method, max_pixels=partial(whole, "max_pixels"), max_memory=partial(whole, "max_memory"))
        asked: int | None = self.max_memory
        object.__setattr__(self, "max_memory", memory.allowed() // 4 if asked is None else asked)
        window, method_, rounding = applied(self.rules, self.window, self.method, self.rounding)
        for name, value in {"window": window, "method": method_, "rounding": rounding}.items():
            object.__setattr__(self, name, value)
        one_of("rounding", self.rounding, ROUNDINGS)
        if self.picture.palette == "index" and self.dtype is not None:
            raise UsageError("palette=index must be used without dtype: index numbers stay what they are")
        if self.picture.depth is not None and self.dtype is not None:
            raise UsageError("depth must be used without dtype: it says how far numbers are rescaled")
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


@dataclass(frozen=True, slots=True)
class Storage:
    """How Zarr arrays are read and written; sizes may be text."""

    chunks: tuple[int, ...] | None = setting(
        "Output", "Elements of a chunk of a Zarr: N, or one for each axis as 1x512x512; else the input's.",
        default=None, metavar="N",
    )  # fmt: skip
    shards: tuple[int, ...] | None = setting(
        "Output", "Elements of a shard, which is one file of many chunks; else the input's.", default=None, metavar="N"
    )
    compress: str | None = setting(
        "Output", "Codec of a Zarr: zstd, gzip, blosc or none, with a level as zstd:1; else the input's.",
        default=None, metavar="NAME",
    )  # fmt: skip
    fill_missing: float | None = setting(
        "Input", "What stands for chunks of a Zarr that are not stored; else they are errors.",
        default=None, metavar="VALUE",
    )  # fmt: skip
    storage_option: tuple[str, ...] = setting(
        "Input", "KEY=VALUE for fsspec, which opens URLs, as anon=true; repeat. Secrets: the environment.",
        default=(), metavar="PAIR",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name in ("chunks", "shards"):
            object.__setattr__(self, name, _sizes(name, getattr(self, name)))
        for pair in self.storage_option:
            key, equals, _ = pair.partition("=")
            if not equals or not key.isidentifier():
                raise UsageError(f"storage_option must be KEY=VALUE, got {pair!r}")
            if any(word in key.lower() for word in ("key", "secret", "token", "password", "credential")):
                raise UsageError(
                    f"storage_option must not be a secret, got {key}", "the environment is the place for it"
                )
        if self.fill_missing is not None:
            try:
                object.__setattr__(self, "fill_missing", float(self.fill_missing))
            except ValueError:
                raise UsageError(f"fill_missing must be a number, got {self.fill_missing!r}") from None


def _sizes(name: str, given: Any) -> tuple[int, ...] | None:
    """Return the numbers from 1 in a text as 1x512x512."""
    if given is None or isinstance(given, tuple):
        return given
    parts = str(given).lower().split("x")
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 2**40 for part in parts):
        raise UsageError(f"{name} must be a whole number from 1, or one for each axis as 1x512x512, got {given!r}")
    return tuple(map(int, parts))


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
    valid_count: str | None = setting(
        "Output", "Write how many elements of each window count: .npy, for one input.", default=None, metavar="FILE"
    )
    indices: str | None = setting(
        "Output", "Write maxima or minima and where they stand: .npz, for one input.", default=None, metavar="FILE"
    )
    index_layout: str | None = setting(
        "Output",
        f"Who counts so: {', '.join(INDEX_LAYOUTS)}; else torch.",
        default=None,
        metavar="NAME",
        choices=INDEX_LAYOUTS,
    )
    exists: str = setting(
        "Output",
        "Where an output exists: error, skip, newer (replace it if the input is) or overwrite.",
        default="error",
        metavar="WHAT",
        choices=EXISTS,
    )
    force: bool = setting("Output", "The same as --exists overwrite.", default=False, short="-f")
    receipt: bool = setting(
        "Output", "Keep what was done in the PNG or TIFF, or in FILE.json beside others, for verify.", default=False
    )
    levels: int | None = setting(
        "Output", f"Pool 1 to N times, each level from unrounded values; {LEVELS}.", default=None, metavar="N"
    )

    def __post_init__(self) -> None:
        if self.output == "":
            raise UsageError("output must be a file, DIR/, a template or -, got ''")
        one_of("index_layout", self.index_layout, INDEX_LAYOUTS)
        if self.index_layout is not None and self.indices is None:
            raise UsageError(f"index_layout must be used with indices, got {self.index_layout!r} alone")
        if self.levels is not None and not 1 <= self.levels <= MOST_LEVELS:
            raise UsageError(f"levels must be from 1 to {MOST_LEVELS}, got {self.levels}")
        one_of("exists", self.exists, EXISTS)
        if self.force:
            object.__setattr__(self, "exists", "overwrite")
        settle(self, format=formats.by_name)
        if self.format is not None:
            formats.writable(self.format)


@dataclass(frozen=True, slots=True)
class Levels:
    """Which levels a pyramid has; numbers may be text."""

    factors: Any = setting("Window", f"Elements of a level for one of the next: {EACH}.", default="2", metavar="N")
    levels: int | None = setting("Window", "Levels beyond level 0; else until one is small.", default=None, metavar="N")
    min_size: int = setting(
        "Window", "No level follows one whose longest side is that short.", default="256", metavar="N"
    )
    edge: str = setting(
        "Window", "What does not fill a window at the end: partial or drop.", default="partial", metavar="WHAT",
        choices=("partial", "drop"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        one_of("edge", self.edge, ("partial", "drop"))
        object.__setattr__(self, "min_size", whole("min_size", self.min_size))
        if self.levels is not None and not 1 <= self.levels <= MOST_LEVELS:
            raise UsageError(f"levels must be from 1 to {MOST_LEVELS}, got {self.levels}")
