"""Compute generalised linear mixed models independently, as an arbiter: dense, uncompressed, slow and simple.

Nothing here is imported from `sc_glmm`, and nothing is shared with it: every observation is a row, every random
effect a column of a dense matrix, every covariance a Cholesky factor. The tests compare the package with this file,
and this file with lme4, glmmTMB, closed forms and numerical integration (`test_oracle.py`). `oracle_fit.py` maximises.

Model: ``y_i ~ family(eta_i)``, ``eta = offset + X beta + Z Lambda u``, ``u ~ N(0, I)``. Parameters are
``psi = (beta, theta, log phi)`` for ML and ``(theta, log phi)`` for REML; `theta` holds the lower triangle of each
term's Cholesky factor, column by column (lme4's order), in absolute units; `phi` is the NB dispersion
(``var = mu + phi mu^2``) or the Gaussian variance and is absent for Poisson and binomial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import expit, gammaln, log1p, logsumexp, xlog1py, xlogy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Family = Literal["poisson", "nb", "gaussian", "binomial"]
Method = Literal["ml", "reml"]

HAS_PHI = {"poisson": False, "nb": True, "gaussian": True, "binomial": False}
LOG_2PI = float(np.log(2.0 * np.pi))


class NoModeError(ArithmeticError):
    """The integrand has no finite mode: under REML, separation gives a flat direction of the fixed effects."""


class Term(NamedTuple):
    """One random-effects term.

    Attributes
    ----------
    basis
        (n_obs, k) columns of the left side of the bar.
    codes
        (n_obs,) level of the grouping factor, 0 to n_levels - 1.
    """

    basis: Floats
    codes: Ints


@dataclass(frozen=True)
class Model:
    """A mixed model with its data; see the module docstring.

    Attributes
    ----------
    family
        "poisson", "nb" (log link), "gaussian" (identity link) or "binomial" (logit link).
    y
        (n_obs,) responses; successes for the binomial.
    X
        (n_obs, p) fixed-effects matrix.
    terms
        Random-effects terms; may be empty.
    offset
        (n_obs,) known part of eta.
    trials
        (n_obs,) binomial trials; ignored by the other families.
    """

    family: Family
    y: Floats
    X: Floats
    terms: tuple[Term, ...] = ()
    offset: Floats = field(default_factory=lambda: np.zeros(0))
    trials: Floats = field(default_factory=lambda: np.ones(0))

    def __post_init__(self) -> None:
        n = len(self.y)
        if len(self.offset) == 0:
            object.__setattr__(self, "offset", np.zeros(n))
        if len(self.trials) == 0:
            object.__setattr__(self, "trials", np.ones(n))
        object.__setattr__(self, "y", np.asarray(self.y, dtype=float))
        object.__setattr__(self, "X", np.asarray(self.X, dtype=float).reshape(n, -1))
        terms = []
        for basis, codes in self.terms:
            b = np.asarray(basis, dtype=float)
            terms.append(Term(b.reshape(n, -1), np.asarray(codes, dtype=np.int64)))
        object.__setattr__(self, "terms", tuple(terms))

    @cached_property
    def n_levels(self) -> tuple[int, ...]:
        return tuple(int(t.codes.max()) + 1 for t in self.terms)

    @cached_property
    def columns_start(self) -> tuple[int, ...]:
        """First column of each term in Z, and one past the last."""
        sizes = [lev * t.basis.shape[1] for lev, t in zip(self.n_levels, self.terms, strict=True)]
        return tuple(int(s) for s in np.concatenate([[0], np.cumsum(sizes)]))

    @cached_property
    def theta_places(self) -> list[tuple[int, int, int]]:
        """List (term, row, column) of every element of theta."""
        out = []
        for t, term in enumerate(self.terms):
            k = term.basis.shape[1]
            out += [(t, r, c) for c in range(k) for r in range(c, k)]
        return out

    @property
    def n_phi(self) -> int:
        return int(HAS_PHI[self.family])

    def z_columns(self, t: int, basis: Floats) -> Floats:
        """Build the (n_obs, n_levels * k) columns of term t with the given basis: by level, then by basis column."""
        k = basis.shape[1]
        Z = np.zeros((len(self.y), self.n_levels[t] * k))
        rows = np.arange(len(self.y))
        for j in range(k):
            Z[rows, self.terms[t].codes * k + j] = basis[:, j]
        return Z

    def cholesky_factors(self, theta: Floats) -> list[Floats]:
        """Compute the (k, k) lower-triangular factor of the covariance of each term."""
        out = [np.zeros((t.basis.shape[1],) * 2) for t in self.terms]
        for value, (t, r, c) in zip(theta, self.theta_places, strict=True):
            out[t][r, c] = value
        return out

    def z_lambda(self, theta: Floats) -> Floats:
        """Compute Z Lambda, (n_obs, q)."""
        blocks = [
            self.z_columns(t, term.basis @ L)
            for t, (term, L) in enumerate(zip(self.terms, self.cholesky_factors(theta), strict=True))
        ]
        return np.hstack([np.zeros((len(self.y), 0)), *blocks])

    def split(self, psi: Floats, method: Method) -> tuple[Floats, Floats, float]:
        """Split psi into beta (empty under REML), theta and phi (1 if the family has none)."""
        p = self.X.shape[1] if method == "ml" else 0
        q = len(self.theta_places)
        if len(psi) != p + q + self.n_phi:
            raise ValueError(f"{len(psi)} parameters, expected {p} + {q} + {self.n_phi}")
        phi = float(np.exp(psi[-1])) if self.n_phi else 1.0
        return psi[:p], psi[p : p + q], phi


class Pointwise(NamedTuple):
    """Log likelihood of each observation and its derivatives in eta (1, 2, 3) and lambda = log phi (`_l`)."""

    value: Floats
    d1: Floats
    d2: Floats
    d3: Floats
    value_l: Floats
    d1_l: Floats
    d2_l: Floats


def rising_log(y: Floats, phi: float) -> tuple[Floats, Floats]:
    """Compute sum_{j < y} log(1 + j phi) and its derivative in log phi, by summation."""
    j = np.arange(int(y.max(initial=0.0)), dtype=float)
    value = np.concatenate([[0.0], np.cumsum(np.log1p(j * phi))])
    slope = np.concatenate([[0.0], np.cumsum(j * phi / (1.0 + j * phi))])
    i = y.astype(int)
    return value[i], slope[i]


def pointwise(model: Model, eta: Floats, phi: float) -> Pointwise:
    """Evaluate the family at eta, which includes the offset."""
    y = model.y
    zero = np.zeros_like(eta)
    if model.family == "poisson":
        mu = np.exp(eta)
        return Pointwise(y * eta - mu - gammaln(y + 1.0), y - mu, -mu, -mu, zero, zero, zero)
    if model.family == "nb":
        x = phi * np.exp(eta)
        p, q = x / (1.0 + x), 1.0 / (1.0 + x)
        w = y * p + np.exp(eta) * q  # (y + 1/phi) p, without the division
        rise, rise_l = rising_log(y, phi)
        soft = log1p(x)
        return Pointwise(
            rise + y * eta - (y + 1.0 / phi) * soft - gammaln(y + 1.0),
            y - w,
            -w * q,
            -w * q * (1.0 - 2.0 * p),
            rise_l + soft / phi - w,
            p * (p / phi - y * q),
            -p * q * (y * (1.0 - 2.0 * p) - 2.0 * p / phi),
        )
    if model.family == "gaussian":
        r = y - eta
        one = np.ones_like(eta)
        return Pointwise(
            -0.5 * (LOG_2PI + np.log(phi)) - 0.5 * r * r / phi,
            r / phi,
            -one / phi,
            zero,
            -0.5 + 0.5 * r * r / phi,
            -r / phi,
            one / phi,
        )
    m = model.trials
    p = expit(eta)
    choose = gammaln(m + 1.0) - gammaln(y + 1.0) - gammaln(m - y + 1.0)
    value = choose + xlogy(y, p) + xlog1py(m - y, -p)
    return Pointwise(value, y - m * p, -m * p * (1.0 - p), -m * p * (1.0 - p) * (1.0 - 2.0 * p), zero, zero, zero)


class Latent(NamedTuple):
    """Latent variables of the integral: eta = fixed + G v, v ~ N(0, diag(1/precision)); flat prior: precision 0."""

    fixed: Floats
    G: Floats
    precision: Floats


def latent(model: Model, psi: Floats, method: Method) -> tuple[Latent, float]:
    beta, theta, phi = model.split(psi, method)
    ZL = model.z_lambda(theta)
    if method == "ml":
        return Latent(model.offset + model.X @ beta, ZL, np.ones(ZL.shape[1])), phi
    p = model.X.shape[1]
    precision = np.concatenate([np.ones(ZL.shape[1]), np.zeros(p)])
    return Latent(model.offset, np.hstack([ZL, model.X]), precision), phi


def find_mode(model: Model, lat: Latent, phi: float, start: Floats | None = None) -> Floats:
    """Find the mode by Newton's method with step halving; the log integrand is concave for all four families."""
    v = np.zeros(lat.G.shape[1]) if start is None else start.copy()
    if lat.G.shape[1] == 0:
        return v

    def value(v: Floats) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            out = pointwise(model, lat.fixed + lat.G @ v, phi).value.sum() - 0.5 * np.sum(lat.precision * v * v)
        return float(out) if np.isfinite(out) else -np.inf

    h = value(v)
    if not np.isfinite(h):
        v = np.zeros(lat.G.shape[1])
        h = value(v)
    settled = 0
    for _ in range(500):
        f = pointwise(model, lat.fixed + lat.G @ v, phi)
        gradient = lat.G.T @ f.d1 - lat.precision * v
        hessian = (lat.G.T * -f.d2) @ lat.G + np.diag(lat.precision)
        if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
            raise NoModeError("the integrand overflows")
        try:
            step = linalg.cho_solve(linalg.cho_factor(hessian, lower=True), gradient)
        except linalg.LinAlgError as error:
            raise NoModeError("singular Hessian on the way to the mode") from error
        decrement = float(step @ gradient)
        # far from the mode the curvature may vanish, so a step changes a predictor by at most 5
        scale = 1.0 if decrement < 1e-2 else min(1.0, 5.0 / float(np.abs(lat.G @ step).max()))
        for _ in range(60):
            h_new = value(v + scale * step)
            # near the mode, rounding errors in h hide the gain, so take the full Newton step
            if h_new >= h or (scale == 1.0 and decrement < 1e-9 and h_new > h - 1e-9 * (1.0 + abs(h))):
                break
            scale *= 0.5
        else:
            if decrement < 1e-8:
                return v
            raise NoModeError("no step increases the integrand")
        v = v + scale * step
        h = h_new
        if np.abs(lat.G @ v).max() > 200.0:
            raise NoModeError("the mode runs to infinity")
        settled = settled + 1 if decrement < 1e-14 * (1.0 + abs(h)) else 0
        if settled >= 2:  # convergence is quadratic: after one more step, only rounding errors remain
            if np.abs(lat.G @ step).max() > 1e-4:  # no gain, although the step is not small: the mode is at infinity
                raise NoModeError("the mode runs to infinity")
            return v
    raise NoModeError("no mode after 500 Newton steps")


class Evaluation(NamedTuple):
    """Value and gradient of the Laplace objective, and the mode with its precision."""

    value: float
    gradient: Floats
    mode: Floats
    precision: Floats
    mode_slope: Floats


def laplace(
    model: Model, psi: Floats, method: Method = "ml", *, start: Floats | None = None, gradient: bool = True
) -> Evaluation:
    """Compute the Laplace log likelihood (ML), or the joint Laplace over (u, beta) with a flat prior on beta (REML).

    With the observed Hessian, as in TMB. `mode_slope` is d mode / d psi.
    """
    psi = np.asarray(psi, dtype=float)
    lat, phi = latent(model, psi, method)
    v = find_mode(model, lat, phi, start)
    f = pointwise(model, lat.fixed + lat.G @ v, phi)
    W = -f.d2
    H = (lat.G.T * W) @ lat.G + np.diag(lat.precision)
    try:
        factor = linalg.cholesky(H, lower=True)
    except linalg.LinAlgError as error:
        raise NoModeError("the Hessian at the mode is not positive definite") from error
    n_flat = int((lat.precision == 0.0).sum())
    value = float(
        f.value.sum() - 0.5 * np.sum(lat.precision * v * v) - np.log(np.diag(factor)).sum() + 0.5 * n_flat * LOG_2PI
    )
    n_psi = len(psi)
    if not gradient:
        return Evaluation(value, np.full(n_psi, np.nan), v, H, np.full((len(v), n_psi), np.nan))

    P = linalg.cho_solve((factor, True), np.eye(len(v)))
    PG = P @ lat.G.T
    leverage = np.einsum("ij,ji->i", lat.G, PG)
    grad = np.zeros(n_psi)
    slope = np.zeros((len(v), n_psi))
    n_beta = model.X.shape[1] if method == "ml" else 0
    for a in range(n_psi):
        d_eta = np.zeros_like(f.value)  # explicit change of eta
        dG_l = np.zeros(len(v))  # dG' l_eta
        trace = 0.0  # 2 tr(P G' W dG)
        value_a = d1_a = d2_a = np.zeros_like(f.value)
        if a < n_beta:
            d_eta = model.X[:, a]
        elif a < n_beta + len(model.theta_places):
            t, r, c = model.theta_places[a - n_beta]
            k = model.terms[t].basis.shape[1]
            column = model.columns_start[t] + model.terms[t].codes * k + c
            b = model.terms[t].basis[:, r]
            d_eta = b * v[column]
            np.add.at(dG_l, column, b * f.d1)
            trace = 2.0 * float(np.sum(W * b * PG[column, np.arange(len(b))]))
        else:
            value_a, d1_a, d2_a = f.value_l, f.d1_l, f.d2_l
        slope[:, a] = P @ (dG_l + lat.G.T @ (d1_a - W * d_eta))
        eta_total = d_eta + lat.G @ slope[:, a]
        dW = -(f.d3 * eta_total + d2_a)
        grad[a] = f.d1 @ d_eta + value_a.sum() - 0.5 * (trace + leverage @ dW)
    return Evaluation(value, grad, v, H, slope)


def agq(model: Model, psi: Floats, n_nodes: int) -> float:
    """Compute the adaptive Gauss-Hermite log likelihood of a model with one scalar random effect."""
    if len(model.terms) != 1 or model.terms[0].basis.shape[1] != 1:
        raise ValueError("adaptive Gauss-Hermite needs one scalar random effect")
    psi = np.asarray(psi, dtype=float)
    lat, phi = latent(model, psi, "ml")
    u = find_mode(model, lat, phi)
    codes, q = model.terms[0].codes, model.n_levels[0]
    slope = lat.G.sum(axis=1)  # theta times the basis
    d2 = pointwise(model, lat.fixed + lat.G @ u, phi).d2
    spread = np.sqrt(2.0 / (1.0 + np.bincount(codes, -d2 * slope**2, minlength=q)))
    z, w = np.polynomial.hermite.hermgauss(n_nodes)
    terms = np.empty((q, n_nodes))
    for k in range(n_nodes):
        uk = u + spread * z[k]
        ll = pointwise(model, lat.fixed + slope * uk[codes], phi).value
        terms[:, k] = np.log(w[k]) + z[k] ** 2 + np.bincount(codes, ll, minlength=q) - 0.5 * uk**2
    return float((logsumexp(terms, axis=1) + np.log(spread)).sum() - 0.5 * q * LOG_2PI)


def objective(model: Model, psi: Floats, method: Method = "ml", n_agq: int = 1) -> float:
    """Compute the objective of a fit: Laplace ML or REML, or adaptive Gauss-Hermite ML."""
    if n_agq > 1:
        if method != "ml":
            raise ValueError("adaptive Gauss-Hermite is for ML")
        return agq(model, psi, n_agq)
    return laplace(model, psi, method, gradient=False).value


def numerical_gradient(fun: Callable[[Floats], float], x: Floats, step: float = 1e-4) -> Floats:
    """Compute central differences of fourth order."""
    x = np.asarray(x, dtype=float)
    out = np.empty(len(x))
    for a in range(len(x)):
        e = np.zeros(len(x))
        e[a] = step * max(1.0, abs(x[a]))
        out[a] = (8.0 * (fun(x + e) - fun(x - e)) - (fun(x + 2 * e) - fun(x - 2 * e))) / (12.0 * e[a])
    return out


def gradient(model: Model, psi: Floats, method: Method = "ml", n_agq: int = 1) -> Floats:
    if n_agq > 1:
        return numerical_gradient(lambda x: objective(model, x, method, n_agq), psi)
    return laplace(model, psi, method).gradient


def numerical_hessian(fun: Callable[[Floats], float], x: Floats, step: float = 4e-3) -> Floats:
    """Compute second differences, of fourth order by one Richardson step."""
    x = np.asarray(x, dtype=float)
    n = len(x)

    def second(scale: float) -> Floats:
        e = np.diag(scale * step * np.maximum(1.0, np.abs(x)))
        out = np.empty((n, n))
        for a in range(n):
            for b in range(a + 1):
                plus = fun(x + e[a] + e[b]) + fun(x - e[a] - e[b])
                minus = fun(x + e[a] - e[b]) + fun(x - e[a] + e[b])
                out[a, b] = out[b, a] = (plus - minus) / (4.0 * e[a, a] * e[b, b])
        return out

    return (4.0 * second(1.0) - second(2.0)) / 3.0


def hessian(model: Model, psi: Floats, method: Method = "ml", n_agq: int = 1) -> Floats:
    """Compute the Hessian of the objective by fourth-order differences of the gradient (with quadrature, the value)."""
    psi = np.asarray(psi, dtype=float)
    if n_agq > 1:
        return numerical_hessian(lambda x: objective(model, x, method, n_agq), psi)
    out = np.empty((len(psi),) * 2)
    for a in range(len(psi)):
        e = np.zeros(len(psi))
        e[a] = 1e-3 * max(1.0, abs(psi[a]))
        g = [laplace(model, psi + s * e, method).gradient for s in (1, -1, 2, -2)]
        out[a] = (8.0 * (g[0] - g[1]) - (g[2] - g[3])) / (12.0 * e[a])
    return 0.5 * (out + out.T)


def joint_vcov(
    model: Model, psi: Floats, method: Method = "ml", n_agq: int = 1, curvature: Floats | None = None
) -> Floats:
    """Compute the covariance of (beta, theta, log phi) that accounts for the estimation of the variances.

    ML: inverse of the Hessian in all parameters. REML: beta is among the latent variables, so its covariance is the
    inverse joint precision plus what the uncertainty of (theta, log phi) adds through the mode (as TMB's `sdreport`).
    """
    if curvature is None:
        curvature = hessian(model, psi, method, n_agq)
    outer = linalg.inv(-curvature)
    if method == "ml":
        return outer
    ev = laplace(model, psi, method)
    p = model.X.shape[1]
    J = ev.mode_slope[-p:]
    within = linalg.inv(ev.precision)[-p:, -p:]
    return np.block([[within + J @ outer @ J.T, J @ outer], [outer @ J.T, outer]])


def conditional_vcov(model: Model, psi: Floats, method: Method = "ml") -> Floats:
    """Compute the covariance of beta given theta and phi, by inverting the joint Hessian in (u, beta) at the mode.

    Under ML this is the joint precision at (mode of u given beta, beta): lme4's `vcov(use.hessian = FALSE)`.
    """
    p = model.X.shape[1]
    if method == "reml":
        return linalg.inv(laplace(model, psi, method).precision)[-p:, -p:]
    lat, phi = latent(model, psi, method)
    u = find_mode(model, lat, phi)
    G = np.hstack([lat.G, model.X])
    W = -pointwise(model, lat.fixed + lat.G @ u, phi).d2
    H = (G.T * W) @ G + np.diag(np.concatenate([np.ones(len(u)), np.zeros(p)]))
    return linalg.inv(H)[-p:, -p:]


def random_effects(model: Model, psi: Floats, method: Method = "ml", mode: Floats | None = None) -> list[Floats]:
    """Compute conditional modes b = Lambda u of each term, (n_levels, k); pass the mode to save time."""
    _, theta, _ = model.split(np.asarray(psi, dtype=float), method)
    if mode is None:
        mode = laplace(model, psi, method, gradient=False).mode
    out = []
    for t, L in enumerate(model.cholesky_factors(theta)):
        u = mode[model.columns_start[t] : model.columns_start[t + 1]].reshape(model.n_levels[t], -1)
        out.append(u @ L.T)
    return out


def fixed_effects(model: Model, psi: Floats, method: Method = "ml", mode: Floats | None = None) -> Floats:
    """Return beta: a parameter under ML, part of the mode under REML."""
    if method == "ml":
        return model.split(np.asarray(psi, dtype=float), method)[0]
    if mode is None:
        mode = laplace(model, psi, method, gradient=False).mode
    return mode[-model.X.shape[1] :]


def newton_step(
    model: Model, psi: Floats, method: Method = "ml", n_agq: int = 1, curvature: Floats | None = None
) -> Floats:
    """Compute the Newton step from psi to the optimum, which measures how early an optimiser stopped."""
    if curvature is None:
        curvature = hessian(model, psi, method, n_agq)
    return linalg.solve(-curvature, gradient(model, psi, method, n_agq))
