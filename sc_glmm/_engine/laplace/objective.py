"""The objective of the outer optimiser: minus the log likelihood of one gene, with its exact gradient.

Each heavy kernel is called at one place here, and this function at one place in each entry. Numba inlines callees, so
that compile time grows with the number of call sites.
"""

from __future__ import annotations

import math

from sc_glmm._engine.arrow.inverse import invert, invert_border
from sc_glmm._engine.laplace.gradient import curvature_at_mode, gradient
from sc_glmm._engine.laplace.mode import find_mode, set_theta
from sc_glmm._engine.laplace.quadrature import quadrature
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import gene_term

LOG_2PI = math.log(2.0 * math.pi)

# Tasks of :func:`objective`: value and gradient; the joint mode of (u, beta) as a start; the joint covariance at given
# (u, beta).
EVALUATE = 0
START = 1
COVARIANCE = 2


@kernel
def objective(what, like, ar, nd, ge, gh, psi, v, wk, grad):
    """Minus the log likelihood at ``psi = [beta if it is not integrated, theta, log phi]``. Returns (f, ok).

    `v` is the start of the inner search and becomes the mode. One quadrature node is the Laplace approximation. The
    value depends only on `psi`. With START or COVARIANCE, the factor of the joint Hessian of (u, beta) is left in
    ``wk.piv`` and ``wk.S``, and its inverse on the border in ``wk.vS``; the value has no meaning.
    """
    n_theta = ar.theta_fac.shape[0]
    n_beta = 0 if like.joint else ar.p
    if what == EVALUATE:
        for j in range(n_beta):
            v[ar.q + j] = psi[j]
    log_phi = psi[n_beta + n_theta] if like.has_phi else 0.0
    phi = math.exp(log_phi)
    # number of columns of X that are solved together with the random effects
    tail = ar.p if like.joint or what != EVALUATE else 0
    set_theta(ar, psi, n_beta, wk)
    if not find_mode(like.code, ar, nd, ge, phi, tail, v, wk, what == COVARIANCE):
        return 1e300, False
    h, log_det, ok = curvature_at_mode(like.code, ar, nd, ge, phi, tail, v, wk)
    if not ok:
        return 1e300, False
    if gh.shape[1] > 1 and what == EVALUATE:
        val, ok = quadrature(like, ar, nd, ge, phi, gh, v, wk, grad)
    else:
        nb = ar.q - ar.q_head + tail
        invert_border(nb, nb, wk.S, wk.vS)
        if what != EVALUATE:
            return 0.0, True
        invert(ar, tail, tail, wk.piv, wk.vS, wk.vpiv, wk.tt, wk.B)
        gradient(ar, tail, v, like.has_phi, wk, grad)
        val = h - 0.5 * log_det
        if like.joint:
            val += 0.5 * ar.p * LOG_2PI
    g0, g1 = gene_term(like.code, phi, ge.tail, ge.over_value, ge.over_count)
    val += g0
    if like.has_phi:
        grad[grad.shape[0] - 1] += g1
    for i in range(grad.shape[0]):
        grad[i] = -grad[i]
        if not (abs(grad[i]) < 1e200):
            ok = False
    if not (abs(val) < 1e200):
        ok = False
    return -val, ok
