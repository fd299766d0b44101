"""Supported forms of a matrix, and the selection of its rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from .._arrays import AnyArray, IntArray
from .._errors import InputError

# Anything with `shape`: scipy sparse matrices and arrays, numpy arrays.
Matrix: TypeAlias = Any
Genes: TypeAlias = slice | AnyArray | Sequence[int]


def stored_values(data: AnyArray) -> AnyArray:
    """Return the stored values in a type that the kernels can read; only rare types such as float16 are copied."""
    if data.dtype.kind not in "biuf":
        raise InputError(f"the matrix has dtype {data.dtype}; only real numbers can be used. Convert it first.")
    if data.dtype.itemsize > 8 or data.dtype == np.float16 or not data.dtype.isnative:
        return data.astype(np.float64)
    return data


def native_order(numbers: AnyArray) -> AnyArray:
    """Return the numbers in the byte order of the machine; they are copied only if their byte order differs."""
    return numbers if numbers.dtype.isnative else numbers.astype(numbers.dtype.newbyteorder("="))


def as_readable(matrix: Matrix) -> Matrix:
    """Convert a matrix to CSR, CSC or a two-dimensional numpy array, with no element stored twice.

    CSR, CSC and dense input is not copied, except a sparse matrix with unsorted or repeated indices: a count that is
    stored in two parts would be taken for two cells. Other sparse formats are converted to CSR.
    """
    if sp.issparse(matrix):
        if matrix.ndim != 2:
            raise InputError(f"the matrix has {matrix.ndim} dimension; cells x genes is needed.")
        if matrix.format not in ("csr", "csc"):
            matrix = matrix.tocsr()
        kind = sp.csr_matrix if matrix.format == "csr" else sp.csc_matrix
        parts = (stored_values(matrix.data), native_order(matrix.indices), native_order(matrix.indptr))
        if any(a is not b for a, b in zip(parts, (matrix.data, matrix.indices, matrix.indptr), strict=True)):
            matrix = kind(parts, shape=matrix.shape)
        if not matrix.has_canonical_format:
            # Copy to the plain class: subclasses, such as anndata's views, write changes back to their owner.
            matrix = kind((matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)
            matrix.sum_duplicates()
        return matrix
    if not isinstance(matrix, np.ndarray):
        raise InputError(
            f"the matrix is a {type(matrix).__name__}; a scipy sparse matrix or array or a numpy array is needed. "
            "Load it into memory first."
        )
    dense = np.asarray(matrix)
    if dense.ndim != 2:
        raise InputError(f"the matrix has {dense.ndim} dimensions; cells x genes is needed.")
    stored_values(dense[:0])
    return dense


def gene_index(genes: Genes, n_vars: int) -> IntArray:
    """Return the columns that `genes` selects."""
    index = np.arange(n_vars, dtype=np.int64)[genes]
    if len(np.unique(index)) < len(index):
        raise InputError(f"genes selects a column twice ({len(index)} entries); give each column once.")
    return index


def rows_of_cells(obs_index: AnyArray | None, n_obs: int, n_matrix: int) -> IntArray:
    """Return the matrix row of each cell, -1 for cells without one."""
    if obs_index is None:
        if n_obs != n_matrix:
            raise InputError(
                f"the matrix has {n_matrix} rows, the design has {n_obs} cells; they must be equal, or obs_index must "
                "say which row of the matrix holds each cell."
            )
        return np.arange(n_obs, dtype=np.int64)
    rows = np.ascontiguousarray(obs_index, dtype=np.int64)
    if rows.shape != (n_obs,):
        raise InputError(f"obs_index has shape {rows.shape}, there are {n_obs} cells; give one row of the matrix each.")
    bad = np.flatnonzero((rows < -1) | (rows >= n_matrix))
    if len(bad):
        raise InputError(
            f"obs_index names row {rows[bad[0]]} of the matrix for cell {bad[0]}; it has rows 0 to {n_matrix - 1}, and "
            "-1 stands for a cell that the matrix does not hold."
        )
    present = rows[rows >= 0]
    if len(np.unique(present)) < len(present):
        raise InputError("obs_index names a row of the matrix twice; each cell needs a row of its own.")
    return rows


def cells_of_rows(order: IntArray, matrix_row: IntArray, n_matrix: int) -> IntArray:
    """Return the cell in each row of the matrix, -1 for rows whose cell is not in `order`."""
    cell_of = np.full(n_matrix, -1, dtype=np.int64)
    present = order[matrix_row[order] >= 0]
    cell_of[matrix_row[present]] = present
    return cell_of


def rank_of_cells(order: IntArray, n_obs: int) -> IntArray:
    """Return the position of each cell in `order`, -1 for cells that are not in it."""
    rank = np.full(n_obs, -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def map_genes(genes: IntArray, n_vars: int) -> IntArray:
    """Return the position of each column of the matrix among `genes`, -1 for columns that are not selected."""
    gene_map = np.full(n_vars, -1, dtype=np.int64)
    gene_map[genes] = np.arange(len(genes))
    return gene_map


def group_rows(
    group_of: IntArray | None, n_groups: int | None, order: IntArray, order_ptr: IntArray, n_obs: int
) -> tuple[IntArray, IntArray, int]:
    """Return the group of each cell and of each design row (-1 for rows without cells), and the number of groups."""
    if group_of is None:
        return np.zeros(n_obs, dtype=np.int64), np.zeros(len(order_ptr) - 1, dtype=np.int64), 1
    groups = np.ascontiguousarray(group_of, dtype=np.int64)
    if groups.shape != (n_obs,):
        raise InputError(f"group_of has shape {groups.shape}, there are {n_obs} cells; give one group per cell.")
    n_cells = np.diff(order_ptr)
    row_group = np.full(len(n_cells), -1, dtype=np.int64)
    filled = n_cells > 0
    row_group[filled] = groups[order[order_ptr[:-1][filled]]]
    if not np.array_equal(np.repeat(row_group, n_cells), groups[order]) or row_group[filled].min(initial=0) < 0:
        raise InputError("some cells of one design row are in different groups or in none; give each group its rows.")
    n_found = int(row_group.max(initial=-1)) + 1
    if n_groups is not None and n_found > n_groups:
        raise InputError(f"group_of names {n_found} groups, n_groups is {n_groups}; it must be at least as large.")
    return groups, row_group, max(n_found, 1) if n_groups is None else n_groups
