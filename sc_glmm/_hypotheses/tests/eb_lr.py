"""Test by the modified signed root, averaged over the gene's posterior of the variances; the default for counts."""

from __future__ import annotations

from ..posterior import by_root, jointly
from ..records import COUNTS, HypothesisTest, Needs

TEST = HypothesisTest(
    name="eb_lr",
    help="Modified root of the likelihood ratio, averaged over the gene's posterior of the variances.",
    methods=(
        "Contrasts were tested with the modified signed root of the likelihood ratio [@barndorff1986], "
        "averaged over each gene's posterior of the variance between samples. The prior of the variances "
        "was estimated from all genes of similar abundance by nonparametric maximum likelihood "
        "[@koenker2014]."
    ),
    families=COUNTS,
    needs=Needs(profiles=True, prior=True),
    compute=by_root("star"),
    joint=jointly,
    root="star",
    has_minimum=True,
)
