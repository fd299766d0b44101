"""Power against the number of samples or cells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullLocator

from .._errors import InputError
from ..tl._power import PowerResult
from ._shared import documented, finish
from ._style import COLUMN, PALETTE, axes_to_draw, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (COLUMN + 0.9, 2.6)
_AXES = {"n_samples": "samples", "cells_per_sample": "cells per sample"}


@documented
def power(
    data: PowerResult,
    *,
    group: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw expected power against the number of samples, or of cells where only these differ.

    There is a line for each number of cells and fold change. With a budget, cells follow from samples, and a ring marks
    the best split.

    Parameters
    ----------
    data
        Result of :func:`sc_glmm.power`.
    group
        One group of the pilot; by default all of them together.
    |drawing|

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> genes = pd.DataFrame({"mean": [0.2, 2.0], "dispersion": [0.5, 0.5], "sd": [0.25, 0.25]})
    >>> made = sc_glmm.power(genes, n_samples=[8, 12, 16], cells_per_sample=[50, 200])
    >>> sc_glmm.pl.power(made).get_xlabel()
    'samples'
    """
    if not isinstance(data, PowerResult):
        raise InputError(
            f"power draws what sc_glmm.power (command: sc-glmm power) returns, and this is a {type(data).__name__}."
        )
    rows = _rows(data.overall, group)
    budget = data.settings["budget"]
    x = "n_samples" if budget is not None or rows["n_samples"].nunique() > 1 else "cells_per_sample"
    by = ["log_fc"] if budget is not None else ["cells_per_sample" if x == "n_samples" else "n_samples", "log_fc"]
    varying = [name for name in by if rows[name].nunique() > 1]
    ax, base = axes_to_draw(ax, _SIZE)
    kinds = rows[varying].drop_duplicates().sort_values(varying) if varying else rows[by[-1:]].head(1)
    for i, (_, kind) in enumerate(kinds.iterrows()):
        line = rows[(rows[list(kind.index)] == kind).all(axis=1)].sort_values(x)
        at, height = line[x].to_numpy(dtype=np.float64), line["power"].to_numpy(dtype=np.float64)
        color = PALETTE[i % len(PALETTE)]
        label = ", ".join(_words(str(name), float(kind[name])) for name in varying)
        if budget is not None:
            best = int(np.argmax(height))
            ring: dict[str, Any] = {
                "markerfacecolor": "none",
                "markeredgecolor": color,
                "markersize": 8.0,
                "clip_on": False,
            }
            ax.plot(at[best], height[best], "o", **ring)
            split = f"{at[best]:.0f} samples of {line['cells_per_sample'].iloc[best]:,} cells"
            label = f"{label}:\n{split}" if label else f"best: {split}"
        ax.plot(at, height, "o-", color=color, markersize=3.0, linewidth=1.2, label=label or None)
    ax.set_xscale("log")
    ticks = _ticks(sorted(set(rows[x].tolist())))
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel(_AXES[x], fontsize=base)
    ax.set_ylabel(f"power at FDR {100 * data.settings['fdr']:g} %", fontsize=base)
    if varying or budget is not None:
        ax.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=0.8 * base, borderaxespad=0.0,
            handlelength=1.5,
        )  # fmt: skip
    if group is not None:
        ax.set_title(plain(group), fontsize=base, loc="left")
    return finish(ax, title, save, show)


def _rows(overall: pd.DataFrame, group: str | None) -> pd.DataFrame:
    """The rows of one group, or of all together."""
    if "group" not in overall:
        if group is not None:
            raise InputError(f"group={group!r} was asked for, and the power is that of one group. Leave group out.")
        return overall
    known = list(dict.fromkeys(overall["group"]))
    wanted = known[-1] if group is None else group
    if wanted not in known:
        raise InputError(f"group={group!r} is not among the groups, which are {known}.")
    return overall[overall["group"] == wanted]


def _words(name: str, value: float) -> str:
    return f"log$_2$ FC {value:g}" if name == "log_fc" else f"{int(value):,} {_AXES[name].split()[0]}"


def _ticks(values: list[float]) -> list[float]:
    """Those of the values that have room on a logarithmic axis."""
    span = np.log(values[-1] / values[0]) if len(values) > 1 else 1.0
    kept = [values[0]]
    for value in values[1:]:
        if np.log(value / kept[-1]) > 0.09 * span:
            kept.append(value)
    return kept
