"""The fitted model of one gene, and what stands above its figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import InputError
from .._figures.symbols import name_and_symbol
from ..models import GlmmFit, LmmFit
from ..models.gene import GeneFit, as_gene_fit

if TYPE_CHECKING:
    from anndata import AnnData

    from ..models.fitted import MixedFit


@dataclass(frozen=True)
class Shown:
    """What a figure of one gene shows.

    Attributes
    ----------
    gene
        The fitted model, in the limit for a separated gene.
    title
        The gene, and the group of cells.
    evidence
        What its test says, in words; empty without.
    """

    gene: GeneFit
    title: str
    evidence: str


def model_and_title(
    data: AnnData | MixedFit,
    gene: str | None,
    key: str,
    group: str | None,
    *,
    plot: str,
    gene_symbols: str | None = None,
) -> Shown:
    """The model, its title, and the evidence of its test."""
    if isinstance(data, LmmFit | GlmmFit):
        if gene is not None or group is not None:
            raise InputError(f"{plot} was given a fitted model, which is of one response: leave gene and group out.")
        made = as_gene_fit(data)
        title = made.fit.prepared.design.formula.response_name or ""
    elif gene is None:
        raise InputError(f"{plot} draws one gene of an AnnData: pass its name, as in pl.{plot}(adata, 'ISG15').")
    else:
        # Here, not above: a fitted model can be drawn without loading what reads an AnnData.
        from ..tl._refit import refit_in_limit

        adata: Any = data
        name, symbol = name_and_symbol(gene, adata, key, gene_symbols)
        made, title = refit_in_limit(adata, name, key, group), symbol if group is None else f"{symbol}, {group}"
    return Shown(made, title, evidence(made))


def evidence(gene: GeneFit) -> str:
    """``adjusted p = 0.002`` of the only contrast of a gene's test; for a separated gene with its interval's end."""
    test = getattr(gene.fit, "test", None)
    if test is None or len(test) != 1 or not np.isfinite(test["adj_p_value"].iloc[0]):
        return "separated" if gene.separated else ""
    row = test.iloc[0]
    words = f"adjusted p = {float(row['adj_p_value']):.2g}"
    if np.isposinf(row["ci_high"]):
        return f"log$_2$ FC > {float(row['ci_low']):.1f} (95 %), {words}"
    if np.isneginf(row["ci_low"]):
        return f"log$_2$ FC < {float(row['ci_high']):.1f} (95 %), {words}"
    return words
