"""Read counts and columns for the functions of ``pp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._compress.guards import count_problem
from .._display.arguments import quote_some, suggest
from .._errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def read_matrix(adata: AnnData, layer: str | None) -> Any:
    """Return X, or the layer."""
    if layer is not None and layer not in adata.layers:
        raise InputError(f"there is no layer {layer!r}{suggest(layer, _layer_names(adata))}; omit layer= to use X")
    return adata.X if layer is None else adata.layers[layer]


def read_counts(adata: AnnData, layer: str | None, reason: str) -> Any:
    """Return X, or the layer, after checking that it contains counts; `reason` says why they are needed."""
    matrix = read_matrix(adata, layer)
    problem = count_problem(matrix)
    if problem is not None:
        raise InputError(
            f"{'X' if layer is None else f'layer {layer!r}'} {problem}. {reason}: pass the layer with the counts as "
            f"layer= (layers: {quote_some(_layer_names(adata))})."
        )
    return matrix


def _layer_names(adata: AnnData) -> list[str]:
    """List the names of the layers; in anndata 0.13 and later, X is the layer None."""
    return [name for name in adata.layers.keys() if name is not None]


def read_factor(adata: AnnData, column: str, content: str = "sample") -> tuple[np.ndarray, list[str]]:
    """Return the level of each cell (-1 if missing), and the levels that occur, in the order of the categories."""
    if column not in adata.obs:
        raise InputError(f"there is no column {column!r} in obs{suggest(column, adata.obs.columns, 20)}")
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
