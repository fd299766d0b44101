"""Kernels that spread the counts of cells over nodes, row by row (CSR, dense) or gene by gene (CSC).

Numba caches by the hash of one file, so every kernel that is called here is defined here. The kernels compile once for
each type of stored data and indices, so a matrix is never cast as a whole. The innermost loops are written out in both
kernels: a call in them would triple the time, and slices that begin at zero let the compiler use vector
instructions.

Values are converted with ``float64``, because numba's ``float`` would keep float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from .._arrays import AnyArray, FloatArray, IntArray
from .._families.cache import cached
from .._families.nb import N_TAIL

# Counts up to N_TAIL have their own bin. After a change of N_TAIL, touch this file: its cache does not notice it.
# From this number on, float64 cannot represent every whole number.
TOO_LARGE = 2.0**53
CELLS_PER_BLOCK = 4096


class Stored(NamedTuple):
    """Arrays of a CSR or CSC matrix. After a change of the fields, touch moments.py: its cache does not notice it."""

    data: AnyArray
    indices: AnyArray
    indptr: AnyArray


class Writes(NamedTuple):
    """Fields of :class:`NodeTable` that cells use to write to nodes (without their prefix), and the offsets."""

    offset: FloatArray
    first: IntArray
    ptr: IntArray
    weight: FloatArray
    stride: IntArray
    x_ptr: IntArray
    x_weight: FloatArray


@cached(nogil=True)
def _kind(y: float) -> int:
    """Return 0 for an ordinary count, 1 for a count of the overflow list, 2 for a value that is not a count."""
    if not (0.0 <= y < TOO_LARGE) or y != np.floor(y):
        return 2
    return 0 if y <= N_TAIL else 1


@cached(nogil=True)
def scan_values(data: AnyArray) -> tuple[int, int]:
    """Return the number of values for the overflow list, and the position of the first non-count (-1: none)."""
    n_over = 0
    for p in range(data.shape[0]):
        kind = _kind(np.float64(data[p]))
        if kind == 2:
            return n_over, p
        n_over += kind
    return n_over, -1


@cached(nogil=True)
def scan_lines(stored: Stored, lines: IntArray, minor_map: IntArray) -> tuple[int, int]:
    """Scan some rows (CSR) or columns (CSC) as :func:`scan_values`, where `minor_map` is not negative."""
    n_over = 0
    for line in lines:
        for p in range(stored.indptr[line], stored.indptr[line + 1]):
            if minor_map[stored.indices[p]] >= 0:
                kind = _kind(np.float64(stored.data[p]))
                if kind == 2:
                    return n_over, p
                n_over += kind
    return n_over, -1


@cached(nogil=True)
def check_lines(stored: Stored, n_minor: int) -> int:
    """Return 0 if the indices ascend in every line, 1 if not, 2 if some are outside of ``0 ... n_minor - 1``."""
    ascending = True
    for line in range(stored.indptr.shape[0] - 1):
        last = -1
        for p in range(stored.indptr[line], stored.indptr[line + 1]):
            index = stored.indices[p]
            if index < 0 or index >= n_minor:
                return 2
            if index <= last:
                ascending = False
            last = index
    return 0 if ascending else 1


@cached(nogil=True)
def _first_from(indices: AnyArray, start: int, end: int, column: int) -> int:
    """Find the first position from `start` on with an index of at least `column`."""
    while start < end:
        middle = (start + end) // 2
        if indices[middle] < column:
            start = middle + 1
        else:
            end = middle
    return start


@cached(nogil=True)
def spread_rows(
    stored: Stored,
    matrix_row: IntArray,
    cells: IntArray,
    first_column: int,
    end_column: int,
    gene_map: IntArray,
    group_of: IntArray,
    writes: Writes,
    A: FloatArray,
    hist_out: AnyArray,
    offset_out: FloatArray,
    over_slot_out: IntArray,
    over_value_out: FloatArray,
) -> int:
    """Add the counts of `cells` in the columns from `first_column` up to `end_column`, exclusive.

    The rows `matrix_row` of a CSR matrix contain the cells; indices must ascend within a row. Counts for the overflow
    list go to slot ``group * n_genes + gene``; their number is returned.
    """
    n_over = 0
    for c in range(cells.shape[0]):
        i = cells[c]
        group = group_of[i]
        weight = writes.weight[writes.ptr[i] : writes.ptr[i + 1]]
        first = writes.first[i]
        stride = writes.stride[i]
        x0 = writes.x_ptr[i]
        n_x = writes.x_ptr[i + 1] - x0
        end = stored.indptr[matrix_row[c] + 1]
        p = _first_from(stored.indices, stored.indptr[matrix_row[c]], end, first_column)
        while p < end and stored.indices[p] < end_column:
            g = gene_map[stored.indices[p]]
            y = np.float64(stored.data[p])
            p += 1
            if g < 0 or y == 0.0:
                continue
            if y <= N_TAIL:
                hist_out[group, g, int(y)] += 1
            else:
                over_slot_out[n_over] = group * A.shape[0] + g
                over_value_out[n_over] = y
                n_over += 1
            offset_out[group, g] += y * writes.offset[i]
            for q in range(n_x):
                yx = y * writes.x_weight[x0 + q]
                target = A[g, first + q * stride : first + q * stride + weight.shape[0]]
                for k in range(weight.shape[0]):
                    target[k] += yx * weight[k]
    return n_over


@njit(nogil=True)
def _spread_column(
    stored: Stored,
    p: int,
    end: int,
    before: int,
    g: int,
    cell_of: IntArray,
    group_of: IntArray,
    writes: Writes,
    A: FloatArray,
    hist_out: AnyArray,
    offset_out: FloatArray,
    over_slot_out: IntArray,
    over_value_out: FloatArray,
    n_over: int,
) -> tuple[int, int]:
    """Add the counts of gene `g` from position `p` on, in rows below `before`; return the next position, `n_over`."""
    while p < end and stored.indices[p] < before:
        i = cell_of[stored.indices[p]]
        y = np.float64(stored.data[p])
        p += 1
        if i < 0 or y == 0.0:
            continue
        group = group_of[i]
        if y <= N_TAIL:
            hist_out[group, g, int(y)] += 1
        else:
            over_slot_out[n_over] = group * A.shape[0] + g
            over_value_out[n_over] = y
            n_over += 1
        offset_out[group, g] += y * writes.offset[i]
        weight = writes.weight[writes.ptr[i] : writes.ptr[i + 1]]
        first = writes.first[i]
        for q in range(writes.x_ptr[i], writes.x_ptr[i + 1]):
            yx = y * writes.x_weight[q]
            target = A[g, first : first + weight.shape[0]]
            for k in range(weight.shape[0]):
                target[k] += yx * weight[k]
            first += writes.stride[i]
    return p, n_over


@cached(nogil=True)
def spread_columns(
    stored: Stored,
    columns: IntArray,
    genes: IntArray,
    cell_of: IntArray,
    group_of: IntArray,
    writes: Writes,
    A: FloatArray,
    hist_out: AnyArray,
    offset_out: FloatArray,
    over_slot_out: IntArray,
    over_value_out: FloatArray,
) -> int:
    """Add `columns` of a CSC matrix, which are `genes` of the results; otherwise as :func:`spread_rows`.

    All genes are processed together in blocks of cells, so that the weights of a block stay in the processor's cache.
    Row indices must ascend within a column.
    """
    n_over = 0
    cursor = np.empty(columns.shape[0], dtype=np.int64)
    for j in range(columns.shape[0]):
        cursor[j] = stored.indptr[columns[j]]
    for block in range(0, cell_of.shape[0], CELLS_PER_BLOCK):
        for j in range(columns.shape[0]):
            cursor[j], n_over = _spread_column(
                stored,
                cursor[j],
                stored.indptr[columns[j] + 1],
                block + CELLS_PER_BLOCK,
                genes[j],
                cell_of,
                group_of,
                writes,
                A,
                hist_out,
                offset_out,
                over_slot_out,
                over_value_out,
                n_over,
            )
    return n_over


@cached(nogil=True)
def sparse_block(block: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return data, indices and indptr of the CSR form of a C-contiguous dense block."""
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
