"""Test by Wald's statistic, averaged over the gene's posterior of the variances."""

from __future__ import annotations

from ..posterior import by_root, jointly
from ..records import COUNTS, HypothesisTest, Needs

TEST = HypothesisTest(
    name="eb_wald",
    help="Wald's statistic, averaged over the gene's posterior of the variances.",
    methods=(
        "Contrasts were tested with Wald statistics, averaged over each gene's posterior of the variance "
        "between samples. The prior of the variances was estimated from all genes of similar abundance by "
        "nonparametric maximum likelihood [@koenker2014]."
    ),
    families=COUNTS,
    needs=Needs(profiles=True, prior=True),
    compute=by_root("wald"),
    joint=jointly,
    has_minimum=True,
)
