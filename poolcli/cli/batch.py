"""``poolcli batch``: whole folders."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from poolcli.cli import options, report
from poolcli.cli.app import COMMANDS, Terminated
from poolcli.cli.options import Talk
from poolcli.cli.tally import Meter, Tally, summary
from poolcli.errors import UsageError
from poolcli.jobs import batch as batches
from poolcli.jobs import manifest, records, runner, tree
from poolcli.jobs.batch import Batch, Settings
from poolcli.jobs.request import Output, Request
from poolcli.jobs.tree import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcli.jobs.naming import Job
    from poolcli.jobs.records import Record

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=options.HELP)

GRACE = 0.8  # seconds that a signal leaves to what is under way

Sources = Annotated[
    list[str] | None, typer.Argument(metavar="SRC...", help="Folders, and files.", rich_help_panel="Input")
]
Asked = Annotated[
    Request, "method", "kernel", "stride", "padding", "dilation", "ceil", "count_include_pad", "layout", "key",
    "max_pixels", "dtype", "rules", "quality", "engine",
]  # fmt: skip


@options.command(
    app,
    COMMANDS["batch"],
    "poolcli batch photos/ -o small/ -m avg -k 4",
    "poolcli batch photos/ -o small/ -I '*.jpg' -x '**/thumbs/**' -n",
    "find . -name '*.png' -print0 | poolcli batch --files-from - -0 -o small/",
)
def batch(
    request: Asked,
    rules: Rules,
    settings: Settings,
    output: Annotated[Output, "format"],
    talk: Annotated[Talk, "dry_run", "json", "quiet", "verbose", "debug"],
    sources: Sources = None,
) -> int:
    tree.check_apart(sources or [], settings.output, rules)
    found = list(tree.find(sources or [], rules))
    counting = [one for one in found if one.counts]
    planned = tree.plan_jobs(counting, settings.output, settings.names, request, format=output.format)
    runner.check(request, planned)
    if not planned:
        raise UsageError(
            f"sources must hold a picture or a tensor, got {len(found)} other files" if found else "no file matched",
            "poolcli info --formats lists what is read",
        )

    def decide() -> Sequence[Job]:
        return batches.decided(planned, request, settings, manifest.load(settings.output))

    jobs = decide()
    tally = Tally(len(jobs), len(found) - len(counting))
    if talk.dry_run:
        for job in jobs:
            record = runner.planned(job, request)
            tally.add(record)
            report.talk(record, quiet=True, verbose=False)
            report.print_json(records.as_json(record)) if talk.json else report.print_plan(record)
        return records.worst(tally.codes)
    with manifest.opened(settings.output, durable=settings.durable) as kept:
        batches.clean(settings.output, planned, kept)
        batches.keep_memory()
        jobs = decide()  # under the lock: another batch may have come first
        _deliver(Batch(jobs, request, settings, kept), tally, talk)
        kept.compact()
    return records.worst(tally.codes)


def _deliver(run: Batch, tally: Tally, talk: Talk) -> None:
    """Do the batch and say what comes of it; a signal ends the process here."""
    with run:
        try:
            with Meter(tally, quiet=talk.quiet) as meter:
                for record in run:
                    _tell(record, tally, meter, talk)
        except Terminated as ended:
            _end(run, ended.number, tally, talk)
    if run.stopped is not None:
        report.say_error(f"stopped early: {run.stopped}; {tally.counts['done']} of {tally.total} files done")
    if not talk.quiet:
        summary(tally)


def _tell(record: Record, tally: Tally, meter: Meter, talk: Talk) -> None:
    tally.add(record)
    report.talk(record, quiet=talk.quiet, verbose=talk.verbose)
    if talk.debug and record.error is not None and record.error.exit_code == 70:
        traceback.print_exception(record.error.__cause__)
    if talk.json:
        report.print_json(records.as_json(record))
    elif record.status == "done" and record.job.output is not None:
        meter.print_path(record.job.output)
    meter.move()


def _end(run: Batch, number: int, tally: Tally, talk: Talk) -> NoReturn:
    """Give what runs a moment, say what got done, and end the process, which dropped threads would hold up."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, lambda again, _: os._exit(128 + again))
    for record in run.drop(GRACE):
        tally.add(record)
        if talk.json:
            report.print_json(records.as_json(record))
    name = signal.Signals(number).name
    report.say_error(f"ended by {name}; {tally.counts['done']} of {tally.total} files done", "the same command goes on")
    if not talk.quiet:
        summary(tally)
    run.sweep()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(128 + number)
