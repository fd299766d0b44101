"""Kernels that check and add up the stored values of chunks of a matrix.

Numba caches by the hash of one file, so every kernel that is called here is defined here. The kernels compile once for
each type of stored data and indices, so a matrix is never cast as a whole. Loops without a branch are compiled to
vector instructions; a problem is therefore counted first, and located only if there is one.

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
# Number of values that are scanned before the result is looked at.
SCANNED = 4096


class Stored(NamedTuple):
    """Arrays of a CSR or CSC matrix.

    After a change of the fields, touch the files that import it: their caches do not notice it.
    """

    data: AnyArray
    indices: AnyArray
    indptr: AnyArray


@cached(nogil=True)
def _kind(y: float) -> int:
    """Return 0 for an ordinary count, 1 for a count of the overflow list, 2 for a value that is not a count."""
    if not (0.0 <= y < TOO_LARGE) or y != np.floor(y):
        return 2
    return 0 if y <= N_TAIL else 1


@njit(nogil=True)
def _n_bad(values: AnyArray) -> int:
    """Count the values that are not counts."""
    n = 0
    for p in range(values.shape[0]):
        y = np.float64(values[p])
        n += 1 - ((y >= 0.0) & (y < TOO_LARGE) & (y == np.floor(y)))
    return n


@njit(nogil=True)
def _n_above(values: AnyArray, bound: float) -> int:
    """Count the values above a bound."""
    n = 0
    for p in range(values.shape[0]):
        n += 1 if np.float64(values[p]) > bound else 0
    return n


@cached(nogil=True)
def scan_values(data: AnyArray) -> tuple[int, int]:
    """Return the number of values for the overflow list, and the position of the first non-count (-1: none)."""
    n_over = 0
    for first in range(0, data.shape[0], SCANNED):
        values = data[first : first + SCANNED]
        if _n_bad(values) > 0:
            for p in range(values.shape[0]):
                if _kind(np.float64(values[p])) == 2:
                    return n_over, first + p
        n_over += _n_above(values, float(N_TAIL))
    return n_over, -1


@njit(nogil=True, fastmath={"reassoc"})
def _sum_in_any_order(values: AnyArray) -> float:
    """Add up values in the order that is fastest."""
    total = 0.0
    for p in range(values.shape[0]):
        total += np.float64(values[p])
    return total


@cached(nogil=True)
def total_of_lines(data: AnyArray, indptr: AnyArray, total_out: FloatArray) -> int:
    """Sum the stored values of each line; return the position of the first value that is not a count (-1: none).

    Sums of whole numbers are exact in any order while they are smaller than :data:`TOO_LARGE`. All others are added
    from the first value to the last, so that the result does not depend on the processor.
    """
    bad = -1
    for i in range(total_out.shape[0]):
        first = np.int64(indptr[i])
        values = data[first : indptr[i + 1]]
        n_bad = _n_bad(values)
        total = _sum_in_any_order(values)
        if n_bad > 0 or not total < TOO_LARGE:
            total = 0.0
            for p in range(values.shape[0]):
                y = np.float64(values[p])
                total += y
                if bad < 0 and _kind(y) == 2:
                    bad = int(first + p)
        total_out[i] = total
    return bad


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
    state = 0
    for line in range(stored.indptr.shape[0] - 1):
        index = stored.indices[stored.indptr[line] : stored.indptr[line + 1]]
        n_down = 0
        for p in range(index.shape[0] - 1):
            n_down += 1 if index[p + 1] <= index[p] else 0
        if n_down == 0:
            # only the ends of an ascending line can be out of range
            if index.shape[0] > 0 and (index[0] < 0 or index[-1] >= n_minor):
                return 2
            continue
        state = 1
        for p in range(index.shape[0]):
            if index[p] < 0 or index[p] >= n_minor:
                return 2
    return state


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
