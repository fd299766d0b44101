"""Blocks of work over joblib's ambient backend: threads unless somebody set another, results in order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ._errors import InputError

T = TypeVar("T")


def available_cpus() -> int:
    """CPUs this process may use: its affinity, capped by SLURM's share and the cgroup's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        share = os.environ.get(name, "")
        if share.isdigit() and int(share) > 0:
            cpus = min(cpus, int(share))
            break
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()[:2]
        if quota != "max":
            cpus = min(cpus, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass  # no cgroup v2 here: nothing caps the affinity
    return max(cpus, 1)


def resolve_n_jobs(n_jobs: int | None) -> int:
    """Number of threads: as asked; None or -1 for all CPUs that this process may use."""
    if n_jobs is None or n_jobs == -1:
        return available_cpus()
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs < 1:
        raise InputError(f"n_jobs={n_jobs!r}: allowed are positive whole numbers, and -1 or None for all CPUs")
    return n_jobs


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def resolve_memory(limit: int | str | None, on_disk: bool) -> int | None:
    """Bytes that statistics may take: as asked; None for half of what is available if the data are on disk.

    Raises
    ------
    InputError
        If it is no positive number of bytes, nor one with a unit such as ``"4 GB"``.
    """
    if limit is None:
        return available_memory() // 2 if on_disk else None
    if isinstance(limit, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?)B?\s*", limit, re.IGNORECASE)
        value = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    else:
        value = float(limit) if isinstance(limit, int | float) and not isinstance(limit, bool) else 0.0
    if not 1.0 <= value < 1e18:
        raise InputError(f"memory_limit={limit!r}: allowed are a positive number of bytes, or words such as '4 GB'")
    return int(value)


def available_memory() -> int:
    """Bytes that this process may still take: what the system has, capped by the cgroup's limit."""
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
        pass  # no cgroup v2 here: nothing caps the memory of the system
    return max(free if free < 1 << 62 else 1 << 32, 1 << 26)


def run_blocks(work: Callable[..., T], blocks: Sequence[tuple[object, ...]], n_jobs: int) -> Iterator[T]:
    """``work(*block)`` for each block; results come in the order of the blocks, whatever the backend."""
    if n_jobs == 1 or len(blocks) < 2:
        for block in blocks:
            yield work(*block)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    yield from parallel(delayed(work)(*block) for block in blocks)
