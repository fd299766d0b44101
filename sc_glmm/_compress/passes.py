"""One pass over a matrix: blocks of rows (CSR, dense) or of genes (CSC) shared out among threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

import numpy as np

from sc_glmm._compress import kernels
from sc_glmm._compress.arrays import AnyArray, FloatArray, IntArray
from sc_glmm._compress.matrix import Matrix, run_blocks, split_evenly, stored_values
from sc_glmm._compress.nodes import NodeTable
from sc_glmm._errors import InputError

# Blocks are a matter of the data alone, never of the number of threads, so that no result depends on it.
MAX_BLOCKS = 32
GENES_PER_BLOCK = 64
DENSE_ROWS = 1024


@dataclass(frozen=True)
class Sums:
    """What a pass fills.

    Attributes
    ----------
    A
        Counts spread over nodes, shape (n_genes, n_nodes).
    hist
        Number of cells with a count of y, y = 0 ... 64 (0: stored zeros are not counted), shape
        (n_groups, n_genes, 65).
    offset
        Sum of count times offset, shape (n_groups, n_genes).
    over
        Group, gene and value of every count above 64, in parts.
    """

    A: FloatArray
    hist: AnyArray
    offset: FloatArray
    over: list[tuple[IntArray, IntArray, FloatArray]]


def refuse_value(value: float, row: int, column: int) -> None:
    """Raise for a stored value that is no count."""
    raise InputError(
        f"the matrix holds {value} in row {row}, column {column}, which is no count; only whole numbers from 0 on can "
        "be used. Give the raw counts, not normalised or log-transformed values."
    )


def _pieces(matrix: Matrix, rows: IntArray) -> Iterator[tuple[slice, AnyArray, AnyArray, AnyArray, IntArray]]:
    """CSR arrays that hold `rows`, and the places of the rows in them; dense rows come in pieces of bounded size."""
    if not isinstance(matrix, np.ndarray):
        yield slice(0, len(rows)), matrix.data, matrix.indices, matrix.indptr, rows
        return
    for first in range(0, len(rows), DENSE_ROWS):
        piece = slice(first, min(first + DENSE_ROWS, len(rows)))
        block = np.ascontiguousarray(stored_values(matrix[rows[piece]]))
        data, indices, indptr = kernels.sparse_block(block)
        yield piece, data, indices, indptr, np.arange(len(block), dtype=np.int64)


def _row_blocks(size: IntArray, order_ptr: IntArray, row_group: IntArray, n_genes: int) -> list[tuple[int, IntArray]]:
    """Groups and rows of the blocks, such that adding a block's histogram costs little next to filling it."""
    blocks = []
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
    row_size = ends[order_ptr[1:]] - ends[order_ptr[:-1]]
    for group in range(int(row_group.max(initial=-1)) + 1):
        rows = np.flatnonzero(row_group == group)
        n_blocks = int(row_size[rows].sum()) // (8 * max(n_genes, 1) * (kernels.N_TAIL + 1))
        for part in split_evenly(row_size[rows], max(1, min(n_blocks, MAX_BLOCKS))):
            blocks.append((group, rows[part]))
    return blocks


def add_by_rows(
    matrix: Matrix,
    table: NodeTable,
    offset: FloatArray,
    matrix_row: IntArray,
    genes: IntArray,
    row_group: IntArray,
    sums: Sums,
    n_jobs: int,
) -> None:
    """Add the cells of a CSR or dense matrix; each block owns the nodes of its rows."""
    order = table.order[matrix_row[table.order] >= 0]
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(matrix_row[table.order] >= 0)])
    order_ptr = kept[table.order_ptr]
    gene_map = np.full(matrix.shape[1], -1, dtype=np.int64)
    gene_map[genes] = np.arange(len(genes))
    if isinstance(matrix, np.ndarray):
        size = np.full(len(order), matrix.shape[1], dtype=np.int64)
    else:
        size = np.diff(matrix.indptr)[matrix_row[order]].astype(np.int64)
    blocks = _row_blocks(size, order_ptr, row_group, len(genes))
    offset_parts = np.zeros((len(blocks), len(genes)))
    over_parts: list[list[tuple[IntArray, IntArray, FloatArray]]] = [[] for _ in blocks]
    lock = Lock()

    def work(index: int) -> None:
        group, rows = blocks[index]
        cells = np.concatenate([order[order_ptr[row] : order_ptr[row + 1]] for row in rows] or [order[:0]])
        hist = np.zeros((len(genes), kernels.N_TAIL + 1), dtype=sums.hist.dtype)
        for piece, data, indices, indptr, places in _pieces(matrix, matrix_row[cells]):
            n_over, bad = kernels.scan_rows(data, indices, indptr, places, gene_map)
            if bad >= 0:
                place = int(np.searchsorted(indptr, bad, side="right")) - 1
                row = matrix_row[cells[piece]][np.flatnonzero(places == place)[0]]
                refuse_value(data[bad], int(row), int(indices[bad]))
            over_gene = np.empty(n_over, dtype=np.int64)
            over_value = np.empty(n_over)
            kernels.add_rows(
                data,
                indices,
                indptr,
                places,
                cells[piece],
                gene_map,
                offset,
                table.cell_first,
                table.cell_ptr,
                table.cell_weight,
                table.cell_stride,
                table.cell_x_ptr,
                table.cell_x_weight,
                sums.A,
                hist,
                offset_parts[index],
                over_gene,
                over_value,
            )
            over_parts[index].append((np.full(n_over, group), over_gene, over_value))
        with lock:
            sums.hist[group] += hist

    run_blocks(work, len(blocks), n_jobs)
    for (group, _), part in zip(blocks, offset_parts, strict=True):
        sums.offset[group] += part
    for parts in over_parts:
        sums.over.extend(parts)


def add_by_columns(
    matrix: Matrix,
    table: NodeTable,
    offset: FloatArray,
    matrix_row: IntArray,
    genes: IntArray,
    group_of: IntArray,
    sums: Sums,
    n_jobs: int,
) -> None:
    """Add the genes of a CSC matrix; each block owns its genes."""
    cells = table.order[matrix_row[table.order] >= 0]
    cell_of = np.full(matrix.shape[0], -1, dtype=np.int64)
    cell_of[matrix_row[cells]] = cells
    firsts = range(0, len(genes), GENES_PER_BLOCK)
    over_parts: list[tuple[IntArray, IntArray, FloatArray] | None] = [None for _ in firsts]

    def work(index: int) -> None:
        columns = genes[firsts[index] : firsts[index] + GENES_PER_BLOCK]
        n_over, bad = kernels.scan_columns(matrix.data, matrix.indices, matrix.indptr, columns, cell_of)
        if bad >= 0:
            column = int(np.searchsorted(matrix.indptr, bad, side="right")) - 1
            refuse_value(matrix.data[bad], int(matrix.indices[bad]), column)
        over = (np.empty(n_over, dtype=np.int64), np.empty(n_over, dtype=np.int64), np.empty(n_over))
        kernels.add_columns(
            matrix.data,
            matrix.indices,
            matrix.indptr,
            columns,
            firsts[index],
            cell_of,
            group_of,
            offset,
            table.cell_first,
            table.cell_ptr,
            table.cell_weight,
            table.cell_stride,
            table.cell_x_ptr,
            table.cell_x_weight,
            sums.A,
            sums.hist,
            sums.offset,
            *over,
        )
        over_parts[index] = over

    run_blocks(work, len(firsts), n_jobs)
    sums.over.extend(part for part in over_parts if part is not None)
