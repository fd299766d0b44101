"""The one function behind p-value, interval and shrunken effect: F(b) = sum_j w_j Phi(r_j(b)).

r_j is the signed root of the likelihood ratio against b, given the variances of node j. It is known at b = 0, and
close to the estimate it is ``z = (delta - b) / sd``. Between and beyond these it has the shape that it has for the log
of a Poisson mean, ``r(z) = z R(a z)`` with ``R(x)^2 = 2 (e^x - 1 - x) / x^2``: increasing for every a, straight for
a = 0, steep on one side and flat on the other otherwise. The bend a is such that r goes through its value at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from .._arrays import FloatArray

# Below this a series replaces R, whose terms cancel.
_SMALL = 0.02
# R is tabulated between these, and inverted by interpolation.
_TABLE = np.sinh(np.linspace(-np.arcsinh(1e5), np.arcsinh(60.0), 6001))
# Largest bend; a single count has one of 1, half a count of 1.4.
_MOST = 20.0
# Newton steps at most in the search for a quantile, and how exact it is in standard errors.
_STEPS = 60
_EXACT = 1e-9
# Longest first step of that search, in standard errors.
_STRIDE = 8.0


def steepness(x: FloatArray) -> FloatArray:
    """R(x) = sqrt(2 (e^x - 1 - x)) / abs(x), which is 1 at zero and increases."""
    small = np.abs(x) < _SMALL
    safe = np.where(small, 1.0, x)
    square = 2.0 * (np.expm1(safe) - safe) / (safe * safe)
    series = 1.0 + x * (1.0 / 3.0 + x * (1.0 / 12.0 + x * (1.0 / 60.0 + x / 360.0)))
    return np.sqrt(np.where(small, series, square))


def steepness_slope(x: FloatArray) -> FloatArray:
    """Derivative of ``z R(a z)`` in z at ``a z = x``."""
    small = np.abs(x) < 1e-8
    safe = np.where(small, 1.0, x)
    return np.where(small, 1.0, np.expm1(safe) / safe) / steepness(x)


_LOG_R = np.log(steepness(_TABLE))


def bend_through(z: FloatArray, root: FloatArray) -> FloatArray:
    """The bend a with ``z R(a z) = root``, or where both are below a half the one of this skewness at ``z = 1``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = root / z
        x = np.interp(np.log(np.where(ratio > 0.0, ratio, 1.0)), _LOG_R, _TABLE)
        through = np.where(ratio > 0.0, x / z, 0.0)
    known = np.clip(2.0 * np.maximum(np.abs(z), np.abs(root)) - 1.0, 0.0, 1.0)
    # R(x) = 1 + x / 6 + ...
    return np.clip(known * through + (1.0 - known) * 6.0 * (root - z), -_MOST, _MOST)


@dataclass(frozen=True)
class SignedRoots:
    """The signed roots of many genes as functions of the value b of a coefficient.

    Attributes
    ----------
    weights, delta, sd
        ``(n_genes, n_grid)`` posterior of the variances; estimate and standard deviation at each node.
    bend, shift
        ``(n_genes, n_grid)``: the root is ``z R(bend z) + shift``; the shift is zero but for estimates close to zero.
    """

    weights: FloatArray
    delta: FloatArray
    sd: FloatArray
    bend: FloatArray
    shift: FloatArray

    @classmethod
    def through(cls, weights: FloatArray, delta: FloatArray, var: FloatArray, root: FloatArray) -> SignedRoots:
        """From the root against zero, ``(n_genes, n_grid)``; ``delta / sqrt(var)`` makes them straight (Wald)."""
        sd = np.sqrt(var)
        z = delta / sd
        bend = bend_through(z, root)
        return cls(weights, delta, sd, bend, root - z * steepness(_inside(bend * z)))

    def __getitem__(self, genes: slice | NDArray[np.bool_] | NDArray[np.int64]) -> SignedRoots:
        """Some of the genes."""
        parts = (self.weights, self.delta, self.sd, self.bend, self.shift)
        return SignedRoots(*(part[genes] for part in parts))

    def at(self, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``(n_genes, n_grid, m)`` roots against `b` ``(n_genes, m)``, and their slopes in ``-b``."""
        z = (self.delta[:, :, None] - b[:, None, :]) / self.sd[:, :, None]
        x = _inside(self.bend[:, :, None] * z)
        return z * steepness(x) + self.shift[:, :, None], steepness_slope(x) / self.sd[:, :, None]

    def tail(self, b: FloatArray, sign: FloatArray) -> FloatArray:
        """``(n_genes, m)`` 1 - F(b) where `sign` ``(n_genes,)`` is positive, F(b) where it is negative."""
        root, _ = self.at(b)
        return self._mean(ndtr(-sign[:, None, None] * root))

    def density(self, b: FloatArray) -> FloatArray:
        """``(n_genes, m)`` minus the derivative of F at `b`."""
        root, slope = self.at(b)
        return self._mean(_normal(root) * slope)

    def quantile(self, t: float, start: FloatArray, se: FloatArray) -> FloatArray:
        """``(n_genes,)`` values b with ``F(b) = Phi(t)``, from `start` and a standard error of each gene.

        Newton on the normal quantile of F, which is nearly straight in b, kept between what was found to lie on
        either side.
        """
        b = start.copy()
        low, high = np.full(len(b), -np.inf), np.full(len(b), np.inf)
        stride = _STRIDE * se
        moving = np.arange(len(b))
        for _ in range(_STEPS):
            some = self[moving]
            root, slope = some.at(b[moving, None])
            F = some._mean(ndtr(root))[:, 0]
            with np.errstate(divide="ignore", invalid="ignore"):
                found = ndtri(F)
                step = (found - t) * _normal(found) / some._mean(_normal(root) * slope)[:, 0]
            above = F > ndtr(t)  # F falls in b
            low[moving], high[moving] = (
                np.where(above, b[moving], low[moving]),
                np.where(above, high[moving], b[moving]),
            )
            step = np.where(np.isfinite(step), step, np.where(above, np.inf, -np.inf))
            new = b[moving] + np.clip(step, -stride[moving], stride[moving])
            outside = (new <= low[moving]) | (new >= high[moving])
            middle = 0.5 * (low[moving] + high[moving])
            new = np.where(outside & np.isfinite(middle), middle, new)
            change = np.abs(new - b[moving])
            b[moving] = new
            moving = moving[change > _EXACT * se[moving]]
            if len(moving) == 0:
                break
        return b

    def inverse(self, t: FloatArray) -> FloatArray:
        """``(n_genes, len(t))`` values against which the root of the first node is about `t`, ascending."""
        bend, shift = self.bend[:, :1], self.shift[:, :1]
        straight = np.abs(bend) < 1e-6
        # x R(x) at x = bend z
        product = np.interp(np.where(straight, 1.0, bend) * (t[None, ::-1] - shift), _TABLE * steepness(_TABLE), _TABLE)
        z = np.where(straight, t[None, ::-1] - shift, product / np.where(straight, 1.0, bend))
        return self.delta[:, :1] - self.sd[:, :1] * z

    def _mean(self, values: FloatArray) -> FloatArray:
        """``(n_genes, m)`` posterior means of ``(n_genes, n_grid, m)``."""
        return np.asarray(np.einsum("gj,gjm->gm", self.weights, values))


def _normal(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi))


def _inside(x: FloatArray) -> FloatArray:
    """Where the exponential neither overflows nor says anything new."""
    return np.clip(x, -1e6, 300.0)
