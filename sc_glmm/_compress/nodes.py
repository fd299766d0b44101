"""Node table: a few weighted offsets that replace the cells of a design row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .._arrays import FloatArray, IntArray
from .._errors import InputError
from . import chebyshev

# exp() overflows at 709.
OFFSET_MAX = 500.0

NodeKind = Literal["collapsed", "chebyshev", "cells", "centred"]


@dataclass(frozen=True)
class NodeTable:
    """Rows and their nodes: the only data about the cells' offsets that the engine's kernels use.

    For any smooth f of the offset, the sum of f over the cells of row d is the sum over its nodes k of
    ``weight[k] * f(log(ec[k]))``. With counts y_i as factors of the cells, ``A[g, k]`` replaces ``weight[k]``.

    Attributes
    ----------
    ptr
        ``(n_rows + 1,)`` first node of each row.
    ec
        ``(n_nodes,)`` exp(node offset).
    weight
        ``(n_nodes,)`` weight of each node; the weights of a row sum to its number of cells ("collapsed": to its sum of
        exp(offset)). They can be negative.
    cell_first
        ``(n_obs,)`` first node to which each cell writes.
    cell_ptr
        ``(n_obs + 1,)`` start of the weights of each cell in `cell_weight`; a cell without a row has no weights.
    cell_weight
        Weights that spread the count of a cell over the consecutive nodes from `cell_first` on.
    order
        ``(n_used,)`` cells sorted by row; cells without a row are left out.
    order_ptr
        ``(n_rows + 1,)`` start of the cells of each row in `order`; for kind "centred", of each base row.
    kind
        "collapsed": one node per row, exact for Poisson only. "cells": every node is one cell or several cells with the
        same offset, exact. "chebyshev": some rows interpolate. "centred": some rows also interpolate in covariates of
        cells.
    n_nodes_max
        Largest number of nodes of a row.
    range_max
        Largest offset range of an interpolated panel; 0 if there is none.
    bound
        Theoretical error of an interpolated function, relative to its largest value on the panel, from the theory that
        chose the number of nodes (0 without interpolation). :func:`node_error` measures the error.
    cell_stride
        ``(n_obs,)`` distance between the nodes of neighbouring covariate nodes; 0 without a covariate.
    cell_x_ptr, cell_x_weight
        Like `cell_ptr` and `cell_weight`, for the covariate nodes: a cell adds
        ``y * cell_x_weight[q] * cell_weight[k]`` to node ``cell_first + q * cell_stride + k``. Without a covariate,
        each cell has one weight of 1.
    """

    ptr: IntArray
    ec: FloatArray
    weight: FloatArray
    cell_first: IntArray
    cell_ptr: IntArray
    cell_weight: FloatArray
    order: IntArray
    order_ptr: IntArray
    kind: NodeKind
    n_nodes_max: int
    range_max: float
    bound: float
    cell_stride: IntArray
    cell_x_ptr: IntArray
    cell_x_weight: FloatArray

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return len(self.ptr) - 1

    @property
    def n_nodes(self) -> int:
        """Return the number of nodes of all rows."""
        return len(self.ec)

    @property
    def n_obs(self) -> int:
        """Return the number of cells, including cells without a row."""
        return len(self.cell_first)


@dataclass(frozen=True)
class Panels:
    """Cells spread over Chebyshev nodes of one axis, row by row.

    Attributes
    ----------
    row_start
        ``(n_rows + 1,)`` first node of each row.
    node
        Position of each node on the axis.
    cell_first, cell_ptr, cell_weight
        As in :class:`NodeTable`.
    range_max, bound
        As in :class:`NodeTable`.
    """

    row_start: IntArray
    node: FloatArray
    cell_first: IntArray
    cell_ptr: IntArray
    cell_weight: FloatArray
    range_max: float
    bound: float


def panel_bound(width: float, n_nodes: int) -> float:
    """Compute the theoretical error, relative to the largest value on the panel, of `n_nodes` points on `width`.

    Three of the points are reserved for the derivatives, as in the rule that chooses their number.
    """
    return float(chebyshev.convergence_rate(width)) ** (3 - n_nodes)


def spread(order: IntArray, order_ptr: IntArray, value: FloatArray, tol: float, n_min: int = 1) -> Panels:
    """Choose nodes on the axis of `value` for every row and spread the cells over them."""
    plan = chebyshev.plan_panels(order, order_ptr, value, tol, n_min)
    panel_start, node_start, low, high, exact, _ = plan
    node, cell_first, cell_ptr, cell_weight = chebyshev.spread_cells(order, order_ptr, value, *plan)
    free = np.flatnonzero(exact == 0)
    n_nodes = np.diff(node_start)[free]
    widths = (high - low)[free]
    bounds = [panel_bound(width, n) for width, n in zip(widths, n_nodes, strict=True)]
    return Panels(
        row_start=node_start[panel_start],
        node=node,
        cell_first=cell_first,
        cell_ptr=cell_ptr,
        cell_weight=cell_weight,
        range_max=float(widths.max(initial=0.0)),
        bound=max(bounds, default=0.0),
    )


def check_values(row_of: IntArray, values: FloatArray, what: str) -> tuple[IntArray, FloatArray]:
    """Convert rows and values of the cells to the types of the kernels; raise an error for non-finite values."""
    row_of = np.ascontiguousarray(row_of, dtype=np.int64)
    values = np.ascontiguousarray(values, dtype=np.float64)
    if row_of.shape != values.shape or row_of.ndim != 1:
        raise InputError(f"{what} has shape {values.shape}, the cells have {row_of.shape}; give one value per cell.")
    bad = np.flatnonzero(~np.isfinite(values) & (row_of >= 0))
    if len(bad):
        raise InputError(
            f"{what} is {values[bad[0]]} in cell {bad[0]} and not finite in {len(bad)} cells; only finite values can "
            "be used. Remove these cells or correct the size factors."
        )
    return row_of, values


def check_offset(row_of: IntArray, offset: FloatArray) -> tuple[IntArray, FloatArray]:
    """Check log offsets as :func:`check_values`; their exponentials must also be finite."""
    row_of, offset = check_values(row_of, offset, "offset")
    bad = np.flatnonzero((np.abs(offset) > OFFSET_MAX) & (row_of >= 0))
    if len(bad):
        raise InputError(
            f"offset is {offset[bad[0]]:.6g} in cell {bad[0]}; it is a logarithm and must lie between "
            f"-{OFFSET_MAX:g} and {OFFSET_MAX:g}. Take the log of linear size factors."
        )
    return row_of, offset


def poisson_nodes(row_of: IntArray, n_rows: int, offset: FloatArray) -> NodeTable:
    """Create one node per row with the sum of exp(offset), which is exact and sufficient for a Poisson likelihood.

    Parameters
    ----------
    row_of
        ``(n_obs,)`` row of each cell, -1 for cells that are not used.
    n_rows
        Number of rows.
    offset
        ``(n_obs,)`` log size factors.
    """
    row_of, offset = check_offset(row_of, offset)
    order, order_ptr = chebyshev.sort_by_row(row_of, n_rows)
    stride, x_ptr, x_weight = no_covariate(len(row_of))
    used = row_of >= 0
    cell_ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(used, dtype=np.int64)])
    return NodeTable(
        ptr=np.arange(n_rows + 1, dtype=np.int64),
        ec=np.ones(n_rows),
        weight=np.bincount(row_of[used], weights=np.exp(offset[used]), minlength=n_rows).astype(np.float64, copy=False),
        cell_first=np.where(used, row_of, 0),
        cell_ptr=cell_ptr,
        cell_weight=np.ones(cell_ptr[-1]),
        order=order,
        order_ptr=order_ptr,
        kind="collapsed",
        n_nodes_max=1,
        range_max=0.0,
        bound=0.0,
        cell_stride=stride,
        cell_x_ptr=x_ptr,
        cell_x_weight=x_weight,
    )


def chebyshev_nodes(
    row_of: IntArray, n_rows: int, offset: FloatArray, tol: float = 1e-10, *, n_min: int = 1
) -> NodeTable:
    """Place Chebyshev nodes on the range of each row's offsets, for any likelihood that is smooth in the offset.

    A row has ``K = ceil(log(1 / tol) / log(rho)) + 3`` nodes with ``rho = h + sqrt(h**2 + 1)`` and
    ``h = pi / (range / 2)``. A row wider than 7 is divided into equal panels no wider than 4. If a panel has at most K
    distinct offsets, these are its nodes, without approximation.

    Parameters
    ----------
    row_of
        ``(n_obs,)`` row of each cell, -1 for cells that are not used.
    n_rows
        Number of rows.
    offset
        ``(n_obs,)`` log size factors.
    tol
        Error of log1p(phi * mu) relative to its largest value on the panel; derivatives lose up to three digits.
    n_min
        Smallest number of nodes of an interpolated panel (to double the nodes in a test).
    """
    row_of, offset = check_offset(row_of, offset)
    order, order_ptr = chebyshev.sort_by_row(row_of, n_rows)
    panels = spread(order, order_ptr, offset, check_tol(tol), n_min)
    stride, x_ptr, x_weight = no_covariate(len(row_of))
    writes = (panels.cell_first, panels.cell_ptr, panels.cell_weight, stride, x_ptr, x_weight)
    return NodeTable(
        ptr=panels.row_start,
        ec=np.exp(panels.node),
        weight=chebyshev.node_weights(order, len(panels.node), *writes),
        cell_first=panels.cell_first,
        cell_ptr=panels.cell_ptr,
        cell_weight=panels.cell_weight,
        order=order,
        order_ptr=order_ptr,
        kind="chebyshev" if panels.bound > 0 else "cells",
        n_nodes_max=int(np.diff(panels.row_start).max(initial=0)),
        range_max=panels.range_max,
        bound=panels.bound,
        cell_stride=stride,
        cell_x_ptr=x_ptr,
        cell_x_weight=x_weight,
    )


def restrict_table(table: NodeTable, cells: IntArray) -> tuple[NodeTable, IntArray]:
    """Return the table of some cells with the nodes that they use, and the positions of these nodes in `table`.

    Statistics on this table are those of the chosen cells at these nodes; the node weights remain those of all cells.

    Parameters
    ----------
    table
        Nodes of all cells.
    cells
        Ascending numbers of the chosen cells; cell i of the result is ``cells[i]``.
    """
    width, n_x = np.diff(table.cell_ptr)[cells], np.diff(table.cell_x_ptr)[cells]
    used = (width > 0) & (n_x > 0)
    first = table.cell_first[cells]
    last = (first + (n_x - 1) * table.cell_stride[cells] + width).astype(np.int64)
    marks = np.zeros(table.n_nodes + 1, dtype=np.int64)
    np.add.at(marks, first[used], 1)
    np.add.at(marks, last[used], -1)
    nodes = np.flatnonzero(np.cumsum(marks)[:-1] > 0)
    place = np.searchsorted(nodes, np.arange(table.n_nodes + 1))

    rank = np.full(table.n_obs, -1, dtype=np.int64)
    rank[cells] = np.arange(len(cells))
    chosen = rank[table.order] >= 0
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])

    def pieces(ptr: IntArray, weight: FloatArray) -> tuple[IntArray, FloatArray]:
        sizes = np.diff(ptr)[cells]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return starts, weight[np.repeat(ptr[:-1][cells] - starts[:-1], sizes) + np.arange(starts[-1])]

    cell_ptr, cell_weight = pieces(table.cell_ptr, table.cell_weight)
    cell_x_ptr, cell_x_weight = pieces(table.cell_x_ptr, table.cell_x_weight)
    part = replace(
        table,
        ptr=place[table.ptr],
        ec=table.ec[nodes],
        weight=table.weight[nodes],
        cell_first=np.where(used, place[np.where(used, first, 0)], 0),
        cell_ptr=cell_ptr,
        cell_weight=cell_weight,
        order=rank[table.order[chosen]],
        order_ptr=kept[table.order_ptr],
        cell_stride=table.cell_stride[cells],
        cell_x_ptr=cell_x_ptr,
        cell_x_weight=cell_x_weight,
    )
    return part, nodes


def no_covariate(n_obs: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Return `cell_stride`, `cell_x_ptr` and `cell_x_weight` of cells without a covariate."""
    return np.zeros(n_obs, dtype=np.int64), np.arange(n_obs + 1, dtype=np.int64), np.ones(n_obs)


def check_tol(tol: float) -> float:
    """Raise an error for a tolerance for which the rule for the number of nodes is not valid."""
    if not (math.isfinite(tol) and 1e-15 <= tol <= 1e-2):
        raise InputError(f"tol is {tol}; it must lie between 1e-15 and 1e-2. The default is 1e-10.")
    return float(tol)
