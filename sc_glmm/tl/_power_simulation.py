"""Estimate power by simulating counts of cells and testing them with :func:`sc_glmm.tl.test`."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._display import logger
from .._errors import ScGlmmWarning
from .._inference.power import Comparison, Genes

# Number of simulated genes.
N_GENES = 800
# The p-values of a gene come from this number of simulated genes of similar abundance.
_N_NEAREST = 40


def simulated_p_values(
    design: Comparison, genes: Genes, effect: float, n_cells: FloatArray, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Simulate p-values of each gene, with and without an effect.

    Half of the simulated genes have an effect, alternately up and down. Each gene gets the p-values of the simulated
    genes of most similar abundance. A gene without a p-value counts as 1.

    Returns
    -------
    p, null
        (n_genes, n) equally likely p-values with and without an effect.
    """
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(len(genes.mean), N_GENES, replace=len(genes.mean) < N_GENES))
    drawn = drawn[np.argsort(genes.mean[drawn], kind="stable")]
    simulated = genes[drawn]
    differs = np.arange(N_GENES) % 2 == 1
    sign = np.where(np.arange(N_GENES) % 4 == 1, 1.0, -1.0)
    whole_cells = np.maximum(n_cells.round(), 0).astype(int)
    p = _simulate_and_test(design, simulated, np.where(differs, sign * effect, 0.0), whole_cells, rng)
    log_mean = np.log(simulated.mean)
    return tuple(_of_nearest(np.log(genes.mean), log_mean[kind], p[kind]) for kind in (differs, ~differs))  # type: ignore[return-value]


def _of_nearest(log_mean: FloatArray, simulated_log_mean: FloatArray, p: FloatArray) -> FloatArray:
    """Return (n_genes, n) p-values of the simulated genes of most similar abundance."""
    n_simulated = len(simulated_log_mean)
    place = np.searchsorted(simulated_log_mean, log_mean) - _N_NEAREST // 2
    place = np.clip(place, 0, max(n_simulated - _N_NEAREST, 0))
    return np.asarray(p[place[:, None] + np.arange(min(_N_NEAREST, n_simulated))])


def _simulate_and_test(
    design: Comparison, genes: Genes, effect: FloatArray, n_cells: np.ndarray, rng: np.random.Generator
) -> FloatArray:
    """Simulate counts and return the p-values of the default test."""
    from anndata import AnnData
    from scipy import sparse

    from ..get import results
    from ._test import test

    paired = design.scale > 1.0
    n_samples = len(n_cells)
    arm = np.zeros(n_samples, dtype=int)
    arm[design.second[design.second >= 0]] = 1
    pair = np.arange(n_samples) % len(design.X) if paired else np.arange(n_samples)
    sample = np.repeat(np.arange(n_samples), n_cells)
    size = np.exp(genes.log_size_sd * rng.standard_normal(len(sample)) - 0.5 * genes.log_size_sd**2)
    counts = []
    for g in range(len(genes.mean)):
        variance = genes.variance[rng.choice(len(genes.variance), p=genes.weight[g] / genes.weight[g].sum())]
        b = np.sqrt(variance) * rng.standard_normal(n_samples)
        if paired:
            b += np.sqrt(genes.pair_variance or 0.0) * rng.standard_normal(len(design.X))[pair]
        rate = genes.mean[g] * np.exp(b - 0.5 * variance + effect[g] * arm)[sample] * size
        phi = genes.dispersion[g]
        if phi > 1e-8:
            rate *= rng.standard_gamma(1.0 / phi, len(rate)) * phi
        counts.append(sparse.csc_matrix(rng.poisson(rate).astype(np.float32)[:, None]))
    obs = pd.DataFrame({"sample": pd.Categorical(sample), "arm": pd.Categorical(np.array(["a", "b"])[arm[sample]])})
    obs["pair"], obs["size"] = pd.Categorical(pair[sample]), size
    adata = AnnData(sparse.hstack(counts, format="csc"), obs.set_index(obs.index.astype(str)))
    formula = f"X ~ arm + {'(1|pair) + ' if paired else ''}(1|sample)"
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScGlmmWarning)
            test(adata, formula, size_factors="size", contrasts="arm", progress=False)
    finally:
        logger.setLevel(level)
    return np.asarray(results(adata)["p_value"].fillna(1.0).to_numpy(dtype=np.float64))
