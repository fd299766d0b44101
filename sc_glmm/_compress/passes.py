"""Division of a pass over a matrix into blocks for several threads.

A pass processes the chunks of its source one after the other. In a chunk of rows (CSR, dense), every block has its own
range of genes; in a chunk of genes (CSC), it has some of these genes. No two blocks write to the same number, and
each number is added up in the order of the cells. Results therefore do not depend on the number of threads, the memory
or the location of the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .._arrays import IntArray
from .._display import bar_of_pass
from .source import Chunk, Source, in_order

T = TypeVar("T")

# Number of blocks of genes in a chunk of rows, and smallest number of genes in a block. Each block looks up the start
# of its genes in every row, which costs about as much as adding two counts.
MAX_RANGES = 32
GENES_PER_RANGE = 64
# Number of blocks in a chunk of genes.
MAX_BLOCKS = 16


class CellPlaces(NamedTuple):
    """Cell in each row of a matrix, and the order in which cells are added up.

    Attributes
    ----------
    cell_of
        ``(n_matrix_rows,)`` cell in each row of the matrix, -1 for none.
    rank
        ``(n_obs,)`` position of each cell in the order of the design rows.
    """

    cell_of: IntArray
    rank: IntArray


class RowPiece(NamedTuple):
    """Cells of a chunk, sorted by design row, and their rows in the chunk."""

    rows: IntArray
    cells: IntArray


class GenePiece(NamedTuple):
    """Columns of a chunk in blocks: positions in the chunk, and genes of the results."""

    columns: list[IntArray]
    genes: list[IntArray]


def cells_in(places: CellPlaces, first: int, last: int) -> RowPiece:
    """Return the cells in the rows from `first` up to `last` (exclusive) of a matrix."""
    cells = places.cell_of[first:last]
    rows = np.flatnonzero(cells >= 0)
    rows = rows[np.argsort(places.rank[cells[rows]], kind="stable")]
    return RowPiece(rows, cells[rows])


def column_edges(columns: IntArray) -> IntArray:
    """Divide the columns into adjacent ranges with about the same number of chosen columns.

    Returns the first column of each range, and the end of the last.
    """
    n_ranges = min(max(len(columns) // GENES_PER_RANGE, 1), MAX_RANGES)
    ascending = np.sort(columns)
    starts = [int(part[0]) for part in np.array_split(ascending, n_ranges) if len(part)]
    return np.array([*starts, *(ascending[-1:] + 1)], dtype=np.int64)


def genes_in(chunk: Chunk, gene_map: IntArray) -> GenePiece:
    """Return the chosen columns of a chunk of a CSC matrix, in blocks of about the same size."""
    columns = np.flatnonzero(gene_map[chunk.first : chunk.last] >= 0)
    sizes = np.diff(chunk.stored.indptr)[columns]
    parts = [columns[part] for part in split_evenly(sizes, MAX_BLOCKS)]
    return GenePiece(parts, [gene_map[chunk.first + part] for part in parts])


def split_evenly(sizes: IntArray, n_blocks: int) -> list[slice]:
    """Divide consecutive items into at most `n_blocks` runs with sizes that add up to about the same."""
    ends = np.cumsum(sizes)
    total = ends[-1] if len(ends) else 0
    cuts = np.searchsorted(ends, total * np.arange(1, n_blocks) / n_blocks) + 1
    edges = np.unique(np.concatenate([[0], np.minimum(cuts, len(sizes)), [len(sizes)]]))
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def chunks_with_progress(
    source: Source, spans: list[tuple[int, int]], n_jobs: int, desc: str, progress: bool | None
) -> Iterator[Chunk]:
    """Return the chunks of a pass, with a progress bar that counts cells (or genes) and shows the remaining time."""
    return (chunk for chunk, _ in prepared_chunks(source, spans, n_jobs, desc, progress, lambda chunk: None))


def prepared_chunks(
    source: Source,
    spans: list[tuple[int, int]],
    n_jobs: int,
    desc: str,
    progress: bool | None,
    prepare: Callable[[Chunk], T],
) -> Iterator[tuple[Chunk, T]]:
    """Return the chunks as :func:`chunks_with_progress`, and what `prepare` returns for each in a reading thread."""

    def read(first: int, last: int) -> tuple[Chunk, T]:
        chunk = Chunk(first, last, source.read(first, last))
        return chunk, prepare(chunk)

    bar = chunk_bar(source, spans, desc, progress)
    for (first, last), result in in_order(read, spans, readers(source, n_jobs)):
        yield result
        if bar is not None:
            bar.update(last - first)
    if bar is not None:
        bar.close()


def readers(source: Source, n_jobs: int) -> int:
    """Choose the number of reading threads: two keep a disk busy, and more help if values must be decompressed.

    A matrix in memory is only divided and checked, by the calling thread if the pass has no other.
    """
    if source.in_memory and n_jobs == 1:
        return 0
    return min(max(n_jobs, 2), 8)


def chunk_bar(source: Source, spans: list[tuple[int, int]], desc: str, progress: bool | None) -> Any:
    """Create a progress bar over the lines of the chunks; None for a matrix in memory, where a pass is too short."""
    if source.in_memory:
        return None
    total = sum(last - first for first, last in spans)
    return bar_of_pass(total, desc, "gene" if source.form == "csc" else "cell", progress)
