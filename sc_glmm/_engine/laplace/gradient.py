"""The Laplace approximation of a mixed model's log likelihood, and its exact gradient.

With ``h(v) = sum_d f_d(eta_d) - u'u / 2`` the inner problem finds its mode over v = u (maximum likelihood: beta is an
outer parameter) or v = (u, beta) (REML: beta is integrated out with a flat prior by the same step, as glmmTMB's
``REML = TRUE``). Then

    log L = h - log det H / 2 + [REML] p log(2 pi) / 2,       H = J' W J + P,  W = -f''.

The gradient follows by implicit differentiation of the mode. Let ``a_d`` be the leverage ``J_d' H^-1 J_d``, ``w =
H^-1 J' (a W')`` with ``W' = -f'''``, and ``q = J w``. An outer parameter affects the objective through

    G_d = f'_d - a_d W'_d / 2 + q_d W_d / 2,

the derivative with respect to a shift of the predictor of row d; see :func:`gradient`.
"""

from __future__ import annotations

from sc_glmm._engine.arrow.factor import factorise, solve
from sc_glmm._engine.arrow.rows import assemble, row_product
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import row_full


@kernel
def curvature_at_mode(code, ar, nd, ge, phi, tail, v, wk):
    """Compute all derivatives of the rows at the mode, and the factor there. Returns (h, log det H, ok)."""
    h = 0.0
    for i in range(ar.q):
        h -= 0.5 * v[i] * v[i]
    for d in range(wk.eta.shape[0]):
        row_full(code, wk.eta[d], phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d], wk.out)
        h += wk.out[0]
        wk.d1[d] = wk.out[1]
        wk.d2[d] = wk.out[2]
        wk.d3[d] = wk.out[3]
        wk.e0[d] = wk.out[4]
        wk.e1[d] = wk.out[5]
        wk.e2[d] = wk.out[6]
        wk.W[d] = -wk.out[2]
    assemble(ar, wk.J, wk.W, tail, tail, 1.0, wk.piv, wk.S)
    log_det, ok = factorise(ar, tail, wk.piv, wk.S)
    return h, log_det, ok


@kernel
def weigh_skewness(ar, tail, used, wk):
    """Compute leverages and ``w = H^-1 J' (a W')``, with H over the random effects and `used` dense columns."""
    for i in range(wk.w.shape[0]):
        wk.w[i] = 0.0
    for d in range(wk.eta.shape[0]):
        lev = row_product(ar, wk.J, d, tail, used, wk.vpiv, wk.vS, wk.yj[d])
        wk.lever[d] = lev
        s = -lev * wk.d3[d]
        for a in range(ar.kz + used):
            wk.w[ar.pos[d, a]] += wk.J[d, a] * s
    solve(ar, tail, used, wk.piv, wk.S, wk.w)


@kernel
def gradient(ar, tail, v, has_phi, wk, grad):
    """Compute the gradient of the Laplace log likelihood at the mode, in ``[beta, theta, log phi]``.

    Beta is left out if it is in the border. Call :func:`curvature_at_mode` and
    :func:`~sc_glmm._engine.arrow.inverse.invert` before, which fill `wk`. The gene term of log phi is not included.
    """
    n_rows = wk.eta.shape[0]
    p = ar.p
    kz = ar.kz
    nl = kz + tail
    weigh_skewness(ar, tail, tail, wk)
    n_beta = p - tail
    n_theta = ar.theta_fac.shape[0]
    for i in range(grad.shape[0]):
        grad[i] = 0.0
    for d in range(n_rows):
        qd = 0.0
        for a in range(nl):
            qd += wk.J[d, a] * wk.w[ar.pos[d, a]]
        W = wk.W[d]
        lev = wk.lever[d]
        G = wk.d1[d] + 0.5 * lev * wk.d3[d] + 0.5 * qd * W
        for j in range(n_beta):
            grad[j] += wk.J[d, kz + j] * G
        for t in range(n_theta):
            f = ar.theta_fac[t]
            z = ar.XZ[d, ar.fac_z[f] + ar.theta_row[t]]
            c = ar.fac_z[f] + ar.theta_col[t]
            i = ar.pos[d, c]
            grad[n_beta + t] += z * (v[i] * G - W * wk.yj[d, c] - 0.5 * wk.w[i] * wk.d1[d])
        if has_phi:
            grad[n_beta + n_theta] += wk.e0[d] + 0.5 * lev * wk.e2[d] - 0.5 * qd * wk.e1[d]
