"""Profile genes with covariates that vary from cell to cell, on nodes around the slopes of their fits.

The nodes are accurate near these slopes, but a null hypothesis may be far from them. The error of its log likelihood is
bounded or, where the bound is too large, measured on the cells. Genes with too large an error are profiled on their
cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._compress.recentre import CountLists
from .._engine.genes import GeneStats, Structure
from .._engine.grid_profiles import Profiles
from .._engine.laplace.records import Nodes, NodeSets
from .._families.registry import Family
from .centre import Centre, PlacedNodes, cells_as_rows, take_lists
from .genes import AllFits
from .hypothesis_slopes import measured_error, slopes_tested

# Error of a log likelihood by nodes around slopes beyond which a gene is profiled on its cells. It is also the relative
# error of a p-value; of a small one the logarithm is kept to this many parts, of the likelihood ratio of a hypothesis.
MAX_PROFILE_ERROR, _SHARE = 5e-4, 1e-4

# Profiles some genes (their positions in the block), given rows, nodes, statistics, and the base row of each node.
ProfileSome = Callable[[Structure, Nodes | NodeSets, GeneStats, IntArray, IntArray], Profiles]


@dataclass(frozen=True)
class SlopesOf:
    """Coefficients of some genes, their covariances, and slopes and levels of the base rows."""

    beta: FloatArray
    vcov: FloatArray
    slopes: FloatArray
    level: FloatArray

    @classmethod
    def take(cls, centre: Centre, result: AllFits, genes: IntArray) -> SlopesOf:
        """Take those of the fits of some genes."""
        fits = result.fits
        planes = centre.planes(fits.beta[genes], [b[genes] for b in fits.ranef])
        return cls(fits.beta[genes], fits.vcov[genes], *planes)

    def pick(self, chosen: IntArray) -> SlopesOf:
        """Select some of the genes."""
        return SlopesOf(self.beta[chosen], self.vcov[chosen], self.slopes[chosen], self.level[chosen])


@dataclass(frozen=True)
class CellCounts:
    """Cells of a block of genes: where nodes are placed, statistics on the nodes around zero, and counts of cells."""

    centre: Centre
    stats: GeneStats
    lists: CountLists

    def pick(self, chosen: IntArray) -> CellCounts:
        """Select some of the genes."""
        return CellCounts(self.centre, self.stats.pick(chosen), take_lists(self.lists, chosen))


def profile_on_nodes(
    structure: Structure,
    cells: CellCounts,
    fits: SlopesOf,
    family: Family,
    contrasts: Sequence[FloatArray],
    phi: FloatArray | None,
    profile: ProfileSome,
) -> tuple[Profiles, BoolArray, FloatArray]:
    """Profile a block of genes on nodes; also return which of them are on their cells, and the errors of the others."""
    n_genes = len(fits.beta)
    parts, places = [], []
    error, on_cells = np.zeros(n_genes), np.zeros(n_genes, dtype=bool)
    for placed in cells.centre.place_nodes(fits.slopes, cells.stats, cells.lists, family):
        own = placed.genes
        part = profile(structure, placed.sets, placed.stats, own, placed.base)
        own_phi = None if phi is None else phi[own]
        error[own], too_large = _profile_error(cells.pick(own), fits.pick(own), placed, part, contrasts, own_phi)
        on_cells[own] = too_large | ~part.ok
        parts.append(part)
        places.append(own)
    profiles = _joined(parts, places)
    lost, rows = np.flatnonzero(on_cells), cells.centre.rows.cells
    if len(lost):
        base = np.repeat(np.arange(len(rows.ptr) - 1), np.diff(rows.ptr))
        theirs = cells.pick(lost)
        exact = cells_as_rows(structure, theirs.centre, theirs.stats, theirs.lists)
        _put(profile(*exact, lost, base), lost, profiles)
    return profiles, on_cells, np.where(on_cells, 0.0, error)


def _joined(parts: Sequence[Profiles], places: Sequence[IntArray]) -> Profiles:
    """Join profiles of some genes each, in the order of the genes."""
    order = np.argsort(np.concatenate(places), kind="stable")
    joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts])[order] for f in fields(Profiles)}
    return Profiles(**joined)


def _put(part: Profiles, genes: IntArray, out: Profiles) -> None:
    """Write the profiles of some genes."""
    for field in fields(Profiles):
        getattr(out, field.name)[genes] = getattr(part, field.name)


def _profile_error(
    cells: CellCounts,
    fits: SlopesOf,
    placed: PlacedNodes,
    profiles: Profiles,
    contrasts: Sequence[FloatArray],
    phi: FloatArray | None,
) -> tuple[FloatArray, BoolArray]:
    """Estimate the errors of the log likelihoods, ``(n_genes,)``; also return whether one of them is too large.

    For most genes a bound shows that the errors are small. For the others they are measured on the cells.
    """
    centre, gene = cells.centre, np.arange(len(profiles.ok))
    likeliest = np.argmax(np.nan_to_num(profiles.ell - 0.5 * profiles.log_det, nan=-np.inf), axis=1)
    moves = slopes_tested(centre, fits.beta, profiles.beta[gene, likeliest], fits.vcov, contrasts)
    counts = centre.counts_by_base(cells.stats)
    error = np.stack([centre.rows.error_of(move, counts) for move in moves])
    root = np.nan_to_num(profiles.root[gene, :, likeliest].T)
    # of several rows the root is the ratio itself
    ratio = np.where(np.array([len(L) == 1 for L in contrasts])[:, None], root**2, root)
    limit = np.maximum(MAX_PROFILE_ERROR, _SHARE * np.vstack([np.zeros(len(gene)), ratio]))
    for i, g in np.argwhere((error > limit) & profiles.ok).tolist():
        own_phi = None if phi is None else float(phi[g])
        slopes = fits.slopes[g] + moves[i, g]
        error[i, g] = measured_error(centre, slopes, fits.level[g], placed, g, cells.lists, own_phi)
    too_large: BoolArray = np.any(error > limit, axis=0)
    return error.max(axis=0) + placed.error, too_large
