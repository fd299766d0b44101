"""The profiled criterion of a Gaussian model and its gradient, from cross-products on the arrow.

The dense columns of the border are the fixed effects and last the response, so that the last pivot is the root of the
penalised residual sum of squares. Between :func:`eliminate_scaled` and :func:`finish` the border is factorised and
inverted: by loops for one gene of many (:func:`criterion`), by LAPACK for a data frame, whose border may be wide
(:mod:`.evaluate`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sc_glmm._engine.arrow.factor import eliminate, factorise_border, fill_lambda, solve_up
from sc_glmm._engine.arrow.inverse import invert, invert_border, new_inverse_work, new_pivots
from sc_glmm._engine.arrow.rows import assemble
from sc_glmm._families.jit import allocating, kernel

from ..._arrays import FloatArray


class Work(NamedTuple):
    """Buffers of an evaluation.

    Attributes
    ----------
    lam, G
        Lambda, flat; half the derivative of the log determinant in it.
    piv, S
        The factor: pivot rows, and border.
    vpiv, vS
        The inverse on the pattern of the arrow; `vS` leaves out the response, and the fixed effects unless they are
        integrated out (REML).
    tt, B
        See :mod:`sc_glmm._engine.arrow.inverse`.
    v, b, e
        ``(q + p,)`` the mode (u, beta); ``Lambda u`` and beta; ``Z'W`` residual.
    """

    lam: FloatArray
    G: FloatArray
    piv: FloatArray
    S: FloatArray
    vpiv: FloatArray
    vS: FloatArray
    tt: FloatArray
    B: FloatArray
    v: FloatArray
    b: FloatArray
    e: FloatArray


@allocating
def new_buffers(ar):
    """Allocate buffers for a design."""
    n_lam = ar.fac_lam[ar.fac_k.shape[0]]
    n_v = ar.q + ar.p
    nb = n_v - ar.q_head
    tt, B = new_inverse_work(ar, ar.p)
    return Work(
        np.zeros(n_lam),
        np.zeros(n_lam),
        new_pivots(ar, ar.p + 1),
        np.zeros((nb + 1) * (nb + 1)),
        new_pivots(ar, ar.p + 1),
        np.zeros(nb * nb),
        tt,
        B,
        np.zeros(n_v),
        np.zeros(n_v),
        np.zeros(n_v),
    )


@kernel
def products(ar, weight, sums, square, raw, S0):
    """Fill `raw` (pivot rows) and `S0` (border) with cross-products of the rows; blocks on the diagonal are full.

    `weight` are the weights of the rows, `sums` the weighted sums of their responses, `square` that of its squares.
    """
    p = ar.p
    q_head = ar.q_head
    kh = ar.fac_z[ar.n_head]
    nb = ar.q - q_head + p + 1
    assemble(ar, ar.XZ, weight, p + 1, p, 0.0, raw, S0)
    for d in range(sums.shape[0]):
        for h in range(ar.n_head):
            k = ar.fac_k[h]
            i = ar.head_lev[h] + ar.lev[d, h]
            n = ar.width[i] + p + 1
            last = ar.base[i] + (ar.fac_u[h] + ar.lev[d, h] * k) * (p + 1) + n - 1
            for c in range(k):
                raw[last + c * n] += ar.XZ[d, ar.fac_z[h] + c] * sums[d]
        for a in range(kh, ar.XZ.shape[1]):
            S0[(ar.pos[d, a] - q_head) * nb + nb - 1] += ar.XZ[d, a] * sums[d]
    S0[nb * nb - 1] = square
    for i in range(nb):
        for j in range(i):
            S0[i * nb + j] = S0[j * nb + i]
    for h in range(ar.n_head):
        k = ar.fac_k[h]
        for lv in range(ar.n_levels[h]):
            i = ar.head_lev[h] + lv
            n = ar.width[i] + p + 1
            base = ar.base[i] + (ar.fac_u[h] + lv * k) * (p + 1)
            for r in range(k):
                for c in range(r):
                    raw[base + r * n + c] = raw[base + c * n + r]


@kernel
def _times_lambda(lam, first, k, x, at):
    """Multiply k entries of a row from the right by the Lambda of their factor, in place."""
    for b in range(k):
        s = 0.0
        for r in range(b, k):
            s += x[at + r] * lam[first + r * k + b]
        x[at + b] = s


@kernel
def _lambda_times(lam, first, k, x, at, n):
    """Multiply k rows of n entries from the left by the transposed Lambda of their factor, in place."""
    for c in range(k):
        t = lam[first + c * k + c]
        for j in range(n):
            x[at + c * n + j] *= t
        for r in range(c + 1, k):
            t = lam[first + r * k + c]
            for j in range(n):
                x[at + c * n + j] += t * x[at + r * n + j]


@kernel
def _scale_head(ar, raw, lam, piv):
    """Compute the pivot rows of ``Lambda' Z'WZ Lambda + I`` and of the dense columns."""
    for i in range(raw.shape[0]):
        piv[i] = raw[i]
    tail = ar.p + 1
    for h in range(ar.n_head):
        k = ar.fac_k[h]
        z0 = ar.fac_z[h]
        wide = ar.fac_z[ar.n_head] - z0
        for lv in range(ar.n_levels[h]):
            i = ar.head_lev[h] + lv
            first = ar.ptr[i]
            m = ar.width[i] - wide
            n = ar.width[i] + tail
            base = ar.base[i] + (ar.fac_u[h] + lv * k) * tail
            _lambda_times(lam, ar.fac_lam[h], k, piv, base, n)
            for c in range(k):
                row = base + c * n
                for g in range(h, ar.n_head):
                    _times_lambda(lam, ar.fac_lam[g], ar.fac_k[g], piv, row + ar.fac_z[g] - z0)
                j = 0
                while j < m:
                    f = ar.border_fac[ar.cols[first + j]]
                    _times_lambda(lam, ar.fac_lam[f], ar.fac_k[f], piv, row + wide + j)
                    j += ar.fac_k[f]
                piv[row + c] += 1.0


@kernel
def _scale_border(ar, S0, lam, S):
    """Compute ``Lambda' S0 Lambda + I`` on the random effects of the border, with Lambda on one side of the rest."""
    for i in range(S0.shape[0]):
        S[i] = S0[i]
    n_u = ar.q - ar.q_head
    nb = n_u + ar.p + 1
    i = 0
    while i < n_u:
        f = ar.border_fac[i]
        _lambda_times(lam, ar.fac_lam[f], ar.fac_k[f], S, i * nb, nb)
        i += ar.fac_k[f]
    for i in range(n_u):
        j = 0
        while j < n_u:
            f = ar.border_fac[j]
            _times_lambda(lam, ar.fac_lam[f], ar.fac_k[f], S, i * nb + j)
            j += ar.fac_k[f]
        S[i * nb + i] += 1.0


@kernel
def eliminate_scaled(ar, theta, raw, S0, wk):
    """Scale the cross-products by Lambda and factorise the head. Returns (log determinant of the head, ok)."""
    fill_lambda(ar, theta, 0, wk.lam)
    _scale_head(ar, raw, wk.lam, wk.piv)
    _scale_border(ar, S0, wk.lam, wk.S)
    return eliminate(ar, ar.p + 1, wk.piv, wk.S)


@kernel
def _solve_for_mode(ar, wk):
    """Compute the mode (u, beta). The column of the response is the right-hand side, after the downward solution."""
    tail = ar.p + 1
    n = ar.q - ar.q_head + ar.p
    for i in range(n):
        wk.v[ar.q_head + i] = wk.S[i * (n + 1) + n]
    for h in range(ar.n_head):
        k = ar.fac_k[h]
        for lv in range(ar.n_levels[h]):
            own = ar.fac_u[h] + lv * k
            i = ar.head_lev[h] + lv
            width = ar.width[i] + tail
            last = ar.base[i] + own * tail + width - 1
            for c in range(k):
                wk.v[own + c] = wk.piv[last + c * width]
    solve_up(ar, tail, ar.p, 0, n + 1, wk.piv, wk.S, wk.v)


class Side(NamedTuple):
    """Coefficients of one level: start of their Lambda (-1: fixed effects, whose Lambda is 1), number, position."""

    lam: int
    k: int
    at: int


class Block(NamedTuple):
    """A block of a matrix: its start, and the step from row to row. A step of zero stands for no block."""

    values: FloatArray
    first: int
    step: int


@kernel
def _add_to_trace(wk, t, r, s, a, c, V, both):
    """Add the entry ``t = Q[r, s]`` to the trace, see :func:`_pair`."""
    # column j of Q Lambda gets Q[., s] Lambda[s, j]
    for j in range(s + 1 if c.lam >= 0 else 1):
        x = t * wk.lam[c.lam + s * c.k + j] if c.lam >= 0 else t
        for i in range(r + 1):
            wk.G[a.lam + r * a.k + i] += V.values[V.first + i * V.step + j] * x
    if both and c.lam >= 0:
        for i in range(r + 1):
            x = t * wk.lam[a.lam + r * a.k + i]
            for j in range(s + 1):
                wk.G[c.lam + s * c.k + j] += V.values[V.first + i * V.step + j] * x


@kernel
def _pair(wk, a, c, V, Q, both):
    """Add one block ``Q = Z_a' W Z_c`` of the coefficients of two levels to the trace ``G`` and to ``e``.

    ``G_a += V (Q Lambda_c)'`` and ``e_a -= Q b_c``; with `both`, ``G_c += V' (Lambda_a' Q)`` and ``e_c -= Q' b_a``.
    """
    for r in range(a.k):
        for s in range(c.k):
            t = Q.values[Q.first + r * Q.step + s]
            if t == 0.0:
                continue
            wk.e[a.at + r] -= t * wk.b[c.at + s]
            if both:
                wk.e[c.at + s] -= t * wk.b[a.at + r]
            if V.step > 0:
                _add_to_trace(wk, t, r, s, a, c, V, both)


@kernel
def _trace_of_level(ar, h, lv, used, raw, wk):
    """Add the pivot rows of one level to the trace ``G`` and to the residual ``e``."""
    k = ar.fac_k[h]
    z0 = ar.fac_z[h]
    i = ar.head_lev[h] + lv
    first = ar.ptr[i]
    wide = ar.fac_z[ar.n_head] - z0
    m = ar.width[i] - wide
    n = ar.width[i] + ar.p + 1
    own = Side(ar.fac_lam[h], k, ar.fac_u[h] + lv * k)
    base = ar.base[i] + own.at * (ar.p + 1)
    for r in range(k):
        wk.e[own.at + r] += raw[base + r * n + n - 1]
    _pair(wk, own, own, Block(wk.vpiv, base, n), Block(raw, base, n), False)
    for g in range(h + 1, ar.n_head):
        at = base + ar.fac_z[g] - z0
        above = Side(ar.fac_lam[g], ar.fac_k[g], ar.fac_u[g] + ar.anc[i, g] * ar.fac_k[g])
        _pair(wk, own, above, Block(wk.vpiv, at, n), Block(raw, at, n), True)
    j = 0
    while j < m:
        at = base + wide + j
        f = ar.border_fac[ar.cols[first + j]]
        crossed = Side(ar.fac_lam[f], ar.fac_k[f], ar.q_head + ar.cols[first + j])
        _pair(wk, own, crossed, Block(wk.vpiv, at, n), Block(raw, at, n), True)
        j += ar.fac_k[f]
    for j in range(ar.p):
        at = base + wide + m + j
        _pair(wk, own, Side(-1, 1, ar.q + j), Block(wk.vpiv, at, n if j < used else 0), Block(raw, at, n), True)


@kernel
def _trace_of_border(ar, used, S0, wk):
    """Do the same for the random effects of the border among themselves and with the fixed effects."""
    n_u = ar.q - ar.q_head
    nb = n_u + ar.p + 1
    nv = n_u + used
    i = 0
    while i < n_u:
        f = ar.border_fac[i]
        own = Side(ar.fac_lam[f], ar.fac_k[f], ar.q_head + i)
        for r in range(own.k):
            wk.e[own.at + r] += S0[(i + r) * nb + nb - 1]
        j = 0
        while j < nb - 1:
            g = ar.border_fac[j] if j < n_u else -1
            k2 = ar.fac_k[g] if g >= 0 else 1
            if own.k * k2 > 1 or S0[i * nb + j] != 0.0:
                other = Side(ar.fac_lam[g] if g >= 0 else -1, k2, ar.q_head + j)
                inverse = Block(wk.vS, i * nv + j, nv if j < nv else 0)
                _pair(wk, own, other, inverse, Block(S0, i * nb + j, nb), False)
            j += k2
        i += own.k


@kernel
def finish(ar, raw, S0, wk, used, ratio, grad):
    """Compute mode, inverse and gradient from the factor and the inverse of its border (``wk.vS``, full).

    `used` of the fixed effects are in the inverse; `ratio` is (n or n - p) over the penalised sum of squares. `grad`
    becomes the gradient of half the profiled criterion.
    """
    _solve_for_mode(ar, wk)
    invert(ar, ar.p + 1, used, wk.piv, wk.vS, wk.vpiv, wk.tt, wk.B)
    v, b, e = wk.v, wk.b, wk.e
    for i in range(v.shape[0]):
        b[i] = v[i]
        e[i] = 0.0
    for i in range(wk.G.shape[0]):
        wk.G[i] = 0.0
    for f in range(ar.fac_k.shape[0]):
        k = ar.fac_k[f]
        for own in range(ar.fac_u[f], ar.fac_u[f + 1], k):
            for r in range(k):
                s = 0.0
                for c in range(r + 1):
                    s += wk.lam[ar.fac_lam[f] + r * k + c] * v[own + c]
                b[own + r] = s
    for h in range(ar.n_head):
        for lv in range(ar.n_levels[h]):
            _trace_of_level(ar, h, lv, used, raw, wk)
    _trace_of_border(ar, used, S0, wk)
    for t in range(grad.shape[0]):
        f = ar.theta_fac[t]
        k = ar.fac_k[f]
        r = ar.theta_row[t]
        c = ar.theta_col[t]
        s = 0.0
        for own in range(ar.fac_u[f], ar.fac_u[f + 1], k):
            s += v[own + c] * e[own + r]
        grad[t] = wk.G[ar.fac_lam[f] + r * k + c] - ratio * s


@kernel
def criterion(ar, theta, raw, S0, reml, n_obs, constant, wk, grad):
    """Compute half the profiled deviance or REML criterion, with its gradient. Returns (value, ok)."""
    p = ar.p
    log_det, ok = eliminate_scaled(ar, theta, raw, S0, wk)
    if not ok:
        return 0.0, False
    n_u = ar.q - ar.q_head
    nb = n_u + p + 1
    _, ok = factorise_border(wk.S, nb, 0.0)
    if not ok:
        return 0.0, False
    used = p if reml else 0
    for i in range(n_u + used):
        log_det += 2.0 * math.log(wk.S[i * nb + i])
    root = wk.S[nb * nb - 1]
    m = n_obs - used
    invert_border(n_u + used, nb, wk.S, wk.vS)
    finish(ar, raw, S0, wk, used, m / (root * root), grad)
    value = 0.5 * (log_det + m * (1.0 + math.log(2.0 * math.pi * root * root / m)) + constant)
    for t in range(grad.shape[0]):
        if not (abs(grad[t]) < 1e200):
            ok = False
    return value, ok and abs(value) < 1e200
