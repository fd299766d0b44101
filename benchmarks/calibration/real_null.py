"""Real data without a difference: donors of one condition are split at random into two groups.

    python real_null.py kang8.h5ad --donor donor --where stim=ctrl --cell-type cell_type --cells 3
    python real_null.py onek1k_40.h5ad --donor indiv --cell-type cell_type --samples 6,8,12,20 --splits 12 --cells 10

Without --samples all donors are used, and with 8 of them all 35 splits in halves. Every method is given the same size
factors: library size times the pooled factor of the donor (``sc_glmm.pp.size_factors``). The data are not part of the
project: Kang 2018 is GSE96583, OneK1K is GSE196830.
"""

from __future__ import annotations

import itertools
import json
import time
import warnings
import zlib
from pathlib import Path
from typing import Annotated

import anndata as ad
import numpy as np
import pandas as pd
import typer
from measures import measure
from methods import R_METHODS, Tested, pseudobulk, run_ours, run_r, versions
from run import line, warm_up, write
from scipy import sparse

import sc_glmm

MIN_TOTAL = 10


def main(
    path: Annotated[Path, typer.Argument(help="AnnData with counts in X or layers['counts'].")],
    donor: Annotated[str, typer.Option(help="Column of the donors.")],
    cell_type: Annotated[str, typer.Option(help="Column of the cell types; each is tested by itself.")],
    where: Annotated[str, typer.Option(help="Keep these cells: column=value.")] = "",
    cells: Annotated[int, typer.Option(help="Donors need this many cells of the type.")] = 3,
    samples: Annotated[str, typer.Option(help="Numbers of donors to draw, by commas; default all.")] = "",
    splits: Annotated[int, typer.Option(help="Splits for each number of donors.")] = 35,
    methods: Annotated[str, typer.Option(help="By commas.")] = "eb_lr,ml_wald,edger_ql,limma_voom,deseq2",
    name: Annotated[str, typer.Option(help="Name of the results; default the file's.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 2026,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path(__file__).parent / "results",
    until: Annotated[str, typer.Option(help="Start no new split after this time of day, HH:MM.")] = "",
) -> None:
    """Test splits of real data; what is stored already is not run again."""
    adata = ad.read_h5ad(path)
    adata.X = sparse.csr_matrix(adata.layers["counts"] if "counts" in adata.layers else adata.X)
    if where:
        column, value = where.split("=")
        adata = adata[adata.obs[column].astype(str) == value].copy()
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"real-{name or path.stem}.json"
    wanted = methods.split(",")
    warm_up(wanted)
    for split, kind, size in itertools.product(
        range(splits), sorted(adata.obs[cell_type].unique()), [int(s) for s in samples.split(",") if s] or [None]
    ):
        if until and time.strftime("%H:%M") >= until:
            return
        run_split(adata[adata.obs[cell_type] == kind], donor, str(kind), size, split, cells, seed, wanted, target)


def splits_in_halves(donors: list[str]) -> list[tuple[str, ...]]:
    """Every way to split them in halves (or nearly), each once."""
    half = len(donors) // 2
    # Of two equal halves, the one without the first donor.
    return list(itertools.combinations(donors if len(donors) % 2 else donors[1:], half))


def draw_split(donors: list[str], size: int | None, split: int, rng: np.random.Generator) -> tuple[list[str], set[str]]:
    """Donors of the data set, and those of group b."""
    if size is None:
        every = splits_in_halves(donors)
        order = np.random.default_rng(0).permutation(len(every))
        return donors, set(every[order[split]]) if split < len(every) else set()
    drawn = [str(d) for d in rng.choice(donors, size, replace=False)]
    return drawn, set(drawn[: size // 2])


def run_split(
    adata: ad.AnnData,
    donor: str,
    kind: str,
    size: int | None,
    split: int,
    cells: int,
    seed: int,
    wanted: list[str],
    target: Path,
) -> None:
    """Test one split of one cell type, with those methods that have not been run on it."""
    n_cells = adata.obs[donor].astype(str).value_counts()
    donors = sorted(n_cells.index[n_cells >= cells])
    if len(donors) < (size or 6):
        return
    rng = np.random.default_rng([seed, split, size or 0, zlib.crc32(kind.encode())])
    drawn, second = draw_split(donors, size, split, rng)
    stored = json.loads(target.read_text()) if target.exists() else {"scenario": target.stem, "seed": seed, "sets": []}
    key = {"cell_type": kind, "samples": len(drawn), "rep": split}
    entry = next((e for e in stored["sets"] if all(e[k] == v for k, v in key.items())), None)
    todo = [m for m in wanted if entry is None or m not in entry["methods"]]
    if not todo or not second:
        return
    data = adata[adata.obs[donor].astype(str).isin(drawn)].copy()
    labels = data.obs[donor].astype(str)
    data.obs = pd.DataFrame(
        {"donor": pd.Categorical(labels), "cond": pd.Categorical(np.where(labels.isin(second), "b", "a"))},
        index=data.obs_names,
    )
    data.layers["counts"] = data.X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        sc_glmm.pp.size_factors(data, sample_key="donor", layer="counts", key_added="size_factor")
    # A cell without a count tells nothing and has no size factor.
    data = data[data.obs["size_factor"] > 0, np.asarray(data.X.sum(axis=0)).ravel() >= MIN_TOTAL].copy()
    results: dict[str, Tested] = {}
    for method in [m for m in todo if m not in R_METHODS]:
        results[method] = run_ours(method, data, "counts ~ cond + (1|donor)", "cond")
        if results[method].p_hk is not None:
            results["p_hk"] = Tested(results[method].p_hk, results[method].seconds)
    others, found = run_r([m for m in todo if m in R_METHODS], pseudobulk(data, "donor", "1 + cond", "cond"))
    results |= others
    if entry is None:
        entry = {**key, "genes": data.n_vars, "b": sorted(second), "donors": sorted(drawn), "methods": {}}
        stored["sets"].append(entry)
    entry["versions"] = {**entry.get("versions", {}), **versions(), **found}
    effect, strata = np.zeros(data.n_vars), np.full(data.n_vars, "all")
    for method, result in results.items():
        values = measure(result.p, effect, strata)
        values["ms_per_gene"] = round(1e3 * result.seconds / data.n_vars, 4)
        entry["methods"][method] = {**values, **(result.notes or {})}
        print(line(f"{kind} S={len(drawn)}", split, method, values), flush=True)
    write(target, stored)


if __name__ == "__main__":
    typer.run(main)
