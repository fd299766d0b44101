"""The families by name, and the switch through which compiled code calls them.

Numba can neither cache a kernel with a compiled function as an argument nor one that closes over it. The engine
therefore passes an integer. The switch costs no measurable time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sc_glmm._families import binomial, nb, poisson, table
from sc_glmm._families.jit import kernel

POISSON = 0
NB = 1
BINOMIAL = 2
# Kernels of rows do not use it: :mod:`sc_glmm._engine.gaussian` fits from cross-products.
GAUSSIAN = -1
# A tabulated row of counts, whatever family made the table.
TABLE = 3


@dataclass(frozen=True)
class Family:
    """Properties of a family for the layers above.

    Attributes
    ----------
    name
        As the user writes it.
    code
        As the kernels know it.
    has_dispersion
        Whether phi is estimated.
    counts
        Whether the response must be counts (and has a size factor).
    log_dispersion_bounds
        Bounds of log(phi). At the lower bound, the negative binomial is Poisson to double precision.
    one_node
        Whether the likelihood of a row depends on its cells only through the sum of their size factors.
    trials
        Whether the response is successes out of trials; the weight of a node is its number of trials.
    """

    name: str
    code: int
    has_dispersion: bool
    counts: bool
    log_dispersion_bounds: tuple[float, float]
    one_node: bool = False
    trials: bool = False


FAMILIES = {
    "poisson": Family("poisson", POISSON, False, True, (0.0, 0.0), one_node=True),
    "nb": Family("nb", NB, True, True, (-18.5, 7.0)),
    "gaussian": Family("gaussian", GAUSSIAN, True, False, (-40.0, 40.0)),
    "binomial": Family("binomial", BINOMIAL, False, False, (0.0, 0.0), trials=True),
}


@kernel
def row_value(code, eta, phi, lo, hi, ec, weight, a, a_sum):
    if code == TABLE:
        return table.value(eta, phi, lo, hi, ec, weight, a, a_sum)
    if code == NB:
        return nb.value(eta, phi, lo, hi, ec, weight, a, a_sum)
    if code == POISSON:
        return poisson.value(eta, phi, lo, hi, ec, weight, a, a_sum)
    return binomial.value(eta, phi, lo, hi, ec, weight, a, a_sum)


@kernel
def row_newton(code, eta, phi, lo, hi, ec, weight, a, a_sum):
    if code == TABLE:
        return table.newton(eta, phi, lo, hi, ec, weight, a, a_sum)
    if code == NB:
        return nb.newton(eta, phi, lo, hi, ec, weight, a, a_sum)
    if code == POISSON:
        return poisson.newton(eta, phi, lo, hi, ec, weight, a, a_sum)
    return binomial.newton(eta, phi, lo, hi, ec, weight, a, a_sum)


@kernel
def row_parabola(code, eta, phi, lo, hi, ec, weight, a, a_sum):
    """Compute the log likelihood of a row and its first two derivatives."""
    if code == TABLE:
        return table.parabola(eta, phi, lo, hi, ec, weight, a, a_sum)
    d1, d2 = row_newton(code, eta, phi, lo, hi, ec, weight, a, a_sum)
    return row_value(code, eta, phi, lo, hi, ec, weight, a, a_sum), d1, d2


@kernel
def all_parabolas(code, eta, phi, ptr, ec, weight, a, a_sum, f, d1, d2):
    """Compute :func:`row_parabola` of all rows."""
    if code == TABLE:
        table.parabolas(eta, phi, ptr, ec, weight, a, a_sum, f, d1, d2)
        return
    for d in range(eta.shape[0]):
        f[d], d1[d], d2[d] = row_parabola(code, eta[d], phi, ptr[d], ptr[d + 1], ec, weight, a, a_sum[d])


@kernel
def row_full(code, eta, phi, lo, hi, ec, weight, a, a_sum, out):
    if code == TABLE:
        table.full(eta, phi, lo, hi, ec, weight, a, a_sum, out)
    elif code == NB:
        nb.full(eta, phi, lo, hi, ec, weight, a, a_sum, out)
    elif code == POISSON:
        poisson.full(eta, phi, lo, hi, ec, weight, a, a_sum, out)
    else:
        binomial.full(eta, phi, lo, hi, ec, weight, a, a_sum, out)


@kernel
def row_derivatives(code, n, t, phi, lo, hi, ec, weight, a, a_sum, d1, d2, d3, d4):
    """Compute the derivatives of a row of counts at n predictors with ``t = exp(eta)``."""
    if code == NB:
        nb.derivatives(n, t, phi, lo, hi, ec, weight, a, a_sum, d1, d2, d3, d4)
    else:
        poisson.derivatives(n, t, phi, lo, hi, ec, weight, a, a_sum, d1, d2, d3, d4)


@kernel
def gene_term(code, phi, tail, over_value, over_count):
    if code == TABLE:
        return 0.0, 0.0
    if code == NB:
        return nb.gene_term(phi, tail, over_value, over_count)
    if code == POISSON:
        return poisson.gene_term(phi, tail, over_value, over_count)
    return binomial.gene_term(phi, tail, over_value, over_count)


@kernel
def start_values(code, ec, weight, a_sum, tail, over_value, over_count):
    """Compute starting values from moments: (constant predictor, log dispersion)."""
    total = 0.0
    for d in range(a_sum.shape[0]):
        total += a_sum[d]
    if code == BINOMIAL:
        trials = 0.0
        for k in range(weight.shape[0]):
            trials += weight[k]
        share = (total + 0.5) / (trials + 1.0)
        return math.log(share / (1.0 - share)), 0.0
    s1 = 0.0
    s2 = 0.0
    for k in range(ec.shape[0]):
        s1 += weight[k] * ec[k]
        s2 += weight[k] * ec[k] * ec[k]
    rate = total / s1
    if code == POISSON:
        return math.log(rate), 0.0
    # E y (y - 1) = (1 + phi) mu^2; the tail counts add up to y (y - 1) / 2 summed over cells
    pairs = 0.0
    for j in range(1, tail.shape[0]):
        pairs += 2.0 * j * tail[j]
    for i in range(over_value.shape[0]):
        y = over_value[i]
        pairs += over_count[i] * (y * (y - 1.0) - nb.N_TAIL * (nb.N_TAIL - 1.0))
    phi = pairs / (rate * rate * s2) - 1.0
    return math.log(rate), math.log(min(max(0.8 * phi, 0.02), 20.0))
