"""Algebra of small dense matrices in loops, without exceptions or allocation."""

from __future__ import annotations

import math

from sc_glmm._families.jit import kernel


@kernel
def solve_spd(H, g, free, L, x):
    """Solve H x = g over the free coordinates, x zero elsewhere. Returns whether H is positive definite there."""
    n = H.shape[0]
    for i in range(n):
        x[i] = 0.0
        for j in range(i + 1):
            # a coordinate that is not free is a row of the unit matrix
            s = H[i, j] if free[i] and free[j] else (1.0 if i == j else 0.0)
            for r in range(j):
                s -= L[i, r] * L[j, r]
            if i != j:
                L[i, j] = s / L[j, j]
            elif s > 1e-12 * abs(H[i, i]) and s > 1e-200:
                L[i, i] = s**0.5
            else:
                return False
    for i in range(n):
        s = g[i] if free[i] else 0.0
        for r in range(i):
            s -= L[i, r] * x[r]
        x[i] = s / L[i, i]
    for i in range(n - 1, -1, -1):
        s = x[i]
        for r in range(i + 1, n):
            s -= L[r, i] * x[r]
        x[i] = s / L[i, i]
    return True


@kernel
def saddle_free(H, g, free, D, V, x):
    """``x = V |D|^-1 V' g`` over the free coordinates, with ``H = V D V'`` by cyclic Jacobi rotations.

    A step of minus x leads away from a saddle, unlike Newton's step. `D` and `V` are work space.
    """
    n = H.shape[0]
    for i in range(n):
        for j in range(n):
            D[i, j] = H[i, j] if free[i] and free[j] else 0.0
            V[i, j] = 1.0 if i == j else 0.0
    for _ in range(30):
        off = 0.0
        for i in range(n):
            for j in range(i):
                off = max(off, abs(D[i, j]))
        if off < 1e-14:
            break
        for i in range(n):
            for j in range(i):
                if D[i, j] == 0.0:
                    continue
                tau = (D[i, i] - D[j, j]) / (2.0 * D[i, j])
                t = (1.0 if tau >= 0.0 else -1.0) / (abs(tau) + (1.0 + tau * tau) ** 0.5)
                c = 1.0 / (1.0 + t * t) ** 0.5
                s = t * c
                for r in range(n):
                    left = D[r, i]
                    right = D[r, j]
                    D[r, i] = c * left + s * right
                    D[r, j] = c * right - s * left
                for r in range(n):
                    left = D[i, r]
                    right = D[j, r]
                    D[i, r] = c * left + s * right
                    D[j, r] = c * right - s * left
                    left = V[r, i]
                    right = V[r, j]
                    V[r, i] = c * left + s * right
                    V[r, j] = c * right - s * left
    top = 1e-300
    for i in range(n):
        top = max(top, abs(D[i, i]))
        x[i] = 0.0
    for i in range(n):
        t = 0.0
        for j in range(n):
            t += V[j, i] * g[j]
        t /= max(abs(D[i, i]), 1e-8 * top)
        for j in range(n):
            if free[j]:
                x[j] += V[j, i] * t


@kernel
def log_det(M, first, L):
    """Log det of ``M[first:, first:]``, -1e300 if it is not positive definite; `L` is work space."""
    n = M.shape[0]
    out = 0.0
    for i in range(first, n):
        for j in range(first, i + 1):
            s = M[i, j]
            for r in range(first, j):
                s -= L[i, r] * L[j, r]
            if i == j:
                if not s > 0.0:
                    return -1e300
                L[i, i] = math.sqrt(s)
                out += math.log(s)
            else:
                L[i, j] = s / L[j, j]
    return out
