"""Draw all checks of a model on one page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._arrays import ObjectArray
from .._errors import InputError
from ._diagnostics import random_effect_qq, residual_histogram, residual_qq, residuals
from ._influence import influence
from ._model import fitted_model
from ._shared import documented, write_and_show
from ._style import FONT, PAGE, grid_of_axes, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from ..models.fitted import MixedFit

_HEIGHT = 4.6  # inches
_N_PANELS = 6


@documented
def diagnostics(
    data: AnnData | MixedFit,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    term: str | None = None,
    seed: int = 0,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Sequence[Axes] | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> ObjectArray:
    """Draw all checks of one fitted model: residuals, random effects, and influence of each group.

    The panels show the residuals against the fitted values; their histogram; their quantiles; the quantiles of the
    random effects; marginal quantile residuals, from data simulated with new random effects; and Cook's distance of
    each group, from a refit without it. For counts and trials, the residuals are randomised quantile residuals.

    Parameters
    ----------
    |model|
    term
        What is left out for the influence: a grouping factor of the model, or any column of its data. Default: the
        grouping factor with the most levels.
    seed
        Seed for the random numbers of quantile residuals.
    |gene_symbols|
    title
        Title instead of gene and formula; ``""`` for none.
    ax
        Six axes to draw into. Default: those of a new figure, as wide as a journal page.
    |file|

    Returns
    -------
    numpy.ndarray
        The six axes.

    Raises
    ------
    |no_model|

    Examples
    --------
    |blocks|
    >>> sc_glmm.pl.diagnostics(sc_glmm.lmer("y ~ 1 + (1|block)", frame)).shape
    (6,)
    """
    shown = fitted_model(data, gene, key, group, gene_symbols)
    if ax is not None:
        axes: ObjectArray = np.array(list(ax), dtype=object)
        if len(axes) != _N_PANELS:
            raise InputError(
                f"ax holds {len(axes)} axes; pass {_N_PANELS} axes to diagnostics, or omit ax= for a new figure"
            )
        _draw(shown.fit, term, seed, axes)
    else:
        axes = grid_of_axes(2, 3, (PAGE, _HEIGHT)).ravel()
        with plt.rc_context({"font.size": FONT}):
            _draw(shown.fit, term, seed, axes)
    words = plain(title) if title is not None else ": ".join(filter(None, [shown.title, plain(shown.fit.formula)]))
    if ax is None or title:
        axes[0].get_figure(root=True).suptitle(words, fontsize=FONT, x=0.01, ha="left")
    write_and_show(axes[0], save, show)
    return axes


def _draw(fit: MixedFit, term: str | None, seed: int, axes: ObjectArray) -> None:
    residuals(fit, seed=seed, ax=axes[0])
    residual_histogram(fit, seed=seed, ax=axes[1])
    residual_qq(fit, seed=seed, ax=axes[2])
    random_effect_qq(fit, ax=axes[3])
    residual_qq(fit, kind="marginal", seed=seed, ax=axes[4])
    influence(fit, term=term, ax=axes[5])
