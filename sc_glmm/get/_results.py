"""Read the table of results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.contrasts import all_contrasts, as_list, find_contrasts
from .._adata.mudata import results_in
from .._adata.stored import read_results, without_groups
from .._display.arguments import check_flag, is_number, suggest
from .._display.habits import explain_arguments
from .._errors import InputError
from ._describe import MAIN_COLUMNS

if TYPE_CHECKING:
    from anndata import AnnData

_RENAMED = {"gene": "genes", "groups": "group", "pval_cutoff": "alpha", "log2fc_min": "min_log_fc"}
_ADVICE = {
    "groupby": "group= selects levels of the groupby of the run",
    "n": "take the first rows, as in sc_glmm.get.results(adata, sort='p_value').head(20)",
    "n_genes": "take the first rows, as in sc_glmm.get.results(adata, sort='p_value').head(20)",
    "ascending": "sort= chooses the order by the column",
}
# Names of the same columns in other packages.
_COLUMNS = {
    **dict.fromkeys(("p", "pval", "pvals", "pvalue", "P.Value", "PValue", "p.value"), "p_value"),
    **dict.fromkeys(
        ("padj", "pvals_adj", "p_adj", "p_val_adj", "adj.P.Val", "FDR", "fdr", "q", "qvalue", "q_value"), "adj_p_value"
    ),
    **dict.fromkeys(("lfc", "logFC", "log2FoldChange", "logfoldchanges", "log2fc", "avg_log2FC"), "log_fc"),
    **dict.fromkeys(("scores", "score", "t", "z", "F"), "stat"),
    **dict.fromkeys(("gene", "names", "genes"), "variable"),
}

# Columns that are sorted from the smallest value, and by absolute value from the largest.
_SORT_SMALLEST_FIRST = ("p_", "adj_p", "lfsr", "s_value")
_SORT_BY_ABSOLUTE_VALUE = ("log_fc", "coef", "stat", "log_fc_shrunk", "extreme_")


@explain_arguments(_RENAMED, _ADVICE)
def results(
    adata: AnnData | str | os.PathLike[str],
    key: str = "glmm",
    contrast: str | Sequence[str] | None = None,
    *,
    group: str | Sequence[str] | None = None,
    genes: str | Sequence[str] | None = None,
    tested: bool = False,
    alpha: float | None = None,
    min_log_fc: float | None = None,
    sort: str | None = None,
    columns: str | Sequence[str] = "main",
) -> pd.DataFrame:
    """Get the results of a run, with one row per gene and contrast.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        `key_added` of the run. If several modalities of a MuData have results, also with the modality: ``"rna:glmm"``.
    contrast
        One or several contrasts: by label (``"disease: AD vs ctl"``), by name (``"disease"``), by levels
        (``"AD vs ctl"``, ``"AD"``, or the triple ``("disease", "AD", "ctl")``), or as passed to
        :func:`sc_glmm.tl.test`. Default: all contrasts.
    group
        One or several levels of `groupby`. Default: all levels.
    genes
        One or several genes. Default: all genes.
    tested
        Whether to return only rows with a p-value.
    alpha
        Return only rows with a smaller ``adj_p_value``.
    min_log_fc
        Return only rows whose ``log_fc`` has at least this absolute value.
    sort
        Column to sort by. P-values, ``lfsr`` and ``s_value`` are sorted from the smallest; ``log_fc``, ``coef`` and
        ``stat`` by absolute value from the largest; other numbers from the largest; text from A to Z. Rows without a
        value come last. Default: the order of the genes.
    columns
        ``"main"`` (default), ``"all"``, or names of columns, which are returned after gene and contrast.
        :func:`sc_glmm.get.describe` explains each column.

    Returns
    -------
    pandas.DataFrame
        Indexed by gene, with the columns

        ``variable``, ``contrast``
            Gene and comparison. With `groupby`, the column of the groups comes first.
        ``log_fc``, ``ci_low``, ``ci_high``
            Estimate in log2, with a 95 % confidence interval.
        ``p_value``, ``adj_p_value``
            Two-sided p-value, and the p-value adjusted over the tested genes of the contrast (Benjamini and
            Hochberg).
        ``mean``, ``pct``
            Mean count per cell; percentage of cells with a count.
        ``status``
            Status of the fit in one word; see :func:`sc_glmm.tl.test`.
        ``tested``
            Whether there is a valid p-value; filter by this column. Genes with status ``singular`` or ``separated`` can
            be tested.

        With ``columns="all"`` also

        ``meaning``
            What the contrast compares; differs from `contrast` if you gave it a name.
        ``coef``, ``se``, ``log_fc_se``
            Estimate and standard error (natural log); standard error in log2.
        ``stat``, ``df``
            Test statistic (t, F or z, depending on the test); degrees of freedom between samples.
        ``p_hk``
            P-value of the Hartung-Knapp test, which uses this gene only; NaN if it is not defined.
        ``log_fc_shrunk``, ``lfsr``, ``s_value``
            For ranking. ``log_fc_shrunk`` is shrunk towards zero by a prior for effects that is estimated from all
            genes (a scale mixture of normals, as in ashr), using the whole likelihood of the gene. ``lfsr`` is the
            local false sign rate: the probability that the sign is wrong or the effect is zero. ``s_value`` is the mean
            ``lfsr`` of the gene and all genes with a smaller ``lfsr``; below an ``s_value`` of 0.05, about 5 % of the
            genes have a wrong sign. These columns need a moderated test with a prior and a contrast with one row;
            otherwise they are NaN.

        and the columns of :func:`sc_glmm.get.fit_info`.

    Raises
    ------
    InputError
        If there are no results under `key`, or if a contrast, group, gene or column does not exist; the message
        suggests similar names.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> hits = sc_glmm.get.results(adata, alpha=0.05, min_log_fc=1, sort="p_value")
    >>> bool(hits["tested"].all())
    True
    """
    stored, key = results_in(adata, key)
    frame = read_results(stored, key)
    params = stored.uns[key]["params"]
    groupby = params.get("cells_grouped_by")
    keep = np.ones(len(frame), dtype=bool)
    if contrast is not None:
        keep &= frame["contrast"].isin(find_contrasts(all_contrasts(params), contrast)).to_numpy()
    if group is not None:
        if groupby is None:
            raise without_groups(group, key)
        keep &= frame[groupby].isin(known_names(group, frame[groupby], "group")).to_numpy()
    if genes is not None:
        keep &= frame["variable"].isin(known_names(genes, frame["variable"], "gene")).to_numpy()
    check_flag("tested", tested)
    if tested:
        keep &= frame["tested"].to_numpy()
    if alpha is not None:
        keep &= (frame["adj_p_value"] < _number(alpha, "alpha", 1.0)).to_numpy()
    if min_log_fc is not None:
        keep &= (frame["log_fc"].abs() >= _number(min_log_fc, "min_log_fc", np.inf)).to_numpy()
    frame = frame[keep]
    if sort is not None:
        frame = _sorted(frame, sort)
    return frame[_columns(frame, groupby, columns)]


def known_names(requested: Any, column: pd.Series, content: str) -> list[str]:
    """Return the requested names as a list, after checking that the column contains them."""
    available = dict.fromkeys(column.astype(str))
    names = [str(name) for name in as_list(requested)]
    for name in names:
        if name not in available:
            raise InputError(f"the results have no {content} {name!r}{suggest(name, available)}")
    return names


def _number(value: Any, name: str, maximum: float) -> float:
    if not is_number(value) or not 0.0 <= value <= maximum:
        allowed = "numbers from 0 to 1, such as 0.05" if maximum == 1.0 else "numbers of at least 0"
        raise InputError(f"{name}={value!r}: allowed are {allowed}")
    return float(value)


def _sorted(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    if not isinstance(by, str) or by not in frame.columns:
        raise InputError(f"sort={by!r}: the results have no such column{_like(by, list(frame.columns))}")
    column = frame[by]
    if not pd.api.types.is_numeric_dtype(column):
        return frame.sort_values(by, kind="stable")
    if by.startswith(_SORT_SMALLEST_FIRST):
        # equal p-values, such as zeros, are sorted by their statistic
        order = np.lexsort((-frame["stat"].abs().to_numpy(), column.to_numpy(dtype=np.float64)))
        return frame.iloc[order]
    values = column.abs() if by.startswith(_SORT_BY_ABSOLUTE_VALUE) else column
    order = np.argsort(-values.to_numpy(dtype=np.float64), kind="stable")
    return frame.iloc[order]


def _like(name: Any, available: Sequence[str]) -> str:
    """Write a hint with a column of the same meaning, or with similar ones."""
    own = _COLUMNS.get(name) if isinstance(name, str) else None
    return f"; did you mean {own!r}?" if own in available else suggest(str(name), available, 14)


def _columns(frame: pd.DataFrame, groupby: Any, requested: Any) -> list[str]:
    available = [str(name) for name in frame.columns]
    first = [name for name in (groupby, "variable", "contrast") if name is not None]
    if isinstance(requested, str) and requested in ("main", "all"):
        names = available if requested == "all" else [name for name in MAIN_COLUMNS if name in available]
    else:
        names = [str(name) for name in as_list(requested)]
        for name in names:
            if name not in available:
                raise InputError(
                    f"columns={requested!r}: allowed are 'main', 'all' or names of columns, but there is no column "
                    f"{name!r}{_like(name, available)}"
                )
    return list(dict.fromkeys([*first, *names]))
