"""Rows of X at given values of some variables and typical values of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from .._arrays import FloatArray
from .build import Design


def typical_values(design: Design) -> dict[str, object]:
    """Return a typical value for each column: base (or first) level of a factor, mean of a number, False."""
    values: dict[str, object] = {}
    for name, column in design.columns.items():
        factor = design.fixed.factors.get(name)
        if column.kind == "factor":
            place = column.find([factor.base])[0] if factor is not None and factor.base is not None else 0
            values[name] = column.categories[place or 0]
        elif column.kind == "bool":
            values[name] = False
        else:
            # a number that is also a factor must take a value that occurs
            values[name] = design.means[name] if factor is None else float(factor.levels[0])
    return values


def rows_at(design: Design, cells: Sequence[Mapping[str, object]]) -> FloatArray:
    """Return rows of X, with aliased columns, for cells that are typical except for the given values."""
    typical = typical_values(design)
    frame = pd.DataFrame(
        {name: pd.Series([cell.get(name, typical[name]) for cell in cells], dtype=object) for name in typical}
    )
    converted = design.convert(frame, [atom for term in design.formula.fixed_terms for atom in term])
    return design.fixed.all_columns(converted)
