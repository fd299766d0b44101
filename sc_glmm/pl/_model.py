"""The fitted model of one gene, and the titles of its figure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import InputError
from ..models import GlmmFit, LmmFit
from ..models.gene import GeneFit, as_gene_fit
from ._numbers.symbols import name_and_symbol
from ._style import italic, plain

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from ..models.fitted import MixedFit


# Maximum number of contrasts whose p-values are written above a figure.
_MOST_CONTRASTS = 4


@dataclass(frozen=True)
class FittedModel:
    """The model that is checked in a figure.

    Attributes
    ----------
    fit
        The model.
    title
        Gene and group of cells as text; empty for a model of a data frame.
    """

    fit: MixedFit
    title: str


@dataclass(frozen=True)
class ModelToPlot:
    """The model that is drawn in a figure of one gene.

    Attributes
    ----------
    gene
        The fitted model; for a separated gene, in the limit.
    title
        Gene and group of cells.
    evidence
        Result of its test as text; empty without a test.
    """

    gene: GeneFit
    title: str
    evidence: str


def fitted_model(
    data: AnnData | MixedFit, gene: str | None, key: str, group: str | None, gene_symbols: str | None
) -> FittedModel:
    """The given model, or the model of a gene of an AnnData."""
    if isinstance(data, LmmFit | GlmmFit):
        _refuse_names(gene, group)
        return FittedModel(data, "")
    if not _has_results(data):
        raise InputError(
            f"data is {type(data).__name__}; allowed are a fitted model of sc_glmm.lmer or sc_glmm.glmer, or an "
            "AnnData after sc_glmm.tl.test together with the name of a gene"
        )
    from ..tl import refit

    name, title = _name_and_title(data, gene, key, group, gene_symbols)
    return FittedModel(refit(data, name, key=key, group=group), title)


def model_and_title(
    data: AnnData | MixedFit, gene: str | None, key: str, group: str | None, gene_symbols: str | None
) -> ModelToPlot:
    """The model, its title, and the result of its test."""
    if isinstance(data, LmmFit | GlmmFit):
        _refuse_names(gene, group)
        result = as_gene_fit(data)
        title = plain(result.fit.prepared.design.formula.response_name or "")
    else:
        # Imported here, so that a fitted model can be drawn without loading anndata.
        from ..tl._refit import refit_in_limit

        name, title = _name_and_title(data, gene, key, group, gene_symbols)
        result = refit_in_limit(data, name, key, group)
    return ModelToPlot(result, title, evidence(result))


def name_model(ax: Axes, shown: FittedModel, base: float) -> None:
    """The name of the gene for the title of its figure."""
    if shown.title:
        ax.set_title(shown.title, fontsize=base, loc="left")


def varying_term(fit: MixedFit) -> str | None:
    """The grouping factor with the most levels and a variance above zero; None if all variances are zero."""
    terms = sorted(fit.prepared.groupings, key=lambda one: -len(one.levels))
    return next((one.name for one in terms if any(sd > 0.0 for sd in effect_sds(fit, one.name).values())), None)


def effect_sds(fit: MixedFit, group: str) -> dict[str, float]:
    """Standard deviation of each effect of a grouping factor according to the model."""
    place = [g.name for g in fit.prepared.groupings].index(group)
    sd = np.sqrt(np.sum(fit.Lambda[place] ** 2, axis=1))
    return dict(zip(fit.prepared.groupings[place].columns, sd.tolist(), strict=True))


def _has_results(data: Any) -> bool:
    return isinstance(data, str | os.PathLike) or hasattr(data, "uns")


def _refuse_names(gene: str | None, group: str | None) -> None:
    if gene is not None or group is not None:
        raise InputError(
            f"gene={gene!r} and group={group!r} select a model of an AnnData, but data is a fitted model: omit them. "
            "Use term= to select a grouping factor of the model."
        )


def _name_and_title(
    data: Any, gene: str | None, key: str, group: str | None, gene_symbols: str | None
) -> tuple[str, str]:
    """Name of the gene in the AnnData, and its symbol in italics with the group."""
    if gene is None:
        raise InputError("this figure draws one gene of an AnnData: name it, as in pl.samples(adata, 'ISG15').")
    if not isinstance(gene, str):
        raise InputError(f"gene={gene!r}: this figure draws one gene, so give its name as text")
    name, symbol = name_and_symbol(gene, data, key, gene_symbols)
    return name, italic(symbol) + (f", {plain(group)}" if group else "")


def evidence(gene: GeneFit) -> str:
    """``adjusted p = 0.002``, one line per contrast; for a separated gene, the finite end of the interval."""
    test = getattr(gene.fit, "test", None)
    rows = [] if test is None else [(str(words), row) for words, row in test.iterrows() if np.isfinite(row["p_value"])]
    if not rows:
        return "separated" if gene.separated else ""
    lines = [_one_result(row) for _, row in rows[:_MOST_CONTRASTS]]
    if len(rows) > 1:
        factors = {words.partition(": ")[0] for words, _ in rows if ": " in words}
        alike = len(factors) == 1 and all(": " in words for words, _ in rows)  # the axis names the factor
        short = [plain(words.partition(": ")[2] if alike else words) for words, _ in rows]
        lines = [f"{words}: {line}" for words, line in zip(short, lines, strict=False)]
    return "\n".join([*lines, *([f"and {len(rows) - len(lines)} more"] if len(rows) > len(lines) else [])])


def _one_result(row: pd.Series) -> str:
    adjusted = float(row["adj_p_value"])
    words = f"adjusted p = {adjusted:.2g}" if np.isfinite(adjusted) else f"p = {float(row['p_value']):.2g}"
    if np.isposinf(row["ci_high"]):
        return f"log$_2$ FC > {float(row['ci_low']):.1f} (95 %), {words}"
    if np.isneginf(row["ci_low"]):
        return f"log$_2$ FC < {float(row['ci_high']):.1f} (95 %), {words}"
    return words
