"""Blocks of work over joblib's ambient backend: threads unless somebody set another, results in order."""

from __future__ import annotations

import os
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


def run_blocks(work: Callable[..., T], blocks: Sequence[tuple[object, ...]], n_jobs: int) -> Iterator[T]:
    """``work(*block)`` for each block; results come in the order of the blocks, whatever the backend."""
    if n_jobs == 1 or len(blocks) < 2:
        for block in blocks:
            yield work(*block)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    yield from parallel(delayed(work)(*block) for block in blocks)
