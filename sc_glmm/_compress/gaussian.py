"""From a matrix of values to the cross-products that a Gaussian model needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from .._errors import InputError
from .._parallel.blocks import workers
from . import moments
from .arrays import FloatArray, IntArray
from .chebyshev import sort_by_row
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
    RowPiece,
    cells_in,
    chunks_with_progress,
    column_ranges,
    genes_in,
)
from .rows import DesignRows, StackedRows
from .source import Chunk, Source, as_source


@dataclass(frozen=True)
class GaussianStats:
    """Per gene the sums that give X'y, Z'y and y'y: with M the rows of X or Z, M'y is ``sum_y @ M``.

    Attributes
    ----------
    sum_y
        Sum of the values (less their offsets) in each design row, shape (n_genes, n_rows).
    sum_yy
        Sum of their squares, shape (n_genes,); with groups (n_groups, n_genes).
    n_cells
        Cells in each design row, shape (n_rows,).
    n_nonzero
        Cells whose value is not zero, shape (n_genes,); with groups (n_groups, n_genes).
    """

    sum_y: FloatArray
    sum_yy: FloatArray
    n_cells: IntArray
    n_nonzero: IntArray


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
        Values, cells x genes; forms as for :func:`compress_counts`.
    rows
        Design rows of the cells; those of several groups (:func:`stack_rows`) give `sum_yy` a group axis.
    offset
        Subtracted from the values of a cell, shape (n_obs,).
    obs_index, genes, n_groups, n_jobs, progress
        As for :func:`compress_counts`.
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

    sum_y = np.zeros((len(columns), n_rows))
    sums = np.zeros((n_all, 3, len(columns)))
    cell_of = cells_of_rows(order, matrix_row, source.shape[0])
    gene_map = map_genes(columns, source.shape[1])
    places, ranges = CellPlaces(cell_of, rank_of_cells(order, len(row_of))), column_ranges(columns)

    def add_rows(chunk: Chunk, piece: RowPiece, block: int) -> None:
        moments.add_moments_by_rows(
            chunk.stored, piece.rows, piece.cells, *ranges[block], gene_map, groups, row_of, shift, sum_y, sums
        )

    def add_genes(chunk: Chunk, piece: GenePiece, block: int) -> None:
        moments.add_moments_by_columns(
            chunk.stored, piece.columns[block], piece.genes[block], cell_of, groups, row_of, shift, sum_y, sums
        )

    by_genes = source.form == "csc"
    spans = source.spans(gene_map >= 0 if by_genes else cell_of >= 0)
    with workers(n_jobs) as run:
        for chunk in chunks_with_progress(source, spans, n_jobs, "adding up", progress):
            if by_genes:
                genes_here = genes_in(chunk, gene_map)
                run(partial(add_genes, chunk, genes_here), len(genes_here.columns))
            else:
                run(partial(add_rows, chunk, cells_in(places, chunk.first, chunk.last)), len(ranges))

    sum_yy, sum_yo, n_nonzero = sums[:, 0], sums[:, 1], sums[:, 2].astype(np.int64)
    bad = np.flatnonzero(~np.isfinite(sum_yy).all(axis=0))
    if len(bad):
        raise InputError(
            f"the matrix holds values that are not finite in {len(bad)} of {len(columns)} genes, the first in column "
            f"{columns[bad[0]]}; only finite values can be used. Remove or replace them."
        )
    present = order[matrix_row[order] >= 0]
    if offset is not None:
        sum_y -= np.bincount(row_of[present], shift[present], n_rows)
        squares = np.bincount(groups[present], shift[present] ** 2, n_all)
        sum_yy += squares[:, None] - 2.0 * sum_yo
    return GaussianStats(
        sum_y=sum_y,
        sum_yy=sum_yy if group_of is not None else sum_yy[0],
        n_cells=np.bincount(row_of[present], minlength=n_rows).astype(np.int64),
        n_nonzero=n_nonzero if group_of is not None else n_nonzero[0],
    )


def add_sums(first: GaussianStats, second: GaussianStats) -> GaussianStats:
    """Statistics of all cells from those of two disjoint sets of cells, made with the same rows and genes."""
    if first.sum_y.shape != second.sum_y.shape or first.sum_yy.shape != second.sum_yy.shape:
        raise InputError(
            f"the statistics have shapes {first.sum_y.shape}, {first.sum_yy.shape} and {second.sum_y.shape}, "
            f"{second.sum_yy.shape}; only those of the same rows, genes and groups can be added."
        )
    return GaussianStats(
        sum_y=first.sum_y + second.sum_y,
        sum_yy=first.sum_yy + second.sum_yy,
        n_cells=first.n_cells + second.n_cells,
        n_nonzero=first.n_nonzero + second.n_nonzero,
    )
