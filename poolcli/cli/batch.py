"""``poolcli batch``: whole folders."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

from poolcli.cli import options, report
from poolcli.cli.app import Terminated
from poolcli.cli.options import Talk
from poolcli.cli.tally import Meter, Tally, foresight, summary
from poolcli.errors import UsageError
from poolcli.jobs import batch as batches
from poolcli.jobs import executors, manifest, memory, prune, records, runner, tree
from poolcli.jobs.batch import Batch, Settings
from poolcli.jobs.executors import Where
from poolcli.jobs.picture import Picture
from poolcli.jobs.records import Record
from poolcli.jobs.request import Output, Request
from poolcli.jobs.tree import Rules
from poolcli.media.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcli.jobs.naming import Job

GRACE = 0.8  # seconds that a signal leaves to what is under way

Asked = Annotated[
    Request, "method", "kernel", "stride", "padding", "dilation", "ceil", "count_include_pad", "layout", "key",
    "max_pixels", "strict", "dtype", "rules", *Picture.__dataclass_fields__, "engine", "threads", "max_memory",
]  # fmt: skip


@options.command(
    "poolcli batch photos/ -o small/ -m avg -k 4",
    "poolcli batch photos/ -o small/ -I '*.jpg' -x '**/thumbs/**' -n",
    "find . -name '*.png' -print0 | poolcli batch --files-from - -0 -o small/",
)
def batch(
    request: Asked,
    rules: Rules,
    settings: Settings,
    output: Annotated[Output, "format", "exists", "receipt"],
    where: Where,
    talk: Annotated[Talk, "dry_run", "json", "quiet", "verbose", "debug"],
    sources: Annotated[list[str] | None, options.argument("SRC...", "Folders, and files.")] = None,
) -> int:
    tree.check_apart(sources or [], settings.output, rules)
    found = list(tree.find(sources or [], rules))
    ignored = [one.path for one in found if not one.counts]
    planned = tree.plan_jobs(
        (one for one in found if one.counts), settings.output, settings.names, request, format=output.format
    )
    runner.check(request, planned)
    if not planned:
        braces = any("{" in glob for glob in rules.include)
        raise UsageError(
            f"sources must hold a picture or a tensor, got {len(found)} other files" if found else "no file matched",
            "braces are the shell's: -I once for each kind" if braces else "poolcli info --formats lists what is read",
        )

    def decide() -> tuple[Sequence[Job], Sequence[Job]]:
        histories = manifest.load(settings.output)
        pruned = prune.gone(sources or [], settings.output, planned, histories) if settings.prune else ()
        return batches.decided(planned, request, settings, histories, exists=output.exists), list(pruned)

    jobs, pruned = decide()
    if output.receipt:
        from poolcli.jobs import receipts

        receipts.check(jobs)
        if where.on != "local":
            raise UsageError("--receipt must be used with --on local: workers keep none")
    tally = Tally(jobs, ignored)
    _name_ignored(ignored, talk)
    if talk.dry_run:
        _foretell(tally, request, jobs, pruned, talk)
        return records.worst(tally.codes)
    with (
        executors.opened(where.on, settings.jobs) as place,
        manifest.opened(settings.output, durable=settings.durable) as kept,
    ):
        place.check(executors.probe, os.path.abspath(settings.output), [os.path.abspath(planned[0].input)])
        for warning in () if talk.quiet else place.warnings:
            report.say(f"warning: {warning}")
        batches.clean(settings.output, planned, kept)
        memory.keep()
        jobs, pruned = decide()  # under the lock: another batch may have come first
        tally = Tally(jobs, ignored)
        run = Batch(jobs, request, settings, kept, place, report.command() if output.receipt else None)
        _deliver(run, tally, talk)
        for job in pruned if run.stopped is None else ():
            record = prune.remove(job, settings.output, request)
            kept.add(record)
            _tell(record, tally, talk)
        kept.compact()
    _end(tally, talk)
    return records.worst(tally.codes)


def _name_ignored(names: Sequence[str], talk: Talk) -> None:
    """Name the files that are no inputs, to programs, and to people who want to know."""
    for name in names:
        if talk.json:
            report.print_json({"schema": records.SCHEMA, "status": "ignored", "input": name})
        elif talk.verbose and not talk.quiet:
            report.say(f"ignored: {shown(name)}: not a picture or tensor")


def _foretell(tally: Tally, request: Request, jobs: Sequence[Job], pruned: Sequence[Job], talk: Talk) -> None:
    """Say what would be done, and what that comes to."""
    for record in (
        *(runner.planned(job, request) for job in jobs),
        *(Record("pruned", job, request) for job in pruned),
    ):
        tally.add(record)
        report.talk(record, talk, tally.said)
        report.print_json(records.as_json(record)) if talk.json else report.print_plan(record)
    if talk.json:
        report.print_json(tally.document())
    elif not talk.quiet:
        foresight(tally)


def _deliver(run: Batch, tally: Tally, talk: Talk) -> None:
    """Do the batch and say what comes of each file; a signal ends the process here."""
    with run:
        try:
            with Meter(tally, quiet=talk.quiet) as meter:
                for record in run:
                    _tell(record, tally, talk, meter)
        except Terminated as ended:
            _break(run, ended.number, tally, talk)
    if run.stopped is not None:
        report.say_error(f"stopped early: {run.stopped}; {tally.counts['done']} of {tally.total} files done")


def _tell(record: Record, tally: Tally, talk: Talk, meter: Meter | None = None) -> None:
    tally.add(record)
    report.talk(record, talk, tally.said)
    if talk.json:
        report.print_json(records.as_json(record))
    elif meter is not None and record.status == "done" and record.job.output is not None:
        asked = talk.verbose or sys.stdout is None or not sys.stdout.isatty()
        if asked and not talk.quiet:
            meter.print_path(record.job.output)
    if meter is not None:
        meter.move()


def _end(tally: Tally, talk: Talk) -> None:
    """Say what it all came to."""
    if talk.json:
        report.print_json(tally.document())
    if not talk.quiet:
        summary(tally)
        if talk.verbose:
            report.say_engines(tally.choices.values())


def _break(run: Batch, number: int, tally: Tally, talk: Talk) -> NoReturn:
    """Give what runs a moment, say what got done, and end the process, which dropped threads would hold up."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, lambda again, _: os._exit(128 + again))
    for record in run.drop(GRACE):
        tally.add(record)
        if talk.json:
            report.print_json(records.as_json(record))
    name = signal.Signals(number).name
    report.say_error(f"ended by {name}; {tally.counts['done']} of {tally.total} files done", "the same command goes on")
    _end(tally, talk)
    run.sweep()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(128 + number)
