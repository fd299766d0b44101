"""Draw the MA plot: effect against abundance, one mark per gene."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._arrays import BoolArray, FloatArray
from .._display.arguments import check_level
from .._errors import InputError
from ._marks import (
    draw_counts,
    draw_labels,
    draw_legend,
    draw_marks,
    draw_title,
    fold_change_limits,
    gene_colors,
    pull_inside,
)
from ._numbers.frames import (
    effect_column,
    one_contrast,
    require_columns,
    require_one_row_a_gene,
    results_frame,
    significant_rows,
    status_of,
)
from ._shared import documented, finish
from ._style import COLUMN, axes_to_draw, fold_change_label

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes


_SIZE = (COLUMN, 2.7)
# Fraction of the genes without a significant result that must fit the axes; the others become triangles.
_INSIDE = 0.99


@documented
def ma(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    group: str | None = None,
    alpha: float = 0.05,
    shrunken: bool = False,
    n_labels: int = 10,
    labels: Sequence[str] | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the effect against the mean count for every gene of one contrast.

    Genes should scatter around zero at every abundance. If the cloud bends or lies off zero, the size factors are
    wrong. Estimates of genes with few counts scatter widely; `shrunken` draws them after shrinkage by the prior.
    Colours and markers are those of :func:`volcano`. The axes contain all significant genes and 99 % of the others; a
    gene outside is a triangle on the border.

    Parameters
    ----------
    |results|
    |alpha|
    |shrunken|
    |labels|
    |gene_symbols|
    |drawing|

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> frame = pd.DataFrame(
    ...     {
    ...         "variable": ["A", "B"],
    ...         "log_fc": [1.5, 0.1],
    ...         "p_value": [1e-5, 0.8],
    ...         "adj_p_value": [2e-5, 0.8],
    ...         "baseMean": [0.3, 2.0],
    ...     }
    ... )
    >>> sc_glmm.pl.ma(frame).get_xscale()
    'log'
    """
    check_level("alpha", alpha)
    frame = results_frame(data, key=key, contrast=contrast, group=group, gene_symbols=gene_symbols)
    require_columns(frame, ["variable", "log_fc", "p_value", "adj_p_value", "baseMean"], plot="ma")
    require_one_row_a_gene(frame, plot="ma")
    column = effect_column(frame, shrunken, plot="ma")
    mean, log_fc = frame["baseMean"].to_numpy(float), frame[column].to_numpy(float)
    drawn = frame[np.isfinite(log_fc) & np.isfinite(frame["p_value"].to_numpy(float)) & (mean > 0)]
    if len(drawn) == 0:
        raise InputError(
            f"None of the {len(frame)} rows has a log fold change, a p-value and a mean above zero. A joint contrast "
            "over several columns has no fold change: name one of its columns in contrast=."
        )
    ax, base = axes_to_draw(ax, _SIZE)
    x, log_fc = drawn["baseMean"].to_numpy(float), drawn[column].to_numpy(float)
    significant, status = significant_rows(drawn, alpha), status_of(drawn).to_numpy(str)
    bound = effect_bound(log_fc, significant & (status == "ok"), status == "ok")
    y, outside = pull_inside(log_fc, bound, ("v", "^"))
    color = gene_colors(log_fc, significant)

    ax.axhline(0.0, color="0.6", linewidth=0.6, zorder=1)
    ax.set_xscale("log")
    pointing = np.where(log_fc > 0, "^", "v")
    handles = draw_marks(ax, x, y, color, significant, status, outside, pointing)
    ax.set_ylim(*fold_change_limits(y, 0.06))
    ax.set_xlabel("mean count per cell", fontsize=base)
    ax.set_ylabel(fold_change_label(shrunken=shrunken), fontsize=base)
    draw_title(ax, [group, one_contrast(drawn)], base, above=handles)
    draw_counts(ax, color, base, [(1.0, 0.0, "right", "bottom"), (1.0, 1.0, "right", "top")])
    draw_legend(ax, handles, base)
    draw_labels(ax, drawn, x, y, color, significant, n_labels=n_labels, labels=labels, fontsize=0.8 * base)
    return finish(ax, title, save, show)


def effect_bound(log_fc: FloatArray, hits: BoolArray, well: BoolArray) -> float:
    """Largest fold change within the axes: all significant genes, and nearly all others."""
    size = np.abs(log_fc)
    usual = np.quantile(size[well], _INSIDE) if well.any() else size.max()
    return 1.1 * max(float(usual), float(size[hits].max(initial=0.0)), 0.1)
