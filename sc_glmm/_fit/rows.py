"""Choose the rows of a model, for every type of compression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress import DesignRows, unique_rows
from .._compress.centred import CentredRows, base_rows, centred_rows
from .._design import Design

# Nodes around slopes are used if there are at least this many design rows per cell.
_MIN_ROWS_PER_CELL = 0.1


@dataclass(frozen=True)
class ModelRows:
    """Rows of a model.

    Attributes
    ----------
    X
        ``(n_rows, p)`` fixed effects.
    Z, codes
        Per random term, ``(n_rows, k)`` columns and ``(n_rows,)`` levels.
    n_cells
        ``(n_rows,)`` number of cells; rows that represent the same base row share its cells.
    base
        ``(n_rows,)`` index of the base row, a set of cells that the row represents; otherwise its own index.
    """

    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    n_cells: FloatArray
    base: IntArray


def design_rows(design: Design) -> DesignRows:
    """Find the distinct rows of a design."""
    return unique_rows(design.fixed.X, [t.Z for t in design.random], [t.codes for t in design.random])


def plain_rows(rows: DesignRows) -> ModelRows:
    """Convert design rows to model rows without a change."""
    return ModelRows(
        rows.X, rows.Z, rows.codes, rows.n_cells.astype(np.float64), np.arange(rows.n_rows, dtype=np.int64)
    )


def find_centred(
    design: Design, offset: FloatArray, *, collapsed: bool, wide: bool
) -> tuple[CentredRows, ModelRows] | None:
    """Find rows that represent the cells, if covariates of cells cause many design rows; None for few design rows.

    Parameters
    ----------
    design
        The design on the cells.
    offset
        Log size factors.
    collapsed
        Whether one node per row is enough (Poisson).
    wide
        Whether hypotheses change the slopes of covariates of cells.
    """
    if design_rows(design).n_rows < _MIN_ROWS_PER_CELL * design.n_obs:
        return None
    codes = [term.codes for term in design.random]
    columns = np.hstack([design.fixed.X, *(term.Z for term in design.random)])
    centred = centred_rows(base_rows(codes, columns), columns, offset, collapsed=collapsed, wide=wide)
    if centred is None:
        return None
    cuts = np.cumsum([design.fixed.X.shape[1], *(term.Z.shape[1] for term in design.random)])[:-1]
    X, *Z = (np.ascontiguousarray(part) for part in np.hsplit(centred.columns, cuts))
    rows = ModelRows(
        X=X,
        Z=tuple(Z),
        codes=tuple(np.ascontiguousarray(code[centred.example]) for code in codes),
        n_cells=centred.n_cells,
        base=centred.base_row,
    )
    return centred, rows
