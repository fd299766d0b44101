"""Power by simulation: counts of cells, tested as a user would."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._display import logger
from .._errors import ScGlmmWarning
from .._inference.power import Comparison, Genes

# Genes of a simulation, and how many of them stand for one gene.
N_GENES = 800
_NEAREST = 40


def simulated_p_values(
    design: Comparison, genes: Genes, effect: float, n_cells: FloatArray, seed: int
) -> tuple[FloatArray, FloatArray]:
    """``(n_genes, n)`` equally likely p-values of genes that differ by `effect`, and of genes that do not.

    Half of the simulated genes differ, up and down in turn; each gene gets the p-values of those that are nearest to it
    in abundance. Genes without a p-value count as 1.
    """
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(len(genes.mean), N_GENES, replace=len(genes.mean) < N_GENES))
    drawn = drawn[np.argsort(genes.mean[drawn], kind="stable")]
    some = genes[drawn]
    differs = np.arange(N_GENES) % 2 == 1
    sign = np.where(np.arange(N_GENES) % 4 == 1, 1.0, -1.0)
    p = _tested(design, some, np.where(differs, sign * effect, 0.0), np.maximum(n_cells.round(), 0).astype(int), rng)
    log_mean = np.log(some.mean)
    return tuple(_of_nearest(np.log(genes.mean), log_mean[kind], p[kind]) for kind in (differs, ~differs))  # type: ignore[return-value]


def _of_nearest(log_mean: FloatArray, there: FloatArray, p: FloatArray) -> FloatArray:
    """``(n_genes, _NEAREST)`` p-values of the simulated genes that are next in abundance."""
    place = np.searchsorted(there, log_mean) - _NEAREST // 2
    place = np.clip(place, 0, max(len(there) - _NEAREST, 0))
    return np.asarray(p[place[:, None] + np.arange(min(_NEAREST, len(there)))])


def _tested(
    design: Comparison, genes: Genes, effect: FloatArray, n_cells: np.ndarray, rng: np.random.Generator
) -> FloatArray:
    """P-values of the default test."""
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
