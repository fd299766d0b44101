"""Sums over the rows of a design: ``J' W J``, and products of the inverse with rows of J."""

from __future__ import annotations

from sc_glmm._engine.arrow.star import assemble_star, is_star, row_product_star
from sc_glmm._families.jit import kernel


@kernel
def fill_J(ar, lam, J):
    """Fill the first columns of ``J = [Z Lambda, X]``. The others do not change."""
    for f in range(ar.fac_k.shape[0]):
        k = ar.fac_k[f]
        z0 = ar.fac_z[f]
        l0 = ar.fac_lam[f]
        for d in range(J.shape[0]):
            for c in range(k):
                s = 0.0
                for r in range(c, k):
                    s += ar.XZ[d, z0 + r] * lam[l0 + r * k + c]
                J[d, z0 + c] = s


@kernel
def _add_to_level(ar, J, w, d, h, tail, used, piv):
    """Add row `d` to the pivot rows of its level of head factor `h`."""
    kh = ar.fac_z[ar.n_head]
    z0 = ar.fac_z[h]
    wide = kh - z0
    i = ar.head_lev[h] + ar.lev[d, h]
    n = ar.width[i] + tail
    base = ar.base[i] + ar.pos[d, z0] * tail
    for c in range(ar.fac_k[h]):
        wj = w * J[d, z0 + c]
        if wj == 0.0:
            continue
        row = base + c * n
        for b in range(c, wide):
            piv[row + b] += wj * J[d, z0 + b]
        for b in range(kh, ar.kz):
            piv[row + wide + ar.place[d, h, b - kh]] += wj * J[d, b]
        for j in range(used):
            piv[row + n - tail + j] += wj * J[d, ar.kz + j]


@kernel
def assemble(ar, J, W, tail, used, one, piv, S):
    """Fill `piv` and `S` with ``J' W J + P``, upper triangles.

    P is `one` for every random effect. Of the `tail` dense columns the first `used` are filled, with those of J behind
    Z.
    """
    if is_star(ar):
        assemble_star(ar, J, W, tail, used, one, piv, S)
        return
    q_head = ar.q_head
    kh = ar.fac_z[ar.n_head]
    n_u = ar.q - q_head
    nb = n_u + tail
    nl = ar.kz + used
    for i in range(ar.base[ar.base.shape[0] - 1] + q_head * tail):
        piv[i] = 0.0
    for i in range(nb * nb):
        S[i] = 0.0
    for h in range(ar.n_head):
        k = ar.fac_k[h]
        for lv in range(ar.n_levels[h]):
            i = ar.head_lev[h] + lv
            n = ar.width[i] + tail
            base = ar.base[i] + (ar.fac_u[h] + lv * k) * tail
            for c in range(k):
                piv[base + c * n + c] = one
    for i in range(n_u):
        S[i * nb + i] = one
    for d in range(J.shape[0]):
        w = W[d]
        for h in range(ar.n_head):
            _add_to_level(ar, J, w, d, h, tail, used, piv)
        for a in range(kh, nl):
            wj = w * J[d, a]
            if wj == 0.0:
                continue
            row = (ar.pos[d, a] - q_head) * nb - q_head
            for b in range(a, nl):
                S[row + ar.pos[d, b]] += wj * J[d, b]


@kernel
def row_product(ar, J, d, tail, used, vpiv, vS, y):
    """Compute ``y = V J_d`` on the coordinates of row d, with V the inverse. Returns the leverage ``J_d' V J_d``.

    V is over the random effects and the first `used` of the `tail` dense columns of the pivot rows.
    """
    if is_star(ar):
        return row_product_star(ar, J, d, tail, used, vpiv, vS, y)
    q_head = ar.q_head
    kh = ar.fac_z[ar.n_head]
    kz = ar.kz
    nb = ar.q - q_head + used
    nl = kz + used
    for a in range(nl):
        y[a] = 0.0
    for h in range(ar.n_head):
        k = ar.fac_k[h]
        z0 = ar.fac_z[h]
        i = ar.head_lev[h] + ar.lev[d, h]
        list_at = kh - z0
        tail_at = ar.width[i]
        n = tail_at + tail
        base = ar.base[i] + ar.pos[d, z0] * tail
        for c in range(k):
            row = base + c * n
            ja = J[d, z0 + c]
            s = 0.0
            for b in range(k):
                s += vpiv[row + b] * J[d, z0 + b]
            for b in range(z0 + k, kh):
                v = vpiv[row + b - z0]
                s += v * J[d, b]
                y[b] += v * ja
            for b in range(kh, kz):
                v = vpiv[row + list_at + ar.place[d, h, b - kh]]
                s += v * J[d, b]
                y[b] += v * ja
            for j in range(used):
                v = vpiv[row + tail_at + j]
                s += v * J[d, kz + j]
                y[kz + j] += v * ja
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
