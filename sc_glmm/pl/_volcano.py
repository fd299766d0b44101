"""The volcano plot: effect against evidence, one mark a gene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.lines import Line2D

from .._errors import InputError
from ._frames import require_columns, require_one_row_a_gene, results_frame
from ._labels import place_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.float64]

# Colours that people with any colour vision tell apart, in print as well (Okabe and Ito).
_UP, _DOWN, _REST = "#D55E00", "#0072B2", "#9A9A9A"
_MARKERS = {"separated": "D", "not_converged": "X"}
_OTHER_MARKER = "s"
_COLUMN_WIDTH = (3.35, 3.0)  # inches: one column of a journal page


def volcano(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    contrast: str | None = None,
    alpha: float = 0.05,
    n_labels: int = 10,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Effect against evidence for every gene of one contrast.

    Coloured genes are significant after adjustment; the dashed line is the p-value at which that happens. A gene whose
    `status` spells trouble (a group with only zeros, no convergence) is drawn hollow, with a marker of its own; a
    variance estimated as zero is none. A gene that lies outside the axes, with p = 0 or an estimate far beyond all
    ordinary ones, is drawn as a triangle on the border. Genes without a p-value are not drawn.

    Parameters
    ----------
    data
        An AnnData after :func:`sc_glmm.tl.test`, or a frame as :func:`sc_glmm.get.results` returns it, with the columns
        ``variable, log_fc, p_value, adj_p_value`` and, if there, ``contrast`` and ``status``.
    key
        The `key_added` of the test, for an AnnData.
    contrast
        Which contrast to draw; needed if there are several.
    alpha
        Level of the adjusted p-value below which a gene is coloured.
    n_labels
        How many genes to name: the significant ones with the smallest p-values.
    labels
        Names of the genes to label instead.
    ax
        Axes to draw in; by default those of a new figure, as wide as a column of a journal page.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, for changes and ``ax.figure.savefig(...)``.

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> frame = pd.DataFrame(
    ...     {"variable": ["A", "B"], "log_fc": [1.5, 0.1], "p_value": [1e-5, 0.8], "adj_p_value": [2e-5, 0.8]}
    ... )
    >>> sc_glmm.pl.volcano(frame).get_xlabel()
    'log$_2$ fold change'
    """
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha={alpha} is a level for adjusted p-values and must lie between 0 and 1.")
    frame = results_frame(data, key=key, contrast=contrast)
    require_columns(frame, ["variable", "log_fc", "p_value", "adj_p_value"], plot="volcano")
    require_one_row_a_gene(frame, plot="volcano")
    drawn = frame[np.isfinite(frame["log_fc"]) & np.isfinite(frame["p_value"])]
    if len(drawn) == 0:
        raise InputError(
            f"None of the {len(frame)} rows has both a log fold change and a p-value. A joint contrast over several "
            "columns has no fold change of its own: name one of its columns in contrast=."
        )

    base = plt.rcParams["font.size"] if ax is not None else 8.0
    if ax is None:
        with plt.rc_context({"font.size": base, "axes.linewidth": 0.6}):
            _, ax = plt.subplots(figsize=_COLUMN_WIDTH, dpi=200, layout="constrained")
        ax.tick_params(labelsize=0.875 * base, width=0.6, length=3)
    status = drawn["status"].astype(str) if "status" in drawn else pd.Series("ok", index=drawn.index)
    status = status.replace("singular", "ok")
    x, y, outside = _coordinates(drawn, status.to_numpy(str))
    significant = (drawn["adj_p_value"] < alpha).to_numpy()
    color = np.where(significant, np.where(drawn["log_fc"] > 0, _UP, _DOWN), _REST)

    handles = _draw_marks(ax, x, y, color, significant, status.to_numpy(str), outside)
    _set_limits(ax, x, y)
    _draw_threshold(ax, drawn["p_value"].to_numpy(float), significant, alpha, base)
    ax.set_xlabel(_x_label(drawn), fontsize=base)
    ax.set_ylabel("$-$log$_{10}$ p-value", fontsize=base)
    ax.spines[["top", "right"]].set_visible(False)

    up, down = int(np.sum(color == _UP)), int(np.sum(color == _DOWN))
    for place, side, words, shade in ((0.015, "left", f"{down:,} down", _DOWN), (1.0, "right", f"{up:,} up", _UP)):
        ax.text(place, 1.0, words, transform=ax.transAxes, ha=side, va="top", fontsize=base, color=shade)
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
    _draw_labels(ax, drawn, x, y, color, significant, n_labels=n_labels, labels=labels, fontsize=0.8 * base)
    return ax


def _coordinates(drawn: pd.DataFrame, status: npt.NDArray[np.str_]) -> tuple[FloatArray, FloatArray, npt.NDArray]:
    """Places of the marks, pulled onto the border where they lie outside, and the triangle that says so (or "")."""
    log_fc, p = drawn["log_fc"].to_numpy(float), drawn["p_value"].to_numpy(float)
    outside = np.full(len(drawn), "", dtype="<U1")
    # An estimate that a gene with trouble reports must not squeeze all others into the middle.
    usual = np.abs(log_fc[status == "ok"])
    bound = 1.1 * usual.max() if len(usual) and usual.max() > 0 else np.abs(log_fc).max()
    x = np.clip(log_fc, -bound, bound)
    outside[log_fc < -bound], outside[log_fc > bound] = "<", ">"
    positive = p > 0
    y = np.full(len(p), np.nan)
    y[positive] = -np.log10(p[positive])
    top = np.max(y[positive], initial=1.0)
    y[~positive] = 1.05 * top
    outside[~positive] = "^"
    return x, y, outside


def _draw_marks(
    ax: Axes,
    x: FloatArray,
    y: FloatArray,
    color: npt.NDArray[np.str_],
    significant: npt.NDArray[np.bool_],
    status: npt.NDArray[np.str_],
    outside: npt.NDArray[np.str_],
) -> list[Line2D]:
    """One scatter a kind of mark; returns the legend's entries for the kinds that need words."""
    # Thousands of vector dots make a PDF that no reader opens with joy; the text stays vector.
    raster = len(x) > 500
    handles = []
    for word in ["ok", *sorted(set(status) - {"ok"})]:
        kind = (status == word) & (outside == "")
        marker = "o" if word == "ok" else _MARKERS.get(word, _OTHER_MARKER)
        # Significant genes on top of the others, whatever their status.
        for sign in (False, True):
            i = kind & (significant == sign)
            face = color[i] if word == "ok" else "none"
            edge = "none" if word == "ok" else color[i]
            size, order = (9.0, 3) if sign else (5.0, 2)
            ax.scatter(
                x[i],
                y[i],
                s=size,
                marker=marker,
                c=face,
                edgecolors=edge,
                linewidths=0.5,
                zorder=order,
                rasterized=raster,
            )
        if word != "ok":
            handles.append(_handle(f"{word.replace('_', ' ')} ({int(np.sum(status == word)):,})", marker))
    for marker in sorted(set(outside) - {""}):
        i = outside == marker
        ax.scatter(x[i], y[i], s=14, marker=marker, c=color[i], linewidths=0, zorder=3, clip_on=False)
    if np.any(outside != ""):
        handles.append(_handle(f"outside ({int(np.sum(outside != '')):,})", ">", filled=True))
    return handles


def _handle(label: str, marker: str, *, filled: bool = False) -> Line2D:
    face = "0.35" if filled else "none"
    return Line2D(
        [], [], ls="none", marker=marker, ms=3.2, mfc=face, mec="0.35", mew=0.0 if filled else 0.5, label=label
    )


def _set_limits(ax: Axes, x: FloatArray, y: FloatArray) -> None:
    """Both sides as wide, and air above for the labels of the top genes."""
    bound = 1.06 * max(float(np.abs(x).max()), 1e-3)
    ax.set_xlim(-bound, bound)
    top = float(y.max())
    ax.set_ylim(-0.02 * top, 1.14 * top)


def _draw_threshold(ax: Axes, p: FloatArray, significant: npt.NDArray[np.bool_], alpha: float, base: float) -> None:
    ax.axvline(0.0, color="0.85", linewidth=0.6, zorder=1)
    if not significant.any() or p[significant].max() == 0.0:
        return
    # Between the last significant gene and the first that is not.
    last = -np.log10(p[significant].max())
    rest = p[~significant & (p > 0)]
    first = -np.log10(rest.min()) if len(rest) else last
    height = (last + first) / 2 if first < last else last
    ax.axhline(height, color="0.45", linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
    ax.annotate(
        f"FDR {100 * alpha:g} %",
        xy=(1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, 1.5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=0.75 * base,
        color="0.35",
    )


def _x_label(drawn: pd.DataFrame) -> str:
    label = "log$_2$ fold change"
    if "contrast" in drawn and drawn["contrast"].nunique() == 1:
        words = str(drawn["contrast"].iloc[0])
        # "disease: AD vs ctl" reads well on the axis; a "$" in a level would start mathematics.
        return f"{label}, {words}".replace("$", r"\$") if "$" in words else f"{label}, {words}"
    return label


def _draw_labels(
    ax: Axes,
    drawn: pd.DataFrame,
    x: FloatArray,
    y: FloatArray,
    color: npt.NDArray[np.str_],
    significant: npt.NDArray[np.bool_],
    *,
    n_labels: int,
    labels: Sequence[str] | None,
    fontsize: float,
) -> None:
    names = drawn["variable"].astype(str).to_numpy()
    by_evidence = np.argsort(drawn["p_value"].to_numpy(float), kind="stable")
    if labels is None:
        chosen = by_evidence[significant[by_evidence]][:n_labels]
    else:
        unknown = sorted(set(labels) - set(names))
        if unknown:
            raise InputError(f"labels names genes that are not in the plot: {unknown}. They have no row or no p-value.")
        chosen = by_evidence[np.isin(names[by_evidence], list(labels))]
    figure = ax.get_figure(root=True)
    if figure is None or len(chosen) == 0:
        return
    # The layout decides where the axes are, and so which labels would touch.
    figure.draw_without_rendering()
    place_labels(
        ax,
        x[chosen],
        y[chosen],
        [str(name) for name in names[chosen]],
        crowd=np.column_stack([x, y]),
        obstacles=[text.get_window_extent() for text in ax.texts],
        fontsize=fontsize,
        colors=["0.15" if c == _REST else str(c) for c in color[chosen]],
    )
