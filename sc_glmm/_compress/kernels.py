"""Kernels that add the counts of cells to nodes, row by row (CSR, dense) or gene by gene (CSC).

Numba caches by the hash of one file: every kernel called here is defined here. The kernels compile once for each type
of stored data and indices, so that no matrix is ever cast as a whole.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sc_glmm._compress.arrays import AnyArray, FloatArray, IntArray

# Counts up to N_TAIL have a bin of their own, larger ones go to the overflow list.
N_TAIL = 64


@njit(cache=True, nogil=True)
def _check(y: float) -> int:
    """0 for an ordinary count, 1 for one of the overflow list, 2 for something that is no count."""
    if 0.0 <= y <= N_TAIL:
        return 0 if y == np.floor(y) else 2
    return 1 if N_TAIL < y < 9007199254740992.0 and y == np.floor(y) else 2


@njit(cache=True, nogil=True)
def scan_rows(
    data: AnyArray, indices: AnyArray, indptr: AnyArray, matrix_row: IntArray, gene_map: IntArray
) -> tuple[int, int]:
    """Number of counts for the overflow list, and place of the first value that is no count (-1: none)."""
    n_over = 0
    for row in matrix_row:
        for p in range(indptr[row], indptr[row + 1]):
            if gene_map[indices[p]] >= 0:
                kind = _check(float(data[p]))
                if kind == 1:
                    n_over += 1
                elif kind == 2:
                    return n_over, p
    return n_over, -1


@njit(cache=True, nogil=True)
def add_rows(
    data: AnyArray,
    indices: AnyArray,
    indptr: AnyArray,
    matrix_row: IntArray,
    cells: IntArray,
    gene_map: IntArray,
    offset: FloatArray,
    cell_first: IntArray,
    cell_ptr: IntArray,
    cell_weight: FloatArray,
    cell_stride: IntArray,
    cell_x_ptr: IntArray,
    cell_x_weight: FloatArray,
    A: FloatArray,
    hist_out: AnyArray,
    offset_out: FloatArray,
    over_gene_out: IntArray,
    over_value_out: FloatArray,
) -> None:
    """Add the counts of `cells`, held by the rows `matrix_row` of a CSR matrix."""
    n_over = 0
    for c in range(cells.shape[0]):
        i = cells[c]
        row = matrix_row[c]
        o = offset[i]
        first = cell_first[i]
        stride = cell_stride[i]
        w = cell_weight[cell_ptr[i] : cell_ptr[i + 1]]
        x0 = cell_x_ptr[i]
        n_x = cell_x_ptr[i + 1] - x0
        for p in range(indptr[row], indptr[row + 1]):
            g = gene_map[indices[p]]
            y = float(data[p])
            if g < 0 or y == 0.0:
                continue
            if y <= N_TAIL:
                hist_out[g, int(y)] += 1
            else:
                over_gene_out[n_over] = g
                over_value_out[n_over] = y
                n_over += 1
            offset_out[g] += y * o
            for q in range(n_x):
                yx = y * cell_x_weight[x0 + q]
                a = A[g, first + q * stride : first + q * stride + w.shape[0]]
                for k in range(w.shape[0]):
                    a[k] += yx * w[k]


@njit(cache=True, nogil=True)
def scan_columns(
    data: AnyArray, indices: AnyArray, indptr: AnyArray, genes: IntArray, cell_of: IntArray
) -> tuple[int, int]:
    """As :func:`scan_rows`, for columns of a CSC matrix; `cell_of` is negative for rows that are not used."""
    n_over = 0
    for column in genes:
        for p in range(indptr[column], indptr[column + 1]):
            if cell_of[indices[p]] >= 0:
                kind = _check(float(data[p]))
                if kind == 1:
                    n_over += 1
                elif kind == 2:
                    return n_over, p
    return n_over, -1


@njit(cache=True, nogil=True)
def add_columns(
    data: AnyArray,
    indices: AnyArray,
    indptr: AnyArray,
    genes: IntArray,
    gene_first: int,
    cell_of: IntArray,
    group_of: IntArray,
    offset: FloatArray,
    cell_first: IntArray,
    cell_ptr: IntArray,
    cell_weight: FloatArray,
    cell_stride: IntArray,
    cell_x_ptr: IntArray,
    cell_x_weight: FloatArray,
    A: FloatArray,
    hist_out: AnyArray,
    offset_out: FloatArray,
    over_group_out: IntArray,
    over_gene_out: IntArray,
    over_value_out: FloatArray,
) -> None:
    """Add the columns `genes` of a CSC matrix; they are genes `gene_first`, `gene_first` + 1, ... of the results."""
    n_over = 0
    for j in range(genes.shape[0]):
        g = gene_first + j
        for p in range(indptr[genes[j]], indptr[genes[j] + 1]):
            i = cell_of[indices[p]]
            y = float(data[p])
            if i < 0 or y == 0.0:
                continue
            group = group_of[i]
            if y <= N_TAIL:
                hist_out[group, g, int(y)] += 1
            else:
                over_group_out[n_over] = group
                over_gene_out[n_over] = g
                over_value_out[n_over] = y
                n_over += 1
            offset_out[group, g] += y * offset[i]
            first = cell_first[i]
            w = cell_weight[cell_ptr[i] : cell_ptr[i + 1]]
            for q in range(cell_x_ptr[i], cell_x_ptr[i + 1]):
                yx = y * cell_x_weight[q]
                a = A[g, first : first + w.shape[0]]
                for k in range(w.shape[0]):
                    a[k] += yx * w[k]
                first += cell_stride[i]


@njit(cache=True, nogil=True)
def sparse_block(block: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Data, indices and indptr of the CSR form of a C-contiguous dense block."""
    n = 0
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            n += block[i, j] != 0
    data = np.empty(n, dtype=block.dtype)
    indices = np.empty(n, dtype=np.int32)
    indptr = np.zeros(block.shape[0] + 1, dtype=np.int32)
    n = 0
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            if block[i, j] != 0:
                data[n] = block[i, j]
                indices[n] = j
                n += 1
        indptr[i + 1] = n
    return data, indices, indptr
