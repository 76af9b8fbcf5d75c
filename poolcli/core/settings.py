"""What a field of a record of settings says of itself, once: for options, their help, completion and hints."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import TYPE_CHECKING, Any

from poolcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def setting(
    panel: str,
    help: str,
    *,
    default: Any = MISSING,
    short: str | None = None,
    long: str | None = None,
    metavar: str | None = None,
    choices: Iterable[str] | Callable[[], Iterable[str]] = (),
) -> Any:
    """Return a dataclass field; without *default* it must be given.

    Parameters
    ----------
    panel
        Where help shows it: Window, Input, Output, Picture, Run or Talk.
    help
        One sentence.
    default
        Shown in help, unless it is None or a bool.
    short
        One letter with its dash.
    long
        The long option, where it is not the field's name.
    metavar
        What the value is called; none for a flag.
    choices
        What completion offers, or what returns it; a mapping adds a summary to each.
    """
    said = {"help": help, "panel": panel, "short": short, "long": long, "metavar": metavar, "choices": choices}
    return field(metadata=said) if default is MISSING else field(default=default, metadata=said)


def settle(record: object, **parsers: Callable[[str], object]) -> None:
    """Replace each of these fields of a frozen *record* that is text by what its parser returns."""
    for name, parse in parsers.items():
        value = getattr(record, name)
        if isinstance(value, str):
            object.__setattr__(record, name, parse(value))


def number(name: str, value: object, kind: type[int | float], least: float) -> Any:
    """Return the finite number from *least* that *value*, a number or text, stands for.

    Raises
    ------
    UsageError
        It stands for none.
    """
    try:
        found = kind(str(value))
    except ValueError:
        found = -1
    if not least <= found < float("inf"):
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{name} must be {what} from {least}, got {value!r}")
    return found


def whole(name: str, value: object) -> int:
    """Return the number from 1 that *value*, an int or text such as ``500M`` or ``1G``, stands for.

    Raises
    ------
    UsageError
        It stands for none.
    """
    factors = {"K": 10**3, "M": 10**6, "G": 10**9}
    digits = str(value).strip().upper()
    factor = factors.get(digits[-1:], 1)
    digits = digits.removesuffix(digits[-1:]) if factor > 1 else digits
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18 or int(digits) < 1:
        raise UsageError(f"{name} must be a whole number from 1, with K, M or G, got {value!r}")
    return int(digits) * factor
