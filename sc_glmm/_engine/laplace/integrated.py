"""Maximise the likelihood by quadrature over beta, from the joint mode of (u, beta) at each node of a grid.

The mode of h is cheap to find. The maximum by quadrature differs from it by a shift that changes little from one node
to the next. From there two or three evaluations are enough, because the likelihood is not evaluated again after the
last step. Each evaluation factorises the Hessian of (u, beta), which is the metric of the step in beta. At the same
time u takes one Newton step towards its new mode. Quadrature is exact enough around any point close to the mode.
"""

from __future__ import annotations

import math

from sc_glmm._engine.arrow.factor import solve_down
from sc_glmm._engine.laplace.climb import newton_step, read_information, set_move
from sc_glmm._engine.laplace.gradient import curvature_at_mode
from sc_glmm._engine.laplace.joint import climb_jointly, follow, set_gradient
from sc_glmm._engine.laplace.mode import predict
from sc_glmm._engine.laplace.quadrature import quadrature
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import gene_term

# Squared length of the next step, predicted from the last two, at which the search ends.
CLOSE = 1e-9
# Largest squared length of the last step. The error of the value is this times the relative error of the metric.
LAST = 1e-5
# Squared length of the last step to the joint mode, which is only a starting point.
NEARBY = 1e-3
MAX_STEPS = 10
SLOW = 0.5


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
def climb_integrated(like, ar, nd, ge, gh, B, m, wk, climb):
    """Maximise as :func:`sc_glmm._engine.laplace.climb.maximise` does, by quadrature, without halving steps.

    Returns False where a more careful search is necessary.
    """
    for j in range(ar.p):
        climb.tilt[j] = 0.0
    _, found = climb_jointly(like, ar, nd, ge, B, m, NEARBY, False, wk, climb)
    if not found:
        return 1e300, False
    phi = math.exp(climb.psi[climb.psi.shape[0] - 1]) if like.has_phi else 1.0
    _move_to_start(ar, wk, climb)
    last = 1e300
    for step in range(MAX_STEPS):
        predict(ar, wk.J, climb.v, wk.eta)
        _, _, ok = curvature_at_mode(like.code, ar, nd, ge, phi, ar.p, climb.v, wk)
        if not ok:
            return 1e300, False
        value, ok = quadrature(like, ar, nd, ge, phi, gh, climb.v, ar.p, wk, climb.grad)
        read_information(ar, wk.S, climb.info)
        for j in range(ar.p):
            climb.grad[j] = -climb.grad[j]
        dec, definite = newton_step(B, m, climb)
        if not (ok and definite and dec < 1e300) or (step > 1 and dec > SLOW * last):
            return 1e300, False
        length = set_move(B, climb)
        set_gradient(ar, climb.v, wk, climb.tilt)
        solve_down(ar, ar.p, 0, wk.piv, wk.S, wk.step)
        follow(ar, length, wk, climb)
        for i in range(climb.v.shape[0]):
            climb.v[i] += wk.step[i]
        if dec < CLOSE or (dec < LAST and dec * dec < CLOSE * last):
            # information and residuals belong to the maximum, not to the point before the last step
            predict(ar, wk.J, climb.v, wk.eta)
            _, _, ok = curvature_at_mode(like.code, ar, nd, ge, phi, ar.p, climb.v, wk)
            read_information(ar, wk.S, climb.info)
            g0, _ = gene_term(like.code, phi, ge.tail, ge.over_value, ge.over_count)
            for j in range(ar.p):
                climb.shift[j] = climb.v[ar.q + j] - climb.psi[j]
                climb.psi[j] = climb.v[ar.q + j]
            return -value - 0.5 * dec - g0, ok
        last = dec
    return 1e300, False
