"""Profiles of many genes over a grid of covariance parameters: the compiled entry of the moderated tests.

At every node of the grid the Laplace (or quadrature) likelihood is maximised over beta, freely and under each
hypothesis ``L beta = 0``. The results are the REML-like term ``l - log|X'WX| / 2`` and, for each hypothesis, the
estimate, its variance, the signed root of the likelihood ratio and its modified version r*.

The entry is cached like those in :mod:`.entry`. Read on at :func:`~sc_glmm._engine.laplace.walk.profile_gene`.
"""

from __future__ import annotations

import math

from sc_glmm._engine.laplace.profile_records import new_climb, new_free_fits, new_row_table
from sc_glmm._engine.laplace.records import Likelihood, Nodes, new_work, nodes_of, read_gene, row_sums
from sc_glmm._engine.laplace.tabulate import tabulate
from sc_glmm._engine.laplace.walk import profile_gene
from sc_glmm._families.cache import cached
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import TABLE

KERNEL_DIGEST = "4e09ea2ebea873ab"


@kernel
def _predict_fixed(ar, beta, level, eta):
    """Compute the predictors of the fixed effects, limited to values near the mean.

    Modes of random effects are not included, because they belong to the fitted theta and not to the nodes of the grid.
    """
    for d in range(eta.shape[0]):
        s = 0.0
        for j in range(ar.p):
            s += ar.XZ[d, ar.kz + j] * beta[j]
        eta[d] = min(max(s, level - 8.0), level + 8.0)


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def profile_block(like, ar, sets, genes, gh, task, out):
    """Profile every gene of a block over the grid.

    Parameters
    ----------
    like, ar, sets, genes, gh
        As for :func:`sc_glmm._engine.entry.fit_block`. Beta is not integrated out here.
    task, out
        The task and its results: :mod:`sc_glmm._engine.laplace.profile_records`.
    """
    n_rows = ar.XZ.shape[0]
    n = ar.p + ar.theta_fac.shape[0] + (1 if like.has_phi else 0)
    wk = new_work(ar, n, gh.shape[1])
    climb = new_climb(ar, n)
    fits = new_free_fits(task.grid.shape[0], ar.q + ar.p, ar.p)
    table = new_row_table(n_rows if task.use_table else 0)
    totals = row_sums(ar)
    tabulated = Likelihood(TABLE if task.use_table else like.code, like.has_phi, like.joint)
    for g in range(genes.A.shape[0]):
        nd = nodes_of(sets, g)
        ge, size = read_gene(genes, g, nd, totals)
        if not (size > 0.0 and task.beta_start[g, 0] == task.beta_start[g, 0]):
            continue
        if like.has_phi:
            climb.psi[n - 1] = task.log_phi[g]
        if task.use_table:
            phi = math.exp(task.log_phi[g]) if like.has_phi else 1.0
            _predict_fixed(ar, task.beta_start[g], task.level[g], wk.eta)
            tabulate(like.code, phi, nd, ge, wk.eta, task.level[g], table)
            nd = Nodes(table.ptr, table.coef, table.knot)
        out.ok[g] = profile_gene(g, tabulated, ar, nd, ge, gh, task, wk, climb, fits, out)
