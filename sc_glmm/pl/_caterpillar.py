"""Draw the random effects of one model, sorted, with their intervals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from scipy.stats import norm

from ._model import ModelToPlot, model_and_title, varying_term
from ._numbers.samples import Intercepts, random_intercepts
from ._shared import documented, finish
from ._style import COLUMN, DATA, PALETTE, axes_to_draw, plain, say_no_variance

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from ..models.fitted import MixedFit

_ROW = 0.13  # inches: a row of small text
_MOST_NAMES = 60


@documented
def caterpillar(
    data: AnnData | MixedFit,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    term: str | None = None,
    column: str | None = None,
    by: str | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the random effects of one gene, smallest first, with 95 % intervals.

    The intervals are conditional on the parameters (mode plus and minus 1.96 conditional standard deviations). Check a
    sample that lies far from all others. In a separated gene, some samples have a fitted mean of zero and carry no
    information about their effects. They are drawn hollow, with the intervals of the model.

    Parameters
    ----------
    |model|
    term
        Grouping factor. Default: the one with the most levels among those with a variance above zero.
    column
        Which of its effects, such as a slope. Default: the first.
    by
        Factor of the fixed effects that colours the levels. Default: the first that is constant within levels.
    |gene_symbols|
    |drawing_model|

    Examples
    --------
    |blocks|
    >>> fit = sc_glmm.lmer("y ~ 1 + (1|block)", frame)
    >>> [label.get_text() for label in sc_glmm.pl.caterpillar(fit).get_yticklabels()]
    ['c', 'a', 'b', 'd']
    """
    shown = model_and_title(data, gene, key, group, gene_symbols)
    shape = random_intercepts(shown.gene, group=term or varying_term(shown.gene.fit), column=column, by=by)
    n = len(shape.names)
    if not (shape.mode.any() or shape.sd.any()):
        return _say_no_variance(shown, shape, title, ax, save, show)
    ax, base = axes_to_draw(ax, (COLUMN, 0.75 + min(_ROW * n, 6.0)))
    half = float(norm.ppf(0.975)) * shape.sd
    colors = np.array([PALETTE[i % len(PALETTE)] if i >= 0 else DATA for i in shape.level])
    rows = np.arange(n)
    ax.axvline(0.0, color="0.6", linewidth=0.6, zorder=1)
    ax.hlines(rows, shape.mode - half, shape.mode + half, colors=list(colors), linewidth=0.9, zorder=2)
    ax.scatter(
        shape.mode,
        rows,
        s=12.0,
        c=np.where(shape.silent, "white", colors),
        edgecolors=list(colors),
        linewidths=0.8,
        zorder=3,
    )
    ax.set_ylim(-0.8, n - 0.2)
    if n <= _MOST_NAMES:
        ax.set_yticks(rows, [plain(name) for name in shape.names], fontsize=0.75 * base)
    else:
        ax.set_yticks([])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    what = f"{shape.group} effect" if shape.column == "Intercept" else f"{shape.group} effect, {shape.column}"
    scale = {"gaussian": "", "binomial": " (log odds)"}.get(shown.gene.fit.family, " (natural log)")
    ax.set_xlabel(plain(what) + scale, fontsize=base)
    ax.set_title(shown.title, fontsize=base, loc="left")
    if shape.levels:
        handles = [
            Line2D(
                [], [], linestyle="none", marker="o", ms=3.5, mew=0, color=PALETTE[i % len(PALETTE)], label=plain(level)
            )
            for i, level in enumerate(shape.levels)
            if (shape.level == i).any()
        ]
        ax.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=min(len(handles), 4),
            frameon=False,
            fontsize=0.8 * base,
            handletextpad=0.1,
            columnspacing=1.0,
            borderaxespad=0.1,
        )
    return finish(ax, title, save, show)


def _say_no_variance(
    shown: ModelToPlot,
    shape: Intercepts,
    title: str | None,
    ax: Axes | None,
    save: str | os.PathLike[str] | None,
    show: bool | None,
) -> Axes:
    """Write one line of text instead of a column of zeros."""
    ax, base = axes_to_draw(ax, (COLUMN, 0.8))
    say_no_variance(ax, shape.group, len(shape.names), base)
    ax.set_title(shown.title, fontsize=base, loc="left")
    return finish(ax, title, save, show)
