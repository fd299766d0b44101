"""How a pass over a matrix is cut into blocks of rows (CSR, dense) or of genes (CSC) that threads can share.

Blocks are a matter of the data alone, never of the number of threads, and every number is added up in one order: no
result depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._errors import InputError
from .arrays import IntArray
from .kernels import Stored, sparse_block
from .matrix import Matrix, stored_arrays, stored_values

MAX_BLOCKS = 32
GENES_PER_BLOCK = 64
DENSE_ROWS = 1024


class Piece(NamedTuple):
    """CSR arrays, and cells with the rows of these arrays that hold them."""

    stored: Stored
    places: IntArray
    cells: IntArray

    def row_and_column(self, position: int, matrix_row: IntArray) -> tuple[int, int]:
        """Where in the matrix a stored value is."""
        place = int(np.searchsorted(self.stored.indptr, position, side="right")) - 1
        cell = self.cells[np.flatnonzero(self.places == place)[0]]
        return int(matrix_row[cell]), int(self.stored.indices[position])


@dataclass(frozen=True)
class RowBlocks:
    """Cells of a CSR or dense matrix in blocks of whole design rows; no block has rows of two groups.

    Attributes
    ----------
    matrix
        The matrix.
    matrix_row
        Row of the matrix that holds each cell, -1 for none.
    groups
        Group of each block.
    cells
        Cells of each block, sorted by design row.
    """

    matrix: Matrix
    matrix_row: IntArray
    groups: tuple[int, ...]
    cells: tuple[IntArray, ...]

    def __len__(self) -> int:
        return len(self.groups)

    def pieces(self, block: int) -> Iterator[Piece]:
        """The cells of a block: at once from CSR; from a dense matrix a bounded number at a time."""
        cells = self.cells[block]
        if not isinstance(self.matrix, np.ndarray):
            yield Piece(stored_arrays(self.matrix), self.matrix_row[cells], cells)
            return
        for first in range(0, len(cells), DENSE_ROWS):
            part = cells[first : first + DENSE_ROWS]
            dense = np.ascontiguousarray(stored_values(self.matrix[self.matrix_row[part]]))
            yield Piece(Stored(*sparse_block(dense)), np.arange(len(part), dtype=np.int64), part)


def split_rows(
    matrix: Matrix, matrix_row: IntArray, order: IntArray, order_ptr: IntArray, row_group: IntArray, block_size: int
) -> RowBlocks:
    """Cut the cells in `order` (sorted by design row) into blocks of about `block_size` stored values or more."""
    present = matrix_row[order] >= 0
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(present)])[order_ptr]
    order = order[present]
    if isinstance(matrix, np.ndarray):
        cell_size = np.full(len(order), matrix.shape[1], dtype=np.int64)
    else:
        cell_size = np.diff(matrix.indptr)[matrix_row[order]].astype(np.int64)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(cell_size)])
    row_size = ends[ptr[1:]] - ends[ptr[:-1]]
    groups, cells = [], []
    for group in range(int(row_group.max(initial=-1)) + 1):
        rows = np.flatnonzero(row_group == group)
        n_blocks = min(max(int(row_size[rows].sum()) // max(block_size, 1), 1), MAX_BLOCKS)
        for part in split_evenly(row_size[rows], n_blocks):
            groups.append(group)
            cells.append(np.concatenate([order[:0], *(order[ptr[row] : ptr[row + 1]] for row in rows[part])]))
    return RowBlocks(matrix, matrix_row, tuple(groups), tuple(cells))


def split_evenly(sizes: IntArray, n_blocks: int) -> list[slice]:
    """At most `n_blocks` runs of consecutive items whose sizes add up to about the same."""
    ends = np.cumsum(sizes)
    total = ends[-1] if len(ends) else 0
    cuts = np.searchsorted(ends, total * np.arange(1, n_blocks) / n_blocks) + 1
    edges = np.unique(np.concatenate([[0], np.minimum(cuts, len(sizes)), [len(sizes)]]))
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def gene_blocks(n_genes: int) -> list[slice]:
    """Blocks of consecutive genes."""
    return [slice(first, min(first + GENES_PER_BLOCK, n_genes)) for first in range(0, n_genes, GENES_PER_BLOCK)]


def run_blocks(work: Callable[[int], None], n_blocks: int, n_jobs: int) -> None:
    """Call ``work(0)``, ..., ``work(n_blocks - 1)``, on `n_jobs` threads.

    Always threads, whatever joblib's backend is: blocks write into arrays that they share.
    """
    if n_jobs < 1:
        raise InputError(f"n_jobs is {n_jobs}; the number of threads must be 1 or more.")
    if n_jobs == 1 or n_blocks <= 1:
        for block in range(n_blocks):
            work(block)
        return
    with ThreadPoolExecutor(min(n_jobs, n_blocks)) as pool:
        for _ in pool.map(work, range(n_blocks)):
            pass
