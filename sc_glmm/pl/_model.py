"""The fitted model of one gene, and what stands above its figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import InputError
from ..models import GlmmFit, LmmFit

if TYPE_CHECKING:
    from anndata import AnnData

    from ..models.fitted import MixedFit


def model_and_title(
    data: AnnData | MixedFit, gene: str | None, key: str, group: str | None, *, plot: str
) -> tuple[MixedFit, str, str]:
    """The model, its title, and the evidence of its test in words (empty without)."""
    if isinstance(data, LmmFit | GlmmFit):
        if gene is not None or group is not None:
            raise InputError(f"{plot} was given a fitted model, which is of one response: leave gene and group out.")
        fit: MixedFit = data
        title = fit.prepared.design.formula.response_name or ""
    elif gene is None:
        raise InputError(f"{plot} draws one gene of an AnnData: pass its name, as in pl.{plot}(adata, 'ISG15').")
    else:
        # Here, not above: a fitted model can be drawn without loading what reads an AnnData.
        from ..tl import refit

        adata: Any = data
        fit, title = refit(adata, gene, key=key, group=group), gene if group is None else f"{gene}, {group}"
    return fit, title, evidence(fit)


def evidence(fit: MixedFit) -> str:
    """``adjusted p = 0.002`` of the only contrast of a gene's test."""
    test = getattr(fit, "test", None)
    if test is None or len(test) != 1 or not np.isfinite(test["adj_p_value"].iloc[0]):
        return ""
    return f"adjusted p = {float(test['adj_p_value'].iloc[0]):.2g}"
