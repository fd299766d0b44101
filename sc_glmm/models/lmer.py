"""Fit linear mixed models to data frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from .._display import warn_notes
from .._display.arguments import check_flag
from .._engine.gaussian.problem import build_problem
from .._errors import InputError
from .._parallel.blas import one_blas_thread
from .checks import accept_r_style
from .fitted import MixedFit
from .lmm import LmmModel
from .lrt import ranova as _ranova
from .methods import FitMethods
from .prepare import check_sizes, per_row, prepare
from .responses import read_measurements


@dataclass(frozen=True, eq=False, repr=False)
class LmmFit(FitMethods, LmmModel):
    """A fitted linear mixed model: ``y ~ N(X beta + Z b + offset, sigma^2 / weights)``, from :func:`sc_glmm.lmer`."""

    ranova = _ranova

    @property
    def fitter(self) -> Callable[..., MixedFit]:
        """The function :func:`sc_glmm.lmer`."""
        return lmer


@accept_r_style
def lmer(
    formula: str,
    data: pd.DataFrame,
    *,
    reml: bool = True,
    weights: Any = None,
    offset: Any = None,
    reference: Mapping[str, object] | None = None,
    na_action: Literal["drop", "raise"] = "drop",
) -> LmmFit:
    """Fit a linear mixed model.

    ``y = X beta + Z b + offset + e`` with ``b ~ N(0, sigma^2 Lambda Lambda')`` and ``e ~ N(0, sigma^2 / weights)``.

    Parameters
    ----------
    formula
        Formula in lme4's syntax: ``"Weight ~ Dose + (1 | Strain)"``, ``(Dose | Strain)`` for correlated intercepts and
        slopes, ``(Dose || Strain)`` for independent ones, ``(0 + Dose | Strain)`` for slopes only, ``(1 | a/b)`` for
        nested and ``(1 | a) + (1 | b)`` for crossed groups.
    data
        One row per observation.
    reml
        Fit by restricted maximum likelihood; otherwise by maximum likelihood.
    weights
        Positive prior weights: a column of `data`, or one number per row.
    offset
        Offset of the linear predictor, in addition to ``offset(...)`` in the formula: a column of `data`, or one number
        per row.
    reference
        Base level of factors: ``{"dose": "low"}``, like R's ``relevel``.
    na_action
        ``"drop"`` rows with missing values (with a warning), or ``"raise"`` an error.

    Returns
    -------
    The fitted model. A singular fit (a variance of zero or a correlation of one) is a valid result, not an error.

    Raises
    ------
    FormulaError, DesignError, InputError
        If the formula, the data or their combination cannot be used; the message gives the reason and advice.

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
    >>> sc_glmm.lmer("Weight ~ Dose + (1 | Strain)", mice).fixef().round(2).to_dict()
    {'Intercept': 18.37, 'Dose': 2.06}
    """
    check_flag("reml", reml)
    with one_blas_thread():
        prepared = prepare(formula, data, offset=offset, reference=reference, na_action=na_action)
        design = prepared.design
        check_sizes(design, residual=True)
        y = read_measurements(prepared.design.response, formula)
        prior = None if weights is None else per_row("weights", weights, data, design)
        if prior is not None and (prior <= 0.0).any():
            bad = int(np.flatnonzero(prior <= 0.0)[0])
            raise InputError(
                f"weights are {prior[bad]:g} in row {bad} of the rows used; they must be positive: drop this row"
            )
        options = {"reml": reml, "weights": weights, "offset": offset, "reference": reference, "na_action": na_action}
        problem = build_problem(prepared.X, prepared.blocks, prepared.row_of, y - prepared.offset, prior)
        fit = LmmFit.optimise(prepared, data, y, prior, reml, options, problem)
    warn_notes(fit.notes, stacklevel=5)
    return fit
