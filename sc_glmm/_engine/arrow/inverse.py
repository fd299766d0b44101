"""The inverse on the arrow's own pattern, coarsest levels first, from the inverse of the border."""

from __future__ import annotations

import numpy as np

from sc_glmm._engine.arrow.star import invert_star, is_star
from sc_glmm._families.jit import allocating, kernel


@allocating
def new_pivots(ar, tail):
    """Allocate pivot rows with up to `tail` dense columns."""
    return np.zeros(ar.base[ar.base.shape[0] - 1] + ar.q_head * tail + 1)


@allocating
def new_inverse_work(ar, tail):
    """Allocate `tt` and `B` of :func:`invert`."""
    widest = ar.width.max() + tail
    kmax = ar.fac_k.max()
    return np.zeros(widest * widest + 1), np.zeros(kmax * widest + 1)


@kernel
def invert_border(n, nb, S, Si):
    """Compute the inverse of U'U, with U the first n columns of the upper factor in `S`, whose rows have nb entries."""
    for c in range(n):
        for i in range(n):
            Si[i * n + c] = 0.0
        Si[c * n + c] = 1.0
        for i in range(c, n):
            y = Si[i * n + c]
            for r in range(c, i):
                y -= S[r * nb + i] * Si[r * n + c]
            Si[i * n + c] = y / S[i * nb + i]
        for i in range(n - 1, -1, -1):
            y = Si[i * n + c]
            for r in range(i + 1, n):
                y -= S[i * nb + r] * Si[r * n + c]
            Si[i * n + c] = y / S[i * nb + i]


@kernel
def _gather_border(ar, i, used, vS, nt, tt):
    """Copy the inverse of the border entries that level i meets, to the last rows and columns of `tt`."""
    first = ar.ptr[i]
    m = ar.ptr[i + 1] - first
    n_u = ar.q - ar.q_head
    nv = n_u + used
    mid = nt - m - used
    end = nt - used
    for a in range(m):
        row = ar.cols[first + a] * nv
        to = (mid + a) * nt
        for b in range(m):
            tt[to + mid + b] = vS[row + ar.cols[first + b]]
        for b in range(used):
            tt[to + end + b] = vS[row + n_u + b]
            tt[(end + b) * nt + mid + a] = vS[row + n_u + b]
    for a in range(used):
        for b in range(used):
            tt[(end + a) * nt + end + b] = vS[(n_u + a) * nv + n_u + b]


@kernel
def _gather_level(ar, h, i, h2, tail, used, vpiv, nt, tt):
    """Copy the inverse on the rows of the level of factor h2 that contains level i, to rows and columns of `tt`."""
    k2 = ar.fac_k[h2]
    i2 = ar.head_lev[h2] + ar.anc[i, h2]
    at = ar.fac_z[h2] - ar.fac_z[h] - ar.fac_k[h]
    wide2 = ar.fac_z[ar.n_head] - ar.fac_z[h2]
    first = ar.ptr[i]
    m = ar.ptr[i + 1] - first
    n2 = ar.width[i2] + tail
    base2 = ar.base[i2] + (ar.fac_u[h2] + ar.anc[i, h2] * k2) * tail
    for r in range(k2):
        row = base2 + r * n2
        to = at + r
        for b in range(wide2):
            tt[to * nt + at + b] = vpiv[row + b]
            tt[(at + b) * nt + to] = vpiv[row + b]
        for j in range(m):
            v = vpiv[row + wide2 + ar.up[h2, first + j]]
            b = at + wide2 + j
            tt[to * nt + b] = v
            tt[b * nt + to] = v
        for j in range(used):
            v = vpiv[row + ar.width[i2] + j]
            b = at + wide2 + m + j
            tt[to * nt + b] = v
            tt[b * nt + to] = v


@kernel
def _invert_block(piv, base, k, n, nt, tt, B, vpiv):
    """Compute the inverse on the pivot rows of one level (n entries each): the own block and the couplings to `tt`."""
    m = k + nt
    # B = U^-1 [T | I]; the identity part gives the inverse of the own block
    for c in range(k - 1, -1, -1):
        row = base + c * n
        for b in range(m):
            y = piv[row + k + b] if b < nt else (1.0 if b - nt == c else 0.0)
            for r in range(c + 1, k):
                y -= piv[row + r] * B[r * m + b]
            B[c * m + b] = y / piv[row + c]
    for c in range(k):
        row = base + c * n
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
                y -= vpiv[base + c * n + k + r] * B[b * m + r]
            vpiv[base + c * n + b] = y
            vpiv[base + b * n + c] = y


@kernel
def invert(ar, tail, used, piv, vS, vpiv, tt, B):
    """Compute the inverse on the pattern of the arrow, over the random effects and the first `used` dense columns.

    `vS` is the inverse of the border, full; `vpiv` becomes that on the pivot rows, laid out as `piv` (own block full,
    entries of columns beyond those used undefined). `tt` and `B` are from :func:`new_inverse_work`.
    """
    if is_star(ar):
        invert_star(ar, tail, used, piv, vS, vpiv)
        return
    for h in range(ar.n_head - 1, -1, -1):
        k = ar.fac_k[h]
        for lv in range(ar.n_levels[h]):
            i = ar.head_lev[h] + lv
            n = ar.width[i] + tail
            nt = n - k - tail + used
            _gather_border(ar, i, used, vS, nt, tt)
            for h2 in range(h + 1, ar.n_head):
                _gather_level(ar, h, i, h2, tail, used, vpiv, nt, tt)
            _invert_block(piv, ar.base[i] + (ar.fac_u[h] + lv * k) * tail, k, n, nt, tt, B, vpiv)
