"""Draw the top genes, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import InputError
from .figures import figure
from .gather import with_counts_of
from .markup import Markup, tag
from .study import Study
from .tables import number


def choose_genes(study: Study, genes: Sequence[str] | None, n_genes: int) -> pd.DataFrame:
    """Choose the genes to draw, one row per gene and group.

    These are the given genes, or those with the smallest p-values of each contrast.

    Raises
    ------
    InputError
        If a gene is not in the results.
    """
    rows = study.results[study.results["tested"].astype(bool)]
    by = ["variable", *([study.groupby] if study.groupby is not None else [])]
    if genes is not None:
        names = set(study.results["variable"].astype(str))
        unknown = [gene for gene in genes if gene not in names]
        if unknown:
            raise InputError(f"genes: {unknown[0]!r} is not one of the {len(names):,} genes in the results")
        order = {gene: i for i, gene in enumerate(genes)}
        rows = rows[rows["variable"].isin(order)]
        rows = rows.iloc[np.argsort([order[str(name)] for name in rows["variable"]], kind="stable")]
        return rows.drop_duplicates(by)
    order_of_p = np.lexsort((-rows["stat"].abs().to_numpy(np.float64), rows["p_value"].to_numpy(np.float64)))
    rows = rows.iloc[order_of_p]
    parts = [rows[rows["contrast"].astype(str) == words].drop_duplicates(by).head(n_genes) for words in study.contrasts]
    return pd.concat(parts).drop_duplicates(by) if parts else rows.head(0)


def gene_cards(study: Study, rows: pd.DataFrame, gene_symbols: str | None) -> list[Markup]:
    """Draw a figure of each gene, sample by sample."""
    counts = with_counts_of(study, [str(name) for name in rows["variable"]]) if len(rows) else None
    if counts is None:
        return []
    cards, with_anchor = [], set()
    for _, row in rows.iterrows():
        gene = str(row["variable"])
        # the tables link to the first card of a gene
        identity = None if gene in with_anchor else f"gene-{gene}"
        with_anchor.add(gene)
        cards.append(_card(study, counts, row, identity, gene_symbols))
    return cards


def _card(study: Study, counts: AnnData, row: pd.Series, identity: str | None, gene_symbols: str | None) -> Markup:
    from ..pl import samples

    gene = str(row["variable"])
    group = None if study.groupby is None else str(row[study.groupby])
    words = _evidence(study, gene, group)
    symbols: Any = study.adata.var[gene_symbols].get(gene) if gene_symbols else None
    name = gene if symbols is None else f"{symbols} ({gene})"
    title = name if group is None else f"{name}, {group}"
    try:
        return figure(
            lambda: samples(counts, gene, key=study.key, group=group, title=""), words, identity=identity, title=title
        )
    except InputError as error:
        return tag("figure", tag("h3", title), tag("p", f"No figure: {error}"), tag("figcaption", words), id=identity)


def _evidence(study: Study, gene: str, group: str | None) -> str:
    rows = study.results[study.results["variable"] == gene]
    if group is not None:
        rows = rows[rows[study.groupby].astype(str) == group]
    rows = rows[rows["tested"].astype(bool)]
    return "; ".join(_one(row, len(rows) > 1 or len(study.contrasts) > 1) for _, row in rows.iterrows()) + "."


def _one(row: pd.Series, named: bool) -> str:
    effect = float(row["log_fc"])
    parts = [f"{row['contrast']}:" if named else ""]
    if np.isfinite(effect):
        low, high = number(float(row["ci_low"])), number(float(row["ci_high"]))
        parts.append(f"log2 fold change {number(effect)} (95 % interval {low} to {high}),")
    parts.append(f"adjusted p = {number(float(row['adj_p_value']))}")
    return " ".join(part for part in parts if part)


def caption() -> Markup:
    """Explain the figures."""
    return tag(
        "p",
        "Each dot is one sample; its area is the number of cells. Bars are the fitted means with 95 % intervals. ",
        "An arrow leads from the mean of the arm to the model's estimate for this sample. If a finding ",
        "depends on a single sample, one dot lies far from the others of its arm.",
        class_="soft",
    )
