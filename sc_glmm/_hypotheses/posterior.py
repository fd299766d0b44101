"""Tests that average over the posterior of a gene's variances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._fit.moderated import Moderation, Root, contrast_roots
from .._inference.mixture import MixtureTest, joint_mixture_test, mixture_test
from .records import Compute, Evidence, Hypothesis


def moderation_of(evidence: Evidence) -> Moderation:
    """The profiles and the prior, for tests that need them."""
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
    """Likelihood ratio of several rows."""
    moderation = moderation_of(evidence)
    q = len(hypothesis.contrast.L)
    return joint_mixture_test(moderation.weights, moderation.profiles.root[:, hypothesis.i], q)


def _one_sided(made: MixtureTest, evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    """If separation makes a coefficient infinite, only the inner limit of its interval is finite."""
    low, high = made.low.copy(), made.high.copy()
    for gene, separation in evidence.result.separations.items():
        if separation.touches(hypothesis.contrast.L):
            (low if made.coef[gene] < 0 else high)[gene] = -np.inf if made.coef[gene] < 0 else np.inf
    return replace(made, low=low, high=high)
