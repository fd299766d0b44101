"""Draw one gene for each sample, to show whether a result depends on a single sample."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .._arrays import BoolArray, FloatArray, IntArray
from .._errors import InputError
from ._labels import place_labels
from ._model import model_and_title
from ._numbers.samples import SampleMeans, sample_means
from ._shared import documented, finish
from ._style import COLUMN, DATA, PALETTE, axes_to_draw, draw_titles, plain

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from ..models.fitted import MixedFit


_WIDTH = 0.36  # relative to the distance between two levels: half of the spread of their samples
_AREA = (4.0, 70.0)  # points squared: area of the dots of the smallest and largest samples


@documented
def samples(
    data: AnnData | MixedFit,
    gene: str | None = None,
    *,
    key: str = "glmm",
    group: str | None = None,
    by: str | None = None,
    sample: str | None = None,
    labels: Sequence[str] | bool | None = None,
    log: bool | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the observed and fitted means of one gene, one dot per sample.

    The area of a dot is the number of cells. Bars are the fitted means of the levels with 95 % intervals (given the
    variances). An arrow leads from the fitted mean to the model's estimate for the sample, and shows its random effect.
    The distance from the arrow to the dot is attributed to noise of the counts. If a result depends on a single sample,
    one dot lies far from the others of its level. Lines join samples that share a donor.

    A separated gene has no counts in one level. Its estimated mean there is zero (a broken line), without an interval.
    The title shows the finite end of the interval of the fold change.

    Parameters
    ----------
    |model|
    by
        Column of the fixed effects on the horizontal axis. Default: the first factor, or else the first number, along
        which a line is drawn.
    sample
        Grouping factor whose levels are the dots. Default: the one with the most levels.
    labels
        Names of samples to write next to their dots; ``True`` for all that fit.
    log
        Logarithmic vertical axis. Default: only for counts. A sample without a count is an open triangle on the lower
        border.
    |gene_symbols|
    |drawing_model|

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=50, seed=0)
    >>> frame = adata.obs.assign(y=adata.layers["counts"][:, [4]].toarray().ravel())
    >>> fit = sc_glmm.glmer("y ~ disease + (1|sample)", frame, family="poisson")
    >>> [label.get_text() for label in sc_glmm.pl.samples(fit).get_xticklabels()]
    ['ctl', 'AD']
    """
    shown = model_and_title(data, gene, key, group, gene_symbols)
    shape = sample_means(shown.gene, by=by, sample=sample)
    ax, base = axes_to_draw(ax, (COLUMN, 2.7))
    positive = shape.observed[shape.observed > 0]
    if log is None:
        log = shape.log and len(positive) > 0
    floor = _floor(shape) if log else -np.inf
    x = _places(shape)
    _draw_means(ax, shape, floor)
    _draw_pairs(ax, shape, x, floor)
    _draw_samples(ax, shape, x, floor)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        top = float(np.nanmax(np.concatenate([shape.observed, shape.conditional, shape.mean])))
        ax.set_ylim(0.85 * floor, 1.6 * top)
    if shape.levels:
        ax.set_xlim(-0.55, len(shape.levels) - 0.45)
        ax.tick_params(axis="x", length=0)
        ax.set_xticks(range(len(shape.levels)), [plain(level) for level in shape.levels], fontsize=0.875 * base)
    elif (shape.at == np.round(shape.at)).all():
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.set_xlabel(plain(shape.by), fontsize=base)
    ax.set_ylabel("mean count per cell" if shape.log else "mean", fontsize=base)
    _draw_legend(ax, shape, base, floor)
    draw_titles(ax, shown.title, shown.evidence, base)
    _name_samples(ax, shape, x, floor, labels, base)
    return finish(ax, title, save, show)


def dot_area(n_cells: IntArray | FloatArray, largest: float) -> FloatArray:
    """Area of dots in points squared, proportional to cells except for the smallest."""
    return np.maximum(_AREA[1] * np.asarray(n_cells, dtype=np.float64) / largest, _AREA[0])


def _color(shape: SampleMeans, i: int) -> str:
    return PALETTE[int(shape.at[i]) % len(PALETTE)] if shape.levels else DATA


def _floor(shape: SampleMeans) -> float:
    """Lower border of a logarithmic axis, where samples without a count are drawn."""
    values = np.concatenate([shape.observed, shape.conditional, shape.mean])
    none = bool((shape.observed <= 0).any())
    return (0.6 if none else 0.9) * float(values[values > 0].min())


def _places(shape: SampleMeans) -> FloatArray:
    """Horizontal positions: samples of a level side by side; those of one donor at the same position in every level."""
    if not shape.levels:
        return shape.at
    x = shape.at.copy()
    joined = (shape.pair >= 0).all()
    donors = list(dict.fromkeys(shape.pair[np.argsort(shape.conditional, kind="stable")])) if joined else []
    for level in np.unique(shape.at):
        mine = np.flatnonzero(shape.at == level)
        if joined:
            rank = np.array([donors.index(p) for p in shape.pair[mine]], dtype=np.float64)
            count = len(donors)
        else:
            rank = np.argsort(np.argsort(shape.observed[mine], kind="stable"), kind="stable").astype(np.float64)
            count = len(mine)
        x[mine] = level + _WIDTH * (2.0 * (rank + 0.5) / count - 1.0)
    return x


def _draw_means(ax: Axes, shape: SampleMeans, floor: float) -> None:
    low, high = np.maximum(shape.low, floor), shape.high
    if not shape.levels:
        ax.fill_between(shape.line_at, low, high, color=DATA, alpha=0.15, linewidth=0, zorder=1)
        ax.plot(shape.line_at, shape.mean, color=DATA, linewidth=1.4, zorder=2)
        return
    for at, mean, lower, upper in zip(shape.line_at, shape.mean, low, high, strict=True):
        color = PALETTE[int(at) % len(PALETTE)]
        ends = [at - 1.2 * _WIDTH, at + 1.2 * _WIDTH]
        if mean == 0.0:
            ax.plot(ends, [max(0.0, floor)] * 2, color=color, linewidth=1.4, linestyle=(0, (2, 1.5)), zorder=2)
        elif np.isfinite(mean):
            ax.fill_between(ends, lower, upper, color=color, alpha=0.15, linewidth=0, zorder=1)
            ax.plot(ends, [mean, mean], color=color, linewidth=1.4, solid_capstyle="butt", zorder=2)


def _draw_pairs(ax: Axes, shape: SampleMeans, x: FloatArray, floor: float) -> None:
    for pair in np.unique(shape.pair[shape.pair >= 0]):
        mine = np.flatnonzero(shape.pair == pair)
        mine = mine[np.argsort(shape.at[mine], kind="stable")]
        ax.plot(x[mine], np.maximum(shape.observed[mine], floor), color="0.75", linewidth=0.5, zorder=1.5)


def _draw_samples(ax: Axes, shape: SampleMeans, x: FloatArray, floor: float) -> None:
    area = dot_area(shape.n_cells, float(shape.n_cells.max()))
    for i in range(len(x)):
        color = _color(shape, i)
        none = shape.observed[i] <= floor
        ax.scatter(
            x[i],
            max(float(shape.observed[i]), floor),
            s=max(float(area[i]), 14.0) if none else float(area[i]),
            marker="v" if none else "o",
            facecolor="none" if none else color,
            edgecolor=color if none else "white",
            linewidth=0.8 if none else 0.4,
            zorder=4,
            clip_on=not none,
        )
        if _moved(shape)[i]:
            ax.annotate(
                "",
                xy=(x[i], shape.conditional[i]),
                xytext=(x[i], shape.fixed[i]),
                arrowprops={
                    "arrowstyle": "-|>,head_width=0.11,head_length=0.2",
                    "color": "0.2",
                    "linewidth": 0.6,
                    "shrinkA": 0.0,
                    "shrinkB": 0.0,
                },
                zorder=5,
            )


def _moved(shape: SampleMeans) -> BoolArray:
    """Samples with random effects large enough to be drawn."""
    return np.asarray(np.abs(shape.conditional - shape.fixed) > 1e-3 * np.abs(shape.fixed))


def _draw_legend(ax: Axes, shape: SampleMeans, base: float, floor: float) -> None:
    """Draw the sizes of dots in numbers of cells, and explain the other marks."""
    largest = float(shape.n_cells.max())
    shown = sorted({_round(float(q)) for q in (shape.n_cells.min(), np.sqrt(shape.n_cells.min() * largest), largest)})
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            ms=float(np.sqrt(dot_area(np.array([n]), largest)[0])),
            mfc="0.55",
            mec="white",
            mew=0.4,
            label=f"{int(n):,}",
        )
        for n in shown
    ]
    marks = [
        (Line2D([], [], color="0.4", linewidth=1.4), "fitted mean"),
        (Patch(facecolor="0.4", alpha=0.2, linewidth=0), "95 % interval"),
    ]
    if _moved(shape).any():
        arrow = Line2D([], [], linestyle="none", marker=r"$\uparrow$", ms=6.0, mfc="0.2", mec="0.2", mew=0.1)
        marks.append((arrow, "sample effect"))
    if (shape.observed <= floor).any():
        marks.append(
            (Line2D([], [], linestyle="none", marker="v", ms=3.7, mfc="none", mec="0.4", mew=0.8), "no counts")
        )
    if (shape.pair >= 0).any():
        marks.append((Line2D([], [], color="0.75", linewidth=0.8), f"same {plain(shape.pair_name)}"))
    for mark, words in marks:
        mark.set_label(words)
    legend = ax.legend(
        handles=[*handles, *(mark for mark, _ in marks)],
        title="cells",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=0.8 * base,
        title_fontsize=0.8 * base,
        handletextpad=0.3,
        borderaxespad=0.2,
        alignment="left",
    )
    legend.set_zorder(6)


def _round(n: float) -> float:
    """Round to one leading digit."""
    power = 10.0 ** np.floor(np.log10(max(n, 1.0)))
    return float(max(round(n / power) * power, 1.0))


def _name_samples(
    ax: Axes, shape: SampleMeans, x: FloatArray, floor: float, labels: Sequence[str] | bool | None, base: float
) -> None:
    if not labels:
        return
    wanted = set(shape.samples) if isinstance(labels, bool) else set(labels)
    unknown = sorted(wanted - set(shape.samples))
    if unknown:
        raise InputError(
            f"labels= contains samples that are not in the plot: {unknown}; allowed are {list(shape.samples)}."
        )
    figure = ax.get_figure(root=True)
    if figure is None:
        return
    figure.draw_without_rendering()
    chosen = [i for i, name in enumerate(shape.samples) if name in wanted]
    y = np.maximum(shape.observed, floor)
    place_labels(
        ax,
        x[chosen],
        y[chosen],
        [plain(shape.samples[i]) for i in chosen],
        crowd=np.column_stack([x, y]),
        fontsize=0.8 * base,
        colors=["0.15"] * len(chosen),
    )
