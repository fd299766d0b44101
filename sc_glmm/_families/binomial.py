"""Binomial with a logit link: f(eta) = sum_k a_k eta - weight_k log(1 + ec_k exp(eta)).

`weight` are the trials of a node and `a` its successes, so that 0/1 responses, proportions and two-column responses
are the same sums. The binomial coefficients and the offsets times successes are constants of the caller.
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel


@kernel
def value(eta, phi, lo, hi, ec, weight, a, a_sum):
    t = math.exp(eta)
    s = 0.0
    for k in range(lo, hi):
        s += weight[k] * math.log1p(t * ec[k])
    return a_sum * eta - s


@kernel
def newton(eta, phi, lo, hi, ec, weight, a, a_sum):
    t = math.exp(eta)
    s1 = 0.0
    s2 = 0.0
    for k in range(lo, hi):
        x = t * ec[k]
        r = 1.0 / (1.0 + x)
        wp = weight[k] * x * r
        s1 += wp
        s2 += wp * r
    return a_sum - s1, -s2


@kernel
def full(eta, phi, lo, hi, ec, weight, a, a_sum, out):
    t = math.exp(eta)
    f = a_sum * eta
    f1 = a_sum
    f2 = 0.0
    f3 = 0.0
    for k in range(lo, hi):
        x = t * ec[k]
        r = 1.0 / (1.0 + x)
        p = x * r
        f -= weight[k] * math.log1p(x)
        f1 -= weight[k] * p
        f2 -= weight[k] * p * r
        f3 -= weight[k] * p * r * (1.0 - 2.0 * p)
    out[0] = f
    out[1] = f1
    out[2] = f2
    out[3] = f3
    out[4] = 0.0
    out[5] = 0.0
    out[6] = 0.0


@kernel
def gene_term(phi, tail, over_value, over_count):
    return 0.0, 0.0
