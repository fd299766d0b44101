"""Compute the cross-products that a Gaussian model needs from a matrix of values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from .._arrays import FloatArray, IntArray
from .._errors import InputError
from .._parallel.blocks import workers
from . import moments, pairs
from .chebyshev import sort_by_row
from .cuts import RowCuts
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
from .nodes import check_values
from .passes import (
    CellPlaces,
    GenePiece,
    cells_in,
    chunks_with_progress,
    column_edges,
    genes_in,
)
from .rows import DesignRows, StackedRows
from .source import Chunk, Source, as_source


@dataclass(frozen=True)
class GaussianStats:
    """Sums per gene that give X'y, Z'y and y'y: if M has the rows of X or Z, M'y is ``sum_y @ M``.

    The sum of all values and the sum of their squares also have a low part (:mod:`.pairs`). Sums of squares around the
    mean are therefore accurate even if the mean is large.

    Attributes
    ----------
    sum_y
        ``(n_genes, n_rows)`` sum of the values (minus their offsets) in each design row.
    total, total_low
        ``(n_genes,)`` sum of all values; with groups ``(n_groups, n_genes)``, like the next attributes.
    sum_yy, sum_yy_low
        ``(n_genes,)`` sum of the squares of the values.
    n_cells
        ``(n_rows,)`` number of cells in each design row.
    n_nonzero
        ``(n_genes,)`` number of cells with a nonzero value.
    """

    sum_y: FloatArray
    total: FloatArray
    total_low: FloatArray
    sum_yy: FloatArray
    sum_yy_low: FloatArray
    n_cells: IntArray
    n_nonzero: IntArray

    def squares_about(self, centre: FloatArray, n_obs: int) -> FloatArray:
        """Compute ``(n_genes,)`` sums of squared differences from `centre` ``(n_genes,)``."""
        total = self.total, self.total_low
        # sum y^2 - c (2 sum y - n c)
        inner = pairs.add(pairs.times(total, 2.0), pairs.negative(pairs.times(pairs.single(centre), float(n_obs))))
        outer = pairs.add((self.sum_yy, self.sum_yy_low), pairs.negative(pairs.times(inner, centre)))
        return np.maximum(outer[0] + outer[1], 0.0)


def compress_gaussian(
    matrix: Matrix | Source,
    rows: DesignRows | StackedRows,
    offset: FloatArray | None = None,
    *,
    obs_index: IntArray | None = None,
    genes: Genes = slice(None),
    n_groups: int | None = None,
    n_jobs: int = 1,
    progress: bool | None = False,
) -> GaussianStats:
    """Sum values and squares over design rows, in one pass over the stored values.

    Parameters
    ----------
    matrix
        Values, cells x genes; allowed forms as in :func:`compress_counts`.
    rows
        Design rows of the cells; with the rows of several groups (:func:`stack_rows`), `sum_yy` has a group axis.
    offset
        ``(n_obs,)`` numbers that are subtracted from the values of a cell.
    obs_index, genes, n_groups, n_jobs, progress
        As in :func:`compress_counts`.
    """
    row_of, n_rows = rows.row_of, rows.n_rows
    group_of = rows.group_of if isinstance(rows, StackedRows) else None
    shift = np.zeros(len(row_of)) if offset is None else offset
    row_of, shift = check_values(row_of, shift, "offset")
    source = as_source(matrix)
    matrix_row = rows_of_cells(obs_index, len(row_of), source.shape[0])
    columns = gene_index(genes, source.shape[1])
    order, order_ptr = sort_by_row(row_of, n_rows)
    groups, _, n_all = group_rows(group_of, n_groups, order, order_ptr, len(row_of))

    sum_y, low = np.zeros((len(columns), n_rows)), np.zeros((len(columns), n_rows))
    sums = np.zeros((n_all, 7, len(columns)))
    cell_of = cells_of_rows(order, matrix_row, source.shape[0])
    gene_map = map_genes(columns, source.shape[1])
    places, edges = CellPlaces(cell_of, rank_of_cells(order, len(row_of))), column_edges(columns)

    def add_rows(chunk: Chunk, cells: IntArray, cuts: RowCuts, block: int) -> None:
        moments.add_moments_by_rows(
            chunk.stored, cells, cuts.of(block), gene_map, groups, row_of, shift, sum_y, low, sums
        )

    def add_genes(chunk: Chunk, piece: GenePiece, block: int) -> None:
        moments.add_moments_by_columns(
            chunk.stored, piece.columns[block], piece.genes[block], cell_of, groups, row_of, shift, sum_y, low, sums
        )

    by_genes = source.form == "csc"
    spans = source.spans(gene_map >= 0 if by_genes else cell_of >= 0)
    with workers(n_jobs) as run:
        for chunk in chunks_with_progress(source, spans, n_jobs, "reading the matrix", progress):
            if by_genes:
                genes_here = genes_in(chunk, gene_map)
                run(partial(add_genes, chunk, genes_here), len(genes_here.columns))
            else:
                piece = cells_in(places, chunk.first, chunk.last)
                cuts = RowCuts.find(chunk.stored, piece.rows, edges)
                run(partial(add_rows, chunk, piece.cells, cuts), max(len(edges) - 1, 0))

    total, squares, products = ((sums[:, i], sums[:, i + 1]) for i in (0, 2, 4))
    n_nonzero = sums[:, 6].astype(np.int64)
    bad = np.flatnonzero(~np.isfinite(squares[0]).all(axis=0) | ~np.isfinite(squares[1]).all(axis=0))
    if len(bad):
        raise InputError(
            f"the matrix holds values whose squares are not finite in {len(bad)} of {len(columns)} "
            f"genes, the first in column {columns[bad[0]]}; remove or replace them."
        )
    present = order[matrix_row[order] >= 0]
    if offset is not None:
        sum_y -= np.bincount(row_of[present], shift[present], n_rows)
        own = [shift[present[groups[present] == k]] for k in range(n_all)]
        of_offset = [pairs.sum_of(one) for one in own]
        of_square = [pairs.sum_of_squares(one) for one in own]
        total = pairs.add(total, pairs.negative(pairs.columns(of_offset)))
        squares = pairs.add(squares, pairs.add(pairs.columns(of_square), pairs.times(products, -2.0)))
    sum_y += low
    one = slice(None) if group_of is not None else 0
    return GaussianStats(
        sum_y=sum_y,
        total=total[0][one],
        total_low=total[1][one],
        sum_yy=squares[0][one],
        sum_yy_low=squares[1][one],
        n_cells=np.bincount(row_of[present], minlength=n_rows).astype(np.int64),
        n_nonzero=n_nonzero[one],
    )


def add_sums(first: GaussianStats, second: GaussianStats) -> GaussianStats:
    """Add the statistics of two disjoint sets of cells, computed with the same rows and genes."""
    if first.sum_y.shape != second.sum_y.shape or first.sum_yy.shape != second.sum_yy.shape:
        raise InputError(
            f"the statistics have shapes {first.sum_y.shape}, {first.sum_yy.shape} and {second.sum_y.shape}, "
            f"{second.sum_yy.shape}; only those of the same rows, genes and groups can be added."
        )
    total = pairs.add((first.total, first.total_low), (second.total, second.total_low))
    squares = pairs.add((first.sum_yy, first.sum_yy_low), (second.sum_yy, second.sum_yy_low))
    return GaussianStats(
        sum_y=first.sum_y + second.sum_y,
        total=total[0],
        total_low=total[1],
        sum_yy=squares[0],
        sum_yy_low=squares[1],
        n_cells=first.n_cells + second.n_cells,
        n_nonzero=first.n_nonzero + second.n_nonzero,
    )
