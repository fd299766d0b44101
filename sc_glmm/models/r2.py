"""Compute the explained variance of a model: R squared and the intra-class correlation.

Nakagawa, Johnson and Schielzeth (2017), J. R. Soc. Interface 14:20170213, with random slopes by Johnson (2014), Methods
Ecol. Evol. 5:944.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from .._display.arguments import check_choice
from .._errors import InputError
from .._fit.variance_forms import variance_forms
from .._inference.variance_parts import METHODS, distribution_variance, random_variance
from .fitted import MixedFit, check_fit
from .update import reduced, term_key


@dataclass(frozen=True)
class VarianceParts:
    """Variances on the scale of the linear predictor.

    Attributes
    ----------
    fixed
        Variance of ``X beta`` over the observations.
    random
        Term -> mean over the observations of ``z' Sigma z``.
    residual
        The remaining variance: the residual variance, or the variance of the distribution and of effects of single
        observations.
    """

    fixed: float
    random: dict[str, float]
    residual: float

    @property
    def between(self) -> float:
        """Variance of all random terms together."""
        return sum(self.random.values())

    @property
    def total(self) -> float:
        """Total variance."""
        return self.fixed + self.between + self.residual


def r2(fit: MixedFit, *, method: Literal["lognormal", "trigamma", "delta"] = "lognormal") -> pd.Series:
    """Compute the fraction of the variance that the model explains (Nakagawa and others 2017).

    Let ``V_f`` be the variance of the fixed effects, ``V_r`` the variance of the random effects and ``V_e`` the rest,
    all on the scale of the linear predictor::

        marginal = V_f / (V_f + V_r + V_e)      conditional = (V_f + V_r) / (V_f + V_r + V_e)

    ``V_f`` is the variance of ``X beta`` over the observations, and ``V_r`` is the mean of ``z' Sigma z``. ``V_e`` is
    sigma^2 for measurements and ``pi^2 / 3`` for trials. For counts, it is ``log(1 + a)``, ``trigamma(1 / a)`` or
    ``a``, where ``a = 1 / m + phi`` with the mean m of the null model (phi = 0 for Poisson).

    Parameters
    ----------
    fit
        The model.
    method
        Formula for ``V_e``. Counts: ``"lognormal"`` (default, as in R's performance), ``"trigamma"`` or ``"delta"``.
        Trials: ``"delta"`` is ``1 / (m (1 - m))``, the others are ``pi^2 / 3``. No effect for measurements.

    Returns
    -------
    ``marginal`` (fixed effects) and ``conditional`` (fixed and random effects).

    Raises
    ------
    InputError
        If the model is separated, because its fixed effects have no finite variance.

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> mice = pd.DataFrame(
    ...     {
    ...         "Weight": [19.8, 21.2, 24.9, 26.2, 17.1, 19.0, 20.9, 22.6],
    ...         "Dose": [0, 1, 2, 3] * 2,
    ...         "Strain": pd.Categorical(list("aaaabbbb")),
    ...     }
    ... )
    >>> sc_glmm.lmer("Weight ~ Dose + (1 | Strain)", mice).r2().round(2).to_dict()
    {'marginal': 0.54, 'conditional': 0.97}
    """
    parts = variance_parts(fit, method, "r2")
    fractions = {"marginal": parts.fixed / parts.total, "conditional": (parts.fixed + parts.between) / parts.total}
    return pd.Series(fractions, name="r2")


def icc(fit: MixedFit, *, method: Literal["lognormal", "trigamma", "delta"] = "lognormal") -> pd.DataFrame:
    """Compute the intra-class correlation: the fraction of the variance between groups (Nakagawa and others 2017).

    With the variances of :func:`r2`: ``adjusted = V_r / (V_r + V_e)``, given the fixed effects, and
    ``unadjusted = V_r / (V_f + V_r + V_e)``.

    Parameters
    ----------
    fit
        The model.
    method
        As in :func:`r2`.

    Returns
    -------
    One row per random term, and one for all together (``"all"``); columns ``adjusted`` and ``unadjusted``.

    Raises
    ------
    InputError
        If the model is separated.
    """
    parts = variance_parts(fit, method, "icc")
    rows = {**parts.random, "all": parts.between}
    within = parts.between + parts.residual
    return pd.DataFrame(
        {"adjusted": [v / within for v in rows.values()], "unadjusted": [v / parts.total for v in rows.values()]},
        index=pd.Index(list(rows), name="term"),
    )


def variance_parts(fit: MixedFit, method: str, function: str) -> VarianceParts:
    """Split the variance of the linear predictor, without the offset."""
    check_fit(fit, function)
    check_choice("method", method, METHODS)
    if fit.limit is not None:
        raise InputError(
            f"{function}() needs finite estimates, but the model is separated, so the variance of its fixed effects "
            "is infinite: remove the separated term from the formula"
        )
    random, single = _random_variances(fit)
    residual = sum(single.values()) + _distribution_variance(fit, method)
    total, _ = variance_forms(fit.prepared.design).fixed.variances(fit.beta[None, :])
    return VarianceParts(float(total[0]) * fit.nobs / (fit.nobs - 1), random, residual)


def _random_variances(fit: MixedFit) -> tuple[dict[str, float], dict[str, float]]:
    """Compute the mean variance of each term; terms with one level per observation are returned separately."""
    design = fit.prepared.design
    shared: dict[str, float] = {}
    single: dict[str, float] = {}
    forms = variance_forms(design).random
    for place in fit.prepared.places:
        term, lam = design.random[place.term], fit.term_lambda(place)
        variance = float(random_variance(forms[place.term], (lam @ lam.T)[None])[0])
        (single if len(term.levels) == fit.nobs else shared)[term.label] = variance
    return shared, single


def _distribution_variance(fit: MixedFit, method: str) -> float:
    """Compute the variance of one observation on the scale of the linear predictor."""
    if fit.family == "gaussian":
        return fit.sigma**2 * (1.0 if fit.weights is None else float(np.mean(1.0 / fit.weights)))
    mean = 0.5 if fit.family == "binomial" and method != "delta" else _null_mean(fit)
    phi = float(getattr(fit, "dispersion", 0.0)) if fit.family == "nb" else 0.0
    over, rest = distribution_variance(fit.family, np.array([mean]), np.array([phi]), method)
    return float(over[0] + rest[0])


def _null_mean(fit: MixedFit) -> float:
    """Compute the mean response in the model with the same random effects and only an intercept.

    For counts, this is ``exp(eta + V_r / 2)``, averaged over the offsets. For trials, it is the inverse logit of the
    intercept.
    """
    formula = fit.prepared.design.formula
    fixed = {term_key(term) for term in formula.fixed_terms}
    null = reduced(fit, fixed, "1")
    eta = null.fixed_part()
    if fit.family == "binomial":
        return float(np.mean(1.0 / (1.0 + np.exp(-eta))))
    between = sum(sum(part.values()) for part in _random_variances(null))
    return float(np.mean(np.exp(eta + 0.5 * between)))
