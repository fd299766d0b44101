"""Sums over the cells of each sample, and numbers of cells with a count; sparse for a sparse matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._arrays import IntArray
from .matrix import Matrix, as_readable


def membership(codes: IntArray, n_levels: int) -> Any:
    """Return an ``(n_levels, n_obs)`` CSR matrix with a one if a cell belongs to a level; code -1 belongs to none."""
    codes = np.asarray(codes, dtype=np.int64)
    cells = np.flatnonzero(codes >= 0)
    shape = (n_levels, len(codes))
    return sp.csr_matrix((np.ones(len(cells)), (codes[cells], cells)), shape=shape)


def sums_by_level(matrix: Matrix, codes: IntArray, n_levels: int) -> Any:
    """Sum each gene over the cells of each level, in float64.

    Parameters
    ----------
    matrix
        Cells x genes.
    codes
        ``(n_obs,)`` level of each cell, -1 for cells that are not used.
    n_levels
        Number of levels.

    Returns
    -------
    ``(n_levels, n_genes)`` CSR for a sparse matrix, otherwise a numpy array.
    """
    return _product(membership(codes, n_levels), as_readable(matrix))


def cells_by_level(matrix: Matrix, codes: IntArray, n_levels: int) -> Any:
    """Count the cells of each level in which a gene is not zero; the result is as in :func:`sums_by_level`."""
    matrix = as_readable(matrix)
    if isinstance(matrix, np.ndarray):
        return _product(membership(codes, n_levels), matrix != 0)
    # The positions of the stored values are shared, not copied; a stored zero is not counted.
    seen = type(matrix)((matrix.data != 0, matrix.indices, matrix.indptr), shape=matrix.shape)
    return _product(membership(codes, n_levels), seen)


def _product(member: Any, matrix: Matrix) -> Any:
    """Multiply in float64 for any type of the matrix, because sums of small integers overflow in their own type."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(member @ matrix, dtype=np.float64)
    out = sp.csr_matrix(member @ matrix)
    out.eliminate_zeros()
    out.sort_indices()
    return out
