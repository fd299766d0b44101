"""Draw figures of samples that only the report has: library sizes and composition."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ..pl._style import COLUMN, FONT, PAGE, PALETTE, grid_of_axes, plain
from .layout import Layout
from .study import Study, composition

# Maximum number of sample names that fit the axis.
_MOST_NAMES = 48


def draw_library_sizes(study: Study, layout: Layout) -> None:
    """Draw counts per cell of every sample: median, quartiles, 5 and 95 % quantiles."""
    if study.library is None:
        return
    units = study.units[layout.sample].astype(str).to_numpy()
    names, arms = _order(layout)
    sizes = study.library[study.used]
    points = {name: np.quantile(sizes[units == name], [0.05, 0.25, 0.5, 0.75, 0.95]) for name in names}
    ax = grid_of_axes(1, 1, (_width(len(names)), 2.3))[0, 0]
    for i, name in enumerate(names):
        low, lower, middle, upper, high = points[name]
        color = _color(arms[i])
        ax.plot([i, i], [low, high], color=color, linewidth=0.7, zorder=1)
        ax.plot([i, i], [lower, upper], color=color, linewidth=4.0, alpha=0.55, solid_capstyle="butt", zorder=2)
        ax.scatter(i, middle, s=9.0, color=color, linewidths=0, zorder=3)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel("counts per cell", fontsize=FONT)
    _name_samples(ax, names)
    _legend(ax, layout)


def draw_composition(study: Study, layout: Layout) -> None:
    """Draw the fraction of every sample's cells in each group of cells."""
    shares = composition(study)
    names, _ = _order(layout)
    ax = grid_of_axes(1, 1, (_width(len(names)), 2.5))[0, 0]
    below = np.zeros(len(names))
    largest = list(shares.mean().sort_values(ascending=False).index)
    for k, group in enumerate(largest):
        share = shares.loc[names, group].to_numpy()
        color = PALETTE[k % len(PALETTE)]
        hatch = ("", "////", "....", "xxxx")[min(k // len(PALETTE), 3)]
        ax.bar(
            range(len(names)),
            share,
            bottom=below,
            width=0.85,
            color=color,
            hatch=hatch,
            linewidth=0,
            label=plain(group),
        )
        below += share
    ax.set_ylim(0.0, 1.0)
    ax.set_ylabel("fraction of cells", fontsize=FONT)
    _name_samples(ax, names)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1][-20:],
        labels[::-1][-20:],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=0.8 * FONT,
    )


def _order(layout: Layout) -> tuple[list[str], list[int]]:
    """List the samples arm by arm, and the arm of each (the first, if it has several)."""
    first = layout.places.sort_values("arm", kind="stable").drop_duplicates("sample")
    return first["sample"].tolist(), first["arm"].tolist()


def _color(arm: int) -> str:
    return PALETTE[int(arm) % len(PALETTE)]


def _width(n: int) -> float:
    return float(np.clip(0.16 * n + 1.4, COLUMN, PAGE))


def _name_samples(ax: Axes, names: list[str]) -> None:
    shown = names if len(names) <= _MOST_NAMES else []
    short = [plain(name if len(name) <= 16 else name[:15] + "\u2026") for name in shown]
    ax.set_xticks(range(len(shown)), short, rotation=90, fontsize=0.75 * FONT)
    ax.set_xlim(-0.7, len(names) - 0.3)
    if not shown:
        ax.set_xlabel(f"{len(names)} samples", fontsize=FONT)


def _legend(ax: Axes, layout: Layout) -> None:
    if not layout.levels:
        return
    several = set(layout.places.loc[layout.places["sample"].duplicated(), "sample"])
    if several:
        return
    marks = [
        Line2D([], [], color=_color(i), linewidth=4.0, alpha=0.7, label=plain(level))
        for i, level in enumerate(layout.levels[: len(PALETTE)])
    ]
    ax.legend(handles=marks, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=0.8 * FONT)
