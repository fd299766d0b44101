"""From fits to labelled tables: the tests of every contrast, and one row of facts per gene."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._design import Contrast, Design, residual_df
from .._engine.fit import GeneFits
from .._errors import DesignError
from .._inference.multiple import benjamini_hochberg
from .._inference.wald import interval, wald_test
from .._results import CONTRAST_COLUMNS, ContrastTable
from .compress import Compressed
from .genes import STATUS, AllFits, GeneModel, singular_genes, status_words

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LN2 = math.log(2.0)
# Words whose numbers are shown; "separated" only for contrasts that the separation does not touch.
TRUSTED = ("ok", "singular")


def contrast_df(contrasts: Sequence[Contrast], design: Design) -> list[float]:
    """Degrees of freedom of each contrast, from samples; a contrast without any cannot be tested."""
    out = []
    for contrast in contrasts:
        df = residual_df(contrast.L, design.fixed.X, design.random)
        if df < 1.0:
            groups = ", ".join(dict.fromkeys(term.group for term in design.random))
            raise DesignError(
                f"the contrast {contrast.words!r} is confounded with the random effects ({groups}): no degree of "
                "freedom is left to compare levels with. A contrast between samples needs several samples on each "
                "side; drop the fixed effects that tell the samples apart, or the grouping factor that coincides with "
                "it"
            )
        out.append(df)
    return out


def test_contrasts(
    model: GeneModel, result: AllFits, contrasts: Sequence[Contrast], dfs: Sequence[float], genes: pd.Index
) -> tuple[ContrastTable, ...]:
    """Wald tests with t or F reference, BH over the tested genes of each contrast."""
    words = status_words(model, result)
    trusted = np.isin(words, TRUSTED)
    tables = []
    for contrast, df in zip(contrasts, dfs, strict=True):
        shown = trusted.copy()
        for gene, separation in result.separations.items():
            shown[gene] = result.fits.status[gene] == 0 and not separation.touches(contrast.L)
        test = wald_test(
            np.where(shown[:, None], result.fits.beta, np.nan),
            np.where(shown[:, None, None], result.fits.vcov, np.nan),
            contrast.L,
            df,
        )
        low, high = interval(test.coef, test.se, df)
        columns = dict(
            zip(
                CONTRAST_COLUMNS,
                (
                    test.coef,
                    test.se,
                    test.coef / LN2,
                    test.se / LN2,
                    low / LN2,
                    high / LN2,
                    test.stat,
                    np.where(shown, df, np.nan),
                    test.p_value,
                    benjamini_hochberg(test.p_value),
                    _categorical(words),
                ),
                strict=True,
            )
        )
        table = pd.DataFrame(columns, index=genes)
        tables.append(ContrastTable(contrast.name, contrast.words, contrast.levels, df, table))
    return tuple(tables)


# the name begins with "test" and stands in a module that tests may import
test_contrasts.__test__ = False  # type: ignore[attr-defined]


def _categorical(words: NDArray[np.object_]) -> pd.Categorical:
    return pd.Categorical(words, categories=list(STATUS))


def gene_table(model: GeneModel, compressed: Compressed, result: AllFits, genes: pd.Index) -> pd.DataFrame:
    """One row of facts per gene, in the order of the matrix.

    Columns: status, message, flags (singular, separated, converged, phi_at_bound), n_iter, mean and baseMean (mean
    response per cell), pct (share of cells with a response other than zero, in percent), total, loglik, dispersion,
    `sd_<group>` (standard deviations of the random effects; `sd_<group>_<column>` for several columns,
    `corr_<group>_<a>_<b>`), `coef_<name>` and `se_<name>` for every fixed effect (natural log).
    """
    fits, words = result.fits, status_words(model, result)
    n_cells = float(len(model.design.fixed.X))
    separated = np.zeros(len(words), dtype=bool)
    separated[list(result.separations)] = True
    fitted = np.isin(words, (*TRUSTED, "separated", "not_converged"))
    columns: dict[str, object] = {
        "status": _categorical(words),
        "message": _messages(words, result),
        "converged": fits.status == 0,
        "singular": singular_genes(model, fits),
        "separated": separated,
        "n_iter": fits.n_iter,
        "mean": compressed.total / n_cells,
        "pct": 100.0 * compressed.n_nonzero / n_cells,
        "baseMean": compressed.total / n_cells,
        "total": compressed.total,
        "loglik": fits.loglik,
    }
    if model.family.has_dispersion:
        low, high = model.family.log_dispersion_bounds
        columns["dispersion"] = np.exp(fits.log_dispersion)
        with np.errstate(invalid="ignore"):
            columns["dispersion_at_bound"] = (fits.log_dispersion <= low) | (fits.log_dispersion >= high)
    for grouping, lam in zip(model.groupings, fits.Lambda, strict=True):
        cov = lam @ np.swapaxes(lam, 1, 2)
        sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
        names = grouping.columns
        for i, name in enumerate(names):
            columns[_safe(f"sd_{grouping.name}" if len(names) == 1 else f"sd_{grouping.name}_{name}")] = sd[:, i]
            for j in range(i):
                with np.errstate(invalid="ignore", divide="ignore"):
                    columns[_safe(f"corr_{grouping.name}_{names[j]}_{name}")] = cov[:, i, j] / (sd[:, i] * sd[:, j])
    beta, se = _determined(fits, result, fitted)
    for j, name in enumerate(model.design.fixed.names):
        columns[_safe(f"coef_{name}")] = beta[:, j]
        columns[_safe(f"se_{name}")] = se[:, j]
    return pd.DataFrame(columns, index=genes)


def _determined(fits: GeneFits, result: AllFits, fitted: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Coefficients and standard errors, NaN where separation makes them infinite or a gene was not fitted."""
    beta = np.where(fitted[:, None], fits.beta, np.nan)
    se = np.sqrt(np.diagonal(np.where(fitted[:, None, None], fits.vcov, np.nan), axis1=1, axis2=2))
    for gene, separation in result.separations.items():
        infinite = [separation.touches(row[None, :]) for row in np.eye(beta.shape[1])]
        beta[gene, infinite] = np.nan
        se[gene, infinite] = np.nan
    return beta, se


def _messages(words: NDArray[np.object_], result: AllFits) -> NDArray[np.object_]:
    texts = {
        "all_zero": "no counts in the cells used",
        "error": "no start led to finite values",
        "separated": "all counts are zero where the design says so: coefficients that go to infinity are not shown",
        "singular": "a variance of the random effects is zero",
        "ok": "",
    }
    out = np.array([texts.get(word, "") for word in words], dtype=object)
    for gene in np.flatnonzero(words == "not_converged"):
        out[gene] = f"Newton decrement {result.fits.decrement[gene]:.2g} after {result.fits.n_iter[gene]} evaluations"
    return out


def _safe(name: str) -> str:
    """A column name that AnnData can write: it takes no slash."""
    return name.replace("/", "|")
