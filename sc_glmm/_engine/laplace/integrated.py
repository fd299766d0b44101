"""Maximise the likelihood by quadrature over beta, from a prediction or from the joint mode of (u, beta).

The mode of h is cheap to find. The maximum by quadrature differs from it by a shift that changes little from one node
to the next. From a start close to the maximum, one or two evaluations are enough, because the metric of the step in
beta is the information by quadrature, and the likelihood is not evaluated again after the last step. At the same time
u takes one Newton step towards its new mode. Quadrature is exact enough around any point close to the mode.
"""

from __future__ import annotations

import math

from sc_glmm._engine.arrow.factor import solve_down
from sc_glmm._engine.laplace.climb import newton_step, read_information, set_move
from sc_glmm._engine.laplace.gradient import curvature_at_mode
from sc_glmm._engine.laplace.integral import integrate
from sc_glmm._engine.laplace.joint import climb_jointly, follow, set_gradient
from sc_glmm._engine.laplace.mode import predict, set_theta
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import gene_term

# Squared length of the next step, predicted from the rate at which steps have shrunk, at which the search ends.
CLOSE = 1e-10
# Largest squared length of the last step. The error of the value is below the geometric mean of both.
LAST = 1e-3
# Steps of neighbouring nodes may shrink less than those of this node, but not much less than this.
LEAST_RATE = 1e-4
# Squared length of the last step to the joint mode, which is only a starting point.
NEARBY = 1e-3
# Largest squared distance of u from its mode at which the likelihood is evaluated. The error of quadrature depends on
# the distance, and must be the same for all hypotheses. (Values change by about a hundredth of this.) A prediction that
# is farther away, for each level, is not used.
NEAR_MODE = 1e-5
TOO_FAR = 0.25
# Squared length of a step that the information does not depend on.
TINY = 1e-10
MAX_STEPS = 10
SLOW = 0.5
# Largest number of evaluations to find the mode of u again.
MAX_LOOKS = 4


@kernel
def _move_to_start(ar, wk, climb):
    """Move from the joint mode by the shift of the last node; u follows beta."""
    for i in range(ar.q):
        wk.step[i] = 0.0
    for j in range(ar.p):
        climb.move[j] = -climb.shift[j]
    follow(ar, 1.0, wk, climb)
    for i in range(climb.v.shape[0]):
        climb.v[i] += wk.step[i]


@kernel
def return_to_start(ar, climb):
    """Return to the first point of the search at this node."""
    for i in range(climb.v.shape[0]):
        climb.v[i] = climb.start[i]
    for j in range(ar.p):
        climb.psi[j] = climb.start[ar.q + j]
        climb.tilt[j] = 0.0
        climb.shift[j] = 0.0
    climb.rate[0] = 1.0


@kernel
def _look_for_mode(ar, wk, climb):
    """Begin the step in u, for the present beta, from the factor at the point. Returns its squared length."""
    set_gradient(ar, climb.v, wk, climb.tilt)
    solve_down(ar, ar.p, 0, wk.piv, wk.S, wk.step)
    away = 0.0
    for i in range(ar.q):
        away += wk.step[i] * wk.step[i]
    return away


@kernel
def _take_step(B, m, ar, wk, climb):
    """Set the step in beta from the quadrature at the point. Returns (squared length, length to take, ok)."""
    for j in range(ar.p):
        climb.grad[j] = -climb.grad[j]
        for i in range(ar.p):
            climb.info[i, j] = wk.info[i, j]
    dec, definite = newton_step(B, m, climb)
    return dec, set_move(B, climb), definite and 0.0 <= dec < 1e300


@kernel
def climb_integrated(like, ar, nd, ge, gh, B, m, predicted, wk, climb):
    """Maximise as :func:`sc_glmm._engine.laplace.climb.maximise` does, by quadrature, without halving steps.

    The first point is a prediction of the maximum, or the search goes to the joint mode first. Returns False where a
    more careful search is necessary.
    """
    phi = math.exp(climb.psi[climb.psi.shape[0] - 1]) if like.has_phi else 1.0
    if predicted:
        set_theta(ar, climb.psi, ar.p, wk)
        for j in range(ar.p):
            climb.v[ar.q + j] = climb.psi[j]
    from_mode = not predicted
    last = 1e300
    step = 0
    while step < MAX_STEPS:
        if from_mode and step == 0:
            for j in range(ar.p):
                climb.tilt[j] = 0.0
            _, found = climb_jointly(like, ar, nd, ge, B, m, NEARBY, False, wk, climb)
            if not found:
                return 1e300, False
            _move_to_start(ar, wk, climb)
        value = 0.0
        dec = 0.0
        for look in range(MAX_LOOKS):
            predict(ar, wk.J, climb.v, wk.eta)
            _, _, ok = curvature_at_mode(like.code, ar, nd, ge, phi, ar.p, climb.v, wk)
            away = _look_for_mode(ar, wk, climb)
            length = 0.0
            near = away < NEAR_MODE or look == MAX_LOOKS - 1
            if ok and near:
                value, ok = integrate(like.code, ar, nd, ge, phi, gh, climb.v, wk, climb.grad)
                dec, length, definite = _take_step(B, m, ar, wk, climb)
                ok = ok and definite
            follow(ar, length, wk, climb)
            for i in range(climb.v.shape[0]):
                climb.v[i] += wk.step[i]
            ok = ok and away < TOO_FAR * ar.q
            if near or not ok:
                break
        if not ok or (step > 1 and dec > SLOW * last):
            if from_mode:
                return 1e300, False
            return_to_start(ar, climb)
            from_mode = True
            step = 0
            continue
        if step > 0:
            climb.rate[0] = max(dec / last, LEAST_RATE)
        if dec < CLOSE or (dec < LAST and dec * climb.rate[0] < CLOSE):
            if dec + away > TINY:
                # information and residuals belong to the maximum, not to the point before the last step
                predict(ar, wk.J, climb.v, wk.eta)
                _, _, ok = curvature_at_mode(like.code, ar, nd, ge, phi, ar.p, climb.v, wk)
            read_information(ar, wk.S, climb.info)
            g0, _ = gene_term(like.code, phi, ge.tail, ge.over_value, ge.over_count)
            for j in range(ar.p):
                climb.shift[j] = climb.v[ar.q + j] - climb.psi[j] if from_mode else 0.0
                climb.psi[j] = climb.v[ar.q + j]
            return -value - 0.5 * dec - g0, ok
        last = dec
        step += 1
    return 1e300, False
