"""Draw how much genes vary within and between samples, against their abundance."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke

from .._errors import InputError
from ._numbers.frames import group_column, levels_of
from ._numbers.spread import dispersion_trend, variance_spread
from ._shared import documented, finish
from ._style import COLUMN, DATA, FLAG, RASTER_FROM, REST, axes_to_draw, plain

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_SIZE = (COLUMN, 2.6)
# Dispersions below this fraction of the median count as zero.
_TINY = 1e-3


@documented
def dispersion(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    what: str = "dispersion",
    group: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    r"""Draw the variation of genes against their mean count: within samples, or between samples.

    Within samples, this is the dispersion :math:`\phi` of :math:`\mu + \phi \mu^2`. The line is the running median of
    the genes with enough counts for an estimate of their own. Genes with fewer counts (grey) take their value from the
    trend.

    Between samples, this is the standard deviation of the random effects (natural log: 0.2 is about 20 %): its
    posterior mean, or the gene's own estimate for a factor without a prior. The solid line is the mean of the prior
    that the moderated tests estimate from all genes; the dashed line is its 95 % quantile. Coloured genes vary more
    than genes of their abundance, and their p-values tend to be too small.

    Parameters
    ----------
    data
        An AnnData after :func:`sc_glmm.tl.test`, or a data frame from :func:`sc_glmm.get.fit_info`. Only the AnnData
        contains the lines of the prior.
    |key|
    what
        ``"dispersion"``, or the grouping factor whose random effects are drawn, such as ``"sample"``.
    |group|
    |drawing|

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> frame = pd.DataFrame({"variable": ["A", "B"], "mean": [0.3, 2.0], "dispersion": [0.8, 0.3]})
    >>> sc_glmm.pl.dispersion(frame).get_ylabel()
    'dispersion $\\phi$'
    """
    info, prior, names = _facts(data, key, group)
    if "mean" not in info:
        raise InputError(f"dispersion needs the column 'mean'; the data frame has {list(info.columns)}.")
    if what == "dispersion":
        ax, base = axes_to_draw(ax, _SIZE)
        _draw_dispersion(ax, info, base)
    else:
        shape = variance_spread(info, prior, names, what)
        ax, base = axes_to_draw(ax, _SIZE)
        raster = len(shape.mean) > RASTER_FROM
        for odd, color, size in ((False, REST, 5.0), (True, FLAG, 9.0)):
            i = shape.surprising == odd
            ax.scatter(shape.mean[i], shape.sd[i], s=size, color=color, linewidths=0, rasterized=raster, zorder=2)
        if len(shape.at):
            ax.plot(shape.at, shape.centre, color="0.1", linewidth=1.2, zorder=3, label="prior: mean")
            ax.plot(
                shape.at, shape.limit, color="0.1", linewidth=0.8, linestyle=(0, (4, 3)), zorder=3, label="prior: 95 %"
            )
        if shape.surprising.any():
            n = int(shape.surprising.sum())
            ax.scatter([], [], s=9.0, color=FLAG, linewidths=0, label=f"more variable ({n:,})")
        highest = max(np.quantile(shape.sd, 0.999), shape.centre.max(initial=0.0))
        ax.set_ylim(0.0, 1.12 * float(highest) if highest > 0.0 else 1.0)
        ax.set_ylabel(f"SD of {plain(shape.group)} effects (natural log)", fontsize=base)
    ax.set_xscale("log")
    ax.set_xlabel("mean count per cell", fontsize=base)
    raised = _legend(ax, base)
    if group is not None:
        ax.set_title(plain(group), fontsize=base, loc="left", pad=2.0 * base if raised else None)
    return finish(ax, title, save, show)


def _draw_dispersion(ax: Axes, info: pd.DataFrame, base: float) -> None:
    shape = dispersion_trend(info)
    own = ~shape.from_trend
    raster = len(shape.mean) > RASTER_FROM
    # A dispersion at the lower limit of its range means zero, and would compress the axis.
    tiny = own & (shape.dispersion < _TINY * np.median(shape.dispersion))
    floor = 0.5 * float(shape.dispersion[~tiny].min())
    top = 1.6 * float(shape.dispersion.max())
    for kind, color, order, words in (
        (own & ~tiny, DATA, 2, ""),
        (shape.from_trend, REST, 1, f"from the trend ({int((~own).sum()):,})"),
    ):
        if kind.any():
            ax.scatter(
                shape.mean[kind],
                shape.dispersion[kind],
                s=5.0,
                color=color,
                linewidths=0,
                rasterized=raster,
                zorder=order,
                label=words or None,
            )
    if tiny.any():
        ax.scatter(
            shape.mean[tiny],
            np.full(int(tiny.sum()), floor),
            s=7.0,
            marker="v",
            color=DATA,
            linewidths=0,
            rasterized=raster,
            zorder=2,
            label=f"none ({int(tiny.sum()):,})",
        )
    if len(shape.at):
        halo = [withStroke(linewidth=2.6, foreground="white")]
        ax.plot(shape.at, shape.trend, color="0.1", linewidth=1.2, zorder=3, label="running median", path_effects=halo)
    ax.set_yscale("log")
    ax.set_ylim(0.8 * floor, top)
    ax.set_ylabel(r"dispersion $\phi$", fontsize=base)


def _legend(ax: Axes, base: float) -> bool:
    """Draw the legend above the axes, where it covers no gene; return whether there is one."""
    handles, names = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles,
            names,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=len(handles),
            frameon=False,
            fontsize=0.8 * base,
            handlelength=1.5,
            handletextpad=0.4,
            columnspacing=1.0,
            borderaxespad=0.1,
        )
    return bool(handles)


def _facts(
    data: AnnData | pd.DataFrame, key: str, group: str | None
) -> tuple[pd.DataFrame, Mapping[str, Any], list[str]]:
    """Fits of the genes of one group, its prior, and the names of the variances of the prior."""
    prior: Mapping[str, Any] = {}
    names: list[str] = []
    if isinstance(data, pd.DataFrame):
        # A table of results repeats the fit of a gene for each contrast.
        info = data.drop_duplicates([c for c in (group_column(data), "variable") if c in data])
    else:
        from .._adata.mudata import results_in
        from .._adata.stored import read_prior
        from ..get import fit_info

        info = fit_info(data, key=key)
        prior, names = read_prior(*results_in(data, key), group)
    column = group_column(info)
    if column is None:
        return info, prior, names
    known = levels_of(info[column])
    if group not in known:
        raise InputError(f"dispersion draws one {column}: group={group!r} is not one of {known}.")
    return info[info[column].astype(str) == group], prior, names
