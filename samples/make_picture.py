"""Make README's picture: one photograph, pooled by each method with the same window and shown at the same size.

    python samples/make_picture.py [FILE]

Needs poolcli, NumPy and imageio.
"""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np

import poolcli

HERE = Path(__file__).parent
KERNEL = 8
GAP = 6


def panels() -> list[np.ndarray]:
    """Return the photograph's middle and what max, avg and min make of it, blown up to its size."""
    photo = iio.imread((HERE / "photo_rgb.png").read_bytes(), plugin="pillow")[100:420, 200:440]
    pooled = [poolcli.pool(photo, method, KERNEL, layout="HWC", dtype="uint8") for method in ("max", "avg", "min")]
    return [photo, *(blocks.repeat(KERNEL, 0).repeat(KERNEL, 1) for blocks in pooled)]


def main(target: Path) -> None:
    """Write the panels side by side."""
    rows = panels()
    gap = np.full((rows[0].shape[0], GAP, 3), 255, np.uint8)
    strip = np.concatenate([part for row in rows for part in (gap, row)][1:], axis=1)
    target.write_bytes(iio.imwrite("<bytes>", strip, extension=".png", plugin="pillow"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "pooled.png")
