"""Slots for results: varm, uns, and the recipe of a run."""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._results import GeneTests, results_by_group
from .mirror import mirror_of
from .seal import seal

if TYPE_CHECKING:
    from anndata import AnnData

# Columns that identify a table of genes and a table of a contrast.
OF_GENES = ("status", "converged", "n_iter", "loglik")
_OF_CONTRAST = ("variable", "contrast", "log_fc", "p_value")


def write_results(
    adata: AnnData,
    key: str,
    tests: Sequence[GeneTests],
    recipe: Mapping[str, Any],
    *,
    groupby: str | None,
    details: pd.DataFrame,
    sizes: FloatArray | None = None,
) -> None:
    """Write the results into the slots that scanpy users expect; older results under the same key are removed first."""
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
            # the slot belongs to another run, such as one with key_added="glmm_disease"
            while name in adata.varm and not _is_left(adata, name, contrast.words):
                name += "_"
            adata.varm[name] = table
            varm.append(name)
    else:
        adata.uns[f"{key}_results"] = results_by_group(tests, groupby)
    entry: dict[str, Any] = dict(mirror_of(tests, groupby, recipe, _levels(adata, tests, groupby)))
    entry["params"] = {**entry.get("params", {}), **_plain(recipe), "varm": varm}
    entry["contrasts"] = list(dict.fromkeys(contrast.words for group in tests for contrast in group.contrasts))
    entry["details"] = details
    priors = {str(i): {"group": group.group, **group.arrays} for i, group in enumerate(tests) if group.arrays}
    if priors:
        entry["priors"] = priors
    grids = {str(i): dict(group.grid) for i, group in enumerate(tests) if group.grid}
    if grids:
        entry["grids"] = grids
    entry["variances"] = {str(i): {"group": group.group, **group.variances} for i, group in enumerate(tests)}
    if sizes is not None:
        entry["log_sizes"] = sizes
    entry["params"]["checksums"] = json.dumps(seal(entry))
    adata.uns[key] = entry


def _levels(adata: AnnData, tests: Sequence[GeneTests], groupby: str | None) -> dict[str, list[str]]:
    """Return the levels that occur in the text or category columns of obs, for the columns that the tests use."""
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
    """Remove the results of an earlier run under `key`: its table of genes, and the tables that its entry lists."""
    entry = adata.uns.get(key)
    varm: Mapping[str, Any] = adata.varm
    listed = [name for name in tables_of_run(entry) if name in varm] if is_run(entry) else []
    gone = {key, *(name for name in listed if is_own_table(getattr(varm[name], "columns", ())))}
    for name in [name for name in map(str, adata.varm.keys()) if name in gone]:
        del adata.varm[name]
    if not is_run(adata.uns.get(f"{key}_results")):
        adata.uns.pop(f"{key}_results", None)
    adata.uns.pop(key, None)


def _is_left(adata: AnnData, name: str, words: str) -> bool:
    """Check whether an entry of ``varm`` is a table of this contrast from a run whose entry in ``uns`` was lost."""
    if any(name in tables_of_run(entry) for entry in adata.uns.values() if is_run(entry)):
        return False
    table: Any = adata.varm[name]
    return set(_OF_CONTRAST) <= set(getattr(table, "columns", ())) and set(table["contrast"].astype(str)) == {words}


def is_own_table(columns: Collection[str]) -> bool:
    """Check by its columns whether a listed entry of ``varm`` may be a table of a run, because a file can list any."""
    return set(_OF_CONTRAST) <= set(columns)


def is_run(entry: Any) -> bool:
    """Check whether an entry of ``uns`` is from a run (or from scanpy's ``rank_genes_groups``)."""
    return isinstance(entry, Mapping) and isinstance(entry.get("params"), Mapping)


def tables_of_run(entry: Mapping[str, Any]) -> list[str]:
    """Return the entries of ``varm`` of a run in addition to the one named by its key."""
    return [str(name) for name in np.atleast_1d(entry["params"].get("varm", []))]


def other_entry(adata: AnnData, key: str, *, grouped: bool) -> str | None:
    """Return the location of other content under `key`; None if there is none."""
    entry, varm = adata.uns.get(key), adata.varm
    if is_run(entry):
        taken: list[str] = []
    elif entry is not None:
        taken = [f".uns[{key!r}]"]
    else:
        mine = key in varm and set(OF_GENES) <= set(getattr(varm[key], "columns", ()))
        taken = [f".varm[{key!r}]"] if key in varm and not mine else []
    if grouped and is_run(adata.uns.get(f"{key}_results")):
        taken.append(f".uns[{key + '_results'!r}]")
    return taken[0] if taken else None


def with_free_names(entries: Mapping[str, Any], key: str, taken: Container[str]) -> dict[str, Any]:
    """Return the entries of a run; rename those of its contrasts if another run uses the name in ``varm``.

    Parameters
    ----------
    entries
        Paths such as ``varm/glmm`` and their content.
    key
        Key of the run.
    taken
        Names in ``varm`` that are in use.
    """
    params = entries[f"uns/{key}"]["params"]
    names: dict[str, str] = {}
    for name in tables_of_run(entries[f"uns/{key}"]):
        free = name
        while free in taken or free in names.values():  # another run may have key_added="glmm_disease"
            free += "_"
        names[name] = free
    out = {
        f"varm/{names[name[5:]]}" if name[5:] in names and name[:5] == "varm/" else name: value
        for name, value in entries.items()
    }
    out[f"uns/{key}"] = {**entries[f"uns/{key}"], "params": {**params, "varm": list(names.values())}}
    return out


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Convert to values that h5ad and zarr can store: plain values, lists of strings, and JSON for all others."""
    out: dict[str, Any] = {}
    for name, value in recipe.items():
        if value is None or isinstance(value, str | bool | int | float):
            out[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            out[name] = list(value)
        else:
            out[name] = json.dumps(value, default=str)
    return out
