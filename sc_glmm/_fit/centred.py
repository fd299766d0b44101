"""Fit genes with covariates that vary from cell to cell: nodes are placed around the slopes of each gene.

The first fit uses nodes around slopes of zero, which are the same for all genes. Then the cells of the gene are put on
nodes around its slopes, sample by sample, and the fit continues from its last parameters. This is repeated until the
slopes no longer change. The value, gradient and Laplace term of the likelihood then equal those of the cells, except
for the error of interpolation in the predictor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._compress.centred import CentredRows
from .._compress.recentre import CountLists, recentre, recentre_collapsed
from .._engine import entry
from .._engine.arrow.layout import Block
from .._engine.fit import fit_genes, read_fits, search_fits
from .._engine.genes import GeneFits, GeneStats, Structure
from .._engine.laplace.records import Nodes, NodeSets
from .._engine.laplace.search import FitOut
from .._engine.rowwise import rowwise
from .._families.registry import Family
from .slope_start import start_slopes

# A gene is fitted on its cells if this number of rounds of new nodes is not enough.
MAX_ROUNDS = 8
# It is also fitted on its cells if the theoretical error of the log likelihood, by interpolation in the predictor, is
# above this.
MAX_ERROR = 1e-3
# Genes with a larger mean slope (natural log per standard deviation) are not fitted on nodes around zero first.
STEEP = 0.3
# Tolerances for the difference between the slopes of the nodes and of the fit: its effect on the log likelihood, and on
# estimates in standard errors. The effect is that of the first power that the nodes do not represent exactly.
_LOGLIK, _ESTIMATE = 1e-4, 1e-5


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

    @property
    def kept_nodes(self) -> BoolArray:
        """Whether a node belongs to a kept row, ``(n_nodes,)``."""
        kept: BoolArray = np.repeat(self.kept, np.diff(self.rows.cells.node_ptr))
        return kept

    @property
    def ptr(self) -> IntArray:
        """Start of the nodes of each kept row among the kept nodes, ``(n_kept_rows + 1,)``."""
        sizes = np.diff(self.rows.cells.node_ptr)[self.kept]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

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
        table, kept = self.rows.table, self.kept_nodes
        sets = NodeSets(self.ptr, table.ec[None, kept], table.weight[None, kept])
        return sets, replace(stats, A=np.ascontiguousarray(stats.A[:, kept]))

    def nodes(
        self, slopes: FloatArray, stats: GeneStats, counts: CountLists, family: Family
    ) -> tuple[NodeSets, GeneStats, FloatArray]:
        """Place nodes around `slopes`; return them, the statistics on them, and ``(n_genes,)`` theoretical errors."""
        cells, n_genes, kept = self.rows.cells, len(slopes), self.kept_nodes
        shape = (n_genes, int(cells.node_ptr[-1]))
        weight, error, ec, A = np.zeros(shape), np.zeros(n_genes), np.ones(shape), stats.A
        if family.has_dispersion:
            A = np.zeros(shape)
            recentre(cells, slopes, counts, ec, weight, A, error)
        else:
            recentre_collapsed(cells, slopes, weight)
        if not kept.all():
            ec, weight, A = (np.ascontiguousarray(each[:, kept]) for each in (ec, weight, A))
        return NodeSets(self.ptr, ec, weight), replace(stats, A=A), error

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


def slopes_tested(
    centre: Centre, beta: FloatArray, profiled: FloatArray, vcov: FloatArray, contrasts: Sequence[FloatArray]
) -> FloatArray:
    """Compute how far the slopes of profiles are from the slopes of the fits: free, and under each hypothesis.

    Random effects are held. If they adapt to a hypothesis, the slopes change less than that.

    Parameters
    ----------
    centre
        The rows.
    beta, vcov
        ``(n_genes, p)`` and ``(n_genes, p, p)`` of the fits that nodes are around.
    profiled
        ``(n_genes, p)`` at the likeliest node of the profiles.
    contrasts
        ``(q, p)`` each.

    Returns
    -------
    ``(1 + n_contrasts, n_genes, n_base, n_variables)``.
    """
    moves = [profiled - beta]
    for L in contrasts:
        spread = vcov @ L.T
        size = np.sqrt(np.maximum(np.einsum("qp,gpq->gq", L, spread), 0.0))
        # rows of a hypothesis may have very different units
        unit = np.where(size > 0.0, 1.0 / np.where(size > 0.0, size, 1.0), 0.0)
        covariance = (L @ spread) * unit[:, :, None] * unit[:, None, :]
        weight = np.linalg.pinv(np.nan_to_num(covariance), rcond=1e-10, hermitian=True)
        value = np.einsum("gqr,gr->gq", weight, (profiled @ L.T) * unit) * unit
        moves.append(moves[0] - np.einsum("gpq,gq->gp", spread, value))
    eta = np.nan_to_num(np.stack(moves)) @ centre.X.T
    n_moves, n_genes, n_rows = eta.shape
    change = centre.rows.slopes_of(eta.reshape(-1, n_rows))
    return change.reshape(n_moves, n_genes, *change.shape[1:])


def has_moved(rows: CentredRows, change: FloatArray, counts: FloatArray) -> BoolArray:
    """Find genes whose slopes have changed by more than the nodes represent exactly, ``(n_genes,)``."""
    total = np.maximum(counts.sum(axis=1), 1.0)
    far: BoolArray = (rows.error_of(change, counts) > _LOGLIK) | (
        rows.error_of(change, counts, 1) > _ESTIMATE * np.sqrt(total)
    )
    return far


def fit_centred(
    structure: Structure,
    centre: Centre,
    family: Family,
    reml: bool,
    n_agq: int,
    stats: GeneStats,
    lists: CountLists,
) -> tuple[GeneFits, BoolArray, FloatArray]:
    """Fit a block of genes; also return which genes must be fitted on their cells, and the errors of the others.

    The errors ``(n_genes,)`` are those of the log likelihoods, estimated from theory and from the difference between
    the slopes of the nodes and of the fits.
    """
    sets, first = centre.first_nodes(stats)
    beyond = centre.steep(stats)
    first.A[beyond] = 0.0
    first = replace(first, extra=np.where(beyond[:, None] & (np.arange(first.extra.shape[1]) == 1), 0.0, first.extra))
    out = search_fits(structure, sets, first, family, reml=reml, n_agq=n_agq)
    at = np.zeros((len(stats), len(centre.rows.cells.ptr) - 1, centre.rows.cells.v.shape[1]))
    counts, interpolation = centre.counts_by_base(stats), np.zeros(len(stats))
    steep = np.flatnonzero((out.status == entry.FAILED) | beyond)
    if len(steep):
        steep_lists = take_lists(lists, steep)
        at[steep] = start_slopes(centre.rows, centre.X, steep_lists)
        sets, on_nodes, error = centre.nodes(at[steep], stats.pick(steep), steep_lists, family)
        interpolation[steep] = error * counts[steep].sum(axis=1)
        again = search_fits(structure, sets, on_nodes, family, reml=reml, n_agq=n_agq)
        for whole, part in zip(out, again, strict=True):
            whole[steep] = part
    genes = np.flatnonzero(np.isin(out.status, (entry.OK, entry.NOT_CONVERGED)))
    left, outside = np.zeros(len(stats)), out.status == entry.FAILED
    for _ in range(MAX_ROUNDS):
        fits = read_fits(structure, _of(out, genes), stats.pick(genes), family, reml=reml)
        slopes = centre.slopes(fits.beta, fits.ranef)
        far = has_moved(centre.rows, slopes - at[genes], counts[genes])
        left[genes] = centre.rows.error_of(slopes - at[genes], counts[genes])
        genes = genes[far]
        if len(genes) == 0:
            break
        at[genes] = slopes[far]
        sets, on_nodes, error = centre.nodes(at[genes], stats.pick(genes), take_lists(lists, genes), family)
        near = _of(out, genes)
        again = search_fits(structure, sets, on_nodes, family, reml=reml, n_agq=n_agq, near=near)
        for whole, part in zip(out, again, strict=True):
            whole[genes] = part
        interpolation[genes] = error * counts[genes].sum(axis=1)
        lost = ~np.isin(again.status, (entry.OK, entry.NOT_CONVERGED))
        outside[genes[lost]] = True
        genes = genes[~lost]
    outside[genes] = True
    outside |= interpolation > MAX_ERROR
    return read_fits(structure, out, stats, family, reml=reml), outside, np.where(outside, 0.0, left + interpolation)


def fit_on_cells(
    structure: Structure,
    centre: Centre,
    family: Family,
    reml: bool,
    n_agq: int,
    stats: GeneStats,
    lists: CountLists,
) -> GeneFits:
    """Fit genes with each cell as a row, which is exact but slow."""
    return fit_genes(*cells_as_rows(structure, centre, stats, lists), family, reml=reml, n_agq=n_agq)


def measured_error(
    centre: Centre,
    slopes: FloatArray,
    level: FloatArray,
    nodes: tuple[FloatArray, FloatArray, FloatArray],
    counts: tuple[IntArray, FloatArray],
    phi: float | None,
) -> float:
    """Measure the error of the log likelihood of a gene on nodes, at slopes that differ from those of the nodes.

    Parameters
    ----------
    centre
        The rows.
    slopes, level
        ``(n_base, n_variables)`` and ``(n_base,)`` of the predictor.
    nodes
        exp(offset), weights and counts of the nodes of all rows.
    counts
        Cells with a count, and the counts.
    phi
        The dispersion; None for Poisson counts.
    """
    rows = centre.rows
    cells = rows.cells
    base = np.repeat(np.arange(len(level)), np.diff(cells.ptr))
    used = cells.on_lattice[base] == 1
    at_cells = cells.offset + level[base] + np.sum(cells.v * slopes[base], axis=1)
    at_rows = level[rows.base_row] + np.sum(cells.point * slopes[rows.base_row], axis=1)
    row = np.repeat(np.arange(len(at_rows)), np.diff(cells.node_ptr))
    on_nodes = cells.on_lattice[rows.base_row[row]] == 1
    ec, weight, A = nodes
    if phi is None:
        exact, ours = np.exp(at_cells), weight * np.exp(at_rows[row])
    else:
        y = np.zeros(len(at_cells))
        y[counts[0]] = counts[1]
        exact = (y + 1.0 / phi) * np.log1p(phi * np.exp(at_cells))
        ours = (A + weight / phi) * np.log1p(phi * ec * np.exp(at_rows[row]))
    return abs(float(np.sum(exact[used]) - np.sum(ours[on_nodes])))


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
    A[np.repeat(np.arange(len(stats)), np.diff(lists.ptr)), lists.cell] = lists.value
    nodes = Nodes(np.arange(n_cells + 1, dtype=np.int64), np.exp(cells.offset), np.ones(n_cells))
    return replace(structure, arrow=on_cells), nodes, replace(stats, A=A)


def _of(out: FitOut, genes: IntArray) -> FitOut:
    return FitOut(*(getattr(out, name)[genes] for name in FitOut._fields))


def take_lists(counts: CountLists, genes: IntArray) -> CountLists:
    """Select the lists of `genes`, in this order."""
    sizes = np.diff(counts.ptr)[genes]
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    places = np.repeat(counts.ptr[:-1][genes] - ptr[:-1], sizes) + np.arange(ptr[-1])
    return CountLists(ptr, counts.cell[places], counts.value[places])
