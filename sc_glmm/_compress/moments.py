"""Kernels for sums of stored values and of their squares, row by row (CSR, dense) or gene by gene (CSC).

Sums are pairs of floats, high and low, whose total has about 32 digits (Dekker 1971; Ogita, Rump and Oishi 2005).
The variance of values with a large mean is the difference of two nearly equal sums; with pairs it keeps all digits.
The result also does not depend on the order of the cells.

Numba caches by the hash of one file, so every kernel that is called here is defined here (the record `Stored` has no
code).

Values are converted with ``float64``, because numba's ``float`` would keep float32.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .._arrays import FloatArray, IntArray
from .._families.cache import cached
from .kernels import Stored

SPLIT = 134217729.0  # 2^27 + 1


@njit(nogil=True, inline="always")
def _add(high: FloatArray, low: FloatArray, at: tuple[int, ...], value: float, rest: float) -> None:
    """Add ``value + rest`` to the pair at `at`."""
    old = high[at]
    total = old + value
    part = total - old
    low[at] += ((old - (total - part)) + (value - part)) + rest
    high[at] = total


@njit(nogil=True, inline="always")
def _product_error(a: float, b: float, product: float) -> float:
    """Compute the rounding error of ``product = a * b``."""
    t = SPLIT * a
    a1 = t - (t - a)
    a2 = a - a1
    t = SPLIT * b
    b1 = t - (t - b)
    b2 = b - b1
    return a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


@njit(nogil=True, inline="always")
def _add_cell(
    y: float,
    g: int,
    i: int,
    group_of: IntArray,
    row_of: IntArray,
    offset: FloatArray,
    sum_out: FloatArray,
    low_out: FloatArray,
    moments_out: FloatArray,
) -> None:
    """Add the value `y` of cell `i` to the sums of gene `g`."""
    _add(sum_out, low_out, (g, row_of[i]), y, 0.0)
    own = moments_out[group_of[i]]
    _add(own[0], own[1], (g,), y, 0.0)
    square = y * y
    _add(own[2], own[3], (g,), square, _product_error(y, y, square))
    if offset[i] != 0.0:
        product = y * offset[i]
        _add(own[4], own[5], (g,), product, _product_error(y, offset[i], product))
    own[6, g] += y != 0.0


@cached(nogil=True)
def add_moments_by_rows(
    stored: Stored,
    cells: IntArray,
    cuts: IntArray,
    gene_map: IntArray,
    group_of: IntArray,
    row_of: IntArray,
    offset: FloatArray,
    sum_out: FloatArray,
    low_out: FloatArray,
    moments_out: FloatArray,
) -> None:
    """Add `cells` of a CSR matrix, whose values in a range of columns are between the two rows of `cuts`.

    `sum_out` and `low_out` receive the pairs of each gene and row. `moments_out` receives, per group and gene, the
    pairs of the sum, of the sum of squares and of the sum of value times offset, and the number of nonzero values.
    """
    for c in range(cells.shape[0]):
        i = cells[c]
        for p in range(cuts[0, c], cuts[1, c]):
            g = gene_map[stored.indices[p]]
            if g >= 0:
                _add_cell(np.float64(stored.data[p]), g, i, group_of, row_of, offset, sum_out, low_out, moments_out)


@cached(nogil=True)
def add_moments_by_columns(
    stored: Stored,
    columns: IntArray,
    genes: IntArray,
    cell_of: IntArray,
    group_of: IntArray,
    row_of: IntArray,
    offset: FloatArray,
    sum_out: FloatArray,
    low_out: FloatArray,
    moments_out: FloatArray,
) -> None:
    """Add `columns` of a CSC matrix, which are `genes` of the results."""
    for j in range(columns.shape[0]):
        g = genes[j]
        for p in range(stored.indptr[columns[j]], stored.indptr[columns[j] + 1]):
            i = cell_of[stored.indices[p]]
            if i >= 0:
                _add_cell(np.float64(stored.data[p]), g, i, group_of, row_of, offset, sum_out, low_out, moments_out)


@cached(nogil=True)
def total_over_columns(stored: Stored, total_out: FloatArray) -> None:
    """Sum the stored values of each row of a CSC matrix."""
    for p in range(stored.data.shape[0]):
        total_out[stored.indices[p]] += np.float64(stored.data[p])
