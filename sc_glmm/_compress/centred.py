"""Design rows with covariates that vary from cell to cell: points of a lattice represent the cells of a base row.

The columns of X and Z that vary within a base row are linear in a few variables v, which have mean zero and variance
one in this row. A function of the predictor is interpolated in v by a polynomial on the points of a lattice, and in the
offset by Chebyshev points. The first nodes are around slopes of zero; one pass over the matrix computes them for all
genes. Further nodes are around the slopes of each gene (:mod:`.recentre`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from . import chebyshev
from .lattice import lattice, n_points
from .nodes import NodeTable, check_offset
from .recentre import CellsByRow

# Cost of a row, and of each further node in it; the unit is the cost of a cell with a row of its own.
_ROW, _NODE = 1.0, 0.03
# Room for the slopes: nodes are laid out for the range of the offsets plus this range of the predictor.
_ROOM = 2.0
# Error of interpolation in the predictor, relative to the largest value.
_TOL = 1e-7
# Deviations below this fraction of a column's scale are rounding errors.
_ROUNDING = 1e-9
# Splits into more classes than this fraction of the cells are not considered.
_MOST_CLASSES = 0.25
# Number of rows, and of cells in each, that are used to estimate the number of variables.
_PROBES, _PROBED_CELLS = 6, 100
# With more variables than this, every lattice has more points than a sample has cells.
_MAX_VARIABLES = 12
# Degree of the lattices. Fits need derivatives up to the third. A hypothesis that changes slopes moves away from the
# slopes at which the nodes are exact and needs a higher degree, by number of variables (1, 2, 3, and 4 or more).
_DEGREE = 3
# Factors of the number of nodes in a row, for genes whose predictor has a wide range.
NODE_SCALES = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 6.0)
_WIDE_DEGREES = (8, 6, 5, 4)


@dataclass(frozen=True)
class CentredRows:
    """Rows that represent cells.

    Attributes
    ----------
    table
        Nodes around slopes of zero; its `order_ptr` refers to base rows.
    cells
        Data from which nodes around other slopes are computed.
    slopes
        ``(n_rows, n_variables)`` factors: values at the rows of a base row, times these and summed, give its slopes.
    columns
        ``(n_rows, n_columns)`` values of the columns at each row.
    base_row
        ``(n_rows,)`` base row of each row.
    example
        ``(n_rows,)`` one cell of the base row of each row.
    n_cells
        ``(n_rows,)`` number of cells of each row. The cells of a base row are divided among its rows so that sums of
        squares and products of the columns over rows equal those over cells.
    power
        ``(n_base,)`` lowest power of a change of slopes that the nodes do not represent; 0 if the rows are cells.
    reach
        ``(n_base, n_variables)`` largest absolute value of each variable; 0 if the rows are cells.
    """

    table: NodeTable
    cells: CellsByRow
    slopes: FloatArray
    columns: FloatArray
    base_row: IntArray
    example: IntArray
    n_cells: FloatArray
    power: IntArray
    reach: FloatArray

    def error_of(self, change: FloatArray, counts: FloatArray, order: int = 0) -> FloatArray:
        """Bound the ``(n_genes,)`` errors of log likelihoods if slopes differ from those of the nodes.

        Parameters
        ----------
        change
            ``(n_genes, n_base, n_variables)`` differences of the slopes.
        counts
            ``(n_genes, n_base)`` sums of counts in the base rows.
        order
            0 for the log likelihoods, 1 for their derivatives in the predictor.
        """
        return np.asarray(np.sum((counts + 1.0) * self._first_missing(change, order), axis=1))

    def curvature_error_of(self, change: FloatArray) -> FloatArray:
        """Bound the ``(n_genes,)`` relative errors of the information, if slopes differ as in :meth:`error_of`."""
        return np.asarray(self._first_missing(change, 2).max(axis=1, initial=0.0))

    def _first_missing(self, change: FloatArray, order: int) -> FloatArray:
        """Compute the first term in the change of slopes that nodes do not represent, at the farthest cell.

        It is that of the series of the log likelihood per count, derived `order` times: ``(n_genes, n_base)``.
        """
        power = np.maximum(self.power - order, 1)
        largest = np.sum(np.abs(change) * self.reach, axis=2)
        factorials = np.array([math.factorial(n) for n in power.tolist()], dtype=np.float64)
        return np.asarray(largest**power / factorials)

    def node_scales(self, widths: FloatArray, counts: FloatArray, tol: float) -> FloatArray:
        """Find how many times as many nodes genes need for an error below `tol`: ``(n_genes,)`` of NODE_SCALES.

        A larger factor is not chosen if cells with rows of their own would cost less; the error is then too large.

        Parameters
        ----------
        widths
            ``(n_genes, n_base)`` ranges of the predictors without their levels.
        counts
            ``(n_genes, n_base)`` sums of counts in the base rows.
        tol
            Largest error of a log likelihood.
        """
        scale = np.ones(len(widths))
        left = np.flatnonzero(interpolation_error(self.cells, widths, counts) > tol)
        for factor in NODE_SCALES[1:]:
            cells = self.with_more_nodes(factor)
            if len(left) == 0 or len(self.base_row) * _ROW + cells.node_ptr[-1] * _NODE > len(cells.offset):
                break
            scale[left] = factor
            left = left[interpolation_error(cells, widths[left], counts[left]) > tol]
        return scale

    def with_more_nodes(self, factor: float) -> CellsByRow:
        """Return the cells with `factor` times as many nodes in each row of a lattice."""
        sizes = np.diff(self.cells.node_ptr)
        more = np.where(self.cells.on_lattice[self.base_row] == 1, np.ceil(factor * sizes), sizes)
        return self.cells._replace(node_ptr=_starts(more.astype(np.int64)))

    def slopes_of(self, eta: FloatArray) -> FloatArray:
        """Compute the ``(n_genes, n_base, n_variables)`` slopes of predictors ``(n_genes, n_rows)``."""
        per_row = eta[:, :, None] * self.slopes
        return np.add.reduceat(per_row, self.cells.first[:-1], axis=1) if len(self.base_row) else per_row

    def at_cells(self, values: FloatArray) -> FloatArray:
        """Compute ``(n_cells, n_columns)`` values at the cells, in the order of the rows, of functions linear in v."""
        cells = self.cells
        out = np.empty((len(cells.offset), values.shape[1]))
        for base in range(len(cells.ptr) - 1):
            rows, mine = slice(*cells.first[base : base + 2]), slice(*cells.ptr[base : base + 2])
            if cells.on_lattice[base]:
                basis = cells.basis[slice(*cells.basis_ptr[base : base + 2])]
                out[mine] = basis.reshape(-1, mine.stop - mine.start).T @ values[rows]
            else:
                out[mine] = values[rows]
        return out

    def without_weights(self) -> CentredRows:
        """Return the rows without the weights of the cells in the table, which only a pass over the matrix needs.

        A table without them has no cells, so a pass with it raises an error.
        """
        names = [field.name for field in fields(NodeTable) if field.name.startswith("cell_")]
        return replace(
            self, table=replace(self.table, **{name: getattr(self.table, name)[:0].copy() for name in names})
        )

    def shifted(self, log_factor: FloatArray) -> CentredRows:
        """Return the rows with ``log_factor (n_base,)`` added to the offsets of their cells."""
        offset = self.cells.offset + np.repeat(log_factor, np.diff(self.cells.ptr))
        per_node = np.repeat(np.exp(log_factor)[self.base_row], np.diff(self.table.ptr))
        changed = "weight" if self.table.kind == "collapsed" else "ec"
        table = replace(self.table, **{changed: getattr(self.table, changed) * per_node})
        return replace(self, table=table, cells=self.cells._replace(offset=offset))


def interpolation_error(cells: CellsByRow, widths: FloatArray, counts: FloatArray) -> FloatArray:
    """Compute theoretical errors of log likelihoods by interpolation in the predictor, ``(n_genes,)``.

    Parameters
    ----------
    cells
        The number of nodes of each row.
    widths
        ``(n_genes, n_base)`` ranges of the predictors without their levels; 0 for rows that are cells.
    counts
        ``(n_genes, n_base)`` sums of counts in the base rows.
    """
    n_nodes = np.diff(cells.node_ptr)[cells.first[:-1]]
    h = 2.0 * np.pi / np.where(widths > 0.0, widths, 1.0)
    relative = np.where(widths > 0.0, (h + np.sqrt(h * h + 1.0)) ** (-n_nodes.astype(np.float64)), 0.0)
    return np.asarray(np.sum(relative * (counts + 1.0), axis=1))


@dataclass(frozen=True)
class _Piece:
    """One base row: its lattice (`degree` 0: no lattice, the rows are cells), variables and columns."""

    degree: int
    v: FloatArray
    columns: FloatArray
    basis: FloatArray
    point: FloatArray
    slopes: FloatArray
    share: FloatArray


def base_rows(codes: Sequence[IntArray], columns: FloatArray) -> IntArray:
    """Find the ``(n_obs,)`` base row of each cell.

    Base rows are the combinations of the levels of all factors. They are split further by columns with few distinct
    values as long as this reduces the cost.
    """
    ids = np.zeros(len(columns), dtype=np.int64)
    for code in codes:
        ids = _split(ids, code)
    best, least = ids, _cost(ids, columns)
    varying = [j for j in range(columns.shape[1]) if _varies(ids, columns[:, j])]
    while varying:
        # splitting by a factor reduces the cost only after all its columns are used, so interim costs are ignored
        ids = min((_split(ids, columns[:, j]) for j in varying), key=lambda split: int(split.max(initial=0)))
        if int(ids.max(initial=0)) + 1 > _MOST_CLASSES * len(ids):
            break
        varying = [j for j in varying if _varies(ids, columns[:, j])]
        cost = _cost(ids, columns)
        if cost < least:
            best, least = ids, cost
    return best


def _split(ids: IntArray, values: np.ndarray) -> IntArray:
    """Return the classes of equal id and value, in their order."""
    _, value_ids = np.unique(values, return_inverse=True)
    _, finer = np.unique(ids * (int(value_ids.max(initial=0)) + 1) + value_ids.reshape(-1), return_inverse=True)
    return finer.reshape(-1).astype(np.int64, copy=False)


def _varies(ids: IntArray, values: FloatArray) -> bool:
    """Check whether a class has more than one value."""
    example = np.zeros(int(ids.max(initial=-1)) + 1)
    example[ids] = values
    return not np.array_equal(example[ids], values)


def _cost(ids: IntArray, columns: FloatArray) -> float:
    """Estimate the cost of a pass over the rows, if all have as many variables as the largest rows."""
    cells = np.bincount(ids)
    rank = 0
    for row in np.argsort(-cells, kind="stable")[:_PROBES]:
        mine = columns[np.flatnonzero(ids == row)[:_PROBED_CELLS]]
        spread = mine - mine.mean(axis=0)
        rank = max(rank, _orthonormal(spread / np.maximum(np.abs(mine).max(axis=0), 1e-300)).shape[1])
    return float(np.minimum(cells, _lattice_cost(rank, _DEGREE, 20)).sum())


def _lattice_cost(n_variables: int, degree: int, n_nodes: int) -> float:
    if n_variables > _MAX_VARIABLES:
        return math.inf
    return n_points(n_variables, degree) * (_ROW + _NODE * n_nodes)


def centred_rows(
    base_of: IntArray, columns: FloatArray, offset: FloatArray, *, collapsed: bool = False, wide: bool = False
) -> CentredRows | None:
    """Lay out the rows of cells whose `columns` vary within base rows; return None if this does not save enough rows.

    Parameters
    ----------
    base_of
        ``(n_obs,)`` base row of each cell (:func:`base_rows`).
    columns
        ``(n_obs, n_columns)`` columns of X and of the bases of all random terms.
    offset
        ``(n_obs,)`` log size factors.
    collapsed
        Whether one node per row is sufficient (Poisson).
    wide
        Whether hypotheses change slopes; the nodes must then be accurate at some distance from the slopes of the fit.
    """
    base_of, offset = check_offset(base_of, offset)
    n_base = int(base_of.max(initial=-1)) + 1
    order, ptr = chebyshev.sort_by_row(base_of, n_base)
    scale = np.maximum(columns.std(axis=0), 1e-300)
    n_nodes = np.ones(n_base, dtype=np.int64)
    pieces = []
    for base in range(n_base):
        cells = order[ptr[base] : ptr[base + 1]]
        if not collapsed:
            n_nodes[base] = _n_nodes(float(np.ptp(offset[cells])))
        pieces.append(_piece(columns[cells], scale, int(n_nodes[base]), wide))
        if pieces[-1].degree == 0:
            n_nodes[base] = 1
    n_rows = np.array([len(piece.columns) for piece in pieces])
    # the rows are fitted at least twice: on nodes around zero, and on nodes around the slopes of the gene
    if 2.0 * (_ROW * n_rows.sum() + _NODE * np.sum(n_rows * n_nodes)) > len(order):
        return None
    return _join(pieces, order, ptr, offset, n_rows, n_nodes, collapsed)


def _n_nodes(width: float) -> int:
    rate = chebyshev.convergence_rate(width + _ROOM)
    return int(math.ceil(math.log(1.0 / _TOL) / math.log(rate)))


def _piece(columns: FloatArray, scale: FloatArray, n_nodes: int, wide: bool) -> _Piece:
    """Lay out one base row: a lattice, or its cells."""
    n = len(columns)
    mean = columns.mean(axis=0)
    unit = _orthonormal((columns - mean) / scale)
    rank = unit.shape[1]
    degree = _WIDE_DEGREES[min(max(rank, 1), len(_WIDE_DEGREES)) - 1] if wide else _DEGREE
    if rank > 0 and _lattice_cost(rank, degree, n_nodes) >= n:
        nothing = np.zeros((n, rank))
        return _Piece(0, nothing, columns, np.ones((n, 1)), nothing, nothing, np.full(n, 1.0 / n))
    known = lattice(rank, degree)
    v = unit * math.sqrt(n)
    turn = unit.T @ (columns - mean) / math.sqrt(n)
    basis = known.weights(v)
    return _Piece(degree, v, mean + known.points @ turn, basis, known.points, known.slopes, known.share)


def _orthonormal(columns: FloatArray) -> FloatArray:
    """Compute an orthonormal basis column by column; unlike in a singular value decomposition, signs are determined."""
    basis = np.zeros((len(columns), 0))
    for column in columns.T:
        left = column
        for _ in range(2):
            left = left - basis @ (basis.T @ left)
        length = float(np.linalg.norm(left))
        if length > _ROUNDING * math.sqrt(len(columns)):
            basis = np.column_stack([basis, left / length])
    return basis


def _join(
    pieces: Sequence[_Piece],
    order: IntArray,
    ptr: IntArray,
    offset: FloatArray,
    n_rows: IntArray,
    n_nodes: IntArray,
    collapsed: bool,
) -> CentredRows:
    """Combine all base rows in one table."""
    n_base, n_cells = len(pieces), np.diff(ptr)
    on_lattice = np.array([piece.degree > 0 for piece in pieces])
    n_variables = max((piece.v.shape[1] for piece in pieces if piece.degree), default=0)
    first = _starts(n_rows)
    base_row = np.repeat(np.arange(n_base), n_rows)
    node_ptr = _starts(n_nodes[base_row])
    n_basis = np.where(on_lattice, n_rows, 1)
    cells = CellsByRow(
        ptr=ptr,
        offset=np.ascontiguousarray(offset[order]),
        v=_padded([piece.v for piece in pieces], n_variables),
        basis=np.concatenate([piece.basis.T.ravel() for piece in pieces]),
        basis_ptr=_starts(n_basis * n_cells),
        first=first,
        on_lattice=on_lattice.astype(np.int64),
        point=_padded([piece.point for piece in pieces], n_variables),
        node_ptr=node_ptr,
    )
    table = _first_table(cells, order, on_lattice, n_nodes, n_basis, collapsed)
    return CentredRows(
        table=table,
        cells=cells,
        slopes=_padded([piece.slopes for piece in pieces], n_variables),
        columns=np.vstack([piece.columns for piece in pieces]),
        base_row=base_row,
        example=order[ptr[base_row]],
        n_cells=n_cells[base_row] * np.concatenate([piece.share for piece in pieces]),
        power=np.array([piece.degree + 1 if piece.degree else 0 for piece in pieces], dtype=np.int64),
        reach=_padded([np.abs(piece.v).max(axis=0, keepdims=True) for piece in pieces], n_variables),
    )


def _starts(sizes: IntArray) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def _padded(parts: Sequence[FloatArray], width: int) -> FloatArray:
    """Stack arrays, with zeros for variables that are missing in a part."""
    out = np.zeros((sum(len(part) for part in parts), width))
    start = 0
    for part in parts:
        used = min(part.shape[1], width)
        out[start : start + len(part), :used] = part[:, :used]
        start += len(part)
    return out


def _first_table(
    cells: CellsByRow,
    order: IntArray,
    on_lattice: BoolArray,
    n_nodes: IntArray,
    n_basis: IntArray,
    collapsed: bool,
) -> NodeTable:
    """Create the node table around slopes of zero."""
    sizes = np.diff(cells.ptr)
    base = np.empty(len(order), dtype=np.int64)
    base[order] = np.repeat(np.arange(len(sizes)), sizes)
    node0 = cells.node_ptr[cells.first[:-1]]
    ec = np.ones(int(cells.node_ptr[-1]))
    first, cell_ptr, x_ptr = node0[base], _starts(n_nodes[base]), _starts(n_basis[base])
    cell_weight, x_weight = np.ones(cell_ptr[-1]), np.empty(x_ptr[-1])
    widest = 0.0
    # row by row, because the weights are by far the largest arrays of a cell
    for row, (start, end) in enumerate(zip(cells.ptr[:-1].tolist(), cells.ptr[1:].tolist(), strict=True)):
        mine, offset = order[start:end], cells.offset[start:end]
        basis = cells.basis[cells.basis_ptr[row] : cells.basis_ptr[row + 1]].reshape(-1, end - start)
        _put(x_weight, x_ptr[mine], basis.T)
        if not on_lattice[row]:
            first[mine] += np.arange(end - start)
            if not collapsed:
                ec[node0[row] : node0[row] + end - start] = np.exp(offset)
        elif not collapsed:
            node, weight, width = _on_points(offset, int(n_nodes[row]))
            ec[node0[row] : cells.node_ptr[cells.first[row + 1]]] = np.tile(np.exp(node), int(n_basis[row]))
            _put(cell_weight, cell_ptr[mine], weight)
            widest = max(widest, width)
    stride = n_nodes[base]
    summed = cell_weight
    if collapsed:  # in a collapsed row, each cell has one weight
        summed = np.empty(len(order))
        summed[order] = np.exp(cells.offset)
    weight = chebyshev.node_weights(order, len(ec), first, cell_ptr, summed, stride, x_ptr, x_weight)
    return NodeTable(
        ptr=cells.node_ptr,
        ec=ec,
        weight=weight,
        cell_first=first,
        cell_ptr=cell_ptr,
        cell_weight=cell_weight,
        order=order,
        order_ptr=cells.ptr,
        kind="collapsed" if collapsed else "centred",
        n_nodes_max=int(np.diff(cells.node_ptr).max(initial=0)),
        range_max=widest,
        bound=0.0 if collapsed else _TOL,
        cell_stride=stride,
        cell_x_ptr=x_ptr,
        cell_x_weight=x_weight,
    )


def _put(out: FloatArray, start: IntArray, values: FloatArray) -> None:
    """Write each row of `values` to the places of `out` from its start on."""
    for k in range(values.shape[1]):
        out[start + k] = values[:, k]


def _on_points(value: FloatArray, n: int) -> tuple[FloatArray, FloatArray, float]:
    """Return Chebyshev points on the range of the values, the Lagrange weights of the values, and the range."""
    angle = (2 * np.arange(n) + 1) * np.pi / (2 * n)
    point, barycentric = -np.cos(angle), np.sin(angle) * (-1.0) ** np.arange(n)
    low, high = float(value.min()), float(value.max())
    half = max(0.5 * (high - low), 1e-9)
    distance = ((value - 0.5 * (low + high)) / half)[:, None] - point
    distance[distance == 0.0] = 1e-300
    weight = barycentric / distance
    return 0.5 * (low + high) + half * point, weight / weight.sum(axis=1, keepdims=True), high - low
