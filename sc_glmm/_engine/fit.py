"""Fit a block of genes and return the numbers on the scale of the user, from plain arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from sc_glmm._engine import entry, warm
from sc_glmm._engine.boundary import is_near, lower_ranks
from sc_glmm._engine.gaussian.genes import fit_gaussian_genes
from sc_glmm._engine.genes import GeneFits, GeneStats, Structure, random_effects
from sc_glmm._engine.laplace.records import Likelihood, Nodes, NodeSets
from sc_glmm._engine.laplace.search import FitOptions, FitOut
from sc_glmm._engine.optimize import ACCEPTED, NOISE
from sc_glmm._families.registry import GAUSSIAN, Family

from .._arrays import FloatArray, IntArray


def gauss_hermite(n_agq: int) -> FloatArray:
    """Compute the ``(2, n_agq)`` nodes, and logs of the weights divided by sqrt(pi)."""
    x, w = np.polynomial.hermite.hermgauss(n_agq)
    return np.ascontiguousarray(np.vstack([x, np.log(w) - 0.5 * np.log(np.pi)]))


def as_sets(nodes: Nodes | NodeSets) -> NodeSets:
    """Convert one node table, or those of the genes, to the form of the kernels."""
    return NodeSets(nodes.ptr, *(np.ascontiguousarray(np.atleast_2d(a)) for a in nodes[1:]))


def fit_genes(
    structure: Structure,
    nodes: Nodes | NodeSets,
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
        Design, node table (or one for each gene) and statistics on the same rows.
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
    out = search_fits(structure, nodes, stats, family, reml=reml, n_agq=n_agq, full=full)
    return read_fits(structure, out, stats, family, reml=reml, full=full)


def search_fits(
    structure: Structure,
    nodes: Nodes | NodeSets,
    stats: GeneStats,
    family: Family,
    *,
    reml: bool,
    n_agq: int = 1,
    full: bool = False,
    near: FitOut | None = None,
    approximate: bool = False,
) -> FitOut:
    """Fit genes for the columns of the arrow; `near` are fits of these genes to nearly the same data.

    If nodes are `approximate`, a gene fails where its likelihood on them exceeds that of any model.
    """
    warm.wait("fits")
    most = largest_loglik(stats, structure.n_beta if reml else 0) if approximate else np.full(len(stats), np.inf)
    sets, like = as_sets(nodes), Likelihood(family.code, family.has_dispersion, reml)

    def fitted(genes: IntArray, theta: FloatArray, near: FitOut | None) -> FitOut:
        out = _room_for_fits(structure, len(genes), family, reml)
        own = sets if len(sets.ec) == 1 else NodeSets(sets.ptr, sets.ec[genes], sets.weight[genes])
        options = FitOptions(
            one=structure.one,
            theta_start=theta,
            bounds=np.array(family.log_dispersion_bounds),
            full=full,
            most=most[genes],
            near=near is not None,
            theta=out.theta[:0] if near is None else near.theta,
            log_phi=out.log_phi[:0] if near is None else near.log_phi,
            v=out.v[:0] if near is None else near.v,
            metric=out.hess[:0] if near is None else _inverses(near.hess),
        )
        entry.fit_block(like, structure.arrow, own, stats.pick(genes).table(), gauss_hermite(n_agq), options, out)
        return out

    out = fitted(np.arange(len(stats)), structure.theta_start, near)
    _look_on_the_boundary(structure, out, fitted)
    return out


def largest_loglik(stats: GeneStats, n_integrated: int) -> FloatArray:
    """Bound the log likelihoods of counts, without their constants: no probability exceeds one.

    The integral over coefficients has no such bound. It adds ``log(2 pi / information) / 2`` for each, which is far
    below 50.
    """
    bound: FloatArray = 50.0 * n_integrated - stats.const
    return bound


def _inverses(hess: FloatArray) -> FloatArray:
    """Invert the positive definite matrices; the inverses of the others are NaN."""
    out = np.full_like(hess, np.nan)
    if hess.shape[1] == 0:
        return out
    finite = np.flatnonzero(np.isfinite(hess).all(axis=(1, 2)))
    definite = finite[np.linalg.eigvalsh(hess[finite])[:, 0] > 0.0]
    out[definite] = np.linalg.inv(hess[definite])
    return out


def read_fits(
    structure: Structure, out: FitOut, stats: GeneStats, family: Family, *, reml: bool, full: bool = False
) -> GeneFits:
    """Convert the results of a search to the columns of the user."""
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
    out: FitOut,
    fitted: Callable[[IntArray, FloatArray, FitOut | None], FitOut],
) -> None:
    """Refit genes that did not converge or ended near the boundary, from covariances of lower rank (`.boundary`)."""
    terms = [structure.blocks[block].terms for block in structure.scaling.order]
    if max(map(max, terms)) == 1:
        return
    lost = out.status == entry.NOT_CONVERGED
    for gene in np.flatnonzero(lost | (out.status == entry.OK)):
        if not lost[gene] and not is_near(terms, out.theta[gene]):
            continue
        one, least = np.array([gene]), out.loglik[gene] - (ACCEPTED if lost[gene] else NOISE)
        for theta in lower_ranks(terms, out.theta[gene]):
            again = fitted(one, theta, None)
            out.n_eval[gene] += again.n_eval[0]
            # unless the covariance has another rank at a better optimum
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
    """Compute the standard error of the last outer parameter; NaN at a bound, or if the fit did not converge."""
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
    """Compute the covariance of the scaled beta with the uncertainty of the variances; NaN if H is not definite."""
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
