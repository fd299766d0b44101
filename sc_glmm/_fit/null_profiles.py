"""Profile genes under a null hypothesis that moves their slopes far, on nodes around the slopes of the hypothesis.

The columns of X are replaced by those that the hypothesis leaves free, so that the profile under the hypothesis is a
free one. Likelihood ratio and r* follow from the two profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from .._arrays import BoolArray, FloatArray, IntArray
from .._engine.genes import GeneStats, Structure, build_structure
from .._engine.grid_profiles import Profiles
from .._engine.laplace.notes import SMALL_ROOT
from .._engine.laplace.records import Nodes, NodeSets
from .._engine.laplace.walk import IRRELEVANT
from .._families.registry import Family
from .centre import CellCounts
from .hypothesis_slopes import bound_errors, measured_error, slopes_at

# Rounds of new nodes, around the slopes that the last nodes gave.
_ROUNDS = 3

# Profiles some genes (their positions in the block), given rows, nodes, statistics, the base row of each node, and the
# numbers of the contrasts that are tested. With coefficients, it starts from these, and visits all variances.
ProfileSome = Callable[
    [Structure, Nodes | NodeSets, GeneStats, IntArray, IntArray, Sequence[int], FloatArray | None], Profiles
]


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis ``L beta = 0`` on scaled coefficients.

    Attributes
    ----------
    n_rows, length
        Number of rows of L, and of a single one its length.
    basis
        ``(p, p - q)`` coefficients of the columns that are left free.
    structure
        The design with these columns.
    """

    n_rows: int
    length: float
    basis: FloatArray
    structure: Structure

    @classmethod
    def of(cls, L: FloatArray, structure: Structure, X: FloatArray, n_cells: FloatArray) -> Hypothesis:
        """Build the design under the hypothesis."""
        scaled = solve_triangular(structure.scaling.R, L.T, trans="T", lower=False).T
        length = np.sqrt(np.sum(scaled**2, axis=1))
        _, _, vt = np.linalg.svd(scaled / length[:, None], full_matrices=True)
        basis = structure.scaling.inverse @ vt[len(L) :].T
        free = build_structure(np.ascontiguousarray(X @ basis), structure.blocks, n_cells)
        return cls(len(L), float(length[0]), basis, free)


def node_weights(profiles: Profiles) -> FloatArray:
    """Compute how much an error at a node of the grid counts, ``(n_genes, n_grid)``; 0 without posterior weight.

    The prior of the variances is estimated later and may favour nodes at which the likelihood of a gene is low. Weights
    are therefore the roots of relative likelihoods.
    """
    restricted = np.nan_to_num(profiles.ell - 0.5 * profiles.log_det, nan=-np.inf)
    # genes without a profile have no largest value
    largest = np.nan_to_num(restricted.max(axis=1, keepdims=True), neginf=0.0)
    below = largest - restricted
    return np.where(below <= IRRELEVANT, np.exp(-0.5 * below), 0.0)


def profile_hypothesis(
    hypothesis: Hypothesis,
    cells: CellCounts,
    genes: IntArray,
    beta: FloatArray,
    weight: FloatArray,
    limit: FloatArray,
    level: FloatArray,
    phi: FloatArray | None,
    family: Family,
    profile: ProfileSome,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Profile genes under a hypothesis.

    Parameters
    ----------
    hypothesis
        The hypothesis.
    cells
        Cells of a block of genes.
    genes
        ``(n_genes,)`` positions of the genes in the block.
    beta
        ``(n_genes, p)`` coefficients under the hypothesis, to start from.
    weight
        ``(n_genes, n_grid)`` weights of the nodes of the grid.
    limit
        ``(n_genes,)`` largest errors of the log likelihood.
    level
        ``(n_genes, n_base)`` levels of the predictors.
    phi
        ``(n_genes,)`` dispersions; None for Poisson counts.
    family
        The family.
    profile
        Profiles some genes.

    Returns
    -------
    ell, log_det
        ``(n_genes, n_grid)`` as in :class:`Profiles`, the latter of scaled coefficients; NaN if the error is larger.
    error
        ``(n_genes,)`` errors of the log likelihood.
    """
    centre, own = cells.centre, cells.pick(genes)
    counts = centre.counts_by_base(own.stats)
    to_free = np.linalg.pinv(hypothesis.basis)
    ell, log_det = (np.full(weight.shape, np.nan) for _ in range(2))
    error, at, left = np.full(len(genes), np.inf), beta.copy(), np.arange(len(genes))
    for _ in range(_ROUNDS):
        again, those = [], own.pick(left)
        for placed in centre.place_nodes(slopes_at(centre, at[left]), those.stats, those.lists, family):
            some, lists = left[placed.genes], those.pick(placed.genes).lists
            start = at[some] @ to_free.T
            part = profile(hypothesis.structure, placed.sets, placed.stats, genes[some], placed.base, (), start)
            found = part.beta @ hypothesis.basis.T
            around = slopes_at(centre, at[some])
            change = slopes_at(centre, found) - around[:, None]
            errors, worst = (each[0] for each in bound_errors(centre, change[None], counts[some], weight[some]))
            for i, gene in enumerate(some.tolist()):
                if not part.ok[i]:
                    continue
                if errors[i] > limit[gene]:
                    slopes, own_phi = around[i] + change[i, worst[i]], None if phi is None else float(phi[gene])
                    errors[i] = measured_error(centre, slopes, level[gene], placed, i, lists, own_phi)
                error[gene] = errors[i] + placed.error[i]
                if error[gene] <= limit[gene]:
                    ell[gene] = part.ell[i]
                    log_det[gene] = part.log_det[i] + 2.0 * hypothesis.structure.scaling.log_det
                else:
                    nodes = np.flatnonzero(weight[gene])
                    at[gene] = found[i, nodes[np.argmax(part.ell[i, nodes])]]
                    again.append(gene)
        left = np.array(again, dtype=np.int64)
        if len(left) == 0:
            break
    return ell, log_det, error


def put_hypothesis(
    hypothesis: Hypothesis,
    place: int,
    genes: IntArray,
    null: tuple[FloatArray, FloatArray],
    weighty: BoolArray,
    idle: bool,
    profiles: Profiles,
) -> None:
    """Write likelihood ratio and r* of some genes into `profiles`, as its kernel does.

    Parameters
    ----------
    hypothesis, place
        The hypothesis, and its number among the contrasts.
    genes
        ``(n_genes,)`` positions of the genes in `profiles`.
    null
        ``(n_genes, n_grid)`` log likelihood and log determinant under the hypothesis.
    weighty
        ``(n_genes, n_grid)`` nodes of the grid that count; the others take the values of their neighbours.
    idle
        Whether only the likeliest node counts.
    profiles
        Free profiles of all genes.
    """
    ratio = np.maximum(2.0 * (profiles.ell[genes] - null[0]), 0.0)
    root = star = ratio
    if hypothesis.n_rows == 1:
        delta = profiles.delta[genes, place] / hypothesis.length
        root = np.copysign(np.sqrt(ratio), delta)
        safe = np.where(np.abs(root) > SMALL_ROOT, root, 1.0)
        half = 0.5 * (profiles.log_det[genes] - null[1])
        with np.errstate(divide="ignore"):
            change = (np.log(np.abs(delta)) + half - np.log(np.abs(safe))) / safe
        star = np.where(np.abs(root) > SMALL_ROOT, root + change, root)
    restricted = np.nan_to_num(profiles.ell[genes] - 0.5 * profiles.log_det[genes], nan=-np.inf)
    for i, gene in enumerate(genes.tolist()):
        best = int(np.argmax(restricted[i]))
        source = _nearest(np.arange(len(root[i])) == best if idle else weighty[i], best)
        profiles.root[gene, place] = root[i, source]
        profiles.star[gene, place] = star[i, source]


def _nearest(chosen: BoolArray, best: int) -> IntArray:
    """Find for each node the last chosen one on the way from `best` to it."""
    source = np.where(chosen, np.arange(len(chosen)), best)
    source[best:] = np.maximum.accumulate(source[best:])
    source[: best + 1] = np.minimum.accumulate(source[best::-1])[::-1]
    return source
