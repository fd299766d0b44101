"""Kernels for sums of stored values and of their squares, row by row (CSR, dense) or gene by gene (CSC).

Numba caches by the hash of one file: every kernel called here is defined here (the record `Stored` has no code).

Values become float64 by name: numba's ``float`` would leave float32 as it is.
"""

from __future__ import annotations

import numpy as np

from .._families.cache import cached
from .arrays import AnyArray, FloatArray, IntArray
from .kernels import Stored


@cached(nogil=True)
def add_moments_by_rows(
    stored: Stored,
    matrix_row: IntArray,
    cells: IntArray,
    first_column: int,
    end_column: int,
    gene_map: IntArray,
    group_of: IntArray,
    row_of: IntArray,
    offset: FloatArray,
    sum_y: FloatArray,
    moments_out: FloatArray,
) -> None:
    """Add `cells`, held by the rows `matrix_row` of a CSR matrix, in columns from `first_column` to `end_column`.

    `moments_out` takes per group and gene the sum of squares, the sum of value times offset and the number of values
    not zero. Indices must ascend within a row.
    """
    for c in range(cells.shape[0]):
        i = cells[c]
        start, end = stored.indptr[matrix_row[c]], stored.indptr[matrix_row[c] + 1]
        low = end
        while start < low:
            middle = (start + low) // 2
            if stored.indices[middle] < first_column:
                start = middle + 1
            else:
                low = middle
        p = start
        while p < end and stored.indices[p] < end_column:
            g = gene_map[stored.indices[p]]
            if g >= 0:
                y = np.float64(stored.data[p])
                sum_y[g, row_of[i]] += y
                moments_out[group_of[i], 0, g] += y * y
                moments_out[group_of[i], 1, g] += y * offset[i]
                moments_out[group_of[i], 2, g] += y != 0.0
            p += 1


@cached(nogil=True)
def add_moments_by_columns(
    stored: Stored,
    columns: IntArray,
    genes: IntArray,
    cell_of: IntArray,
    group_of: IntArray,
    row_of: IntArray,
    offset: FloatArray,
    sum_y: FloatArray,
    moments_out: FloatArray,
) -> None:
    """Add `columns` of a CSC matrix, which are `genes` of the results."""
    for j in range(columns.shape[0]):
        g = genes[j]
        for p in range(stored.indptr[columns[j]], stored.indptr[columns[j] + 1]):
            i = cell_of[stored.indices[p]]
            if i >= 0:
                y = np.float64(stored.data[p])
                sum_y[g, row_of[i]] += y
                moments_out[group_of[i], 0, g] += y * y
                moments_out[group_of[i], 1, g] += y * offset[i]
                moments_out[group_of[i], 2, g] += y != 0.0


@cached(nogil=True)
def total_of_rows(data: AnyArray, indptr: AnyArray, total_out: FloatArray) -> None:
    """Sum of the stored values of each row of a CSR matrix."""
    for i in range(total_out.shape[0]):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            total += np.float64(data[p])
        total_out[i] = total


@cached(nogil=True)
def total_over_columns(stored: Stored, total_out: FloatArray) -> None:
    """Sum of the stored values of each row of a CSC matrix."""
    for p in range(stored.data.shape[0]):
        total_out[stored.indices[p]] += np.float64(stored.data[p])
