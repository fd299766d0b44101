"""Design rows: distinct combinations of covariates and groups that several cells can share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays import AnyArray, FloatArray, IntArray


@dataclass(frozen=True)
class DesignRows:
    """Distinct combinations of X row, basis rows and group codes, in lexicographic order of (codes, Z, X).

    Two cells in the same row have the same linear predictor for any parameters; only their offsets can differ. The
    order of the rows depends on the values alone, so a permutation of the cells only permutes `row_of`.

    Attributes
    ----------
    row_of
        ``(n_obs,)`` row of each cell.
    n_rows
        Number of distinct rows.
    X
        ``(n_rows, p)`` rows of the fixed-effects matrix.
    Z
        ``(n_rows, k)`` basis rows for each random term.
    codes
        ``(n_rows,)`` level of the grouping factor for each random term.
    n_cells
        ``(n_rows,)`` number of cells in each row.
    """

    row_of: IntArray
    n_rows: int
    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    n_cells: IntArray


def _refine(ids: IntArray, n_ids: int, column: AnyArray) -> tuple[IntArray, int]:
    """Split the classes of `ids` by the values of `column`; classes keep their order, and values ascend in each."""
    example = np.zeros(n_ids, dtype=column.dtype)
    example[ids] = column
    if np.array_equal(example[ids], column):
        # Constant within every class, like sample-level covariates within samples: no sort is needed.
        return ids, n_ids
    values, value_ids = np.unique(column, return_inverse=True)
    present, refined = np.unique(ids * len(values) + value_ids.reshape(-1), return_inverse=True)
    return refined.reshape(-1).astype(np.int64, copy=False), len(present)


def unique_rows(X: FloatArray, Zs: Sequence[FloatArray], codes: Sequence[IntArray]) -> DesignRows:
    """Find the design rows of the cells.

    Parameters
    ----------
    X
        ``(n_obs, p)`` fixed-effects matrix; no NaN.
    Zs
        ``(n_obs, k)`` basis for each random term; no NaN.
    codes
        ``(n_obs,)`` level of each cell for each random term.
    """
    n_obs = len(X)
    ids, n_ids = np.zeros(n_obs, dtype=np.int64), min(n_obs, 1)
    if n_obs:
        columns: list[AnyArray] = [np.asarray(code) for code in codes]
        columns += [Z[:, j] for Z in Zs for j in range(Z.shape[1])]
        columns += [X[:, j] for j in range(X.shape[1])]
        for column in columns:
            ids, n_ids = _refine(ids, n_ids, column)
    first = np.zeros(n_ids, dtype=np.int64)
    first[ids[::-1]] = np.arange(n_obs - 1, -1, -1)
    return DesignRows(
        row_of=ids,
        n_rows=n_ids,
        X=np.ascontiguousarray(X[first], dtype=np.float64),
        Z=tuple(np.ascontiguousarray(Z[first], dtype=np.float64) for Z in Zs),
        codes=tuple(np.ascontiguousarray(np.asarray(code)[first], dtype=np.int64) for code in codes),
        n_cells=np.bincount(ids, minlength=n_ids).astype(np.int64),
    )


@dataclass(frozen=True)
class StackedRows:
    """Rows of several groups of cells, one group after the other, for one pass over the matrix.

    Attributes
    ----------
    row_of
        ``(n_obs,)`` row of each cell in the numbering over all groups, -1 for cells without a group.
    group_of
        ``(n_obs,)`` group of each cell, -1 for cells without a group.
    first_row
        ``(n_groups + 1,)`` first row of each group, followed by the number of rows.
    """

    row_of: IntArray
    group_of: IntArray
    first_row: IntArray

    @property
    def n_rows(self) -> int:
        """Return the number of rows of all groups."""
        return int(self.first_row[-1])


def stack_rows(parts: Sequence[tuple[IntArray, DesignRows]], n_obs: int) -> StackedRows:
    """Number the rows of several groups consecutively.

    Parameters
    ----------
    parts
        For each group, the positions of its cells among all `n_obs` cells, and their design rows.
    n_obs
        Number of all cells.
    """
    row_of = np.full(n_obs, -1, dtype=np.int64)
    group_of = np.full(n_obs, -1, dtype=np.int64)
    first_row = np.zeros(len(parts) + 1, dtype=np.int64)
    for group, (cells, rows) in enumerate(parts):
        row_of[cells] = first_row[group] + rows.row_of
        group_of[cells] = group
        first_row[group + 1] = first_row[group] + rows.n_rows
    return StackedRows(row_of, group_of, first_row)
