"""Compute degrees of freedom of Gaussian genes, and undo the centring of their statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .._arrays import FloatArray
from .._engine import entry
from .._engine.gaussian.evaluate import evaluate, new_work
from .._engine.gaussian.genes import gene_problem, shared_problem
from .._engine.gaussian.problem import LmmProblem, constant_direction
from .._inference.ddf import SatterthwaiteParts, satterthwaite
from .._inference.variances import satterthwaite_parts
from .._parallel.blas import one_blas_thread
from .._parallel.blocks import workers
from .genes import BLOCK, AllFits, GeneModel


@dataclass(frozen=True)
class GaussianParts:
    """Quantities for Satterthwaite's degrees of freedom of every gene; NaN for genes without a fit.

    Attributes
    ----------
    vcov
        ``(n_genes, p, p)`` covariance of beta.
    vcov_varpar
        ``(n_genes, m, m)`` covariance of the variance parameters.
    jacobian
        ``(n_genes, m, p, p)`` derivative of `vcov` with respect to each variance parameter.
    """

    vcov: FloatArray
    vcov_varpar: FloatArray
    jacobian: FloatArray

    def df(self, L: FloatArray, R: FloatArray) -> FloatArray:
        """Compute ``(n_genes,)`` degrees of freedom of the contrast ``L (q, p)``; for q > 1 those of the joint test.

        `R` is the one of :class:`.SatterthwaiteParts`.
        """
        if len(L) == 1:
            variance = np.einsum("gij,i,j->g", self.vcov, L[0], L[0])
            # a relative change has no unit
            change = np.einsum("gmij,i,j->gm", self.jacobian, L[0], L[0]) / variance[:, None]
            spread = np.einsum("gm,gmn,gn->g", change, self.vcov_varpar, change)
            with np.errstate(divide="ignore"):
                return np.where(spread <= 0.0, np.inf, 2.0 / spread)
        out = np.full(len(self.vcov), np.nan)
        for g in np.flatnonzero(np.isfinite(self.vcov).all(axis=(1, 2))):
            parts = SatterthwaiteParts(self.vcov[g], self.vcov_varpar[g], self.jacobian[g], R)
            out[g] = satterthwaite(L, parts)[1]
        return out


def about_zero(model: GeneModel) -> GeneModel:
    """Undo the centring of the statistics, for a model without a constant."""
    constant = constant_direction(model.design.fixed.X)
    if constant is None:
        return model
    stats = model.stats
    shift = stats.extra[:, 2] / stats.extra[:, 3]
    ones = model.rows.n_cells * (model.rows.X @ constant)
    A = stats.A + shift[:, None] * ones
    extra = stats.extra.copy()
    extra[:, 1] += extra[:, 0] * shift**2
    extra[:, 2] = 0.0
    return replace(model, stats=replace(stats, A=A, extra=extra))


def theta_of(problem: LmmProblem, Lambda: Sequence[FloatArray], sigma: float) -> FloatArray:
    """Convert Lambda in the user's units, one array per block, to the engine's theta."""
    arrow = problem.arrow
    theta = np.empty(problem.n_theta)
    for f, block in enumerate(problem.scaling.order):
        of_factor = arrow.theta_fac == f
        theta[of_factor] = Lambda[block][arrow.theta_row[of_factor], arrow.theta_col[of_factor]] / sigma
    return problem.scale_theta(theta)


def finish_gaussian(model: GeneModel, result: AllFits, *, n_jobs: int = 1) -> tuple[AllFits, GaussianParts]:
    """Convert fits of centred values to fits of the values, and compute the parts of the degrees of freedom."""
    fits, structure, stats = result.fits, model.structure, model.stats
    n_genes, p = fits.beta.shape
    shared = shared_problem(structure, model.nodes.weight, int(stats.extra[:, 0].max(initial=0.0)))
    m = shared.n_theta + 1
    parts = GaussianParts(
        np.full((n_genes, p, p), np.nan), np.full((n_genes, m, m), np.nan), np.full((n_genes, m, p, p), np.nan)
    )
    usable = np.flatnonzero(np.isin(fits.status, (entry.OK, entry.NOT_CONVERGED)))

    def run_block(block: int) -> None:
        work = new_work(shared)
        for gene in usable[block * BLOCK : (block + 1) * BLOCK]:
            problem = gene_problem(shared, stats, gene)
            sigma = float(np.exp(0.5 * fits.log_dispersion[gene]))
            theta = theta_of(problem, [lam[gene] for lam in fits.Lambda], sigma)
            point = evaluate(problem, theta, model.reml, work)
            if point is None:
                continue
            try:
                own = satterthwaite_parts(problem, theta, point, model.reml, work)
            except FloatingPointError:  # values near the limit of floating-point numbers: no degrees of freedom
                continue
            parts.vcov[gene], parts.vcov_varpar[gene], parts.jacobian[gene] = own.vcov, own.vcov_varpar, own.jacobian

    with one_blas_thread(), workers(n_jobs) as run:
        run(run_block, -(-len(usable) // BLOCK))
    constant = constant_direction(model.design.fixed.X)
    beta = fits.beta if constant is None else fits.beta + stats.extra[:, 2, None] * constant
    se = 2.0 * np.sqrt(parts.vcov_varpar[:, -1, -1])
    return replace(result, fits=replace(fits, beta=beta, log_dispersion_se=se)), parts
