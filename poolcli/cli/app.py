"""The commands, found when they are called, and the one place that turns what happened into an exit code."""

from __future__ import annotations

import os
import signal
import stat
import sys
import warnings
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer import completion
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from poolcli import __version__
from poolcli.errors import LimitError, OutputError, PoolError, PoolWarning, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

COMMANDS = {
    "pool": "Pool images and tensors.",
    "batch": "Pool folders of images and tensors, and go on where a run stopped.",
    "unpool": "Put maxima or minima back where pool --indices found them, and zero elsewhere.",
    "pyramid": "Make smaller levels of an image, in OME-Zarr or a tiled TIFF.",
    "bench": "Time pooling over a grid of cases, beside peers and the limit that memory sets.",
    "compare": "Compare methods on a picture, label map or tensor, and say which to choose.",
    "info": "Show what files hold and what a window would make of them.",
    "verify": "Make outputs again from their receipts, and compare.",
    "methods": "List the pooling methods.",
    "cache": "Show (info), fill (warm) or empty (clear) the store of compiled kernels.",
    "env": "Show versions, processors and folders, for reports.",
}
EXAMPLES = """\
Examples:
  poolcli pool photo.png -m avg -k 4 -o small.png
  poolcli batch photos/ -o small/ -k 4
  poolcli bench --preset quick"""
BUG = 70
HELP = {"help_option_names": ["-h", "--help"]}


class Terminated(BaseException):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class ClosedPipe(Exception):  # noqa: N818 -- not an error
    """The reader of stdout has gone; Typer would end with 1 for a BrokenPipeError."""


class Ended:
    """What ends its help as its epilog is written."""

    epilog: str | None

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 -- Typer's signature
        """Write what ends the help."""
        formatter.write(f"\n{self.epilog}\n")


class Group(Ended, TyperGroup):
    """Commands whose help cuts no summary."""

    def summary(self, ctx: Any, name: str) -> str:
        """Return what a command does."""
        return getattr(self.get_command(ctx, name), "help", "")

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write every command with its summary."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])


class Commands(Group):
    """Commands by name; a module is imported when its command is asked for (nine built at once cost 45 ms)."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 -- Typer's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def summary(self, ctx: Any, name: str) -> str:  # noqa: ARG002 -- Typer's signature
        """Return what a command does, without its module."""
        return COMMANDS[name]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, or raise `UsageError` with the nearest name."""
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing or cmd_name.startswith("-"):
                return None
            from difflib import get_close_matches

            near = get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "poolcli --help"
            raise UsageError(f"command must be one of {', '.join(COMMANDS)}, got {cmd_name!r}", hint)
        command = getattr(import_module(f"poolcli.cli.{cmd_name}"), cmd_name)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a closed pipe must not end in Typer's hands."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ClosedPipe from error


app = typer.Typer(
    cls=Commands,
    name="poolcli",
    context_settings=HELP,
    epilog=EXAMPLES,
    help="Pool images and tensors: max, average, L2, with deep-learning window semantics.",
    rich_markup_mode=None,
    add_completion=False,  # Typer's own options take no name of a shell
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"poolcli {__version__}")
        raise typer.Exit


SHELLS = ("bash", "zsh", "fish")
_FOR = f"for {', '.join(SHELLS)}; else the shell of $SHELL."


def _of_shell(act: Callable[..., Any]) -> Callable[..., Any]:
    """Return the callback of an option that does something for a shell."""

    def callback(ctx: typer.Context, param: typer.CallbackParam, value: str | None) -> None:
        if value is not None and value not in SHELLS:
            raise UsageError(f"shell must be one of {', '.join(SHELLS)}, got {value!r}")
        act(ctx, param, value)

    return callback


_shown, _installed = _of_shell(completion.show_callback), _of_shell(completion.install_callback)


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    show: Annotated[  # noqa: ARG001 -- its callback ends the program
        str | None, typer.Option("--show-completion", metavar="SHELL", callback=_shown, help=f"Show completion {_FOR}")
    ] = None,
    install: Annotated[  # noqa: ARG001 -- likewise
        str | None,
        typer.Option("--install-completion", metavar="SHELL", callback=_installed, help=f"Install it {_FOR}"),
    ] = None,
    version: Annotated[  # noqa: ARG001 -- its callback ends the program
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; what a user can cause ends in one ``error:`` line."""
    completion.completion_init()  # type: ignore[attr-defined]  # Typer does so only for its own options
    if arguments[-1:] in (["--show-completion"], ["--install-completion"]):
        arguments = [*arguments, os.path.basename(os.environ.get("SHELL", SHELLS[0]))]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # text files both
    try:
        with _signals(), warnings.catch_warnings():
            warnings.simplefilter("ignore", PoolWarning)  # they come with the results
            code = get_command(app).main(arguments, "poolcli", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
            return int(code or 0)
    except SystemExit as error:  # Rich and Typer end so when the reader of stdout has gone; completion, with 0
        return _ended(ClosedPipe(), arguments) if error.code == 1 else int(error.code or 0)
    except (Exception, Terminated) as error:  # noqa: BLE001 -- no traceback for a user
        if "--debug" in arguments:
            from traceback import print_exc

            print_exc()
        return _ended(error, arguments)


def _ended(error: BaseException, arguments: list[str]) -> int:
    """Say how the command ended, and return the exit code for it."""
    from poolcli.cli.report import drop_stdout, say_error

    if isinstance(error, (ClosedPipe, BrokenPipeError)):
        drop_stdout()
        return 128 + signal.SIGPIPE
    if isinstance(error, Terminated):
        say_error(f"ended by {signal.Signals(error.number).name}")
        return 128 + error.number
    if isinstance(error, TyperException):
        error = _translated(error, arguments)
    if isinstance(error, OSError):  # a stream's: what happens to files is told where it happens
        drop_stdout()
        error = OutputError(f"standard output: {error.strerror or error}")
    if isinstance(error, MemoryError):
        error = LimitError("memory must hold what was asked for")
    if isinstance(error, UsageError) and (name := _dashed(arguments)):
        error.hint = f"-- before {name}, which is a file, keeps it from being options"
    if isinstance(error, PoolError):
        say_error(error.message, error.hint)
        return error.exit_code
    say_error(f"bug: {type(error).__name__}: {error}", "please report it with the output of --debug and of poolcli env")
    return BUG


def _translated(error: TyperException, arguments: list[str]) -> UsageError:
    """Return Typer's own usage error in this program's words."""
    context = getattr(error, "ctx", None)
    path = " ".join(["poolcli", *(word for word in arguments[:1] if word in COMMANDS)])
    path = context.command_path if context is not None else path
    message = error.format_message().rstrip(".")
    hint = f"{path} --help"
    if message.startswith("Missing argument 'INPUT") and _fed():
        hint = f"{path} - reads standard input"
    return UsageError(message[:1].lower() + message[1:], hint)


def _fed() -> bool:
    """Whether standard input is a file or a pipe."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def _dashed(arguments: list[str]) -> str | None:
    """Return the first file whose name begins with a dash among what was taken for options."""
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return next((word for word in words if len(word) > 1 and word[0] == "-" and os.path.lexists(word)), None)


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that end a program into `Terminated`, so that temporaries are removed."""

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 -- the signal module's signature
        raise Terminated(number)

    kept = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
