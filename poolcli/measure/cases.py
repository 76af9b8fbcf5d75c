"""Which cases a benchmark runs: the product of sizes, methods, windows, threads and rests."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial
from itertools import product, starmap
from typing import TYPE_CHECKING, Any, TypeVar

from poolcli.core.geometry import Window
from poolcli.core.layouts import Layout, resolve
from poolcli.core.settings import number
from poolcli.errors import PoolError, UsageError
from poolcli.jobs.naming import spelled
from poolcli.jobs.request import method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcli.core.axes import Plan
    from poolcli.core.pooling import Outline

T = TypeVar("T")

_NUMBERS = r"\d+(?:x\d+)*"
_TOKEN = re.compile(
    rf"k(?P<kernel>{_NUMBERS})(?:s(?P<stride>{_NUMBERS}))?(?:p(?P<padding>{_NUMBERS}))?"
    rf"(?:d(?P<dilation>{_NUMBERS}))?(?P<ceil>c)?"
)


@dataclass(frozen=True, slots=True)
class Size:
    """The shape, layout letters and NumPy dtype of an input; *input* names the file of one that is not synthetic."""

    shape: tuple[int, ...]
    layout: str
    dtype: str
    input: str | None = None

    @property
    def token(self) -> str:
        """The size as it is spelled on the command line, or the file's name."""
        short = re.sub(r"^(\w)\D+(?=\d)", r"\1", self.dtype)  # float32 is f32
        return self.input or f"{'x'.join(map(str, self.shape))}:{self.layout}:{short}"

    @property
    def axes(self) -> tuple[int, ...]:
        """Indices of the pooled axes."""
        return Layout(self.layout).pooled

    @property
    def pooled(self) -> tuple[int, ...]:
        """Lengths of the pooled axes."""
        return tuple(self.shape[i] for i in self.axes)

    @property
    def channels(self) -> int:
        """Number of channels, 1 without such an axis."""
        return dict(zip(self.layout, self.shape, strict=True)).get("C", 1)

    @property
    def planar(self) -> bool:
        """Whether the pooled axes are the last ones in memory."""
        return self.axes[-1] == len(self.layout) - 1

    @property
    def bytes(self) -> int:
        """Bytes of the input."""
        from poolcli.core import dtypes  # brings NumPy, which help does without

        return math.prod(self.shape) * dtypes.named(self.dtype).itemsize

    @property
    def pixels(self) -> int:
        """Positions: rows x columns x batch; channels do not count."""
        lengths = zip(self.shape, self.layout, strict=True)
        return math.prod(length for length, letter in lengths if letter != "C")


@dataclass(frozen=True, slots=True)
class Case:
    """What is pooled, and how: one line of the product; every contender of a case does the same work.

    Each run comes *rest* seconds after the call before.
    """

    size: Size = field(metadata={"flat": True})
    method: str
    window: Window = field(metadata={"flat": True})
    threads: int
    rest: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", self.window.over(len(self.size.pooled)))  # 3 is 3x3

    @property
    def token(self) -> str:
        """The case in one line, for people and for ``command`` in the JSON document."""
        return f"{self.method} {window_token(self.window)} {self.size.token} t{self.threads}{self.rested}"

    @property
    def rested(self) -> str:
        """How long it rests, for people; nothing where it does not."""
        return f" r{self.rest * 1e3:g}ms" if self.rest else ""

    @property
    def outline(self) -> Outline:
        """What pooling gives; `PoolError` when the window does not fit."""
        from poolcli.core import dtypes, pooling  # bring NumPy, which help does without

        size = self.size
        return pooling.outline(
            size.shape, dtypes.named(size.dtype), method(self.method), self.window, layout=size.layout
        )

    @property
    def plan(self) -> Plan:
        """The window resolved against the size."""
        return self.outline.plan

    @property
    def out(self) -> Size:
        """The size of the output: means of integers keep their dtype, as pictures do."""
        outline = self.outline
        kept = method(self.method).result == "mean"
        return Size(outline.shape, self.size.layout, self.size.dtype if kept else outline.dtype.name)

    @property
    def elements(self) -> int:
        """Elements of a window."""
        return math.prod(self.window.kernel)

    @property
    def bytes(self) -> int:
        """Bytes read and written, each once."""
        return self.size.bytes + self.out.bytes


def window_token(window: Window) -> str:
    """Return *window* as it is spelled in ``--window``; the stride is always given."""
    padding = window.padding
    if not isinstance(padding, str):
        padding = tuple(before if before == after else f"{before}+{after}" for before, after in padding)
    return (
        f"k{spelled(window.kernel)}s{spelled(window.stride)}"
        + (f"p{spelled(padding)}" if set(padding) != {0} else "")
        + (f"d{spelled(window.dilation)}" if set(window.dilation) != {1} else "")
        + "c" * window.ceil
    )


def _size(token: str) -> Size:
    from poolcli.core import dtypes  # brings NumPy, which help does without

    shape, *rest = token.split(":")
    hint = "for example 64x224x224:CHW:f32"
    if len(rest) > 2 or not re.fullmatch(r"\d+(x\d+)+", shape):
        raise UsageError(f"size must be SHAPE[:LAYOUT[:DTYPE]], got {token!r}", hint)
    lengths = tuple(map(int, shape.split("x")))
    layout, dtype = [*rest, "", ""][:2]
    try:
        size = Size(lengths, resolve(layout or None, lengths).letters, dtypes.named(dtype or "f32").name)
    except PoolError as error:
        raise UsageError(f"size {token!r}: {error.message}", hint) from error
    if 0 in lengths:
        raise UsageError(f"size must have no empty axis, got {token!r}")
    return size


def _window(token: str) -> Window:
    found = _TOKEN.fullmatch(token)
    if not found:
        hint = "kernel, then any of stride, padding, dilation and c for ceil, in this order"
        raise UsageError(f"window must look like k3, k3s2 or k3x2s1p1d2c, got {token!r}", hint)
    values: dict[str, Any] = found.groupdict()
    values["ceil"] = values["ceil"] is not None
    return Window(**{name: value for name, value in values.items() if value is not None})


def _method(token: str) -> str:
    method(token)
    return token


def _parsed(what: str, parse: Callable[[str], T], text: str) -> tuple[T, ...]:
    tokens = [token.strip() for token in text.split(",")]
    if not all(tokens):
        raise UsageError(f"{what} must be a comma separated list without gaps, got {text!r}")
    return tuple(dict.fromkeys(map(parse, tokens)))


# What the options of these names take: comma separated tokens, each once.
sizes = partial(_parsed, "size", _size)
windows = partial(_parsed, "window", _window)
methods = partial(_parsed, "method", _method)
threads = partial(_parsed, "threads", partial(number, "threads", kind=int, least=1))
rests = partial(_parsed, "rest", partial(number, "rest", kind=float, least=0))


def window_product(kernels: str, strides: str | None) -> tuple[Window, ...]:
    """Return the windows of ``-k`` and ``-s``: every kernel with every stride, or with its own."""
    pairs = product(_parsed("kernel", str, kernels), _parsed("stride", str, strides) if strides else (None,))
    return tuple(Window(kernel, stride) for kernel, stride in pairs)


def grid(
    sizes: Iterable[Size],
    methods: Iterable[str],
    windows: Iterable[Window],
    threads: Iterable[int],
    rests: Iterable[float] = (0.0,),
) -> tuple[Case, ...]:
    """Return every combination, sizes slowest and rests fastest."""
    return tuple(starmap(Case, product(sizes, methods, windows, threads, rests)))
