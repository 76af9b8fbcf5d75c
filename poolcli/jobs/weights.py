"""What counts of an input: its own nodata value, and what the files beside it weigh."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from poolcli.core import layouts
from poolcli.jobs.request import held

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.core.missing import Missing
    from poolcli.jobs.request import Request
    from poolcli.media.formats import Header


def missing(request: Request, header: Header) -> Missing:
    """Return what is missing: what was asked for, or the file's own nodata value."""
    asked = request.missing
    return asked if asked.nodata or header.nodata is None else replace(asked, nodata=header.nodata)


def weights(request: Request, shape: tuple[int, ...], layout: str | None) -> NDArray[Any] | None:
    """Return what each element of an array weighs by the files that were named, or None where each weighs one."""
    from poolcli.core.missing import combined, within

    if not request.weighs:
        return None
    resolved = layouts.resolve(layout, shape)
    mask, factors = (None if name is None else held(name) for name in (request.mask, request.weights))
    found = combined(factors, mask, shape, resolved.pooled)
    if request.lengths is None:
        return found
    lasting = within(held(request.lengths), resolved, shape)
    return lasting if found is None else found * lasting
