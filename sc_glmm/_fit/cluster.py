"""Compute sums over cells on the workers of a Dask client: each reads its own rows; a tree adds their sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress import CountStats, GaussianStats, NodeTable, add_counts, add_sums, compress_counts, compress_gaussian
from .._compress.matrix import Matrix
from .._compress.nodes import restrict_table
from .._compress.rows import StackedRows
from .._compress.size_factors import library_size
from .._compress.source import Source
from .._errors import InputError
from .._families.nb import N_TAIL
from .._parallel.blocks import run_blocks
from .._parallel.dask import dask_client, sum_on_dask

# A pass is divided into the largest of these numbers of tasks for which each task has at least as many stored values
# as its result has numbers. The work on the values then takes longer than sending the result. The two bounds on the
# number of stored values of a task take precedence.
PIECES = (64, 16, 4)
MOST_VALUES = 1 << 28
LEAST_VALUES = 1 << 20


def client_for(matrix: Any) -> Any:
    """Return the active Dask client if workers can read the matrix themselves (rows of a file), else None."""
    if isinstance(matrix, Source) and matrix.form != "csc" and not matrix.in_memory:
        client = dask_client()
        return client if client is not None and type(matrix).part is not Source.part else None
    return None


def row_spans(source: Source, least: int) -> list[tuple[int, int]]:
    """Divide the rows into spans of whole chunks with at least `least` values each; they depend only on the data."""
    spans: list[tuple[int, int]] = []
    start = None
    for first, last in source.spans():
        start = first if start is None else start
        if source.n_values(start, last) >= least:
            spans.append((start, last))
            start = None
    if start is not None:
        spans.append((start, source.n_lines))
    return spans


def task_spans(source: Source, numbers: Callable[[int, int], int]) -> list[tuple[int, int]]:
    """Divide the rows into spans for tasks whose results have ``numbers(first, last)`` numbers.

    The spans depend only on the data.
    """
    total = source.n_values(0, source.n_lines)
    for pieces in PIECES:
        spans = row_spans(source, min(max(total // pieces, LEAST_VALUES), MOST_VALUES))
        if all(source.n_values(*span) >= numbers(*span) for span in spans[:-1]):
            return spans
    return row_spans(source, MOST_VALUES)


def library_sums(matrix: Matrix | Source, *, n_jobs: int = 1, progress: bool | None = False) -> FloatArray:
    """Sum the counts of each cell; a matrix that is not in memory is checked at the same time."""
    if isinstance(matrix, Source) and client_for(matrix) is not None:
        blocks = ((matrix.part(first, last),) for first, last in row_spans(matrix, 1 << 24))
        return np.concatenate(list(run_blocks(_library, (), blocks, 1)))
    return library_size(matrix, check=isinstance(matrix, Source), n_jobs=n_jobs, progress=progress)


def _library(source: Source) -> FloatArray:
    return library_size(source, check=True)


@dataclass(frozen=True)
class PartialStats:
    """Statistics of a part of the cells.

    Attributes
    ----------
    stats
        The statistics: for counts, on the nodes of these cells; for a Gaussian response, on all rows.
    nodes
        Positions of these nodes among all nodes.
    """

    stats: CountStats | GaussianStats
    nodes: IntArray


def counts_on_cluster(
    client: Any,
    source: Source,
    table: NodeTable,
    offset: FloatArray,
    row_of_cell: IntArray | None,
    genes: IntArray,
    group_of: IntArray | None,
    n_groups: int | None,
) -> CountStats | GaussianStats:
    """Compute the same as :func:`compress_counts` on the workers.

    `row_of_cell` is the row of the matrix for each cell; None if cell i is in row i.
    """
    rows = np.arange(table.n_obs, dtype=np.int64) if row_of_cell is None else row_of_cell
    n_base = len(table.order_ptr) - 1
    base = np.full(table.n_obs, n_base, dtype=np.int64)
    base[table.order] = np.repeat(np.arange(n_base), np.diff(table.order_ptr))

    def numbers(first: int, last: int) -> int:
        """Estimate the size of the result: the nodes of the design rows of these cells, and the sums of each gene."""
        n_cells = np.bincount(base[(rows >= first) & (rows < last)], minlength=n_base + 1)[:n_base]
        return len(genes) * (table.n_nodes * int(np.count_nonzero(n_cells)) // max(n_base, 1) + 2 * N_TAIL)

    blocks = []
    for first, last in task_spans(source, numbers):
        cells = np.flatnonzero((rows >= first) & (rows < last))
        if len(cells) == 0:
            continue
        part, nodes = restrict_table(table, cells)
        groups = None if group_of is None else group_of[cells]
        blocks.append(
            (
                source.part(first, last),
                part,
                nodes,
                offset[cells],
                rows[cells] - first,
                _compact(genes),
                groups,
                n_groups,
            )
        )
    return on_nodes(sum_on_dask(client, _count_part, add_partial, blocks), np.arange(table.n_nodes))


def _compact(genes: IntArray) -> slice | IntArray:
    """Convert contiguous positions into a slice, which is smaller to send."""
    if len(genes) and np.array_equal(genes, np.arange(genes[0], genes[0] + len(genes))):
        return slice(int(genes[0]), int(genes[0]) + len(genes))
    return genes


def _count_part(
    source: Source,
    table: NodeTable,
    nodes: IntArray,
    offset: FloatArray,
    obs_index: IntArray,
    genes: slice | IntArray,
    group_of: IntArray | None,
    n_groups: int | None,
) -> PartialStats:
    stats = compress_counts(
        source, table, offset, obs_index=obs_index, genes=genes, group_of=group_of, n_groups=n_groups
    )
    return PartialStats(stats, nodes)


def add_partial(first: PartialStats, second: PartialStats) -> PartialStats:
    """Add the statistics of two disjoint sets of cells, on the union of their nodes."""
    nodes = np.union1d(first.nodes, second.nodes)
    return PartialStats(add_stats(on_nodes(first, nodes), on_nodes(second, nodes)), nodes)


def on_nodes(partial: PartialStats, nodes: IntArray) -> CountStats | GaussianStats:
    """Expand the statistics to `nodes`, with zeros for nodes without cells; a Gaussian response stays unchanged."""
    if isinstance(partial.stats, GaussianStats) or len(partial.nodes) == len(nodes):
        return partial.stats
    A = np.zeros((len(partial.stats.A), len(nodes)))
    A[:, np.searchsorted(nodes, partial.nodes)] = partial.stats.A
    return replace(partial.stats, A=A)


def add_stats(first: CountStats | GaussianStats, second: CountStats | GaussianStats) -> CountStats | GaussianStats:
    """Add the statistics of two disjoint sets of cells, computed by the same pass for the same genes."""
    if isinstance(first, CountStats) and isinstance(second, CountStats):
        return add_counts(first, second)
    if isinstance(first, GaussianStats) and isinstance(second, GaussianStats):
        return add_sums(first, second)
    raise InputError(
        "statistics of counts and of a Gaussian response cannot be added; compute both with the same family"
    )


def sums_on_cluster(
    client: Any,
    source: Source,
    row_of: IntArray,
    n_rows: int,
    offset: FloatArray,
    row_of_cell: IntArray | None,
    genes: IntArray,
) -> GaussianStats:
    """Compute the same as :func:`compress_gaussian` on the workers."""
    rows = np.arange(len(row_of), dtype=np.int64) if row_of_cell is None else row_of_cell
    blocks = []
    for first, last in task_spans(source, lambda *_: len(genes) * (n_rows + 3)):
        cells = np.flatnonzero((rows >= first) & (rows < last))
        if len(cells):
            where = rows[cells] - first
            blocks.append((source.part(first, last), row_of[cells], n_rows, offset[cells], where, _compact(genes)))
    return sum_on_dask(client, _sum_part, add_sums, blocks)


def _sum_part(
    source: Source, row_of: IntArray, n_rows: int, offset: FloatArray, obs_index: IntArray, genes: slice | IntArray
) -> GaussianStats:
    rows = StackedRows(row_of, np.where(row_of < 0, -1, 0), np.array([0, n_rows]))
    result = compress_gaussian(source, rows, offset, obs_index=obs_index, genes=genes, n_groups=1)
    names = ("total", "total_low", "sum_yy", "sum_yy_low", "n_nonzero")
    return replace(result, **{name: getattr(result, name)[0] for name in names})
