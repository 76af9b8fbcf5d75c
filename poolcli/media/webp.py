"""WebP, by Pillow."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.media import pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from poolcli.media.pictures import Meta

look = partial(pillow.look, format="webp", module="WebP")


def encode(pixels: NDArray[Any], meta: Meta, quality: int | None) -> list[Buffer]:
    """Return the buffers of a file of uint8 pixels, lossless without a quality; grey becomes RGB."""
    grey = pixels.ndim == 2 or pixels.shape[2] == 2
    if grey:
        layers = pixels.reshape(*pixels.shape[:2], -1)
        pixels = np.concatenate([layers[:, :, :1]] * 3 + [layers[:, :, 1:]], axis=2)
    return pillow.encode(
        pixels,
        ".webp",
        lossless=quality is None,
        quality=quality,
        exact=True,  # colours under transparent pixels count
        icc_profile=None if grey else meta.icc,  # a profile for grey does not fit RGB
        exif=meta.exif,
        xmp=meta.xmp,
    )
