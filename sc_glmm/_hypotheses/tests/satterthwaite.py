"""Test by t or F with Satterthwaite's degrees of freedom; the default for Gaussian genes, equal to lmerTest."""

from __future__ import annotations

from ..._inference.mixture import MixtureTest
from ..records import ALL, Evidence, Hypothesis, HypothesisTest, Needs
from ..satterthwaite import by_fit, by_profile

_of_counts = by_profile(moderated=False)


def _compute(evidence: Evidence, hypothesis: Hypothesis) -> MixtureTest:
    return (by_fit if evidence.moderation is None else _of_counts)(evidence, hypothesis)


TEST = HypothesisTest(
    name="satterthwaite",
    help="t or F with Satterthwaite's degrees of freedom.",
    methods=(
        "Contrasts were tested with t (or F) statistics and Satterthwaite's degrees of freedom "
        "[@satterthwaite1946; @lmertest2017]."
    ),
    families=ALL,
    needs=Needs(profiles=True, every_node=True),
    compute=_compute,
    joint=by_fit,
    has_minimum=True,
)
