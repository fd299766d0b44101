"""Shared style of all figures: sizes for a journal page, accessible colours, axes."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .._arrays import ObjectArray
from .._errors import InputError

# Colours that people with any type of colour vision can tell apart, also in print (Okabe and Ito, Tol). One meaning
# each:
UP, DOWN, REST = "#D55E00", "#0072B2", "#9A9A9A"  # significant increase and decrease; not significant
DATA = "#5A5A5A"  # values without a direction: p-values, residuals, dispersions
FLAG = "#AA3377"  # needs attention: an influential sample, a gene that varies more than others
PALETTE = ("#009E73", "#332288", "#E69F00", "#56B4E9", "#CC79A7", "#999933", "#5A5A5A")  # levels of a factor
COLUMN = 3.35  # inches: 85 mm, one column of a journal page
PAGE = 7.0  # inches: the width of the page
FONT = 8.0  # points
LABEL = 24  # characters in a line of a name beside a row
# More marks than this make a PDF slow to open, so they are rasterised; text stays vector.
RASTER_FROM = 500


def axes_to_draw(ax: Axes | None, size: tuple[float, float]) -> tuple[Axes, float]:
    """The given axes and the current font size, or those of a new figure of `size` inches and its font size."""
    if ax is not None:
        if not isinstance(ax, Axes):
            raise InputError(f"ax is {type(ax).__name__}, but must be one axes, such as plt.subplots()[1]")
        ax.spines[["top", "right"]].set_visible(False)
        return ax, float(plt.rcParams["font.size"])
    return grid_of_axes(1, 1, size)[0, 0], FONT


def grid_of_axes(n_rows: int, n_columns: int, size: tuple[float, float], *, sharex: bool = False) -> ObjectArray:
    """``(n_rows, n_columns)`` axes in a new figure of `size` inches, in the shared style."""
    # pyplot loads its backend with the first figure and turns on interactive mode in a notebook. Leaving an rc_context
    # would undo this, and no later figure would be shown.
    figure = plt.figure(figsize=size, dpi=200, layout="constrained")
    with plt.rc_context({"font.size": FONT, "axes.linewidth": 0.6}):
        grid: ObjectArray = figure.subplots(n_rows, n_columns, squeeze=False, sharex=sharex)
        for ax in grid.ravel():
            finish_axes(ax)
    return grid


def panels(n: int, size: tuple[float, float]) -> tuple[ObjectArray, float]:
    """`n` panels of `size` inches, as many side by side as fit the page, and the font size."""
    columns = min(n, max(1, int(PAGE // size[0])))
    rows = math.ceil(n / columns)
    grid = grid_of_axes(rows, columns, (columns * size[0], rows * size[1]), sharex=True)
    used: ObjectArray = grid.ravel()[:n]
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


def wrapped(text: str, characters: int) -> str:
    """Text on lines of about as many characters, broken between words only."""
    return plain("\n".join(textwrap.wrap(text, characters, break_long_words=False, break_on_hyphens=False)) or text)


def row_height(names: Iterable[str]) -> float:
    """Inches of a row of bars or intervals, with room for the name that has the most lines."""
    return max(0.2, 0.06 + 0.12 * max((name.count("\n") + 1 for name in names), default=1))


def draw_titles(ax: Axes, left: str, right: str, base: float, *, small: float = 0.8) -> None:
    """Write one title on the left and a smaller one on the right, or below each other if they do not fit.

    Long lines on the right are broken.
    """
    figure = ax.get_figure(root=True)
    if figure is None:
        return
    figure.draw_without_rendering()
    room = ax.get_window_extent().width * 72.0 / figure.dpi
    characters = max(int(room / (0.52 * small * base)), 12)
    whole = right.replace(" = ", "\u00a0=\u00a0")  # a number stays beside its name
    lines = [line for each in whole.splitlines() for line in textwrap.wrap(each, characters, break_long_words=False)]
    lines = [line.replace("\u00a0", " ") for line in lines]
    crowded = len(lines) > 1 or bool(lines) and base * (0.55 * len(left) + 0.55 * small * len(lines[0])) > room
    ax.set_title(left + ("\n" * len(lines) if crowded else ""), fontsize=base, loc="left")
    ax.set_title("\n".join(lines), fontsize=small * base, color="0.35", loc="right")


def say_no_variance(ax: Axes, factor: str, n_levels: int, base: float) -> None:
    """Write a sentence instead of a column of zeros."""
    words = f"no variance between levels of {plain(factor)}:\nall {n_levels:,} effects are zero"
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=base, color="0.35")
    ax.set_axis_off()


def plain(text: str) -> str:
    """Text in which a dollar sign does not start a formula."""
    return text.replace("$", r"\$")


def fold_change_label(words: str | None = None, *, shrunken: bool = False, width: float = COLUMN) -> str:
    """``log2 fold change, disease: AD vs ctl``, on several lines if it is longer than an axis of `width` inches."""
    label = "shrunken log$_2$ fold change" if shrunken else "log$_2$ fold change"
    if not words:
        return label
    characters = int(13 * width)
    if "\n" not in words and len(label) + len(words) <= characters:
        return f"{label}, {plain(words)}"
    lines = [wrapped(line, characters) for line in words.splitlines()]
    return "\n".join([f"{label}," if "\n" not in words else f"{label}, {lines.pop(0)}", *lines])


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
