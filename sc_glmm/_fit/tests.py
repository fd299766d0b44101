"""From fits to labelled tables: the tests of every contrast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2
from scipy.stats import t as student_t

from .._design import Contrast, Design, residual_df
from .._errors import DesignError, InputError
from .._families.registry import Family
from .._inference.mixture import MixtureTest
from .._inference.multiple import benjamini_hochberg
from .._inference.satterthwaite import satterthwaite
from .._inference.shrink import shrink
from .._inference.wald import interval, wald_test
from .._results import CONTRAST_COLUMNS, ContrastTable
from .gaussian import GaussianParts
from .genes import TRUSTED, AllFits, GeneModel, categorical_status, status_words
from .moderated import Moderation, contrast_roots, moderated_test, quasi_tests
from .totals import GeneTotals

FloatArray = NDArray[np.float64]

LN2 = math.log(2.0)
# The tests; those of the first kind share profiles and prior.
MODERATED = ("eb_lr", "eb_wald", "hk", "ql", "satterthwaite", "satterthwaite_moderated")
TESTS = (*MODERATED, "t", "wald", "lrt", "bootstrap")
GAUSSIAN_TESTS = ("satterthwaite", "t", "wald", "lrt")


def default_test(family: Family) -> str:
    """The test unless another is asked for."""
    return "eb_lr" if family.counts else "satterthwaite"


def is_moderated(test: str, family: Family) -> bool:
    """Whether the test needs profiles of all genes."""
    return family.counts and test in MODERATED


def needs_every_node(test: str) -> bool:
    """Whether the test looks at the whole curve of a gene's likelihood; posterior weights need the top of it."""
    return test.startswith("satterthwaite")


def check_test(test: str | None, family: Family) -> None:
    """Refuse names of no test, and tests that a family has not."""
    allowed = TESTS if family.counts else GAUSSIAN_TESTS
    if test is not None and test not in allowed:
        raise InputError(f"test={test!r}: allowed with family={family.name!r} are {', '.join(map(repr, allowed))}")


def contrast_df(contrasts: Sequence[Contrast], design: Design) -> list[float]:
    """Degrees of freedom of each contrast, from samples; with fewer than two it cannot be tested."""
    out = []
    for contrast in contrasts:
        df = residual_df(contrast.L, design.fixed.X, design.random)
        if df < 2.0:
            groups = ", ".join(dict.fromkeys(term.group for term in design.random))
            what = "is confounded with the random effects" if df <= 0.0 else "has too few levels of the random effects"
            raise DesignError(
                f"the contrast {contrast.words!r} {what} ({groups}): {max(df, 0.0):g} degree{'s' * (df != 1.0)} of "
                "freedom left to compare levels with, and 2 are the least. A contrast between samples needs several "
                "samples on each side: add samples, drop fixed effects that tell them apart, or a grouping factor that "
                "coincides with it"
            )
        out.append(df)
    return out


def test_contrasts(
    model: GeneModel,
    result: AllFits,
    totals: GeneTotals,
    contrasts: Sequence[Contrast],
    dfs: Sequence[float],
    genes: pd.Index,
    test: str,
    moderation: Moderation | None,
    ratios: FloatArray | None = None,
    bootstrap: Callable[[FloatArray], FloatArray] | None = None,
    parts: GaussianParts | None = None,
) -> tuple[ContrastTable, ...]:
    """Test every contrast by `test`, with BH over its tested genes.

    Parameters
    ----------
    model
        The model; its statistics are not looked at.
    result, totals
        Fits and totals of all genes.
    contrasts, dfs
        The hypotheses, and their degrees of freedom.
    genes
        Names of the genes.
    test
        Name of the test.
    moderation
        What the moderated tests share.
    ratios
        ``(n_genes, n_contrasts)`` likelihood ratios, for ``test="lrt"``.
    bootstrap
        Gives the p-values of ``test="bootstrap"`` for a contrast matrix.
    parts
        What the degrees of freedom of Gaussian genes follow from.
    """
    words = status_words(model, result)
    tables = []
    for i, (contrast, df) in enumerate(zip(contrasts, dfs, strict=True)):
        ratio = None if ratios is None else ratios[:, i]
        made = _one_contrast(model, result, totals, contrast, i, df, test, moderation, ratio, words, parts)
        shown = words
        if bootstrap is not None:
            made = replace(made, p_value=bootstrap(contrast.L))
        elif moderation is not None:
            # a fit may stand where a profile over the variances does not
            shown = np.where(np.isin(words, TRUSTED) & np.isnan(made.p_value), "not_converged", words)
        columns = {
            "coef": made.coef,
            "se": made.se,
            "log_fc": made.coef / LN2,
            "log_fc_se": made.se / LN2,
            "ci_low": made.low / LN2,
            "ci_high": made.high / LN2,
            "stat": made.stat,
            "df": np.where(np.isfinite(made.p_value), df if made.df is None else made.df, np.nan),
            "p_value": made.p_value,
            "adj_p_value": benjamini_hochberg(made.p_value),
            "p_hk": _hk(model, totals, moderation, i, len(contrast.L), df),
            "status": categorical_status(shown),
            **_shrunken(moderation, test, i, len(contrast.L), len(genes)),
        }
        table = pd.DataFrame({name: columns[name] for name in CONTRAST_COLUMNS}, index=genes)
        tables.append(ContrastTable(contrast.name, contrast.words, contrast.levels, df, table))
    return tuple(tables)


# the name begins with "test" and stands in a module that tests may import
test_contrasts.__test__ = False  # type: ignore[attr-defined]


def _shrunken(moderation: Moderation | None, test: str, i: int, q: int, n_genes: int) -> dict[str, FloatArray]:
    """Shrunken fold changes (log2), for ranking."""
    if moderation is None or moderation.prior is None or q > 1:
        nothing = np.full(n_genes, np.nan)
        return {"log_fc_shrunk": nothing, "lfsr": nothing, "s_value": nothing}
    made = shrink(moderation.weights, *contrast_roots(moderation, i, "eb_lr" if test == "eb_lr" else "eb_wald"))
    return {"log_fc_shrunk": made.mean / LN2, "lfsr": made.lfsr, "s_value": made.s_value}


def _hk(model: GeneModel, totals: GeneTotals, moderation: Moderation | None, i: int, q: int, df: float) -> FloatArray:
    if moderation is None or q > 1:
        return np.full(len(totals.total), np.nan)
    return quasi_tests(model, totals, moderation, i, df, False)[-1]


def _one_contrast(
    model: GeneModel,
    result: AllFits,
    totals: GeneTotals,
    contrast: Contrast,
    i: int,
    df: float,
    test: str,
    moderation: Moderation | None,
    ratio: FloatArray | None,
    words: NDArray[np.object_],
    parts: GaussianParts | None,
) -> MixtureTest:
    q = len(contrast.L)
    if test in ("eb_lr", "eb_wald") and moderation is not None:
        made = moderated_test(moderation, i, q, test)
        return _one_sided(made, result, contrast) if q == 1 else made
    if test in ("hk", "ql") and moderation is not None and q == 1:
        estimate, se, t, df_t, p_value = quasi_tests(model, totals, moderation, i, df, test == "ql")
        half = student_t.ppf(0.975, df_t) * se
        return MixtureTest(estimate, se, estimate - half, estimate + half, t, p_value, df_t)
    if test.startswith("satterthwaite") and moderation is not None and q == 1:
        return _satterthwaite(moderation, i, test.endswith("moderated"))
    shown = np.isin(words, TRUSTED)
    for gene, separation in result.separations.items():
        shown[gene] = result.fits.status[gene] == 0 and not separation.touches(contrast.L)
    beta = np.where(shown[:, None], result.fits.beta, np.nan)
    vcov = np.where(shown[:, None, None], result.fits.vcov, np.nan)
    if test == "lrt" and ratio is not None:
        ratio = np.where(shown, ratio, np.nan)
        wald = wald_test(beta, vcov, contrast.L, np.inf)
        low, high = interval(wald.coef, wald.se, np.inf)
        return MixtureTest(wald.coef, wald.se, low, high, ratio, chi2.sf(ratio, q))
    reference: float | FloatArray = np.inf if test == "wald" else df
    if test == "satterthwaite" and parts is not None:
        reference = parts.df(contrast.L)
    wald = wald_test(beta, vcov, contrast.L, reference)
    low, high = interval(wald.coef, wald.se, reference)
    own = reference if isinstance(reference, np.ndarray) else None
    return MixtureTest(wald.coef, wald.se, low, high, wald.stat, wald.p_value, own)


def _satterthwaite(moderation: Moderation, i: int, moderated: bool) -> MixtureTest:
    profiles, variance = moderation.profiles, moderation.grid.variance
    if variance.shape[1] > 1:
        raise InputError(
            f"test='satterthwaite' works with one variance between samples, and {', '.join(moderation.grid.names)} "
            "matter here; use test='eb_lr', which integrates over all of them"
        )
    restricted = profiles.ell - 0.5 * profiles.log_det
    estimate, se, df, p_value = satterthwaite(
        variance[:, 0], restricted, profiles.delta[:, i], profiles.var[:, i], moderated=moderated
    )
    half = student_t.ppf(0.975, df) * se
    return MixtureTest(estimate, se, estimate - half, estimate + half, estimate / se, p_value, df)


def _one_sided(made: MixtureTest, result: AllFits, contrast: Contrast) -> MixtureTest:
    """Where separation makes a coefficient infinite, only the inner limit of its interval is one."""
    low, high = made.low.copy(), made.high.copy()
    for gene, separation in result.separations.items():
        if separation.touches(contrast.L):
            (low if made.coef[gene] < 0 else high)[gene] = -np.inf if made.coef[gene] < 0 else np.inf
    return replace(made, low=low, high=high)
