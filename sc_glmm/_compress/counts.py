"""Compute per-gene statistics of the design rows of a count matrix, in one pass over the stored counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln

from .._arrays import FloatArray, IntArray
from .._engine.rowwise import rowwise
from .._errors import InputError
from .._families.nb import N_TAIL
from .matrix import (
    Genes,
    Matrix,
    cells_of_rows,
    gene_index,
    group_rows,
    map_genes,
    rank_of_cells,
    rows_of_cells,
)
from .nodes import NodeTable
from .passes import CellPlaces
from .source import Source, as_source
from .spread import Sums, empty_sums, merge_over, spread_by_columns, spread_by_rows


@dataclass(frozen=True)
class CountStats:
    """Statistics per gene that are sufficient for a Poisson or negative-binomial likelihood.

    With eta_d the linear predictor of row d (offset excluded), the log likelihood of a gene is, over its nodes k,

    * Poisson: ``const + sum A_k * eta_d - weight_k * ec_k * exp(eta_d)``
    * NB: ``const + sum A_k * eta_d - (A_k + weight_k / phi) * log1p(phi * ec_k * exp(eta_d))``
      ``+ sum tail[j] * log1p(j * phi)`` over j < 64
      ``+ sum over_count * log1p(j * phi)`` over the overflow list and 64 <= j < over_value.

    Attributes
    ----------
    A
        ``(n_genes, n_nodes)`` counts spread over the nodes, sum of y_i * l_k(i) over cells.
    tail
        ``(n_genes, 64)`` number of cells with y > j for j = 0 ... 63, including those in the overflow list.
    over_ptr
        ``(n_genes + 1,)`` start of the overflow list of each gene.
    over_value, over_count
        Distinct counts above 64, ascending within a gene, and the number of cells that have them.
    const
        ``(n_genes,)`` sum of ``y_i * offset_i - lgamma(y_i + 1)``.
    total
        ``(n_genes,)`` sum of the counts.
    n_nonzero
        ``(n_genes,)`` number of cells with a count.

    Notes
    -----
    With groups, every array except `A`, `over_value` and `over_count` has a leading axis of length n_groups. Each node
    in `A` belongs to one group, the group of its row. The list of gene g in group h is
    ``over_value[over_ptr[h, g] : over_ptr[h, g + 1]]``. :meth:`group` extracts one group.
    """

    A: FloatArray
    tail: FloatArray
    over_ptr: IntArray
    over_value: FloatArray
    over_count: FloatArray
    const: FloatArray
    total: FloatArray
    n_nonzero: IntArray

    def group(self, index: int) -> CountStats:
        """Return the statistics of one group; `A` keeps the nodes of all groups."""
        return replace(
            self,
            tail=self.tail[index],
            over_ptr=self.over_ptr[index],
            const=self.const[index],
            total=self.total[index],
            n_nonzero=self.n_nonzero[index],
        )


def compress_counts(
    matrix: Matrix | Source,
    node_table: NodeTable,
    offset: FloatArray,
    *,
    obs_index: IntArray | None = None,
    genes: Genes = slice(None),
    group_of: IntArray | None = None,
    n_groups: int | None = None,
    n_jobs: int = 1,
    progress: bool | None = False,
) -> CountStats:
    """Compress counts onto the nodes of their design rows, without loss for the likelihoods of the table's kind.

    Parameters
    ----------
    matrix
        Counts, cells x genes: scipy CSR or CSC matrix or array, or dense array, of any real type, or a
        :class:`~sc_glmm._compress.source.Source`, which may be on disk. The matrix is neither converted to dense nor
        cast. Besides the result, memory holds a few chunks of the matrix and a few numbers per cell.
    node_table
        Nodes of the cells. Cells with row -1 are skipped.
    offset
        ``(n_obs,)`` log size factors for which the table was created.
    obs_index
        ``(n_obs,)`` row of `matrix` with each cell, -1 for cells that are not in it. By default, cell i is row i. If
        the cells are divided among several matrices, their statistics can be added (:func:`add_counts`).
    genes
        Columns of `matrix`, in the order of the result.
    group_of
        ``(n_obs,)`` group of each cell; groups must not share rows. The result then has a group axis.
    n_groups
        Number of groups; by default the number of groups in `group_of`.
    n_jobs
        Number of threads. The result is identical for any number, to the last bit.
    progress
        Whether to show a progress bar while a matrix on disk is read; None: only in a terminal or notebook.
    """
    source = as_source(matrix)
    n_obs, order, order_ptr = node_table.n_obs, node_table.order, node_table.order_ptr
    offset = np.ascontiguousarray(offset, dtype=np.float64)
    if offset.shape != (n_obs,):
        raise InputError(f"offset has shape {offset.shape}, the node table {n_obs} cells; give one value per cell.")
    matrix_row = rows_of_cells(obs_index, n_obs, source.shape[0])
    columns = gene_index(genes, source.shape[1])
    groups, group_of_row, n_all = group_rows(group_of, n_groups, order, order_ptr, n_obs)

    collapsed = node_table.kind == "collapsed"
    sums = empty_sums(n_all, len(columns), node_table.n_nodes, with_offset=collapsed)
    cell_of = cells_of_rows(order, matrix_row, source.shape[0])
    gene_map = map_genes(columns, source.shape[1])
    if source.form == "csc":
        spread_by_columns(source, cell_of, gene_map, groups, node_table, offset, sums, n_jobs, progress)
    else:
        # a collapsed table cannot give sums of offsets from its nodes, so its cells keep their order in the matrix
        rank = np.zeros(n_obs, dtype=np.int64) if collapsed else rank_of_cells(order, n_obs)
        places = CellPlaces(cell_of, rank)
        spread_by_rows(source, places, columns, gene_map, groups, node_table, offset, sums, n_jobs, progress)
    if not collapsed:
        sums = replace(sums, offset=_offset_sums(sums.A, node_table, group_of_row, n_all))
    stats = _finish(sums)
    return stats.group(0) if group_of is None else stats


def add_counts(first: CountStats, second: CountStats) -> CountStats:
    """Add the statistics of two disjoint sets of cells, computed with the same node table and genes."""
    if first.A.shape != second.A.shape or first.tail.shape != second.tail.shape:
        raise InputError(
            f"the statistics have shapes {first.A.shape}, {first.tail.shape} and {second.A.shape}, "
            f"{second.tail.shape}; only those of one node table, the same genes and groups can be added."
        )
    over = merge_over(
        [
            (np.repeat(np.arange(stats.total.size), _lengths(stats)), stats.over_value, stats.over_count)
            for stats in (first, second)
        ]
    )
    return CountStats(
        A=first.A + second.A,
        tail=first.tail + second.tail,
        over_ptr=_over_ptr(over[0], first.total.shape),
        over_value=over[1],
        over_count=over[2],
        const=first.const + second.const,
        total=first.total + second.total,
        n_nonzero=first.n_nonzero + second.n_nonzero,
    )


def _lengths(stats: CountStats) -> IntArray:
    """Compute the length of the overflow list of every (group, gene) slot."""
    return np.diff(stats.over_ptr, axis=-1).ravel()


def _over_ptr(slot: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Compute the starts of the overflow lists of all genes, from the sorted slots of the entries."""
    n_genes = shape[-1]
    n_slots = int(np.prod(shape))
    ends = np.searchsorted(slot, np.arange(n_slots + 1)).astype(np.int64)
    starts = np.arange(0, n_slots, n_genes) if n_genes else np.zeros(int(np.prod(shape[:-1])), dtype=np.int64)
    return ends[starts[:, None] + np.arange(n_genes + 1)].reshape(*shape[:-1], n_genes + 1)


def _offset_sums(A: FloatArray, table: NodeTable, group_of_row: IntArray, n_groups: int) -> FloatArray:
    """Compute ``(n_groups, n_genes)`` sums of count times offset, from the counts on the nodes.

    Nodes represent every linear function of the offset exactly. If the sums were added up cell by cell, the last bits
    would depend on the order of the cells in a pass, and therefore on the format of the matrix.
    """
    offset = np.log(table.ec)
    if n_groups == 1:
        return rowwise(A, offset)[None, :]
    group_of_node = np.repeat(group_of_row, np.diff(table.ptr))
    nodes = [np.flatnonzero(group_of_node == group) for group in range(n_groups)]
    return np.stack([rowwise(A[:, mine], offset[mine]) for mine in nodes])


def _finish(sums: Sums) -> CountStats:
    """Convert histograms to tails and constants, and the counts above 64 to a list per group and gene."""
    n_groups, n_genes, _ = sums.hist.shape
    shape = (n_groups, n_genes)
    slot, over_value, over_count = merge_over([part for block in sums.over for part in block.parts])
    n_over, over_total, over_lgamma = (
        np.bincount(slot, over_count * x, n_groups * n_genes).reshape(shape).astype(np.float64)
        for x in (np.ones_like(over_value), over_value, gammaln(over_value + 1.0))
    )
    y = np.arange(N_TAIL + 1.0)
    log_factorial = gammaln(y + 1.0)
    tail = np.empty((*shape, N_TAIL))
    const, total = sums.offset - over_lgamma, over_total
    # group by group, because the histograms of all groups as floating-point numbers would be large
    for group, hist in enumerate(sums.hist):
        tail[group] = np.cumsum(hist[:, :0:-1], axis=1, dtype=np.float64)[:, ::-1] + n_over[group, :, None]
        const[group] -= rowwise(hist, log_factorial)
        total[group] += rowwise(hist, y)
    return CountStats(
        A=sums.A,
        tail=tail,
        over_ptr=_over_ptr(slot, shape),
        over_value=over_value,
        over_count=over_count,
        const=const,
        total=total,
        n_nonzero=tail[:, :, 0].astype(np.int64),
    )
