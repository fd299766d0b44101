"""The forms of a matrix that are read, and how its rows or columns are shared out among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from sc_glmm._compress.arrays import AnyArray, IntArray
from sc_glmm._errors import InputError

# Anything with `shape`: scipy sparse matrices and arrays, numpy arrays.
Matrix: TypeAlias = Any
Genes: TypeAlias = slice | AnyArray | Sequence[int]


def stored_values(data: AnyArray) -> AnyArray:
    """The stored values in a type that the kernels can read; a copy only for rare types such as float16."""
    if data.dtype.kind not in "biuf":
        raise InputError(f"the matrix has dtype {data.dtype}; only real numbers can be used. Convert it first.")
    if data.dtype.itemsize > 8 or data.dtype == np.float16 or not data.dtype.isnative:
        return data.astype(np.float64)
    return data


def as_readable(matrix: Matrix) -> Matrix:
    """CSR, CSC or a two-dimensional numpy array, with no element stored twice.

    CSR, CSC and dense input is not copied, except a sparse matrix whose indices are unsorted or repeated: a count that
    is stored in two parts would be taken for two cells. Other sparse formats are converted to CSR.
    """
    if sp.issparse(matrix):
        if matrix.ndim != 2:
            raise InputError(f"the matrix has {matrix.ndim} dimension; cells x genes is needed.")
        if matrix.format not in ("csr", "csc"):
            matrix = matrix.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        data = stored_values(matrix.data)
        if data is not matrix.data:
            matrix = type(matrix)((data, matrix.indices, matrix.indptr), shape=matrix.shape)
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
    """Columns that `genes` selects."""
    index = np.arange(n_vars, dtype=np.int64)[genes]
    if len(np.unique(index)) < len(index):
        raise InputError(f"genes selects a column twice ({len(index)} entries); give each column once.")
    return index


def rows_of_cells(obs_index: AnyArray | None, n_obs: int, n_matrix: int) -> IntArray:
    """Row of the matrix that holds each cell, -1 for none."""
    if obs_index is None:
        if n_obs != n_matrix:
            raise InputError(
                f"the matrix has {n_matrix} rows, the design has {n_obs} cells; they must be equal, or obs_index must "
                "say which row of the matrix holds each cell."
            )
        return np.arange(n_obs, dtype=np.int64)
    rows = np.ascontiguousarray(obs_index, dtype=np.int64)
    if rows.shape != (n_obs,) or rows.max(initial=-1) >= n_matrix or rows.min(initial=-1) < -1:
        raise InputError(
            f"obs_index has shape {rows.shape} and values from {rows.min(initial=-1)} to {rows.max(initial=-1)}; it "
            f"needs one row of the matrix (0 to {n_matrix - 1}, or -1 for none) for each of {n_obs} cells."
        )
    present = rows[rows >= 0]
    if len(np.unique(present)) < len(present):
        raise InputError("obs_index names a row of the matrix twice; each cell needs a row of its own.")
    return rows


def split_evenly(sizes: IntArray, n_blocks: int) -> list[slice]:
    """At most `n_blocks` runs of consecutive items whose sizes add up to about the same."""
    ends = np.cumsum(sizes)
    total = ends[-1] if len(ends) else 0
    cuts = np.searchsorted(ends, total * np.arange(1, n_blocks) / n_blocks) + 1
    edges = np.unique(np.concatenate([[0], np.minimum(cuts, len(sizes)), [len(sizes)]]))
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def run_blocks(work: Callable[[int], None], n_blocks: int, n_jobs: int) -> None:
    """Call ``work(0)``, ..., ``work(n_blocks - 1)``, on `n_jobs` threads."""
    if n_jobs < 1:
        raise InputError(f"n_jobs is {n_jobs}; the number of threads must be 1 or more.")
    if n_jobs == 1 or n_blocks <= 1:
        for block in range(n_blocks):
            work(block)
        return
    with ThreadPoolExecutor(min(n_jobs, n_blocks)) as pool:
        for _ in pool.map(work, range(n_blocks)):
            pass
