"""The inner problem of one gene: the mode of the random effects, and of beta where it is integrated out."""

from __future__ import annotations

from sc_glmm._engine.arrow.factor import factorise, fill_lambda, solve
from sc_glmm._engine.arrow.rows import assemble, fill_J
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import row_newton, row_value

CLOSE = 1e-11
# How far a linear predictor may be from zero, and how far one Newton step may move it: exp(3) is a factor of 20.
ETA_MAX = 250.0
STEP_MAX = 3.0


@kernel
def predict(ar, J, v, eta):
    """Compute the linear predictors of the rows at `v`."""
    for d in range(eta.shape[0]):
        s = 0.0
        for a in range(J.shape[1]):
            s += J[d, a] * v[ar.pos[d, a]]
        eta[d] = min(max(s, -ETA_MAX), ETA_MAX)


@kernel
def _penalised(code, ar, nd, ge, phi, eta, v):
    """Compute h(v)."""
    s = 0.0
    for i in range(ar.q):
        s += v[i] * v[i]
    h = -0.5 * s
    for d in range(eta.shape[0]):
        h += row_value(code, eta[d], phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d])
    return h


@kernel
def find_mode(code, ar, nd, ge, phi, tail, v, wk, stay):
    """Maximise h over u, from `v`, in place. Returns whether the maximum was found.

    With `tail`, the p columns of X in the border, h is maximised over beta as well. With `stay`, only the predictors at
    `v` are computed.

    This is Newton's method on a concave function. Far from the maximum, steps are halved where necessary. The loop ends
    after a step whose squared length in the metric of the Hessian is below CLOSE. The remaining error is of this order.
    """
    q = ar.q
    n_free = q + tail
    nb = n_free - ar.q_head
    n_rows = wk.eta.shape[0]
    nl = ar.kz + tail
    for it in range(100):
        predict(ar, wk.J, v, wk.eta)
        if stay:
            return True
        for d in range(n_rows):
            d1, d2 = row_newton(code, wk.eta[d], phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d])
            wk.d1[d] = d1
            wk.W[d] = -d2
        assemble(ar, wk.J, wk.W, tail, tail, 1.0, wk.piv, wk.S)
        if it == 0:
            # a flat likelihood (all counts zero in some direction) must not prevent the first step
            for i in range(q - ar.q_head, nb):
                wk.S[i * nb + i] += 1e-12 * (1.0 + wk.S[i * nb + i])
        log_det, ok = factorise(ar, tail, wk.piv, wk.S)
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
        solve(ar, tail, tail, wk.piv, wk.S, wk.step)
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
            if top > STEP_MAX:
                alpha = STEP_MAX / top
            h0 = 0.0
            for trial in range(42):
                # the first round evaluates the current point
                for i in range(v.shape[0]):
                    wk.vtry[i] = v[i] + alpha * wk.step[i] if i < n_free and trial > 0 else v[i]
                predict(ar, wk.J, wk.vtry, wk.eta)
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
def set_theta(ar, psi, first, wk):
    """Compute what depends on theta (``psi[first:]``) and not on the counts of the gene."""
    fill_lambda(ar, psi, first, wk.lam)
    fill_J(ar, wk.lam, wk.J)
