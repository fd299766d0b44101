"""Statistics of a block of genes for the engine, and its results, as plain arrays for every family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from sc_glmm._engine.arrow.layout import Arrow, Block, Scaling, build_arrow
from sc_glmm._engine.laplace.records import Gene, GeneTable, Nodes

from .._arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Structure:
    """A design in the layout of the engine, with the scaling back to that of the user.

    Attributes
    ----------
    arrow, scaling
        See :mod:`sc_glmm._engine.arrow.layout`.
    blocks
        The caller's blocks, in the caller's order.
    theta_start
        ``(n_theta,)`` starting covariance parameters, for a response of unit scale.
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
        ``(n_genes,)`` additive constants of the log likelihood.
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
        """Return the statistics in the form of the kernels."""
        return GeneTable(
            np.ascontiguousarray(self.A),
            np.ascontiguousarray(self.tail),
            np.ascontiguousarray(self.over_ptr),
            self.over_value,
            self.over_count,
        )

    def gene(self, g: int, nodes: Nodes) -> Gene:
        """Return the statistics of one gene in the form of the kernels."""
        over = slice(self.over_ptr[g], self.over_ptr[g + 1])
        return Gene(
            np.ascontiguousarray(self.A[g]),
            np.add.reduceat(self.A[g], nodes.ptr[:-1]),
            np.ascontiguousarray(self.tail[g]),
            self.over_value[over],
            self.over_count[over],
        )

    def take(self, start: int, stop: int) -> GeneStats:
        """Return the statistics of the genes ``start:stop``."""
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
        """Return the statistics of the genes at the given positions, in this order."""
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


def random_effects(
    structure: Structure, theta: FloatArray, v: FloatArray
) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
    """Compute Lambda and the modes b of each block, for the columns of the caller and with unique signs."""
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
        # the sign of a column of Lambda is not identified; the reported diagonal is positive
        sign = np.where(np.diagonal(lam, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
        inverse = solve_triangular(scaling.basis[f], np.eye(k), lower=True)
        lam = inverse @ (lam * sign[:, None, :])
        Lambda[block] = lam
        ranef[block] = np.einsum("gij,glj->gli", lam, u * sign[:, None, :])
    return tuple(Lambda), tuple(ranef)
