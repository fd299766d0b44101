"""Draw the fold changes of many genes across cell types."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from .._display.arguments import check_level
from ._numbers.frames import effect_column, one_contrast, require_columns, results_frame
from ._numbers.sets import FoldChangeGrid, fold_change_grid
from ._shared import documented, finish
from ._style import PAGE, axes_to_draw, fold_change_label, plain, threshold_words

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_ROW, _SET = 0.125, 0.27  # inches: a row of small text; a column
_BAR = 1.5  # inches: maximum height of the colour bar
_ONE_WAY = 0.05  # if changes in one direction are below this fraction of the largest, half of the colours is enough
_LARGEST_SHARE = 0.98  # fraction of the fold changes within the range of the colours


@documented
def heatmap(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    group: str | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int = 30,
    alpha: float = 0.05,
    shrunken: bool = False,
    limit: float | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw log fold changes of genes (rows) in every cell type (columns), or for every contrast without groups.

    A dot marks a significant gene. Grey fields were not tested, which is different from a fold change of zero.

    Parameters
    ----------
    |results|
    genes
        Genes to show, from top to bottom. Default: the `n_genes` top genes of the cell types (the first of each, then
        the second of each, and so on) as far as they are significant. Genes with similar fold changes are placed next
        to each other.
    n_genes
        Number of genes, if `genes` is not given.
    |alpha|
    |shrunken|
    limit
        Fold change (log2) at the ends of the colour scale. Default: 98 % of the fold changes lie within.
    |gene_symbols|
    |axes_and_file|

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the heatmap; the colour bar has its own axes.

    Raises
    ------
    |missing|

    Examples
    --------
    |two_types|
    >>> [label.get_text() for label in sc_glmm.pl.heatmap(frame).get_yticklabels()]
    ['g1']
    """
    check_level("alpha", alpha)
    frame = results_frame(data, key=key, contrast=contrast, group=group, gene_symbols=gene_symbols)
    require_columns(frame, ["variable", "log_fc", "p_value", "adj_p_value"], plot="heatmap")
    column = effect_column(frame, shrunken, plot="heatmap")
    grid = fold_change_grid(frame, column, genes=genes, n_genes=n_genes, alpha=alpha)
    longest = max(len(name) for name in (*grid.sets, ""))
    width = min(1.5 + _SET * len(grid.sets), PAGE)
    ax, base = axes_to_draw(ax, (width, 0.55 + 0.055 * longest + _ROW * len(grid.genes)))
    bound = _limit(grid) if limit is None else float(limit)

    colors, low, high = _scale(grid, bound)
    image = ax.imshow(grid.values, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="none")
    rows, columns = np.nonzero(grid.significant)
    strong = np.abs(grid.values[rows, columns]) > 0.6 * bound
    ax.scatter(columns, rows, s=3.0, c=np.where(strong, "1.0", "0.15"), linewidths=0, zorder=3)
    ax.set_xticks(range(len(grid.sets)), [plain(name) for name in grid.sets], rotation=90, fontsize=0.875 * base)
    ax.set_yticks(range(len(grid.genes)), [plain(name) for name in grid.genes], fontsize=0.75 * base)
    ax.tick_params(length=0, pad=2)
    ax.spines[:].set_visible(False)
    figure = ax.get_figure(root=True)
    if figure is not None:
        shown = grid.values[np.isfinite(grid.values)]
        over, under = bool((shown > high).any()), bool((shown < low).any())
        ends = "both" if over and under else "max" if over else "min" if under else "neither"
        # As high as the heatmap, but at most this high.
        height = ax.get_position().height * figure.get_size_inches()[1]
        bar = figure.colorbar(image, ax=ax, shrink=min(1.0, _BAR / height), aspect=12, anchor=(0.0, 1.0), extend=ends)
        bar.locator = MaxNLocator(5)
        words = one_contrast(frame)
        label = fold_change_label(shrunken=shrunken) + (f"\n{plain(words)}" if words else "")
        bar.set_label(label, fontsize=0.875 * base)
        bar.ax.tick_params(labelsize=0.75 * base, width=0.5, length=2)
        bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    ax.set_title(f"dots: {threshold_words(alpha)}", fontsize=0.75 * base, color="0.35", loc="left")
    return finish(ax, title, save, show)


def _scale(grid: FoldChangeGrid, bound: float) -> tuple[Colormap, float, float]:
    """Colours from blue through white at zero to red; only one half if all changes have the same direction."""
    both = mpl.colormaps["RdBu_r"]
    values = grid.values[np.isfinite(grid.values)]
    low, high = (float(np.min(values)), float(np.max(values))) if len(values) else (-bound, bound)
    part, ends = (0.0, 1.0), (-bound, bound)
    if low >= -_ONE_WAY * bound:
        part, ends = (0.5, 1.0), (0.0, bound)
    elif high <= _ONE_WAY * bound:
        part, ends = (0.0, 0.5), (-bound, 0.0)
    colors = LinearSegmentedColormap.from_list("fold_change", both(np.linspace(*part, 256)))
    return colors.with_extremes(bad="0.88", under=both(0.0), over=both(1.0)), *ends


def _limit(grid: FoldChangeGrid) -> float:
    size = np.abs(grid.values[np.isfinite(grid.values)])
    return max(float(np.quantile(size, _LARGEST_SHARE)), 0.1) if len(size) else 1.0
