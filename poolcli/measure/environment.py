"""Where it is measured: the machine, the versions, and the settings of threads that decide what a time means."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import poolcli

THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "NUMBA_THREADING_LAYER",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and the software of a benchmark, and the variables that set threads."""

    cpu: str
    usable_cpus: int
    system: str
    versions: dict[str, str]
    thread_settings: dict[str, str]


def environment() -> Environment:
    """Return this process's environment."""
    from poolcli.core.threads import usable_cpus

    settings = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    settings.setdefault("OMP_WAIT_POLICY", "not set")  # it decides who is ahead after a rest
    return Environment(cpu_model(), usable_cpus(), f"{platform.system()} {platform.machine()}", versions(), settings)


def versions() -> dict[str, str]:
    """Return the versions of poolcli, Python and every library that is timed here, without importing them."""
    from poolcli.measure.peers import LIBRARIES

    named: dict[str, tuple[str, ...]] = {"numpy": ("numpy",), "numba": ("numba",)}
    named |= {library.name: library.distributions for library in LIBRARIES.values()}
    found = {name: next(filter(None, map(installed_version, names)), None) for name, names in named.items()}
    ours = {"poolcli": poolcli.__version__, "python": platform.python_version()}
    return ours | {name: number for name, number in found.items() if number}


def installed_version(distribution: str) -> str | None:
    """Return the version of what pip calls *distribution*, None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    named = (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def free_memory() -> int | None:
    """Return the bytes that this process may still take, by the system and by its cgroup; None if unknown."""
    found = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    limit, used = ("".join(_lines(f"/sys/fs/cgroup/memory.{name}")).strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():
        found.append(max(0, int(limit) - int(used)))
    return min(found, default=None)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
