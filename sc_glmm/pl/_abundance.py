"""Abundance: the shares of cell types in every sample, and their fold changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .._display.arguments import check_count, check_level
from ._numbers.abundance import AbundanceShape, abundance_shape
from ._shared import documented, finish
from ._style import (
    DATA,
    DOWN,
    FONT,
    PALETTE,
    REST,
    UP,
    axes_to_draw,
    fold_change_label,
    grid_of_axes,
    plain,
    threshold_words,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_ROW = 0.30  # inches
_WIDTHS = (3.9, 2.6)
_HALF = 0.34  # half of a row that dots may fill


@documented
def abundance(
    data: AnnData | str | os.PathLike[str],
    *,
    by: str | None = None,
    key: str = "glmm",
    contrast: str | None = None,
    alpha: float = 0.05,
    sort: bool = False,
    n_types: int = 25,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the share of each cell type in every sample, by arm, beside the fold change with its 95 % interval.

    A dot is a sample, a line across the dots the median of an arm; an open dot on the left is a sample without a cell
    of the type. Fold changes are relative to the reference of the table, so that they may differ from what the shares
    show: if one type grows, the shares of all others shrink.

    Parameters
    ----------
    data
        A table of :func:`sc_glmm.pp.abundance`, before or after :func:`sc_glmm.tl.test`; or the path of one.
    by
        Column of the samples that tells the arms apart; by default the factor that is tested.
    |key|
    |contrast|
    |alpha|
    sort
        Order by fold change; by default the most abundant type is on top.
    n_types
        Most types (or neighbourhoods) that are drawn: those with the smallest p-values.
    title
        Title in the place of the figure's own; ``""`` for none.
    ax
        Axes for the shares; fold changes are left out then. Default: a new figure with both.
    |file|

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the shares; those of the fold changes follow in the figure.

    Raises
    ------
    InputError
        If `data` is not a table of abundance, or an argument is not among the allowed values.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=20, n_cell_types=4, seed=0)
    >>> counts = sc_glmm.pp.abundance(adata, sample="sample", groupby="cell_type")
    >>> len(sc_glmm.pl.abundance(counts, by="disease").get_yticklabels())
    4
    """
    check_level("alpha", alpha)
    check_count("n_types", n_types, 1)
    if isinstance(data, str | os.PathLike):
        import anndata

        data = anndata.read_zarr(data) if os.path.isdir(data) else anndata.read_h5ad(data)
    shape = abundance_shape(data, by=by, key=key, contrast=contrast, alpha=alpha, sort=sort, n_types=n_types)
    height = 0.85 + _ROW * len(shape.types)
    right = None
    if ax is None and shape.tested:
        ax, right = grid_of_axes(1, 2, (sum(_WIDTHS), height))[0]
        left_grid = ax.get_gridspec()
        if left_grid is not None:
            left_grid.set_width_ratios(_WIDTHS)
        base = FONT
    else:
        ax, base = axes_to_draw(ax, (_WIDTHS[0], height))
    _draw_shares(ax, shape, base)
    if right is not None:
        _draw_changes(right, shape, alpha, base)
    return finish(ax, title, save, show)


def _draw_shares(ax: Axes, shape: AbundanceShape, base: float) -> None:
    positive = shape.share[shape.share > 0.0]
    least = float(positive.min()) if len(positive) else 1e-3
    floor = least / 2.0
    arms = range(max(len(shape.levels), 1))
    step = 2.0 * _HALF / len(arms)
    for j in range(len(shape.types)):
        if j % 2:
            ax.axhspan(j - 0.5, j + 0.5, color="0.96", linewidth=0, zorder=0)
        for arm in arms:
            values = shape.share[shape.arm == arm, j]
            if len(values) == 0:
                continue
            color = PALETTE[arm] if shape.levels else DATA
            y = j - _HALF + step * (arm + 0.5)
            # dots of an arm are spread by their place among its samples, which is the same in every row
            spread = y + 0.5 * step * (np.linspace(-0.5, 0.5, len(values)) if len(values) > 1 else np.zeros(1))
            there = values > 0.0
            ax.plot(values[there], spread[there], "o", ms=2.6, color=color, mew=0, alpha=0.85, zorder=2)
            ax.plot(np.full((~there).sum(), floor), spread[~there], "o", ms=2.6, mfc="white", mec=color, mew=0.6)
            middle = max(float(np.median(values)), floor)
            ax.plot([middle, middle], [y - 0.45 * step, y + 0.45 * step], color=color, linewidth=1.4, zorder=3)
    ax.set_xscale("log")
    ax.set_xlim(floor / 1.3, min(1.25 * float(shape.share.max(initial=least)), 1.2))
    wide = float(shape.share.max(initial=least)) > 50.0 * floor
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(len(shape.types) - 0.5, -0.5)
    ax.set_yticks(range(len(shape.types)), [plain(name) for name in shape.types], fontsize=0.875 * base)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("share of the cells of a sample", fontsize=base)
    if shape.levels:
        handles = [
            Line2D([], [], marker="o", ms=4, linestyle="none", color=PALETTE[i], label=plain(level))
            for i, level in enumerate(shape.levels)
        ]
        letters = sum(len(level) + 5 for level in shape.levels)
        room = int(13 * _WIDTHS[0]) - max(map(len, shape.types), default=0)
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=len(handles) if letters <= room else 1,
            fontsize=0.875 * base,
            frameon=False,
            handletextpad=0.1,
            columnspacing=1.0,
            borderpad=0.1,
        )
    if shape.n_hidden:
        ax.set_title(f"{len(shape.types)} of {len(shape.types) + shape.n_hidden}", fontsize=0.75 * base, loc="right")


def _draw_changes(ax: Axes, shape: AbundanceShape, alpha: float, base: float) -> None:
    ends = np.concatenate([shape.low, shape.high, shape.estimate, [0.0]])
    ends = ends[np.isfinite(ends)]
    air = 0.08 * max(float(np.ptp(ends)), 1.0)
    left, right = float(ends.min()) - air, float(ends.max()) + air
    for j in range(1, len(shape.types), 2):
        ax.axhspan(j - 0.5, j + 0.5, color="0.96", linewidth=0, zorder=0)
    ax.axvline(0.0, color="0.6", linewidth=0.6, zorder=1)
    for j, estimate in enumerate(shape.estimate):
        if not np.isfinite(estimate):
            ax.text(0.0, j, f" {shape.note[j]}", va="center", fontsize=0.75 * base, color="0.45")
            continue
        color = (UP if estimate > 0 else DOWN) if shape.significant[j] else REST
        ax.plot([max(shape.low[j], left), min(shape.high[j], right)], [j, j], color=color, linewidth=1.0, zorder=2)
        for end, limit, marker in ((shape.low[j], left, "<"), (shape.high[j], right, ">")):
            if not np.isfinite(end):
                ax.plot([limit], [j], marker=marker, ms=3.5, color=color, clip_on=False, zorder=2)
        face = color if shape.significant[j] else "white"
        ax.plot([estimate], [j], marker="o", ms=4.5, mfc=face, mec=color, mew=0.9, zorder=3)
        if shape.note[j]:
            ax.text(estimate, j - 0.18, shape.note[j], ha="center", va="bottom", fontsize=0.65 * base, color="0.35")
    ax.set_xlim(left, right)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    ax.set_ylim(len(shape.types) - 0.5, -0.5)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(fold_change_label(shape.words, width=_WIDTHS[1]), fontsize=base)
    relative = {"robust": "most types", "total": "all cells"}.get(
        shape.table.reference, plain(", ".join(shape.table.reference_types[:2]))
    )
    ax.set_title(f"relative to {relative}", fontsize=0.75 * base, color="0.35", loc="left")
    ax.set_title(f"filled: {threshold_words(alpha)}", fontsize=0.75 * base, color="0.35", loc="right")
