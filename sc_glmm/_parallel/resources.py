"""Find the CPUs and the memory that are available to this process."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path, PurePosixPath

from .._errors import InputError


def available_cpus() -> int:
    """Count the CPUs available to this process: its affinity, limited by SLURM's share and the cgroup's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        share = os.environ.get(name, "")
        if share.isdigit() and int(share) > 0:
            cpus = min(cpus, int(share))
            break
    quota = cgroup_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def cgroup_quota(own: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> float | None:
    """Read the CPU quota of the cgroup of this process and of its parents; None without a limit.

    Parameters
    ----------
    own
        The file that names the cgroup of the process: ``0::/path`` (version 2), ``4:cpu,cpuacct:/path`` (1).
    root
        Mount point of the cgroups.
    """
    try:
        lines = Path(own).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        lines = ["0::/"]
    quotas = []
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "", "")[:3]
        inside = PurePosixPath(path.lstrip("/") or ".")
        for folder in (inside, *inside.parents):
            if number == "0" and not controllers:
                quotas.append(_numbers(Path(root) / folder / "cpu.max"))
            elif "cpu" in controllers.split(","):
                base = Path(root) / controllers / folder
                quotas.append(_numbers(base / "cpu.cfs_quota_us") + _numbers(base / "cpu.cfs_period_us"))
    granted = [quota[0] / quota[1] for quota in quotas if len(quota) == 2 and min(quota) > 0]
    return min(granted, default=None)


def _numbers(path: Path) -> list[int]:
    """Read the whole numbers in a file, an empty list if it does not exist; ``max`` (no limit) becomes -1."""
    try:
        words = path.read_text(encoding="ascii").split()
        return [-1 if word == "max" else int(word) for word in words]
    except (OSError, ValueError):
        return []


def resolve_n_jobs(n_jobs: int | None) -> int:
    """Choose the number of threads: `n_jobs`, or all CPUs available to this process for None and -1.

    Raises
    ------
    InputError
        If `n_jobs` is not a positive whole number, -1 or None.
    """
    if n_jobs is None or n_jobs == -1:
        return available_cpus()
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs < 1:
        raise InputError(f"n_jobs={n_jobs!r}: allowed are positive whole numbers, and -1 or None for all CPUs")
    return n_jobs


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def resolve_memory(limit: int | str | None, on_disk: bool) -> int | None:
    """Convert the memory limit of the statistics to bytes.

    For None, the limit is half of the available memory if the data are on disk; otherwise there is no limit.

    Raises
    ------
    InputError
        If `limit` is neither a positive number of bytes nor a number with a unit such as ``"4 GB"``.
    """
    if limit is None:
        return available_memory() // 2 if on_disk else None
    if isinstance(limit, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?)B?\s*", limit, re.IGNORECASE)
        value = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    else:
        value = float(limit) if isinstance(limit, int | float) and not isinstance(limit, bool) else 0.0
    if not 1.0 <= value < 1e18:
        raise InputError(f"memory_limit={limit!r}: allowed are a positive number of bytes, or text such as '4 GB'")
    return int(value)


def available_memory() -> int:
    """Find the number of bytes still available to this process: free memory of the system, limited by the cgroup."""
    free = 1 << 62
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            current = int(file.read())
        if limit != "max":
            free = min(free, max(int(limit) - current, 0))
    except (OSError, ValueError):
        pass  # no cgroup v2: only the memory of the system is a limit
    return max(free if free < 1 << 62 else 1 << 32, 1 << 26)
