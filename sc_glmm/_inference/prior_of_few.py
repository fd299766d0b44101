"""Estimate the distribution of the variances over a few responses, such as cell types.

Fewer than fifty responses are too few for a distribution without a parametric form. Here the variances are lognormal:
their logarithms have an unknown mean m and standard deviation t over responses. The prior is averaged over a grid of
pairs (m, t). For response g, the weight of pair h comes from the **other** responses,

    w_gh ~ prod_{k != g} sum_j pi_h(j) L_k(j),

and its prior is ``sum_h w_gh pi_h``. Multiplied by the response's own likelihood L_g, this is the exact posterior in
the hierarchical model, because no response is counted twice. The prior of a single response is the equal mixture of
all pairs.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.special import ndtr

from .._arrays import FloatArray
from .prior import VariancePrior

# Grid of the averages: medians of the variances, and standard deviations of their logarithms.
MEDIANS = np.array([0.003, 0.01, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0])
SPREADS = np.array([0.25, 0.5, 0.9, 1.5])
# Mass of every prior that is spread evenly over the grid, because a response may differ from all others.
UNIFORM_MASS = 0.03
# Smaller grid for two or more variances. The full grid would take longer, with the same result.
_COARSE_GRID = (MEDIANS[::2], SPREADS[::2])


def fit_prior_of_few(
    log_likelihood: FloatArray, rank: FloatArray, variance: FloatArray, shape: tuple[int, ...]
) -> VariancePrior:
    """Estimate a prior of the variances for each response; every response is an anchor at its own abundance rank.

    Parameters
    ----------
    log_likelihood
        ``(n_genes, n_grid)`` finite log likelihoods, up to a constant per response; the grid is the product of `shape`.
    rank
        ``(n_genes,)`` abundance ranks, 0 to 1; responses of the same rank get the mean of their priors.
    variance
        ``(n_grid, n_chosen)`` variances at the nodes.
    shape
        Number of nodes of each variance.
    """
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    nodes = [_nodes(variance, shape, k) for k in range(len(shape))]
    medians, spreads = (MEDIANS, SPREADS) if len(shape) == 1 else _COARSE_GRID
    of_pairs = [np.stack([_lognormal(v, m, t) for m in medians for t in spreads]) for v in nodes]
    choices = list(product(*(range(len(pairs)) for pairs in of_pairs)))
    marginal = np.empty((len(likelihood), len(choices)))
    for h, choice in enumerate(choices):
        pi = of_pairs[0][choice[0]]
        for pairs, i in zip(of_pairs[1:], choice[1:], strict=True):
            pi = np.outer(pi, pairs[i]).ravel()
        marginal[:, h] = likelihood @ pi
    log_marginal = np.log(marginal)
    of_others = log_marginal.sum(axis=0) - log_marginal
    weight = np.exp(of_others - of_others.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    anchors, place = np.unique(rank, return_inverse=True)
    same = np.equal.outer(np.arange(len(anchors)), np.asarray(place).reshape(-1)).astype(np.float64)
    same /= same.sum(axis=1, keepdims=True)
    chosen = np.array(choices)
    return VariancePrior(
        anchors, tuple(same @ (weight @ pairs[chosen[:, k]]) for k, pairs in enumerate(of_pairs)), shape
    )


def _nodes(variance: FloatArray, shape: tuple[int, ...], k: int) -> FloatArray:
    """List the nodes of variance k, in the order of the grid."""
    table = np.moveaxis(variance[:, k].reshape(shape), k, 0)
    return table.reshape(shape[k], -1)[:, 0]


def _lognormal(nodes: FloatArray, median: float, spread: float) -> FloatArray:
    """Compute the mass of a lognormal distribution at each node: the mass of all values nearest to it, in logs."""
    order = np.argsort(nodes)
    log = np.log(nodes[order])
    below = ndtr((0.5 * (log[1:] + log[:-1]) - np.log(median)) / spread)
    mass = np.empty(len(nodes))
    mass[order] = np.diff(np.concatenate([[0.0], below, [1.0]]))
    return (1.0 - UNIFORM_MASS) * mass + UNIFORM_MASS / len(nodes)
