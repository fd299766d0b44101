"""The distribution of the variances over a few responses, such as cell types: lognormal, with its parameters averaged.

Fewer than fifty responses cannot give a distribution of free form. Here the logarithm of each variance is normal over
responses, with unknown mean m and standard deviation t. Both are averaged over a grid: pair h has the weight that the
**other** responses give it,

    w_gh ~ prod_{k != g} sum_j pi_h(j) L_k(j),

and the prior of response g is ``sum_h w_gh pi_h``. With its own likelihood L_g this is its exact posterior in the
hierarchical model: no response is counted twice, and a single one has the flat mixture of all pairs as its prior.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.special import ndtr

from .._arrays import FloatArray
from .prior import VariancePrior

# Medians of the variances, and standard deviations of their logarithms, over which is averaged.
MEDIANS = np.array([0.003, 0.01, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0])
SPREADS = np.array([0.25, 0.5, 0.9, 1.5])
# Mass that every prior spreads evenly over the grid: a response may be unlike all others.
EVEN = 0.03
# Pairs over which the parameters of two or more variances are averaged; more would take long and tell nothing.
_FEWER = (MEDIANS[::2], SPREADS[::2])


def fit_prior_of_few(
    log_likelihood: FloatArray, rank: FloatArray, variance: FloatArray, shape: tuple[int, ...]
) -> VariancePrior:
    """The prior of each response, at its own place in abundance.

    Parameters
    ----------
    log_likelihood
        ``(n_genes, n_grid)`` finite, up to a constant per response; the grid is the product of `shape`.
    rank
        ``(n_genes,)`` abundance ranks, 0 to 1; responses of the same rank get the mean of their priors.
    variance
        ``(n_grid, n_chosen)`` variances at the nodes.
    shape
        Nodes of each variance.
    """
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    nodes = [_nodes(variance, shape, k) for k in range(len(shape))]
    medians, spreads = (MEDIANS, SPREADS) if len(shape) == 1 else _FEWER
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
    """The nodes of variance k, in the order of the grid."""
    table = np.moveaxis(variance[:, k].reshape(shape), k, 0)
    return table.reshape(shape[k], -1)[:, 0]


def _lognormal(nodes: FloatArray, median: float, spread: float) -> FloatArray:
    """Masses of a lognormal distribution at the nodes: what lies nearest to each, in logs."""
    order = np.argsort(nodes)
    log = np.log(nodes[order])
    below = ndtr((0.5 * (log[1:] + log[:-1]) - np.log(median)) / spread)
    mass = np.empty(len(nodes))
    mass[order] = np.diff(np.concatenate([[0.0], below, [1.0]]))
    return (1.0 - EVEN) * mass + EVEN / len(nodes)
