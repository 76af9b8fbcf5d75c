"""``poolcli pool``: a few files, one by one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
from poolcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.jobs.plan import Job
    from poolcli.jobs.records import Record, Request

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

SHOWN = 1000  # elements that --show prints at most


@app.command(help=COMMANDS["pool"])
def pool(
    inputs: options.Inputs,
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
    threads: options.Threads = None,
    output: options.Output = None,
    format: options.Format = None,
    force: options.Force = False,
    quality: options.Quality = None,
    dry_run: options.DryRun = False,
    key: options.Key = None,
    max_pixels: options.MaxPixels = "1G",
    timing: options.Timing = None,
    explain: options.Explain = False,
    show: options.Show = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,  # noqa: ARG001 -- the entry point looks for it
) -> int:
    from poolcli.jobs import records, runner

    request = records.Request(
        lookup(method),
        Window(kernel, stride, padding, dilation, ceil, count_include_pad).over(2),
        layout=layout,
        dtype=dtype,
        engine=engine,
        threads=threads,
        quality=quality,
        key=key,
        max_pixels=options.amount("max-pixels", max_pixels),
    )
    jobs = _jobs(inputs, output, request, format=format, force=force, show=show)
    runner.check(request, jobs)
    _one_stdout(jobs, json=json, show=show, dry_run=dry_run)
    done = []
    for number, job in enumerate(jobs):
        if dry_run:
            record, array = runner.planned(job, request), None
        else:
            record, array = runner.run(job, request, force=force, ahead=len(jobs) - number)
        if show and array is not None and array.size > SHOWN:
            record = runner.failed(
                job, request, InputError(f"result must have up to {SHOWN} elements to be shown, got {array.size}")
            )
        done.append(record)
        _talk(record, explain=explain, quiet=quiet, verbose=verbose)
        _deliver(record, array, json=json, show=show)
    if not quiet and sys.stderr is not None and (timing or (timing is None and sys.stderr.isatty())):
        report.timing(done)
    return records.exit_code(done)


def _jobs(
    inputs: list[str], output: str | None, request: Request, *, format: str | None, force: bool, show: bool
) -> list[Job]:
    from poolcli.jobs import plan

    if not show:
        return plan.plan(inputs, output, method=request.method, window=request.window, format=format, force=force)
    if output is not None or format is not None:
        raise UsageError("--show must be used without -o and -F: it writes nothing")
    return [plan.Job(name, None, None) for name in inputs]


def _one_stdout(jobs: list[Job], *, json: bool, show: bool, dry_run: bool) -> None:
    """Refuse two things at once on stdout, and bytes on a terminal."""
    product = any(job.output == "-" for job in jobs)
    asked = {"--json": json, "--show": show, "-n": dry_run and not json, "-o -": product and not dry_run}
    several = [name for name, value in asked.items() if value]
    if len(several) > 1:
        raise UsageError(f"stdout must hold one thing, got {' and '.join(several)}", "drop one of them")
    if product and not dry_run and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "stdout must not be a terminal for a picture or a tensor", "use -o FILE, or pipe into a program"
        )


def _talk(record: Record, *, explain: bool, quiet: bool, verbose: bool) -> None:
    report.talk(record, quiet=quiet, verbose=verbose)
    if explain and not quiet and record.plan is not None:
        report.explain(record.plan, record.input, ceil=record.request.window.ceil)


def _deliver(record: Record, array: NDArray[Any] | None, *, json: bool, show: bool) -> None:
    if json:
        from poolcli.jobs import records

        report.print_json(records.as_json(record))
    elif record.status == "failed":
        return
    elif show and array is not None:
        report.print_array(array)
    elif record.status == "planned" and record.source is not None and record.result is not None:
        report.print_plan(record.input, record.output, record.source, record.result)
    elif record.output not in (None, "-"):
        report.print_path(record.output)
