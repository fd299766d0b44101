"""Write tables of splits of real donors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from donor_jackknife import donor_error, half_width, read_table
from real_splits import strata_names
from summary import totals
from tables import Stored, label, markdown, ordered, percent, rates

SIMULATED = "-simulated"


def real_table(stored: Stored, folder: Path) -> str:
    """Build a table of splits: mean rates, their error over donors, spread between splits, splits with a discovery."""
    rows = []
    for name in real_names(stored):
        jackknife = read_table(folder / f"jackknife-{name}.csv")
        parts = sorted({(e["samples"], e["cell_type"]) for e in stored[f"real-{name}"]})
        whole = {size for size, _ in parts}
        for size, kind in [*parts, *[(size, None) for size in sorted(whole) if sum(p[0] == size for p in parts) > 1]]:
            entries = [e for e in stored[f"real-{name}"] if e["samples"] == size and kind in (None, e["cell_type"])]
            found = totals(entries)
            # by cell type, only the two compared methods; over all types, all methods
            several = sum(part[0] == size for part in parts) > 1
            brief = ("eb_lr", "edger_ql") if kind is not None and several else tuple(found)
            for k, method in enumerate([m for m in ordered(found) if m in brief]):
                total = found[method]
                spread = np.std([rate[0] for rate in total.rates], ddof=1) if total.sets > 1 else np.nan
                half = over_draws(entries, method)
                if jackknife is not None:
                    table = jackknife[jackknife["samples"] == size]
                    half = over_donors(table if kind is None else table[table["cell_type"] == kind], method)
                limits = [percent(max(total.rate(0.05) + side * half, 0.0)) for side in (-1, 1)]
                rows.append(
                    [
                        f"{name}, {kind or 'all types'}, {size} donors" if k == 0 else "",
                        str(total.sets) if k == 0 else "",
                        label(method),
                        rates(total),
                        f"{limits[0]} to {limits[1]}" if np.isfinite(half) else "",
                        percent(spread),
                        f"{total.sets_with_hit} of {total.sets}",
                    ]
                )
    head = ["data", "splits", "method", "rejected at 5 / 1 / 0.1 %", "95 % interval at 5 %", "SD of splits", "any hit"]
    return markdown(head, rows) if rows else "Not run."


def real_names(stored: Stored) -> list[str]:
    """List the data sets of real counts."""
    return [n.removeprefix("real-") for n in stored if n.startswith("real-") and not n.endswith(SIMULATED)]


def over_donors(table: pd.DataFrame, method: str) -> float:
    """Compute half the width of the interval by leaving out each donor; NaN if this was not run."""
    if not (table["method"] == method).any():
        return np.nan
    error, df, _ = donor_error(table, method)
    return half_width(error, df)


def over_draws(entries: list[dict], method: str) -> float:
    """Compute half the width of the interval from the spread of rates if each split draws new donors; otherwise NaN."""
    if len({tuple(sorted(entry["donors"])) for entry in entries}) <= len({e["cell_type"] for e in entries}):
        return np.nan
    sums: dict[int, np.ndarray] = {}
    for entry in entries:
        if method in entry["methods"]:
            null = entry["methods"][method]["null"]
            sums[entry["rep"]] = sums.get(entry["rep"], np.zeros(2)) + [null["0.05"], null["n"]]
    if len(sums) < 3:
        return np.nan
    each = np.array([hits / n for hits, n in sums.values()])
    return half_width(float(np.std(each, ddof=1) / np.sqrt(len(each))), len(each) - 1)


def abundance_table(stored: Stored) -> str:
    """Build a table of rejections at 5 % by counts per sample, in real data and in draws from the fitted model."""
    names = strata_names()
    rows = []
    for name in sorted(n for n in stored if n.startswith("real-")):
        entries = [e for e in stored[name] if "eb_lr" in e["methods"]]
        with_strata = [e for e in entries if "all" not in e["methods"]["eb_lr"]["strata"]]
        for k, (method, total) in enumerate((m, totals(with_strata).get(m)) for m in ("eb_lr", "p_hk")):
            if total is None:
                continue
            genes = [total.strata.get(s, {}).get("n", 0) for s in names]
            cells = [
                f"{percent(total.strata[s]['0.05'] / n, 2)} ({100 * n / sum(genes):.0f})" if n else ""
                for s, n in zip(names, genes, strict=True)
            ]
            words = name.removeprefix("real-").replace(SIMULATED, ", simulated from its fits")
            words = f"{words}, {len({e['rep'] for e in with_strata})} splits"
            rows.append([words if k == 0 else "", label(method), *cells, percent(total.rate(0.05), 2)])
    return markdown(["data", "method", *names, "all"], rows) if rows else "Not run."
