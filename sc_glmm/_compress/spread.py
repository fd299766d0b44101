"""The two passes that spread counts over nodes: by rows (CSR, dense) and by genes (CSC)."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np

from .._errors import InputError
from . import kernels
from .arrays import AnyArray, FloatArray, IntArray
from .matrix import Matrix, stored_arrays
from .nodes import NodeTable
from .passes import RowBlocks, gene_blocks, run_blocks


@dataclass(frozen=True)
class Sums:
    """What a pass fills.

    Attributes
    ----------
    A
        Counts spread over nodes, shape (n_genes, n_nodes).
    hist
        Number of cells with a count of y = 0 ... 64 (zeros are not counted), shape (n_groups, n_genes, 65).
    offset
        Sum of count times offset, shape (n_groups, n_genes).
    over
        Group, gene and value of every count above 64, in parts.
    """

    A: FloatArray
    hist: AnyArray
    offset: FloatArray
    over: list[tuple[IntArray, IntArray, FloatArray]]


def empty_sums(n_groups: int, n_genes: int, n_nodes: int) -> Sums:
    """Sums of no cells."""
    return Sums(
        A=np.zeros((n_genes, n_nodes)),
        hist=np.zeros((n_groups, n_genes, kernels.N_TAIL + 1), dtype=np.int32),
        offset=np.zeros((n_groups, n_genes)),
        over=[],
    )


def refuse_value(value: float, row: int, column: int) -> None:
    """Raise for a stored value that is no count."""
    raise InputError(
        f"the matrix holds {value} in row {row}, column {column}, which is no count; only whole numbers from 0 on can "
        "be used. Give the raw counts, not normalised or log-transformed values."
    )


def _writes(table: NodeTable, offset: FloatArray) -> kernels.Writes:
    cell = (table.cell_first, table.cell_ptr, table.cell_weight)
    return kernels.Writes(offset, *cell, table.cell_stride, table.cell_x_ptr, table.cell_x_weight)


def spread_by_rows(
    blocks: RowBlocks, table: NodeTable, offset: FloatArray, gene_map: IntArray, sums: Sums, n_jobs: int
) -> None:
    """Add the cells of a CSR or dense matrix; each block owns the nodes of its rows."""
    n_genes = len(sums.A)
    offset_parts = np.zeros((len(blocks), n_genes))
    over_parts: list[list[tuple[IntArray, IntArray, FloatArray]]] = [[] for _ in range(len(blocks))]
    writes = _writes(table, offset)
    lock = Lock()

    def work(block: int) -> None:
        group = blocks.groups[block]
        hist = np.zeros(sums.hist.shape[1:], dtype=sums.hist.dtype)
        for piece in blocks.pieces(block):
            n_over, bad = kernels.scan_rows(piece.stored, piece.places, gene_map)
            if bad >= 0:
                refuse_value(piece.stored.data[bad], *piece.row_and_column(bad, blocks.matrix_row))
            over_gene, over_value = np.empty(n_over, dtype=np.int64), np.empty(n_over)
            kernels.spread_rows(
                piece.stored,
                piece.places,
                piece.cells,
                gene_map,
                writes,
                sums.A,
                hist,
                offset_parts[block],
                over_gene,
                over_value,
            )
            over_parts[block].append((np.full(n_over, group), over_gene, over_value))
        # Whole numbers: the order in which the blocks arrive does not matter.
        with lock:
            sums.hist[group] += hist

    run_blocks(work, len(blocks), n_jobs)
    for group, part in zip(blocks.groups, offset_parts, strict=True):
        sums.offset[group] += part
    for parts in over_parts:
        sums.over.extend(parts)


def spread_by_columns(
    matrix: Matrix,
    cell_of: IntArray,
    genes: IntArray,
    group_of: IntArray,
    table: NodeTable,
    offset: FloatArray,
    sums: Sums,
    n_jobs: int,
) -> None:
    """Add the genes of a CSC matrix; each block owns its genes."""
    blocks = gene_blocks(len(genes))
    stored, writes = stored_arrays(matrix), _writes(table, offset)
    over_parts: list[list[tuple[IntArray, IntArray, FloatArray]]] = [[] for _ in blocks]

    def work(block: int) -> None:
        columns = genes[blocks[block]]
        n_over, bad = kernels.scan_columns(stored, columns, cell_of)
        if bad >= 0:
            column = int(np.searchsorted(matrix.indptr, bad, side="right")) - 1
            refuse_value(matrix.data[bad], int(matrix.indices[bad]), column)
        over_group, over_gene = np.empty((2, n_over), dtype=np.int64)
        over_value = np.empty(n_over)
        kernels.spread_columns(
            stored,
            columns,
            blocks[block].start,
            cell_of,
            group_of,
            writes,
            sums.A,
            sums.hist,
            sums.offset,
            over_group,
            over_gene,
            over_value,
        )
        over_parts[block].append((over_group, over_gene, over_value))

    run_blocks(work, len(blocks), n_jobs)
    for parts in over_parts:
        sums.over.extend(parts)
