"""The rows a model lives on, whichever compression made them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._compress import DesignRows

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


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
        ``(n_rows,)`` cells (a tensor grid's rows share the cells of their base row).
    base
        ``(n_rows,)`` which set of cells a row belongs to: itself, or in a tensor grid the base row.
    """

    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    n_cells: FloatArray
    base: IntArray


def plain_rows(rows: DesignRows) -> ModelRows:
    """Design rows as they are."""
    return ModelRows(rows.X, rows.Z, rows.codes, rows.n_cells.astype(np.float64), np.arange(rows.n_rows, dtype=np.int64))
