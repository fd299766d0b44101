"""Profiles of many genes over a grid of covariance parameters: the compiled entry of the moderated tests.

At every node of the grid the Laplace (or quadrature) likelihood is maximised over beta, freely and under each
hypothesis ``L beta = 0``; what comes out is the REML-like term ``l - log|X'WX| / 2`` and, per hypothesis, estimate,
variance, signed root of the likelihood ratio and its modified version r* (``methods`` in the docs).

As in :mod:`.entry`, the heavy kernels are called from one place.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sc_glmm._engine.dense import log_det, solve_spd
from sc_glmm._engine.objective import COVARIANCE, EVALUATE, objective
from sc_glmm._engine.tabulate import MAX_INTERVALS, tabulate
from sc_glmm._engine.workspace import Gene, Nodes, new_work
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import TABLE

KERNEL_DIGEST = "92decf5068fa5b57"

# Squared length of a Newton step, in the metric of the information, after which beta stands.
CLOSE = 1e-9
# A step that shortens the next by less than this was taken in a metric that is out of date.
SLOW = 0.1
# A node whose restricted log likelihood is this far below the gene's best has no posterior mass to speak of (1e-6).
IRRELEVANT = 14.0
# A node this far below the best is where a walk along the grid ends: posterior weights beyond are below 1e-17.
NEGLIGIBLE = 40.0
# Nodes beyond count as this much less likely than the last one looked at.
BEYOND = 1000.0
UNSEEN = -1e300
# Below this the signed root is used as it is: r* is a ratio of two small numbers there.
SMALL_ROOT = 0.1


@kernel
def _information(V, B, M, work, L, free, e):
    """``M = B' V^-1 B``: the information in the coordinates of a hypothesis. Returns whether V is positive definite."""
    p = V.shape[0]
    ok = True
    for j in range(p):
        free[j] = 1
    for j in range(p):
        for i in range(p):
            e[i] = B[i, j]
        if not solve_spd(V, e, free, L, work[j]):
            ok = False
    for i in range(p):
        for j in range(p):
            s = 0.0
            for r in range(p):
                s += B[r, i] * work[j, r]
            M[i, j] = s
    return ok


@njit(nogil=True, cache=True, error_model="numpy")
def profile_block(
    code,
    has_phi,
    ar,
    nd,
    A,
    tail,
    over_ptr,
    over_value,
    over_count,
    extra,
    gh,
    use_table,
    log_phi,
    beta_start,
    v_start,
    level,
    grid,
    start_node,
    bases,
    inverses,
    n_tested,
    idle,
    joint,
    ell_out,
    log_det_out,
    beta_out,
    delta_out,
    var_out,
    root_out,
    star_out,
    rss_out,
    ok_out,
):
    """Profile every gene of a block over the grid.

    Parameters
    ----------
    code, has_phi, ar, nd, A, tail, over_ptr, over_value, over_count, extra, gh
        As for :func:`sc_glmm._engine.entry.fit_block`.
    use_table
        Whether rows have so many nodes that tabulating them pays.
    log_phi
        ``(n_genes,)`` the dispersion, held.
    beta_start, v_start
        ``(n_genes, p)`` and ``(n_genes, q + p)`` scaled coefficients to start from.
    level
        ``(n_genes,)`` log of the mean per unit of size factor.
    grid
        ``(n_grid, n_theta)`` scaled theta of each node, largest variance first.
    start_node
        The node to start from, where the grid is a line: likelihoods are followed from there in both directions until
        they are negligible. The last node, of no variance, is always looked at; those left out take the numbers of
        their neighbours, and count as unlikely. -1: every node is looked at, in order.
    bases, inverses
        ``(1 + n_contrasts, p, p)``: B with beta = B c, whose first coordinates are those tested; the first is the
        unit matrix. And their inverses.
    n_tested
        ``(1 + n_contrasts,)`` number of coordinates that the hypothesis sets to zero; the first is zero.
    idle
        ``(1 + n_contrasts,)`` whether the variances on the grid do not matter for a hypothesis.
    joint
        False. (A constant in the call would be a type of its own, and the objective be compiled once more.)
    ell_out, log_det_out
        ``(n_genes, n_grid)`` maximised log likelihood; log det of the information of beta.
    beta_out
        ``(n_genes, n_grid, p)``.
    delta_out, var_out, root_out, star_out
        ``(n_genes, n_contrasts, n_grid)`` estimate and variance of a hypothesis of one coordinate; signed root of the
        likelihood ratio and r* (for several coordinates: the likelihood ratio, twice).
    rss_out
        ``(n_genes, n_grid)`` weighted residual sum of squares, ``u'u + sum f'^2 / W``.
    ok_out
        ``(n_genes,)`` whether all maxima were found.
    """
    n_rows = ar.XZ.shape[0]
    q = ar.size[1]
    p = ar.size[3]
    n_theta = ar.theta_fac.shape[0]
    n_grid = grid.shape[0]
    n_stages = bases.shape[0]
    n = p + n_theta + (1 if has_phi else 0)
    nb_joint = q - ar.size[2] + p
    first = nb_joint - p
    wk = new_work(ar)
    a_sum = np.zeros(n_rows)
    psi = np.zeros(n)
    trial = np.zeros(n)
    grad = np.zeros(n)
    new_grad = np.zeros(n)
    v = np.zeros(q + p)
    vt = np.zeros(q + p)
    free_v = np.zeros((n_grid, q + p))
    metric = np.zeros((n_grid, p, p))
    restricted = np.zeros(n_grid)
    V = np.zeros((p, p))
    M = np.zeros((p, p))
    M0 = np.zeros((p, p))
    Lw = np.zeros((p, p))
    work = np.zeros((p, p))
    e = np.zeros(p)
    gc = np.zeros(p)
    step = np.zeros(p)
    move = np.zeros(p)
    free = np.ones(p, np.int64)
    dh = np.zeros((2, n))
    acc = np.zeros((gh.shape[1], n + 2))
    size = n_rows * MAX_INTERVALS if use_table else 1
    t_ptr = np.zeros(n_rows + 1, np.int64)
    t_coef = np.zeros(8 * size)
    t_knot = np.zeros(size)
    left = np.zeros(8)
    right = np.zeros(8)
    for g in range(A.shape[0]):
        ok_out[g] = 0
        total = 0.0
        for d in range(n_rows):
            s = 0.0
            for k in range(nd.ptr[d], nd.ptr[d + 1]):
                s += A[g, k]
            a_sum[d] = s
            total += s
        if not (total > 0.0 and beta_start[g, 0] == beta_start[g, 0]):
            continue
        ge = Gene(
            A[g],
            a_sum,
            tail[g],
            over_value[over_ptr[g] : over_ptr[g + 1]],
            over_count[over_ptr[g] : over_ptr[g + 1]],
            extra[g],
        )
        gene_code = code
        gene_nodes = nd
        if use_table:
            # predictors at the fit: v_start belongs to the fitted theta, so go by beta and the rows' own counts
            for d in range(n_rows):
                s = 0.0
                for j in range(p):
                    s += ar.XZ[d, ar.size[4] + j] * beta_start[g, j]
                wk.eta[d] = min(max(s, level[g] - 8.0), level[g] + 8.0)
            phi = math.exp(log_phi[g]) if has_phi else 1.0
            tabulate(code, phi, nd, ge, wk.eta, level[g], t_ptr, t_coef, t_knot, left, right)
            gene_code = TABLE
            gene_nodes = Nodes(t_ptr, t_coef, t_knot)
        if has_phi:
            psi[n - 1] = log_phi[g]
        good = True
        for node in range(n_grid):
            restricted[node] = UNSEEN
        for stage in range(n_stages):
            m = n_tested[stage]
            B = bases[stage]
            best = 0
            for node in range(1, n_grid):
                if stage > 0 and restricted[node] > restricted[best]:
                    best = node
            started = False
            upward, downward = start_node + 1, start_node - 1
            peak = -1e300
            for visit in range(n_grid):
                # a hypothesis that the variances do not matter for is fitted at the likeliest node alone, the
                # others where the gene's posterior can have any mass
                node = visit
                if stage == 0 and start_node >= 0:
                    if visit == 0:
                        node = start_node
                    elif upward < n_grid:
                        node = upward
                        upward += 1
                    elif downward >= 0:
                        node = downward
                        downward -= 1
                        if node == start_node - 1:
                            for i in range(p):
                                psi[i] = beta_out[g, start_node, i]
                            for i in range(q + p):
                                v[i] = free_v[start_node, i]
                    else:
                        break
                elif stage > 0 and idle[stage]:
                    if visit > 0:
                        break
                    node = best
                elif stage > 0 and restricted[node] < restricted[best] - IRRELEVANT:
                    continue
                for t in range(n_theta):
                    psi[p + t] = grid[node, t]
                have_metric = stage > 0
                if stage > 0:
                    V[:, :] = metric[node]
                if not started and stage == 0:
                    for i in range(p):
                        psi[i] = beta_start[g, i]
                    for i in range(q + p):
                        v[i] = v_start[g, i]
                elif not started:
                    # from the free fit at this node without the tested part
                    for i in range(q + p):
                        v[i] = free_v[node, i]
                    for i in range(p):
                        s = 0.0
                        for j in range(p):
                            s += inverses[stage, i, j] * beta_out[g, node, j]
                        gc[i] = s if i >= m else 0.0
                    for i in range(p):
                        s = 0.0
                        for j in range(p):
                            s += B[i, j] * gc[j]
                        psi[i] = s
                started = True
                for i in range(n):
                    trial[i] = psi[i]
                f = 1e300
                length = 1.0
                halvings = 0
                last = 1e300
                fresh = False
                what = np.int64(EVALUATE)
                final = False
                for _it in range(80):
                    for i in range(q + p):
                        vt[i] = v[i]
                    ft, ok = objective(
                        what, gene_code, has_phi, joint, ar, gene_nodes, ge, gh, trial, vt, wk, new_grad, dh, acc
                    )
                    if what == COVARIANCE:
                        if not ok:
                            good = False
                            break
                        for i in range(p):
                            for j in range(p):
                                V[i, j] = wk.vS[(first + i) * nb_joint + first + j]
                        have_metric = True
                        fresh = True
                        if final:
                            break
                        what = np.int64(EVALUATE)
                    elif ok and ft <= f + 1e-13 * abs(ft) + 1e-11:
                        f = ft
                        halvings = 0
                        fresh = False
                        for i in range(n):
                            psi[i] = trial[i]
                            grad[i] = new_grad[i]
                        for i in range(q + p):
                            v[i] = vt[i]
                        length = 1.0
                        if not have_metric:
                            what = np.int64(COVARIANCE)
                            continue
                    else:
                        length *= 0.4
                        halvings += 1
                        if f == 1e300 or halvings > 25:
                            good = False
                            break
                    if halvings == 0:
                        if not _information(V, B, M, work, Lw, free, e):
                            good = False
                            break
                        for i in range(p):
                            s = 0.0
                            for j in range(p):
                                s += B[j, i] * grad[j]
                            gc[i] = s
                            free[i] = 0 if i < m else 1
                        if not solve_spd(M, gc, free, Lw, step):
                            good = False
                            break
                        dec = 0.0
                        top = 0.0
                        for i in range(p):
                            dec += gc[i] * step[i]
                        if dec < CLOSE or m == p:
                            what = np.int64(COVARIANCE)
                            final = True
                            for i in range(n):
                                trial[i] = psi[i]
                            continue
                        if dec > SLOW * last and not fresh:
                            # the information has changed on the way here, as it does where groups separate
                            what = np.int64(COVARIANCE)
                            for i in range(n):
                                trial[i] = psi[i]
                            continue
                        last = dec
                        for i in range(p):
                            s = 0.0
                            for j in range(p):
                                s += B[i, j] * step[j]
                            move[i] = s
                            top = max(top, abs(s))
                        if top > 2.0:
                            length = 2.0 / top
                    for i in range(p):
                        trial[i] = psi[i] - length * move[i]
                if not final:
                    good = False
                if not good:
                    break
                if stage == 0:
                    ell_out[g, node] = -f
                    metric[node] = V
                    _information(V, B, M, work, Lw, free, e)
                    log_det_out[g, node] = log_det(M, 0, Lw)
                    restricted[node] = -f - 0.5 * log_det_out[g, node]
                    peak = max(peak, restricted[node])
                    if start_node >= 0 and restricted[node] < peak - NEGLIGIBLE:
                        if node > start_node and restricted[node] < restricted[node - 1]:
                            upward = max(upward, n_grid - 1)
                        elif node < start_node and restricted[node] < restricted[node + 1]:
                            downward = -1
                    rss = 0.0
                    for i in range(q):
                        rss += v[i] * v[i]
                    for d in range(n_rows):
                        rss += wk.d1[d] * wk.d1[d] / max(wk.W[d], 1e-300)
                    rss_out[g, node] = rss
                    for i in range(p):
                        beta_out[g, node, i] = psi[i]
                    for i in range(q + p):
                        free_v[node, i] = v[i]
                    # what each hypothesis needs of the free fit
                    for c in range(1, n_stages):
                        _information(V, bases[c], M, work, Lw, free, e)
                        if n_tested[c] == 1:
                            s = 0.0
                            for j in range(p):
                                s += inverses[c, 0, j] * psi[j]
                            delta_out[g, c - 1, node] = s
                            whole = log_det(M, 0, Lw)
                            star_out[g, c - 1, node] = whole
                            var_out[g, c - 1, node] = math.exp(log_det(M, 1, Lw) - whole)
                else:
                    ratio = max(2.0 * (ell_out[g, node] + f), 0.0)
                    if m > 1:
                        root_out[g, stage - 1, node] = ratio
                        star_out[g, stage - 1, node] = ratio
                    else:
                        delta = delta_out[g, stage - 1, node]
                        r = math.copysign(math.sqrt(ratio), delta)
                        root_out[g, stage - 1, node] = r
                        _information(V, B, M0, work, Lw, free, e)
                        star = r
                        if abs(r) > SMALL_ROOT:
                            # q = delta sqrt(|information, free| / |information of the others, under the hypothesis|)
                            half = 0.5 * (star_out[g, stage - 1, node] - log_det(M0, 1, Lw))
                            star = r + (math.log(abs(delta)) + half - math.log(abs(r))) / r
                        star_out[g, stage - 1, node] = star
            if not good:
                break
            if stage == 0 and start_node >= 0:
                for side in range(2):
                    last = start_node
                    for away in range(1, n_grid):
                        node = start_node + away if side == 0 else start_node - away
                        if node < 0 or node >= n_grid:
                            break
                        if restricted[node] != UNSEEN:
                            last = node
                            continue
                        ell_out[g, node] = ell_out[g, last] - BEYOND
                        log_det_out[g, node] = log_det_out[g, last]
                        rss_out[g, node] = rss_out[g, last]
                        beta_out[g, node] = beta_out[g, last]
                        for c in range(n_stages - 1):
                            delta_out[g, c, node] = delta_out[g, c, last]
                            var_out[g, c, node] = var_out[g, c, last]
                            star_out[g, c, node] = star_out[g, c, last]
            if stage > 0:
                # nodes that were left out take the numbers of the nearest one that was not; they have no weight
                last = best
                for node in range(best, n_grid):
                    if root_out[g, stage - 1, node] == root_out[g, stage - 1, node]:
                        last = node
                    else:
                        root_out[g, stage - 1, node] = root_out[g, stage - 1, last]
                        star_out[g, stage - 1, node] = star_out[g, stage - 1, last]
                for node in range(best, -1, -1):
                    if root_out[g, stage - 1, node] == root_out[g, stage - 1, node]:
                        last = node
                    else:
                        root_out[g, stage - 1, node] = root_out[g, stage - 1, last]
                        star_out[g, stage - 1, node] = star_out[g, stage - 1, last]
        ok_out[g] = 1 if good else 0
