"""The man page, made of what --help is made of; ``python tests/manual.py`` writes it again."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from typer.core import TyperGroup

from poolcli import __version__, errors
from poolcli.cli.app import BUG, COMMANDS, EXAMPLES
from poolcli.cli.app import app as program
from poolcli.core.methods import METHODS

PAGE = Path(__file__).parent.parent / "poolcli" / "poolcli.1"


def escaped(text):
    """Return text as roff shows it: nothing of it is a request, and a dash is the one that is typed."""
    shown = text.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(r"\&" + line if line[:1] in {".", "'"} else line for line in shown.split("\n"))


def block(lines):
    """Return lines as they stand."""
    return [".PP", f".nf\n{escaped(chr(10).join(lines))}\n.fi"]


def items(rows):
    return [f".TP\n.B {escaped(name)}\n{escaped(text)}" for name, text in rows]


def options(command):
    """Return the options of a command by panel, as its help does."""
    panels = command.panels(command.make_context(command.name, [], resilient_parsing=True))
    return [text for panel, rows in panels.items() for text in (f".PP\n.I {panel}", *items(rows))]


def commands():
    """Yield each command with its name, those of groups too."""
    for name in COMMANDS:
        made = getattr(import_module(f"poolcli.cli.{name}"), name)
        if not isinstance(made, TyperGroup):
            yield name, made
            continue
        for part, command in made.commands.items():
            yield f"{name} {part}", command


def section(name, command):
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(["poolcli", name, *command.collect_usage_pieces(context)]).replace("{INPUT...}", "INPUT...")
    return [
        f".SS poolcli {name}",
        escaped(command.help),
        *block([usage]),
        *options(command),
        *block(command.epilog.split("\n")),
    ]


def statuses():
    """Return the exit codes, from the errors that end with them."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PoolError)]
    found = {kind.exit_code: kind.__doc__.split("\n")[0] for kind in kinds if kind is not errors.PoolError}
    assert found[BUG]
    named = sorted(found.items())
    return [("0", "Done."), *((str(code), text) for code, text in named), ("128 + N", "Signal N ended it.")]


def page():
    """Return the whole page."""
    text = [
        f'.TH POOLCLI 1 "" "poolcli {__version__}" "User Commands"',
        ".SH NAME\npoolcli \\- pool images and tensors",
        ".SH SYNOPSIS\n.B poolcli\n.I COMMAND\n[OPTIONS] [ARGS]",
        f".SH DESCRIPTION\n{escaped(program.info.help)}",
        *items(COMMANDS.items()),
        ".SH COMMANDS",
        *(part for name, command in commands() for part in section(name, command)),
        ".SH METHODS",
        *items(
            (
                row.name + (row.parameter.form if row.parameter else ""),
                f"Each value is the {row.summary}: {row.formula}.",
            )
            for row in METHODS.values()
        ),
        ".SH EXIT STATUS",
        *items(statuses()),
        ".SH EXAMPLES",
        *block(EXAMPLES.split("\n")[1:])[1:],
    ]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
