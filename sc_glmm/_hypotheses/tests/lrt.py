"""Test by the likelihood ratio against a chi-square, for many samples only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import chi2

from ..._inference.mixture import MixtureTest
from ..records import ALL, Evidence, Hypothesis, HypothesisTest, Needs
from ..wald import against


def _compute(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    if evidence.ratios is None:
        raise RuntimeError("a test that needs likelihood ratios was computed without them")
    L = hypothesis.contrast.L
    ratio = np.where(evidence.valid(L), evidence.ratios[:, hypothesis.i], np.nan)
    return replace(against(evidence, hypothesis, np.inf), stat=ratio, p_value=chi2.sf(ratio, len(L)), confidence=None)


TEST = HypothesisTest(
    name="lrt",
    help="Likelihood ratio with a chi-square reference, for many samples only.",
    methods="Contrasts were tested with likelihood ratios against chi-square distributions.",
    families=ALL,
    needs=Needs(null_fits=True),
    compute=_compute,
    joint=_compute,
)
