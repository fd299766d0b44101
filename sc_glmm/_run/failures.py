"""Warn if most genes have no result, with the reason and advice."""

from __future__ import annotations

from collections.abc import Sequence

from .._engine import entry
from .._engine.genes import GeneFits
from .._fit.details import FAILED
from .._hypotheses.records import HypothesisTest
from .._results import ContrastTable

# If more than this fraction of the tested genes fails, the cause is the model or the test, not the genes.
MAX_FAILED_FRACTION = 0.5
_STATUS_NOT_TESTED = ("not_selected", "all_zero", "low_count")


def failure_notes(test: HypothesisTest, contrasts: Sequence[ContrastTable], fits: GeneFits) -> list[str]:
    """Write a note for each contrast that failed for most genes.

    Parameters
    ----------
    test
        The test that was used.
    contrasts
        The tables of the test.
    fits
        The fits of all genes.
    """
    notes: dict[str, list[str]] = {}
    for contrast in contrasts:
        status = contrast.table["status"]
        tested = ~status.isin(_STATUS_NOT_TESTED).to_numpy()
        failed = status.isin(FAILED).to_numpy()
        if failed.sum() <= MAX_FAILED_FRACTION * tested.sum():
            continue
        fitted = failed & (fits.status == entry.OK)
        count = f"{failed.sum():,} of {tested.sum():,} genes have no result"
        if 2 * fitted.sum() > failed.sum():
            advice = (
                f"most of them were fitted, but test={test.name!r} could not compute a p-value. Very large standard "
                "errors (the se_* columns of get.results(..., columns='all')) show which coefficients the data hardly "
                f"determine. {_other_test(test)}, or leave out terms"
            )
        else:
            advice = (
                "their models could not be fitted (the column 'message' of get.results(..., columns='all') gives the "
                "reasons); leave out random terms, or covariates that hardly vary"
            )
        notes.setdefault(f"{count}: {advice}", []).append(contrast.words)
    return [f"{', '.join(names)}: {words}" for words, names in notes.items()]


def _other_test(test: HypothesisTest) -> str:
    return "Try test='wald' and look at its standard errors" if test.name == "t" else "Try test='t'"
