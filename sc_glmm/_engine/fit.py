"""Fit a block of genes and give the numbers back on the user's scale: plain arrays in, plain arrays out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from sc_glmm._engine import entry
from sc_glmm._engine.boundary import is_near, lower_ranks
from sc_glmm._engine.gaussian.genes import fit_gaussian_genes
from sc_glmm._engine.genes import GeneFits, GeneStats, Structure, random_effects
from sc_glmm._engine.laplace.records import Likelihood, Nodes
from sc_glmm._engine.laplace.search import FitOptions, FitOut
from sc_glmm._engine.optimize import ACCEPTED, NOISE
from sc_glmm._families.registry import GAUSSIAN, Family

from .._arrays import FloatArray, IntArray


def gauss_hermite(n_agq: int) -> FloatArray:
    """``(2, n_agq)``: nodes, and logs of the weights over sqrt(pi)."""
    x, w = np.polynomial.hermite.hermgauss(n_agq)
    return np.ascontiguousarray(np.vstack([x, np.log(w) - 0.5 * np.log(np.pi)]))


def fit_genes(
    structure: Structure,
    nodes: Nodes,
    stats: GeneStats,
    family: Family,
    *,
    reml: bool,
    n_agq: int = 1,
    full: bool = False,
) -> GeneFits:
    """Fit every gene of `stats`; serial, releases the GIL.

    Parameters
    ----------
    structure, nodes, stats
        Design, node table and statistics on the same rows.
    family
        From :data:`sc_glmm._families.registry.FAMILIES`.
    reml
        Integrate the fixed effects out with a flat prior.
    n_agq
        Quadrature nodes; more than one only for one block of one column and not with `reml`.
    full
        Also compute :attr:`GeneFits.vcov_full`.
    """
    if family.code == GAUSSIAN:
        return fit_gaussian_genes(structure, nodes.weight, stats, reml=reml)

    def fitted(some: GeneStats, start: FloatArray) -> FitOut:
        out = _room_for_fits(structure, len(some), family, reml)
        entry.fit_block(
            Likelihood(family.code, family.has_dispersion, reml),
            structure.arrow,
            nodes,
            some.table(),
            gauss_hermite(n_agq),
            FitOptions(structure.one, start, np.array(family.log_dispersion_bounds), full),
            out,
        )
        return out

    out = fitted(stats, structure.theta_start)
    _look_on_the_boundary(structure, stats, out, fitted)
    scaling = structure.scaling
    Lambda, ranef = random_effects(structure, out.theta, out.v)
    return GeneFits(
        beta=scaling.beta(out.beta),
        vcov=scaling.vcov(out.vcov),
        Lambda=Lambda,
        log_dispersion=out.log_phi,
        log_dispersion_se=_log_dispersion_se(out.hess, out.log_phi, out.status, family),
        ranef=ranef,
        loglik=out.loglik + stats.const - (scaling.log_det if reml else 0.0),
        n_iter=out.n_eval,
        decrement=out.decrement,
        status=out.status,
        vcov_full=scaling.vcov(_full_vcov(out.vcov, out.hess, out.dbeta, reml)) if full else None,
    )


def _look_on_the_boundary(
    structure: Structure,
    stats: GeneStats,
    out: FitOut,
    fitted: Callable[[GeneStats, FloatArray], FitOut],
) -> None:
    """Fit again what did not converge or ended beside the boundary, from covariances of lower rank (`.boundary`)."""
    terms = [structure.blocks[block].terms for block in structure.scaling.order]
    if max(map(max, terms)) == 1:
        return
    lost = out.status == entry.NOT_CONVERGED
    for gene in np.flatnonzero(lost | (out.status == entry.OK)):
        if not lost[gene] and not is_near(terms, out.theta[gene]):
            continue
        one, least = stats.pick(np.array([gene])), out.loglik[gene] - (ACCEPTED if lost[gene] else NOISE)
        for theta in lower_ranks(terms, out.theta[gene]):
            again = fitted(one, theta)
            out.n_eval[gene] += again.n_eval[0]
            # not where the covariance has another rank at a better optimum
            if again.status[0] == entry.OK and again.loglik[0] > least:
                again.n_eval[0] = out.n_eval[gene]
                for kept, found in zip(out, again, strict=True):
                    kept[gene] = found[0]
                break


def _room_for_fits(structure: Structure, n_genes: int, family: Family, reml: bool) -> FitOut:
    p, n_theta, n_v = structure.n_beta, structure.n_theta, structure.arrow.q + structure.n_beta
    n_par = (0 if reml else p) + n_theta + int(family.has_dispersion)
    return FitOut(
        beta=np.full((n_genes, p), np.nan),
        theta=np.full((n_genes, n_theta), np.nan),
        log_phi=np.full(n_genes, np.nan),
        v=np.full((n_genes, n_v), np.nan),
        vcov=np.full((n_genes, p, p), np.nan),
        hess=np.full((n_genes, n_par, n_par), np.nan),
        dbeta=np.full((n_genes, n_par, p), np.nan),
        loglik=np.full(n_genes, np.nan),
        n_eval=np.zeros(n_genes, dtype=np.int64),
        decrement=np.full(n_genes, np.nan),
        status=np.full(n_genes, entry.FAILED, dtype=np.int64),
    )


def _log_dispersion_se(hess: FloatArray, log_phi: FloatArray, status: IntArray, family: Family) -> FloatArray:
    """Standard error of the last outer parameter, NaN where it stands at a bound or the fit has not arrived."""
    out = np.full(len(hess), np.nan)
    if not family.has_dispersion:
        return out
    low, high = family.log_dispersion_bounds
    with np.errstate(invalid="ignore"):
        good = np.flatnonzero((status == entry.OK) & (log_phi > low) & (log_phi < high))
    if len(good):
        out[good] = np.sqrt(np.linalg.inv(hess[good])[:, -1, -1])
    return out


def _full_vcov(vcov: FloatArray, hess: FloatArray, dbeta: FloatArray, reml: bool) -> FloatArray:
    """Covariance of the scaled beta that counts the uncertainty of the variances; NaN where H is not definite."""
    p = vcov.shape[1]
    out = np.full_like(vcov, np.nan)
    for g in range(len(vcov)):
        if not np.all(np.isfinite(hess[g])):
            continue
        try:
            chol = cho_factor(hess[g], lower=True)
        except np.linalg.LinAlgError:
            continue
        if reml:
            out[g] = vcov[g] + dbeta[g].T @ cho_solve(chol, dbeta[g])
        else:
            out[g] = cho_solve(chol, np.eye(len(hess[g])))[:p, :p]
    return out
