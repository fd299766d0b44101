"""Compute tests that average over the posterior of a gene's variances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._fit.moderated import Moderation, Root, contrast_roots
from .._inference.mixture import MixtureTest, joint_mixture_test, mixture_test
from .records import Compute, Evidence, Hypothesis


def moderation_of(evidence: Evidence) -> Moderation:
    """Return the profiles and the prior, for tests that need them."""
    if evidence.moderation is None:
        raise RuntimeError("a test that needs profiles was computed without them")
    return evidence.moderation


def by_root(root: Root) -> Compute:
    """Test contrasts of one row by a signed root of the likelihood ratio."""

    def compute(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
        moderation = moderation_of(evidence)
        result = mixture_test(moderation.weights, *contrast_roots(moderation, hypothesis.i, root))
        return _one_sided(result, evidence, hypothesis)

    return compute


def jointly(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    """Test a contrast of several rows by its likelihood ratio."""
    moderation = moderation_of(evidence)
    q = len(hypothesis.contrast.L)
    return joint_mixture_test(moderation.weights, moderation.profiles.root[:, hypothesis.i], q)


def _one_sided(result: MixtureTest, evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    """Make the outer limit of an interval infinite if separation makes the coefficient infinite."""
    low, high = result.low.copy(), result.high.copy()
    for gene, separation in evidence.result.separations.items():
        if separation.touches(hypothesis.contrast.L):
            (low if result.coef[gene] < 0 else high)[gene] = -np.inf if result.coef[gene] < 0 else np.inf
    return replace(result, low=low, high=high)
