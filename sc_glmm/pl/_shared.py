"""Shared texts of parameters, and the last step of each figure."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .._display.habits import explain_arguments
from .._errors import InputError
from ._style import plain

P = ParamSpec("P")
R = TypeVar("R")

# Arguments of other packages' figures, and what to do instead.
_RENAMED = {"lfc": "min_log_fc", "padj": "alpha", "fdr": "alpha"}
_ADVICE = {
    "return_fig": "figures return their axes, and ax.figure is the figure",
    "figsize": "draw into axes of any size, as in ax=plt.subplots(figsize=(5, 4))[1]",
    "dpi": "save='figure.png' has 300 dpi; for another resolution, ax.figure.savefig('figure.png', dpi=600)",
    "groups": "select one with group= or contrast=",
    "groupby": "select one level with group=",
    "color": "colours mean the same in all figures; change the marks of the returned axes",
    "palette": "colours mean the same in all figures; change the marks of the returned axes",
    "swap_axes": "genes are always rows",
}


def _joined(*texts: str) -> str:
    return "\n".join(text.removeprefix("\n").removesuffix("\n") for text in texts)


_DATA = """
data
    An AnnData after :func:`sc_glmm.tl.test`, or a data frame from :func:`sc_glmm.get.results`.
"""
_KEY = """
key
    `key_added` of the test, for an AnnData.
"""
_CONTRAST = """
contrast
    Contrast, by label (``"disease: AD vs ctl"``), key or levels; see :func:`sc_glmm.get.results`.
"""
_GROUP = """
group
    Level of the test's `groupby`, such as a cell type.
"""
_MODEL = """
data
    An AnnData after :func:`sc_glmm.tl.test`, in which `gene` is fitted again (:func:`sc_glmm.tl.refit`); or a fitted
    model of :func:`sc_glmm.lmer`, :func:`sc_glmm.glmer` or :func:`sc_glmm.tl.refit`.
gene
    Name of the gene, for an AnnData.
"""
_FILE = """
save
    File to write, such as ``"figure.pdf"``.
show
    Whether to show the figure at once (``plt.show()``). A notebook always shows it.
"""
_AXES = """
title
    Title instead of the default one; ``""`` for none.
ax
    Axes to draw into. Default: those of a new figure, as wide as one column of a journal page (85 mm).
"""
_RETURNED = """

Returns
-------
matplotlib.axes.Axes
    The axes.

Raises
------
InputError
"""
_MISSING = """
    If there are no such results, or an argument has an invalid value.
"""
_NO_MODEL = """
    If there is no such gene, group or model term, or if `gene` is missing for an AnnData.
"""

# Text of each placeholder of docstrings. Several stand for more than one parameter, or for whole sections.
_TEXTS = {
    "data": _DATA,
    "key": _KEY,
    "contrast": _CONTRAST,
    "group": _GROUP,
    "results": _joined(_DATA, _KEY, _CONTRAST, _GROUP),
    "model": _joined(_MODEL, _KEY, _GROUP),
    "alpha": """
alpha
    Level of the adjusted p-value below which a gene is significant.
""",
    "shrunken": """
shrunken
    Draw ``log_fc_shrunk`` instead of ``log_fc``.
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
    "residuals": """
kind, seed
    Type of residuals and seed; see :func:`residuals`.
""",
    "file": _FILE,
    "axes_and_file": _joined(_AXES, _FILE),
    "missing": _joined("InputError", _MISSING),
    "no_model": _joined("InputError", _NO_MODEL),
    # Parameters of drawing, what is returned, and what is raised.
    "drawing": _joined(_AXES, _FILE, _RETURNED, _MISSING),
    "drawing_model": _joined(_AXES, _FILE, _RETURNED, _NO_MODEL),
    # Data of examples: two genes in two cell types, and a model of a data frame.
    "two_types": """
>>> import pandas as pd, sc_glmm
>>> frame = pd.DataFrame(
...     {
...         "cell_type": ["B", "B", "T", "T"],
...         "variable": ["g1", "g2", "g1", "g2"],
...         "log_fc": [1.5, 0.1, -0.5, 0.2],
...         "p_value": [1e-5, 0.8, 0.02, 0.5],
...         "adj_p_value": [2e-5, 0.8, 0.04, 0.5],
...     }
... )
""",
    "blocks": """
>>> import pandas as pd, sc_glmm
>>> frame = pd.DataFrame({"y": [3.1, 4.2, 5.0, 6.3, 1.2, 2.5, 8.1, 7.7], "block": list("aabbccdd")})
""",
}


def documented(function: Callable[P, R]) -> Callable[P, R]:
    """Replace ``|name|`` in the docstring by the shared texts, and explain unknown arguments."""

    def text(match: re.Match[str]) -> str:
        lines = _TEXTS[match["name"]].strip("\n").splitlines()
        return "\n".join(match["indent"] + line if line else "" for line in lines)

    function.__doc__ = re.sub(r"^(?P<indent> *)\|(?P<name>\w+)\|$", text, function.__doc__ or "", flags=re.MULTILINE)
    return explain_arguments(_RENAMED, _ADVICE)(function)


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
