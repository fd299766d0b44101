"""The cross-products of the Gaussian engine, accumulated row by row into the places of its layout.

One kernel that calls only what is in this file, so that it may be cached (numba's cache knows one file only).
"""

from __future__ import annotations

from numba import njit

from sc_glmm._families.cache import cached


@njit(nogil=True, error_model="numpy")
def _add_to_head(d, h, lay, XZ, lev, at, w, a, raw):
    """Add row `d` to the list of its level of head factor `h`; `w` is its weight, `a` its weighted response."""
    p = lay.p
    kz = XZ.shape[1] - p
    i = lay.head_lev[h] + lev[d, h]
    z0 = lay.fac_z[h]
    wide = lay.fac_z[lay.n_head] - z0
    m = lay.ptr[i + 1] - lay.ptr[i]
    for c in range(lay.fac_k[h]):
        row = lay.base[i] + c * (wide + m)
        z = XZ[d, z0 + c]
        wz = w * z
        for b in range(wide):
            raw[row + b] += wz * XZ[d, z0 + b]
        for f in range(lay.n_head, lay.fac_k.shape[0]):
            place = row + wide + at[d, h, f - lay.n_head]
            for b in range(lay.fac_k[f]):
                raw[place + b] += wz * XZ[d, lay.fac_z[f] + b]
        tail = row + wide + m - p - 1
        for b in range(p):
            raw[tail + b] += wz * XZ[d, kz + b]
        raw[tail + p] += z * a


@njit(nogil=True, error_model="numpy")
def _add_to_border(d, f, lay, XZ, lev, w, a, S0):
    """Add row `d` to the border's rows of border factor `f`."""
    p = lay.p
    kz = XZ.shape[1] - p
    last = S0.shape[0] - 1
    for c in range(lay.fac_k[f]):
        i = lay.fac_u[f] - lay.q_head + lev[d, f] * lay.fac_k[f] + c
        z = XZ[d, lay.fac_z[f] + c]
        wz = w * z
        for g in range(lay.n_head, lay.fac_k.shape[0]):
            j = lay.fac_u[g] - lay.q_head + lev[d, g] * lay.fac_k[g]
            for b in range(lay.fac_k[g]):
                S0[i, j + b] += wz * XZ[d, lay.fac_z[g] + b]
        for b in range(p):
            S0[i, last - p + b] += wz * XZ[d, kz + b]
        S0[i, last] += z * a


@cached(nogil=True, error_model="numpy")
def cross_products(lay, XZ, lev, at, W, a, yy, raw, S0):
    """Fill `raw` (head) and `S0` (border, full) from rows: weights `W`, weighted sums of the response `a`.

    ``at[d, h, j]`` is the place, in the list of row d's level of head factor h, of its block of border factor j.
    """
    p = lay.p
    kz = XZ.shape[1] - p
    nb = S0.shape[0]
    raw[:] = 0.0
    S0[:] = 0.0
    S0[nb - 1, nb - 1] = yy
    x0 = nb - 1 - p
    for d in range(XZ.shape[0]):
        for h in range(lay.n_head):
            _add_to_head(d, h, lay, XZ, lev, at, W[d], a[d], raw)
        for f in range(lay.n_head, lay.fac_k.shape[0]):
            _add_to_border(d, f, lay, XZ, lev, W[d], a[d], S0)
        for c in range(p):
            w = W[d] * XZ[d, kz + c]
            for b in range(p):
                S0[x0 + c, x0 + b] += w * XZ[d, kz + b]
            S0[x0 + c, nb - 1] += XZ[d, kz + c] * a[d]
    for i in range(nb):
        for j in range(x0, nb):
            S0[j, i] = S0[i, j]
