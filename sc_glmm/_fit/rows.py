"""The rows a model lives on, whichever compression made them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._compress import DesignRows, unique_rows
from .._compress.tensor import TensorRows, tensor_nodes
from .._design import Design

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A grid is looked for when rows are no fewer than this share of the cells.
_WORTH = 0.1
# Change of the linear predictor over the range of the covariate for which a grid is laid out (natural log: 400-fold).
_VARIATION = 6.0


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
        ``(n_rows,)`` cells (a grid's rows share the cells of their base row among them).
    base
        ``(n_rows,)`` which set of cells a row belongs to: itself, or in a grid the base row.
    """

    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    n_cells: FloatArray
    base: IntArray


@dataclass(frozen=True)
class Grid:
    """The grid that stands for the cells when one numeric covariate varies from cell to cell.

    Attributes
    ----------
    name
        Column of `obs`.
    x
        ``(n_obs,)`` its values, centred.
    tensor
        Virtual rows and their nodes.
    rows
        The virtual rows as rows of the model.
    slope_checked
        Slope at which the nodes were checked: the largest for which the error bound holds.
    dX
        ``(n_rows, p)`` derivative of X in the covariate: the slope of a row's predictor is ``dX beta``.
    """

    name: str
    x: FloatArray
    tensor: TensorRows
    rows: ModelRows
    slope_checked: float
    dX: FloatArray


def design_rows(design: Design) -> DesignRows:
    """Distinct rows of a design."""
    return unique_rows(design.fixed.X, [t.Z for t in design.random], [t.codes for t in design.random])


def plain_rows(rows: DesignRows) -> ModelRows:
    """Design rows as they are."""
    return ModelRows(
        rows.X, rows.Z, rows.codes, rows.n_cells.astype(np.float64), np.arange(rows.n_rows, dtype=np.int64)
    )


def find_grid(design: Design, frame: pd.DataFrame, offset: FloatArray) -> Grid | None:
    """Lay out a grid if one numeric covariate makes the rows many, X and Z are linear in it, and a grid is smaller.

    Parameters
    ----------
    design
        The design on the cells.
    frame
        The rows of `obs` behind it, ``(n_obs,)``.
    offset
        Log size factors.
    """
    n_obs = design.n_obs
    if design_rows(design).n_rows < _WORTH * n_obs:
        return None
    for name in design.means:
        value = frame[name].to_numpy(dtype=np.float64)
        mean = float(value.mean())
        held = frame.assign(**{name: mean})
        X0, Z0 = design.at(held)
        codes = [t.codes for t in design.random]
        base = unique_rows(X0, Z0, codes)
        if base.n_rows >= _WORTH * n_obs:
            continue
        X1, Z1 = design.at(frame.assign(**{name: mean + 1.0}))
        x = value - mean
        linear = _is_linear(design.fixed.X, X0, X1, x) and all(
            _is_linear(t.Z, z0, z1, x) for t, z0, z1 in zip(design.random, Z0, Z1, strict=True)
        )
        if not linear:
            continue
        tensor = tensor_nodes(base.row_of, base.n_rows, x, offset, variation=_VARIATION)
        if tensor.table.kind != "tensor" or tensor.table.n_nodes >= n_obs:
            return None
        cell, at = tensor.example, tensor.x[:, None]
        share = np.diff(tensor.first)[tensor.base_row]
        rows = ModelRows(
            X=np.ascontiguousarray(X0[cell] + at * (X1 - X0)[cell]),
            Z=tuple(np.ascontiguousarray(z0[cell] + at * (z1 - z0)[cell]) for z0, z1 in zip(Z0, Z1, strict=True)),
            codes=tuple(np.ascontiguousarray(c[cell]) for c in codes),
            n_cells=base.n_cells[tensor.base_row] / share,
            base=tensor.base_row,
        )
        return Grid(name, x, tensor, rows, float(tensor.slope_bound), (X1 - X0)[cell])
    return None


def _is_linear(M: FloatArray, M0: FloatArray, M1: FloatArray, x: FloatArray) -> bool:
    """Whether ``M = M0 + x (M1 - M0)`` up to rounding."""
    scale = np.abs(M).max(axis=0, initial=0.0) + 1e-300
    return bool((np.abs(M - M0 - x[:, None] * (M1 - M0)) <= 1e-9 * scale).all())
