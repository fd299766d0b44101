"""Kernels that spread the counts of cells over nodes, row by row (CSR, dense) or gene by gene (CSC).

Numba caches by the hash of one file, so every kernel that is called here is defined here. The kernels compile once for
each type of stored data and indices, so a matrix is never cast as a whole.

A count is multiplied by some twenty weights, and the products are added to as many nodes. This is most of the time of a
pass. The compiler would use vector instructions only for longer loops, so :func:`_add_lanes` states them. The rest of
the time is spent on waiting for memory, so :func:`_prefetch` asks for the next cells and genes early.

Values are converted with ``float64``, because numba's ``float`` would keep float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._arrays import AnyArray, FloatArray, IntArray
from .._families.cache import cached
from .._families.jit import allocating, kernel
from .._families.nb import N_TAIL
from .kernels import Stored

# Counts up to N_TAIL have their own bin. After a change of N_TAIL, touch this file: its cache does not notice it.
CELLS_PER_BLOCK = 4096
# Numbers that one vector instruction adds; a processor with shorter vectors uses several instructions.
LANES = 4
# In local sums, counts below this number have their own bin.
N_SMALL = 8
# Cells of one row have local sums if a range of genes holds at least so many of their counts per gene.
COUNTS_PER_GENE = 2
# Bytes of a line of the processor's cache, and numbers of cells, of genes and of counts for which memory is requested
# ahead of their turn.
CACHE_LINE = 64
CELLS_AHEAD = 2
GENES_AHEAD = 8
COUNTS_AHEAD = 4


class Writes(NamedTuple):
    """Fields of :class:`NodeTable` that cells use to write to nodes (without their prefix), and the offsets."""

    offset: FloatArray
    first: IntArray
    ptr: IntArray
    weight: FloatArray
    stride: IntArray
    x_ptr: IntArray
    x_weight: FloatArray


class Target(NamedTuple):
    """What the kernels add to.

    Attributes
    ----------
    nodes, n_nodes
        The `n_nodes` nodes of one gene after the other.
    hist
        Fields of :class:`.spread.Sums`.
    offset
        The same; sums of count times offset are left out if it is empty.
    over_slot, over_value
        Counts for the overflow list: ``group * n_genes + gene``, and the count.
    """

    nodes: FloatArray
    n_nodes: int
    hist: AnyArray
    offset: FloatArray
    over_slot: IntArray
    over_value: FloatArray


@intrinsic  # type: ignore[untyped-decorator]
def _add_lanes(context: Any, target: Any, at: Any, weight: Any, start: Any, y: Any) -> Any:
    """Add ``y * weight[start : start + LANES]`` to ``target[at : at + LANES]``, without a check of the bounds."""
    signature = types.void(target, types.int64, weight, types.int64, types.float64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.DoubleType(), LANES)
        undefined = ir.Constant(lanes, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def place(kind: Any, array: Any, index: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), lanes.as_pointer())

        to = place(signature.args[0], args[0], args[1])
        factors = builder.load(place(signature.args[2], args[2], args[3]))
        sums = builder.load(to)
        factors.align = sums.align = 8
        first = builder.insert_element(undefined, args[4], ir.Constant(ir.IntType(32), 0))
        products = builder.fmul(builder.shuffle_vector(first, undefined, zeros), factors)
        builder.store(builder.fadd(sums, products), to).align = 8
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(context: Any, array: Any, at: Any) -> Any:
    """Request the memory of element `at` of a contiguous array, counted from its start; any position is allowed."""
    signature = types.void(array, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, flag, flag, flag])
        request = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        builder.call(request, [place, flag(0), flag(3), flag(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return signature, generate


@kernel
def _prefetch_all(array: AnyArray, first: int, last: int) -> None:
    """Request the elements from `first` up to `last`, exclusive."""
    step = CACHE_LINE // array.itemsize
    for at in range(first, last + step - 1, step):
        _prefetch(array, at)


@kernel
def _add_product(target: FloatArray, at: int, weight: FloatArray, start: int, width: int, y: float) -> None:
    """Add ``y * weight[start : start + width]`` to ``target[at : at + width]``."""
    whole = width - width % LANES
    for k in range(0, whole, LANES):
        _add_lanes(target, at + k, weight, start + k, y)
    for k in range(whole, width):
        target[at + k] += y * weight[start + k]


@allocating
def _aligned(size: int) -> FloatArray:
    """Create an array that begins with a line of the processor's cache."""
    padded = np.empty(size + CACHE_LINE // 8)
    skipped = (CACHE_LINE - padded.ctypes.data % CACHE_LINE) // 8
    return padded[skipped : skipped + size]


@kernel
def _spread_each(
    stored: Stored,
    cells: IntArray,
    cuts: IntArray,
    start: int,
    end: int,
    gene_map: IntArray,
    group: int,
    writes: Writes,
    target: Target,
    n_over: int,
) -> int:
    """Add the counts of the cells from `start` up to `end`, exclusive, one by one; return `n_over`."""
    n_genes = target.hist.shape[1]
    for c in range(start, end):
        i = cells[c]
        first, width = writes.first[i], writes.ptr[i + 1] - writes.ptr[i]
        if c + CELLS_AHEAD < end:
            _prefetch_all(stored.indices, cuts[0, c + CELLS_AHEAD], cuts[1, c + CELLS_AHEAD])
            _prefetch_all(stored.data, cuts[0, c + CELLS_AHEAD], cuts[1, c + CELLS_AHEAD])
        index = stored.indices[cuts[0, c] : cuts[1, c]]
        value = stored.data[cuts[0, c] : cuts[1, c]]
        for p in range(index.shape[0]):
            if p + COUNTS_AHEAD < index.shape[0] and gene_map[index[p + COUNTS_AHEAD]] >= 0:
                at = gene_map[index[p + COUNTS_AHEAD]] * target.n_nodes + first
                _prefetch_all(target.nodes, at, at + width)
            g = gene_map[index[p]]
            y = np.float64(value[p])
            if g < 0 or y == 0.0:
                continue
            if y <= N_TAIL:
                target.hist[group, g, np.int64(y)] += 1
            else:
                target.over_slot[n_over] = group * n_genes + g
                target.over_value[n_over] = y
                n_over += 1
            if target.offset.shape[1] > 0:
                target.offset[group, g] += y * writes.offset[i]
            at = g * target.n_nodes + first
            for q in range(writes.x_ptr[i], writes.x_ptr[i + 1]):
                _add_product(target.nodes, at, writes.weight, writes.ptr[i], width, y * writes.x_weight[q])
                at += writes.stride[i]
    return n_over


@kernel
def _load_sums(genes: IntArray, target: Target, first: int, width: int, padded: int, sums_out: FloatArray) -> None:
    """Copy the nodes of a row into a table with `padded` numbers per gene; zeros where `genes` is negative."""
    for j in range(genes.shape[0]):
        if j + GENES_AHEAD < genes.shape[0]:
            at = genes[j + GENES_AHEAD] * target.n_nodes + first
            _prefetch_all(target.nodes, at, at + width)
        for k in range(padded):
            known = genes[j] >= 0 and k < width
            sums_out[j * padded + k] = target.nodes[genes[j] * target.n_nodes + first + k] if known else 0.0


@kernel
def _store_sums(
    genes: IntArray,
    group: int,
    first: int,
    width: int,
    padded: int,
    sums: FloatArray,
    n_small: AnyArray,
    target: Target,
) -> None:
    """Copy the table of :func:`_load_sums` back, and move the numbers of small counts to the histograms."""
    n_genes, n_bins = target.hist.shape[1:]
    for j in range(genes.shape[0]):
        if j + GENES_AHEAD < genes.shape[0]:
            at = genes[j + GENES_AHEAD] * target.n_nodes + first
            _prefetch_all(target.nodes, at, at + width)
            _prefetch(target.hist, (group * n_genes + genes[j + GENES_AHEAD]) * n_bins)
        g = genes[j]
        if g >= 0:
            for k in range(width):
                target.nodes[g * target.n_nodes + first + k] = sums[j * padded + k]
            for y in range(1, N_SMALL):
                target.hist[group, g, y] += n_small[j * N_SMALL + y]
        for y in range(N_SMALL):
            n_small[j * N_SMALL + y] = 0


@allocating
def _spread_gathered(
    stored: Stored,
    cells: IntArray,
    cuts: IntArray,
    start: int,
    end: int,
    first_column: int,
    genes: IntArray,
    group: int,
    writes: Writes,
    sums_out: FloatArray,
    n_small_out: AnyArray,
    target: Target,
    n_over: int,
) -> int:
    """Add the counts of the cells from `start` up to `end`, exclusive, in the table of :func:`_load_sums`.

    Values in columns that are not chosen need not be counts. Returns `n_over`.
    """
    n_genes, padded = target.hist.shape[1], sums_out.shape[0] // genes.shape[0]
    weight = _aligned(padded)
    weight[:] = 0.0
    for c in range(start, end):
        if c + CELLS_AHEAD < end:
            _prefetch_all(stored.indices, cuts[0, c + CELLS_AHEAD], cuts[1, c + CELLS_AHEAD])
            _prefetch_all(stored.data, cuts[0, c + CELLS_AHEAD], cuts[1, c + CELLS_AHEAD])
        i = cells[c]
        x = writes.x_weight[writes.x_ptr[i]]
        for k in range(writes.ptr[i + 1] - writes.ptr[i]):
            weight[k] = writes.weight[writes.ptr[i] + k]
        index = stored.indices[cuts[0, c] : cuts[1, c]]
        value = stored.data[cuts[0, c] : cuts[1, c]]
        for p in range(index.shape[0]):
            y = np.float64(value[p])
            j = np.int64(index[p]) - first_column
            yx = y * x
            for k in range(0, padded, LANES):
                _add_lanes(sums_out, j * padded + k, weight, k, yx)
            if 0.0 <= y and y < N_SMALL:
                n_small_out[j * N_SMALL + np.int64(y)] += 1
                continue
            g = genes[j]
            if g < 0:
                continue
            if y <= N_TAIL:
                target.hist[group, g, np.int64(y)] += 1
            else:
                target.over_slot[n_over] = group * n_genes + g
                target.over_value[n_over] = y
                n_over += 1
    return n_over


@kernel
def _n_counts(cuts: IntArray, start: int, end: int) -> int:
    """Count the stored values between the cuts of some cells."""
    n = 0
    for c in range(start, end):
        n += cuts[1, c] - cuts[0, c]
    return n


@kernel
def _end_of_row(cells: IntArray, writes: Writes, start: int) -> int:
    """Find the end of the cells that write to the same nodes as the cell at `start`."""
    first = cells[start]
    for c in range(start + 1, cells.shape[0]):
        i = cells[c]
        same = (
            writes.first[i] == writes.first[first]
            and writes.ptr[i + 1] - writes.ptr[i] == writes.ptr[first + 1] - writes.ptr[first]
            and writes.x_ptr[i + 1] - writes.x_ptr[i] == writes.x_ptr[first + 1] - writes.x_ptr[first]
        )
        if not same:
            return c
    return cells.shape[0]


@cached(nogil=True)
def spread_rows(
    stored: Stored,
    cells: IntArray,
    cuts: IntArray,
    first_column: int,
    end_column: int,
    may_gather: bool,
    gene_map: IntArray,
    group_of: IntArray,
    writes: Writes,
    target: Target,
) -> int:
    """Add the counts of `cells` in the columns from `first_column` up to `end_column`, exclusive.

    The counts of cell ``cells[c]`` are at the positions from ``cuts[0, c]`` up to ``cuts[1, c]``. Counts for the
    overflow list are written from the start of its arrays on, and their number is returned.

    The nodes of a row are far apart for different genes. If consecutive cells of a row have many counts, they are
    added up in a small table, which begins with the sums so far. The order of all additions, and thus every bit of the
    result, is the same with and without the table. `may_gather` allows the table, which cannot sum offsets.
    """
    genes = gene_map[first_column:end_column]
    # numbers as variables, because literals would compile _spread_each twice
    n_over, start = np.int64(0), np.int64(0)
    sums = _aligned(0)
    n_small = np.zeros(0, dtype=np.int32)
    while start < cells.shape[0]:
        i = cells[start]
        first, width = writes.first[i], writes.ptr[i + 1] - writes.ptr[i]
        group, n_x = group_of[i], writes.x_ptr[i + 1] - writes.x_ptr[i]
        end = _end_of_row(cells, writes, start)
        n_counts = _n_counts(cuts, start, end)
        if not may_gather or n_x != 1 or n_counts < COUNTS_PER_GENE * genes.shape[0]:
            n_over = _spread_each(
                stored,
                cells,
                cuts,
                start,
                end,
                gene_map,
                group,
                writes,
                target,
                n_over,
            )
            start = end
            continue

        padded = (width + LANES - 1) // LANES * LANES
        if sums.shape[0] < genes.shape[0] * padded:
            sums = _aligned(genes.shape[0] * padded)
            n_small = np.zeros(genes.shape[0] * N_SMALL, dtype=np.int32)
        _load_sums(genes, target, first, width, padded, sums)
        n_over = _spread_gathered(
            stored,
            cells,
            cuts,
            start,
            end,
            first_column,
            genes,
            group,
            writes,
            sums[: genes.shape[0] * padded],
            n_small,
            target,
            n_over,
        )
        _store_sums(genes, group, first, width, padded, sums, n_small, target)
        start = end
    return int(n_over)


@kernel
def _spread_column(
    stored: Stored,
    p: int,
    end: int,
    before: int,
    g: int,
    cell_of: IntArray,
    group_of: IntArray,
    writes: Writes,
    target: Target,
    n_over: int,
) -> tuple[int, int]:
    """Add the counts of gene `g` from position `p` on, in rows below `before`; return the next position, `n_over`."""
    while p < end and stored.indices[p] < before:
        i = cell_of[stored.indices[p]]
        y = np.float64(stored.data[p])
        p += 1
        if i < 0 or y == 0.0:
            continue
        group = group_of[i]
        if y <= N_TAIL:
            target.hist[group, g, np.int64(y)] += 1
        else:
            target.over_slot[n_over] = group * target.hist.shape[1] + g
            target.over_value[n_over] = y
            n_over += 1
        if target.offset.shape[1] > 0:
            target.offset[group, g] += y * writes.offset[i]
        at, width = g * target.n_nodes + writes.first[i], writes.ptr[i + 1] - writes.ptr[i]
        for q in range(writes.x_ptr[i], writes.x_ptr[i + 1]):
            _add_product(target.nodes, at, writes.weight, writes.ptr[i], width, y * writes.x_weight[q])
            at += writes.stride[i]
    return p, n_over


@cached(nogil=True)
def spread_columns(
    stored: Stored,
    columns: IntArray,
    genes: IntArray,
    cell_of: IntArray,
    group_of: IntArray,
    writes: Writes,
    target: Target,
) -> int:
    """Add `columns` of a CSC matrix, which are `genes` of the results; otherwise as :func:`spread_rows`.

    All genes are processed together in blocks of cells, so that the weights of a block stay in the processor's cache.
    Row indices must ascend within a column.
    """
    n_over = 0
    cursor = np.empty(columns.shape[0], dtype=np.int64)
    for j in range(columns.shape[0]):
        cursor[j] = stored.indptr[columns[j]]
    for block in range(0, cell_of.shape[0], CELLS_PER_BLOCK):
        for j in range(columns.shape[0]):
            cursor[j], n_over = _spread_column(
                stored,
                cursor[j],
                stored.indptr[columns[j] + 1],
                block + CELLS_PER_BLOCK,
                genes[j],
                cell_of,
                group_of,
                writes,
                target,
                n_over,
            )
    return n_over
