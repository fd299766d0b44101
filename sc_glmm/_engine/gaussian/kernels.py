"""Compiled passes of the Gaussian engine over the cross-products: elimination, solution, inverse, gradient.

The coefficients stand as in :mod:`sc_glmm._engine.arrow`: a head that eliminates without fill, and a border. What a
level of a head factor shares with the border is short (a student meets 25 of 1,128 lecturers), so its couplings are
kept as a list. The border itself is dense and is factorised by LAPACK between :func:`eliminate` and :func:`finish`; its
columns are the crossed random effects, the fixed effects, and last the response, so that the last pivot is the
penalised residual sum of squares.

Everything that these kernels call is in this file, so that they may be cached (numba's cache knows one file only).
"""

from __future__ import annotations

import math

import numpy as np

from sc_glmm._families.cache import cached

lmm_kernel = cached(nogil=True, error_model="numpy")


@lmm_kernel
def _scale_row(lay, row, wide0, h, m, first, lam, x):
    """Multiply a row of the head from the right by Lambda, block by block, in place."""
    n_head = lay.n_head
    z0 = lay.fac_z[h]
    for g in range(h, n_head):
        k = lay.fac_k[g]
        place = row + lay.fac_z[g] - z0
        for b in range(k):
            s = 0.0
            for r in range(b, k):
                s += x[place + r] * lam[lay.fac_lam[g] + r * k + b]
            x[place + b] = s
    j = 0
    while j < m:
        f = lay.border_fac[lay.cols[first + j]]
        if f < 0:
            break
        k = lay.fac_k[f]
        place = row + wide0 + j
        for b in range(k):
            s = 0.0
            for r in range(b, k):
                s += x[place + r] * lam[lay.fac_lam[f] + r * k + b]
            x[place + b] = s
        j += k


@lmm_kernel
def _scale_border(lay, S0, lam, S):
    """``S = Lambda' S0 Lambda + I`` on the random effects of the border, Lambda on one side of the rest."""
    nb = S0.shape[0]
    S[:] = S0
    n_u = nb - 1 - lay.p
    i = 0
    while i < n_u:
        f = lay.border_fac[i]
        k = lay.fac_k[f]
        for b in range(k):
            t = lam[lay.fac_lam[f] + b * k + b]
            for j in range(nb):
                S[i + b, j] *= t
            for r in range(b + 1, k):
                t = lam[lay.fac_lam[f] + r * k + b]
                for j in range(nb):
                    S[i + b, j] += t * S[i + r, j]
        i += k
    for i in range(n_u):
        j = 0
        while j < n_u:
            f = lay.border_fac[j]
            k = lay.fac_k[f]
            for b in range(k):
                s = 0.0
                for r in range(b, k):
                    s += S[i, j + r] * lam[lay.fac_lam[f] + r * k + b]
                S[i, j + b] = s
            j += k
        S[i, i] += 1.0


@lmm_kernel
def eliminate(lay, theta, raw, S0, lam, piv, S):
    """Fill Lambda, scale the cross-products by it and eliminate the head.

    What is left of the border stands in the upper triangle of `S`. Returns (log determinant of the head, ok).
    """
    n_head = lay.n_head
    kh = lay.fac_z[n_head]
    lam[:] = 0.0
    for t in range(theta.shape[0]):
        f = lay.theta_fac[t]
        lam[lay.fac_lam[f] + lay.theta_row[t] * lay.fac_k[f] + lay.theta_col[t]] = theta[t]
    piv[:] = raw
    for h in range(n_head):
        k = lay.fac_k[h]
        l0 = lay.fac_lam[h]
        wide = kh - lay.fac_z[h]
        for lv in range(lay.n_levels[h]):
            i = lay.head_lev[h] + lv
            m = lay.ptr[i + 1] - lay.ptr[i]
            n = wide + m
            base = lay.base[i]
            for c in range(k):
                row = base + c * n
                t = lam[l0 + c * k + c]
                for j in range(n):
                    piv[row + j] *= t
                for r in range(c + 1, k):
                    t = lam[l0 + r * k + c]
                    for j in range(n):
                        piv[row + j] += t * piv[base + r * n + j]
                _scale_row(lay, row, wide, h, m, lay.ptr[i], lam, piv)
                piv[row + c] += 1.0
    _scale_border(lay, S0, lam, S)
    log_det = 0.0
    for h in range(n_head):
        k = lay.fac_k[h]
        z0 = lay.fac_z[h]
        wide = kh - z0
        for lv in range(lay.n_levels[h]):
            i = lay.head_lev[h] + lv
            first = lay.ptr[i]
            m = lay.ptr[i + 1] - first
            n = wide + m
            base = lay.base[i]
            for c in range(k):
                row = base + c * n
                dg = piv[row + c]
                if not dg > 1e-290:
                    return 0.0, False
                log_det += math.log(dg)
                inv = 1.0 / math.sqrt(dg)
                for b in range(c, n):
                    piv[row + b] *= inv
                for r in range(c + 1, k):
                    t = piv[row + r]
                    if t != 0.0:
                        for b in range(r, n):
                            piv[base + r * n + b] -= t * piv[row + b]
            for g in range(h + 1, n_head):
                z2 = lay.fac_z[g] - z0
                i2 = lay.head_lev[g] + lay.anc[i, g]
                wide2 = wide - z2
                n2 = wide2 + lay.ptr[i2 + 1] - lay.ptr[i2]
                for r in range(lay.fac_k[g]):
                    row2 = lay.base[i2] + r * n2
                    for c in range(k):
                        row = base + c * n
                        t = piv[row + z2 + r]
                        if t != 0.0:
                            for b in range(r, wide2):
                                piv[row2 + b] -= t * piv[row + z2 + b]
                            for j in range(m):
                                piv[row2 + wide2 + lay.up[g, first + j]] -= t * piv[row + wide + j]
            for c in range(k):
                row = base + c * n + wide
                for a in range(m):
                    t = piv[row + a]
                    if t != 0.0:
                        S_a = S[lay.cols[first + a]]
                        for b in range(a, m):
                            S_a[lay.cols[first + b]] -= t * piv[row + b]
    return log_det, True


@lmm_kernel
def _solution(lay, piv, S, v):
    """The mode (u, beta) in `v` from the factor."""
    n_head = lay.n_head
    q_head = lay.q_head
    kh = lay.fac_z[n_head]
    nb = S.shape[0]
    for c in range(nb - 2, -1, -1):
        y = S[c, nb - 1]
        for r in range(c + 1, nb - 1):
            y -= S[c, r] * v[q_head + r]
        v[q_head + c] = y / S[c, c]
    for h in range(n_head - 1, -1, -1):
        k = lay.fac_k[h]
        z0 = lay.fac_z[h]
        wide = kh - z0
        for lv in range(lay.n_levels[h]):
            i = lay.head_lev[h] + lv
            first = lay.ptr[i]
            m = lay.ptr[i + 1] - first
            own = lay.fac_u[h] + lv * k
            for c in range(k - 1, -1, -1):
                row = lay.base[i] + c * (wide + m)
                y = piv[row + wide + m - 1]
                for j in range(m - 1):
                    y -= piv[row + wide + j] * v[q_head + lay.cols[first + j]]
                for g in range(h + 1, n_head):
                    p2 = lay.fac_u[g] + lay.anc[i, g] * lay.fac_k[g]
                    for r in range(lay.fac_k[g]):
                        y -= piv[row + lay.fac_z[g] - z0 + r] * v[p2 + r]
                for r in range(c + 1, k):
                    y -= piv[row + r] * v[own + r]
                v[own + c] = y / piv[row + c]


@lmm_kernel
def _inverse_of_head(lay, piv, Vb, n_used, vpiv):
    """The inverse on the pattern of the head, coarsest levels first; `Vb` is the inverse of the border (full)."""
    n_head = lay.n_head
    kh = lay.fac_z[n_head]
    nb = lay.border_fac.shape[0]
    for h in range(n_head - 1, -1, -1):
        k = lay.fac_k[h]
        z0 = lay.fac_z[h]
        wide = kh - z0
        for lv in range(lay.n_levels[h]):
            i = lay.head_lev[h] + lv
            first = lay.ptr[i]
            m = lay.ptr[i + 1] - first
            n = wide + m
            mu = m - (nb - n_used)  # entries of the list that are in the inverse
            base = lay.base[i]
            B = np.zeros((k, wide + mu))
            inv = np.zeros((k, k))
            for c in range(k - 1, -1, -1):
                row = base + c * n
                for b in range(k, wide + mu):
                    y = piv[row + b]
                    for r in range(c + 1, k):
                        y -= piv[row + r] * B[r, b]
                    B[c, b] = y / piv[row + c]
                for b in range(k):
                    y = 1.0 if b == c else 0.0
                    for r in range(c + 1, k):
                        y -= piv[row + r] * inv[r, b]
                    inv[c, b] = y / piv[row + c]
            for c in range(k):
                for b in range(n):
                    vpiv[base + c * n + b] = 0.0
            for a in range(mu):
                V_a = Vb[lay.cols[first + a]]
                for c in range(k):
                    t = B[c, wide + a]
                    if t != 0.0:
                        row = base + c * n + wide
                        for b in range(mu):
                            vpiv[row + b] -= t * V_a[lay.cols[first + b]]
            for g in range(h + 1, n_head):
                z2 = lay.fac_z[g] - z0
                i2 = lay.head_lev[g] + lay.anc[i, g]
                wide2 = wide - z2
                n2 = wide2 + lay.ptr[i2 + 1] - lay.ptr[i2]
                k2 = lay.fac_k[g]
                for r in range(k2):
                    row2 = lay.base[i2] + r * n2
                    for c in range(k):
                        row = base + c * n
                        t = B[c, z2 + r]
                        # its own block is stored in full, what is beyond it once for both orders
                        for b in range(wide2):
                            v = vpiv[row2 + b]
                            vpiv[row + z2 + b] -= t * v
                            if b >= k2:
                                vpiv[row + z2 + r] -= B[c, z2 + b] * v
                        for j in range(mu):
                            v = vpiv[row2 + wide2 + lay.up[g, first + j]]
                            vpiv[row + wide + j] -= t * v
                            vpiv[row + z2 + r] -= B[c, wide + j] * v
            for c in range(k):
                for b in range(k):
                    y = 0.0
                    for r in range(max(b, c), k):
                        y += inv[c, r] * inv[b, r]
                    for j in range(k, wide + mu):
                        y -= vpiv[base + c * n + j] * B[b, j]
                    vpiv[base + c * n + b] = y


@lmm_kernel
def _pair(V, v0, vs, Q, q0, qs, lam, la, ka, lb, kb, left, right, Ga, Gb, b, ba, bb, e):
    """What one block ``Q = Z_a' W Z_b`` of two sets of coefficients gives to the trace and to ``e``.

    ``Ga += V (Q Lambda_b)'`` where `left`, ``Gb += V' (Lambda_a' Q)`` where `right`; ``e_a -= Q b_b`` and, with
    `right`, ``e_b -= Q' b_a``. A negative `lb` is a Lambda of one (fixed effects), and `vs` = 0 skips the trace.
    """
    for r in range(ka):
        for s in range(kb):
            t = Q[q0 + r * qs + s]
            if t == 0.0:
                continue
            e[ba + r] -= t * b[bb + s]
            if right:
                e[bb + s] -= t * b[ba + r]
            if vs == 0:
                continue
            if left:
                # column j of Q Lambda gets Q[., s] Lambda[s, j]
                for j in range(s + 1 if lb >= 0 else 1):
                    x = t * lam[lb + s * kb + j] if lb >= 0 else t
                    for c in range(r + 1):
                        Ga[r * ka + c] += V[v0 + c * vs + j] * x
            if right and lb >= 0:
                for i in range(r + 1):
                    x = t * lam[la + r * ka + i]
                    for c in range(s + 1):
                        Gb[s * kb + c] += V[v0 + i * vs + c] * x


@lmm_kernel
def finish(lay, raw, S0, lam, piv, S, Vb, n_used, v, vpiv, b, e, G, grad, ratio):
    """Mode, inverse and gradient from the factor.

    Parameters
    ----------
    S
        Factor of the border, upper.
    Vb
        ``(n_used, n_used)`` its inverse, upper triangle; completed here. `n_used` leaves out the response, and the
        fixed effects unless they are integrated out (REML).
    v, b, e
        ``(q + p,)``: the mode (u, beta); ``Lambda u`` and beta; ``Z'W`` residual.
    vpiv
        The inverse on the pattern of the head.
    G
        Per factor k x k, flat as Lambda: half the derivative of the log determinant in Lambda.
    grad
        Gradient of half the profiled criterion; `ratio` is (n or n - p) over the penalised sum of squares.
    """
    n_head = lay.n_head
    q = lay.q
    q_head = lay.q_head
    kh = lay.fac_z[n_head]
    nb = S.shape[0]
    n_u = nb - 1 - lay.p
    n_fac = lay.fac_k.shape[0]
    for i in range(n_used):
        for j in range(i + 1, n_used):
            Vb[j, i] = Vb[i, j]
    _solution(lay, piv, S, v)
    _inverse_of_head(lay, piv, Vb, n_used, vpiv)
    b[:] = v
    e[:] = 0.0
    G[:] = 0.0
    for f in range(n_fac):
        k = lay.fac_k[f]
        for lv in range(lay.n_levels[f]):
            own = lay.fac_u[f] + lv * k
            for r in range(k):
                s = 0.0
                for c in range(r + 1):
                    s += lam[lay.fac_lam[f] + r * k + c] * v[own + c]
                b[own + r] = s
    for h in range(n_head):
        k = lay.fac_k[h]
        z0 = lay.fac_z[h]
        la = lay.fac_lam[h]
        Gh = G[la:]
        wide = kh - z0
        for lv in range(lay.n_levels[h]):
            i = lay.head_lev[h] + lv
            first = lay.ptr[i]
            m = lay.ptr[i + 1] - first
            n = wide + m
            base = lay.base[i]
            own = lay.fac_u[h] + lv * k
            for r in range(k):
                e[own + r] += raw[base + r * n + n - 1]
            _pair(vpiv, base, n, raw, base, n, lam, la, k, la, k, True, False, Gh, Gh, b, own, own, e)
            for g in range(h + 1, n_head):
                at = base + lay.fac_z[g] - z0
                to = lay.fac_u[g] + lay.anc[i, g] * lay.fac_k[g]
                lb = lay.fac_lam[g]
                _pair(vpiv, at, n, raw, at, n, lam, la, k, lb, lay.fac_k[g], True, True, Gh, G[lb:], b, own, to, e)
            j = 0
            while j < m - 1:
                col = lay.cols[first + j]
                f = lay.border_fac[col]
                k2 = lay.fac_k[f] if f >= 0 else 1
                lb = lay.fac_lam[f] if f >= 0 else -1
                at = base + wide + j
                step = n if col < n_used else 0
                Gf = G[lb:] if f >= 0 else Gh
                _pair(vpiv, at, step, raw, at, n, lam, la, k, lb, k2, True, True, Gh, Gf, b, own, q_head + col, e)
                j += k2
    flat_V = Vb.reshape(-1)
    flat_S = S0.reshape(-1)
    i = 0
    while i < n_u:
        f = lay.border_fac[i]
        k = lay.fac_k[f]
        la = lay.fac_lam[f]
        for r in range(k):
            e[q_head + i + r] += S0[i + r, nb - 1]
        j = 0
        while j < nb - 1:
            g = lay.border_fac[j]
            k2 = lay.fac_k[g] if g >= 0 else 1
            if k * k2 == 1 and S0[i, j] == 0.0:
                j += 1
                continue
            lb = lay.fac_lam[g] if g >= 0 else -1
            step = n_used if j < n_used else 0
            _pair(
                flat_V, i * n_used + j, step, flat_S, i * nb + j, nb, lam, la, k, lb, k2, True, False, G[la:], G[la:],
                b, q_head + i, q_head + j, e,
            )  # fmt: skip
            j += k2
        i += k
    for t in range(grad.shape[0]):
        f = lay.theta_fac[t]
        k = lay.fac_k[f]
        r = lay.theta_row[t]
        c = lay.theta_col[t]
        s = 0.0
        for lv in range(lay.n_levels[f]):
            own = lay.fac_u[f] + lv * k
            s += v[own + c] * e[own + r]
        grad[t] = G[lay.fac_lam[f] + r * k + c] - ratio * s
    return q
