"""Compute the information of the counts on the effects of samples, and the correlation between genes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import eigvalsh

from .._arrays import FloatArray
from .._design import finest
from .._engine.rowwise import rowwise
from .genes import AllFits, GeneModel

# Number of genes per block, which limits the memory for the predictors of all nodes.
_STEP = 256
# Fewer genes are too few to estimate a correlation.
_MIN_GENES = 10
# Smaller variances count as zero: such a gene has no effects of samples to compare.
_MIN_VARIANCE = 1e-6


def level_information(
    model: GeneModel, result: AllFits, log_phi: FloatArray, place: int
) -> Iterator[tuple[slice, FloatArray]]:
    """Compute the information on the effects of the levels of a factor, ``sum mu / (1 + phi mu)``, in blocks of genes.

    Parameters
    ----------
    model
        The model; its statistics are not used.
    result
        Fits of all genes.
    log_phi
        ``(n_genes,)`` log dispersions.
    place
        Index of the block of random effects.

    Yields
    ------
    The genes of the block, and their information ``(n_block, n_levels)``.
    """
    block = model.structure.blocks[place]
    nodes, rows = model.nodes, model.rows
    phi = np.exp(log_phi) if model.family.has_dispersion else np.zeros(len(log_phi))
    row_of_node = np.repeat(np.arange(len(rows.X)), np.diff(nodes.ptr))
    for start in range(0, len(phi), _STEP):
        part = slice(start, start + _STEP)
        b = np.nan_to_num(result.fits.ranef[place][part])[:, block.codes, :]
        eta = rowwise(np.nan_to_num(result.fits.beta[part]), rows.X.T) + np.einsum("grk,rk->gr", b, block.Z)
        mu = np.exp(np.clip(eta, -50.0, 50.0))[:, row_of_node] * nodes.ec
        per_node = nodes.weight * mu / (1.0 + phi[part, None] * mu)
        per_row = np.add.reduceat(per_node, nodes.ptr[:-1], axis=1)
        per_level = np.zeros((len(per_row), block.n_levels))
        np.add.at(per_level.T, block.codes, per_row.T)
        yield part, per_level


def median_information(model: GeneModel, result: AllFits, log_phi: FloatArray) -> FloatArray:
    """Compute the median of :func:`level_information` over the levels of the first factor, ``(n_genes,)``."""
    out = np.empty(len(log_phi))
    for part, per_level in level_information(model, result, log_phi, 0):
        out[part] = np.median(per_level, axis=1)
    return out


def eigen_ratio(model: GeneModel, result: AllFits, log_phi: FloatArray) -> float:
    """Compute the largest eigenvalue, divided by the median one, of the covariance of residuals between samples.

    The residuals of a gene are whitened first. The estimate of the effect of sample s from its own counts has the
    variance ``s2 + v_s``, with v_s the inverse information. Residuals of weighted least squares are divided by the root
    of this variance, and the fixed effects are projected out. If genes are independent, the covariance over genes is
    then close to the unit matrix for any numbers of cells, and the ratio is about 1. Genes with a common programme
    increase the ratio.

    Parameters
    ----------
    model
        The model; its statistics are not used.
    result
        Fits of all genes.
    log_phi
        ``(n_genes,)`` their dispersions.

    Returns
    -------
    NaN with fewer than 10 genes that vary between samples, or fewer than 2 degrees of freedom. With fewer genes than
    degrees of freedom the covariance is singular; the median is then that of the eigenvalues that are not zero.
    """
    place = finest(model.groupings)
    block = model.structure.blocks[place]
    # the rows that represent the cells of a base row count as one row
    of_base = np.bincount(model.rows.base, model.rows.n_cells)
    weight = model.rows.n_cells / of_base[model.rows.base]
    n_rows = np.bincount(block.codes, weight, minlength=block.n_levels)[:, None]
    # columns as scaled by the engine, which do not depend on the units of covariates
    columns = model.structure.arrow.XZ[:, model.structure.arrow.XZ.shape[1] - model.rows.X.shape[1] :]
    X = np.zeros((block.n_levels, columns.shape[1]))
    np.add.at(X, block.codes, columns * weight[:, None])
    left, size, _ = np.linalg.svd(X / np.where(n_rows > 0.0, n_rows, 1.0))
    rank = int(np.sum(size > 1e-6 * size.max(initial=0.0)))
    X, C = left[:, :rank], left[:, rank:]
    if C.shape[1] < 2:
        return float("nan")
    total, n_genes = np.zeros((C.shape[1], C.shape[1])), 0
    for part, information in level_information(model, result, log_phi, place):
        s2 = result.fits.Lambda[place][part][:, 0, 0] ** 2
        modes = result.fits.ranef[place][part][:, :, 0]
        good = (s2 > _MIN_VARIANCE) & np.isfinite(modes).all(axis=1)
        s2, modes, v = s2[good, None], modes[good], 1.0 / np.maximum(information[good], 1e-8)
        precision = 1.0 / (s2 + v)
        alone = modes / (s2 * precision)
        fixed = np.linalg.solve(
            np.einsum("sp,gs,sq->gpq", X, precision, X, optimize=True), ((alone * precision) @ X)[:, :, None]
        )
        white = (np.sqrt(precision) * (alone - fixed[:, :, 0] @ X.T)) @ C
        length = np.sqrt(np.mean(white**2, axis=1, keepdims=True))
        white = white / np.where(length > 0.0, length, 1.0)
        total += white.T @ white
        n_genes += len(white)
    if n_genes < _MIN_GENES:
        return float("nan")
    # numpy's routine takes 40 times as long for a singular matrix of many samples
    eigenvalues = eigvalsh(total)[-min(n_genes, len(total)) :]
    return float(eigenvalues[-1] / np.median(eigenvalues))
