"""Rows in which one numeric covariate varies from cell to cell: a grid of covariate nodes, each with offset nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._errors import InputError
from . import chebyshev
from .nodes import NodeTable, Panels, check_offset, check_tol, check_values, spread


@dataclass(frozen=True)
class TensorRows:
    """Virtual rows that stand for the cells of base rows, each at one value of the covariate.

    Attributes
    ----------
    table
        Node table of the virtual rows; its `order_ptr` counts base rows.
    base_row
        ``(n_virtual,)`` base row of each virtual row, ascending.
    x
        ``(n_virtual,)`` value of the covariate at which X and Z of each virtual row are to be evaluated.
    example
        A cell of the base row of each virtual row, from which everything but the covariate can be taken.
    first
        ``(n_base + 1,)`` first virtual row of each base row.
    x_range
        ``(n_base,)`` range of the covariate in each base row that interpolates in it, 0 in the others.
    slope_bound
        The error bound of the table holds while the linear predictor changes by no more than this per unit of the
        covariate, in every base row; compare it with the fitted slopes. inf if nothing is interpolated in x.
    """

    table: NodeTable
    base_row: IntArray
    x: FloatArray
    example: IntArray
    first: IntArray
    x_range: FloatArray
    slope_bound: float


def tensor_nodes(
    row_of: IntArray,
    n_rows: int,
    x: FloatArray,
    offset: FloatArray,
    *,
    variation: float = 6.0,
    tol: float = 1e-10,
    x_tol: float = 1e-8,
) -> TensorRows:
    """Chebyshev nodes in a covariate and in the offset for rows whose linear predictor is linear in the covariate.

    With slope b the likelihood of a row depends on offset + b x, so that interpolation in x on a range of width R is
    as hard as interpolation in the offset on a range of |b| R; the same rule chooses the number of nodes. Rows with no
    more cells than their grid would have nodes keep their cells, each as a virtual row with one node.

    Parameters
    ----------
    row_of
        Base row of each cell, by everything in the design but the covariate; -1 for cells that are not used.
    n_rows
        Number of base rows.
    x
        ``(n_obs,)`` covariate.
    offset
        ``(n_obs,)`` log size factors.
    variation
        Largest change of the linear predictor over the widest range of x in a base row that is to be represented with
        error `x_tol`.
    tol, x_tol
        Relative error allowed to interpolation in the offset and in the covariate.
    """
    if not (math.isfinite(variation) and variation > 0):
        raise InputError(f"variation is {variation}; it must be a positive number, such as the default 6.")
    row_of, offset = check_offset(row_of, offset)
    row_of, x = check_values(row_of, x, "the covariate")
    order, order_ptr = chebyshev.sort_by_row(row_of, n_rows)
    x_range = _ranges(order, order_ptr, x)
    widest = x_range.max(initial=0.0)
    scale = variation / widest if widest > 0 else 1.0
    by_offset = spread(order, order_ptr, offset, check_tol(tol))
    by_x = spread(order, order_ptr, x * scale, check_tol(x_tol))

    n_cells, n_o, n_x = np.diff(order_ptr), np.diff(by_offset.row_start), np.diff(by_x.row_start)
    grid = n_o * n_x < n_cells
    n_virtual = np.where(grid, n_x, n_cells)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(n_virtual)])
    base_row = np.repeat(np.arange(n_rows), n_virtual)
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(grid, n_o, 1)[base_row])])

    in_grid = grid[row_of] & (row_of >= 0)
    alone = order[~in_grid[order]]
    place = np.arange(len(order)) - np.repeat(order_ptr[:-1], n_cells)
    row_alone = first[row_of[alone]] + place[~in_grid[order]]
    x_virtual, node_offset = np.empty(first[-1]), np.empty(ptr[-1])
    x_virtual[row_alone] = x[alone]
    node_offset[ptr[row_alone]] = offset[alone]
    for row in np.flatnonzero(grid).tolist():
        x_virtual[first[row] : first[row + 1]] = _nodes_of(by_x, row) / scale
        node_offset[ptr[first[row]] : ptr[first[row + 1]]] = np.tile(_nodes_of(by_offset, row), n_x[row])

    used = row_of >= 0
    base = np.where(in_grid, row_of, 0)
    cell_first = ptr[first[base]] + by_offset.cell_first - by_offset.row_start[base]
    cell_first += (by_x.cell_first - by_x.row_start[base]) * n_o[base]
    cell_first[~in_grid] = 0
    cell_first[alone] = ptr[row_alone]
    cell_ptr, cell_weight = _keep(by_offset, in_grid, used)
    cell_x_ptr, cell_x_weight = _keep(by_x, in_grid, used)
    stride = np.where(in_grid, n_o[base], 0)
    writes = (cell_first, cell_ptr, cell_weight, stride, cell_x_ptr, cell_x_weight)
    table = NodeTable(
        ptr=ptr,
        ec=np.exp(node_offset),
        weight=chebyshev.node_weights(order, len(node_offset), *writes),
        cell_first=cell_first,
        cell_ptr=cell_ptr,
        cell_weight=cell_weight,
        order=order,
        order_ptr=order_ptr,
        kind="tensor" if grid.any() else "cells",
        n_nodes_max=int(np.diff(ptr).max(initial=0)),
        range_max=by_offset.range_max if grid.any() else 0.0,
        bound=by_offset.bound + by_x.bound if grid.any() else 0.0,
        cell_stride=stride,
        cell_x_ptr=cell_x_ptr,
        cell_x_weight=cell_x_weight,
    )
    example = order[order_ptr[base_row]]
    interpolated = grid & (n_x > 1)
    return TensorRows(
        table=table,
        base_row=base_row,
        x=x_virtual,
        example=example,
        first=first,
        x_range=np.where(interpolated, x_range, 0.0),
        slope_bound=scale if interpolated.any() else math.inf,
    )


def _ranges(order: IntArray, order_ptr: IntArray, x: FloatArray) -> FloatArray:
    """Range of x in each row, 0 in rows without cells."""
    filled = np.flatnonzero(np.diff(order_ptr))
    ranges = np.zeros(len(order_ptr) - 1)
    if len(filled):
        starts = order_ptr[filled]
        ranges[filled] = np.maximum.reduceat(x[order], starts) - np.minimum.reduceat(x[order], starts)
    return ranges


def _nodes_of(panels: Panels, row: int) -> FloatArray:
    return panels.node[panels.row_start[row] : panels.row_start[row + 1]]


def _keep(panels: Panels, in_grid: BoolArray, used: BoolArray) -> tuple[IntArray, FloatArray]:
    """Weights of the cells in a grid; the other used cells get one weight of 1."""
    old_width = np.diff(panels.cell_ptr)
    width = np.where(in_grid, old_width, used.astype(np.int64))
    cell_ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(width)])
    cell_weight = np.ones(cell_ptr[-1])
    cell_weight[np.repeat(in_grid, width)] = panels.cell_weight[np.repeat(in_grid, old_width)]
    return cell_ptr, cell_weight
