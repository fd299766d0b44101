"""Quick checks that a matrix contains counts."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .._arrays import AnyArray
from .kernels import TOO_LARGE, Stored, scan_values
from .matrix import Matrix
from .source import Source, as_source, read_chunk_values

# Number of cells that are checked, and tolerance of their totals, to recognise a normalised matrix.
PROBE_CELLS = 200
PROBE_TOLERANCE = 0.01
# log1p(1e6) is 13.8: no log-transformed single-cell value is larger than this.
LOG_MAX = 16.0


def count_problem(matrix: Matrix | Source, *, probe: bool = False) -> str | None:
    """Describe why a matrix cannot contain raw counts; return None if it can.

    The stored values are checked chunk by chunk, up to the first that is negative, not finite or not a whole number.

    Parameters
    ----------
    matrix
        Sparse or dense, cells x genes, or a source.
    probe
        Whether to check the first chunk only. For matrices on disk: their other values are checked when they are read.

    Returns
    -------
    A clause that follows the name of the matrix, such as "holds 1.386 (row 0, column 12), which is not a whole number;
    it looks log-normalised: exp(x) - 1 adds up to 10000 in every cell".
    """
    source = as_source(matrix)
    spans = source.spans()
    for first, last, values, _ in read_chunk_values(source, spans[:1] if probe else spans):
        problem = problem_of_values(source, first, last, values)
        if problem is not None:
            return problem
    return None


def problem_of_values(source: Source, first: int, last: int, values: AnyArray) -> str | None:
    """Describe the problem as :func:`count_problem`, for the stored values of a chunk that has been read."""
    _, bad = scan_values(values)
    return None if bad < 0 else _describe(source, first, last, bad, float(values[bad]))


def _describe(source: Source, first: int, last: int, place: int, value: float) -> str:
    row, column = _position(source, first, last, place)
    if not np.isfinite(value):
        reason = "which is not finite"
    elif value < 0:
        reason = "which is negative"
    elif value >= TOO_LARGE:
        reason = "which is too large for a count"
    else:
        reason = "which is not a whole number" + _normalisation(source)
    return f"holds {value:.6g} (row {row}, column {column}), {reason}"


def _position(source: Source, first: int, last: int, place: int) -> tuple[int, int]:
    if source.form == "dense":
        row, column = divmod(place, source.shape[1])
        return first + row, column
    stored = source.read(first, last)
    line = first + int(np.searchsorted(stored.indptr, place, side="right")) - 1
    minor = int(stored.indices[place])
    return (line, minor) if source.form == "csr" else (minor, line)


def _first_cells(source: Source) -> sp.csr_matrix:
    """Return the first cells as floating-point numbers; for a CSC matrix, only the first chunk of genes is used."""
    n_cells, n_genes = min(source.shape[0], PROBE_CELLS), source.shape[1]

    def parts(stored: Stored) -> tuple[AnyArray, AnyArray, AnyArray]:
        return np.asarray(stored.data, dtype=np.float64), stored.indices, stored.indptr

    if source.form != "csc":
        return sp.csr_matrix(parts(source.read(0, n_cells)), shape=(n_cells, n_genes))
    blocks = [source.read(*span) for span in (source.spans() if source.in_memory else source.spans()[:1])]
    columns = [sp.csc_matrix(parts(b), shape=(source.shape[0], len(b.indptr) - 1))[:n_cells] for b in blocks]
    return sp.csr_matrix(sp.hstack(columns))


def _normalisation(source: Source) -> str:
    """Recognise the usual transformations by the totals and the largest value of the first cells."""
    probe = _first_cells(source)
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
    """Return the total of the non-empty cells if it is about the same in all of them, otherwise None."""
    totals = np.asarray(values.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    middle = float(np.median(totals)) if len(totals) > 1 else 0.0
    return middle if middle > 0 and np.abs(totals / middle - 1).max() < PROBE_TOLERANCE else None
