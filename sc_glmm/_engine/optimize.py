"""The outer optimiser: quasi-Newton to the neighbourhood, Newton on differences of the exact gradient to the end.

The optimiser does not call the objective. The caller evaluates it at ``opt.trial`` and passes value and gradient to
:func:`tell`, which sets the next trial. So the optimiser works for any objective that depends only on its parameters.
(Numba cannot cache a function with the objective as an argument; the loop of the caller has four lines.)

theta may change its sign. The likelihood is even in each column of Lambda, so that a variance of zero is a smooth
stationary point that is found as fast as any other. At the end, a theta close to zero is set to zero if this does not
make the objective worse. The dispersion has bounds. Where the likelihood is flat towards the lower bound (the Poisson
limit), the dispersion is set to it. Convergence is judged by the Newton decrement ``g' H^-1 g``, with H from
differences of the gradient at the point itself, and never by small steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sc_glmm._engine.dense import saddle_free, solve_spd
from sc_glmm._families.jit import allocating, kernel

from .._arrays import FloatArray, IntArray

# Decrements: where the quasi-Newton phase hands over, where Newton stops, what still counts as converged.
ROUGH = 1e-4
FINE = 1e-11
ACCEPTED = 1e-7
MAX_OUTER = 25
# Smaller differences of objectives, absolute or relative, are rounding errors. Counts of many thousands in each cell
# give an objective of 1e8, whose last digits are random.
NOISE = 1e-9
RELATIVE_NOISE = 2e-15

# The phase is the kind of the current trial: the start, a point of the quasi-Newton line search, the dispersion at its
# lower bound, a column of the difference Hessian, a Newton step, a parameter at zero.
FIRST, LINE, LIMIT, HESSIAN, NEWTON, SNAP, DONE = range(7)
# The next action after a trial: evaluate another trial, take a quasi-Newton step, change to Newton, compute a Hessian,
# take a Newton step, try the next parameter at zero, end.
ASK, DESCEND, HAND_OVER, DIFFERENTIATE, STEP, SNAP_NEXT, FINISH = range(7)
# Indices of `ctl`.
PHASE, N_EVAL, N_ITER, N_LINE, INNER, OUTER, COLUMN, MINUS, DEFINITE, FAILED, FINAL, FULL, LIMITED, HAS_BOUND = range(
    14
)
# Indices of `val`.
F, SLOPE, A, DEC, LOW, HIGH, E, SNAP_BELOW = range(8)


class Opt(NamedTuple):
    """State of one optimisation of n parameters.

    Attributes
    ----------
    psi, grad
        ``(n,)`` the best point so far and the gradient there; the objective is ``val[F]``.
    trial, trial_grad
        ``(n,)`` the point asked for, and where its gradient is to be written.
    step, cap
        ``(n,)`` current direction; the largest step allowed for each parameter.
    B
        ``(n, n)`` inverse Hessian of the quasi-Newton phase; the caller sets the starting metric.
    H, L
        ``(n, n)`` Hessian at `psi` and its Cholesky factor.
    daux
        ``(n, n_aux)`` derivative in psi of the auxiliary numbers passed to :func:`tell`.
    free, zero_ok
        ``(n,)`` parameters not held at a bound; those that may be set to zero.
    val, ctl
        Numbers and counters, see the constants above.
    """

    psi: FloatArray
    grad: FloatArray
    trial: FloatArray
    trial_grad: FloatArray
    step: FloatArray
    cap: FloatArray
    B: FloatArray
    H: FloatArray
    L: FloatArray
    daux: FloatArray
    free: IntArray
    zero_ok: IntArray
    val: FloatArray
    ctl: IntArray


@allocating
def new_opt(n, n_aux):
    """Buffers for n parameters."""
    return Opt(
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.ones(n),
        np.zeros((n, n)),
        np.zeros((n, n)),
        np.zeros((n, n)),
        np.zeros((n, n_aux)),
        np.ones(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(8),
        np.zeros(14, np.int64),
    )


@kernel
def begin(opt, low, high, snap_below, has_bound, full):
    """Start from ``opt.psi``; `low` and `high` bound the last parameter if `has_bound`; `full`: a final Hessian."""
    for i in range(opt.psi.shape[0]):
        opt.trial[i] = opt.psi[i]
        opt.free[i] = 1
    for i in range(opt.ctl.shape[0]):
        opt.ctl[i] = 0
    opt.ctl[HAS_BOUND] = 1 if has_bound else 0
    opt.ctl[FULL] = 1 if full else 0
    opt.val[LOW] = low
    opt.val[HIGH] = high
    opt.val[SNAP_BELOW] = snap_below
    opt.val[DEC] = 1e300
    opt.val[F] = 1e300


@kernel
def _bfgs_update(opt):
    """The BFGS formula for the inverse Hessian, from psi to the trial; `step`, `L[0]` and `H[0]` are work space."""
    n = opt.psi.shape[0]
    y = opt.L[0]
    s = opt.step
    sy = 0.0
    for i in range(n):
        y[i] = opt.trial_grad[i] - opt.grad[i]
        s[i] = opt.trial[i] - opt.psi[i]
        sy += s[i] * y[i]
    yBy = 0.0
    By = opt.H[0]
    for i in range(n):
        t = 0.0
        for j in range(n):
            t += opt.B[i, j] * y[j]
        By[i] = t
        yBy += t * y[i]
    if sy > 1e-10 * yBy:
        for i in range(n):
            for j in range(n):
                opt.B[i, j] += (sy + yBy) * s[i] * s[j] / (sy * sy) - (By[i] * s[j] + s[i] * By[j]) / sy


@kernel
def _accept(opt, f):
    for i in range(opt.psi.shape[0]):
        opt.psi[i] = opt.trial[i]
        opt.grad[i] = opt.trial_grad[i]
    opt.val[F] = f


@kernel
def _set_trial(opt):
    """``trial = psi + a step``, the last parameter inside its bounds."""
    n = opt.psi.shape[0]
    for i in range(n):
        opt.trial[i] = opt.psi[i] + opt.val[A] * opt.step[i]
    if opt.ctl[HAS_BOUND]:
        opt.trial[n - 1] = min(max(opt.trial[n - 1], opt.val[LOW]), opt.val[HIGH])


@kernel
def _full_step(opt):
    """The largest fraction of `step` that keeps to `cap`."""
    scale = 1.0
    for i in range(opt.psi.shape[0]):
        scale = max(scale, abs(opt.step[i]) / opt.cap[i])
    opt.val[A] = 1.0 / scale
    opt.ctl[N_LINE] = 0


@kernel
def _is_held(opt):
    """Whether the last parameter stands at a bound that the objective would have it cross."""
    if not opt.ctl[HAS_BOUND]:
        return False
    n = opt.psi.shape[0]
    x = opt.psi[n - 1]
    return (x <= opt.val[LOW] and opt.grad[n - 1] > 0.0) or (x >= opt.val[HIGH] and opt.grad[n - 1] < 0.0)


@kernel
def _quasi_newton_step(opt):
    """The next direction; returns whether it is worth following."""
    n = opt.psi.shape[0]
    m = n - 1 if _is_held(opt) else n
    slope = 0.0
    for i in range(n):
        t = 0.0
        if i < m:
            for j in range(m):
                t -= opt.B[i, j] * opt.grad[j]
        opt.step[i] = t
        slope += t * opt.grad[i]
    opt.val[SLOPE] = slope
    return slope < -ROUGH and opt.ctl[N_ITER] < 200


@kernel
def _next_column(opt):
    """Set the next trial for the difference Hessian. Returns False after the last."""
    n = opt.psi.shape[0]
    c = opt.ctl[COLUMN]
    while c < n and not opt.free[c]:
        c += 1
    opt.ctl[COLUMN] = c
    if c == n:
        return False
    e = (1e-3 if opt.ctl[FINAL] else 1e-5) * max(abs(opt.psi[c]), 0.1 * opt.cap[c])
    for i in range(n):
        opt.trial[i] = opt.psi[i]
    opt.trial[c] += -e if opt.ctl[MINUS] else e
    opt.val[E] = e
    return True


@kernel
def _take_column(opt, aux, trial_aux):
    """Put the gradient at the trial into the Hessian."""
    c = opt.ctl[COLUMN]
    e = opt.val[E]
    n_aux = opt.daux.shape[1]
    for i in range(opt.psi.shape[0]):
        if opt.ctl[MINUS]:
            opt.H[c, i] = (opt.H[c, i] * e + opt.grad[i] - opt.trial_grad[i]) / (2.0 * e)
        else:
            opt.H[c, i] = (opt.trial_grad[i] - opt.grad[i]) / e
    for i in range(n_aux):
        if opt.ctl[MINUS]:
            opt.daux[c, i] = (opt.daux[c, i] * e + aux[i] - trial_aux[i]) / (2.0 * e)
        else:
            opt.daux[c, i] = (trial_aux[i] - aux[i]) / e
    if opt.ctl[FINAL] and not opt.ctl[MINUS]:
        opt.ctl[MINUS] = 1
    else:
        opt.ctl[MINUS] = 0
        opt.ctl[COLUMN] = c + 1


@kernel
def _newton_step(opt):
    """Compute the step and the decrement from the current Hessian."""
    n = opt.psi.shape[0]
    ok = solve_spd(opt.H, opt.grad, opt.free, opt.L, opt.step)
    opt.ctl[DEFINITE] = 1 if ok else 0
    if not ok:
        # B is no longer needed
        saddle_free(opt.H, opt.grad, opt.free, opt.B, opt.L, opt.step)
    dec = 0.0
    for i in range(n):
        dec += opt.grad[i] * opt.step[i]
        opt.step[i] = -opt.step[i]
    opt.val[DEC] = dec


@kernel
def _start_hessian(opt):
    n = opt.psi.shape[0]
    for i in range(n):
        for j in range(n):
            opt.H[i, j] = 0.0
        for j in range(opt.daux.shape[1]):
            opt.daux[i, j] = 0.0
    opt.ctl[COLUMN] = 0
    opt.ctl[MINUS] = 0
    opt.ctl[PHASE] = HESSIAN


@kernel
def _symmetrise(opt):
    n = opt.psi.shape[0]
    for i in range(n):
        if not opt.free[i]:
            opt.H[i, i] = 1.0
        for j in range(i):
            s = 0.5 * (opt.H[i, j] + opt.H[j, i]) if opt.free[i] and opt.free[j] else 0.0
            opt.H[i, j] = s
            opt.H[j, i] = s


@kernel
def _next_snap(opt):
    """Set a trial with the next small parameter at zero. Returns False if there is none."""
    n = opt.psi.shape[0]
    c = opt.ctl[COLUMN]
    while c < n and not (opt.zero_ok[c] and 0.0 < abs(opt.psi[c]) < opt.val[SNAP_BELOW]):
        c += 1
    opt.ctl[COLUMN] = c
    if c == n:
        return False
    for i in range(n):
        opt.trial[i] = opt.psi[i]
    opt.trial[c] = 0.0
    return True


@kernel
def _told_first(opt, f, ok):
    """The value at the start. Returns (accepted, what to do next)."""
    if not ok:
        opt.ctl[FAILED] = 1
        return False, FINISH
    _accept(opt, f)
    return True, DESCEND


@kernel
def _told_line(opt, f, ok):
    """A point of the line search of the quasi-Newton phase. Returns (accepted, what to do next)."""
    val = opt.val
    if ok and f <= val[F] + 1e-4 * val[A] * val[SLOPE]:
        _bfgs_update(opt)
        _accept(opt, f)
        opt.ctl[N_ITER] += 1
        return True, DESCEND
    val[A] *= 0.35
    opt.ctl[N_LINE] += 1
    if opt.ctl[N_LINE] > 30:
        return False, HAND_OVER
    _set_trial(opt)
    return False, ASK


@kernel
def _told_limit(opt, f, ok):
    """The dispersion at its lower bound: kept there if the objective does not mind."""
    accepted = ok and f <= opt.val[F] + 1e-4
    if accepted:
        _accept(opt, f)
        opt.free[opt.psi.shape[0] - 1] = 0
    return accepted, DIFFERENTIATE


@kernel
def _told_column(opt, ok, aux, trial_aux):
    """A gradient for the difference Hessian."""
    if not ok:
        opt.ctl[DEFINITE] = 0
        return False, FINISH
    _take_column(opt, aux, trial_aux)
    if _next_column(opt):
        return False, ASK
    _symmetrise(opt)
    return False, FINISH if opt.ctl[FINAL] else STEP


@kernel
def _told_newton(opt, f, ok):
    """The end of a Newton step, or a point on the way back from it."""
    ctl = opt.ctl
    val = opt.val
    # smaller differences of the value are rounding errors
    noise = max(NOISE, RELATIVE_NOISE * abs(val[F]))
    if not (ok and (f <= val[F] - noise or (val[DEC] < 1e-5 and f <= val[F] + noise))):
        val[A] *= 0.3
        ctl[N_LINE] += 1
        if ctl[N_LINE] > 12:
            return False, SNAP_NEXT
        _set_trial(opt)
        return False, ASK
    _accept(opt, f)
    old = val[DEC]
    definite = ctl[DEFINITE]
    _newton_step(opt)
    ctl[DEFINITE] = definite
    ctl[INNER] += 1
    if val[DEC] < FINE and definite:
        return True, SNAP_NEXT
    arrived = opt.free[opt.psi.shape[0] - 1] == 1 and _is_held(opt)
    if arrived or val[DEC] > 0.05 * old or ctl[INNER] >= 4:
        ctl[OUTER] += 1
        return True, HAND_OVER if ctl[OUTER] < MAX_OUTER else SNAP_NEXT
    _full_step(opt)
    _set_trial(opt)
    return True, ASK


@kernel
def _told_snap(opt, f, ok):
    """A parameter at zero."""
    accepted = ok and f <= opt.val[F] + max(NOISE, RELATIVE_NOISE * abs(opt.val[F]))
    if accepted:
        _accept(opt, f)
    opt.ctl[COLUMN] += 1
    return accepted, SNAP_NEXT


@kernel
def _descend(opt):
    if not _quasi_newton_step(opt):
        return HAND_OVER
    opt.ctl[PHASE] = LINE
    _full_step(opt)
    _set_trial(opt)
    return ASK


@kernel
def _hand_over(opt):
    """Settle which parameters are free; a dispersion in a flat tail is tried at its lower bound."""
    n = opt.psi.shape[0]
    val = opt.val
    for i in range(n):
        opt.free[i] = 1
    if not opt.ctl[HAS_BOUND]:
        return DIFFERENTIATE
    x = opt.psi[n - 1]
    if _is_held(opt):
        opt.free[n - 1] = 0
    elif x < val[LOW] + 9.0 and abs(opt.grad[n - 1]) < 1e-3:
        if x > val[LOW]:
            for i in range(n):
                opt.trial[i] = opt.psi[i]
            opt.trial[n - 1] = val[LOW]
            opt.ctl[PHASE] = LIMIT
            return ASK
        opt.free[n - 1] = 0
    return DIFFERENTIATE


@kernel
def _differentiate(opt):
    _start_hessian(opt)
    if _next_column(opt):
        return ASK
    _symmetrise(opt)
    return STEP


@kernel
def _step(opt):
    _newton_step(opt)
    opt.ctl[INNER] = 0
    if opt.val[DEC] < FINE:
        return SNAP_NEXT
    opt.ctl[PHASE] = NEWTON
    _full_step(opt)
    _set_trial(opt)
    return ASK


@kernel
def _snap_next(opt):
    """Try the next small parameter at zero; after the last, the final Hessian if it is wanted."""
    ctl = opt.ctl
    if ctl[PHASE] != SNAP:
        ctl[PHASE] = SNAP
        ctl[COLUMN] = 0
    if _next_snap(opt):
        return ASK
    if not ctl[FULL]:
        return FINISH
    ctl[FINAL] = 1
    _start_hessian(opt)
    return ASK if _next_column(opt) else FINISH


@kernel
def tell(opt, f, ok, aux, trial_aux):
    """Take the objective at ``opt.trial``, its gradient in ``opt.trial_grad``, and set the next trial or DONE.

    `aux` and `trial_aux` are numbers that go with `psi` and the trial (the mode of beta), differentiated along with the
    gradient. Returns whether the trial has become `psi`.
    """
    opt.ctl[N_EVAL] += 1
    phase = opt.ctl[PHASE]
    accepted, todo = False, FINISH
    if phase == FIRST:
        accepted, todo = _told_first(opt, f, ok)
    elif phase == LINE:
        accepted, todo = _told_line(opt, f, ok)
    elif phase == LIMIT:
        accepted, todo = _told_limit(opt, f, ok)
    elif phase == HESSIAN:
        accepted, todo = _told_column(opt, ok, aux, trial_aux)
    elif phase == NEWTON:
        accepted, todo = _told_newton(opt, f, ok)
    elif phase == SNAP:
        accepted, todo = _told_snap(opt, f, ok)
    # each may hand over to one that comes later
    if todo == DESCEND:
        todo = _descend(opt)
    if todo == HAND_OVER:
        todo = _hand_over(opt)
    if todo == DIFFERENTIATE:
        todo = _differentiate(opt)
    if todo == STEP:
        todo = _step(opt)
    if todo == SNAP_NEXT:
        todo = _snap_next(opt)
    if todo == FINISH:
        opt.ctl[PHASE] = DONE
    return accepted
