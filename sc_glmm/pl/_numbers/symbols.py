"""Symbols of genes in the place of their names, as figures show them."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any

import pandas as pd

from ..._adata.mudata import results_in
from ..._errors import InputError


def symbols_of(data: Any, key: str, column: str) -> pd.Series:
    """A symbol for each gene, indexed by its name.

    A gene without a symbol keeps its name; of genes that share one, each has its name in brackets behind it.

    Raises
    ------
    InputError
        If neither ``var`` nor, for a frame, the frame has such a column.
    """
    if isinstance(data, pd.DataFrame):
        where, table = "the frame", data.drop_duplicates("variable").set_index("variable")
    elif isinstance(data, str | os.PathLike):
        from ..._adata.store import Store

        where, table = "var", results_in(Store(data).with_results(), key)[0].var
    else:
        where, table = "var", results_in(data, key)[0].var
    if column not in table:
        near = get_close_matches(column, list(map(str, table.columns)), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"gene_symbols={column!r} is not a column of {where}, which has {list(table.columns)[:8]}.{hint}"
        )
    names = pd.Series(table.index.astype(str), index=table.index.astype(str))
    symbols = pd.Series(table[column].astype(object).to_numpy(), index=names.index)
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
