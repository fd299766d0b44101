"""One pass over the matrix for all groups of cells: which rows, which nodes, and the statistics on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._compress import CountStats, NodeTable, chebyshev_nodes, compress_counts, poisson_nodes, stack_rows
from .._compress.check import node_error, tensor_error
from .._compress.gaussian import compress_gaussian
from .._compress.matrix import Matrix
from .._design import Design
from .._engine.fit import GeneStats, Nodes
from .._families.registry import Family
from .model import count_stats, engine_nodes, gaussian_nodes, gaussian_stats
from .rows import Grid, ModelRows, design_rows, find_grid, plain_rows

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class CellGroup:
    """Cells that one model is fitted to.

    Attributes
    ----------
    name
        Level of `groupby`, or an empty string.
    cells
        ``(n_obs,)`` their places in the matrix.
    design
        The design on these cells.
    frame
        The rows of `obs` of these cells.
    offset
        ``(n_obs,)`` natural logs of their size factors, or what is subtracted from a Gaussian response.
    """

    name: str
    cells: IntArray
    design: Design
    frame: pd.DataFrame
    offset: FloatArray


@dataclass(frozen=True)
class Compressed:
    """The cells of one group, compressed.

    Attributes
    ----------
    rows, nodes, stats
        What the engine takes.
    kind
        ``"collapsed"``, ``"chebyshev"``, ``"cells"``, ``"tensor"`` or ``"sums"`` (Gaussian).
    n_nodes, n_nodes_max, range_max
        Nodes in all, largest number in a row, largest range of offsets that a panel spans.
    error
        Largest relative error of the nodes, measured on the cells (0 where they are exact).
    grid
        The covariate's grid, if there is one.
    total, n_nonzero
        ``(n_genes,)`` sum of the response and cells in which it is not zero.
    """

    rows: ModelRows
    nodes: Nodes
    stats: GeneStats
    kind: str
    n_nodes: int
    n_nodes_max: int
    range_max: float
    error: float
    grid: Grid | None
    total: FloatArray
    n_nonzero: IntArray


def compress_groups(
    matrix: Matrix,
    groups: Sequence[CellGroup],
    family: Family,
    *,
    genes: slice | IntArray = slice(None),
    n_jobs: int = 1,
) -> list[Compressed]:
    """Compress the cells of all groups; those without a covariate's grid share one pass over `matrix`."""
    grids = [find_grid(g.design, g.frame, g.offset) if family.counts else None for g in groups]
    flat = [i for i, grid in enumerate(grids) if grid is None]
    done: dict[int, Compressed] = {}
    if flat:
        compress = _counts if family.counts else _sums
        chosen = [groups[i] for i in flat]
        done.update(zip(flat, compress(matrix, chosen, family, genes, n_jobs), strict=True))
    for i, grid in enumerate(grids):
        if grid is not None:
            done[i] = _on_grid(matrix, groups[i], grid, genes, n_jobs)
    return [done[i] for i in range(len(groups))]


def _counts(
    matrix: Matrix, groups: Sequence[CellGroup], family: Family, genes: slice | IntArray, n_jobs: int
) -> list[Compressed]:
    rows = [design_rows(g.design) for g in groups]
    n_cells = matrix.shape[0]
    stacked = stack_rows([(g.cells, r) for g, r in zip(groups, rows, strict=True)], n_cells)
    offset = np.zeros(n_cells)
    for g in groups:
        offset[g.cells] = g.offset
    make = poisson_nodes if family.name == "poisson" else chebyshev_nodes
    table = make(stacked.row_of, stacked.n_rows, offset)
    error = node_error(table, stacked.row_of, offset)
    stats = compress_counts(
        matrix, table, offset, genes=genes, group_of=stacked.group_of, n_groups=len(groups), n_jobs=n_jobs
    )
    out = []
    for i in range(len(groups)):
        first, last = int(stacked.first_row[i]), int(stacked.first_row[i + 1])
        lo, hi = int(table.ptr[first]), int(table.ptr[last])
        nodes = Nodes(
            np.ascontiguousarray(table.ptr[first : last + 1] - lo),
            np.ascontiguousarray(table.ec[lo:hi]),
            np.ascontiguousarray(table.weight[lo:hi]),
        )
        mine = stats.group(i)
        A = mine.A if len(groups) == 1 else np.ascontiguousarray(mine.A[:, lo:hi])
        out.append(_record(plain_rows(rows[i]), nodes, mine, A, table, error, None))
    return out


def _on_grid(matrix: Matrix, group: CellGroup, grid: Grid, genes: slice | IntArray, n_jobs: int) -> Compressed:
    table = grid.tensor.table
    error = tensor_error(grid.tensor, grid.x, group.offset, grid.slope_checked)
    stats = compress_counts(matrix, table, group.offset, obs_index=group.cells, genes=genes, n_jobs=n_jobs)
    return _record(grid.rows, engine_nodes(table), stats, stats.A, table, error, grid)


def _record(
    rows: ModelRows, nodes: Nodes, stats: CountStats, A: FloatArray, table: NodeTable, error: float, grid: Grid | None
) -> Compressed:
    return Compressed(
        rows=rows,
        nodes=nodes,
        stats=replace(count_stats(stats), A=A),
        kind=table.kind,
        n_nodes=len(nodes.ec),
        n_nodes_max=int(np.diff(nodes.ptr).max(initial=0)),
        range_max=table.range_max,
        error=error,
        grid=grid,
        total=stats.total,
        n_nonzero=stats.n_nonzero,
    )


def _sums(
    matrix: Matrix, groups: Sequence[CellGroup], family: Family, genes: slice | IntArray, n_jobs: int
) -> list[Compressed]:
    out = []
    for g in groups:
        rows = design_rows(g.design)
        stats = compress_gaussian(matrix, rows, g.offset, obs_index=g.cells, genes=genes, n_jobs=n_jobs)
        out.append(
            Compressed(
                rows=plain_rows(rows),
                nodes=gaussian_nodes(rows.n_cells),
                stats=gaussian_stats(stats),
                kind="sums",
                n_nodes=rows.n_rows,
                n_nodes_max=1,
                range_max=0.0,
                error=0.0,
                grid=None,
                total=stats.sum_y.sum(axis=1),
                n_nonzero=stats.n_nonzero,
            )
        )
    return out
