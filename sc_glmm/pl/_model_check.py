"""The figure of a model check: everything that one looks at first, on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from .._errors import InputError
from ._diagnostics import check_model, random_effect_qq, residual_histogram, residual_qq, residuals
from ._influence import influence
from ._style import FONT, PAGE, grid_of_axes, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ..models.fitted import MixedFit

_HEIGHT = 4.6  # inches
_N_PANELS = 6


def diagnostics(
    data: MixedFit, *, group: str | None = None, seed: int = 0, ax: Sequence[Axes] | None = None
) -> npt.NDArray[np.object_]:
    """Check one fitted model: residuals, their distribution, random effects, influence of each group.

    Panels: residuals against fitted values; their histogram; their quantiles; quantiles of the random effects;
    marginal quantile residuals, from data simulated with new random effects; Cook's distance of each group, for which
    the model is fitted again without it. For counts and trials the residuals are randomised quantile residuals.

    Parameters
    ----------
    data
        A fitted model: of :func:`sc_glmm.lmer`, :func:`sc_glmm.glmer` or :func:`sc_glmm.tl.refit`.
    group
        What is left out for the influence: a grouping factor of the model (by default the one with most levels), or
        any column of its data.
    seed
        Seed of the random numbers in quantile residuals.
    ax
        Six axes to draw in; by default those of a new figure, as wide as a journal page.

    Returns
    -------
    numpy.ndarray
        The six axes.

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> frame = pd.DataFrame({"y": [3.1, 4.2, 5.0, 6.3, 1.2, 2.5, 8.1, 7.7], "block": list("aabbccdd")})
    >>> sc_glmm.pl.diagnostics(sc_glmm.lmer("y ~ 1 + (1|block)", frame)).shape
    (6,)
    """
    check_model(data)
    if ax is not None:
        given: npt.NDArray[np.object_] = np.array(list(ax), dtype=object)
        if len(given) != _N_PANELS:
            raise InputError(f"ax holds {len(given)} axes; diagnostics draws in {_N_PANELS}, or makes them itself")
        _draw(data, group, seed, given)
        return given
    axes = grid_of_axes(2, 3, (PAGE, _HEIGHT)).ravel()
    with plt.rc_context({"font.size": FONT}):
        _draw(data, group, seed, axes)
        axes[0].figure.suptitle(plain(data.formula), fontsize=FONT, x=0.01, ha="left")
    return axes


def _draw(data: MixedFit, group: str | None, seed: int, axes: npt.NDArray[np.object_]) -> None:
    residuals(data, seed=seed, ax=axes[0])
    residual_histogram(data, seed=seed, ax=axes[1])
    residual_qq(data, seed=seed, ax=axes[2])
    random_effect_qq(data, ax=axes[3])
    residual_qq(data, kind="marginal", seed=seed, ax=axes[4])
    influence(data, group=group, ax=axes[5])
