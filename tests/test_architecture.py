"""The house keeps its shape: layers import downwards, heavy modules load late, functions stay short."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolcli.cli.app import COMMANDS
from poolcli.core import kernels, steps
from poolcli.core.methods import METHODS, Fold, Step

PACKAGE = Path(__file__).parent.parent / "poolcli"
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = {"errors": 0, "core": 1, "media": 1, "jobs": 2, "measure": 3, "cli": 4}
ONLY = {  # the one place that may import a package
    "numba": {"core/compiled.py"},
    "llvmlite": {"core/machine.py", "core/instructions.py"},
    "typer": {"cli"},
    "rich": {"cli"},
    "imageio": {"media"},
    "tifffile": {"media"},
    "PIL": {"media"},
    "imagecodecs": {"media"},
    "zarr": {"media"},
    "zarrs": {"media"},
    "fsspec": {"media"},
    "distributed": {"jobs/executors.py"},
    "dask": {"jobs/executors.py"},
}
STANDARD = ("errors.py", "core/methods.py", "core/geometry.py", "core/layouts.py", "media/files.py", "media/formats.py")
HEAVY = ("numpy", "numba", "llvmlite", "imageio", "PIL", "tifffile", "imagecodecs", "zarr", "fsspec", "distributed")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]


def place(path):
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_imports_point_down(path):
    here = place(path).split("/")[0].removesuffix(".py")
    if here in {"__init__", "__main__"}:
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "poolcli" and len(parts) > 1 and parts[1] in LAYERS:
            there = parts[1]
            assert there == here or LAYERS[there] < LAYERS[here], f"{place(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_packages_are_imported_in_their_place_only(path):
    for name in imports(path):
        allowed = ONLY.get(name.split(".")[0])
        if allowed is not None and not place(path).startswith("measure/"):
            assert any(place(path).startswith(prefix) for prefix in allowed), f"{place(path)} imports {name}"


@pytest.mark.parametrize("name", STANDARD)
def test_these_modules_need_the_standard_library_only(name):
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    for node in tree.body:  # what is imported when the module is, not under TYPE_CHECKING or in a function
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for found in names:
            top = found.split(".")[0]
            assert top == "poolcli" or top in sys.stdlib_module_names, f"{name} imports {found}"


def loaded(code, **environment):
    script = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
)
def test_help_and_version_load_nothing_heavy(arguments):
    found = loaded(f"from poolcli.cli.app import run\nassert run({arguments!r}) == 0")
    assert "typer" in found
    assert not found & set(HEAVY)


def test_completion_of_methods_loads_nothing_heavy_and_knows_them_all():
    environment = {"_POOLCLI_COMPLETE": "complete_bash", "COMP_WORDS": "poolcli pool -m ", "COMP_CWORD": "3"}
    code = "from poolcli.cli.app import run\ntry:\n    run([])\nexcept SystemExit:\n    pass"
    script = f"import sys\n{code}\nprint('HEAVY', *sorted({{n.split('.')[0] for n in sys.modules}} & set({HEAVY!r})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "HEAVY"
    assert lines[:-1] == list(METHODS)


def test_a_tensor_is_pooled_without_image_packages(tmp_path):
    code = (
        "from poolcli.cli.app import run\n"
        f"assert run(['pool', 'samples/feature_maps.npy', '-o', {str(tmp_path / 'x.npy')!r}]) == 0"
    )
    found = loaded(f"import os\nos.chdir({str(PACKAGE.parent)!r})\n{code}")
    assert "numpy" in found
    assert not found & {"numba", "llvmlite", "imageio", "PIL", "tifffile", "imagecodecs"}


def test_a_plain_png_is_pooled_without_pillow_tifffile_and_numba(tmp_path):
    code = (
        "from poolcli.cli.app import run\n"
        f"assert run(['pool', 'samples/grey_odd.png', '-o', {str(tmp_path / 'x.png')!r}]) == 0"
    )
    found = loaded(f"import os\nos.chdir({str(PACKAGE.parent)!r})\n{code}")
    assert "imagecodecs" in found
    assert not found & {"numba", "llvmlite", "PIL", "tifffile"}


@pytest.mark.parametrize("name", METHODS)
def test_every_step_of_the_method_table_stands_where_steps_stand(name):
    recipe = METHODS[name].recipe
    if isinstance(recipe, Fold | Step):
        assert getattr(steps, recipe.step).__module__ == steps.__name__
    if isinstance(recipe, Fold):
        for step in (recipe.lift, recipe.combine, recipe.finish):
            assert getattr(kernels, step).__module__ == kernels.__name__


def functions(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.body[0].lineno + 1 - documented(node)  # parameters stand one a line


def documented(node):
    first = node.body[0]
    return first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0


def test_functions_are_short():
    sizes = [
        (size, place(path), name) for path in MODULES if path.name != "kernels.py" for name, size in functions(path)
    ]
    # A command's signature is its options, one a line
    longest = [entry for entry in sizes if not entry[1].startswith("cli/") and entry[0] > 40]
    assert not longest
    assert sorted(size for size, _, _ in sizes)[len(sizes) // 2] <= 10
