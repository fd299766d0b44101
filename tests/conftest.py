"""Define shared fixtures, and choose the folder of numba's cache for the tests."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import scipy.linalg  # noqa: F401 (its BLAS must be loaded to be limited)
from hypothesis import settings
from threadpoolctl import threadpool_limits


def _kernel_digest() -> str:
    """Compute a digest of every source of the imported package that mentions numba or kernels.

    numba's cache checks only the file of the stored kernel. After a change of a called function in another file, it
    would silently give old results. A cache folder named by a digest of all kernel sources cannot be stale.
    """
    spec = importlib.util.find_spec("sc_glmm")
    if spec is None or spec.origin is None:
        raise RuntimeError("sc_glmm cannot be imported; install it with: pip install -e '.[test]'")
    root = Path(spec.origin).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        source = path.read_bytes()
        if b"numba" in source or b"_families" in source:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + source)
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
# On a developer's machine, random examples may find new faults. In CI, results must be reproducible. Time limits are
# off.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Close all figures after each test, so that tests which count them do not depend on the others."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


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
