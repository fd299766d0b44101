"""Shared texts of parameters, and the last step of each figure."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .._errors import InputError
from ._style import plain

Figure = TypeVar("Figure", bound=Callable[..., object])

_TEXTS = {
    "results": """
data
    An AnnData after :func:`sc_glmm.tl.test`, or a data frame from :func:`sc_glmm.get.results`.
""",
    "model": """
data
    An AnnData after :func:`sc_glmm.tl.test`, in which `gene` is fitted again (:func:`sc_glmm.tl.refit`); or a fitted
    model of :func:`sc_glmm.lmer`, :func:`sc_glmm.glmer` or :func:`sc_glmm.tl.refit`.
gene
    Name of the gene, for an AnnData.
""",
    "key": """
key
    `key_added` of the test, for an AnnData.
""",
    "contrast": """
contrast
    Contrast, by label (``"disease: AD vs ctl"``) or by key.
""",
    "group": """
group
    Level of the test's `groupby`, such as a cell type.
""",
    "alpha": """
alpha
    Level of the adjusted p-value below which a gene is significant.
""",
    "gene_symbols": """
gene_symbols
    Column of ``var`` (or of the data frame) with the gene names to show.
""",
    "labels": """
n_labels
    Number of genes to label: the significant ones with the smallest p-values.
labels
    Names of the genes to label instead.
""",
    "drawing": """
title
    Title instead of the default one; ``""`` for none.
ax
    Axes to draw into. Default: those of a new figure, as wide as one column of a journal page (85 mm).
save
    File to write, such as ``"figure.pdf"``.
show
    Whether to show the figure at once (``plt.show()``). A notebook always shows it.
""",
    "axes": """
matplotlib.axes.Axes
    The axes.
""",
    "missing": """
InputError
    If there are no such results, or an argument has an invalid value.
""",
    "no_model": """
InputError
    If there is no such gene, group or model term, or if `gene` is missing for an AnnData.
""",
}


def documented(function: Figure) -> Figure:
    """Replace ``|name|`` in the docstring by the shared texts."""

    def text(match: re.Match[str]) -> str:
        lines = _TEXTS[match["name"]].strip("\n").splitlines()
        return "\n".join(match["indent"] + line for line in lines)

    function.__doc__ = re.sub(r"^(?P<indent> *)\|(?P<name>\w+)\|$", text, function.__doc__ or "", flags=re.MULTILINE)
    return function


def finish(ax: Axes, title: str | None, save: str | os.PathLike[str] | None, show: bool | None) -> Axes:
    """Set the user's title, write the file, show the figure; return the axes."""
    if title is not None:
        for side in ("left", "center", "right"):
            if ax.get_title(side) or side == "left":
                ax.set_title(plain(title) if side == "left" else "", loc=side)  # type: ignore[arg-type]
    write_and_show(ax, save, show)
    return ax


def write_and_show(ax: Axes, save: str | os.PathLike[str] | None, show: bool | None) -> None:
    """Write the figure of `ax` to a file, and show it."""
    figure = ax.get_figure(root=True)
    if save is not None and figure is not None:
        if isinstance(save, bool):
            raise InputError(f"save={save}: must be the name of a file, such as save='figure.pdf'.")
        figure.savefig(save, dpi=300)
    if show:
        plt.show()
