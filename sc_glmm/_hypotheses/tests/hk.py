"""Test by the method of Hartung and Knapp: each gene separately, with the scale of its residuals between samples."""

from __future__ import annotations

from ..quasi import by_scale
from ..records import COUNTS, HypothesisTest, Needs
from ..wald import between_samples

TEST = HypothesisTest(
    name="hk",
    help="Hartung-Knapp test, each gene separately.",
    methods="Contrasts were tested with the method of Hartung and Knapp [@hartung2001], each gene separately.",
    families=COUNTS,
    needs=Needs(profiles=True, sample_rows=True),
    compute=by_scale(moderated=False),
    joint=between_samples,
    has_minimum=True,
)
