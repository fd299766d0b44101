"""Records of the kernels of a profile: the task, its results, and buffers that are allocated once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sc_glmm._engine.laplace.tabulate import MAX_INTERVALS
from sc_glmm._families.jit import allocating

from ..._arrays import BoolArray, FloatArray, IntArray

# Restricted log likelihood of a node that was not visited.
UNSEEN = -1e300


class ProfileTask(NamedTuple):
    """The task of a profile. Its stages are the free fit (the first) and the hypotheses.

    Attributes
    ----------
    use_table
        Whether rows have so many nodes that tabulating them saves time.
    log_phi
        ``(n_genes,)`` fixed log dispersions.
    beta_start, v_start
        ``(n_genes, p)`` and ``(n_genes, q + p)`` scaled coefficients to start from.
    level
        ``(n_genes,)`` log of the mean per unit of size factor.
    grid
        ``(n_grid, n_theta)`` scaled theta of each node, largest variance first.
    start_node
        The first node, if the grid is a line. From there the likelihood is followed in both directions until it is
        negligible. The last node, of zero variance, is always visited. Other nodes take the numbers of their
        neighbours, with a negligible likelihood. -1: every node is visited, in order.
    bases, inverses
        ``(n_stages, p, p)`` matrices B with beta = B c, whose first coordinates are tested (the first B is the unit
        matrix), and their inverses.
    n_tested
        ``(n_stages,)`` number of coordinates that the hypothesis sets to zero; the first is zero.
    idle
        ``(n_stages,)`` whether the variances on the grid do not affect a hypothesis.
    """

    use_table: bool
    log_phi: FloatArray
    beta_start: FloatArray
    v_start: FloatArray
    level: FloatArray
    grid: FloatArray
    start_node: int
    bases: FloatArray
    inverses: FloatArray
    n_tested: IntArray
    idle: BoolArray


class ProfileOut(NamedTuple):
    """The arrays of :class:`sc_glmm._engine.grid_profiles.Profiles`, for scaled coefficients."""

    ell: FloatArray
    log_det: FloatArray
    beta: FloatArray
    delta: FloatArray
    var: FloatArray
    root: FloatArray
    star: FloatArray
    rss: FloatArray
    ok: BoolArray


class Climb(NamedTuple):
    """Buffers of one maximisation over beta: point, gradient, step, and the information on beta, which is the metric.

    `start` is the first point. `tilt`, `shift` and `rate` go from one node to the next (:mod:`.joint`,
    :mod:`.integrated`). `lam` is the flat Lambda of the node.
    """

    psi: FloatArray
    trial: FloatArray
    grad: FloatArray
    new_grad: FloatArray
    v: FloatArray
    vt: FloatArray
    start: FloatArray
    info: FloatArray
    M: FloatArray
    L: FloatArray
    columns: FloatArray
    tilt: FloatArray
    shift: FloatArray
    coord_grad: FloatArray
    step: FloatArray
    move: FloatArray
    free: IntArray
    lam: FloatArray
    rate: FloatArray


class FreeFits(NamedTuple):
    """Maxima of a gene at the nodes.

    Attributes
    ----------
    v
        ``(2, n_grid, q + p)`` effects ``Lambda u`` and beta of the free fits, and of the fits under a hypothesis.
    tilt
        ``(2, n_grid, p)`` tilts (:mod:`.joint`) of both.
    info, restricted
        Information on beta and restricted log likelihoods of the free fits.
    ends
        Ends of the walk.
    recent
        The last nodes of the stage, the last one first; -1 for none.
    place
        Places of the nodes on an axis along which the maxima are smooth.
    """

    v: FloatArray
    tilt: FloatArray
    info: FloatArray
    restricted: FloatArray
    ends: IntArray
    recent: IntArray
    place: FloatArray


class RowTable(NamedTuple):
    """Tabulated rows of a gene (:mod:`.tabulate`), and buffers for the knots of one row: exp(eta), derivatives."""

    ptr: IntArray
    coef: FloatArray
    knot: FloatArray
    t: FloatArray
    d1: FloatArray
    d2: FloatArray
    d3: FloatArray
    d4: FloatArray


@allocating
def new_climb(ar, n):
    """Buffers for n parameters of the objective."""
    n_v = ar.q + ar.p
    p = ar.p
    n_lam = ar.fac_lam[ar.fac_k.shape[0]]
    return Climb(
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n_v),
        np.zeros(n_v),
        np.zeros(n_v),
        np.zeros((p, p)),
        np.zeros((p, p)),
        np.zeros((p, p)),
        np.zeros((p, p)),
        np.zeros(p),
        np.zeros(p),
        np.zeros(p),
        np.zeros(p),
        np.zeros(p),
        np.ones(p, np.int64),
        np.zeros(n_lam),
        np.ones(1),
    )


@allocating
def new_free_fits(n_grid, n_v, p):
    """Room for the free fits of one gene."""
    return FreeFits(
        np.zeros((2, n_grid, n_v)),
        np.zeros((2, n_grid, p)),
        np.zeros((n_grid, p, p)),
        np.zeros(n_grid),
        np.zeros(2, np.int64),
        np.zeros(4, np.int64),
        np.zeros(n_grid),
    )


@allocating
def new_row_table(n_rows):
    """Room for the tables of `n_rows` rows."""
    size = n_rows * MAX_INTERVALS
    n_knots = MAX_INTERVALS + 1
    return RowTable(
        np.zeros(n_rows + 1, np.int64),
        np.zeros(8 * size),
        np.zeros(max(size, 1)),
        np.zeros(n_knots),
        np.zeros(n_knots),
        np.zeros(n_knots),
        np.zeros(n_knots),
        np.zeros(n_knots),
    )
