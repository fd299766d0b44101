"""Maximise the likelihood of one gene over beta, under a hypothesis, with variances and dispersion held.

This is Newton's method in the coordinates c of the hypothesis, beta = B c, of which the first are fixed at zero. The
metric is the information on beta from the Laplace approximation. It is computed again where the steps shrink slowly.
Where it differs much from the curvature (groups that separate, with a large variance), steps would jump from one side
of the maximum to the other. The slopes before and after the last step therefore scale the next one.
"""

from __future__ import annotations

from sc_glmm._engine.dense import solve_spd
from sc_glmm._engine.laplace.objective import COVARIANCE, EVALUATE, objective
from sc_glmm._families.jit import kernel

# Squared length of a Newton step, in the metric of the information, at which the search ends.
CLOSE = 1e-9
# If a step is not shorter than the last by this factor, the metric is out of date.
SLOW = 0.1
MAX_STEPS = 80
MAX_HALVINGS = 25
# Limits of the curvature along a step, relative to the metric.
LEAST, MOST = 0.4, 4.0


@kernel
def set_metric(B, climb):
    """Set ``climb.M = B' I B``, the information on beta in the coordinates of a hypothesis."""
    p = B.shape[0]
    for i in range(p):
        for j in range(p):
            s = 0.0
            for r in range(p):
                s += climb.info[i, r] * B[r, j]
            climb.columns[i, j] = s
    for i in range(p):
        for j in range(p):
            s = 0.0
            for r in range(p):
                s += B[r, i] * climb.columns[r, j]
            climb.M[i, j] = s


@kernel
def read_information(ar, S, info):
    """Compute the information on beta, ``R'R``, with R the last p pivots of the joint factor of (u, beta)."""
    nb = ar.q - ar.q_head + ar.p
    first = nb - ar.p
    for i in range(ar.p):
        for j in range(ar.p):
            s = 0.0
            for r in range(min(i, j) + 1):
                s += S[(first + r) * nb + first + i] * S[(first + r) * nb + first + j]
            info[i, j] = s


@kernel
def newton_step(B, m, climb):
    """Compute the step in the free coordinates from gradient and metric. Returns (squared length, ok)."""
    p = B.shape[0]
    set_metric(B, climb)
    for i in range(p):
        s = 0.0
        for j in range(p):
            s += B[j, i] * climb.grad[j]
        climb.coord_grad[i] = s
        climb.free[i] = 0 if i < m else 1
    if not solve_spd(climb.M, climb.coord_grad, climb.free, climb.L, climb.step):
        return 0.0, False
    dec = 0.0
    for i in range(p):
        dec += climb.coord_grad[i] * climb.step[i]
    return dec, True


@kernel
def set_move(B, climb):
    """Convert the step to a move of beta. Returns the fraction of it that may be taken at once."""
    top = 0.0
    for i in range(B.shape[0]):
        s = 0.0
        for j in range(B.shape[0]):
            s += B[i, j] * climb.step[j]
        climb.move[i] = s
        top = max(top, abs(s))
    return 2.0 / top if top > 2.0 else 1.0


@kernel
def _stay(climb):
    for i in range(climb.psi.shape[0]):
        climb.trial[i] = climb.psi[i]


@kernel
def _set_trial(climb, length):
    """Set ``trial = psi - length * move``; the variances and the dispersion do not change."""
    for i in range(climb.move.shape[0]):
        climb.trial[i] = climb.psi[i] - length * climb.move[i]


@kernel
def _curvature(length, slope, climb):
    """Compute the curvature along the last step, relative to the metric, from the slopes before and after it."""
    after = 0.0
    for i in range(climb.move.shape[0]):
        after += climb.grad[i] * climb.move[i]
    return min(max((1.0 - after / slope) / length, LEAST), MOST)


@kernel
def _accept(climb):
    for i in range(climb.psi.shape[0]):
        climb.psi[i] = climb.trial[i]
        climb.grad[i] = climb.new_grad[i]
    for i in range(climb.v.shape[0]):
        climb.v[i] = climb.vt[i]


@kernel
def maximise(like, ar, nd, ge, gh, B, m, wk, climb):
    """Maximise from ``climb.psi`` with the first `m` coordinates fixed at zero. Returns (minus the maximum, found).

    ``climb.psi`` and ``climb.v`` become the position of the maximum, and ``climb.info`` the information on beta there.
    """
    f = 1e300
    length = 1.0
    halvings = 0
    last = 1e300
    fresh = False
    final = False
    have_metric = False
    curvature = 1.0
    what = EVALUATE
    _stay(climb)
    for _ in range(MAX_STEPS):
        for i in range(climb.v.shape[0]):
            climb.vt[i] = climb.v[i]
        ft, ok = objective(what, like, ar, nd, ge, gh, climb.trial, climb.vt, wk, climb.new_grad)
        if what == COVARIANCE:
            if not ok:
                return f, False
            read_information(ar, wk.S, climb.info)
            if final:
                return f, True
            have_metric = True
            fresh = True
            what = EVALUATE
        elif ok and ft <= f + 1e-13 * abs(ft) + 1e-11:
            f = ft
            halvings = 0
            fresh = False
            _accept(climb)
            if last < 1e300:
                curvature = _curvature(length, last, climb)
            if not have_metric:
                what = COVARIANCE
                continue
        else:
            length *= 0.4
            halvings += 1
            if f == 1e300 or halvings > MAX_HALVINGS:
                return f, False
        if halvings == 0:
            dec, ok = newton_step(B, m, climb)
            if not ok:
                return f, False
            final = dec < CLOSE or m == ar.p
            # if groups separate, the information changes during the search
            if final or (dec > SLOW * last and not fresh):
                what = COVARIANCE
                _stay(climb)
                continue
            last = dec
            length = set_move(B, climb) / curvature
        _set_trial(climb, length)
    return f, False
