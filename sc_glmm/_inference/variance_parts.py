"""Split the variance of the linear predictor and of one observation into parts.

The design gives quadratic forms. The estimates of a model, or of every gene, then give the variances:

- The variance of a fixed part is the variance of its share of ``X beta`` over the observations. The share contains only
  what its columns add to the parts that it contains (the main effects in an interaction). It therefore depends neither
  on base levels nor on the zero of a covariate.
- The variance of a random term is the mean of ``z' Sigma z`` over the observations, with z the row of Z (Johnson 2014,
  Methods Ecol. Evol. 5:944).
- The variance of one observation is the residual variance, or the variance of its distribution on the scale of the
  linear predictor (Nakagawa, Johnson and Schielzeth 2017, J. R. Soc. Interface 14:20170213).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import polygamma

from .._arrays import FloatArray

METHODS = ("lognormal", "trigamma", "delta")


@dataclass(frozen=True)
class FixedForms:
    """Quadratic forms of the fixed effects: a variance is the sum of squares of ``rows @ beta``.

    Attributes
    ----------
    total
        ``(p, p)`` rows of all parts together.
    parts
        Per part ``(k, p)`` rows.
    """

    total: FloatArray
    parts: tuple[FloatArray, ...]

    def variances(self, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Compute ``(n,)`` variances of all fixed effects and ``(n, n_parts)`` of the parts, from ``beta (n, p)``.

        The variances of correlated parts do not add up to the total. They are scaled so that they do, as in
        variancePartition.
        """
        total = _squares(beta, self.total)
        alone = (
            np.stack([_squares(beta, rows) for rows in self.parts], axis=1) if self.parts else np.zeros((len(beta), 0))
        )
        whole = alone.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(whole == 0.0, 0.0, alone / whole)
        return total, shares * total[:, None]


def fixed_forms(X: FloatArray, parts: Sequence[Sequence[int]], inside: Sequence[Sequence[int]]) -> FixedForms:
    """Compute the quadratic forms of a fixed design.

    Parameters
    ----------
    X
        ``(n_obs, p)`` design of full column rank.
    parts
        Columns of each part.
    inside
        For each part, the parts that it contains; they come before it.
    """
    n_obs, p = X.shape
    centred = X - X.mean(axis=0)
    # R of the QR decomposition has the same inner products as X, but only p rows
    R = np.asarray(np.linalg.qr(centred, mode="r")) / np.sqrt(n_obs)
    share = [np.eye(p)[list(columns)] for columns in parts]
    forms: list[FloatArray] = [np.zeros((0, p))] * len(parts)
    for i in reversed(range(len(parts))):
        own = R[:, list(parts[i])]
        contained = [column for j in inside[i] for column in parts[j]]
        if contained:
            size = np.linalg.norm(R[:, contained], axis=0)
            size[size == 0.0] = 1.0
            projection, *_ = np.linalg.lstsq(R[:, contained] / size, own, rcond=1e-10)
            own = own - (R[:, contained] / size) @ projection
            projection /= size[:, None]
            start = 0
            for j in inside[i]:
                stop = start + len(parts[j])
                share[j] = share[j] + projection[start:stop] @ share[i]
                start = stop
        forms[i] = np.asarray(np.linalg.qr(own, mode="r")) @ share[i]
    return FixedForms(R, tuple(forms))


def random_variance(Z_form: FloatArray, Sigma: FloatArray) -> FloatArray:
    """Compute the ``(n,)`` mean of ``z' Sigma z`` from ``Z_form (k, k)``, the mean of ``z z'``, and Sigma."""
    return np.asarray(np.einsum("ij,nij->n", Z_form, Sigma))


def distribution_variance(
    family: str, mean: FloatArray, dispersion: FloatArray, method: str
) -> tuple[FloatArray, FloatArray]:
    """Compute the variance of one observation on the scale of the linear predictor: of overdispersion, and the rest.

    Parameters
    ----------
    family
        ``"poisson"``, ``"nb"`` or ``"binomial"``.
    mean
        Mean of a count, or probability of a trial.
    dispersion
        phi of ``mean + phi mean^2``; zero for other families.
    method
        For counts with ``a = 1 / mean + phi``: ``"lognormal"`` gives ``log(1 + a)``, ``"trigamma"`` the trigamma
        function of ``1 / a``, and ``"delta"`` a itself. The part of overdispersion is the formula with ``a = phi``,
        the limit of an infinite mean. The rest is Poisson noise. For trials, ``"delta"`` gives
        ``1 / (mean (1 - mean))``, and the other methods ``pi^2 / 3``.
    """
    mean, dispersion = np.asarray(mean, dtype=np.float64), np.asarray(dispersion, dtype=np.float64)
    if family == "binomial":
        rest = 1.0 / (mean * (1.0 - mean)) if method == "delta" else np.full(mean.shape, np.pi**2 / 3.0)
        return np.zeros(mean.shape), rest
    over = _of_counts(dispersion, method)
    with np.errstate(divide="ignore"):
        return over, _of_counts(1.0 / mean + dispersion, method) - over


def _of_counts(a: FloatArray, method: str) -> FloatArray:
    if method == "lognormal":
        return np.log1p(a)
    if method == "delta":
        return a
    out: FloatArray = np.where(a > 0.0, polygamma(1, 1.0 / np.where(a > 0.0, a, 1.0)), 0.0)
    return out


def _squares(beta: FloatArray, rows: FloatArray) -> FloatArray:
    """Compute the ``(n,)`` sums of squares of ``beta @ rows'``; coefficients that no part uses may be NaN."""
    used = np.any(rows != 0.0, axis=0)
    return np.asarray(((beta[:, used] @ rows[:, used].T) ** 2).sum(axis=1))
