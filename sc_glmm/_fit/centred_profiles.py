"""Profile genes with covariates that vary from cell to cell, on nodes around the slopes of their fits.

The nodes are accurate near these slopes, but a null hypothesis may be far from them. The error of its log likelihood is
bounded or, where the bound is too large, measured on the cells. Hypotheses with too large an error get nodes of their
own. If these do not help, the gene is profiled on its cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._engine.genes import Structure
from .._engine.grid_profiles import Profiles
from .._families.registry import Family
from .centre import CellCounts, Centre, PlacedNodes, cells_as_rows
from .genes import BLOCK_ON_CELLS, AllFits
from .hypothesis_slopes import bound_errors, coefficients_tested, measured_error, slopes_at
from .null_profiles import (
    Hypothesis,
    ProfileSome,
    node_weights,
    profile_hypothesis,
    put_hypothesis,
)

# Error of a log likelihood by nodes around slopes beyond which a gene is profiled on its cells. It is also the relative
# error of a p-value; of a small one the logarithm is kept to this many parts, of the likelihood ratio of a hypothesis.
MAX_PROFILE_ERROR, _SHARE = 5e-4, 1e-4

# Joint hypotheses with a larger bound of this error at the fit are not profiled on the nodes of the fit first.
_FAR = 1e-2


class Tested(NamedTuple):
    """The contrasts, and whether each is tested at the likeliest node of the grid only."""

    contrasts: Sequence[FloatArray]
    idle: Sequence[bool]


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


def profile_on_nodes(
    structure: Structure,
    cells: CellCounts,
    fits: SlopesOf,
    family: Family,
    tested: Tested,
    phi: FloatArray | None,
    profile: ProfileSome,
) -> tuple[Profiles, BoolArray, FloatArray]:
    """Profile a block of genes on nodes; also return which of them are on their cells, and the errors of the others."""
    n_genes, centre = len(fits.beta), cells.centre
    parts, places = [], []
    error, on_cells = np.zeros(n_genes), np.zeros(n_genes, dtype=bool)
    for placed, skipped in _by_distance(cells, fits, tested.contrasts, family):
        own = placed.genes
        chosen = [i for i in range(len(tested.contrasts)) if i not in skipped]
        part = profile(structure, placed.sets, placed.stats, own, placed.base, chosen, None)
        part = _expanded(part, chosen, len(tested.contrasts))
        own_phi = None if phi is None else phi[own]
        errors, limits = _profile_errors(
            cells.pick(own), fits.pick(own), placed, part, tested.contrasts, skipped, own_phi
        )
        if centre.fixed_slopes:
            far = _Far(fits.pick(own), own, own_phi, errors, limits)
            _profile_far_hypotheses(structure, cells, far, family, tested, part, profile)
        on_cells[own] = np.any(errors > limits, axis=0) | ~part.ok
        error[own] = errors.max(axis=0)
        parts.append(part)
        places.append(own)
    profiles = _joined(parts, places)
    lost, rows = np.flatnonzero(on_cells), centre.rows.cells
    if len(lost):
        base = np.repeat(np.arange(len(rows.ptr) - 1), np.diff(rows.ptr))
        for some in np.array_split(lost, -(-len(lost) // BLOCK_ON_CELLS)):
            theirs = cells.pick(some)
            exact = cells_as_rows(structure, centre, theirs.stats, theirs.lists)
            _put(profile(*exact, some, base, range(len(tested.contrasts)), None), some, profiles)
    return profiles, on_cells, np.where(on_cells, 0.0, error)


def _by_distance(
    cells: CellCounts, fits: SlopesOf, contrasts: Sequence[FloatArray], family: Family
) -> Iterator[tuple[PlacedNodes, list[int]]]:
    """Place nodes around the slopes of fits; also give the joint hypotheses that are far from the fits of all genes.

    A joint hypothesis needs only two log likelihoods, which may come from different nodes.
    """
    centre = cells.centre
    joint = [i for i, L in enumerate(contrasts) if 1 < len(L) < L.shape[1] and centre.fixed_slopes]
    at = coefficients_tested(fits.beta[:, None], fits.vcov, [contrasts[i] for i in joint])[1:]
    moves = slopes_at(centre, at - fits.beta[:, None])
    counts, every = centre.counts_by_base(cells.stats), np.ones((len(fits.beta), 1))
    far = bound_errors(centre, moves, counts, every)[0] > _FAR
    for placed in centre.place_nodes(fits.slopes, cells.stats, cells.lists, family):
        patterns, kind = np.unique(far[:, placed.genes].T, axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            genes = np.flatnonzero(kind.reshape(-1) == k)
            skipped = [i for i, is_far in zip(joint, pattern.tolist(), strict=True) if is_far]
            yield placed if len(patterns) == 1 else placed.pick(genes), skipped


def _expanded(part: Profiles, chosen: Sequence[int], n_contrasts: int) -> Profiles:
    """Insert missing values for the contrasts that were not profiled."""
    if len(chosen) == n_contrasts:
        return part
    out = {}
    for name in ("delta", "var", "root", "star"):
        values = getattr(part, name)
        out[name] = np.full((len(values), n_contrasts, values.shape[2]), np.nan)
        out[name][:, chosen] = values
    return replace(part, **out)


class _Far(NamedTuple):
    """Genes with hypotheses that may be far: fits, positions in the block, dispersions, errors and their limits."""

    fits: SlopesOf
    genes: IntArray
    phi: FloatArray | None
    errors: FloatArray
    limits: FloatArray


def _profile_far_hypotheses(
    structure: Structure,
    cells: CellCounts,
    far: _Far,
    family: Family,
    tested: Tested,
    part: Profiles,
    profile: ProfileSome,
) -> None:
    """Profile genes under hypotheses beyond their nodes, and write results into `part` and the errors of `far`."""
    centre, errors, limits = cells.centre, far.errors, far.limits
    profiled = part.beta[np.arange(len(far.genes)), likeliest(part)]
    at = coefficients_tested(profiled[:, None], far.fits.vcov, tested.contrasts)[:, :, 0]
    weight = node_weights(part)
    for i, L in enumerate(tested.contrasts):
        some = np.flatnonzero((errors[i + 1] > limits[i + 1]) & (errors[0] <= limits[0]) & part.ok)
        if len(some) == 0 or len(L) == L.shape[1]:
            continue
        hypothesis = Hypothesis.of(L, structure, centre.X, np.maximum(centre.rows.n_cells, 1e-3))
        *null, errors[i + 1, some] = profile_hypothesis(
            hypothesis,
            cells,
            far.genes[some],
            at[i + 1, some],
            weight[some],
            limits[i + 1, some],
            far.fits.level[some],
            None if far.phi is None else far.phi[some],
            family,
            profile,
        )
        found = np.isfinite(null[0][:, 0])
        values, there = (null[0][found], null[1][found]), some[found]
        put_hypothesis(hypothesis, i, there, values, weight[there] > 0.0, bool(tested.idle[i]), part)


def _joined(parts: Sequence[Profiles], places: Sequence[IntArray]) -> Profiles:
    """Join profiles of some genes each, in the order of the genes."""
    order = np.argsort(np.concatenate(places), kind="stable")
    joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts])[order] for f in fields(Profiles)}
    return Profiles(**joined)


def _put(part: Profiles, genes: IntArray, out: Profiles) -> None:
    """Write the profiles of some genes."""
    for field in fields(Profiles):
        getattr(out, field.name)[genes] = getattr(part, field.name)


def likeliest(profiles: Profiles) -> IntArray:
    """Find the likeliest node of each gene, ``(n_genes,)``."""
    return np.argmax(np.nan_to_num(profiles.ell - 0.5 * profiles.log_det, nan=-np.inf), axis=1)


def _profile_errors(
    cells: CellCounts,
    fits: SlopesOf,
    placed: PlacedNodes,
    profiles: Profiles,
    contrasts: Sequence[FloatArray],
    skipped: Sequence[int],
    phi: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Estimate the errors of the log likelihoods, free and under each hypothesis, and the largest that are allowed.

    For most genes a bound shows that the errors are small; for the others they are measured on the cells. Those of
    skipped hypotheses are infinite. Random effects are held; if they adapt to a hypothesis, the slopes change less.
    Both results are ``(1 + n_contrasts, n_genes)``.
    """
    centre, gene, best = cells.centre, np.arange(len(profiles.ok)), likeliest(profiles)
    at = coefficients_tested(profiles.beta, fits.vcov, contrasts)
    moves = slopes_at(centre, at - fits.beta[:, None])
    counts = centre.counts_by_base(cells.stats)
    errors, worst = bound_errors(centre, moves, counts, node_weights(profiles))
    root = np.nan_to_num(profiles.root[gene, :, best].T)
    # of several rows the root is the ratio itself
    ratio = np.where(np.array([len(L) == 1 for L in contrasts])[:, None], root**2, root)
    for i in skipped:
        ratio[i] = _wald(fits, contrasts[i])
        errors[i + 1] = np.inf
    limits = np.maximum(MAX_PROFILE_ERROR, _SHARE * np.vstack([np.zeros(len(gene)), ratio]))
    for i, g in np.argwhere((errors > limits) & (errors < np.inf) & profiles.ok).tolist():
        own_phi = None if phi is None else float(phi[g])
        slopes = fits.slopes[g] + moves[i, g, worst[i, g]]
        errors[i, g] = measured_error(centre, slopes, fits.level[g], placed, g, cells.lists, own_phi)
    return errors + placed.error, limits


def _wald(fits: SlopesOf, L: FloatArray) -> FloatArray:
    """Compute Wald's statistic of the fits, ``(n_genes,)``, in place of a likelihood ratio that is not known yet."""
    value = np.nan_to_num(fits.beta @ L.T)
    weight = np.linalg.pinv(np.nan_to_num(L @ fits.vcov @ L.T), hermitian=True)
    return np.asarray(np.einsum("gq,gqr,gr->g", value, weight, value))
