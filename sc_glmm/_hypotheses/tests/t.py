"""Test by Wald's statistic against t or F, with degrees of freedom between samples."""

from __future__ import annotations

from ..records import ALL, HypothesisTest
from ..wald import between_samples

TEST = HypothesisTest(
    name="t",
    help="Wald with t or F and degrees of freedom between samples.",
    methods=(
        "Contrasts were tested with Wald statistics against t (or F) distributions, with degrees of freedom "
        "between samples."
    ),
    families=ALL,
    compute=between_samples,
    joint=between_samples,
    has_minimum=True,
)
