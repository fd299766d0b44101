"""Columns of cells: numbers, groups, and stored library sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray
from .._design.columns import native
from .._display.arguments import suggest
from .._errors import InputError
from .tables import TOTAL_COLUMNS

if TYPE_CHECKING:
    from anndata import AnnData


# If the counts are below this fraction of the library size, the matrix was probably subset to some genes.
CUT_SHARE = 0.8


def obs_numbers(adata: AnnData, value: Any, what: str) -> FloatArray:
    """Return ``(n_obs,)`` numbers from a column of obs, a Series indexed by cells, or an array in the order of cells.

    Raises
    ------
    InputError
        If the column does not exist, is not numeric, or has the wrong length. The caller handles missing values.
    """
    if isinstance(value, str):
        if value not in adata.obs:
            raise _unknown_column(adata, what, value)
        value = adata.obs[value]
    elif isinstance(value, pd.Series):
        if not value.index.is_unique or not adata.obs_names.isin(value.index).all():
            raise InputError(f"{what} is a Series that does not contain every cell once; index it by adata.obs_names")
        value = value.reindex(adata.obs_names)
    try:
        numbers = np.asarray(pd.to_numeric(pd.Series(np.asarray(value).ravel())), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} does not contain numbers: {error}") from error
    if len(numbers) != adata.n_obs:
        raise InputError(
            f"{what} has {len(numbers)} values, but the AnnData has {adata.n_obs} cells; give one value per cell"
        )
    return numbers


def cut_note(adata: AnnData, library: FloatArray) -> str | None:
    """Return a note if the library sizes are far below those in obs, because the matrix was subset to some genes."""
    for column in TOTAL_COLUMNS:
        if column in adata.obs and pd.api.types.is_numeric_dtype(adata.obs[column]):
            known = np.asarray(adata.obs[column], dtype=np.float64)
            good = (known > 0) & np.isfinite(known)
            share = float(np.median(library[good] / known[good])) if good.any() else 1.0
            if share < CUT_SHARE:
                return (
                    f"the counts of a cell add up to {share:.0%} of obs[{column!r}] (median). The matrix seems to be "
                    f"subset to some genes, and its sums are poor size factors; pass size_factors={column!r}, or "
                    "test before subsetting"
                )
            return None
    return None


def groups_of(adata: AnnData, groupby: str | None) -> tuple[list[tuple[str, BoolArray]], list[str]]:
    """Return the groups of cells as (name, mask), and notes; without `groupby`, return one group of all cells."""
    if groupby is None:
        return [("", np.ones(adata.n_obs, dtype=bool))], []
    if groupby not in adata.obs:
        raise _unknown_column(adata, "groupby", groupby)
    column = native(adata.obs, [groupby])[groupby].astype("category").cat.remove_unused_categories()
    groups = [(str(level), (column == level).to_numpy(dtype=bool)) for level in column.cat.categories]
    missing = int(column.isna().sum())
    return groups, ([f"{missing} cells without a value in obs[{groupby!r}] belong to no group"] if missing else [])


def _unknown_column(adata: AnnData, what: str, name: str) -> InputError:
    """Return the error for a missing column of obs; it suggests a similar name."""
    return InputError(f"{what}={name!r} is not a column of obs{suggest(name, adata.obs.columns)}")
