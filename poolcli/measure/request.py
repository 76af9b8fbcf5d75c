"""What is asked of a benchmark, as a record whose fields are the options, and the cases that it means."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from poolcli.core.settings import number, setting
from poolcli.errors import PoolError, UsageError
from poolcli.jobs.request import LAYOUT_NOTES, METHOD_NOTES
from poolcli.measure import cases, presets
from poolcli.measure.baseline import fraction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcli.measure.cases import Case, Size

ENDINGS = {"export": (".json", ".csv", ".md"), "plot": (".svg", ".png"), "html": (".html",)}  # of what is written
NEEDED = (  # option, package, extra
    ("plot", "matplotlib", "plot"),
    ("html", "matplotlib", "report"),
    ("html", "jinja2", "report"),
    ("baseline", "scipy", "baseline"),
)
PHASES = ("pool", "e2e")
TIMED = ("numba", "numpy")  # auto would change its mind in mid-run


def suffix(path: str) -> str:
    """Return what tells the form of a file to write."""
    return os.path.splitext(path)[1].lower()


def require(*options: str) -> None:
    """Refuse options of which a package is not installed."""
    for name, package, extra in NEEDED:
        if name in options and find_spec(package) is None:
            raise UsageError(f"{name} must have {package} installed", f"pip install 'poolcli[{extra}]'")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a benchmark, beside its `Rules`; lists are text that `cases` parses."""

    method: str = setting("Window", "Methods.", default="max", short="-m", metavar="NAMES", choices=METHOD_NOTES)
    window: str | None = setting(
        "Window", "Tokens such as k3s2,k3x2s1p1d2c; lists have commas.", default=None, short="-w", metavar="WINDOWS"
    )
    kernel: str | None = setting("Window", "Kernels, in place of -w.", default=None, short="-k", metavar="NUMBERS")
    stride: str | None = setting(
        "Window", "Strides, with -k; the kernel if not given.", default=None, short="-s", metavar="NUMBERS"
    )
    size: str | None = setting(
        "Input", "SHAPE[:LAYOUT[:DTYPE]], such as 64x224x224:CHW:f32; more with commas.", default=None, metavar="SIZES"
    )
    layout: str | None = setting(
        "Input", "Axes of the tensors in files, as CHW.", default=None, metavar="LETTERS", choices=LAYOUT_NOTES
    )
    seed: int = setting("Input", "Seed of the synthetic input.", default=0, metavar="N")
    preset: str | None = setting(
        "Run",
        "; ".join(f"{name}: {preset.summary}" for name, preset in presets.PRESETS.items()) + ". Other options win.",
        default=None,
        metavar="NAME",
        choices={name: preset.summary for name, preset in presets.PRESETS.items()},
    )
    threads: str | None = setting("Run", "Else all usable processors.", default=None, short="-t", metavar="NUMBERS")
    rest: str = setting(
        "Run",
        "Seconds without calls before each run, as between two files of a pipeline.",
        default="0",
        metavar="NUMBERS",
    )
    engine: str = setting("Run", "numba, numpy.", default="numba", metavar="NAMES", choices=TIMED)
    peers: str = setting(
        "Run",
        "auto (what is installed), none, or libraries.",
        default="auto",
        metavar="NAMES",
        choices=lambda: ("auto", "none", *import_module("poolcli.measure.peers").LIBRARIES),
    )
    also: str = setting(
        "Run",
        "Rows beside, of pooling with: mask, weights, indices, alpha; lists have commas.",
        default="",
        metavar="WAYS",
        choices=lambda: tuple(import_module("poolcli.measure.ways").WAYS),
    )
    phase: str = setting("Run", "pool, or e2e: whole files by stage.", default="pool", metavar="NAME", choices=PHASES)
    processes: int | None = setting(
        "Run", "Fresh processes, one after the other; else 3 for a baseline, 1 otherwise.", default=None, metavar="N"
    )
    export: tuple[str, ...] = setting(
        "Output", "Write .json, .csv or .md; again after each case.", default=(), metavar="FILE"
    )
    plot: tuple[str, ...] = setting(
        "Output", "Draw .svg or .png; of kernels that grow, and of other cases, one each.", default=(), metavar="FILE"
    )
    html: tuple[str, ...] = setting("Output", "Write tables and plots as a page.", default=(), metavar="FILE")
    baseline: str | None = setting(
        "Output", "Compare with an earlier export; a regression exits 6.", default=None, metavar="OLD.json"
    )
    fail_over: float = setting("Output", "Change beyond which slower is a regression.", default="5%", metavar="PCT")
    alpha: float = setting("Output", "Significance that a regression needs.", default=0.05, metavar="P")
    load: str | None = setting(
        "Input", "Take results from an export instead of running.", default=None, metavar="NEW.json"
    )

    def __post_init__(self) -> None:
        for name, known, got in (("phase", PHASES, [self.phase]), ("engine", TIMED, self.engine.split(","))):
            if set(got) - set(known):
                raise UsageError(f"{name} must be one of {', '.join(known)}, got {', '.join(got)!r}")
        if self.window is not None and (self.kernel is not None or self.stride is not None):
            raise UsageError("--window must be used without -k and -s")
        object.__setattr__(self, "alpha", number("alpha", self.alpha, float, 0))
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha must be between 0 and 1, got {self.alpha}")
        object.__setattr__(self, "fail_over", fraction("fail_over", str(self.fail_over)))
        object.__setattr__(self, "seed", number("seed", self.seed, int, 0))
        usual = 3 if self.baseline is not None or any(suffix(path) == ".json" for path in self.export) else 1
        count = usual if self.processes is None else number("processes", self.processes, int, 1)
        object.__setattr__(self, "processes", count)

    def check(self, inputs: list[str]) -> None:
        """Refuse what could not be measured at all, or not written or compared once everything is."""
        if self.load is None and not inputs and (not self.size or self.phase == "e2e"):
            hint = "poolcli bench --preset quick"
            raise UsageError("bench must be given --size, files (for phase e2e) or a preset", hint)
        for name, known in ENDINGS.items():
            for path in getattr(self, name):
                if suffix(path) not in known:
                    raise UsageError(f"{name} must end in {', '.join(known)}, got {path!r}")
        require(*(name for name, *_ in NEEDED if getattr(self, name)))


def arrays(names: list[str], asked: str | None) -> dict[Size, Any]:
    """Return what the files called *names* hold, by their sizes; the layout of tensors may be *asked* for."""
    from poolcli.core import layouts
    from poolcli.jobs.page import PICTURE_LAYOUTS
    from poolcli.jobs.request import MAX_PIXELS
    from poolcli.media import contents, files

    found = {}
    for name in names:
        try:
            content = contents.decode(files.read(name), max_pixels=MAX_PIXELS)
            header = content.header
            layout = PICTURE_LAYOUTS[len(header.shape)] if header.picture else None
            letters = layout or layouts.resolve(asked, header.shape).letters
        except PoolError as error:
            raise error.about(files.shown(name)) from error
        found[cases.Size(header.shape, letters, header.dtype, name)] = content.pixels
    return found


def grid(asked: Asked, files: Iterable[Size]) -> tuple[Case, ...]:
    """Return the cases that are asked for, of sizes and of *files*."""
    from poolcli.core.threads import usable_cpus

    sizes = (*(cases.sizes(asked.size) if asked.size else ()), *files)
    methods = cases.methods(asked.method)
    if asked.window is None:
        windows = cases.window_product(asked.kernel or "2", asked.stride)
    else:
        windows = cases.windows(asked.window)
    threads = (usable_cpus(),) if asked.threads is None else cases.threads(asked.threads)
    return cases.grid(sizes, methods, windows, threads, cases.rests(asked.rest))
