"""Compute Wald tests from the fits, with different reference distributions; several tests share them."""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray
from .._inference.minimum import t_confidence
from .._inference.mixture import MixtureTest
from .._inference.wald import interval, wald_test
from .records import Evidence, Hypothesis


def against(evidence: Evidence, hypothesis: Hypothesis, df: float | FloatArray) -> MixtureTest:
    """Test by t (one row) or F with `df` degrees of freedom, one number or ``(n_genes,)``.

    Infinite degrees of freedom give the normal and the chi-square distribution.
    """
    L = hypothesis.contrast.L
    result = wald_test(*evidence.estimates(L), L, df)
    low, high = interval(result.coef, result.se, df)
    own = df if isinstance(df, np.ndarray) else None
    confidence = t_confidence(result.coef, result.se, df) if len(L) == 1 else None
    return MixtureTest(result.coef, result.se, low, high, result.stat, result.p_value, own, confidence)


def between_samples(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    """Test by t or F with the degrees of freedom between samples."""
    return against(evidence, hypothesis, hypothesis.df)
