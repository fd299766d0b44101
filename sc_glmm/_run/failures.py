"""Genes without a result that should have one: how many, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from .._engine import entry
from .._engine.genes import GeneFits
from .._fit.details import FAILED
from .._hypotheses.records import HypothesisTest
from .._results import ContrastTable

# Share of the genes that were tried above which a failure is that of the model or of the test, not of a gene.
MOST = 0.5
# Genes that nobody tried to test.
_NOT_TRIED = ("not_selected", "all_zero", "low_count")


def failure_notes(test: HypothesisTest, contrasts: Sequence[ContrastTable], fits: GeneFits) -> list[str]:
    """A note for each kind of failure that most genes of a contrast share.

    Parameters
    ----------
    test
        The test that was used.
    contrasts
        Its tables.
    fits
        The fits of all genes.
    """
    notes: dict[str, list[str]] = {}
    for contrast in contrasts:
        status = contrast.table["status"]
        tried = ~status.isin(_NOT_TRIED).to_numpy()
        failed = status.isin(FAILED).to_numpy()
        if failed.sum() <= MOST * tried.sum():
            continue
        fitted = failed & (fits.status == entry.OK)
        found = f"{failed.sum():,} of {tried.sum():,} genes have no result"
        if 2 * fitted.sum() > failed.sum():
            advice = (
                f"most of them could be fitted, but test={test.name!r} has no number for them; the se_* columns of "
                f"get.results(..., columns='all') show coefficients that are hardly determined. "
                f"{_others(test)}, or leave terms out"
            )
        else:
            advice = (
                "their models could not be fitted (the column 'message' of get.results(..., columns='all') says "
                "how far each got); leave out random terms, or covariates that hardly vary"
            )
        notes.setdefault(f"{found}: {advice}", []).append(contrast.words)
    return [f"{', '.join(names)}: {words}" for words, names in notes.items()]


def _others(test: HypothesisTest) -> str:
    """What to try instead."""
    return "Try test='wald', and see which standard errors it gives" if test.name == "t" else "Try test='t'"
