"""Maximise the Laplace likelihood of one gene over beta by Newton steps in (u, beta) together.

The slope of the Laplace log likelihood in beta is the slope of h plus the *tilt* c, which is the slope of ``- log det H
/ 2`` along the mode of u. With c fixed, ``h + c'beta`` is concave in (u, beta). The factor of its Hessian gives the log
determinant of H (without the last p pivots) and the information on beta (from the last p pivots). The tilt is computed
again at every step. It changes little, so that two or three steps are enough. A search over beta alone would have to
find the mode of u again at each of its steps.

After a short last step the likelihood is not evaluated again. To second order, its log is then

    h - log det H / 2 + dec / 2 - w'g / 2,

with dec the squared length of the step, g the gradient in u, and w as in :mod:`.gradient`. The last term is the change
of the log determinant as u moves to its mode.
"""

from __future__ import annotations

import math

from sc_glmm._engine.arrow.factor import solve_down, solve_up
from sc_glmm._engine.arrow.inverse import invert, invert_border
from sc_glmm._engine.laplace.climb import newton_step, read_information, set_move
from sc_glmm._engine.laplace.gradient import curvature_at_mode, weigh_skewness
from sc_glmm._engine.laplace.mode import STEP_MAX, predict, set_theta
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import gene_term

# Squared length of the last step. The error of the value is of the order of this to the power of 3/2.
CLOSE = 1e-8
# Squared length of the next step, predicted from the rate at which steps have shrunk, for which a longer step (up to
# LAST) is the last one.
NEXT = 1e-12
LAST = 1e-3
LEAST_RATE = 1e-6
# If a search needs more steps, or if its steps do not shrink, :mod:`.climb` takes over, which can halve steps.
MAX_STEPS = 12
SLOW = 0.5
# A step with a smaller squared length moves no predictor too far.
SHORT = 1e-2


@kernel
def _set_tilt(ar, wk, tilt):
    """Compute the slope of minus half the log determinant in beta, from the factor and the derivatives in `wk`."""
    n_u = ar.q - ar.q_head
    invert_border(n_u, n_u + ar.p, wk.S, wk.vS)
    invert(ar, ar.p, 0, wk.piv, wk.vS, wk.vpiv, wk.tt, wk.B)
    weigh_skewness(ar, ar.p, 0, wk)
    for j in range(ar.p):
        tilt[j] = 0.0
    for d in range(wk.eta.shape[0]):
        q = 0.0
        for a in range(ar.kz):
            q += wk.J[d, a] * wk.w[ar.pos[d, a]]
        slope = 0.5 * (wk.lever[d] * wk.d3[d] + q * wk.W[d])
        for j in range(ar.p):
            tilt[j] += wk.J[d, ar.kz + j] * slope


@kernel
def set_gradient(ar, v, wk, tilt):
    """Compute the gradient of ``h + tilt'beta`` in (u, beta), into ``wk.step`` and ``wk.vtry``."""
    for i in range(ar.q):
        wk.step[i] = -v[i]
    for j in range(ar.p):
        wk.step[ar.q + j] = tilt[j]
    for d in range(wk.eta.shape[0]):
        for a in range(ar.kz + ar.p):
            wk.step[ar.pos[d, a]] += wk.J[d, a] * wk.d1[d]
    for i in range(v.shape[0]):
        wk.vtry[i] = wk.step[i]


@kernel
def _set_step(ar, B, m, wk, climb):
    """Turn the gradient in ``wk.step`` into the step with `m` coordinates fixed. Returns (dec, length, ok)."""
    read_information(ar, wk.S, climb.info)
    solve_down(ar, ar.p, 0, wk.piv, wk.S, wk.step)
    for j in range(ar.p):
        climb.grad[j] = -wk.step[ar.q + j]
    _, ok = newton_step(B, m, climb)
    length = set_move(B, climb)
    follow(ar, 1.0, wk, climb)
    dec = 0.0
    for i in range(wk.step.shape[0]):
        dec += wk.step[i] * wk.vtry[i]
    if dec > SHORT:
        length = min(length, _longest_step(ar, wk))
    return dec, length, ok and 0.0 <= dec < 1e300


@kernel
def follow(ar, length, wk, climb):
    """Complete the step in ``wk.step``, after the downward solution, so that u follows the move of beta."""
    for j in range(ar.p):
        wk.step[ar.q + j] = -length * climb.move[j]
    solve_up(ar, ar.p, ar.p, ar.p, ar.q - ar.q_head + ar.p, wk.piv, wk.S, wk.step)


@kernel
def _longest_step(ar, wk):
    """Find the fraction of the step that moves no predictor by more than STEP_MAX."""
    top = 0.0
    for d in range(wk.eta.shape[0]):
        s = 0.0
        for a in range(ar.kz + ar.p):
            s += wk.J[d, a] * wk.step[ar.pos[d, a]]
        top = max(top, abs(s))
    return STEP_MAX / top if top > STEP_MAX else 1.0


@kernel
def _value(ar, h, log_det, dec, wk):
    """Compute the log likelihood after the last step; without a step, at the point."""
    slack = 0.0
    if dec > 0.0:
        for i in range(ar.q):
            slack += wk.w[i] * wk.vtry[i]
    return h - 0.5 * log_det + 0.5 * dec - 0.5 * slack


@kernel
def climb_jointly(like, ar, nd, ge, B, m, close, tilted, wk, climb):
    """Maximise as :func:`sc_glmm._engine.laplace.climb.maximise` does, for Laplace, without halving steps.

    Returns False where a more careful search is necessary. The search ends after a step whose squared length is below
    `close`, or if the next one would be shorter than NEXT by the rate at which steps have shrunk so far. Without
    `tilted`, h itself is maximised, and the returned value has no meaning.
    """
    phi = math.exp(climb.psi[climb.psi.shape[0] - 1]) if like.has_phi else 1.0
    set_theta(ar, climb.psi, ar.p, wk)
    for i in range(ar.q):
        climb.vt[i] = climb.v[i]
    for j in range(ar.p):
        climb.vt[ar.q + j] = climb.psi[j]
    last = 1e300
    ended = False
    for step in range(MAX_STEPS):
        predict(ar, wk.J, climb.vt, wk.eta)
        h, log_det, ok = curvature_at_mode(like.code, ar, nd, ge, phi, ar.p, climb.vt, wk)
        if not ok:
            return 1e300, False
        dec = 0.0
        if ended:
            read_information(ar, wk.S, climb.info)
        else:
            # at the start, the tilt of the last node is close enough
            if step > 0 and tilted:
                _set_tilt(ar, wk, climb.tilt)
            set_gradient(ar, climb.vt, wk, climb.tilt)
            dec, length, ok = _set_step(ar, B, m, wk, climb)
            if not ok or (step > 2 and dec > SLOW * last):
                return 1e300, False
            # the first step, with the tilt of another node, does not show how steps shrink
            if step > 1 and tilted:
                climb.rate[0] = max(dec / last, LEAST_RATE)
            last = dec
            for i in range(climb.vt.shape[0]):
                climb.vt[i] += length * wk.step[i]
        if ended or ((step > 0 or not tilted) and dec < close):
            nb = ar.q - ar.q_head + ar.p
            for i in range(nb - ar.p, nb):
                log_det -= 2.0 * math.log(wk.S[i * nb + i])
            g0, _ = gene_term(like.code, phi, ge.tail, ge.over_value, ge.over_count)
            _accept_joint(ar, climb)
            return -_value(ar, h, log_det, dec, wk) - g0, True
        ended = tilted and step > 0 and dec < LAST and dec * climb.rate[0] < NEXT
    return 1e300, False


@kernel
def _accept_joint(ar, climb):
    for i in range(climb.v.shape[0]):
        climb.v[i] = climb.vt[i]
    for j in range(ar.p):
        climb.psi[j] = climb.vt[ar.q + j]
