"""Fit and analyse mixed models on data frames, with the functions that R users expect."""

from .anova import anova, drop1
from .bootstrap import bootstrap_lrt
from .diagnostics import quantile_residuals
from .emmeans import emmeans
from .fitted import MixedFit
from .glmer import GlmmFit, glmer
from .influence import Influence, influence
from .lmer import LmmFit, lmer
from .lrt import lrtest, ranova

__all__ = [
    "GlmmFit",
    "Influence",
    "LmmFit",
    "MixedFit",
    "anova",
    "bootstrap_lrt",
    "drop1",
    "emmeans",
    "glmer",
    "influence",
    "lmer",
    "lrtest",
    "quantile_residuals",
    "ranova",
]
