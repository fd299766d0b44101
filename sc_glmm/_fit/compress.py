"""Compress all groups of cells in one pass over the matrix: rows, nodes, and the statistics on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress import (
    CountStats,
    DesignRows,
    GaussianStats,
    NodeTable,
    centred_error,
    compress_counts,
    compress_gaussian,
    node_error,
    stack_rows,
)
from .._compress.centred import CentredRows
from .._compress.matrix import Matrix, gene_index
from .._compress.nodes import restrict_table
from .._compress.source import Source
from .._design import Design, finest
from .._engine.gaussian.problem import constant_direction
from .._engine.genes import GeneStats
from .._engine.laplace.records import Nodes
from .._families.registry import Family
from .cluster import PartialStats, client_for, counts_on_cluster, sums_on_cluster
from .model import count_nodes, count_stats, engine_nodes, gaussian_nodes, gaussian_stats
from .orthogonal import OrthogonalRows, orthogonal_rows
from .rows import ModelRows, design_rows, find_centred, plain_rows
from .slabs import gene_slabs, join_stats, scratch_array

# Largest number of sums over distinct rows in memory (Gaussian responses with a covariate of cells have many rows).
_MAX_SUMS = 50_000_000


@dataclass(frozen=True)
class CellGroup:
    """Cells of one model.

    Attributes
    ----------
    name
        Level of `groupby`, or an empty string.
    cells
        ``(n_obs,)`` positions of the cells in the matrix.
    design
        The design on these cells.
    offset
        ``(n_obs,)`` natural logs of the size factors, or the offset of a Gaussian response.
    wide
        Whether profiles test the slopes of covariates of cells (:func:`tests_slopes`).
    """

    name: str
    cells: IntArray
    design: Design
    offset: FloatArray
    wide: bool = False


def tests_slopes(design: Design, contrasts: Sequence[FloatArray]) -> bool:
    """Check whether a contrast has a weight on a column of X that varies between the cells of a sample."""
    codes, X = design.random[finest(design.random)].codes, design.fixed.X
    example = np.zeros((int(codes.max(initial=0)) + 1, X.shape[1]))
    example[codes] = X
    varies = (X != example[codes]).any(axis=0)
    return any(bool(np.any(L[:, varies])) for L in contrasts)


@dataclass(frozen=True)
class Layout:
    """Rows and nodes of the cells of one group; they are the same for all genes.

    Attributes
    ----------
    rows, nodes
        Input of the engine.
    kind
        ``"collapsed"``, ``"chebyshev"``, ``"cells"``, ``"centred"`` or ``"sums"`` (Gaussian).
    n_nodes, n_nodes_max, range_max
        Total number of nodes, largest number in a row, and largest range of offsets in a panel.
    error
        Largest relative error of the nodes, measured on the cells; 0 for exact nodes.
    centred
        Rows that place nodes around the slopes of a gene, if covariates differ between cells; otherwise None.
    """

    rows: ModelRows
    nodes: Nodes
    kind: str
    n_nodes: int
    n_nodes_max: int
    range_max: float
    error: float
    centred: CentredRows | None


@dataclass(frozen=True, kw_only=True)
class Compressed(Layout):
    """Compressed cells of one group.

    Attributes
    ----------
    stats
        Input of the engine.
    total, n_nonzero
        ``(n_genes,)`` sum of the response, and number of cells in which it is not zero.
    """

    stats: GeneStats
    total: FloatArray
    n_nonzero: IntArray


@dataclass(frozen=True)
class CompressionPlan:
    """Plan of one pass over the matrix, for one or several groups of cells.

    Attributes
    ----------
    groups
        Positions of the groups of this pass among all groups.
    layouts
        Layouts of these groups.
    table
        Nodes of all their cells; None for a Gaussian response.
    rows
        Design rows of the cells of a Gaussian response, otherwise None.
    offset
        ``(n_obs,)`` natural logs of size factors, or the offset of a Gaussian response.
    cells
        ``(n_obs,)`` row of the matrix for each cell of `table`; None if cell i is in row i.
    group_of
        ``(n_obs,)`` group of each cell, counted from 0 in this pass; None if there is only one group.
    first_node
        ``(n_groups + 1,)`` first node of each group.
    basis
        Orthogonal rows that replace `rows`, if they are fewer; otherwise None.
    """

    groups: tuple[int, ...]
    layouts: tuple[Layout, ...]
    table: NodeTable | None
    rows: DesignRows | None
    offset: FloatArray
    cells: IntArray | None
    group_of: IntArray | None
    first_node: IntArray
    basis: OrthogonalRows | None = None

    def add_up(
        self,
        matrix: Matrix | Source,
        *,
        first_row: int = 0,
        genes: slice | IntArray = slice(None),
        n_jobs: int = 1,
        progress: bool | None = False,
    ) -> CountStats | GaussianStats:
        """Compute the statistics of the cells in `matrix`, a part of the whole matrix that starts at `first_row`.

        Statistics of disjoint sets of cells can be added (:func:`.cluster.add_stats`).
        """
        where = self._where(first_row, matrix.shape[0], None)
        if self.table is None and self.rows is not None:
            return self._sums(matrix, self.rows, where, gene_index(genes, matrix.shape[1]), n_jobs, progress)
        if self.table is None:
            raise RuntimeError("a pass has either a node table or rows")
        client = client_for(matrix)
        if client is not None:
            columns, n_groups = gene_index(genes, matrix.shape[1]), None if self.group_of is None else len(self.groups)
            return counts_on_cluster(client, matrix, self.table, self.offset, where, columns, self.group_of, n_groups)
        return compress_counts(
            matrix,
            self.table,
            self.offset,
            obs_index=where,
            genes=genes,
            group_of=self.group_of,
            n_groups=None if self.group_of is None else len(self.groups),
            n_jobs=n_jobs,
            progress=progress,
        )

    def add_up_rows(
        self, matrix: Source, rows: tuple[int, int], *, n_jobs: int = 1, progress: bool | None = False
    ) -> PartialStats:
        """Compute the statistics of the cells in the rows ``rows[0]:rows[1]``, on the nodes of these cells only."""
        where = self._where(0, matrix.shape[0], rows)
        if self.table is None and self.rows is not None:
            result = self._sums(matrix, self.rows, where, gene_index(slice(None), matrix.shape[1]), n_jobs, progress)
            return PartialStats(result, np.arange(int(self.first_node[-1])))
        if self.table is None or where is None:
            raise RuntimeError("a pass has either a node table or rows")
        cells = np.flatnonzero(where >= 0)
        part, nodes = restrict_table(self.table, cells)
        counts = compress_counts(
            matrix,
            part,
            self.offset[cells],
            obs_index=where[cells],
            group_of=None if self.group_of is None else self.group_of[cells],
            n_groups=None if self.group_of is None else len(self.groups),
            n_jobs=n_jobs,
            progress=progress,
        )
        return PartialStats(counts, nodes)

    def _sums(
        self,
        matrix: Matrix | Source,
        rows: DesignRows,
        where: IntArray | None,
        genes: IntArray,
        n_jobs: int,
        progress: bool | None,
    ) -> GaussianStats:
        """Sum a Gaussian response over the rows, or over the orthogonal rows that replace them."""

        def sums(chosen: IntArray) -> GaussianStats:
            client = client_for(matrix)
            if client is not None:
                return sums_on_cluster(client, matrix, rows.row_of, rows.n_rows, self.offset, where, chosen)
            return compress_gaussian(
                matrix, rows, self.offset, obs_index=where, genes=chosen, n_jobs=n_jobs, progress=progress
            )

        if self.basis is None:
            return sums(genes)
        step, parts = max(_MAX_SUMS // max(rows.n_rows, 1), 1), []
        for start in range(0, max(len(genes), 1), step):
            result = sums(genes[start : start + step])
            parts.append(replace(result, sum_y=(self.basis.projection @ result.sum_y.T).T))
        names = [field.name for field in fields(GaussianStats) if field.name != "n_cells"]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return GaussianStats(n_cells=parts[0].n_cells, **joined)

    def _where(self, first_row: int, n_rows: int, rows: tuple[int, int] | None) -> IntArray | None:
        """Find the row of each cell in a matrix that starts at `first_row`; -1 for cells that it does not contain."""
        if self.cells is None and first_row == 0 and n_rows == len(self.offset) and rows is None:
            return None
        cells = np.arange(len(self.offset), dtype=np.int64) if self.cells is None else self.cells
        first, last = (first_row, first_row + n_rows) if rows is None else rows
        return np.where((cells >= first) & (cells < last), cells - first_row, -1)

    def _sums_of_one(self) -> FloatArray | None:
        """Compute the statistics ``(n_rows,)`` of a response that equals one; None if the design has no constant."""
        if self.rows is None or constant_direction(self.rows.X) is None:
            return None
        n_cells = self.rows.n_cells.astype(np.float64)
        return n_cells if self.basis is None else np.asarray(self.basis.projection @ n_cells)

    def by_group(self, stats: CountStats | GaussianStats) -> list[Compressed]:
        """Divide the statistics of all cells by group."""
        if isinstance(stats, GaussianStats):
            result = gaussian_stats(stats, len(self.offset), self._sums_of_one())
            return [_with_stats(self.layouts[0], result, stats.total, stats.n_nonzero)]
        if self.group_of is None:
            return [_with_stats(self.layouts[0], count_stats(stats), stats.total, stats.n_nonzero)]
        out = []
        for i, layout in enumerate(self.layouts):
            of_group = stats.group(i)
            A = of_group.A
            if len(self.layouts) > 1:
                A = np.ascontiguousarray(A[:, self.first_node[i] : self.first_node[i + 1]])
            out.append(_with_stats(layout, replace(count_stats(of_group), A=A), of_group.total, of_group.n_nonzero))
        return out


def _with_stats(layout: Layout, stats: GeneStats, total: FloatArray, n_nonzero: IntArray) -> Compressed:
    return Compressed(
        **{field.name: getattr(layout, field.name) for field in fields(Layout)},
        stats=stats,
        total=total,
        n_nonzero=n_nonzero,
    )


def compress_groups(
    matrix: Matrix | Source,
    groups: Sequence[CellGroup],
    family: Family,
    *,
    genes: slice | IntArray = slice(None),
    n_jobs: int = 1,
    memory_limit: int | None = None,
    progress: bool | None = False,
) -> list[Compressed]:
    """Compress the cells of all groups; groups without covariates of cells share one pass over `matrix`.

    Statistics that need more than `memory_limit` bytes are computed in several passes, by genes, and stored in a
    temporary file.
    """
    compressed: dict[int, Compressed] = {}
    chosen = gene_index(genes, matrix.shape[1])
    for each in plan_passes(groups, family, matrix.shape[0]):
        slabs = gene_slabs(chosen, np.diff(each.first_node).tolist(), memory_limit)
        result = (each.by_group(each.add_up(matrix, genes=slab, n_jobs=n_jobs, progress=progress)) for slab in slabs)
        joined = next(result) if len(slabs) == 1 else _join_slabs(each.layouts, len(chosen), result)
        compressed.update(zip(each.groups, joined, strict=True))
    return [compressed[i] for i in range(len(groups))]


def _join_slabs(layouts: Sequence[Layout], n_genes: int, slabs: Iterable[list[Compressed]]) -> list[Compressed]:
    """Join consecutive sets of genes; the statistics on the nodes are in temporary files."""
    A = [scratch_array((n_genes, layout.n_nodes)) for layout in layouts]
    parts: list[list[Compressed]] = [[] for _ in layouts]
    start = 0
    for slab in slabs:
        stop = start + len(slab[0].total)
        for i, of_group in enumerate(slab):
            A[i][start:stop] = of_group.stats.A
            parts[i].append(replace(of_group, stats=replace(of_group.stats, A=of_group.stats.A[:0].copy())))
        start = stop
    return [
        _with_stats(
            layout,
            join_stats([part.stats for part in of_group], A[i]),
            np.concatenate([part.total for part in of_group]),
            np.concatenate([part.n_nonzero for part in of_group]),
        )
        for i, (layout, of_group) in enumerate(zip(layouts, parts, strict=True))
    ]


def plan_passes(groups: Sequence[CellGroup], family: Family, n_cells: int) -> list[CompressionPlan]:
    """Plan the passes over a matrix of `n_cells` rows.

    All groups of counts share one pass. Groups with covariates of cells, and groups of a Gaussian response, have a pass
    of their own. Every pass is a sum over cells, gene by gene.
    """
    if not family.counts:
        return [_plan_sums(i, group) for i, group in enumerate(groups)]
    found = [find_centred(g.design, g.offset, collapsed=not family.has_dispersion, wide=g.wide) for g in groups]
    flat = [i for i, each in enumerate(found) if each is None]
    passes = [_plan_counts(flat, [groups[i] for i in flat], family, n_cells)] if flat else []
    return passes + [_plan_centred(i, groups[i], *each) for i, each in enumerate(found) if each is not None]


def _plan_counts(places: Sequence[int], groups: Sequence[CellGroup], family: Family, n_cells: int) -> CompressionPlan:
    rows = [design_rows(g.design) for g in groups]
    stacked = stack_rows([(g.cells, r) for g, r in zip(groups, rows, strict=True)], n_cells)
    offset = np.zeros(n_cells)
    for g in groups:
        offset[g.cells] = g.offset
    table = count_nodes(family)(stacked.row_of, stacked.n_rows, offset)
    error = node_error(table, stacked.row_of, offset)
    first_node = table.ptr[stacked.first_row]
    layouts = []
    for i, own_rows in enumerate(rows):
        lo, hi = int(first_node[i]), int(first_node[i + 1])
        nodes = Nodes(
            np.ascontiguousarray(table.ptr[stacked.first_row[i] : stacked.first_row[i + 1] + 1] - lo),
            np.ascontiguousarray(table.ec[lo:hi]),
            np.ascontiguousarray(table.weight[lo:hi]),
        )
        layouts.append(_layout(plain_rows(own_rows), nodes, table, error, None))
    return CompressionPlan(tuple(places), tuple(layouts), table, None, offset, None, stacked.group_of, first_node)


def _plan_centred(place: int, group: CellGroup, centred: CentredRows, rows: ModelRows) -> CompressionPlan:
    table = centred.table
    layout = replace(_layout(rows, engine_nodes(table), table, centred_error(centred), centred), kind="centred")
    first_node = np.array([0, table.n_nodes], dtype=np.int64)
    return CompressionPlan((place,), (layout,), table, None, group.offset, group.cells, None, first_node)


def _layout(rows: ModelRows, nodes: Nodes, table: NodeTable, error: float, centred: CentredRows | None) -> Layout:
    return Layout(
        rows=rows,
        nodes=nodes,
        kind=table.kind,
        n_nodes=len(nodes.ec),
        n_nodes_max=int(np.diff(nodes.ptr).max(initial=0)),
        range_max=table.range_max,
        error=error,
        centred=centred,
    )


def _plan_sums(place: int, group: CellGroup) -> CompressionPlan:
    distinct = design_rows(group.design)
    basis = orthogonal_rows(distinct)
    rows = plain_rows(distinct) if basis is None else basis.rows
    layout = Layout(
        rows=rows,
        nodes=gaussian_nodes(rows.n_cells),
        kind="sums",
        n_nodes=len(rows.X),
        n_nodes_max=1,
        range_max=0.0,
        error=0.0,
        centred=None,
    )
    first_node = np.array([0, len(rows.X)], dtype=np.int64)
    return CompressionPlan((place,), (layout,), None, distinct, group.offset, group.cells, None, first_node, basis)
