"""How an ONNX model of a few nodes is written down, so that onnxruntime needs no `onnx` package beside it.

The numbers are the fields of ``onnx.proto3``: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Value = int | float | list[int]

IR_VERSION = 10
OPSET = 21
ELEMENT = {"float32": 1, "uint8": 2, "int8": 3, "float64": 11}
_FLOAT, _INT, _INTS = 1, 2, 7  # AttributeProto.AttributeType


class Node(NamedTuple):
    """An operator with its inputs, its one output and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Value]


def model(nodes: Iterable[Node], dtype: str, shape: Sequence[int], out: Sequence[int]) -> bytes:
    """Return a model from ``x`` of *shape* to ``y`` of shape *out*, both of *dtype*."""
    graph = b"".join(
        (
            *(_field(1, _node(node)) for node in nodes),
            _field(2, b"pooling"),
            _field(11, _tensor("x", dtype, shape)),
            _field(12, _tensor("y", dtype, out)),
        )
    )
    return _field(1, IR_VERSION) + _field(7, graph) + _field(8, _field(2, OPSET))


def _field(number: int, value: int | float | bytes) -> bytes:  # noqa: PYI041 -- ints and floats differ on the wire
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _node(node: Node) -> bytes:
    return b"".join(
        (
            *(_field(1, name.encode()) for name in node.inputs),
            _field(2, node.output.encode()),
            _field(4, node.operator.encode()),
            *(_field(5, _attribute(name, value)) for name, value in node.attributes.items()),
        )
    )


def _attribute(name: str, value: Value) -> bytes:
    head = _field(1, name.encode())
    if isinstance(value, float):
        return head + _field(2, value) + _field(20, _FLOAT)
    if isinstance(value, int):
        return head + _field(3, value) + _field(20, _INT)
    return head + b"".join(_field(8, item) for item in value) + _field(20, _INTS)


def _tensor(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    lengths = b"".join(_field(1, _field(1, length)) for length in shape)
    tensor = _field(1, ELEMENT[dtype]) + _field(2, lengths)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))
