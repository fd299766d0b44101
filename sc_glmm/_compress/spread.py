"""Two passes that spread counts over nodes: by rows (CSR, dense) and by genes (CSC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .._arrays import AnyArray, FloatArray, IntArray
from .._errors import InputError
from .._families.nb import N_TAIL
from .._parallel.blocks import workers
from . import kernels
from .nodes import NodeTable
from .passes import (
    CellPlaces,
    GenePiece,
    RowPiece,
    cells_in,
    chunks_with_progress,
    column_ranges,
    genes_in,
)
from .source import Chunk, Source

# Number of entries of the overflow list of a block of genes before equal entries are combined.
OVER_PENDING = 1 << 18


@dataclass
class Overflow:
    """Counts above 64 as entries (slot, value, number of cells); slot is ``group * n_genes + gene``."""

    parts: list[tuple[IntArray, FloatArray, FloatArray]] = field(default_factory=list)
    n_pending: int = 0

    def add(self, slot: IntArray, value: FloatArray) -> None:
        """Add counts, each from one cell."""
        if len(slot) == 0:
            return
        self.parts.append((slot, value, np.ones(len(value))))
        self.n_pending += len(slot)
        if self.n_pending > OVER_PENDING:
            self.parts, self.n_pending = [merge_over(self.parts)], 0


def merge_over(parts: list[tuple[IntArray, FloatArray, FloatArray]]) -> tuple[IntArray, FloatArray, FloatArray]:
    """Sort entries by slot and value, and add up the numbers of cells of equal entries."""
    slot = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
    value = np.concatenate([np.zeros(0), *(part[1] for part in parts)])
    count = np.concatenate([np.zeros(0), *(part[2] for part in parts)])
    order = np.lexsort((value, slot))
    slot, value, count = slot[order], value[order], count[order]
    first = np.flatnonzero((np.diff(slot, prepend=-1) != 0) | (np.diff(value, prepend=0.0) != 0))
    return slot[first], value[first], np.add.reduceat(count, first) if len(first) else count


@dataclass(frozen=True)
class Sums:
    """Results of a pass.

    Attributes
    ----------
    A
        ``(n_genes, n_nodes)`` counts spread over nodes.
    hist
        ``(n_groups, n_genes, 65)`` number of cells with a count of y = 0 ... 64 (zeros are not counted).
    offset
        ``(n_groups, n_genes)`` sum of count times offset.
    over
        Counts above 64, in parts for different genes.
    """

    A: FloatArray
    hist: AnyArray
    offset: FloatArray
    over: list[Overflow]


def empty_sums(n_groups: int, n_genes: int, n_nodes: int) -> Sums:
    """Create sums of zero for the start of a pass."""
    return Sums(
        A=np.zeros((n_genes, n_nodes)),
        hist=np.zeros((n_groups, n_genes, N_TAIL + 1), dtype=np.int32),
        offset=np.zeros((n_groups, n_genes)),
        over=[],
    )


def refuse_value(name: str, value: float, row: int, column: int) -> None:
    """Raise an error for a stored value that is not a count."""
    raise InputError(
        f"{name} holds {value} in row {row}, column {column}, which is not a count; only whole numbers from 0 on can "
        "be used. Give the raw counts, not normalised or log-transformed values."
    )


def _writes(table: NodeTable, offset: FloatArray) -> kernels.Writes:
    cell = (table.cell_first, table.cell_ptr, table.cell_weight)
    return kernels.Writes(offset, *cell, table.cell_stride, table.cell_x_ptr, table.cell_x_weight)


def _n_over(source: Source, chunk: Chunk, lines: IntArray, minor_map: IntArray) -> int:
    """Bound the number of overflow counts in a chunk; raise an error for used values that are not counts."""
    n_over, bad = kernels.scan_values(chunk.stored.data)
    if bad >= 0:
        n_over, bad = kernels.scan_lines(chunk.stored, lines, minor_map)
        if bad >= 0:
            line = chunk.first + int(np.searchsorted(chunk.stored.indptr, bad, side="right")) - 1
            minor = int(chunk.stored.indices[bad])
            row, column = (minor, line) if source.form == "csc" else (line, minor)
            refuse_value(source.name, chunk.stored.data[bad], row, column)
    return n_over


def spread_by_rows(
    source: Source,
    places: CellPlaces,
    columns: IntArray,
    gene_map: IntArray,
    group_of: IntArray,
    table: NodeTable,
    offset: FloatArray,
    sums: Sums,
    n_jobs: int,
    progress: bool | None,
) -> None:
    """Add the cells of a CSR or dense matrix; each block of a chunk processes its own range of genes."""
    writes, ranges = _writes(table, offset), column_ranges(columns)
    over = [Overflow() for _ in ranges]
    sums.over.extend(over)

    def add(chunk: Chunk, piece: RowPiece, n_over: int, block: int) -> None:
        slot, value = np.empty(n_over, dtype=np.int64), np.empty(n_over)
        n = kernels.spread_rows(
            chunk.stored,
            piece.rows,
            piece.cells,
            *ranges[block],
            gene_map,
            group_of,
            writes,
            sums.A,
            sums.hist,
            sums.offset,
            slot,
            value,
        )
        over[block].add(slot[:n].copy(), value[:n].copy())

    spans = source.spans(places.cell_of >= 0)
    with workers(n_jobs) as run:
        for chunk in chunks_with_progress(source, spans, n_jobs, "reading the matrix", progress):
            piece = cells_in(places, chunk.first, chunk.last)
            n_over = _n_over(source, chunk, piece.rows, gene_map)
            run(partial(add, chunk, piece, n_over), len(ranges))


def spread_by_columns(
    source: Source,
    cell_of: IntArray,
    gene_map: IntArray,
    group_of: IntArray,
    table: NodeTable,
    offset: FloatArray,
    sums: Sums,
    n_jobs: int,
    progress: bool | None,
) -> None:
    """Add the genes of a CSC matrix; each block processes its own genes."""
    writes = _writes(table, offset)

    def add(chunk: Chunk, piece: GenePiece, n_over: int, over: list[Overflow], block: int) -> None:
        slot, value = np.empty(n_over, dtype=np.int64), np.empty(n_over)
        n = kernels.spread_columns(
            chunk.stored,
            piece.columns[block],
            piece.genes[block],
            cell_of,
            group_of,
            writes,
            sums.A,
            sums.hist,
            sums.offset,
            slot,
            value,
        )
        over[block].add(slot[:n].copy(), value[:n].copy())

    spans = source.spans(gene_map >= 0)
    with workers(n_jobs) as run:
        for chunk in chunks_with_progress(source, spans, n_jobs, "reading the matrix", progress):
            piece = genes_in(chunk, gene_map)
            n_over = _n_over(source, chunk, np.concatenate(piece.columns), cell_of)
            over = [Overflow() for _ in piece.columns]
            run(partial(add, chunk, piece, n_over, over), len(piece.columns))
            sums.over.append(Overflow([merge_over([part for block in over for part in block.parts])]))
