"""What an output was made of and by, kept with it: in a PNG's text, a TIFF's description, or FILE.json beside it."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from poolcli import __version__
from poolcli.core.geometry import Window
from poolcli.core.methods import Method
from poolcli.errors import DifferenceError, InputError, LimitError, PoolError, UsageError
from poolcli.jobs import naming, runner
from poolcli.jobs.naming import Job
from poolcli.jobs.records import SCHEMA
from poolcli.jobs.request import Request
from poolcli.media import contents, files, formats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolcli.media.files import Product

FREE = ("engine", "threads", "max_memory")  # what changes no value
SIDES = ("mask", "weights", "lengths")  # files that are read beside the input


def check(jobs: Sequence[Job]) -> None:
    """Refuse outputs that no receipt can stay with, or whose receipt would replace a file."""
    for job in jobs:
        format_ = job.format or formats.by_suffix(str(job.output))
        if job.skip is not None or format_ in contents.noting():
            continue
        if job.output is None:
            raise UsageError("receipt must be of an output, got none")
        if job.output == "-":
            if format_ is not None:  # else it is told by the content
                raise _placeless(format_.name)
            continue
        place = _beside(str(job.output))
        naming.check([replace(job, output=place)], kinds="", twins="")
        if naming.found(place) is not None and not job.force:
            raise UsageError(f"{files.shown(place)}: output exists", "exists=overwrite")


def _placeless(format_: str) -> UsageError:
    more = "format=png or tiff, or output=FILE"
    return UsageError(f"receipt must be in what stdout is given, as PNG and TIFF hold one, got {format_}", more)


@dataclass(frozen=True, slots=True)
class Writer:
    """Reads and writes as `files` does, or *put*, and writes the output of *job* with its receipt."""

    job: Job
    request: Request
    command: str
    put: Callable[..., int] = files.write
    seen: dict[str, str] = field(default_factory=dict)  # hashes of what was read: stdin is read once

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        data = files.read(name)
        self.seen[name] = _hash(data)
        return data

    def __call__(self, name: str, buffers: Product, **how: Any) -> int:
        """Write and return the number of bytes."""
        if name != self.job.output:
            return self.put(name, buffers, **how)
        if callable(buffers):
            raise LimitError("receipt must be of what is held in memory", "max_memory=")
        data = b"".join(buffers)
        text = json.dumps(self.receipt(data), allow_nan=False)
        noted = contents.noted(data, text)
        if noted is None and name == "-":
            raise _placeless(formats.sniff(data[:512]).name)
        if noted is None:
            self.put(_beside(name), [text.encode() + b"\n"], **how)
        return self.put(name, [noted or data], **how)

    def receipt(self, data: bytes) -> dict[str, Any]:
        """Return what the output *data*, still without it, was made of; paths start where the output is."""
        job, request = self.job, self.request
        named = [getattr(request, name) for name in SIDES] + [request.method.token.partition(":")[2]]
        beside = named if request.method.weighs else named[:-1]
        return {
            "schema": SCHEMA,
            "version": __version__,
            "command": self.command,
            "input": self._file(job.input),
            "beside": [self._file(name) for name in beside if name is not None],
            "output": {
                "format": job.format and job.format.name,
                "level": job.level,
                "several": job.several,
                "sha256": _hash(data),
            },
            "request": {name: value for name, value in _plain(request).items() if name not in FREE},
        }

    def _file(self, name: str) -> dict[str, str]:
        place = name if name == "-" else os.path.relpath(name, os.path.dirname(str(self.job.output)) or ".")
        return {"name": name, "place": place, "sha256": self.seen.get(name) or _hash(files.read(name))}


def read(name: str, data: bytes | None = None) -> dict[str, Any] | None:
    """Return the receipt of a file, whose content may be given, or None."""
    text = contents.note(files.read(name) if data is None else data)
    try:
        found = json.loads(text if text is not None else files.read(_beside(name)))
        return found if found["schema"] == SCHEMA and found["request"] and found["input"]["place"] else None
    except (InputError, ValueError, KeyError, TypeError):
        return None


def verify(name: str, free: Request) -> None:
    """Make a file again, by the engine and threads of *free*.

    Raises
    ------
    InputError
        There is no receipt, or no input any more.
    DifferenceError
        The input, or what comes of it, is not what it was.
    """
    data = files.read(name)
    receipt = read(name, data)
    if receipt is None:
        raise InputError("holds no receipt", "poolcli pool --receipt writes one")
    try:
        made, wanted, version = _again(receipt, name, free), receipt["output"]["sha256"], receipt["version"]
    except PoolError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError("holds a damaged receipt") from error
    if _hash(made) != wanted:
        by = "" if version == __version__ else f"; {version} made it, this is {__version__}"
        raise DifferenceError(f"output must be made again as it was, but it differs{by}")
    text = contents.note(data)
    if data != (made if text is None else contents.noted(made, text)):
        raise DifferenceError("output must be as it was made, but it was changed since")


def _again(receipt: dict[str, Any], name: str, free: Request) -> bytes:
    """Return the output *name* made again, without its receipt."""
    places, held = {}, {}
    for one in (receipt["input"], *receipt["beside"]):
        from_stdin = one["place"] == "-"
        places[one["name"]] = place = "-" if from_stdin else os.path.join(os.path.dirname(name), one["place"])
        held[place] = _read(place)
        if _hash(held[place]) != one["sha256"]:
            raise DifferenceError(f"{files.shown(place)} must be what it was, but its SHA-256 differs")
    asked, output = receipt["request"], receipt["output"]
    moved = {side: places.get(asked[side]) for side in SIDES} | {side: getattr(free, side) for side in FREE}
    method, colon, value = asked["method"].partition(":")
    moved["method"] = method + colon + places.get(value, value)
    try:
        format_ = None if output["format"] is None else formats.by_name(output["format"])
        request = _restored(Request, asked | moved)
    except UsageError as error:  # nobody has asked for it so
        raise ValueError(error.message) from error
    job = Job(places[receipt["input"]["name"]], name, format_, level=output["level"], several=output["several"])
    made: list[bytes] = []

    def keep(_: str, buffers: Product, **__: Any) -> int:
        held = io.BytesIO()
        if callable(buffers):
            buffers(held)
        else:
            held.writelines(buffers)
        made.append(held.getvalue())
        return len(made[-1])

    record, _ = runner.run(job, request, write=keep, read=held.__getitem__)
    if record.error is not None:
        raise record.error
    return made[0]


def _read(place: str) -> bytes:
    try:
        return files.read(place)
    except InputError as error:
        raise error.about(files.shown(place)) from error


def _beside(name: str) -> str:
    return f"{name}.json"


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(value: Any) -> Any:
    """Return *value*, a record of settings or a field of one, in the types of JSON."""
    if isinstance(value, Method):
        return value.token
    if is_dataclass(value):
        values = value.asked() if isinstance(value, Window) else {f.name: getattr(value, f.name) for f in fields(value)}
        return {name: _plain(one) for name, one in values.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _restored(kind: Any, values: dict[str, Any]) -> Any:
    """Return the record of *values* that `_plain` gave."""
    nested = {one.name: one.default_factory for one in fields(kind) if one.default_factory is not MISSING}
    return kind(**{name: _restored(nested[name], v) if name in nested else _tuple(v) for name, v in values.items()})


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
