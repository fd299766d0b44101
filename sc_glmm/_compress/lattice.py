"""Points that hold all polynomials of a degree in several variables, and the weights that carry a cell to them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from .._arrays import FloatArray


@dataclass(frozen=True)
class Lattice:
    """The lattice of one number of variables and one degree.

    Attributes
    ----------
    points
        ``(n_points, n_variables)``, in standard deviations.
    exponents
        ``(n_points, n_variables)`` of the monomials.
    inverse
        ``(n_points, n_points)``: monomials at a place, times this, are the weights that carry the place to the points.
    slopes
        ``(n_points, n_variables)``: values at the points, times this, are the slopes of the plane through them.
    """

    points: FloatArray
    exponents: FloatArray
    inverse: FloatArray
    slopes: FloatArray

    def weights(self, place: FloatArray) -> FloatArray:
        """``(n, n_points)`` weights of places ``(n, n_variables)``: exact for polynomials of the degree."""
        return _monomials(place, self.exponents) @ self.inverse


def n_points(n_variables: int, degree: int) -> int:
    """Number of points."""
    return math.comb(n_variables + degree, degree)


@cache
def lattice(n_variables: int, degree: int) -> Lattice:
    """All points whose ranks on the axes add up to no more than the degree.

    Places on an axis are those of Gauss and Hermite, from the middle outwards: for normal covariates the first power
    that is not held vanishes on average.
    """
    places, _ = np.polynomial.hermite_e.hermegauss(degree + 1)
    axis = np.array(sorted(places, key=lambda place: (round(abs(place), 6), place)))
    ranks = [r for r in itertools.product(range(degree + 1), repeat=n_variables) if sum(r) <= degree]
    exponents = np.array(ranks, dtype=np.float64).reshape(len(ranks), n_variables)
    points = axis[exponents.astype(np.int64)]
    plane = np.column_stack([np.ones(len(points)), points])
    return Lattice(
        points=points,
        exponents=exponents,
        inverse=np.asarray(np.linalg.inv(_monomials(points, exponents))),
        slopes=np.linalg.pinv(plane)[1:].T,
    )


def _monomials(place: FloatArray, exponents: FloatArray) -> FloatArray:
    out = np.ones((len(place), len(exponents)))
    for variable, power in enumerate(exponents.T.astype(np.int64)):
        powers = place[:, [variable]] ** np.arange(power.max(initial=0) + 1)
        out *= powers[:, power]
    return out
