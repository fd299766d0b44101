"""Lists of the counts of single genes, cell by cell, from a matrix in any form, for some genes at a time.

The number of counts of every gene is known from the statistics. Memory is therefore reserved once, and each count of
the matrix is written to its place. Blocks of genes refer to the lists and do not copy them.

Numba caches by the hash of one file, so the kernel is defined here (the record `Stored` has no code).
"""

from __future__ import annotations

import numpy as np

from .._arrays import AnyArray, BoolArray, IntArray
from .._display import logger
from .._errors import InputError
from .._families.cache import cached
from .kernels import Stored
from .matrix import Matrix, map_genes
from .passes import chunks_with_progress
from .recentre import CountLists
from .source import Chunk, Source, as_source

# Bytes of a count in a list: position of its cell (int32) and value (float32).
BYTES_PER_COUNT = 8
# From this number on, float32 cannot represent every whole number, and values have eight bytes.
_TOO_LARGE = 2**24


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
    sizes
        ``(n_genes,)`` number of used cells with a count of each gene.
    memory_limit
        Largest size of the lists in bytes, together with the copies of blocks under way; None for no limit. If the
        lists of all genes are larger, the matrix is read several times.
    under_way
        Number of genes in the blocks that are under way at the same time.
    n_jobs, progress
        Number of reading threads, and whether to show a progress bar.
    """

    def __init__(
        self,
        matrix: Matrix | Source,
        rank: IntArray,
        genes: IntArray,
        sizes: IntArray,
        *,
        memory_limit: int | None = None,
        under_way: int = 0,
        n_jobs: int = 1,
        progress: bool | None = False,
    ) -> None:
        self._source, self._rank, self._genes, self._sizes = as_source(matrix), rank, genes, sizes
        self._n_jobs, self._progress = n_jobs, progress
        self._edges = list_slabs(sizes, memory_limit, under_way)
        if len(self._edges) > 2:
            logger.info(
                "the counts of %s genes need %.2g GB, but %.2g GB of memory_limit are left for them: %d passes over "
                "the matrix are needed",
                f"{len(sizes):,}",
                BYTES_PER_COUNT * int(sizes.sum()) / 1e9,
                (memory_limit or 0) / 1e9,
                len(self._edges) - 1,
            )
        self._first, self._last = 0, 0
        self._held = CountLists.reserve(sizes[:0])

    def pick(self, genes: IntArray) -> CountLists:
        """Return the counts of some genes, in their order."""
        if len(self._edges) == 2:
            if self._last == 0 and len(genes):
                self._load(0)
            return self._held.pick(genes)
        # copies, so that the lists of a slab can be released when those of the next are read
        picked = CountLists.reserve(self._sizes[genes])
        for place, gene in enumerate(genes.tolist()):
            if not self._first <= gene < self._last:
                self._load(gene)
            if self._held.value.itemsize > picked.value.itemsize:
                picked = picked._replace(value=picked.value.astype(self._held.value.dtype))
            _copy(self._held.of(gene - self._first), picked.of(place))
        return picked

    def _load(self, gene: int) -> None:
        """Read the lists of `gene` and of the other genes of its slab."""
        slab = int(np.searchsorted(self._edges, gene, side="right")) - 1
        self._first, self._last = int(self._edges[slab]), int(self._edges[slab + 1])
        # the last slab is released before memory is reserved
        self._held = CountLists.reserve(self._sizes[:0])
        held = CountLists.reserve(self._sizes[self._first : self._last])
        filled = held.first.copy()
        wanted = map_genes(self._genes[self._first : self._last], self._source.shape[1])
        by_genes = self._source.form == "csc"
        spans = self._source.spans((wanted if by_genes else self._rank) >= 0)
        for chunk in chunks_with_progress(self._source, spans, self._n_jobs, "reading counts", self._progress):
            held = self._add(chunk, wanted, filled, held)
        if not np.array_equal(filled, held.last):
            self._refuse()
        _sort(held)
        self._held = held

    def _add(self, chunk: Chunk, wanted: IntArray, filled: IntArray, held: CountLists) -> CountLists:
        """Add the counts of a chunk to the lists, and return them."""
        by_genes, mine = self._source.form == "csc", slice(chunk.first, chunk.last)
        of_line, of_index = (wanted[mine], self._rank) if by_genes else (self._rank[mine], wanted)
        lines = np.flatnonzero(of_line >= 0)
        if not by_genes:
            lines = lines[np.argsort(of_line[lines], kind="stable")]
        if held.value.itemsize == 4 and chunk.stored.data.max(initial=0) >= _TOO_LARGE:
            held = held._replace(value=held.value.astype(np.float64))
        if not fill_lists(chunk.stored, lines, of_line, of_index, by_genes, held.last, filled, held.cell, held.value):
            self._refuse()
        return held

    def _refuse(self) -> None:
        raise InputError(f"{self._source.name} has changed since its statistics were computed; repeat the whole run")


def list_slabs(sizes: IntArray, memory_limit: int | None, under_way: int) -> IntArray:
    """Divide the genes into slabs whose lists fit the memory limit: first gene of each, and number of genes.

    Parameters
    ----------
    sizes
        ``(n_genes,)`` number of counts of each gene.
    memory_limit, under_way
        As for :class:`GeneLists`. Blocks under way may take up to half of the limit.
    """
    n_genes = len(sizes)
    if memory_limit is None or BYTES_PER_COUNT * int(sizes.sum()) <= memory_limit:
        return np.array([0, n_genes], dtype=np.int64)
    largest_block = int(np.sort(sizes)[::-1][:under_way].sum())
    room = max(memory_limit // BYTES_PER_COUNT - largest_block, memory_limit // BYTES_PER_COUNT // 2)
    edges, ends = [0], np.cumsum(sizes)
    while edges[-1] < n_genes:
        before = int(ends[edges[-1] - 1]) if edges[-1] else 0
        edges.append(max(int(np.searchsorted(ends, before + room, side="right")), edges[-1] + 1))
    return np.array(edges, dtype=np.int64)


def _copy(source: tuple[AnyArray, AnyArray], target: tuple[AnyArray, AnyArray]) -> None:
    """Copy the cells and the counts of one gene; no reference to the lists remains, so that they can be released."""
    for values, out in zip(source, target, strict=True):
        out[:] = values


def _sort(lists: CountLists) -> None:
    """Sort the lists of genes whose cells do not ascend: the matrix does not hold the cells sample by sample."""
    for gene in np.flatnonzero(~ascending(lists)).tolist():
        cell, value = lists.of(gene)
        order = np.argsort(cell, kind="stable")
        cell[:], value[:] = cell[order], value[order]


@cached(nogil=True)
def ascending(lists: CountLists) -> BoolArray:
    """Find the genes whose cells ascend, ``(n_genes,)``."""
    out = np.ones(lists.first.shape[0], dtype=np.bool_)
    for gene in range(lists.first.shape[0]):
        cell = lists.cell[lists.first[gene] : lists.last[gene]]
        n_down = 0
        for p in range(cell.shape[0] - 1):
            n_down += 1 if cell[p + 1] <= cell[p] else 0
        out[gene] = n_down == 0
    return out


@cached(nogil=True)
def fill_lists(
    stored: Stored,
    lines: IntArray,
    of_line: IntArray,
    of_index: IntArray,
    by_genes: bool,
    last: IntArray,
    filled: IntArray,
    cell_out: IntArray,
    value_out: AnyArray,
) -> bool:
    """Write the counts of some lines to the lists of their genes, each of which is full up to `filled`.

    `of_line` and `of_index` are the cells and the genes of the lines and of the indices in them (`by_genes`: the genes
    and the cells), -1 for those that are not used. Returns whether there was room for all counts.
    """
    for line in lines:
        a = of_line[line]
        for p in range(stored.indptr[line], stored.indptr[line + 1]):
            b = of_index[stored.indices[p]]
            if b < 0 or stored.data[p] == 0:
                continue
            gene, cell = (a, b) if by_genes else (b, a)
            at = filled[gene]
            if at == last[gene]:
                return False
            cell_out[at] = cell
            value_out[at] = stored.data[p]
            filled[gene] = at + 1
    return True
