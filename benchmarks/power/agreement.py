"""Compare power as computed, as simulated, and as observed for the default test at known truth.

    python agreement.py truth --reps 6     the genes of datasets.simulate as assumptions
    python agreement.py pilot --reps 4     a pilot of datasets.simulate as data
    python agreement.py report

Results are stored in results.json by design; stored results are not computed again.
"""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from pathlib import Path
from typing import Annotated

import anndata as ad
import numpy as np
import pandas as pd
import typer

import sc_glmm

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "how_many_samples.md"
app = typer.Typer(add_completion=False)
# design, samples, cells of a sample, log2 fold change
GRID = [
    ("unpaired", 6, 400, 1.5),
    ("unpaired", 8, 100, 1.0),
    ("unpaired", 8, 400, 1.0),
    ("unpaired", 12, 25, 1.5),
    ("unpaired", 12, 50, 1.0),
    ("unpaired", 12, 200, 1.0),
    ("unpaired", 20, 25, 1.0),
    ("unpaired", 20, 100, 0.5),
    ("unpaired", 20, 100, 1.0),
    ("unpaired", 40, 50, 0.7),
    ("paired", 12, 100, 1.0),
    ("paired", 16, 50, 1.0),
    ("paired", 20, 100, 0.7),
    ("paired", 32, 50, 0.7),
]
FRAC_DE = 0.15


def simulated(design: str, n: int, cells: int, log_fc: float, seed: int, n_genes: int) -> ad.AnnData:
    """Simulate a data set with known truth."""
    return sc_glmm.datasets.simulate(
        n_samples=n, n_cells=n * cells, n_genes=n_genes, design=design, log_fc=(log_fc, log_fc), frac_de=FRAC_DE,
        imbalance=0.0, seed=seed,
    )  # fmt: skip


def tested(adata: ad.AnnData) -> tuple[float, int]:
    """Compute the share of genes with an effect that the default test finds at FDR 5 %, and the number of tests."""
    sc_glmm.tl.test(adata, adata.uns["truth"]["formula"], size_factors="true_size_factor", progress=False, n_jobs=1)
    table = sc_glmm.get.results(adata)
    which = adata.var["is_de"].to_numpy() & table["tested"].to_numpy()
    return float((table["adj_p_value"] < 0.05).to_numpy()[which].mean()), int(table["tested"].sum())


def assumed(adata: ad.AnnData) -> pd.DataFrame:
    """Convert the truth to assumptions of the power calculation."""
    var = adata.var
    frame = pd.DataFrame({"dispersion": var["true_dispersion"], "sd": var["true_sd_sample"]})
    frame["mean"] = var["true_mean"] * float(adata.obs["true_size_factor"].mean())
    if "true_sd_donor" in var:
        frame["donor_sd"] = var["true_sd_donor"]
    return frame


def store_result(name: str, value: dict) -> None:
    """Store a result."""
    stored = read_results()
    stored[name] = value
    (HERE / "results.json").write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


def read_results() -> dict:
    """Read all results."""
    path = HERE / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


@app.command()
def truth(reps: Annotated[int, typer.Option()] = 6, genes: Annotated[int, typer.Option()] = 1200) -> None:
    """Compute power from the true parameters of genes."""
    for design, n, cells, log_fc in GRID:
        name = f"truth {design} {n} {cells} {log_fc:g}"
        if name in read_results():
            continue
        found, analytic, by_simulation, seconds = [], [], [], []
        for seed in range(reps):
            adata = simulated(design, n, cells, log_fc, 1000 + seed, genes)
            share, n_tests = tested(adata)
            options = {
                "n_samples": n, "cells_per_sample": cells, "log_fc": log_fc, "frac_de": FRAC_DE, "design": design,
                "n_tests": n_tests, "seed": seed,
            }  # fmt: skip
            start = time.process_time()
            analytic.append(float(sc_glmm.power(assumed(adata), method="analytic", **options).overall["power"].iloc[0]))
            seconds.append(time.process_time() - start)
            if seed < 3:
                result = sc_glmm.power(assumed(adata), method="simulation", **options)
                by_simulation.append(float(result.overall["power"].iloc[0]))
            found.append(share)
        store_result(name, {"found": found, "analytic": analytic, "simulation": by_simulation, "seconds": seconds})
        print(name, np.round([np.mean(found), np.mean(analytic), np.mean(by_simulation)], 3), flush=True)


@app.command()
def pilot(reps: Annotated[int, typer.Option()] = 4, genes: Annotated[int, typer.Option()] = 1200) -> None:
    """Predict larger studies from a pilot of 8 samples of 100 cells (16 samples if they are paired)."""
    for design, n, cells, log_fc in [d for d in GRID if d[1] >= 12]:
        name = f"pilot {design} {n} {cells} {log_fc:g}"
        if name in read_results():
            continue
        found, planned = [], []
        for seed in range(reps):
            small = simulated(design, 16 if design == "paired" else 8, 100, 0.5, 2000 + seed, genes)
            tested(small)
            result = sc_glmm.power(small, n_samples=n, cells_per_sample=cells, log_fc=log_fc, frac_de=FRAC_DE)
            planned.append(float(result.overall["power"].iloc[0]))
            found.append(tested(simulated(design, n, cells, log_fc, 3000 + seed, genes))[0])
        store_result(name, {"found": found, "planned": planned})
        print(name, np.round([np.mean(found), np.mean(planned)], 3), flush=True)


@app.command()
def report() -> None:
    """Write the table of the page on the number of samples."""
    stored = read_results()
    lines = [
        "| design | samples | cells per sample | log2 fold change | found | computed | simulated |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for design, n, cells, log_fc in GRID:
        known = stored.get(f"truth {design} {n} {cells} {log_fc:g}")
        if known is None:
            continue
        se = np.std(known["found"], ddof=1) / np.sqrt(len(known["found"]))
        row = [design, str(n), str(cells), f"{log_fc:g}", f"{100 * np.mean(known['found']):.1f} ± {100 * se:.1f}"]
        row += [f"{100 * np.mean(known[which]):.1f}" for which in ("analytic", "simulation")]
        lines.append(f"| {' | '.join(row)} |")
    pilots = ["| design | samples | cells per sample | log2 fold change | found | predicted from pilots |"]
    pilots.append("| --- | --- | --- | --- | --- | --- |")
    for design, n, cells, log_fc in GRID:
        known = stored.get(f"pilot {design} {n} {cells} {log_fc:g}")
        if known is None:
            continue
        planned = 100 * np.array(known["planned"])
        row = [design, str(n), str(cells), f"{log_fc:g}", f"{100 * np.mean(known['found']):.0f}"]
        row.append(f"{planned.mean():.0f} ({planned.min():.0f} to {planned.max():.0f})")
        pilots.append(f"| {' | '.join(row)} |")
    text = PAGE.read_text()
    for name, table in (("power", lines), ("pilots", pilots)):
        whole = "\n".join(table)
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, whole=whole: f"{found[1]}\n{whole}\n\n{found[2]}", text, flags=re.DOTALL)
    PAGE.write_text(text)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    app()
