"""Shared style of all figures: sizes for a journal page, accessible colours, axes."""

from __future__ import annotations

import math
import re

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

# Colours that people with any type of colour vision can tell apart, also in print (Okabe and Ito, Tol). One meaning
# each:
UP, DOWN, REST = "#D55E00", "#0072B2", "#9A9A9A"  # significant increase and decrease; not significant
DATA = "#5A5A5A"  # values without a direction: p-values, residuals, dispersions
FLAG = "#AA3377"  # needs attention: an influential sample, a gene that varies more than others
PALETTE = ("#009E73", "#332288", "#E69F00", "#56B4E9", "#CC79A7", "#999933", "#5A5A5A")  # levels of a factor
COLUMN = 3.35  # inches: 85 mm, one column of a journal page
PAGE = 7.0  # inches: the width of the page
FONT = 8.0  # points
# More marks than this make a PDF slow to open, so they are rasterised; text stays vector.
RASTER_FROM = 500


def axes_to_draw(ax: Axes | None, size: tuple[float, float]) -> tuple[Axes, float]:
    """The given axes and the current font size, or those of a new figure of `size` inches and its font size."""
    if ax is not None:
        ax.spines[["top", "right"]].set_visible(False)
        return ax, float(plt.rcParams["font.size"])
    return grid_of_axes(1, 1, size)[0, 0], FONT


def grid_of_axes(
    n_rows: int, n_columns: int, size: tuple[float, float], *, sharex: bool = False
) -> npt.NDArray[np.object_]:
    """``(n_rows, n_columns)`` axes in a new figure of `size` inches, in the shared style."""
    # pyplot loads its backend with the first figure and turns on interactive mode in a notebook. Leaving an rc_context
    # would undo this, and no later figure would be shown.
    figure = plt.figure(figsize=size, dpi=200, layout="constrained")
    with plt.rc_context({"font.size": FONT, "axes.linewidth": 0.6}):
        grid: npt.NDArray[np.object_] = figure.subplots(n_rows, n_columns, squeeze=False, sharex=sharex)
        for ax in grid.ravel():
            finish_axes(ax)
    return grid


def panels(n: int, size: tuple[float, float]) -> tuple[npt.NDArray[np.object_], float]:
    """`n` panels of `size` inches, as many side by side as fit the page, and the font size."""
    columns = min(n, max(1, int(PAGE // size[0])))
    rows = math.ceil(n / columns)
    grid = grid_of_axes(rows, columns, (columns * size[0], rows * size[1]), sharex=True)
    used: npt.NDArray[np.object_] = grid.ravel()[:n]
    for empty in grid.ravel()[n:]:
        empty.remove()
    for i, ax in enumerate(used):
        # A panel with no panel below it shows its own tick labels.
        if i + columns >= n:
            ax.tick_params(labelbottom=True)
    return used, FONT


def finish_axes(ax: Axes) -> None:
    """Use thin ticks and small tick labels, and remove the frame on the open sides."""
    ax.tick_params(labelsize=0.875 * FONT, width=0.6, length=3)
    ax.spines[["top", "right"]].set_visible(False)


def plain(text: str) -> str:
    """Text in which a dollar sign does not start a formula."""
    return text.replace("$", r"\$")


def fold_change_label(words: str | None = None, *, shrunken: bool = False) -> str:
    """``log2 fold change, disease: AD vs ctl``."""
    label = "shrunken log$_2$ fold change" if shrunken else "log$_2$ fold change"
    return f"{label}, {plain(words)}" if words else label


def p_value_label(tested: str = "") -> str:
    """``-log10 p-value``, and of which effects, where the test is not of any difference."""
    words = tested.strip().replace("log2 fold change", "log$_2$ FC")
    return f"$-$log$_{{10}}$ p-value{', ' if words else ''}{words.removeprefix('for ')}"


def threshold_words(alpha: float) -> str:
    """``FDR 5 %``."""
    return f"FDR {100 * alpha:g} %"


def italic(symbol: str) -> str:
    """A gene symbol in italics; text after it stays upright."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+", symbol):
        return plain(symbol)
    # In math mode, a hyphen would be a minus sign, and a dot would have space around it.
    letters = re.sub(r"([.-])", r"\\text{\1}", symbol)
    return rf"$\it{{{letters}}}$"
