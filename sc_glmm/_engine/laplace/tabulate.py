"""Tabulate the rows of one gene at a fixed dispersion (:mod:`sc_glmm._families.table`)."""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import row_full
from sc_glmm._families.table import STEP, coefficients

# Largest number of intervals of a row: 32 units of the linear predictor, exp(32) = 8e13.
MAX_INTERVALS = 64


@kernel
def tabulate(code, phi, nd, ge, eta, level, table):
    """Fill the table of every row over the range of predictors that a profile over the variance can visit.

    The range contains the mode of the row at the fit (`eta`), the mean over all rows (`level`) and the maximum of the
    row alone. Its margin is wider for rows with few counts, because these constrain the predictor less.
    """
    n_rows = nd.ptr.shape[0] - 1
    left, right = table.left, table.right
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
        row_full(code, lo, phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d], left)
        for i in range(n):
            table.knot[first + i] = lo + i * STEP
            at = lo + (i + 1) * STEP
            row_full(code, at, phi, nd.ptr[d], nd.ptr[d + 1], nd.ec, nd.weight, ge.a, ge.a_sum[d], right)
            coefficients(left, right, table.coef, 8 * (first + i))
            for j in range(4):
                left[j] = right[j]
        first += n
    table.ptr[n_rows] = first
