"""Which other libraries are timed beside poolcli, and what they can do with a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from poolcli.errors import UsageError
from poolcli.measure import filters, networks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from poolcli.measure.calls import Call
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


# A new peer is a row here, and beside its set-up functions a table of its calls.
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
_ROWS = (
    Library("torch", "torch", ("torch",), networks.TORCH),
    Library("onnxruntime", "onnxruntime", ("onnxruntime",), networks.ONNXRUNTIME, needs=("onnx",)),
    Library("opencv", "cv2", _OPENCV, filters.OPENCV),
    Library("skimage", "skimage", ("scikit-image",), filters.SKIMAGE),
    Library("scipy", "scipy", ("scipy",), filters.SCIPY),
    Library("pillow", "PIL", ("pillow",), filters.PILLOW),
    Library("numpy", "numpy", ("numpy",), filters.NUMPY),
)

LIBRARIES = {row.name: row for row in _ROWS}


class Offer(NamedTuple):
    """What a peer can do with a case: the call that does it, or the reason why none does."""

    name: str
    call: Call | None
    reason: str = ""


def offers(case: Case, libraries: Iterable[Library]) -> Iterator[Offer]:
    """Yield what each of *libraries*, in each of its memory formats, can do with *case*."""
    for library in libraries:
        for form in dict.fromkeys(call.form for call in library.calls):
            offer = _offer(f"{library.name} {form}".strip(), [c for c in library.calls if c.form == form], case)
            lacking = library.lacking if offer.call else ""
            yield Offer(offer.name, None, f"{lacking} must be installed") if lacking else offer


def _offer(name: str, calls: list[Call], case: Case) -> Offer:
    calls = [call for call in calls if call.method == case.method]
    if not calls:
        return Offer(name, None, f"no {case.method}")
    reasons = [(call.unable(case), call) for call in calls if case.size.dtype in call.dtypes]
    able = next((call for reason, call in reasons if not reason), None)
    reason = reasons[-1][0] if reasons else f"no {case.method} of {case.size.dtype}"
    return Offer(name, able, "" if able else reason)


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
        return tuple(library for library in LIBRARIES.values() if library.installed)
    return tuple(dict.fromkeys(map(_named, text.split(","))))


def _named(token: str) -> Library:
    library = LIBRARIES.get(token.strip())
    if library is None:
        raise UsageError(f"peers must be auto, none or some of {', '.join(LIBRARIES)}, got {token.strip()!r}")
    if not library.installed or library.lacking:
        package = library.lacking if library.installed else library.distributions[0]
        raise UsageError(
            f"peer {library.name!r} must be installed" + f" with {package}" * library.installed,
            f"pip install {package}, or --peers auto",
        )
    return library
