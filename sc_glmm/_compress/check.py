"""Run-time check of the nodes against the cells they stand for."""

from __future__ import annotations

import math

import numpy as np

from .._arrays import FloatArray, IntArray
from .._errors import InputError
from .._families.cache import cached
from .chebyshev import sort_by_row
from .nodes import NodeTable, check_values
from .tensor import TensorRows

# Places of log(phi) + eta relative to a row's middle offset; the functions change most around 0.
SHIFTS = np.array([-12.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 12.0])


@cached(nogil=True)
def _softplus(t: float) -> float:
    return t + math.log1p(math.exp(-t)) if t > 0 else math.log1p(math.exp(t))


@cached(nogil=True)
def _largest_error(
    order: IntArray,
    order_ptr: IntArray,
    offset: FloatArray,
    x: FloatArray,
    node_ptr: IntArray,
    node_offset: FloatArray,
    node_x: FloatArray,
    node_weight: FloatArray,
    shift: FloatArray,
    slope: FloatArray,
) -> float:
    """Largest relative error of the row sums of log(1 + exp(offset + slope * x + shift)), over rows and shifts."""
    worst = 0.0
    for row in range(order_ptr.shape[0] - 1):
        for s in range(shift.shape[1]):
            cells = 0.0
            for c in range(order_ptr[row], order_ptr[row + 1]):
                i = order[c]
                cells += _softplus(offset[i] + slope[row] * x[i] + shift[row, s])
            nodes = 0.0
            for k in range(node_ptr[row], node_ptr[row + 1]):
                nodes += node_weight[k] * _softplus(node_offset[k] + slope[row] * node_x[k] + shift[row, s])
            if cells > 0.0:
                worst = max(worst, abs(nodes - cells) / cells)
    return worst


def node_error(node_table: NodeTable, row_of: IntArray, offset: FloatArray, shifts: FloatArray | None = None) -> float:
    """Largest relative error of the row sums of log(1 + exp(offset + t)) by nodes against cells.

    Parameters
    ----------
    node_table
        Nodes to check; those of kind "collapsed" are checked for the sum of exp(offset), all that they represent.
    row_of, offset
        Rows and offsets of the cells that the table was made with.
    shifts
        Values of t = log(phi) + eta; by default from 12 below to 12 above the middle offset of each row.
    """
    row_of, offset = check_values(row_of, offset, "offset")
    if node_table.kind == "tensor":
        raise InputError("a tensor table needs the covariate and its slopes; use tensor_error.")
    if node_table.kind == "collapsed":
        used = row_of >= 0
        cells = np.bincount(row_of[used], np.exp(offset[used]), node_table.n_rows)
        nodes = node_table.weight * node_table.ec
        return float(np.max(np.abs(nodes - cells)[cells > 0] / cells[cells > 0], initial=0.0))
    order, order_ptr = sort_by_row(row_of, node_table.n_rows)
    zero = np.zeros(node_table.n_nodes)
    slope = np.zeros(node_table.n_rows)
    shift = _shifts(order, order_ptr, offset, shifts)
    return float(
        _largest_error(
            order,
            order_ptr,
            offset,
            np.zeros(len(offset)),
            node_table.ptr,
            np.log(node_table.ec),
            zero,
            node_table.weight,
            shift,
            slope,
        )
    )


def tensor_error(
    tensor: TensorRows, x: FloatArray, offset: FloatArray, slope: FloatArray | float, shifts: FloatArray | None = None
) -> float:
    """As :func:`node_error` for log(1 + exp(offset + slope * x + t)) on a tensor grid.

    Parameters
    ----------
    tensor
        Grid to check.
    x, offset
        Covariate and offsets of the cells that the grid was made with.
    slope
        Slope of the linear predictor in x, one or one per base row.
    shifts
        As for :func:`node_error`, relative to offset + slope * x.
    """
    table = tensor.table
    n_base = len(tensor.first) - 1
    slopes = np.ascontiguousarray(np.broadcast_to(np.asarray(slope, dtype=np.float64), (n_base,)))
    x, offset = np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(offset, dtype=np.float64)
    row_of = np.full(len(x), -1, dtype=np.int64)
    row_of[table.order] = np.repeat(np.arange(n_base), np.diff(table.order_ptr))
    shift = _shifts(table.order, table.order_ptr, offset + np.append(slopes, 0.0)[row_of] * x, shifts)
    return float(
        _largest_error(
            table.order,
            table.order_ptr,
            offset,
            x,
            table.ptr[tensor.first],
            np.log(table.ec),
            np.repeat(tensor.x, np.diff(table.ptr)),
            table.weight,
            shift,
            slopes,
        )
    )


def _shifts(order: IntArray, order_ptr: IntArray, value: FloatArray, shifts: FloatArray | None) -> FloatArray:
    """``(n_rows, n_shifts)`` shifts of every row."""
    n_cells = np.diff(order_ptr)
    if shifts is not None:
        return np.tile(np.asarray(shifts, dtype=np.float64), (len(n_cells), 1))
    rows = np.repeat(np.arange(len(n_cells)), n_cells)
    middle = np.bincount(rows, value[order], len(n_cells)) / np.maximum(n_cells, 1)
    return np.ascontiguousarray(SHIFTS - middle[:, None])
