"""What else poolcli does in a case, as rows beside: what masks, weights, indices and alpha cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from poolcli.core import pooling
from poolcli.core.dtypes import named
from poolcli.errors import UsageError
from poolcli.jobs.request import method
from poolcli.measure.calls import Call, Prepared, exact, touched

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcli.measure.calls import Array
    from poolcli.measure.cases import Case


class Way(NamedTuple):
    """A way of pooling: what it is, where it can be, and its call, whose values are those of pooling as usual."""

    words: str
    fits: Callable[[Case], bool]
    prepare: Callable[[Array, Case, dict[str, Any]], Prepared]


def ours(engine: str, way: str = "") -> Call:
    """Return the call of poolcli with *engine*, which is exact, as usual or in a *way*."""

    def prepare(array: Array, case: Case) -> Prepared:
        size = case.out
        how: dict[str, Any] = {
            "out": touched(size.shape, size.dtype),
            "layout": size.layout,
            "dtype": named(size.dtype),
            "engine": engine,
            "threads": case.threads,
        }
        return WAYS[way].prepare(array, case, how) if way else _plain(array, case, how)

    return Call("", (), WAYS[way].words if way else "", prepare, exact)


def _plain(array: Array, case: Case, how: dict[str, Any]) -> Prepared:
    call = partial(pooling.run, array, method(case.method), case.window, **how)
    return Prepared(call, lambda _: how["out"])


def _masked(array: Array, case: Case, how: dict[str, Any]) -> Prepared:
    return _plain(array, case, how | {"weights": np.ones(array.shape, bool)})


def _weighed(array: Array, case: Case, how: dict[str, Any]) -> Prepared:
    shape = [length if axis in case.size.axes else 1 for axis, length in enumerate(array.shape)]
    return _plain(array, case, how | {"weights": np.ones(shape)})


def _indexed(array: Array, case: Case, how: dict[str, Any]) -> Prepared:
    call = partial(pooling.run, array, method(case.method), case.window, also=("indices",), **how)
    return Prepared(call, lambda done: at(array, done.also["indices"], case))


def at(array: Array, indices: Array, case: Case) -> Array:
    """Return the values of *array* at *indices* in their planes."""
    axes = case.size.axes
    rest = [axis for axis in range(array.ndim) if axis not in axes]
    planes = array.transpose(*rest, *axes).reshape(*(array.shape[axis] for axis in rest), -1)
    places = indices.transpose(*rest, *axes).reshape(*planes.shape[:-1], -1)
    found = np.take_along_axis(planes, places, -1).reshape([indices.shape[axis] for axis in (*rest, *axes)])
    return np.asarray(found.transpose(np.argsort([*rest, *axes])))


def _seen(array: Array, case: Case, how: dict[str, Any]) -> Prepared:
    """Weigh colours by full alpha, which is as plain means are; of alpha itself there is the plain mean to see."""
    opaque, plain = array.copy(), how["out"].copy()
    opaque[..., -1] = np.iinfo(array.dtype).max
    pooling.run(array, method(case.method), case.window, **how | {"out": plain})
    call = partial(pooling.run, opaque, method(case.method), case.window, alpha=True, **how)
    return Prepared(call, lambda _: np.concatenate([how["out"][..., :-1], plain[..., -1:]], axis=-1))


def _has_alpha(case: Case) -> bool:
    size = case.size
    return size.layout == "HWC" and size.channels in {2, 4} and size.dtype in {"uint8", "uint16"}


WAYS = {
    "mask": Way("a mask of all elements", lambda _: True, _masked),
    "weights": Way("weights for all channels", lambda _: True, _weighed),
    "indices": Way("where values stand, too", lambda case: method(case.method).extreme, _indexed),
    "alpha": Way("colours weighed by alpha", lambda case: case.method == "avg" and _has_alpha(case), _seen),
}


def parsed(text: str) -> tuple[str, ...]:
    """Return the ways of a comma separated list; `UsageError` where there is no such."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in names if name not in WAYS]:
        raise UsageError(f"also must be some of {', '.join(WAYS)}, got {unknown[0]!r}")
    return names
