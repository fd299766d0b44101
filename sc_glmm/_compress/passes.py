"""How a pass over a matrix is cut into blocks that threads can share.

A pass goes through the chunks of its source one after the other. Within a chunk of rows (CSR, dense) every block owns
a range of genes, within a chunk of genes (CSC) some of these genes. So no two blocks write to the same number, each
number is added up in the order of the cells, and no result depends on the number of threads, on the memory or on where
the matrix lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .._arrays import IntArray
from .._display import bar_of_pass
from .source import Chunk, Source, read_chunks

# Blocks of genes of a chunk of rows, and genes that a block has at least: each block looks up where its genes begin in
# every row, which costs about as much as adding two counts.
MAX_RANGES = 32
GENES_PER_RANGE = 64
# Blocks of a chunk of genes.
MAX_BLOCKS = 16


class CellPlaces(NamedTuple):
    """Which cell each row of a matrix holds, and in which order cells are added up.

    Attributes
    ----------
    cell_of
        ``(n_matrix_rows,)`` cell that each row of the matrix holds, -1 for none.
    rank
        ``(n_obs,)`` place of each cell in the order of their design rows.
    """

    cell_of: IntArray
    rank: IntArray


class RowPiece(NamedTuple):
    """Cells of a chunk, sorted by design row, and the rows of the chunk that hold them."""

    rows: IntArray
    cells: IntArray


class GenePiece(NamedTuple):
    """Columns of a chunk in blocks: places in the chunk, and genes of the results."""

    columns: list[IntArray]
    genes: list[IntArray]


def cells_in(places: CellPlaces, first: int, last: int) -> RowPiece:
    """The cells that rows `first` to before `last` of a matrix hold."""
    cells = places.cell_of[first:last]
    rows = np.flatnonzero(cells >= 0)
    rows = rows[np.argsort(places.rank[cells[rows]], kind="stable")]
    return RowPiece(rows, cells[rows])


def column_ranges(columns: IntArray) -> list[tuple[int, int]]:
    """Ranges ``(first, end)`` of columns with about as many of the chosen ones each."""
    n_ranges = min(max(len(columns) // GENES_PER_RANGE, 1), MAX_RANGES)
    ascending = np.sort(columns)
    parts = [part for part in np.array_split(ascending, n_ranges) if len(part)]
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def genes_in(chunk: Chunk, gene_map: IntArray) -> GenePiece:
    """The chosen columns of a chunk of a CSC matrix, in blocks of about the same size."""
    columns = np.flatnonzero(gene_map[chunk.first : chunk.last] >= 0)
    sizes = np.diff(chunk.stored.indptr)[columns]
    parts = [columns[part] for part in split_evenly(sizes, MAX_BLOCKS)]
    return GenePiece(parts, [gene_map[chunk.first + part] for part in parts])


def split_evenly(sizes: IntArray, n_blocks: int) -> list[slice]:
    """At most `n_blocks` runs of consecutive items whose sizes add up to about the same."""
    ends = np.cumsum(sizes)
    total = ends[-1] if len(ends) else 0
    cuts = np.searchsorted(ends, total * np.arange(1, n_blocks) / n_blocks) + 1
    edges = np.unique(np.concatenate([[0], np.minimum(cuts, len(sizes)), [len(sizes)]]))
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def chunks_with_progress(
    source: Source, spans: list[tuple[int, int]], n_jobs: int, desc: str, progress: bool | None
) -> Iterator[Chunk]:
    """The chunks of a pass, with a bar that counts cells (or genes) and says how long it will take."""
    bar = chunk_bar(source, spans, desc, progress)
    for chunk in read_chunks(source, spans, n_readers=readers(n_jobs)):
        yield chunk
        if bar is not None:
            bar.update(chunk.last - chunk.first)
    if bar is not None:
        bar.close()


def readers(n_jobs: int) -> int:
    """Threads that read: two keep a disk busy, more help where values must be decompressed."""
    return min(max(n_jobs, 2), 8)


def chunk_bar(source: Source, spans: list[tuple[int, int]], desc: str, progress: bool | None) -> Any:
    """A progress bar over the lines of the chunks, or None; a matrix in memory is through before a bar is read."""
    if source.in_memory:
        return None
    total = sum(last - first for first, last in spans)
    return bar_of_pass(total, desc, "gene" if source.form == "csc" else "cell", progress)
