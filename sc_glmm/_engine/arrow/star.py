"""The arrow of one grouping factor with one column: all that a random intercept of samples needs.

Every level has one pivot row, ``[own entry, dense columns]``, and the border has only dense columns. Without the lists
of the general arrow, the same sums take about half the time. They are added in the same order, with the same bits.
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel


@kernel
def is_star(ar):
    """Whether the arrow has one column of Z."""
    return ar.kz == 1


@kernel
def assemble_star(ar, J, W, tail, used, one, piv, S):
    """Do the same as :func:`sc_glmm._engine.arrow.rows.assemble`."""
    n = 1 + tail
    for i in range(ar.q * n):
        piv[i] = 0.0
    for i in range(tail * tail):
        S[i] = 0.0
    for level in range(ar.q):
        piv[level * n] = one
    for d in range(J.shape[0]):
        w = W[d]
        wj = w * J[d, 0]
        row = ar.pos[d, 0] * n
        piv[row] += wj * J[d, 0]
        for b in range(1, 1 + used):
            piv[row + b] += wj * J[d, b]
        for a in range(used):
            wj = w * J[d, 1 + a]
            for b in range(a, used):
                S[a * tail + b] += wj * J[d, 1 + b]


@kernel
def eliminate_star(ar, tail, piv, S):
    """Do the same as :func:`sc_glmm._engine.arrow.factor.eliminate`."""
    log_det = 0.0
    for row in range(0, ar.q * (1 + tail), 1 + tail):
        pivot = piv[row]
        if not pivot > 1e-290:
            return 0.0, False
        log_det += math.log(pivot)
        inverse = 1.0 / math.sqrt(pivot)
        piv[row] *= inverse
        for b in range(1, 1 + tail):
            piv[row + b] *= inverse
        for a in range(tail):
            f = piv[row + 1 + a]
            for b in range(a, tail):
                S[a * tail + b] -= f * piv[row + 1 + b]
    return log_det, True


@kernel
def down_star(ar, tail, piv, x):
    """Do the part of the levels in :func:`sc_glmm._engine.arrow.factor.solve_down`."""
    n = 1 + tail
    for level in range(ar.q):
        y = x[level] / piv[level * n]
        x[level] = y
        for j in range(tail):
            x[ar.q + j] -= piv[level * n + 1 + j] * y


@kernel
def up_star(ar, tail, used, piv, x):
    """Do the part of the levels in :func:`sc_glmm._engine.arrow.factor.solve_up`."""
    n = 1 + tail
    for level in range(ar.q):
        y = x[level]
        for j in range(used):
            y -= piv[level * n + 1 + j] * x[ar.q + j]
        x[level] = y / piv[level * n]


@kernel
def invert_star(ar, tail, used, piv, vS, vpiv):
    """Do the same as :func:`sc_glmm._engine.arrow.inverse.invert`."""
    for row in range(0, ar.q * (1 + tail), 1 + tail):
        own = 1.0 / piv[row]
        s = own * own
        for b in range(used):
            y = 0.0
            for r in range(used):
                y -= piv[row + 1 + r] / piv[row] * vS[r * used + b]
            vpiv[row + 1 + b] = y
            s -= y * (piv[row + 1 + b] / piv[row])
        vpiv[row] = s


@kernel
def row_product_star(ar, J, d, tail, used, vpiv, vS, y):
    """Do the same as :func:`sc_glmm._engine.arrow.rows.row_product`."""
    row = ar.pos[d, 0] * (1 + tail)
    j = J[d, 0]
    s = 0.0
    s += vpiv[row] * j
    for a in range(used):
        v = vpiv[row + 1 + a]
        s += v * J[d, 1 + a]
        y[1 + a] = v * j
    y[0] = s
    lev = s * j
    for a in range(used):
        s = 0.0
        for b in range(used):
            s += vS[a * used + b] * J[d, 1 + b]
        y[1 + a] += s
        lev += y[1 + a] * J[d, 1 + a]
    return lev
