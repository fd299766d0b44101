"""Compute a labelled table of results for every contrast of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._design import Contrast
from .._fit.genes import TRUSTED, categorical_status
from .._fit.moderated import contrast_roots
from .._inference.minimum import ANY_DIFFERENCE, Alternative
from .._inference.mixture import MixtureTest
from .._inference.multiple import benjamini_hochberg
from .._inference.shrink import shrink
from .._results import CONTRAST_COLUMNS, ContrastTable
from .quasi import by_scale
from .records import Evidence, Hypothesis, HypothesisTest

LN2 = math.log(2.0)


def contrast_tables(
    test: HypothesisTest,
    evidence: Evidence,
    contrasts: Sequence[Contrast],
    dfs: Sequence[float],
    genes: pd.Index,
    alternative: Alternative = ANY_DIFFERENCE,
    weight: FloatArray | None = None,
) -> tuple[ContrastTable, ...]:
    """Test every contrast and adjust p-values over its tested genes (Benjamini and Hochberg).

    Parameters
    ----------
    test
        The test.
    evidence
        The data for the test.
    contrasts, dfs
        The hypotheses, and their degrees of freedom between samples.
    genes
        Names of the genes.
    alternative
        Hypothesis that coefficients are compared with.
    weight
        ``(n_genes,)`` weights in the false discovery rate; None for equal ones.
    """
    tables = []
    for i, (contrast, df) in enumerate(zip(contrasts, dfs, strict=True)):
        hypothesis = Hypothesis(contrast, i, df)
        result = (test.compute if len(contrast.L) == 1 else test.joint)(evidence, hypothesis)
        if not alternative.plain:
            result = replace(result, p_value=_beyond(result, alternative))
        # a fit may exist even if a profile over the variances, or a fit under the null hypothesis, does not
        no_profile = np.isin(evidence.status, TRUSTED) & np.isnan(result.p_value)
        status = np.where(no_profile, "not_converged", evidence.status)
        columns = {
            "coef": result.coef,
            "se": result.se,
            "log_fc": result.coef / LN2,
            "log_fc_se": result.se / LN2,
            "ci_low": result.low / LN2,
            "ci_high": result.high / LN2,
            "stat": result.stat,
            "df": np.where(np.isfinite(result.p_value), df if result.df is None else result.df, np.nan),
            "p_value": result.p_value,
            "adj_p_value": benjamini_hochberg(result.p_value, weight),
            "p_hk": _each_alone(evidence, hypothesis, alternative),
            "status": categorical_status(status),
            **_shrunken(test, evidence, hypothesis),
        }
        table = pd.DataFrame({name: columns[name] for name in CONTRAST_COLUMNS}, index=genes)
        tables.append(ContrastTable(contrast.name, contrast.words, contrast.levels, df, table))
    return tuple(tables)


def _beyond(result: MixtureTest, alternative: Alternative) -> FloatArray:
    """Compute p-values for a minimum effect, or in one direction."""
    if result.confidence is None:
        raise RuntimeError("a test without a confidence function cannot test a minimum effect")
    return alternative.p_value(result.confidence)


def _each_alone(evidence: Evidence, hypothesis: Hypothesis, alternative: Alternative) -> FloatArray:
    """Compute p-values of the Hartung-Knapp test, which are reported with every moderated test."""
    if evidence.moderation is None or len(hypothesis.contrast.L) > 1:
        return np.full(len(evidence.status), np.nan)
    result = by_scale(moderated=False)(evidence, hypothesis)
    return result.p_value if alternative.plain else _beyond(result, alternative)


def _shrunken(test: HypothesisTest, evidence: Evidence, hypothesis: Hypothesis) -> dict[str, FloatArray]:
    """Compute shrunken fold changes (log2), for ranking."""
    moderation = evidence.moderation
    if moderation is None or moderation.prior is None or len(hypothesis.contrast.L) > 1:
        nothing = np.full(len(evidence.status), np.nan)
        return {"log_fc_shrunk": nothing, "lfsr": nothing, "s_value": nothing}
    result = shrink(moderation.weights, *contrast_roots(moderation, hypothesis.i, test.root))
    return {"log_fc_shrunk": result.mean / LN2, "lfsr": result.lfsr, "s_value": result.s_value}
