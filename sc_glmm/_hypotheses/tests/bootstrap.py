"""Test by a parametric bootstrap of the likelihood ratio, for named genes."""

from __future__ import annotations

from dataclasses import replace

from ..._inference.mixture import MixtureTest
from ..records import COUNTS, Evidence, Hypothesis, HypothesisTest, Needs
from ..wald import between_samples


def _compute(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    if evidence.bootstrap is None:
        raise RuntimeError("a test that needs simulated data sets was computed without them")
    p_value = evidence.bootstrap(hypothesis.contrast.L)
    return replace(between_samples(evidence, hypothesis), p_value=p_value, confidence=None)


TEST = HypothesisTest(
    name="bootstrap",
    help="Parametric bootstrap of the likelihood ratio, for named genes.",
    methods="Contrasts were tested with a parametric bootstrap of the likelihood ratio.",
    families=COUNTS,
    needs=Needs(simulations=True, all_genes=True),
    compute=_compute,
    joint=_compute,
)
