"""New responses from a fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .checks import check_count, random_generator
from .means import inverse_link
from .predict import chosen_terms, fixed_part, random_part

if TYPE_CHECKING:
    from .fitted import MixedFit

FloatArray = NDArray[np.float64]


def simulate(
    fit: MixedFit,
    nsim: int = 1,
    *,
    seed: int | np.random.Generator | None = None,
    re_form: str | float | None = "NA",
) -> pd.DataFrame:
    """Simulate responses.

    Parameters
    ----------
    fit
        The model.
    nsim
        Number of data sets.
    seed
        Seed or generator.
    re_form
        ``"NA"`` (default, as in lme4): random effects are drawn anew; None: they stay at their conditional modes; a
        formula: those of its terms stay, the others are drawn.

    Returns
    -------
    ``nobs`` x `nsim`, on the index of the data: numbers, counts, or shares of successes.
    """
    check_count("nsim", nsim, 1, "at least one data set is needed")
    rng = random_generator(seed)
    draws = np.column_stack([draw(fit, rng, re_form) for _ in range(nsim)])
    names = [f"sim_{i + 1}" for i in range(nsim)]
    return pd.DataFrame(draws, index=fit.data.index[fit.prepared.design.kept], columns=names)


def draw(fit: MixedFit, rng: np.random.Generator, re_form: str | float | None = "NA") -> FloatArray:
    """``(nobs,)`` one simulated response."""
    design = fit.prepared.design
    stay = chosen_terms(fit, re_form)
    eta = fixed_part(fit) + random_part(fit, stay)
    for place in fit.prepared.places:
        if place.term not in stay:
            term = design.random[place.term]
            b = rng.standard_normal((len(term.levels), term.Z.shape[1])) @ fit.term_lambda(place).T
            eta += np.einsum("nk,nk->n", term.Z, b[term.codes])
    mu = inverse_link(fit.family, eta)
    if fit.family == "gaussian":
        w = 1.0 if fit.weights is None else fit.weights
        return mu + fit.sigma / np.sqrt(w) * rng.standard_normal(fit.nobs)
    if fit.family == "binomial":
        trials = np.ones(fit.nobs) if fit.weights is None else fit.weights
        return rng.binomial(np.round(trials).astype(np.int64), mu) / trials
    if fit.family == "nb":
        phi = max(float(getattr(fit, "dispersion", 0.0)), 1e-12)
        mu = mu * rng.gamma(1.0 / phi, phi, fit.nobs)
    return rng.poisson(np.minimum(mu, 1e15)).astype(np.float64)
