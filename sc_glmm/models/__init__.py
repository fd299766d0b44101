"""Mixed models on data frames, with everything a person from R expects."""

from .anova import anova
from .bootstrap import bootstrap_lrt
from .emmeans import emmeans
from .glmer import glmer
from .glmm import GlmmFit
from .lmer import lmer
from .lmm import LmmFit
from .lrt import drop1, lrtest
from .ranova import ranova

__all__ = ["GlmmFit", "LmmFit", "anova", "bootstrap_lrt", "drop1", "emmeans", "glmer", "lmer", "lrtest", "ranova"]
