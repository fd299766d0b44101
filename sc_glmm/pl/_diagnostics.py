"""Draw residuals and random effects of one fitted model, compared with what they should be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import stats

from .._arrays import FloatArray
from .._display.arguments import check_choice
from .._errors import InputError
from ..models.diagnostics import effects_frame, quantile_residuals
from ._model import effect_sds, fitted_model, name_model, varying_term
from ._shared import documented, finish
from ._style import COLUMN, DATA, PALETTE, RASTER_FROM, axes_to_draw, plain, say_no_variance

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from ..models.fitted import MixedFit

Kind = Literal["scaled", "quantile", "marginal"]

_SIZE = (COLUMN, 2.4)
_SQUARE = (2.6, 2.6)
# Maximum number of dots in a quantile plot; beyond it, dots in the middle overlap.
_MOST_DOTS = 3000
# Offset, in normal quantiles, between the intervals of several effects.
_DODGE = 0.05
_LABELS = {
    "scaled": "scaled residual",
    "quantile": "quantile residual",
    "marginal": "quantile residual, marginal",
}


@documented
def residuals(
    data: AnnData | MixedFit,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    kind: Kind | None = None,
    seed: int = 0,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the residuals against the fitted values.

    They should scatter around zero with the same width everywhere. The line joins their medians in slices with equal
    numbers of observations. If it bends, the mean of the model is wrong; if the width changes, the variance is wrong.

    Parameters
    ----------
    |model|
    kind
        ``"scaled"`` (default for Gaussian models): Pearson residuals divided by sigma. ``"quantile"`` (default for
        counts and trials): randomised quantile residuals, given the estimated random effects. ``"marginal"``: the same,
        compared with data simulated with new random effects; see :func:`sc_glmm.models.quantile_residuals`.
    seed
        Seed for the random numbers of quantile residuals.
    |gene_symbols|
    |drawing_model|

    Examples
    --------
    |blocks|
    >>> sc_glmm.pl.residuals(sc_glmm.lmer("y ~ 1 + (1|block)", frame)).get_ylabel()
    'scaled residual'
    """
    shown = fitted_model(data, gene, key, group, gene_symbols)
    kind, values = _residuals(shown.fit, kind, seed)
    ax, base = axes_to_draw(ax, _SIZE)
    x = shown.fit.fitted()
    log = shown.fit.family in ("poisson", "nb")
    ax.axhline(0.0, color="0.4", linewidth=0.7, zorder=1)
    ax.scatter(
        x,
        values,
        s=max(2.0, min(9.0, 2000.0 / len(x))),
        color=DATA,
        alpha=0.5 if len(x) > 100 else 0.8,
        linewidths=0,
        zorder=2,
        rasterized=len(x) > RASTER_FROM,
    )
    middle, height = _running_median(np.log(np.maximum(x, 1e-300)) if log else x, values)
    if len(middle) > 2:
        ax.plot(np.exp(middle) if log else middle, height, color="0.1", linewidth=1.2, zorder=3)
    if log and x.max() > 20.0 * max(x.min(), 1e-300):
        ax.set_xscale("log")
    ax.set_xlabel(
        {"binomial": "fitted probability", "gaussian": "fitted value"}.get(shown.fit.family, "fitted mean"),
        fontsize=base,
    )
    ax.set_ylabel(_LABELS[kind], fontsize=base)
    name_model(ax, shown, base)
    return finish(ax, title, save, show)


@documented
def residual_histogram(
    data: AnnData | MixedFit,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    kind: Kind | None = None,
    bins: int | None = None,
    seed: int = 0,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw a histogram of the residuals, with the normal density that they should follow.

    Parameters
    ----------
    |model|
    |residuals|
    bins
        Number of bins. Default: the square root of the number of observations, at most 50.
    |gene_symbols|
    |drawing_model|

    Examples
    --------
    |blocks|
    >>> ax = sc_glmm.pl.residual_histogram(sc_glmm.lmer("y ~ 1 + (1|block)", frame), bins=4)
    >>> len(ax.lines)
    1
    """
    shown = fitted_model(data, gene, key, group, gene_symbols)
    kind, values = _residuals(shown.fit, kind, seed)
    ax, base = axes_to_draw(ax, _SIZE)
    n = int(np.clip(np.sqrt(len(values)), 5, 50)) if bins is None else bins
    heights, edges = np.histogram(values, n, density=True)
    ax.stairs(heights, edges, fill=True, color=DATA, alpha=0.35)
    ax.stairs(heights, edges, color=DATA, linewidth=0.8)
    ends = max(3.2, float(np.abs(edges).max()))
    x = np.linspace(-ends, ends, 201)
    ax.plot(x, stats.norm.pdf(x), color="0.1", linewidth=1.2)
    ax.set_ylim(0.0, None)
    ax.set_xlabel(_LABELS[kind], fontsize=base)
    ax.set_ylabel("density", fontsize=base)
    name_model(ax, shown, base)
    return finish(ax, title, save, show)


@documented
def residual_qq(
    data: AnnData | MixedFit,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    kind: Kind | None = None,
    seed: int = 0,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the quantiles of the residuals against those of the normal distribution.

    The band contains 95 % of each order statistic of independent normal numbers. Marginal residuals of one group are
    not independent: if there are few groups, all dots of a group may leave the band together.

    Parameters
    ----------
    |model|
    |residuals|
    |gene_symbols|
    |drawing_model|

    Examples
    --------
    |blocks|
    >>> sc_glmm.pl.residual_qq(sc_glmm.lmer("y ~ 1 + (1|block)", frame)).get_xlabel()
    'normal quantile'
    """
    shown = fitted_model(data, gene, key, group, gene_symbols)
    kind, values = _residuals(shown.fit, kind, seed)
    ax, base = axes_to_draw(ax, _SQUARE)
    _quantiles(ax, np.sort(values), 1.0, DATA)
    ax.set_xlabel("normal quantile", fontsize=base)
    ax.set_ylabel(_LABELS[kind], fontsize=base)
    name_model(ax, shown, base)
    return finish(ax, title, save, show)


@documented
def random_effect_qq(
    data: AnnData | MixedFit,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    term: str | None = None,
    column: str | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the quantiles of the random effects against the normal distribution, with conditional intervals.

    Random effects are shrunken, so they spread less than the standard deviation of the model (the line). Their course
    should be straight, and no level should lie far from all others.

    Parameters
    ----------
    |model|
    term
        Grouping factor. Default: the one with the most levels among those with a variance above zero.
    column
        Which of its effects, such as a slope. Default: all, in units of their standard deviations.
    |gene_symbols|
    |drawing_model|

    Examples
    --------
    |blocks|
    >>> sc_glmm.pl.random_effect_qq(sc_glmm.lmer("y ~ 1 + (1|block)", frame)).get_ylabel()
    'block effect / SD'
    """
    shown = fitted_model(data, gene, key, group, gene_symbols)
    frame = effects_frame(shown.fit)
    groups = list(dict.fromkeys(frame["group"]))
    factor = (varying_term(shown.fit) or groups[0]) if term is None else term
    if factor not in groups:
        raise InputError(f"term={term!r}: the model has random effects of {groups}")
    frame = frame[frame["group"] == factor]
    effects = list(dict.fromkeys(frame["effect"]))
    if column is not None:
        if column not in effects:
            raise InputError(f"column={column!r}: the random effects of {factor!r} are {effects}")
        effects = [column]
    ax, base = axes_to_draw(ax, _SQUARE)
    sds = effect_sds(shown.fit, factor)
    drawn = 0
    for i, effect in enumerate(effects):
        own = frame[frame["effect"] == effect].sort_values("mode")
        if not sds[effect] > 0.0:
            continue
        mode, half = own["mode"].to_numpy() / sds[effect], 1.96 * own["sd"].to_numpy() / sds[effect]
        x = stats.norm.ppf((np.arange(len(own)) + 0.5) / len(own)) + _DODGE * (i - (len(effects) - 1) / 2)
        color = PALETTE[i % len(PALETTE)] if len(effects) > 1 else DATA
        ax.vlines(x, mode - half, mode + half, color=color, linewidth=0.6, alpha=0.5, zorder=2)
        ax.scatter(x, mode, s=10.0, color=color, linewidths=0, zorder=3, label=plain(effect))
        drawn += 1
    name_model(ax, shown, base)
    if drawn == 0:
        say_no_variance(ax, factor, len(frame) // len(effects), base)
        return finish(ax, title, save, show)
    ax.axline((0.0, 0.0), slope=1.0, color="0.4", linewidth=0.7, zorder=1)
    if len(effects) > 1:
        ax.legend(frameon=False, fontsize=0.8 * base, loc="upper left", handletextpad=0.1, borderaxespad=0.1)
    ax.set_xlabel("normal quantile", fontsize=base)
    ax.set_ylabel(plain(f"{factor} effect / SD"), fontsize=base)
    return finish(ax, title, save, show)


def _residuals(data: MixedFit, kind: Kind | None, seed: int) -> tuple[Kind, FloatArray]:
    chosen: Any = ("scaled" if data.family == "gaussian" else "quantile") if kind is None else kind
    check_choice("kind", chosen, _LABELS)
    if chosen == "scaled":
        return chosen, data.residuals("pearson", scaled=True)
    return chosen, quantile_residuals(data, marginal=chosen == "marginal", seed=seed)


def _running_median(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Medians of y in slices of x with equal numbers of observations; equal values share a slice."""
    slices = np.array_split(np.argsort(x, kind="stable"), int(np.clip(len(x) // 12, 1, 20)))
    middle = np.array([np.median(x[one]) for one in slices])
    height = np.array([np.median(y[one]) for one in slices])
    kept = np.concatenate([[True], np.diff(middle) > 0.0])
    return middle[kept], height[kept]


def _quantiles(ax: Axes, ordered: FloatArray, slope: float, color: str) -> None:
    """Ordered values and normal quantiles, with the band for independent values."""
    n = len(ordered)
    rank = np.arange(1, n + 1)
    if n > _MOST_DOTS:
        # all values of the tails, and some of the middle
        tail = _MOST_DOTS // 3
        rank = np.unique(
            np.concatenate([rank[:tail], np.linspace(tail, n - tail, tail).astype(np.int64), rank[-tail:]])
        )
    x = stats.norm.ppf((rank - 0.5) / n)
    low, high = (stats.norm.ppf(stats.beta.ppf(q, rank, n + 1 - rank)) for q in (0.025, 0.975))
    ax.fill_between(x, slope * low, slope * high, color="0.85", linewidth=0, zorder=1)
    ax.axline((0.0, 0.0), slope=slope, color="0.4", linewidth=0.7, zorder=2)
    ax.scatter(x, ordered[rank - 1], s=6.0, color=color, linewidths=0, zorder=3, rasterized=len(rank) > RASTER_FROM)
