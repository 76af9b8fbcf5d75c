"""``poolcli bench``: time pooling over a grid of cases, beside peers and beside the limit that memory sets."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from poolcli.cli import options, report
from poolcli.cli.app import Terminated
from poolcli.cli.options import Talk
from poolcli.errors import InputError, PoolError
from poolcli.measure import presets, request
from poolcli.measure.request import Asked, suffix
from poolcli.measure.turns import Rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcli.measure.cases import Case, Size
    from poolcli.measure.results import Results, Timing

REGRESSION = 6

Inputs = Annotated[list[str] | None, options.argument("[INPUT...]", "Files in place of --size.")]


class Preset(options.Command):
    """A command whose line begins with that of the preset that it names: what is given after it wins."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the preset's words, then those given."""
        words = [word.removeprefix("--preset=") for word in args if word.startswith("--preset=")]
        words += [name for word, name in pairwise(args) if word == "--preset"]
        line = [] if not words or ctx.resilient_parsing else shlex.split(presets.lookup(words[-1]).options)
        return super().parse_args(ctx, [*line, *args])


@options.command(
    "poolcli bench --preset quick",
    "poolcli bench --size 64x224x224 -m max,avg -w k3s1,k31s1 --plot a.svg",
    "poolcli bench --preset headline --baseline old.json",
    cls=Preset,
)
def bench(asked: Asked, rules: Rules, talk: Annotated[Talk, "json", "quiet", "debug"], inputs: Inputs = None) -> int:
    asked.check(inputs or [])
    old = None if asked.baseline is None else _read(asked.baseline)
    found: Results | None = None
    ended: Terminated | None = None
    try:
        for found in _measured(asked, rules, talk, inputs or []):
            _export(asked, found)
    except Terminated as signalled:
        ended = signalled
    code = 0
    if found is not None:
        _show(asked, talk, found)
        slower = old is not None and _compare(asked, talk, old, found)
        code = 3 if found.refused else REGRESSION * slower
    if ended is not None:
        raise ended
    return code


def _measured(asked: Asked, rules: Rules, talk: Talk, inputs: list[str]) -> Iterator[Results]:
    """Yield the results so far, after each case or process."""
    from poolcli.measure import results
    from poolcli.measure.environment import environment

    if asked.load is not None:
        yield _read(asked.load)
        return
    command, machine, created = report.command(), environment(), datetime.now(UTC).isoformat(timespec="seconds")
    if asked.processes != 1:
        runs: list[Results] = []
        for _ in report.track(range(asked.processes or 1), "processes", quiet=talk.quiet):
            runs.append(_alone(asked, rules, inputs))
            yield replace(results.merged(runs), command=command, created=created)
        return
    arrays = request.arrays(inputs, asked.layout)
    grid = request.grid(asked, arrays)
    done: list[Timing] = []
    for timings in report.track(_timed(asked, rules, talk, grid, arrays), "cases", len(grid), quiet=talk.quiet):
        done += timings
        yield results.Results(machine, command, created, tuple(done))


def _alone(asked: Asked, rules: Rules, inputs: list[str]) -> Results:
    """Return what a fresh process measures: memory lies elsewhere, and other moments are met."""
    from poolcli.measure import document

    asked = replace(asked, processes=1, export=(), plot=(), baseline=None, preset=None)
    words = [*options.words(asked), *options.words(rules), "--json", "-q", "--", *inputs]
    line = [sys.executable, "-m", "poolcli", "bench", *words]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=False)  # noqa: S603 -- our own program, no shell
    if done.returncode not in {0, 3} or not done.stdout:
        raise InputError(f"a process of the benchmark must end with 0, got {done.returncode}")
    return document.from_json(done.stdout)


def _timed(
    asked: Asked, rules: Rules, talk: Talk, grid: Sequence[Case], arrays: dict[Size, Any]
) -> Iterable[tuple[Timing, ...]]:
    """Return what times the cases of *grid* one after the other."""
    from poolcli.measure import bench as timing
    from poolcli.measure import peers, stages, ways

    engines, chosen, also = asked.engine.split(","), peers.select(asked.peers), ways.parsed(asked.also)
    if asked.phase == "e2e":
        return stages.timed(grid, engines[0], rules)
    for peer in chosen:
        if peer.lacking and not talk.quiet:
            report.say(f"warning: peer {peer.name} is left out: pip install {peer.lacking}")

    def load(size: Size) -> Any:
        return arrays[size] if size in arrays else timing.noise(size, asked.seed)

    return timing.run(grid, engines=engines, peers=chosen, also=also, rules=rules, load=load)


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
    for path in asked.export:
        files.write(path, [forms[suffix(path)](found).encode()], overwrite=True)


def _show(asked: Asked, talk: Talk, found: Results) -> None:
    from poolcli.measure import document, tables
    from poolcli.media import files

    for path in asked.plot:
        from poolcli.measure.plot import draw

        pictures = draw(found, suffix(path).removeprefix("."))
        stem, ending = os.path.splitext(path)
        for question, data in pictures.items():
            files.write(path if len(pictures) == 1 else f"{stem}-{question}{ending}", [data], overwrite=True)
    for path in asked.html:
        from poolcli.measure.report import benchmarked, rendered

        files.write(path, [rendered(benchmarked(found)).encode()], overwrite=True)
    if talk.json:
        report.print_bytes(document.to_json(found).encode())
        return
    if asked.preset is not None:
        report.print_bytes(f"poolcli bench {presets.lookup(asked.preset).options}".encode())
    report.print_bytes(tables.machine(found).encode())
    _print_table(found)
    _warn(found)


def _warn(found: Results) -> None:
    """Say what is wrong with records, a thing once, and how many cannot be trusted."""
    cases_of: dict[str, list[str]] = {}
    for timing in found.timings:
        level = "error" if timing.status == "refused" else "warning"
        if timing.status in {"failed", "refused"}:
            cases_of.setdefault(f"{level}: {timing.contender}: {timing.reason}", []).append(timing.case.token)
        if timing.differs:
            said = f"warning: {timing.contender}: values differ by more than its rounding explains"
            cases_of.setdefault(said, []).append(f"{timing.case.token} by {timing.difference:.3g}")
    for said, tokens in cases_of.items():
        report.say(f"{said}: {tokens[0]}" + f" and {len(tokens) - 1} more" * (len(tokens) > 1))
    actions = [timing.advice.action for timing in found.done if timing.advice is not None]
    if actions:
        text = "; ".join(dict.fromkeys(actions))
        report.say(f"warning: {len(actions)} of {len(found.done)} timings are not stable: {text}")


def _print_table(found: Results) -> None:
    """Print the table, with as many of its columns as there is room for; a case is named in its first row."""
    from poolcli.measure.tables import DETAILS, SUMMARY

    rows = [row for row in found.rows if row.timing.status == "done"]
    columns = [*SUMMARY, *(column for column in DETAILS if any(column.show(row) for row in rows))]
    labels = ["case", *(column.label for column in columns)]
    named: set[str] = set()
    lines = []
    for row in rows:
        token = row.timing.case.token
        lines.append(["" if token in named else token, *(column.show(row) for column in columns)])
        named.add(token)
    report.show(labels, lines, [column.title for column in reversed(DETAILS)])


def _compare(asked: Asked, talk: Talk, old: Results, new: Results) -> bool:
    """Say what became of each timing since the baseline; return whether any is a regression."""
    from poolcli.measure import baseline

    verdicts = baseline.compare(old, new, fail_over=asked.fail_over, alpha=asked.alpha)
    rows = []
    for verdict in verdicts:
        change = "" if verdict.change is None else f"{verdict.change:+.1%}"
        p = "" if verdict.p is None else f"{verdict.p:.2g}"
        timing = verdict.timing
        rows.append((timing.case.token, timing.contender, verdict.outcome, change, p, verdict.reason))
    labels = ("case", "contender", "verdict", ">change", ">p", "reason")
    report.show(labels, rows, title="since the baseline", stderr=talk.json)
    return any(verdict.outcome == "regression" for verdict in verdicts)
