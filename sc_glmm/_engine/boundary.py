"""Starts on the boundary for correlated random effects whose covariance is singular or nearly so.

A covariance ``Lambda Lambda'`` of lower rank has many factors near it where the first diagonal entries of Lambda are
small: ``(0, r)`` and ``(r, 0)`` in the second row of Lambda give the same variance. The likelihood has a curved ridge
there, on which a search can run out of steps. With the last column of Lambda at zero the ridge is straight, and zero
is a stationary point in that column. The Hessian decides whether it is an optimum, as for any other fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .._arrays import FloatArray

# Least standard deviation of correlated effects, for a response of unit scale, that may be zero at a better optimum.
NEAR = 0.03


def is_near(terms: Sequence[Sequence[int]], theta: FloatArray) -> bool:
    """Check whether the covariance of a term is nearly singular, although the last entry of its Lambda is not zero."""
    for lam in _factors(terms, theta):
        if len(lam) > 1 and lam[-1, -1] != 0.0 and np.linalg.svd(lam, compute_uv=False)[-1] < NEAR:
            return True
    return False


def lower_ranks(terms: Sequence[Sequence[int]], theta: FloatArray) -> Iterator[FloatArray]:
    """Find theta of the nearest covariances of lower rank, in steps of one rank; none without correlated effects.

    Parameters
    ----------
    terms
        Per block, in the order of theta, the numbers of columns of its terms.
    theta
        ``(n_theta,)`` where a search ended.
    """
    for less in range(1, max(max(sizes) for sizes in terms)):
        yield np.concatenate(
            [_of_rank(lam, max(len(lam) - less, 1)).T[np.triu_indices(len(lam))] for lam in _factors(terms, theta)]
        )


def _factors(terms: Sequence[Sequence[int]], theta: FloatArray) -> Iterator[FloatArray]:
    """Yield Lambda of each term, in the order of theta, which holds their lower triangles column by column."""
    first = 0
    for size in (size for sizes in terms for size in sizes):
        last = first + size * (size + 1) // 2
        lam = np.zeros((size, size))
        lam.T[np.triu_indices(size)] = theta[first:last]
        first = last
        yield lam


def _of_rank(lam: FloatArray, rank: int) -> FloatArray:
    """Compute the lower triangular factor of the nearest covariance of this rank."""
    if rank == len(lam):
        return lam
    left, values, _ = np.linalg.svd(lam)
    R = np.asarray(np.linalg.qr((left[:, :rank] * values[:rank]).T, mode="r"))
    out = np.zeros_like(lam)
    out[:, :rank] = R.T * np.where(np.diagonal(R) < 0.0, -1.0, 1.0)
    return np.tril(out)
