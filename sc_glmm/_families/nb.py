"""Negative binomial with variance mu + phi mu^2 ("nbinom2"; R's size is 1 / phi).

With x_k = phi ec_k exp(eta) a row's log likelihood is

    f(eta) = sum_k a_k eta - (a_k + weight_k / phi) log(1 + x_k),

plus, per gene, ``sum_{y} #(y) sum_{j<y} log(1 + j phi)`` (:func:`gene_term`). The forms of the derivatives in log(phi)
are those that do not cancel as phi goes to zero, where the family becomes Poisson. One exponential serves a whole row:
the node offsets enter as the factors ``ec``.
"""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel
from sc_glmm._families.logs import log1p

# Counts up to N_TAIL are in the table of tail counts, larger ones in the overflow list.
N_TAIL = 64
# Nodes of a row are taken in parts of this size, for which logarithms are vectorised; fewer than FEW are not.
PART, FEW = 16, 4
# Size of the last argument of :func:`full`: results, and means and logarithms of a part.
N_OUT = 8 + 2 * PART


@kernel
def value(eta, phi, lo, hi, ec, weight, a, a_sum):
    t = phi * math.exp(eta)
    ip = 1.0 / phi
    s = 0.0
    for k in range(lo, hi):
        s += (a[k] + weight[k] * ip) * math.log1p(t * ec[k])
    return a_sum * eta - s


@kernel
def newton(eta, phi, lo, hi, ec, weight, a, a_sum):
    t = phi * math.exp(eta)
    ip = 1.0 / phi
    s1 = 0.0
    s2 = 0.0
    for k in range(lo, hi):
        x = t * ec[k]
        r = 1.0 / (1.0 + x)
        wp = (a[k] + weight[k] * ip) * x * r
        s1 += wp
        s2 += wp * r
    return a_sum - s1, -s2


@kernel
def _logarithms(t, first, n, ec, out):
    """Compute x = t ec and log(1 + x) of n nodes, into the two parts of `out`."""
    for i in range(n):
        out[8 + i] = t * ec[first + i]
    if n < FEW:
        for i in range(n):
            out[8 + PART + i] = math.log1p(out[8 + i])
        return
    # the compiler unrolls loops of known length, and then does not vectorise them
    part = (out.shape[0] - 8) // 2
    for i in range(part):
        out[8 + PART + i] = log1p(out[8 + i])


@kernel
def full(eta, phi, lo, hi, ec, weight, a, a_sum, out):
    t = phi * math.exp(eta)
    ip = 1.0 / phi
    f = a_sum * eta
    f1 = a_sum
    f2 = 0.0
    f3 = 0.0
    e0 = 0.0
    e1 = 0.0
    e2 = 0.0
    for first in range(lo, hi, PART):
        n = min(PART, hi - first)
        _logarithms(t, first, n, ec, out)
        for i in range(n):
            x = out[8 + i]
            ll = out[8 + PART + i]
            r = 1.0 / (1.0 + x)
            p = x * r
            q = p * r
            ak = a[first + i]
            nk = weight[first + i] * ip
            w = ak + nk
            f -= w * ll
            f1 -= w * p
            f2 -= w * q
            f3 -= w * q * (1.0 - 2.0 * p)
            # log1p(x) - x / (1 + x) cancels for small x: its series
            g = ll - p if x > 1e-4 else x * x * (0.5 - x * (2.0 / 3.0 - 0.75 * x))
            e0 += nk * g - ak * p
            e1 += nk * p * p - ak * q
            e2 += 2.0 * nk * p * q - ak * q * (1.0 - 2.0 * p)
    out[0] = f
    out[1] = f1
    out[2] = f2
    out[3] = f3
    out[4] = e0
    out[5] = e1
    out[6] = e2


@kernel
def derivatives(n, t, phi, lo, hi, ec, weight, a, a_sum, d1, d2, d3, d4):
    """Compute the first four derivatives at n predictors with ``t = exp(eta)``; the inner loop is vectorised."""
    ip = 1.0 / phi
    for i in range(n):
        d1[i] = a_sum
        d2[i] = 0.0
        d3[i] = 0.0
        d4[i] = 0.0
    for k in range(lo, hi):
        e = phi * ec[k]
        w = a[k] + weight[k] * ip
        for i in range(n):
            x = t[i] * e
            r = 1.0 / (1.0 + x)
            p = x * r
            q = p * r
            wq = w * q
            d1[i] -= w * p
            d2[i] -= wq
            d3[i] -= wq * (1.0 - 2.0 * p)
            d4[i] -= wq * (1.0 - 6.0 * q)


@kernel
def _integral(x):
    return (1.0 + x) * math.log1p(x) - x


@kernel
def gene_term(phi, tail, over_value, over_count):
    s = 0.0
    d = 0.0
    for j in range(1, N_TAIL):
        if tail[j] == 0.0:
            break
        x = j * phi
        s += tail[j] * math.log1p(x)
        d += tail[j] * x / (1.0 + x)
    # j from N_TAIL to y - 1 for the few large counts, by Euler and Maclaurin; the first omitted term is below 1e-12
    lo = float(N_TAIL)
    xl = lo * phi
    rl = phi / (1.0 + xl)
    for i in range(over_value.shape[0]):
        y = over_value[i]
        xy = y * phi
        ry = phi / (1.0 + xy)
        g = (_integral(xy) - _integral(xl)) / phi + 0.5 * (math.log1p(xl) - math.log1p(xy))
        g += (ry - rl) / 12.0 - 2.0 * (ry * ry * ry - rl * rl * rl) / 720.0
        h = (y - lo) - (math.log1p(xy) - math.log1p(xl)) / phi + 0.5 * (xl / (1.0 + xl) - xy / (1.0 + xy))
        h += (ry / (1.0 + xy) - rl / (1.0 + xl)) / 12.0
        h -= 6.0 * (ry * ry * ry / (1.0 + xy) - rl * rl * rl / (1.0 + xl)) / 720.0
        s += over_count[i] * g
        d += over_count[i] * h
    return s, d
