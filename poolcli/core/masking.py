"""Masks: a kernel that puts a value in place of what does not count, under the constraints of `kernels`.

It only moves bits, so that one kernel serves all types: each array is pointed to by four pointers of other widths.
"""

from __future__ import annotations

import numpy as np

from poolcli.core.kernels import Pointer

WIDTHS = tuple(map(np.dtype, ("uint8", "uint16", "uint32", "uint64")))


def choose(out, x, at, mask, to, other, channels, beside, n):
    """Take *n* pixels, with *beside* elements of the mask each, or the *other* value."""
    blank = other[0]
    if beside == channels:
        for j in range(n * channels):
            value = x[at + j]  # read in any case: a choice is no branch then
            out[at + j] = value if mask[to + j] != 0 else blank
    elif channels == 3:
        for j in range(n):
            for e in range(3):
                value = x[at + 3 * j + e]
                out[at + 3 * j + e] = value if mask[to + j] != 0 else blank
    else:
        for j in range(n):
            for e in range(channels):
                value = x[at + channels * j + e]
                out[at + channels * j + e] = value if mask[to + j] != 0 else blank


LOOPS = (choose,)
PARTS = ()


def arguments():
    """Return what the kernel's arguments are, before the units."""
    whole, each = np.dtype(np.int64), tuple(map(Pointer, WIDTHS))
    return (*each, *each, *each, Pointer(WIDTHS[0]), *[whole] * 5)


def template(given):
    """Return the kernel; *given* returns its arguments, of a row in memory."""

    def kernel(row, first, last):
        """Take the planes [first, last) of so many *pixels*; masks of theirs are *step* apart."""
        (
            x1, x2, x4, x8, out1, out2, out4, out8, other1, other2, other4, other8, mask, width, pixels, channels,
            beside, step,
        ) = given(row)  # fmt: skip
        for plane in range(first, last):
            at, to = plane * pixels * channels, plane * step
            if width == 1:
                choose(out1, x1, at, mask, to, other1, channels, beside, pixels)
            elif width == 2:
                choose(out2, x2, at, mask, to, other2, channels, beside, pixels)
            elif width == 4:
                choose(out4, x4, at, mask, to, other4, channels, beside, pixels)
            else:
                choose(out8, x8, at, mask, to, other8, channels, beside, pixels)

    return kernel
