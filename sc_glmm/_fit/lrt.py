"""Compute likelihood-ratio statistics of all genes, by maximum likelihood with and without the null hypothesis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import null_space

from .._arrays import FloatArray
from .._engine.gaussian.problem import constant_direction
from .._engine.genes import build_structure
from .._inference.ddf import orthonormal_rows
from .gaussian import about_zero
from .genes import AllFits, GeneModel, fit_all


def constrain(model: GeneModel, L: FloatArray) -> GeneModel:
    """Constrain a model to ``L beta = 0``, with fewer columns in X."""
    X = np.ascontiguousarray(model.rows.X @ null_space(L))
    structure = build_structure(X, model.structure.blocks, np.maximum(model.rows.n_cells, 1e-3))
    return replace(model, structure=structure, rows=replace(model.rows, X=X))


def likelihood_ratios(model: GeneModel, result: AllFits, L: FloatArray, *, n_jobs: int = 1) -> FloatArray:
    """Compute ``(n_genes,)`` likelihood ratios, twice the gain in log likelihood over the model with ``L beta = 0``.

    Both models have their own estimates of the variances. The REML criterion cannot compare fixed effects, so a REML
    model is fitted again by maximum likelihood.
    """
    free = replace(model, reml=False) if model.reml else model
    out = result.left_out
    if not model.family.counts and _needs_zero(model, L):
        free = about_zero(free)
    full = fit_all(free, n_jobs=n_jobs, left_out=out).fits.loglik if free is not model else result.fits.loglik
    null = constrain(free, L)
    return np.maximum(2.0 * (full - fit_all(null, n_jobs=n_jobs, left_out=out).fits.loglik), 0.0)


def _needs_zero(model: GeneModel, L: FloatArray) -> bool:
    """Check whether ``L beta = 0`` fixes the level of the response, so that the response may not be centred."""
    constant = constant_direction(model.design.fixed.X)
    if constant is None:
        return False
    rows = orthonormal_rows(L, model.structure.scaling.R) if len(L) else L
    size = float(np.abs(model.structure.scaling.R @ constant).max())
    return bool(np.abs(rows @ constant).max(initial=0.0) > 1e-9 * size)
