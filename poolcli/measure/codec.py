"""Frozen records as JSON and back, by their fields and type hints alone.

A field with ``flat`` in its metadata holds a record whose fields stand among those of its owner.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from poolcli.errors import InputError

WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a list",
    list: "a list",
    dict: "an object",
}


def encode(value: Any) -> Any:
    """Return *value*, of records, tuples, dicts and plain values, as `json` takes it."""
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if not is_dataclass(value):
        return value
    found: dict[str, Any] = {}
    for field in filter(attrgetter("init"), fields(value)):
        item = encode(getattr(value, field.name))
        found |= item if field.metadata.get("flat") else {field.name: item}
    return found


def decode(kind: Any, value: Any, name: str = "document") -> Any:
    """Return the *kind* of record that *value* encodes; what else stands in a dict is left out."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _record(kind, value, name)
    if origin is UnionType:  # with None
        return value if value is None else decode(arguments[0], value, name)
    if origin in {tuple, list} and isinstance(value, list):
        return origin(decode(arguments[0], item, name) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: decode(arguments[1], item, key) for key, item in value.items()}
    if kind is float and type(value) is int:
        value = float(value)
    if kind is Any or type(value) is kind or (origin is Literal and value in arguments):
        return value
    wanted = " or ".join(arguments) if origin is Literal else WORDS[origin or kind]
    raise InputError(f"{name} must be {wanted}, got {value!r}")


_hints = cache(get_type_hints)


def _record(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{name} must be {WORDS[dict]}, got {value!r}")
    hints, values = _hints(kind), {}
    for field in filter(attrgetter("init"), fields(kind)):
        if field.metadata.get("flat"):
            values[field.name] = _record(hints[field.name], value, name)
        elif field.name in value:
            values[field.name] = decode(hints[field.name], value[field.name], field.name)
        elif field.default is MISSING:
            raise InputError(f"{name} must have {field.name}")
    made = kind(**values)
    for key in values:
        full = encode(getattr(made, key))
        if hints[key] is Any and full != value[key]:  # no type says what it must be, but the record has read it
            raise InputError(f"{key} must be {full!r} in full, got {value[key]!r}")
    return made
