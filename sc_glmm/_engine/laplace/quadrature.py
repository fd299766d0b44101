"""Adaptive Gauss-Hermite quadrature for one scalar random effect per group, and its exact gradient.

For a group with mode u, H = 1 + sum j^2 W (j the row's z theta) and s = H^-1/2, the nodes are ``u_k = u + sqrt(2) s
z_k`` and

    log I = log s + log sum_k omega_k exp(h(u_k) + z_k^2),     omega_k the Gauss-Hermite weights over sqrt(pi).

The derivative includes the movement of u and s with the parameters. It is therefore the exact derivative of the
computed value for any number of nodes (one node is the Laplace approximation). Profiles, which hold theta and phi, use
:mod:`.integral` instead.
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import row_full


@kernel
def _differentiate_mode(ar, g, u, has_phi, wk):
    """Compute the derivatives of h' and of H in each parameter, at the mode of group g, into ``wk.dh``.

    Returns H and its derivative in u.
    """
    dh = wk.dh
    p = ar.p
    H = 1.0
    dH_u = 0.0
    for i in range(dh.shape[1]):
        dh[0, i] = 0.0
        dh[1, i] = 0.0
    for r in range(ar.grp_ptr[g], ar.grp_ptr[g + 1]):
        d = ar.grp_row[r]
        j = wk.J[d, 0]
        z = ar.XZ[d, 0]
        W = wk.W[d]
        dW = -wk.d3[d]
        H += j * j * W
        dH_u += j * j * j * dW
        for c in range(p):
            x = wk.J[d, ar.kz + c]
            dh[0, c] -= j * W * x
            dh[1, c] += j * j * dW * x
        dh[0, p] += z * wk.d1[d] - j * W * z * u
        dh[1, p] += 2.0 * j * z * W + j * j * dW * z * u
        if has_phi:
            dh[0, p + 1] += j * wk.e1[d]
            dh[1, p + 1] -= j * j * wk.e2[d]
    return H, dH_u


@kernel
def quadrature(like, ar, nd, ge, phi, gh, v, wk, grad):
    """Compute the log likelihood without the gene term, and its gradient in ``[beta, theta, log phi]``.

    `v` is the mode, at which :func:`~sc_glmm._engine.laplace.gradient.curvature_at_mode` was called. There must be one
    grouping factor with one column, and beta outside the border. `gh` is ``(2, n_agq)``: nodes and log weights.
    """
    code = like.code
    dh, acc = wk.dh, wk.acc
    p = ar.p
    n_par = grad.shape[0]
    kz = ar.kz
    for i in range(n_par):
        grad[i] = 0.0
    total = 0.0
    for g in range(ar.n_levels[0]):
        first = ar.grp_ptr[g]
        last = ar.grp_ptr[g + 1]
        u = v[g]
        H, dH_u = _differentiate_mode(ar, g, u, like.has_phi, wk)
        if not H > 0.0:
            return 0.0, False
        s = 1.0 / math.sqrt(H)
        top = -1e300
        for k in range(gh.shape[1]):
            uk = u + math.sqrt(2.0) * s * gh[0, k]
            h = -0.5 * uk * uk + gh[0, k] * gh[0, k] + gh[1, k]
            hu = -uk
            for i in range(n_par):
                acc[k, i] = 0.0
            for r in range(first, last):
                d = ar.grp_row[r]
                j = wk.J[d, 0]
                eta = wk.eta[d] + j * (uk - u)
                row_full(code, eta, phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d], wk.out)
                slope = wk.out[1]
                acc[k, p] += slope * ar.XZ[d, 0] * uk
                if like.has_phi:
                    acc[k, p + 1] += wk.out[4]
                h += wk.out[0]
                hu += j * slope
                for c in range(p):
                    acc[k, c] += slope * wk.J[d, kz + c]
            acc[k, n_par] = h
            acc[k, n_par + 1] = hu
            top = max(top, h)
        norm = 0.0
        for k in range(gh.shape[1]):
            acc[k, n_par] = math.exp(acc[k, n_par] - top)
            norm += acc[k, n_par]
        total += math.log(s) + top + math.log(norm)
        for i in range(n_par):
            du = dh[0, i] / H
            dH = dh[1, i] + dH_u * du
            ds = -0.5 * s * dH / H
            gi = -0.5 * dH / H
            for k in range(gh.shape[1]):
                pk = acc[k, n_par] / norm
                gi += pk * (acc[k, i] + acc[k, n_par + 1] * (du + math.sqrt(2.0) * gh[0, k] * ds))
            grad[i] += gi
    return total, True
