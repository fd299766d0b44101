"""Draw p-values: their histogram, and their quantiles against a uniform distribution."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .._arrays import ObjectArray
from .._errors import InputError
from ._numbers.evidence import (
    Quantiles,
    finite_p_values,
    p_value_histogram,
    p_value_quantiles,
)
from ._numbers.frames import require_columns, results_frame, split_sets
from ._shared import documented, finish, write_and_show
from ._style import COLUMN, DATA, FLAG, FONT, RASTER_FROM, axes_to_draw, panels, plain, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_SIZE = (COLUMN, 2.3)
_SQUARE = (2.6, 2.6)
_PANEL = (2.2, 1.7)
_SMALL_SQUARE = (2.2, 2.2)
_TEXT_FROM = (0.4, 0.3)  # p-values from which on text stands above the bars, in one panel and in several
_TITLE = 30  # characters above a panel


@documented
def p_values(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    group: str | None = None,
    bins: int = 20,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes | ObjectArray:
    """Draw a histogram of the p-values.

    P-values of genes without an effect are uniform, so the histogram should be flat except for a peak near zero. The
    dashed line is the estimated height of the genes without an effect, from the p-values above 0.5 (rather too high
    than too low). If the bars rise towards one, the test is conservative. A second peak at one means that the model is
    wrong for some genes.

    Parameters
    ----------
    |results|
    bins
        Number of bins.
    |drawing|

    Examples
    --------
    >>> import numpy as np, pandas as pd, sc_glmm
    >>> frame = pd.DataFrame({"variable": [f"g{i}" for i in range(100)], "p_value": np.linspace(0.005, 0.995, 100)})
    >>> sc_glmm.pl.p_values(frame).get_xlabel()
    'p-value'
    """
    sets = _sets(data, key, contrast, group, plot="p_values")
    axes, base = _axes(sets, ax, _SIZE, _PANEL)
    for one, (name, part) in zip(axes, sets, strict=True):
        p = finite_p_values(part["p_value"].to_numpy(float), plot="p_values")
        shape = p_value_histogram(p, bins)
        one.stairs(shape.counts, shape.edges, fill=True, color=DATA, alpha=0.35)
        one.stairs(shape.counts, shape.edges, color=DATA, linewidth=0.8)
        one.axhline(shape.null_count, color="0.25", linewidth=0.7, linestyle=(0, (4, 3)))
        one.set_xlim(0.0, 1.0)
        one.text(
            0.98,
            0.97,
            _share_words(len(p), shape.null_share, short=len(axes) > 1),
            transform=one.transAxes,
            ha="right",
            va="top",
            fontsize=0.875 * base,
            color="0.25",
        )
        # Leave room above the bars on the right for the text.
        below = float(shape.counts[shape.edges[1:] > _TEXT_FROM[len(axes) > 1]].max())
        one.set_ylim(0.0, max(1.06 * float(shape.counts.max()), 1.4 * below))
        _name(one, name or group or "", base)
    _outer_labels(axes, "p-value", "genes", base)
    return _finish(axes, title, save, show)


def _share_words(n: int, null_share: float, *, short: bool) -> str:
    """Storey's estimate is too high on average, so it is called a bound; 100 % is not shown."""
    share = f"{100 * null_share:.0f}"
    words = f"null: $\\leq$ {share} %" if short else f"at most {share} % without effect"
    return f"{n:,} genes" + (f"\n{words}" if share != "100" else "")


@documented
def qq(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    group: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes | ObjectArray:
    r"""Draw observed p-values against uniform ones, with the inflation factor.

    The dots of genes without an effect follow the line. If genes are independent, the band contains 95 % of each order
    statistic. :math:`\lambda` compares the median with its expected value: 1 is ideal. Above 1, the test is
    anticonservative, or many genes have an effect. To check a test, draw a contrast without effects, such as one with
    shuffled samples.

    Parameters
    ----------
    |results|
    |drawing|

    Examples
    --------
    >>> import numpy as np, pandas as pd, sc_glmm
    >>> frame = pd.DataFrame({"variable": [f"g{i}" for i in range(99)], "p_value": np.linspace(0.005, 0.995, 99)})
    >>> sc_glmm.pl.qq(frame).texts[0].get_text()
    '$\\lambda$ = 1.00'
    """
    sets = _sets(data, key, contrast, group, plot="qq")
    axes, base = _axes(sets, ax, _SQUARE, _SMALL_SQUARE)
    for one, (name, part) in zip(axes, sets, strict=True):
        shape = p_value_quantiles(finite_p_values(part["p_value"].to_numpy(float), plot="qq"))
        _draw_quantiles(one, shape)
        one.text(
            0.03,
            0.97,
            rf"$\lambda$ = {shape.inflation:.2f}",
            transform=one.transAxes,
            ha="left",
            va="top",
            fontsize=base,
            color="0.15",
        )
        _name(one, name or group or "", base)
    # The panels share this axis.
    axes[0].set_xlim(0.0, max(float(one.dataLim.x1) for one in axes) * 1.02)
    _outer_labels(axes, "expected $-$log$_{10}$ p", "observed $-$log$_{10}$ p", base)
    return _finish(axes, title, save, show)


def _draw_quantiles(ax: Axes, shape: Quantiles) -> None:
    end = 1.05 * float(shape.expected[0])
    ax.fill_between(shape.expected, shape.low, shape.high, color="0.85", linewidth=0, zorder=1)
    ax.plot([0.0, end], [0.0, end], color="0.4", linewidth=0.7, zorder=2)
    raster = len(shape.expected) > RASTER_FROM
    drawn = ~shape.cut
    ax.scatter(
        shape.expected[drawn], shape.observed[drawn], s=5.0, color=DATA, linewidths=0, zorder=3, rasterized=raster
    )
    if shape.cut.any():
        ax.scatter(
            shape.expected[shape.cut], shape.observed[shape.cut], s=12.0, marker="^", color=FLAG, linewidths=0, zorder=3
        )
    ax.set_ylim(0.0, 1.06 * float(max(shape.observed[0], shape.expected[0])))


def _finish(
    axes: ObjectArray, title: str | None, save: str | os.PathLike[str] | None, show: bool | None
) -> Axes | ObjectArray:
    """Finish one panel, or several panels with a common title."""
    if len(axes) == 1:
        return finish(axes[0], title, save, show)
    if title:
        axes[0].get_figure(root=True).suptitle(plain(title), fontsize=FONT, x=0.01, ha="left")
    write_and_show(axes[0], save, show)
    return axes


def _sets(
    data: AnnData | pd.DataFrame, key: str, contrast: str | None, group: str | None, *, plot: str
) -> list[tuple[str, pd.DataFrame]]:
    frame = results_frame(data, key=key, contrast=contrast, group=group)
    require_columns(frame, ["p_value"], plot=plot)
    # Leave out sets without a tested gene, unless there is no other set.
    sets = [(title, part) for title, part in split_sets(frame) if np.isfinite(part["p_value"].to_numpy(float)).any()]
    return sets or [("", frame)]


def _axes(
    sets: list[tuple[str, pd.DataFrame]], ax: Axes | None, size: tuple[float, float], panel: tuple[float, float]
) -> tuple[ObjectArray, float]:
    if len(sets) == 1:
        one, base = axes_to_draw(ax, size)
        return np.array([one], dtype=object), base
    if ax is not None:
        raise InputError(
            f"ax is one panel, but the results have {len(sets)} sets of tests: {[title for title, _ in sets]}. "
            "Select one with contrast= and group=, or omit ax=."
        )
    return panels(len(sets), panel)


def _name(ax: Axes, title: str, base: float) -> None:
    if title:
        ax.set_title(wrapped(title, _TITLE), fontsize=base, loc="left")


def _outer_labels(axes: ObjectArray, x: str, y: str, base: float) -> None:
    """Label the axes; only once for several panels."""
    if len(axes) == 1:
        axes[0].set_xlabel(x, fontsize=base)
        axes[0].set_ylabel(y, fontsize=base)
        return
    figure = axes[0].get_figure(root=True)
    if figure is not None:
        figure.supxlabel(x, fontsize=base)
        figure.supylabel(y, fontsize=base)
