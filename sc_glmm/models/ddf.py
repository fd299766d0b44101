"""Kenward and Roger's degrees of freedom of a fitted Gaussian model: the matrices that the formulas need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._engine.lmm import LmmProblem
from .._engine.lmm_fit import one_blas_thread
from .._errors import InputError
from .._inference.ddf import Component, KenwardRogerParts
from .._inference.ddf import kenward_roger_parts as parts_from_arrays
from .fitted import MixedFit

FloatArray = NDArray[np.float64]

# Kenward-Roger needs dense matrices of this many random effects squared.
MAX_RANDOM = 12_000


def kenward_roger_parts(fit: MixedFit, problem: LmmProblem) -> KenwardRogerParts:
    """The adjusted covariance of beta, from dense products of the random effects."""
    if not fit.reml:
        raise InputError(
            "Kenward and Roger's adjustment is for REML fits, and this one is by ML: fit it with reml=True, or use "
            "ddf='satterthwaite'"
        )
    prepared, sizes = fit.prepared, [block.size for block in fit.modes]
    q = sum(sizes)
    if q > MAX_RANDOM:
        raise InputError(
            f"Kenward-Roger would need several dense {q} x {q} matrices; use ddf='satterthwaite', which agrees closely "
            f"where there are so many levels (at most {MAX_RANDOM} random effects)"
        )
    first = np.concatenate([[0], np.cumsum(sizes)])
    n_rows = len(prepared.X)
    Z = np.zeros((n_rows, q))
    lam = np.zeros((q, q))
    components = []
    for block, start, grouping, L in zip(prepared.blocks, first, prepared.groupings, fit.Lambda, strict=False):
        k = block.Z.shape[1]
        levels = np.arange(block.n_levels)
        Z[np.arange(n_rows)[:, None], start + block.codes[:, None] * k + np.arange(k)] = block.Z
        own = start + levels[:, None] * k + np.arange(k)
        lam[own[:, :, None], own[:, None, :]] = L / fit.sigma
        column = 0
        for size in grouping.terms:
            for c in range(column, column + size):
                components += [Component(own[:, r], own[:, c]) for r in range(c, column + size)]
            column += size
    w = problem.weight[:, None]
    with one_blas_thread():
        ZZ, ZX, XX = Z.T @ (w * Z), Z.T @ (w * prepared.X), prepared.X.T @ (w * prepared.X)
        M = lam.T @ ZZ @ lam + np.eye(q)
        T = lam @ np.linalg.solve(M, lam.T)
        return parts_from_arrays(ZZ, ZX, XX, T, fit.nobs, fit.sigma**2, components)
