"""Compute quasi-likelihood tests: a t test with a scale from the residuals between samples."""

from __future__ import annotations

from scipy.stats import t as student_t

from .._fit.moderated import quasi_tests
from .._inference.minimum import t_confidence
from .._inference.mixture import MixtureTest
from .posterior import moderation_of
from .records import Compute, Evidence, Hypothesis


def by_scale(*, moderated: bool) -> Compute:
    """Test contrasts of one row with the scale of the gene, or a scale moderated over genes."""

    def compute(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
        moderation, i, df = moderation_of(evidence), hypothesis.i, hypothesis.df
        estimate, se, t, df_t, p_value = quasi_tests(evidence.model, evidence.totals, moderation, i, df, moderated)
        half = student_t.ppf(0.975, df_t) * se
        confidence = t_confidence(estimate, se, df_t)
        return MixtureTest(estimate, se, estimate - half, estimate + half, t, p_value, df_t, confidence)

    return compute
