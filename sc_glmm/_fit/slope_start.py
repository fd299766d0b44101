"""Compute where the search starts for genes whose slopes are too steep for nodes around zero.

Every base row has a level of its own, and random effects are ignored. The first slopes are those of Poisson counts:
given the total of a base row, the counts of its cells are multinomial with probabilities proportional to
``exp(offset + v' slope)``. This likelihood is concave. A few cells with large counts can dominate it, so the dispersion
is then estimated from the residuals, and the slopes of negative binomial counts follow by Fisher scoring.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress.centred import CentredRows
from .._compress.recentre import CountLists

_MAX_STEPS = 50
# Largest change of a cell's predictor in one step.
_STEP_MAX = 3.0
_CLOSE = 1e-3
_RIDGE = 1e-8
# Rounds of dispersion and slopes, steps in each, and the smallest dispersion.
_ROUNDS, _STEPS, _LEAST_PHI = 2, 4, 1e-3


class SteepStart(NamedTuple):
    """Where the search starts.

    Attributes
    ----------
    beta
        ``(n_genes, p)`` coefficients: those of the columns that vary within base rows, and a common level.
    log_phi
        ``(n_genes,)`` log dispersions.
    slopes
        ``(n_genes, n_base, n_variables)`` slopes of the predictors.
    """

    beta: FloatArray
    log_phi: FloatArray
    slopes: FloatArray


def start_steep(rows: CentredRows, X: FloatArray, one: FloatArray, lists: CountLists, dispersed: bool) -> SteepStart:
    """Estimate where the search starts, from fixed effects ``X (n_rows, p)``.

    Parameters
    ----------
    rows, X
        The rows, and the fixed effects at them.
    one
        ``(p,)`` the coefficients whose predictor is nearest to one everywhere.
    lists
        Counts of the genes.
    dispersed
        Whether the family has a dispersion.
    """
    cells = rows.cells
    sizes, first = np.diff(cells.ptr), cells.ptr[:-1]
    columns = rows.at_cells(X)
    # columns minus their means over a base row; columns that do not vary within base rows are dropped
    x = columns - np.repeat(np.add.reduceat(columns, first) / sizes[:, None], sizes, axis=0)
    scale = np.sqrt(np.mean(x**2, axis=0))
    varies = scale > 1e-9 * np.maximum(np.abs(X).max(axis=0), 1e-300)
    x = x[:, varies] / scale[varies]
    n_genes = len(lists.first)
    beta, log_phi = np.zeros((n_genes, X.shape[1])), np.zeros(n_genes)
    for gene in range(n_genes):
        cell, count = lists.of(gene)
        y = np.zeros(len(x))
        y[cell] = count
        own = _conditional(x, y, cells.offset, sizes, first)
        if dispersed:
            own, log_phi[gene] = _dispersed(own, x, y, cells.offset, sizes, first)
        beta[gene, varies] = own / scale[varies]
        t = cells.offset + columns @ beta[gene]
        beta[gene] += one * (np.log(max(y.sum(), 0.5)) - np.logaddexp.reduce(t))
    return SteepStart(beta, log_phi, np.ascontiguousarray(rows.slopes_of(beta @ X.T)))


def _conditional(x: FloatArray, y: FloatArray, offset: FloatArray, sizes: IntArray, first: IntArray) -> FloatArray:
    """Maximise the multinomial likelihood of one gene by Newton's method."""
    beta, total = np.zeros(x.shape[1]), np.add.reduceat(y, first)
    for _ in range(_MAX_STEPS):
        mu = _shares(offset + x @ beta, sizes, first) * np.repeat(total, sizes)
        step, largest = _step(x, y - mu, mu, sizes, first)
        beta = beta + step
        if largest < _CLOSE:
            break
    return beta


def _shares(t: FloatArray, sizes: IntArray, first: IntArray) -> FloatArray:
    """Compute ``exp(t)`` divided by its sum over the base row."""
    p = np.exp(t - np.repeat(np.maximum.reduceat(t, first), sizes))
    return np.asarray(p / np.repeat(np.add.reduceat(p, first), sizes))


def _step(
    x: FloatArray, score: FloatArray, weight: FloatArray, sizes: IntArray, first: IntArray
) -> tuple[FloatArray, float]:
    """Compute the step of the slopes, with the levels of the base rows eliminated, and the largest change of a cell."""
    sums = np.maximum(np.add.reduceat(weight, first), 1e-300)
    mean = np.add.reduceat(weight[:, None] * x, first) / sums[:, None]
    hessian = (x * weight[:, None]).T @ x - (mean * sums[:, None]).T @ mean
    hessian[np.diag_indices_from(hessian)] += _RIDGE * (1.0 + np.trace(hessian))
    step = np.linalg.solve(hessian, x.T @ score - np.add.reduceat(score, first) @ mean)
    largest = float(np.abs(x @ step).max(initial=0.0))
    return np.asarray(step * min(1.0, _STEP_MAX / max(largest, 1e-300))), largest


def _dispersed(
    beta: FloatArray, x: FloatArray, y: FloatArray, offset: FloatArray, sizes: IntArray, first: IntArray
) -> tuple[FloatArray, float]:
    """Improve slopes for negative binomial counts; also return the log dispersion."""
    total = np.add.reduceat(y, first)
    phi = _LEAST_PHI
    for _ in range(_ROUNDS):
        mu = _shares(offset + x @ beta, sizes, first) * np.repeat(total, sizes)
        phi = max(float(np.sum((y - mu) ** 2 - mu) / max(np.sum(mu**2), 1e-300)), _LEAST_PHI)
        for _ in range(_STEPS):
            step, largest = _step(x, (y - mu) / (1.0 + phi * mu), mu / (1.0 + phi * mu), sizes, first)
            beta = beta + step
            mu = _levelled(offset + x @ beta, y, phi, total, sizes, first)
            if largest < _CLOSE:
                break
    return beta, float(np.log(phi))


def _levelled(
    t: FloatArray, y: FloatArray, phi: float, total: FloatArray, sizes: IntArray, first: IntArray
) -> FloatArray:
    """Compute means at the predictors `t` plus the likeliest level of each base row (two steps of scoring)."""
    mu = _shares(t, sizes, first) * np.repeat(total, sizes)
    for _ in range(2):
        score, weight = (y - mu) / (1.0 + phi * mu), mu / (1.0 + phi * mu)
        move = np.add.reduceat(score, first) / np.maximum(np.add.reduceat(weight, first), 1e-300)
        mu = mu * np.repeat(np.exp(np.clip(move, -_STEP_MAX, _STEP_MAX)), sizes)
    return mu
