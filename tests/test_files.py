"""Proves that files are read whole or refused, and that an output is always the old file or the complete new one."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from poolcli.errors import InputError, OutputError, UsageError
from poolcli.media import files

AS_ROOT = os.geteuid() == 0


def refusal(call, *arguments, kind=InputError, **options):
    """Return the error that a call must raise."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    return caught.value


def fact(call, *arguments, **options):
    """Return the message of the error that a call must raise."""
    return refusal(call, *arguments, **options).message


def listing(folder):
    return sorted(os.listdir(folder))


# --- Reading ---


def test_reading_returns_every_byte(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    assert files.read(str(path)) == bytes(range(256)) * 5000


def test_a_missing_file_is_named_as_such(tmp_path):
    assert fact(files.read, str(tmp_path / "none.png")) == "no such file"


def test_a_folder_is_refused_with_a_way_out(tmp_path):
    with pytest.raises(InputError) as caught:
        files.read(str(tmp_path))
    assert (caught.value.message, caught.value.hint) == ("is a folder", "poolcli batch")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x").touch()
    assert fact(files.read, str(tmp_path / "x")) == "empty file"


def test_a_file_below_a_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    assert fact(files.read, str(tmp_path / "x" / "y")) == "part of the path is not a folder"


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(fact(files.read, str(tmp_path / "pipe"))), daemon=True)
    thread.start()
    thread.join(5)
    assert answers == ["not a regular file"]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_devices_are_refused(device):
    assert fact(files.read, device) == "not a regular file"


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # its address has a short limit
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("s")
        assert fact(files.read, "s") == "not a regular file"


@pytest.mark.skipif(AS_ROOT, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "x").chmod(0)
    assert fact(files.read, str(tmp_path / "x")) == "permission denied"


def test_a_refusal_of_the_system_is_given_in_its_words(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert fact(files.read, str(tmp_path / "x")) == "permission denied"


def test_links_are_followed_and_bad_links_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    (tmp_path / "good").symlink_to("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert files.read(str(tmp_path / "good")) == b"123"
    assert fact(files.read, str(tmp_path / "dangling")) == "no such file"
    assert "symbolic link" in fact(files.read, str(tmp_path / "loop"))


@pytest.mark.parametrize(("change", "name"), [(b"1234567", "grown"), (b"1", "shrunk"), (b"abcd", "rewritten")])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, change, name):
    path = tmp_path / name
    path.write_bytes(b"1234")
    os.utime(path, ns=(1, 1))
    real, calls = os.fstat, []

    def fstat(descriptor):
        answer = real(descriptor)
        if stat.S_ISREG(answer.st_mode) and not calls:
            calls.append(answer)
            path.write_bytes(change)
        return answer

    monkeypatch.setattr(os, "fstat", fstat)
    assert fact(files.read, str(path)) == "changed while reading"
    assert calls


@pytest.mark.parametrize("name", ["http://x/a.png", "imageio:chelsea.png", "<video0>", "a.zip/b.png", "a\0b"])
def test_names_that_libraries_find_special_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert fact(files.read, name) in {"no such file", "embedded null byte"}


def test_standard_input_is_read_to_its_end_from_a_pipe():
    code = "from poolcli.media import files; print(len(files.read('-')))"
    done = subprocess.run([sys.executable, "-c", code], input=b"x" * 300_000, capture_output=True, check=True)
    assert done.stdout == b"300000\n"


def test_nothing_on_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert fact(files.read, "-") == "empty file"


def test_a_terminal_on_standard_input_is_refused(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b"typed"))
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", stream)
    error = refusal(files.read, "-", kind=UsageError)
    assert "input must be a file or a pipe, got a terminal" in error.message
    assert error.hint == "poolcli pool - < picture.png"


def test_a_closed_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert fact(files.read, "-") == "is closed"


# --- Names ---

ODD_NAMES = [
    "-rf.png",
    "a\nb.png",
    "\udcff\udcfe.png",
    "\x1b[2J.png",
    "[bold red]x.png",
    "~x",
    "trailing ",
    "e\u0301.png",
    "\u00e9.png",
    "n" * 251 + ".png",
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_odd_names_are_written_and_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert files.write(name, [b"12", b"345"], overwrite=False) == 5
    assert files.write(name, [b"new"], overwrite=True) == 3
    assert files.read(name) == b"new"
    assert listing(".") == [name]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain [b]x[/].png", "plain [b]x[/].png"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("\udcff\udc80", r"\xff\x80"),
        ("\ud800", r"\ud800"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("Screenshot 10.00\u202fAM \u00e9 \u4e2d.png", "Screenshot 10.00\u202fAM \u00e9 \u4e2d.png"),
    ],
    ids=ascii,
)
def test_names_are_shown_on_one_line_without_control(name, shown):
    assert files.shown(name) == shown
    files.shown(name).encode("utf-8")  # can be printed


# --- Writing ---


def test_buffers_are_written_in_order_into_new_folders(tmp_path):
    target = tmp_path / "new" / "deep" / "x.npy"
    assert files.write(str(target), [b"ab", memoryview(b"cd"), bytearray(b"e"), b""], overwrite=False) == 5
    assert target.read_bytes() == b"abcde"
    assert listing(target.parent) == ["x.npy"]


@pytest.mark.parametrize("durable", [False, True])
def test_new_folders_outlive_a_loss_of_power_where_asked(tmp_path, monkeypatch, durable):
    synced = []
    monkeypatch.setattr(files, "sync", synced.append)
    files.write(str(tmp_path / "a/b/x"), [b"new"], overwrite=False, durable=durable)
    assert synced == ([str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/b")] if durable else [])
    synced.clear()
    files.write(str(tmp_path / "a/b/y"), [b"new"], overwrite=False, durable=durable)
    assert synced == ([str(tmp_path / "a/b")] if durable else [])
    files.make_folder(str(tmp_path / "a/b"), durable=durable)


def test_the_sweep_takes_marked_temporary_files_and_nothing_else(tmp_path):
    names = [".poolcli-m1x.tmp", ".poolcli-m2x.tmp", "m1x.tmp", ".poolcli-m1x", "x.tmp", ".poolcli-m1y.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert files.sweep([str(tmp_path), str(tmp_path / "none")], "m1") == 2
    assert listing(tmp_path) == sorted({*names} - {names[0], names[5]})


def test_short_writes_of_the_system_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: real(descriptor, view[:7]))
    files.write(str(tmp_path / "x"), [bytes(range(100)), b"end"], overwrite=False)
    assert (tmp_path / "x").read_bytes() == bytes(range(100)) + b"end"


def test_an_existing_file_is_kept_unless_overwriting(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    error = refusal(files.write, str(tmp_path / "x"), [b"new"], overwrite=False, kind=OutputError)
    assert (error.message, error.hint) == ("exists already", "force=True overwrites it")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert listing(tmp_path) == ["x"]


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, hard_links):
    target = tmp_path / "x"
    real = os.link

    def link(source, name):
        target.write_bytes(b"theirs")
        if not hard_links:
            raise OSError(errno.EPERM, "Operation not permitted")
        real(source, name)

    monkeypatch.setattr(os, "link", link)
    assert fact(files.write, str(target), [b"ours"], overwrite=False, kind=OutputError) == "exists already"
    assert target.read_bytes() == b"theirs"
    assert listing(tmp_path) == ["x"]


def test_a_file_system_without_hard_links_serves(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", link)
    files.write(str(tmp_path / "x"), [b"new"], overwrite=False)
    assert (tmp_path / "x").read_bytes() == b"new"
    assert listing(tmp_path) == ["x"]


FAILURES = [
    (OSError(errno.ENOSPC, "No space left on device"), OutputError, "no space left on device"),
    (OSError(errno.EIO, "Input/output error"), OutputError, "input/output error"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), OutputError, "disk quota exceeded"),
    (KeyboardInterrupt(), KeyboardInterrupt, None),
    (SystemExit(143), SystemExit, None),
    (MemoryError(), MemoryError, None),
]


@pytest.mark.parametrize(("error", "kind", "message"), FAILURES, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("call", ["write", "fstat", "close", "replace", "fchmod"])
def test_any_failure_keeps_the_old_bytes_and_leaves_nothing_else(tmp_path, monkeypatch, call, error, kind, message):
    target = tmp_path / "x"
    target.write_bytes(b"old bytes")
    real, failed = getattr(os, call), []

    def fail(*arguments):
        if call == "close":
            real(*arguments)
        failed.append(arguments)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(kind) as caught:
            files.write(str(target), [b"new", b"bytes"], overwrite=True)
    assert failed
    assert message is None or caught.value.message == message
    assert target.read_bytes() == b"old bytes"
    assert listing(tmp_path) == ["x"]


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_disk_that_fills_up_later_is_noticed(tmp_path, monkeypatch, nth):
    real, calls = os.write, []

    def write(descriptor, view):
        calls.append(view)
        if len(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, view[:3])

    monkeypatch.setattr(os, "write", write)
    answer = fact(files.write, str(tmp_path / "x"), [b"1234567", b"89abcdef"], overwrite=False, kind=OutputError)
    assert answer == "no space left on device"
    assert listing(tmp_path) == []


def test_a_length_that_the_system_does_not_confirm_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda _, view: view.nbytes)  # claims success, writes nothing
    answer = fact(files.write, str(tmp_path / "x"), [b"12345"], overwrite=True, kind=OutputError)
    assert answer == "0 of 5 bytes were written"
    assert listing(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_device_is_an_error_and_stays_a_device():
    assert fact(files.write, "/dev/full", [b"x"], overwrite=True, kind=OutputError) == "no space left on device"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_the_null_device_stays_a_device():
    assert files.write("/dev/null", [b"x" * 10], overwrite=True) == 10
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_fifo_gets_the_bytes_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    files.write(str(pipe), [b"ab", b"c" * 100_000], overwrite=False)
    reader.join(10)
    assert got == [b"ab" + b"c" * 100_000]
    assert pipe.is_fifo()
    assert listing(tmp_path) == ["pipe"]


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "d").mkdir()
    for name in ("d", "d/"):
        answer = fact(files.write, f"{tmp_path}/{name}", [b"x"], overwrite=True, kind=OutputError)
        assert answer == "is a folder"
    assert listing(tmp_path) == ["d"]


def test_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    for name in ("x/y", "x/y/z"):
        answer = fact(files.write, str(tmp_path / name), [b"x"], overwrite=False, kind=OutputError)
        assert answer == "part of the path is not a folder"
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_symbolic_link_stays_and_its_target_gets_the_bytes(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real/x")
    (tmp_path / "dangling").symlink_to("real/y")
    files.write(str(tmp_path / "link"), [b"new"], overwrite=True)
    files.write(str(tmp_path / "dangling"), [b"fresh"], overwrite=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "real" / "x").read_bytes() == b"new"
    assert (tmp_path / "real" / "y").read_bytes() == b"fresh"
    assert listing(tmp_path / "real") == ["x", "y"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_follows_the_umask_and_a_replaced_one_keeps_its_mode(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write(str(tmp_path / "new"), [b"x"], overwrite=False)
        (tmp_path / "old").write_bytes(b"x")
        (tmp_path / "old").chmod(0o640)
        files.write(str(tmp_path / "old"), [b"y"], overwrite=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640


@pytest.mark.skipif(not AS_ROOT, reason="only root can give files away")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    os.chown(tmp_path / "x", 1234, 2345)
    files.write(str(tmp_path / "x"), [b"new"], overwrite=True)
    owner = (tmp_path / "x").stat()
    assert (owner.st_uid, owner.st_gid) == (1234, 2345)


WRITE = "import sys; from poolcli.media import files; files.write(sys.argv[1], [b'a' * 100_000, b'b'], overwrite=False)"


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_gets_the_bytes(tmp_path, name):
    piped = subprocess.run([sys.executable, "-c", WRITE, name], capture_output=True, check=True)
    assert piped.stdout == b"a" * 100_000 + b"b"
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", WRITE, name], stdout=file, check=True)
    assert (tmp_path / "out").read_bytes() == b"a" * 100_000 + b"b"


def test_a_reader_that_leaves_is_a_broken_pipe_and_nothing_else():
    code = "import signal; signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n" + WRITE.replace("; ", "\n").replace(
        "files.write(", "\ntry: files.write("
    )
    code += "\nexcept BrokenPipeError as error: sys.exit(7 if type(error) is BrokenPipeError else 8)"
    with subprocess.Popen([sys.executable, "-c", code, "-"], stdout=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.wait(30) == 7


def test_a_terminal_or_closed_standard_output_is_refused(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    error = refusal(files.write, "-", [b"x"], overwrite=False, kind=UsageError)
    assert "output must be a file or a pipe, got a terminal" in error.message
    assert error.hint == "output=FILE, or > FILE"
    monkeypatch.setattr(sys, "stdout", None)
    assert fact(files.write, "-", [b"x"], overwrite=False, kind=OutputError) == "is closed"


def test_reading_and_writing_need_the_standard_library_only():
    code = (
        "import sys; from poolcli.media import files, formats;"
        "print({'numpy', 'PIL', 'imageio', 'tifffile'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "set()\n"
