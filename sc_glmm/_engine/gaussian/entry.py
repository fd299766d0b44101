"""The compiled functions of Gaussian models that Python calls; :mod:`sc_glmm._engine.entry` says why they are few."""

from __future__ import annotations

import numpy as np

from sc_glmm._engine.gaussian import criterion as of
from sc_glmm._engine.optimize import DONE, PHASE, begin, new_opt, tell
from sc_glmm._families.cache import cached
from sc_glmm._families.jit import allocating

KERNEL_DIGEST = "8614ffb2d9f7cadb"


@cached(nogil=True, error_model="numpy")
def cross_products(ar, weight, sums, square, raw, S0):
    """See :func:`sc_glmm._engine.gaussian.criterion.products`."""
    of.products(ar, weight, sums, square, raw, S0)


@cached(nogil=True, error_model="numpy")
def new_work(ar):
    """Buffers for evaluations with one design; their content never matters to a result."""
    return of.new_buffers(ar)


@cached(nogil=True, error_model="numpy")
def eliminate(ar, theta, raw, S0, wk):
    """See :func:`sc_glmm._engine.gaussian.criterion.eliminate_scaled`."""
    return of.eliminate_scaled(ar, theta, raw, S0, wk)


@cached(nogil=True, error_model="numpy")
def finish(ar, raw, S0, wk, used, ratio, grad):
    """See :func:`sc_glmm._engine.gaussian.criterion.finish`; of ``wk.vS`` LAPACK has filled the upper triangle."""
    n = ar.q - ar.q_head + used
    for i in range(n):
        for j in range(i):
            wk.vS[i * n + j] = wk.vS[j * n + i]
    of.finish(ar, raw, S0, wk, used, ratio, grad)


@allocating
def _open(psi, cap, metric, zero_ok, snap_below):
    n = psi.shape[0]
    opt = new_opt(n, 0)
    for i in range(n):
        opt.psi[i] = psi[i]
        opt.cap[i] = cap[i]
        opt.zero_ok[i] = 1 if zero_ok[i] else 0
        opt.B[i, i] = metric[i]
    begin(opt, 0.0, 0.0, snap_below, False, False)
    return opt


@cached(nogil=True, error_model="numpy")
def open_optimiser(psi, cap, metric, zero_ok, snap_below):
    """An optimiser that Python drives: start, largest steps, diagonal metric, which parameters may be set to zero."""
    return _open(psi, cap, metric, zero_ok, snap_below)


@cached(nogil=True, error_model="numpy")
def tell_optimiser(opt, f, ok, nothing):
    """Tell it the value at ``opt.trial``, whose gradient is in ``opt.trial_grad``; returns whether it was accepted."""
    return tell(opt, f, ok, nothing, nothing)


@cached(nogil=True, error_model="numpy")
def descend(ar, raw, S0, reml, n_obs, constant, psi, cap, metric, zero_ok, snap_below, wk):
    """Minimise the criterion with a border in loops; returns the optimiser at its end."""
    opt = _open(psi, cap, metric, zero_ok, snap_below)
    nothing = np.zeros(0)
    while opt.ctl[PHASE] != DONE:
        f, ok = of.criterion(ar, opt.trial, raw, S0, reml, n_obs, constant, wk, opt.trial_grad)
        tell(opt, f, ok, nothing, nothing)
    return opt
