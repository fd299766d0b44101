"""Lists of the counts of single genes, cell by cell, from a matrix in any form, for some genes at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from .._arrays import AnyArray, IntArray
from .matrix import Matrix, map_genes
from .passes import chunks_with_progress
from .recentre import CountLists
from .source import Chunk, Source, as_source

# Bytes of a count in a list: position of its cell (int32) and value (float32), and the same again during sorting.
BYTES_PER_COUNT = 16


class GeneLists:
    """Counts of the genes of a matrix, read for some genes at a time.

    Parameters
    ----------
    matrix
        Cells x genes.
    rank
        ``(n_matrix_rows,)`` position of the cell of each matrix row among the used cells, -1 for rows without one.
    genes
        Columns of the matrix; methods refer to a gene by its position among them.
    memory_limit
        Largest size of the lists in bytes; None for no limit. The matrix is read again for the genes that do not fit.
    n_jobs, progress
        Number of reading threads, and whether to show a progress bar.
    """

    def __init__(
        self,
        matrix: Matrix | Source,
        rank: IntArray,
        genes: IntArray,
        *,
        memory_limit: int | None = None,
        n_jobs: int = 1,
        progress: bool | None = False,
    ) -> None:
        self._source, self._rank, self._genes = as_source(matrix), rank, genes
        self._limit, self._n_jobs, self._progress = memory_limit, n_jobs, progress
        self._first, self._last = 0, 0
        self._pieces: list[sp.csc_matrix] = []

    def pick(self, genes: IntArray) -> CountLists:
        """Return the counts of some genes, in their order."""
        cells, counts = [], []
        for gene in genes.tolist():
            if not self._first <= gene < self._last:
                self._load(gene)
            own = [slice(*piece.indptr[gene - self._first : gene - self._first + 2]) for piece in self._pieces]
            cell = np.concatenate([piece.indices[part] for piece, part in zip(self._pieces, own, strict=True)])
            count = np.concatenate([piece.data[part] for piece, part in zip(self._pieces, own, strict=True)])
            ascending = slice(None) if len(own) == 1 else np.argsort(cell)
            cells.append(cell[ascending])
            counts.append(count[ascending])
        ptr = np.concatenate([[0], np.cumsum([len(each) for each in cells])]).astype(np.int64)
        if len(genes) == 0:
            return CountLists(ptr, np.zeros(0, np.int64), np.zeros(0))
        return CountLists(ptr, np.concatenate(cells).astype(np.int64), np.concatenate(counts).astype(np.float64))

    def _load(self, gene: int) -> None:
        """Read the lists of `gene` and of as many following genes as fit in memory."""
        n_values = max(self._source.n_values(0, self._source.n_lines), 1)
        fits = len(self._genes)
        if self._limit is not None:
            share = BYTES_PER_COUNT * n_values / max(self._source.shape[1], 1)
            fits = int(max(self._limit / share, 1))
        self._pieces = []
        self._first, self._last = gene, min(gene + fits, len(self._genes))
        wanted = map_genes(self._genes[self._first : self._last], self._source.shape[1])
        lines = wanted if self._source.form == "csc" else self._rank
        spans = self._source.spans(lines >= 0)
        for chunk in chunks_with_progress(self._source, spans, self._n_jobs, "reading counts", self._progress):
            self._pieces += self._piece(chunk, wanted)

    def _piece(self, chunk: Chunk, wanted: IntArray) -> Iterator[sp.csc_matrix]:
        """Return the counts of a chunk, gene by gene."""
        stored = chunk.stored
        line = np.repeat(np.arange(chunk.first, chunk.last), np.diff(stored.indptr))
        row, column = (stored.indices, line) if self._source.form == "csc" else (line, stored.indices)
        cell, gene = self._rank[row], wanted[column]
        used = (cell >= 0) & (gene >= 0) & (stored.data != 0)
        shape = (len(self._rank), self._last - self._first)
        entries = (_narrow(stored.data[used]), (cell[used].astype(np.int32), gene[used].astype(np.int32)))
        piece = sp.csc_matrix(entries, shape=shape)
        piece.sort_indices()
        yield piece


def _narrow(values: AnyArray) -> AnyArray:
    """Convert whole numbers to four bytes if they fit."""
    return values.astype(np.float32) if values.max(initial=0) < 2**24 else values.astype(np.float64)
