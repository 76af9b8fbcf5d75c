"""Where compiled kernels are kept between processes; looks without importing Numba."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from functools import cache as cached
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from poolcli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


SUFFIX = ".o"


def folder() -> Path:
    """Return the cache folder of this poolcli and this Numba, which need not exist."""
    from poolcli import __version__

    root = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(root) / "poolcli" / f"{__version__}-numba{numba_version()}"


@cached
def numba_version() -> str:
    """Return the installed Numba's version, or "none", told by a file's name: importlib.metadata costs 18 ms."""
    found = find_spec("numba")
    if found is None or found.origin is None:
        return "none"
    names = [path.name for path in Path(found.origin).parent.parent.glob("numba-*.dist-info")]
    return names[0].removeprefix("numba-").removesuffix(".dist-info") if names else "unknown"


def has(kernel: str) -> bool:
    """Whether a compiled *kernel* is kept, if only one for another processor."""
    try:
        return any(name.startswith(f"{kernel}.") and name.endswith(SUFFIX) for name in os.listdir(folder()))
    except OSError:
        return False


def prepare() -> Path:
    """Make the folder, for this user alone.

    Raises
    ------
    OSError
        It cannot be made, or another user could write to it: its files are code.
    """
    path = folder()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(f"{path} is not a folder of this user")
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time compile what *path* will keep: others wait and load it."""
    import fcntl

    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _digest(symbol: bytes, code: bytes) -> bytes:
    from hashlib import sha256  # 7 ms that a start on NumPy can do without

    return sha256(symbol + code).hexdigest().encode()


def read(path: Path) -> tuple[str, bytes] | None:
    """Return the symbol and the object file that *path* keeps, or None when there is none, or a damaged one."""
    try:
        head, _, code = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    digest, _, symbol = head.partition(b" ")
    return (symbol.decode(), code) if _digest(symbol, code) == digest else None


def write(path: Path, symbol: str, code: bytes) -> None:
    """Keep an object file: complete or not at all."""
    head = symbol.encode()
    new = path.with_suffix(f".{os.getpid()}")
    try:
        new.write_bytes(b"%s %s\n%s" % (_digest(head, code), head, code))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def contents() -> dict[str, int]:
    """Return the kernels that are kept, and their bytes."""
    found: dict[str, int] = {}
    for path in folder().glob(f"*{SUFFIX}"):
        kernel = path.name.partition(".")[0]
        found[kernel] = found.get(kernel, 0) + path.lstat().st_size
    return found


def clear() -> None:
    """Remove all kernels, those of other versions too.

    Raises
    ------
    OutputError
        They cannot be removed.
    """
    from shutil import rmtree

    root = folder().parent
    try:
        if root.is_dir() and not root.is_symlink():
            rmtree(root)
    except OSError as error:
        raise OutputError(f"{root}: {error.strerror}") from error
