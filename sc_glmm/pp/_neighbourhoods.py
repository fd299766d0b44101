"""Count cells in Milo's neighbourhoods by sample, and compute weights for their overlap."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from .._adata.abundance import WEIGHTS, AbundanceTable
from .._display.arguments import suggest
from .._errors import InputError
from ._counted import Counted, no_columns, of_table, samples_of, varying_columns
from ._read import read_factor

if TYPE_CHECKING:
    from anndata import AnnData

Weights = Literal["k-distance", "graph-overlap"]
# Entry of .obsm, and modality of a MuData, that Milo writes.
_NHOODS = "nhoods"
_MILO = "milo"


def of_neighbourhoods(adata: AnnData, sample: str, nhoods: str, weights: Weights | None) -> Counted:
    """Count the cells of each neighbourhood in each sample."""
    if nhoods not in adata.obsm:
        hint = suggest(nhoods, adata.obsm)
        raise InputError(f"there is no entry {nhoods!r} in obsm{hint}; Milo's make_nhoods writes {_NHOODS!r}")
    member = sparse.csr_matrix(adata.obsm[nhoods], dtype=np.float64)
    codes, samples = read_factor(adata, sample)
    obs, notes, place = samples_of(adata.obs, codes, samples, sample)
    used = np.flatnonzero(codes >= 0)
    of_sample = sparse.csr_matrix((np.ones(len(used)), (codes[used], used)), shape=(len(samples), adata.n_obs))
    counts = np.asarray((of_sample @ member).todense(), dtype=np.float64)[place]
    n_cells = np.bincount(codes[used], minlength=len(samples))[place].astype(np.float64)
    index = adata.obs.get("nhood_ixs_refined")
    names = [str(k) for k in range(member.shape[1])]
    var = no_columns(names)
    if index is not None and int((index == 1).sum()) == member.shape[1]:
        var["index_cell"] = adata.obs_names[(index == 1).to_numpy()]
        if "nhood_kth_distance" in adata.obs:
            var["kth_distance"] = adata.obs.loc[(index == 1).to_numpy(), "nhood_kth_distance"].to_numpy()
    var, more = add_weights(var, weights, member)
    table = AbundanceTable(sample, "neighbourhoods", "robust", (), varying_columns(adata.obs, obs))
    return Counted(counts, [samples[i] for i in place], names, obs, var, n_cells, table, (*notes, *more))


def of_milo(mdata: Any, sample: str, weights: Weights | None) -> Counted:
    """Read the table of a MuData, and add the columns of its cells that are constant within samples."""
    if _MILO not in mdata.mod:
        raise InputError(
            f"the MuData has no modality {_MILO!r}; it has {list(mdata.mod)}. Count the neighbourhoods with pertpy's "
            "count_nhoods, or pass one modality, such as mdata['rna']"
        )
    milo = mdata.mod[_MILO]
    by = str(milo.uns.get("sample_col", sample))
    counted = of_table(milo, by)
    cells = next((mod for name, mod in mdata.mod.items() if name != _MILO and by in mod.obs), None)
    member, obs, n_cells, varying = None, counted.obs, counted.n_cells, counted.table.varying
    if cells is not None:
        codes, samples = read_factor(cells, by)
        of_cells, _, place = samples_of(cells.obs, codes, samples, by)
        of_cells.index = pd.Index([samples[i] for i in place])
        missing = [name for name in counted.samples if name not in of_cells.index]
        if missing:
            raise InputError(
                f"the sample {missing[0]!r} of the modality {_MILO!r} is not in the column {by!r} of the cells, which "
                f"has {', '.join(map(repr, samples[:5]))}; count the neighbourhoods again"
            )
        new = of_cells.loc[counted.samples].reset_index(drop=True)
        obs = pd.concat([obs, new[[name for name in new if name not in obs or name == by]]], axis=1)
        obs = obs.loc[:, ~obs.columns.duplicated(keep="last")]
        of_sample = pd.Series(np.bincount(codes[codes >= 0], minlength=len(samples)), samples)
        n_cells = of_sample.loc[counted.samples].to_numpy(dtype=np.float64)
        varying = tuple(name for name in varying_columns(cells.obs, of_cells) if name not in obs)
        stored = cells.obsm.get(_NHOODS)
        if stored is not None and stored.shape[1] == milo.n_vars:
            member = sparse.csr_matrix(stored, dtype=np.float64)
    var, more = add_weights(counted.var, weights, member)
    table = replace(counted.table, sample=by, what="neighbourhoods", varying=varying)
    return replace(counted, obs=obs, var=var, n_cells=n_cells, table=table, notes=(*counted.notes, *more))


def with_weights(counted: Counted, weights: Weights | None) -> Counted:
    """Add weights to an existing table if it counts neighbourhoods."""
    if counted.table.what != "neighbourhoods":
        return counted
    var, notes = add_weights(counted.var, weights, None)
    return replace(counted, var=var, notes=(*counted.notes, *notes))


def add_weights(
    var: pd.DataFrame, weights: Weights | None, member: sparse.csr_matrix | None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add the weights of the neighbourhoods to `var`; also return notes."""
    if weights is None:
        return var, ()
    if weights == "k-distance" and "kth_distance" in var:
        distance = var["kth_distance"].to_numpy(dtype=np.float64)
        if np.isfinite(distance).all() and (distance > 0.0).any():
            # a distance of zero gets the weight of the smallest positive distance
            return var.assign(**{WEIGHTS: 1.0 / np.maximum(distance, distance[distance > 0.0].min())}), ()
    if member is not None:
        shared = np.asarray(member.T @ (member @ np.ones(member.shape[1])), dtype=np.float64)
        note = "distances to the k-th neighbour are not available, so weights='graph-overlap' is used"
        return var.assign(**{WEIGHTS: 1.0 / np.maximum(shared, 1.0)}), () if weights == "graph-overlap" else (note,)
    return var, (f"weights={weights!r}: neither distances nor neighbourhoods are available, so weights are equal",)
