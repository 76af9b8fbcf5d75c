"""How a picture is treated: options that a tensor has no use for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from poolcli.core.geometry import one_of
from poolcli.core.settings import setting
from poolcli.errors import UsageError

ALPHAS = ("weighted", "independent", "drop", "over:COLOR")
ORIENTS = ("apply", "ignore")
METAS = ("keep", "icc", "none")
PALETTES = ("expand", "index")
COLORMAPS = ("viridis", "magma", "grey")
_NAMED = {"black": "#000", "white": "#fff", "grey": "#808080", "gray": "#808080", "red": "#f00", "lime": "#0f0",
          "blue": "#00f", "yellow": "#ff0", "cyan": "#0ff", "magenta": "#f0f"}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """How a picture is read, understood and written."""

    quality: int | None = setting(
        "Picture",
        "Of JPEG and AVIF (else 90), WebP, JPEG XL and JPEG 2000 (else lossless).",
        default=None,
        short="-Q",
        metavar="1-100",
    )
    lossless: bool = setting("Picture", "Lose nothing, or refuse the format.", default=False)
    co: tuple[str, ...] = setting(
        "Picture",
        "Of the encoder; poolcli info --formats lists what each format takes.",
        default=(),
        metavar="KEY=VALUE",
    )
    alpha: str | None = setting(
        "Picture",
        "weighted: it weighs the colours of means, the default; independent: one more channel; drop; or over:COLOR.",
        default=None,
        metavar="HOW",
        choices=ALPHAS,
    )
    depth: int | None = setting("Picture", "Rescale to 8 or 16 bits: 65535 becomes 255.", default=None, metavar="BITS")
    linear: bool = setting("Picture", "Average light, not the numbers that sRGB encodes it by.", default=False)
    to_rgb: bool = setting("Picture", "Turn CMYK and CIELAB into sRGB, by their profiles.", default=False)
    crop: str | None = setting(
        "Picture", "Only this part, of the upright picture, before pooling.", default=None, metavar="X,Y,W,H"
    )
    orient: str = setting(
        "Picture",
        "apply turns pixels as EXIF asks; ignore leaves them, and the tag.",
        default="apply",
        metavar="HOW",
        choices=ORIENTS,
    )
    palette: str = setting(
        "Picture",
        "expand it to colours, or pool its index numbers and keep it, as for label maps.",
        default="expand",
        metavar="HOW",
        choices=PALETTES,
    )
    page: str | None = setting(
        "Picture",
        "Of several: first, all, N or A-B; else all where the output can hold them, as pages or as what moves.",
        default=None,
        metavar="WHICH",
        choices=("first", "all"),
    )
    colormap: str | None = setting(
        "Picture",
        "Draw the maps of a tensor in colours, beside each other: viridis, magma or grey.",
        default=None,
        metavar="NAME",
        choices=COLORMAPS,
    )
    tile: int | None = setting(
        "Picture", "Maps in a row of that drawing; else about as many as rows.", default=None, metavar="N"
    )
    meta: str = setting(
        "Picture", "Metadata: keep, icc (the profile alone) or none.", default="keep", metavar="WHAT", choices=METAS
    )

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality must be from 1 to 100, got {self.quality}")
        if self.depth not in {None, 8, 16}:
            raise UsageError(f"depth must be 8 or 16, got {self.depth}")
        if self.alpha not in {None, *ALPHAS[:-1]} and not (self.alpha or "").startswith("over:"):
            raise UsageError(f"alpha must be one of {', '.join(ALPHAS)}, got {self.alpha!r}")
        one_of("orient", self.orient, ORIENTS)
        one_of("meta", self.meta, METAS)
        one_of("palette", self.palette, PALETTES)
        one_of("colormap", self.colormap, COLORMAPS)
        if self.tile is not None and self.tile < 1:
            raise UsageError(f"tile must be from 1, got {self.tile}")
        if self.palette == "index" and (self.linear or self.depth):
            raise UsageError("palette=index must be used without linear and depth: index numbers are no light")
        _ = self.background, self.box, self.pages(2**31)

    @property
    def background(self) -> tuple[int, ...] | None:
        """The colour that transparent pixels are put over, in 8 bits."""
        if self.alpha is None or not self.alpha.startswith("over:"):
            return None
        text = self.alpha.removeprefix("over:")
        digits = _NAMED.get(text.lower(), text)
        if not re.fullmatch(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", digits):
            names = ", ".join(_NAMED)
            raise UsageError(f"colour of alpha must be #rrggbb, #rgb or one of {names}, got {text!r}")
        digits = digits[1:] if len(digits) == 7 else "".join(2 * digit for digit in digits[1:])
        return tuple(bytes.fromhex(digits))

    def pages(self, count: int) -> tuple[int, int] | None:
        """Return the first and the last of *count* pages that are asked for, from 1, or None."""
        if self.page is None:
            return None
        if self.page in {"first", "all"}:
            return 1, count if self.page == "all" else 1
        found = re.fullmatch(r"([1-9]\d{0,8})(?:-([1-9]\d{0,8}))?", self.page, re.ASCII)
        first, last = map(int, (found[1], found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise UsageError(f"page must be first, all, N or A-B, got {self.page!r}")
        return first, last

    @property
    def box(self) -> tuple[int, ...] | None:
        """The left column, the top row, and how many columns and rows are pooled."""
        if self.crop is None:
            return None
        if not re.fullmatch(r"\d{1,9},\d{1,9},[1-9]\d{0,8},[1-9]\d{0,8}", self.crop, re.ASCII):
            raise UsageError(f"crop must be X,Y,W,H in pixels, got {self.crop!r}")
        return tuple(map(int, self.crop.split(",")))
