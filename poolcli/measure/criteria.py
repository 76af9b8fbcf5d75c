"""Criteria: numbers that separate one pooling from another. Arrays only; a row of a table each.

A criterion's function names by its parameters what it looks at:

x, y
    A plane and what became of it; pictures are scaled to [0, 1], labels are as they are.
stride
    Rows and columns from window to window.
replica
    *y* laid over *x*: each element has the output whose window centre is nearest.
dense
    The method at stride 1.
changes
    What seeded noise added to *x* changed in *y*, in sigmas of the noise.
mask
    Which outputs are of the first of two kinds.
means
    Of the whole input and the whole result, in the data's own units.
times
    Seconds of the whole pooling, of a part's, and of the part's with a kernel larger by 1.

It raises `InputError` with the reason where there is no such number.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from poolcli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pair = tuple[float, float]

Value = float | str  # a number, or why there is none
LEAST = 32  # outputs on an axis that a spectrum needs


@dataclass(frozen=True, slots=True)
class Criterion:
    """A row of the table: a function, how people read its value, which values are better, and where it comes from.

    A unit is that of JSON, *form* writes the value for people, *better* is empty where a criterion describes and does
    not judge.
    """

    measure: Callable[..., float]
    title: str
    unit: str
    better: Literal["low", "high", "zero", ""]
    form: str
    source: str = ""

    @property
    def name(self) -> str:
        """As it is spelled in JSON."""
        return self.measure.__name__

    @property
    def formula(self) -> str:
        """What the function returns, in words."""
        return " ".join((self.measure.__doc__ or "").split()).removeprefix("Return the ").rstrip(".")

    def of(self, known: Mapping[str, Any]) -> Value:
        """Return the value for what is *known* by the functions' names for it."""
        names = signature(self.measure).parameters
        if names.keys() - known.keys():
            return "needs the method itself, not its result"
        try:
            value = float(self.measure(**{name: known[name] for name in names}))
        except InputError as error:
            return error.message
        return value if np.isfinite(value) else "not a finite number, as of values that are not"

    def show(self, value: Value) -> str:
        """Return a value as people read it."""
        return "-" if isinstance(value, str) else self.form.format(value * 1e3 if self.unit == "s" else value)

    def best(self, values: Iterable[Value]) -> str:
        """Return the best of *values* as people read it, nothing where none is better than another."""
        known = [value for value in values if isinstance(value, float)]
        if not self.better or len(set(map(self.show, known))) < 2:
            return ""
        return self.show(max(known) if self.better == "high" else min(known, key=abs))


# --- Pictures and feature maps -----------------------------------------------------------------------------------


def alias(dense: Array, y: Array, stride: tuple[int, int]) -> float:
    """Return the share of power that the stride folds back: where |f| > 1 / (2 stride); Hann window, dense result."""
    if min(y.shape) < LEAST:
        raise InputError(f"a spectrum needs {LEAST} outputs on each axis, got {'x'.join(map(str, y.shape))}")
    if np.ptp(dense) == 0:
        raise InputError("the result is constant")
    window = np.outer(np.hanning(dense.shape[0]), np.hanning(dense.shape[1]))
    power = np.abs(np.fft.rfft2((dense - (dense * window).sum() / window.sum()) * window)) ** 2
    power[:, 1 : (dense.shape[1] + 1) // 2] *= 2  # the half that rfft2 leaves out
    rows, columns = np.fft.fftfreq(dense.shape[0])[:, None], np.fft.rfftfreq(dense.shape[1])
    folded = (np.abs(rows) > 0.5 / stride[0]) | (columns > 0.5 / stride[1])
    return float(power[folded].sum() / power.sum())


def noise_bias(changes: Array) -> float:
    """Return the mean change that noise of 5 % of the range makes, in its sigmas."""
    return float(changes.mean())


def noise_gain(changes: Array) -> float:
    """Return the deviation of the change that noise of 5 % of the range makes, in its sigmas."""
    return float(changes.std())


def mean_shift(means: Pair) -> float:
    """Return the mean of y less the mean of x, of the whole input in its own units."""
    return means[1] - means[0]


def edge(x: Array, y: Array, stride: tuple[int, int]) -> float:
    """Return the mean gradient of y over that of block means: 1 keeps, more exaggerates, less blurs."""
    (down, across), (rows, columns) = stride, (length // step for length, step in zip(x.shape, stride, strict=True))
    if min(rows, columns, *y.shape) < 2:
        raise InputError("needs 2 outputs on each axis")
    blocks = x[: rows * down, : columns * across].reshape(rows, down, columns, across)
    slopes = [float(np.hypot(*np.gradient(plane)).mean()) for plane in (y, blocks.mean((1, 3)))]
    return _ratio(*slopes)


def contrast(x: Array, y: Array) -> float:
    """Return the deviation of y over that of x."""
    return _ratio(float(y.std()), float(x.std()))


def _ratio(value: float, base: float) -> float:
    if base == 0:
        raise InputError("the input is constant")
    return value / base


def psnr(x: Array, replica: Array) -> float:
    """Return the -10 log10 of mean (x - y laid over x)^2: what a window costs; avg is its optimum by construction."""
    error = float(np.square(x - replica).mean())
    if error == 0:
        raise InputError("no error at all")
    return -10 * float(np.log10(error))


def w1(x: Array, y: Array) -> float:
    """Return the mean |Qx(q) - Qy(q)| over 257 quantiles: how far the histogram has moved."""
    at = np.linspace(0, 1, 257)
    return float(np.abs(np.quantile(x, at) - np.quantile(y, at)).mean())


def separation(y: Array, mask: Array) -> float:
    """Return the |mean y1 - mean y2| / (deviation y1 + deviation y2) of the two kinds of outputs."""
    kinds = y[mask], y[~mask]
    if min(map(len, kinds)) < 2:
        raise InputError("needs 2 outputs of each kind")
    spread = float(kinds[0].std() + kinds[1].std())
    if spread == 0:
        raise InputError("each kind is constant")
    return abs(float(kinds[0].mean() - kinds[1].mean())) / spread


def seconds(times: Sequence[float]) -> float:
    """Return the time of pooling the whole input, median of up to three runs by the timer of poolcli bench."""
    return times[0]


def growth(times: Sequence[float]) -> float:
    """Return the time with a kernel larger by 1 over the time, of a part of the input."""
    if np.isnan(times[2]):
        raise InputError("a kernel larger by 1 does not fit")
    return times[2] / times[1]


# --- Labels ------------------------------------------------------------------------------------------------------


def miou(x: Array, replica: Array) -> float:
    """Return the mean over the labels of x of intersection / union with y laid over x."""
    labels, before = np.unique(x, return_counts=True)
    at = np.searchsorted(labels, replica).clip(max=len(labels) - 1)
    after, both = (np.bincount(at[kept], minlength=len(labels)) for kept in (labels[at] == replica, x == replica))
    return float((both / (before + after - both)).mean())


def alive(x: Array, replica: Array, stride: tuple[int, int]) -> float:
    """Return the share of objects under two windows, background apart, that meet their label in y laid over x."""
    objects = _objects(x)
    labels, counts = np.unique(x, return_counts=True)
    _, first, sizes = np.unique(objects, return_index=True, return_counts=True)
    small = (sizes < 2 * stride[0] * stride[1]) & (x.ravel()[first] != labels[counts.argmax()])
    if not small.any():
        raise InputError("there are no small objects")
    met = np.bincount(objects[x == replica], minlength=len(sizes) + 1)[1:] > 0
    return float(met[small].mean())


def _objects(x: Array) -> Array:
    """Return the number, from 1, of each element's object: a patch of one label joined by sides."""
    try:
        from scipy.ndimage import label
    except ImportError as error:
        raise InputError("needs SciPy: pip install 'poolcli[report]'") from error
    joined = np.zeros((2 * x.shape[0] - 1, 2 * x.shape[1] - 1), bool)  # elements, and between them what joins two
    joined[::2, ::2] = True
    joined[1::2, ::2], joined[::2, 1::2] = x[1:] == x[:-1], x[:, 1:] == x[:, :-1]
    objects: Array = label(joined)[0][::2, ::2]
    return objects


def invented(x: Array, y: Array) -> float:
    """Return the number of labels of y that are not of x."""
    return len(np.setdiff1d(y, x))


def lost(x: Array, y: Array) -> float:
    """Return the number of labels of x that are not of y."""
    return len(np.setdiff1d(x, y))


def agree(x: Array, replica: Array) -> float:
    """Return the share of elements whose label is that of y laid over x."""
    return float((x == replica).mean())


_ZHANG = "idea: Zhang, Making Convolutional Networks Shift-Invariant Again, 2019"
_BOUREAU = "Boureau, Ponce, LeCun, A Theoretical Analysis of Feature Pooling, 2010"
_TIMES = (Criterion(seconds, "time, ms", "s", "low", "{:.2f}"), Criterion(growth, "k+1 / k", "ratio", "", "{:.2f}"))
PICTURE = (
    Criterion(alias, "aliasing", "share", "low", "{:.2%}", _ZHANG),
    Criterion(noise_bias, "noise bias", "sigma", "zero", "{:+z.2f}", "order statistics"),
    Criterion(noise_gain, "noise gain", "sigma", "low", "{:.2f}", "order statistics"),
    Criterion(mean_shift, "mean shift", "levels", "", "{:+z.2f}"),
    Criterion(edge, "edge", "ratio", "", "{:.2f}"),
    Criterion(contrast, "contrast", "ratio", "", "{:.2f}"),
    Criterion(psnr, "window PSNR, dB", "dB", "", "{:.1f}"),
    Criterion(w1, "histogram shift", "of range", "", "{:.3f}", "Wasserstein distance"),
    *_TIMES,
)
LABELS = (
    Criterion(miou, "mIoU", "share", "high", "{:.3f}", "Jaccard index"),
    Criterion(alive, "small alive", "share", "high", "{:.0%}"),
    Criterion(invented, "invented", "labels", "low", "{:.0f}"),
    Criterion(lost, "lost", "labels", "low", "{:.0f}"),
    Criterion(agree, "agree", "share", "high", "{:.1%}"),
    *_TIMES,
)
SEPARATION = Criterion(separation, "separation", "ratio", "high", "{:.2f}", _BOUREAU)
