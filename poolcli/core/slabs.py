"""A slab of an array, and what steps ask of its windows: folds, counts, taps and order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.core import arrays, dtypes, kernels, means, recipes, taps
from poolcli.core.axes import ONE, Spans
from poolcli.core.methods import Fold
from poolcli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from poolcli.core.axes import Axis, Plan
    from poolcli.core.engines import Ready

    Array = NDArray[Any]


@dataclass(frozen=True)
class Slab:
    """Some planes of an array and the outputs [first, last) of its outermost pooled axis.

    Attributes
    ----------
    x
        (planes, pooled axes ..., channels), native; of the outermost axis what the outputs read, from *low* on.
    plan, ready
        The windows, and the engine that folds.
    seed, plane
        What random choices follow from, and the number of the first plane in the whole array.
    weights
        Of each element, broadcasting to x; bool where each counts once or not at all.
    into, rounding
        Where results go, of what type, and how they are converted to it.
    channels
        Where these are not all: how many the whole array has, and the numbers of these.
    alpha
        Whether the last channel weighs the others in means.
    """

    x: Array
    plan: Plan
    ready: Ready
    first: int
    last: int
    low: int
    plane: int = 0
    seed: int = 0
    weights: Array | None = None
    into: Array | None = None
    rounding: str = "even"
    channels: tuple[int, Array] | None = None
    alpha: bool = False

    @property
    def outs(self) -> tuple[int, ...]:
        """Output positions of each pooled axis."""
        return (self.last - self.first, *self.plan.out[1:])

    @cached_property
    def real(self) -> Array:
        """The values as float64."""
        return self.x.astype(np.float64, copy=False)

    @property
    def exact(self) -> Array:
        """The values in a type whose sums are exact, or float64."""
        return self.x if self.x.dtype.kind in "biu" and self.x.dtype.itemsize < 8 else self.real

    def weighed(self, values: Array) -> Array:
        """Return *values* times their weights; what weighs nothing is zero, even if it is NaN or infinite."""
        if self.weights is None:
            return values
        once = self.weights.dtype == bool
        product = values * (self.weights if once else self.weights.astype(np.float64, copy=False))
        if product.dtype.kind == "f":
            np.copyto(product, 0, where=self.weights == 0)
        return np.asarray(product)

    def known(self, values: Array, combine: str) -> Array:
        """Return *values*, the identity of *combine* in place of those that weigh nothing."""
        if self.weights is None:
            return values
        blank = arrays.identity(getattr(kernels, combine), values.dtype)
        return means.chosen(self, values, blank)

    @cached_property
    def weighs(self) -> Array:
        """Whether each element weighs something, where there are weights."""
        weights = np.ones(1) if self.weights is None else self.weights
        return weights if weights.dtype == bool else np.asarray(weights > 0)

    # Folds.

    def add(self, values: Array) -> Array:
        """Return the sum of *values* over each window, each times its weight."""
        return self.fold("add", self.weighed(values))

    def larger(self, values: Array) -> Array:
        """Return the largest of *values* in each window; the lowest of the type where there is none."""
        return self.fold("larger", self.known(values, "larger"))

    def smaller(self, values: Array) -> Array:
        """Return the smallest of *values* in each window; the highest of the type where there is none."""
        return self.fold("smaller", self.known(values, "smaller"))

    def mean(self, values: Array) -> Array:
        """Return the sum of *values* over each window by the plan's divisor."""
        found = means.mean(self, values)
        if found is not None:
            return found[0]
        whole = values.dtype.kind in "biu" and values.dtype.itemsize < 8
        quotient: Array = np.divide(self.add(values if whole else values.astype(np.float64, copy=False)), self.divisor)
        return quotient

    def seen(self) -> Array:
        """Return the mean of colours weighed by alpha, plain where there is none of it, and the plain mean of alpha."""
        found = means.seen(self)
        if found is not None:
            return found
        plain, alpha = replace(self, alpha=False, into=None), self.x[..., -1:]
        weights = alpha if self.weights is None else alpha * self.weights.astype(np.float64)
        whole, weighed = plain.mean(self.x), replace(plain, weights=weights)
        result = np.where(weighed.there, weighed.mean(self.x), whole)
        result[..., -1:] = whole[..., -1:]
        return result

    @cached_property
    def folded(self) -> tuple[Array, Array] | None:
        """Weighted means, where they go if they can be rounded so, and where there are any; if a kernel can."""
        return means.mean(self, self.x, stored=True)

    def moments(self) -> Array:
        """Return the population variance of each window, of parts that are merged.

        Values go in two: sums of the first 24 bits, and their products with counts, are exact where all are alike, so
        that noise about a large mean is not lost.
        """
        high = (self.real.view(np.int64) & -(2**29)).view(np.float64)
        parts = (self.weighed(part) for part in (np.ones_like(high), high, self.real - high))
        held = np.stack([*parts, np.zeros_like(high)], axis=-1)
        merged = self.fold("moments", held.reshape(*self.x.shape[:-1], -1))
        count, _, low, squares = (merged[..., part::4] for part in range(4))
        spread = squares + 0 * low  # of infinities there is none
        found: Array = np.divide(spread, count, out=np.zeros_like(count), where=count > 0)
        return found

    def product(self) -> Array:
        """Return the product of each window; of integers exact, or refused where it might pass 64 bits."""
        real = self.known(self.real, "multiply")
        if self.x.dtype.kind == "f":
            return self.fold("multiply", real)
        wide = self.known(self.x.astype(dtypes.summed(self.x.dtype)), "multiply")
        limit = 2.0**63 if self.x.dtype.kind == "i" else 2.0**64
        if (np.abs(self.fold("multiply", real)) > limit * (1 - 1e-9)).any():
            raise InputError("products must fit in 64 bits", 'dtype="float64" of the input keeps their magnitude')
        return self.fold("multiply", wide)

    def fold(self, combine: str, values: Array) -> Array:
        """Return *values*, of the shape of x but for its channels, folded over each window."""
        if not self.plan.regular:
            return self._fold_spans(getattr(kernels, combine), values)
        tasks = _tasks(combine, np.dtype(values.dtype), self.plan, len(values), values.shape[-1])
        return fold_axes(self, tasks, [self.ready.folder(task) for task in tasks], values, None)

    def _fold_spans(self, step: Any, values: Array) -> Array:
        exact = values.dtype.kind == "f" or not step.additive
        shared = any(isinstance(axis, Spans) and axis.shares for axis in self.plan.axes)
        folded = values if exact else values.astype(np.float64 if shared else dtypes.summed(values.dtype))
        blank = arrays.identity(step, folded.dtype)
        for number, axis in enumerate(self.plan.axes):
            spans, shares = self._spans(number, axis)
            folded = arrays.fold_spans(folded, 1 + number, spans, shares if step.additive else None, step.ufunc, blank)
        return folded

    def _spans(self, number: int, axis: Axis) -> tuple[Array, Array | None]:
        """Return where windows of an axis begin and end in x, and the shares of their first and last elements."""
        these, low = (slice(self.first, self.last), self.low) if number == 0 else (slice(None), 0)
        told = np.array([axis.span(o) for o in range(axis.out)[these]]) - low
        shares = axis.shares if isinstance(axis, Spans) else None
        return told, None if shares is None else np.array(shares[these])

    # Counts.

    @cached_property
    def count(self) -> Array:
        """What the elements of each window weigh together, by their shares; it broadcasts to the result."""
        if self.weights is not None:
            return self.fold("add", self.weights.astype(np.float64))
        return self.lying

    @cached_property
    def lying(self) -> Array:
        """Elements of each window that lie in the input, by their shares."""
        return self._product([self._counts(number, include_pad=False) for number in range(len(self.outs))])

    @cached_property
    def valid(self) -> Array:
        """Elements of each window that lie in the input and weigh something."""
        if self.weights is None:
            return self.touched
        if not self.shared:
            return self.count
        weighs = self.weights > 0
        if any(isinstance(axis, Spans) and axis.shares for axis in self.plan.axes):
            return np.asarray(self.gathered(weighs, fill=False).sum(0))
        return self.fold("add", weighs.astype(np.float64))

    @property
    def touched(self) -> Array:
        """Elements of each window that lie in the input, each as one."""
        return self._product([self.places(number)[1].sum(1) for number in range(len(self.outs))])

    @cached_property
    def there(self) -> Array:
        """Whether a window holds any element that weighs something."""
        if self.weights is None or not self.plan.regular:
            return self.valid > 0
        folded = vars(self).get("folded")
        return self.fold("larger", self.weighs.view(np.uint8)) > 0 if folded is None else folded[1]

    @property
    def divisor(self) -> Array | float:
        """What means divide by; 1 in place of 0."""
        if not isinstance(self.plan.divisor, str):
            return self.plan.divisor
        found = self.count
        if self.plan.divisor == "window":
            whole = self._product([self._counts(number, include_pad=True) for number in range(len(self.outs))])
            found = found + (whole - self.lying)
        return np.where(found > 0, found, 1.0)

    @property
    def elements(self) -> list[Array]:
        """How many elements each output's window holds along each axis."""
        return [self._counts(number, include_pad=False).astype(np.int64) for number in range(len(self.outs))]

    def _counts(self, number: int, *, include_pad: bool) -> Array:
        axis = self.plan.axes[number]
        these = slice(self.first, self.last) if number == 0 else slice(None)
        if not isinstance(axis, Spans):
            return arrays.divisors(axis, include_pad=include_pad)[these].astype(np.float64)
        spans, shares = self._spans(number, axis)
        counts = (spans[:, 1] - spans[:, 0]).astype(np.float64)
        if shares is None:
            return counts
        single = counts == 1
        return np.where(single, shares[:, 0], counts - 2 + shares.sum(1))

    def _product(self, each: list[Array]) -> Array:
        """Return the outer product of one vector for each pooled axis, as (1, outputs ..., 1)."""
        whole = np.ones(())
        for vector in each:
            whole = np.multiply.outer(whole, vector)
        return whole[None, ..., None]

    # Taps.

    def places(self, number: int) -> tuple[Array, Array]:
        """Return the element of x that each tap of each output lies on, along an axis, and whether there is one."""
        axis, low = self.plan.axes[number], self.low if number == 0 else 0
        outputs = np.arange(self.first, self.last) if number == 0 else np.arange(axis.out)
        taps = np.arange(axis.kernel)
        if not isinstance(axis, Spans):
            places = (outputs * axis.stride - axis.before)[:, None] + taps * axis.dilation - low
            return places, (places >= -low) & (places < axis.length - low)
        spans, _ = self._spans(number, axis)
        places = spans[:, :1] + taps
        return places, places < spans[:, 1:]

    def taps(self, values: Array, fill: Any) -> Iterator[Array]:
        """Yield, for each tap of the window in scan order, its value in every window; *fill* where it lies outside."""
        places = []
        for number in range(len(self.outs)):
            at, there = self.places(number)
            values = np.concatenate([values, np.full_like(values.take([0], 1 + number), fill)], axis=1 + number)
            places.append(np.where(there, at, values.shape[1 + number] - 1))

        def descend(number: int, held: Array) -> Iterator[Array]:
            if number == len(places):
                yield held
                return
            for tap in range(places[number].shape[1]):
                yield from descend(number + 1, held.take(places[number][:, tap], axis=1 + number))

        yield from descend(0, values)

    def filtered(self, window: Array) -> Array:
        """Return the sum of values times the *window* of weights, one for each tap."""
        values = self.weighed(self.real)
        found = taps.filtered(self, values, window)
        if found is not None:
            return found
        total = np.zeros((len(self.x), *self.outs, self.x.shape[-1]))
        for weight, tap in zip(window.flat, self.taps(values, 0.0), strict=True):
            total += weight * tap
        return total

    def separable(self, weights: list[Array]) -> Array:
        """Return the mean over the taps that are there, weighed by the product of *weights* of each axis."""
        held = self._along(self.weighed(self.real), weights)
        if self.weights is not None:
            whole = self._along(self.weights.astype(np.float64), weights)
        else:
            sums = [self.places(number)[1] @ factors for number, factors in enumerate(weights)]
            if all((each == 1).all() for each in sums):
                return held
            whole = self._product(sums)
        return np.divide(held, whole, out=np.zeros_like(held), where=whole > 0)

    def _along(self, values: Array, weights: list[Array]) -> Array:
        """Return the sum of *values* over the taps that are there, times *weights* of each axis, axis by axis."""
        for number, factors in enumerate(weights):
            found = taps.along(self, values, number, factors)
            values = self._summed(values, number, factors) if found is None else found
        return values

    def _summed(self, values: Array, number: int, factors: Array) -> Array:
        at, there = self.places(number)
        fewer: Any = 0.0
        for tap, factor in enumerate(factors):
            column, shape = np.where(there[:, tap], at[:, tap], 0), [1] * values.ndim
            shape[1 + number] = -1
            shares = factor * values.take(column, axis=1 + number)
            fewer = fewer + np.where(there[:, tap].reshape(shape), shares, 0)
        return np.asarray(fewer)

    # Order.

    def ordered(self, values: Array) -> Array:
        """Return the values of each window in order, (taps, planes, outputs ..., channels), those there first."""
        held = self.gathered(self.known(values, "smaller"), _highest(values.dtype))
        held.sort(axis=0)
        return held

    @property
    def shared(self) -> bool:
        """Whether elements weigh other than one or nothing, or lie in windows by a share."""
        parted = any(isinstance(axis, Spans) and axis.shares for axis in self.plan.axes)
        return parted or (self.weights is not None and self.weights.dtype != bool)

    def voted(self) -> tuple[Array, Array]:
        """Return the values of each window in order, and their votes, whole parts of shares."""
        held = self.gathered(self.known(self.x, "smaller"), _highest(self.x.dtype))
        weights = np.ones(self.x.shape) if self.weights is None else np.broadcast_to(self.weights, self.x.shape)
        order = held.argsort(axis=0, kind="stable")
        weighed = self.gathered(weights, 0.0) * self._tap_shares()
        return np.take_along_axis(held, order, 0), np.take_along_axis(weighed, order, 0)

    def _tap_shares(self) -> Array:
        """Return the parts of each tap in each window, (taps, 1, outputs ..., 1): whole, as shares would be rounded."""
        whole: Array = np.ones((1, 1))
        for number, axis in enumerate(self.plan.axes):
            at, there = self.places(number)
            shares = there.astype(np.float64)
            spans, ends = self._spans(number, axis)
            if ends is not None:
                shares *= np.where(at == spans[:, 1:] - 1, ends[:, 1:], 1.0)
                shares[:, 0] = ends[:, 0]
                shares = np.rint(shares * axis.whole.out)
            outs = whole.shape[1:]
            whole = np.multiply.outer(whole, shares.T)  # taps, outputs, taps of this axis, outputs of this axis
            whole = np.moveaxis(whole, 1 + len(outs), 1).reshape(-1, *outs, len(at))
        return whole[..., None]

    def gathered(self, values: Array, fill: Any) -> Array:
        """Return the values of each window in scan order, (taps, planes, outputs ..., channels)."""
        held = np.empty((self.plan.taps, len(values), *self.outs, values.shape[-1]), values.dtype)
        for number, tap in enumerate(self.taps(values, fill)):
            held[number] = tap
        return held

    def earliest(self) -> Array:
        """Return the first value of each window in scan order that is there."""
        if self.weights is None:
            return self.picked(0)
        found = np.zeros((len(self.x), *self.outs, self.x.shape[-1]), self.x.dtype)
        wanted = np.ones(found.shape, bool)
        weights = np.broadcast_to(self.weights, self.x.shape)
        for tap, weight in zip(self.taps(self.x, 0), self.taps(weights, 0), strict=True):
            here = wanted & (weight > 0)
            found[here], wanted = tap[here], wanted & ~here
        return self.chosen(found)

    def picked(self, favourite: int | None) -> Array:
        """Return the value of the tap nearest to the *favourite* of k that lies in the input; the middle when None."""
        held, weights = self.x, self.weights
        for number, axis in enumerate(self.plan.axes):
            at, there = self.places(number)
            wanted = axis.kernel // 2 if favourite is None else favourite
            distance = np.where(there, np.abs(np.arange(axis.kernel) - wanted), axis.kernel)
            nearest = distance.argmin(axis=1)[:, None]
            place = np.where(there.any(1), np.take_along_axis(at, nearest, 1)[:, 0], 0)
            held = held.take(place, axis=1 + number)
            weights = None if weights is None else weights.take(place, axis=1 + number)
        return self.chosen(held, None if weights is None else weights > 0)

    def chosen(self, values: Array, there: Array | None = None) -> Array:
        """Return *values*, masked where what was to be chosen weighs nothing, NaN where a window is padding alone."""
        if there is None and self.weights is None and all(each.all() for each in self.elements):
            return values
        there = self.there if there is None else there
        if there.all():
            return values
        if self.weights is not None:
            return np.ma.array(values, mask=np.broadcast_to(~there, values.shape))
        if values.dtype.kind != "f":
            raise InputError("windows must hold a value to choose, got one of padding alone", "use less padding")
        return np.where(there, values, np.nan).astype(values.dtype, copy=False)

    def uniform(self) -> Array:
        """Return a number in [0, 1) for each output, by its place in the whole result (SplitMix64)."""
        place = np.arange(self.plane, self.plane + len(self.x))
        for axis, first, out in zip(self.plan.axes, (self.first, *[0] * len(self.outs)), self.outs, strict=False):
            place = np.add.outer(place * axis.whole.out, np.arange(out) + (axis.start + first))
        channels, number = self.channels or (self.x.shape[-1], np.arange(self.x.shape[-1]))
        place = np.add.outer(place * channels, number).astype(np.uint64)
        x = np.uint64(self.seed) + (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return np.asarray(((x ^ x >> np.uint64(31)) >> np.uint64(11)) / 2.0**53)


@lru_cache(maxsize=64)
def _tasks(combine: str, dtype: np.dtype[Any], plan: Plan, planes: int, channels: int) -> tuple[recipes.Task, ...]:
    """Return the tasks of a fold of values as they are."""
    fold = Fold("same", combine, "keep", "")
    types = dtypes.arithmetic(fold, "sum", dtype, dtypes.summed(dtype), plan.count)
    return recipes.tasks(fold, types, plan, planes, channels)


def _highest(dtype: np.dtype[Any]) -> Any:
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


def fold_axes(
    slab: Slab, tasks: tuple[recipes.Task, ...], folders: Sequence[Any], values: Array, target: Array | None
) -> Array:
    """Return *values* folded by *tasks*: outer axes one by one, then the last two; into *target* if given."""
    planes, low, first, stop, outer = len(values), slab.low, slab.first, slab.last, (1,)
    result = target
    if result is None:
        result = np.empty((planes, *slab.outs, tasks[-1].channels), tasks[-1].types.result)
        values = np.require(values, tasks[0].types.source, ["C", "A"])
    for number, task in enumerate(tasks[:-1]):
        axis = slab.plan.axes[number]
        folded = np.empty((planes, stop - first, task.columns.out), task.types.result)
        source = values.reshape(planes, -1, task.columns.length)
        folders[number](source, folded, axis.low + low, axis.start + first)
        counts = arrays.divisors(axis, include_pad=slab.plan.divisor == "window")[first:stop]
        outer = tuple(np.multiply.outer(outer, counts).ravel().tolist())
        values, planes, low, first, stop = folded, planes * (stop - first), 0, 0, slab.plan.axes[number + 1].out
    last, rows = tasks[-1], ONE if len(slab.plan.axes) == 1 else slab.plan.axes[-2]
    if rows is ONE:
        low = first = 0
    width, out_width = (n * last.channels for n in (last.columns.length, last.columns.out))
    source, target = values.reshape(planes, -1, width), result.reshape(planes, -1, out_width)
    folders[-1](source, target, rows.low + low, rows.start + first, outer)
    return result
