"""Simulate data for the golden record, without the package, so that the data do not change with it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

REFERENCE = Path(__file__).resolve().parents[2] / "tests" / "reference"
N_GENES = 56
CELLS_PER_SAMPLE = 24


def _samples(n: int) -> pd.DataFrame:
    """Make one row per sample, disease and dose between donors, two samples each; stimulation and batch in donors."""
    i = np.arange(n)
    return pd.DataFrame(
        {
            "sample": [f"s{j:02d}" for j in i],
            "donor": [f"d{j // 2:02d}" for j in i],
            "stim": np.where(i % 2 == 0, "ctrl", "stim"),
            "disease": np.where(i < n // 2, "ctl", "AD"),
            "stage": np.array(["none", "mild", "late"])[(i // 2) % 3],
            "batch": np.array(["b1", "b2", "b3"])[(i + i // 3) % 3],
            "age": np.round(50.0 + 12.0 * np.sin(1.7 * (i // 2)) + (i // 2), 1),
        }
    )


@cache
def simulated(n_samples: int = 12, seed: int = 12) -> ad.AnnData:
    """Simulate 56 genes: some with no or few counts, separated, Poisson, or with a very large count."""
    rng = np.random.default_rng(seed)
    table = _samples(n_samples)
    size = CELLS_PER_SAMPLE + rng.integers(-8, 9, size=n_samples)
    sample = np.repeat(np.arange(n_samples), size)
    obs = table.iloc[sample].reset_index(drop=True)
    obs.index = pd.Index([f"c{j:04d}" for j in range(len(obs))])
    n_cells = len(obs)
    obs["phase"] = np.array(["G1", "S", "G2M"])[rng.choice(3, size=n_cells, p=[0.5, 0.3, 0.2])]
    obs["mito"] = 0.3 * rng.standard_normal(n_samples)[sample] + rng.standard_normal(n_cells)
    obs["score"] = rng.standard_normal(n_cells)
    obs["kind"] = np.array(["B", "T", "rare"])[rng.choice(3, size=n_cells, p=[0.45, 0.5, 0.05])]
    log_size = 0.4 * rng.standard_normal(n_cells)
    obs["size"] = np.exp(log_size)
    obs["log_size"] = log_size

    donor = table["donor"].astype("category").cat.codes.to_numpy()
    mean = np.log(np.geomspace(0.05, 12.0, N_GENES))[rng.permutation(N_GENES)]
    sd_sample, sd_donor = 0.25 * rng.gamma(2.0, 0.5, size=(2, N_GENES))
    sd_sample[::7] = 0.0
    effect = np.where(np.arange(N_GENES) % 4 == 0, rng.normal(0.0, 0.8, size=N_GENES), 0.0)
    by_sample = sd_sample[:, None] * rng.standard_normal((N_GENES, n_samples))
    by_donor = sd_donor[:, None] * rng.standard_normal((N_GENES, donor.max() + 1))
    eta = mean[:, None] + by_sample + by_donor[:, donor]
    eta += effect[:, None] * ((table["disease"] == "AD").to_numpy() - 0.5 * (table["stim"] == "stim").to_numpy())
    slope = 0.15 * rng.standard_normal((N_GENES, 1)) + 0.1 * rng.standard_normal((N_GENES, n_samples))
    rate = np.exp(eta[:, sample] + slope[:, sample] * obs["mito"].to_numpy() + log_size)
    rate[:, (obs["phase"] == "S").to_numpy()] *= np.exp(0.3 * rng.standard_normal((N_GENES, 1)))
    dispersion = 0.4 * np.exp(0.6 * rng.standard_normal((N_GENES, 1)))
    dispersion[::9] = 1e-4
    counts = rng.poisson(rate * rng.gamma(1.0 / dispersion, dispersion, size=rate.shape)).T
    counts[:, 3] = 0
    counts[:, 5] = 0
    counts[:2, 5] = 1
    counts[(obs["disease"] == "ctl").to_numpy(), 8] = 0
    counts[(obs["stim"] == "stim").to_numpy(), 9] = 0
    counts[0, 10] = 900

    adata = ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs)
    adata.var_names = [f"g{j:02d}" for j in range(N_GENES)]
    adata.var["chosen"] = np.arange(N_GENES) % 8 != 1
    adata.layers["counts"] = sp.csr_matrix(counts)
    logs = adata.layers["counts"].astype(np.float64)
    logs = sp.diags(1.0 / obs["size"].to_numpy()) @ logs
    adata.layers["logs"] = sp.csr_matrix(logs.log1p())
    return adata


@cache
def frame(name: str) -> pd.DataFrame:
    """Read a reference table with R's factor levels."""
    schema = json.loads((REFERENCE / "SCHEMA.json").read_text())[name]
    factors = [column for column, kind in schema.items() if "levels" in kind]
    plain = REFERENCE / f"{name}.csv"
    data = pd.read_csv(plain if plain.exists() else f"{plain}.gz", dtype=dict.fromkeys(factors, str))
    for column in factors:
        data[column] = pd.Categorical(data[column], categories=schema[column]["levels"])
    return data
