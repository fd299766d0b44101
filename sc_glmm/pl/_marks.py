"""Draw one mark per gene: colours for direction, markers for status, triangles for outliers, labels for top genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.lines import Line2D

from .._arrays import BoolArray, FloatArray, IntArray
from .._errors import InputError
from ._labels import place_labels
from ._style import DOWN, RASTER_FROM, REST, UP, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Words = npt.NDArray[np.str_]

# A separated gene has no counts in one arm. Its fold change is unbounded in that direction, and its mark points there.
_SEPARATED = "separated"
_MARKERS = {"not_converged": "X"}
_OTHER_MARKER = "s"
# Minimum width of one side of a fold-change axis, relative to the other side.
_NARROWEST = 0.3


def fold_change_limits(values: FloatArray, air: float) -> tuple[float, float]:
    """Both ends of a fold-change axis: cover the values on each side of zero, with some `air` relative to the total."""
    low, high = max(-float(values.min()), 0.0), max(float(values.max()), 0.0)
    widest = max(low, high, 1e-3)
    low, high = max(low, _NARROWEST * widest), max(high, _NARROWEST * widest)
    return -low - air * (low + high), high + air * (low + high)


def gene_colors(log_fc: FloatArray, significant: BoolArray) -> Words:
    """Colour of each gene."""
    return np.where(significant, np.where(log_fc > 0, UP, DOWN), REST)


def pull_inside(values: FloatArray, bound: float, signs: tuple[str, str]) -> tuple[FloatArray, Words]:
    """Values pulled to plus or minus `bound`, and the triangle that marks them (or "")."""
    outside = np.full(len(values), "", dtype="<U1")
    outside[values < -bound], outside[values > bound] = signs
    return np.clip(values, -bound, bound), outside


def draw_marks(
    ax: Axes,
    x: FloatArray,
    y: FloatArray,
    color: Words,
    significant: BoolArray,
    status: Words,
    outside: Words,
    pointing: Words,
) -> list[Line2D]:
    """Draw one scatter per kind of mark; return the legend entries for the kinds that need an explanation.

    `pointing` is the marker of each gene if it is separated.
    """
    raster = len(x) > RASTER_FROM
    handles = []
    marker_of = np.where(status == _SEPARATED, pointing, "o").astype(object)
    for word in sorted(set(status) - {"ok", _SEPARATED}):
        marker_of[status == word] = _MARKERS.get(word, _OTHER_MARKER)
    for word in ["ok", *sorted(set(status) - {"ok"})]:
        # Significant genes on top of the others, whatever their status.
        for sign in (False, True):
            for marker in sorted(set(marker_of[status == word])):
                i = (status == word) & (outside == "") & (significant == sign) & (marker_of == marker)
                ax.scatter(
                    x[i],
                    y[i],
                    s=9.0 if sign else 5.0,
                    marker=marker,
                    c=color[i] if word == "ok" else "none",
                    edgecolors="none" if word == "ok" else color[i],
                    linewidths=0.5,
                    zorder=3 if sign else 2,
                    rasterized=raster,
                )
        if word != "ok":
            shown = str(marker_of[status == word][0])
            handles.append(_handle(f"{word.replace('_', ' ')} ({int(np.sum(status == word)):,})", shown))
    for marker in sorted(set(outside) - {""}):
        i = outside == marker
        ax.scatter(x[i], y[i], s=14, marker=marker, c=color[i], linewidths=0, zorder=3, clip_on=False)
    if np.any(outside != ""):
        shown = str(outside[outside != ""][0])
        handles.append(_handle(f"beyond the axis ({int(np.sum(outside != '')):,})", shown, filled=True))
    return handles


def _handle(label: str, marker: str, *, filled: bool = False) -> Line2D:
    face = "0.35" if filled else "none"
    return Line2D(
        [], [], ls="none", marker=marker, ms=3.2, mfc=face, mec="0.35", mew=0.0 if filled else 0.5, label=label
    )


def draw_legend(ax: Axes, handles: list[Line2D], base: float) -> None:
    """Draw the legend of the marks above the axes."""
    if handles:
        ax.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=len(handles) if len(handles) < 3 else (len(handles) + 1) // 2,
            frameon=False,
            fontsize=0.8 * base,
            handletextpad=0.1,
            columnspacing=1.0,
            borderaxespad=0.1,
        )


def draw_title(ax: Axes, words: Sequence[str | None], base: float, *, above: Sequence[Line2D]) -> None:
    """Draw the title above the legend, if there is one."""
    text = ", ".join(plain(word) for word in words if word)
    if text:
        ax.set_title(text, fontsize=base, loc="left", pad=2.0 * base if above else None)


def draw_labels(
    ax: Axes,
    drawn: pd.DataFrame,
    x: FloatArray,
    y: FloatArray,
    color: Words,
    significant: BoolArray,
    *,
    n_labels: int,
    labels: Sequence[str] | None,
    fontsize: float,
) -> None:
    """Label the significant genes with the smallest p-values, or those in `labels`."""
    names = drawn["variable"].astype(str).to_numpy()
    by_evidence = np.argsort(drawn["p_value"].to_numpy(float), kind="stable")
    if labels is None:
        chosen = _best_of_both(by_evidence[significant[by_evidence]], color == UP, n_labels)
    else:
        unknown = sorted(set(labels) - set(names))
        if unknown:
            raise InputError(
                f"labels= contains genes that are not in the plot: {unknown}. They have no row or no p-value."
            )
        chosen = by_evidence[np.isin(names[by_evidence], list(labels))]
    figure = ax.get_figure(root=True)
    if figure is None or len(chosen) == 0:
        return
    # The layout determines the position of the axes, and so which labels would touch.
    figure.draw_without_rendering()
    place_labels(
        ax,
        x[chosen],
        y[chosen],
        [str(name) for name in names[chosen]],
        crowd=np.column_stack([x, y]),
        obstacles=[text.get_window_extent() for text in ax.texts],
        fontsize=fontsize,
        colors=["0.15" if c == REST else str(c) for c in color[chosen]],
    )


def draw_counts(ax: Axes, color: Words, base: float, places: Sequence[tuple[float, float, str, str]]) -> None:
    """Write the numbers of genes up and down at ``(x, y, horizontal, vertical alignment)`` of the axes, down first."""
    for (x, y, side, height), shade, word in zip(places, (DOWN, UP), ("down", "up"), strict=True):
        words = f"{int(np.sum(color == shade)):,} {word}"
        ax.text(x, y, words, transform=ax.transAxes, ha=side, va=height, fontsize=base, color=shade)


def _best_of_both(hits: IntArray, up: BoolArray, n: int) -> IntArray:
    """The first n of `hits`, at least a third of them from each side if possible."""
    least = n // 3
    kept = [hits[up[hits]][:least], hits[~up[hits]][:least]]
    rest = hits[~np.isin(hits, np.concatenate(kept))][: max(n - sum(map(len, kept)), 0)]
    return hits[np.isin(hits, np.concatenate([*kept, rest]))][:n]
