"""Count cells by sample and type, and collect the columns of samples and types."""

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
    """Counts of cells by sample and type.

    Attributes
    ----------
    counts
        (n_samples, n_types) numbers of cells.
    samples, types
        Names of the rows and columns of `counts`.
    obs, var
        Columns of the samples and of the types.
    n_cells
        (n_samples,) all cells of each sample.
    table
        Description of the table, which is stored with it.
    notes
        Notes for the user.
    """

    counts: FloatArray
    samples: list[str]
    types: list[str]
    obs: pd.DataFrame
    var: pd.DataFrame
    n_cells: FloatArray
    table: AbundanceTable
    notes: tuple[str, ...] = ()


def of_types(adata: AnnData, sample: str, groupby: str) -> Counted:
    """Count the cells of each type in each sample."""
    if sample == groupby:
        raise InputError(f"sample= and groupby= are the same column {sample!r}: groupby= must be the cell types")
    of_sample, samples = read_factor(adata, sample)
    of_type, types = read_factor(adata, groupby, content="cell type")
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
    """Read an existing table of samples by types."""
    problem = count_problem(adata.X)
    if problem is not None:
        raise InputError(f"X {problem}. With groupby=None, X must contain numbers of cells, samples by types")
    X: Any = adata.X
    counts = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
    frame: pd.DataFrame = adata.obs  # type: ignore[assignment]
    obs = frame.reset_index(drop=True)
    if sample not in obs:
        obs[sample] = pd.Categorical(adata.obs_names.astype(str))
    names = obs[sample].astype(str)
    if names.duplicated().any():
        raise InputError(
            f"the sample {names[names.duplicated()].iloc[0]!r} occurs in several rows, but with groupby=None each row "
            "must be a sample. For an AnnData of cells, pass the column of the cell types as groupby="
        )
    has_cells = counts.sum(axis=1) > 0.0
    notes = () if has_cells.all() else (f"{int((~has_cells).sum())} samples without a cell were left out",)
    var: pd.DataFrame = adata.var.reset_index(drop=True)
    content = "neighbourhoods" if "kth_distance" in var else "types"
    return Counted(
        counts[has_cells],
        names[has_cells].tolist(),
        [str(name) for name in adata.var_names],
        obs[has_cells].reset_index(drop=True),
        var,
        counts[has_cells].sum(axis=1),
        AbundanceTable(sample, content, "robust"),
        notes,
    )


def samples_of(
    obs: Any, codes: IntArray, samples: list[str], columns: str
) -> tuple[pd.DataFrame, tuple[str, ...], IntArray]:
    """Return the columns of the samples, notes, and the positions of samples with cells."""
    notes = []
    if (codes < 0).any():
        notes.append(f"{int((codes < 0).sum())} cells without a value in {columns} are not counted")
    place = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(samples)))
    row = np.full(len(samples), -1, dtype=np.int64)
    row[place] = np.arange(len(place))
    if len(place) < len(samples):
        empty = [samples[i] for i in np.setdiff1d(np.arange(len(samples)), place)]
        notes.append(f"{len(empty)} samples without such a cell were left out: {', '.join(map(repr, empty[:5]))}")
    return constant_columns(obs, np.where(codes < 0, -1, row[codes]), len(place)), tuple(notes), place


def varying_columns(cells: pd.DataFrame, samples: pd.DataFrame) -> tuple[str, ...]:
    """List the columns of cells that have several values within a sample."""
    return tuple(str(name) for name in cells.columns if name not in samples.columns)


def no_columns(names: Sequence[str]) -> pd.DataFrame:
    """Make a data frame with a row for each name and no columns."""
    return pd.DataFrame(index=range(len(names)))
