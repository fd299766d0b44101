"""Sources of the cells of a pass: a matrix in memory, or a matrix on disk that is read in chunks.

A source is a matrix of *lines*: the rows of a CSR or dense matrix, the columns of a CSC matrix. It is read in chunks of
consecutive lines. The bounds of the chunks depend on the data alone. Sums over chunks therefore have the same bits for
any location of the matrix, size of the memory and number of threads. Every dense chunk is converted to CSR.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp

from .._arrays import AnyArray, BoolArray, IntArray
from .._errors import InputError
from . import kernels
from .kernels import Stored, sparse_block
from .matrix import Matrix, as_readable, native_order, stored_values

Form = Literal["csr", "csc", "dense"]
T = TypeVar("T")

# Stored values (or elements of a dense matrix) per chunk: 32 MB of float32 values and int32 indices.
CHUNK_VALUES = 1 << 22
# Number of chunks that are read ahead of the one that is being added up.
CHUNKS_AHEAD = 3


class Chunk(NamedTuple):
    """Consecutive lines of a source, with their own `indptr`."""

    first: int
    last: int
    stored: Stored


class Source(ABC):
    """Matrix of cells x genes that is read in chunks of consecutive lines.

    Attributes
    ----------
    shape
        Numbers of cells and genes.
    form
        Storage format. The lines of a CSC matrix are genes; those of other formats are cells.
    name
        Name of the matrix in messages.
    line_ptr
        ``(n_lines + 1,)`` start of each line among the stored values; None for a dense matrix.
    in_memory
        Whether the matrix is in memory; reading ahead then has no benefit.
    """

    shape: tuple[int, int]
    form: Form
    name: str = "the matrix"
    line_ptr: IntArray | None
    in_memory: bool = False

    @abstractmethod
    def read(self, first: int, last: int) -> Stored:
        """Read the lines from `first` up to `last`, exclusive; indices ascend within a line, without repetition."""

    @abstractmethod
    def read_values(self, first: int, last: int) -> tuple[AnyArray, AnyArray]:
        """Read only the stored values of these lines, in the order of the lines, and the start of each line in them."""

    def part(self, first: int, last: int) -> Source:
        """Return the lines from `first` up to `last`, exclusive, as a separate source with a small pickle.

        Raises
        ------
        InputError
            If the matrix is in the memory of this process, or is already stored in parts elsewhere (dask).
        """
        raise InputError(f"{self.name} is not a matrix on disk, so processes cannot read parts of it on their own")

    @property
    def n_lines(self) -> int:
        """Return the number of rows of a CSR or dense matrix, or of columns of a CSC matrix."""
        return self.shape[1] if self.form == "csc" else self.shape[0]

    def bounds(self) -> IntArray:
        """Return the first line of every chunk, followed by the number of lines."""
        if self.line_ptr is None:
            step = max(CHUNK_VALUES // max(self.shape[1], 1), 1)
            cuts = np.arange(step, self.n_lines, step)
        else:
            start, end = (int(self.line_ptr[0]), int(self.line_ptr[-1])) if len(self.line_ptr) else (0, 0)
            cuts = np.searchsorted(self.line_ptr, np.arange(start + CHUNK_VALUES, end, CHUNK_VALUES))
        return np.unique(np.concatenate([[0], np.minimum(cuts, self.n_lines), [self.n_lines]])).astype(np.int64)

    def n_values(self, first: int, last: int) -> int:
        """Count the stored values (or elements) of the lines from `first` up to `last`, exclusive."""
        if self.line_ptr is None:
            return (last - first) * self.shape[1]
        return int(self.line_ptr[last] - self.line_ptr[first])

    def spans(self, wanted: BoolArray | None = None) -> list[tuple[int, int]]:
        """Return the chunks as ``(first, last)``; only those with a line of `wanted`."""
        edges = self.bounds().tolist()
        spans = [span for span in zip(edges[:-1], edges[1:], strict=True) if span[0] < span[1]]
        return spans if wanted is None else [(a, b) for a, b in spans if wanted[a:b].any()]


class MemorySource(Source):
    """Scipy CSR or CSC matrix or numpy array; only blocks of a dense matrix are copied."""

    in_memory = True

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = as_readable(matrix)
        self.shape = (int(self._matrix.shape[0]), int(self._matrix.shape[1]))
        dense = isinstance(self._matrix, np.ndarray)
        self.form = "dense" if dense else self._matrix.format
        self.line_ptr = None if dense else np.asarray(self._matrix.indptr, dtype=np.int64)

    def read(self, first: int, last: int) -> Stored:
        """Read the lines from `first` up to `last`, exclusive."""
        if self.line_ptr is None:
            return sparse_rows(self._matrix[first:last])
        lo, hi = self.line_ptr[first], self.line_ptr[last]
        stored = Stored(self._matrix.data[lo:hi], self._matrix.indices[lo:hi], self.line_ptr[first : last + 1] - lo)
        # the flags of scipy may be wrong, and kernels write where the indices say
        return checked_lines(stored, self.shape[0 if self.form == "csc" else 1], self.name, first)

    def read_values(self, first: int, last: int) -> tuple[AnyArray, AnyArray]:
        """Read only the stored values of these lines."""
        if self.line_ptr is None:
            block = stored_values(np.ascontiguousarray(self._matrix[first:last]))
            return block.reshape(-1), np.arange(last - first + 1, dtype=np.int64) * self.shape[1]
        lo, hi = self.line_ptr[first], self.line_ptr[last]
        return self._matrix.data[lo:hi], self.line_ptr[first : last + 1] - lo


def as_source(matrix: Matrix | Source) -> Source:
    """Return a source for any readable matrix; sources are returned unchanged."""
    return matrix if isinstance(matrix, Source) else MemorySource(matrix)


def sparse_rows(dense: AnyArray) -> Stored:
    """Convert rows of a dense matrix to CSR arrays."""
    return Stored(*sparse_block(np.ascontiguousarray(stored_values(dense))))


def checked_lines(stored: Stored, n_minor: int, name: str, first: int) -> Stored:
    """Check lines from a file or another program, and sort them if their indices do not ascend.

    Raises
    ------
    InputError
        If an index is out of range or occurs twice in a line. In files, both indicate damage.
    """
    stored = Stored(stored_values(stored.data), native_order(stored.indices), stored.indptr)
    state = kernels.check_lines(stored, n_minor)
    if state == 2:
        raise InputError(
            f"{name} is damaged: beyond line {first} it names an index outside of 0 to {n_minor - 1}; get a sound copy"
        )
    if state == 0:
        return stored
    n_lines = len(stored.indptr) - 1
    matrix = sp.csr_matrix((stored.data, stored.indices, stored.indptr), shape=(n_lines, n_minor), copy=True)
    matrix.sort_indices()
    lines = np.repeat(np.arange(n_lines), np.diff(matrix.indptr))
    twice = np.flatnonzero((np.diff(matrix.indices) == 0) & (np.diff(lines) == 0))
    if len(twice):
        line, index = first + int(lines[twice[0]]), int(matrix.indices[twice[0]])
        raise InputError(
            f"{name} is damaged: line {line} holds two values for index {index}, so that one of them may belong to "
            "another gene or cell. Get a sound copy; if the values are meant to be added up, call sum_duplicates() on "
            "the matrix and write the file again"
        )
    return Stored(matrix.data, matrix.indices, np.asarray(matrix.indptr, dtype=np.int64))


def read_chunks(source: Source, spans: Sequence[tuple[int, int]], n_readers: int = 2) -> Iterator[Chunk]:
    """Read the chunks in order; threads read some of them ahead."""
    for (first, last), stored in in_order(source.read, spans, 0 if source.in_memory else n_readers):
        yield Chunk(first, last, stored)


def read_chunk_values(
    source: Source, spans: Sequence[tuple[int, int]], n_readers: int = 2
) -> Iterator[tuple[int, int, AnyArray, AnyArray]]:
    """Read chunks as :func:`read_chunks`, but only values and `indptr`."""
    for (first, last), (values, indptr) in in_order(source.read_values, spans, 0 if source.in_memory else n_readers):
        yield first, last, values, indptr


def in_order(
    work: Callable[[int, int], T], spans: Sequence[tuple[int, int]], n_threads: int
) -> Iterator[tuple[tuple[int, int], T]]:
    """Yield the results of ``work(first, last)`` in order, while threads prepare the next ones (0: without threads)."""
    if n_threads == 0:
        for span in spans:
            yield span, work(*span)
        return
    with ThreadPoolExecutor(n_threads, thread_name_prefix="sc-glmm-read") as pool:
        pending: deque[tuple[tuple[int, int], Future[T]]] = deque()
        try:
            for span in spans:
                pending.append((span, pool.submit(work, *span)))
                if len(pending) > max(CHUNKS_AHEAD, n_threads):
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def one_column(matrix: Matrix | Source, column: int) -> Matrix:
    """Return one gene of any matrix as a sparse or dense column in memory."""
    if not isinstance(matrix, Source):
        return matrix[:, [column]]
    if matrix.form == "csc":
        stored = matrix.read(column, column + 1)
        return sp.csc_matrix(tuple(stored), shape=(matrix.shape[0], 1))
    parts = []
    for chunk in read_chunks(matrix, matrix.spans()):
        shape = (chunk.last - chunk.first, matrix.shape[1])
        parts.append(sp.csr_matrix(tuple(chunk.stored), shape=shape)[:, [column]])
    return sp.vstack(parts).tocsc()
