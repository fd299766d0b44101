"""Read only the needed columns of tables on disk, because the table of an atlas may have hundreds of columns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .._errors import FormulaError
from .._formula import parse_formula
from .claims import child_of, read_checked, refuse_lengths

# Columns in which common tools store the library size of the whole matrix.
TOTAL_COLUMNS = ("total_counts", "n_counts", "nCount_RNA", "n_umi", "nUMI")


@dataclass(frozen=True)
class Columns:
    """Columns to read from a table.

    Attributes
    ----------
    needed
        Required columns. If one is missing, the whole table is read, so that a message can list the columns.
    useful
        Optional columns.
    """

    needed: frozenset[str]
    useful: frozenset[str] = frozenset()

    def among(self, there: Collection[str]) -> list[str] | None:
        """Return the columns in `there` to read, in their order; None for all."""
        if not self.needed <= set(there):
            return None
        wanted = self.needed | self.useful
        return [name for name in there if name in wanted]


def read_table(element: Any, columns: Columns | None = None) -> pd.DataFrame:
    """Read a table written by AnnData, with its index; all columns, or some.

    Parameters
    ----------
    element
        The group of an HDF5 file or a zarr store (in a very old file, an array).
    columns
        Columns to read; None for all.
    """
    attrs = element.attrs
    known = attrs.get("encoding-type") == "dataframe" and attrs.get("encoding-version") == "0.2.0"
    chosen = columns.among([str(name) for name in attrs["column-order"]]) if known and columns is not None else None
    read: Callable[[Any], Any] = read_checked
    if chosen is None:
        whole: pd.DataFrame = read(element)
        return whole
    index = str(attrs["_index"])
    refuse_lengths(element, chosen)
    table = pd.DataFrame({name: read(child_of(element, name)) for name in chosen}, index=read(child_of(element, index)))
    if index != "_index":
        table.index.name = index
    return table


def columns_of(formula: str, *more: Any) -> Columns | None:
    """Find the columns of `obs` that a run needs: those in the formula, and those in `more` that are names.

    Return None (all columns) if the formula cannot be parsed; this raises an error later.
    """
    try:
        names = parse_formula(formula).names
    except FormulaError:
        return None
    return Columns(names | {name for name in more if isinstance(name, str)}, frozenset(TOTAL_COLUMNS))


def labels_in(frame: Any) -> pd.DataFrame:
    """Return the columns of text, categories or whole numbers."""
    held: pd.DataFrame = frame
    # column by column: pandas cannot select columns of a foreign byte order together
    return pd.DataFrame({name: column for name, column in held.items() if column.dtype.kind in "OUSTiub"}, held.index)


def read_labels(element: Any) -> pd.DataFrame:
    """Read the columns of categories or whole numbers of a table that AnnData wrote; unreadable ones are left out.

    AnnData writes text that occurs several times as categories; other text names single cells.
    """
    attrs = element.attrs
    if attrs.get("encoding-type") != "dataframe":
        return pd.DataFrame()
    found = {}
    for name in map(str, attrs["column-order"]):
        try:
            column = child_of(element, name)
            if str(column.attrs.get("encoding-type")) == "categorical" or column.dtype.kind in "iu":
                found[name] = pd.Series(read_checked(column))
        except (KeyError, AttributeError, TypeError, ValueError, OSError, RuntimeError):
            continue
    return pd.DataFrame(found)
