"""Colours that are no RGB: ink and CIELAB, turned into sRGB by their profiles."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from poolcli.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolcli.media.pictures import Source


def to_rgb(source: Source) -> Source:
    """Return the source of RGB pixels; one of grey or RGB as it is."""
    header, meta = source.header, source.meta
    if header.mode not in {"CMYK", "LAB"} or meta is None:
        return source
    if header.dtype != "uint8":
        raise InputError(f"to_rgb must be asked of 8-bit colours, got {header.dtype} {header.mode}")
    rgb = replace(header, shape=(*header.shape[:2], 3), mode="RGB")
    change = partial(_converted, mode=header.mode, icc=meta.icc)
    return replace(source, meta=replace(meta, icc=None, mode="RGB")).changed(rgb, change)


def _converted(pixels: NDArray[Any], mode: str, icc: bytes | None) -> NDArray[Any]:
    from PIL import Image, ImageCms

    if mode == "LAB":  # Pillow takes two of the three as signed
        pixels = pixels ^ np.array([0, 128, 128], np.uint8)
    image = Image.frombytes(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes())
    if mode == "CMYK" and icc is None:  # nobody says which inks
        return np.asarray(image.convert("RGB"))
    profile: Any = io.BytesIO(icc) if mode == "CMYK" and icc else ImageCms.createProfile("LAB")
    try:
        done = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError as error:
        raise InputError("its colour profile is damaged, or of other colours", "meta=none leaves it out") from error
    return np.asarray(done)
