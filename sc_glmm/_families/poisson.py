"""Poisson: f(eta) = sum_k a_k eta - weight_k ec_k exp(eta)."""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel


@kernel
def value(eta, phi, lo, hi, ec, weight, a, a_sum):
    s = 0.0
    for k in range(lo, hi):
        s += weight[k] * ec[k]
    return a_sum * eta - s * math.exp(eta)


@kernel
def newton(eta, phi, lo, hi, ec, weight, a, a_sum):
    s = 0.0
    for k in range(lo, hi):
        s += weight[k] * ec[k]
    mu = s * math.exp(eta)
    return a_sum - mu, -mu


@kernel
def full(eta, phi, lo, hi, ec, weight, a, a_sum, out):
    s = 0.0
    for k in range(lo, hi):
        s += weight[k] * ec[k]
    mu = s * math.exp(eta)
    out[0] = a_sum * eta - mu
    out[1] = a_sum - mu
    out[2] = -mu
    out[3] = -mu
    out[4] = 0.0
    out[5] = 0.0
    out[6] = 0.0


@kernel
def derivatives(n, t, phi, lo, hi, ec, weight, a, a_sum, d1, d2, d3, d4):
    """Compute the first four derivatives at n predictors with ``t = exp(eta)``."""
    s = 0.0
    for k in range(lo, hi):
        s += weight[k] * ec[k]
    for i in range(n):
        mu = s * t[i]
        d1[i] = a_sum - mu
        d2[i] = -mu
        d3[i] = -mu
        d4[i] = -mu


@kernel
def gene_term(phi, tail, over_value, over_count):
    return 0.0, 0.0
