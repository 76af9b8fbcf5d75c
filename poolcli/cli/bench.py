"""``poolcli bench``: time pooling over a grid of cases, beside peers and beside the limit that memory sets."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from importlib.util import find_spec
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS, Terminated
from poolcli.errors import PoolError, UsageError
from poolcli.measure import cases, presets
from poolcli.measure.turns import Rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.table import Table

    from poolcli.measure.cases import Case, Size
    from poolcli.measure.results import Results, Row, Timing
    from poolcli.measure.tables import Column

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

EXPORTS = (".json", ".csv", ".md")
PLOTS = (".svg", ".png")
PAGES = (".html",)
NEEDED = (  # option, package, extra
    ("plot", "matplotlib", "plot"),
    ("html", "matplotlib", "report"),
    ("html", "jinja2", "report"),
    ("baseline", "scipy", "baseline"),
)
PHASES = ("pool", "e2e")
TIMED = ("numba", "numpy")  # auto would change its mind in mid-run
REGRESSION = 6
OF_CASE = {"size", "method", "window", "threads"}
LEAST_FIRST = "megapixels first_call outliers iqr runs min growth gigabytes difference of_limit"


def _option(default: Any, metavar: str, help: str, short: str = "") -> Any:
    return field(default=default, metadata={"metavar": metavar, "help": help, "short": short})


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a benchmark, beside its `Rules`; lists are text that `cases` parses."""

    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT...]", help="Files in place of --size.", show_default=False)
    ] = None
    size: str | None = _option(None, "SIZES", "SHAPE[:LAYOUT[:DTYPE]], such as 64x224x224:CHW:f32,...")
    window: str | None = _option(None, "WINDOWS", "Tokens such as k3s2 or k3x2s1p1d2c,...", "-w")
    kernel: str | None = _option(None, "N,...", "Kernels, in place of -w.", "-k")
    stride: str | None = _option(None, "N,...", "Strides, with -k; the kernel if not given.", "-s")
    method: str = _option("max", "NAMES", "Methods.", "-m")
    threads: str | None = _option(None, "N,...", "Threads; all usable processors if not given.", "-t")
    engine: str = _option("numba", "NAMES", "Engines: numba, numpy.")
    seed: int = _option(0, "N", "Seed of the synthetic input.")
    peers: str = _option("auto", "NAMES", "auto (what is installed), none, or libraries.")
    phase: str = _option("pool", "NAME", "pool, or e2e: whole files by stage.")
    export: list[str] | None = _option(  # noqa: RUF009 -- a field
        None, "FILE", "Write .json, .csv or .md; again after each case."
    )
    plot: list[str] | None = _option(None, "FILE", "Draw .svg or .png.")  # noqa: RUF009 -- a field
    html: list[str] | None = _option(None, "FILE", "Write tables and plots as a page.")  # noqa: RUF009 -- a field
    baseline: str | None = _option(None, "OLD.json", "Compare with an earlier export; a regression exits 6.")
    fail_over: str = _option("5%", "PCT", "Change beyond which slower is a regression.")
    alpha: float = _option(0.01, "P", "Significance that a regression needs.")
    load: str | None = _option(None, "NEW.json", "Take results from an export instead of running.")
    preset: str | None = _option(None, "NAME", "; ".join(f"{p.name}: {p.summary}" for p in presets.PRESETS.values()))
    json: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False

    def __post_init__(self) -> None:
        for name, known, got in (("phase", PHASES, [self.phase]), ("engine", TIMED, self.engine.split(","))):
            if set(got) - set(known):
                raise UsageError(f"{name} must be one of {', '.join(known)}, got {', '.join(got)!r}")
        if self.load is None and not self.inputs and (not self.size or self.phase == "e2e"):
            hint = "poolcli bench --preset quick"
            raise UsageError("bench must be given --size, files (for phase e2e) or a preset", hint)
        if self.window is not None and (self.kernel is not None or self.stride is not None):
            raise UsageError("--window must be used without -k and -s")
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha must be between 0 and 1, got {self.alpha}")
        if self.seed < 0:
            raise UsageError(f"seed must be a whole number from 0, got {self.seed}")


def _parameters(record: type) -> Iterator[Parameter]:
    """Yield a Typer parameter for each field of *record*."""
    hints = get_type_hints(record, include_extras=True)
    for value in fields(record):
        declared, hint = value.metadata, hints[value.name]
        if declared:
            names = filter(None, (f"--{value.name.replace('_', '-')}", declared.get("short")))
            hint = Annotated[hint, typer.Option(*names, metavar=declared.get("metavar", "N"), help=declared["help"])]
        yield Parameter(value.name, Parameter.KEYWORD_ONLY, default=value.default, annotation=hint)


def _bench(ctx: typer.Context, **_options: object) -> int:
    asked, rules = _asked(ctx)
    _check(asked)
    old = None if asked.baseline is None else _read(asked.baseline)
    found: Results | None = None
    ended: Terminated | None = None
    try:
        for found in _measured(asked, rules):
            _export(asked, found)
    except Terminated as signalled:
        ended = signalled
    code = 0
    if found is not None:
        _show(asked, found)
        slower = old is not None and _compare(asked, old, found)
        code = 3 if found.refused else REGRESSION * slower
    if ended is not None:
        raise ended
    return code


_CONTEXT = Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context)
_bench.__signature__ = Signature([_CONTEXT, *_parameters(Asked), *_parameters(Rules)])  # type: ignore[attr-defined]  # for Typer
app.command(help=COMMANDS["bench"])(_bench)


def _asked(ctx: typer.Context) -> tuple[Asked, Rules]:
    """Return the options given, the preset's where there is one and the user said nothing else."""
    values = dict(ctx.params)
    if values["preset"] is not None:
        line = shlex.split(presets.lookup(values["preset"]).options)
        given = {name for name in values if str(ctx.get_parameter_source(name)).endswith("COMMANDLINE")}
        preset = ctx.command.make_context("bench", line).params
        values |= {name: value for name, value in preset.items() if name not in given}
    asked, rules = ({value.name: values[value.name] for value in fields(record)} for record in (Asked, Rules))
    return Asked(**asked), Rules(**rules)


def _check(asked: Asked) -> None:
    """Refuse what could not be written or compared once everything is measured."""
    from poolcli.measure.baseline import fraction

    fraction("fail-over", asked.fail_over)
    for name, known, names in (
        ("export", EXPORTS, asked.export),
        ("plot", PLOTS, asked.plot),
        ("html", PAGES, asked.html),
    ):
        for path in names or []:
            if _suffix(path) not in known:
                raise UsageError(f"{name} must end in {', '.join(known)}, got {path!r}")
    for name, package, extra in NEEDED:
        if getattr(asked, name) and find_spec(package) is None:
            raise UsageError(f"{name} must have {package} installed", f"pip install 'poolcli[{extra}]'")


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _measured(asked: Asked, rules: Rules) -> Iterator[Results]:
    """Yield the results so far, after each case."""
    from rich.progress import track

    from poolcli.measure import results
    from poolcli.measure.environment import environment

    if asked.load is not None:
        yield _read(asked.load)
        return
    command = " ".join(["poolcli", *map(shlex.quote, sys.argv[1:])])
    machine, created = environment(), datetime.now(UTC).isoformat(timespec="seconds")
    arrays = _arrays(asked.inputs or [])
    grid = _grid(asked, arrays)
    done: list[Timing] = []
    hidden = asked.quiet or sys.stderr is None or not sys.stderr.isatty()
    to = None if hidden else report.console(stderr=True)
    timed = _timed(asked, rules, grid, arrays)
    for timings in track(timed, "cases", len(grid), console=to, transient=True, disable=hidden):
        done += timings
        yield results.Results(machine, command, created, tuple(done))


def _arrays(names: list[str]) -> dict[Size, Any]:
    """Return what the files called *names* hold, by their sizes."""
    from poolcli.core import layouts
    from poolcli.jobs.request import MAX_PIXELS
    from poolcli.jobs.runner import PICTURE_LAYOUTS
    from poolcli.media import contents, files

    found = {}
    for name in names:
        try:
            content = contents.decode(files.read(name), max_pixels=MAX_PIXELS)
            header = content.header
            layout = PICTURE_LAYOUTS[len(header.shape)] if header.picture else layouts.told(header.shape).letters
        except PoolError as error:
            raise error.about(files.shown(name)) from error
        found[cases.Size(header.shape, layout, header.dtype, name)] = content.pixels
    return found


def _grid(asked: Asked, files: Iterable[Size]) -> tuple[Case, ...]:
    from poolcli.core.threads import usable_cpus

    sizes = (*(cases.sizes(asked.size) if asked.size else ()), *files)
    methods = cases.methods(asked.method)
    if asked.window is None:
        windows = cases.window_product(asked.kernel or "2", asked.stride)
    else:
        windows = cases.windows(asked.window)
    threads = (usable_cpus(),) if asked.threads is None else cases.threads(asked.threads)
    return cases.grid(sizes, methods, windows, threads)


def _timed(asked: Asked, rules: Rules, grid: Sequence[Case], arrays: dict[Size, Any]) -> Iterable[tuple[Timing, ...]]:
    """Return what times the cases of *grid* one after the other."""
    from poolcli.measure import bench, peers, stages

    engines, chosen = asked.engine.split(","), peers.select(asked.peers)
    if asked.phase == "e2e":
        return stages.timed(grid, engines[0], rules)
    for peer in chosen:
        if peer.lacking and not asked.quiet:
            report.say(f"warning: peer {peer.name} is left out: pip install {peer.lacking}")

    def load(size: Size) -> Any:
        return arrays[size] if size in arrays else bench.noise(size, asked.seed)

    return bench.run(grid, engines=engines, peers=chosen, rules=rules, load=load)


def _read(name: str) -> Results:
    from poolcli.measure import document
    from poolcli.media import files

    try:
        return document.from_json(files.read(name))
    except PoolError as error:
        raise error.about(files.shown(name)) from error


def _export(asked: Asked, found: Results) -> None:
    from poolcli.measure import document, tables
    from poolcli.media import files

    forms = {".json": document.to_json, ".csv": tables.to_csv, ".md": tables.to_markdown}
    for path in asked.export or []:
        files.write(path, [forms[_suffix(path)](found).encode()], overwrite=True)


def _show(asked: Asked, found: Results) -> None:
    from poolcli.measure import document, tables
    from poolcli.media import files

    for path in asked.plot or []:
        from poolcli.measure.plot import draw

        files.write(path, [draw(found, _suffix(path).removeprefix("."))], overwrite=True)
    for path in asked.html or []:
        from poolcli.measure.report import benchmarked, rendered

        files.write(path, [rendered(benchmarked(found)).encode()], overwrite=True)
    if asked.json:
        report.print_bytes(document.to_json(found).encode())
        return
    if asked.preset is not None:
        report.print_bytes(f"poolcli bench {presets.lookup(asked.preset).options}".encode())
    report.print_bytes(tables.machine(found).encode())
    _print_table(found)
    _warn(found)


def _warn(found: Results) -> None:
    """Say what is wrong with single records, and once how many cannot be trusted."""
    for timing in found.timings:
        where = f"{timing.case.token} {timing.contender}"
        if timing.status in {"failed", "refused"}:
            report.say(f"{'error' if timing.status == 'refused' else 'warning'}: {where}: {timing.reason}")
        if timing.differs:
            report.say(f"warning: {where}: values differ by {timing.difference:.3g}, more than its rounding explains")
    actions = [timing.advice.action for timing in found.done if timing.advice is not None]
    if actions:
        text = "; ".join(dict.fromkeys(actions))
        report.say(f"warning: {len(actions)} of {len(found.done)} timings are not stable: {text}")


def _print_table(found: Results) -> None:
    """Print the table, or one for each case, and with fewer columns, where the terminal is narrow."""
    from poolcli.measure.tables import COLUMNS

    rows = [row for row in found.rows if row.timing.status == "done"]
    shown = [c for c in COLUMNS if c.name not in {"note", "remark"} and any(c.show(row) for row in rows)]
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
        for name in LEAST_FIRST.split():
            if report.fits(_table(columns, own), to):
                break
            columns = [column for column in columns if column.name != name]
        to.print(_table(columns, own))


def _table(columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    made = report.table(None, *(column.title if column.text else f">{column.title}" for column in columns))
    for row in rows:
        report.add(made, *(column.show(row) for column in columns))
    return made


def _compare(asked: Asked, old: Results, new: Results) -> bool:
    """Say what became of each timing since the baseline; return whether any is a regression."""
    from poolcli.measure import baseline

    fail_over = baseline.fraction("fail-over", asked.fail_over)
    verdicts = baseline.compare(old, new, fail_over=fail_over, alpha=asked.alpha)
    made = report.table("since the baseline", "case", "contender", "verdict", ">change", ">p", "reason")
    for verdict in verdicts:
        change = "" if verdict.change is None else f"{verdict.change:+.1%}"
        p = "" if verdict.p is None else f"{verdict.p:.2g}"
        timing = verdict.timing
        report.add(made, timing.case.token, timing.contender, verdict.outcome, change, p, verdict.reason)
    report.console(stderr=asked.json).print(made)
    return any(verdict.outcome == "regression" for verdict in verdicts)
