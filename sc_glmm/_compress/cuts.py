"""Starts of ranges of columns in the rows of a chunk, so that threads can add up different genes of the same cells.

Numba caches by the hash of one file, so every kernel that is called here is defined here (the record `Stored` has no
code).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._arrays import AnyArray, IntArray
from .._families.cache import cached
from .kernels import Stored


class RowCuts(NamedTuple):
    """Starts of ranges of columns in some rows.

    Attributes
    ----------
    stored, rows
        The chunk, and rows in it.
    edges
        First column of each range, and end of the last.
    table
        ``(n_ranges + 1, n_rows)`` positions of all edges in all rows; None if rows are so short that this table would
        be larger than the chunk.
    """

    stored: Stored
    rows: IntArray
    edges: IntArray
    table: IntArray | None

    @classmethod
    def find(cls, stored: Stored, rows: IntArray, edges: IntArray) -> RowCuts:
        """Find all edges at once, because the end of one range is the start of the next."""
        large = len(rows) * len(edges) > len(stored.data)
        return cls(stored, rows, edges, None if large else find_cuts(stored, rows, edges))

    def of(self, block: int) -> IntArray:
        """Return the ``(2, n_rows)`` starts and ends of one range."""
        own = slice(block, block + 2)
        return find_cuts(self.stored, self.rows, self.edges[own]) if self.table is None else self.table[own]


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
def find_cuts(stored: Stored, lines: IntArray, columns: IntArray) -> IntArray:
    """Find ``(n_columns, n_lines)`` first positions with an index of at least each of the ascending `columns`."""
    cuts = np.empty((columns.shape[0], lines.shape[0]), dtype=np.int64)
    for c in range(lines.shape[0]):
        p, end = np.int64(stored.indptr[lines[c]]), np.int64(stored.indptr[lines[c] + 1])
        for r in range(columns.shape[0]):
            p = _first_from(stored.indices, p, end, columns[r])
            cuts[r, c] = p
    return cuts
