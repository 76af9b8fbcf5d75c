"""``poolcli batch``: whole folders."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS, Terminated
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
from poolcli.errors import UsageError
from poolcli.jobs import batch as running
from poolcli.jobs import manifest, records, runner, tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcli.cli.report import Meter, Tally
    from poolcli.jobs.batch import Run, Step
    from poolcli.jobs.records import Record, Request

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

GRACE = 0.8  # seconds that a signal leaves to what is under way


@app.command(help=COMMANDS["batch"])
def batch(
    sources: options.Sources = None,
    output: options.Destination = ...,  # type: ignore[assignment]  # Typer's way to say required
    method: options.Method = "max",
    kernel: options.Kernel = "2",
    stride: options.Stride = None,
    padding: options.Padding = "0",
    dilation: options.Dilation = "1",
    ceil: options.Ceil = False,
    count_include_pad: options.CountIncludePad = False,
    layout: options.Layout = None,
    dtype: options.Dtype = None,
    engine: options.Engine = "auto",
    format: options.Format = None,
    quality: options.Quality = None,
    key: options.Key = None,
    max_pixels: options.MaxPixels = "1G",
    include: options.Include = None,
    exclude: options.Exclude = None,
    max_depth: options.MaxDepth = None,
    hidden: options.Hidden = False,
    files_from: options.FilesFrom = None,
    null: options.Null = False,
    flat: options.Flat = False,
    template: options.Template = None,
    exists: options.Exists = "error",
    resume: options.Resume = True,
    jobs: options.Jobs = None,
    max_memory: options.MaxMemory = None,
    max_errors: options.MaxErrors = None,
    durable: options.Durable = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> int:
    request = records.Request(
        lookup(method),
        Window(kernel, stride, padding, dilation, ceil, count_include_pad).over(2),
        layout=layout,
        dtype=dtype,
        engine=engine,
        quality=quality,
        key=key,
        max_pixels=options.amount("max-pixels", max_pixels),
    )
    memory = running.allowed_memory() // 4 if max_memory is None else options.amount("max-memory", max_memory)
    rules = tree.Rules(tuple(include or ()), tuple(exclude or ()), max_depth, hidden)
    found = _found(sources or [], files_from, rules, output, null=null)
    counting = [one for one in found if one.counts]
    planned = tree.plan_jobs(
        counting,
        output,
        template=_template(template, flat=flat),
        method=request.method,
        window=request.window,
        format=format,
    )
    runner.check(request, planned)
    if not planned:
        raise UsageError(
            f"sources must hold a picture or a tensor, got {len(found)} other files" if found else "no file matched",
            "poolcli info --formats lists what is read",
        )

    def decide() -> Sequence[Step]:
        histories = manifest.load(output)
        return running.steps(planned, request, output, histories, exists=exists, resume=resume)

    steps = decide()
    tally = report.Tally(len(steps), len(found) - len(counting))
    if dry_run:
        return _show(steps, request, tally, json=json)
    with manifest.opened(output, durable=durable) as kept:
        running.clean(output, planned, kept)
        running.keep_memory()
        steps = decide()  # under the lock: another batch may have come first
        run = running.Run(
            steps,
            request,
            kept,
            jobs=jobs or _processors(),
            max_memory=memory,
            max_errors=max_errors,
            durable=durable,
        )
        _deliver(run, tally, json=json, quiet=quiet, verbose=verbose, debug=debug)
        kept.compact()
    return records.worst(tally.codes)


def _found(
    sources: list[str], files_from: str | None, rules: tree.Rules, output: str, *, null: bool
) -> list[tree.Found]:
    if not sources and files_from is None:
        raise UsageError("batch must be given folders or files, or --files-from")
    if "-" in sources:
        raise UsageError(
            "sources must be folders or files, got -", "--files-from - reads their names, pool - a picture"
        )
    if null and files_from is None:
        raise UsageError("-0 must be used with --files-from")
    if output == "-":
        raise UsageError("output must be a folder, got -")
    tree.check_apart(sources, output, rules)
    listed = [] if files_from is None else tree.listed(files_from, null=null)
    return list(tree.find(sources, listed, rules))


def _template(template: str | None, *, flat: bool) -> str:
    if template is not None and flat:
        raise UsageError("--flat must be used without --template: both name the outputs")
    return template or (tree.FLAT if flat else tree.MIRROR)


def _processors() -> int:
    from poolcli.core.threads import usable_cpus

    return usable_cpus()


def _show(steps: Sequence[Step], request: Request, tally: Tally, *, json: bool) -> int:
    """Print what would be done, and the shapes that would come out."""
    for step in steps:
        record = running.outlook(step, request)
        tally.add(record)
        report.talk(record, quiet=True, verbose=False)
        if json:
            report.print_json(records.as_json(record))
        elif record.source is not None and record.result is not None:
            report.print_plan(record.input, record.output, record.source, record.result)
        elif record.reason is not None:
            report.print_skipped(record.input, record.output, record.reason)
    return records.worst(tally.codes)


def _deliver(run: Run, tally: Tally, *, json: bool, quiet: bool, verbose: bool, debug: bool) -> None:
    """Do the run and say what comes of it; a signal ends the process here."""

    def tell(record: Record, meter: Meter) -> None:
        tally.add(record)
        report.talk(record, quiet=quiet, verbose=verbose)
        if debug and record.error is not None and record.error.exit_code == 70:
            traceback.print_exception(record.error.__cause__)
        if json:
            report.print_json(records.as_json(record))
        elif record.status == "done" and record.output is not None:
            meter.print_path(record.output)
        meter.move()

    with run:
        try:
            with report.Meter(tally, quiet=quiet) as meter:
                for record in run:
                    tell(record, meter)
        except Terminated as ended:
            _end(run, ended.number, tally, json=json, quiet=quiet)
    if run.stopped is not None:
        report.say_error(f"stopped early: {run.stopped}; {tally.counts['done']} of {tally.total} files done")
    if not quiet:
        report.summary(tally)


def _end(run: Run, number: int, tally: Tally, *, json: bool, quiet: bool) -> NoReturn:
    """Give what runs a moment, say what got done, and end the process, which dropped threads would hold up."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, lambda again, _: os._exit(128 + again))
    for record in run.drop(GRACE):
        tally.add(record)
        if json:
            report.print_json(records.as_json(record))
    name = signal.Signals(number).name
    report.say_error(f"ended by {name}; {tally.counts['done']} of {tally.total} files done", "the same command goes on")
    if not quiet:
        report.summary(tally)
    run.sweep()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(128 + number)
