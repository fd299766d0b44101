"""Profile a block of genes over a grid of the variances, from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from sc_glmm._engine import profile, warm
from sc_glmm._engine.fit import as_sets, gauss_hermite
from sc_glmm._engine.genes import GeneStats, Structure
from sc_glmm._engine.laplace.profile_records import ProfileOut, ProfileTask
from sc_glmm._engine.laplace.records import Likelihood, Nodes, NodeSets
from sc_glmm._engine.rowwise import rowwise
from sc_glmm._families.registry import Family

from .._arrays import FloatArray


@dataclass(frozen=True)
class Profiles:
    """Profiles of a block of genes over a grid of covariance parameters, on the user's scale; NaN where `ok` is false.

    Attributes
    ----------
    ell
        ``(n_genes, n_grid)`` log likelihood maximised over beta (without the constants of a gene).
    log_det
        ``(n_genes, n_grid)`` log det of the information of the scaled beta.
    beta
        ``(n_genes, n_grid, p)``.
    delta, var
        ``(n_genes, n_contrasts, n_grid)`` estimate of a contrast of one row, and its variance at the node.
    root, star
        ``(n_genes, n_contrasts, n_grid)`` signed root of the likelihood ratio, and r*; for a contrast of several rows
        the likelihood ratio statistic, twice.
    rss
        ``(n_genes, n_grid)`` weighted residual sum of squares.
    ok
        ``(n_genes,)``.
    """

    ell: FloatArray
    log_det: FloatArray
    beta: FloatArray
    delta: FloatArray
    var: FloatArray
    root: FloatArray
    star: FloatArray
    rss: FloatArray
    ok: NDArray[np.bool_]


# Smallest mean number of nodes of a row for which a table saves time.
_TABLE_PAYS = 3.0


def profile_genes(
    structure: Structure,
    nodes: Nodes | NodeSets,
    stats: GeneStats,
    family: Family,
    *,
    log_dispersion: FloatArray,
    beta: FloatArray,
    grid: FloatArray,
    contrasts: Sequence[FloatArray],
    idle: Sequence[bool] | None = None,
    n_agq: int = 1,
    start_node: int | None = None,
) -> Profiles:
    """Profile every gene over a grid of covariance parameters.

    Parameters
    ----------
    structure, nodes, stats, family
        As for :func:`fit_genes`.
    log_dispersion
        ``(n_genes,)`` fixed log dispersions.
    beta
        ``(n_genes, p)`` starting values; genes with NaN are not profiled.
    grid
        ``(n_grid, n_theta)`` covariance parameters of the arrow's columns, largest variance first.
    contrasts
        ``(q, p)`` each.
    idle
        Contrasts that the variances on the grid do not affect. They are tested at the likeliest node of each gene.
    n_agq
        Quadrature nodes; more than one only for one block of one column.
    start_node
        For a grid of one variance: the likelihood of each gene is followed from this node in both directions until it
        is negligible. The other nodes take the numbers of their neighbours, with a negligible likelihood.
    """
    warm.wait("profiles")
    sets = as_sets(nodes)
    arrow, scaling, p = structure.arrow, structure.scaling, structure.n_beta
    coordinates = [_coordinates(L, scaling.R) for L in contrasts]
    bases = np.stack([np.eye(p), *(B for B, _ in coordinates)])
    scaled = rowwise(beta, np.ascontiguousarray(scaling.R.T))
    start = np.zeros((len(stats), arrow.q + p))
    start[:, arrow.q :] = np.nan_to_num(scaled)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log(stats.A.sum(axis=1) / np.sum(sets.ec * sets.weight, axis=1))
    task = ProfileTask(
        use_table=bool(family.counts and sets.ec.shape[1] >= _TABLE_PAYS * len(arrow.XZ)),
        log_phi=np.ascontiguousarray(log_dispersion),
        beta_start=scaled,
        v_start=start,
        level=level * np.ones(len(stats)),
        grid=np.ascontiguousarray(grid),
        start_node=-1 if start_node is None else int(start_node),
        bases=bases,
        inverses=np.ascontiguousarray(np.linalg.inv(bases)),
        n_tested=np.array([0, *(len(L) for L in contrasts)], dtype=np.int64),
        idle=np.array([False, *(idle or [False] * len(contrasts))], dtype=np.bool_),
    )
    made = empty_profiles(len(stats), len(grid), len(contrasts), p)
    arrays = {field.name: getattr(made, field.name) for field in fields(made)}
    like = Likelihood(family.code, family.has_dispersion, False)
    profile.profile_block(like, arrow, sets, stats.table(), gauss_hermite(n_agq), task, ProfileOut(**arrays))
    for array in list(arrays.values())[:-1]:
        array[~made.ok] = np.nan
    unit = np.array([length for _, length in coordinates])[:, None]
    return replace(made, beta=scaling.beta(made.beta), delta=made.delta * unit, var=made.var * unit**2)


def empty_profiles(n_genes: int, n_grid: int, n_contrasts: int, p: int) -> Profiles:
    """Allocate the profiles of some genes, with missing values."""

    def missing(*shape: int) -> FloatArray:
        return np.full((n_genes, *shape), np.nan)

    return Profiles(
        ell=missing(n_grid),
        log_det=missing(n_grid),
        beta=missing(n_grid, p),
        delta=missing(n_contrasts, n_grid),
        var=missing(n_contrasts, n_grid),
        root=missing(n_contrasts, n_grid),
        star=missing(n_contrasts, n_grid),
        rss=missing(n_grid),
        ok=np.zeros(n_genes, dtype=bool),
    )


def _coordinates(L: FloatArray, R: FloatArray) -> tuple[FloatArray, float]:
    """Find B with ``scaled beta = B c``, where ``L beta = 0`` if the first coordinates of c are zero, and a length.

    For one row, ``L beta`` is the length times the first coordinate, so that the search does not depend on its unit.
    """
    scaled = solve_triangular(R, L.T, trans="T", lower=False).T
    length = np.sqrt(np.sum(scaled**2, axis=1))
    even = scaled / length[:, None]
    _, _, vt = np.linalg.svd(even, full_matrices=True)
    return np.ascontiguousarray(np.hstack([np.linalg.pinv(even), vt[len(L) :].T])), float(length[0])
