"""Gaussian genes at their optimum: from cross-products the numbers of :func:`sc_glmm.lmer`, and degrees of freedom.

The search over the variances is that of all families, for values that are centred and in units of their deviation;
what is reported comes from the profiled criterion at its end, so that a gene of a table and the same gene as a model of
its own have the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .._arrays import FloatArray
from .._engine import entry
from .._engine.fit import GeneFits, GeneStats
from .._engine.gaussian.problem import LmmPoint, LmmProblem, LmmWork, build_problem, constant_direction, evaluate
from .._inference.ddf import SatterthwaiteParts, satterthwaite
from .._inference.variances import residual_sd, satterthwaite_parts
from .._parallel.blas import one_blas_thread
from .._parallel.blocks import workers
from .genes import BLOCK, AllFits, GeneModel


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

    def df(self, L: FloatArray, R: FloatArray) -> FloatArray:
        """``(n_genes,)`` degrees of freedom of the contrast ``L (q, p)``, jointly if q > 1; R as for one model."""
        if len(L) == 1:
            variance = np.einsum("gij,i,j->g", self.vcov, L[0], L[0])
            # relative changes have no unit
            change = np.einsum("gmij,i,j->gm", self.jacobian, L[0], L[0]) / variance[:, None]
            spread = np.einsum("gm,gmn,gn->g", change, self.vcov_varpar, change)
            with np.errstate(divide="ignore"):
                return np.where(spread <= 0.0, np.inf, 2.0 / spread)
        out = np.full(len(self.vcov), np.nan)
        for g in np.flatnonzero(np.isfinite(self.vcov).all(axis=(1, 2))):
            parts = SatterthwaiteParts(self.vcov[g], self.vcov_varpar[g], self.jacobian[g], R)
            out[g] = satterthwaite(L, parts)[1]
        return out


def gene_problems(model: GeneModel) -> LmmProblem:
    """The cross-products that all genes share; their statistics are centred already."""
    n_obs = int(model.stats.extra[0, 0]) if len(model.stats) else int(model.rows.n_cells.sum())
    X, n_cells = model.rows.X, np.asarray(model.rows.n_cells, dtype=np.float64)
    problem = build_problem(X, model.structure.blocks, np.arange(len(X)), np.zeros(len(X)), n_cells)
    return replace(problem, n_obs=n_obs, log_weight=0.0, constant=None)


def gene_problem(shared: LmmProblem, model: GeneModel, gene: int, constant: FloatArray | None) -> LmmProblem:
    """Those of one gene: its means over rows, and the sum of squares within them.

    `constant` are the coefficients whose predictor is one for every cell, if there are any.
    """
    n_cells, sums = shared.weight, model.stats.A[gene]
    _, squares, centre, unit = (float(x) for x in model.stats.extra[gene])
    within = max(squares - float(sums @ (sums / n_cells)), 0.0)
    problem = shared.with_response(sums / n_cells, np.arange(len(sums)), n_cells, within)
    return replace(problem, constant=constant, centre=centre, unit=unit * problem.unit)


def restore_units(stats: GeneStats, fits: GeneFits, constant: FloatArray | None, n_used: int) -> GeneFits:
    """Fits of values as they are from those of the centred and scaled statistics; `n_used` is n, or n - p by REML.

    A gene whose values are all equal has nothing to fit, which is another matter than no counts.
    """
    centre, unit = stats.extra[:, 2], stats.extra[:, 3]
    beta = fits.beta * unit[:, None]
    return replace(
        fits,
        beta=beta if constant is None else beta + centre[:, None] * constant,
        vcov=fits.vcov * (unit**2)[:, None, None],
        Lambda=tuple(lam * unit[:, None, None] for lam in fits.Lambda),
        log_dispersion=fits.log_dispersion + 2.0 * np.log(unit),
        ranef=tuple(b * unit[:, None, None] for b in fits.ranef),
        loglik=fits.loglik - n_used * np.log(unit),
        status=np.where((fits.status == entry.EMPTY) & (centre != 0.0), entry.FAILED, fits.status),
        vcov_full=None if fits.vcov_full is None else fits.vcov_full * (unit**2)[:, None, None],
    )


def about_zero(model: GeneModel) -> GeneModel:
    """The same genes with statistics that are not centred, as a model without a constant needs them."""
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
    """The engine's theta of the user's Lambda, one per block."""
    arrow = problem.arrow
    theta = np.empty(problem.n_theta)
    for f, block in enumerate(problem.scaling.order):
        mine = arrow.theta_fac == f
        theta[mine] = Lambda[block][arrow.theta_row[mine], arrow.theta_col[mine]] / sigma
    return problem.scale_theta(theta)


def finish_gaussian(model: GeneModel, result: AllFits, *, n_jobs: int = 1) -> tuple[AllFits, GaussianParts]:
    """Report every gene, in its own unit, from the profiled criterion at its optimum; `result` is not changed."""
    n_genes, p = result.fits.beta.shape
    shared, constant = gene_problems(model), constant_direction(model.design.fixed.X)
    m = shared.n_theta + 1
    parts = GaussianParts(
        np.full((n_genes, p, p), np.nan), np.full((n_genes, m, m), np.nan), np.full((n_genes, m, p, p), np.nan)
    )
    n_used = shared.n_obs - p if model.reml else shared.n_obs
    old, fits = result.fits, restore_units(model.stats, result.fits, constant, n_used)
    usable = np.flatnonzero(np.isin(old.status, (entry.OK, entry.NOT_CONVERGED)))

    def finish(block: int) -> None:
        work = LmmWork(shared)
        for gene in usable[block * BLOCK : (block + 1) * BLOCK]:
            problem = gene_problem(shared, model, gene, constant)
            sigma = float(np.exp(0.5 * old.log_dispersion[gene]))
            theta = theta_of(problem, [lam[gene] for lam in old.Lambda], sigma)
            point = evaluate(problem, theta, model.reml, work)
            if point is None:
                continue
            _write(fits, gene, problem, point, sigma * model.stats.extra[gene, 3], model.reml)
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
