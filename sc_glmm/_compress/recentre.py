"""Put cells on nodes around the slopes of a gene's predictor, sample by sample.

At given slopes, a cell's covariates are part of its offset: ``t = offset + slopes' v``. The nodes of a row are
Chebyshev points on the range of t, at each point of the lattice of its covariates (:mod:`.lattice`). At these slopes,
the sums over nodes are exact up to the interpolation error in t, for all values of the other parameters. The same
holds for their derivatives in the slopes up to the degree of the lattice.

Numba caches by the hash of one file, so every kernel that is called here is defined here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .._arrays import FloatArray, IntArray
from .._families.cache import cached


class CellsByRow(NamedTuple):
    """Cells in the order of their base rows, and the rows that represent them.

    Attributes
    ----------
    ptr
        ``(n_base + 1,)`` first cell of each base row.
    offset
        ``(n_cells,)`` log size factors.
    v
        ``(n_cells, n_variables)`` covariates of the cells in the units of their base row.
    basis
        ``(n_weights,)`` weights of the cells on the points of their row's lattice, point by point in each base row.
    basis_ptr
        ``(n_base + 1,)`` start of the weights of each base row.
    first
        ``(n_base + 1,)`` first row of each base row.
    on_lattice
        ``(n_base,)`` 1 if the rows of a base row are points of a lattice, 0 if they are its cells.
    point
        ``(n_rows, n_variables)`` position of each row in its lattice.
    node_ptr
        ``(n_rows + 1,)`` first node of each row.
    """

    ptr: IntArray
    offset: FloatArray
    v: FloatArray
    basis: FloatArray
    basis_ptr: IntArray
    first: IntArray
    on_lattice: IntArray
    point: FloatArray
    node_ptr: IntArray


class CountLists(NamedTuple):
    """Counts of some genes, which may be spread over longer lists. Lists of other genes are not pickled.

    Attributes
    ----------
    first, last
        ``(n_genes,)`` start and end of each gene in the lists.
    cell
        Positions of the cells in row order (int32), ascending for each gene.
    value
        The counts (float32, or float64 if some are too large for it).
    """

    first: IntArray
    last: IntArray
    cell: IntArray
    value: FloatArray

    @classmethod
    def reserve(cls, sizes: IntArray) -> CountLists:
        """Reserve memory for lists of these lengths, in the order of the genes."""
        last = np.cumsum(sizes, dtype=np.int64)
        n = int(last[-1]) if len(last) else 0
        return cls(last - sizes, last, np.empty(n, dtype=np.int32), np.empty(n, dtype=np.float32))

    def __reduce__(self) -> tuple[Any, ...]:
        return CountLists, tuple(self.copy())

    def of(self, gene: int) -> tuple[IntArray, FloatArray]:
        """Return the cells and the counts of one gene."""
        mine = slice(int(self.first[gene]), int(self.last[gene]))
        return self.cell[mine], self.value[mine]

    def pick(self, genes: IntArray) -> CountLists:
        """Select some of the genes, in this order, without a copy of their lists."""
        return self._replace(first=self.first[genes], last=self.last[genes])

    def copy(self) -> CountLists:
        """Copy the lists of these genes only, one after the other."""
        sizes = self.last - self.first
        last = np.cumsum(sizes, dtype=np.int64)
        own = [self.of(gene) for gene in range(len(sizes))]
        cell = np.concatenate([self.cell[:0], *(part[0] for part in own)])
        value = np.concatenate([self.value[:0], *(part[1] for part in own)])
        return CountLists(last - sizes, last, cell, value)


# Number of cells whose polynomials are in memory at a time.
BLOCK = 256
# Optimisations allowed in sums of products, such as another order. The same compiled code gives the same bits.
_SUMS = {"reassoc", "contract", "nsz"}
# The same for the smallest and largest of finite numbers.
_RANGE = {"nnan", "nsz"}


@njit(nogil=True, fastmath=_SUMS)
def _add_products(left: FloatArray, first: int, stride: int, right: FloatArray, n: int, out: FloatArray) -> None:
    """Add ``left @ right'`` over the first `n` columns, for two rows of each at a time.

    Row i of the left matrix is ``left[first + i * stride :]``. Only contiguous rows are read without gathers.
    """
    n_left = out.shape[0]
    n_right = out.shape[1]
    for i in range(0, n_left, 2):
        i1 = min(i + 1, n_left - 1)
        l0 = left[first + i * stride : first + i * stride + n]
        l1 = left[first + i1 * stride : first + i1 * stride + n]
        for j in range(0, n_right, 2):
            j1 = min(j + 1, n_right - 1)
            r0 = right[j, :n]
            r1 = right[j1, :n]
            a = 0.0
            b = 0.0
            c = 0.0
            d = 0.0
            for k in range(n):
                a += l0[k] * r0[k]
                b += l0[k] * r1[k]
                c += l1[k] * r0[k]
                d += l1[k] * r1[k]
            out[i, j] += a
            if j1 > j:
                out[i, j1] += b
            if i1 > i:
                out[i1, j] += c
                if j1 > j:
                    out[i1, j1] += d


@njit(nogil=True, fastmath=_SUMS)
def _sum_of_products(left: FloatArray, right: FloatArray) -> float:
    s = 0.0
    for c in range(left.shape[0]):
        s += left[c] * right[c]
    return s


@njit(nogil=True)
def _polynomials(x: FloatArray, n: int, out: FloatArray) -> None:
    """Compute the Chebyshev polynomials, one per row, at the first `n` positions."""
    for c in range(n):
        out[0, c] = 1.0
    if out.shape[0] > 1:
        for c in range(n):
            out[1, c] = x[c]
    for k in range(2, out.shape[0]):
        for c in range(n):
            out[k, c] = 2.0 * x[c] * out[k - 1, c] - out[k - 2, c]


@njit(nogil=True)
def _set_table(n: int, table: FloatArray) -> None:
    """Compute the polynomials at the `n` Chebyshev points, times the factors of Lagrange's basis: one row each."""
    for k in range(n):
        x = -math.cos((2 * k + 1) * math.pi / (2 * n))
        before = 1.0
        now = x
        table[0, k] = 1.0 / n
        for m in range(1, n):
            table[m, k] = 2.0 * now / n
            after = 2.0 * x * now - before
            before = now
            now = after


@njit(nogil=True)
def _write_weights(moments: FloatArray, table: FloatArray, n: int, node: int, out: FloatArray) -> None:
    """Compute the weights of the `n` Chebyshev points of every row from sums of the polynomials (Lagrange's basis)."""
    for j in range(moments.shape[0]):
        own = out[node + j * n : node + (j + 1) * n]
        own[:] = 0.0
        for m in range(n):
            size = moments[j, m]
            for k in range(n):
                own[k] += size * table[m, k]


@njit(nogil=True)
def _shift(cells: CellsByRow, base: int, slope: FloatArray, t_out: FloatArray) -> None:
    """Compute ``t`` for the cells of a base row."""
    start = cells.ptr[base]
    n_cells = cells.ptr[base + 1] - start
    offset = cells.offset[start : start + n_cells]
    for c in range(n_cells):
        t_out[c] = offset[c]
    for a in range(slope.shape[0]):
        s = slope[a]
        for c in range(n_cells):
            t_out[c] += s * cells.v[start + c, a]


@njit(nogil=True, fastmath=_RANGE)
def _range(t: FloatArray) -> tuple[float, float]:
    low, high = t[0], t[0]
    for value in t:
        low = min(low, value)
        high = max(high, value)
    return low, high


@njit(nogil=True)
def _add_all(basis: FloatArray, first: int, x: FloatArray, polynomial: FloatArray, moments: FloatArray) -> None:
    """Add up all cells of a base row: weights from ``basis[first]`` on, and `x`, their positions on [-1, 1]."""
    moments[:] = 0.0
    n_cells = x.shape[0]
    for start in range(0, n_cells, BLOCK):
        n = min(BLOCK, n_cells - start)
        _polynomials(x[start : start + n], n, polynomial)
        _add_products(basis, first + start, n_cells, polynomial, n, moments)


@njit(nogil=True)
def _add_counts(
    basis: FloatArray,
    first: int,
    x: FloatArray,
    first_cell: int,
    cell: IntArray,
    count: FloatArray,
    chosen: FloatArray,
    polynomial: FloatArray,
    moments: FloatArray,
) -> None:
    """Add up only the cells with a count, times the count, as :func:`_add_all`; `chosen` is a buffer for one block."""
    moments[:] = 0.0
    n_cells = x.shape[0]
    place = np.empty(BLOCK)
    for start in range(0, cell.shape[0], BLOCK):
        n = min(BLOCK, cell.shape[0] - start)
        for i in range(n):
            place[i] = x[cell[start + i] - first_cell]
        for j in range(moments.shape[0]):
            own = basis[first + j * n_cells : first + (j + 1) * n_cells]
            for i in range(n):
                chosen[j * BLOCK + i] = own[cell[start + i] - first_cell] * count[start + i]
        _polynomials(place, n, polynomial)
        _add_products(chosen, 0, BLOCK, polynomial, n, moments)


@njit(nogil=True)
def _place_nodes(
    cells: CellsByRow, base: int, slope: FloatArray, middle: float, half: float, ec_out: FloatArray
) -> None:
    """Compute ``exp(offset)`` of the nodes of a base row: the part of t that the row's covariates do not explain."""
    first = cells.first[base]
    node0 = cells.node_ptr[first]
    n = cells.node_ptr[first + 1] - node0
    for k in range(n):
        ec_out[node0 + k] = math.exp(-half * math.cos((2 * k + 1) * math.pi / (2 * n)))
    for row in range(cells.first[base + 1] - 1, first - 1, -1):
        at = middle
        for a in range(slope.shape[0]):
            at -= slope[a] * cells.point[row, a]
        factor = math.exp(at)
        for k in range(n):
            ec_out[cells.node_ptr[row] + k] = ec_out[node0 + k] * factor


@njit(nogil=True)
def _keep_cells(
    cells: CellsByRow,
    base: int,
    cell: IntArray,
    count: FloatArray,
    ec_out: FloatArray,
    weight_out: FloatArray,
    A_out: FloatArray,
) -> None:
    """Write the nodes of a base row whose rows are its cells."""
    node = cells.node_ptr[cells.first[base]]
    start = cells.ptr[base]
    for c in range(start, cells.ptr[base + 1]):
        ec_out[node + c - start] = math.exp(cells.offset[c])
        weight_out[node + c - start] = 1.0
    for p in range(cell.shape[0]):
        A_out[node + cell[p] - start] += count[p]


@njit(nogil=True)
def _most(sizes: IntArray) -> int:
    most = 1
    for size in sizes:
        most = max(most, size)
    return most


@cached(nogil=True, error_model="numpy")
def recentre(
    cells: CellsByRow,
    slope: FloatArray,
    counts: CountLists,
    ec_out: FloatArray,
    weight_out: FloatArray,
    A_out: FloatArray,
    width_out: FloatArray,
) -> None:
    """Compute node tables of some genes at slopes ``(n_genes, n_base, n_variables)``.

    `weight_out` and `A_out` must contain zeros. `width_out` ``(n_genes, n_base)`` receives the ranges of ``t``, 0 for
    rows that are cells.
    """
    t = np.empty(_most(np.diff(cells.ptr)))
    n_most = _most(np.diff(cells.node_ptr))
    polynomials = np.empty((n_most, BLOCK))
    table = np.empty((n_most, n_most))
    n_table = 0
    chosen = np.empty(_most(np.diff(cells.first)) * BLOCK)
    for g in range(slope.shape[0]):
        p = counts.first[g]
        for base in range(cells.ptr.shape[0] - 1):
            first = cells.first[base]
            n_points = cells.first[base + 1] - first
            start = cells.ptr[base]
            n_cells = cells.ptr[base + 1] - start
            q = p
            while q < counts.last[g] and counts.cell[q] < start + n_cells:
                q += 1
            cell = counts.cell[p:q]
            count = counts.value[p:q]
            p = q
            width_out[g, base] = 0.0
            if n_points == 0:
                continue
            if cells.on_lattice[base] == 0:
                _keep_cells(cells, base, cell, count, ec_out[g], weight_out[g], A_out[g])
                continue
            node = cells.node_ptr[first]
            n = cells.node_ptr[first + 1] - node
            _shift(cells, base, slope[g, base], t)
            low, high = _range(t[:n_cells])
            half = max(0.5 * (high - low), 1e-9)
            middle = 0.5 * (high + low)
            for c in range(n_cells):
                t[c] = (t[c] - middle) / half
            width_out[g, base] = 2.0 * half
            if n != n_table:
                _set_table(n, table)
                n_table = n
            moments = np.empty((n_points, n))
            polynomial = polynomials[:n]
            _place_nodes(cells, base, slope[g, base], middle, half, ec_out[g])
            b0 = cells.basis_ptr[base]
            _add_all(cells.basis, b0, t[:n_cells], polynomial, moments)
            _write_weights(moments, table, n, node, weight_out[g])
            _add_counts(cells.basis, b0, t[:n_cells], start, cell, count, chosen, polynomial, moments)
            _write_weights(moments, table, n, node, A_out[g])


@cached(nogil=True, error_model="numpy")
def recentre_collapsed(cells: CellsByRow, slope: FloatArray, weight_out: FloatArray) -> None:
    """Compute node tables as :func:`recentre` for Poisson, with one node per row.

    `weight_out` must contain zeros and receives the sums of exp(offset).
    """
    t = np.empty(cells.offset.shape[0])
    for g in range(slope.shape[0]):
        for base in range(cells.ptr.shape[0] - 1):
            first = cells.first[base]
            n_points = cells.first[base + 1] - first
            start = cells.ptr[base]
            n_cells = cells.ptr[base + 1] - start
            _shift(cells, base, slope[g, base], t)
            for c in range(n_cells):
                t[c] = math.exp(t[c])
            if cells.on_lattice[base] == 0:
                weight_out[g, first : first + n_cells] = t[:n_cells]
                continue
            for j in range(n_points):
                b0 = cells.basis_ptr[base] + j * n_cells
                weight_out[g, first + j] = _sum_of_products(cells.basis[b0 : b0 + n_cells], t)
                weight_out[g, first + j] *= math.exp(-np.sum(slope[g, base] * cells.point[first + j]))
