"""Compare the default test without hidden factors, with estimated factors, and with the true factors.

    python latent.py simulated --reps 10
    python latent.py real onek1k_40.h5ad --sample indiv --splits 25
    python latent.py thinned onek1k_40.h5ad --sample indiv --splits 10
    python latent.py number onek1k_40.h5ad --sample indiv --splits 10
    python latent.py stimulation kang8.h5ad
    python latent.py programme
    python latent.py report

Simulated: a third of the genes depend on one or two factors of the samples, whose correlation with the arms is exactly
r. Real: random arms of real donors, so that every discovery is false. Thinned: the same with fold changes put in by
binomial thinning. Number: the same with one factor fewer and one more. Stimulation: an effect that is a programme.
Results are stored in results/latent_*.json, data set by data set, and are not run again.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import anndata as ad
import numpy as np
import pandas as pd
import typer

import sc_glmm

RESULTS = Path(__file__).parent / "results"
app = typer.Typer(add_completion=False)
N_CELLS = 15


def simulate(seed: int, n_samples: int, n_factors: int, r: float, n_genes: int = 1000) -> ad.AnnData:
    """Simulate samples in two arms; a third of the genes depend on each factor, a tenth differ between the arms."""
    rng = np.random.default_rng([seed, n_samples, n_factors, int(100 * r)])
    arm = np.repeat([0.0, 1.0], n_samples // 2)
    side = (arm - arm.mean()) / arm.std()
    hidden = rng.normal(size=(n_samples, n_factors))
    hidden -= hidden.mean(axis=0)
    if r > 0:
        hidden -= np.outer(side, side @ hidden) / n_samples
        # with two factors r is the multiple correlation
        hidden = (np.linalg.qr(hidden)[0] * np.sqrt(n_samples)) * np.sqrt(1 - r**2 / n_factors) + (
            side[:, None] * r / np.sqrt(n_factors)
        )
    hidden = hidden / np.where(hidden.std(axis=0) > 0, hidden.std(axis=0), 1.0)
    loading = 0.45 * rng.normal(size=(n_factors, n_genes)) * (rng.random((n_factors, n_genes)) < 0.35)
    differs = rng.random(n_genes) < 0.1
    effect = np.where(differs, rng.uniform(0.5, 1.5, n_genes) * np.log(2) * rng.choice([-1, 1], n_genes), 0.0)
    sd = 0.22 * np.exp(rng.normal(0, 0.4, n_genes)) * (rng.random(n_genes) > 0.15)
    mean = np.exp(rng.normal(np.log(60.0 / N_CELLS), 1.2, n_genes))
    eta = np.log(mean) + np.outer(arm, effect) + hidden @ loading + sd * rng.normal(size=(n_samples, n_genes))
    sample = np.repeat(np.arange(n_samples), rng.poisson(N_CELLS - 5, n_samples) + 5)
    size = np.exp(rng.normal(0, 0.4, n_samples)[sample] + rng.normal(0, 0.3, len(sample)))
    mu = np.exp(eta[sample]) * size[:, None]
    counts = rng.poisson(mu * rng.gamma(2.0, 0.5, mu.shape)).astype(np.float64)
    obs = pd.DataFrame({"sample": [f"s{s:02d}" for s in sample], "arm": np.where(arm[sample] > 0, "b", "a")})
    for j in range(n_factors):
        obs[f"hidden_{j + 1}"] = hidden[sample, j]
    out = ad.AnnData(counts, obs=obs.set_index(obs.index.astype(str)))
    out.var["differs"] = differs
    out.var["follows"] = np.abs(loading).sum(axis=0) > 0.3
    return out


def tested(adata: ad.AnnData, factors: list[str]) -> pd.DataFrame:
    """Run the default test of the arms with some columns of obs in the formula."""
    formula = " + ".join(["X ~ arm", *factors, "(1|sample)"])
    sc_glmm.tl.test(adata, formula, contrasts="arm", min_counts=10, n_jobs=1, progress=False, key_added="run")
    return sc_glmm.get.results(adata, "run", columns="all").reset_index(drop=True)


def measures(adata: ad.AnnData, table: pd.DataFrame) -> dict[str, float]:
    """Compute rejections of nulls at 5 % and .1 %, false discoveries, and power at FDR 5 %."""
    finite = table["p_value"].notna().to_numpy()
    differs = adata.var["differs"].to_numpy() if "differs" in adata.var else np.zeros(adata.n_vars, dtype=bool)
    differs = differs[adata.var_names.get_indexer(table["variable"])]
    p, found = table["p_value"].to_numpy(), (table["adj_p_value"] < 0.05).to_numpy()
    null = finite & ~differs
    return {
        "n_null": int(null.sum()),
        "at_05": float((p[null] < 0.05).mean()),
        "at_001": float((p[null] < 0.001).mean()),
        "found": int(found.sum()),
        "false": int((found & ~differs).sum()),
        "power": float(found[finite & differs].mean()) if differs.any() else float("nan"),
    }


def run(adata: ad.AnnData, oracle: list[str] | None = None) -> dict[str, object]:
    """Run the test without factors, with estimated factors, and with the true factors."""
    sc_glmm.pp.latent_factors(adata, "X ~ arm + (1|sample)", n_jobs=1)
    columns = list(adata.uns["latent"]["columns"])
    out: dict[str, object] = {"n_factors": len(columns), "without": measures(adata, tested(adata, []))}
    out["with"] = measures(adata, tested(adata, columns)) if columns else out["without"]
    if oracle is not None:
        out["oracle"] = measures(adata, tested(adata, oracle)) if oracle else out["without"]
    return out


def read_results(name: str) -> dict[str, dict[str, object]]:
    path = RESULTS / f"latent_{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def store_result(name: str, results: dict[str, dict[str, object]]) -> None:
    (RESULTS / f"latent_{name}.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


@app.command()
def simulated(reps: Annotated[int, typer.Option(help="Data sets of each design.")] = 10) -> None:
    """Run simulated data with no, one and two factors."""
    results = read_results("simulated")
    for rep in range(reps):
        for n_samples in (12, 20, 40):
            for n_factors, r in ((0, 0.0), (1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5)):
                name = f"S={n_samples} factors={n_factors} r={r} rep={rep}"
                if name in results:
                    continue
                adata = simulate(rep, n_samples, n_factors, r)
                results[name] = run(adata, [f"hidden_{j + 1}" for j in range(n_factors)])
                store_result("simulated", results)


def split(data: ad.AnnData, sample: str, n_samples: int, seed: int) -> ad.AnnData:
    """Draw some of the donors in two random arms."""
    rng = np.random.default_rng(1000 + seed)
    donors = np.sort(data.obs[sample].astype(str).unique())
    chosen = donors[rng.permutation(len(donors))[:n_samples]]
    arm = dict(zip(chosen, np.repeat(["a", "b"], n_samples // 2), strict=True))
    adata = data[data.obs[sample].astype(str).isin(chosen)].copy()
    adata.obs["sample"] = adata.obs[sample].astype(str)
    adata.obs["arm"] = adata.obs["sample"].map(arm)
    return adata


def thin(adata: ad.AnnData, seed: int) -> None:
    """Put log2 fold changes of 0.5 to 1 into 5 % of the genes with 10 counts, by thinning the counts of one arm."""
    rng = np.random.default_rng(seed)
    counts = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.int64)
    changed = np.zeros(adata.n_vars, dtype=bool)
    changed[rng.permutation(np.flatnonzero(counts.sum(axis=0) >= 100))[: adata.n_vars // 20]] = True
    for gene in np.flatnonzero(changed):
        cells = (adata.obs["arm"] == rng.choice(["a", "b"])).to_numpy()
        counts[cells, gene] = rng.binomial(counts[cells, gene], 2.0 ** -rng.uniform(0.5, 1.0))
    adata.X = counts.astype(np.float64)
    adata.var["differs"] = changed


def run_near(adata: ad.AnnData) -> dict[str, object]:
    """Run the test with one factor fewer than the function finds, with its number, and with one more."""
    sc_glmm.pp.latent_factors(adata, "X ~ arm + (1|sample)", n_jobs=1)
    found = len(adata.uns["latent"]["columns"])
    tables = {}
    for way, number in (("fewer", found - 1), ("with", found), ("more", found + 1)):
        sc_glmm.pp.latent_factors(adata, "X ~ arm + (1|sample)", n_factors=max(number, 0), n_jobs=1)
        tables[way] = tested(adata, list(adata.uns["latent"]["columns"]))
    hits = {way: set(table["variable"][table["adj_p_value"] < 0.05]) for way, table in tables.items()}
    out: dict[str, object] = {"n_factors": found}
    for way, table in tables.items():
        out[way] = {**measures(adata, table), "shared": len(hits[way] & hits["with"])}
    return out


def over_splits(
    name: str, path: Path, sample: str, splits: int, thinned: bool, how: Callable[..., dict[str, object]] = run
) -> None:
    results, data = read_results(name), ad.read_h5ad(path)
    data.X = data.layers["counts"]
    types = {"all types": data, "cd4nc": data[data.obs["cell_type"] == "cd4nc"]}
    for seed in range(splits):
        for kind, cells in types.items():
            for n_samples in (20, 40):
                entry = f"{kind} S={n_samples} split={seed}"
                if entry in results:
                    continue
                adata = split(cells, sample, n_samples, seed)
                if thinned:
                    thin(adata, seed)
                results[entry] = how(adata)
                store_result(name, results)


@app.command()
def real(path: Path, sample: str = "indiv", splits: int = 25) -> None:
    """Run random arms of real donors."""
    over_splits("real", path, sample, splits, False)


@app.command()
def thinned(path: Path, sample: str = "indiv", splits: int = 10) -> None:
    """Run random arms of real donors, with inserted fold changes."""
    over_splits("thinned", path, sample, splits, True)


@app.command()
def number(path: Path, sample: str = "indiv", splits: int = 10) -> None:
    """Run random arms of real donors, with inserted fold changes, with one factor fewer and one more."""
    over_splits("number", path, sample, splits, True, run_near)


@app.command()
def stimulation(path: Path) -> None:
    """Run interferon in every second sample of kang8, where the programme of the genes is the effect."""
    data = ad.read_h5ad(path)
    data.X = data.layers["counts"]
    cells = data[data.obs["cell_type"] == data.obs["cell_type"].value_counts().index[0]].copy()
    cells.obs["arm"] = cells.obs["stim"]
    cells.obs["sample"] = cells.obs["sample"].astype(str)
    out: dict[str, object] = {}
    for n in (0, 1, 2, "auto"):
        sc_glmm.pp.latent_factors(cells, "X ~ arm + (1|sample)", n_factors=n, n_jobs=1)
        columns = list(cells.uns["latent"]["columns"])
        found = sc_glmm.get.latent_factors(cells)
        table = tested(cells, columns)
        out[f"n_factors={n}"] = {
            "columns": columns,
            "r_tested": [float(r) for r in found["r_tested"]] if len(found) else [],
            "found": int((table["adj_p_value"] < 0.05).sum()),
            "ISG15": float(table.set_index("variable")["p_value"].get("ISG15", float("nan"))),
        }
    print(json.dumps(out, indent=1))
    store_result("stimulation", out)


@app.command()
def programme(reps: int = 5) -> None:
    """Run a programme that is the effect: it differs between the arms (r = 0.8), and its genes should be found."""
    results = read_results("programme")
    for rep in range(reps):
        for n_samples in (20, 40):
            name = f"S={n_samples} rep={rep}"
            if name not in results:
                adata = simulate(rep, n_samples, 1, 0.8)
                adata.var["differs"] = adata.var["follows"]
                results[name] = run(adata)
                store_result("programme", results)


def table_row(sets: list[dict[str, dict[str, float]]]) -> dict[str, str]:
    """Format one row of a table: the numbers without, with estimated and with true factors."""
    ways = ("without", "fewer", "with", "more", "oracle")
    frames = {way: pd.DataFrame([s[way] for s in sets]) for way in ways if way in sets[0]}
    fdr = {way: (f["false"] / f["found"].clip(lower=1)).mean() for way, f in frames.items()}
    return {
        "data sets": str(len(sets)),
        "factors (mean)": f"{np.mean([s['n_factors'] for s in sets]):.1f}",
        "nulls at 5 %": ", ".join(f"{100 * f['at_05'].mean():.1f}" for f in frames.values()),
        "SD": ", ".join(f"{100 * f['at_05'].std():.1f}" for f in frames.values()),
        "with a false discovery": ", ".join(str(int((f["false"] > 0).sum())) for f in frames.values()),
        "FDR at 5 %": ", ".join(f"{100 * fdr[way]:.1f}" for way in frames),
        "power": ", ".join(f"{f['power'].mean():.2f}" for f in frames.values()),
        "found": ", ".join(str(int(f["found"].sum())) for f in frames.values()),
        "also found by its number": ", ".join(str(int(f["shared"].sum())) for f in frames.values() if "shared" in f),
    }


@app.command()
def report() -> None:
    """Print the tables of the documentation."""
    for name in ("simulated", "real", "thinned", "number", "programme"):
        table: dict[str, list[dict[str, dict[str, float]]]] = {}
        for entry, result in read_results(name).items():
            table.setdefault(entry.rsplit(" ", 1)[0], []).append(result)
        rows = {design: table_row(sets) for design, sets in sorted(table.items())}
        print(f"\n{name}\n| design | {' | '.join(next(iter(rows.values())))} |")
        print("|" + "---|" * (1 + len(next(iter(rows.values())))))
        for design, row in rows.items():
            print(f"| {design} | {' | '.join(row.values())} |")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    app()
