"""What a file looks like that poolcli cannot read, told by its first bytes."""

from __future__ import annotations

import re

KINDS = (
    (rb"%!PS", "EPS or PostScript"),
    (rb"\xc5\xd0\xd3\xc6", "EPS"),
    (rb"%PDF", "PDF"),
    (rb"8BPS", "PSD"),
    (rb".{4}ftyp", "video"),
    (rb"SIMPLE  =", "FITS"),
    (rb"\x76\x2f\x31\x01", "OpenEXR"),
    (rb"#\?RADIANCE", "Radiance HDR"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "FPX or an old office document"),
    (rb"\0\0\x01\0", "ICO"),
    (rb"DDS ", "DDS"),
    (rb"P7\n", "PAM"),
    (rb"\x89HDF", "HDF5"),
    (rb"\x1f\x8b", "gzip"),
    (rb"\x80[\x02-\x05]", "a Python pickle"),
    (rb".*<svg", "SVG"),
    (rb"[\x20-\xff\t\n\r\f]+$", "text"),
)


def of(head: bytes) -> str:
    """Return words to put behind a refusal, or none."""
    return next((f" (looks like {what})" for mark, what in KINDS if re.match(mark, head, re.DOTALL)), "")
