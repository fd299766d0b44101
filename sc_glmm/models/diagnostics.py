"""Compute quantile residuals, and data frames of random effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from .._arrays import FloatArray
from .._display.arguments import check_count, check_flag
from .checks import random_generator
from .fitted import MixedFit, check_fit
from .predict import draw

# Smallest distance of a probability from 0 and 1, where the normal quantile is infinite.
_MIN_DISTANCE = 1e-15
# With a smaller dispersion, the negative binomial equals the Poisson distribution in double precision.
_MIN_DISPERSION = 1e-9


def quantile_residuals(
    fit: MixedFit, *, marginal: bool = False, nsim: int = 250, seed: int | np.random.Generator | None = 0
) -> FloatArray:
    """Compute randomised quantile residuals, which are standard normal if the model is right, also for counts.

    The probability of a count y covers the range ``F(y - 1)`` to ``F(y)`` of the distribution function. The residual is
    the normal quantile of a uniform random number in this range (Dunn and Smyth 1996).

    Parameters
    ----------
    fit
        The model.
    marginal
        Conditional residuals (default) use the fitted means with the estimated random effects. With few observations
        per group, they can look better than the model is. Marginal residuals compare the data with `nsim` data sets
        that are simulated with new random effects. They also show a wrong distribution of the random effects, but
        residuals of one group are correlated.
    nsim
        Number of simulated data sets, for marginal residuals.
    seed
        Seed or generator of the random numbers.

    Returns
    -------
    (n_obs,) residuals.

    Raises
    ------
    InputError
        If `nsim` is too small for ranks.
    """
    check_fit(fit, "quantile_residuals")
    check_flag("marginal", marginal)
    rng = random_generator(seed)
    if marginal:
        check_count("nsim", nsim, 20, "fewer simulations are not enough for ranks; use 100 or more")
        below, equal = np.zeros(fit.nobs), np.ones(fit.nobs)
        for _ in range(nsim):
            simulated = draw(fit, rng)
            below += simulated < fit.y
            equal += simulated == fit.y
        u = (below + rng.random(fit.nobs) * equal) / (nsim + 1.0)
    elif fit.family == "gaussian":
        return fit.residuals("pearson", scaled=True)
    else:
        low, high = _bounds(fit)
        u = low + rng.random(fit.nobs) * (high - low)
    return np.asarray(stats.norm.ppf(np.clip(u, _MIN_DISTANCE, 1.0 - _MIN_DISTANCE)), dtype=np.float64)


def _bounds(fit: MixedFit) -> tuple[FloatArray, FloatArray]:
    """Return the probabilities of fewer than each count, and of at most each count."""
    mu, y = fit.fitted(), fit.y
    if fit.family == "binomial":
        trials = np.ones(fit.nobs) if fit.weights is None else np.round(fit.weights)
        distribution, y = stats.binom(trials, mu), np.round(y * trials)
    else:
        phi = float(getattr(fit, "dispersion", 0.0)) if fit.family == "nb" else 0.0
        poisson = phi <= _MIN_DISPERSION
        distribution = stats.poisson(mu) if poisson else stats.nbinom(1.0 / phi, 1.0 / (1.0 + phi * mu))
    return np.asarray(distribution.cdf(y - 1.0)), np.asarray(distribution.cdf(y))


def effects_frame(fit: MixedFit) -> pd.DataFrame:
    """Make a data frame with one random effect per row: ``group, level, effect, mode, sd``.

    ``sd`` is the conditional standard deviation, given the data and the parameters.
    """
    parts = []
    for group, frame in fit.ranef(cond_var=True).items():
        k = frame.shape[1] // 2
        for j, effect in enumerate(frame.columns[:k]):
            parts.append(
                pd.DataFrame(
                    {
                        "group": group,
                        "level": frame.index.astype(str),
                        "effect": effect,
                        "mode": frame.iloc[:, j].to_numpy(),
                        "sd": frame.iloc[:, k + j].to_numpy(),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
