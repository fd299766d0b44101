"""From a formula and a data frame to matrices with names: the design, its contrasts, their degrees of freedom."""

from __future__ import annotations

from .build import Design, build_design
from .cond import Condition, cond
from .contrasts import Contrast, build_contrasts
from .ddf import residual_df
from .fixed import Factor, FixedDesign
from .random import ReTerm, display_names, group_levels

__all__ = [
    "Condition",
    "Contrast",
    "Design",
    "Factor",
    "FixedDesign",
    "ReTerm",
    "build_contrasts",
    "build_design",
    "cond",
    "display_names",
    "group_levels",
    "residual_df",
]
