"""Run-time check of the nodes against the cells that they represent."""

from __future__ import annotations

import math

import numpy as np

from .._arrays import FloatArray, IntArray
from .._families.cache import cached
from .centred import CentredRows
from .chebyshev import sort_by_row
from .nodes import NodeTable, check_values
from .recentre import CountLists, recentre

# Values of log(phi) + eta relative to the middle offset of a row; the functions change most around 0.
SHIFTS = np.array([-12.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 12.0])


@cached(nogil=True)
def _softplus(t: float) -> float:
    return t + math.log1p(math.exp(-t)) if t > 0 else math.log1p(math.exp(t))


@cached(nogil=True)
def _largest_error(
    order: IntArray,
    order_ptr: IntArray,
    offset: FloatArray,
    node_ptr: IntArray,
    node_offset: FloatArray,
    node_weight: FloatArray,
    shift: FloatArray,
) -> float:
    """Compute the largest relative error of the row sums of log(1 + exp(offset + shift)), over rows and shifts."""
    worst = 0.0
    for row in range(order_ptr.shape[0] - 1):
        for s in range(shift.shape[1]):
            cells = 0.0
            for c in range(order_ptr[row], order_ptr[row + 1]):
                i = order[c]
                cells += _softplus(offset[i] + shift[row, s])
            nodes = 0.0
            for k in range(node_ptr[row], node_ptr[row + 1]):
                nodes += node_weight[k] * _softplus(node_offset[k] + shift[row, s])
            if cells > 0.0:
                worst = max(worst, abs(nodes - cells) / cells)
    return worst


def node_error(node_table: NodeTable, row_of: IntArray, offset: FloatArray, shifts: FloatArray | None = None) -> float:
    """Compute the largest relative error of the row sums of log(1 + exp(offset + t)), nodes compared with cells.

    Parameters
    ----------
    node_table
        Nodes to check. Those of kind "collapsed" represent only the sum of exp(offset), so this sum is checked.
    row_of, offset
        Rows and offsets of the cells for which the table was created.
    shifts
        Values of t = log(phi) + eta; by default from 12 below to 12 above the middle offset of each row.
    """
    row_of, offset = check_values(row_of, offset, "offset")
    if node_table.kind == "collapsed":
        used = row_of >= 0
        cells = np.bincount(row_of[used], np.exp(offset[used]), node_table.n_rows)
        nodes = node_table.weight * node_table.ec
        return float(np.max(np.abs(nodes - cells)[cells > 0] / cells[cells > 0], initial=0.0))
    order, order_ptr = sort_by_row(row_of, node_table.n_rows)
    shift = _shifts(order, order_ptr, offset, shifts)
    at = np.log(node_table.ec)
    return float(_largest_error(order, order_ptr, offset, node_table.ptr, at, node_table.weight, shift))


def centred_error(rows: CentredRows) -> float:
    """Compute the error as :func:`node_error` for rows of cells with different covariates, at zero and other slopes.

    The other slopes move the predictor of a row by 0.5 (natural log) per standard deviation of each covariate.
    """
    cells = rows.cells
    if rows.table.kind == "collapsed":
        return 0.0
    n_base = len(cells.ptr) - 1
    order = np.arange(len(cells.offset), dtype=np.int64)
    no_counts = CountLists.reserve(np.zeros(1, np.int64))
    row_of_node = np.repeat(np.arange(len(rows.base_row)), np.diff(cells.node_ptr))
    worst = 0.0
    for size in (0.0, 0.5):
        slope = np.full((1, n_base, cells.v.shape[1]), size)
        ec, weight, A = (np.zeros((1, rows.table.n_nodes)) for _ in range(3))
        recentre(cells, slope, no_counts, ec, weight, A, np.zeros((1, n_base)))
        t = cells.offset + size * cells.v.sum(axis=1)
        at = np.log(ec[0]) + size * cells.point.sum(axis=1)[row_of_node]
        shift = _shifts(order, cells.ptr, t, None)
        first = np.ascontiguousarray(cells.node_ptr[cells.first])
        worst = max(worst, float(_largest_error(order, cells.ptr, t, first, at, weight[0], shift)))
    return worst


def _shifts(order: IntArray, order_ptr: IntArray, value: FloatArray, shifts: FloatArray | None) -> FloatArray:
    """Return the ``(n_rows, n_shifts)`` shifts of every row."""
    n_cells = np.diff(order_ptr)
    if shifts is not None:
        return np.tile(np.asarray(shifts, dtype=np.float64), (len(n_cells), 1))
    rows = np.repeat(np.arange(len(n_cells)), n_cells)
    middle = np.bincount(rows, value[order], len(n_cells)) / np.maximum(n_cells, 1)
    return np.ascontiguousarray(SHIFTS - middle[:, None])
