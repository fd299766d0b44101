"""Fit generalised linear mixed models to data frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from .._display import warn_notes
from .._errors import InputError
from .._families.registry import FAMILIES
from .._fit.model import check_method
from .checks import accept_r_style, check_flag
from .fitted import MixedFit
from .glmm import GlmmModel, read_counts, read_shares
from .methods import FitMethods
from .prepare import per_row, prepare


@dataclass(frozen=True, eq=False, repr=False)
class GlmmFit(FitMethods, GlmmModel):
    """A fitted mixed model for counts (log link) or trials (logit link), from :func:`sc_glmm.glmer`."""

    @property
    def fitter(self) -> Callable[..., MixedFit]:
        """:func:`sc_glmm.glmer`."""
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
        Also integrate over the fixed effects (Laplace approximation; glmmTMB's ``REML = TRUE``). This removes the bias
        of variances that are estimated from few groups. As in linear models, such likelihoods cannot compare fixed
        effects.
    n_agq
        Nodes of adaptive Gauss-Hermite quadrature for a model with one scalar random effect; 1 is Laplace.
    weights
        Binomial only: number of trials of each row, as a column of `data` or one number per row.
    offset
        Added to the linear predictor (natural log or logit scale), in addition to ``offset(...)`` in the formula: a
        column, or one number per row.
    reference
        Column -> base level.
    na_action
        ``"drop"`` rows with missing values (with a warning), or ``"raise"`` an error.

    Returns
    -------
    The fitted model.

    Raises
    ------
    FormulaError, DesignError, InputError
        If the formula, the data or their combination cannot be used; the message gives the reason and what to do.
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
        y, trials = read_shares(values, trials, formula)
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
    warn_notes(fit.notes, stacklevel=4)
    return fit


# Names of the same distributions in other packages.
_ALIASES = {
    "negative.binomial": "nb",
    "negative_binomial": "nb",
    "negativebinomial": "nb",
    "negbin": "nb",
    "negbinomial": "nb",
    "nbinom": "nb",
    "nbinom2": "nb",
    "bernoulli": "binomial",
    "logistic": "binomial",
}
_OTHER = {
    "nbinom1": "its variance is linear in the mean; the variance of 'nb' is mu + phi mu^2",
    "quasipoisson": "use 'nb', which has a likelihood",
    "quasibinomial": "use 'binomial' with a random effect for each observation, (1 | row)",
    "gamma": "use lmer with log(y)",
}


def _read_family(family: Any, weights: Any) -> str:
    """The name of the family in this package."""
    allowed = [name for name in FAMILIES if name in ("poisson", "nb", "binomial")]
    known = f"allowed are {', '.join(map(repr, allowed))}"
    if not isinstance(family, str):
        found = type(family).__name__
        raise InputError(f"family is {found}, but must be a string; {known}")
    if not family:
        raise InputError(f"glmer() needs family=; {known} (sc_glmm.lmer fits measurements)")
    name = family.lower().partition("(")[0].strip()
    name = _ALIASES.get(name, name)
    if name in ("gaussian", "normal"):
        raise InputError(f"family={family!r}: a linear mixed model is fitted by sc_glmm.lmer")
    if name not in allowed:
        raise InputError(f"family={family!r}: {known}" + (f". {_OTHER[name]}" if name in _OTHER else ""))
    if "(" in family and "link" in family and {"binomial": "logit"}.get(name, "log") not in family:
        raise InputError(f"family={family!r}: the link is log for counts and logit for trials")
    if weights is not None and name != "binomial":
        raise InputError(
            f"weights= is only for the binomial family (numbers of trials), not for family={family!r}; for exposure "
            "use offset=log(exposure)"
        )
    return name
