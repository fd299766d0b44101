"""Shrink the effects of one contrast with an adaptive prior, which is estimated from all genes.

The prior is a scale mixture of normals around zero (Stephens 2017, "ash"). The likelihood of a gene is the density -F'
of the function that gives its p-value and interval (:mod:`.signed_root`). Under a flat prior, the sign is then false
with probability p / 2. A normal likelihood with one standard error is worse in two cases. With few samples, its false
sign rate is more than twice the nominal rate. For a separated gene, it cannot describe an estimate that is uncertain on
one side only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from .._arrays import FloatArray
from .signed_root import SignedRoots

_ITERATIONS = 300
_TOLERANCE = 1e-6
# Number of pseudo-genes without effect, as in ash: a small preference for no effect.
_NULL_PSEUDO = 10.0
# Borders, as normal quantiles of F, of the cells in which the likelihood counts as constant. The error for narrow
# components of the prior is of the order of the squared width over 24.
_BORDERS = np.arange(-8.4, 8.41, 0.3)
# Components with less weight are left out of the posterior. Most of them have none after EM.
_NEGLIGIBLE = 1e-12
_GENES_PER_BLOCK = 400


@dataclass(frozen=True)
class Shrunken:
    """Posterior of one contrast; NaN for genes without a profile.

    Attributes
    ----------
    mean
        ``(n_genes,)`` posterior mean of the effect.
    lfsr
        ``(n_genes,)`` local false sign rate: the posterior probability that the effect is zero or has the less likely
        sign.
    s_value
        ``(n_genes,)`` mean `lfsr` of this gene and all genes with a smaller one: the false sign rate of the list of
        genes down to this one.
    """

    mean: FloatArray
    lfsr: FloatArray
    s_value: FloatArray


def shrink(weights: FloatArray, delta: FloatArray, var: FloatArray, root: FloatArray) -> Shrunken:
    """Estimate the prior from all genes, and shrink the effect of each gene.

    Parameters
    ----------
    weights, delta, var
        ``(n_genes, n_grid)`` posterior of the variances; estimate and variance at each node.
    root
        ``(n_genes, n_grid)`` signed root against zero, as in :func:`.mixture.mixture_test`.
    """
    mean, lfsr, s_value = (np.full(len(weights), np.nan) for _ in range(3))
    good = np.isfinite(weights * delta * root).all(axis=1) & (var > 0.0).all(axis=1)
    if good.sum() < 2:
        return Shrunken(mean, lfsr, s_value)
    roots = SignedRoots.through(weights[good], delta[good], var[good], root[good])
    scales = _scales(weights[good], delta[good], var[good])
    blocks = [slice(i, i + _GENES_PER_BLOCK) for i in range(0, len(roots.delta), _GENES_PER_BLOCK)]
    cells = [_cells(roots[block]) for block in blocks]
    pi = _mixture_weights(np.concatenate([one.marginal(scales) for one in cells]))
    parts = [one.posterior(scales, pi) for one in cells]
    mean[good], negative, positive = (np.concatenate(column) for column in zip(*parts, strict=True))
    lfsr[good] = np.clip(1.0 - np.maximum(negative, positive), 0.0, 1.0)
    order = np.flatnonzero(good)[np.argsort(lfsr[good], kind="stable")]
    s_value[order] = np.cumsum(lfsr[order]) / np.arange(1, len(order) + 1)
    return Shrunken(mean, lfsr, s_value)


@dataclass(frozen=True)
class _Cells:
    """Likelihoods of a block of genes, constant within cells.

    Attributes
    ----------
    borders
        ``(n_genes, n_cells + 1)`` borders of the cells; one of them is zero.
    height
        ``(n_genes, n_cells)`` likelihood within each cell.
    at_zero
        ``(n_genes,)`` likelihood at zero.
    """

    borders: FloatArray
    height: FloatArray
    at_zero: FloatArray

    def marginal(self, scales: FloatArray) -> FloatArray:
        """Compute the ``(n_genes, n_scales)`` likelihood of each component of the prior; the first scale is zero."""
        return np.stack(
            [self.at_zero, *(np.sum(self.height * np.diff(ndtr(self.borders / s)), axis=1) for s in scales[1:])], axis=1
        )

    def posterior(self, scales: FloatArray, pi: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Compute the ``(n_genes,)`` posterior mean, and the probabilities of an effect below and above zero."""
        mass, first = np.zeros_like(self.height), np.zeros_like(self.height)
        for s, weight in zip(scales[1:], pi[1:], strict=True):
            if weight < _NEGLIGIBLE:
                continue
            at = self.borders / s
            mass += weight * np.diff(ndtr(at))
            first -= weight * s * np.diff(np.exp(-0.5 * at * at)) / np.sqrt(2.0 * np.pi)
        mass *= self.height
        total = pi[0] * self.at_zero + mass.sum(axis=1)
        negative = self.borders[:, 1:] <= 0.0
        below = np.sum(np.where(negative, mass, 0.0), axis=1)
        above = np.sum(np.where(negative, 0.0, mass), axis=1)
        return np.sum(self.height * first, axis=1) / total, below / total, above / total


def _cells(roots: SignedRoots) -> _Cells:
    """Divide the line into cells between about equidistant normal quantiles of F, with the probability of each."""
    w = roots.weights
    coef = np.sum(w * roots.delta, axis=1)
    se = np.sqrt(np.sum(w * (roots.sd**2 + (roots.delta - coef[:, None]) ** 2), axis=1))
    sign = np.where(coef < 0.0, -1.0, 1.0)
    n_genes = len(coef)
    zero = np.zeros((n_genes, 1))
    # Quantiles of a single root with the same p-value are close to those of F. The borders need not be exact.
    tail = np.clip(roots.tail(zero, sign), 1e-300, 0.5)
    single = SignedRoots.through(np.ones((n_genes, 1)), coef[:, None], se[:, None] ** 2, -sign[:, None] * ndtri(tail))
    # Narrow components of the prior need cells near zero. They are symmetric, so that a slope of the likelihood
    # cancels.
    near = 0.1 * se[:, None]
    borders = np.sort(np.hstack([single.inverse(_BORDERS), -near, zero, near]), axis=1)
    # Of F and 1 - F, use the one that is small at zero, so that its differences keep their precision.
    mass = np.abs(np.diff(roots.tail(borders, sign), axis=1))
    width = np.diff(borders, axis=1)
    height = np.divide(mass, width, out=np.zeros_like(mass), where=width > 0.0)
    return _Cells(borders, height, roots.density(zero)[:, 0])


def _scales(w: FloatArray, d: FloatArray, v: FloatArray) -> FloatArray:
    """Choose the standard deviations of the components: zero, then a geometric grid from well below the errors."""
    estimate = np.sum(w * d, axis=1)
    error = np.sqrt(np.sum(w * v, axis=1))
    low = float(np.quantile(error, 0.02)) / 10.0
    high = 2.0 * float(np.sqrt(max(np.max(estimate**2 - error**2), low**2)))
    n = max(int(np.ceil(np.log(max(high / low, 2.0)) / np.log(np.sqrt(2.0)))), 2)
    return np.concatenate([[0.0], low * np.sqrt(2.0) ** np.arange(min(n, 40) + 1)])


def _mixture_weights(marginal: FloatArray) -> FloatArray:
    """Estimate the weights of the components, by EM on the likelihoods of all genes."""
    n_genes, n_scales = marginal.shape
    likelihood = marginal / marginal.max(axis=1, keepdims=True)
    pseudo = np.zeros(n_scales)
    pseudo[0] = min(_NULL_PSEUDO, 0.1 * n_genes)
    pi = np.full(n_scales, 1.0 / n_scales)
    for _ in range(_ITERATIONS):
        total = np.einsum("gs,s->g", likelihood, pi)
        new = (pi * np.einsum("gs,g->s", likelihood, 1.0 / total) + pseudo) / (n_genes + pseudo.sum())
        converged = np.abs(new - pi).max() < _TOLERANCE
        pi = new
        if converged:
            break
    return pi
