"""Blocks of work over threads, joblib's ambient backend or an ambient Dask client, results in order."""

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


def run_blocks(
    work: Callable[..., T], shared: tuple[object, ...], blocks: Iterable[tuple[object, ...]], n_jobs: int
) -> Iterator[T]:
    """``work(*shared, *block)`` for each block; results come in the order of the blocks, whatever does the work.

    Threads of this process do, unless somebody set another backend of joblib or there is a Dask client: then blocks
    travel to other processes, so that `shared` should be small and a block hold what it needs of large arrays.

    BLAS has one thread meanwhile: two of them would change the last bits, and together with the workers they would
    take more CPUs than `n_jobs`.
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

        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
        here = os.getpid()
        yield from parallel(delayed(_work_in)(here, work, *shared, *block) for block in blocks)


def _work_in(caller: int, work: Callable[..., T], *block: object) -> T:
    """The work; a process of its own has a BLAS of its own, while threads share the limit and must not touch it."""
    if os.getpid() == caller:
        return work(*block)
    with one_blas_thread():
        return work(*block)


@contextmanager
def workers(n_jobs: int) -> Iterator[Run]:
    """A function that calls ``work(0)``, ..., ``work(n - 1)`` on `n_jobs` threads and waits for all of them.

    Always threads, whatever joblib's backend is: blocks write into arrays that they share.
    """
    if n_jobs < 1:
        raise InputError(f"n_jobs is {n_jobs}; the number of threads must be 1 or more.")
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
