"""Which other libraries can do a case, by which call, and how closely they round: one table of adapters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from poolcli.core.layouts import Layout
from poolcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcli.measure.cases import Case

    Rule = Callable[[Case], str | None]  # why not, or None
    Rounding = Callable[[Case, float], float]  # case and largest magnitude of the input -> largest difference

EPSILON: dict[str, float] = {"float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
FLOATS = ("float32", "float64")
INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


class Library(NamedTuple):
    """A peer as ``--peers`` spells it: what is imported, what pip calls it, and how its threads are set."""

    name: str
    module: str
    distributions: tuple[str, ...]
    threads: str


_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
_LIBRARIES = (
    Library("torch", "torch", ("torch",), "torch.set_num_threads"),
    Library("onnxruntime", "onnxruntime", ("onnxruntime",), "SessionOptions.intra_op_num_threads"),
    Library("opencv", "cv2", _OPENCV, "cv2.setNumThreads"),
    Library("skimage", "skimage", ("scikit-image",), "one thread"),
    Library("scipy", "scipy", ("scipy",), "one thread"),
    Library("pillow", "PIL", ("pillow",), "one thread"),
    Library("numpy", "numpy", ("numpy",), "one thread"),
)

LIBRARIES = {library.name: library for library in _LIBRARIES}


# Windows and layouts


def _inside(case: Case) -> str | None:
    axes = case.plan.axes
    if all(axis.before == 0 and axis.span(axis.out - 1)[1] <= axis.length for axis in axes):
        return None
    return "no padding, no overhang"


def _undilated(case: Case) -> str | None:
    return None if set(case.window.dilation) == {1} else "no dilation"


def _blocks(case: Case) -> str | None:
    return None if case.window.kernel == case.window.stride else "only kernel = stride"


def _half_padding(case: Case) -> str | None:
    pads_fit = all(a.before == a.after and 2 * a.before <= a.reach for a in case.plan.axes)
    return None if pads_fit else "padding must be symmetric and at most half of the kernel"


def _floor(case: Case) -> str | None:
    return "no ceil" if case.window.ceil else None


def _several_channels(case: Case) -> str | None:
    return None if channels(case) > 1 else "one channel has one memory format"


def _few_channels(case: Case) -> str | None:
    few = planar(case) or channels(case) <= 128
    return None if few else "at most 128 channels"


def _picture(case: Case) -> str | None:
    plain = planar(case) or channels(case) in (1, 3)  # two and four would be weighted by alpha
    return None if plain else "1 or 3 channels"


def channels(case: Case) -> int:
    """Return the number of channels of *case*, 1 without such an axis."""
    found = case.size.layout.find("C")
    return case.size.shape[found] if found >= 0 else 1


def planar(case: Case) -> bool:
    """Return whether the pooled axes of *case* are the last ones in memory."""
    layout = Layout(case.size.layout)
    return layout.pooled[-1] == len(layout.letters) - 1


# Rounding


def _exact(_case: Case, _scale: float) -> float:
    return 0.0


def _recursive(case: Case, scale: float) -> float:
    """One term after the other in float32 (float64 for float64): n * eps * max|x|; n times that for a sum."""
    stored = EPSILON[case.size.dtype]
    elements: int = math.prod(case.window.kernel)
    bound = (stored + elements * min(stored, EPSILON["float32"])) * scale
    return bound * elements if case.method == "sum" else bound


def _running(case: Case, scale: float) -> float:
    """Add a running sum in float64 along each line to two roundings to the dtype of the output."""
    elements: int = math.prod(case.window.kernel)
    drift = (sum(case.size.pooled) + elements) * EPSILON["float64"]
    return (4 * EPSILON[case.size.dtype] + drift) * scale


def _levels(levels: float) -> Rounding:
    """Integers within *levels*; floats as by `_recursive`."""

    def rounding(case: Case, scale: float) -> float:
        return _recursive(case, scale) if case.size.dtype in EPSILON else levels

    return rounding


def _area(case: Case, scale: float) -> float:
    """Within one level; floats are multiplied by a reciprocal in float32, float64 too."""
    return _levels(1.0)(case, scale) + (EPSILON["float32"] * scale if case.size.dtype in EPSILON else 0.0)


def _truncating(case: Case, scale: float) -> float:
    """Integers are cut off on each of two axes."""
    return _running(case, scale) if case.size.dtype in EPSILON else 2.0


@dataclass(frozen=True, slots=True)
class Adapter:
    """A row of the table: one call of a library.

    Attributes
    ----------
    library
        A key of `LIBRARIES`.
    format
        The memory format that the input is brought to beforehand; empty when it is the case's own.
    method, dtypes, rules
        What it can do; a rule tells why it cannot.
    call
        The call, in the library's words.
    prepare
        The function of `adapters` that makes the call ready.
    rounding
        The largest difference from the exact value, rounded once, that the library's known way explains.
    reads
        Elements read (outputs times elements of the window) above which the call is too slow to be timed.
    slices
        The call strides by taking every s-th value of a result at stride 1.
    """

    library: str
    format: str
    rules: tuple[Rule, ...]
    reads: float
    slices: bool
    method: str
    dtypes: tuple[str, ...]
    call: str
    prepare: str
    rounding: Rounding

    @property
    def name(self) -> str:
        """The contender's name: library and memory format."""
        return f"{self.library} {self.format}".strip()

    def note(self, case: Case) -> str:
        """Return how the library does *case*."""
        sliced = self.slices and set(case.window.stride) != {1}
        return self.call + ", then every s-th value" * sliced


Row = tuple[str, tuple[str, ...], str, str, "Rounding"]


def _family(
    name: str, rules: tuple[Rule, ...], *rows: Row, reads: float = math.inf, slices: bool = False
) -> tuple[Adapter, ...]:
    library, _, memory = name.partition(" ")
    return tuple(Adapter(library, memory, rules, reads, slices, *row) for row in rows)


# About five seconds on two cores at the measured cost of a read: 0.9 ns in PyTorch, 10 ns in NumPy and LpPool.
_NAIVE, _SLOW = 5e9, 5e8

# in channels_last a plane's positions are counted in the input's dtype: "Expected input_depth * input_height * ..."
_LAST = ("int32", "int64", "float16", *FLOATS)
_CONTIGUOUS = ("uint8", "int8", "int16", *_LAST)
_CV = ("uint8", "uint16", "int16", *FLOATS)
_WITHIN = (_inside, _undilated)
_CV_WITHIN = (*_WITHIN, _few_channels)


def _torch(name: str, ordered: tuple[str, ...], *rules: Rule) -> tuple[Adapter, ...]:
    extremes = (
        ("max", ordered, "max_pool2d(out=)", "torch_max", _exact),
        ("min", ordered, "-max_pool2d(-x, out=)", "torch_min", _exact),
    )
    means = (
        ("avg", ("float16", *FLOATS), "avg_pool2d(out=)", "torch_avg", _recursive),
        ("sum", FLOATS, "avg_pool2d(divisor_override=1, out=)", "torch_sum", _recursive),
        ("l2", FLOATS, "sqrt(avg_pool2d(x * x, out=))", "torch_l2", _recursive),
    )
    return (
        *_family(name, (*rules, _half_padding), *extremes, reads=_NAIVE),
        *_family(name, (*rules, _half_padding, _undilated), *means, reads=_NAIVE),
    )


ADAPTERS = (
    *_torch("torch contiguous", _CONTIGUOUS),
    *_torch("torch channels_last", _LAST, _several_channels),
    *_family(
        "onnxruntime NCHW",
        (_floor,),
        ("max", ("uint8", "int8", *FLOATS), "MaxPool", "onnx_max", _exact),
        ("min", FLOATS, "-MaxPool(-x)", "onnx_min", _exact),
        ("avg", ("float32",), "AveragePool", "onnx_avg", _recursive),
        reads=_NAIVE,
    ),
    *_family(
        "onnxruntime NCHW",
        _WITHIN,
        ("l2", ("float32",), "LpPool / sqrt(n)", "onnx_l2", _recursive),
        reads=_SLOW,
    ),
    *_family(
        "opencv",
        (*_CV_WITHIN, _blocks),
        ("avg", _CV, "resize(INTER_AREA)", "opencv_area", _area),
        ("l2", FLOATS, "sqrt(resize(x * x, INTER_AREA))", "opencv_area_l2", _area),
    ),
    *_family(
        "opencv",
        _CV_WITHIN,
        ("max", _CV, "dilate", "opencv_dilate", _exact),
        ("min", _CV, "erode", "opencv_erode", _exact),
        ("avg", _CV, "blur", "opencv_blur", _levels(1.0)),
        ("sum", FLOATS, "boxFilter(normalize=False)", "opencv_sum", _recursive),
        ("l2", FLOATS, "sqrt(blur(x * x))", "opencv_l2", _recursive),
        slices=True,
    ),
    *_family(
        "skimage",
        (*_WITHIN, _blocks),
        ("max", (*INTEGERS, *EPSILON), "block_reduce(func=max)", "skimage_max", _exact),
        ("min", (*INTEGERS, *EPSILON), "block_reduce(func=min)", "skimage_min", _exact),
        ("avg", (*INTEGERS, *FLOATS), "block_reduce(func=mean), integers to float64", "skimage_mean", _levels(0.5)),
        ("sum", FLOATS, "block_reduce(func=sum)", "skimage_sum", _recursive),
    ),
    *_family(
        "scipy",
        _WITHIN,
        ("max", (*INTEGERS, *FLOATS), "maximum_filter(output=)", "scipy_max", _exact),
        ("min", (*INTEGERS, *FLOATS), "minimum_filter(output=)", "scipy_min", _exact),
        ("avg", (*INTEGERS, *FLOATS), "uniform_filter(output=)", "scipy_mean", _truncating),
        ("l2", FLOATS, "sqrt(uniform_filter(x * x, output=))", "scipy_l2", _running),
        slices=True,
    ),
    *_family(
        "pillow",
        (*_WITHIN, _blocks, _picture),
        ("avg", ("uint8",), "Image.reduce, 4 bytes a pixel in RGB", "pillow_reduce", _levels(1.0)),
    ),
    *_family(
        "numpy",
        (_inside,),
        ("max", (*INTEGERS, *EPSILON), "sliding_window_view(x).max(out=)", "numpy_max", _exact),
        ("min", (*INTEGERS, *EPSILON), "sliding_window_view(x).min(out=)", "numpy_min", _exact),
        ("avg", FLOATS, "sliding_window_view(x).mean(out=)", "numpy_mean", _recursive),
        ("avg", INTEGERS, "rint(sliding_window_view(x).mean(out=float64))", "numpy_rounded_mean", _exact),
        ("sum", FLOATS, "sliding_window_view(x).sum(out=)", "numpy_sum", _recursive),
        ("sum", INTEGERS, "sliding_window_view(x).sum(out=)", "numpy_sum", _exact),
        ("l2", FLOATS, "sqrt(sliding_window_view(x * x).mean(out=))", "numpy_l2", _recursive),
        reads=_SLOW,
    ),
)


class Offer(NamedTuple):
    """What a peer can do with a case: the row that does it, or the reason why none does."""

    name: str
    adapter: Adapter | None
    reason: str


def offers(case: Case, libraries: Iterable[Library]) -> tuple[Offer, ...]:
    """Return, for each contender of *libraries* in the order of the table, what it can do with *case*."""
    wanted = {library.name for library in libraries}
    names = dict.fromkeys(row.name for row in ADAPTERS if row.library in wanted)
    return tuple(_offer(name, case) for name in names)


def _offer(name: str, case: Case) -> Offer:
    rows = [row for row in ADAPTERS if row.name == name and row.method == case.method]
    if not rows:
        return Offer(name, None, f"no {case.method}")
    rows = [row for row in rows if case.size.dtype in row.dtypes]
    if not rows:
        return Offer(name, None, f"no {case.method} of {case.size.dtype}")
    reason = ""
    for row in rows:
        reason = next((why for rule in row.rules if (why := rule(case))), "") or _too_slow(row, case)
        if not reason:
            return Offer(name, row, "")
    return Offer(name, None, reason)


def _too_slow(row: Adapter, case: Case) -> str:
    reads = math.prod(case.out.shape) * math.prod(case.window.kernel)
    return f"too slow: {reads:.1e} reads of at most {row.reads:.0e}" if reads > row.reads else ""


def installed(library: Library) -> bool:
    """Return whether *library* can be imported, without importing it."""
    return find_spec(library.module) is not None


def select(text: str) -> tuple[Library, ...]:
    """Parse ``--peers``: ``auto`` is every peer installed, ``none`` is none, else a comma separated list.

    Raises
    ------
    UsageError
        A name is not a peer's, or the peer is not installed.
    """
    if text == "none":
        return ()
    if text == "auto":
        return tuple(library for library in _LIBRARIES if installed(library))
    return tuple(dict.fromkeys(map(_named, text.split(","))))


def _named(token: str) -> Library:
    library = LIBRARIES.get(token.strip())
    if library is None:
        raise UsageError(f"peers must be auto, none or some of {', '.join(LIBRARIES)}, got {token.strip()!r}")
    if not installed(library):
        raise UsageError(
            f"peer {library.name!r} must be installed", f"pip install {library.distributions[0]}, or --peers auto"
        )
    return library
