"""Offer the functions of ``sc_glmm.models`` as methods of a fitted model."""

from __future__ import annotations

from .anova import anova as _anova
from .anova import drop1 as _drop1
from .confint import confint as _confint
from .diagnostics import quantile_residuals as _quantile_residuals
from .emmeans import emmeans as _emmeans
from .fitted import MixedFit
from .influence import influence as _influence
from .matrices import get_me as _get_me
from .matrices import model_matrix as _model_matrix
from .predict import predict as _predict
from .predict import simulate as _simulate
from .r2 import icc as _icc
from .r2 import r2 as _r2
from .summary import summarise as _summary
from .tidy import augment as _augment
from .tidy import glance as _glance
from .tidy import tidy as _tidy
from .update import update as _update
from .varcorr import varcorr as _varcorr
from .wald import contrast as _contrast


class FitMethods(MixedFit):
    """Methods of a fitted model: ``fit.confint(...)`` calls ``confint(fit, ...)``."""

    summary = _summary
    contrast = _contrast
    anova = _anova
    drop1 = _drop1
    confint = _confint
    emmeans = _emmeans
    predict = _predict
    simulate = _simulate
    update = _update
    influence = _influence
    quantile_residuals = _quantile_residuals
    r2 = _r2
    icc = _icc
    varcorr = _varcorr
    model_matrix = _model_matrix
    get_me = _get_me
    tidy = _tidy
    glance = _glance
    augment = _augment

    # names that lme4 uses
    VarCorr = _varcorr
    getME = _get_me

    def __str__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
