"""Find separated genes: a combination of covariates predicts zero counts, and its coefficient is infinite.

With a log link, the likelihood of counts y on rows X has no finite maximum in beta if and only if there is a direction
d with ``X_i d = 0`` for all rows with counts, and ``X_i d <= 0`` for all rows without counts but not zero for all of
them (Albert and Anderson 1984; for counts, Santos Silva and Tenreyro 2010). In the limit, the log likelihood of the
rows with ``X_i d < 0`` is zero. These rows drop out, and the model can be fitted to the other rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr
from scipy.optimize import linprog

from .._arrays import BoolArray, FloatArray

_TOL = 1e-9
# A row counts as separated if it is this far below zero: ten times the tolerance of the linear programme.
_MOVES = 1e-6


@dataclass(frozen=True)
class Separation:
    """Separation of one gene, and the rows and columns that can still be fitted.

    Attributes
    ----------
    directions
        ``(p, m)`` basis of the directions in which the rows that remain do not determine beta.
    rows
        ``(n_rows,)`` whether a row remains in the likelihood.
    columns
        Columns of X with full rank on these rows.
    """

    directions: FloatArray
    rows: BoolArray
    columns: tuple[int, ...]

    def touches(self, L: FloatArray) -> bool:
        """Check whether the contrast ``L beta`` is infinite or undetermined."""
        return bool(np.abs(L @ self.directions).max(initial=0.0) > _TOL)


def find_deficient(X: FloatArray, positive: BoolArray) -> BoolArray:
    """Find genes for which X loses rank on the rows with counts, a necessary condition for separation: ``(n_genes,)``.

    Parameters
    ----------
    X
        ``(n_rows, p)`` design of full rank, with columns of about unit scale.
    positive
        ``(n_genes, n_rows)`` whether a row has any count.
    """
    p = X.shape[1]
    deficient = np.zeros(len(positive), dtype=bool)
    incomplete = ~positive.all(axis=1)
    patterns, inverse = np.unique(positive[incomplete], axis=0, return_inverse=True)
    if len(patterns) == 0 or p == 0:
        return deficient
    grams = np.einsum("gr,ri,rj->gij", patterns.astype(np.float64), X, X, optimize=True)
    smallest = np.linalg.eigvalsh(grams)[:, 0]
    deficient[incomplete] = (smallest <= _TOL * np.trace(X.T @ X))[inverse.reshape(-1)]
    return deficient


def separate(X: FloatArray, positive: BoolArray) -> Separation | None:
    """Find the separation of one gene from ``positive (n_rows,)``, whether a row has counts; None if it has none."""
    size = float(np.linalg.norm(X, 2))
    directions = _null_space(X[positive], size)
    if directions.shape[1] == 0:
        return None
    zero = np.flatnonzero(~positive)
    Q = X[zero] @ directions
    moves = _recede(Q)
    if not moves.any():
        return None
    rows = np.ones(len(X), dtype=bool)
    rows[zero[moves]] = False
    if not moves.all():
        # the rows without counts that remain determine some of these directions
        directions = _null_space(X[rows], size)
    _, r, pivot = qr(X[rows], mode="economic", pivoting=True)
    pivots = np.abs(np.diag(r))
    rank = int(np.sum(pivots > _TOL * max(1.0, float(pivots.max(initial=0.0)))))
    return Separation(directions, rows, tuple(sorted(int(j) for j in pivot[:rank])))


def _null_space(X: FloatArray, size: float) -> FloatArray:
    """Compute an orthonormal basis ``(p, m)`` of the null space of `X`; `size` is the norm of the whole design."""
    small = np.linalg.qr(X, mode="r") if len(X) > X.shape[1] else X
    _, s, vt = np.linalg.svd(small, full_matrices=True)
    rank = int(np.sum(s > _TOL * max(1.0, size)))
    return np.ascontiguousarray(vt[rank:].T)


def _recede(Q: FloatArray) -> BoolArray:
    """Find the rows of Q that are negative for some w with ``Q w <= 0``."""
    n, m = Q.shape
    if m == 1:
        q = Q[:, 0]
        if (q <= _TOL).all() or (q >= -_TOL).all():
            return np.abs(q) > _TOL
        return np.zeros(n, dtype=bool)
    # Each solution w makes new rows negative. The sum of all solutions makes all these rows negative.
    length = np.maximum(np.abs(Q).max(axis=1), 1e-300)
    candidates = np.flatnonzero(length > _TOL)
    unit = Q[candidates] / length[candidates, None]
    moves = np.zeros(n, dtype=bool)
    while not moves[candidates].all():
        remaining = ~moves[candidates]
        solution = linprog(
            unit[remaining].sum(axis=0), A_ub=unit, b_ub=np.zeros(len(unit)), bounds=[(-1.0, 1.0)] * m, method="highs"
        )
        new = remaining & (unit @ solution.x < -_MOVES) if solution.x is not None else np.zeros(len(unit), dtype=bool)
        if not new.any():
            break
        moves[candidates[new]] = True
    return moves
