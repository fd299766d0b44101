"""The numbers of a figure of abundance: shares by sample and arm, and fold changes with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.abundance import N_CELLS, AbundanceTable, require_table
from ..._adata.contrasts import contrasts_of_run
from ..._arrays import BoolArray, FloatArray, IntArray
from ..._display.arguments import suggest
from ..._errors import InputError
from ..._formula import parse_formula
from .frames import levels_of, one_contrast, require_one_row_a_gene, results_frame, significant_rows

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class AbundanceShape:
    """What is drawn, one entry a type.

    Attributes
    ----------
    table
        What the table is.
    types
        Names of the types, in the order of their rows.
    by, levels
        Column that tells the arms apart, and its levels; empty without one.
    arm
        ``(n_samples,)`` level of each sample.
    share
        ``(n_samples, n_types)`` cells of a type over all cells of the sample.
    estimate, low, high
        ``(n_types,)`` log2 fold change and interval; NaN where there is none.
    significant
        ``(n_types,)`` whether the adjusted p-value is below the level.
    note
        Why a type has no fold change.
    tested
        Whether there are results.
    words
        What is compared; None without results.
    n_hidden
        Types that were left out.
    """

    table: AbundanceTable
    types: list[str]
    by: str
    levels: list[str]
    arm: IntArray
    share: FloatArray
    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    significant: BoolArray
    note: list[str]
    tested: bool
    words: str | None
    n_hidden: int


def abundance_shape(
    adata: AnnData, *, by: str | None, key: str, contrast: str | None, alpha: float, sort: bool, n_types: int
) -> AbundanceShape:
    """Take the numbers out of a table, with results under `key` if there are any."""
    table = require_table(adata)
    X: Any = adata.X
    counts = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
    total = adata.obs[N_CELLS].to_numpy(dtype=np.float64) if N_CELLS in adata.obs else counts.sum(axis=1)
    share = counts / np.maximum(total, 1.0)[:, None]
    entry = adata.uns.get(key)
    tested = isinstance(entry, Mapping) and "params" in entry
    if not tested and contrast is not None:
        raise InputError(
            f"contrast={contrast!r} was asked for, and there are no results under key={key!r}: run sc_glmm.tl.test"
        )
    names = [str(name) for name in adata.var_names]
    frame, words = _frame(adata, key, contrast, names) if tested else (_nothing(names), None)
    column, levels, arm = _arms(adata, by, key, None if words is None else words.partition("\n")[0])
    order = _order(frame, share, sort, n_types)
    frame = frame.iloc[order]
    return AbundanceShape(
        table=table,
        types=[names[i] for i in order],
        by=column,
        levels=levels,
        arm=arm,
        share=share[:, order],
        estimate=frame["log_fc"].to_numpy(dtype=np.float64),
        low=frame["ci_low"].to_numpy(dtype=np.float64),
        high=frame["ci_high"].to_numpy(dtype=np.float64),
        significant=significant_rows(frame, alpha),
        note=[_NOTES.get(word, word.replace("_", " ")) for word in frame["status"].astype(str)],
        tested=tested,
        words=words,
        n_hidden=len(names) - len(order),
    )


_NOTES = {"ok": "", "singular": "", "separated": "no cell in an arm", "not_selected": "not tested"}


def _frame(adata: AnnData, key: str, contrast: str | None, names: list[str]) -> tuple[pd.DataFrame, str | None]:
    """Results of one contrast, one row a type in the order of the table, and its words."""
    frame = results_frame(adata, key=key, contrast=contrast)
    if contrast is None and frame["contrast"].nunique() > 1:
        # a joint test has no fold change to draw
        drawable = frame[np.isfinite(frame["log_fc"].to_numpy(dtype=np.float64))]
        first = levels_of((drawable if len(drawable) else frame)["contrast"])[0]
        frame = frame[frame["contrast"].astype(str) == first]
    require_one_row_a_gene(frame, plot="abundance")
    frame = frame.set_index(frame["variable"].astype(str)).reindex(names)
    return frame, one_contrast(frame.dropna(subset="contrast"))


def _nothing(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(np.nan, index=names, columns=["log_fc", "ci_low", "ci_high", "p_value", "adj_p_value"]).assign(
        status="ok"
    )


def _arms(adata: AnnData, by: str | None, key: str, words: str | None) -> tuple[str, list[str], IntArray]:
    """The column that tells arms apart, its levels, and that of each sample (-1 where missing)."""
    obs: pd.DataFrame = adata.obs  # type: ignore[assignment]
    if by is not None and by not in obs:
        raise InputError(f"by={by!r} is not a column of the samples{suggest(by, obs.columns)}")
    if by is None and words is not None:
        named = parse_formula(str(adata.uns[key]["params"]["formula"]))
        inside = list(dict.fromkeys(name for term in named.fixed_terms for atom in term for name in atom.columns))
        factors = [name for name in inside if name in obs and not pd.api.types.is_numeric_dtype(obs[name])]
        by = next((name for name in factors if words in _comparisons(obs, name)), factors[0] if factors else None)
    if by is None:
        return "", [], np.zeros(len(obs), dtype=np.int64)
    column: Any = obs[by].astype("category").cat.remove_unused_categories()
    base = _base(adata, key, by)
    if base is not None and base in (texts := [str(level) for level in column.cat.categories]):
        first = column.cat.categories[texts.index(base)]
        column = column.cat.reorder_categories([first, *(each for each in column.cat.categories if each != first)])
    levels = [str(level) for level in column.cat.categories]
    if len(levels) > 7:
        raise InputError(
            f"by={by!r} has {len(levels)} values; the figure tells up to 7 arms apart. Name another column with by="
        )
    return by, levels, column.cat.codes.to_numpy(dtype=np.int64)


def _base(adata: AnnData, key: str, name: str) -> str | None:
    """The level of a column that the run compared the others with."""
    entry: Any = adata.uns.get(key)
    known = contrasts_of_run(entry["params"]).values() if isinstance(entry, Mapping) and "params" in entry else ()
    levels = [each.levels for held in known for each in held if each.levels is not None]
    return next((base for factor, _, base in levels if factor == name), None)


def _comparisons(obs: pd.DataFrame, name: str) -> set[str]:
    """What a contrast between two levels of a factor is called."""
    levels = [str(level) for level in obs[name].dropna().unique()]
    return {f"{name}: {one} vs {other}" for one in levels for other in levels if one != other}


def _order(frame: pd.DataFrame, share: FloatArray, sort: bool, n_types: int) -> IntArray:
    """Rows that are shown: those with the smallest p-values, in the order of abundance or of fold changes."""
    n = share.shape[1]
    mean = share.mean(axis=0)
    p_value = frame["p_value"].to_numpy(dtype=np.float64)
    chosen = np.lexsort((-mean, np.where(np.isnan(p_value), np.inf, p_value)))[: min(n, n_types)]
    value = np.nan_to_num(frame["log_fc"].to_numpy(dtype=np.float64), nan=-np.inf) if sort else mean
    return chosen[np.argsort(-value[chosen], kind="stable")]
