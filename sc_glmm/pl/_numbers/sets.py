"""Select and count genes across sets of tests, such as cell types or contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage

from ..._arrays import BoolArray, FloatArray, IntArray
from ..._errors import InputError
from .frames import WELL, significant_rows, split_sets, status_of


@dataclass(frozen=True)
class FoldChangeGrid:
    """Fold changes of genes in sets of tests.

    Attributes
    ----------
    genes, sets
        Names of rows and columns.
    values
        ``(n_genes, n_sets)`` log2 fold changes; NaN if a gene was not tested.
    significant
        ``(n_genes, n_sets)``.
    """

    genes: tuple[str, ...]
    sets: tuple[str, ...]
    values: FloatArray
    significant: BoolArray


def fold_change_grid(
    frame: pd.DataFrame, column: str, *, genes: Sequence[str] | None, n_genes: int, alpha: float
) -> FoldChangeGrid:
    """Fold changes in all sets of the frame.

    Parameters
    ----------
    frame
        Result of ``get.results``.
    column
        Column of the fold changes.
    genes
        Genes, in this order. Default: the `n_genes` top genes of the sets (the first of each set, then the second of
        each, and so on) as far as they are significant, with similar genes next to each other.
    n_genes, alpha
        Number of genes; level of the adjusted p-value.
    """
    parts = split_sets(frame)
    _refuse_repeated(parts)
    if genes is None:
        chosen = leading_genes(parts, n_genes, alpha)
        if not chosen:
            raise InputError(
                f"no gene is significant at {alpha:g} in any of the {len(parts)} sets of tests: name the genes in "
                "genes=, or increase alpha."
            )
    else:
        chosen = list(dict.fromkeys(genes))
        unknown = sorted(set(chosen) - set(frame["variable"].astype(str)))
        if unknown or not chosen:
            raise InputError(f"genes= contains {unknown or 'no gene'}, which has no results. Give gene names.")
    values, hits = [], []
    for _, part in parts:
        rows = part.set_index(part["variable"].astype(str)).reindex(chosen)
        tested = np.isfinite(rows["p_value"].to_numpy(float))
        values.append(np.where(tested, rows[column].to_numpy(float), np.nan))
        hits.append(significant_rows(rows, alpha))
    grid, significant = np.stack(values, axis=1), np.stack(hits, axis=1)
    if genes is None:
        order = alike(grid)
        chosen, grid, significant = [chosen[i] for i in order], grid[order], significant[order]
    return FoldChangeGrid(tuple(chosen), tuple(title for title, _ in parts), grid, significant)


def _refuse_repeated(parts: Sequence[tuple[str, pd.DataFrame]]) -> None:
    for title, part in parts:
        twice = part["variable"].duplicated()
        if twice.any():
            raise InputError(
                f"the gene {part.loc[twice, 'variable'].iloc[0]!r} has several "
                f"rows{f' in {title}' if title else ''}; the column that distinguishes them must be the first of the "
                "data frame, as in sc_glmm.get.results."
            )


def leading_genes(parts: Sequence[tuple[str, pd.DataFrame]], n_genes: int, alpha: float) -> list[str]:
    """The top significant genes of the sets in turn, at most `n_genes`."""
    if n_genes < 1:
        raise InputError(f"n_genes={n_genes}: must be at least 1.")
    ranked = []
    for _, part in parts:
        hits = part[significant_rows(part, alpha)].sort_values("p_value", kind="stable")
        places = np.arange(len(hits))
        ranked.append(
            pd.DataFrame(
                {"gene": hits["variable"].astype(str).to_numpy(), "place": places, "p": hits["p_value"].to_numpy(float)}
            )
        )
    every = pd.concat(ranked, ignore_index=True).sort_values(["place", "p"], kind="stable")
    return list(dict.fromkeys(every["gene"]))[:n_genes]


def alike(values: FloatArray) -> IntArray:
    """Order of the rows that places similar rows next to each other (average linkage, reordered leaves)."""
    if len(values) < 3:
        return np.arange(len(values))
    filled = np.nan_to_num(values)
    order = leaves_list(linkage(filled, method="average", optimal_ordering=True)).astype(np.int64)
    # The order of a tree can be reversed: strongest increase on top.
    return order[::-1] if filled[order[0]].mean() < filled[order[-1]].mean() else order


@dataclass(frozen=True)
class GeneAcrossSets:
    """One gene in every set.

    Attributes
    ----------
    sets
        Names.
    estimate, low, high
        ``(n_sets,)`` log2 fold change and its 95 % interval, one end of which may be infinite; NaN where untested.
    significant
        ``(n_sets,)``.
    note
        Per set: why the gene was not tested, or that it is separated; otherwise empty.
    """

    sets: tuple[str, ...]
    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    significant: BoolArray
    note: tuple[str, ...]


def gene_across_sets(frame: pd.DataFrame, gene: str, alpha: float) -> GeneAcrossSets:
    """The rows of `gene`."""
    parts = split_sets(frame)
    _refuse_repeated(parts)
    wanted = ("log_fc", "ci_low", "ci_high", "p_value", "adj_p_value")
    numbers, notes = np.full((len(wanted), len(parts)), np.nan), []
    for i, (_, part) in enumerate(parts):
        mine = part[part["variable"].astype(str) == gene]
        if len(mine):
            numbers[:, i] = [float(mine[name].iloc[0]) for name in wanted]
        notes.append(
            _note(str(status_of(mine).iloc[0]) if len(mine) else "", bool(np.isfinite(numbers[[0, 3], i]).all()))
        )
    if not (frame["variable"].astype(str) == gene).any():
        raise InputError(
            f"gene={gene!r} has no row in the results; gene names look like {frame['variable'].iloc[0]!r}."
        )
    tested = np.isfinite(numbers[[0, 3]]).all(axis=0)
    return GeneAcrossSets(
        tuple(title for title, _ in parts),
        np.where(tested, numbers[0], np.nan),
        np.where(tested, numbers[1], np.nan),
        np.where(tested, numbers[2], np.nan),
        np.asarray(numbers[4] < alpha),
        tuple(notes),
    )


def _note(status: str, tested: bool) -> str:
    """Note about a gene; empty if there is no problem."""
    if status in ("", *WELL):
        return "" if tested else "not tested"
    return status.replace("_", " ")


def count_significant(frame: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """One row per set: title, and numbers of genes ``up``, ``down`` and ``tested``."""
    rows = []
    for title, part in split_sets(frame):
        hit, log_fc = significant_rows(part, alpha), part["log_fc"].to_numpy(float)
        rows.append(
            {
                "set": title,
                "up": int(np.sum(hit & (log_fc > 0))),
                "down": int(np.sum(hit & (log_fc < 0))),
                # A joint test has no direction.
                "either": int(np.sum(hit & ~np.isfinite(log_fc))),
                "tested": int(np.isfinite(part["p_value"].to_numpy(float)).sum()),
            }
        )
    return pd.DataFrame(rows)
