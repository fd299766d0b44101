"""Gaussian genes at their optimum: from cross-products the numbers of :func:`sc_glmm.lmer`, and degrees of freedom.

The search over the variances is that of all families; what is reported comes from the profiled criterion at its end,
so that a gene of a table and the same gene as a model of its own have the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .._engine import entry
from .._engine.fit import GeneFits
from .._engine.lmm import LmmPoint, LmmProblem, LmmWork, build_problem, evaluate
from .._engine.lmm_fit import one_blas_thread
from .._inference.ddf import SatterthwaiteParts, satterthwaite
from .._inference.variances import residual_sd, satterthwaite_parts
from .._parallel.blocks import workers
from .genes import BLOCK, AllFits, GeneModel

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianParts:
    """What Satterthwaite's degrees of freedom of every gene follow from; NaN for genes without a fit.

    Attributes
    ----------
    vcov
        ``(n_genes, p, p)`` covariance of beta.
    vcov_varpar
        ``(n_genes, m, m)`` covariance of the variance parameters.
    jacobian
        ``(n_genes, m, p, p)`` derivative of `vcov` in them.
    """

    vcov: FloatArray
    vcov_varpar: FloatArray
    jacobian: FloatArray

    def df(self, L: FloatArray) -> FloatArray:
        """``(n_genes,)`` degrees of freedom of the contrast ``L (q, p)``, jointly if q > 1."""
        if len(L) == 1:
            variance = np.einsum("gij,i,j->g", self.vcov, L[0], L[0])
            gradient = np.einsum("gmij,i,j->gm", self.jacobian, L[0], L[0])
            spread = np.einsum("gm,gmn,gn->g", gradient, self.vcov_varpar, gradient)
            with np.errstate(divide="ignore"):
                return np.where(spread <= 0.0, np.inf, 2.0 * variance**2 / spread)
        out = np.full(len(self.vcov), np.nan)
        for g in np.flatnonzero(np.isfinite(self.vcov).all(axis=(1, 2))):
            parts = SatterthwaiteParts(self.vcov[g], self.vcov_varpar[g], self.jacobian[g])
            out[g] = satterthwaite(L, parts)[1]
        return out


def gene_problems(model: GeneModel) -> LmmProblem:
    """The cross-products that all genes share."""
    n_obs = int(model.stats.extra[0, 0]) if len(model.stats) else int(model.rows.n_cells.sum())
    X, n_cells = model.rows.X, np.asarray(model.rows.n_cells, dtype=np.float64)
    problem = build_problem(X, model.structure.blocks, np.arange(len(X)), np.zeros(len(X)), n_cells)
    return replace(problem, n_obs=n_obs, log_weight=0.0)


def gene_problem(shared: LmmProblem, model: GeneModel, gene: int) -> LmmProblem:
    """Those of one gene: its means over rows, and the sum of squares within them."""
    n_cells, sums = shared.weight, model.stats.A[gene]
    within = float(model.stats.extra[gene, 1]) - float(sums @ (sums / n_cells))
    problem = shared.with_response(sums / n_cells, np.arange(len(sums)), n_cells)
    problem.S0[-1, -1] += max(within, 0.0)
    return problem


def theta_of(problem: LmmProblem, Lambda: Sequence[FloatArray], sigma: float) -> FloatArray:
    """The engine's theta of the user's Lambda, one per block."""
    arrow = problem.arrow
    theta = np.empty(problem.n_theta)
    for f, block in enumerate(problem.scaling.order):
        mine = arrow.theta_fac == f
        theta[mine] = Lambda[block][arrow.theta_row[mine], arrow.theta_col[mine]] / sigma
    return problem.scale_theta(theta)


def finish_gaussian(model: GeneModel, result: AllFits, *, n_jobs: int = 1) -> tuple[AllFits, GaussianParts]:
    """Report every gene from the profiled criterion at its optimum; the fits of `result` are not changed."""
    n_genes, p = result.fits.beta.shape
    shared = gene_problems(model)
    m = shared.n_theta + 1
    parts = GaussianParts(
        np.full((n_genes, p, p), np.nan), np.full((n_genes, m, m), np.nan), np.full((n_genes, m, p, p), np.nan)
    )
    old = result.fits
    fits = replace(
        old,
        beta=old.beta.copy(),
        vcov=old.vcov.copy(),
        Lambda=tuple(lam.copy() for lam in old.Lambda),
        log_dispersion=old.log_dispersion.copy(),
        loglik=old.loglik.copy(),
    )
    usable = np.flatnonzero(np.isin(old.status, (entry.OK, entry.NOT_CONVERGED)))

    def finish(block: int) -> None:
        work = LmmWork(shared)
        for gene in usable[block * BLOCK : (block + 1) * BLOCK]:
            problem = gene_problem(shared, model, gene)
            sigma = float(np.exp(0.5 * old.log_dispersion[gene]))
            theta = theta_of(problem, [lam[gene] for lam in old.Lambda], sigma)
            point = evaluate(problem, theta, model.reml, work)
            if point is None:
                continue
            _write(fits, gene, problem, point, sigma, model.reml)
            try:
                own = satterthwaite_parts(problem, theta, point, model.reml, work)
            except FloatingPointError:  # at the end of what numbers can hold: the gene has no degrees of freedom
                continue
            parts.vcov[gene], parts.vcov_varpar[gene], parts.jacobian[gene] = own.vcov, own.vcov_varpar, own.jacobian

    with one_blas_thread(), workers(n_jobs) as run:
        run(finish, -(-len(usable) // BLOCK))
    return replace(result, fits=fits), parts


def _write(fits: GeneFits, gene: int, problem: LmmProblem, point: LmmPoint, before: float, reml: bool) -> None:
    """Put the numbers of one gene into its places."""
    sigma = residual_sd(problem, point, reml)
    fits.beta[gene], fits.vcov[gene] = point.beta, sigma**2 * point.vcov
    fits.log_dispersion[gene] = 2.0 * np.log(sigma)
    fits.loglik[gene] = -point.value
    for lam in fits.Lambda:
        lam[gene] *= sigma / before
