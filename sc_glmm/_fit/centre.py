"""Place nodes around the slopes of single genes, for models with covariates that vary from cell to cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._compress.centred import CentredRows, interpolation_error
from .._compress.recentre import CellsByRow, CountLists, recentre, recentre_collapsed
from .._engine.arrow.layout import Block
from .._engine.genes import GeneStats, Structure
from .._engine.laplace.records import Nodes, NodeSets
from .._engine.rowwise import rowwise
from .._families.registry import Family

# A gene has so many nodes that the theoretical error of its log likelihood, by interpolation in the predictor, is below
# this.
MAX_INTERPOLATION = 1e-4
# Genes with a larger mean slope (natural log per standard deviation) are not fitted on nodes around zero first.
STEEP = 0.3


class Lists(Protocol):
    """Source of the counts of genes."""

    def pick(self, genes: IntArray) -> CountLists:
        """Return the counts of these genes."""


@dataclass(frozen=True)
class CellData:
    """Cells of a model with covariates of cells.

    Attributes
    ----------
    rows
        Rows of the cells, which place their nodes.
    lists
        Counts of the genes.
    """

    rows: CentredRows
    lists: Lists

    def shifted(self, log_factor: FloatArray) -> CellData:
        """Add ``log_factor (n_rows,)`` to the offsets of the cells."""
        return replace(self, rows=self.rows.shifted(log_factor[self.rows.cells.first[:-1]]))


@dataclass(frozen=True)
class PlacedNodes:
    """Nodes around the slopes of some genes.

    Attributes
    ----------
    genes
        ``(n_genes,)`` positions of these genes among those for which nodes were placed.
    sets, stats
        Nodes of each gene on the kept rows, and the statistics on them.
    base
        ``(n_nodes,)`` base row of each node.
    error
        ``(n_genes,)`` theoretical error of the log likelihood, by interpolation in the predictor.
    """

    genes: IntArray
    sets: NodeSets
    stats: GeneStats
    base: IntArray
    error: FloatArray

    def pick(self, chosen: IntArray) -> PlacedNodes:
        """Select some of the genes."""
        sets = NodeSets(self.sets.ptr, self.sets.ec[chosen], self.sets.weight[chosen])
        return replace(
            self, genes=self.genes[chosen], sets=sets, stats=self.stats.pick(chosen), error=self.error[chosen]
        )


@dataclass(frozen=True)
class Centre:
    """Places the nodes of a block of genes around their slopes.

    Attributes
    ----------
    rows
        The rows of the cells.
    X, blocks
        Fixed and random effects at all rows.
    kept
        ``(n_rows,)`` whether the model uses a row; for a separated gene, some rows drop out.
    """

    rows: CentredRows
    X: FloatArray
    blocks: tuple[Block, ...]
    kept: BoolArray

    @cached_property
    def X_of_cells(self) -> FloatArray:
        """Compute the fixed effects of the cells, in the order of the rows, ``(n_cells, p)``."""
        return self.rows.at_cells(self.X)

    @cached_property
    def fixed_slopes(self) -> bool:
        """Whether random effects do not change the slopes of the predictor."""
        base, first = self.rows.base_row, self.rows.cells.first[:-1]
        # each column relative to its size, which depends on the unit of the covariate
        return all(
            bool(np.all(np.abs(block.Z - block.Z[first][base]) <= 1e-12 * np.abs(block.Z).max(axis=0, initial=0.0)))
            for block in self.blocks
        )

    def slopes(self, beta: FloatArray, ranef: Sequence[FloatArray]) -> FloatArray:
        """Compute the ``(n_genes, n_base, n_variables)`` slopes of the predictors of genes; 0 without a fit."""
        return self.planes(beta, ranef)[0]

    def planes(self, beta: FloatArray, ranef: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Compute the slopes, and the ``(n_genes, n_base)`` predictors at the mean covariates of each base row."""
        eta = rowwise(np.nan_to_num(beta), np.ascontiguousarray(self.X.T))
        for block, b in zip(self.blocks, ranef, strict=True):
            eta += np.einsum("grk,rk->gr", np.nan_to_num(b)[:, block.codes, :], block.Z)
        slopes, first = np.ascontiguousarray(self.rows.slopes_of(eta)), self.rows.cells.first[:-1]
        return slopes, eta[:, first] - np.sum(slopes * self.rows.cells.point[first], axis=2)

    def first_nodes(self, stats: GeneStats) -> tuple[NodeSets, GeneStats]:
        """Return the nodes around slopes of zero, and the statistics on them."""
        table, genes = self.rows.table, np.arange(len(stats))
        # a copy, in which the caller leaves out genes
        stats = replace(stats, A=stats.A.copy())
        placed = self._kept(genes, self.rows.cells, table.ec[None], table.weight[None], stats, np.zeros(len(stats)))
        return placed.sets, placed.stats

    def place_nodes(
        self, slopes: FloatArray, stats: GeneStats, counts: CountLists, family: Family
    ) -> list[PlacedNodes]:
        """Place nodes around `slopes`, with more nodes for genes whose predictor has a wider range."""
        genes = np.arange(len(slopes))
        if not family.has_dispersion:
            weight = np.zeros((len(slopes), len(self.rows.base_row)))
            recentre_collapsed(self.rows.cells, slopes, weight)
            return [self._kept(genes, self.rows.cells, np.ones(weight.shape), weight, stats, np.zeros(len(slopes)))]
        counts_by_base = self.counts_by_base(stats)
        first, widths = self._placed(genes, self.rows.cells, slopes, stats, counts, counts_by_base)
        scale = self.rows.node_scales(widths, counts_by_base, MAX_INTERPOLATION)
        enough = np.flatnonzero(scale == 1.0)
        placed = [first if len(enough) == len(genes) else first.pick(enough)]
        for each in np.unique(scale[scale > 1.0]).tolist():
            some = np.flatnonzero(scale == each)
            cells = self.rows.with_more_nodes(each)
            placed.append(self._placed(some, cells, slopes, stats, counts, counts_by_base)[0])
        return [each for each in placed if len(each.genes)]

    def _placed(
        self,
        genes: IntArray,
        cells: CellsByRow,
        slopes: FloatArray,
        stats: GeneStats,
        counts: CountLists,
        counts_by_base: FloatArray,
    ) -> tuple[PlacedNodes, FloatArray]:
        """Place the nodes of some genes, with as many nodes as `cells` has; also return the ranges of predictors."""
        shape = (len(genes), int(cells.node_ptr[-1]))
        ec, weight, A = np.ones(shape), np.zeros(shape), np.zeros(shape)
        widths = np.zeros((len(genes), len(cells.ptr) - 1))
        recentre(cells, slopes[genes], counts.pick(genes), ec, weight, A, widths)
        error = interpolation_error(cells, widths, counts_by_base[genes])
        return self._kept(genes, cells, ec, weight, replace(stats.pick(genes), A=A), error), widths

    def _kept(
        self,
        genes: IntArray,
        cells: CellsByRow,
        ec: FloatArray,
        weight: FloatArray,
        stats: GeneStats,
        error: FloatArray,
    ) -> PlacedNodes:
        """Leave out the nodes of the rows that the model does not use."""
        sizes, base_row = np.diff(cells.node_ptr), self.rows.base_row
        if not self.kept.all():
            nodes = np.repeat(self.kept, sizes)
            ec, weight, A = (np.ascontiguousarray(each[:, nodes]) for each in (ec, weight, stats.A))
            stats, sizes, base_row = replace(stats, A=A), sizes[self.kept], base_row[self.kept]
        ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return PlacedNodes(genes, NodeSets(ptr, ec, weight), stats, np.repeat(base_row, sizes), error)

    def steep(self, stats: GeneStats) -> BoolArray:
        """Find genes with slopes so steep that nodes around zero do not represent them, ``(n_genes,)``.

        For normal covariates, their mean over the counts of a base row is the slope. Without a slope, its square is
        about the number of covariates divided by the number of counts.
        """
        cells = self.rows.cells
        per_row = np.add.reduceat(stats.A, cells.node_ptr[:-1], axis=1)
        sums = np.add.reduceat(per_row[:, :, None] * cells.point, cells.first[:-1], axis=1)
        counts = self.counts_by_base(stats) * cells.on_lattice
        some = np.maximum(counts, 1.0)
        square = np.sum(sums**2, axis=2) * cells.on_lattice / some
        by_chance = cells.v.shape[1] * (counts > 0.5).sum(axis=1)
        found: BoolArray = square.sum(axis=1) - 2.0 * by_chance > STEEP**2 * counts.sum(axis=1)
        return found

    def counts_by_base(self, stats: GeneStats) -> FloatArray:
        """Add up the counts of the base rows, ``(n_genes, n_base)``."""
        cells = self.rows.cells
        return np.maximum(np.add.reduceat(stats.A, cells.node_ptr[cells.first[:-1]], axis=1), 0.0)


def cells_as_rows(
    structure: Structure, centre: Centre, stats: GeneStats, lists: CountLists
) -> tuple[Structure, Nodes, GeneStats]:
    """Build structure, nodes and statistics with each cell as a row; the parameters keep their meaning."""
    cells, arrow = centre.rows.cells, structure.arrow
    row = np.repeat(cells.first[:-1], np.diff(cells.ptr))
    level = arrow.lev[row, 0]
    on_cells = arrow._replace(
        XZ=np.ascontiguousarray(centre.rows.at_cells(arrow.XZ)),
        pos=np.ascontiguousarray(arrow.pos[row]),
        lev=np.ascontiguousarray(arrow.lev[row]),
        place=np.ascontiguousarray(arrow.place[row]),
        grp_ptr=np.searchsorted(np.sort(level), np.arange(len(arrow.grp_ptr))).astype(np.int64),
        grp_row=np.argsort(level, kind="stable").astype(np.int64),
    )
    n_cells = len(row)
    A = np.zeros((len(stats), n_cells))
    for gene in range(len(stats)):
        cell, count = lists.of(gene)
        A[gene, cell] = count
    nodes = Nodes(np.arange(n_cells + 1, dtype=np.int64), np.exp(cells.offset), np.ones(n_cells))
    return replace(structure, arrow=on_cells), nodes, replace(stats, A=A)


@dataclass(frozen=True)
class CellCounts:
    """Cells of a block of genes: where nodes are placed, statistics on the nodes around zero, and counts of cells."""

    centre: Centre
    stats: GeneStats
    lists: CountLists

    def pick(self, chosen: IntArray) -> CellCounts:
        """Select some of the genes."""
        return CellCounts(self.centre, self.stats.pick(chosen), self.lists.pick(chosen))
