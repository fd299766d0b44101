"""Fit a block of genes and give the numbers back on the user's scale: plain arrays in, plain arrays out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from sc_glmm._engine import entry
from sc_glmm._engine.arrow.layout import Arrow, Block, Scaling, build_arrow
from sc_glmm._engine.boundary import is_near, lower_ranks
from sc_glmm._engine.laplace.records import Gene, GeneTable, Likelihood, Nodes
from sc_glmm._engine.laplace.search import FitOptions, FitOut
from sc_glmm._engine.optimize import ACCEPTED, NOISE
from sc_glmm._families.registry import Family

from .._arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Structure:
    """A design laid out for the engine, with the way back.

    Attributes
    ----------
    arrow, scaling
        See :mod:`sc_glmm._engine.arrow.layout`.
    blocks
        The caller's blocks, in the caller's order.
    theta_start
        ``(n_theta,)`` where the covariance parameters start, for a response of unit scale.
    one
        ``(p,)`` scaled beta whose predictor is nearest to one.
    """

    arrow: Arrow
    scaling: Scaling
    blocks: tuple[Block, ...]
    theta_start: FloatArray
    one: FloatArray

    @property
    def n_beta(self) -> int:
        """Number of fixed effects."""
        return self.arrow.p

    @property
    def n_theta(self) -> int:
        """Number of covariance parameters."""
        return len(self.arrow.theta_fac)


@dataclass(frozen=True)
class GeneStats:
    """Sufficient statistics of a block of genes, whatever the family.

    Attributes
    ----------
    A
        ``(n_genes, n_nodes)`` sums of the response over the nodes.
    tail
        ``(n_genes, 64)`` number of cells with y > j.
    over_ptr, over_value, over_count
        Counts above 64, ragged per gene.
    extra
        ``(n_genes, 4)`` of a Gaussian response (else zeros): number of cells; sum of squares; centre and unit, the
        values being centre + unit times what the statistics are of.
    const
        ``(n_genes,)`` what the log likelihood has besides.
    """

    A: FloatArray
    tail: FloatArray
    over_ptr: IntArray
    over_value: FloatArray
    over_count: FloatArray
    extra: FloatArray
    const: FloatArray

    def __len__(self) -> int:
        return len(self.A)

    def table(self) -> GeneTable:
        """What the kernels see of it."""
        return GeneTable(
            np.ascontiguousarray(self.A),
            np.ascontiguousarray(self.tail),
            np.ascontiguousarray(self.over_ptr),
            self.over_value,
            self.over_count,
            np.ascontiguousarray(self.extra),
        )

    def gene(self, g: int, nodes: Nodes) -> Gene:
        """What the kernels see of one gene."""
        over = slice(self.over_ptr[g], self.over_ptr[g + 1])
        return Gene(
            np.ascontiguousarray(self.A[g]),
            np.add.reduceat(self.A[g], nodes.ptr[:-1]),
            np.ascontiguousarray(self.tail[g]),
            self.over_value[over],
            self.over_count[over],
            np.ascontiguousarray(self.extra[g]),
        )

    def take(self, start: int, stop: int) -> GeneStats:
        """The genes ``start:stop``."""
        return GeneStats(
            A=self.A[start:stop],
            tail=self.tail[start:stop],
            over_ptr=self.over_ptr[start : stop + 1],
            over_value=self.over_value,
            over_count=self.over_count,
            extra=self.extra[start:stop],
            const=self.const[start:stop],
        )

    def pick(self, genes: IntArray) -> GeneStats:
        """The genes of the given places, in their order."""
        lengths = np.diff(self.over_ptr)[genes]
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.over_ptr[:-1][genes] - ptr[:-1], lengths) + np.arange(ptr[-1])
        return GeneStats(
            A=self.A[genes],
            tail=self.tail[genes],
            over_ptr=ptr,
            over_value=self.over_value[places],
            over_count=self.over_count[places],
            extra=self.extra[genes],
            const=self.const[genes],
        )


@dataclass(frozen=True)
class GeneFits:
    """Fits of a block of genes on the user's scale; NaN where `status` is FAILED or EMPTY.

    Attributes
    ----------
    beta
        ``(n_genes, p)`` fixed effects (natural log for counts).
    vcov
        ``(n_genes, p, p)`` their covariance given the variance parameters: the beta block of the inverse joint Hessian
        of (u, beta).
    Lambda
        Per block of the caller ``(n_genes, k, k)``, lower triangular with non-negative diagonal: the random effects of
        one level have covariance ``Lambda Lambda'``.
    log_dispersion, log_dispersion_se
        ``(n_genes,)`` estimate, and its standard error from the Hessian in the outer parameters; NaN at a bound.
    ranef
        Per block ``(n_genes, n_levels, k)`` modes of the random effects ``b = Lambda u``.
    loglik
        ``(n_genes,)`` the (restricted) log likelihood that was maximised, all constants included.
    n_iter, decrement
        ``(n_genes,)`` evaluations of the objective; Newton decrement at the end.
    status
        ``(n_genes,)`` codes of :mod:`sc_glmm._engine.entry`.
    vcov_full
        ``(n_genes, p, p)`` covariance of beta that counts the uncertainty of the variance parameters, or None: ML
        inverts the Hessian in all parameters; REML adds ``D' H^-1 D``, D the derivative of beta's mode in the
        variance parameters.
    """

    beta: FloatArray
    vcov: FloatArray
    Lambda: tuple[FloatArray, ...]
    log_dispersion: FloatArray
    log_dispersion_se: FloatArray
    ranef: tuple[FloatArray, ...]
    loglik: FloatArray
    n_iter: IntArray
    decrement: FloatArray
    status: IntArray
    vcov_full: FloatArray | None


def build_structure(X: FloatArray, blocks: Sequence[Block], n_cells: FloatArray) -> Structure:
    """Lay out a design of rows: ``X (n_rows, p)`` of full column rank, one block per grouping factor."""
    arrow, scaling = build_arrow(X, blocks, n_cells)
    p = X.shape[1]
    Xs = arrow.XZ[:, arrow.XZ.shape[1] - p :]
    one = np.linalg.lstsq(Xs, np.ones(len(Xs)), rcond=None)[0] if p else np.zeros(0)
    diagonal = arrow.theta_row == arrow.theta_col
    start = np.where(diagonal, 0.3 / np.sqrt(max(len(blocks), 1)), 0.0)
    return Structure(arrow, scaling, tuple(blocks), start, np.ascontiguousarray(one))


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
    Lambda, ranef = _random_effects(structure, out.theta, out.v)
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
            again = fitted(one, theta)  # Gaussian statistics have unit scale, too
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


def _random_effects(
    structure: Structure, theta: FloatArray, v: FloatArray
) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
    """Lambda and the modes b per block in the caller's order, for the caller's columns and with unique signs."""
    arrow, scaling = structure.arrow, structure.scaling
    n_genes = len(theta)
    Lambda: list[FloatArray] = [np.zeros(0)] * len(structure.blocks)
    ranef: list[FloatArray] = [np.zeros(0)] * len(structure.blocks)
    for f, block in enumerate(scaling.order):
        k, n_levels = int(arrow.fac_k[f]), int(arrow.n_levels[f])
        lam = np.zeros((n_genes, k, k))
        mine = arrow.theta_fac == f
        lam[:, arrow.theta_row[mine], arrow.theta_col[mine]] = theta[:, mine]
        u = v[:, arrow.fac_u[f] : arrow.fac_u[f + 1]].reshape(n_genes, n_levels, k)
        # the likelihood knows no sign of a column of Lambda; the reported one has a positive diagonal
        sign = np.where(np.diagonal(lam, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
        inverse = solve_triangular(scaling.basis[f], np.eye(k), lower=True)
        lam = inverse @ (lam * sign[:, None, :])
        Lambda[block] = lam
        ranef[block] = np.einsum("gij,glj->gli", lam, u * sign[:, None, :])
    return tuple(Lambda), tuple(ranef)


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


def relative_theta(Lambda: Sequence[FloatArray], terms: Sequence[Sequence[int]], scale: float) -> FloatArray:
    """lme4's theta of one gene: the lower triangles of its terms' Lambda, column by column, over `scale`."""
    parts = []
    for lam, sizes in zip(Lambda, terms, strict=True):
        first = 0
        for size in sizes:
            block = lam[first : first + size, first : first + size]
            parts.append(block.T[np.triu_indices(size)])
            first += size
    return np.concatenate(parts) / scale


__all__ = ["Block", "GeneFits", "GeneStats", "Nodes", "Structure", "build_structure", "fit_genes", "relative_theta"]
