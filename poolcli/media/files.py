"""The one reader and the one writer: whole files in, whole files out, or one clear error."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from poolcli.errors import InputError, OutputError, PoolError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from typing_extensions import Buffer

    Product = Sequence[Buffer] | Callable[[BinaryIO], int]  # buffers one after the other, or what fills a file

# "/dev/stdout" may be a pipe or a file of the shell's: both want the bytes on the descriptor that is open.
_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

CHUNK = 2**24

_FACTS = {
    errno.ENOENT: "no such file",
    errno.EISDIR: "is a folder",
    errno.ENOTDIR: "part of the path is not a folder",
    errno.EEXIST: "part of the path is not a folder",
    errno.EACCES: "permission denied",
    errno.ENXIO: "not a regular file",  # what Linux answers for a socket
    errno.EBADF: "is closed",
}


def read(name: str) -> bytes:
    """Return all bytes of one regular file, or of standard input (`-`); the path may hold surrogate escapes.

    Raises
    ------
    InputError
        Missing, not a regular file, empty, unreadable, or changed while it was read. The message is the bare
        fact: the caller adds the name.
    UsageError
        Standard input is a terminal.
    """
    with facts(InputError):
        data = _read_stdin() if name == "-" else _read_regular(name)
    if not data:
        raise InputError("empty file")
    return data


@contextmanager
def facts(kind: type[PoolError], passing: tuple[type[Exception], ...] = (PoolError,)) -> Iterator[None]:
    """Raise what the system reports as an error of this kind, but for what may pass."""
    try:
        yield
    except passing:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, or a closed stream
        raise kind(fact(error)) from error


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise InputError("is closed")
    if sys.stdin.isatty():
        raise UsageError("standard input must be a file or a pipe, got a terminal", "poolcli pool - < picture.png")
    return sys.stdin.buffer.read()


def is_pipe(name: str) -> bool:
    """Whether a name stands for a pipe that is open already, as the shell's ``<(...)`` gives; a FIFO might wait."""
    if not name.startswith(("/dev/fd/", "/proc/self/fd/")):
        return False
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False


STORE = ".zarr"


def is_store(name: str) -> bool:
    """Whether a name stands for a Zarr: a URL, a name that ends so, or a folder that holds one."""
    if "://" in name or name.rstrip(os.sep).lower().endswith(STORE):
        return True
    return any(os.path.exists(os.path.join(name, mark)) for mark in ("zarr.json", ".zarray", ".zgroup"))


def peek(name: str) -> tuple[bytes, os.stat_result]:
    """Return the first 512 bytes of a regular file, which tell its format, and its size and times; errors as `read`."""
    with facts(InputError), opened(name) as (descriptor, found):
        return os.read(descriptor, 512), found


@contextmanager
def opened(name: str) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file and nothing else."""
    # O_NONBLOCK: opening a FIFO would wait for ever; O_NOCTTY: opening a terminal would adopt it.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise InputError("is a folder", "poolcli batch")
        if not stat.S_ISREG(found.st_mode):
            raise InputError("not a regular file")
        yield descriptor, found
    finally:
        os.close(descriptor)


def size(name: str) -> int | None:
    """Return the bytes of a regular file; None of what is read to its end, or is no file."""
    try:
        found = None if name == "-" else os.stat(name)
    except (OSError, ValueError):
        return None
    return found.st_size if found and stat.S_ISREG(found.st_mode) else None


def _read_regular(name: str) -> bytes:
    if is_pipe(name):
        with open(name, "rb") as pipe:
            return pipe.read()
    with opened(name) as (descriptor, before):
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(before.st_size + 1)
        after = os.fstat(descriptor)
    if (before.st_size, before.st_mtime_ns) != (len(data), after.st_mtime_ns):
        raise InputError("changed while reading")
    return data


def placed(name: str) -> str:
    """Return the absolute path of a name, or raise `OutputError` when it has none."""
    try:
        return os.path.abspath(name)
    except FileNotFoundError as error:
        raise OutputError(f"{shown(name)}: the current folder is gone") from error


def write(
    name: str,
    product: Product,
    *,
    overwrite: bool,
    durable: bool = False,
    mark: str = "",
    ready: Callable[[int], None] | None = None,
) -> int:
    """Write a file so that its path holds all the old bytes or all the new ones; return how many are new.

    A symbolic link stays and its target gets the bytes; a device or FIFO is written directly; `-` is standard
    output. Missing parent folders are made. A replaced file keeps its mode, and its owner when root writes.

    Parameters
    ----------
    name
        Path, which may hold surrogate escapes.
    product
        Contiguous buffers, written one after the other; or a function that fills an open file and returns
        its bytes.
    overwrite
        Whether an existing regular file may be replaced.
    durable
        Whether the new bytes must outlive a loss of power: the file and its folders are synchronised.
    mark
        What the name of the temporary file has in it, for `sweep`.
    ready
        Called with the number of bytes when they are all written, before a regular file gets its name.

    Raises
    ------
    OutputError
        Any failure of the system; the message is the bare fact: the caller adds the name.
    BrokenPipeError
        The reader of standard output has gone.
    UsageError
        Standard output is a terminal.
    """
    with facts(OutputError, (PoolError, BrokenPipeError) if name in _STDOUT else (PoolError,)):
        if name in _STDOUT:
            return _write_stdout(product)
        if _is_stream(name):
            return _write_stream(name, product)
        target = os.path.realpath(name)
        return _write_regular(target, product, overwrite=overwrite, durable=durable, mark=mark, ready=ready)


def _write_stdout(product: Product) -> int:
    if sys.stdout is None:
        raise OutputError("is closed")
    if sys.stdout.isatty():
        raise UsageError("standard output must be a file or a pipe, got a terminal", "output=FILE, or > FILE")
    sys.stdout.flush()
    return _write_all(sys.stdout.fileno(), product)


def _is_stream(name: str) -> bool:
    """Tell whether a path is a device or a FIFO, which must never be replaced by a file."""
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise OutputError("is a folder")
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return True
    if not stat.S_ISREG(mode):
        raise OutputError("not a regular file")
    return False


def _write_stream(name: str, product: Product) -> int:
    descriptor = os.open(name, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return _write_all(descriptor, product)
    finally:
        os.close(descriptor)


def _write_regular(
    target: str,
    product: Product,
    *,
    overwrite: bool,
    durable: bool,
    mark: str,
    ready: Callable[[int], None] | None,
) -> int:
    folder = os.path.dirname(target)
    make_folder(folder, durable=durable)
    # Short, because the target's own name may already be as long as the file system allows.
    temporary = os.path.join(folder, f"{_TEMPORARY}{mark}{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            size = _fill(descriptor, target if overwrite else None, product, durable=durable)
        finally:
            os.close(descriptor)  # its error counts: network file systems report a full disk here
        if ready is not None:
            ready(size)
        if overwrite:
            os.replace(temporary, target)
        else:
            _publish(temporary, target)
        if durable:
            sync(folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return size


_TEMPORARY = ".poolcli-"


def make_folder(folder: str, *, durable: bool) -> None:
    """Make a folder and its parents; what is new is synchronised in its parent."""
    new = []
    while durable and not os.path.isdir(folder):
        new.append(folder)
        folder = os.path.dirname(folder)
    os.makedirs(new[0] if new else folder, exist_ok=True)
    for made in reversed(new):
        sync(os.path.dirname(made))


def sync(folder: str) -> None:
    """Make the names in a folder outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folders: Iterable[str], mark: str) -> int:
    """Remove the temporary files with this *mark* that a killed run left in *folders*; return how many."""
    count = 0
    for folder in folders:
        with suppress(OSError):
            for name in os.listdir(folder):
                if name.startswith(f"{_TEMPORARY}{mark}") and name.endswith(".tmp"):
                    os.unlink(os.path.join(folder, name))
                    count += 1
    return count


def _fill(descriptor: int, replaced: str | None, product: Product, *, durable: bool) -> int:
    """Give the temporary file its final mode and owner, and all its bytes; return how many."""
    if replaced is not None:
        _copy_mode(replaced, descriptor)
    size = _write_all(descriptor, product)
    written = os.fstat(descriptor).st_size
    if written != size:
        raise OutputError(f"{written} of {size} bytes were written")
    if durable:
        os.fsync(descriptor)
    return size


def _copy_mode(target: str, descriptor: int) -> None:
    with suppress(FileNotFoundError):
        old = os.stat(target)
        if os.geteuid() == 0:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def stamp(name: str) -> str:
    """Return a file's place, size and age as text."""
    with facts(InputError):
        found = os.stat(name)
    return f"{placed(name)}:{found.st_size}:{found.st_mtime_ns}"


def publish(temporary: str, target: str, *, overwrite: bool) -> None:
    """Give a whole file its name; `OutputError` where that is taken and nothing may be replaced."""
    with facts(OutputError):
        if overwrite:
            os.replace(temporary, target)
        else:
            _publish(temporary, target)


def _publish(temporary: str, target: str) -> None:
    """Give the temporary file its name, unless somebody else took it meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise OutputError("exists already", "force=True overwrites it") from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise OutputError("exists already", "force=True overwrites it") from None
        os.replace(temporary, target)
    else:
        os.unlink(temporary)


def _write_all(descriptor: int, product: Product) -> int:
    """Write a product and return its bytes."""
    if callable(product):
        name = f"/dev/fd/{descriptor}"  # tifffile takes no number for one
        seeks = stat.S_ISREG(os.fstat(descriptor).st_mode)
        with open(name, "w+b" if seeks else "wb", opener=lambda *_: os.dup(descriptor)) as file:
            return product(file)
    size = 0
    for buffer in product:
        view, done = memoryview(buffer).cast("B"), 0
        while done < view.nbytes:
            done += os.write(descriptor, view[done : done + CHUNK])  # a signal is heard between two chunks
        size += done
    return size


def fact(error: Exception) -> str:
    """Say what the system reported, as a fact about a file."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    fact = _FACTS.get(error.errno) or os.strerror(error.errno)
    return fact[:1].lower() + fact[1:]


# Control characters, line separators, direction overrides, and bytes of a name that is not UTF-8.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(name: str) -> str:
    r"""Return a name as a person can be shown it: on one line, `\n` or `\x1b` for what acts on a terminal."""
    return _HIDDEN.sub(lambda match: _escaped(match.group()), name)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
