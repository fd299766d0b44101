"""Simulate counts of cells at known truth: negative binomial given effects of samples, donors and batches.

A scenario (``scenarios.py``) has a table of samples, distributions of the genes, and departures from the model. The
counts are drawn in blocks of genes and stored sparse. The true size factors are stored, so that every method can use
the same.

    python simulate.py --list
    python simulate.py power-S8 power-S8.h5ad --genes 2000
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import anndata as ad
import numpy as np
import pandas as pd
import typer
from scipy import sparse

# largest number of dense counts of a block of genes
BLOCK_VALUES = 4_000_000
GridPoint = tuple[float, float]


@dataclass(frozen=True)
class GeneLaw:
    """Distributions of the parameters of genes; a log-normal is (median, sd of the log)."""

    mean: tuple[float, float] = (0.3, 1.5)
    """Counts of a cell of size factor one."""
    mean_range: tuple[float, float] = (0.02, 20.0)
    variance: tuple[float, float] = (0.05, 1.0)
    """Of the samples' effects (natural log), for the genes that have any."""
    frac_invariant: float = 0.15
    dispersion: tuple[float, float] = (0.5, 0.7)
    frac_de: float = 0.1
    effect: tuple[float, float] = (0.5, 1.5)
    """Absolute effect of differential genes, uniform, natural log; either sign."""
    frac_edge: float = 0.0
    edge: float = 0.0
    """Share of further genes whose absolute effect is exactly this, natural log; either sign."""
    donor_variance: tuple[float, float] | None = None
    batch_variance: tuple[float, float] | None = None
    slope_variance: tuple[float, float] | None = None
    """Of the samples' slopes on the cell-level covariate."""
    covariate_sd: float = 0.0
    """Sd over genes of the effect of each further sample-level covariate."""
    grid: tuple[GridPoint, ...] | None = None
    """Instead of distributions: these pairs of mean and variance, as many genes each, with one dispersion."""
    values: tuple[float, ...] | None = None
    """Instead of a distribution of variances: one of these, at random."""


@dataclass(frozen=True)
class Scenario:
    """One design of the benchmark: samples, distributions of genes, departures from the model, and formula."""

    name: str
    family: Literal["grid", "power", "robust", "sparse", "design", "minimum"]
    words: str
    table: Callable[[np.random.Generator], pd.DataFrame]
    """Samples: ``sample``, ``n_cells`` and the columns of the design."""
    law: GeneLaw
    formula: str = "counts ~ cond + (1|sample)"
    fixed: str = "1 + cond"
    """Right side of the pseudobulk model."""
    unit: str = "sample"
    """What pseudobulk sums over."""
    tested: str = "cond"
    depth_sd: float = 0.4
    effects: Literal["normal", "t4", "factors", "outlier"] = "normal"
    offset_sd: float = 0.0
    """Sd over samples of the error (natural log) in the size factors that the methods are given."""
    zero_inflation: float = 0.0
    """Each gene loses counts at random, with a probability uniform between 0 and this."""
    pseudobulk: bool = True
    min_log_fc: float = 0.0
    """Smallest effect of interest, log2, that our tests are given."""
    alternative: Literal["two-sided", "greater", "less", "abs-less"] = "two-sided"
    also: dict[str, str] = field(default_factory=dict)
    """Further formulas that are fitted: label and formula."""


@dataclass(frozen=True)
class Simulated:
    """Counts and their truth; ``adata.var`` contains the parameters of the genes and ``effect`` (natural log)."""

    adata: ad.AnnData
    scenario: Scenario

    @property
    def null(self) -> np.ndarray:
        return self.adata.var["effect"].to_numpy() == 0.0


def simulate(scenario: Scenario, n_genes: int, seed: int, rep: int = 0) -> Simulated:
    """Draw a data set; the same arguments give the same counts."""
    rng = np.random.default_rng([seed, rep, zlib.crc32(scenario.name.encode())])
    table = scenario.table(rng)
    genes = _draw_genes(scenario.law, n_genes, rng)
    obs = table.loc[np.repeat(table.index, table["n_cells"])].drop(columns="n_cells").reset_index(drop=True)
    sample = np.repeat(np.arange(len(table)), table["n_cells"])
    depth = rng.normal(-(scenario.depth_sd**2) / 2, scenario.depth_sd, len(obs))
    wrong = rng.normal(0.0, scenario.offset_sd, len(table)) if scenario.offset_sd else np.zeros(len(table))
    x = rng.normal(size=len(obs)) if scenario.tested == "x" else None
    eta, slopes = _predictor(scenario, table, genes, rng)
    counts = _draw_counts(scenario, eta, slopes, sample, depth, x, genes["dispersion"].to_numpy(), rng)
    obs["size_factor"] = np.exp(depth + wrong[sample])
    if x is not None:
        obs["x"] = x
    obs.index = [f"c{i}" for i in range(len(obs))]
    for name in obs.columns:
        if obs[name].dtype.kind not in "fi":
            obs[name] = pd.Categorical(obs[name])
    genes.index = [f"g{i}" for i in range(n_genes)]
    adata = ad.AnnData(X=counts, obs=obs, var=genes)
    adata.layers["counts"] = adata.X
    return Simulated(adata, scenario)


def _lognormal(law: tuple[float, float], n: int, rng: np.random.Generator) -> np.ndarray:
    return law[0] * np.exp(rng.normal(0.0, law[1], n))


def _draw_genes(law: GeneLaw, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the parameters of the genes."""
    if law.grid is not None:
        points = np.array(law.grid)[np.arange(n) % len(law.grid)]
        mean, variance, dispersion = points[:, 0], points[:, 1], np.full(n, law.dispersion[0])
    else:
        mean = np.clip(_lognormal(law.mean, n, rng), *law.mean_range)
        variance = np.where(rng.random(n) < law.frac_invariant, 0.0, _lognormal(law.variance, n, rng))
        if law.values is not None:
            variance = rng.choice(np.array(law.values), n)
        dispersion = _lognormal(law.dispersion, n, rng)
    sign = rng.choice([-1.0, 1.0], n)
    kind = rng.random(n)
    effect = np.where(kind < law.frac_de, sign * rng.uniform(*law.effect, n), 0.0)
    effect = np.where(kind > 1.0 - law.frac_edge, sign * law.edge, effect)
    genes = pd.DataFrame({"mean": mean, "variance": variance, "dispersion": dispersion, "effect": effect})
    for name in ("donor_variance", "batch_variance", "slope_variance"):
        chosen = getattr(law, name)
        genes[name] = 0.0 if chosen is None else _lognormal(chosen, n, rng)
    return genes


def _sample_effects(scenario: Scenario, n: int, table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Draw effects of the samples with variance one, ``(n_genes, n_samples)``."""
    shape = (n, len(table))
    if scenario.effects == "t4":
        return rng.standard_t(4, shape) / np.sqrt(2.0)
    if scenario.effects == "factors":
        # five programmes explain half of the variance
        shared = rng.normal(0.0, np.sqrt(0.5 / 5), (n, 5)) @ rng.normal(size=(5, len(table)))
        return shared + rng.normal(0.0, np.sqrt(0.5), shape)
    return rng.normal(size=shape)


def _predictor(
    scenario: Scenario, table: pd.DataFrame, genes: pd.DataFrame, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute the log mean of a cell with size factor one, ``(n_genes, n_samples)``, and slopes on x, or None."""
    n = len(genes)
    spread = genes[["variance", "donor_variance", "batch_variance"]].sum(axis=1).to_numpy()
    eta = (np.log(genes["mean"].to_numpy()) - spread / 2)[:, None] + np.zeros(len(table))
    eta += np.sqrt(genes["variance"].to_numpy())[:, None] * _sample_effects(scenario, n, table, rng)
    if scenario.effects == "outlier":
        # one sample of bad quality: an additional sd of 0.5 for every gene
        eta[:, 0] += rng.normal(0.0, 0.5, n)
    for column in ("donor", "batch"):
        variance = genes[f"{column}_variance"].to_numpy()
        if column in table and variance.any():
            codes, levels = pd.factorize(table[column])
            eta += np.sqrt(variance)[:, None] * rng.normal(size=(n, len(levels)))[:, codes]
    for column in [c for c in table.columns if c.startswith("z")]:
        eta += rng.normal(0.0, scenario.law.covariate_sd, n)[:, None] * table[column].to_numpy()
    if scenario.tested == "x":
        slope_sd = np.sqrt(genes["slope_variance"].to_numpy())[:, None]
        return eta, genes["effect"].to_numpy()[:, None] + slope_sd * rng.normal(size=eta.shape)
    second = (table[scenario.tested] == "b").to_numpy()
    # centred, so that differential genes have the same abundance as the others
    eta += genes["effect"].to_numpy()[:, None] * (second - second.mean())
    return eta, None


def _draw_counts(
    scenario: Scenario,
    eta: np.ndarray,
    slopes: np.ndarray | None,
    sample: np.ndarray,
    depth: np.ndarray,
    x: np.ndarray | None,
    dispersion: np.ndarray,
    rng: np.random.Generator,
) -> sparse.csc_matrix:
    """Draw counts ``(n_cells, n_genes)``."""
    n_genes, n_cells = len(eta), len(sample)
    step = max(1, BLOCK_VALUES // n_cells)
    lost = rng.uniform(0.0, scenario.zero_inflation, n_genes)
    blocks = []
    for start in range(0, n_genes, step):
        block = slice(start, start + step)
        log_mean = eta[block][:, sample] + depth
        if slopes is not None and x is not None:
            log_mean += slopes[block][:, sample] * x
        phi = dispersion[block, None]
        counts = rng.poisson(np.exp(log_mean) * rng.standard_gamma(1.0 / phi, log_mean.shape) * phi)
        if scenario.zero_inflation:
            counts[rng.random(counts.shape) < lost[block, None]] = 0
        blocks.append(sparse.csr_matrix(counts.astype(np.int32)))
    return sparse.vstack(blocks, format="csr").T.tocsc()


def main(
    name: Annotated[str, typer.Argument(help="Scenario.")] = "",
    path: Annotated[Path | None, typer.Argument(help="Where to write the .h5ad.")] = None,
    genes: Annotated[int, typer.Option(help="Number of genes.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed.")] = 1,
    show: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
) -> None:
    """Write one data set of a scenario, or list the scenarios."""
    from scenarios import SCENARIOS

    if show or not name or path is None:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:26s} {scenario.words}")
        return
    simulate(SCENARIOS[name], genes, seed).adata.write_h5ad(path)


if __name__ == "__main__":
    typer.run(main)
