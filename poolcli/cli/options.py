"""Every option, declared once; commands compose them. Values are text that the library parses."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from poolcli.core.geometry import describe
from poolcli.core.methods import METHODS
from poolcli.errors import UsageError
from poolcli.media.formats import FORMATS


def _methods(incomplete: str) -> list[tuple[str, str]]:
    return [(name, row.summary) for name, row in METHODS.items() if name.startswith(incomplete)]


def _formats(incomplete: str) -> list[str]:
    return [row.name for row in FORMATS if row.writes and row.name.startswith(incomplete)]


def _engines(incomplete: str) -> list[str]:
    return [name for name in ("auto", "numba", "numpy") if name.startswith(incomplete)]


def _exists(incomplete: str) -> list[str]:
    return [name for name in ("error", "skip", "newer", "overwrite") if name.startswith(incomplete)]


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, show_default=settings.pop("show_default", False), **settings)


Sources = Annotated[list[str] | None, typer.Argument(metavar="SRC...", help="Folders, and files.", show_default=False)]
Inputs = Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, or - for stdin.", show_default=False)]
Method = Annotated[
    str,
    _option(
        "--method", "-m", metavar="NAME", autocompletion=_methods, show_default=True, help=f"{', '.join(METHODS)}."
    ),
]
KERNEL = _option("--kernel", "-k", metavar="N|RxC", show_default=True, help=describe("kernel"))
Kernel = Annotated[str, KERNEL]
Stride = Annotated[str | None, _option("--stride", "-s", metavar="N|RxC", help=describe("stride"))]
Padding = Annotated[str, _option("--padding", "-p", metavar="PAD", show_default=True, help=describe("padding"))]
Dilation = Annotated[str, _option("--dilation", "-d", metavar="N|RxC", show_default=True, help=describe("dilation"))]
Ceil = Annotated[bool, _option("--ceil", help=describe("ceil"))]
CountIncludePad = Annotated[bool, _option("--count-include-pad", help=describe("count_include_pad"))]
Layout = Annotated[
    str | None,
    _option("--layout", metavar="LETTERS", help="Axes of a tensor, such as CHW or NHWC; H and W are pooled."),
]
Dtype = Annotated[
    str | None,
    _option("--dtype", metavar="NAME", help="Type of the result, such as uint8 or f32; rounds and saturates."),
]
Engine = Annotated[
    str,
    _option("--engine", metavar="NAME", autocompletion=_engines, show_default=True, help="auto, numba or numpy."),
]
Threads = Annotated[
    int | None, _option("--threads", "-t", metavar="N", help="Threads; all usable processors if not given.")
]
Output = Annotated[
    str | None,
    _option(
        "--output",
        "-o",
        metavar="PATH",
        help="A file, DIR/, - for stdout, or a template of {stem} {name} {ext} {dir} {method} {kernel} {stride}; "
        "{stem}.{method}{kernel}{ext} beside the input if not given.",
    ),
]
Format = Annotated[
    str | None,
    _option(
        "--format",
        "-F",
        metavar="NAME",
        autocompletion=_formats,
        help=f"Format to write: {', '.join(row.name for row in FORMATS if row.writes)}.",
    ),
]
Destination = Annotated[str, _option("--output", "-o", metavar="DST", help="Folder that the outputs go to.")]
Include = Annotated[
    list[str] | None, _option("--include", "-I", metavar="GLOB", help="Only such files, as '*.jpg'; may be repeated.")
]
Exclude = Annotated[
    list[str] | None,
    _option("--exclude", "-x", metavar="GLOB", help="No such files and folders, as '**/thumbs/**'; may be repeated."),
]
MaxDepth = Annotated[
    int | None, _option("--max-depth", metavar="N", min=1, help="Folders to go into: 1 is the files of SRC alone.")
]
Hidden = Annotated[bool, _option("--hidden", help="Names that begin with a dot, too.")]
FilesFrom = Annotated[str | None, _option("--files-from", metavar="FILE", help="More inputs, one a line; - for stdin.")]
Null = Annotated[bool, _option("--null", "-0", help="The names in --files-from end with NUL.")]
Flat = Annotated[bool, _option("--flat", help="All outputs in one folder, not in those of their inputs.")]
Template = Annotated[
    str | None,
    _option(
        "--template", metavar="TEXT", help="Names below DST, of {dir} {stem} {name} {ext} {method} {kernel} {stride}."
    ),
]
Exists = Annotated[
    str,
    _option(
        "--exists",
        metavar="WHAT",
        autocompletion=_exists,
        show_default=True,
        help="For outputs that no batch has made: error, skip, newer (if the input is) or overwrite.",
    ),
]
Jobs = Annotated[
    int | None,
    _option("--jobs", "-j", metavar="N", min=1, help="Files at once; as many as usable processors if not given."),
]
MaxMemory = Annotated[
    str | None,
    _option("--max-memory", metavar="BYTES", help="For the files in flight; K, M and G count. A quarter if not given."),
]
MaxErrors = Annotated[
    int | None, _option("--max-errors", metavar="N", min=1, help="Start nothing new after so many failures.")
]
Durable = Annotated[bool, _option("--durable", help="Outputs outlive a loss of power, at the cost of time.")]
Resume = Annotated[
    bool, _option("--resume/--no-resume", show_default=True, help="Skip what is done already and has not changed.")
]
Force = Annotated[bool, _option("--force", "-f", help="Replace existing outputs.")]
Quality = Annotated[
    int | None,
    _option(
        "--quality", "-Q", metavar="1-100", help="Quality of JPEG (90 if not given) and WebP (lossless if not given)."
    ),
]
DryRun = Annotated[bool, _option("--dry-run", "-n", help="Show inputs, outputs and shapes; pool nothing.")]
Key = Annotated[str | None, _option("--key", metavar="NAME", help="Which array of an .npz.")]
MaxPixels = Annotated[
    str, _option("--max-pixels", metavar="N", show_default=True, help="Refuse larger pictures; K, M and G count.")
]
Timing = Annotated[
    bool | None,
    _option("--timing/--no-timing", help="Table of seconds by stage on stderr; shown on a terminal if not given."),
]
Explain = Annotated[bool, _option("--explain", help="Show how the size of the result comes about.")]
Show = Annotated[bool, _option("--show", help="Print the result, up to 1,000 elements, and write nothing.")]
Json = Annotated[bool, _option("--json", help="Print JSON: one object for each input, or one document.")]
Quiet = Annotated[bool, _option("--quiet", "-q", help="Errors only on stderr.")]
Verbose = Annotated[bool, _option("--verbose", "-v", help="Say which engine ran and why.")]
Debug = Annotated[bool, _option("--debug", help="Show the traceback of an error.")]


def amount(name: str, text: str) -> int:
    """Return the number that *text* such as ``500M`` or ``1G`` stands for."""
    factors = {"K": 10**3, "M": 10**6, "G": 10**9}
    digits = text.strip().upper()
    factor = factors.get(digits[-1:], 1)
    digits = digits.removesuffix(digits[-1:]) if factor > 1 else digits
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18 or int(digits) < 1:
        raise UsageError(f"{name} must be a whole number from 1, with K, M or G, got {text!r}")
    return int(digits) * factor
