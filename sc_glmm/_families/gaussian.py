"""Gaussian with residual variance phi: f(eta) = -(weight eta^2 - 2 a eta) / (2 phi), one node a row.

Offsets are taken off y before.

``extra`` of :func:`gene_term` is (number of cells, sum of y^2).
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel

LOG_2PI = math.log(2.0 * math.pi)


@kernel
def value(eta, phi, lo, hi, ec, weight, a, a_sum):
    n = 0.0
    for k in range(lo, hi):
        n += weight[k]
    return (a_sum * eta - 0.5 * n * eta * eta) / phi


@kernel
def newton(eta, phi, lo, hi, ec, weight, a, a_sum):
    n = 0.0
    for k in range(lo, hi):
        n += weight[k]
    return (a_sum - n * eta) / phi, -n / phi


@kernel
def full(eta, phi, lo, hi, ec, weight, a, a_sum, out):
    n = 0.0
    for k in range(lo, hi):
        n += weight[k]
    out[0] = (a_sum * eta - 0.5 * n * eta * eta) / phi
    out[1] = (a_sum - n * eta) / phi
    out[2] = -n / phi
    out[3] = 0.0
    out[4] = -out[0]
    out[5] = -out[1]
    out[6] = -out[2]


@kernel
def gene_term(phi, tail, over_value, over_count, extra):
    n = extra[0]
    ss = extra[1]
    return -0.5 * n * (LOG_2PI + math.log(phi)) - 0.5 * ss / phi, -0.5 * n + 0.5 * ss / phi
