"""Two passes that spread counts over nodes: by rows (CSR, dense) and by genes (CSC)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from .._arrays import AnyArray, FloatArray, IntArray
from .._errors import InputError
from .._families.nb import N_TAIL
from .._parallel.blocks import workers
from . import kernels
from .cuts import RowCuts
from .nodes import NodeTable
from .passes import (
    CellPlaces,
    GenePiece,
    RowPiece,
    cells_in,
    column_edges,
    genes_in,
    prepared_chunks,
)
from .source import Chunk, Source
from .spread_kernels import Target, Writes, spread_columns, spread_rows

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
        ``(n_groups, n_genes)`` sum of count times offset; empty if the nodes give these sums.
    over
        Counts above 64, in parts for different genes.
    """

    A: FloatArray
    hist: AnyArray
    offset: FloatArray
    over: list[Overflow]


def empty_sums(n_groups: int, n_genes: int, n_nodes: int, *, with_offset: bool) -> Sums:
    """Create sums of zero for the start of a pass."""
    return Sums(
        A=np.zeros((n_genes, n_nodes)),
        hist=np.zeros((n_groups, n_genes, N_TAIL + 1), dtype=np.int32),
        offset=np.zeros((n_groups, n_genes if with_offset else 0)),
        over=[],
    )


def refuse_value(name: str, value: float, row: int, column: int) -> None:
    """Raise an error for a stored value that is not a count."""
    raise InputError(
        f"{name} holds {value} in row {row}, column {column}, which is not a count; only whole numbers from 0 on can "
        "be used. Give the raw counts, not normalised or log-transformed values."
    )


def _target(sums: Sums, n_over: int) -> Target:
    """Return what a block adds to, with room for `n_over` counts of the overflow list."""
    over = np.empty(n_over, dtype=np.int64), np.empty(n_over)
    return Target(sums.A.reshape(-1), sums.A.shape[1], sums.hist, sums.offset, *over)


def _writes(table: NodeTable, offset: FloatArray) -> Writes:
    cell = (table.cell_first, table.cell_ptr, table.cell_weight)
    return Writes(offset, *cell, table.cell_stride, table.cell_x_ptr, table.cell_x_weight)


class RowWork(NamedTuple):
    """What the blocks of a chunk of rows share.

    Attributes
    ----------
    piece
        The cells and their rows.
    n_over
        Largest number of counts for the overflow list.
    cuts
        Starts of the ranges of genes in the rows.
    """

    piece: RowPiece
    n_over: int
    cuts: RowCuts


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
    writes, edges = _writes(table, offset), column_edges(columns)
    ranges = list(itertools.pairwise(edges.tolist()))
    # a table of sums pays if it has few columns that were not chosen
    n_chosen = np.array([np.count_nonzero(gene_map[first:end] >= 0) for first, end in ranges])
    may_gather = (2 * n_chosen >= np.diff(edges)) & (sums.offset.size == 0)
    over = [Overflow() for _ in ranges]
    sums.over.extend(over)

    def prepare(chunk: Chunk) -> RowWork:
        piece = cells_in(places, chunk.first, chunk.last)
        n_over = _n_over(source, chunk, piece.rows, gene_map)
        return RowWork(piece, n_over, RowCuts.find(chunk.stored, piece.rows, edges))

    def add(chunk: Chunk, work: RowWork, block: int) -> None:
        target, cuts, may = _target(sums, work.n_over), work.cuts.of(block), bool(may_gather[block])
        n = spread_rows(chunk.stored, work.piece.cells, cuts, *ranges[block], may, gene_map, group_of, writes, target)
        over[block].add(target.over_slot[:n].copy(), target.over_value[:n].copy())

    spans = source.spans(places.cell_of >= 0)
    with workers(n_jobs) as run:
        for chunk, work in prepared_chunks(source, spans, n_jobs, "reading the matrix", progress, prepare):
            run(partial(add, chunk, work), len(ranges))


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

    def prepare(chunk: Chunk) -> tuple[GenePiece, int]:
        piece = genes_in(chunk, gene_map)
        return piece, _n_over(source, chunk, np.concatenate(piece.columns), cell_of)

    def add(chunk: Chunk, piece: GenePiece, n_over: int, over: list[Overflow], block: int) -> None:
        target = _target(sums, n_over)
        own = piece.columns[block], piece.genes[block]
        n = spread_columns(chunk.stored, *own, cell_of, group_of, writes, target)
        over[block].add(target.over_slot[:n].copy(), target.over_value[:n].copy())

    spans = source.spans(gene_map >= 0)
    with workers(n_jobs) as run:
        for chunk, (piece, n_over) in prepared_chunks(source, spans, n_jobs, "reading the matrix", progress, prepare):
            over = [Overflow() for _ in piece.columns]
            run(partial(add, chunk, piece, n_over, over), len(piece.columns))
            sums.over.append(Overflow([merge_over([part for block in over for part in block.parts])]))
