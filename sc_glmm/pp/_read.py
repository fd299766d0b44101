"""Read counts and columns for the functions of ``pp``."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def read_matrix(adata: AnnData, layer: str | None) -> tuple[Any, str]:
    """Return the matrix, and its name for messages."""
    if layer is None:
        return adata.X, "X"
    if layer not in adata.layers:
        raise InputError(f"there is no layer {layer!r}; available: {layer_names(adata)}. Omit layer= to use X.")
    return adata.layers[layer], f"layer {layer!r}"


def layer_names(adata: AnnData) -> str:
    """List the names of the layers, for messages."""
    # in anndata 0.13 and later, X is the layer None
    return ", ".join(repr(name) for name in adata.layers.keys() if name is not None) or "none"


def read_factor(adata: AnnData, column: str, content: str = "sample") -> tuple[np.ndarray, list[str]]:
    """Return the level of each cell (-1 if missing), and the levels that occur, in the order of the categories."""
    if column not in adata.obs:
        columns = ", ".join(map(repr, adata.obs.columns)) or "none"
        near = get_close_matches(column, list(map(str, adata.obs.columns)), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"there is no column {column!r} in obs; available: {columns}.{hint}")
    factor: Any = adata.obs[column].astype("category").cat.remove_unused_categories()
    if not len(factor.cat.categories):
        raise InputError(f"the column {column!r} of obs has no values; it must contain the {content} of each cell.")
    return factor.cat.codes.to_numpy(dtype=np.int64), [str(level) for level in factor.cat.categories]


def cross(factors: list[tuple[np.ndarray, list[str]]]) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Return the combination of each cell (-1 if a level is missing), and the combinations that occur, in order."""
    table = np.stack([codes for codes, _ in factors], axis=1)
    whole = (table >= 0).all(axis=1)
    found, place = np.unique(table[whole], axis=0, return_inverse=True)
    codes = np.full(len(table), -1, dtype=np.int64)
    codes[whole] = np.asarray(place).reshape(-1)
    return codes, [tuple(levels[i] for (_, levels), i in zip(factors, row, strict=True)) for row in found]


def constant_columns(obs: pd.DataFrame, codes: np.ndarray, n_levels: int) -> pd.DataFrame:
    """Return the columns of `obs` that are constant within each level, one row per level.

    Missing values count as a value.
    """
    used = np.flatnonzero(codes >= 0)
    first = np.full(n_levels, -1, dtype=np.int64)
    first[codes[used][::-1]] = used[::-1]
    constant = {}
    for name in obs.columns:
        column = obs[name]
        values = pd.factorize(column, use_na_sentinel=False)[0]
        if np.array_equal(values[used], values[first[codes[used]]]):
            constant[name] = column.iloc[first].reset_index(drop=True)
    return pd.DataFrame(constant)
