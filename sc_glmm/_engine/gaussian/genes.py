"""Gaussian mixed models of many genes, with one design and the responses as sums over its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sc_glmm._engine.entry import EMPTY, FAILED, NOT_CONVERGED, OK
from sc_glmm._engine.gaussian.evaluate import residual_sd
from sc_glmm._engine.gaussian.fit import fit_lmm
from sc_glmm._engine.gaussian.problem import LmmProblem, without_response
from sc_glmm._engine.genes import GeneFits, GeneStats, Structure, random_effects

from ..._arrays import FloatArray


def shared_problem(structure: Structure, n_cells: FloatArray, n_obs: int) -> LmmProblem:
    """Prepare the design of all genes, whose statistics are already centred; `n_cells` are the cells of its rows."""
    return without_response(structure.arrow, structure.scaling, n_cells, n_obs=n_obs, log_weight=0.0, constant=None)


def gene_problem(shared: LmmProblem, stats: GeneStats, gene: int) -> LmmProblem:
    """Compute the cross-products of one gene about its centre, from row means and the sum of squares within rows."""
    n_cells, sums = shared.weight, stats.A[gene]
    _, squares, _, unit = (float(x) for x in stats.extra[gene])
    within = max(squares - float(sums @ (sums / n_cells)), 0.0)
    problem = shared.with_response(sums / n_cells, np.arange(len(sums)), n_cells, within)
    return replace(problem, unit=unit * problem.unit)


def fit_gaussian_genes(structure: Structure, n_cells: FloatArray, stats: GeneStats, *, reml: bool) -> GeneFits:
    """Fit every gene of `stats`, about its centre, as :func:`~sc_glmm._engine.gaussian.fit.fit_lmm` fits one model."""
    n_genes, p, q = len(stats), structure.n_beta, structure.arrow.q
    theta, v = np.full((n_genes, structure.n_theta), np.nan), np.full((n_genes, q + p), np.nan)
    beta, vcov = np.full((n_genes, p), np.nan), np.full((n_genes, p, p), np.nan)
    sigma, loglik, decrement = (np.full(n_genes, np.nan) for _ in range(3))
    n_iter = np.zeros(n_genes, dtype=np.int64)
    # a gene whose values are all equal has nothing to fit, which is another matter than a gene without values
    empty = stats.extra[:, 1] == 0.0
    status = np.where(empty & (stats.extra[:, 2] == 0.0), EMPTY, FAILED)
    shared = shared_problem(structure, n_cells, int(stats.extra[:, 0].max(initial=0.0)))
    for g in np.flatnonzero(~empty).tolist():
        problem = gene_problem(shared, stats, g)
        try:
            found = fit_lmm(problem, reml=reml, narrow=True)
        except FloatingPointError:
            continue
        point = found.point
        sigma[g] = residual_sd(problem, point, reml)
        theta[g], v[g] = found.theta, point.v
        beta[g], vcov[g] = point.beta, sigma[g] ** 2 * point.vcov
        loglik[g], n_iter[g], decrement[g] = -point.value, found.n_iter, found.decrement
        status[g] = OK if found.converged else NOT_CONVERGED
    relative, ranef = random_effects(structure, theta, v)
    return GeneFits(
        beta=beta,
        vcov=vcov,
        Lambda=tuple(sigma[:, None, None] * lam for lam in relative),
        log_dispersion=2.0 * np.log(sigma),
        log_dispersion_se=np.full(n_genes, np.nan),
        ranef=ranef,
        loglik=loglik,
        n_iter=n_iter,
        decrement=decrement,
        status=status,
        vcov_full=None,
    )
