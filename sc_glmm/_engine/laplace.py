"""The Laplace approximation of a mixed model's log likelihood, and its exact gradient.

With ``h(v) = sum_d f_d(eta_d) - u'u / 2`` the inner problem finds its mode over v = u (maximum likelihood: beta is an
outer parameter) or v = (u, beta) (REML: beta is integrated out with a flat prior by the same step, as glmmTMB's
``REML = TRUE``). Then

    log L = h - log det H / 2 + [REML] p log(2 pi) / 2,       H = J' W J + P,  W = -f''.

The gradient follows by implicit differentiation of the mode. Let ``a_d`` be the leverage ``J_d' H^-1 J_d``, ``w =
H^-1 J' (a W')`` with ``W' = -f'''``, and ``q = J w``. Everything an outer parameter does to the objective goes
through

    G_d = f'_d - a_d W'_d / 2 + q_d W_d / 2,

the derivative in a shift of row d's predictor; see :func:`gradient`.
"""

from __future__ import annotations

from sc_glmm._engine.arrow import assemble, factorise, fill_J, fill_lambda, pivot_offsets, row_product, solve
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import eta_limits, row_full, row_newton, row_value

CLOSE = 1e-11


@kernel
def _predict(ar, J, v, eta, limit):
    for d in range(eta.shape[0]):
        s = 0.0
        for a in range(J.shape[1]):
            s += J[d, a] * v[ar.pos[d, a]]
        eta[d] = min(max(s, -limit), limit)


@kernel
def _penalised(code, ar, nd, ge, phi, eta, v):
    """h(v)."""
    s = 0.0
    for i in range(ar.size[1]):
        s += v[i] * v[i]
    h = -0.5 * s
    for d in range(eta.shape[0]):
        h += row_value(code, eta[d], phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d])
    return h


@kernel
def find_mode(code, ar, nd, ge, phi, nb, v, wk, stay):
    """Maximise h over u (and over beta where it is in the border), from `v`, in place. Returns whether it got there.

    With `stay` only the predictors at `v` are computed.

    Newton on a concave function: full steps once near, halved while far. The loop ends after a step whose squared
    length in the metric of the Hessian was below CLOSE; the error left is of the order of that.
    """
    n_free = ar.size[2] + nb
    q = ar.size[1]
    n_rows = wk.eta.shape[0]
    nl = ar.size[4] + (n_free - q)
    eta_max, step_max = eta_limits(code)
    for it in range(100):
        _predict(ar, wk.J, v, wk.eta, eta_max)
        if stay:
            return True
        for d in range(n_rows):
            d1, d2 = row_newton(code, wk.eta[d], phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d])
            wk.d1[d] = d1
            wk.W[d] = -d2
        assemble(ar, wk.J, wk.W, nb, wk.piv, wk.off, wk.S)
        if it == 0:
            # a flat likelihood (all counts zero in some direction) must not stop the first step
            for i in range(q - ar.size[2], nb):
                wk.S[i * nb + i] += 1e-12 * (1.0 + wk.S[i * nb + i])
        log_det, ok = factorise(ar, nb, wk.piv, wk.off, wk.S)
        if not ok:
            return False
        for i in range(q):
            wk.step[i] = -v[i]
        for i in range(q, v.shape[0]):
            wk.step[i] = 0.0
        for d in range(n_rows):
            for a in range(nl):
                wk.step[ar.pos[d, a]] += wk.J[d, a] * wk.d1[d]
        for i in range(n_free):
            wk.w[i] = wk.step[i]
        solve(ar, nb, wk.piv, wk.off, wk.S, wk.step)
        dec = 0.0
        for i in range(n_free):
            dec += wk.w[i] * wk.step[i]
        if not (dec == dec and dec < 1e300):
            return False
        if dec < CLOSE:
            stay = True
        if dec > 1e-2:
            alpha = 1.0
            top = 0.0
            for d in range(n_rows):
                s = 0.0
                for a in range(nl):
                    s += wk.J[d, a] * wk.step[ar.pos[d, a]]
                top = max(top, abs(s))
            if top > step_max:
                alpha = step_max / top
            h0 = 0.0
            for trial in range(42):
                # the first round measures where we are
                for i in range(v.shape[0]):
                    wk.vtry[i] = v[i] + alpha * wk.step[i] if i < n_free and trial > 0 else v[i]
                _predict(ar, wk.J, wk.vtry, wk.eta, eta_max)
                h1 = _penalised(code, ar, nd, ge, phi, wk.eta, wk.vtry)
                if trial == 0:
                    h0 = h1
                elif h1 >= h0 - 1e-12 * abs(h0):
                    break
                else:
                    alpha *= 0.5
            for i in range(n_free):
                wk.step[i] *= alpha
        for i in range(n_free):
            v[i] += wk.step[i]
    return False


@kernel
def curvature_at_mode(code, ar, nd, ge, phi, nb, v, wk):
    """All derivatives of the rows at the mode, and the factor there. Returns (h, log det H, ok)."""
    h = 0.0
    for i in range(ar.size[1]):
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
    assemble(ar, wk.J, wk.W, nb, wk.piv, wk.off, wk.S)
    log_det, ok = factorise(ar, nb, wk.piv, wk.off, wk.S)
    return h, log_det, ok


@kernel
def set_theta(ar, psi, first, nb, wk):
    """Everything that depends on theta (``psi[first:]``) and not on the gene's counts."""
    fill_lambda(ar, psi, first, wk.lam)
    fill_J(ar, wk.lam, wk.J)
    pivot_offsets(ar, nb, wk.off)


@kernel
def gradient(ar, nb, v, has_phi, wk, grad):
    """Gradient of the Laplace log likelihood at the mode; ``grad = [beta if it is not in the border, theta, log phi]``.

    Needs what :func:`curvature_at_mode` and :func:`~sc_glmm._engine.arrow.invert` left in `wk`. The gene term of log
    phi is not in it.
    """
    n_rows = wk.eta.shape[0]
    q = ar.size[1]
    p = ar.size[3]
    kz = ar.size[4]
    joint = (ar.size[2] + nb) > q or p == 0
    nl = kz + p if joint else kz
    for i in range(wk.w.shape[0]):
        wk.w[i] = 0.0
    for d in range(n_rows):
        lev = row_product(ar, wk.J, d, nb, wk.vpiv, wk.off, wk.vS, wk.yj[d])
        wk.lever[d] = lev
        s = -lev * wk.d3[d]
        for a in range(nl):
            wk.w[ar.pos[d, a]] += wk.J[d, a] * s
    solve(ar, nb, wk.piv, wk.off, wk.S, wk.w)
    n_beta = 0 if joint else p
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
