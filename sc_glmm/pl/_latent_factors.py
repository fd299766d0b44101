"""Draw hidden factors: samples in the plane of the first two, and correlations with known columns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd

from .._adata.latent import read_factors
from .._display.arguments import suggest
from .._errors import InputError
from ..get import latent_factors as report_of
from ..get._latent_factors import sample_columns
from ._shared import documented, finish
from ._style import FONT, PALETTE, axes_to_draw, grid_of_axes, plain

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_PANEL = (3.35, 2.7)  # inches
_MOST_LEVELS = len(PALETTE)


@documented
def latent_factors(
    data: AnnData,
    *,
    color: str | None = None,
    key: str = "latent",
    group: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the samples in the plane of the first two hidden factors, and the correlations of all factors.

    If a factor correlates with depth, number of cells or a recorded column of the samples, that column is its likely
    source. If it correlates with the tested column, it reduces the power of the test.

    Parameters
    ----------
    data
        Annotated data after :func:`sc_glmm.pp.latent_factors`.
    color
        Column of ``obs`` that colours the samples: numeric, or constant within samples. Default: the first column with
        few levels.
    key
        `key_added` of the factors.
    group
        Level of `groupby`. Default: the first with a factor.
    title
        Title instead of the group; ``""`` for none.
    ax
        Axes for the samples; the correlations are then not drawn. Default: a new figure with both.
    |file|

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the samples; the axes of the correlations come next in the figure.

    Raises
    ------
    InputError
        If there are no hidden factors under `key` or in this group, or if `color` does not differ between samples.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=1200, n_genes=100, seed=0)
    >>> sc_glmm.pp.latent_factors(adata, "counts ~ disease + (1|sample)", n_factors=2)
    >>> sc_glmm.pl.latent_factors(adata, color="disease").get_xlabel()
    'latent_1'
    """
    report = report_of(data, key, group=group)
    if len(report) == 0:
        raise InputError(f"there is no hidden factor{'' if group is None else f' in {group!r}'} to draw (key={key!r})")
    group = str(report["group"].iloc[0])
    report = report[report["group"] == group].reset_index(drop=True)
    entry = read_factors(data, key)
    known = sample_columns(data, entry, group)
    samples = entry["samples"][entry["samples"]["group"].astype(str) == group]
    if ax is None:
        ax, right = grid_of_axes(1, 2, (2 * _PANEL[0], _PANEL[1]))[0]
        _draw_correlations(right, report, FONT)
    ax, base = axes_to_draw(ax, _PANEL)
    _draw_samples(ax, samples, report, _coloring(known, color), base)
    if group:
        ax.set_title(plain(group), loc="left", fontsize=base)
    return finish(ax, title, save, show)


def _coloring(known: dict[str, pd.Series], color: str | None) -> tuple[str, pd.Series] | None:
    """Name and values of the column that colours the samples."""
    if color is None:
        few = [name for name, values in known.items() if isinstance(values.dtype, pd.CategoricalDtype)]
        return (few[0], known[few[0]]) if few else None
    if color not in known:
        raise InputError(f"color={color!r} is not a column that differs between samples{suggest(color, known)}")
    return color, known[color]


def _draw_samples(
    ax: Axes, samples: pd.DataFrame, report: pd.DataFrame, coloring: tuple[str, pd.Series] | None, base: float
) -> None:
    x = samples["factor_1"].to_numpy(dtype=np.float64)
    two = len(report) > 1
    # a single factor is drawn against the depth of the samples, its most likely source
    y = samples["factor_2" if two else "log_depth"].to_numpy(dtype=np.float64)
    size = 0.35 * base**2
    if coloring is None:
        ax.scatter(x, y, s=size, color=PALETTE[0], linewidths=0)
    elif isinstance(coloring[1].dtype, pd.CategoricalDtype) and len(coloring[1].cat.categories) <= _MOST_LEVELS:
        name, values = coloring
        for level, shade in zip(values.cat.categories, PALETTE, strict=False):
            of_level = (values == level).to_numpy()
            ax.scatter(x[of_level], y[of_level], s=size, color=shade, linewidths=0, label=plain(str(level)))
        ax.legend(
            title=plain(name), fontsize=0.875 * base, title_fontsize=0.875 * base, frameon=False, handletextpad=0.2
        )
    else:
        name, values = coloring
        numbers = values.cat.codes if isinstance(values.dtype, pd.CategoricalDtype) else values
        points = ax.scatter(x, y, s=size, c=np.asarray(numbers, dtype=np.float64), cmap="viridis", linewidths=0)
        bar = ax.figure.colorbar(points, ax=ax, aspect=30)
        bar.set_label(plain(name), fontsize=0.875 * base)
        bar.ax.tick_params(labelsize=0.75 * base, width=0.5, length=2)
        bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    ax.axhline(0.0 if two else float(np.mean(y)), color="0.85", linewidth=0.6, zorder=0)
    ax.axvline(0.0, color="0.85", linewidth=0.6, zorder=0)
    ax.set_xlabel(plain(str(report["factor"].iloc[0])))
    ax.set_ylabel(plain(str(report["factor"].iloc[1])) if two else "log depth of the sample")


def _draw_correlations(ax: Axes, report: pd.DataFrame, base: float) -> None:
    columns = [name for name in report.columns if name.startswith("r_")]
    values = report[columns].to_numpy(dtype=np.float64).T
    colors = mpl.colormaps["RdBu_r"].with_extremes(bad="0.88")
    ax.imshow(values, cmap=colors, vmin=-1.0, vmax=1.0, aspect="auto", interpolation="none")
    for (i, j), value in np.ndenumerate(values):
        shade = "1.0" if abs(value) > 0.6 else "0.15"
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=0.75 * base, color=shade)
    labels = ["tested columns" if name == "r_tested" else plain(name[2:]) for name in columns]
    ax.set_yticks(range(len(columns)), labels, fontsize=0.875 * base)
    ax.set_xticks(range(len(report)), [plain(str(name)) for name in report["factor"]], fontsize=0.875 * base)
    ax.tick_params(length=0, pad=2)
    ax.spines[:].set_visible(False)
    ax.set_title("correlation over samples", loc="left", fontsize=base)
