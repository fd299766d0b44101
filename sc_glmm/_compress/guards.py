"""Cheap look at a matrix before it is taken for counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from .arrays import AnyArray
from .kernels import TOO_LARGE
from .matrix import Matrix

BLOCK = 1 << 18
# Cells looked at, and how closely their totals must agree, to recognise a normalised matrix.
PROBE_CELLS = 200
PROBE_TOLERANCE = 0.01
# log1p(1e6) is 13.8: no log-transformed single-cell value is larger than this.
LOG_MAX = 16.0


def count_problem(matrix: Matrix) -> str | None:
    """Say why a matrix cannot hold raw counts, or None if it can.

    Scans the stored values in blocks and stops at the first that is negative, not finite or not whole.

    Parameters
    ----------
    matrix
        Sparse or dense, cells x genes.

    Returns
    -------
    A clause to follow the name of the matrix, such as "holds 1.386 (row 0, column 12), which is not a whole number; it
    looks log-normalised: exp(x) - 1 adds up to 10000 in every cell".
    """
    if sp.issparse(matrix) and matrix.format not in ("csr", "csc"):
        matrix = matrix.tocsr()
    if matrix.dtype.kind in "bu":
        return None
    for first, block in _blocks(matrix):
        good = (block >= 0) & (block < TOO_LARGE)
        if block.dtype.kind == "f":
            good &= block == np.floor(block)
        if not good.all():
            place = first + int(np.argmin(good))
            return _describe(matrix, float(block[place - first]), place)
    return None


def _blocks(matrix: Matrix) -> Iterator[tuple[int, AnyArray]]:
    """Stored values, a bounded number at a time, and the place of the first; a dense matrix row after row."""
    if sp.issparse(matrix):
        for first in range(0, len(matrix.data), BLOCK):
            yield first, matrix.data[first : first + BLOCK]
        return
    n_vars = max(matrix.shape[1], 1)
    step = max(BLOCK // n_vars, 1)
    for row in range(0, matrix.shape[0], step):
        yield row * n_vars, np.asarray(matrix[row : row + step]).reshape(-1)


def _describe(matrix: Matrix, value: float, place: int) -> str:
    row, column = _position(matrix, place)
    if not np.isfinite(value):
        reason = "which is not finite"
    elif value < 0:
        reason = "which is negative"
    elif value >= TOO_LARGE:
        reason = "which is too large for a count"
    else:
        reason = "which is not a whole number" + _normalisation(matrix)
    return f"holds {value:.6g} (row {row}, column {column}), {reason}"


def _position(matrix: Matrix, place: int) -> tuple[int, int]:
    if not sp.issparse(matrix):
        return divmod(place, matrix.shape[1])
    major = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
    minor = int(matrix.indices[place])
    return (major, minor) if matrix.format == "csr" else (minor, major)


def _normalisation(matrix: Matrix) -> str:
    """Recognise the usual transformations by the totals and the largest value of the first cells."""
    probe = sp.csr_matrix(matrix[:PROBE_CELLS], dtype=np.float64)
    if not np.isfinite(probe.data).all() or probe.data.min(initial=0.0) < 0:
        return ""
    largest = probe.data.max(initial=0.0)
    if largest < LOG_MAX:
        total = _common_total(probe.expm1())
        if total is not None:
            return f"; it looks log-normalised: exp(x) - 1 adds up to {total:.6g} in every cell"
        return f"; it looks log-transformed: the largest value in the first cells is {largest:.4g}"
    total = _common_total(probe)
    return "" if total is None else f"; it looks normalised: the values add up to {total:.6g} in every cell"


def _common_total(values: sp.csr_matrix) -> float | None:
    """Total of the non-empty cells, if they all have about the same."""
    totals = np.asarray(values.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    middle = float(np.median(totals)) if len(totals) > 1 else 0.0
    return middle if middle > 0 and np.abs(totals / middle - 1).max() < PROBE_TOLERANCE else None
