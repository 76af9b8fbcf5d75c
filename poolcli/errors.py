"""Every error a user can cause, with the exit code it ends the command line with."""

from __future__ import annotations

import warnings
from threading import get_ident
from typing import ClassVar, Self


class PoolError(ValueError):
    """A request that cannot be met: what, which rule, which value; *hint* says what to do."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.trace = ""  # where it came from, kept as text where the error outlives its frames
        if hint:
            self.add_note(hint)

    def about(self, name: str) -> Self:
        """Return the same error, naming the file or option it is about."""
        return type(self)(f"{name}: {self.message}", self.hint)


class UsageError(PoolError):
    """The command line, or the plan over names alone, is refused; nothing was read or written."""


class InputError(PoolError):
    """An input could not be used; the others are done."""

    exit_code = 3


class OutputError(PoolError):
    """An output could not be written; it has its old content or does not exist."""

    exit_code = 4


class LimitError(PoolError):
    """A limit was reached, or memory ran out."""

    exit_code = 5


class DifferenceError(PoolError):
    """A result is not what was expected."""

    exit_code = 6


class BugError(PoolError):
    """A defect of poolcli that one input of many brought to light."""

    exit_code = 70


class PoolWarning(UserWarning):
    """Something works less well than it could; results are right all the same."""


_heard: dict[int, list[str]] = {}  # by thread


class heard:  # noqa: N801 -- it reads as a verb; a generator's frame takes longer than pooling something small
    """Collect what the body warns of, on this thread; it is a Python warning all the same."""

    def __enter__(self) -> list[str]:
        said = _heard[get_ident()] = []
        return said

    def __exit__(self, *_: object) -> None:
        del _heard[get_ident()]


_warned: set[str] = set()


def warn_once(message: str, why: object = "") -> None:
    """Warn of *message*, and *why*, the first time."""
    if message not in _warned:
        _warned.add(message)
        said = f"{message}: {why}" if why else message
        _heard.get(get_ident(), []).append(said)
        warnings.warn(said, PoolWarning, stacklevel=4)
