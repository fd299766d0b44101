"""Repeat the run with shuffled labels of the samples, to show the results of the test without effects."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._compress.source import Source, read_chunks
from .._errors import InputError, ScGlmmWarning
from .._run.options import RunOptions
from .layout import Layout
from .study import Study

# Number of random orders to try. Those with the least association with the true arms are used.
_CANDIDATES = 200


def shuffled_results(study: Study, layout: Layout, n: int, seed: int) -> list[pd.DataFrame]:
    """Repeat the run `n` times with randomly assigned arms of the samples (within donors, in a paired design).

    Raises
    ------
    InputError
        If there is no factor with labels to shuffle, or no matrix.
    """
    if not layout.factor or (layout.tested and layout.factor not in layout.tested_columns):
        raise InputError("null: only the labels of a factor can be shuffled, but the tested effects are numeric")
    if study.matrix is None:
        raise InputError(f"null: the run is repeated on the counts, but they cannot be read: {study.no_matrix}")
    matrix: Any = _whole(study.matrix) if isinstance(study.matrix, Source) else study.matrix
    options = replace(
        RunOptions.from_recipe(study.run_params(study.groups[0])),
        copy=True,
        progress=False,
        key_added="shuffled",
        n_jobs=None,
    )
    labels = study.formula.labels.values()
    options = replace(options, contrasts=[layout.factor] if layout.factor in labels else None)
    if str(study.params.get("genes", "all")) != "all":
        tested = study.results.loc[study.results["tested"].astype(bool), "variable"]
        options = replace(options, genes=list(dict.fromkeys(tested.astype(str))))
    stored = study.adata.uns[study.key].get("log_sizes")
    if stored is not None:
        options = replace(options, offset=np.asarray(stored)[study.used])
    layer = study.formula.response_name
    result = []
    for arms in shuffled_arms(layout, n, seed):
        obs = _relabelled(study, layout, arms)
        counts = matrix[np.flatnonzero(study.used)]
        places: dict[str, Any] = {"layers": {layer: counts}} if layer in study.opened.layers else {"X": counts}
        var: pd.DataFrame = study.adata.var  # type: ignore[assignment]
        result.append(_run(AnnData(obs=obs, var=var[[]], **places), options))
    return result


def _run(adata: AnnData, options: RunOptions) -> pd.DataFrame:
    from ..get import results
    from ..tl import test

    with warnings.catch_warnings():
        # the run itself has given the same warnings
        warnings.simplefilter("ignore", ScGlmmWarning)
        tested = test(adata, **vars(options))
    return results(tested, "shuffled", columns="all")


def shuffled_arms(layout: Layout, n: int, seed: int) -> list[np.ndarray]:
    """Draw up to `n` different orders of the arms, ``(n_places,)`` each; within pairs if there are any.

    Labels that agree with the true ones by chance would contain true effects, so the orders with the least association
    are used.
    """
    rng = np.random.default_rng(seed)
    true = layout.places["arm"].to_numpy()
    blocks = pd.factorize(layout.places["pair"])[0]
    orders: dict[bytes, tuple[float, np.ndarray]] = {}
    for _ in range(max(_CANDIDATES, 4 * n)):
        arms = true.copy()
        for block in np.unique(blocks):
            members = np.flatnonzero(blocks == block)
            arms[members] = rng.permutation(true[members])
        table = pd.crosstab(true, arms).to_numpy(dtype=np.float64)
        expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
        orders[arms.tobytes()] = (float(((table - expected) ** 2 / expected).sum()), arms)
    ranked = sorted(orders.values(), key=lambda each: each[0])
    return [arms for _, arms in ranked[:n]]


def _relabelled(study: Study, layout: Layout, arms: np.ndarray) -> pd.DataFrame:
    """Copy the cells with the shuffled arm of their sample."""
    before = study.arms[layout.factor]
    keys = pd.MultiIndex.from_frame(layout.places[["sample", "arm"]])
    cells = pd.MultiIndex.from_arrays(
        [study.units[layout.sample].astype(str).to_numpy(), before.cat.codes.to_numpy(np.int64)]
    )
    codes = arms[keys.get_indexer(cells)]
    obs = study.obs.copy()
    values = pd.Categorical.from_codes(codes, categories=before.cat.categories, ordered=False)
    obs[layout.factor] = pd.Series(values, index=obs.index)
    return obs


def _whole(source: Source) -> Any:
    import scipy.sparse as sp

    minor = source.shape[0] if source.form == "csc" else source.shape[1]
    kind = sp.csc_matrix if source.form == "csc" else sp.csr_matrix
    parts = []
    for chunk in read_chunks(source, source.spans()):
        n = chunk.last - chunk.first
        shape = (minor, n) if source.form == "csc" else (n, minor)
        parts.append(kind(tuple(chunk.stored), shape=shape))
    return sp.hstack(parts, format="csc").tocsr() if source.form == "csc" else sp.vstack(parts, format="csr")
