"""Mean, variance and deviance of each family as functions of the fitted values (the engine has its own kernels)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlogy

FloatArray = NDArray[np.float64]

LINKS = {"gaussian": "identity", "poisson": "log", "nb": "log", "binomial": "logit"}


def inverse_link(family: str, eta: FloatArray) -> FloatArray:
    """Mean at a linear predictor."""
    if family == "gaussian":
        return eta
    out: FloatArray = expit(eta) if family == "binomial" else np.exp(eta)
    return out


def slope_of_mean(family: str, mu: FloatArray) -> FloatArray:
    """Derivative of the mean in the linear predictor."""
    if family == "gaussian":
        return np.ones_like(mu)
    return mu * (1.0 - mu) if family == "binomial" else mu


def variance_of_mean(family: str, mu: FloatArray, dispersion: float) -> FloatArray:
    """Variance of one observation (one trial)."""
    if family == "binomial":
        return mu * (1.0 - mu)
    return mu + dispersion * mu**2 if family == "nb" else mu


def weight_of_row(
    family: str, y: FloatArray, mu: FloatArray, weights: FloatArray | None, dispersion: float
) -> FloatArray:
    """Minus the second derivative of the log likelihood of each observation in its linear predictor."""
    w = 1.0 if weights is None else weights
    if family == "nb":
        return w * mu * (1.0 + dispersion * y) / (1.0 + dispersion * mu) ** 2
    return w * variance_of_mean(family, mu, dispersion)


def deviance_parts(
    family: str, y: FloatArray, mu: FloatArray, weights: FloatArray | None, dispersion: float
) -> FloatArray:
    """Twice the log likelihood that a perfect fit would gain, per observation."""
    w = 1.0 if weights is None else weights
    if family == "binomial":
        out = xlogy(y, y) - xlogy(y, mu) + xlogy(1.0 - y, 1.0 - y) - xlogy(1.0 - y, 1.0 - mu)
    elif family == "nb" and dispersion > 1e-12:
        out = xlogy(y, y) - xlogy(y, mu)
        out -= (y + 1.0 / dispersion) * (np.log1p(dispersion * y) - np.log1p(dispersion * mu))
    else:
        out = xlogy(y, y) - xlogy(y, mu) - (y - mu)
    parts: FloatArray = np.maximum(2.0 * w * out, 0.0)
    return parts
