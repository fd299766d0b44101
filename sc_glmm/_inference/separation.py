"""Separation: counts are zero wherever some combination of covariates says so, and its coefficient is infinite.

With log links the likelihood of counts y on rows X has no finite maximum in beta if and only if there is a direction
d with ``X_i d = 0`` for all rows with counts, ``X_i d <= 0`` for all rows without, and not zero for all of them
(Albert and Anderson 1984, for counts: Santos Silva and Tenreyro 2010). In the limit the rows with ``X_i d < 0`` drop
out of the likelihood with the value zero, and what is left can be fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr
from scipy.optimize import linprog

from .._arrays import BoolArray, FloatArray

_TOL = 1e-9
# Ten times what the linear programme allows a row that stays.
_MOVES = 1e-6


@dataclass(frozen=True)
class Separation:
    """How a set of rows with counts separates.

    Attributes
    ----------
    directions
        ``(p, m)`` basis of the directions in which beta is not determined by the rows with counts.
    rows
        ``(n_rows,)`` rows that stay in the likelihood.
    columns
        Columns of X that are enough on these rows.
    """

    directions: FloatArray
    rows: BoolArray
    columns: tuple[int, ...]

    def touches(self, L: FloatArray) -> bool:
        """Whether the contrast ``L beta`` is infinite or undetermined."""
        return bool(np.abs(L @ self.directions).max(initial=0.0) > _TOL)


def find_deficient(X: FloatArray, positive: BoolArray) -> BoolArray:
    """``(n_genes,)``: whether X loses rank on the rows with counts, which separation needs.

    Parameters
    ----------
    X
        ``(n_rows, p)`` of full rank, columns of about unit scale.
    positive
        ``(n_genes, n_rows)`` whether a row has any count.
    """
    p = X.shape[1]
    deficient = np.zeros(len(positive), dtype=bool)
    some = ~positive.all(axis=1)
    patterns, inverse = np.unique(positive[some], axis=0, return_inverse=True)
    if len(patterns) == 0 or p == 0:
        return deficient
    grams = np.einsum("gr,ri,rj->gij", patterns.astype(np.float64), X, X, optimize=True)
    smallest = np.linalg.eigvalsh(grams)[:, 0]
    deficient[some] = (smallest <= _TOL * np.trace(X.T @ X))[inverse.reshape(-1)]
    return deficient


def separate(X: FloatArray, positive: BoolArray) -> Separation | None:
    """Look at one gene: `positive` ``(n_rows,)`` says which rows have counts. None if its maximum is finite."""
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
        # rows without counts that stay determine some of these directions
        directions = _null_space(X[rows], size)
    _, r, pivot = qr(X[rows], mode="economic", pivoting=True)
    pivots = np.abs(np.diag(r))
    kept = int(np.sum(pivots > _TOL * max(1.0, float(pivots.max(initial=0.0)))))
    return Separation(directions, rows, tuple(sorted(int(j) for j in pivot[:kept])))


def _null_space(X: FloatArray, size: float) -> FloatArray:
    """``(p, m)`` orthonormal basis of the directions that no row of `X` sees; `size` is the norm of the whole."""
    small = np.linalg.qr(X, mode="r") if len(X) > X.shape[1] else X
    _, s, vt = np.linalg.svd(small, full_matrices=True)
    rank = int(np.sum(s > _TOL * max(1.0, size)))
    return np.ascontiguousarray(vt[rank:].T)


def _recede(Q: FloatArray) -> BoolArray:
    """Rows that some w with ``Q w <= 0`` makes negative."""
    n, m = Q.shape
    if m == 1:
        q = Q[:, 0]
        if (q <= _TOL).all() or (q >= -_TOL).all():
            return np.abs(q) > _TOL
        return np.zeros(n, dtype=bool)
    # Each w of the programme makes rows negative that no other did; their sum makes all of them so.
    length = np.maximum(np.abs(Q).max(axis=1), 1e-300)
    seen = length > _TOL
    unit = Q[seen] / length[seen, None]
    moves = np.zeros(n, dtype=bool)
    place = np.flatnonzero(seen)
    while not moves[place].all():
        still = ~moves[place]
        solution = linprog(
            unit[still].sum(axis=0), A_ub=unit, b_ub=np.zeros(len(unit)), bounds=[(-1.0, 1.0)] * m, method="highs"
        )
        new = still & (unit @ solution.x < -_MOVES) if solution.x is not None else np.zeros(len(unit), dtype=bool)
        if not new.any():
            break
        moves[place[new]] = True
    return moves
