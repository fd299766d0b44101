"""Fit generalised linear mixed models to data frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from .._display import warn_notes
from .._display.arguments import check_flag
from .._display.habits import family_name
from .._errors import InputError
from .._families.registry import FAMILIES
from .._fit.model import check_method
from .checks import accept_r_style
from .fitted import MixedFit
from .glmm import GlmmModel
from .methods import FitMethods
from .prepare import per_row, prepare
from .responses import read_counts, read_fractions


@dataclass(frozen=True, eq=False, repr=False)
class GlmmFit(FitMethods, GlmmModel):
    """A fitted mixed model for counts (log link) or trials (logit link), from :func:`sc_glmm.glmer`."""

    @property
    def fitter(self) -> Callable[..., MixedFit]:
        """The function :func:`sc_glmm.glmer`."""
        return glmer


@accept_r_style
def glmer(
    formula: str,
    data: pd.DataFrame,
    family: str = "",
    *,
    reml: bool = False,
    n_agq: int = 1,
    weights: Any = None,
    offset: Any = None,
    reference: Mapping[str, object] | None = None,
    na_action: Literal["drop", "raise"] = "drop",
) -> GlmmFit:
    """Fit a generalised linear mixed model by maximum likelihood or restricted maximum likelihood.

    ``E y = g^-1(X beta + Z b + offset)`` with ``b ~ N(0, Lambda Lambda')``; g is the log for counts, the logit for
    trials.

    Parameters
    ----------
    formula
        Formula in lme4's syntax. The response of a binomial model is 0 and 1, a fraction of successes with ``weights``
        trials, or ``cbind(successes, failures)``.
    data
        One row per observation.
    family
        ``"poisson"``, ``"nb"`` (variance mu + phi mu^2, phi estimated) or ``"binomial"``. Required. Names from other
        packages, such as ``"negative.binomial"`` or ``"nbinom2"``, work as well.
    reml
        Maximise the restricted likelihood, which integrates over the fixed effects (Laplace approximation; glmmTMB's
        ``REML = TRUE``). This removes the bias of variances that are estimated from few groups. As in linear models,
        restricted likelihoods cannot compare fixed effects.
    n_agq
        Nodes of adaptive Gauss-Hermite quadrature for a model with one scalar random effect; 1 is the Laplace
        approximation.
    weights
        Binomial only: number of trials of each row, as a column of `data` or one number per row.
    offset
        Offset of the linear predictor (natural log or logit scale), in addition to ``offset(...)`` in the formula: a
        column of `data`, or one number per row.
    reference
        Base level of factors: ``{"dose": "low"}``.
    na_action
        ``"drop"`` rows with missing values (with a warning), or ``"raise"`` an error.

    Returns
    -------
    The fitted model.

    Raises
    ------
    FormulaError, DesignError, InputError
        If the formula, the data or their combination cannot be used; the message gives the reason and advice.
    """
    family = _read_family(family, weights)
    check_flag("reml", reml)
    binomial = family == "binomial"
    prepared = prepare(formula, data, offset=offset, reference=reference, na_action=na_action, split_offset=binomial)
    design = prepared.design
    check_method("reml" if reml else "ml", n_agq, design.random)
    values = design.response
    if values is None:
        raise InputError(f"the formula {formula!r} has no left side: write the response before '~'")
    if binomial:
        trials = None if weights is None else per_row("weights", weights, data, design)
        y, trials = read_fractions(values, trials, formula)
    else:
        y, trials = read_counts(values, formula), None
    options = {
        "family": family,
        "reml": reml,
        "n_agq": n_agq,
        "weights": weights,
        "offset": offset,
        "reference": reference,
        "na_action": na_action,
    }
    fit = GlmmFit.optimise(prepared, data, y, trials, family, n_agq, options, reml)
    warn_notes(fit.notes, stacklevel=5)
    return fit


# Families that are not supported -> what to use instead.
_UNSUPPORTED = {
    "nbinom1": "its variance is linear in the mean, but the variance of 'nb' is mu + phi mu^2",
    "quasipoisson": "use 'nb', which has a likelihood",
    "quasibinomial": "use 'binomial' with a random effect for each observation, (1 | row)",
    "gamma": "use lmer with log(y)",
}


def _read_family(family: Any, weights: Any) -> str:
    """Return the name of a family in this package."""
    families = [name for name in FAMILIES if name in ("poisson", "nb", "binomial")]
    allowed = f"allowed are {', '.join(map(repr, families))}"
    if not isinstance(family, str):
        raise InputError(f"family is {type(family).__name__}, but must be a string; {allowed}")
    if not family:
        raise InputError(f"glmer() needs family=; {allowed} (use sc_glmm.lmer for measurements)")
    name = family_name(family)
    if name == "gaussian":
        raise InputError(f"family={family!r}: use sc_glmm.lmer to fit a linear mixed model")
    if name not in families:
        raise InputError(f"family={family!r}: {allowed}" + (f"; {_UNSUPPORTED[name]}" if name in _UNSUPPORTED else ""))
    if "(" in family and "link" in family and {"binomial": "logit"}.get(name, "log") not in family:
        raise InputError(f"family={family!r}: the link is log for counts and logit for trials; omit another link")
    if weights is not None and name != "binomial":
        raise InputError(
            f"weights= gives numbers of trials and is only for family='binomial', not for family={family!r}; for "
            "exposure, use offset=log(exposure)"
        )
    return name
