"""Run blocks of work on threads, joblib's active backend or an active Dask client, with results in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from .._errors import InputError
from .blas import one_blas_thread
from .dask import blocks_on_dask, dask_client

T = TypeVar("T")
Run: TypeAlias = Callable[[Callable[[int], None], int], None]

# Blocks per thread that are under way or waiting.
_AHEAD = 2


def blocks_under_way(n_jobs: int) -> int:
    """Count the blocks that are in memory at the same time: under way, waiting, and the one that is being made."""
    return 1 if n_jobs == 1 else _AHEAD * n_jobs + 1


def run_blocks(
    work: Callable[..., T], shared: tuple[object, ...], blocks: Iterable[tuple[object, ...]], n_jobs: int
) -> Iterator[T]:
    """Call ``work(*shared, *block)`` for each block; results come in the order of the blocks.

    The work runs on threads of this process, unless another joblib backend or a Dask client is active. Blocks are then
    sent to other processes, so `shared` should be small, and a block should contain its part of large arrays.

    BLAS uses one thread meanwhile. More BLAS threads would change the last bits of the results, and the work would use
    more CPUs than `n_jobs`.
    """
    client = dask_client()
    if client is not None:
        yield from blocks_on_dask(client, work, shared, blocks)
        return
    with one_blas_thread():
        if n_jobs == 1:
            for block in blocks:
                yield work(*shared, *block)
            return
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator", pre_dispatch=_AHEAD * n_jobs)
        caller = os.getpid()
        yield from parallel(delayed(_work_in)(caller, work, *shared, *block) for block in blocks)


def _work_in(caller: int, work: Callable[..., T], *block: object) -> T:
    """Do the work. A separate process limits its own BLAS; threads share the limit and must not change it."""
    if os.getpid() == caller:
        return work(*block)
    with one_blas_thread():
        return work(*block)


@contextmanager
def workers(n_jobs: int) -> Iterator[Run]:
    """Provide a function that calls ``work(0)``, ..., ``work(n - 1)`` on `n_jobs` threads and waits for all of them.

    It uses threads with any joblib backend, because blocks write into shared arrays.

    Raises
    ------
    InputError
        If `n_jobs` is less than 1.
    """
    if n_jobs < 1:
        raise InputError(f"n_jobs is {n_jobs}; the number of threads must be at least 1.")
    if n_jobs == 1:

        def alone(work: Callable[[int], None], n_blocks: int) -> None:
            for block in range(n_blocks):
                work(block)

        yield alone
        return
    with ThreadPoolExecutor(n_jobs) as pool:

        def together(work: Callable[[int], None], n_blocks: int) -> None:
            for _ in pool.map(work, range(n_blocks)):
                pass

        yield together
