"""The compiled functions that Python calls, which are the only cached ones.

Numba's cache on disk checks the source file of a function, but not those of the kernels it calls. After a change of
another file it would return old numbers. :data:`KERNEL_DIGEST` is a digest of all kernel sources, so that a change of
any of them changes this file. A test recomputes it, and ``python -m sc_glmm._engine.digest`` rewrites it.
"""

from __future__ import annotations

import numpy as np

from sc_glmm._engine.laplace.objective import EVALUATE, objective
from sc_glmm._engine.laplace.records import new_work, nodes_of, read_gene, row_sums
from sc_glmm._engine.laplace.search import EMPTY, FAILED, NOT_CONVERGED, OK, fit_gene
from sc_glmm._engine.optimize import new_opt
from sc_glmm._families.cache import cached

__all__ = ["EMPTY", "FAILED", "NOT_CONVERGED", "OK", "evaluate", "fit_block"]

KERNEL_DIGEST = "4e09ea2ebea873ab"


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def evaluate(like, ar, nd, ge, gh, psi, v, grad):
    """Objective and gradient of one gene at ``psi``; ``v`` is the start of the inner search and becomes the mode."""
    wk = new_work(ar, psi.shape[0], gh.shape[1])
    return objective(EVALUATE, like, ar, nd, ge, gh, psi, v, wk, grad)


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def fit_block(like, ar, sets, genes, gh, options, out):
    """Fit every gene of a block.

    Parameters
    ----------
    like, ar, sets, genes
        Likelihood, arrow, node tables, and statistics of the genes (:mod:`sc_glmm._engine.laplace.records`).
    gh
        ``(2, n_agq)`` quadrature nodes and log weights.
    options, out
        Options and results: :mod:`sc_glmm._engine.laplace.search`.
    """
    p = ar.p
    n_theta = ar.theta_fac.shape[0]
    n_beta = 0 if like.joint else p
    n = n_beta + n_theta + (1 if like.has_phi else 0)
    wk = new_work(ar, n, gh.shape[1])
    opt = new_opt(n, p)
    totals = row_sums(ar)
    v = np.zeros(ar.q + p)
    vt = np.zeros(ar.q + p)
    for t in range(n_theta):
        opt.zero_ok[n_beta + t] = 1 if ar.theta_row[t] == ar.theta_col[t] else 0
    for g in range(genes.A.shape[0]):
        nd = nodes_of(sets, g)
        ge, size = read_gene(genes, g, nd, totals)
        out.status[g] = FAILED
        if size == 0.0:
            out.status[g] = EMPTY
            continue
        fit_gene(g, like, ar, nd, ge, gh, options, opt, wk, v, vt, out)
