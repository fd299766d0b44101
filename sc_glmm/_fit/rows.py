"""The rows of a model, for every type of compression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._compress import DesignRows, unique_rows
from .._compress.tensor import TensorRows, tensor_nodes
from .._design import Design
from .._errors import InputError

# A grid is only considered if there are at least this many rows, relative to the cells.
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
class CovariateGrid:
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


def find_grid(design: Design, frame: pd.DataFrame, offset: FloatArray) -> CovariateGrid | None:
    """Build a grid if one numeric covariate multiplies the rows, X and Z are linear in it, and the grid is smaller.

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
        low, high = float(value.min()), float(value.max())
        ends = _at_ends(design, frame, name, low, high)
        if ends is None:
            continue
        codes = [t.codes for t in design.random]
        # both ends: cells that differ in their slope only are the same at a value of zero
        base = unique_rows(
            np.hstack([ends[0][0], ends[1][0]]),
            [np.hstack(pair) for pair in zip(ends[0][1:], ends[1][1:], strict=True)],
            codes,
        )
        if base.n_rows >= _WORTH * n_obs:
            continue
        mean = float(value.mean())
        x = value - mean
        lines = [_line(at_low, at_high, low, high, mean) for at_low, at_high in zip(*ends, strict=True)]
        if not all(_is_linear(M, *line, x) for M, line in zip(_matrices(design), lines, strict=True)):
            continue
        tensor = tensor_nodes(base.row_of, base.n_rows, x, offset, variation=_VARIATION)
        if tensor.table.kind != "tensor" or tensor.table.n_nodes >= n_obs:
            return None
        cell, at = tensor.example, tensor.x[:, None]
        share = np.diff(tensor.first)[tensor.base_row]
        X, *Z = (np.ascontiguousarray(middle[cell] + at * slope[cell]) for middle, slope in lines)
        rows = ModelRows(
            X=X,
            Z=tuple(Z),
            codes=tuple(np.ascontiguousarray(c[cell]) for c in codes),
            n_cells=base.n_cells[tensor.base_row] / share,
            base=tensor.base_row,
        )
        return CovariateGrid(name, x, tensor, rows, float(tensor.slope_bound), lines[0][1][cell])
    return None


def _matrices(design: Design) -> list[FloatArray]:
    """X, and Z of every term."""
    return [design.fixed.X, *(term.Z for term in design.random)]


def _at_ends(
    design: Design, frame: pd.DataFrame, name: str, low: float, high: float
) -> tuple[list[FloatArray], list[FloatArray]] | None:
    """X and Z with the covariate at its least and at its largest value, None where the formula has no value there.

    Only values of the data are tried: a spline, a logarithm or a root may have none elsewhere. An expression of several
    columns can still have none, and is not linear then.
    """
    if not low < high:
        return None
    try:
        ends = [design.at(frame.assign(**{name: end})) for end in (low, high)]
    except InputError:
        return None
    return [ends[0][0], *ends[0][1]], [ends[1][0], *ends[1][1]]


def _line(
    at_low: FloatArray, at_high: FloatArray, low: float, high: float, mean: float
) -> tuple[FloatArray, FloatArray]:
    """Value at the mean, and slope."""
    slope = (at_high - at_low) / (high - low)
    return at_low + (mean - low) * slope, slope


def _is_linear(M: FloatArray, middle: FloatArray, slope: FloatArray, x: FloatArray) -> bool:
    """Whether ``M = middle + x slope`` up to rounding."""
    scale = np.abs(M).max(axis=0, initial=0.0) + 1e-300
    return bool((np.abs(M - middle - x[:, None] * slope) <= 1e-9 * scale).all())
