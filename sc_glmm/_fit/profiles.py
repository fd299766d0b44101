"""Compute the profile of every gene over the variances that matter, from a plan that is based on all genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._compress.recentre import CountLists
from .._display import progress_over
from .._engine import entry
from .._engine.genes import GeneStats, Structure
from .._engine.grid_profiles import Profiles, empty_profiles, profile_genes
from .._engine.laplace.records import Nodes, NodeSets
from .._families.registry import Family
from .._parallel.blocks import run_blocks
from .centre import CellCounts, Centre
from .centred_profiles import SlopesOf, Tested, profile_on_nodes
from .dispersion import Dispersion, dispersion_or_trend
from .genes import BLOCK, AllFits, GeneModel
from .grid_choice import VarianceGrid, choose_grid
from .information import median_information
from .totals import GeneTotals

# Below this median information of a sample, quadrature with N_AGQ nodes replaces the Laplace approximation.
LAPLACE_INFORMATION = 10.0
N_AGQ = 7


@dataclass(frozen=True)
class ProfilePlan:
    """Settings of the profiles: the grid of all genes, and settings for each gene.

    Attributes
    ----------
    grid
        The grid of the variances.
    abundance
        ``(n_genes,)`` log mean per unit of size factor.
    log_dispersion, phi_from_trend
        ``(n_genes,)`` fixed log dispersion of a gene, and whether it comes from the trend.
    usable
        ``(n_genes,)`` whether a gene is profiled.
    """

    grid: VarianceGrid
    abundance: FloatArray
    log_dispersion: FloatArray
    phi_from_trend: BoolArray
    usable: BoolArray

    def take(self, start: int, stop: int) -> ProfilePlan:
        """Select the genes ``start:stop``."""
        part = slice(start, stop)
        return replace(
            self,
            abundance=self.abundance[part],
            log_dispersion=self.log_dispersion[part],
            phi_from_trend=self.phi_from_trend[part],
            usable=self.usable[part],
        )


def plan_profiles(
    model: GeneModel,
    result: AllFits,
    totals: GeneTotals,
    contrasts: Sequence[FloatArray],
    pick: Callable[[IntArray], GeneStats],
    dispersion: Dispersion = "ml",
) -> ProfilePlan | None:
    """Estimate the trend of the dispersions and choose the grid of the variances, from the fits of all genes.

    Returns None if no gene can be profiled.

    Parameters
    ----------
    model
        The model; its statistics are not used.
    result, totals
        Fits and totals of all genes.
    contrasts
        Contrast matrices.
    pick
        Function that returns the statistics of a few genes. These genes show which variances the contrasts depend on.
    dispersion
        Whether genes with enough information keep their dispersions, or shrink them to the trend.
    """
    fits = result.fits
    usable = np.isin(fits.status, (entry.OK, entry.NOT_CONVERGED)) & (totals.total > 0.0)
    if not usable.any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        # computed from whole numbers, so that genes with equal counts are exact ties
        abundance = np.log(totals.raw_total / np.sum(model.nodes.ec * model.nodes.weight))
    if model.family.has_dispersion:
        log_phi, from_trend = dispersion_or_trend(fits, totals.n_two, abundance, dispersion)
    else:
        log_phi, from_trend = np.zeros(len(usable)), np.zeros(len(usable), dtype=bool)
    grid = choose_grid(model, fits, totals.total, log_phi, contrasts, pick)
    return ProfilePlan(grid, abundance, log_phi, from_trend, usable)


@dataclass(frozen=True)
class GeneProfiles:
    """Profiles of a range of genes.

    Attributes
    ----------
    profiles
        The profiles; NaN for genes that are not usable.
    n_agq
        ``(n_genes,)`` number of quadrature nodes; 1 is the Laplace approximation.
    information
        ``(n_genes,)`` information on the effects of the first factor, median over its levels.
    on_cells
        ``(n_genes,)`` whether a gene was profiled on its cells, because the nodes are not accurate enough.
    error
        ``(n_genes,)`` estimated error of the log likelihood due to nodes around slopes, for the hypothesis with the
        largest error; 0 for genes without such nodes.
    """

    profiles: Profiles
    n_agq: IntArray
    information: FloatArray
    on_cells: BoolArray
    error: FloatArray


def profile_all(
    model: GeneModel,
    result: AllFits,
    plan: ProfilePlan,
    contrasts: Sequence[FloatArray],
    *,
    every_node: bool = False,
    n_jobs: int = 1,
    progress: bool | None = False,
) -> GeneProfiles:
    """Profile the genes of `model`, whose fits are `result`.

    Parameters
    ----------
    model, result, plan
        Model, fits and plan of the same genes.
    contrasts
        Contrast matrices.
    every_node
        Whether to evaluate the likelihood at all nodes, instead of only those with posterior weight.
    n_jobs, progress
        As in :func:`sc_glmm.tl.test`.
    """
    n_genes = len(model.stats)
    firth = _with_firth_counts(model, result, plan)
    n_agq = np.ones(n_genes, dtype=np.int64)
    information = np.full(n_genes, np.nan)
    if model.family.counts:
        information = median_information(model, result, plan.log_dispersion)
    if _can_integrate(model):
        n_agq[information < LAPLACE_INFORMATION] = N_AGQ
    usable = np.flatnonzero(plan.usable)
    # On a grid of one variance, the search for nodes with weight starts at this node and goes outwards. Grids of
    # several variances have few nodes of each, so all are evaluated.
    start_node = None if every_node or len(plan.grid.shape) > 1 else plan.grid.centre
    centre = model.centre()
    base_of_node = np.repeat(model.rows.base, np.diff(model.nodes.ptr))
    n_base = int(model.rows.base.max(initial=0)) + 1
    shared = (model.structure, model.nodes, centre, base_of_node, model.family, plan.grid, contrasts)

    def blocks() -> Iterator[tuple[object, ...]]:
        for n in np.unique(n_agq[usable]):
            chosen = usable[n_agq[usable] == n]
            for start in range(0, len(chosen), BLOCK):
                genes = chosen[start : start + BLOCK]
                fits = None if centre is None else SlopesOf.take(centre, result, genes)
                data = (model.stats.pick(genes), model.lists(genes), fits, firth.of(genes, n_base))
                yield genes, *data, plan.log_dispersion[genes], firth.beta[genes], int(n), start_node

    def results() -> Iterator[tuple[int, tuple[IntArray, Profiles, BoolArray, FloatArray]]]:
        for genes, profiles, cells, errors in run_blocks(_profile_block, shared, blocks(), n_jobs):
            yield len(genes), (genes, profiles, cells, errors)

    out = empty_profiles(n_genes, len(plan.grid.theta), len(contrasts), model.rows.X.shape[1])
    on_cells, error = np.zeros(n_genes, dtype=bool), np.zeros(n_genes)
    for genes, profiles, cells, errors in progress_over(results(), len(usable), "variance profiles", progress):
        on_cells[genes], error[genes] = cells, errors
        for field in fields(out):
            getattr(out, field.name)[genes] = getattr(profiles, field.name)
    return GeneProfiles(out, n_agq, information, on_cells, error)


def _can_integrate(model: GeneModel) -> bool:
    return len(model.structure.blocks) == 1 and model.structure.blocks[0].Z.shape[1] == 1


@dataclass(frozen=True)
class _Firth:
    """Additional counts of separated genes: half a count per coefficient, distributed by leverage (Firth).

    The coefficients are then finite, and r* has the right size (the likelihood ratio alone is too large).

    Attributes
    ----------
    beta
        ``(n_genes, p)`` starting values of the profiles.
    added
        Gene -> ``(n_base,)`` added counts for each unit of weight of a node.
    """

    beta: FloatArray
    added: dict[int, FloatArray]

    def of(self, genes: IntArray, n_base: int) -> FloatArray | None:
        """Return the ``(n_genes, n_base)`` counts to add for each unit of weight; None if no gene is separated."""
        if not any(gene in self.added for gene in genes.tolist()):
            return None
        nothing = np.zeros(n_base)
        return np.stack([self.added.get(gene, nothing) for gene in genes.tolist()])


def _with_firth_counts(model: GeneModel, result: AllFits, plan: ProfilePlan) -> _Firth:
    """Compute the additional counts of separated genes, and the starting values of all genes."""
    if not result.separations:
        return _Firth(result.fits.beta, {})
    beta = result.fits.beta.copy()
    added: dict[int, FloatArray] = {}
    nodes, X, base = model.nodes, model.rows.X, model.rows.base
    weight = np.bincount(base, np.add.reduceat(nodes.weight, nodes.ptr[:-1]))
    between = float(plan.grid.variance[plan.grid.centre].sum())
    one, *_ = np.linalg.lstsq(X, np.ones(len(X)), rcond=None)
    for gene in result.separations:
        mu = np.exp(plan.abundance[gene]) * nodes.ec
        phi = np.exp(plan.log_dispersion[gene]) if model.family.has_dispersion else 0.0
        information = np.add.reduceat(nodes.weight * mu / (1.0 + phi * mu), nodes.ptr[:-1])
        W = information / (1.0 + between * np.bincount(base, information)[base])
        leverage = W * np.einsum("ri,ij,rj->r", X, np.linalg.inv((X.T * W) @ X), X)
        added[gene] = 0.5 * np.bincount(base, leverage) / weight
        beta[gene] = one * plan.abundance[gene]
    return _Firth(beta, added)


def _profile_block(
    structure: Structure,
    nodes: Nodes,
    centre: Centre | None,
    base_of_node: IntArray,
    family: Family,
    grid: VarianceGrid,
    contrasts: Sequence[FloatArray],
    genes: IntArray,
    stats: GeneStats,
    lists: CountLists | None,
    fits: SlopesOf | None,
    added: FloatArray | None,
    log_dispersion: FloatArray,
    beta: FloatArray,
    n_agq: int,
    start_node: int | None,
) -> tuple[IntArray, Profiles, BoolArray, FloatArray]:
    """Profile some genes; also return which of them are on their cells, and the estimated errors of the others."""

    def profile(
        on: Structure,
        sets: Nodes | NodeSets,
        stats: GeneStats,
        some: IntArray,
        base: IntArray,
        chosen: Sequence[int],
        null: FloatArray | None,
    ) -> Profiles:
        if added is not None:
            stats = replace(stats, A=stats.A + added[some][:, base] * sets.weight)
        return profile_genes(
            on,
            sets,
            stats,
            family,
            log_dispersion=log_dispersion[some],
            beta=beta[some] if null is None else null,
            grid=grid.theta,
            contrasts=[contrasts[i] for i in chosen],
            idle=[grid.idle[i] for i in chosen],
            n_agq=n_agq,
            start_node=start_node if null is None else None,
        )

    if centre is None or lists is None or fits is None:
        profiles = profile(structure, nodes, stats, np.arange(len(genes)), base_of_node, range(len(contrasts)), None)
        return genes, profiles, np.zeros(len(genes), dtype=bool), np.zeros(len(genes))
    phi = np.exp(log_dispersion) if family.has_dispersion else None
    cells = CellCounts(centre, stats, lists)
    return genes, *profile_on_nodes(structure, cells, fits, family, Tested(contrasts, grid.idle), phi, profile)
