"""Cholesky of the arrow in place (upper factors), and solutions from it.

These are loops instead of LAPACK, because the blocks of a gene are a few columns wide, and a matrix that is not
positive definite must be a status. In a model of a data frame the border may be wide; LAPACK then factorises it
(:mod:`sc_glmm._engine.gaussian.evaluate`).
"""

from __future__ import annotations

import math

from sc_glmm._engine.arrow.star import down_star, eliminate_star, is_star, up_star
from sc_glmm._families.jit import kernel


@kernel
def fill_lambda(ar, psi, first, lam):
    """Fill the flat Lambda (row-major k x k for each factor) from ``theta = psi[first:]``."""
    for i in range(lam.shape[0]):
        lam[i] = 0.0
    for t in range(ar.theta_fac.shape[0]):
        f = ar.theta_fac[t]
        lam[ar.fac_lam[f] + ar.theta_row[t] * ar.fac_k[f] + ar.theta_col[t]] = psi[first + t]


@kernel
def _factor_block(block, base, k, m, log_det):
    """Factorise k rows of m entries. Returns (`log_det` plus theirs, whether they are positive definite)."""
    for c in range(k):
        row = base + c * m
        dg = block[row + c]
        if not dg > 1e-290:
            return 0.0, False
        log_det += math.log(dg)
        inv = 1.0 / math.sqrt(dg)
        for b in range(c, m):
            block[row + b] *= inv
        for r in range(c + 1, k):
            f = block[row + r]
            if f != 0.0:
                for b in range(r, m):
                    block[base + r * m + b] -= f * block[row + b]
    return log_det, True


@kernel
def _take_from_level(ar, h, i, h2, tail, piv, base, n):
    """Subtract the products of the pivot rows of level i from those of the level of factor h2 that contains it."""
    k2 = ar.fac_k[h2]
    i2 = ar.head_lev[h2] + ar.anc[i, h2]
    skip = ar.fac_z[h2] - ar.fac_z[h]
    wide = ar.fac_z[ar.n_head] - ar.fac_z[h]
    wide2 = wide - skip
    first = ar.ptr[i]
    m = ar.width[i] - wide
    n2 = ar.width[i2] + tail
    base2 = ar.base[i2] + (ar.fac_u[h2] + ar.anc[i, h2] * k2) * tail
    for c in range(ar.fac_k[h]):
        row = base + c * n
        for r in range(k2):
            f = piv[row + skip + r]
            if f == 0.0:
                continue
            row2 = base2 + r * n2
            for b in range(r, wide2):
                piv[row2 + b] -= f * piv[row + skip + b]
            for j in range(m):
                piv[row2 + wide2 + ar.up[h2, first + j]] -= f * piv[row + wide + j]
            for j in range(tail):
                piv[row2 + ar.width[i2] + j] -= f * piv[row + ar.width[i] + j]


@kernel
def _take_from_border(ar, i, k, tail, piv, base, n, S):
    """Subtract the products of the pivot rows of level i from the upper triangle of the border."""
    first = ar.ptr[i]
    m = ar.ptr[i + 1] - first
    n_u = ar.q - ar.q_head
    nb = n_u + tail
    for c in range(k):
        row = base + c * n + n - tail - m
        for a in range(m):
            f = piv[row + a]
            if f == 0.0:
                continue
            to = ar.cols[first + a] * nb
            for b in range(a, m):
                S[to + ar.cols[first + b]] -= f * piv[row + b]
            for b in range(tail):
                S[to + n_u + b] -= f * piv[row + m + b]
        row += m
        for a in range(tail):
            f = piv[row + a]
            if f != 0.0:
                to = (n_u + a) * nb + n_u
                for b in range(a, tail):
                    S[to + b] -= f * piv[row + b]


@kernel
def eliminate(ar, tail, piv, S):
    """Factorise the head and leave the rest of the border in `S`. Returns (log determinant of the head, ok)."""
    if is_star(ar):
        return eliminate_star(ar, tail, piv, S)
    log_det = 0.0
    for h in range(ar.n_head):
        k = ar.fac_k[h]
        for lv in range(ar.n_levels[h]):
            i = ar.head_lev[h] + lv
            n = ar.width[i] + tail
            base = ar.base[i] + (ar.fac_u[h] + lv * k) * tail
            log_det, ok = _factor_block(piv, base, k, n, log_det)
            if not ok:
                return 0.0, False
            for h2 in range(h + 1, ar.n_head):
                _take_from_level(ar, h, i, h2, tail, piv, base, n)
            _take_from_border(ar, i, k, tail, piv, base, n, S)
    return log_det, True


@kernel
def factorise_border(S, nb, log_det):
    """Factorise the border. Returns (`log_det` plus its own, whether it is positive definite)."""
    return _factor_block(S, 0, nb, nb, log_det)


@kernel
def factorise(ar, tail, piv, S):
    """Factorise the whole system. Returns (log determinant, whether it is positive definite)."""
    log_det, ok = eliminate(ar, tail, piv, S)
    if not ok:
        return 0.0, False
    return factorise_border(S, ar.q - ar.q_head + tail, log_det)


@kernel
def _solve_down(ar, h, lv, tail, piv, x):
    """Solve for the coefficients of one level, and eliminate them from the levels above and the border."""
    k = ar.fac_k[h]
    z0 = ar.fac_z[h]
    own = ar.fac_u[h] + lv * k
    i = ar.head_lev[h] + lv
    first = ar.ptr[i]
    wide = ar.fac_z[ar.n_head] - z0
    n = ar.width[i] + tail
    m = ar.width[i] - wide
    base = ar.base[i] + own * tail
    for c in range(k):
        row = base + c * n
        y = x[own + c] / piv[row + c]
        x[own + c] = y
        for r in range(c + 1, k):
            x[own + r] -= piv[row + r] * y
        for h2 in range(h + 1, ar.n_head):
            k2 = ar.fac_k[h2]
            p2 = ar.fac_u[h2] + ar.anc[i, h2] * k2
            for r in range(k2):
                x[p2 + r] -= piv[row + ar.fac_z[h2] - z0 + r] * y
        for j in range(m):
            x[ar.q_head + ar.cols[first + j]] -= piv[row + wide + j] * y
        for j in range(tail):
            x[ar.q + j] -= piv[row + wide + m + j] * y


@kernel
def _solve_up(ar, h, lv, tail, used, piv, x):
    """Solve for the coefficients of one level, given those of the levels above and the border."""
    k = ar.fac_k[h]
    z0 = ar.fac_z[h]
    own = ar.fac_u[h] + lv * k
    i = ar.head_lev[h] + lv
    first = ar.ptr[i]
    wide = ar.fac_z[ar.n_head] - z0
    n = ar.width[i] + tail
    m = ar.width[i] - wide
    base = ar.base[i] + own * tail
    for c in range(k - 1, -1, -1):
        row = base + c * n
        y = x[own + c]
        for r in range(c + 1, k):
            y -= piv[row + r] * x[own + r]
        for h2 in range(h + 1, ar.n_head):
            k2 = ar.fac_k[h2]
            p2 = ar.fac_u[h2] + ar.anc[i, h2] * k2
            for r in range(k2):
                y -= piv[row + ar.fac_z[h2] - z0 + r] * x[p2 + r]
        for j in range(m):
            y -= piv[row + wide + j] * x[ar.q_head + ar.cols[first + j]]
        for j in range(used):
            y -= piv[row + wide + m + j] * x[ar.q + j]
        x[own + c] = y / piv[row + c]


@kernel
def solve_down(ar, tail, used, piv, S, x):
    """Solve with the transposed factor in place, over the random effects and the first `used` dense columns.

    The entries of `x` for the other dense columns become the right-hand side with these coefficients eliminated.
    """
    n_u = ar.q - ar.q_head
    nb = n_u + tail
    if is_star(ar):
        down_star(ar, tail, piv, x)
    else:
        for h in range(ar.n_head):
            for lv in range(ar.n_levels[h]):
                _solve_down(ar, h, lv, tail, piv, x)
    for c in range(n_u + used):
        y = x[ar.q_head + c] / S[c * nb + c]
        x[ar.q_head + c] = y
        for r in range(c + 1, nb):
            x[ar.q_head + r] -= S[c * nb + r] * y


@kernel
def solve_up(ar, tail, used, known, nb, piv, S, x):
    """Solve with the upper factor in place, over the random effects and the first `used` dense columns.

    `nb` is the length of a row of `S`; its further columns are ignored. For the last `known` of these dense columns,
    `x` already contains the solution.
    """
    n = ar.q - ar.q_head + used
    for c in range(n - known - 1, -1, -1):
        y = x[ar.q_head + c]
        for r in range(c + 1, n):
            y -= S[c * nb + r] * x[ar.q_head + r]
        x[ar.q_head + c] = y / S[c * nb + c]
    if is_star(ar):
        up_star(ar, tail, used, piv, x)
        return
    for h in range(ar.n_head - 1, -1, -1):
        for lv in range(ar.n_levels[h]):
            _solve_up(ar, h, lv, tail, used, piv, x)


@kernel
def solve(ar, tail, used, piv, S, x):
    """Solve in place over the random effects and the first `used` of the `tail` dense columns of the factor.

    ``x`` is laid out as ``v``. Its entries for the other dense columns are overwritten.
    """
    solve_down(ar, tail, used, piv, S, x)
    solve_up(ar, tail, used, 0, ar.q - ar.q_head + tail, piv, S, x)
