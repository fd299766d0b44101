"""Fit genes with covariates that vary from cell to cell: nodes are placed around the slopes of each gene.

The first fit uses nodes around slopes of zero, which are the same for all genes. Then the cells of the gene are put on
nodes around its slopes, sample by sample, and the fit continues from its last parameters. This is repeated until the
slopes no longer change. The value, gradient and Laplace term of the likelihood then equal those of the cells, except
for the error of interpolation in the predictor.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._compress.centred import CentredRows
from .._compress.recentre import CountLists
from .._engine import entry
from .._engine.fit import fit_genes, read_fits, search_fits
from .._engine.genes import GeneFits, GeneStats, Structure
from .._engine.laplace.search import FitOut
from .._engine.rowwise import rowwise
from .._families.registry import Family
from .centre import Centre, cells_as_rows
from .slope_start import SteepStart, start_steep

# A gene is fitted on its cells if this number of rounds of new nodes is not enough.
MAX_ROUNDS = 8
# It is also fitted on its cells if the theoretical error of the log likelihood, by interpolation in the predictor, is
# above this.
MAX_ERROR = 1e-3
# Tolerances for the difference between the slopes of the nodes and of the fit: its effect on the log likelihood, on
# estimates in standard errors, and on the information, on which variances and standard errors depend. The effect is
# that of the first power that the nodes do not represent exactly.
_LOGLIK, _ESTIMATE, _INFORMATION = 1e-4, 1e-5, 3e-5


def has_moved(rows: CentredRows, change: FloatArray, counts: FloatArray) -> BoolArray:
    """Find genes whose slopes have changed by more than the nodes represent exactly, ``(n_genes,)``."""
    total = np.maximum(counts.sum(axis=1), 1.0)
    far: BoolArray = (rows.error_of(change, counts) > _LOGLIK) | (
        rows.error_of(change, counts, 1) > _ESTIMATE * np.sqrt(total)
    )
    return far | (rows.curvature_error_of(change) > _INFORMATION)


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
    out = search_fits(structure, sets, first, family, reml=reml, n_agq=n_agq, approximate=True)
    at = np.zeros((len(stats), len(centre.rows.cells.ptr) - 1, centre.rows.cells.v.shape[1]))
    counts, interpolation = centre.counts_by_base(stats), np.zeros(len(stats))

    def fit_again(genes: IntArray, own_lists: CountLists, near: FitOut) -> None:
        """Fit genes on nodes around the slopes `at`, and write the results into `out` and `interpolation`."""
        for placed in centre.place_nodes(at[genes], stats.pick(genes), own_lists, family):
            own, start = genes[placed.genes], _of(near, placed.genes)
            again = search_fits(
                structure, placed.sets, placed.stats, family, reml=reml, n_agq=n_agq, near=start, approximate=True
            )
            for whole, part in zip(out, again, strict=True):
                whole[own] = part
            interpolation[own] = placed.error

    steep = np.flatnonzero((out.status == entry.FAILED) | beyond)
    if len(steep):
        steep_lists = lists.pick(steep)
        one = structure.scaling.beta(structure.one[None])[0]
        start = start_steep(centre.rows, centre.X, one, steep_lists, family.has_dispersion)
        at[steep] = start.slopes
        fit_again(steep, steep_lists, _near_start(structure, _of(out, steep), start))
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
        fit_again(genes, lists.pick(genes), _of(out, genes))
        lost = ~np.isin(out.status[genes], (entry.OK, entry.NOT_CONVERGED))
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


def _near_start(structure: Structure, out: FitOut, start: SteepStart) -> FitOut:
    """Set the start of a search for the slopes of steep genes, in a copy of `out`."""
    n_genes, q = len(start.beta), structure.arrow.q
    v = np.zeros((n_genes, q + structure.n_beta))
    v[:, q:] = rowwise(start.beta, np.ascontiguousarray(structure.scaling.R.T))
    theta = np.tile(structure.theta_start, (n_genes, 1))
    return out._replace(theta=theta, log_phi=start.log_phi, v=v, hess=np.full_like(out.hess, np.nan))


def _of(out: FitOut, genes: IntArray) -> FitOut:
    return FitOut(*(getattr(out, name)[genes] for name in FitOut._fields))
