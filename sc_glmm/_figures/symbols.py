"""Symbols of genes in the place of their names, as figures show them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import pandas as pd

from .._errors import InputError
from .._mudata import results_in


def symbols_of(data: Any, key: str, column: str) -> pd.Series:
    """A symbol for each gene, indexed by its name.

    A gene without a symbol keeps its name; of genes that share one, each has its name in brackets behind it.

    Raises
    ------
    InputError
        If `data` is a frame, or ``var`` has no such column.
    """
    if isinstance(data, pd.DataFrame):
        raise InputError(
            f"gene_symbols={column!r} is looked up in var, and this is a frame: replace its column 'variable' instead, "
            f"results.assign(variable=adata.var.loc[results['variable'], {column!r}].to_numpy())"
        )
    inside, _ = results_in(data, key)
    var: pd.DataFrame = inside.var
    if column not in var:
        near = get_close_matches(column, list(map(str, var.columns)), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"gene_symbols={column!r} is no column of var, which has {list(var.columns)[:8]}.{hint}")
    names = pd.Series(var.index.astype(str), index=var.index.astype(str))
    symbols = pd.Series(var[column].astype(object).to_numpy(), index=names.index)
    symbols = symbols.where(symbols.notna() & (symbols.astype(str) != ""), names).astype(str)
    shared = symbols.duplicated(keep=False)
    return symbols.where(~shared, symbols + " (" + names + ")")


def with_symbols(frame: pd.DataFrame, data: Any, key: str, column: str | None) -> pd.DataFrame:
    """The results with symbols in the column ``variable``; as they are without `column`."""
    if column is None:
        return frame
    symbols = symbols_of(data, key, column)
    return frame.assign(variable=symbols.loc[frame["variable"].astype(str)].to_numpy())


def name_and_symbol(gene: str, data: Any, key: str, column: str | None) -> tuple[str, str]:
    """Name and symbol of the gene that is called by its symbol, or by its name.

    Raises
    ------
    InputError
        If there is no such gene.
    """
    if column is None:
        return gene, gene
    symbols = symbols_of(data, key, column)
    found = symbols[symbols == gene]
    if len(found):
        return str(found.index[0]), gene
    if gene in symbols.index:
        return gene, str(symbols.loc[gene])
    near = get_close_matches(gene, symbols.tolist(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"gene={gene!r} is neither a symbol in var[{column!r}] nor the name of a gene.{hint}")
