"""Make README's pictures: one photograph, pooled by several methods with the same window.

    python samples/make_picture.py [FOLDER]

Needs poolcli alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import poolcli

HERE = Path(__file__).parent
KERNEL = 8
GAP = 6


def pooled(photo: np.ndarray) -> np.ndarray:
    """Return the photograph's middle and what max, avg and min make of it, blown up to its size, side by side."""
    middle = photo[100:420, 200:440]
    parts = [poolcli.pool(middle, method, KERNEL, layout="HWC", dtype="uint8") for method in ("max", "avg", "min")]
    gap = np.full((middle.shape[0], GAP, 3), 255, np.uint8)
    blown = (part.repeat(KERNEL, 0).repeat(KERNEL, 1) for part in parts)
    return np.concatenate([middle, *(half for part in blown for half in (gap, part))], axis=1)


def compared(photo: np.ndarray) -> np.ndarray:
    """Return the contact sheet of four methods."""
    methods = ["max", "avg", "median", "blur"]
    return poolcli.compare(photo, methods, ["k4"], layout="HWC", name="photo_rgb.png").sheet()


def main(folder: Path) -> None:
    """Write both."""
    photo = poolcli.read(HERE / "photo_rgb.png")
    poolcli.write(folder / "pooled.png", pooled(photo), force=True)
    poolcli.write(folder / "compare.png", compared(photo), force=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
