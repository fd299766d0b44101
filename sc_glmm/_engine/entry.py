"""The compiled functions that Python calls; the only cached ones.

numba's cache on disk knows only the source of the file a function is in, not of the kernels it calls: after an upgrade
of another file it would return old numbers. :data:`KERNEL_DIGEST` is a digest of all kernel sources; it stands in this
file, so that a change of any of them changes this one (a test recomputes it, ``python -m sc_glmm._engine.digest``
rewrites it).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sc_glmm._engine.objective import COVARIANCE, EVALUATE, START, objective
from sc_glmm._engine.optimize import (
    ACCEPTED,
    DEC,
    DEFINITE,
    DONE,
    N_EVAL,
    NOISE,
    PHASE,
    F,
    begin,
    new_opt,
    tell,
)
from sc_glmm._engine.optimize import FAILED as OPT_FAILED
from sc_glmm._engine.workspace import Gene, new_work
from sc_glmm._families.registry import start_values

KERNEL_DIGEST = "92decf5068fa5b57"

# Status of a fit, as the kernel reports it.
OK = 0
NOT_CONVERGED = 1
FAILED = 2
EMPTY = 3


@njit(nogil=True, cache=True, error_model="numpy")
def evaluate(code, has_phi, joint, ar, nd, a, a_sum, tail, over_value, over_count, extra, gh, psi, v, grad):
    """Objective and gradient of one gene at ``psi``; ``v`` is the start of the inner search and becomes the mode."""
    wk = new_work(ar)
    n = psi.shape[0]
    ge = Gene(a, a_sum, tail, over_value, over_count, extra)
    dh = np.zeros((2, n))
    acc = np.zeros((gh.shape[1], n + 2))
    return objective(EVALUATE, code, has_phi, joint, ar, nd, ge, gh, psi, v, wk, grad, dh, acc)


@njit(nogil=True, cache=True, error_model="numpy")
def fit_block(
    code,
    has_phi,
    joint,
    ar,
    nd,
    A,
    tail,
    over_ptr,
    over_value,
    over_count,
    extra,
    gh,
    one,
    theta_start,
    lim,
    full,
    beta_out,
    theta_out,
    log_phi_out,
    v_out,
    vcov_out,
    hess_out,
    dbeta_out,
    fit_out,
    status_out,
):
    """Fit every gene of a block.

    Parameters
    ----------
    code, has_phi, joint
        Family; whether it has a dispersion; whether beta is integrated out (REML).
    ar, nd
        Arrow and node table.
    A, tail, over_ptr, over_value, over_count, extra
        Statistics per gene: ``(n_genes, n_nodes)``, ``(n_genes, 64)``, ragged counts above 64, ``(n_genes, 2)``.
    gh
        ``(2, n_agq)`` quadrature nodes and log weights.
    one
        ``(p,)`` the beta whose predictor is nearest to one everywhere: the direction of the starting intercept.
    theta_start
        ``(n_theta,)`` starting theta for a response of unit scale.
    lim
        Bounds of log phi.
    full
        Whether Hessians are wanted for their own sake (central differences).
    beta_out, theta_out, log_phi_out, v_out
        Estimates ``(n_genes, p)``, ``(n_genes, n_theta)``, ``(n_genes,)``, modes ``(n_genes, q + p)``.
    vcov_out
        ``(n_genes, p, p)`` covariance of beta given theta and phi.
    hess_out, dbeta_out
        ``(n_genes, n_par, n_par)`` Hessian of the objective; ``(n_genes, n_par, p)`` derivative of beta's mode.
    fit_out
        ``(n_genes, 4)``: log likelihood, evaluations, decrement, whether the Hessian is positive definite.
    status_out
        ``(n_genes,)`` one of OK, NOT_CONVERGED, FAILED, EMPTY.
    """
    n_rows = ar.XZ.shape[0]
    q = ar.size[1]
    p = ar.size[3]
    n_theta = ar.theta_fac.shape[0]
    n_beta = 0 if joint else p
    n = n_beta + n_theta + (1 if has_phi else 0)
    nb_joint = q - ar.size[2] + p
    wk = new_work(ar)
    opt = new_opt(n, p)
    a_sum = np.zeros(n_rows)
    v = np.zeros(q + p)
    vt = np.zeros(q + p)
    dh = np.zeros((2, n))
    acc = np.zeros((gh.shape[1], n + 2))
    first = nb_joint - p
    for t in range(n_theta):
        opt.zero_ok[n_beta + t] = 1 if ar.theta_row[t] == ar.theta_col[t] else 0
    for g in range(A.shape[0]):
        total = 0.0
        for d in range(n_rows):
            s = 0.0
            for k in range(nd.ptr[d], nd.ptr[d + 1]):
                s += A[g, k]
            a_sum[d] = s
            total += abs(s)
        ge = Gene(
            A[g],
            a_sum,
            tail[g],
            over_value[over_ptr[g] : over_ptr[g + 1]],
            over_count[over_ptr[g] : over_ptr[g + 1]],
            extra[g],
        )
        status_out[g] = FAILED
        if total == 0.0:
            status_out[g] = EMPTY
            continue
        level, scale, log_phi = start_values(
            code, nd.ec, nd.weight, ge.a_sum, ge.tail, ge.over_value, ge.over_count, ge.extra
        )
        n_eval = 0
        best = 1e300
        # a second start, with small variances and a large dispersion, where the first did not arrive
        attempt = -1
        what = START
        opt.ctl[PHASE] = DONE
        while True:
            if what == START:
                attempt += 1
                for t in range(n_theta):
                    opt.psi[n_beta + t] = theta_start[t] * scale * (1.0 if attempt == 0 else 0.15)
                    opt.cap[n_beta + t] = scale
                if has_phi:
                    opt.psi[n - 1] = min(max(log_phi + 2.0 * attempt, lim[0] + 1.0), lim[1] - 1.0)
                    opt.cap[n - 1] = 2.0
                for i in range(q):
                    v[i] = 0.0
                for j in range(p):
                    v[q + j] = one[j] * level
                for i in range(n):
                    opt.trial[i] = opt.psi[i]
            for i in range(q + p):
                vt[i] = v[i]
            f, ok = objective(what, code, has_phi, joint, ar, nd, ge, gh, opt.trial, vt, wk, opt.trial_grad, dh, acc)
            if what == START:
                if ok:
                    for i in range(q + p):
                        v[i] = vt[i]
                    for i in range(n):
                        for j in range(n):
                            opt.B[i, j] = 0.0
                    for i in range(n_beta):
                        opt.psi[i] = v[q + i]
                        opt.cap[i] = 3.0 * scale
                        for j in range(p):
                            opt.B[i, j] = wk.vS[(first + i) * nb_joint + first + j]
                    for t in range(n_theta):
                        x = max(abs(theta_start[t]), 0.1) * scale
                        opt.B[n_beta + t, n_beta + t] = x * x / ar.n_levels[ar.theta_fac[t]]
                    if has_phi:
                        opt.B[n - 1, n - 1] = 0.05
                    begin(opt, lim[0], lim[1], 3e-3 * scale, has_phi, full)
                    what = EVALUATE
                    continue
                opt.ctl[OPT_FAILED] = 1
            elif what == EVALUATE:
                if tell(opt, f, ok, v[q:], vt[q:]):
                    for i in range(q + p):
                        v[i] = vt[i]
                if opt.ctl[PHASE] != DONE:
                    continue
                n_eval += opt.ctl[N_EVAL]
            else:
                # the covariance of beta given the variances
                if ok:
                    for i in range(p):
                        for j in range(p):
                            vcov_out[g, i, j] = wk.vS[(first + i) * nb_joint + first + j]
                break
            # an attempt has ended
            if opt.ctl[OPT_FAILED] == 0 and opt.val[F] < best - NOISE:
                best = opt.val[F]
                for j in range(p):
                    beta_out[g, j] = v[q + j]
                for t in range(n_theta):
                    theta_out[g, t] = opt.psi[n_beta + t]
                log_phi_out[g] = opt.psi[n - 1] if has_phi else 0.0
                for i in range(q + p):
                    v_out[g, i] = v[i]
                for i in range(n):
                    for j in range(n):
                        hess_out[g, i, j] = opt.H[i, j]
                    for j in range(p):
                        dbeta_out[g, i, j] = opt.daux[i, j]
                fit_out[g, 0] = -best
                fit_out[g, 2] = opt.val[DEC]
                fit_out[g, 3] = opt.ctl[DEFINITE]
                status_out[g] = OK if opt.val[DEC] < ACCEPTED and opt.ctl[DEFINITE] == 1 else NOT_CONVERGED
            if status_out[g] != OK and attempt == 0:
                what = START
                continue
            fit_out[g, 1] = n_eval
            if best == 1e300:
                break
            what = COVARIANCE
            for i in range(q + p):
                v[i] = v_out[g, i]
            for t in range(n_theta):
                opt.trial[n_beta + t] = theta_out[g, t]
            if has_phi:
                opt.trial[n - 1] = log_phi_out[g]


@njit(nogil=True, cache=True, error_model="numpy")
def open_optimiser(psi, cap, B, zero_ok, snap_below):
    """An optimiser that Python drives: start, largest steps, starting metric, which parameters may be set to zero."""
    n = psi.shape[0]
    opt = new_opt(n, 0)
    for i in range(n):
        opt.psi[i] = psi[i]
        opt.cap[i] = cap[i]
        opt.zero_ok[i] = zero_ok[i]
        for j in range(n):
            opt.B[i, j] = B[i, j]
    begin(opt, 0.0, 0.0, snap_below, False, False)
    return opt


@njit(nogil=True, cache=True, error_model="numpy")
def tell_optimiser(opt, f, ok, nothing):
    """Tell it the value at ``opt.trial``, whose gradient is in ``opt.trial_grad``; returns whether it was accepted."""
    return tell(opt, f, ok, nothing, nothing)
