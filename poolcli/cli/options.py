"""Options are fields of records: what makes Typer's parameters of them, and the help that shows them."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_type_hints

import typer
from typer.core import TyperCommand
from typer.main import get_command

from poolcli.cli.app import COMMANDS, HELP, Ended
from poolcli.core.settings import setting
from poolcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from dataclasses import Field

PANELS = ("Window", "Input", "Output", "Picture", "Run", "Talk")
# Other values are text that the record parses
_TYPES: dict[str, Any] = {
    "bool": bool,
    "bool | None": bool,
    "int | None": int,
    "tuple[str, ...]": list[str],
}


@dataclass(frozen=True)
class Talk:
    """What a command says."""

    dry_run: bool = setting("Run", "Show inputs, outputs and shapes; pool nothing.", default=False, short="-n")
    timing: bool | None = setting(
        "Talk", "Table of seconds by stage on stderr; else where that is a terminal.", default=None
    )
    explain: bool = setting("Talk", "Show how the size of the result comes about.", default=False)
    show: bool = setting("Talk", "Print the result, up to 1,000 elements, and write nothing.", default=False)
    preview: bool = setting("Talk", "Draw the result in the terminal, in half blocks of 24-bit colour.", default=False)
    json: bool = setting("Talk", "Print JSON: one object for each input, or one document.", default=False)
    quiet: bool = setting("Talk", "Errors only on stderr.", default=False, short="-q")
    verbose: bool = setting(
        "Talk", "Say which engine ran and why, what is skipped, and what is ignored.", default=False, short="-v"
    )
    debug: bool = setting("Talk", "Show the traceback of an error.", default=False)


def command(*examples: str, more: str = "", cls: type[TyperCommand] | None = None) -> Callable[..., TyperCommand]:
    """Return what makes a command of a function: its records become options, *more* and *examples* end its help.

    What the command does is said by the function's docstring or, where it has none, by the table of commands.
    """
    end = "\n".join([*([more] if more else []), "Examples:", *(f"  {line}" for line in examples)])

    def made(function: Callable[..., int]) -> TyperCommand:
        app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=HELP)
        summary = function.__doc__ or COMMANDS[function.__name__]
        app.command(cls=cls or Command, help=summary, epilog=end)(spelled_out(function))
        return cast("TyperCommand", get_command(app))

    return made


def argument(metavar: str, help: str) -> Any:
    """Return what an argument says of itself."""
    return typer.Argument(metavar=metavar, help=help, rich_help_panel="Input")


def spelled_out(function: Callable[..., int]) -> Any:
    """Return *function* with an option for each field of the records that it takes.

    A parameter is annotated with a record, with ``Annotated[record, names of the fields to take]``, or with
    ``record | None``, which is None when none of its options is given.
    """
    parameters: list[inspect.Parameter] = []
    records: dict[str, tuple[Any, list[str], bool]] = {}
    for name, hint in get_type_hints(function, include_extras=True).items():
        record: Any = next(filter(is_dataclass, (hint, *get_args(hint))), None)
        if record is not None:
            chosen = getattr(hint, "__metadata__", ())
            taken = [one for one in _settings(record) if not chosen or one.name in chosen]
            optional = NoneType in get_args(hint)
            records[name] = record, [one.name for one in taken], optional
            parameters += [_parameter(one, required=one.default is MISSING and not optional) for one in taken]
        elif name != "return":
            default = inspect.signature(function).parameters[name].default
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default))

    def called(**values: Any) -> int:
        for name, (record, taken, optional) in records.items():
            own = {key: values.pop(key) for key in taken}
            given = {key: tuple(v) if isinstance(v, list) else v for key, v in own.items() if v is not None}
            values[name] = _filled(record, given, optional=optional)
        return function(**values)

    called.__name__ = function.__name__
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _filled(record: Any, given: dict[str, Any], *, optional: bool) -> Any:
    """Return the *record*, and those in it, of the options that were *given*."""
    if optional and not given:
        return None
    values = {one.name: given[one.name] for one in fields(record) if one.name in given}
    values |= {one.name: _filled(one.default_factory, given, optional=False) for one in fields(record) if _nested(one)}
    for one in fields(record):
        if "panel" in one.metadata and one.default is MISSING and one.name not in values:
            raise UsageError(f"{one.name} must be given, too, with {min(given)}")
    return record(**values)


def _nested(one: Field[Any]) -> bool:
    return one.default_factory is not MISSING and is_dataclass(one.default_factory)


def _settings(record: Any) -> Iterator[Field[Any]]:
    """Yield the fields of a *record* that are options, and those of the records in it."""
    for one in fields(record):
        if _nested(one):
            yield from _settings(one.default_factory)
        elif "panel" in one.metadata:
            yield one


def _parameter(one: Field[Any], *, required: bool) -> inspect.Parameter:
    kind = _TYPES.get(str(one.type), str)
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[kind if required else kind | None, _option(one)],
        default=inspect.Parameter.empty if required else None,
    )


def _option(one: Field[Any]) -> Any:
    said = one.metadata
    long = said["long"] or f"--{one.name.replace('_', '-')}"
    if one.type == "bool | None" or one.default is True:
        long = f"{long}/--no-{long[2:]}"
    shown = "" if one.default in {MISSING, None, ()} or isinstance(one.default, bool) else f" [{one.default}]"
    return typer.Option(
        *(name for name in (long, said["short"]) if name),
        metavar=said["metavar"],
        help=said["help"] + shown,
        autocompletion=completion(said["choices"]) if said["choices"] else None,
        rich_help_panel=said["panel"],
    )


def words(record: Any) -> list[str]:
    """Return the command line of what a *record* has other than its defaults."""
    line = []
    for one in _settings(record):
        value = getattr(record, one.name)
        if value not in {one.default, None}:
            name = one.metadata["long"] or f"--{one.name.replace('_', '-')}"
            line += [word for each in (value if isinstance(value, tuple) else [value]) for word in (name, str(each))]
    return line


def completion(choices: Any) -> Callable[[str], list[Any]]:
    """Return what offers the *choices* that begin as a word, or as the last in a list with commas, does."""

    def complete(incomplete: str) -> list[Any]:
        found = choices() if callable(choices) else choices
        head, comma, last = incomplete.rpartition(",")
        names = [name for name in found if name.startswith(last)]
        offered = [head + comma + name for name in names]
        return list(zip(offered, map(found.get, names), strict=True)) if isinstance(found, dict) else offered

    return complete


class Command(Ended, TyperCommand):
    """A command whose help shows options by panel."""

    def panels(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Return the spelling and the help of each option, by panel."""
        panels: dict[str, list[tuple[str, str]]] = {name: [] for name in PANELS}
        for parameter in sorted(self.get_params(ctx), key=lambda one: one.param_type_name):  # arguments first
            if (line := parameter.get_help_record(ctx)) is not None:
                panels[getattr(parameter, "rich_help_panel", None) or "Talk"].append(line)
        return {name: lines for name, lines in panels.items() if lines}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, panel by panel."""
        panels = self.panels(ctx)
        width = 2 + min(formatter.width // 3, max(len(name) for lines in panels.values() for name, _ in lines))
        for panel, lines in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width - 2), text) for name, text in lines], col_max=width)


def in_options(text: str) -> str:
    """Return an error or a hint of the library, which speaks of keywords (``layout=HWC``), in options."""
    from poolcli.jobs import batch, executors, request, tree
    from poolcli.measure import request as bench
    from poolcli.measure import turns

    known = (
        bench.Asked,
        turns.Rules,
        batch.Settings,
        request.Output,
        request.Request,
        request.Storage,
        request.Levels,
        executors.Where,
        tree.Rules,
        Talk,
    )
    spelled = {
        one.name: one.metadata["short"] or f"--{one.name.replace('_', '-')}" for r in known for one in _settings(r)
    }

    def option(found: re.Match[str]) -> str:
        name, equals, true, value = found.groups()
        if name not in spelled or not (equals or "_" in name):
            return found[0]
        return spelled[name] + (" " if equals and value and not true else "")

    return re.sub(r"\b([a-z_]+)(?:(=)(True\b)?(?=(\S?))|\b)", option, text)
