"""``poolcli pool``: a few files, one by one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from poolcli.cli import options, report
from poolcli.cli.options import Talk
from poolcli.errors import InputError, LimitError, PoolError, UsageError
from poolcli.jobs.executors import Where
from poolcli.jobs.expect import Expect
from poolcli.jobs.request import LAYOUTS, Output, Request, Storage
from poolcli.media import files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from poolcli.jobs.naming import Job
    from poolcli.jobs.records import Record

SHOWN = 1000  # elements that --show prints at most
_ROWS = [f"{letters:<7}{shape:<17}{what}" for letters, (shape, what) in LAYOUTS.items()]
LAYOUTS_HELP = "\n".join(
    [
        "Layouts:  D H W L T are pooled, N B C are not, in any order; for example",
        *(f"  {left:<43}{right}" for left, right in zip(_ROWS[:6], _ROWS[6:], strict=True)),
        "",
    ]
)

Inputs = Annotated[list[str], options.argument("INPUT...", "Files, or - for stdin.")]


@options.command(
    "poolcli pool photo.png -m avg -k 4 -o small.png",
    "poolcli pool maps.npy --layout NCHW -k 3 -s 2 -p 1 -o pooled.npy",
    "cat photo.jpg | poolcli pool - -m avg -F png -o - > half.png",
    more=LAYOUTS_HELP,
)
def pool(
    inputs: Inputs,
    request: Request,
    output: Output,
    storage: Storage,
    where: Where,
    expect: Expect | None,
    talk: Talk,
) -> int:
    from poolcli.jobs import records, runner

    if any(map(files.is_store, inputs)):
        from poolcli.cli import stores

        return stores.pool(inputs, request, output, storage, where, expect, talk)
    _refuse(storage, where)
    jobs = _jobs(inputs, output, request, writes=not talk.show and (expect is None or output != Output()))
    if talk.show and output != Output():
        raise UsageError("--show must be used without -o, -F and -f: it writes nothing")
    runner.check(request, jobs)
    _one_stdout(jobs, talk)
    ends = _ends(jobs, output, request)
    done, said = [], set[str]()
    for number, job in enumerate(jobs):
        if talk.dry_run or job.skip is not None:
            record, array = runner.planned(job, request), None
        else:
            record, array = runner.run(job, request, ahead=len(jobs) - number, **ends[number])
        if talk.show and array is not None and array.size > SHOWN:
            error = InputError(f"result must have up to {SHOWN} elements to be shown, got {array.size}")
            record = runner.failed(job, request, error)
        if expect is not None and array is not None:
            record = _compared(record, array, expect)
        elif expect is not None and record.status == "done":
            held = LimitError("expect must be of a result that is held in memory", "max_memory=")
            record = runner.failed(job, request, held)
        done.append(record)
        _tell(record, array, talk, said)
    if not talk.quiet:
        _end(done, talk)
    return records.worst(record.error.exit_code for record in done if record.error is not None)


def _refuse(storage: Storage, where: Where) -> None:
    """Refuse options that say nothing of files."""
    given = [*options.words(storage), *options.words(where)]
    if given:
        raise UsageError(f"{given[0]} must be used with a Zarr", "poolcli batch takes --on for files")


def _end(done: Sequence[Record], talk: Talk) -> None:
    """Say what it all came to."""
    if talk.dry_run and not talk.json and len(done) > 1:
        from poolcli.cli.tally import Tally, foresight

        tally = Tally([record.job for record in done], ())
        for record in done:
            tally.add(record)
        foresight(tally)
    elif report.timed(talk.timing):
        report.timing(done)
    elif talk.verbose:
        report.say_engines(record.choice for record in done)


def _jobs(inputs: list[str], output: Output, request: Request, *, writes: bool) -> list[Job]:
    from poolcli.jobs import naming

    if writes:
        return naming.plan(inputs, output, request)
    return [naming.Job(name, None, None) for name in inputs]


def _ends(jobs: list[Job], output: Output, request: Request) -> list[dict[str, Callable[..., Any]]]:
    """Return what reads and writes for each job, where that is not as usual."""
    if not output.receipt:
        return [{}] * len(jobs)
    from poolcli.jobs import receipts

    receipts.check(jobs)
    writers = [receipts.Writer(job, request, report.command()) for job in jobs]
    return [{"read": writer.read, "write": writer} for writer in writers]


def _compared(record: Record, array: NDArray[Any], wanted: Expect) -> Record:
    """Return the record, failed if the result is not what is expected."""
    from poolcli.jobs import expect, runner

    try:
        expect.check(record, array, wanted)
    except PoolError as error:
        return runner.failed(record.job, record.request, error)
    return record


def _one_stdout(jobs: list[Job], talk: Talk) -> None:
    """Refuse two things at once on stdout, and bytes on a terminal."""
    product = not talk.dry_run and any(job.output == "-" for job in jobs)
    asked = {"--json": talk.json, "--show": talk.show, "-n": talk.dry_run and not talk.json, "-o -": product}
    several = [name for name, value in asked.items() if value]
    if len(several) > 1:
        raise UsageError(f"stdout must hold one thing, got {' and '.join(several)}", "drop one of them")
    if product and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("stdout must not be a terminal for a picture or a tensor", "-o FILE, or a pipe")


def _tell(record: Record, array: NDArray[Any] | None, talk: Talk, said: set[str]) -> None:
    """Say what a person should know of a record, and deliver what was asked for."""
    report.talk(record, talk, said)
    if talk.verbose and record.job.level > 1:
        method = record.request.method
        report.say(f"level {record.job.level}: from {'the input' if method.nests else 'unrounded levels before it'}")
    if talk.explain and not talk.quiet:
        report.explain(record)
    if talk.preview and array is not None and record.outline is not None:
        report.preview(array, record.outline.layout.letters)
    if talk.json:
        from poolcli.jobs import records

        report.print_json(records.as_json(record))
    elif talk.dry_run:
        report.print_plan(record)
    elif record.status == "done" and talk.show and array is not None:
        report.print_array(array)
    elif record.status == "done" and record.job.output not in {None, "-"}:
        report.print_path(record.job.output)
