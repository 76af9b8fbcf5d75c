"""Which other libraries are timed beside poolcli, and what they can do with a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from poolcli.errors import UsageError
from poolcli.measure import filters, networks
from poolcli.measure.calls import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from poolcli.measure.cases import Case


@dataclass(frozen=True, slots=True)
class Library:
    """A peer as ``--peers`` spells it: what is imported, what pip calls it, its calls, and packages they need."""

    name: str
    module: str
    distributions: tuple[str, ...]
    calls: tuple[Call, ...] = field(repr=False)
    needs: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether it can be imported, which is not done to tell."""
        return find_spec(self.module) is not None

    @property
    def lacking(self) -> str:
        """The first of the packages that its calls need and that are not installed."""
        return next((name for name in self.needs if find_spec(name) is None), "")


# A new peer is a row here, whose calls stand beside the functions that make them ready; a new call is a row there.
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
_ROWS = (
    Library("torch", "torch", ("torch",), networks.TORCH),
    Library("onnxruntime", "onnxruntime", ("onnxruntime",), networks.ONNXRUNTIME, needs=("onnx",)),
    Library("openvino", "openvino", ("openvino",), networks.OPENVINO),
    Library("halide", "halide", ("halide",), filters.HALIDE),
    Library("fast_image_resize", "cykooz_resizer", ("cykooz-resizer",), filters.RESIZE),
    Library("opencv", "cv2", _OPENCV, filters.OPENCV),
    Library("skimage", "skimage", ("scikit-image",), filters.SKIMAGE),
    Library("scipy", "scipy", ("scipy",), filters.SCIPY),
    Library("pillow", "PIL", ("pillow",), filters.PILLOW),
    Library("numpy", "numpy", ("numpy",), filters.NUMPY),
)

LIBRARIES = {row.name: row for row in _ROWS}


def offers(case: Case, libraries: Iterable[Library], also: Sequence[str] = ()) -> dict[str, Call | str]:
    """Return the call for *case* of each of *libraries*, in each of its memory formats, or why there is none.

    *also* names `ways` of which those follow that a library has.
    """
    found: dict[str, Call | str] = {}
    for library in libraries:
        for form, way in dict.fromkeys((call.form, call.way) for call in library.calls if call.way in {"", *also}):
            offer = _offer([call for call in library.calls if (call.form, call.way) == (form, way)], case)
            lacking = library.lacking if isinstance(offer, Call) else ""
            name = " ".join(filter(None, (library.name, form, way)))
            found[name] = f"{lacking} must be installed" if lacking else offer
    return found


def _offer(calls: list[Call], case: Case) -> Call | str:
    calls = [call for call in calls if call.method == case.method]
    if not calls:
        return f"no {case.method}"
    reasons = [(call.unable(case), call) for call in calls if case.size.dtype in call.dtypes]
    last = reasons[-1][0] if reasons else f"no {case.method} of {case.size.dtype}"
    return next((call for reason, call in reasons if not reason), last)


def select(text: str) -> tuple[Library, ...]:
    """Parse ``--peers``: ``auto`` is every peer installed, ``none`` is none, else a comma separated list."""
    if text == "none":
        return ()
    if text == "auto":
        return tuple(library for library in LIBRARIES.values() if library.installed)
    return tuple(dict.fromkeys(map(_named, text.split(","))))


def _named(token: str) -> Library:
    library = LIBRARIES.get(token.strip())
    if library is None:
        raise UsageError(f"peers must be auto, none or some of {', '.join(LIBRARIES)}, got {token.strip()!r}")
    missing = library.lacking if library.installed else library.distributions[0]
    if missing:
        what = f"peer {library.name!r} must be installed" + f" with {missing}" * library.installed
        raise UsageError(what, f"pip install {missing}, or --peers auto")
    return library
