"""Draw the numbers of significant genes in every cell type or contrast."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from .._display.arguments import check_level
from ._numbers.frames import one_contrast, require_columns, results_frame
from ._numbers.sets import count_significant
from ._shared import documented, finish
from ._style import COLUMN, DOWN, LABEL, REST, UP, axes_to_draw, plain, row_height, threshold_words, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes


@documented
def counts(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    group: str | None = None,
    alpha: float = 0.05,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the number of significant genes per cell type or contrast: up to the right, down to the left.

    The label shows how many genes were tested. With more cells and samples, more genes become significant, so the bars
    do not show which cell type responds most. Joint tests have no direction; their bars are grey and point to the
    right.

    Parameters
    ----------
    |results|
    |alpha|
    |drawing|

    Examples
    --------
    |two_types|
    >>> [label.get_text() for label in sc_glmm.pl.counts(frame).get_yticklabels()]
    ['B (2)', 'T (2)']
    """
    check_level("alpha", alpha)
    frame = results_frame(data, key=key, contrast=contrast, group=group)
    require_columns(frame, ["variable", "log_fc", "p_value", "adj_p_value"], plot="counts")
    table = count_significant(frame, alpha)
    names = [
        wrapped(f"{name} ({n:,})" if name else f"{n:,} genes", LABEL)
        for name, n in zip(table["set"], table["tested"], strict=True)
    ]
    ax, base = axes_to_draw(ax, (COLUMN, 0.75 + row_height(names) * len(table)))
    rows = np.arange(len(table))
    right = (table["up"] + table["either"]).to_numpy(float)
    left = table["down"].to_numpy(float)
    ax.barh(rows, table["up"], height=0.7, color=UP, linewidth=0)
    ax.barh(rows, table["either"], left=table["up"], height=0.7, color=REST, linewidth=0)
    ax.barh(rows, -left, height=0.7, color=DOWN, linewidth=0)
    ax.axvline(0.0, color="0.3", linewidth=0.6)
    # Leave room for the longest bar and its number on both sides.
    most = max(float(right.max()), float(left.max()), 1.0)
    for row, (up, down) in enumerate(zip(right, left, strict=True)):
        for value, side, x in ((up, "left", up), (down, "right", -down)):
            ax.annotate(
                f"{int(value):,}",
                xy=(x, row),
                xytext=(2.0 if side == "left" else -2.0, 0),
                textcoords="offset points",
                ha=side,
                va="center_baseline",
                fontsize=0.75 * base,
                color="0.25",
            )
    least = max(0.25 * most, 1.0)
    ax.set_xlim(-1.45 * max(float(left.max()), least), 1.3 * max(float(right.max()), least))
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_yticks(rows, names, fontsize=0.875 * base)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_formatter(lambda value, _: f"{abs(int(value)):,}")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    words = one_contrast(frame)
    ax.set_xlabel(f"genes at {threshold_words(alpha)}" + (f"\n{plain(words)}" if words else ""), fontsize=base)
    ax.set_title("down", fontsize=base, color=DOWN, loc="left")
    ax.set_title("up", fontsize=base, color=UP, loc="right")
    return finish(ax, title, save, show)
