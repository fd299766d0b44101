"""Check the memory of a stage besides its statistics, which may already fill the memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import sc_glmm
from sc_glmm._adata.open import open_data
from sc_glmm._fit.compress import compress_groups
from sc_glmm._fit.genes import LOW_COUNT, fit_all, leave_out
from sc_glmm._run.job import plan_job, validate_request
from sc_glmm._run.options import RunOptions
from sc_glmm._run.stages import model_of

FORMULA = "counts ~ disease + (1|sample)"


@pytest.fixture(scope="module")
def model():
    """Make statistics of many genes on many nodes: 20 MB."""
    adata = sc_glmm.datasets.simulate(n_samples=80, n_cells=4000, n_genes=3000, seed=2)
    opened = open_data(adata, "glmm")
    request = validate_request(opened, RunOptions(FORMULA))
    total = np.asarray(adata.layers["counts"].sum(axis=1)).ravel().astype(float)
    job = plan_job(adata, request, lambda: total)
    (cells,) = compress_groups(request.response.matrix, [job.plans[0].cells], job.task.family)
    return model_of(job.plans[0], cells, cells.stats, job.task)


def test_leaving_out_genes_does_not_copy_statistics(model):
    before = model.stats.A.copy()
    left_out = leave_out(model, 10**9, None)
    fit_all(model, left_out=left_out)  # a first call loads and compiles everything
    tracemalloc.start()
    try:
        result = fit_all(model, left_out=left_out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (result.left_out == LOW_COUNT).sum() == (before.sum(axis=1) > 0.5).sum() > 2500
    assert peak < 0.5 * before.nbytes
    np.testing.assert_array_equal(model.stats.A, before)
