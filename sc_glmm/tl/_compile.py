"""Compile everything once, where an image or an environment is built."""

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
    """Compile all kernels and keep them, so that no later process has to.

    Kernels are otherwise compiled by the first run after installation, which takes about half a minute. Call this once
    when the image of a container or a shared environment is built, as the user who may write to it: other users read
    the compiled kernels from the folder of the package, or from ``NUMBA_CACHE_DIR`` if it was set meanwhile and is set
    for them. The kernels are made for the processor that this runs on; another model compiles its own.

    Returns
    -------
    float
        Seconds that it took.

    Raises
    ------
    InputError
        If there is no folder in which compiled kernels can be kept.

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
            "compiled kernels cannot be kept: neither the folder of the package nor the home of the user can be "
            "written to; set NUMBA_CACHE_DIR to a folder that can be, here and wherever sc_glmm is used"
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
            for dtype in (np.float32, np.float64, np.int64):
                for matrix in (counts.astype(dtype), counts.tocsc().astype(dtype), counts.toarray().astype(dtype)):
                    adata.layers["counts"] = matrix
                    test(adata, _FORMULA, progress=False, n_jobs=1)
                    if dtype is not np.int64:
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
