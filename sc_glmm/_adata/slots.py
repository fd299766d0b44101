"""The slots that results are written to: varm, uns, and the recipe of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._results import GeneTests, results_by_group
from .mirror import mirror_of

if TYPE_CHECKING:
    from anndata import AnnData


def write_results(
    adata: AnnData,
    key: str,
    tests: Sequence[GeneTests],
    recipe: Mapping[str, Any],
    *,
    groupby: str | None,
    details: pd.DataFrame | None,
    sizes: FloatArray | None = None,
) -> None:
    """Put the results where scanpy users look for them; older results under the same key are removed first."""
    remove_results(adata, key)
    varm = []
    if groupby is None:
        (only,) = tests
        adata.varm[key] = only.genes.reindex(adata.var_names)
        for contrast in only.contrasts:
            table = contrast.table.reindex(adata.var_names)
            table.insert(0, "variable", table.index.astype(str))
            table.insert(1, "contrast", contrast.words)
            name = f"{key}_{contrast.name}"
            while name in adata.varm:  # that of another run, such as one with key_added="glmm_disease"
                name += "_"
            adata.varm[name] = table
            varm.append(name)
    else:
        adata.uns[f"{key}_results"] = results_by_group(tests, groupby)
    entry: dict[str, Any] = dict(mirror_of(tests, groupby, recipe, _levels(adata, tests, groupby)))
    entry["params"] = {**entry.get("params", {}), **_plain(recipe), "varm": varm}
    entry["contrasts"] = list(dict.fromkeys(contrast.words for group in tests for contrast in group.contrasts))
    if details is not None:
        entry["details"] = details
    priors = {str(i): {"group": group.group, **group.arrays} for i, group in enumerate(tests) if group.arrays}
    if priors:
        entry["priors"] = priors
    grids = {str(i): dict(group.grid) for i, group in enumerate(tests) if group.grid}
    if grids:
        entry["grids"] = grids
    if sizes is not None:
        entry["log_sizes"] = sizes
    adata.uns[key] = entry


def _levels(adata: AnnData, tests: Sequence[GeneTests], groupby: str | None) -> dict[str, list[str]]:
    """Levels that occur in the columns of obs that hold text or categories, as far as the tests are about them."""
    obs: pd.DataFrame = adata.obs  # type: ignore[assignment]
    texts = obs.select_dtypes(exclude=["number", "bool", "datetime", "timedelta"])
    compared = {contrast.levels[0] for group in tests for contrast in group.contrasts if contrast.levels is not None}
    out: dict[str, list[str]] = {}
    for name in texts.columns:
        if name != groupby and name not in compared:
            continue
        column = texts[name].astype("category").cat.remove_unused_categories()
        out[str(name)] = [str(level) for level in column.cat.categories]
    return out


def remove_results(adata: AnnData, key: str) -> None:
    """Remove what an earlier run wrote under `key`."""
    old = adata.uns.get(key)
    if isinstance(old, Mapping) and isinstance(old.get("params"), Mapping):
        for name in np.atleast_1d(old["params"].get("varm", [])):
            if str(name) in adata.varm:
                del adata.varm[str(name)]
    if key in adata.varm:
        del adata.varm[key]
    adata.uns.pop(f"{key}_results", None)
    adata.uns.pop(key, None)


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What h5ad and zarr can hold: plain values and lists of strings; anything richer as JSON."""
    out: dict[str, Any] = {}
    for name, value in recipe.items():
        if value is None or isinstance(value, str | bool | int | float):
            out[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            out[name] = list(value)
        else:
            out[name] = json.dumps(value, default=str)
    return out
