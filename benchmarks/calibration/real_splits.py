"""Split real donors in two groups, and build the data set of each split."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Collection, Sequence

import anndata as ad
import numpy as np
import pandas as pd

import sc_glmm

# genes with fewer counts in total are not tested
MIN_TOTAL = 10
FORMULA = "counts ~ cond + (1|donor)"
# upper limits of the average counts of a gene in a sample, which define the strata
COUNTS_A_SAMPLE = (1.0, 2.0, 5.0, 20.0, 100.0)


def splits_in_halves(donors: Sequence[str]) -> list[tuple[str, ...]]:
    """List all splits in halves (or nearly), each once."""
    half = len(donors) // 2
    # of two equal halves, use the one without the first donor
    return list(itertools.combinations(donors if len(donors) % 2 else donors[1:], half))


def draw_split(
    donors: Sequence[str], size: int | None, split: int, rng: np.random.Generator
) -> tuple[list[str], set[str]]:
    """Draw the donors of the data set, and those of group b; the latter are empty if there is no such split.

    Without `size`, all donors are used, in the order of a fixed permutation of all splits.
    """
    if size is None:
        every = splits_in_halves(donors)
        order = np.random.default_rng(0).permutation(len(every))
        return list(donors), set(every[order[split]]) if split < len(every) else set()
    drawn = [str(d) for d in rng.choice(np.array(donors), size, replace=False)]
    return drawn, set(drawn[: size // 2])


def donors_with(adata: ad.AnnData, donor: str, cells: int) -> list[str]:
    """Find donors with at least this number of cells."""
    n_cells = adata.obs[donor].astype(str).value_counts()
    return sorted(n_cells.index[n_cells >= cells])


def prepare(adata: ad.AnnData, donor: str, drawn: Collection[str], second: Collection[str]) -> ad.AnnData:
    """Select cells of these donors, with ``donor``, ``cond`` and ``size_factor``; also return the tested genes.

    Size factors are those of the package unless `adata` has its own.
    """
    data = adata[adata.obs[donor].astype(str).isin(drawn)].copy()
    labels = data.obs[donor].astype(str)
    obs = {"donor": pd.Categorical(labels), "cond": pd.Categorical(np.where(labels.isin(second), "b", "a"))}
    if "size_factor" in data.obs:
        obs["size_factor"] = data.obs["size_factor"].to_numpy()
    data.obs = pd.DataFrame(obs, index=data.obs_names)
    data.layers["counts"] = data.X
    if "size_factor" not in obs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
            sc_glmm.pp.size_factors(data, sample_key="donor", layer="counts", key_added="size_factor")
    # a cell without a count has no size factor
    return data[data.obs["size_factor"] > 0, np.asarray(data.X.sum(axis=0)).ravel() >= MIN_TOTAL].copy()


def abundance_strata(data: ad.AnnData) -> np.ndarray:
    """Label every gene by its counts per sample, on average over the donors."""
    counts = np.asarray(data.X.sum(axis=0)).ravel() / data.obs["donor"].nunique()
    names = strata_names()
    return np.array([names[k] for k in np.digitize(counts, COUNTS_A_SAMPLE)])


def strata_names() -> list[str]:
    """List the labels of :func:`abundance_strata`, from few counts to many."""
    limits = [f"{limit:g}" for limit in COUNTS_A_SAMPLE]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(limits)]
    return [f"below {limits[0]}", *between, f"above {limits[-1]}"]
