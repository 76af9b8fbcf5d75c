"""``poolcli bench``: time pooling over a grid of cases, beside peers and beside the limit that memory sets."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS, Terminated
from poolcli.errors import UsageError
from poolcli.measure import cases, presets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.table import Table

    from poolcli.measure.bench import Rules
    from poolcli.measure.cases import Case
    from poolcli.measure.results import Column, Results, Row, Timing

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

EXPORTS = (".json", ".csv", ".md")
PLOTS = (".svg", ".png")
PHASES = ("pool", "e2e")
TIMED = ("numba", "numpy")  # auto would change its mind in mid-run
REGRESSION = 6
OF_CASE = ("size", "method", "window", "threads")
LEAST_FIRST = (
    "megapixels",
    "first_call",
    "outliers",
    "iqr",
    "runs",
    "min",
    "growth",
    "gigabytes",
    "difference",
    "of_limit",
)


def _option(*names: str, metavar: str, help: str, **settings: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, **settings)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options of one call, a preset's where the user gave none."""

    inputs: list[str] | None
    size: str | None
    window: str | None
    kernel: str | None
    stride: str | None
    method: str
    threads: str | None
    engine: str
    seed: int
    warmup: int
    min_runs: int
    runs: int | None
    min_time: float
    max_time: float
    peers: str
    phase: str
    export: list[str] | None
    plot: list[str] | None
    html: list[str] | None
    baseline: str | None
    fail_over: str
    alpha: float
    load: str | None
    json: bool
    quiet: bool

    @property
    def rules(self) -> Rules:
        from poolcli.measure.bench import Rules

        return Rules(self.warmup, self.min_runs, self.runs, self.min_time, self.max_time)


@app.command(help=COMMANDS["bench"])
def bench(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT...]", help="Files in place of --size.", show_default=False)
    ] = None,
    size: Annotated[
        str | None, _option("--size", metavar="SIZES", help="SHAPE[:LAYOUT[:DTYPE]], such as 64x224x224:CHW:f32,...")
    ] = None,
    window: Annotated[
        str | None, _option("--window", "-w", metavar="WINDOWS", help="Tokens such as k3s2 or k3x2s1p1d2c,...")
    ] = None,
    kernel: Annotated[str | None, _option("--kernel", "-k", metavar="N,...", help="Kernels, in place of -w.")] = None,
    stride: Annotated[
        str | None, _option("--stride", "-s", metavar="N,...", help="Strides, with -k; the kernel if not given.")
    ] = None,
    method: Annotated[str, _option("--method", "-m", metavar="NAMES", help="Methods.")] = "max",
    threads: Annotated[
        str | None, _option("--threads", "-t", metavar="N,...", help="Threads; all usable processors if not given.")
    ] = None,
    engine: Annotated[str, _option("--engine", metavar="NAMES", help="Engines: numba, numpy.")] = "numba",
    seed: Annotated[int, _option("--seed", metavar="N", help="Seed of the synthetic input.")] = 0,
    warmup: Annotated[int, _option("--warmup", metavar="N", help="Calls of each contender that do not count.")] = 1,
    min_runs: Annotated[int, _option("--min-runs", metavar="N", help="Fewest runs of a contender.")] = 10,
    runs: Annotated[int | None, _option("--runs", "-r", metavar="N", help="Exactly so many runs.")] = None,
    min_time: Annotated[float, _option("--min-time", metavar="S", help="Least seconds of a contender's runs.")] = 1.0,
    max_time: Annotated[
        float, _option("--max-time", metavar="S", help="Most seconds of a contender in a case; wins.")
    ] = 3.0,
    peers: Annotated[
        str, _option("--peers", metavar="NAMES", help="auto (what is installed), none, or libraries.")
    ] = "auto",
    phase: Annotated[str, _option("--phase", metavar="NAME", help="pool, or e2e: whole files by stage.")] = "pool",
    export: Annotated[
        list[str] | None, _option("--export", metavar="FILE", help="Write .json, .csv or .md; again after each case.")
    ] = None,
    plot: Annotated[list[str] | None, _option("--plot", metavar="FILE", help="Draw .svg or .png.")] = None,
    html: Annotated[
        list[str] | None, _option("--html", metavar="FILE", help="Write tables and plots as a page.")
    ] = None,
    baseline: Annotated[
        str | None,
        _option("--baseline", metavar="OLD.json", help="Compare with an earlier export; a regression exits 6."),
    ] = None,
    fail_over: Annotated[
        str, _option("--fail-over", metavar="PCT", help="Change beyond which slower is a regression.")
    ] = "5%",
    alpha: Annotated[float, _option("--alpha", metavar="P", help="Significance that a regression needs.")] = 0.01,
    load: Annotated[
        str | None, _option("--load", metavar="NEW.json", help="Take results from an export instead of running.")
    ] = None,
    preset: Annotated[
        str | None,
        _option("--preset", metavar="NAME", help="; ".join(f"{p.name}: {p.summary}" for p in presets.PRESETS.values())),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    asked = _asked(ctx, preset)
    _check(asked)
    ended = None
    found = None
    try:
        for found in _measured(asked, " ".join(["poolcli", *map(shlex.quote, sys.argv[1:])])):
            _export(asked, found)
    except Terminated as signalled:
        ended = signalled
    if found is None:
        if ended is not None:
            raise ended
        return 0
    _show(asked, found, preset)
    code = _compare(asked, found)
    if ended is not None:
        raise ended
    return 3 if found.refused else code


def _asked(ctx: typer.Context, preset: str | None) -> _Asked:
    """Return the options given, the preset's where there is one and the user said nothing else."""
    values = dict(ctx.params)
    if preset is not None:
        line = shlex.split(presets.lookup(preset).options)
        told = ctx.command.make_context("bench", line).params
        given = {name for name in values if str(ctx.get_parameter_source(name)).endswith("COMMANDLINE")}
        values = {name: value if name in given else told[name] for name, value in values.items()}
    return _Asked(**{name: values[name] for name in _Asked.__dataclass_fields__})


def _check(asked: _Asked) -> None:
    """Refuse what cannot work before anything is measured."""
    for name, known, names in (
        ("export", EXPORTS, asked.export),
        ("plot", PLOTS, asked.plot),
        ("html", (".html",), asked.html),
    ):
        for path in names or []:
            if os.path.splitext(path)[1].lower() not in known:
                raise UsageError(f"{name} must end in {', '.join(known)}, got {path!r}")
    if asked.html and not (find_spec("jinja2") and find_spec("matplotlib")):
        raise UsageError("html must have jinja2 and matplotlib installed", "pip install 'poolcli[report]'")
    if asked.plot and find_spec("matplotlib") is None:
        raise UsageError("plot must have matplotlib", "pip install 'poolcli[plot]'")
    for name, known, got in (("phase", PHASES, [asked.phase]), ("engine", TIMED, asked.engine.split(","))):
        if set(got) - set(known):
            raise UsageError(f"{name} must be one of {', '.join(known)}, got {', '.join(got)!r}")
    if asked.load is None and not asked.inputs and (not asked.size or asked.phase == "e2e"):
        raise UsageError(
            "bench must be given --size, files (for phase e2e) or a preset", "poolcli bench --preset quick"
        )
    if not 0 < asked.alpha < 1:
        raise UsageError(f"alpha must be between 0 and 1, got {asked.alpha}")
    _check_values(asked)


def _check_values(asked: _Asked) -> None:
    from poolcli.measure.baseline import fraction

    if asked.seed < 0:
        raise UsageError(f"seed must be a whole number from 0, got {asked.seed}")
    fraction("fail-over", asked.fail_over)
    if asked.baseline is not None:
        _read(asked.baseline)


def _measured(asked: _Asked, command: str) -> Iterator[Results]:
    """Yield the results so far, after each case."""
    from poolcli.measure import results
    from poolcli.measure.environment import environment

    if asked.load is not None:
        yield _read(asked.load)
        return
    machine, created = environment(), datetime.now(UTC).isoformat(timespec="seconds")
    grid, timed = _timed(asked)
    done: list[Timing] = []
    with _progress(len(grid), quiet=asked.quiet) as step:
        for timings in timed:
            done += timings
            step()
            yield results.Results(machine, command, created, tuple(done))


def _timed(asked: _Asked) -> tuple[tuple[Case, ...], Iterable[tuple[Timing, ...]]]:
    """Return the cases, and what will time them one after the other."""
    from functools import partial

    from poolcli.core.threads import usable_cpus
    from poolcli.measure import bench as measure
    from poolcli.measure import peers

    if asked.window is not None and (asked.kernel is not None or asked.stride is not None):
        raise UsageError("--window must be used without -k and -s")
    windows = (
        cases.window_product(asked.kernel or "2", asked.stride) if asked.window is None else cases.windows(asked.window)
    )
    threads = (usable_cpus(),) if asked.threads is None else cases.threads(asked.threads)
    contents = _Files(asked.inputs or [])
    sizes = (*(cases.sizes(asked.size) if asked.size else ()), *contents.sizes)
    grid = cases.grid(sizes, cases.methods(asked.method), windows, threads)
    chosen = peers.select(asked.peers)
    if asked.phase == "e2e":
        from poolcli.measure.stages import timed

        return grid, timed(grid, asked.engine.split(",")[0], asked.rules)
    load = partial(contents.load, seed=asked.seed)
    return grid, measure.run(grid, engines=asked.engine.split(","), peers=chosen, rules=asked.rules, load=load)


class _Files:
    """Arrays of the files named in place of ``--size``."""

    def __init__(self, names: list[str]) -> None:
        from poolcli.core import layouts
        from poolcli.errors import PoolError
        from poolcli.jobs.records import MAX_PIXELS
        from poolcli.jobs.runner import PICTURE_LAYOUTS
        from poolcli.media import contents, files

        self.arrays, found = {}, []
        for name in names:
            try:
                content = contents.decode(files.read(name), max_pixels=MAX_PIXELS)
                header = content.header
                layout = PICTURE_LAYOUTS[len(header.shape)] if header.picture else layouts.told(header.shape).letters
            except PoolError as error:
                raise error.about(files.shown(name)) from error
            self.arrays[name] = content.pixels
            found.append(cases.Size(header.shape, layout, header.dtype, file=name))
        self.sizes = tuple(found)

    def load(self, size: cases.Size, *, seed: int) -> Any:
        """Return the file's array, or noise of that size."""
        from poolcli.measure.bench import noise

        return self.arrays[size.file] if size.file else noise(size, seed)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar with the time left, on a terminal."""
    if quiet or not sys.stderr.isatty():
        with nullcontext():
            yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("cases"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=report.console(stderr=True), transient=True) as bar:
        task = bar.add_task("cases", total=total)
        yield lambda: bar.advance(task)


def _read(name: str) -> Results:
    from poolcli.errors import PoolError
    from poolcli.measure import results
    from poolcli.media import files

    try:
        return results.from_json(files.read(name))
    except PoolError as error:
        raise error.about(files.shown(name)) from error


def _export(asked: _Asked, found: Results) -> None:
    from poolcli.measure import results
    from poolcli.media import files

    forms = {".json": results.to_json, ".csv": results.to_csv, ".md": results.to_markdown}
    for path in asked.export or []:
        text = forms[os.path.splitext(path)[1].lower()](found)
        files.write(path, [text.encode()], overwrite=True)


def _show(asked: _Asked, found: Results, preset: str | None) -> None:
    from poolcli.measure import results
    from poolcli.media import files

    for path in asked.html or []:
        from poolcli.measure.report import benchmarked, rendered

        files.write(path, [rendered(benchmarked(found)).encode()], overwrite=True)
    for path in asked.plot or []:
        from poolcli.measure.plot import draw

        form = os.path.splitext(path)[1].lower().removeprefix(".")
        files.write(path, [draw(found, form)], overwrite=True)  # type: ignore[arg-type]  # one of PLOTS
    if asked.json:
        report.print_bytes(results.to_json(found).encode())
        return
    if preset is not None:
        report.print_bytes(f"poolcli bench {presets.lookup(preset).options}".encode())
    report.print_bytes(results.machine(found).encode())
    _print_table(found)
    _warn(found)


def _warn(found: Results) -> None:
    """Say what is wrong with single records, and once how many cannot be trusted."""
    for timing in (row.timing for row in found.rows):
        where = f"{timing.case.token} {timing.contender}"
        if timing.status in {"failed", "refused"}:
            report.say(f"{'error' if timing.status == 'refused' else 'warning'}: {where}: {timing.reason}")
        if timing.differs:
            report.say(f"warning: {where}: values differ by {timing.difference:.3g}, more than its rounding explains")
    done = [timing for timing in found.timings if timing.status == "done"]
    unstable = [timing.advice for timing in done if timing.advice is not None]
    if unstable:
        actions = dict.fromkeys(advice.action for advice in unstable)
        report.say(f"warning: {len(unstable)} of {len(done)} timings are not stable: {'; '.join(actions)}")


def _print_table(found: Results) -> None:
    """Print the table, or one for each case, and with fewer columns, where the terminal is narrow."""
    from poolcli.measure import results

    rows = [row for row in found.rows if row.timing.status == "done"]
    shown = [c for c in results.COLUMNS if c.name not in {"note", "remark"} and any(c.show(row) for row in rows)]
    to = report.console()
    whole = _table(shown, rows)
    if report.fits(whole, to):
        to.print(whole)
        return
    shown = [column for column in shown if column.name not in OF_CASE]
    for case in dict.fromkeys(row.timing.case for row in rows):
        report.print_bytes(case.token.encode())
        own = [row for row in rows if row.timing.case == case]
        columns = shown
        for name in LEAST_FIRST:
            if report.fits(_table(columns, own), to):
                break
            columns = [column for column in columns if column.name != name]
        to.print(_table(columns, own))


def _table(columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    made = report.table(None, *(f">{column.title}" if column.number else column.title for column in columns))
    for row in rows:
        report.add(made, *(column.show(row) for column in columns))
    return made


def _compare(asked: _Asked, found: Results) -> int:
    """Say what became of each timing since the baseline; return the exit code for it."""
    if asked.baseline is None:
        return 0
    from poolcli.measure import baseline

    verdicts = baseline.compare(
        _read(asked.baseline), found, fail_over=baseline.fraction("fail-over", asked.fail_over), alpha=asked.alpha
    )
    made = report.table("since the baseline", "case", "contender", "verdict", ">change", ">p", "reason")
    for verdict in verdicts:
        change = "" if verdict.change is None else f"{verdict.change:+.1%}"
        p = "" if verdict.p is None else f"{verdict.p:.2g}"
        timing = verdict.timing
        report.add(made, timing.case.token, timing.contender, verdict.outcome, change, p, verdict.reason)
    report.console(stderr=asked.json).print(made)
    return REGRESSION if any(verdict.outcome == "regression" for verdict in verdicts) else 0
