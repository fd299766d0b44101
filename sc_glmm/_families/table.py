"""Table of the log likelihood of a row with a fixed dispersion, which takes a tenth of the time.

Between knots at a distance of :data:`STEP`, the function is the polynomial of degree 7 that agrees with it up to the
third derivative at both knots. The relative error is about 4e-10. The function itself is evaluated at the first knot
only; its values at the others are sums of integrals of the derivative, which need no logarithms. Derivatives are those
of the polynomial, so that they agree with the value. To the left of the table, where its mean is small, the row is
Poisson. To the right, the last parabola continues.

Layout: interval i of a row is node ``lo + i``; ``weight[lo + i]`` is its left knot, ``ec[8 (lo + i):]`` its
coefficients in ``t = (eta - knot) / STEP``.
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel

STEP = 0.5


@kernel
def value(eta, phi, lo, hi, ec, weight, a, a_sum):
    first = weight[lo]
    if eta < first:
        mu = a_sum - ec[8 * lo + 1] / STEP
        return ec[8 * lo] + a_sum * (eta - first) - mu * math.expm1(eta - first)
    n = hi - lo
    i = min(int((eta - first) / STEP), n - 1)
    t = (eta - weight[lo + i]) / STEP
    k = 8 * (lo + i)
    over = 0.0
    if t > 1.0:
        over = t - 1.0
        t = 1.0
    s = ec[k + 7]
    for j in range(6, -1, -1):
        s = s * t + ec[k + j]
    if over > 0.0:
        s1 = 0.0
        s2 = 0.0
        for j in range(7, 0, -1):
            s1 += j * ec[k + j]
            s2 += j * (j - 1) * ec[k + j]
        s += over * s1 + 0.5 * over * over * s2
    return s


@kernel
def newton(eta, phi, lo, hi, ec, weight, a, a_sum):
    first = weight[lo]
    if eta < first:
        mu = (a_sum - ec[8 * lo + 1] / STEP) * math.exp(eta - first)
        return a_sum - mu, -mu
    n = hi - lo
    i = min(int((eta - first) / STEP), n - 1)
    t = (eta - weight[lo + i]) / STEP
    k = 8 * (lo + i)
    over = 0.0
    if t > 1.0:
        over = t - 1.0
        t = 1.0
    s1 = 0.0
    s2 = 0.0
    for j in range(7, 1, -1):
        s1 = s1 * t + j * ec[k + j]
        s2 = s2 * t + j * (j - 1) * ec[k + j]
    s1 = s1 * t + ec[k + 1]
    return (s1 + over * s2) / STEP, s2 / (STEP * STEP)


@kernel
def _polynomial(ec, k, t):
    """Compute the polynomial ``ec[k:k + 8]``, its first derivative, and half of its second one (Horner)."""
    s0 = ec[k + 7]
    s1 = 0.0
    s2 = 0.0
    for j in range(6, -1, -1):
        s2 = s2 * t + s1
        s1 = s1 * t + s0
        s0 = s0 * t + ec[k + j]
    return s0, s1, s2


@kernel
def parabola(eta, phi, lo, hi, ec, weight, a, a_sum):
    first = weight[lo]
    if eta < first:
        mu = a_sum - ec[8 * lo + 1] / STEP
        more = mu * math.expm1(eta - first)
        return ec[8 * lo] + a_sum * (eta - first) - more, a_sum - mu - more, -mu - more
    i = min(int((eta - first) / STEP), hi - lo - 1)
    t = (eta - weight[lo + i]) / STEP
    if t > 1.0:
        s1, s2 = newton(eta, phi, lo, hi, ec, weight, a, a_sum)
        return value(eta, phi, lo, hi, ec, weight, a, a_sum), s1, s2
    s0, s1, s2 = _polynomial(ec, 8 * (lo + i), t)
    return s0, s1 / STEP, 2.0 * s2 / (STEP * STEP)


@kernel
def parabolas(eta, phi, ptr, ec, weight, a, a_sum, f, d1, d2):
    """Compute :func:`parabola` of all rows. The first loop has no branches, so that it is vectorised."""
    n_rows = eta.shape[0]
    for d in range(n_rows):
        lo = ptr[d]
        first = weight[lo]
        x = min(max((eta[d] - first) * (1.0 / STEP), 0.0), (ptr[d + 1] - lo) - 1e-9)
        i = int(x)
        s0, s1, s2 = _polynomial(ec, 8 * (lo + i), x - i)
        f[d] = s0
        d1[d] = s1 * (1.0 / STEP)
        d2[d] = s2 * (2.0 / (STEP * STEP))
    for d in range(n_rows):
        first = weight[ptr[d]]
        if eta[d] < first or eta[d] > first + (ptr[d + 1] - ptr[d]) * STEP - 1e-9:
            f[d], d1[d], d2[d] = parabola(eta[d], phi, ptr[d], ptr[d + 1], ec, weight, a, a_sum[d])


@kernel
def full(eta, phi, lo, hi, ec, weight, a, a_sum, out):
    out[4] = 0.0
    out[5] = 0.0
    out[6] = 0.0
    first = weight[lo]
    if eta < first:
        mu = a_sum - ec[8 * lo + 1] / STEP
        out[0] = ec[8 * lo] + a_sum * (eta - first) - mu * math.expm1(eta - first)
        mu *= math.exp(eta - first)
        out[1] = a_sum - mu
        out[2] = -mu
        out[3] = -mu
        return
    n = hi - lo
    i = min(int((eta - first) / STEP), n - 1)
    t = (eta - weight[lo + i]) / STEP
    k = 8 * (lo + i)
    over = 0.0
    if t > 1.0:
        over = t - 1.0
        t = 1.0
    s0 = 0.0
    s1 = 0.0
    s2 = 0.0
    s3 = 0.0
    for j in range(7, 2, -1):
        c = ec[k + j]
        s0 = s0 * t + c
        s1 = s1 * t + j * c
        s2 = s2 * t + j * (j - 1) * c
        s3 = s3 * t + j * (j - 1) * (j - 2) * c
    s0 = ((s0 * t + ec[k + 2]) * t + ec[k + 1]) * t + ec[k]
    s1 = (s1 * t + 2.0 * ec[k + 2]) * t + ec[k + 1]
    s2 = s2 * t + 2.0 * ec[k + 2]
    out[0] = s0 + over * s1 + 0.5 * over * over * s2
    out[1] = (s1 + over * s2) / STEP
    out[2] = s2 / (STEP * STEP)
    out[3] = 0.0 if over > 0.0 else s3 / (STEP * STEP * STEP)


@kernel
def integral(i, d1, d2, d3, d4):
    """Integrate the first derivative from knot i to the next one, from four derivatives at both.

    This is the two-point formula of Obreshkov, with a relative error of about 1e-10.
    """
    s = 0.5 * STEP * (d1[i] + d1[i + 1]) + 3.0 * STEP * STEP / 28.0 * (d2[i] - d2[i + 1])
    s += STEP * STEP * STEP / 84.0 * (d3[i] + d3[i + 1])
    return s + STEP * STEP * STEP * STEP / 1680.0 * (d4[i] - d4[i + 1])


@kernel
def coefficients(i, rise, value, d1, d2, d3, ec, k):
    """Compute the coefficients of the interval between knots i and i + 1, into ``ec[k:k + 8]``.

    `value` is the function at the left knot, and `rise` its change to the right one.
    """
    c1 = STEP * d1[i]
    c2 = 0.5 * STEP * STEP * d2[i]
    c3 = STEP * STEP * STEP * d3[i] / 6.0
    r0 = rise - (c1 + c2 + c3)
    r1 = STEP * d1[i + 1] - (c1 + 2.0 * c2 + 3.0 * c3)
    r2 = STEP * STEP * d2[i + 1] - (2.0 * c2 + 6.0 * c3)
    r3 = STEP * STEP * STEP * d3[i + 1] - 6.0 * c3
    ec[k] = value
    ec[k + 1] = c1
    ec[k + 2] = c2
    ec[k + 3] = c3
    ec[k + 4] = 35.0 * r0 - 15.0 * r1 + 2.5 * r2 - r3 / 6.0
    ec[k + 5] = -84.0 * r0 + 39.0 * r1 - 7.0 * r2 + 0.5 * r3
    ec[k + 6] = 70.0 * r0 - 34.0 * r1 + 6.5 * r2 - 0.5 * r3
    ec[k + 7] = -20.0 * r0 + 10.0 * r1 - 2.0 * r2 + r3 / 6.0
