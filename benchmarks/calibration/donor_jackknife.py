"""Estimate how much the mean rate over all splits depends on the choice of donors, by leaving out each donor in turn.

All splits use the same 8 donors, so the spread between splits has little information on the error of their mean. Here a
split is run again without each of the donors. With r_i the mean rate over all K splits without donor i,

    SE^2 = (n - 1) / n  sum_i (r_i - mean r)^2,        interval: rate +- t(0.975, n - 1) SE.

On average, the variance of the jackknife is too large rather than too small (Efron and Stein 1981). If only some of the
splits were run, r_i is the mean over these, which makes the sum even larger. The interval is then too wide, not too
narrow.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from measures import count_rejections
from methods import run_ours, versions
from real_splits import FORMULA, prepare
from scipy import stats

KEY = ["cell_type", "samples", "rep", "left_out"]
METHODS = ("eb_lr", "p_hk")


def read_table(path: Path) -> pd.DataFrame | None:
    """Read one row per split, left-out donor and method, with counts of rejections; None if nothing was run."""
    return pd.read_csv(path, dtype={"left_out": str, "cell_type": str}) if path.exists() else None


def run_without_each(
    adata: ad.AnnData, donor: str, kind: str, donors: list[str], second: set[str], split: int, target: Path
) -> None:
    """Test one split of one cell type without each of the donors; stored results are not computed again."""
    stored = read_table(target)
    for left_out in donors:
        key = dict(zip(KEY, (kind, len(donors), split, left_out), strict=True))
        if stored is not None and (stored[KEY] == pd.Series(key)).all(axis=1).any():
            continue
        others = [d for d in donors if d != left_out]
        data = prepare(adata, donor, others, second - {left_out})
        result = run_ours("eb_lr", data, FORMULA, "cond")
        rows = [
            {**key, "method": method, **count_rejections(p), "commit": versions().get("commit", "")}
            for method, p in zip(METHODS, (result.p, result.p_hk), strict=True)
        ]
        pd.DataFrame(rows).to_csv(target, mode="a", header=not target.exists(), index=False)
        rate = rows[0]["0.05"] / rows[0]["n"]
        print(f"{kind} S={len(donors)} split {split} without {left_out}: {rate:.4f}", flush=True)


def donor_error(table: pd.DataFrame, method: str, column: str = "0.05") -> tuple[float, int, int]:
    """Compute the standard error of the mean rate over splits, its degrees of freedom, and the number of splits.

    Only splits that were run without each of the donors are used. Genes of all cell types of `table` are pooled.

    Parameters
    ----------
    table
        Output of :func:`read_table`, for one number of donors.
    method, column
        Method, and column with its rejections at one level.
    """
    table = table[table["method"] == method]
    n = int(table["samples"].iloc[0])
    whole = table.groupby("rep").size() == n * table["cell_type"].nunique()
    table = table[table["rep"].map(whole)]
    if table.empty:
        return np.nan, n - 1, 0
    sums = table.groupby("left_out")[[column, "n"]].sum()
    rates = (sums[column] / sums["n"]).to_numpy()
    return float(np.sqrt((n - 1) / n * np.sum((rates - rates.mean()) ** 2))), n - 1, int(whole.sum())


def half_width(error: float, df: int) -> float:
    """Compute half the width of the 95 % interval."""
    return float(stats.t.ppf(0.975, df) * error)
