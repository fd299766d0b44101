"""Build the design from a formula and a data frame: matrices with names, contrasts, degrees of freedom."""

from __future__ import annotations

from .build import Design, build_design
from .cond import Condition, cond
from .contrasts import Contrast, build_contrasts, is_comparison, untestable_terms
from .ddf import residual_df
from .estimability import all_terms, check_estimable, confounding, term_hypothesis, told_alone, unseen, widen
from .fixed import Factor, FixedDesign, base_notes
from .random import ReTerm, display_names, finest, group_levels

__all__ = [
    "Condition",
    "Contrast",
    "Design",
    "Factor",
    "FixedDesign",
    "ReTerm",
    "all_terms",
    "base_notes",
    "build_contrasts",
    "build_design",
    "check_estimable",
    "cond",
    "confounding",
    "display_names",
    "finest",
    "group_levels",
    "is_comparison",
    "residual_df",
    "term_hypothesis",
    "told_alone",
    "unseen",
    "untestable_terms",
    "widen",
]
