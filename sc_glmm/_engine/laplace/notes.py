"""Record the maxima on the grid, and fill the nodes that were not visited from their neighbours."""

from __future__ import annotations

import math

from sc_glmm._engine.dense import log_det
from sc_glmm._engine.laplace.climb import set_metric
from sc_glmm._engine.laplace.profile_records import UNSEEN
from sc_glmm._families.jit import kernel

# The log likelihood beyond the end of a walk is set to that of the last visited node minus this.
BEYOND = 1000.0
# Smaller signed roots are not modified, because r* would be a ratio of two small numbers.
SMALL_ROOT = 0.1


@kernel
def _residual_sum(v, q, wk):
    """Compute ``u'u + sum f'^2 / W``."""
    rss = 0.0
    for i in range(q):
        rss += v[i] * v[i]
    for d in range(wk.d1.shape[0]):
        rss += wk.d1[d] * wk.d1[d] / max(wk.W[d], 1e-300)
    return rss


@kernel
def note_free_fit(g, node, f, task, wk, climb, fits, out):
    """Record the free maximum at a node, and the quantities that each hypothesis needs."""
    p = climb.info.shape[0]
    out.ell[g, node] = -f
    for i in range(p):
        for j in range(p):
            fits.info[node, i, j] = climb.info[i, j]
    out.log_det[g, node] = log_det(climb.info, 0, climb.L)
    fits.restricted[node] = -f - 0.5 * out.log_det[g, node]
    out.rss[g, node] = _residual_sum(climb.v, climb.v.shape[0] - p, wk)
    for i in range(p):
        out.beta[g, node, i] = climb.psi[i]
    for c in range(1, task.bases.shape[0]):
        if task.n_tested[c] > 1:
            continue
        set_metric(task.bases[c], climb)
        s = 0.0
        for j in range(p):
            s += task.inverses[c, 0, j] * climb.psi[j]
        out.delta[g, c - 1, node] = s
        whole = log_det(climb.M, 0, climb.L)
        # stored here until r*, which needs it, takes its place
        out.star[g, c - 1, node] = whole
        out.var[g, c - 1, node] = math.exp(log_det(climb.M, 1, climb.L) - whole)


@kernel
def note_hypothesis(g, stage, node, f, task, climb, out):
    """Record the maximum under a hypothesis: likelihood ratio, signed root and r*."""
    c = stage - 1
    ratio = max(2.0 * (out.ell[g, node] + f), 0.0)
    if task.n_tested[stage] > 1:
        out.root[g, c, node] = ratio
        out.star[g, c, node] = ratio
        return
    delta = out.delta[g, c, node]
    r = math.copysign(math.sqrt(ratio), delta)
    set_metric(task.bases[stage], climb)
    star = r
    if abs(r) > SMALL_ROOT:
        # q = delta sqrt(|information, free| / |information of the others, under the hypothesis|)
        half = 0.5 * (out.star[g, c, node] - log_det(climb.M, 1, climb.L))
        star = r + (math.log(abs(delta)) + half - math.log(abs(r))) / r
    out.root[g, c, node] = r
    out.star[g, c, node] = star


@kernel
def _copy_node(g, node, last, out):
    """Copy the last visited node to a node beyond the end of the walk, with a negligible likelihood."""
    out.ell[g, node] = out.ell[g, last] - BEYOND
    out.log_det[g, node] = out.log_det[g, last]
    out.rss[g, node] = out.rss[g, last]
    for i in range(out.beta.shape[2]):
        out.beta[g, node, i] = out.beta[g, last, i]
    for c in range(out.delta.shape[1]):
        out.delta[g, c, node] = out.delta[g, c, last]
        out.var[g, c, node] = out.var[g, c, last]
        out.star[g, c, node] = out.star[g, c, last]


@kernel
def fill_walk(g, start_node, fits, out):
    """Fill the nodes that the walk did not reach, on both sides of its start."""
    n_grid = fits.restricted.shape[0]
    for side in range(2):
        last = start_node
        for away in range(1, n_grid):
            node = start_node + away if side == 0 else start_node - away
            if node < 0 or node >= n_grid:
                break
            if fits.restricted[node] != UNSEEN:
                last = node
            else:
                _copy_node(g, node, last, out)


@kernel
def fill_hypothesis(best, root, star):
    """Fill the nodes without weight, at which a hypothesis was not fitted, from the likeliest node outward."""
    n_grid = root.shape[0]
    for side in range(2):
        last = best
        for away in range(n_grid):
            node = best + away if side == 0 else best - away
            if node < 0 or node >= n_grid:
                break
            if root[node] == root[node]:
                last = node
            else:
                root[node] = root[last]
                star[node] = star[last]
