"""Compile all kernels ahead of time, for container images and shared environments."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from .._display import logger
from .._errors import InputError, ScGlmmWarning

_FORMULA = "counts ~ disease + (1|sample)"


def compile_kernels() -> float:
    """Compile all kernels and store them, so that later processes load them.

    Without this call, the first run after installation compiles the kernels, which takes up to a minute. Call it
    once when you build a container image or a shared environment, as a user with write access. Other users then load
    the kernels from the folder of the package, or from ``NUMBA_CACHE_DIR`` if it is set now and later. Kernels are
    compiled for the processor of this machine. On another model of processor, they are compiled again.

    Returns
    -------
    float
        Elapsed seconds.

    Raises
    ------
    InputError
        If there is no writable folder for compiled kernels.

    Examples
    --------
    >>> import sc_glmm
    >>> seconds = sc_glmm.compile_kernels()
    """
    from .. import datasets
    from .._engine import entry
    from .._families.cache import is_kept
    from ..models import glmer, lmer
    from ._test import test

    if not is_kept(entry.fit_block):
        raise InputError(
            "compiled kernels cannot be stored, because neither the folder of the package nor the home folder of the "
            "user is writable. Set NUMBA_CACHE_DIR to a writable folder, now and whenever sc_glmm is used"
        )
    start, level = time.perf_counter(), logger.level
    logger.setLevel("WARNING")
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore", ScGlmmWarning)
            adata = datasets.simulate(6, 180, 20, depth=600, seed=0)
            counts = adata.layers["counts"].tocsr()
            adata.obs["depth"] = np.log1p(np.arange(adata.n_obs) % 7)
            path = Path(folder, "data.h5ad")
            for dtype in (np.float32, np.float64, np.int32, np.int64):
                for matrix in (counts.astype(dtype), counts.tocsc().astype(dtype), counts.toarray().astype(dtype)):
                    adata.layers["counts"] = matrix
                    test(adata, _FORMULA, progress=False, n_jobs=1)
                    if dtype in (np.float32, np.float64):
                        adata.write_h5ad(path)
                        test(path, _FORMULA, copy=True, progress=False, n_jobs=1)
            test(adata, "counts ~ disease + depth + (1|sample)", within="homogeneous", progress=False, n_jobs=1)
            test(adata, _FORMULA, method="ml", test="lrt", n_agq=3, progress=False, n_jobs=1)
            test(adata, "X ~ disease + (1|sample)", family="gaussian", progress=False, n_jobs=1)
            frame = adata.obs.assign(y=np.sin(np.arange(adata.n_obs)), z=np.arange(adata.n_obs) % 2)
            lmer("y ~ disease + (depth|sample)", frame)
            glmer("z ~ disease + (1|sample)", frame, family="binomial")
    finally:
        logger.setLevel(level)
    return time.perf_counter() - start
