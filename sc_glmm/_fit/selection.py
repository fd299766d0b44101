"""Select the genes to test from the user's argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray
from .._display.arguments import did_you_mean
from .._errors import InputError

_FORMS = "a boolean column of var (such as 'highly_variable'), one boolean per gene, or names of genes"
_WRITERS = {"highly_variable": "scanpy.pp.highly_variable_genes", "expressed": "sc_glmm.pp.filter_genes"}


def select_genes(var: pd.DataFrame, genes: Any) -> BoolArray | None:
    """Select the genes to test, ``(n_vars,)`` booleans; None for all.

    Parameters
    ----------
    var
        One row per gene, indexed by its name.
    genes
        A boolean column of `var`, a boolean array or Series, or names of genes.

    Raises
    ------
    InputError
        If `genes` has another form, contains unknown genes, or selects no gene.
    """
    if genes is None:
        return None
    what = "genes"
    if isinstance(genes, str):
        what = f"genes={genes!r}"
        values = _column(var, genes)
    elif isinstance(genes, pd.Series):
        values = _aligned(var, genes)
    else:
        values = pd.Series(list(genes) if not isinstance(genes, np.ndarray) else genes.ravel())
    flags = _flags(values, what)
    if flags is not None:
        if len(flags) != len(var):
            raise InputError(f"genes has {len(flags)} booleans, but there are {len(var)} genes")
        selected = flags
    elif isinstance(genes, str):
        raise InputError(
            f"{what} is a column of var with {_first_values(values)}; it must contain True and False, one for each gene"
        )
    else:
        selected = _named(var, values)
    if not selected.any():
        raise InputError(f"{what} selects none of the {len(var)} genes; omit genes= to test all")
    return selected


def describe_selection(genes: Any, selected: BoolArray | None) -> str:
    """Describe the selection for the recipe: ``"all"``, the column, or the number of named genes."""
    if selected is None:
        return "all"
    return genes if isinstance(genes, str) else f"{int(selected.sum())} given"


def _column(var: pd.DataFrame, name: str) -> pd.Series:
    if name in var.columns:
        column: pd.Series = var[name]
        return column
    if name in var.index:
        raise InputError(f"genes={name!r} is the name of a gene, not a column of var; use a list, genes=[{name!r}]")
    hint = f"; run {_WRITERS[name]} first" if name in _WRITERS else did_you_mean(name, var.columns)
    raise InputError(f"genes={name!r} is not a column of var{hint} (allowed are {_FORMS})")


def _aligned(var: pd.DataFrame, series: pd.Series) -> pd.Series:
    """Sort boolean values that are indexed by gene into the order of the genes; leave other values unchanged."""
    if not pd.api.types.is_bool_dtype(series.dtype):
        return series
    if not series.index.is_unique or not var.index.isin(series.index).all():
        raise InputError("genes is a boolean Series that does not contain every gene once; index it by var_names")
    return series.reindex(var.index)


def _flags(values: pd.Series, what: str) -> BoolArray | None:
    """Convert values to booleans, also from object and nullable columns; None if some are not booleans."""
    present = values.dropna()
    if len(present) == 0 or not all(isinstance(value, bool | np.bool_) for value in present):
        return None
    if len(present) < len(values):
        raise InputError(
            f"{what} is missing for {len(values) - len(present)} of {len(values)} genes; use True or False for every "
            "gene, for example with .fillna(False)"
        )
    return np.asarray(values, dtype=bool)


def _named(var: pd.DataFrame, names: pd.Series) -> BoolArray:
    numbers = [name for name in names if not isinstance(name, str)]
    if numbers:
        raise InputError(f"genes contains {numbers[0]!r} ({type(numbers[0]).__name__}); allowed are {_FORMS}")
    found = names.isin(var.index)
    if not found.all():
        first = str(names[~found].iloc[0])
        others = int((~found).sum()) - 1
        column = column_with(var, first)
        hint = did_you_mean(first, var.index)
        if column is not None:
            hint = f"; var[{column!r}] contains it: genes=adata.var[{column!r}].isin([...]) selects by that column"
        more = f", nor are {others:,} more of the given names" if others else ""
        raise InputError(f"genes: {first!r} is not one of the gene names{more}{hint}")
    return np.asarray(var.index.isin(names), dtype=bool)


def column_with(var: pd.DataFrame, word: str) -> str | None:
    """Find the first text column of `var` that contains a word, such as the column of gene symbols."""
    for name in var.columns:
        if not pd.api.types.is_numeric_dtype(var[name]) and (var[name].astype(object) == word).any():
            return str(name)
    return None


def _first_values(values: pd.Series) -> str:
    distinct = [repr(value) for value in dict.fromkeys(values.tolist())]
    return ", ".join(distinct[:3]) + (", ..." if len(distinct) > 3 else "")
