"""Define shared fixtures, and choose the folder of numba's cache for the tests."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import matplotlib
import numpy as np
import pytest
import scipy.linalg  # noqa: F401 (its BLAS must be loaded to be limited)
from hypothesis import settings
from threadpoolctl import threadpool_limits

from tests.forked import Forks


def _kernel_digest() -> str:
    """Compute a digest of the sources of all kernels: the rooms of the kernels, and every file with compiled functions.

    numba's cache checks only the file of the stored kernel. After a change of a called function in another file, it
    would silently give old results. A cache folder named by a digest of all kernel sources cannot be stale. Another
    Python cannot read the kernels and gets a folder of its own.
    """
    spec = importlib.util.find_spec("sc_glmm")
    if spec is None or spec.origin is None:
        raise RuntimeError("sc_glmm cannot be imported; install it with: pip install -e '.[test]'")
    root = Path(spec.origin).parent
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(root.rglob("*.py")):
        source, place = path.read_bytes(), path.relative_to(root)
        if place.parts[0] in ("_engine", "_families") or re.search(
            rb"import numba|from numba|cache import cached", source
        ):
            digest.update(place.as_posix().encode() + b"\0" + source)
    return digest.hexdigest()[:16]


def _use_own_numba_cache() -> None:
    if any(name.startswith("sc_glmm.") for name in sys.modules):
        raise RuntimeError("Kernels were imported before tests/conftest.py could choose numba's cache folder.")
    digest = _kernel_digest()
    base = os.environ.get("NUMBA_CACHE_DIR") or os.path.join(tempfile.gettempdir(), f"sc-glmm-numba-{os.getuid()}")
    # Worker processes inherit the variable and must not create a second folder inside.
    os.environ["NUMBA_CACHE_DIR"] = base if os.path.basename(base) == digest else os.path.join(base, digest)
    if "numba" in sys.modules:
        # A pytest plugin may import numba before this file; kernels are decorated later, so the setting still applies.
        sys.modules["numba"].config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


_use_own_numba_cache()
# The matrices of tests are small. Two threads that wait for each other take twice the time of one thread, and much
# longer if the cores are shared.
threadpool_limits(1, user_api="blas")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
matplotlib.use("agg")
_MEMORY = Path("/dev/shm")
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 4e9:
    # A zarr store has hundreds of files. It takes twice the time of the system to write and remove them on a disk.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
_write_to_store = anndata.AnnData.write_zarr


def _write_zarr(adata: anndata.AnnData, store: object, **options: object) -> None:
    """Write a store in memory, and then its files; zarr takes three times as long to write into a folder."""
    if not isinstance(store, str | os.PathLike):
        return _write_to_store(adata, store, **options)
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    _write_to_store(adata, MemoryStore(files), **options)
    shutil.rmtree(store, ignore_errors=True)
    for name, content in files.items():
        path = Path(store, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.to_bytes())


anndata.AnnData.write_zarr = _write_zarr
# Files of tests need not survive a power failure, and one run with a zarr store would wait for the disk 1,000 times.
os.fsync = lambda descriptor: None
# On a developer's machine, random examples may find new faults. In CI, results must be reproducible. Time limits are
# off.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


_compiler: subprocess.Popen[bytes] | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Compile the kernels once for all workers of pytest-xdist, and not in each of them."""
    global _compiler
    is_controller = not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", None)
    if is_controller and not Path(os.environ["NUMBA_CACHE_DIR"]).is_dir():
        _compiler = subprocess.Popen([sys.executable, "-c", "import sc_glmm; sc_glmm.compile_kernels()"])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished() -> None:
    """Wait until the kernels are compiled, before the first tests are sent to the workers."""
    if _compiler is not None:
        _compiler.wait()


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Close all figures after each test, so that tests which count them do not depend on the others."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Run the command in forks of a process that has imported the package."""
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that can be forked")
    process = Forks()
    yield process
    process.close()


@pytest.fixture
def rng() -> np.random.Generator:
    """Create a generator with the same seed for each test."""
    return np.random.default_rng(20261124)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Find the folder of reference data beside the repository; skip the test without it."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("needs the reference data in ../shared, which are not part of the project")
    return path
