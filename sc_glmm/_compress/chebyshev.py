"""Kernels that place nodes on Chebyshev panels and compute the Lagrange weights of the cells.

The functions to be represented are log(1 + exp(c + t)) and its derivatives in c for any real t. They are analytic for
|Im c| < pi, so on an interval of width R interpolation in K Chebyshev points has an error of order rho**-K with
rho = h + sqrt(h**2 + 1), h = pi / (R / 2).

Numba caches by the hash of one file, so every kernel that is called here is defined here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .._arrays import FloatArray, IntArray
from .._families.cache import cached

# An interval wider than WIDE needs so many points that equal panels no wider than PANEL are cheaper.
WIDE = 7.0
PANEL = 4.0


@cached(nogil=True)
def convergence_rate(width: float) -> float:
    """Compute the factor by which each further point reduces the error on an interval of this width (> 0)."""
    h = math.pi / (0.5 * width)
    return h + math.sqrt(h * h + 1.0)


@cached(nogil=True)
def n_points(width: float, tol: float) -> int:
    """Compute how many points an interval of this width needs for the relative error `tol`, including derivatives."""
    if width <= 0.0:
        return 1
    return int(math.ceil(math.log(1.0 / tol) / math.log(convergence_rate(width)))) + 3


@cached(nogil=True)
def sort_by_row(row_of: IntArray, n_rows: int) -> tuple[IntArray, IntArray]:
    """Return the cells sorted by row, without those of a negative row, and the start of each row."""
    start = np.zeros(n_rows + 1, dtype=np.int64)
    for row in row_of:
        if row >= 0:
            start[row + 1] += 1
    for row in range(n_rows):
        start[row + 1] += start[row]
    order = np.empty(start[n_rows], dtype=np.int64)
    place = start[:-1].copy()
    for i in range(row_of.shape[0]):
        row = row_of[i]
        if row >= 0:
            order[place[row]] = i
            place[row] += 1
    return order, start


@cached(nogil=True)
def plan_panels(
    order: IntArray, start: IntArray, value: FloatArray, tol: float, n_min: int
) -> tuple[IntArray, IntArray, FloatArray, FloatArray, IntArray, IntArray]:
    """Choose the panels of every row and the number of nodes of every panel.

    If a panel has no more distinct values than interpolation would need points, its nodes are the values themselves.

    Returns
    -------
    panel_start
        ``(n_rows + 1,)`` first panel of each row.
    node_start
        ``(n_panels + 1,)`` first node of each panel.
    low, high
        Smallest and largest value in each panel.
    exact
        1 if the nodes of a panel are the values themselves.
    panel_of
        Panel of each cell, -1 for cells without a row.
    """
    n_rows = start.shape[0] - 1
    panel_start = np.zeros(n_rows + 1, dtype=np.int64)
    n_beside = 1  # largest number of panels of a row
    row_low = np.empty(n_rows)
    row_width = np.empty(n_rows)
    for row in range(n_rows):
        low, high = np.inf, -np.inf
        for c in range(start[row], start[row + 1]):
            low = min(low, value[order[c]])
            high = max(high, value[order[c]])
        n = 1
        if high - low > WIDE:
            n = int(math.ceil((high - low) / PANEL))
        row_low[row] = low
        row_width[row] = (high - low) / n
        panel_start[row + 1] = panel_start[row] + n
        n_beside = max(n_beside, n)

    n_panels = panel_start[n_rows]
    low_of = np.full(n_panels, np.inf)
    high_of = np.full(n_panels, -np.inf)
    panel_of = np.full(value.shape[0], -1, dtype=np.int64)
    for row in range(n_rows):
        n = panel_start[row + 1] - panel_start[row]
        for c in range(start[row], start[row + 1]):
            v = value[order[c]]
            j = 0
            if n > 1:
                j = min(int((v - row_low[row]) / row_width[row]), n - 1)
            panel = panel_start[row] + j
            panel_of[order[c]] = panel
            low_of[panel] = min(low_of[panel], v)
            high_of[panel] = max(high_of[panel], v)

    n_full = np.zeros(n_panels, dtype=np.int64)
    n_most = 1
    for panel in range(n_panels):
        if high_of[panel] >= low_of[panel]:
            n_full[panel] = max(n_points(high_of[panel] - low_of[panel], tol), n_min)
            n_most = max(n_most, n_full[panel])

    # Distinct values are counted only as long as they could be fewer than the points.
    exact = np.ones(n_panels, dtype=np.int64)
    n_distinct = np.zeros(n_panels, dtype=np.int64)
    seen = np.empty((n_beside, n_most))
    for row in range(n_rows):
        p0 = panel_start[row]
        for c in range(start[row], start[row + 1]):
            panel = panel_of[order[c]]
            if exact[panel] == 0:
                continue
            v = value[order[c]]
            known = False
            for j in range(n_distinct[panel]):
                if seen[panel - p0, j] == v:
                    known = True
                    break
            if known:
                continue
            if n_distinct[panel] == n_full[panel]:
                exact[panel] = 0
            else:
                seen[panel - p0, n_distinct[panel]] = v
                n_distinct[panel] += 1

    node_start = np.zeros(n_panels + 1, dtype=np.int64)
    for panel in range(n_panels):
        node_start[panel + 1] = node_start[panel] + (n_distinct[panel] if exact[panel] else n_full[panel])
    return panel_start, node_start, low_of, high_of, exact, panel_of


@cached(nogil=True)
def _points(n_most: int) -> tuple[FloatArray, FloatArray]:
    """Compute ascending Chebyshev points of the first kind on [-1, 1] and barycentric weights; row n has n points."""
    point = np.zeros((n_most + 1, n_most))
    barycentric = np.zeros((n_most + 1, n_most))
    for n in range(1, n_most + 1):
        for k in range(n):
            angle = (2 * k + 1) * math.pi / (2 * n)
            point[n, k] = -math.cos(angle)
            barycentric[n, k] = math.sin(angle) * (1.0 if k % 2 == 0 else -1.0)
    return point, barycentric


@njit(nogil=True)
def _insert(node: FloatArray, n: int, v: float) -> int:
    """Insert `v` among the first `n` ascending nodes, unless it is one of them; return the number of added nodes.

    Nodes are kept in ascending order so that they do not depend on the order of the cells.
    """
    for j in range(n):
        if node[j] == v:
            return 0
    j = n
    while j > 0 and node[j - 1] > v:
        node[j] = node[j - 1]
        j -= 1
    node[j] = v
    return 1


@njit(nogil=True)
def _lagrange(x: float, point: FloatArray, barycentric: FloatArray, weight_out: FloatArray) -> None:
    """Compute the Lagrange weights of `x` on the points with the barycentric formula."""
    n = weight_out.shape[0]
    total = 0.0
    for k in range(n):
        distance = x - point[k]
        if distance == 0.0:
            weight_out[:] = 0.0
            weight_out[k] = 1.0
            return
        weight_out[k] = barycentric[k] / distance
        total += weight_out[k]
    for k in range(n):
        weight_out[k] /= total


@cached(nogil=True)
def spread_cells(
    order: IntArray,
    start: IntArray,
    value: FloatArray,
    panel_start: IntArray,
    node_start: IntArray,
    low: FloatArray,
    high: FloatArray,
    exact: IntArray,
    panel_of: IntArray,
) -> tuple[FloatArray, IntArray, IntArray, FloatArray]:
    """Place the nodes of every panel and compute the Lagrange weights of every cell.

    Returns
    -------
    node
        Position of each node on the axis of `value`, ascending within each panel.
    cell_first
        First node of each cell.
    cell_ptr
        ``(n_obs + 1,)`` start of the weights of each cell in `cell_weight`.
    cell_weight
        Ragged weights; those of one cell sum to one.
    """
    n_obs = value.shape[0]
    n_rows = start.shape[0] - 1
    n_panels = node_start.shape[0] - 1
    node = np.empty(node_start[n_panels])
    cell_first = np.zeros(n_obs, dtype=np.int64)
    cell_ptr = np.zeros(n_obs + 1, dtype=np.int64)
    for i in range(n_obs):
        panel = panel_of[i]
        width = 0
        if panel >= 0:
            width = 1 if exact[panel] else node_start[panel + 1] - node_start[panel]
        cell_ptr[i + 1] = cell_ptr[i] + width
    cell_weight = np.empty(cell_ptr[n_obs])

    n_most = 1
    for panel in range(n_panels):
        n_most = max(n_most, node_start[panel + 1] - node_start[panel])
    point, barycentric = _points(n_most)
    for panel in range(panel_start[0], panel_start[n_rows]):
        if exact[panel] == 0:
            n = node_start[panel + 1] - node_start[panel]
            middle, half = 0.5 * (low[panel] + high[panel]), 0.5 * (high[panel] - low[panel])
            for k in range(n):
                node[node_start[panel] + k] = middle + half * point[n, k]
    filled = np.zeros(n_panels, dtype=np.int64)
    for i in order:
        panel = panel_of[i]
        if exact[panel] != 0:
            own = node[node_start[panel] : node_start[panel + 1]]
            filled[panel] += _insert(own, filled[panel], value[i])

    for i in order:
        panel = panel_of[i]
        own = node[node_start[panel] : node_start[panel + 1]]
        weight = cell_weight[cell_ptr[i] : cell_ptr[i + 1]]
        cell_first[i] = node_start[panel]
        if exact[panel] != 0:
            cell_first[i] += np.searchsorted(own, value[i])
            weight[0] = 1.0
        else:
            n = own.shape[0]
            x = (value[i] - 0.5 * (low[panel] + high[panel])) / (0.5 * (high[panel] - low[panel]))
            _lagrange(x, point[n], barycentric[n], weight)
    return node, cell_first, cell_ptr, cell_weight


@cached(nogil=True)
def node_weights(
    order: IntArray,
    n_nodes: int,
    cell_first: IntArray,
    cell_ptr: IntArray,
    cell_weight: FloatArray,
    cell_stride: IntArray,
    cell_x_ptr: IntArray,
    cell_x_weight: FloatArray,
) -> FloatArray:
    """Sum the weights of the cells on each node."""
    total = np.zeros(n_nodes)
    for i in order:
        weight = cell_weight[cell_ptr[i] : cell_ptr[i + 1]]
        first = cell_first[i]
        for q in range(cell_x_ptr[i], cell_x_ptr[i + 1]):
            target = total[first : first + weight.shape[0]]
            for k in range(weight.shape[0]):
                target[k] += cell_x_weight[q] * weight[k]
            first += cell_stride[i]
    return total
