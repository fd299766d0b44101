"""Test counts by t with Satterthwaite's degrees of freedom, moderated over genes."""

from __future__ import annotations

from ..records import COUNTS, HypothesisTest, Needs
from ..satterthwaite import by_fit, by_profile

TEST = HypothesisTest(
    name="satterthwaite_moderated",
    help="t with Satterthwaite's degrees of freedom, moderated over genes.",
    methods=(
        "Contrasts were tested with t statistics and Satterthwaite's degrees of freedom "
        "[@satterthwaite1946], moderated over genes [@smyth2004]."
    ),
    families=COUNTS,
    needs=Needs(profiles=True, every_node=True, prior=True, all_genes=True),
    compute=by_profile(moderated=True),
    joint=by_fit,
    has_minimum=True,
)
