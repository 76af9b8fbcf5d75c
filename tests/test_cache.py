"""The store of compiled kernels: found without Numba, filled by use, emptied on request, never in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from poolcli.core import cache, dtypes, recipes
from poolcli.core.geometry import Window
from poolcli.core.methods import METHODS


def kernel_of(method):
    """Return the kernel of 2 x 2 windows of float64."""
    f8 = np.dtype("f8")
    (task,) = recipes.resolve(METHODS[method], f8, f8, Window(2).plan((4, 4)), (1, 1), "even").tasks
    return task.kernel


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pooled(**environment):
    code = "import numpy as np, poolcli\nprint(poolcli.pool(np.arange(16.0).reshape(4, 4), engine='numba').tolist())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Compile one kernel, once."""
    root = tmp_path_factory.mktemp("filled") / "cache"
    assert pooled(XDG_CACHE_HOME=str(root)).stdout == "[[5.0, 7.0], [13.0, 15.0]]\n"
    return root


def test_a_kernel_is_kept_found_counted_and_removed(cli, folder, filled):
    kernel = kernel_of("max").name
    assert not cache.has(kernel)
    assert json.loads(cli("cache", "info", "--json").out)["kernels"] == 0
    shutil.copytree(filled, folder)
    assert cache.has(kernel)
    found = json.loads(cli("cache", "info", "--json").out)
    assert (found["kernels"], found["folder"]) == (1, str(cache.folder()))
    assert found["bytes"] > 1000
    assert cli("cache", "clear").code == 0
    assert not cache.has(kernel)
    assert cli("cache", "clear").code == 0


@pytest.mark.usefixtures("folder")
def test_looking_for_kernels_does_not_import_numba():
    code = (
        "import sys; from poolcli.core import cache; cache.contents(); assert not {'numba', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("folder")
def test_the_folder_belongs_to_the_user_alone():
    os.makedirs(cache.folder(), mode=0o777)
    cache.folder().chmod(0o777)
    assert cache.prepare().stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("folder")
def test_a_folder_that_is_a_link_is_not_trusted(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    cache.folder().parent.mkdir(parents=True)
    cache.folder().symlink_to(tmp_path / "elsewhere")
    done = pooled()
    assert done.stdout == "[[5.0, 7.0], [13.0, 15.0]]\n"
    assert "compiled kernels are not kept" in done.stderr
    assert not os.listdir(tmp_path / "elsewhere")


@pytest.mark.parametrize("damage", [b"", b"garbage", b"word\n", None], ids=["empty", "garbage", "no-code", "cut"])
def test_a_damaged_kernel_is_none(folder, filled, damage):
    shutil.copytree(filled, folder)
    (path,) = cache.folder().glob("*.o")
    sound = path.read_bytes()
    assert cache.read(path) is not None
    path.write_bytes(sound[: len(sound) // 2] if damage is None else damage)
    assert cache.read(path) is None


def test_a_damaged_cache_costs_no_result_and_is_mended(folder, filled):
    shutil.copytree(filled, folder)
    (path,) = cache.folder().glob("*.o")
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        done = pooled()
        assert (done.stdout, done.stderr) == ("[[5.0, 7.0], [13.0, 15.0]]\n", "")
    assert cache.read(path) is not None


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_settings_file_in_the_current_folder_cannot_move_the_cache(tmp_path):
    pytest.importorskip("yaml", reason="Numba reads the file where PyYAML is installed")
    (tmp_path / "evil").mkdir()
    (tmp_path / ".numba_config.yaml").write_text(f"cache_dir: {tmp_path / 'evil'}\n")
    code = "import numpy as np, poolcli; poolcli.pool(np.ones((4, 4)), engine='numba')"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert not os.listdir(tmp_path / "evil")


def test_every_method_and_dtype_is_among_the_sixty_kernels_that_are_warmed():
    warmed = set(recipes.kernels())
    assert len(warmed) <= 60
    for method in METHODS.values():
        for dtype in map(np.dtype, dtypes.NAMES):
            for target in (dtypes.natural(method, dtype), dtype):
                for kernel in (2, 3, 15, 31, 100, 255):
                    plan = Window(kernel, padding=kernel // 2).plan((kernel, kernel))
                    recipe = recipes.resolve(method, dtype, target, plan, (1, 1), "even", indexed=method.extreme)
                    assert {task.kernel for task in recipe.work} <= warmed


def test_warming_compiles_what_is_missing_once(cli, folder, filled, monkeypatch):
    from poolcli.core import compiled

    compiled._kernel.cache_clear()  # noqa: SLF001 -- forget what other tests compiled in this process
    shutil.copytree(filled, folder)
    some = [kernel_of("max"), kernel_of("min")]
    monkeypatch.setattr(recipes, "kernels", lambda: some)
    assert cli("cache", "warm").err.count(": kept\n") == 1
    kept = cache.contents()
    assert set(kept) == {kernel.name for kernel in some}
    assert cli("cache", "warm").err.count(": kept\n") == 2
    assert cache.contents() == kept
