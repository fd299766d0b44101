"""Draw how a model changes when one group of observations is left out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .._errors import InputError
from ..models.influence import Influence
from ..models.influence import influence as leave_one_out
from ._model import fitted_model, name_model
from ._numbers.samples import natural_key
from ._shared import documented, finish
from ._style import COLUMN, DATA, FLAG, axes_to_draw, plain

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from ..models.fitted import MixedFit

_ROW = 0.13  # inches: a row of small text
_MOST_ROWS = 40
_FEWEST_ROWS = 5
# A squared change of about one, in the metric of the covariance, changes all effects by their standard errors.
LARGE = 1.0


@documented
def influence(
    data: AnnData | MixedFit | Influence,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    term: str | None = None,
    effect: str | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the influence of each group: Cook's distance, or the estimate of one effect without the group.

    Parameters
    ----------
    |model|
    term
        What is left out, one level at a time: a grouping factor of the model, or any column of its data. Default: the
        grouping factor with the most levels. `data` may also be the result of ``fit.influence()``.
    effect
        Fixed effect: draws its estimate without each group, next to the estimate from all data with its 95 % interval
        (the band). Default: Cook's distance.
    |gene_symbols|
    |axes_and_file|

    Returns
    -------
    matplotlib.axes.Axes
        The axes; groups with the largest change are on top. At most 40 groups are drawn, or as many as fit the given
        axes, and a line of text states how many were left out.

    Raises
    ------
    |no_model|

    Examples
    --------
    |blocks|
    >>> ax = sc_glmm.pl.influence(sc_glmm.lmer("y ~ 1 + (1|block)", frame))
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['b', 'a', 'c', 'd']
    """
    shown = None
    if isinstance(data, Influence):
        found = data
    else:
        shown = fitted_model(data, gene, key, group, gene_symbols)
        found = leave_one_out(shown.fit, term)
    names = list(found.estimates.columns)
    if effect is not None and effect not in names:
        raise InputError(f"effect={effect!r}: the fixed effects are {names}")
    values = found.cooks_distance if effect is None else found.dfbetas[effect].abs()
    n_rows = min(_MOST_ROWS, len(values))
    given = ax is not None
    ax, base = axes_to_draw(ax, (COLUMN, 0.75 + _ROW * n_rows))
    if given:
        n_rows = min(n_rows, max(_room(ax, 0.75 * base), _FEWEST_ROWS))
    # Ties are in natural order (S2 before S10).
    values = values.loc[sorted(values.index, key=natural_key)]
    order = values.sort_values(ascending=False, na_position="first", kind="stable").index[:n_rows][::-1]
    rows = np.arange(len(order))
    if effect is None:
        cooks = found.cooks_distance.loc[order].to_numpy(dtype=np.float64)
        ax.hlines(rows, 0.0, cooks, color=DATA, linewidth=0.9, zorder=2)
        ax.scatter(cooks, rows, s=12.0, c=np.where(cooks > LARGE, FLAG, DATA), linewidths=0, zorder=3)
        ax.set_xlim(0.0, 1.08 * max(float(np.nanmax(cooks)) if np.isfinite(cooks).any() else 1.0, 1e-12))
        if ax.get_xlim()[1] > LARGE:
            ax.axvline(LARGE, color="0.6", linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
        ax.set_xlabel("Cook's distance", fontsize=base)
    else:
        without = found.estimates[effect].loc[order].to_numpy(dtype=np.float64)
        change = found.dfbetas[effect].loc[order].to_numpy(dtype=np.float64)
        whole, half = float(found.whole[effect]), 1.96 * float(found.se[effect])
        ax.axvspan(whole - half, whole + half, color="0.9", linewidth=0, zorder=0)
        ax.axvline(whole, color="0.4", linewidth=0.7, zorder=1)
        ax.hlines(rows, whole, without, color=DATA, linewidth=0.9, zorder=2)
        ax.scatter(without, rows, s=12.0, c=np.where(np.abs(change) > LARGE, FLAG, DATA), linewidths=0, zorder=3)
        ax.set_xlabel(plain(f"{effect} without each {found.group}"), fontsize=base)
    for row, level in enumerate(order):
        if found.message[level]:
            ax.text(
                0.02, row, "no model without it", transform=ax.get_yaxis_transform(), fontsize=0.75 * base, va="center"
            )
    ax.set_yticks(rows, [plain(str(level)) for level in order], fontsize=0.75 * base)
    ax.set_ylim(-0.8, len(order) - 0.2)
    ax.tick_params(axis="y", length=0)
    ax.set_ylabel(plain(found.group), fontsize=base)
    if len(order) < len(found.n_obs):
        ax.set_title(
            f"the {len(order)} largest of {len(found.n_obs)}", fontsize=0.875 * base, loc="right", color="0.35"
        )
    if shown is not None:
        name_model(ax, shown, base)
    return finish(ax, title, save, show)


def _room(ax: Axes, fontsize: float) -> int:
    """Number of lines of small text that fit the height of the axes, which a layout may still reduce."""
    figure = ax.get_figure(root=True)
    if figure is None:
        return _MOST_ROWS
    height = ax.get_position().height * figure.get_size_inches()[1] * 72.0
    return int(height / (1.15 * fontsize))
