"""Build the design of a model from a formula and a data frame: matrices, contrasts and degrees of freedom."""

from __future__ import annotations

from .build import Design, build_design
from .comparisons import Contrast, partial_terms, untestable_terms
from .cond import Condition, cond
from .contrasts import build_contrasts, is_comparison
from .ddf import residual_df
from .estimability import (
    all_terms,
    check_estimable,
    confounding,
    depends_on_aliased,
    estimable_alone,
    term_hypothesis,
    widen,
)
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
    "partial_terms",
    "residual_df",
    "term_hypothesis",
    "estimable_alone",
    "depends_on_aliased",
    "untestable_terms",
    "widen",
]
