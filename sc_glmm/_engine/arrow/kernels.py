"""The penalised Hessian ``J' W J + P`` on the arrow: blocked Cholesky, solve, and the inverse on its own pattern.

``J = [Z Lambda, X]`` row by row; P is one for every spherical random effect and zero for beta. ``piv`` holds, for each
level of each head factor, its k pivot rows: own block, coupling to the levels that contain it, coupling to the border.
``S`` is the border. Loops rather than LAPACK: per gene the blocks are a few columns wide.
"""

from __future__ import annotations

import math

import numpy as np

from sc_glmm._families.jit import kernel


@kernel
def pivot_offsets(ar, nb, off):
    """Start of each head factor in `piv` (``off`` has one entry more than there are head factors)."""
    n_head = ar.n_head
    kh = ar.fac_z[n_head]
    off[0] = 0
    for h in range(n_head):
        off[h + 1] = off[h] + ar.n_levels[h] * ar.fac_k[h] * (kh - ar.fac_z[h] + nb)


@kernel
def assemble(ar, J, W, nb, piv, off, S):
    """Fill `piv` and `S` with ``J' W J + P``. ``nb`` says whether beta is in the border."""
    n_head = ar.n_head
    q_head = ar.q_head
    kh = ar.fac_z[n_head]
    n_border_u = ar.q - q_head
    nl = ar.kz + (nb - n_border_u)
    for i in range(off[n_head]):
        piv[i] = 0.0
    for i in range(nb * nb):
        S[i] = 0.0
    for h in range(n_head):
        k = ar.fac_k[h]
        m = kh - ar.fac_z[h] + nb
        for lv in range(ar.n_levels[h]):
            base = off[h] + lv * k * m
            for c in range(k):
                piv[base + c * m + c] = 1.0
    for i in range(n_border_u):
        S[i * nb + i] = 1.0
    for d in range(J.shape[0]):
        w = W[d]
        for h in range(n_head):
            k = ar.fac_k[h]
            z0 = ar.fac_z[h]
            m = kh - z0 + nb
            base = off[h] + ar.lev[d, h] * k * m
            for c in range(k):
                wj = w * J[d, z0 + c]
                if wj == 0.0:
                    continue
                row = base + c * m
                for b in range(c, kh - z0):
                    piv[row + b] += wj * J[d, z0 + b]
                tail = row + kh - z0 - q_head
                for b in range(kh, nl):
                    piv[tail + ar.pos[d, b]] += wj * J[d, b]
        for a in range(kh, nl):
            wj = w * J[d, a]
            if wj == 0.0:
                continue
            row = (ar.pos[d, a] - q_head) * nb - q_head
            for b in range(a, nl):
                S[row + ar.pos[d, b]] += wj * J[d, b]


@kernel
def _factor_block(block, base, k, m, log_det):
    """Cholesky of k rows of m entries. Returns (`log_det` plus theirs, whether they are positive definite)."""
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
def _subtract_outer(target, first, n_rows, n_cols, piv, base, k, m, skip):
    """Take the products of k pivot rows, from entry `skip` on, from the upper triangle of `target`."""
    for c in range(k):
        row = base + c * m + skip
        for r in range(n_rows):
            f = piv[row + r]
            if f != 0.0:
                for b in range(r, n_cols):
                    target[first + r * n_cols + b] -= f * piv[row + b]


@kernel
def factorise(ar, nb, piv, off, S):
    """Cholesky in place (upper factors). Returns (log determinant, whether it is positive definite)."""
    kh = ar.fac_z[ar.n_head]
    log_det = 0.0
    for h in range(ar.n_head):
        k = ar.fac_k[h]
        z0 = ar.fac_z[h]
        m = kh - z0 + nb
        for lv in range(ar.n_levels[h]):
            base = off[h] + lv * k * m
            log_det, ok = _factor_block(piv, base, k, m, log_det)
            if not ok:
                return 0.0, False
            # what is left of the coarser levels that contain this one, and of the border
            for h2 in range(h + 1, ar.n_head):
                z2 = ar.fac_z[h2] - z0
                k2 = ar.fac_k[h2]
                base2 = off[h2] + ar.anc[ar.head_lev[h] + lv, h2] * k2 * (m - z2)
                _subtract_outer(piv, base2, k2, m - z2, piv, base, k, m, z2)
            _subtract_outer(S, 0, nb, nb, piv, base, k, m, kh - z0)
    return _factor_block(S, 0, nb, nb, log_det)


@kernel
def _solve_down(ar, h, lv, nb, piv, base, m, x):
    """Solve for the coefficients of one level, and take what they do from those of the levels above and the border."""
    k = ar.fac_k[h]
    z0 = ar.fac_z[h]
    own = ar.fac_u[h] + lv * k
    for c in range(k):
        row = base + c * m
        y = x[own + c] / piv[row + c]
        x[own + c] = y
        for r in range(c + 1, k):
            x[own + r] -= piv[row + r] * y
        for h2 in range(h + 1, ar.n_head):
            k2 = ar.fac_k[h2]
            p2 = ar.fac_u[h2] + ar.anc[ar.head_lev[h] + lv, h2] * k2
            for r in range(k2):
                x[p2 + r] -= piv[row + ar.fac_z[h2] - z0 + r] * y
        for i in range(nb):
            x[ar.q_head + i] -= piv[row + m - nb + i] * y


@kernel
def _solve_up(ar, h, lv, nb, piv, base, m, x):
    """The coefficients of one level from those of the levels above and the border."""
    k = ar.fac_k[h]
    z0 = ar.fac_z[h]
    own = ar.fac_u[h] + lv * k
    for c in range(k - 1, -1, -1):
        row = base + c * m
        y = x[own + c]
        for r in range(c + 1, k):
            y -= piv[row + r] * x[own + r]
        for h2 in range(h + 1, ar.n_head):
            k2 = ar.fac_k[h2]
            p2 = ar.fac_u[h2] + ar.anc[ar.head_lev[h] + lv, h2] * k2
            for r in range(k2):
                y -= piv[row + ar.fac_z[h2] - z0 + r] * x[p2 + r]
        for i in range(nb):
            y -= piv[row + m - nb + i] * x[ar.q_head + i]
        x[own + c] = y / piv[row + c]


@kernel
def _solve_border(nb, S, first, x):
    for c in range(nb):
        y = x[first + c] / S[c * nb + c]
        x[first + c] = y
        for r in range(c + 1, nb):
            x[first + r] -= S[c * nb + r] * y
    for c in range(nb - 1, -1, -1):
        y = x[first + c]
        for r in range(c + 1, nb):
            y -= S[c * nb + r] * x[first + r]
        x[first + c] = y / S[c * nb + c]


@kernel
def solve(ar, nb, piv, off, S, x):
    """Solve in place; ``x`` is laid out as ``v`` (and its beta part is left alone where beta is not in the border)."""
    kh = ar.fac_z[ar.n_head]
    for h in range(ar.n_head):
        m = kh - ar.fac_z[h] + nb
        for lv in range(ar.n_levels[h]):
            _solve_down(ar, h, lv, nb, piv, off[h] + lv * ar.fac_k[h] * m, m, x)
    _solve_border(nb, S, ar.q_head, x)
    for h in range(ar.n_head - 1, -1, -1):
        m = kh - ar.fac_z[h] + nb
        for lv in range(ar.n_levels[h]):
            _solve_up(ar, h, lv, nb, piv, off[h] + lv * ar.fac_k[h] * m, m, x)


@kernel
def _inverse_dense(nb, S, Si):
    """Symmetric inverse of U'U, U the upper factor in `S`."""
    for c in range(nb):
        for i in range(nb):
            Si[i * nb + c] = 0.0
        Si[c * nb + c] = 1.0
        for i in range(c, nb):
            y = Si[i * nb + c]
            for r in range(c, i):
                y -= S[r * nb + i] * Si[r * nb + c]
            Si[i * nb + c] = y / S[i * nb + i]
        for i in range(nb - 1, -1, -1):
            y = Si[i * nb + c]
            for r in range(i + 1, nb):
                y -= S[i * nb + r] * Si[r * nb + c]
            Si[i * nb + c] = y / S[i * nb + i]


@kernel
def _gather_above(ar, h, lv, nb, off, vpiv, vS, nt, tt):
    """The inverse among the levels that contain this one and the border, as a dense matrix `tt` of `nt` columns."""
    kh = ar.fac_z[ar.n_head]
    own = ar.fac_z[h] + ar.fac_k[h]
    mid = nt - nb
    for i in range(nb):
        for j in range(nb):
            tt[(mid + i) * nt + mid + j] = vS[i * nb + j]
    for h2 in range(h + 1, ar.n_head):
        k2 = ar.fac_k[h2]
        t2 = ar.fac_z[h2] - own
        m2 = kh - ar.fac_z[h2] + nb
        base2 = off[h2] + ar.anc[ar.head_lev[h] + lv, h2] * k2 * m2
        for r in range(k2):
            for b in range(m2):
                tt[(t2 + r) * nt + t2 + b] = vpiv[base2 + r * m2 + b]
                tt[(t2 + b) * nt + t2 + r] = vpiv[base2 + r * m2 + b]


@kernel
def _invert_block(piv, base, k, m, tt, B, vpiv):
    """The inverse on the pivot rows of one level: coupling to what is in `tt`, and the own block."""
    nt = m - k
    # B = U^-1 [T | I]; the identity part gives the inverse of the own block
    for c in range(k - 1, -1, -1):
        row = base + c * m
        for b in range(m):
            y = piv[row + k + b] if b < nt else (1.0 if b - nt == c else 0.0)
            for r in range(c + 1, k):
                y -= piv[row + r] * B[r * m + b]
            B[c * m + b] = y / piv[row + c]
    for c in range(k):
        row = base + c * m
        for b in range(nt):
            y = 0.0
            for r in range(nt):
                y -= B[c * m + r] * tt[r * nt + b]
            vpiv[row + k + b] = y
    for c in range(k):
        for b in range(c, k):
            y = 0.0
            for r in range(b, k):
                y += B[c * m + nt + r] * B[b * m + nt + r]
            for r in range(nt):
                y -= vpiv[base + c * m + k + r] * B[b * m + r]
            vpiv[base + c * m + b] = y
            vpiv[base + b * m + c] = y


@kernel
def invert(ar, nb, piv, off, S, vpiv, vS, tt, B):
    """The inverse on the pattern of the arrow: `vpiv` as `piv` (own block full), `vS` the border, full.

    `tt` and `B` are work space of ``(kh + nb)^2`` and ``kh (kh + nb)``.
    """
    kh = ar.fac_z[ar.n_head]
    _inverse_dense(nb, S, vS)
    for h in range(ar.n_head - 1, -1, -1):
        k = ar.fac_k[h]
        m = kh - ar.fac_z[h] + nb
        for lv in range(ar.n_levels[h]):
            _gather_above(ar, h, lv, nb, off, vpiv, vS, m - k, tt)
            _invert_block(piv, off[h] + lv * k * m, k, m, tt, B, vpiv)


@kernel
def row_product(ar, J, d, nb, vpiv, off, vS, y):
    """``y = V J_d`` on the coordinates of row d, V the inverse; returns the leverage ``J_d' V J_d``."""
    n_head = ar.n_head
    q_head = ar.q_head
    kh = ar.fac_z[n_head]
    nl = ar.kz + (nb - (ar.q - q_head))
    for a in range(nl):
        y[a] = 0.0
    for h in range(n_head):
        k = ar.fac_k[h]
        z0 = ar.fac_z[h]
        m = kh - z0 + nb
        base = off[h] + ar.lev[d, h] * k * m
        for c in range(k):
            row = base + c * m
            ja = J[d, z0 + c]
            s = 0.0
            for b in range(k):
                s += vpiv[row + b] * J[d, z0 + b]
            for b in range(z0 + k, kh):
                v = vpiv[row + b - z0]
                s += v * J[d, b]
                y[b] += v * ja
            tail = row + kh - z0 - q_head
            for b in range(kh, nl):
                v = vpiv[tail + ar.pos[d, b]]
                s += v * J[d, b]
                y[b] += v * ja
            y[z0 + c] += s
    for a in range(kh, nl):
        row = (ar.pos[d, a] - q_head) * nb - q_head
        s = 0.0
        for b in range(kh, nl):
            s += vS[row + ar.pos[d, b]] * J[d, b]
        y[a] += s
    lev = 0.0
    for a in range(nl):
        lev += y[a] * J[d, a]
    return lev


@kernel
def fill_lambda(ar, psi, first, lam):
    """The flat Lambda (row-major k x k per factor) from ``theta = psi[first:]``."""
    for i in range(lam.shape[0]):
        lam[i] = 0.0
    for t in range(ar.theta_fac.shape[0]):
        f = ar.theta_fac[t]
        lam[ar.fac_lam[f] + ar.theta_row[t] * ar.fac_k[f] + ar.theta_col[t]] = psi[first + t]


@kernel
def fill_J(ar, lam, J):
    """``J = [Z Lambda, X]`` row by row."""
    kz = ar.kz
    for d in range(J.shape[0]):
        for f in range(ar.fac_k.shape[0]):
            k = ar.fac_k[f]
            z0 = ar.fac_z[f]
            l0 = ar.fac_lam[f]
            for c in range(k):
                s = 0.0
                for r in range(c, k):
                    s += ar.XZ[d, z0 + r] * lam[l0 + r * k + c]
                J[d, z0 + c] = s
        for j in range(kz, J.shape[1]):
            J[d, j] = ar.XZ[d, j]


def n_pivot(ar, nb: int) -> int:
    """Length of `piv` for a border of `nb` columns."""
    off = np.zeros(int(ar.n_head) + 1, dtype=np.int64)
    pivot_offsets.py_func(ar, nb, off)
    return int(off[-1])
