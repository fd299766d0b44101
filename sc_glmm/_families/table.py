"""Table of the log likelihood of a row with a fixed dispersion, which takes a tenth of the time.

Between knots at a distance of :data:`STEP`, the function is the polynomial of degree 7 that agrees with it up to the
third derivative at both knots. The relative error is about 4e-10. Derivatives are those of the polynomial, so that they
agree with the value. To the left of the table, where its mean is small, the row is Poisson. To the right, the last
parabola continues.

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
def slope(eta, phi, lo, hi, ec, weight, a, a_sum):
    first = weight[lo]
    if eta < first:
        mu = a_sum - ec[8 * lo + 1] / STEP
        more = mu * math.expm1(eta - first)
        return ec[8 * lo] + a_sum * (eta - first) - more, a_sum - mu - more
    i = min(int((eta - first) / STEP), hi - lo - 1)
    t = (eta - weight[lo + i]) / STEP
    if t > 1.0:
        s1, _ = newton(eta, phi, lo, hi, ec, weight, a, a_sum)
        return value(eta, phi, lo, hi, ec, weight, a, a_sum), s1
    k = 8 * (lo + i)
    s0 = ec[k + 7]
    s1 = 0.0
    for j in range(6, -1, -1):
        s1 = s1 * t + s0
        s0 = s0 * t + ec[k + j]
    return s0, s1 / STEP


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
def coefficients(left, right, ec, k):
    """Compute the coefficients of one interval from ``[f, f', f'', f''']`` at its knots, into ``ec[k:k + 8]``."""
    c0 = left[0]
    c1 = STEP * left[1]
    c2 = 0.5 * STEP * STEP * left[2]
    c3 = STEP * STEP * STEP * left[3] / 6.0
    r0 = right[0] - (c0 + c1 + c2 + c3)
    r1 = STEP * right[1] - (c1 + 2.0 * c2 + 3.0 * c3)
    r2 = STEP * STEP * right[2] - (2.0 * c2 + 6.0 * c3)
    r3 = STEP * STEP * STEP * right[3] - 6.0 * c3
    ec[k] = c0
    ec[k + 1] = c1
    ec[k + 2] = c2
    ec[k + 3] = c3
    ec[k + 4] = 35.0 * r0 - 15.0 * r1 + 2.5 * r2 - r3 / 6.0
    ec[k + 5] = -84.0 * r0 + 39.0 * r1 - 7.0 * r2 + 0.5 * r3
    ec[k + 6] = 70.0 * r0 - 34.0 * r1 + 6.5 * r2 - 0.5 * r3
    ec[k + 7] = -20.0 * r0 + 10.0 * r1 - 2.0 * r2 + r3 / 6.0
