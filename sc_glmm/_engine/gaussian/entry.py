"""The compiled functions of Gaussian models that Python calls, cached as those in :mod:`sc_glmm._engine.entry`."""

from __future__ import annotations

import numpy as np

from sc_glmm._engine.gaussian import criterion as of
from sc_glmm._engine.optimize import DONE, PHASE, begin, new_opt, tell
from sc_glmm._families.cache import cached
from sc_glmm._families.jit import allocating

KERNEL_DIGEST = "4e09ea2ebea873ab"


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def cross_products(ar, weight, sums, square, raw, S0):
    """See :func:`sc_glmm._engine.gaussian.criterion.products`."""
    of.products(ar, weight, sums, square, raw, S0)


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def new_work(ar):
    """Allocate buffers for evaluations with one design; their content does not affect results."""
    return of.new_buffers(ar)


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def eliminate(ar, theta, raw, S0, wk):
    """See :func:`sc_glmm._engine.gaussian.criterion.eliminate_scaled`."""
    return of.eliminate_scaled(ar, theta, raw, S0, wk)


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def finish(ar, raw, S0, wk, used, ratio, grad):
    """See :func:`sc_glmm._engine.gaussian.criterion.finish`; LAPACK has filled the upper triangle of ``wk.vS``."""
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


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def open_optimiser(psi, cap, metric, zero_ok, snap_below):
    """Make an optimiser for a loop in Python: start, largest steps, diagonal metric, parameters that may be zero."""
    return _open(psi, cap, metric, zero_ok, snap_below)


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def tell_optimiser(opt, f, ok, nothing):
    """Pass the value at ``opt.trial``, with the gradient in ``opt.trial_grad``. Returns whether it was accepted."""
    return tell(opt, f, ok, nothing, nothing)


@cached(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def descend(ar, raw, S0, reml, n_obs, constant, psi, cap, metric, zero_ok, snap_below, wk):
    """Minimise the criterion with a border in loops. Returns the optimiser at its end."""
    opt = _open(psi, cap, metric, zero_ok, snap_below)
    nothing = np.zeros(0)
    while opt.ctl[PHASE] != DONE:
        f, ok = of.criterion(ar, opt.trial, raw, S0, reml, n_obs, constant, wk, opt.trial_grad)
        tell(opt, f, ok, nothing, nothing)
    return opt
