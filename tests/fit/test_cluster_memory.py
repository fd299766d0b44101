"""Check Dask workers without memory, in real processes: the run ends with a message and does not hang."""

from __future__ import annotations

import time

import numpy as np
import pytest

from sc_glmm import InputError
from sc_glmm._parallel import dask as _dask
from sc_glmm._parallel.blocks import run_blocks

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


def cluster(**options):
    return distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", **options)


def _huge(exponent: int) -> int:
    return len(np.ones(1 << exponent))


def _greedy(megabytes: int) -> int:
    arrays = []
    for _ in range(megabytes):
        arrays.append(np.ones(1 << 17))
        time.sleep(0.001)
    time.sleep(2.0)  # the nanny checks the memory at intervals
    return len(arrays)


def test_array_that_a_worker_cannot_allocate():
    with (
        cluster() as local,
        distributed.Client(local),
        pytest.raises(InputError, match="Dask worker ran out of memory.*allocate.*memory_limit="),
    ):
        list(run_blocks(_huge, (), [(3,), (45,)], 1))


def test_a_worker_that_is_killed_for_its_memory():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        cluster(memory_limit="700MB") as local,
        distributed.Client(local),
        pytest.raises(InputError, match="Dask gave up.*lack memory.*memory_limit="),
    ):
        list(run_blocks(_greedy, (), [(3000,)], 1))


def test_run_stops_if_all_workers_wait_for_memory(monkeypatch):
    """Check a worker whose memory is full without a task: it pauses and never continues."""
    monkeypatch.setattr(_dask, "_CHECK_EVERY", 0.5)
    monkeypatch.setattr(_dask, "_MAX_PAUSE", 2.0)
    limits = {"distributed.worker.memory.terminate": False, "distributed.worker.memory.pause": 0.01}
    with dask.config.set(limits), cluster(memory_limit="1GB") as local, distributed.Client(local):
        with pytest.raises(InputError, match=r"all 1 Dask workers have paused.*limit 1 GB.*memory_limit="):
            list(run_blocks(_greedy, (), [(1,)] * 30, 1))
