"""Compute degrees of freedom of contrasts in Gaussian mixed models: Satterthwaite and Kenward-Roger.

Satterthwaite (as in Kuznetsova and others 2017): the variance of a contrast is a function of the variance parameters.
The delta method gives the variance of this variance, and ``df = 2 Var^2 / var(Var)``. A joint contrast is rotated into
independent contrasts. Their degrees of freedom are combined as in Fai and Cornelius (1996).

Many sets of independent contrasts span the same hypothesis, and their degrees of freedom combine to different numbers.
lmerTest uses the eigenvectors of ``L V L'``. These change with the rows of L, so they depend on the base level of a
factor and on the unit of a covariate. Here the rows of L are first made orthonormal in the metric of ``(X'WX)^-1``. The
result then depends on the hypothesis alone. In a balanced design, the independent contrasts are those of the strata.

Kenward and Roger (1997): the covariance of beta is adjusted, because the estimated variances replace the true ones and
this causes a bias. The F statistic is scaled so that its first two moments are those of an F distribution. The code is
written from the paper, with all n x n products reduced to q x q ones. With ``A = Sigma^-1`` and ``G_i`` the derivatives
of Sigma, only ``Z'AZ``, ``Z'AX``, ``Z'A^2 Z`` and ``tr A^2`` are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from .._arrays import FloatArray, IntArray

# Relative to the largest eigenvalue of a Hessian in parameters without units: smaller ones carry no information.
FLAT = 1e-11
# Relative to the largest singular value or eigenvalue: smaller ones are rounding errors of dependent rows.
DEPENDENT = 1e-9


@dataclass(frozen=True)
class SatterthwaiteParts:
    """Quantities that give Satterthwaite's degrees of freedom of any contrast.

    Attributes
    ----------
    vcov
        ``(p, p)`` covariance of beta.
    vcov_varpar
        ``(m, m)`` covariance of the variance parameters (theta, log sigma).
    jacobian
        ``(m, p, p)`` derivative of `vcov` with respect to each variance parameter.
    R
        ``(p, p)`` upper triangular; ``R'R`` equals X'WX up to a factor.
    """

    vcov: FloatArray
    vcov_varpar: FloatArray
    jacobian: FloatArray
    R: FloatArray


@dataclass(frozen=True)
class KenwardRogerParts:
    """Adjusted covariance of beta, and the quantities that scale F.

    Attributes
    ----------
    vcov
        ``(p, p)`` covariance of beta.
    adjusted
        ``(p, p)`` adjusted covariance of beta.
    change
        ``(m, p, p)`` change of the covariance, ``-phi X' A G_i A X phi`` with phi the covariance of beta.
    W
        ``(m, m)`` covariance of the variance parameters (expected information).
    """

    vcov: FloatArray
    adjusted: FloatArray
    change: FloatArray
    W: FloatArray


def covariance_from_hessian(hessian: FloatArray, size: FloatArray) -> FloatArray:
    """Invert a Hessian of the deviance, ``2 H^-1``, without the directions in which it is flat or falls.

    Parameters
    ----------
    hessian
        ``(m, m)`` Hessian.
    size
        ``(m,)`` size of a large change of each parameter. A direction counts as flat in these units.
    """
    values, vectors = np.linalg.eigh(hessian * np.outer(size, size))
    keep = values > FLAT * max(float(values.max(initial=0.0)), 0.0)
    directions = size[:, None] * vectors[:, keep]
    covariance: FloatArray = 2.0 * (directions / values[keep]) @ directions.T
    return covariance


def orthonormal_rows(L: FloatArray, R: FloatArray) -> FloatArray:
    """Make the rows of ``L (k, p)`` orthonormal in the metric of ``(R'R)^-1``, as ``(rank, p)`` rows.

    Many matrices L describe one hypothesis. The orthonormal rows are the same for all of them, up to a rotation.
    """
    scaled = solve_triangular(R, L.T, trans="T", lower=False).T
    length = np.sqrt(np.sum(scaled**2, axis=1, keepdims=True))
    _, values, vectors = np.linalg.svd(scaled / np.where(length > 0.0, length, 1.0), full_matrices=False)
    rows: FloatArray = vectors[values > DEPENDENT * values.max(initial=0.0)] @ R
    return rows


def satterthwaite(L: FloatArray, parts: SatterthwaiteParts) -> tuple[FloatArray, float]:
    """Compute the degrees of freedom of contrasts ``L (k, p)``: ``(k,)`` of each row, and those of the joint test."""
    single = np.array([_one_df(row, parts) for row in L])
    if len(L) == 1:
        return single, float(single[0])
    L = orthonormal_rows(L, parts.R)
    values, vectors = np.linalg.eigh(L @ parts.vcov @ L.T)
    keep = values > DEPENDENT * values.max()
    rotated = vectors[:, keep].T @ L
    return single, combine_df(np.array([_one_df(row, parts) for row in rotated]))


def combine_df(df: FloatArray) -> float:
    """Combine the degrees of freedom `df` of independent t statistics into the denominator df of their F statistic."""
    if np.ptp(df) < 1e-8:
        return float(df.mean())
    if (df <= 2.0).any():
        return 2.0
    E = float(np.sum(df / (df - 2.0)))
    return 2.0 * E / (E - len(df))


def _one_df(row: FloatArray, parts: SatterthwaiteParts) -> float:
    variance = float(row @ parts.vcov @ row)
    # a relative change has no unit
    change = np.einsum("mij,i,j->m", parts.jacobian, row, row) / variance if variance > 0.0 else np.zeros(1)
    spread = float(change @ parts.vcov_varpar @ change) if variance > 0.0 else 0.0
    return 2.0 / spread if spread > 0.0 else np.inf


@dataclass(frozen=True)
class Component:
    """One variance or covariance of the random effects, and the coefficients that it connects.

    Attributes
    ----------
    a, b
        ``(n_levels,)`` indices of the coefficients of its row and of its column; equal for a variance.
    """

    a: IntArray
    b: IntArray

    @property
    def share(self) -> float:
        """Factor in ``G = share Z (Pa Pb' + Pb Pa') Z'``, the derivative of Sigma."""
        return 0.5 if np.array_equal(self.a, self.b) else 1.0


def kenward_roger_parts(
    ZZ: FloatArray,
    ZX: FloatArray,
    XX: FloatArray,
    T: FloatArray,
    n_obs: int,
    components: Sequence[Component],
    R: FloatArray,
    sigma: float,
) -> KenwardRogerParts:
    """Compute the adjusted covariance of beta, and the quantities that scale F.

    All arrays belong to a response with residual variance one, and to columns whose root mean square is one. The units
    of the response and of the covariates therefore cost no digits.

    Parameters
    ----------
    ZZ, ZX, XX
        ``Z'WZ (q, q)``, ``Z'WX (q, p)``, ``X'WX (p, p)``.
    T
        ``(q, q)``: ``Lambda M^-1 Lambda'``, so that ``A = W - W Z T Z' W``.
    n_obs
        Number of observations.
    components
        Variances and covariances of the random effects, without the residual variance.
    R
        ``(p, p)`` upper triangular; beta of the scaled columns is R times beta of the original columns.
    sigma
        Residual standard deviation of the original response.
    """
    TQ = T @ ZZ
    IQ = np.eye(len(ZZ)) - TQ.T
    C1 = ZX - TQ.T @ ZX
    K = IQ @ ZZ
    B = C1
    K2 = IQ @ ZZ @ IQ.T
    D = IQ @ C1
    X1 = XX - ZX.T @ T @ ZX
    X2 = XX - 2.0 * ZX.T @ T @ ZX + ZX.T @ TQ @ T @ ZX
    X3 = X2 - C1.T @ T @ C1
    tA2 = n_obs - 2.0 * np.trace(TQ) + float(np.sum(TQ * TQ.T))
    phi = np.linalg.inv(X1)
    m, p = len(components) + 1, len(XX)
    P, Q, trace = np.empty((m, p, p)), np.empty((m, m, p, p)), np.empty((m, m))
    for i, one in enumerate(components):
        a, b, s = one.a, one.b, one.share
        P[i] = -s * (B[a].T @ B[b] + B[b].T @ B[a])
        Q[i, -1] = s * (B[a].T @ D[b] + B[b].T @ D[a])
        Q[-1, i] = Q[i, -1].T
        trace[i, -1] = trace[-1, i] = 2.0 * s * float(np.sum(K2[a, b]))
        for j, two in enumerate(components[: i + 1]):
            c, d, t = two.a, two.b, s * two.share
            K_ac, K_ad, K_bc, K_bd = (K[np.ix_(x, y)] for x in (a, b) for y in (c, d))
            trace[i, j] = trace[j, i] = 2.0 * t * float(np.sum(K_ad * K_bc) + np.sum(K_bd * K_ac))
            Q[i, j] = t * (B[a].T @ K_bc @ B[d] + B[a].T @ K_bd @ B[c] + B[b].T @ K_ac @ B[d] + B[b].T @ K_ad @ B[c])
            Q[j, i] = Q[i, j].T
    P[-1], Q[-1, -1], trace[-1, -1] = -X2, X3, tA2
    phi_P = phi @ P
    information = trace - 2.0 * np.einsum("ab,ijba->ij", phi, Q) + np.einsum("iab,jba->ij", phi_P, phi_P)
    # The fixed effects take away information. A direction is flat if little is left, compared with the full trace.
    W = covariance_from_hessian(0.5 * (information + information.T), 1.0 / np.sqrt(np.diagonal(trace)))
    inner = np.einsum("ij,ijab->ab", W, Q) - np.einsum("ij,iab,jbc->ac", W, P, phi_P)
    adjusted = phi + 2.0 * phi @ (0.5 * (inner + inner.T)) @ phi
    inverse = solve_triangular(R, sigma * np.eye(p), lower=False)
    return KenwardRogerParts(
        vcov=inverse @ phi @ inverse.T,
        adjusted=inverse @ adjusted @ inverse.T,
        change=inverse @ (phi_P @ phi) @ inverse.T,
        W=W,
    )


def kenward_roger(L: FloatArray, parts: KenwardRogerParts) -> tuple[float, float]:
    """Compute the denominator degrees of freedom of a joint contrast ``L (k, p)``, and the factor that scales its F."""
    q = len(L)
    # whitened rows, so that no quantity below has a unit
    root = np.linalg.cholesky(L @ parts.vcov @ L.T)
    L = solve_triangular(root, L, lower=True)
    TPPP = L @ parts.change @ L.T
    first = np.einsum("iaa->i", TPPP)
    A1 = float(first @ parts.W @ first)
    A2 = float(np.einsum("ij,iab,jba->", parts.W, TPPP, TPPP))
    if A2 <= 0.0:
        return np.inf, 1.0
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
    below = 3.0 * q + 2.0 * (1.0 - g)
    c1, c2, c3 = g / below, (q - g) / below, (q + 2.0 - g) / below
    mean = 1.0 / (1.0 - A2 / q) if A2 < q else np.inf
    one, two = 1.0 - c2 * B, 1.0 - c3 * B
    # the ratio of two numbers that both vanish goes to one
    one = 0.0 if abs(one) < 1e-10 else one
    variance = 2.0 / q * (1.0 + c1 * B) / (one**2 * two) if one != 0.0 and two != 0.0 else np.inf
    if not np.isfinite(mean) or not np.isfinite(variance):
        ratio = ((1.0 - A2 / q) / one) ** 2 / two * (1.0 + c1 * B) / q if one != 0.0 and two != 0.0 else 1.0 / q
    else:
        ratio = variance / (2.0 * mean**2)
    if q * ratio - 1.0 == 0.0:
        return np.inf, 1.0
    df = 4.0 + (q + 2.0) / (q * ratio - 1.0)
    scale = df / (mean * (df - 2.0)) if np.isfinite(mean) and df != 2.0 else 1.0
    return float(df), float(scale)
