"""Counts of cells by sample, and what is known of samples and types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.abundance import AbundanceTable
from .._arrays import FloatArray, IntArray
from .._compress.guards import count_problem
from .._errors import InputError
from ._read import constant_columns, read_factor

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Counted:
    """Counts, and what is known of samples and types."""

    counts: FloatArray
    samples: list[str]
    types: list[str]
    obs: pd.DataFrame
    var: pd.DataFrame
    n_cells: FloatArray
    table: AbundanceTable
    notes: tuple[str, ...] = ()


def of_types(adata: AnnData, sample: str, groupby: str) -> Counted:
    if sample == groupby:
        raise InputError(f"sample and groupby both name the column {sample!r}; groupby is the column of cell types")
    of_sample, samples = read_factor(adata, sample)
    of_type, types = read_factor(adata, groupby, what="cell type")
    codes = np.where(of_type < 0, -1, of_sample)
    obs, notes, place = samples_of(adata.obs, codes, samples, f"{sample} or {groupby}")
    counts = np.zeros((len(place), len(types)))
    row = np.full(len(samples), -1, dtype=np.int64)
    row[place] = np.arange(len(place))
    used = codes >= 0
    np.add.at(counts, (row[codes[used]], of_type[used]), 1.0)
    table = AbundanceTable(sample, groupby, "robust", (), varying_columns(adata.obs, obs))
    named = [samples[i] for i in place]
    return Counted(counts, named, types, obs, no_columns(types), counts.sum(axis=1), table, notes)


def of_table(adata: AnnData, sample: str) -> Counted:
    """A table that is there already."""
    problem = count_problem(adata.X)
    if problem is not None:
        raise InputError(f"X {problem}. With groupby=None it must hold numbers of cells, samples x types")
    X: Any = adata.X
    counts = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
    frame: pd.DataFrame = adata.obs  # type: ignore[assignment]
    obs = frame.reset_index(drop=True)
    if sample not in obs:
        obs[sample] = pd.Categorical(adata.obs_names.astype(str))
    names = obs[sample].astype(str)
    if names.duplicated().any():
        raise InputError(
            f"the sample {names[names.duplicated()].iloc[0]!r} stands in several rows: with groupby=None each row of "
            "the table is a sample. For an AnnData of cells, name the column of the cell types as groupby="
        )
    filled = counts.sum(axis=1) > 0.0
    notes = () if filled.all() else (f"{int((~filled).sum())} samples without a cell were left out",)
    var: pd.DataFrame = adata.var.reset_index(drop=True)
    what = "neighbourhoods" if "kth_distance" in var else "types"
    return Counted(
        counts[filled],
        [name for name, there in zip(names, filled, strict=True) if there],
        [str(name) for name in adata.var_names],
        obs[filled].reset_index(drop=True),
        var,
        counts[filled].sum(axis=1),
        AbundanceTable(sample, what, "robust"),
        notes,
    )


def samples_of(
    obs: Any, codes: IntArray, samples: list[str], columns: str
) -> tuple[pd.DataFrame, tuple[str, ...], IntArray]:
    """Columns of the samples, notes, and the places of samples with cells."""
    notes = []
    if (codes < 0).any():
        notes.append(f"{int((codes < 0).sum())} cells without a value in {columns} are not counted")
    place = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(samples)))
    row = np.full(len(samples), -1, dtype=np.int64)
    row[place] = np.arange(len(place))
    if len(place) < len(samples):
        lost = [samples[i] for i in np.setdiff1d(np.arange(len(samples)), place)]
        notes.append(f"{len(lost)} samples without such a cell were left out: {', '.join(map(repr, lost[:5]))}")
    return constant_columns(obs, np.where(codes < 0, -1, row[codes]), len(place)), tuple(notes), place


def varying_columns(cells: pd.DataFrame, samples: pd.DataFrame) -> tuple[str, ...]:
    return tuple(str(name) for name in cells.columns if name not in samples.columns)


def no_columns(names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(index=range(len(names)))
