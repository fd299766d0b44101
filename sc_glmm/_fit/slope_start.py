"""Compute starting slopes for genes whose slopes are too steep for nodes around zero, as if counts were Poisson.

Given the total of a base row, the Poisson counts of its cells are multinomial with probabilities proportional to
``exp(offset + v' slope)``, for any levels of the random effects. This likelihood is concave, and it does not contain
the random effects.
"""

from __future__ import annotations

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress.centred import CentredRows
from .._compress.recentre import CountLists

_MAX_STEPS = 50
# Largest change of a cell's predictor in one step.
_STEP_MAX = 3.0
_CLOSE = 1e-3
_RIDGE = 1e-8


def start_slopes(rows: CentredRows, X: FloatArray, lists: CountLists) -> FloatArray:
    """Estimate the ``(n_genes, n_base, n_variables)`` slopes of the fixed effects ``X (n_rows, p)``."""
    cells = rows.cells
    sizes, first = np.diff(cells.ptr), cells.ptr[:-1]
    x = rows.at_cells(X)
    # columns minus their means over a base row; columns that do not vary within base rows are dropped
    x = x - np.repeat(np.add.reduceat(x, first) / sizes[:, None], sizes, axis=0)
    scale = np.sqrt(np.mean(x**2, axis=0))
    varies = scale > 1e-9 * np.maximum(np.abs(X).max(axis=0), 1e-300)
    x = x[:, varies] / scale[varies]
    out = np.zeros((len(lists.ptr) - 1, X.shape[1]))
    for gene in range(len(out)):
        entries = slice(*lists.ptr[gene : gene + 2])
        y = np.zeros(len(x))
        y[lists.cell[entries]] = lists.value[entries]
        out[gene, varies] = _conditional(x, y, cells.offset, sizes, first) / scale[varies]
    return np.ascontiguousarray(rows.slopes_of(out @ X.T))


def _conditional(x: FloatArray, y: FloatArray, offset: FloatArray, sizes: IntArray, first: IntArray) -> FloatArray:
    """Maximise the multinomial likelihood of one gene by Newton's method."""
    beta, total = np.zeros(x.shape[1]), np.add.reduceat(y, first)
    for _ in range(_MAX_STEPS):
        t = offset + x @ beta
        p = np.exp(t - np.repeat(np.maximum.reduceat(t, first), sizes))
        mu = p * np.repeat(total / np.add.reduceat(p, first), sizes)
        mean = np.add.reduceat(mu[:, None] * x, first) / np.maximum(total, 1e-300)[:, None]
        hessian = (x * mu[:, None]).T @ x - (mean * total[:, None]).T @ mean
        hessian[np.diag_indices_from(hessian)] += _RIDGE * (1.0 + np.trace(hessian))
        step = np.linalg.solve(hessian, x.T @ (y - mu))
        largest = float(np.abs(x @ step).max(initial=0.0))
        beta = beta + step * min(1.0, _STEP_MAX / max(largest, 1e-300))
        if largest < _CLOSE:
            break
    return beta
