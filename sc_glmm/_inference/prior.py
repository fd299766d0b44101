"""Estimate the distribution of the variances over genes (nonparametric maximum likelihood), and each gene's posterior.

Every gene has a likelihood over a grid of variances (REML: beta is profiled out with ``- log|X'WX| / 2``). Genes of
similar abundance share a prior on the grid. EM estimates the prior at a few anchors of abundance, each from the genes
near it. Between the anchors it is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import FloatArray

GENES_PER_ANCHOR = 200
MAX_ANCHORS = 10
# Pseudo-count of genes at each node of the grid, so that every node keeps some mass.
PSEUDO = 0.5
MAX_ITERATIONS = 400
TOLERANCE = 1e-6


@dataclass(frozen=True)
class VariancePrior:
    """Prior of the variances on their grid, at anchors of abundance.

    Attributes
    ----------
    anchors
        ``(n_anchors,)`` abundance rank of each anchor, 0 to 1.
    marginals
        Per variance ``(n_anchors, n_nodes)`` prior masses. The prior of a grid of several variances is their product.
    shape
        Number of nodes of each variance.
    """

    anchors: FloatArray
    marginals: tuple[FloatArray, ...]
    shape: tuple[int, ...]

    def at(self, rank: FloatArray) -> FloatArray:
        """Interpolate the prior linearly at the abundance ranks ``rank (n_genes,)``: ``(n_genes, n_grid)``."""
        parts = [
            np.stack([np.interp(rank, self.anchors, column) for column in marginal.T], axis=1)
            for marginal in self.marginals
        ]
        return _product(parts)


def _product(parts: list[FloatArray]) -> FloatArray:
    """Multiply all combinations of the columns of `parts`, row by row; the columns of the last part vary fastest."""
    out = parts[0]
    for part in parts[1:]:
        out = (out[:, :, None] * part[:, None, :]).reshape(len(out), -1)
    return out


def abundance_rank(abundance: FloatArray) -> FloatArray:
    """Rank genes by abundance, between 0 and 1; ties get their mean rank."""
    from scipy.stats import rankdata

    return (rankdata(abundance) - 0.5) / len(abundance)


def fit_prior(log_likelihood: FloatArray, rank: FloatArray, shape: tuple[int, ...]) -> VariancePrior:
    """Estimate the prior of the variances at anchors of abundance.

    Parameters
    ----------
    log_likelihood
        ``(n_genes, n_grid)`` finite log likelihoods, up to a constant per gene; the grid is the product of `shape`.
    rank
        ``(n_genes,)`` abundance ranks.
    shape
        Number of nodes of each variance.
    """
    n_genes = len(rank)
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    n_anchors = int(np.clip(n_genes // GENES_PER_ANCHOR, 1, MAX_ANCHORS))
    if n_anchors == 1:
        anchors, reach = np.array([0.5]), np.inf
    else:
        anchors = (np.arange(n_anchors) + 0.5) / n_anchors
        reach = max(1.25 / n_anchors, 0.75 * GENES_PER_ANCHOR / n_genes)
    marginals: list[list[FloatArray]] = [[] for _ in shape]
    for anchor in anchors:
        distance = np.abs(rank - anchor) / reach
        weight = np.where(distance < 1.0, (1.0 - np.minimum(distance, 1.0) ** 3) ** 3, 0.0)
        near = weight > 0.0
        for k, pi in enumerate(_em(likelihood[near], weight[near], shape)):
            marginals[k].append(pi)
    return VariancePrior(anchors, tuple(np.stack(m) for m in marginals), shape)


def _em(likelihood: FloatArray, weight: FloatArray, shape: tuple[int, ...]) -> list[FloatArray]:
    """Find the marginals of the prior that maximise the weighted likelihood of the genes, by EM."""
    pis = [np.full(n, 1.0 / n) for n in shape]
    total = float(weight.sum())
    for _ in range(MAX_ITERATIONS):
        prior = _product([pi[None, :] for pi in pis])[0]
        posterior = likelihood * prior
        posterior *= (weight / posterior.sum(axis=1))[:, None]
        mass = posterior.sum(axis=0).reshape(shape)
        change = 0.0
        for k, n in enumerate(shape):
            others = tuple(i for i in range(len(shape)) if i != k)
            new = (mass.sum(axis=others) + PSEUDO) / (total + PSEUDO * n)
            change = max(change, float(np.abs(new - pis[k]).max()))
            pis[k] = new
        if change < TOLERANCE:
            break
    return pis


def posterior_weights(log_likelihood: FloatArray, prior: FloatArray) -> FloatArray:
    """Compute the ``(n_genes, n_grid)`` posterior of each gene over the grid; rows with NaN stay NaN."""
    top = log_likelihood.max(axis=1, keepdims=True)
    weights = np.exp(log_likelihood - top) * prior
    return weights / weights.sum(axis=1, keepdims=True)
