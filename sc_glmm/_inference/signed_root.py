"""Compute F(b) = sum_j w_j Phi(r_j(b)), which gives the p-value, the interval and the shrunken effect of a gene.

r_j is the signed root of the likelihood ratio against b, given the variances of node j. It was computed at b = 0, and
close to the estimate it is ``z = (delta - b) / sd``. For other b it is approximated by the curve of the log of a
Poisson mean, ``r(z) = z R(a z)`` with ``R(x)^2 = 2 (e^x - 1 - x) / x^2``. This curve increases for every a. It is
straight for a = 0; otherwise it is steep on one side and flat on the other. The bend a is chosen so that the curve has
the computed value at b = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from .._arrays import FloatArray, IntArray

# Below this, a series replaces the formula of R, whose terms cancel.
_SMALL = 0.02
# Arguments at which R is tabulated; interpolation in the table inverts it.
_TABLE = np.sinh(np.linspace(-np.arcsinh(1e5), np.arcsinh(60.0), 6001))
# Largest bend. For comparison, the bend of a single count is 1, and that of half a count 1.4.
_MAX_BEND = 20.0
# Search for a quantile: largest number of Newton steps, and tolerance and longest step in standard errors.
_MAX_STEPS = 60
_TOLERANCE = 1e-9
_LONGEST_STEP = 8.0


def steepness(x: FloatArray) -> FloatArray:
    """Compute R(x) = sqrt(2 (e^x - 1 - x)) / abs(x), which is 1 at zero and increases."""
    size = np.abs(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.sqrt(2.0 * (np.expm1(x) - x)) / size
    near = size < _SMALL
    at = x[near]
    out[near] = np.sqrt(1.0 + at * (1.0 / 3.0 + at * (1.0 / 12.0 + at * (1.0 / 60.0 + at / 360.0))))
    return np.asarray(out)


def steepness_slope(x: FloatArray) -> FloatArray:
    """Compute the derivative of ``z R(a z)`` with respect to z at ``a z = x``."""
    small = np.abs(x) < 1e-8
    safe = np.where(small, 1.0, x)
    return np.where(small, 1.0, np.expm1(safe) / safe) / steepness(x)


_LOG_R = np.log(steepness(_TABLE))


def bend_through(z: FloatArray, root: FloatArray) -> FloatArray:
    """Find the bend a with ``z R(a z) = root``; if both are below a half, use the skewness ``root - z`` instead."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = root / z
        x = np.interp(np.log(np.where(ratio > 0.0, ratio, 1.0)), _LOG_R, _TABLE)
        through = np.where(ratio > 0.0, x / z, 0.0)
    # For small z the ratio has no precision: change smoothly to the series R(x) = 1 + x / 6 + ... at z = 1.
    weight = np.clip(2.0 * np.maximum(np.abs(z), np.abs(root)) - 1.0, 0.0, 1.0)
    return np.clip(weight * through + (1.0 - weight) * 6.0 * (root - z), -_MAX_BEND, _MAX_BEND)


@dataclass(frozen=True)
class SignedRoots:
    """Signed roots of many genes, as functions of the value b of a coefficient.

    Attributes
    ----------
    weights, delta, sd
        ``(n_genes, n_grid)`` posterior of the variances; estimate and standard deviation at each node.
    bend, shift
        ``(n_genes, n_grid)`` of the root ``z R(bend z) + shift``; the shift is zero except for estimates close to zero.
    """

    weights: FloatArray
    delta: FloatArray
    sd: FloatArray
    bend: FloatArray
    shift: FloatArray

    @classmethod
    def through(cls, weights: FloatArray, delta: FloatArray, var: FloatArray, root: FloatArray) -> SignedRoots:
        """Fit curves through ``root (n_genes, n_grid)`` at b = 0; ``delta / sqrt(var)`` gives straight lines (Wald)."""
        sd = np.sqrt(var)
        z = delta / sd
        bend = bend_through(z, root)
        return cls(weights, delta, sd, bend, root - z * steepness(_inside(bend * z)))

    def __getitem__(self, genes: slice | NDArray[np.bool_] | IntArray) -> SignedRoots:
        """Select genes."""
        parts = (self.weights, self.delta, self.sd, self.bend, self.shift)
        return SignedRoots(*(part[genes] for part in parts))

    def at(self, b: FloatArray) -> FloatArray:
        """Compute the ``(n_genes, n_grid, m)`` roots against ``b (n_genes, m)``."""
        z, x = self._arguments(b)
        return z * steepness(x) + self.shift[:, :, None]

    def slope(self, b: FloatArray) -> FloatArray:
        """Compute the ``(n_genes, n_grid, m)`` derivatives of the roots in ``-b``."""
        _, x = self._arguments(b)
        return steepness_slope(x) / self.sd[:, :, None]

    def _arguments(self, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Compute z, and the argument of R."""
        z = (self.delta[:, :, None] - b[:, None, :]) / self.sd[:, :, None]
        return z, _inside(self.bend[:, :, None] * z)

    def tail(self, b: FloatArray, sign: FloatArray) -> FloatArray:
        """Compute ``(n_genes, m)`` tails: 1 - F(b) where ``sign (n_genes,)`` is positive, F(b) where it is negative."""
        return self._mean(ndtr(-sign[:, None, None] * self.at(b)))

    def density(self, b: FloatArray) -> FloatArray:
        """Compute the density ``(n_genes, m)``, minus the derivative of F, at `b`."""
        return self._mean(_normal(self.at(b)) * self.slope(b))

    def quantile(self, t: float, start: FloatArray, se: FloatArray) -> FloatArray:
        """Find the ``(n_genes,)`` values b with ``F(b) = Phi(t)``, from `start` and the standard error of each gene.

        Newton's method solves for the normal quantile of F, which is nearly linear in b. The values on both sides that
        were found so far bracket the solution.
        """
        b = start.copy()
        low, high = np.full(len(b), -np.inf), np.full(len(b), np.inf)
        longest = _LONGEST_STEP * se
        moving = np.arange(len(b))
        for _ in range(_MAX_STEPS):
            subset = self[moving]
            root, slope = subset.at(b[moving, None]), subset.slope(b[moving, None])
            F = subset._mean(ndtr(root))[:, 0]
            with np.errstate(divide="ignore", invalid="ignore"):
                quantile = ndtri(F)
                step = (quantile - t) * _normal(quantile) / subset._mean(_normal(root) * slope)[:, 0]
            above = F > ndtr(t)  # F falls in b
            low[moving], high[moving] = (
                np.where(above, b[moving], low[moving]),
                np.where(above, high[moving], b[moving]),
            )
            step = np.where(np.isfinite(step), step, np.where(above, np.inf, -np.inf))
            new = b[moving] + np.clip(step, -longest[moving], longest[moving])
            outside = (new <= low[moving]) | (new >= high[moving])
            middle = 0.5 * (low[moving] + high[moving])
            new = np.where(outside & np.isfinite(middle), middle, new)
            change = np.abs(new - b[moving])
            b[moving] = new
            moving = moving[change > _TOLERANCE * se[moving]]
            if len(moving) == 0:
                break
        return b

    def inverse(self, t: FloatArray) -> FloatArray:
        """Find ``(n_genes, len(t))`` values, ascending, at which the root of the first node is about `t`."""
        bend, shift = self.bend[:, :1], self.shift[:, :1]
        straight = np.abs(bend) < 1e-6
        # x R(x) at x = bend z
        product = np.interp(np.where(straight, 1.0, bend) * (t[None, ::-1] - shift), _TABLE * steepness(_TABLE), _TABLE)
        z = np.where(straight, t[None, ::-1] - shift, product / np.where(straight, 1.0, bend))
        return self.delta[:, :1] - self.sd[:, :1] * z

    def _mean(self, values: FloatArray) -> FloatArray:
        """Average ``values (n_genes, n_grid, m)`` over the posterior: ``(n_genes, m)``."""
        return np.asarray(np.einsum("gj,gjm->gm", self.weights, values))


def _normal(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi))


def _inside(x: FloatArray) -> FloatArray:
    """Clip the argument of R: beyond these limits the exponential overflows or no longer changes R."""
    return np.clip(x, -1e6, 300.0)
