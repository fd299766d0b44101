"""Where the search at a node of the grid starts: the maxima at the last nodes, continued to this node.

Along a line of variances, effects ``Lambda u`` and beta at the maximum are smooth functions of ``log(variance + c)``,
with c the variance at which a level's own counts and the prior have the same weight. For small variances they are
linear in the variance, for large ones in its logarithm. A polynomial through the last four nodes predicts them to
about a hundredth of a standard error, so that one or two Newton steps are enough.

Under a hypothesis, the difference from the free fit is continued.
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel

# A polynomial through 2, 3 or 4 nodes is continued by at most this many times the distance of the last two.
_FAR = (0.0, 0.0, 3.0, 2.0, 1.7)
# Columns of Lambda with smaller diagonals get no effects: these represent a variance of zero.
_ZERO = 2e-3
# Limits of c.
_SMALLEST, _LARGEST = 1e-3, 10.0


@kernel
def set_places(ar, grid, W, place):
    """Compute the place of each node, from the weights of the rows at the first one."""
    total = 0.0
    for d in range(W.shape[0]):
        total += W[d]
    c = min(max(ar.n_levels[0] / max(total, 1e-300), _SMALLEST), _LARGEST)
    n_grid = grid.shape[0]
    for node in range(n_grid):
        variance = 0.0
        for t in range(grid.shape[1]):
            variance += grid[node, t] * grid[node, t] - grid[n_grid - 1, t] * grid[n_grid - 1, t]
        place[node] = math.log(max(variance, 0.0) + c)


@kernel
def to_effects(ar, lam, v):
    """Replace u by ``Lambda u``."""
    for f in range(ar.fac_k.shape[0]):
        k = ar.fac_k[f]
        first = ar.fac_lam[f]
        for level in range(ar.n_levels[f]):
            at = ar.fac_u[f] + level * k
            for r in range(k - 1, -1, -1):
                s = 0.0
                for c in range(r + 1):
                    s += lam[first + r * k + c] * v[at + c]
                v[at + r] = s


@kernel
def to_spherical(ar, lam, v):
    """Replace ``Lambda u`` by u."""
    for f in range(ar.fac_k.shape[0]):
        k = ar.fac_k[f]
        first = ar.fac_lam[f]
        for level in range(ar.n_levels[f]):
            at = ar.fac_u[f] + level * k
            for r in range(k):
                s = v[at + r]
                for c in range(r):
                    s -= lam[first + r * k + c] * v[at + c]
                scale = lam[first + r * k + r]
                v[at + r] = s / scale if scale > _ZERO else 0.0


@kernel
def remember(ar, stage, node, climb, fits):
    """Keep the maximum at a node."""
    kind = min(stage, 1)
    v = fits.v[kind, node]
    for i in range(v.shape[0]):
        v[i] = climb.v[i]
    to_effects(ar, climb.lam, v)
    for j in range(ar.p):
        fits.tilt[kind, node, j] = climb.tilt[j]
    for i in range(fits.recent.shape[0] - 1, 0, -1):
        fits.recent[i] = fits.recent[i - 1]
    fits.recent[0] = node


@kernel
def _count_recent(node, task, fits):
    """Count the last nodes that the prediction uses: up to four on a line of variances, otherwise one."""
    recent, place = fits.recent, fits.place
    if recent[1] < 0 or task.start_node < 0:
        return 1
    far = abs(place[node] - place[recent[0]])
    near = abs(place[recent[0]] - place[recent[1]])
    for n in range(recent.shape[0], 1, -1):
        if recent[n - 1] >= 0 and far < _FAR[n] * near:
            return n
    return 1


@kernel
def _share(node, i, n, fits):
    """Compute the weight of the last node `i` among `n` (Lagrange)."""
    at = fits.place[fits.recent[i]]
    share = 1.0
    for other in range(n):
        if other != i:
            there = fits.place[fits.recent[other]]
            share *= (fits.place[node] - there) / (at - there)
    return share


@kernel
def predict_maximum(ar, stage, node, task, climb, fits):
    """Set ``climb.v``, ``climb.psi`` and the tilt to the maxima of the last nodes, continued to this one.

    Returns how many last nodes were used.
    """
    kind = min(stage, 1)
    q = ar.q
    n = _count_recent(node, task, fits)
    for i in range(climb.v.shape[0]):
        climb.v[i] = fits.v[0, node, i] if kind == 1 else 0.0
    for j in range(ar.p):
        climb.tilt[j] = fits.tilt[0, node, j] if kind == 1 else 0.0
    for k in range(n):
        share = _share(node, k, n, fits)
        last = fits.recent[k]
        for i in range(climb.v.shape[0]):
            climb.v[i] += share * (fits.v[kind, last, i] - (fits.v[0, last, i] if kind == 1 else 0.0))
        for j in range(ar.p):
            climb.tilt[j] += share * (fits.tilt[kind, last, j] - (fits.tilt[0, last, j] if kind == 1 else 0.0))
    to_spherical(ar, climb.lam, climb.v)
    for j in range(ar.p):
        climb.psi[j] = climb.v[q + j]
    return n
