"""Entry point of ``poolcli`` and ``python -m poolcli``."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    gc.set_threshold(50_000)  # what is imported stays: looking through it again and again took a twentieth of a start
    from poolcli.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
