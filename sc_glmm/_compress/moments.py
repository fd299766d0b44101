"""Kernels for sums of stored values and of their squares, row by row (CSR, dense) or gene by gene (CSC).

Numba caches by the hash of one file: every kernel called here is defined here (the record `Stored` has no code).

Values become float64 by name: numba's ``float`` would leave float32 as it is.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .arrays import FloatArray, IntArray
from .kernels import Stored


@njit(cache=True, nogil=True)
def add_moments_by_rows(
    stored: Stored,
    matrix_row: IntArray,
    cells: IntArray,
    gene_map: IntArray,
    row_of: IntArray,
    offset: FloatArray,
    sum_y: FloatArray,
    moments_out: FloatArray,
) -> None:
    """Add the cells held by the rows `matrix_row` of a CSR matrix to their design rows.

    `moments_out` takes per gene the sum of squares, the sum of value times offset and the number of values not zero.
    """
    for c in range(cells.shape[0]):
        i = cells[c]
        for p in range(stored.indptr[matrix_row[c]], stored.indptr[matrix_row[c] + 1]):
            g = gene_map[stored.indices[p]]
            if g >= 0:
                y = np.float64(stored.data[p])
                sum_y[g, row_of[i]] += y
                moments_out[0, g] += y * y
                moments_out[1, g] += y * offset[i]
                moments_out[2, g] += y != 0.0


@njit(cache=True, nogil=True)
def add_moments_by_columns(
    stored: Stored,
    genes: IntArray,
    gene_first: int,
    cell_of: IntArray,
    group_of: IntArray,
    row_of: IntArray,
    offset: FloatArray,
    sum_y: FloatArray,
    moments_out: FloatArray,
) -> None:
    """Add the columns `genes` of a CSC matrix; they are genes `gene_first`, `gene_first` + 1, ... of the results."""
    for j in range(genes.shape[0]):
        g = gene_first + j
        for p in range(stored.indptr[genes[j]], stored.indptr[genes[j] + 1]):
            i = cell_of[stored.indices[p]]
            if i >= 0:
                y = np.float64(stored.data[p])
                sum_y[g, row_of[i]] += y
                moments_out[group_of[i], 0, g] += y * y
                moments_out[group_of[i], 1, g] += y * offset[i]
                moments_out[group_of[i], 2, g] += y != 0.0


@njit(cache=True, nogil=True)
def total_of_rows(stored: Stored, total_out: FloatArray) -> None:
    """Sum of the stored values of each row of a CSR matrix."""
    for i in range(total_out.shape[0]):
        total = 0.0
        for p in range(stored.indptr[i], stored.indptr[i + 1]):
            total += np.float64(stored.data[p])
        total_out[i] = total


@njit(cache=True, nogil=True)
def total_over_columns(stored: Stored, total_out: FloatArray) -> None:
    """Sum of the stored values of each row of a CSC matrix."""
    for p in range(stored.data.shape[0]):
        total_out[stored.indices[p]] += np.float64(stored.data[p])
