"""Draw the volcano plot: effect against evidence, one mark per gene."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._arrays import BoolArray, FloatArray
from .._display.arguments import check_level, is_number
from .._errors import InputError
from .._inference.minimum import Alternative
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
    one_contrast,
    require_columns,
    require_one_row_a_gene,
    results_frame,
    significant_rows,
    status_of,
    tested_effects,
)
from ._shared import documented, finish
from ._style import COLUMN, axes_to_draw, fold_change_label, p_value_label, threshold_words

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


_SIZE = (COLUMN, 3.0)


@documented
def volcano(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    group: str | None = None,
    alpha: float = 0.05,
    min_log_fc: float | None = None,
    n_labels: int = 10,
    labels: Sequence[str] | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the effect against the evidence for every gene of one contrast.

    Coloured genes are significant after adjustment; the dashed line is the corresponding p-value. A separated gene has
    no counts in one arm, so its fold change is unbounded in that direction. Its mark is a hollow triangle that points
    there. Other hollow marks are genes whose fit failed or needs care (see `status`); a variance estimated as zero is
    not among them. Filled triangles on the border lie outside the axes (p = 0, or an extreme estimate). Genes without a
    p-value are not drawn.

    Parameters
    ----------
    |results|
    |alpha|
    min_log_fc
        Draw lines at plus and minus this log2 fold change; 0 draws none. They do not change the colours. By default
        the lines are at the `min_log_fc` of the run in an AnnData, on the side that was tested, and the axis label says
        what the p-values are for.
    |labels|
    |gene_symbols|
    |drawing|

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> frame = pd.DataFrame(
    ...     {"variable": ["A", "B"], "log_fc": [1.5, 0.1], "p_value": [1e-5, 0.8], "adj_p_value": [2e-5, 0.8]}
    ... )
    >>> sc_glmm.pl.volcano(frame).get_xlabel()
    'log$_2$ fold change'
    """
    check_level("alpha", alpha)
    frame = results_frame(data, key=key, contrast=contrast, group=group, gene_symbols=gene_symbols)
    require_columns(frame, ["variable", "log_fc", "p_value", "adj_p_value"], plot="volcano")
    require_one_row_a_gene(frame, plot="volcano")
    drawn = frame[np.isfinite(frame["log_fc"]) & np.isfinite(frame["p_value"])]
    if len(drawn) == 0:
        raise InputError(
            f"None of the {len(frame)} rows has both a log fold change and a p-value. A joint contrast over several "
            "columns has no fold change: name one of its columns in contrast=."
        )

    ax, base = axes_to_draw(ax, _SIZE)
    status = status_of(drawn).to_numpy(str)
    x, y, outside = _coordinates(drawn, status)
    significant = significant_rows(drawn, alpha)
    color = gene_colors(drawn["log_fc"].to_numpy(float), significant)

    pointing = np.where(drawn["log_fc"].to_numpy(float) > 0, ">", "<")
    handles = draw_marks(ax, x, y, color, significant, status, outside, pointing)
    _set_limits(ax, x, y)
    _draw_threshold(ax, drawn["p_value"].to_numpy(float), significant, alpha, base)
    tested = tested_effects(data, key)
    for line in _lines(tested, min_log_fc):
        ax.axvline(line, color="0.45", linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    ax.set_xlabel(fold_change_label(one_contrast(drawn)), fontsize=base)
    ax.set_ylabel(p_value_label(tested.words), fontsize=base)
    draw_title(ax, [group], base, above=handles)
    draw_counts(ax, color, base, [(0.015, 1.0, "left", "top"), (1.0, 1.0, "right", "top")])
    draw_legend(ax, handles, base)
    draw_labels(ax, drawn, x, y, color, significant, n_labels=n_labels, labels=labels, fontsize=0.8 * base)
    return finish(ax, title, save, show)


def _lines(tested: Alternative, asked: float | None) -> list[float]:
    """Where fold changes begin to be of interest (log2)."""
    if asked is not None:
        if not is_number(asked) or asked < 0.0:
            raise InputError(f"min_log_fc={asked!r}: allowed are finite numbers of at least 0, in log2")
        return [-float(asked), float(asked)] if asked > 0.0 else []
    size = tested.minimum / float(np.log(2.0))
    sides = {"greater": [size], "less": [-size]}.get(tested.kind, [-size, size])
    return sides if size > 0.0 else []


def _coordinates(drawn: pd.DataFrame, status: npt.NDArray[np.str_]) -> tuple[FloatArray, FloatArray, npt.NDArray]:
    """Positions of the marks, pulled to the border if outside, and the triangle that marks them (or "")."""
    log_fc, p = drawn["log_fc"].to_numpy(float), drawn["p_value"].to_numpy(float)
    # An extreme estimate of a failed fit must not compress the axis of all other genes.
    usual = np.abs(log_fc[status == "ok"])
    bound = 1.1 * usual.max() if len(usual) and usual.max() > 0 else np.abs(log_fc).max()
    x, outside = pull_inside(log_fc, bound, ("<", ">"))
    positive = p > 0
    y = np.full(len(p), np.nan)
    y[positive] = -np.log10(p[positive])
    top = np.max(y[positive], initial=1.0)
    y[~positive] = 1.05 * top
    outside[~positive] = "^"
    return x, y, outside


def _set_limits(ax: Axes, x: FloatArray, y: FloatArray) -> None:
    """As wide as each side needs, with space for the labels."""
    ax.set_xlim(*fold_change_limits(x, 0.06))
    top = float(y.max())
    ax.set_ylim(-0.02 * top, 1.14 * top)


def _draw_threshold(ax: Axes, p: FloatArray, significant: BoolArray, alpha: float, base: float) -> None:
    ax.axvline(0.0, color="0.85", linewidth=0.6, zorder=1)
    if not significant.any() or p[significant].max() == 0.0:
        return
    # Between the last significant gene and the first that is not significant.
    last = -np.log10(p[significant].max())
    rest = p[~significant & (p > 0)]
    first = -np.log10(rest.min()) if len(rest) else last
    height = (last + first) / 2 if first < last else last
    ax.axhline(height, color="0.45", linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
    ax.annotate(
        threshold_words(alpha),
        xy=(1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, 1.5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=0.75 * base,
        color="0.35",
    )
