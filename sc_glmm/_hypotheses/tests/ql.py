"""Test by quasi-likelihood: the scale of the residuals between samples is moderated over genes."""

from __future__ import annotations

from ..quasi import by_scale
from ..records import COUNTS, HypothesisTest, Needs
from ..wald import between_samples

TEST = HypothesisTest(
    name="ql",
    help="Quasi-likelihood, its scale moderated over genes.",
    methods="Contrasts were tested by quasi-likelihood, with a scale that was moderated over genes [@lund2012].",
    families=COUNTS,
    needs=Needs(profiles=True, prior=True, sample_rows=True, all_genes=True),
    compute=by_scale(moderated=True),
    joint=between_samples,
    has_minimum=True,
)
