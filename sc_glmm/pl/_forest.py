"""Draw the estimates of one gene in all cell types, with their intervals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from .._display.arguments import check_level
from ._numbers.frames import one_contrast, require_columns, results_frame
from ._numbers.sets import GeneAcrossSets, gene_across_sets
from ._shared import documented, finish
from ._style import (
    COLUMN,
    DOWN,
    LABEL,
    REST,
    UP,
    axes_to_draw,
    draw_titles,
    fold_change_label,
    italic,
    row_height,
    threshold_words,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes


@documented
def forest(
    data: AnnData | pd.DataFrame,
    gene: str,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    group: str | None = None,
    alpha: float = 0.05,
    sort: bool = False,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the fold change of one gene with its 95 % interval, in every cell type or for every contrast.

    A filled mark is significant after adjustment; a hollow mark is not. An arrow means that the interval ends outside
    the axes. The interval of a gene without counts in one arm has one infinite end.

    Parameters
    ----------
    |data|
    gene
        Name of the gene.
    |key|
    |contrast|
    |group|
    |alpha|
    sort
        Sort by fold change, largest on top. Default: the order of the results.
    |gene_symbols|
    |drawing|

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> frame = pd.DataFrame(
    ...     {
    ...         "cell_type": ["B", "T"],
    ...         "variable": ["g1", "g1"],
    ...         "log_fc": [1.5, -0.5],
    ...         "ci_low": [1.0, -1.2],
    ...         "ci_high": [2.0, 0.2],
    ...         "p_value": [1e-5, 0.1],
    ...         "adj_p_value": [2e-5, 0.2],
    ...     }
    ... )
    >>> [label.get_text() for label in sc_glmm.pl.forest(frame, "g1").get_yticklabels()]
    ['B', 'T']
    """
    check_level("alpha", alpha)
    frame = results_frame(data, key=key, contrast=contrast, group=group, gene_symbols=gene_symbols)
    wanted = ["variable", "log_fc", "ci_low", "ci_high", "p_value", "adj_p_value"]
    require_columns(frame, wanted, plot="forest")
    shape = gene_across_sets(frame, gene, alpha)
    labels = [wrapped(name, LABEL) for name in shape.sets]
    ax, base = axes_to_draw(ax, (COLUMN, 0.75 + row_height(labels) * len(shape.sets)))
    order = (
        np.argsort(-np.nan_to_num(shape.estimate, nan=-np.inf), kind="stable") if sort else np.arange(len(shape.sets))
    )
    left, right = _bounds(shape)
    ax.axvline(0.0, color="0.6", linewidth=0.6, zorder=1)
    for row, i in enumerate(order):
        _draw_row(ax, row, shape, int(i), left, right, 0.75 * base)
    ax.set_xlim(left, right)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.set_yticks(range(len(order)), [labels[i] for i in order], fontsize=0.875 * base)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(fold_change_label(one_contrast(frame)), fontsize=base)
    draw_titles(ax, italic(gene), f"95 % interval; filled: {threshold_words(alpha)}", base, small=0.75)
    return finish(ax, title, save, show)


def _bounds(shape: GeneAcrossSets) -> tuple[float, float]:
    """Both ends of the axis: include all estimates, and all intervals that are not many times wider than the others."""
    estimates = shape.estimate[np.isfinite(shape.estimate)]
    if len(estimates) == 0:
        return -1.0, 1.0
    half = np.concatenate([shape.high - shape.estimate, shape.estimate - shape.low])
    half = half[np.isfinite(half)]
    room = min(float(half.max()), 4.0 * float(np.median(half))) if len(half) else 1.0
    low, high = min(float(estimates.min()) - room, 0.0), max(float(estimates.max()) + room, 0.0)
    air = 0.06 * (high - low)
    return low - air, high + air


def _draw_row(ax: Axes, row: int, shape: GeneAcrossSets, i: int, left: float, right: float, fontsize: float) -> None:
    estimate, low, high = float(shape.estimate[i]), float(shape.low[i]), float(shape.high[i])
    if not np.isfinite(estimate):
        ax.text(0.0, row, f" {shape.note[i]}", va="center", ha="left", fontsize=fontsize, color="0.45")
        return
    color = (UP if estimate > 0 else DOWN) if shape.significant[i] else REST
    ends = max(low, left), min(high, right)
    ax.plot(ends, [row, row], color=color, linewidth=1.0, solid_capstyle="butt", zorder=2)
    for end, limit, marker in ((low, left, "<"), (high, right, ">")):
        if (end < limit) if marker == "<" else (end > limit):
            ax.plot([limit], [row], marker=marker, ms=3.5, color=color, linestyle="none", clip_on=False, zorder=2)
    face = color if shape.significant[i] else "white"
    ax.plot([estimate], [row], marker="o", ms=4.5, mfc=face, mec=color, mew=0.9, linestyle="none", zorder=3)
    if shape.note[i]:
        ax.annotate(
            shape.note[i],
            xy=(estimate, row),
            xytext=(0, 3.5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=0.85 * fontsize,
            color="0.35",
        )
