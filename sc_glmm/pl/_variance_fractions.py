"""Draw fractions of the variation of genes: violins over all genes, or one bar for each named gene."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._display.arguments import suggest
from .._errors import InputError
from ._numbers.fractions import NOISE, fractions_frame, parts_of
from ._numbers.symbols import with_symbols
from ._shared import documented, finish
from ._style import COLUMN, FONT, PALETTE, REST, axes_to_draw, italic, plain

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

# Overdispersion, and noise of counts or the residual: grey, because no term of the model explains them.
_GREYS = {"dispersion": "#8C8C8C", "poisson": "#C9C9C9", "residual": "#C9C9C9"}
_WORDS = {"dispersion": "overdispersion", "poisson": "Poisson noise", "residual": "residual"}


@documented
def variance_fractions(
    data: AnnData | pd.DataFrame,
    *,
    key: str = "glmm",
    group: str | None = None,
    genes: Sequence[str] | None = None,
    gene_symbols: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the fraction of the variation of genes that each term of the model explains.

    Without `genes`, there is a violin over all genes for each part, sorted by median, with unexplained parts (grey)
    last. The dot is the median, and the line covers half of the genes. With `genes`, there is a bar for each of them.

    Parameters
    ----------
    data
        An AnnData after :func:`sc_glmm.tl.test`, or a data frame from :func:`sc_glmm.get.variance_fractions`.
    |key|
    |group|
    genes
        Genes to draw as bars, from top to bottom.
    |gene_symbols|
    |drawing|

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> sc_glmm.pl.variance_fractions(adata).get_ylabel()
    'fraction of variance'
    """
    frame = with_symbols(fractions_frame(data, key, group), data, key, gene_symbols)
    if genes is not None:
        return finish(_bars(frame, genes, ax, group), title, save, show)
    parts = parts_of(frame)
    drawn = frame[parts].to_numpy(dtype=np.float64)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if len(drawn) == 0:
        raise InputError(f"None of the {len(frame)} genes has a fit whose variance can be split; see their status.")
    colors = _colors(parts)
    ax, base = axes_to_draw(ax, (max(COLUMN, 0.62 * len(parts) + 0.8), 2.8))
    own = [part for part in parts if part not in NOISE]
    median = dict(zip(parts, np.median(drawn, axis=0), strict=True))
    shown = [*sorted(own, key=lambda part: -median[part]), *(part for part in parts if part in NOISE)]
    for place, part in enumerate(shown):
        values = drawn[:, parts.index(part)]
        if np.ptp(values) > 1e-9:
            bodies: Any = ax.violinplot(values, [place], widths=0.85, showextrema=False)["bodies"]
            bodies[0].set(facecolor=colors[part], edgecolor="none", alpha=0.85)
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        ax.plot([place, place], [low, high], color="0.15", linewidth=2.0, solid_capstyle="butt", zorder=3)
        ax.plot(
            place, middle, "o", color="white", markeredgecolor="0.15", markersize=3.4, markeredgewidth=0.7, zorder=4
        )
    ax.set_xticks(range(len(shown)), [plain(_WORDS.get(part, part)) for part in shown], rotation=40, ha="right")
    ax.set_xlim(-0.6, len(shown) - 0.4)
    ax.set_ylim(-0.01, 1.01)
    ax.set_ylabel("fraction of variance", fontsize=base)
    heading = f"{len(drawn):,} genes" if group is None else f"{plain(group)}, {len(drawn):,} genes"
    ax.set_title(heading, fontsize=base, loc="left")
    return finish(ax, title, save, show)


def _bars(frame: pd.DataFrame, genes: Sequence[str], ax: Axes | None, group: str | None) -> Axes:
    """Draw one bar for each gene."""
    wanted = [genes] if isinstance(genes, str) else list(genes)
    names = frame["variable"].astype(str)
    unknown = [gene for gene in wanted if gene not in set(names)]
    if unknown or not wanted:
        asked = f"{unknown[0]!r} is not one of the genes" if unknown else "genes is empty"
        raise InputError(f"{asked}{suggest(''.join(unknown[:1]), names, 5)}")
    parts = parts_of(frame)
    colors = _colors(parts)
    ax, base = axes_to_draw(ax, (COLUMN + 1.6, 0.24 * len(wanted) + 0.9))
    left = np.zeros(len(wanted))
    values = np.stack([frame.loc[(names == gene).to_numpy(), parts].to_numpy(np.float64)[0] for gene in wanted])
    for k, part in enumerate(parts):
        width = np.nan_to_num(values[:, k])
        ax.barh(np.arange(len(wanted)), width, left=left, height=0.76, color=colors[part], label=_WORDS.get(part, part))
        left += width
    for place in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        ax.annotate("no fit", (0.01, place), va="center", fontsize=0.8 * FONT, color="0.4")
    ax.set_yticks(range(len(wanted)), [italic(gene) for gene in wanted])
    ax.invert_yaxis()
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("fraction of variance", fontsize=base)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=0.8 * base, borderaxespad=0.0)
    if group is not None:
        ax.set_title(plain(group), fontsize=base, loc="left")
    return ax


def _colors(parts: Sequence[str]) -> dict[str, str]:
    own = [part for part in parts if part not in NOISE]
    chosen = {part: PALETTE[:-1][i] if i < len(PALETTE) - 1 else REST for i, part in enumerate(own)}
    return chosen | {part: _GREYS[part] for part in parts if part in NOISE}
