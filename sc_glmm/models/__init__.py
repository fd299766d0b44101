"""Mixed models on data frames, with everything a person from R expects."""

from .lmer import lmer
from .lmm import LmmFit

__all__ = ["LmmFit", "lmer"]
