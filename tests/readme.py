"""README's derived parts; ``python tests/readme.py`` writes them again."""

from __future__ import annotations

import re
from pathlib import Path

from poolcli.core.methods import METHODS
from poolcli.media.formats import FORMATS

README = Path(__file__).parent.parent / "README.md"


def methods():
    head = "| method | each output value is the | formula | PyTorch |\n|---|---|---|---|\n"
    rows = "\n".join(f"| `{m.name}` | {m.summary} | `{m.formula}` | {m.torch} |" for m in METHODS.values())
    return f"\n{head}{rows}\n"


def reads():
    return (
        ", ".join(row.name for row in FORMATS)
        + " (written: all but "
        + " and ".join(r.name for r in FORMATS if not r.writes)
        + ")"
    )


def rendered(text):
    for name, part in {"methods": methods(), "reads": reads()}.items():
        text = re.sub(
            rf"(<!-- {name} -->).*?(<!-- end -->)", lambda m, part=part: m[1] + part + m[2], text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
