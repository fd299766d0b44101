"""Points that determine all polynomials of a degree in several variables, and the weights of a cell on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import nnls

from .._arrays import FloatArray


@dataclass(frozen=True)
class Lattice:
    """Lattice for one number of variables and one degree.

    Attributes
    ----------
    points
        ``(n_points, n_variables)`` positions in standard deviations.
    exponents
        ``(n_points, n_variables)`` exponents of the monomials.
    inverse
        ``(n_points, n_points)`` matrix: monomials at a position, times this, are its weights on the points.
    slopes
        ``(n_points, n_variables)`` matrix: values at the points, times this, are the slopes of the plane through them.
    share
        ``(n_points,)`` nonnegative weights with which the variables have mean zero, variance one and no correlation.
    """

    points: FloatArray
    exponents: FloatArray
    inverse: FloatArray
    slopes: FloatArray
    share: FloatArray

    def weights(self, place: FloatArray) -> FloatArray:
        """Compute ``(n, n_points)`` weights of positions ``(n, n_variables)``, exact for polynomials of the degree."""
        return _monomials(place, self.exponents) @ self.inverse


def n_points(n_variables: int, degree: int) -> int:
    """Compute the number of points of a lattice."""
    return math.comb(n_variables + degree, degree)


_EXACT = 1e-9
# Factors by which the points are moved outwards, until nonnegative weights give them the moments of the cells.
_SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)


@cache
def lattice(n_variables: int, degree: int) -> Lattice:
    """Create the lattice of all points whose ranks on the axes add up to at most the degree.

    Positions on an axis are Gauss-Hermite points, from the middle outwards. For normal covariates, the first power that
    is not represented then vanishes on average. With many variables, zero must be one of the positions, so that a point
    differs from zero in only a few variables.
    """
    ranks = _ranks(n_variables, degree)
    exponents = np.array(ranks, dtype=np.float64).reshape(len(ranks), n_variables)
    for n_places, scale in [(degree + 1, 1.0), *((degree + 1 + degree % 2, scale) for scale in _SCALES)]:
        places, _ = np.polynomial.hermite_e.hermegauss(n_places)
        axis = scale * np.array(sorted(places, key=lambda place: (round(abs(place), 6), place)))
        points = axis[exponents.astype(np.int64)]
        share, missed = _share(points)
        if missed < _EXACT:
            break
    else:
        raise RuntimeError(f"no weights for {n_variables} variables of degree {degree}")
    plane = np.column_stack([np.ones(len(points)), points])
    return Lattice(
        points=points,
        exponents=exponents,
        inverse=np.asarray(np.linalg.inv(_monomials(points, exponents))),
        slopes=np.linalg.pinv(plane)[1:].T,
        share=share,
    )


def _share(points: FloatArray) -> tuple[FloatArray, float]:
    """Compute nonnegative weights, and their error in the moments."""
    n_variables = points.shape[1]
    pairs = np.tril_indices(n_variables)
    moments = np.vstack([np.ones(len(points)), points.T, (points[:, pairs[0]] * points[:, pairs[1]]).T])
    wanted = np.concatenate([[1.0], np.zeros(n_variables), (pairs[0] == pairs[1]).astype(np.float64)])
    found, missed = nnls(moments, wanted)
    return np.asarray(found), float(missed)


def _ranks(n_variables: int, degree: int) -> list[tuple[int, ...]]:
    """List the exponents of the monomials up to a degree, in ascending order."""
    if n_variables == 0:
        return [()]
    return [(first, *rest) for first in range(degree + 1) for rest in _ranks(n_variables - 1, degree - first)]


def _monomials(place: FloatArray, exponents: FloatArray) -> FloatArray:
    out = np.ones((len(place), len(exponents)))
    for variable, power in enumerate(exponents.T.astype(np.int64)):
        powers = place[:, [variable]] ** np.arange(power.max(initial=0) + 1)
        out *= powers[:, power]
    return out
