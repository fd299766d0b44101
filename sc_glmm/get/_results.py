"""Read the table of results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_results
from .._errors import InputError
from ._describe import MAIN_COLUMNS

if TYPE_CHECKING:
    from anndata import AnnData

_MOST_CERTAIN_FIRST = ("p_", "adj_p", "lfsr", "s_value")
_BY_SIZE = ("log_fc", "coef", "stat", "log_fc_shrunk", "extreme_")


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
    """Get the results: one row per gene and contrast, indexed by gene, in the order of the genes.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        `key_added` of the run; ``"rna:glmm"`` also names the modality of a MuData, if several have results.
    contrast
        Only this contrast, or these: by label (``"disease: AD vs ctl"``), by name (``"disease"``), or by levels
        (``"AD vs ctl"``, ``"AD"``).
    group
        Only this level of `groupby`, or these.
    genes
        Only this gene, or these.
    tested
        Only rows with a p-value.
    alpha
        Only rows with a smaller `adj_p_value`.
    min_log_fc
        Only rows with a `log_fc` at least this far from zero.
    sort
        Column to sort by. P-values, `lfsr` and `s_value` are sorted from the smallest; `log_fc`, `coef` and `stat` by
        absolute value from the largest; other numbers from the largest; text from A to Z. Rows without a value come
        last.
    columns
        ``"main"`` (default), ``"all"``, or names of columns, which are shown after gene and contrast.
        :func:`sc_glmm.get.describe` explains each column.

    Returns
    -------
    pandas.DataFrame
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

        ``coef``, ``se``, ``log_fc_se``
            Estimate and standard error (natural log); standard error in log2.
        ``stat``, ``df``
            Test statistic (t, F or z, depending on the test); degrees of freedom between samples.
        ``p_hk``
            P-value of the Hartung-Knapp test, which uses this gene only; NaN if it is not defined.
        ``log_fc_shrunk``, ``lfsr``, ``s_value``
            For ranking. `log_fc_shrunk` is shrunk towards zero by a prior for effects that is estimated from all genes
            (a scale mixture of normals, as in ashr), using the whole likelihood of the gene. `lfsr` is the local false
            sign rate: the probability that the sign is wrong or the effect is zero. `s_value` is the mean `lfsr` of the
            gene and all genes with a smaller one; a list cut at 0.05 has 5 % wrong signs. Only after moderated tests
            with a prior, for contrasts of one row; otherwise NaN.

        and the columns of :func:`sc_glmm.get.fit_info`.

    Raises
    ------
    InputError
        If there are no results under `key`, or if a contrast, group, gene or column does not exist; the message lists
        similar names.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> hits = sc_glmm.get.results(adata, alpha=0.05, min_log_fc=1, sort="p_value")
    >>> bool(hits["tested"].all())
    True
    """
    held, key = results_in(adata, key)
    frame = read_results(held, key)
    params = held.uns[key]["params"]
    groupby = params.get("cells_grouped_by")
    keep = np.ones(len(frame), dtype=bool)
    if contrast is not None:
        keep &= frame["contrast"].isin(_contrasts(frame, params, contrast)).to_numpy()
    if group is not None:
        keep &= frame[_group_column(groupby, group, key)].isin(known_names(group, frame[groupby], "group")).to_numpy()
    if genes is not None:
        keep &= frame["variable"].isin(known_names(genes, frame["variable"], "gene")).to_numpy()
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


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else [str(each) for each in value]


def known_names(asked: Any, column: pd.Series, what: str) -> list[str]:
    """The given names, after checking that the column contains them."""
    known = dict.fromkeys(column.astype(str))
    names = [str(name) for name in _listed(asked)]
    for name in names:
        if name not in known:
            raise InputError(f"there is no {what} {name!r} among the results{_similar(name, list(known))}")
    return names


def _similar(name: str, known: Sequence[str], most: int = 8) -> str:
    """Hint with similar names, or else the first names."""
    folded = {each.casefold(): each for each in known}
    close = [folded[each] for each in get_close_matches(name.casefold(), folded, n=3)]
    shown = ", ".join(repr(each) for each in known[:most]) + (f", ... ({len(known)})" if len(known) > most else "")
    return f"; did you mean {' or '.join(map(repr, close))}? There are {shown}" if close else f"; there are {shown}"


def _contrasts(frame: pd.DataFrame, params: Any, asked: Any) -> list[str]:
    """Labels of the contrasts that match the given labels, names or levels."""
    words = [str(each) for each in frame["contrast"].cat.categories]
    named = [(str(k), str(w)) for k, w in zip(params["contrast_keys"], params["contrast_words"], strict=True)]
    chosen: list[str] = []
    for name in map(str, _listed(asked)):
        found = [each for each in words if each == name] or [label for key, label in named if key == name]
        if not found:  # "AD vs ctl" or "AD" of "disease: AD vs ctl"
            compared = {each: each.partition(": ")[2] or each for each in words}
            found = [each for each, inner in compared.items() if name in (inner, inner.partition(" vs ")[0])]
        if not found:
            keys = list(dict.fromkeys(key for key, _ in named))
            raise InputError(
                f"there is no contrast {name!r} among the results{_similar(name, words)} (by name: {', '.join(keys)})"
            )
        chosen += found
    return chosen


def _group_column(groupby: Any, group: Any, key: str) -> str:
    if groupby is None:
        raise InputError(f"group={group!r}: the run under key={key!r} has no groups (it was run without groupby=)")
    return str(groupby)


def _number(value: Any, what: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0.0 <= value <= most:
        hint = ", such as 0.05" if most == 1.0 else ""
        raise InputError(f"{what}={value!r}: allowed are numbers from 0 {'to 1' if most == 1.0 else 'on'}{hint}")
    return float(value)


def _sorted(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    if by not in frame.columns:
        raise InputError(f"sort={by!r}: the results have no such column{_similar(str(by), list(frame.columns), 14)}")
    column = frame[by]
    if not pd.api.types.is_numeric_dtype(column):
        return frame.sort_values(by, kind="stable")
    if by.startswith(_MOST_CERTAIN_FIRST):
        # equal p-values (zeros) are told apart by their statistic
        order = np.lexsort((-frame["stat"].abs().to_numpy(), column.to_numpy(dtype=np.float64)))
        return frame.iloc[order]
    values = column.abs() if by.startswith(_BY_SIZE) else column
    order = np.argsort(-values.to_numpy(dtype=np.float64), kind="stable")
    return frame.iloc[order]


def _columns(frame: pd.DataFrame, groupby: Any, asked: Any) -> list[str]:
    there = [str(name) for name in frame.columns]
    first = [name for name in (groupby, "variable", "contrast") if name is not None]
    if isinstance(asked, str) and asked in ("main", "all"):
        wanted = there if asked == "all" else [name for name in MAIN_COLUMNS if name in there]
    else:
        wanted = [str(name) for name in _listed(asked)]
        for name in wanted:
            if name not in there:
                raise InputError(
                    f"columns={asked!r}: allowed are 'main', 'all' or names of columns, and there is no column "
                    f"{name!r}{_similar(name, there, 14)}"
                )
    return list(dict.fromkeys([*first, *wanted]))
