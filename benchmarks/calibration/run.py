"""Simulate data, test them with every method, and store counts of rejections: one JSON file per scenario.

    python run.py 'grid-*' --genes 22500 --reps 4 --methods eb_lr,edger_ql,limma_voom,deseq2
    python run.py power-S8 --genes 20000 --reps 2

Data sets and methods in the file are not run again, so an interrupted run can be continued.
"""

from __future__ import annotations

import fnmatch
import json
import time
from pathlib import Path
from typing import Annotated

import anndata as ad
import numpy as np
import pandas as pd
import typer
from measures import measure
from methods import METHODS, OTHERS, Tested, run_ours, versions
from others import run_others
from scenarios import SCENARIOS
from simulate import Scenario, simulate

DEFAULT = "eb_lr,ml_wald,edger_ql,limma_voom,deseq2"
N_STRATA = 5


def main(
    pattern: Annotated[str, typer.Argument(help="Scenarios, with wildcards, separated by commas.")],
    genes: Annotated[int, typer.Option(help="Number of genes of a data set.")] = 5000,
    reps: Annotated[int, typer.Option(help="Number of data sets, with seeds 0, 1, 2...")] = 1,
    methods: Annotated[str, typer.Option(help=f"Methods, separated by commas: {', '.join(METHODS)}.")] = DEFAULT,
    seed: Annotated[int, typer.Option(help="Seed of the benchmark.")] = 2026,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path(__file__).parent / "results",
    keep_p: Annotated[
        Path | None, typer.Option(help="Folder for the p-values; by default they are not stored.")
    ] = None,
    until: Annotated[str, typer.Option(help="Start no new data set after this time of day, HH:MM.")] = "",
) -> None:
    """Run the scenarios whose names match."""
    chosen = [s for name, s in SCENARIOS.items() if any(fnmatch.fnmatch(name, p) for p in pattern.split(","))]
    if not chosen:
        raise typer.BadParameter(f"no scenario matches {pattern!r}; see python simulate.py --list")
    wanted = methods.split(",")
    unknown = sorted(set(wanted) - set(METHODS))
    if unknown:
        raise typer.BadParameter(f"unknown methods {unknown}; there are {list(METHODS)}")
    out.mkdir(parents=True, exist_ok=True)
    warm_up(wanted)
    for rep in range(reps):
        for scenario in chosen:
            if until and time.strftime("%H:%M") >= until:
                print(f"stopped before {scenario.name}, data set {rep}: it is {until}")
                return
            run_data_set(scenario, genes, seed, rep, wanted, out, keep_p)


def warm_up(wanted: list[str]) -> None:
    """Compile our kernels first, so that the time of no method includes it."""
    scenario = SCENARIOS["power-S6"]
    data = simulate(scenario, 300, seed=0)
    for method in [m for m in wanted if m not in OTHERS]:
        run_ours(method, data.adata, scenario.formula, scenario.tested)


def run_data_set(
    scenario: Scenario, genes: int, seed: int, rep: int, wanted: list[str], out: Path, keep_p: Path | None
) -> None:
    """Test one data set by the methods without a stored result."""
    path = out / f"{scenario.name}.json"
    done = entry_of(read(path, scenario, seed), rep, genes)["methods"]
    todo = [m for m in wanted if m not in done]
    if not scenario.pseudobulk:
        todo = [m for m in todo if m not in OTHERS]
    if not todo:
        return
    data = simulate(scenario, genes, seed, rep)
    total = np.asarray(data.adata.layers["counts"].sum(axis=0)).ravel()
    tested = data.adata[:, total >= (5 if scenario.family == "sparse" else 10)].copy()
    effect, strata = tested.var["effect"].to_numpy(), strata_of(scenario, tested)
    results, found = run_methods(scenario, tested, todo)
    # read again, because another run may have added its methods meanwhile
    stored = read(path, scenario, seed)
    entry = entry_of(stored, rep, genes)
    entry["tested"] = tested.n_vars
    entry["versions"] = {**entry.get("versions", {}), **versions(), **found}
    for name, result in results.items():
        values = measure(
            result.p,
            effect,
            strata,
            result.interval,
            minimum=np.log(2.0) * scenario.min_log_fc,
            alternative=scenario.alternative,
        )
        values["ms_per_gene"] = round(1e3 * result.seconds / tested.n_vars, 4)
        values |= result.notes or {}
        entry["methods"][name] = values
        print(line(scenario.name, rep, name, values), flush=True)
    write(path, stored)
    if keep_p is not None:
        keep_p.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame({name: result.p for name, result in results.items()}, index=tested.var_names)
        target = keep_p / f"{scenario.name}-{genes}-{rep}-{'-'.join(todo)}.csv.gz"
        tested.var.join(frame).to_csv(target, float_format="%.6g")


def read(path: Path, scenario: Scenario, seed: int) -> dict:
    """Read the stored results of a scenario."""
    if path.exists():
        return json.loads(path.read_text())
    return {"scenario": scenario.name, "words": scenario.words, "seed": seed, "sets": []}


def entry_of(stored: dict, rep: int, genes: int) -> dict:
    """Find the entry of a data set, or create it."""
    for entry in stored["sets"]:
        if (entry["rep"], entry["genes"]) == (rep, genes):
            return entry
    stored["sets"].append({"rep": rep, "genes": genes, "methods": {}})
    stored["sets"].sort(key=lambda e: (e["genes"], e["rep"]))
    return entry_of(stored, rep, genes)


def run_methods(scenario: Scenario, adata: ad.AnnData, todo: list[str]) -> tuple[dict[str, Tested], dict[str, str]]:
    """Run the methods; return results by name, with ``p_hk`` of the default test and further formulas."""
    results: dict[str, Tested] = {}
    found: dict[str, str] = {}
    for method in [m for m in todo if m not in OTHERS]:
        results[method] = run_ours(
            method,
            adata,
            scenario.formula,
            scenario.tested,
            min_log_fc=scenario.min_log_fc,
            alternative=scenario.alternative,
        )
        if results[method].p_hk is not None:
            results["p_hk"] = Tested(results[method].p_hk, results[method].seconds)
        if method == "eb_lr":
            for label, formula in scenario.also.items():
                results[f"{method}: {label}"] = run_ours(method, adata, formula, scenario.tested)
    if scenario.pseudobulk:
        others, found = run_others(todo, adata, scenario.unit, scenario.fixed, scenario.tested)
        results |= others
    missing = sorted(set(todo) - set(results))
    if missing:
        print(f"{scenario.name}: not installed, left out: {', '.join(missing)}")
    return results, found


def strata_of(scenario: Scenario, adata: ad.AnnData) -> np.ndarray:
    """Label the genes by their point of the grid, or else by their fifth of abundance."""
    var = adata.var
    if scenario.law.grid is not None:
        return (var["mean"].map("{:g}".format) + " | " + var["variance"].map("{:g}".format)).to_numpy(str)
    if scenario.law.values is not None:
        return ("variance " + var["variance"].map("{:g}".format)).to_numpy(str)
    total = np.asarray(adata.layers["counts"].sum(axis=0)).ravel()
    edges = np.quantile(total, np.arange(1, N_STRATA) / N_STRATA)
    return np.array([f"fifth {k + 1}" for k in np.digitize(total, edges)])


def line(scenario: str, rep: int, method: str, values: dict) -> str:
    """Format one line of progress."""
    null, hits = values["null"], values["discoveries"]
    rates = " ".join(f"{null[k] / max(null['n'], 1):.4f}" for k in ("0.05", "0.01", "0.001"))
    false = hits["false"] / max(hits["hits"], 1)
    text = f"{scenario:22s} {rep} {method:22s} {rates}  FDR {false:.3f} of {hits['hits']:5d}"
    if "power" in values:
        power = values["power"]
        text += f" power {power['found'] / power['differential']:.3f} / {power['at_true_fdr']:.3f}"
    if "coverage" in values:
        parts = values["coverage"].values()
        text += f" covers {sum(c['covered'] for c in parts) / max(sum(c['n'] for c in parts), 1):.3f}"
    return f"{text}  {values['ms_per_gene']:.2f} ms, {values['missing']} missing"


def write(path: Path, stored: dict) -> None:
    """Replace the file in one step, so that an interrupted run leaves a complete file; each measure is one line."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(stored, indent=None, separators=(",", ":")).replace('{"rep"', '\n{"rep"') + "\n")
    partial.replace(path)


if __name__ == "__main__":
    typer.run(main)
