"""The rows of a model, for every type of compression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress import DesignRows, unique_rows
from .._compress.centred import CentredRows, base_rows, centred_rows
from .._design import Design

# Rows that stand for several cells are looked for when design rows are no fewer than this share of the cells.
_WORTH = 0.1


@dataclass(frozen=True)
class ModelRows:
    """Rows of a model.

    Attributes
    ----------
    X
        ``(n_rows, p)``.
    Z, codes
        Per random term ``(n_rows, k)`` and ``(n_rows,)``.
    n_cells
        ``(n_rows,)`` cells (the rows that stand for a base row share its cells among them).
    base
        ``(n_rows,)`` which set of cells a row belongs to: itself, or the base row that it stands for.
    """

    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    n_cells: FloatArray
    base: IntArray


def design_rows(design: Design) -> DesignRows:
    """Distinct rows of a design."""
    return unique_rows(design.fixed.X, [t.Z for t in design.random], [t.codes for t in design.random])


def plain_rows(rows: DesignRows) -> ModelRows:
    """Design rows as they are."""
    return ModelRows(
        rows.X, rows.Z, rows.codes, rows.n_cells.astype(np.float64), np.arange(rows.n_rows, dtype=np.int64)
    )


def find_centred(
    design: Design, offset: FloatArray, *, collapsed: bool, wide: bool
) -> tuple[CentredRows, ModelRows] | None:
    """Rows that stand for the cells, where covariates of cells make the design rows many; None if there are few.

    Parameters
    ----------
    design
        The design on the cells.
    offset
        Log size factors.
    collapsed
        Whether one node a row will do (Poisson).
    wide
        Whether hypotheses change the slopes of covariates of cells.
    """
    if design_rows(design).n_rows < _WORTH * design.n_obs:
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
