"""Tabulate the rows of one gene at a fixed dispersion (:mod:`sc_glmm._families.table`)."""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import row_derivatives, row_value
from sc_glmm._families.table import STEP, coefficients, integral

# Largest number of intervals of a row: 32 units of the linear predictor, exp(32) = 8e13.
MAX_INTERVALS = 64
# Ratio of the means at neighbouring knots.
RATIO = math.exp(STEP)


@kernel
def tabulate(code, phi, nd, ge, eta, level, table):
    """Fill the table of every row over the range of predictors that a profile over the variance can visit.

    The range contains the mode of the row at the fit (`eta`), the mean over all rows (`level`) and the maximum of the
    row alone. Its margin is wider for rows with few counts, because these constrain the predictor less.
    """
    n_rows = nd.ptr.shape[0] - 1
    t, d1, d2, d3, d4 = table.t, table.d1, table.d2, table.d3, table.d4
    first = 0
    for d in range(n_rows):
        lo = min(eta[d], level)
        hi = max(eta[d], level)
        exposure = 0.0
        for k in range(nd.ptr[d], nd.ptr[d + 1]):
            exposure += nd.weight[k] * nd.ec[k]
        if ge.a_sum[d] > 0.0 and exposure > 0.0:
            own = math.log(ge.a_sum[d] / exposure)
            lo = min(lo, own)
            hi = max(hi, own)
        spread = 6.0 / math.sqrt(1.0 + max(ge.a_sum[d], 0.0))
        lo -= 1.5 + spread
        hi += 1.5 + 0.7 * spread
        n = int((hi - lo) / STEP) + 1
        if n > MAX_INTERVALS:
            n = MAX_INTERVALS
            lo = hi - n * STEP
        table.ptr[d] = first
        at = math.exp(lo)
        for i in range(n + 1):
            t[i] = at
            at *= RATIO
        row_derivatives(
            code, n + 1, t, phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d], d1, d2, d3, d4
        )
        value = row_value(code, lo, phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d])
        for i in range(n):
            table.knot[first + i] = lo + i * STEP
            rise = integral(i, d1, d2, d3, d4)
            coefficients(i, rise, value, d1, d2, d3, table.coef, 8 * (first + i))
            value += rise
        first += n
    table.ptr[n_rows] = first
