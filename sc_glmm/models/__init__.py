"""Mixed models on data frames, with everything a person from R expects."""

from .anova import anova
from .bootstrap import bootstrap_lrt
from .diagnostics import quantile_residuals
from .emmeans import emmeans
from .fitted import MixedFit
from .glmer import glmer
from .glmm import GlmmFit
from .influence import Influence, influence
from .lmer import lmer
from .lmm import LmmFit
from .lrt import drop1, lrtest
from .ranova import ranova

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
