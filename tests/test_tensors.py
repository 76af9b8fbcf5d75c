"""Proves that `.npy` and `.npz` files are read exactly, without a copy and without trust, and written as NumPy does."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from poolcli.errors import InputError, LimitError
from poolcli.media import contents
from poolcli.media.formats import by_name, check

NPY = by_name("npy")
LIMIT = 10**9
DTYPES = ["?", *"bhilq", *"BHILQ", "e", "f", "d"]


def saved(array, **options):
    """Return the `.npy` file that NumPy itself writes."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def headed(header, data=b"", version=(1, 0)):
    """Return a file with any header text."""
    text = header if isinstance(header, bytes) else header.encode("latin-1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def described(shape, descr="'<f4'", data=b"", order="False"):
    return headed(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n", data)


def decode(data, **options):
    return contents.decode(data, max_pixels=options.pop("max_pixels", LIMIT), **options)


def refusal(data, **options):
    """Return the message with which both probing and decoding must refuse."""
    messages = []
    for call in (contents.look, contents.decode):
        with pytest.raises(InputError) as caught:
            call(data, max_pixels=LIMIT, **options)
        assert type(caught.value) is InputError
        assert "pickle" not in str(caught.value.hint)
        messages.append(caught.value.message)
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    assert len(messages[0]) < 300
    return messages[0]


def values(dtype, shape):
    flat = np.arange(1, 1 + np.prod(shape, dtype=int)) % (2 if dtype == "?" else 100)
    return flat.astype(dtype).reshape(shape)


# --- Reading what is sound ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 4, 5), (2, 1, 3, 4), (1, 2, 3, 4, 5)])
def test_every_dtype_order_and_shape_is_read_exactly(dtype, order, shape):
    array = values(dtype, shape).astype(np.dtype(dtype).newbyteorder(order))
    for layout in (np.ascontiguousarray(array), np.asfortranarray(array)):
        content = decode(saved(layout))
        assert content.pixels.dtype == array.dtype
        assert content.pixels.shape == shape
        assert np.array_equal(content.pixels, array)
        assert content.header == contents.look(saved(layout), max_pixels=LIMIT).header


def test_the_header_says_what_the_array_is():
    header = decode(saved(values("f", (3, 4, 5)))).header
    assert (header.format, header.shape, header.dtype, header.mode) == ("npy", (3, 4, 5), "float32", None)
    assert (header.bits, header.frames, header.orientation, header.picture) == (32, 1, None, False)


def test_a_tensor_carries_no_picture_metadata_and_no_warnings():
    content = decode(saved(values("f", (3, 4))))
    assert content.meta is None
    assert content.warnings == ()


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_array_is_a_read_only_view_of_the_bytes(order):
    array = np.array(values("f", (30, 40)), order=order)
    data = saved(array)
    pixels = decode(data).pixels
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    assert pixels.__array_interface__["data"][0] == start + len(data) - array.nbytes
    assert pixels.flags[f"{order}_CONTIGUOUS"]
    assert not pixels.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version):
    array = values("f", (3, 5))
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }\n"
    assert np.array_equal(decode(headed(text, array.tobytes(), version)).pixels, array)


def test_a_header_written_by_python_2_is_read():
    array = values("f", (3, 5))
    assert np.array_equal(decode(described("(3L, 5L)", data=array.tobytes())).pixels, array)


def test_an_empty_batch_is_read():
    assert decode(saved(np.empty((0, 3, 8, 8), "f"))).pixels.shape == (0, 3, 8, 8)


def test_unaligned_data_is_read():
    array = values("d", (3, 5))
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 5), }" + " " * 3 + "\n"
    assert np.array_equal(decode(headed(text, array.tobytes())).pixels, array)


# --- Refusing what is not ---


@pytest.mark.parametrize("cut", [1, 50, 99, 100])
def test_truncated_data_is_refused_with_both_lengths(cut):
    assert refusal(saved(values("B", (10, 10)))[:-cut]) == (
        f"truncated: its header promises 100 bytes of data, found {100 - cut}"
    )


def test_a_file_cut_at_any_length_is_refused():
    data = saved(values("h", (5, 7)))
    for length in range(1, len(data)):
        refusal(data[:length])


def test_bytes_after_the_data_are_refused():
    assert refusal(saved(values("f", (3, 4))) + b"x" * 400) == "400 extra bytes after the data"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), "c8"),
        np.zeros((2, 2), "c16"),
        np.zeros((2, 2), "M8[s]"),
        np.zeros((2, 2), "m8[s]"),
        np.zeros((2, 2), "U4"),
        np.zeros((2, 2), "S4"),
        np.zeros((2, 2), "V4"),
        np.zeros((2, 2), "g"),
        np.zeros((2, 2), "G"),
        np.zeros((2, 2), [("a", "f4"), ("b", "f4")]),
        np.zeros((2, 2), [("a", "f4")]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_other_dtypes_are_refused_with_the_supported_ones(array):
    assert "is not supported" in refusal(saved(array))
    with pytest.raises(InputError) as caught:
        decode(saved(array))
    assert "float16, float32, float64" in caught.value.hint
    assert "bool, int8, uint8" in caught.value.hint


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_objects_are_never_unpickled(tmp_path):
    path = str(tmp_path / "made")
    raw = pickle.dumps(Payload(path))
    array = np.empty(1, object)
    array[0] = Payload(path)
    assert "dtype object is not supported" in refusal(saved(array, allow_pickle=True))
    assert "looks like a Python pickle" in refusal(raw)
    assert list(tmp_path.iterdir()) == []
    pickle.loads(raw)  # noqa: S301 - proves that the payload would have worked
    assert list(tmp_path.iterdir()) != []


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ("()", "no axis to pool"),
        ("(-1,)", "invalid shape"),
        ("(2, -1, -1)", "invalid shape"),
        ("(True, 3)", "invalid shape"),
        ("(1.5,)", "damaged .npy header"),
        ("'ab'", "damaged .npy header"),
        ("None", "damaged .npy header"),
        (str((1,) * 65), "invalid shape"),
        ("(3, 0, 8)", "zero-sized dimension"),
        ("(0, 0)", "zero-sized dimension"),
        (f"(0, {2**62})", "invalid shape"),
        (f"({10**6}, {10**6})", "promises 4000000000000 bytes of data, found 4"),
        (f"({2**32}, {2**32})", "promises"),
        (f"({2**61 + 1}, 8, 1)", "promises"),
        (f"({2**70},)", "invalid shape"),
        (f"(0, {2**70})", "invalid shape"),
    ],
)
def test_shapes_that_cannot_be_are_refused_before_allocation(shape, reason):
    assert reason in refusal(described(shape, data=b"" if shape.startswith("(0") else b"1234"))


@pytest.mark.parametrize("descr", ["'V0'", "'S0'", "'U0'"])
def test_elements_without_size_are_refused(descr):
    assert "is not supported" in refusal(described(f"({10**12},)", descr))


HORRORS = {
    "long": headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }" + " " * 20_000 + "\n", b"1234", (2, 0)),
    "parentheses": headed("(" * 3000 + "\n"),
    "minus signs": headed("-" * 9000 + "1\n"),
    "zero byte": headed("{'descr': '<f4',\0 'fortran_order': False, 'shape': (1,), }\n", b"1234"),
    "version 9.9": headed("{}", version=(9, 9)),
    "magic only": b"\x93NUMPY",
    "magic and version": b"\x93NUMPY\x01\x00",
    "length beyond the file": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "not a dictionary": headed("[1, 2]\n"),
    "missing key": headed("{'descr': '<f4', 'shape': (1,)}\n"),
    "extra key": headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}\n"),
    "unknown dtype": described("(1,)", "'<f5'"),
    "dtype of a number": described("(1,)", "17"),
    "order of a string": described("(1,)", order="'no'"),
    "call": headed("__import__('os').getpid()\n"),
    "unbalanced": headed("{'descr': '<f4'\n"),
    "empty": headed(""),
    "bytes": headed(b"\xff\xfe\x80" * 30),
    "nested": headed("{'descr': " + "[" * 500 + "]" * 500 + ", 'fortran_order': False, 'shape': (1,)}\n"),
}


@pytest.mark.parametrize("name", HORRORS)
def test_damaged_headers_are_refused_as_such(name):
    assert refusal(HORRORS[name]) == "damaged .npy header"


def test_any_changed_header_byte_reads_or_is_refused():
    data = saved(values("H", (4, 6)))
    outcomes = set()
    for at, byte in itertools.product(range(6, 80), (0, 0x20, 0x28, 0x2D, 0x30, 0x39, 0x4F, 0x7F, 0xFF)):
        try:
            pixels = decode(data[:at] + bytes([byte]) + data[at + 1 :]).pixels
        except InputError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert pixels.nbytes == 48
    assert outcomes == {"read", "refused"}


def test_bool_bytes_other_than_0_and_1_are_refused():
    data = bytearray(saved(np.ones((4, 4), "?")))
    data[-3] = 2
    assert "bool" in refusal_of_decode(bytes(data))


def refusal_of_decode(data):
    with pytest.raises(InputError) as caught:
        decode(data)
    return caught.value.message


@pytest.mark.parametrize(
    ("head", "likeness"),
    [
        (b"rows of text\n1 2 3\n", " (looks like text)"),
        (b"BMW is a car", " (looks like text)"),
        (b"P2P is text too", " (looks like text)"),
        (b"P5", " (looks like text)"),
        (b"\0" * 100, ""),
        (b"%PDF-1.7\n", " (looks like PDF)"),
        (b"%!PS-Adobe-3.0 EPSF", " (looks like EPS or PostScript)"),
        (b"8BPS\0\1", " (looks like PSD)"),
        (b"SIMPLE  =    T", " (looks like FITS)"),
        (b"<?xml version='1.0'?><svg>", " (looks like SVG)"),
        (b"RIFF\0\0\0\0WAVE", ""),
    ],
)
def test_what_is_no_picture_or_tensor_is_named_when_known(head, likeness):
    assert refusal(head) == "not a picture or tensor poolcli can read" + likeness


# --- Memory ---


def test_lies_about_size_cost_no_memory():
    lies = [
        described(f"({10**6}, {10**6})", data=bytes(24)),
        described("(30000, 30000)", data=bytes(24)),
        headed("{}", version=(2, 0))[:8] + b"\xff\xff\xff\xff",
        archive_bytes({"a": np.zeros((16_000, 16_000), "B")}),
    ]
    code = (
        "import pickle, sys; from poolcli.errors import PoolError; from poolcli.media import contents\n"
        "for data in pickle.load(sys.stdin.buffer):\n"
        "    try: contents.decode(data, max_pixels=10**6)\n"
        "    except PoolError: print('refused')\n"
        # ru_maxrss would count the parent's, too
        "print(*(int(s.split()[1]) // 1024 for s in open('/proc/self/status') if s.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(lies), capture_output=True, check=True)
    *refused, megabytes = done.stdout.split()
    assert refused == [b"refused"] * len(lies)
    assert int(megabytes) < 150


# --- .npz ---


def archive_bytes(arrays, *, compress=True):
    file = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(file, **arrays)
    return file.getvalue()


def zipped(members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data, **options)
    return file.getvalue()


@pytest.mark.parametrize("compress", [True, False])
def test_the_only_array_of_an_archive_is_read(compress):
    array = values("f", (5, 6))
    data = archive_bytes({"only": array}, compress=compress)
    for key in (None, "only"):
        content = decode(data, key=key)
        assert np.array_equal(content.pixels, array)
        assert content.header.format == "npz"
        assert content.header == contents.look(data, key=key, max_pixels=LIMIT).header


def test_several_arrays_need_a_key():
    data = archive_bytes({"a": values("f", (2, 3)), "b": values("B", (4, 5))})
    assert refusal(data) == "holds 2 arrays: a, b"
    with pytest.raises(InputError) as caught:
        decode(data)
    assert caught.value.hint == "key=NAME"
    assert np.array_equal(decode(data, key="b").pixels, values("B", (4, 5)))
    with pytest.raises(InputError) as caught:
        decode(data, key="c")
    assert (caught.value.message, caught.value.hint) == ("holds no array 'c', only a, b", "key=NAME")


def test_a_thousand_keys_are_not_all_listed():
    data = zipped([(f"k{number:04}.npy", saved(values("B", (2, 2)))) for number in range(1000)])
    assert refusal(data).endswith("k0008, k0009 and 990 more")
    assert decode(data, key="k0500").pixels.shape == (2, 2)


def test_names_of_members_are_never_paths_nor_control_characters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    member = saved(values("B", (2, 3)))
    assert decode(zipped([("../../evil.npy", member)])).pixels.shape == (2, 3)
    assert decode(zipped([("/etc/evil.npy", member)]), key="/etc/evil").pixels.shape == (2, 3)
    assert r"\x1b[2J" in refusal(zipped([("\x1b[2J.npy", member), ("b.npy", member)]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_arrays_of_one_name_are_refused():
    member = saved(values("B", (2, 3)))
    assert refusal(zipped([("a.npy", member), ("a.npy", member)]), key="a") == "holds 2 arrays named 'a'"


def test_archives_without_arrays_are_refused():
    assert refusal(zipped([])) == "holds no array"
    assert refusal(zipped([("word/document.xml", b"<x/>")])) == "holds no array"


def test_damaged_members_are_refused():
    good = saved(values("d", (20, 30)))
    assert refusal(zipped([("a.npy", b"text")])) == "damaged .npy header"
    assert "truncated" in refusal(zipped([("a.npy", good[:-1])]))
    assert "extra bytes" in refusal(zipped([("a.npy", good + b"x")]))
    assert "is not supported" in refusal(zipped([("a.npy", saved(np.zeros((2, 2), "c8")))]))


def test_an_archive_cut_at_any_length_is_refused():
    data = archive_bytes({"a": values("d", (20, 30))})
    for length in range(4, len(data), 7):
        with pytest.raises(InputError):
            decode(data[:length])


def test_a_damaged_archive_never_gives_other_values():
    data = archive_bytes({"a": values("d", (20, 30))}, compress=False)
    refused = 0
    for at in range(150, len(data), 97):
        try:
            pixels = decode(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]).pixels
        except InputError:
            refused += 1
        else:
            assert np.array_equal(pixels, values("d", (20, 30)))
    assert refused > 40


def test_an_encrypted_member_is_refused():
    data = bytearray(zipped([("a.npy", saved(values("B", (2, 3))))]))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    assert refusal(bytes(data)) == "is encrypted"


def test_more_elements_than_the_limit_are_refused_before_unpacking():
    data = archive_bytes({"a": np.zeros((1000, 1000), "B")})
    for call in (contents.look, contents.decode):
        with pytest.raises(LimitError) as caught:
            call(data, max_pixels=999_999)
        assert caught.value.hint == "max_pixels="
    assert decode(data, max_pixels=10**6).pixels.shape == (1000, 1000)


@pytest.mark.parametrize(("spare", "message"), [(0, "holds 65488 elements"), (1, "unpacks to 65617 bytes")])
def test_a_member_is_not_unpacked_once_its_size_alone_passes_the_limit(spare, message):
    member = saved(np.zeros(10 * 8 + 2**16 + spare - 128, "B"))
    with pytest.raises(LimitError) as caught:
        decode(zipped([("a.npy", member)]), max_pixels=10)
    assert caught.value.message.startswith(message)


def test_a_directory_that_promises_less_than_there_is_gives_nothing_more():
    data = bytearray(archive_bytes({"a": np.zeros((500, 500), "B")}))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 200)
    refusal(bytes(data))


def test_a_key_is_refused_where_there_is_nothing_to_choose():
    assert "this is npy" in refusal(saved(values("B", (2, 2))), key="a")


# --- Writing ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6,), (2, 3), (0, 3), (2, 1, 3, 4)])
def test_written_files_are_read_by_numpy_with_the_same_values(dtype, shape):
    array = values(dtype, shape)
    back = np.load(io.BytesIO(b"".join(contents.encode(array, NPY, None))), allow_pickle=False)
    assert back.dtype == array.dtype
    assert back.shape == shape
    assert np.array_equal(back, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_written_files_are_the_bytes_that_numpy_writes(dtype):
    array = values(dtype, (3, 4, 5))
    for given in (array, array.astype(array.dtype.newbyteorder())):
        assert b"".join(contents.encode(given, NPY, None)) == saved(given)


@pytest.mark.parametrize("change", [lambda a: a[::-1], lambda a: a.T, np.asfortranarray, lambda a: a[:, ::2]])
def test_any_strides_are_written(change):
    array = change(values("f", (6, 8)))
    assert np.array_equal(np.load(io.BytesIO(b"".join(contents.encode(array, NPY, None)))), array)


def test_a_contiguous_array_is_not_copied():
    array = values("f", (3, 4))
    array.flags.writeable = False
    _, data = contents.encode(array, NPY, None)
    assert np.frombuffer(data, "f").__array_interface__["data"] == array.__array_interface__["data"]


def test_a_dtype_that_npy_is_not_meant_for_is_refused():
    with pytest.raises(InputError, match="complex64"):
        check(NPY, (2, 2), "complex64")


def test_tensors_need_no_picture_library():
    code = (
        "import io, sys, numpy as np; from poolcli.media import contents, formats\n"
        "data = b''.join(contents.encode(np.ones((3, 4)), formats.by_name('npy'), None))\n"
        "assert contents.decode(data, max_pixels=100).pixels.sum() == 12\n"
        "print({'PIL', 'imageio', 'tifffile'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "set()\n"
