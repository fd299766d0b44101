"""Degrees of freedom of the between-within method, which count samples and not cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .._arrays import BoolArray, FloatArray, IntArray
from .random import ReTerm


def residual_df(L: npt.ArrayLike, fixed_X: FloatArray, random: Sequence[ReTerm]) -> float:
    """Compute the residual degrees of freedom of a contrast.

    Every column of X in the contrast belongs to a stratum. This is the coarsest grouping factor within whose levels the
    column is constant. The levels of the stratum are counted as observations: ``df = n_levels - rank``. The rank is
    that of a matrix with three kinds of columns: the intercept, all columns of X that are constant within the levels,
    and the levels of every coarser grouping factor that contains the stratum and within which the column varies. A
    column that varies within every grouping factor (a covariate of cells) has the number of levels of the finest factor
    minus one. The contrast has the smallest value of its columns.

    Parameters
    ----------
    L
        (q, p) or (p,) contrast matrix.
    fixed_X
        (n_obs, p) fixed-effects matrix.
    random
        The random-effects terms; if there are none, rows are counted.

    Returns
    -------
    The degrees of freedom; 0.0 if a column of the contrast is confounded with a grouping factor.
    """
    L = np.atleast_2d(np.asarray(L, dtype=np.float64))
    groups = _distinct(random)
    if not groups:
        return float(fixed_X.shape[0] - np.linalg.matrix_rank(fixed_X))
    constant = [_constant_within(fixed_X, codes, n) for codes, n in groups]
    everywhere = np.ptp(fixed_X, axis=0) == 0.0
    used = np.flatnonzero((L != 0.0).any(axis=0))
    # the intercept counts only if nothing else is tested
    tested = [j for j in used if not everywhere[j]] or list(used)
    if not tested:
        return 0.0
    return min(_column_df(j, fixed_X, groups, constant) for j in map(int, tested))


def _distinct(random: Sequence[ReTerm]) -> list[tuple[IntArray, int]]:
    """Return each grouping factor once, the coarsest first."""
    factors = {term.group: (term.codes, len(term.levels)) for term in random}
    return sorted(factors.values(), key=lambda factor: factor[1])


def _column_df(j: int, X: FloatArray, groups: list[tuple[IntArray, int]], constant: list[BoolArray]) -> float:
    stratum = next((i for i, mask in enumerate(constant) if mask[j]), None)
    if stratum is None:
        return float(groups[-1][1] - 1)
    codes, n_levels = groups[stratum]
    table = _level_table(X[:, constant[stratum]], codes, n_levels)
    blocks = [np.ones((n_levels, 1)), table]
    for i, (outer, n_outer) in enumerate(groups):
        if i != stratum and not constant[i][j]:
            outer_column = outer.astype(np.float64)[:, None]
            if _constant_within(outer_column, codes, n_levels)[0]:
                of_level = _level_table(outer_column, codes, n_levels)[:, 0].astype(np.int64)
                blocks.append(np.eye(n_outer)[of_level])
    matrix = np.hstack(blocks)
    length = np.linalg.norm(matrix, axis=0)
    rank = np.linalg.matrix_rank(matrix / np.where(length > 0, length, 1.0))
    return max(float(n_levels - rank), 0.0)


def _level_table(columns: FloatArray, codes: IntArray, n_levels: int) -> FloatArray:
    """Return the value of each column at the first row of each level."""
    first = np.empty(n_levels, dtype=np.int64)
    first[codes[::-1]] = np.arange(codes.size)[::-1]
    return columns[first]


def _constant_within(columns: FloatArray, codes: IntArray, n_levels: int) -> BoolArray:
    """Return for each column whether it is constant within every level (up to rounding)."""
    spread = np.abs(columns - _level_table(columns, codes, n_levels)[codes]).max(axis=0, initial=0.0)
    constant: BoolArray = spread <= 1e-10 * np.abs(columns).max(axis=0, initial=0.0)
    return constant
