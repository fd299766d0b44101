"""Test by Wald's statistic against the normal and chi-square distributions, for many samples only."""

from __future__ import annotations

import numpy as np

from ..._inference.mixture import MixtureTest
from ..records import ALL, Evidence, Hypothesis, HypothesisTest
from ..wald import against


def _compute(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    return against(evidence, hypothesis, np.inf)


TEST = HypothesisTest(
    name="wald",
    help="Wald with a normal or chi-square reference, for many samples only.",
    methods="Contrasts were tested with Wald statistics against normal (or chi-square) distributions.",
    families=ALL,
    compute=_compute,
    joint=_compute,
    has_minimum=True,
)
