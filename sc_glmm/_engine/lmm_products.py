"""The cross-products of the Gaussian engine, accumulated row by row into the places of its layout.

One kernel that calls no other, so that it may be cached (numba's cache knows one file only).
"""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def cross_products(lay, XZ, lev, at, W, a, yy, raw, S0):
    """Fill `raw` (head) and `S0` (border, full) from rows: weights `W`, weighted sums of the response `a`.

    ``at[d, h, j]`` is the place, in the list of row d's level of head factor h, of its block of border factor j.
    """
    n_head = lay.size[0]
    q_head = lay.size[2]
    p = lay.size[3]
    n_fac = lay.fac_k.shape[0]
    kh = lay.fac_z[n_head]
    kz = lay.fac_z[n_fac]
    nb = S0.shape[0]
    raw[:] = 0.0
    S0[:] = 0.0
    S0[nb - 1, nb - 1] = yy
    x0 = nb - 1 - p
    for d in range(XZ.shape[0]):
        for h in range(n_head):
            i = lay.head_lev[h] + lev[d, h]
            z0 = lay.fac_z[h]
            wide = kh - z0
            m = lay.ptr[i + 1] - lay.ptr[i]
            for c in range(lay.fac_k[h]):
                row = lay.base[i] + c * (wide + m)
                z = XZ[d, z0 + c]
                w = W[d] * z
                for b in range(wide):
                    raw[row + b] += w * XZ[d, z0 + b]
                for f in range(n_head, n_fac):
                    place = row + wide + at[d, h, f - n_head]
                    for b in range(lay.fac_k[f]):
                        raw[place + b] += w * XZ[d, lay.fac_z[f] + b]
                tail = row + wide + m - p - 1
                for b in range(p):
                    raw[tail + b] += w * XZ[d, kz + b]
                raw[tail + p] += z * a[d]
        for f in range(n_head, n_fac):
            for c in range(lay.fac_k[f]):
                i = lay.fac_u[f] - q_head + lev[d, f] * lay.fac_k[f] + c
                z = XZ[d, lay.fac_z[f] + c]
                w = W[d] * z
                for g in range(n_head, n_fac):
                    j = lay.fac_u[g] - q_head + lev[d, g] * lay.fac_k[g]
                    for b in range(lay.fac_k[g]):
                        S0[i, j + b] += w * XZ[d, lay.fac_z[g] + b]
                for b in range(p):
                    S0[i, x0 + b] += w * XZ[d, kz + b]
                S0[i, nb - 1] += z * a[d]
        for c in range(p):
            w = W[d] * XZ[d, kz + c]
            for b in range(p):
                S0[x0 + c, x0 + b] += w * XZ[d, kz + b]
            S0[x0 + c, nb - 1] += XZ[d, kz + c] * a[d]
    for i in range(nb):
        for j in range(x0, nb):
            S0[j, i] = S0[i, j]
