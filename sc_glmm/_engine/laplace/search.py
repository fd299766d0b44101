"""Fit one gene: the start of the search, and its results."""

from __future__ import annotations

from typing import NamedTuple

from sc_glmm._engine.laplace.objective import COVARIANCE, EVALUATE, START, objective
from sc_glmm._engine.optimize import ACCEPTED, DEC, DEFINITE, DONE, N_EVAL, NOISE, PHASE, F, begin, tell
from sc_glmm._engine.optimize import FAILED as OPT_FAILED
from sc_glmm._families.jit import kernel
from sc_glmm._families.registry import start_values

from ..._arrays import FloatArray, IntArray

# Status of a fit.
OK = 0
NOT_CONVERGED = 1
FAILED = 2
EMPTY = 3


class FitOptions(NamedTuple):
    """How genes are fitted.

    Attributes
    ----------
    one
        ``(p,)`` the beta whose predictor is nearest to one everywhere: the direction of the starting intercept.
    theta_start
        ``(n_theta,)`` starting theta for a response of unit scale.
    bounds
        ``(2,)`` bounds of log phi.
    full
        Whether Hessians are wanted for their own sake (central differences).
    most
        ``(n_genes,)`` log likelihood that no fit can exceed; a search that does has left the region in which the nodes
        represent the cells, and fails.
    near
        Whether a search starts from an earlier fit of the gene to nearly the same likelihood, which is in `theta`,
        `log_phi`, `v` and `metric` (inverse Hessian of the objective, NaN if there is none); else these are empty.
    """

    one: FloatArray
    theta_start: FloatArray
    bounds: FloatArray
    full: bool
    most: FloatArray
    near: bool
    theta: FloatArray
    log_phi: FloatArray
    v: FloatArray
    metric: FloatArray


class FitOut(NamedTuple):
    """Results of the fits of a block.

    Attributes
    ----------
    beta, theta, log_phi, v
        Estimates ``(n_genes, p)``, ``(n_genes, n_theta)``, ``(n_genes,)``, modes ``(n_genes, q + p)``.
    vcov
        ``(n_genes, p, p)`` covariance of beta given theta and phi.
    hess, dbeta
        ``(n_genes, n_par, n_par)`` Hessian of the objective; ``(n_genes, n_par, p)`` derivative of beta's mode.
    loglik, n_eval, decrement
        ``(n_genes,)`` log likelihood, evaluations, Newton decrement at the end.
    status
        ``(n_genes,)`` one of OK, NOT_CONVERGED, FAILED, EMPTY.
    """

    beta: FloatArray
    theta: FloatArray
    log_phi: FloatArray
    v: FloatArray
    vcov: FloatArray
    hess: FloatArray
    dbeta: FloatArray
    loglik: FloatArray
    n_eval: IntArray
    decrement: FloatArray
    status: IntArray


@kernel
def _start(attempt, g, moments, like, ar, options, opt, v):
    """Set the first trial. The second attempt starts with small variances and a large dispersion."""
    level, log_phi = moments
    n = opt.psi.shape[0]
    n_beta = 0 if like.joint else ar.p
    for t in range(ar.theta_fac.shape[0]):
        opt.psi[n_beta + t] = options.theta_start[t] * (1.0 if attempt == 0 else 0.15)
        opt.cap[n_beta + t] = 1.0
    if like.has_phi:
        opt.psi[n - 1] = min(max(log_phi + 2.0 * attempt, options.bounds[0] + 1.0), options.bounds[1] - 1.0)
        opt.cap[n - 1] = 2.0
    for i in range(ar.q):
        v[i] = 0.0
    for j in range(ar.p):
        v[ar.q + j] = options.one[j] * level
    if options.near and attempt == 0:
        for t in range(ar.theta_fac.shape[0]):
            opt.psi[n_beta + t] = options.theta[g, t]
        if like.has_phi:
            opt.psi[n - 1] = options.log_phi[g]
        for i in range(v.shape[0]):
            v[i] = options.v[g, i]
    for i in range(n):
        opt.trial[i] = opt.psi[i]


@kernel
def _begin(near, g, like, ar, options, wk, opt, v):
    """Start the optimiser from the joint mode of (u, beta) in `v`, with a metric from the covariance there."""
    n = opt.psi.shape[0]
    p = ar.p
    n_beta = 0 if like.joint else p
    nb = ar.q - ar.q_head + p
    for i in range(n):
        for j in range(n):
            opt.B[i, j] = 0.0
    for i in range(n_beta):
        opt.psi[i] = v[ar.q + i]
        opt.cap[i] = 3.0
        for j in range(p):
            opt.B[i, j] = wk.vS[(nb - p + i) * nb + nb - p + j]
    for t in range(ar.theta_fac.shape[0]):
        x = max(abs(options.theta_start[t]), 0.1)
        opt.B[n_beta + t, n_beta + t] = x * x / ar.n_levels[ar.theta_fac[t]]
    if like.has_phi:
        opt.B[n - 1, n - 1] = 0.05
    if near and options.metric[g, 0, 0] == options.metric[g, 0, 0]:
        for i in range(n):
            for j in range(n):
                opt.B[i, j] = options.metric[g, i, j]
    begin(opt, options.bounds[0], options.bounds[1], 3e-3, like.has_phi, options.full)


@kernel
def _keep(g, like, ar, opt, v, out):
    """Keep the result of an attempt."""
    n = opt.psi.shape[0]
    n_beta = 0 if like.joint else ar.p
    for j in range(ar.p):
        out.beta[g, j] = v[ar.q + j]
    for t in range(ar.theta_fac.shape[0]):
        out.theta[g, t] = opt.psi[n_beta + t]
    out.log_phi[g] = opt.psi[n - 1] if like.has_phi else 0.0
    for i in range(v.shape[0]):
        out.v[g, i] = v[i]
    for i in range(n):
        for j in range(n):
            out.hess[g, i, j] = opt.H[i, j]
        for j in range(ar.p):
            out.dbeta[g, i, j] = opt.daux[i, j]
    out.loglik[g] = -opt.val[F]
    out.decrement[g] = opt.val[DEC]
    out.status[g] = OK if opt.val[DEC] < ACCEPTED and opt.ctl[DEFINITE] == 1 else NOT_CONVERGED


@kernel
def _return_to_best(g, like, ar, opt, v, out):
    """Set the trial to the best result, to compute the covariance there."""
    n_beta = 0 if like.joint else ar.p
    for i in range(v.shape[0]):
        v[i] = out.v[g, i]
    for t in range(ar.theta_fac.shape[0]):
        opt.trial[n_beta + t] = out.theta[g, t]
    if like.has_phi:
        opt.trial[opt.psi.shape[0] - 1] = out.log_phi[g]


@kernel
def _write_covariance(g, ar, wk, out):
    p = ar.p
    nb = ar.q - ar.q_head + p
    for i in range(p):
        for j in range(p):
            out.vcov[g, i, j] = wk.vS[(nb - p + i) * nb + nb - p + j]


@kernel
def fit_gene(g, like, ar, nd, ge, gh, options, opt, wk, v, vt, out):
    """Fit gene `g`: up to two attempts of the optimiser, and the covariance of beta at the better one."""
    moments = start_values(like.code, nd.ec, nd.weight, ge.a_sum, ge.tail, ge.over_value, ge.over_count)
    q = ar.q
    n_eval = 0
    best = 1e300
    attempt = 0
    _start(attempt, g, moments, like, ar, options, opt, v)
    # a single call of the objective (see there) serves the start, the search and the covariance
    what = START
    while True:
        for i in range(v.shape[0]):
            vt[i] = v[i]
        f, ok = objective(what, like, ar, nd, ge, gh, opt.trial, vt, wk, opt.trial_grad)
        if what == EVALUATE and ok and -f > options.most[g]:
            out.n_eval[g] = n_eval + opt.ctl[N_EVAL]
            out.status[g] = FAILED
            break
        if what == COVARIANCE:
            if ok:
                _write_covariance(g, ar, wk, out)
            break
        if what == EVALUATE:
            accepted = tell(opt, f, ok, v[q:], vt[q:])
        else:
            accepted = ok
        if accepted:
            for i in range(v.shape[0]):
                v[i] = vt[i]
        if what == START and ok:
            _begin(options.near and attempt == 0, g, like, ar, options, wk, opt, v)
            what = EVALUATE
            continue
        if what == EVALUATE and opt.ctl[PHASE] != DONE:
            continue
        # an attempt has ended
        if what == EVALUATE:
            n_eval += opt.ctl[N_EVAL]
        if what == EVALUATE and opt.ctl[OPT_FAILED] == 0 and opt.val[F] < best - NOISE:
            best = opt.val[F]
            _keep(g, like, ar, opt, v, out)
        if out.status[g] != OK and attempt == 0:
            attempt = 1
            _start(attempt, g, moments, like, ar, options, opt, v)
            what = START
            continue
        out.n_eval[g] = n_eval
        if best == 1e300:
            break
        _return_to_best(g, like, ar, opt, v, out)
        what = COVARIANCE
