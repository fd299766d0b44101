"""Compute tests with Satterthwaite's degrees of freedom: counts from profiles over the variance, Gaussian from fits."""

from __future__ import annotations

from scipy.stats import t as student_t

from .._errors import InputError
from .._inference.minimum import t_confidence
from .._inference.mixture import MixtureTest
from .._inference.satterthwaite import satterthwaite
from . import wald
from .posterior import moderation_of
from .records import Compute, Evidence, Hypothesis


def by_profile(*, moderated: bool) -> Compute:
    """Test contrasts of one row of genes with counts."""

    def compute(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
        moderation, i = moderation_of(evidence), hypothesis.i
        profiles, variance = moderation.profiles, moderation.grid.variance
        if variance.shape[1] > 1:
            raise InputError(
                "test='satterthwaite' supports only one variance between samples, but "
                f"{', '.join(moderation.grid.names)} matter here; use test='eb_lr', which integrates over all of them"
            )
        restricted = profiles.ell - 0.5 * profiles.log_det
        estimate, se, df, p_value = satterthwaite(
            variance[:, 0], restricted, profiles.delta[:, i], profiles.var[:, i], moderated=moderated
        )
        half = student_t.ppf(0.975, df) * se
        confidence = t_confidence(estimate, se, df)
        return MixtureTest(estimate, se, estimate - half, estimate + half, estimate / se, p_value, df, confidence)

    return compute


def by_fit(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    """Test by t or F: Gaussian genes with the degrees of freedom of lmerTest, counts with those between samples."""
    if evidence.parts is None:
        return wald.between_samples(evidence, hypothesis)
    return wald.against(
        evidence, hypothesis, evidence.parts.df(hypothesis.contrast.L, evidence.model.structure.scaling.R)
    )
