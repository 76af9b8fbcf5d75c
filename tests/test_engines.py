"""Proves that both engines agree for any number of bands, cache their kernels and survive a fork."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import SHAPES, WINDOWS, sample

import poolcli
from poolcli import errors
from poolcli.core import cache, compiled, engines, kernels, machine, pooling, threads
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup

THREADS = (1, 2, 7)
QUICK = [
    ("max", "uint8"),
    ("avg", "uint8"),
    ("avg", "int16"),
    ("max", "float32"),
    ("l2", "float32"),
    ("avg", "float64"),
    ("l2", "float64"),
    ("max", "float16"),
    ("avg", "float16"),
]
LARGE = [
    {"kernel": 1, "stride": 1},
    {"kernel": 2, "stride": 2},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": (3, 2), "stride": 2, "ceil": True},
    {"kernel": 5, "stride": 1, "padding": ((4, 0), (1, 3))},
    {"kernel": 8, "stride": 3, "count_include_pad": True, "padding": "same"},
    {"kernel": 9, "stride": 1},
    {"kernel": (15, 4), "stride": (2, 1)},
    {"kernel": 31, "stride": 1, "padding": 15},
    {"kernel": 31, "stride": 31, "ceil": True},
    {"kernel": 5, "stride": 2, "dilation": 3, "padding": 6},
]


def hostile(shape, dtype):
    """Return random values; floats have all their bits in use, so that the order of adding shows."""
    if np.dtype(dtype).kind != "f":
        return sample(shape, dtype)
    return np.random.default_rng(11).normal(size=shape).astype(dtype)


def spoiled(shape, dtype):
    """Return random floats with NaN and infinities among them."""
    array = hostile(shape, dtype)
    array[..., 7, 5] = np.nan
    array[..., 30:33, 40] = np.inf
    array[..., 50, 60:63] = -np.inf
    array[..., 50, 10:50] = -0.0
    return array


@pytest.fixture
def parted(monkeypatch):
    """Part even work that is not worth it."""
    monkeypatch.setattr(threads, "ALONE", 0)


def assert_engines_agree(array, method, **window):
    expected = poolcli.pool(array, method, engine="numpy", threads=1, **window)
    for count in THREADS:
        for engine in ("numpy", "numba"):
            result = poolcli.pool(array, method, engine=engine, threads=count, **window)
            assert result.dtype == expected.dtype
            np.testing.assert_array_equal(result, expected, err_msg=f"{engine}, {count} threads")


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("window", LARGE, ids=str)
@pytest.mark.parametrize(("method", "dtype"), QUICK)
def test_engines_agree_for_any_number_of_bands(method, dtype, window):
    assert_engines_agree(hostile((3, 89, 263), dtype), method, **window)


HUGE = [
    {"kernel": 31, "stride": 1, "padding": ((30, 3), (0, 7))},
    {"kernel": (15, 2), "stride": (2, 3), "ceil": True},
    {"kernel": (9, 3), "stride": (1, 2), "dilation": (3, 2), "padding": (5, 1)},
    {"kernel": (2, 3), "stride": (7, 1)},
]


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("window", HUGE, ids=str)
def test_work_that_is_parted_has_the_values_of_work_that_is_not(window):
    # One plane of 3.4 million elements is parted by both engines, and again where it must be converted first.
    array = hostile((1811, 1873), "float64")
    expected = poolcli.pool(array, "avg", engine="numpy", **window)
    for engine in ("numpy", "numba"):
        for form in (array, np.asfortranarray(array), array.astype(">f8")):
            result = poolcli.pool(form, "avg", engine=engine, threads=3, **window)
            np.testing.assert_array_equal(result, expected)
    rows, columns = (slice(700, 900), slice(600, 800))
    near = poolcli.pool(np.ascontiguousarray(array[rows, columns]), "max", engine="numpy", kernel=3, stride=1)
    far = poolcli.pool(np.asfortranarray(array), "max", engine="numpy", kernel=3, stride=1)
    np.testing.assert_array_equal(far[700:898, 600:798], near)


@pytest.mark.parametrize("layout", ["HW", "HWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float16", "bool"])
def test_a_dtype_without_a_kernel_of_its_own_is_converted_part_by_part(dtype, layout):
    shape = {"HW": (1601, 1699), "HWC": (801, 1103, 4), "NCHW": (3, 5, 431, 463)}[layout]
    array = hostile(shape, dtype)
    wide = array.astype("float64" if dtype == "float16" else "uint8")
    for method in ("max", "avg"):
        expected = poolcli.pool(wide, method, (5, 3), stride=(2, 1), padding=1, engine="numpy", layout=layout)
        for engine in ("numpy", "numba"):
            result = poolcli.pool(array, method, (5, 3), stride=(2, 1), padding=1, engine=engine, layout=layout)
            np.testing.assert_array_equal(result, expected.astype(result.dtype))


@pytest.mark.usefixtures("parted")
def test_many_threads_may_pool_at_once():
    arrays = [hostile((2, 150 + size, 301), "float64") for size in range(8)]
    expected = [poolcli.pool(array, "avg", 9, stride=1, engine="numpy") for array in arrays]
    with ThreadPoolExecutor(4) as callers:
        pooled = callers.map(
            lambda array: poolcli.pool(array, "avg", 9, stride=1, engine="numba", threads=3), arrays * 3
        )
        for result, right in zip(pooled, expected * 3, strict=True):
            np.testing.assert_array_equal(result, right)


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("window", LARGE[1::2], ids=str)
@pytest.mark.parametrize(("method", "dtype"), [pair for pair in QUICK if "float" in pair[1]])
def test_engines_agree_about_nan_and_infinities(method, dtype, window):
    assert_engines_agree(spoiled((2, 97, 353), dtype), method, **window)


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("layout", ["HWC", "NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize(("method", "dtype"), [("avg", "float64"), ("max", "uint8")])
def test_engines_agree_in_every_layout(method, dtype, channels, layout):
    lengths = {"H": 97, "W": 131, "C": channels, "N": 2}
    array = hostile(tuple(lengths[letter] for letter in layout), dtype)
    for window in ({"kernel": 2}, {"kernel": 9, "stride": 2, "padding": 4}):
        assert_engines_agree(array, method, layout=layout, **window)


@pytest.mark.parametrize("case", WINDOWS, ids=lambda case: case.id)
def test_numba_agrees_on_every_window_of_the_matrix(case):
    array = hostile((2, 40, 43), "float64")
    for method in ("max", "avg"):
        expected = poolcli.pool(array, method, engine="numpy", **case.arguments)
        np.testing.assert_array_equal(poolcli.pool(array, method, engine="numba", **case.arguments), expected)


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("target", ["uint8", "int16", "float32"])
def test_engines_agree_in_rounding_to_another_dtype(target):
    for method in ("max", "avg"):
        assert_engines_agree(hostile((2, 90, 91), "float64") * 99, method, kernel=3, stride=2, dtype=target)
    assert_engines_agree(hostile((2, 90, 91), "uint8"), "avg", kernel=2, dtype=target)


def test_numba_refuses_nan_for_an_integer_and_large_sums_as_numpy_does():
    with pytest.raises(poolcli.PoolError, match="NaN"):
        poolcli.pool(np.full((4, 4), np.nan), "max", engine="numba", dtype="uint8")
    with pytest.raises(poolcli.PoolError, match="64"):
        poolcli.pool(np.full((4, 4), 2**62, "uint64"), "sum", engine="numba")


def test_numba_writes_into_out_and_takes_any_memory_form():
    array = hostile((60, 64), "float64")
    expected = poolcli.pool(array, "avg", 3, engine="numpy")
    locked = array.astype(">f8")[::-1][::-1]
    locked.setflags(write=False)
    for form in (np.asfortranarray(array), array.astype(">f8"), locked, np.repeat(array, 2, axis=1)[:, ::2]):
        out = np.zeros((20, 42), "float64")[:, ::2]
        assert poolcli.pool(form, "avg", 3, engine="numba", out=out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("shape", "window", "woken"),
    [
        ((8, 8), {"kernel": 2}, False),
        ((512, 512), {"kernel": 2}, False),  # 0.04 ms on one thread
        ((700, 700), {"kernel": 15, "stride": 1}, True),
        ((16, 512, 512), {"kernel": 2}, True),
    ],
)
def test_threads_are_woken_for_work_that_takes_longer_than_waking_them(shape, window, woken, monkeypatch):
    shares, run = [], threads.run
    monkeypatch.setattr(threads, "run", lambda *given: (shares.append(given[3]), run(*given)))
    array = hostile(shape, "float32")
    result = poolcli.pool(array, "max", engine="numba", threads=2, **window)
    assert (2 in shares) is woken
    np.testing.assert_array_equal(result, poolcli.pool(array, "max", engine="numpy", **window))


def test_auto_gives_what_the_engines_give():
    array = hostile((3, 40, 50), "float64")
    expected = poolcli.pool(array, "avg", 3, engine="numpy")
    np.testing.assert_array_equal(poolcli.pool(array, "avg", 3), expected)


# A kernel takes seconds to compile: each width and kind of number once; the numpy engine is tested in every dtype
WIDTHS = ("uint8", "int8", "uint16", "int32", "uint64", "float32", "float64")


@pytest.mark.usefixtures("parted")
@pytest.mark.slow
@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("method", ["max", "min", "avg", "sum", "l2", "range"])  # the others fold by their kernels
def test_engines_agree_for_every_method_and_dtype(method, dtype):
    for window in LARGE:
        assert_engines_agree(hostile((2, 130, 257), dtype), method, **window)
    for shape in SHAPES:
        array = hostile(shape.shape, dtype)
        assert_engines_agree(array, method, kernel=1, stride=2, layout=shape.layout)
        assert_engines_agree(array, method, kernel=3, stride=2, padding=2, layout=shape.layout)


def test_three_fused_steps_divide_as_a_division_does():
    generator = np.random.default_rng(5)
    values = [*generator.normal(size=40), *(generator.integers(1, 2**24, 20) * 2.0**-24), 0.0, -0.0, 1e300, 2.0**-900]
    for n in [*range(1, 130), 225, 961, 3969, 16129, 2**20 - 1]:
        hard = [n * (1 + 2.0**-23 * odd) for odd in (0.5, 1.5, 2.5)]  # quotients half way between two float32
        for value in map(np.float64, (*values, *hard, *np.nextafter(hard, 0), *np.nextafter(hard, np.inf))):
            assert kernels.quotient(value, np.float64(n), 1 / np.float64(n)) == value / n


@pytest.mark.usefixtures("parted")
@pytest.mark.parametrize("method", ["avg", "l2"])
def test_quotients_that_need_no_rounding_or_are_infinite_stay_what_they_are(method):
    array = np.repeat(np.float32([[np.inf, -np.inf, 3e38, 1e-45, 0, 0.1, 3]]), 9, axis=0).repeat(9, axis=1)
    assert_engines_agree(array, method, kernel=3, stride=1)
    assert_engines_agree(array, method, kernel=9)


# Keeping machine code only makes a start faster.


def fail(error):
    def raising(*_arguments, **_keywords):
        raise error

    return raising


def forget():
    """Make this process load its kernels anew."""
    for remembered in (compiled._kernel, engines._compiled, engines._folders):  # noqa: SLF001
        remembered.cache_clear()


@pytest.fixture(scope="module")
def machine_code():
    """Return what Numba has compiled, by its signature: tests of keeping code need one kernel, compiled once."""
    return {}


@pytest.fixture
def compilations(monkeypatch, tmp_path, machine_code):
    """Return what Numba was asked to compile, after forgetting what was compiled before."""
    import numba

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(errors, "_warned", set())
    forget()
    compile_, made = numba.cfunc, []

    def cfunc(signature, **options):
        made.append(signature)
        return lambda template: machine_code.get(signature) or keep(signature, compile_(signature, **options)(template))

    def keep(signature, function):
        machine_code[signature] = function
        return function

    monkeypatch.setattr(numba, "cfunc", cfunc)
    yield made
    forget()


@pytest.mark.parametrize(
    ("place", "name", "error"),
    [
        (machine, "host", AttributeError("initialize_native_target")),
        (machine, "emit", TypeError("create_target_machine")),
        (machine, "load", RuntimeError("create_mcjit_compiler")),
        (cache, "write", OSError("no space left")),
        (cache, "prepare", ImportError("fcntl")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_fails_in_keeping_code_costs_one_warning_and_no_second_compilation(
    place, name, error, compilations, monkeypatch
):
    monkeypatch.setattr(place, name, fail(error))
    array = hostile((31, 35), "uint8")
    with pytest.warns(errors.PoolWarning, match=f"compiled kernels are not kept: {error}") as warned:
        result = poolcli.pool(array, "max", 3, engine="numba")
    np.testing.assert_array_equal(result, poolcli.pool(array, "max", 3, engine="numpy"))
    np.testing.assert_array_equal(result[:5], poolcli.pool(array[:15], "max", 3, engine="numba"))
    assert (len(warned), len(compilations)) == (1, 1)


def test_code_that_was_kept_and_cannot_be_loaded_is_compiled_once(compilations, monkeypatch):
    array = hostile((31, 35), "uint8")
    expected = poolcli.pool(array, "max", 3, engine="numba")
    forget()
    compilations.clear()
    monkeypatch.setattr(machine, "load", fail(AttributeError("add_object_file")))
    with pytest.warns(errors.PoolWarning, match="add_object_file"):
        again = poolcli.pool(array, "max", 3, engine="numba")
    np.testing.assert_array_equal(again, expected)
    assert len(compilations) == 1


# Processes.

POOL = """
import numpy, poolcli, sys
array = numpy.arange(3 * 400 * 500, dtype="float32").reshape(3, 400, 500)
result = poolcli.pool(array, "max", 3, engine="numba", threads=2)
print("compiled" if "numba" in sys.modules else "kept", file=sys.stderr)
print(result.shape, result.sum(dtype="float64"))
"""

FORK = """
import os, signal, sys
import numpy, poolcli
array = numpy.random.default_rng(0).normal(size=(3, 400, 500)).astype("float32")
expected = poolcli.pool(array, "max", 3, engine="numba", threads=2)
child = os.fork()
if not child:
    signal.alarm(60)
    same = all(numpy.array_equal(poolcli.pool(array, "max", 3, engine=engine, threads=2), expected)
               for engine in ("numba", "numpy"))
    os._exit(0 if same else 3)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert numpy.array_equal(poolcli.pool(array, "max", 3, engine="numba", threads=2), expected)
print("child", status)
"""


def run(script, cache, *, says=""):
    """Run a script in a new process with a cache folder of its own; return what it printed to stdout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c", script],
        env={**environment, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, says)
    return done.stdout.strip()


def cached(folder):
    """Return every file below a folder with its size and the time of its last change."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a cache folder that one process has filled, and what that process printed."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, run(POOL, folder, says="compiled")


def test_more_processes_load_the_kept_kernel_without_numba_and_add_nothing(warm):
    folder, first = warm
    after = cached(folder)
    assert sorted(path.suffix for path in after) == [".lock", ".lock", ".o", ".o"]  # of the fold and of the team
    for _ in range(5):  # without Numba, which could compile again
        assert run(POOL, folder, says="kept") == first
        assert cached(folder) == after


CHOOSE = """
import numba, numpy
from poolcli.core import pooling
from poolcli.core.geometry import Window
from poolcli.core.methods import lookup
array = numpy.ones((8, 8), "float32")
for method, engine in (("max", "auto"), ("min", "auto"), ("max", "numba"), ("max", "auto"), ("min", "auto")):
    print(pooling.run(array, lookup(method), Window(3), engine=engine).choice.engine, end=" ")
"""


def test_auto_takes_no_engine_because_somebody_else_imported_numba(warm):
    # max is kept, min is not; what is loaded costs nothing more, what must be compiled does
    assert run(CHOOSE, warm[0]) == "numpy numpy numba numba numpy"


def test_the_cache_lies_in_a_private_folder_of_this_version(warm):
    folder, _ = warm
    kernels = [path for path in (folder / "poolcli").iterdir() if path.name.startswith(f"{poolcli.__version__}-")]
    assert [path.stat().st_mode & 0o777 for path in kernels] == [0o700]


def test_a_forked_child_still_pools(warm):
    assert run(FORK, warm[0]) == "child 0"


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_no_result(tmp_path, warm):
    (tmp_path / "cache").write_text("a file where the folder should be")
    quiet = f"import warnings\nwarnings.simplefilter('ignore')\n{POOL}"
    assert run(quiet, tmp_path / "cache", says="compiled") == warm[1]


@pytest.mark.parametrize("method", ["concat:max+avg", "maxblur"])
def test_methods_that_join_others_tell_the_seconds_of_each_stage(method):
    done = pooling.run(np.zeros((2, 8, 8)), lookup(method), Window(2), layout="CHW", engine="numpy")
    assert set(done.seconds) == {"load_engine", "compile", "pool"}
    assert done.seconds["pool"] > 0
