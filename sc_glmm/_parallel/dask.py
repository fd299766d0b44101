"""Run work on the workers of an active Dask client, which must have the same version of the package."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

from .._display import progress_logger
from .._errors import InputError

T = TypeVar("T")

# Packages whose version may change the results.
PACKAGES = ("sc-glmm", "numpy", "scipy", "numba", "formulaic")
# Seconds between checks of the workers, and the longest time for which all workers may wait for memory.
_CHECK_EVERY, _MAX_PAUSE = 5.0, 60.0
_MEMORY_ADVICE = (
    "Give the workers more memory (memory_limit= of the cluster, memory= of jobs), fewer threads each, or run with a "
    "smaller memory_limit= of the test"
)
# Number of submitted blocks per thread of the cluster. With three, workers were idle while others were slow.
_BLOCKS_PER_THREAD = 8


@cache
def package_versions() -> Mapping[str, str]:
    """Return the versions in this process of all packages that may change the results."""
    versions = {name.replace("-", "_"): version(name) for name in PACKAGES}
    return {**versions, "Python": ".".join(platform.python_version_tuple()[:2])}


def dask_client() -> Any:
    """Return the active Dask client; None without one, and inside a Dask task."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
        return None
    except ValueError:
        pass
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return None if client.asynchronous else client


def blocks_on_dask(
    client: Any, work: Callable[..., T], shared: tuple[object, ...], blocks: Iterable[tuple[object, ...]]
) -> Iterator[T]:
    """Call ``work(*shared, *block)`` for each block; results come in the order of the blocks.

    Only a few blocks per thread of the cluster are submitted in advance. Blocks of a lost worker are repeated.
    """
    pending: deque[Any] = deque()
    try:
        for block in blocks:
            pending.append(_submit(client, work, *shared, *block))
            if len(pending) > _BLOCKS_PER_THREAD * max(sum(client.nthreads().values()), 1):
                yield _result(client, pending.popleft())
        while pending:
            yield _result(client, pending.popleft())
    finally:
        client.cancel(list(pending))


def sum_on_dask(
    client: Any, work: Callable[..., T], add: Callable[[T, T], T], blocks: Sequence[tuple[object, ...]]
) -> T:
    """Sum ``work(*block)`` over blocks on the workers, pair by pair.

    The order of the additions depends only on the number of blocks.
    """
    level = [_submit(client, work, *block) for block in blocks]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [_submit(client, add, *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    total: T = _result(client, level[0])
    return total


def _submit(client: Any, work: Callable[..., T], *block: object) -> Any:
    # pure=False, because the content of a file may change while its name does not: results must not be reused
    return client.submit(_on_worker, _process(), package_versions(), work, *block, pure=False)


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def _on_worker(caller: tuple[str, int], versions: Mapping[str, str], work: Callable[..., T], *block: object) -> T:
    """Do the work with one BLAS thread; a worker in the caller's process shares its limit and must not change it."""
    if _process() == caller:
        return work(*block)
    own = package_versions()
    different = [
        f"{name} {own.get(name)} instead of {number}" for name, number in versions.items() if own.get(name) != number
    ]
    if different:
        raise InputError(
            f"a Dask worker on {socket.gethostname()} has {', '.join(different)}, so its results might differ. Start "
            "the workers in the environment of the process that calls them"
        )
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        return work(*block)


def _result(client: Any, future: Any) -> Any:
    try:
        return _wait_for(client, future)
    except InputError:
        raise
    # the type of the error of a lost worker, or of a worker without the package, depends on the version of Dask
    except Exception as error:
        if isinstance(error, MemoryError):
            raise InputError(
                f"a Dask worker ran out of memory ({error or 'an array could not be allocated'}). {_MEMORY_ADVICE}"
            ) from error
        if type(error).__name__ in ("KilledWorker", "FutureCancelledError", "CancelledError"):
            raise InputError(
                f"Dask gave up a block of the work: {error}. Workers that die repeatedly usually lack memory. "
                f"{_MEMORY_ADVICE}"
            ) from error
        lacks_package = isinstance(error, ImportError | AttributeError) and "sc_glmm" in str(error)
        if lacks_package or "deserialization" in str(error):
            raise InputError(
                f"a Dask worker cannot unpickle its task ({error}), because it lacks sc_glmm {version('sc-glmm')}. "
                "Start the workers in the environment of the process that calls them"
            ) from error
        raise


def _wait_for(client: Any, future: Any) -> Any:
    """Wait for the result of a task; stop if all workers are paused for lack of memory, which could last forever."""
    from distributed import TimeoutError as NotFinished

    stuck_since, warned = None, False
    while True:
        try:
            return future.result(timeout=_CHECK_EVERY)
        except NotFinished:
            if future.status == "error":  # a task that timed out by itself
                raise
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        now = time.monotonic()
        if not workers or any(worker["status"] != "paused" for worker in workers):
            stuck_since = None
        elif stuck_since is None:
            stuck_since = now
        elif now - stuck_since > _MAX_PAUSE:
            limit = min(int(worker["memory_limit"]) for worker in workers)
            raise InputError(
                f"all {len(workers)} Dask workers have paused for {_MAX_PAUSE:.0f} s because their memory is "
                f"full (limit {limit / 1e9:.2g} GB). {_MEMORY_ADVICE}"
            )
        if not workers and not warned:
            warned = True
            progress_logger.warning("waiting for Dask workers: the cluster has none at the moment")
